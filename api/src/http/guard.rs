//! Who may ask GraphQL from inside a browser: only pages that this node served itself.
//!
//! There is no login yet, so a foreign page must not be able to use an operator's browser as its arm. A request
//! with another page's `Origin` is refused, and so is one whose `Host` a stranger may have pointed at this node by
//! DNS. Programs send no `Origin` and name an address, and pass.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::{Served, graphql};
use crate::schema::{Code, coded};

/// Names that public DNS never answers, so that nobody outside can point them anywhere.
const LOCAL_SUFFIXES: [&str; 5] = [".localhost", ".local", ".lan", ".internal", ".home.arpa"];

/// The host names under which a node answers GraphQL, beside addresses and names that only a local network knows.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    named: Arc<[String]>,
}

impl Hosts {
    /// Only addresses (`192.168.1.20`), names without a dot, and local names such as `battery.local`.
    pub fn local() -> Self {
        Self::default()
    }

    /// Those, and these public names (`fleet.example.com`).
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        Self { named: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    fn accept(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        !host.contains('.') && !host.is_empty() && !host.starts_with('[')
            || is_address(&host)
            || LOCAL_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
            || self.named.contains(&host)
    }
}

fn is_address(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    }
}

/// Refuses what a foreign page may have sent through somebody's browser.
pub(super) async fn only_from_here(State(served): State<Served>, request: Request, next: Next) -> Response {
    match check(&served.hosts, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => graphql::refuse(StatusCode::FORBIDDEN, coded(Code::Forbidden, problem)),
    }
}

/// Why a request may not come in, if it may not.
pub(super) fn check(hosts: &Hosts, headers: &HeaderMap) -> Result<(), String> {
    let host = text(headers, header::HOST).and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host else {
        return Err("the request has no Host header that could be read".to_owned());
    };
    if !hosts.accept(host.host()) {
        return Err(format!(
            "this node does not answer under the name {}; use its address, or have its operator allow the name",
            host.host()
        ));
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = text(headers, header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    match origin.as_ref().and_then(Uri::authority) {
        Some(origin) if *origin == host => Ok(()),
        Some(_) | None => Err("the request comes from a page that this node did not serve".to_owned()),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        check(&Hosts::named(["Fleet.example.com".to_owned()]), &headers).is_ok()
    }

    #[test]
    fn programs_and_the_nodes_own_pages_may_ask() {
        assert!(asked("127.0.0.1:8080", None));
        assert!(asked("[::1]:8080", None));
        assert!(asked("battery-pi", None));
        assert!(asked("Battery.local:8080", Some("http://battery.local:8080")));
        assert!(asked("fleet.example.com", Some("https://fleet.example.com")));
    }

    #[test]
    fn pages_of_others_may_not() {
        assert!(!asked("127.0.0.1:8080", Some("http://evil.example")));
        assert!(!asked("127.0.0.1:8080", Some("http://127.0.0.1:9090")));
        assert!(!asked("127.0.0.1:8080", Some("null")));
        assert!(!asked("127.0.0.1:8080", Some("")));
    }

    #[test]
    fn a_name_that_a_stranger_can_point_at_us_is_not_ours() {
        assert!(!asked("evil.example:8080", Some("http://evil.example:8080")));
        assert!(!asked("evil.example", None));
        assert!(!asked("127.0.0.1.evil.example", None));
        assert!(!asked("[evil]", None));
    }

    #[test]
    fn a_request_without_a_host_is_refused() {
        assert!(check(&Hosts::local(), &HeaderMap::new()).is_err());
    }
}
