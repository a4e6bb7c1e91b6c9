//! `voltree storage stats`: bytes by level and bucket, readings and samples, and what a sample costs.

use anyhow::Context as _;
use voltree_storage::{BucketUse, Depth, Inspection, LevelUse, inspect};

use super::{Progress, ToolOptions, hold};
use crate::cli::say;

pub(super) fn run(options: &ToolOptions) -> anyhow::Result<()> {
    let (data, mut progress) = (hold(&options.data)?, Progress::new()?);
    let found = inspect(&data, Depth::Checksums, &mut |at| progress.step(|| format!("reading {at}")))?;
    if options.json {
        say(&serde_json::to_string_pretty(&json(&found)?)?);
        return Ok(());
    }
    let journal = &found.journal;
    say(&format!(
        "journal    {} in {} segment(s), entries {} to {}",
        bytes(journal.bytes),
        journal.segments,
        journal.first,
        journal.last
    ));
    say(&row(
        ["", "on disk", "content", "parts", "devices", "rows", "samples", "B/sample"].map(str::to_owned)
    ));
    for level in &found.levels {
        say(&line(level.level, &level.total()));
        level.buckets.iter().for_each(|bucket| say(&line(&format!("  {}", bucket.bucket), bucket)));
    }
    for bucket in &found.quarantined {
        say(&format!("quarantined: {bucket}"));
    }
    if !found.is_sound() {
        say(&format!("{} thing(s) are damaged; voltree storage verify names them", found.damages.len()));
    }
    Ok(())
}

/// The inspection with what is worth knowing about it.
fn json(found: &Inspection) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(found)?;
    let totals: serde_json::Map<_, _> = found
        .levels
        .iter()
        .map(|level| Ok((level.level.to_owned(), serde_json::to_value(level.total())?)))
        .collect::<serde_json::Result<_>>()?;
    let fields = value.as_object_mut().context("an inspection is an object")?;
    let raw = found.levels.first().map(LevelUse::total).unwrap_or_default();
    fields.insert("bytes_per_sample".to_owned(), serde_json::to_value(per_sample(&raw))?);
    fields.insert("totals".to_owned(), totals.into());
    Ok(value)
}

fn per_sample(bucket: &BucketUse) -> Option<f64> {
    (bucket.samples > 0).then(|| bucket.disk_bytes as f64 / bucket.samples as f64)
}

fn line(name: &str, bucket: &BucketUse) -> String {
    let BucketUse { disk_bytes, content_bytes, parts, devices, rows, samples, .. } = bucket;
    let each = per_sample(bucket).map_or_else(|| "-".to_owned(), |each| format!("{each:.2}"));
    let count = |number: &u64| if *number == 0 { "-".to_owned() } else { number.to_string() };
    row([
        name.to_owned(),
        bytes(*disk_bytes),
        bytes(*content_bytes),
        count(parts),
        count(devices),
        count(rows),
        count(samples),
        each,
    ])
}

fn row(cells: [String; 8]) -> String {
    let [name, numbers @ ..] = cells;
    numbers.iter().fold(format!("{name:<14}"), |row, number| format!("{row} {number:>11}"))
}

/// A count of bytes in the unit that fits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut shown = count as f64;
    let mut unit = "";
    for next in UNITS {
        if shown < 1024.0 {
            break;
        }
        shown /= 1024.0;
        unit = next;
    }
    format!("{shown:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        let shown = [0, 1023, 1024, 1_572_864, 3 << 40].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 TiB"]);
    }
}
