//! The HTTP surface: which path is answered by whom, and what every answer carries.
//!
//! The router knows no socket, so tests call it directly; whoever owns the listener drives it. Paths that are not
//! listed here belong to the console's files or to nobody.

mod backup;
mod console;
mod flights;
mod graphiql;
mod graphql;
mod guard;
mod headers;
mod health;
mod lines;
mod mqtt;
mod retention;
mod websocket;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use voltree_actors::fleet::Fleet;
use voltree_runtime::clock;

use crate::schema::{self, Schema};
use crate::{NodeInfo, metrics};

pub use guard::Hosts;

/// Renders the metrics as Prometheus reads them.
pub type MetricsRenderer = Arc<dyn Fn() -> String + Send + Sync>;

/// How many WebSockets may be open at once; the next one is refused.
const MAX_SOCKETS: usize = 256;

/// What the handlers share.
#[derive(Clone)]
struct Served {
    schema: Schema,
    fleet: Fleet,
    metrics: MetricsRenderer,
    hosts: Hosts,
    sockets: Arc<Semaphore>,
    batches: Arc<Semaphore>,
}

/// Everything a node answers over HTTP, to clients that reach it by an address or a local name.
pub fn router(fleet: Fleet, node: NodeInfo, metrics: MetricsRenderer) -> Router {
    router_for(fleet, node, metrics, Hosts::local())
}

/// Everything a node answers over HTTP, to clients that reach it by these names.
pub fn router_for(fleet: Fleet, node: NodeInfo, metrics: MetricsRenderer, hosts: Hosts) -> Router {
    let schema = schema::build(fleet.clone(), node);
    let served = Served {
        schema,
        fleet,
        metrics,
        hosts,
        sockets: Arc::new(Semaphore::new(MAX_SOCKETS)),
        batches: Arc::new(Semaphore::new(lines::AT_ONCE)),
    };
    let lines = Router::new()
        .route("/write", post(lines::write))
        .route("/api/v2/write", post(lines::write))
        .route("/query", get(lines::query).post(lines::query))
        .route_layer(from_fn_with_state(served.clone(), lines::only_from_here));
    let guarded = Router::new()
        .route("/graphql", post(graphql::answer).get(websocket::upgrade_or_help))
        .route("/graphql/ws", get(websocket::upgrade_or_help))
        .route("/api/v1/devices/{id}/flight-record", get(flights::record))
        .route("/api/v1/devices/{id}/retention", get(retention::oldest).put(retention::keep))
        .route("/api/v1/backup", post(backup::take))
        .route("/mqtt", get(mqtt::enter))
        .route("/api/v1/crash-reports/{id}", get(flights::crash_report))
        .route_layer(from_fn_with_state(served.clone(), guard::only_from_here));
    Router::new()
        .merge(guarded)
        .merge(lines)
        .route("/ping", get(lines::ping))
        .route("/graphiql", get(graphiql::page))
        .route("/graphiql/", get(graphiql::page))
        .route("/graphiql/{*file}", get(graphiql::asset))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(console::file)
        .layer(from_fn(headers::secure))
        .layer(from_fn(measure))
        .with_state(served)
}

/// Answers what arrives on the listener until `stop` resolves and the requests under way are done.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

async fn measure(request: Request, next: Next) -> Response {
    let started = clock::monotonic();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = matched.as_ref().map_or("other", MatchedPath::as_str);
    metrics::answered(&method, route, response.status(), started.elapsed());
    response
}

async fn method_not_allowed(request: Request) -> Response {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// An answer outside GraphQL that says no: `{"error": …, "message": …}`.
fn refusal(status: StatusCode, error: &str, message: impl Into<String>) -> Response {
    let body = serde_json::json!({ "error": error, "message": message.into() });
    (status, Json(body)).into_response()
}
