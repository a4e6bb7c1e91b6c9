//! One wire, and whose turn it is on it: several boards of one RS485 line share a port, and only one may speak at a time.
//!
//! Turns are given in the order in which they were asked for, each for one poll, with a pause between two boards. A line is
//! no actor: it does nothing by itself, and belongs to the node, so that whatever ends an actor in the middle of its turn,
//! the turn ends with it and the port stays open for the next. Once the last board has left, the port is closed, for
//! somebody else to open. Must never be held while waiting for anything but the wire.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep_until, timeout};
use voltree_model::DeviceId;
use voltree_protocols::link::{AnyLink, Link, LinkAddress, LinkError, Radio};
use voltree_runtime::clock;

/// The pause between two boards: some turn their transceiver around slowly.
const GAP: Duration = Duration::from_millis(30);
/// How long a board waits for its turn among others.
const SHARED_PATIENCE: Duration = Duration::from_secs(30);
/// How long a board waits that has its wire to itself: only an incarnation of its own that is stuck can hold it.
const LONELY_PATIENCE: Duration = Duration::from_millis(500);
/// How long a remote wire must be without an answer of any board before it is suspected of being dead.
const SUSPICIOUS: Duration = Duration::from_secs(5);

/// A wire.
#[derive(Debug)]
pub struct Line {
    address: LinkAddress,
    radio: Arc<Radio>,
    boards: AtomicUsize,
    /// The boards whose actors live, or will be born again.
    present: Mutex<BTreeSet<DeviceId>>,
    wire: tokio::sync::Mutex<Wire>,
}

#[derive(Debug)]
struct Wire {
    link: Option<AnyLink>,
    /// When the next board may speak.
    free_at: Option<Instant>,
    last_answer: Option<Instant>,
}

impl Line {
    fn new(address: LinkAddress, radio: Arc<Radio>) -> Self {
        let wire = Wire { link: None, free_at: None, last_answer: None };
        let (boards, present) = (AtomicUsize::new(0), Mutex::default());
        Self { address, radio, boards, present, wire: tokio::sync::Mutex::new(wire) }
    }

    /// Where it is reached.
    pub const fn address(&self) -> &LinkAddress {
        &self.address
    }

    /// Whether several boards are on it.
    pub fn is_shared(&self) -> bool {
        self.boards.load(Ordering::Relaxed) > 1
    }

    /// A board's actor is born.
    pub(crate) fn enter(&self, board: &DeviceId) {
        self.present.lock().insert(board.clone());
    }

    /// A board's actor was stopped or parked, and is not born again soon. A battery on the air is heard by nobody else
    /// before its connection ends, and a serial port has one owner.
    pub(crate) fn leave(&self, board: &DeviceId) {
        let was_last = {
            let mut present = self.present.lock();
            present.remove(board);
            present.is_empty()
        };
        // Only an incarnation that is stuck can still have its turn; the link is closed at the end of that.
        if was_last && let Ok(mut wire) = self.wire.try_lock() {
            wire.link = None;
        }
    }

    async fn open(&self) -> Result<AnyLink, LinkError> {
        match &self.address {
            LinkAddress::Ble { address, adapter, places } => {
                Ok(AnyLink::Ble(self.radio.connect(*address, adapter.as_deref(), places).await?))
            }
            LinkAddress::Serial { .. }
            | LinkAddress::Tcp { .. }
            | LinkAddress::ModbusTcp { .. }
            | LinkAddress::Slcan { .. }
            | LinkAddress::Socketcand { .. }
            | LinkAddress::Can { .. } => AnyLink::open(&self.address).await,
        }
    }

    /// Waits for this board's turn; it ends when it is dropped.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, LinkError> {
        let shared = self.is_shared();
        let patience = if shared { SHARED_PATIENCE } else { LONELY_PATIENCE };
        let Ok(wire) = timeout(patience, self.wire.lock()).await else {
            return Err(LinkError::Busy { name: self.address.to_string() });
        };
        if let Some(free_at) = wire.free_at.filter(|_| shared) {
            sleep_until(free_at).await;
        }
        Ok(Turn { wire, line: self })
    }
}

/// A board's turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    wire: MutexGuard<'a, Wire>,
    line: &'a Line,
}

