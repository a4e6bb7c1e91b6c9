//! Sixteen batteries of all kinds on one node, most of them on bad lines: seconds by default, as long as wanted with
//! `VOLTREE_FLAKY_SECONDS`. The good ones are held against the same good ones on a node of their own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use voltree_protocols::bms::daly_bluetooth::RegisterDialect;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign};
use voltree_protocols::bms::foxbms::Dialect;
use voltree_protocols::bms::telecom::Maker;
use voltree_protocols::sim::{
    DalyCanSim, DalyRegistersSim, DalySim, DeviceSide, FaultRates, Flaky, FoxbmsSim, GreenSim, JbdSim, JkSim,
    LibreSolarCanSim, LibreSolarSim, LinePace, ModbusTcpSide, PackConfig, PtySim, SimHandle, SimPack,
    SlcanSide, SocketcandSide, SunspecSim, TcpSim, TelecomSim,
};

use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};

const NORMAL: CurrentSign = CurrentSign::Normal;
const BAD: &str = "drop=0.05,delay=0.03,cut=0.02,garbage=0.05,silence=0.01";
/// Where frames have checksums, bits may flip too.
const WORSE: &str = "drop=0.05,delay=0.03,corrupt=0.03,cut=0.02,garbage=0.05,wrong-board=0.02,silence=0.01";

/// How often a site's batteries are polled.
const EVERY_MS: i64 = 300;
/// Which part of their time good batteries may lose to twelve on bad lines. Were they to wait for those (measured:
/// each silence of a bad one blocked a thread for 2 s), it would be 0.19 to 0.36.
const COST_OF_BAD_LINES: f64 = 0.15;

struct Battery {
    id: &'static str,
    kind: &'static str,
    keys: &'static str,
    port: PathBuf,
    sim: SimHandle,
}

fn pack(seed: u64) -> SimPack {
    SimPack::new(PackConfig { seed, ..PackConfig::default() })
}

fn pace() -> LinePace {
    LinePace { baud: 115_200, turnaround: Duration::from_millis(2) }
}

