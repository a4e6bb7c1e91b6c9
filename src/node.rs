//! A node: what outlives its actors, and the supervision tree on one page.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use voltree_actors::aggregator::{Aggregator, AggregatorArgs, PublishedHead, Shard, head_of};
use voltree_actors::alerts::{AlertBook, Alerting};
use voltree_actors::ble_adapter;
use voltree_actors::bms::{self, BmsSettings};
use voltree_actors::commands::CommandBook;
use voltree_actors::crash_reports::{CrashBook, CrashReporter};
use voltree_actors::dead_letters::DeadLetters;
use voltree_actors::event_log::{EventBook, EventLog};
use voltree_actors::fault_points::FAULT_POINTS;
use voltree_actors::fleet::{Fleet, LocalFleet};
use voltree_actors::journal::JournalWriter;
use voltree_actors::line::Lines;
use voltree_actors::line_door::LineDoor;
use voltree_actors::live::{Live, LiveBus};
use voltree_actors::mqtt::outside::{self, OutsideBroker};
use voltree_actors::mqtt::tls::Tls;
use voltree_actors::mqtt::{
    Broker, Conventions, Entrance, Listener, ListenerArgs, ListenerSocket, keeper, messenger,
};
use voltree_actors::presence::{Presence, PresenceBook};
use voltree_actors::recorder::{Recorder, RecorderArgs};
use voltree_actors::registry::{DeviceRecord, DeviceSpec, Gate, Registry};
use voltree_actors::uptime::{Uptime, UptimeBook};
use voltree_actors::{FaultyDisk, aggregator::AggregatorMsg, cursor::CursorMsg, now};
use voltree_cluster::NodeIdentity;
use voltree_protocols::link::{LinkAddress, Radio};
use voltree_runtime::metrics::MetricsHandle;
use voltree_runtime::{
    ActorPath, ChildSpec, Children, Directory, Events, Faults, RestartPolicy, Strategy, WatchOptions,
    run_tree,
};
use voltree_storage::{DataDir, JournalOptions, JournalSlot, RealDisk, Store};

use crate::config::tls::TlsListener;
use crate::config::{Config, PackConfig};
use crate::environment::Environment;
use crate::http::{Http, HttpArgs};
use crate::{metric_table, postmortem};

/// How many shards the devices are spread over.
const SHARDS: u32 = 2;

/// How long a reader of the journal may be at one thing: after a start it may have much to catch up with.
const CATCHING_UP: Duration = Duration::from_secs(600);
/// How long work on blocking threads may take after the tree has stopped.
const LAST_WORK: Duration = Duration::from_secs(10);
/// The exit code when actors that spin hold so many threads that the node can't even end in order.
const STUCK: i32 = 70;

/// A node that is ready to run.
#[derive(Debug)]
pub(crate) struct Node {
    config: Config,
    http: SocketAddr,
    mqtt: SocketAddr,
    mqtts: Option<SocketAddr>,
    root: ActorPath,
    directory: Directory,
    tree: Children,
    events: Arc<EventBook>,
    crashes: Arc<CrashBook>,
    uptime: Arc<UptimeBook>,
    reach: Reach,
    /// Held for as long as the node lives: it is the lock on the data directory.
    _data: DataDir,
}

/// What a run that tests the node may reach of it.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) fleet: Fleet,
    pub(crate) faults: Faults,
    pub(crate) events: Events,
}

/// What outlives the actors.
struct Estate {
    directory: Directory,
    events: Arc<EventBook>,
    crashes: Arc<CrashBook>,
    uptime: Arc<UptimeBook>,
    faults: Faults,
    root: ActorPath,
    journal: Arc<JournalSlot>,
    store: Arc<Store>,
    heads: Vec<Arc<PublishedHead>>,
    registry: Arc<Registry>,
    dead_letters: Arc<DeadLetters>,
    devices: Children,
    lines: Lines,
    /// Whether any battery is reached over Bluetooth.
    on_air: bool,
    alerts: Arc<AlertBook>,
    presence: Arc<PresenceBook>,
    live: Arc<LiveBus>,
    commands: Arc<CommandBook>,
    broker: Arc<Broker>,
    line_door: Arc<LineDoor>,
    mqtt: Arc<ListenerSocket>,
    mqtts: Option<(Arc<ListenerSocket>, Tls)>,
    entrance: Entrance,
    http: Arc<ListenerSocket>,
}

