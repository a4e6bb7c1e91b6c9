//! The console's files, built into the binary, and the answer to paths that nobody knows.
//!
//! Built assets carry a hash in their name and never change, so they may be cached for ever; the page that names
//! them may not. A build without the console still works and says how to get one.

use std::borrow::Cow;

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::refusal;

/// What `npm run build` made. Debug builds read the folder each time, release builds carry it.
#[derive(RustEmbed)]
#[folder = "console/dist"]
#[allow_missing = true]
struct Dist;

const INDEX: &str = "index.html";
pub(super) const FOR_EVER: &str = "public, max-age=31536000, immutable";
pub(super) const ASK_AGAIN: &str = "no-cache";
/// Under these live programs' paths, never pages.
const NOT_PAGES: [&str; 4] = ["api/", "graphql/", "health/", "metrics/"];

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Voltree</title>\
    <h1>The console is not part of this build</h1>\
    <p>Everything else works: <a href=\"/graphql\">/graphql</a>, <a href=\"/health/ready\">/health/ready</a>, \
    <a href=\"/metrics\">/metrics</a>.</p>\
    <p>To have the console, run <code>npm ci &amp;&amp; npm run build</code> in <code>api/console</code> and build \
    Voltree again.</p></html>\n";

/// One file that was built into the binary.
pub(super) struct File {
    bytes: Cow<'static, [u8]>,
    media: String,
    etag: String,
}

/// Answers with a file of the console, with its page, or with the JSON that says that there is nothing.
pub(super) async fn file(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    answer(built_file, &method, uri.path(), &headers)
}

fn built_file(name: &str) -> Option<File> {
    Dist::get(name).map(File::from)
}

impl From<EmbeddedFile> for File {
    fn from(file: EmbeddedFile) -> Self {
        let hash = file.metadata.sha256_hash();
        let hash: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let media = match file.metadata.mimetype() {
            text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
            other => other.to_owned(),
        };
        Self { bytes: file.data, media, etag: format!("\"{hash}\"") }
    }
}

fn answer(
    files: impl Fn(&str) -> Option<File>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Response {
    if *method != Method::GET && *method != Method::HEAD {
        return nothing_at(path);
    }
    let name = path.trim_start_matches('/');
    if name.is_empty() || name == INDEX {
        return page(files, headers);
    }
    match files(name) {
        Some(file) => send(file, if name.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN }, headers),
        None if is_page(name) && wants_page(headers) => page(files, headers),
        None => nothing_at(path),
    }
}

/// The page routes by itself, so every path that looks like one of its own is answered with it.
fn is_page(name: &str) -> bool {
    !name.contains('.') && !NOT_PAGES.iter().any(|prefix| name.starts_with(prefix))
}

/// Browsers that go to a page say so; programs that mistype a path want to know.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn page(files: impl Fn(&str) -> Option<File>, headers: &HeaderMap) -> Response {
    match files(INDEX) {
        Some(index) => send(index, ASK_AGAIN, headers),
        None => {
            let media = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (StatusCode::SERVICE_UNAVAILABLE, media, NOT_BUILT).into_response()
        }
    }
}

pub(super) fn send(file: File, caching: &'static str, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let caching = [(header::CACHE_CONTROL, caching.to_owned()), (header::ETAG, file.etag.clone())];
    if known.is_some_and(|tags| tags.contains(&file.etag)) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, file.media)], file.bytes).into_response()
}

fn nothing_at(path: &str) -> Response {
    let shown: String = path.chars().take(200).collect();
    refusal(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {shown}"))
}

#[cfg(test)]
mod tests;
