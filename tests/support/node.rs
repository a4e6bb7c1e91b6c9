//! A node as its user runs it: the real binary, a configuration file, a data directory, its own ports.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::until;

pub(crate) const VOLTREE: &str = env!("CARGO_BIN_EXE_voltree");

/// How long a node may take to start, answer or come to rest on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// How many lines of its log a node shows when a test failed.
const LAST_WORDS: usize = 80;

/// A running node.
pub(crate) struct Node {
    process: Child,
    pub(crate) http: String,
    pub(crate) mqtt: SocketAddr,
    pub(crate) mqtts: Option<SocketAddr>,
    pub(crate) log: PathBuf,
    client: reqwest::Client,
}

/// A directory with a configuration, where nodes are started and started again.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    devices: String,
    mqtt_port: u16,
    mqtt_rate_per_s: u32,
    brokers: String,
    admission: &'static str,
    node_id: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admission = "[devices]\nunknown = \"adopt\"\n";
        Self {
            dir,
            devices: String::new(),
            mqtt_port: 0,
            mqtt_rate_per_s: 0,
            brokers: String::new(),
            admission,
            node_id: "test".to_owned(),
        }
    }

    /// Calls the node so.
    pub(crate) fn node_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.node_id);
        self
    }

    /// Admits publishers as a node does that is told nothing: those who are unknown wait.
    pub(crate) fn quarantine(mut self) -> Self {
        self.admission = "";
        self
    }

    /// Lets each client publish that fast only; without it tests publish as fast as they can.
    pub(crate) fn mqtt_rate_per_s(mut self, rate: u32) -> Self {
        self.mqtt_rate_per_s = rate;
        self
    }

    /// Listens for MQTT on this port instead of a free one.
    pub(crate) fn mqtt_port(mut self, port: u16) -> Self {
        self.mqtt_port = port;
        self
    }

    /// Adds an outside broker on this port of this machine.
    pub(crate) fn broker(mut self, name: &str, port: u16) -> Self {
        self.brokers += &format!("[[mqtt.broker]]\nname = {name:?}\nhost = \"127.0.0.1\"\nport = {port}\n");
        self
    }

    /// Adds an outside broker on this port of this machine, with these keys.
    pub(crate) fn bridge(self, name: &str, port: u16, keys: &str) -> Self {
        let mut site = self.broker(name, port);
        site.brokers += keys;
        site
    }

    /// Adds sections of the MQTT listener as they stand in a file.
    pub(crate) fn mqtt_sections(mut self, sections: &str) -> Self {
        self.brokers += sections;
        self
    }

    /// Adds a Daly pack on this port.
    pub(crate) fn pack(mut self, id: &str, port: &Path, poll_interval_ms: u64) -> Self {
        self.devices += &format!(
            "[[device]]\nid = {id:?}\ntype = \"daly_bms\"\nport = {:?}\npoll_interval_ms = {poll_interval_ms}\n",
            port.to_str().unwrap()
        );
        self
    }

    /// Adds a battery of any type on this port.
    pub(crate) fn battery(mut self, id: &str, kind: &str, port: &Path, more: &str) -> Self {
        let port = port.to_str().unwrap();
        self.devices += &format!(
            "[[device]]\nid = {id:?}\ntype = {kind:?}\nport = {port:?}\npoll_interval_ms = 300\n{more}\n"
        );
        self
    }

    /// Adds a broker and a Bluetooth radio that nobody has, so that the actors which look after them are in the tree.
    pub(crate) fn out_of_reach(self) -> Self {
        let port = "ble://C8:47:80:00:00:01?adapter=nobody";
        self.broker("nobody", 1).battery("radio", "daly_bms", port.as_ref(), "")
    }

    /// Limits the size of the buckets. No device may be added afterwards.
    pub(crate) fn max_mib(mut self, mib: u64) -> Self {
        self.devices += &format!("[retention]\nmax_mib = {mib}\n");
        self
    }

    /// Limits the connections over Bluetooth. No device may be added afterwards.
    pub(crate) fn max_ble_connections(mut self, most: usize) -> Self {
        self.devices += &format!("[bluetooth]\nconnections = {most}\n");
        self
    }

    /// Takes all devices out of the configuration.
    pub(crate) fn forget_devices(&mut self) {
        self.devices.clear();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn config(&self) -> PathBuf {
        let file = self.dir.path().join("voltree.toml");
        let data = self.data();
        let text = format!(
            "[node]\nid = {:?}\ndata_dir = {:?}\n[log]\nlevel = \"info\"\nformat = \"json\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n{}[mqtt]\nlisten = \"127.0.0.1:{}\"\nrate_per_s = {}\n{}{}",
            self.node_id,
            data.to_str().unwrap(),
            self.admission,
            self.mqtt_port,
            self.mqtt_rate_per_s,
            self.brokers,
            self.devices
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Starts a node on this site and waits until it is ready.
    pub(crate) async fn start(&self) -> Node {
        let config = self.config();
        Node::start(&["run", "--config", config.to_str().unwrap()], &self.dir.path().join("log")).await
    }
}

impl Node {
    /// Starts the binary with these arguments, its log in a file, and waits until it is ready.
    pub(crate) async fn start(args: &[&str], log: &Path) -> Self {
        Self::start_in(args, log, &[]).await
    }

    /// The same with these variables in its environment.
    pub(crate) async fn start_in(args: &[&str], log: &Path, environment: &[(&str, &str)]) -> Self {
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut process = Command::new(VOLTREE)
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut http, mut mqtt, mut mqtts) = (None, None, None);
        for line in stdout.by_ref() {
            if let Some(url) = line.trim().strip_prefix("console  ") {
                http = Some(url.trim_end_matches('/').to_owned());
            }
            if let Some(address) = line.trim().strip_prefix("mqtts    mqtts://") {
                mqtts = Some(address.parse().unwrap());
            }
            if let Some(address) = line.trim().strip_prefix("mqtt     mqtt://") {
                mqtt = Some(address.parse().unwrap());
            }
            if line.trim().starts_with("data  ") {
                break;
            }
        }
        std::thread::spawn(move || stdout.for_each(drop));
        let log = log.to_owned();
        let (Some(http), Some(mqtt)) = (http, mqtt) else {
            panic!("the node did not start: {}", std::fs::read_to_string(&log).unwrap());
        };
        let node = Self { process, http, mqtt, mqtts, log, client: reqwest::Client::new() };
        until("the node is ready", BOUND, || async {
            let answer = node.client.get(format!("{}/health/ready", node.http)).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        node
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let process = &mut self.process;
        let mut ended = None;
        let begun = std::time::Instant::now();
        while ended.is_none() && begun.elapsed() < BOUND {
            ended = process.try_wait().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ended.expect("the node stops in time").code()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.http)).send().await.unwrap()
    }

    /// The answer to a GraphQL request, errors and all.
    pub(crate) async fn ask(&self, query: &str, variables: Value) -> Result<Value, String> {
        let request = self.client.post(format!("{}/graphql", self.http));
        let answer = request.json(&json!({ "query": query, "variables": variables })).send().await;
        answer.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())
    }

    /// The data of a GraphQL answer without errors.
    pub(crate) async fn query(&self, query: &str, variables: Value) -> Value {
        let answer = self.ask(query, variables).await.unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].clone()
    }

    /// The tree, or why it can't be read right now.
    pub(crate) async fn try_tree(&self) -> Result<Vec<Actor>, String> {
        let query = "{ supervisionTree { path kind supervisor status incarnation restarts lastReason } }";
        let answer = self.ask(query, json!({})).await?;
        let actors = answer["data"]["supervisionTree"].as_array().ok_or_else(|| answer.to_string())?;
        Ok(actors.iter().map(Actor::from).collect())
    }

    /// Has something done of which only whether it was done is of interest.
    async fn have_done(&self, mutation: &str, variables: Value) -> Result<(), String> {
        let answer = self.ask(mutation, variables).await?;
        if answer.get("errors").is_some() { Err(answer.to_string()) } else { Ok(()) }
    }

    pub(crate) async fn kill_actor(&self, path: &str) -> Result<(), String> {
        self.have_done(
            "mutation($path: String!) { killActor(path: $path) { path } }",
            json!({ "path": path }),
        )
        .await
    }

    /// Gives an order that names an actor and a reason.
    pub(crate) async fn order(&self, order: &str, path: &str) -> Result<(), String> {
        let mutation =
            format!("mutation($path: String!) {{ {order}(path: $path, reason: \"a test\") {{ path }} }}");
        self.have_done(&mutation, json!({ "path": path })).await
    }

    pub(crate) async fn inject(&self, fault: &Value) -> Result<(), String> {
        let mutation =
            "mutation($fault: FaultInput!) { injectFault(fault: $fault, reason: \"a test\") { id } }";
        self.have_done(mutation, json!({ "fault": fault })).await
    }

    pub(crate) async fn clear_faults(&self) -> Result<(), String> {
        self.have_done("mutation { clearFaults(reason: \"a test\") }", json!({})).await
    }

    /// A metric without labels, 0 before it was first counted.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }

    /// What `voltree device` answers for this node, and its exit code.
    pub(crate) fn device_command(&self, args: &[&str]) -> (Option<i32>, String) {
        let http = self.http.trim_start_matches("http://");
        let output = Command::new(VOLTREE).arg("device").args(args).args(["--http", http]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    /// Waits until a device is in this state.
    pub(crate) async fn device_is(&self, device: &str, state: &str) {
        until(&format!("{device} is {state}"), BOUND, || async {
            let query = "query($d: ID!) { device(id: $d) { state } }";
            let answer = self.ask(query, json!({ "d": device })).await?;
            if answer["data"]["device"]["state"] == state { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
    }

    /// Waits until a metric without labels has this value.
    pub(crate) async fn metric_is(&self, name: &str, wanted: f64) {
        until(&format!("{name} is {wanted}"), BOUND, || async {
            let value = self.metric(name).await;
            if value == wanted { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }

    /// One device's ledger; `None` is the node's own.
    pub(crate) async fn ledger(&self, device: Option<&str>) -> Ledger {
        self.known_ledger(device).await.unwrap_or_default()
    }

    async fn known_ledger(&self, device: Option<&str>) -> Option<Ledger> {
        let query = "{ ledger { deviceId received stored duplicate rejected deadLettered pending } }";
        let data = self.query(query, json!({})).await;
        let rows = data["ledger"].as_array().unwrap();
        let row = rows.iter().find(|row| row["deviceId"].as_str() == device);
        row.map(Ledger::from)
    }

    /// The ledger once something was counted and nothing is pending: a commit is counted a moment after it is told.
    pub(crate) async fn ledger_at_rest(&self, device: Option<&str>) -> Ledger {
        until(&format!("{device:?} is at rest"), BOUND, || async {
            let ledger = self.known_ledger(device).await;
            let at_rest = |ledger: &Ledger| ledger.received > 0 && ledger.pending == 0;
            ledger.clone().filter(at_rest).ok_or_else(|| format!("{ledger:?}"))
        })
        .await
    }

    /// The ledger once this many readings were received and nothing is pending.
    pub(crate) async fn ledger_settled<'a>(
        &self,
        device: impl Into<Option<&'a str>>,
        received: u64,
    ) -> Ledger {
        let device = device.into();
        until(&format!("{received} readings of {device:?} are settled"), BOUND, || async {
            let ledger = self.ledger(device).await;
            let settled = ledger.received >= received && ledger.pending == 0;
            if settled { Ok(ledger) } else { Err(format!("{ledger:?}")) }
        })
        .await
    }

    /// Every sample of a series: its time in UTC milliseconds and its value.
    pub(crate) async fn samples(&self, device: &str, metric: &str) -> Vec<(i64, f64)> {
        let query = "query($d: ID!, $m: String!) { deviceTelemetry(deviceId: $d, metricName: $m, \
                     from: \"2000-01-01T00:00:00Z\", to: \"2100-01-01T00:00:00Z\", limit: 100000) { points { time value } } }";
        let data = self.query(query, json!({ "d": device, "m": metric })).await;
        let points = data["deviceTelemetry"]["points"].as_array().unwrap();
        points
            .iter()
            .map(|point| {
                let time = voltree_model::Timestamp::parse_rfc3339(point["time"].as_str().unwrap()).unwrap();
                (time.as_millis(), point["value"].as_f64().unwrap())
            })
            .collect()
    }

    /// The log so far.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A process that has ended already needs no killing.
        self.process.kill().ok();
        self.process.wait().ok();
        if std::thread::panicking() {
            self.tell_last_words();
        }
    }
}

impl Node {
    /// What the node logged last, for whoever has to find out why a test failed.
    fn tell_last_words(&self) {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        println!("the node's log ends with:");
        lines[lines.len().saturating_sub(LAST_WORDS)..].iter().for_each(|line| println!("{line}"));
    }
}

/// An actor as supervisionTree shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Actor {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) restarts: u64,
    pub(crate) incarnation: u64,
}

impl From<&Value> for Actor {
    fn from(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        Self {
            path: text("path"),
            kind: text("kind"),
            status: text("status"),
            restarts: value["restarts"].as_u64().unwrap(),
            incarnation: value["incarnation"].as_u64().unwrap(),
        }
    }
}

/// A ledger row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) dead: u64,
    pub(crate) pending: u64,
}

impl From<&Value> for Ledger {
    fn from(row: &Value) -> Self {
        let number = |key: &str| row[key].as_u64().unwrap();
        let ledger = Self {
            received: number("received"),
            stored: number("stored"),
            duplicate: number("duplicate"),
            rejected: number("rejected"),
            dead: number("deadLettered"),
            pending: number("pending"),
        };
        let out = ledger.stored + ledger.duplicate + ledger.rejected + ledger.dead + ledger.pending;
        assert_eq!(ledger.received, out, "the ledger does not balance: {ledger:?}");
        ledger
    }
}
