//! GraphiQL's files, built into the binary: what a browser sees where programs ask GraphQL.
//!
//! It is a page like any other: what it asks goes through the same door as everybody's questions. It must never answer
//! a program, which is why only a client that takes HTML gets it at the endpoint itself.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use rust_embed::RustEmbed;

use super::console::{self, ASK_AGAIN, FOR_EVER, File};
use super::refusal;

/// What `npm run build` made. Debug builds read the folder each time, release builds carry it.
#[derive(RustEmbed)]
#[folder = "graphiql/dist"]
#[allow_missing = true]
struct Dist;

/// The page, for whoever came to see one; `None` for programs, and in a build that has no GraphiQL.
pub(super) fn page_for_browsers(headers: &HeaderMap) -> Option<Response> {
    if !console::wants_page(headers) {
        return None;
    }
    let mut response = console::send(file("index.html")?, ASK_AGAIN, headers);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Some(response)
}

/// Answers with the page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    served("index.html", ASK_AGAIN, &headers)
}

/// Answers with a file that belongs to it.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    served(&name, if name.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN }, &headers)
}

fn served(name: &str, caching: &'static str, headers: &HeaderMap) -> Response {
    match file(name) {
        Some(file) => console::send(file, caching, headers),
        None => refusal(StatusCode::NOT_FOUND, "not_found", "GraphiQL has no such file in this build"),
    }
}

fn file(name: &str) -> Option<File> {
    Dist::get(name).map(File::from)
}