impl Node {
    /// Opens everything a node needs: its log, its data, its ports. Nothing runs yet.
    pub(crate) fn prepare(config: Config, environment: &Environment<'_>) -> anyhow::Result<Self> {
        voltree_runtime::telemetry::install(&config.log_level, config.log_format)
            .map_err(|error| anyhow::anyhow!("log.level {:?} can't be used: {error}", config.log_level))?;
        let idle = environment.without_effect();
        if !idle.is_empty() {
            tracing::warn!(
                names = idle.join(" "),
                "set in the environment, and without effect in this version"
            );
        }
        if !config.mqtt_listen.ip().is_loopback() && config.mqtt_access.is_local_only() {
            tracing::warn!(
                listen = %config.mqtt_listen,
                "MQTT clients on other machines will be turned away: there is no [[mqtt.user]]; voltree passwd makes a hash"
            );
        }
        let metrics =
            voltree_runtime::metrics::install(metric_table::TABLE).context("installing the metrics")?;
        let data = DataDir::open(&config.data_dir)?;
        let estate = Estate::open(&config, &data)?;
        let (http, mqtt) = (estate.http.address()?, estate.mqtt.address()?);
        let mqtts = estate.mqtts.as_ref().map(|(socket, _)| socket.address()).transpose()?;
        let fleet = estate.fleet();
        let events = estate.directory.events().clone();
        let reach = Reach { fleet: fleet.clone(), faults: estate.faults.clone(), events };
        let identity = NodeIdentity::new(&config.node_id, config.site.as_deref());
        let info = voltree_api::NodeInfo {
            name: identity.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: now(),
        };
        let (registry, directory) = (Arc::clone(&estate.registry), estate.directory.clone());
        let scraped = metrics.clone();
        let (store, journal) = (Arc::clone(&estate.store), Arc::clone(&estate.journal));
        let radio = estate.on_air.then(|| Arc::clone(estate.lines.radio()));
        let render = move || {
            voltree_actors::metrics::observe(&registry, now());
            voltree_actors::metrics::observe_storage(&store, &journal);
            if let Some(radio) = &radio {
                voltree_actors::metrics::observe_radio(radio);
            }
            voltree_runtime::metrics::observe(&directory);
            scraped.render()
        };
        let hosts = voltree_api::Hosts::named(config.http_hosts.iter().cloned());
        let router = voltree_api::router_for(fleet, info, Arc::new(render), hosts);
        for pack in &config.packs {
            estate.add_pack(pack, config.site.as_deref());
        }
        estate.remember_devices(&config, &data)?;
        let tree = estate.tree(router, metrics, &config.brokers);
        estate.subscribe_to_commits();
        let Estate { root, directory, events, crashes, uptime, .. } = estate;
        Ok(Self {
            config,
            http,
            mqtt,
            mqtts,
            root,
            directory,
            tree,
            events,
            crashes,
            uptime,
            reach,
            _data: data,
        })
    }

    /// Where everything is, for whoever started the node.
    pub(crate) fn welcome(&self) -> String {
        let Self { http, mqtt, config, .. } = self;
        let mqtts = self.mqtts.map(|at| format!("  mqtts    mqtts://{at}\n")).unwrap_or_default();
        let data = config.data_dir.display();
        format!(
            "voltree {} is up\n  console  http://{http}/\n  graphql  http://{http}/graphql\n  metrics  \
             http://{http}/metrics\n  mqtt     mqtt://{mqtt}\n{mqtts}  data     {data}\nCtrl-C stops it.",
            env!("CARGO_PKG_VERSION")
        )
    }

    /// Where MQTT is served.
    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Its doors and its faults.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// Runs the tree until `stop` resolves and everything has stopped in order.
    pub(crate) async fn run(self, stop: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let ran = run_tree(self.root, self.directory, self.tree, stop).await;
        // The end of the tree belongs to its history too, and nobody in it is left to write it.
        let (events, crashes, uptime) = (self.events, self.crashes, self.uptime);
        let last_words = move || {
            crashes.flush();
            events.flush_last();
            uptime.beat(now());
        };
        tokio::task::spawn_blocking(last_words).await.context("storing the last events")?;
        Ok(ran?)
    }
}

