//! Recorded messages as text: a line for each, its topic, a tab or a space, and its payload, as `mosquitto_sub -v` prints
//! them. A line that begins with `#` is a remark.

/// A recorded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Counted from 1.
    pub line: usize,
    /// Where it was published.
    pub topic: &'a str,
    /// What.
    pub payload: &'a str,
}

/// Reads a recording. A topic with spaces needs the tab.
pub fn captured(text: &str) -> impl Iterator<Item = Captured<'_>> {
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')).map(
        |(index, line)| {
            let parted = line.split_once('\t').or_else(|| line.split_once(' '));
            let (topic, payload) = parted.unwrap_or((line, ""));
            Captured { line: index + 1, topic, payload }
        },
    )
}
