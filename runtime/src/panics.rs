//! Where panics happened. ractor hands a supervisor the words of a panic and not its place; only the process's panic
//! hook knows both, so it notes them here and whoever tells of the panic looks them up.
//!
//! Process-wide because the hook is. It keeps the last distinct panics only, and never more than their first words.
//! Two panics of the same words in different places at the same moment may both be told with the later place.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::PanicHookInfo;

use parking_lot::Mutex;

/// How many distinct panics are remembered.
const KEPT: usize = 64;
/// How much of a panic's words is kept, here and in its supervision event.
const MAX_MESSAGE_BYTES: usize = 2_048;

struct Seen {
    message: String,
    location: String,
}

static SEEN: Mutex<VecDeque<Seen>> = Mutex::new(VecDeque::new());

thread_local! {
    /// For those who clean up while their own thread unwinds.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes every panic of the process a log line of target `panic`, with its place, instead of a bare dump on stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        note(panic);
        tracing::error!(target: "panic", message, location, thread = std::thread::current().name());
    }));
}

fn note(panic: &PanicHookInfo<'_>) {
    let (Some(message), Some(location)) = (panic.payload_as_str(), panic.location()) else { return };
    let seen = Seen { message: cut(message).to_owned(), location: location.to_string() };
    LAST.with_borrow_mut(|last| *last = Some(format!("panicked: {} (at {})", seen.message, seen.location)));
    let mut known = SEEN.lock();
    known.retain(|other| other.message != seen.message || other.location != seen.location);
    if known.len() == KEPT {
        known.pop_front();
    }
    known.push_back(seen);
}

/// Where the last panic of these words happened, if the hook saw it.
pub(crate) fn location_of(message: &str) -> Option<String> {
    let message = cut(message);
    SEEN.lock().iter().rev().find(|seen| seen.message == message).map(|seen| seen.location.clone())
}

/// What the panic that unwinds this thread right now said, as far as the hook saw it.
pub(crate) fn last_on_this_thread() -> String {
    LAST.with_borrow(|last| last.clone()).unwrap_or_else(|| "panicked".to_owned())
}

/// The first words of a message, as much as an event may hold.
pub(crate) fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]
}
