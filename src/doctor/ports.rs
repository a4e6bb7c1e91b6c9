//! Can a node listen where it is told to? Binds each address for a moment and lets it go again.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::finding::{Area, Finding, Level};
use super::processes::{Process, Processes, names};
use crate::config::Config;

/// What came of binding.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    Free,
    Taken(Vec<Process>),
    NotAllowed,
    NoSuchAddress,
    Failed(String),
}

/// A server of the node and what came of listening for it.
#[derive(Debug)]
struct Facts {
    service: &'static str,
    key: &'static str,
    address: SocketAddr,
    bound: Bound,
    /// The node that runs on the data directory, which may listen here rightly.
    node: Option<u32>,
}

/// Looks at the ports of this configuration; `node` is the process that runs on its data directory already.
pub(super) fn examine(config: &Config, processes: &Processes, node: Option<u32>) -> Vec<Finding> {
    let services = [("HTTP", "http.listen", config.http_listen), ("MQTT", "mqtt.listen", config.mqtt_listen)];
    let mut findings: Vec<_> = services
        .map(|(service, key, address)| {
            judge(&Facts { service, key, address, bound: bind(address, processes), node })
        })
        .into();
    findings.extend(judge_pair(config.http_listen, config.mqtt_listen));
    findings
        .extend(services.into_iter().filter_map(|(service, key, address)| exposed(service, key, address)));
    findings
}

fn bind(address: SocketAddr, processes: &Processes) -> Bound {
    let Err(error) = TcpListener::bind(address) else { return Bound::Free };
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other failure is told in the system's words")]
    match error.kind() {
        ErrorKind::AddrInUse => Bound::Taken(processes.listening_at(address)),
        ErrorKind::PermissionDenied => Bound::NotAllowed,
        ErrorKind::AddrNotAvailable => Bound::NoSuchAddress,
        _ => Bound::Failed(error.to_string()),
    }
}

fn judge(facts: &Facts) -> Finding {
    let Facts { service, key, address, bound, node } = facts;
    let port = address.port();
    let problem = |what, next_step| Finding::new(Area::Ports, Level::Problem, what, next_step);
    match bound {
        Bound::Free if port == 0 => Finding::ok(Area::Ports, format!("{service} takes any free port")),
        Bound::Free => Finding::ok(Area::Ports, format!("{service} can listen on {address}")),
        Bound::Taken(holders) if holders.iter().any(|holder| Some(holder.pid) == *node) => Finding::ok(
            Area::Ports,
            format!("{service} on {address} is served by the node that is running: {}", names(holders)),
        ),
        Bound::Taken(holders) if holders.is_empty() => problem(
            format!("{service} can't listen on {address}: a program of another user does already"),
            format!("see which with `sudo ss -ltnp 'sport = :{port}'`, and stop it or set another {key}"),
        ),
        Bound::Taken(holders) => problem(
            format!("{service} can't listen on {address}: {} does already", names(holders)),
            format!("stop it, or set another {key} in the configuration"),
        ),
        Bound::NotAllowed => problem(
            format!("{service} can't listen on {address}: ports below 1024 are for root"),
            format!(
                "set {key} to a port from 1024 on, or give the program the right: \
                     `sudo setcap cap_net_bind_service=+ep $(command -v voltree)`"
            ),
        ),
        Bound::NoSuchAddress => problem(
            format!("{service} can't listen on {address}: this machine does not have that address"),
            format!("set {key} to 127.0.0.1:{port}, or to one of the addresses that `ip addr` shows"),
        ),
        Bound::Failed(error) => problem(
            format!("{service} can't listen on {address}: {error}"),
            format!("set another {key} in the configuration"),
        ),
    }
}

/// Each is free on its own, and the second would still fail.
fn judge_pair(http: SocketAddr, mqtt: SocketAddr) -> Option<Finding> {
    (http == mqtt && http.port() != 0).then(|| {
        let what = format!("HTTP and MQTT are both to listen on {http}");
        Finding::new(Area::Ports, Level::Problem, what, "set http.listen and mqtt.listen to different ports")
    })
}

fn exposed(service: &str, key: &str, address: SocketAddr) -> Option<Finding> {
    (!address.ip().is_loopback()).then(|| {
        let what =
            format!("{service} on {address} can be reached from the network, and there is no login yet");
        let next =
            format!("set {key} to 127.0.0.1:{}, or let a firewall decide who gets there", address.port());
        Finding::new(Area::Ports, Level::Warning, what, next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bound: Bound, node: Option<u32>) -> Finding {
        let address = SocketAddr::from(([127, 0, 0, 1], 1883));
        judge(&Facts { service: "MQTT", key: "mqtt.listen", address, bound, node })
    }

    fn mosquitto() -> Process {
        Process { pid: 812, program: "mosquitto".to_owned() }
    }

    #[test]
    fn whoever_is_in_the_way_is_named_with_pid_and_program() {
        let finding = found(Bound::Taken(vec![mosquitto()]), None);
        assert_eq!(finding.level, Level::Problem);
        assert_eq!(finding.what, "MQTT can't listen on 127.0.0.1:1883: mosquitto (pid 812) does already");
        assert!(finding.next_step.contains("mqtt.listen"), "{finding:?}");
    }

    #[test]
    fn the_node_that_runs_already_is_in_nobodys_way() {
        assert_eq!(found(Bound::Taken(vec![mosquitto()]), Some(812)).level, Level::Ok);
        assert_eq!(found(Bound::Taken(vec![mosquitto()]), Some(813)).level, Level::Problem);
    }

    #[test]
    fn a_holder_that_cannot_be_seen_is_still_a_problem_with_a_next_step() {
        let finding = found(Bound::Taken(Vec::new()), None);
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.next_step.contains("sudo ss -ltnp 'sport = :1883'"), "{finding:?}");
    }

    #[test]
    fn privileged_ports_and_foreign_addresses_say_what_to_do() {
        assert!(found(Bound::NotAllowed, None).next_step.contains("setcap cap_net_bind_service"));
        assert!(found(Bound::NoSuchAddress, None).next_step.contains("127.0.0.1:1883"));
    }

    #[test]
    fn two_servers_on_one_port_are_a_problem_unless_the_port_is_any() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert!(judge_pair(at(8000), at(8000)).is_some());
        assert!(judge_pair(at(0), at(0)).is_none());
        assert!(judge_pair(at(8000), at(1883)).is_none());
    }

    #[test]
    fn what_the_network_can_reach_is_told() {
        assert!(exposed("HTTP", "http.listen", SocketAddr::from(([0, 0, 0, 0], 8000))).is_some());
        assert!(exposed("HTTP", "http.listen", SocketAddr::from(([127, 0, 0, 1], 8000))).is_none());
    }

    #[test]
    fn a_port_that_is_held_here_is_seen_as_taken() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        assert!(matches!(bind(address, &Processes::default()), Bound::Taken(_)));
        drop(held);
        assert_eq!(bind(address, &Processes::default()), Bound::Free);
    }
}
