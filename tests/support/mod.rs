//! What whole-node tests share: a node as a real process, its API, an MQTT client that keeps its own books, and
//! waiting for conditions with a bound. A `mod.rs`, because Cargo takes every file directly in
//! tests/ for a test of its own.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod link;
pub(crate) mod mqtt;
pub(crate) mod node;
pub(crate) mod simulator;
pub(crate) mod witness;

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use voltree_protocols::bms::daly_uart::{Board, CurrentSign};
use voltree_protocols::sim::{DalySim, DeviceSide, LinePace, PackConfig, PtySim, SimHandle, SimPack};

/// Polls a condition until it gives a value, or fails the test with what it saw last.
pub(crate) async fn until<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    bound: Duration,
    mut condition: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        let last = match condition().await {
            Ok(value) => return value,
            Err(last) => last,
        };
        assert!(begun.elapsed() < bound, "after {bound:?} still not: {what}; last seen: {last}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A file of tests/fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// An outside program, or `None` with a word about the skip; where externals are required, a failure.
pub(crate) fn external(program: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
    });
    if found.is_none() {
        assert!(
            std::env::var_os("VOLTREE_REQUIRE_EXTERNALS").is_none(),
            "{program} is required and not there"
        );
        println!("skipped: {program} is not installed");
    }
    found
}

/// A simulated Daly pack on a pty, at the pace of a real line.
pub(crate) fn pack(seed: u64) -> SimHandle {
    serve(daly(seed))
}

/// The board of such a pack, not yet on a wire.
pub(crate) fn daly(seed: u64) -> DalySim {
    let pack = SimPack::new(PackConfig { seed, ..PackConfig::default() });
    DalySim::new(pack, Board::FIRST, CurrentSign::Normal)
}

/// A device's side of the wire on a pty.
pub(crate) fn serve(device: impl DeviceSide + 'static) -> SimHandle {
    PtySim::spawn(device, LinePace::default()).unwrap()
}

/// Silences each pack between two polls. One that falls silent in the middle of its answers may have said enough for a
/// reading, which is made when the rest has been waited for, seconds later.
pub(crate) async fn hush(packs: &[SimHandle]) {
    for pack in packs {
        let begun = Instant::now();
        let mut before = pack.stats().cycles_completed();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "a pack is not polled any more");
            let cycles = pack.stats().cycles_completed();
            if cycles > before {
                pack.pause();
                if !pack.stats().is_half_read() {
                    break;
                }
                pack.resume();
                before = cycles;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The hash that `voltree passwd` makes of a password that is piped in.
pub(crate) fn password_hash(password: &str) -> String {
    let mut command = Command::new(node::VOLTREE);
    let mut passwd = command.arg("passwd").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    passwd.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    let output = passwd.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