impl Estate {
    fn open(config: &Config, data: &DataDir) -> anyhow::Result<Self> {
        let http = bind("http.listen", config.http_listen)?;
        let mqtt = bind("mqtt.listen", config.mqtt_listen)?;
        let mqtts = config.mqtt_tls.as_ref().map(bind_tls).transpose()?;
        let disk = Arc::new(RealDisk);
        let faults = Faults::new(FAULT_POINTS, 0);
        let store = Store::open(data, disk.clone())?;
        store.set_retention(config.retention.clone());
        let journal_disk = Arc::new(FaultyDisk::new(disk.clone(), faults.clone()));
        let journal =
            JournalSlot::open(journal_disk, &data.journal(), JournalOptions::default(), store.positions())?;
        let directory = Directory::watched(WatchOptions {
            last_resort: Some(|| std::process::exit(STUCK)),
            ..WatchOptions::default()
        });
        let uptime = Arc::new(UptimeBook::open(disk.clone(), data.root(), now())?);
        let events =
            Arc::new(EventBook::open(Arc::clone(&journal), data.root(), directory.events().clone())?);
        let root = ActorPath::root("node");
        let devices = Children::default();
        let dead_letters = Arc::new(DeadLetters::open(Arc::clone(&journal), &data.path("dead-letters"))?);
        let gate = Gate::open(Arc::clone(&journal), &data.path("admission"), config.admission.clone())?;
        let registry = Registry::new(
            root.child("devices"),
            devices.clone(),
            directory.clone(),
            Arc::clone(&journal),
            store.age_limits(),
            Arc::clone(&dead_letters),
            faults.clone(),
        );
        let registry = Arc::new(registry.with_gate(gate).with_standings()?);
        let crashes = Arc::new(CrashBook::open(
            disk,
            data.path("crashes"),
            directory.events().clone(),
            Arc::clone(&registry),
            postmortem::this_build(),
        )?);
        let heads = shards().map(|shard| Arc::new(PublishedHead::new(head_of(&store, shard)))).collect();
        let alerts = Arc::new(AlertBook::open(
            Arc::clone(&journal),
            &data.path("alerts"),
            config.alerts.clone(),
            Arc::clone(&registry),
            Arc::clone(&store),
            root.child("storage"),
        )?);
        let presence = Arc::new(PresenceBook::open(data.path("presence"), Arc::clone(&registry))?);
        let live = Arc::new(LiveBus::new(Arc::clone(&journal)));
        let keeper = directory.handle(&root.child("mqtt").child("keeper"));
        let (known, durable) = (Arc::clone(&registry), Arc::clone(&journal));
        let access = Arc::new(config.mqtt_access.clone());
        let conventions = Arc::new(conventions(config).remembering(Arc::clone(&journal))?);
        let commands = Arc::new(CommandBook::open(Arc::clone(&journal))?);
        let messenger = directory.handle(&root.child("mqtt").child("messenger"));
        let orders = (Arc::clone(&commands), messenger);
        let broker = Broker::open(&data.path("broker"), known, durable, access, conventions, keeper, orders)?;
        let broker = broker.with_rate(config.mqtt_rate).with_will_patience(config.will_patience);
        let broker = broker.with_bridges(&config.node_id, &config.brokers)?;
        let broker = Arc::new(broker);
        let clients = root.child("mqtt").child("clients");
        let entrance = Entrance::new(Arc::clone(&broker), clients, directory.clone());
        Ok(Self {
            directory,
            events,
            crashes,
            uptime,
            faults,
            root,
            journal,
            store,
            heads,
            registry,
            dead_letters,
            devices,
            lines: Lines::new(Arc::new(Radio::new(config.ble_connections))),
            on_air: config.packs.iter().any(|pack| matches!(pack.address, LinkAddress::Ble { .. })),
            alerts,
            presence,
            live,
            commands,
            line_door: Arc::new(LineDoor::new(Arc::clone(&broker), config.influx.clone())),
            broker,
            mqtt,
            mqtts,
            entrance,
            http,
        })
    }

    fn fleet(&self) -> Fleet {
        voltree_cluster::local_fleet(LocalFleet {
            registry: Arc::clone(&self.registry),
            dead_letters: Arc::clone(&self.dead_letters),
            heads: self.heads.clone(),
            store: Arc::clone(&self.store),
            journal: Arc::clone(&self.journal),
            faults: self.faults.clone(),
            crashes: Arc::clone(&self.crashes),
            alerts: Arc::clone(&self.alerts),
            presence: Arc::clone(&self.presence),
            commands: Arc::clone(&self.commands),
            uptime: Arc::clone(&self.uptime),
            live: Arc::clone(&self.live),
            lines: Arc::clone(&self.line_door),
            mqtt: self.entrance.clone(),
            directory: self.directory.clone(),
            way_out: vec![self.root.child("edges").child("http")],
        })
    }

