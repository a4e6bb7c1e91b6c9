//! The environment names that the product's users already have, honoured as overrides of the configuration file.
//!
//! Each name also works as NAME_FILE, a path to read the value from. A name whose feature is not there yet is told in one
//! warning instead of being ignored. Values never reach a log or an error: some of them are secrets.

use std::net::SocketAddr;
use std::path::Path;

use voltree_model::Secret;
use voltree_runtime::telemetry::LogFormat;

use crate::config::{Config, Mistake, brokers};

/// Names of features to come.
const NOT_YET: [&str; 14] = [
    "HA_URL",
    "HA_TOKEN",
    "MONITORING_INTERVAL",
    "ALERT_THRESHOLD",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_MODEL",
    "AI_MAX_TOKENS",
    "AI_TEMPERATURE",
    "AUTH_JWT_SECRET",
    "AUTH_ADMIN_EMAILS",
    "SMTP_HOST",
    "SMTP_USERNAME",
    "SMTP_PASSWORD",
    "SMTP_FROM_EMAIL",
];
/// Groups of names of services that are one process here.
const NOT_YET_PREFIXES: [&str; 1] = ["REDIS_"];
const NOT_YET_SUFFIXES: [&str; 2] = ["_SERVICE_PORT", "_SERVICE_URL"];
const HONOURED: [&str; 8] = [
    "LOG_LEVEL",
    "LOG_FORMAT",
    "GATEWAY_SERVICE_PORT",
    "MQTT_SERVICE_PORT",
    "MQTT_BROKER_HOST",
    "MQTT_BROKER_PORT",
    "MQTT_USERNAME",
    "MQTT_PASSWORD",
];
/// What an outside broker is called that only the environment names.
const BROKER: &str = "environment";

/// The variables of a process, and a way to read the files that some of them name.
pub(crate) struct Environment<'a> {
    /// All variables.
    pub(crate) variables: Vec<(String, String)>,
    /// Reads a file that a NAME_FILE names.
    pub(crate) read: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

impl Environment<'_> {
    /// This process's own.
    pub(crate) fn of_process() -> Environment<'static> {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        Environment { variables: variables.collect(), read: &|path| std::fs::read_to_string(path) }
    }

    /// Overrides what the names speak of; every mistake is reported with its name.
    pub(crate) fn apply(&self, config: &mut Config, mistakes: &mut Vec<Mistake>) {
        let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        if let Some(level) = self.choice("LOG_LEVEL", &levels, mistakes) {
            level.clone_into(&mut config.log_level);
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        if let Some(format) = self.choice("LOG_FORMAT", &formats, mistakes) {
            config.log_format = format;
        }
        self.port("GATEWAY_SERVICE_PORT", &mut config.http_listen, mistakes);
        self.port("MQTT_SERVICE_PORT", &mut config.mqtt_listen, mistakes);
        self.broker(config, mistakes);
    }

    /// The names of an outside broker change the first one of the configuration, or make one.
    fn broker(&self, config: &mut Config, mistakes: &mut Vec<Mistake>) {
        let host = self.value("MQTT_BROKER_HOST", mistakes);
        let port = self.value("MQTT_BROKER_PORT", mistakes);
        let user = self.value("MQTT_USERNAME", mistakes);
        let password = self.value("MQTT_PASSWORD", mistakes).map(Secret::new);
        let set = host.is_some() || port.is_some() || user.is_some() || password.is_some();
        if let (Some(host), true) = (&host, config.brokers.is_empty()) {
            config.brokers.push(brokers::broker(BROKER, host.clone(), &config.node_id));
        }
        let Some(broker) = config.brokers.first_mut() else {
            if set {
                let reason = "is needed, because the configuration has no [[mqtt.broker]] that the other MQTT_… names could change";
                mistakes.push(Mistake::new("environment MQTT_BROKER_HOST".to_owned(), reason.to_owned()));
            }
            return;
        };
        broker.host = host.unwrap_or_else(|| broker.host.clone());
        if let Some(port) = port {
            match port.parse() {
                Ok(port) if port > 0 => broker.port = port,
                Ok(_) | Err(_) => mistakes.push(Mistake::new(
                    "environment MQTT_BROKER_PORT".to_owned(),
                    "must be a port, 1 to 65535".to_owned(),
                )),
            }
        }
        let (known_user, known_password) = broker.login.take().unzip();
        let password = password.or(known_password).unwrap_or_else(|| Secret::new(""));
        broker.login = user.or(known_user).map(|user| (user, password));
    }

    /// The names that are set and have no effect yet, in order.
    pub(crate) fn without_effect(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.variables.iter().map(|(name, _)| name.as_str()).filter(|n| not_yet(n)).collect();
        names.sort_unstable();
        names
    }

    /// The value of a name, or of the file that NAME_FILE names.
    fn value(&self, name: &str, mistakes: &mut Vec<Mistake>) -> Option<String> {
        let get =
            |wanted: &str| self.variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        if let Some(value) = get(name) {
            return Some(value.trim().to_owned());
        }
        let path = get(&format!("{name}_FILE"))?;
        match (self.read)(Path::new(path)) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) => {
                mistakes.push(Mistake::new(
                    format!("environment {name}_FILE"),
                    format!("{path} could not be read: {error}"),
                ));
                None
            }
        }
    }

    fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)], mistakes: &mut Vec<Mistake>) -> Option<T> {
        let value = self.value(name, mistakes)?;
        let chosen =
            choices.iter().find(|(choice, _)| choice.eq_ignore_ascii_case(&value)).map(|(_, chosen)| *chosen);
        if chosen.is_none() {
            let known: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
            mistakes.push(Mistake::new(
                format!("environment {name}"),
                format!("must be one of: {}", known.join(", ")),
            ));
        }
        chosen
    }

    fn port(&self, name: &str, address: &mut SocketAddr, mistakes: &mut Vec<Mistake>) {
        let Some(value) = self.value(name, mistakes) else { return };
        match value.parse() {
            Ok(port) => address.set_port(port),
            Err(_) => mistakes
                .push(Mistake::new(format!("environment {name}"), "must be a port, 0 to 65535".to_owned())),
        }
    }
}

