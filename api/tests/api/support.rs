//! Calls the router without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use voltree_api::{NodeInfo, router};

use crate::fleet::{START, TestFleet};

/// A node's API over a fleet in memory.
pub(crate) struct Api {
    pub(crate) fleet: Arc<TestFleet>,
    pub(crate) router: Router,
}

/// An answer that was read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Api {
    pub(crate) fn new() -> Self {
        let fleet = TestFleet::new();
        let node = NodeInfo { name: "barn-1".to_owned(), version: "0.1.0".to_owned(), started_at: START };
        let router =
            router(fleet.doors(), node, Arc::new(|| "# HELP up Whether it is up.\nup 1\n".to_owned()));
        Self { fleet, router }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).header("host", "127.0.0.1").body(Body::empty()).unwrap()).await
    }

    /// Asks GraphQL and expects a well-formed answer.
    pub(crate) async fn ask(&self, query: &str) -> Value {
        let answer = self.send(question(&json!({ "query": query }).to_string())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }

    /// Asks GraphQL and expects data and no error.
    pub(crate) async fn data(&self, query: &str) -> Value {
        let mut answer = self.ask(query).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"].take()
    }

    /// Asks GraphQL and expects one error: its code and its message.
    pub(crate) async fn error(&self, query: &str) -> (String, String) {
        let answer = self.ask(query).await;
        let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("no error: {answer}"));
        assert_eq!(errors.len(), 1, "{answer}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&errors[0]["extensions"]["code"]), text(&errors[0]["message"]))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}

/// A POST to /graphql as a program sends it.
pub(crate) fn question(body: &str) -> Request<Body> {
    let request = Request::post("/graphql").header("host", "127.0.0.1:8080");
    request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}
