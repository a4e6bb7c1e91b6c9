//! The publishers of the model test: each counts what it measured and what it wrote, and sends again whatever was not
//! acknowledged, whichever process of the node it finds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::now_ms;

/// The device whose every other reading has to raise an alert.
pub(super) const PROBE: &str = "probe";
/// How many readings are sent before their acknowledgements are waited for.
const BATCH: usize = 5;
const BETWEEN_BATCHES: Duration = Duration::from_millis(20);
/// The same for the probe: the history of alerts is asked for as a whole.
const BETWEEN_PROBES: Duration = Duration::from_millis(400);
/// How long an answer may take before the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far apart the times of two readings are: each is a reading of its own, and none lies in the future.
const STEP_MS: i64 = 100;

/// What one device knows of its readings.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    pub(super) device: String,
    /// Distinct readings, numbered from 1.
    pub(super) readings: u64,
    /// Every PUBLISH that was written, repetitions included.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    base_ms: i64,
}

impl Witness {
    fn at(&self, number: u64) -> i64 {
        self.base_ms + i64::try_from(number).unwrap() * STEP_MS
    }

    /// When the readings were measured that had to raise an alert.
    pub(super) fn hot(&self) -> Vec<i64> {
        (1..=self.readings).filter(|number| is_hot(*number)).map(|number| self.at(number)).collect()
    }
}

fn is_hot(number: u64) -> bool {
    number.is_multiple_of(2)
}

/// All publishers.
pub(super) struct Witnesses {
    books: Vec<Arc<Mutex<Witness>>>,
    broker: Arc<Mutex<SocketAddr>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Witnesses {
    pub(super) fn start(broker: SocketAddr, sensors: usize) -> Self {
        let mut this = Self {
            books: Vec::new(),
            broker: Arc::new(Mutex::new(broker)),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for device in (0..sensors).map(super::sensor_id).chain([PROBE.to_owned()]) {
            // What is measured long ago raises no alert.
            let age_ms = if device == PROBE { 100_000 } else { 3_000_000 };
            let base_ms = now_ms() - age_ms;
            let books = Witness { device, readings: 0, sent: 0, acknowledged: 0, base_ms };
            let books = Arc::new(Mutex::new(books));
            this.books.push(Arc::clone(&books));
            this.tasks.spawn(publish(books, Arc::clone(&this.broker), Arc::clone(&this.stop)));
        }
        this
    }

    /// The node listens here from now on.
    pub(super) fn go_to(&self, broker: SocketAddr) {
        *self.broker.lock() = broker;
    }

    pub(super) fn acknowledged(&self) -> impl Iterator<Item = u64> {
        self.books.iter().map(|books| books.lock().acknowledged)
    }

    /// No more readings; the books once every one was acknowledged.
    pub(super) async fn stop(&mut self) -> Vec<Witness> {
        self.stop.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        };
        timeout(crate::support::node::BOUND, all).await.expect("every reading is acknowledged in time");
        self.books.iter().map(|books| books.lock().clone()).collect()
    }
}

async fn publish(books: Arc<Mutex<Witness>>, broker: Arc<Mutex<SocketAddr>>, stop: Arc<AtomicBool>) {
    let device = books.lock().device.clone();
    let pause = if device == PROBE { BETWEEN_PROBES } else { BETWEEN_BATCHES };
    let mut line: Option<Publisher> = None;
    let mut due = VecDeque::new();
    loop {
        if !stop.load(Ordering::Relaxed) {
            while due.len() < BATCH {
                let mut books = books.lock();
                books.readings += 1;
                due.push_back(books.readings);
            }
        } else if due.is_empty() {
            return;
        }
        if line.is_none() {
            let address = *broker.lock();
            line = timeout(PATIENCE, Publisher::connect(address, &device)).await.ok().and_then(Result::ok);
        }
        let kept = match line.as_mut() {
            Some(line) => timeout(PATIENCE, batch(line, &books, &due)).await.is_ok_and(|sent| sent.is_ok()),
            None => false,
        };
        if let Some(line) = line.as_ref() {
            due.retain(|number| !line.acked.contains(number));
            let mut books = books.lock();
            books.acknowledged = books.readings - due.len() as u64;
        }
        if !kept {
            line = None;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn batch(line: &mut Publisher, books: &Mutex<Witness>, due: &VecDeque<u64>) -> std::io::Result<()> {
    for number in due {
        let (device, at) = {
            let mut books = books.lock();
            // Counted before it is written: what is received can then never be more.
            books.sent += 1;
            (books.device.clone(), books.at(*number))
        };
        let temperature = if device == PROBE && is_hot(*number) { 95.0 } else { 20.0 };
        let metrics = [("number", *number as f64), ("temperature_1", temperature)];
        line.publish(*number, &topic(&device), &telemetry(&device, at, &metrics)).await?;
    }
    line.settle().await
}
