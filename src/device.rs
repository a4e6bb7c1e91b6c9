//! `voltree device`: the devices of a running node and who publishes and is none yet, and an operator's word on them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use voltree_model::DeviceId;

use crate::cli::say;

/// How long the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct DeviceOptions {
    /// Where the node serves its console and API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000", global = true)]
    http: SocketAddr,
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// List the devices, those who publish and wait to be adopted, and those who were sent away.
    List,
    /// Make a device of whoever publishes under this id, for good.
    Adopt {
        /// The id, as the list shows it.
        #[arg(value_parser = device_id)]
        id: DeviceId,
    },
    /// Turn away whatever is published under this id, until it is adopted; what is stored stays.
    Ignore {
        /// The id.
        #[arg(value_parser = device_id)]
        id: DeviceId,
    },
    /// Take nothing in from a device any more and stop its actor; it stays in the list, and this outlives restarts.
    Disable {
        /// The id.
        #[arg(value_parser = device_id)]
        id: DeviceId,
        /// Why, for the log and for whoever finds it disabled.
        #[arg(long)]
        reason: String,
    },
    /// Take a disabled device back.
    Enable {
        /// The id.
        #[arg(value_parser = device_id)]
        id: DeviceId,
        /// Why, for the log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a device from the list; what is stored stays, and it is discovered anew when it speaks again.
    Remove {
        /// The id.
        #[arg(value_parser = device_id)]
        id: DeviceId,
        /// Why, for the log.
        #[arg(long)]
        reason: Option<String>,
    },
}

fn device_id(text: &str) -> Result<DeviceId, String> {
    DeviceId::new(text).map_err(|error| error.to_string())
}

/// Does it.
pub(crate) fn run(options: &DeviceOptions) -> anyhow::Result<()> {
    match &options.command {
        DeviceCommand::List => list(options.http),
        DeviceCommand::Adopt { id } => {
            let mutation = "mutation($id: ID!) { adoptDevice(id: $id) { name } }";
            let answer = ask(options.http, mutation, &json!({ "id": id.as_str() }))?;
            let name = answer["adoptDevice"]["name"].as_str().unwrap_or_default().to_owned();
            say(&format!("{id} ({name}) is a device now"));
            Ok(())
        }
        DeviceCommand::Ignore { id } => {
            let mutation = "mutation($id: ID!) { ignoreDevice(id: $id) }";
            ask(options.http, mutation, &json!({ "id": id.as_str() }))?;
            say(&format!("{id} is turned away from now on; voltree device adopt {id} takes it back"));
            Ok(())
        }
        DeviceCommand::Disable { id, reason } => {
            let mutation =
                "mutation($id: ID!, $reason: String!) { disableDevice(id: $id, reason: $reason) { id } }";
            ask(options.http, mutation, &json!({ "id": id.as_str(), "reason": reason }))?;
            say(&format!("{id} is disabled; voltree device enable {id} takes it back"));
            Ok(())
        }
        DeviceCommand::Enable { id, reason } => {
            let mutation =
                "mutation($id: ID!, $reason: String) { enableDevice(id: $id, reason: $reason) { id } }";
            ask(options.http, mutation, &json!({ "id": id.as_str(), "reason": reason }))?;
            say(&format!("{id} is enabled"));
            Ok(())
        }
        DeviceCommand::Remove { id, reason } => {
            let mutation =
                "mutation($id: ID!, $reason: String) { deleteDevice(id: $id, reason: $reason) { id } }";
            ask(options.http, mutation, &json!({ "id": id.as_str(), "reason": reason }))?;
            say(&format!(
                "{id} is removed; what is stored of it stays, and it is found anew when it speaks again"
            ));
            Ok(())
        }
    }
}

fn list(http: SocketAddr) -> anyhow::Result<()> {
    let query = "{ devices { id name state } deviceCandidates { id name messages lastSeen ignored } }";
    let answer = ask(http, query, &json!({}))?;
    let rows = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let candidates = rows("deviceCandidates");
    for row in rows("devices") {
        let state = text(&row, "state").to_lowercase();
        let sent_away = candidates.iter().any(|other| other["id"] == row["id"]);
        if !sent_away {
            say(&format!("{:<24} {state:<12} {}", text(&row, "id"), text(&row, "name")));
        }
    }
    for row in candidates {
        let state = if row["ignored"] == json!(true) { "ignored" } else { "waiting" };
        let (id, name) = (text(&row, "id"), text(&row, "name"));
        let (messages, last) = (row["messages"].as_u64().unwrap_or_default(), text(&row, "lastSeen"));
        say(&format!("{id:<24} {state:<12} {name}: {messages} message(s) turned away, last {last}"));
    }
    Ok(())
}

/// The data of a GraphQL answer.
fn ask(http: SocketAddr, query: &str, variables: &Value) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let answer = runtime.block_on(post(http, &json!({ "query": query, "variables": variables })));
    let answer = answer.with_context(|| format!("asking the node at http://{http}/"))?;
    if let Some(error) = answer["errors"][0]["message"].as_str() {
        bail!("{error}");
    }
    Ok(answer["data"].clone())
}

async fn post(http: SocketAddr, body: &Value) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().context("preparing HTTP")?;
    let answer = client.post(format!("http://{http}/graphql")).json(body).send().await?;
    let status = answer.status();
    // GraphQL's own errors come with a body that says more than the status.
    match answer.json().await {
        Ok(body) => Ok(body),
        Err(_) => bail!("it answered with status {status}"),
    }
}