    fn add_pack(&self, pack: &PackConfig, site: Option<&str>) {
        let settings = BmsSettings {
            line: self.lines.line(&pack.address),
            poll_interval: pack.poll_interval,
            driver: pack.driver.clone(),
            invert_current: pack.invert_current,
            allow_write: pack.allow_write,
        };
        let spec = DeviceSpec {
            id: pack.id.clone(),
            name: pack.name.clone(),
            kind: pack.driver.kind(),
            site: site.map(str::to_owned),
            labels: pack.labels.clone(),
            offline_after: bms::offline_after(pack.poll_interval),
            wanted: true,
        };
        let journal = Arc::clone(&self.journal);
        self.registry.register(spec, now(), move |entry| bms::child(entry, journal, settings));
    }

    /// Lists every device that has a history, and keeps what the configuration says of its own for the day it does not.
    fn remember_devices(&self, config: &Config, data: &DataDir) -> anyhow::Result<()> {
        let mut records = DeviceRecord::known(&self.journal, &data.path("devices"))?;
        let configured = config.packs.iter().map(|pack| {
            let record = DeviceRecord { name: pack.name.clone(), kind: pack.driver.kind().to_owned() };
            (pack.id.clone(), record)
        });
        DeviceRecord::keep(&self.journal, &mut records, configured)?;
        self.registry.readopt(now());
        let origins = self.journal.last_origins();
        for device in origins.keys().filter(|device| !self.registry.is_removed(device)) {
            match records.get(device) {
                Some(record) => self.registry.remember(device, record, now()),
                None => drop(self.registry.adopt(device, now())),
            }
        }
        Ok(())
    }

    /// The tree, started top to bottom and stopped in reverse.
    fn tree(&self, router: axum::Router, metrics: MetricsHandle, brokers: &[OutsideBroker]) -> Children {
        let group = |name: &str, children| ChildSpec::supervisor(name, RestartPolicy::GROUP, children);
        let outside = brokers.iter().flat_map(|outside| outside::children(outside, &self.broker));
        Children::new([
            group(
                "storage",
                Children::new(
                    [self.event_log(), self.uptime(), self.crash_reporter(), self.journal()]
                        .into_iter()
                        .chain(shards().map(|s| self.recorder(s))),
                ),
            ),
            group("analysis", Children::new(shards().map(|s| self.aggregator(s)).chain([self.alerting()])))
                .with_strategy(Strategy::RestForOne),
            group("live", Children::new([self.live(), self.presence()])),
            group(
                "links",
                Children::new(self.on_air.then(|| ble_adapter::child(Arc::clone(self.lines.radio())))),
            ),
            group("devices", self.devices.clone()).in_parallel(),
            group(
                "mqtt",
                Children::new(
                    [
                        keeper::child(Arc::clone(&self.broker)),
                        messenger::child(Arc::clone(&self.broker)),
                        group("clients", self.entrance.clients().clone()).in_parallel(),
                        self.listener("listener", &self.mqtt, None),
                    ]
                    .into_iter()
                    .chain(
                        self.mqtts
                            .as_ref()
                            .map(|(socket, tls)| self.listener("listener-tls", socket, Some(tls.clone()))),
                    )
                    .chain([group("brokers", Children::new(outside)).in_parallel()]),
                ),
            ),
            group("edges", Children::new([self.http(router, metrics)])),
        ])
    }

    fn event_log(&self) -> ChildSpec {
        let book = Arc::clone(&self.events);
        ChildSpec::worker("events", "event_log", RestartPolicy::SERVICE, move |_| {
            (EventLog, Arc::clone(&book))
        })
    }

    fn crash_reporter(&self) -> ChildSpec {
        let book = Arc::clone(&self.crashes);
        ChildSpec::worker("crash-reports", "crash_reporter", RestartPolicy::SERVICE, move |_| {
            (CrashReporter, Arc::clone(&book))
        })
    }

    fn uptime(&self) -> ChildSpec {
        let book = Arc::clone(&self.uptime);
        ChildSpec::worker("uptime", "uptime", RestartPolicy::SERVICE, move |_| (Uptime, Arc::clone(&book)))
    }

    fn journal(&self) -> ChildSpec {
        let slot = Arc::clone(&self.journal);
        ChildSpec::worker("journal", "journal", RestartPolicy::SERVICE, move |_| {
            (JournalWriter, Arc::clone(&slot))
        })
    }

    fn recorder(&self, shard: Shard) -> ChildSpec {
        let args = RecorderArgs {
            store: Arc::clone(&self.store),
            journal: Arc::clone(&self.journal),
            aggregator: self.directory.handle(&self.aggregator_path(shard)),
            alerts_saved: self.alerts.saved(),
            shard: shard.index,
            faults: self.faults.clone(),
        };
        let name = format!("recorder-{}", shard.index);
        ChildSpec::worker(name, "recorder", RestartPolicy::SERVICE, move |_| (Recorder, args.clone()))
            .with_stall_limit(CATCHING_UP)
    }

