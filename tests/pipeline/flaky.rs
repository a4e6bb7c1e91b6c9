//! Sixteen batteries of all kinds on one node, most of them on bad lines: seconds by default, as long as wanted with
//! `VOLTREE_FLAKY_SECONDS`.

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
use crate::support::until;

const NORMAL: CurrentSign = CurrentSign::Normal;
const BAD: &str = "drop=0.05,delay=0.03,cut=0.02,garbage=0.05,silence=0.01";
/// Where frames have checksums, bits may flip too.
const WORSE: &str = "drop=0.05,delay=0.03,corrupt=0.03,cut=0.02,garbage=0.05,wrong-board=0.02,silence=0.01";

struct Battery {
    id: &'static str,
    kind: &'static str,
    keys: &'static str,
    port: PathBuf,
    healthy: bool,
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
    Battery { id, kind, keys, port, healthy: rates == FaultRates::default(), sim }
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
    Battery { id, kind, keys, port, healthy: rates == FaultRates::default(), sim }
}

async fn batteries() -> Vec<Battery> {
    let (can, cand) = ("slcan://{}?bitrate=500000", "socketcand://{}/can0");
    let daly = |seed| DalySim::new(pack(seed), Board::FIRST, NORMAL);
    let registers = |seed, dialect| DalyRegistersSim::new(pack(seed), dialect, NORMAL);
    let sunspec = |seed| SunspecSim::new(pack(seed), 1, 40_000, NORMAL);
    let telecom = |seed, maker: Maker| TelecomSim::new(pack(seed), maker, maker.first_address());
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
        on_pty(("jk", "jk_bms", ""), "{}", "", JkSim::new(pack(10))),
        on_pty(("libre", "libre_solar", ""), "{}", WORSE, LibreSolarSim::new(pack(11))),
        on_pty(
            ("libre-can", "libre_solar", ""),
            can,
            BAD,
            SlcanSide::new(LibreSolarCanSim::new(pack(12), 1)),
        ),
        on_tcp(("pylontech", "pylontech_bms", ""), "tcp://{}", "", telecom(13, Maker::Pylontech)).await,
        on_pty(("seplos", "seplos_bms", ""), "{}", WORSE, telecom(14, Maker::Seplos)),
        on_pty(("sunspec", "sunspec_bms", ""), "{}", "", sunspec(15)),
        on_tcp(("sunspec-tcp", "sunspec_bms", ""), "modbus-tcp://{}", "", ModbusTcpSide::new(sunspec(16)))
            .await,
    ]
}

fn open_files(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// The longest but one in a hundred of the times between readings.
async fn p99_ms(node: &Node, device: &str) -> i64 {
    let times: Vec<i64> = node.samples(device, "pack_voltage").await.iter().map(|(at, _)| *at).collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    assert!(gaps.len() >= 10, "{device} was read {} times", times.len());
    gaps[(gaps.len() * 99).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_batteries_of_all_kinds_live_with_bad_lines() {
    let seconds =
        std::env::var("VOLTREE_FLAKY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let batteries = batteries().await;
    assert_eq!(batteries.len(), 16);
    let site = batteries.iter().fold(Site::new(), |site, battery| {
        site.battery(battery.id, battery.kind, &battery.port, battery.keys)
    });
    let node = site.start().await;
    for battery in &batteries {
        until(&format!("{} is read", battery.id), BOUND, || async {
            let ledger = node.ledger(Some(battery.id)).await;
            if ledger.received >= 2 { Ok(()) } else { Err(format!("{ledger:?}")) }
        })
        .await;
    }
    let files = open_files(&node);
    let end = Instant::now() + Duration::from_secs(seconds);
    until("the time is over", Duration::from_secs(seconds) + BOUND, || async {
        if Instant::now() >= end { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0 && actor.status == "running"), "{tree:?}");
    // A link that is being opened anew, a scrape or a query may hold a few for a moment.
    let now = open_files(&node);
    assert!(now <= files + 8, "{now} files are open, {files} were");
    for battery in batteries.iter().filter(|battery| battery.healthy) {
        let p99 = p99_ms(&node, battery.id).await;
        // Polled every 300 ms; a Pylontech or SunSpec cycle takes several questions.
        assert!(p99 <= 1_500, "{}: {p99} ms between readings", battery.id);
    }
    for battery in &batteries {
        battery.sim.pause();
    }
    for battery in &batteries {
        let ledger = node.ledger_at_rest(Some(battery.id)).await;
        assert!(ledger.stored >= 2 && ledger.rejected == 0 && ledger.dead == 0, "{}: {ledger:?}", battery.id);
        assert!(!battery.healthy || ledger.stored >= seconds / 2, "{}: {ledger:?}", battery.id);
    }
    assert_eq!(node.stop().await, Some(0));
}