impl Turn<'_> {
    /// The open link, opened if need be.
    pub(crate) async fn link(&mut self) -> Result<&mut AnyLink, LinkError> {
        let open = match self.wire.link.take() {
            Some(open) => open,
            None => self.line.open().await?,
        };
        Ok(self.wire.link.insert(open))
    }

    /// Notes that the board answered.
    pub(crate) fn answered(&mut self) {
        self.wire.last_answer = Some(clock::monotonic());
    }

    /// Closes the link, so that the next turn opens it anew.
    pub(crate) fn close(&mut self) {
        self.wire.link = None;
    }

    /// Closes a remote link on which nobody answers any more: a connection whose other end vanished looks like silent
    /// boards, and lives on until somebody makes a new one.
    pub(crate) fn close_if_dead(&mut self) {
        let quiet = self.wire.last_answer.is_none_or(|at| at.elapsed() >= SUSPICIOUS);
        if quiet && self.line.address.is_remote() {
            self.close();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.wire.free_at = Some(clock::monotonic() + GAP);
        // Packs share the radio's few connections: one that has been read makes room for one that waits.
        let in_demand = matches!(self.line.address, LinkAddress::Ble { .. }) && self.line.radio.is_crowded();
        if in_demand || self.line.present.lock().is_empty() {
            self.wire.link = None;
        }
    }
}

/// Every wire of the node.
#[derive(Debug, Default)]
pub struct Lines {
    radio: Arc<Radio>,
    lines: Mutex<Vec<Arc<Line>>>,
}

impl Lines {
    /// Wires of which those on the air share this radio.
    pub fn new(radio: Arc<Radio>) -> Self {
        Self { radio, ..Self::default() }
    }

    /// What makes connections over Bluetooth LE.
    pub const fn radio(&self) -> &Arc<Radio> {
        &self.radio
    }

    /// The wire of this address, with one more board on it.
    pub fn line(&self, address: &LinkAddress) -> Arc<Line> {
        let mut lines = self.lines.lock();
        let known = lines.iter().find(|line| line.address.same_wire(address)).map(Arc::clone);
        let line = known.unwrap_or_else(|| {
            let line = Arc::new(Line::new(address.clone(), Arc::clone(&self.radio)));
            lines.push(Arc::clone(&line));
            line
        });
        line.boards.fetch_add(1, Ordering::Relaxed);
        line
    }
}

/// A link that ends the turn of a board which says nothing: the others are not to wait for all of its retries.
#[derive(Debug)]
pub(crate) struct Impatient<L> {
    link: L,
    /// When the turn ends unless something was heard before.
    until: Option<Instant>,
}

impl<L: Link> Impatient<L> {
    pub(crate) const fn new(link: L, until: Option<Instant>) -> Self {
        Self { link, until }
    }
}

impl<L: Link> Link for Impatient<L> {
    fn name(&self) -> &str {
        self.link.name()
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        self.link.discard_input()
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        self.link.write_all(bytes, within).await
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        let left = self.until.map(|until| until.saturating_duration_since(clock::monotonic()));
        if left == Some(Duration::ZERO) {
            return Err(LinkError::TurnOver { name: self.link.name().to_owned() });
        }
        let count = self.link.read_some(into, left.map_or(within, |left| within.min(left))).await?;
        if count > 0 {
            self.until = None;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> LinkAddress {
        LinkAddress::parse(text, 9600).unwrap()
    }

    #[test]
    fn boards_of_one_port_share_a_line_and_others_do_not() {
        let lines = Lines::default();
        let [first, second] = ["/dev/a", "serial:///dev/a"].map(|text| lines.line(&address(text)));
        assert!(Arc::ptr_eq(&first, &second) && first.is_shared());
        let [one, two] = ["modbus-tcp://h", "modbus-tcp://h"].map(|text| lines.line(&address(text)));
        assert!(!Arc::ptr_eq(&one, &two) && !one.is_shared());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_in_order_with_a_pause_between_them() {
        let lines = Lines::default();
        let line = lines.line(&address("/dev/a"));
        lines.line(&address("/dev/a"));
        let begun = Instant::now();
        let order = Mutex::new(Vec::new());
        let take = |board: u8| {
            let (line, order) = (&line, &order);
            async move {
                let turn = line.turn().await.unwrap();
                order.lock().push((board, begun.elapsed()));
                sleep_until(Instant::now() + Duration::from_millis(100)).await;
                drop(turn);
            }
        };
        tokio::join!(take(1), take(2), take(3));
        let ms = Duration::from_millis;
        assert_eq!(*order.lock(), [(1, ms(0)), (2, ms(130)), (3, ms(260))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_never_ends_is_told_as_a_busy_wire() {
        let line = Lines::default().line(&address("/dev/a"));
        let _held = line.turn().await.unwrap();
        assert!(matches!(line.turn().await, Err(LinkError::Busy { .. })));
    }
}