    fn aggregator(&self, shard: Shard) -> ChildSpec {
        let index = usize::try_from(shard.index).unwrap_or_default();
        let args = AggregatorArgs {
            shard,
            journal: Arc::clone(&self.journal),
            store: Arc::clone(&self.store),
            published: Arc::clone(&self.heads[index]),
            faults: self.faults.clone(),
            recorder: self
                .directory
                .handle(&self.root.child("storage").child(&format!("recorder-{}", shard.index))),
        };
        let name = format!("aggregator-{}", shard.index);
        ChildSpec::worker(name, "aggregator", RestartPolicy::SERVICE, move |_| (Aggregator, args.clone()))
            .with_stall_limit(CATCHING_UP)
    }

    fn alerting(&self) -> ChildSpec {
        let book = Arc::clone(&self.alerts);
        ChildSpec::worker("alerts", "alerts", RestartPolicy::SERVICE, move |_| (Alerting, Arc::clone(&book)))
            .with_stall_limit(CATCHING_UP)
    }

    fn live(&self) -> ChildSpec {
        let bus = Arc::clone(&self.live);
        ChildSpec::worker("bus", "live", RestartPolicy::SERVICE, move |_| (Live, Arc::clone(&bus)))
            .with_stall_limit(CATCHING_UP)
    }

    fn presence(&self) -> ChildSpec {
        let book = Arc::clone(&self.presence);
        ChildSpec::worker("presence", "presence", RestartPolicy::SERVICE, move |_| {
            (Presence, Arc::clone(&book))
        })
    }

    fn listener(&self, name: &str, socket: &Arc<ListenerSocket>, tls: Option<Tls>) -> ChildSpec {
        let args = ListenerArgs { socket: Arc::clone(socket), tls, entrance: self.entrance.clone() };
        ChildSpec::worker(name, "mqtt_listener", RestartPolicy::SERVICE, move |_| (Listener, args.clone()))
    }

    fn http(&self, router: axum::Router, metrics: MetricsHandle) -> ChildSpec {
        let args = HttpArgs { socket: Arc::clone(&self.http), router, metrics };
        ChildSpec::worker("http", "http", RestartPolicy::SERVICE, move |_| (Http, args.clone()))
    }

    fn aggregator_path(&self, shard: Shard) -> ActorPath {
        self.root.child("analysis").child(&format!("aggregator-{}", shard.index))
    }

    /// Everyone who reads the journal is woken when there is more of it.
    fn subscribe_to_commits(&self) {
        let aggregators: Vec<_> = shards()
            .map(|shard| self.directory.handle::<AggregatorMsg>(&self.aggregator_path(shard)))
            .collect();
        let analysis = self.root.child("analysis");
        let readers = [analysis.child("alerts"), self.root.child("live").child("bus")];
        let readers = readers.map(|path| self.directory.handle::<CursorMsg>(&path));
        self.journal.on_commit(Box::new(move |_| {
            aggregators.iter().for_each(|handle| handle.nudge(AggregatorMsg::Committed));
            readers.iter().for_each(|handle| handle.nudge(CursorMsg::Committed));
        }));
    }
}

/// What is read besides the contract's own messages.
fn conventions(config: &Config) -> Conventions {
    let conventions = Conventions::new(config.mappings.clone());
    let conventions = match &config.discovery_prefix {
        Some(prefix) => conventions.with_discovery(prefix),
        None => conventions,
    };
    if config.sparkplug { conventions.with_sparkplug() } else { conventions }
}

fn shards() -> impl Iterator<Item = Shard> {
    (0..SHARDS).map(|index| Shard { index, count: SHARDS })
}

fn bind_tls(listener: &TlsListener) -> anyhow::Result<(Arc<ListenerSocket>, Tls)> {
    let tls = Tls::load(&listener.files).context("mqtt.tls can't be used")?;
    Ok((bind("mqtt.tls.listen", listener.listen)?, tls))
}

fn bind(key: &str, address: SocketAddr) -> anyhow::Result<Arc<ListenerSocket>> {
    let socket = ListenerSocket::bind(address).with_context(|| {
        format!("{key} = {address} can't be listened on; another program may have the port")
    })?;
    Ok(Arc::new(socket))
}

/// Runs to the end on a runtime of its own. Threads that actors hold which spin are left behind: the process ends.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let ended = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

/// Resolves on Ctrl-C or SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