fn not_yet(name: &str) -> bool {
    let base = name.strip_suffix("_FILE").unwrap_or(name);
    !HONOURED.contains(&base)
        && (NOT_YET.contains(&base)
            || NOT_YET_PREFIXES.iter().any(|prefix| base.starts_with(prefix))
            || NOT_YET_SUFFIXES.iter().any(|suffix| base.ends_with(suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment { variables, read: &|_| Ok("9001\n".to_owned()) };
        let (mut config, mut mistakes) = (Config::default(), Vec::new());
        environment.apply(&mut config, &mut mistakes);
        (config, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_names_override_the_configuration() {
        let (config, mistakes) =
            applied(&[("LOG_LEVEL", "DEBUG"), ("LOG_FORMAT", "json"), ("GATEWAY_SERVICE_PORT", "8123")]);
        assert_eq!(mistakes, [""; 0]);
        assert_eq!((config.log_level.as_str(), config.log_format), ("debug", LogFormat::Json));
        assert_eq!(config.http_listen.port(), 8123);
    }

    #[test]
    fn a_value_can_come_from_a_file() {
        let (config, _) = applied(&[("MQTT_SERVICE_PORT_FILE", "/run/secrets/port")]);
        assert_eq!(config.mqtt_listen.port(), 9001);
    }

    #[test]
    fn an_outside_broker_can_come_from_the_environment_alone() {
        let (config, mistakes) = applied(&[
            ("MQTT_BROKER_HOST", "mosquitto"),
            ("MQTT_BROKER_PORT_FILE", "/run/port"),
            ("MQTT_USERNAME", "voltree"),
            ("MQTT_PASSWORD", "s3cret"),
        ]);
        assert_eq!(mistakes, [""; 0]);
        let [broker] = config.brokers.as_slice() else { panic!("{config:?}") };
        assert_eq!((broker.host.as_str(), broker.port), ("mosquitto", 9001));
        assert_eq!(broker.login, Some(("voltree".to_owned(), Secret::new("s3cret"))));
        assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    }

    #[test]
    fn a_password_without_a_broker_is_a_mistake() {
        let (_, mistakes) = applied(&[("MQTT_PASSWORD", "s3cret")]);
        assert!(mistakes[0].starts_with("environment MQTT_BROKER_HOST: is needed"), "{mistakes:?}");
    }

    #[test]
    fn mistakes_name_the_variable_and_never_its_value() {
        let (_, mistakes) = applied(&[("LOG_LEVEL", "s3cret"), ("MQTT_SERVICE_PORT", "s3cret")]);
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes.iter().all(|mistake| !mistake.contains("s3cret")), "{mistakes:?}");
    }

    #[test]
    fn names_without_effect_yet_are_told_without_their_values() {
        let names = [
            "HA_TOKEN",
            "HOME",
            "LOG_LEVEL",
            "SMTP_PASSWORD_FILE",
            "REDIS_URL",
            "GATEWAY_SERVICE_PORT",
            "X_SERVICE_URL",
        ];
        let variables = names.map(|name| (name.to_owned(), "s3cret".to_owned())).to_vec();
        let environment = Environment { variables, read: &|_| Ok(String::new()) };
        assert_eq!(
            environment.without_effect(),
            ["HA_TOKEN", "REDIS_URL", "SMTP_PASSWORD_FILE", "X_SERVICE_URL"]
        );
    }
}
