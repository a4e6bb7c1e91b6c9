//! GraphQL over HTTP: one POST, one answer, by the rules of the GraphQL-over-HTTP draft.
//!
//! A body must say that it is JSON, because a foreign page can't send that without being asked first. Old clients
//! get `application/json` and status 200 for every well-formed request; clients that accept
//! `application/graphql-response+json` get a status that tells.

use std::time::Duration;

use async_graphql::{Request, Response as Answer, Value};
use async_graphql_axum::GraphQLRequest;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Served;
use crate::schema::{Code, coded};

/// The largest body that is read.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long one question may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// Answers one question.
pub(super) async fn answer(State(served): State<Served>, request: HttpRequest) -> Response {
    let Some(media) = acceptable(request.headers()) else {
        let problem =
            format!("this endpoint answers {JSON} or {GRAPHQL_RESPONSE}; the Accept header takes neither");
        return refuse(StatusCode::NOT_ACCEPTABLE, coded(Code::BadUserInput, problem));
    };
    let request = match read(request).await {
        Ok(request) => request,
        Err((status, problem)) => return refuse(status, coded(Code::BadUserInput, problem)),
    };
    match tokio::time::timeout(QUERY_TIMEOUT, served.schema.execute(request)).await {
        Ok(answer) => respond(media, status_of(media, &answer), &answer),
        Err(_elapsed) => {
            let problem = format!("the question took longer than {} s", QUERY_TIMEOUT.as_secs());
            refuse(StatusCode::SERVICE_UNAVAILABLE, coded(Code::Timeout, problem))
        }
    }
}

/// Tells who asks by GET that questions are posted: a link must not be able to ask, let alone to change.
pub(super) fn only_by_post() -> Response {
    let error = coded(Code::BadUserInput, "questions are asked by POST");
    ([(header::ALLOW, "POST")], refuse(StatusCode::METHOD_NOT_ALLOWED, error)).into_response()
}

/// An answer that is nothing but one error.
pub(super) fn refuse(status: StatusCode, error: async_graphql::Error) -> Response {
    let error = error.into_server_error(async_graphql::Pos::default());
    respond(JSON, status, &Answer::from_errors(vec![error]))
}

/// Whether nothing was executed at all: the question could not be parsed or is not valid.
pub(super) fn is_request_error(answer: &Answer) -> bool {
    answer.data == Value::Null
        && !answer.errors.is_empty()
        && answer.errors.iter().all(|error| error.path.is_empty())
}

async fn read(request: HttpRequest) -> Result<Request, (StatusCode, String)> {
    if !says_json(request.headers()) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the Content-Type must be {JSON}")));
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body could not be read; at most {MAX_BODY_BYTES} bytes are"),
        )
    })?;
    let request = HttpRequest::from_parts(parts, Body::from(body));
    let request =
        GraphQLRequest::<async_graphql_axum::rejection::GraphQLRejection>::from_request(request, &())
            .await
            .map_err(|rejection| (StatusCode::BAD_REQUEST, rejection.0.to_string()))?
            .into_inner();
    if request.query.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "the body has no query".to_owned()));
    }
    Ok(request)
}

fn says_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| essence(value).eq_ignore_ascii_case(JSON))
}

/// The best media type that the client accepts; a client that says nothing is an old one.
fn acceptable(headers: &HeaderMap) -> Option<&'static str> {
    let mut accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return Some(JSON);
    }
    let accepted: Vec<_> = accepted.flat_map(|value| value.split(',')).map(essence).collect();
    let takes = |media: &str| accepted.iter().any(|accepted| accepted.eq_ignore_ascii_case(media));
    if takes(GRAPHQL_RESPONSE) {
        Some(GRAPHQL_RESPONSE)
    } else if takes(JSON) || takes("application/*") || takes("*/*") {
        Some(JSON)
    } else {
        None
    }
}

fn essence(media: &str) -> &str {
    media.split(';').next().unwrap_or_default().trim()
}

fn status_of(media: &str, answer: &Answer) -> StatusCode {
    if media == GRAPHQL_RESPONSE && is_request_error(answer) {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    }
}

fn respond(media: &'static str, status: StatusCode, answer: &Answer) -> Response {
    // Where nothing was executed there is no data, not even null.
    let body = if is_request_error(answer) {
        serde_json::to_vec(&serde_json::json!({ "errors": answer.errors }))
    } else {
        serde_json::to_vec(answer)
    };
    match body {
        Ok(body) => {
            (status, [(header::CONTENT_TYPE, format!("{media}; charset=utf-8"))], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a GraphQL answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn media_for(accept: &'static str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        acceptable(&headers)
    }

    #[test]
    fn the_best_accepted_media_type_is_answered() {
        assert_eq!(acceptable(&HeaderMap::new()), Some(JSON));
        assert_eq!(media_for("*/*"), Some(JSON));
        assert_eq!(media_for("text/html, application/json;q=0.9"), Some(JSON));
        assert_eq!(
            media_for("application/graphql-response+json; charset=utf-8, application/json"),
            Some(GRAPHQL_RESPONSE)
        );
        assert_eq!(media_for("text/html"), None);
    }
}