/// A battery on a pty, whose port reads so once its path is put in.
fn on_pty(
    (id, kind, keys): (&'static str, &'static str, &'static str),
    url: &str,
    rates: &str,
    device: impl DeviceSide + 'static,
) -> Battery {
    let rates: FaultRates = rates.parse().unwrap();
    let sim = PtySim::spawn(Flaky::new(device, rates, 11), pace()).unwrap();
    let port = url.replace("{}", sim.path().to_str().unwrap()).into();
    Battery { id, kind, keys, port, sim }
}

/// A battery on a TCP port.
async fn on_tcp(
    (id, kind, keys): (&'static str, &'static str, &'static str),
    url: &str,
    rates: &str,
    device: impl DeviceSide + 'static,
) -> Battery {
    let rates: FaultRates = rates.parse().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let sim = TcpSim::spawn(Flaky::new(device, rates, 12), pace(), listen).await.unwrap();
    let port = url.replace("{}", sim.path().to_str().unwrap().trim_start_matches("tcp://")).into();
    Battery { id, kind, keys, port, sim }
}

/// Four batteries whose lines are good.
async fn healthy() -> Vec<Battery> {
    let sunspec = |seed| SunspecSim::new(pack(seed), 1, 40_000, NORMAL);
    vec![
        on_pty(("jk", "jk_bms", ""), "{}", "", JkSim::new(pack(10))),
        on_tcp(("pylontech", "pylontech_bms", ""), "tcp://{}", "", telecom(13, Maker::Pylontech)).await,
        on_pty(("sunspec", "sunspec_bms", ""), "{}", "", sunspec(15)),
        on_tcp(("sunspec-tcp", "sunspec_bms", ""), "modbus-tcp://{}", "", ModbusTcpSide::new(sunspec(16)))
            .await,
    ]
}

/// Twelve whose lines are not.
async fn on_bad_lines() -> Vec<Battery> {
    let (can, cand) = ("slcan://{}?bitrate=500000", "socketcand://{}/can0");
    let daly = |seed| DalySim::new(pack(seed), Board::FIRST, NORMAL);
    let registers = |seed, dialect| DalyRegistersSim::new(pack(seed), dialect, NORMAL);
    let daly_can = DalyCanSim::new(pack(3), Board::FIRST, NORMAL);
    let foxbms = |seed, dialect| FoxbmsSim::new(pack(seed), dialect);
    let served = SocketcandSide::new(foxbms(7, Dialect::V1_7), "can0");
    vec![
        on_pty(("daly", "daly_bms", ""), "{}", WORSE, daly(1)),
        on_tcp(("daly-tcp", "daly_bms", ""), "tcp://{}", WORSE, daly(2)).await,
        on_pty(("daly-can", "daly_bms", ""), can, BAD, SlcanSide::new(daly_can)),
        on_pty(("daly-d2", "daly_bms", "protocol = \"d2\""), "{}", WORSE, registers(4, RegisterDialect::D2)),
        on_pty(
            ("daly-p81", "daly_bms", "protocol = \"p81\""),
            "{}",
            WORSE,
            registers(5, RegisterDialect::P81),
        ),
        on_pty(("foxbms", "foxbms", ""), can, BAD, SlcanSide::new(foxbms(6, Dialect::V1_11))),
        on_tcp(("foxbms-tcp", "foxbms", ""), cand, BAD, served).await,
        on_pty(("green", "green_bms", ""), "{}", BAD, GreenSim::new(pack(8))),
        on_pty(("jbd", "jbd_bms", ""), "{}", WORSE, JbdSim::new(pack(9))),
        on_pty(("libre", "libre_solar", ""), "{}", WORSE, LibreSolarSim::new(pack(11))),
        on_pty(
            ("libre-can", "libre_solar", ""),
            can,
            BAD,
            SlcanSide::new(LibreSolarCanSim::new(pack(12), 1)),
        ),
        on_pty(("seplos", "seplos_bms", ""), "{}", WORSE, telecom(14, Maker::Seplos)),
    ]
}

fn telecom(seed: u64, maker: Maker) -> TelecomSim {
    TelecomSim::new(pack(seed), maker, maker.first_address())
}

async fn start(batteries: impl Iterator<Item = &Battery>) -> Node {
    let site = batteries.fold(Site::new(), |site, battery| {
        site.battery(battery.id, battery.kind, &battery.port, battery.keys)
    });
    site.start().await
}

async fn until_read(node: &Node, batteries: impl Iterator<Item = &Battery>) {
    for battery in batteries {
        until(&format!("{} is read", battery.id), BOUND, || async {
            let ledger = node.ledger(Some(battery.id)).await;
            if ledger.received >= 2 { Ok(()) } else { Err(format!("{ledger:?}")) }
        })
        .await;
    }
}

fn open_files(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// So many gaps have a p99; that of fewer is the longest, and tells how long the machine once stood still.
const ENOUGH_FOR_A_P99: usize = 500;

/// Which part of the time since `from_ms` these devices' next readings were late, on average.
async fn late(node: &Node, batteries: &[Battery], from_ms: i64) -> f64 {
    let mut shares = 0.0;
    for Battery { id, .. } in batteries {
        let readings = node.samples(id, "pack_voltage").await;
        let times: Vec<i64> = readings.iter().map(|(at, _)| *at).filter(|at| *at >= from_ms).collect();
        assert!(times.len() >= 10, "{id} was read {} times", times.len());
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let p99_ms = gaps[(gaps.len() * 99).div_ceil(100) - 1];
        let late_ms: i64 = gaps.iter().map(|gap| (gap - 2 * EVERY_MS).max(0)).sum();
        let share = late_ms as f64 / gaps.iter().sum::<i64>() as f64;
        println!(
            "{id}: {} readings, p99 {p99_ms} ms apart, late for {:.1} % of the time",
            times.len(),
            share * 100.0
        );
        // Polled every 300 ms; a Pylontech or SunSpec cycle takes several questions.
        assert!(gaps.len() < ENOUGH_FOR_A_P99 || p99_ms <= 1_500, "{id}: {p99_ms} ms between readings");
        shares += share;
    }
    shares / batteries.len() as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_batteries_of_all_kinds_live_with_bad_lines() {
    let seconds =
        std::env::var("VOLTREE_FLAKY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let (good, bad, among_themselves) = (healthy().await, on_bad_lines().await, healthy().await);
    let batteries = || good.iter().chain(&bad);
    assert_eq!(batteries().count(), 16);
    let (node, control) = tokio::join!(start(batteries()), start(among_themselves.iter()));
    until_read(&node, batteries()).await;
    until_read(&control, among_themselves.iter()).await;
    let files = open_files(&node);
    let (begun_ms, end) = (now_ms(), Instant::now() + Duration::from_secs(seconds));
    until("the time is over", Duration::from_secs(seconds) + BOUND, || async {
        if Instant::now() >= end { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0 && actor.status == "running"), "{tree:?}");
    // A link that is being opened anew, a scrape or a query may hold a few for a moment.
    let now = open_files(&node);
    assert!(now <= files + 8, "{now} files are open, {files} were");
    // A machine that stands still for a second delays both nodes: what the bad lines cost is the difference.
    let alone = late(&control, &among_themselves, begun_ms).await;
    let beside_bad = late(&node, &good, begun_ms).await;
    assert!(beside_bad <= alone + COST_OF_BAD_LINES, "late for {beside_bad} of the time, alone for {alone}");
    assert_eq!(control.stop().await, Some(0));
    for battery in batteries() {
        battery.sim.pause();
    }
    for battery in batteries() {
        let ledger = node.ledger_at_rest(Some(battery.id)).await;
        assert!(ledger.stored >= 2 && ledger.rejected == 0 && ledger.dead == 0, "{}: {ledger:?}", battery.id);
    }
    for battery in &good {
        let ledger = node.ledger(Some(battery.id)).await;
        assert!(ledger.stored >= seconds / 2, "{}: {ledger:?}", battery.id);
    }
    assert_eq!(node.stop().await, Some(0));
}
