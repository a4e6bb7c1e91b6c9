//! InfluxDB's way of writing: `POST /write` as version 1 has it, `POST /api/v2/write` as version 2 does, and the few
//! answers that writers such as Telegraf expect before they write.
//!
//! 204 says that every line of the body is on disk. 400 names the first lines that were turned away; the others are
//! on disk. 429 and 503 say when to come again with the whole body. Answers carry the error under the names of both
//! versions.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::json;
use voltree_actors::fleet::{LineBatch, Precision, WriteError, Written};
use voltree_model::Secret;

use super::{Served, guard};

/// How many bodies may be held at once; each may be as large as [`MAX_BODY`].
pub(super) const AT_ONCE: usize = 8;
/// The largest body, unpacked.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How long a batch waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// After how many seconds a batch may come again.
const RETRY_AFTER: &str = "5";
/// The version of InfluxDB whose way of writing this is.
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static("1.8-voltree"));

/// The parameters of either version. `db`, `rp`, `org` and `bucket` may be anything: a node has one store.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    precision: String,
    u: Option<String>,
    p: Option<String>,
    q: Option<String>,
}

/// Why a batch was not taken in whole.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    written: Written,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), written: Written::default() }
    }

    fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let lines: Vec<_> = self
            .written
            .problems
            .iter()
            .map(|problem| json!({ "line": problem.line, "error": problem.detail }))
            .collect();
        let first = self.written.problems.first().map(|problem| problem.line);
        let body = json!({
            "error": self.message,
            "code": self.code,
            "message": self.message,
            "line": first,
            "lines": lines,
        });
        let mut response = (self.status, [VERSION], Json(body)).into_response();
        let headers = response.headers_mut();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"voltree\""));
        }
        response
    }
}

/// Refuses what a foreign page may have sent through somebody's browser.
pub(super) async fn only_from_here(State(served): State<Served>, request: Request, next: Next) -> Response {
    match guard::check(&served.hosts, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => Refusal::new(StatusCode::FORBIDDEN, "forbidden", problem).into_response(),
    }
}

/// Writers ask it to find out whether somebody is there.
pub(super) async fn ping() -> Response {
    (StatusCode::NO_CONTENT, [VERSION]).into_response()
}

/// Databases need no creating, so this is done; there is nothing else that could be asked in InfluxQL.
pub(super) async fn query(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let in_query = Query::<Parameters>::try_from_uri(&parts.uri).ok().and_then(|Query(given)| given.q);
    let asked = match in_query {
        Some(asked) => asked,
        None => in_form(body).await.unwrap_or_default(),
    };
    let mut words = asked.split_whitespace().map(str::to_ascii_uppercase);
    match (words.next().as_deref(), words.next().as_deref()) {
        (Some("CREATE"), Some("DATABASE")) => {
            ([VERSION], Json(json!({ "results": [{ "statement_id": 0 }] }))).into_response()
        }
        (Some("SHOW"), Some("DATABASES")) => {
            let series = json!({ "name": "databases", "columns": ["name"], "values": [["voltree"]] });
            let results = json!({ "results": [{ "statement_id": 0, "series": [series] }] });
            ([VERSION], Json(results)).into_response()
        }
        _ => {
            let message =
                "only CREATE DATABASE and SHOW DATABASES are answered here; ask /graphql for what is stored";
            Refusal::new(StatusCode::BAD_REQUEST, "invalid", message).into_response()
        }
    }
}

async fn in_form(body: Body) -> Option<String> {
    const LONGEST: usize = 16 * 1024;
    let body = to_bytes(body, LONGEST).await.ok()?;
    let uri: Uri = format!("/?{}", std::str::from_utf8(&body).ok()?).parse().ok()?;
    Query::<Parameters>::try_from_uri(&uri).ok()?.0.q
}

/// Takes in a body of lines and answers once it is committed.
pub(super) async fn write(State(served): State<Served>, request: Request) -> Response {
    match take_in(&served, request).await {
        Ok(()) => (StatusCode::NO_CONTENT, [VERSION]).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn take_in(served: &Served, request: Request) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "invalid", message);
    let Query(parameters) =
        Query::<Parameters>::try_from_uri(&parts.uri).map_err(|error| bad(error.to_string()))?;
    let precision = Precision::parse(&parameters.precision)
        .ok_or_else(|| bad(format!("precision {:?} is none of ns, us, ms, s, m, h", parameters.precision)))?;
    let credentials = credentials(&parts.headers, parameters)?;
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let turn = tokio::time::timeout(TURN_PATIENCE, served.batches.acquire()).await;
    let _turn =
        turn.map_err(|_| Refusal::busy("too many batches are under way; send this one again later"))?;
    let body = read(&parts.headers, body).await?;
    let batch = LineBatch { body, precision, credentials, peer };
    let written = served.fleet.writes.write_lines(batch).await.map_err(refused)?;
    if written.rejected == 0 {
        return Ok(());
    }
    let problems: Vec<_> =
        written.problems.iter().map(|problem| format!("line {}: {}", problem.line, problem.detail)).collect();
    let message = format!(
        "partial write: {} of {} lines were rejected: {}",
        written.rejected,
        written.rejected + written.taken,
        problems.join("; ")
    );
    Err(Refusal { written, ..bad(message) })
}

fn refused(error: WriteError) -> Refusal {
    match error {
        WriteError::Denied(denied) => {
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", format!("authorization failed: {denied}"))
        }
        WriteError::Busy => Refusal::busy(error.to_string()),
        WriteError::NotCommitted => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
        }
    }
}

/// The body, unpacked; unpacking may take a while, so not on an async thread.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message =
            format!("a body may have {} MiB, unpacked; write in smaller batches", MAX_BODY / 1024 / 1024);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "request too large", message)
    };
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long to arrive");
    let body = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, MAX_BODY)).await.map_err(late)?;
    let body = body.map_err(|_| too_large())?;
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(body),
        Some(b"gzip" | b"x-gzip") => {
            let unpacked = tokio::task::spawn_blocking(move || unpack(&body)).await;
            let unpacked = unpacked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let unpacked = unpacked.map_err(|error| {
                Refusal::new(StatusCode::BAD_REQUEST, "invalid", format!("the body is no gzip: {error}"))
            })?;
            unpacked.ok_or_else(too_large)
        }
        Some(_) => {
            let message = "only the content encodings gzip and identity are read";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", message))
        }
    }
}

/// `None` if there is too much in it.
fn unpack(packed: &[u8]) -> std::io::Result<Option<Bytes>> {
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(packed).take(limit + 1).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= MAX_BODY).then(|| Bytes::from(unpacked)))
}

/// Name and password as either version sends them: `u` and `p`, HTTP Basic, or `Token name:password`.
fn credentials(headers: &HeaderMap, parameters: Parameters) -> Result<Option<(String, Secret)>, Refusal> {
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Ok(parameters.u.map(|name| (name, Secret::new(parameters.p.unwrap_or_default()))));
    };
    let unusable = || {
        let message = "the header Authorization is neither Basic nor \"Token NAME:PASSWORD\"";
        Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    };
    let (scheme, rest) = given.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(unusable)?;
    let pair = match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let decoded = base64::prelude::BASE64_STANDARD.decode(rest.trim()).map_err(|_| unusable())?;
            String::from_utf8(decoded).map_err(|_| unusable())?
        }
        "token" | "bearer" => rest.trim().to_owned(),
        _ => return Err(unusable()),
    };
    let (name, password) = pair.split_once(':').ok_or_else(unusable)?;
    Ok(Some((name.to_owned(), Secret::new(password))))
}
