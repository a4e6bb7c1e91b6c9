//! What is refused, and in which words.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use crate::support::{Api, question};

const RANGE: &str = "from: \"2026-01-15T10:00:00Z\", to: \"2026-01-15T11:00:00Z\"";

#[tokio::test]
async fn a_bad_argument_is_named_with_what_is_expected() {
    let telemetry = |arguments: &str| format!("{{ deviceTelemetry({arguments}) {{ metricName }} }}");
    let aggregated = |arguments: &str| format!("{{ deviceTelemetryAggregated({arguments}) {{ count }} }}");
    let pack = "deviceId: \"pack-1\", metricName: \"m\"";
    let cases = [
        ("{ device(id: \"a b\") { id } }".to_owned(), "id: a device id may not contain ' '"),
        (
            telemetry(&format!("deviceId: \"\", metricName: \"m\", {RANGE}")),
            "deviceId: a device id must have 1 to 64",
        ),
        (
            telemetry(&format!("deviceId: \"pack-1\", metricName: \"\", {RANGE}")),
            "metricName: a metric name must",
        ),
        (
            telemetry(&format!("{pack}, from: \"yesterday\", to: \"now\"")),
            "from: \"yesterday\" is not an RFC 3339",
        ),
        (
            telemetry(&format!("{pack}, from: \"2026-01-15T10:00:00Z\", to: \"now\"")),
            "to: \"now\" is not an RFC 3339",
        ),
        (
            telemetry(&format!("{pack}, {RANGE}, limit: 100001")),
            "limit: 100001 is out of range; expected 1 to 100000",
        ),
        (telemetry(&format!("{pack}, {RANGE}, limit: -1")), "limit: -1 is out of range"),
        (
            aggregated(&format!("{pack}, {RANGE}, interval: \"fortnight\"")),
            "interval: \"fortnight\" is no interval",
        ),
        (
            aggregated(&format!(
                "{pack}, from: \"2020-01-01T00:00:00Z\", to: \"2026-01-01T00:00:00Z\", interval: \"1 minute\""
            )),
            "interval: the range holds 3156480 such intervals, at most 10000",
        ),
        ("{ activeAlerts(deviceId: \"/\") { id } }".to_owned(), "deviceId: a device id may not contain '/'"),
        (
            format!("{{ alertHistory({RANGE}, limit: 0) {{ id }} }}"),
            "limit: 0 is out of range; expected 1 to 10000",
        ),
        ("{ supervisionEvents(limit: 0) { time } }".to_owned(), "limit: 0 is out of range"),
    ];
    let api = Api::new();
    for (query, expected) in cases {
        let (code, message) = api.error(&query).await;
        assert_eq!(code, "BAD_USER_INPUT", "{query}");
        assert!(message.starts_with(expected), "{query}: {message}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = Api::new();
    let no_device = "no device nobody is known";
    let telemetry =
        format!("{{ deviceTelemetry(deviceId: \"nobody\", metricName: \"m\", {RANGE}) {{ metricName }} }}");
    let cases = [
        (telemetry.as_str(), no_device),
        ("{ deviceMetrics(deviceId: \"nobody\") }", no_device),
        ("{ deviceLatestMetric(deviceId: \"nobody\", metricName: \"m\") { value } }", no_device),
        ("{ ledger(deviceId: \"nobody\") { stored } }", no_device),
        ("mutation { killActor(path: \"node/nobody\") { path } }", "no actor has the path \"node/nobody\""),
    ];
    for (query, expected) in cases {
        let (code, message) = api.error(query).await;
        assert_eq!(code, "NOT_FOUND", "{query}");
        assert!(message.starts_with(expected), "{query}: {message}");
    }
}

#[tokio::test]
async fn an_actor_that_is_not_running_is_not_killed() {
    let api = Api::new();
    let (code, message) = api.error("mutation { killActor(path: \"node/devices/pack-2\") { path } }").await;
    assert_eq!(code, "NOT_RUNNING");
    assert!(message.contains("parked"), "{message}");
    assert!(api.fleet.kills.lock().is_empty());
}

#[tokio::test]
async fn what_broke_inside_stays_inside() {
    let query = format!(
        "{{ deviceTelemetry(deviceId: \"pack-1\", metricName: \"broken\", {RANGE}) {{ metricName }} }}"
    );
    let (code, message) = Api::new().error(&query).await;
    assert_eq!(code, "INTERNAL");
    assert!(!message.contains("secret"), "{message}");
}

#[tokio::test]
async fn a_question_may_not_be_deeper_or_larger_than_the_limits() {
    let api = Api::new();
    let deep = format!("{{ __schema {{ types {{ {} name {} }} }} }}", "ofType { ".repeat(20), "}".repeat(20));
    let deep =
        deep.replace("types { ofType", "types { fields { type { ofType").replacen("} } }", "} } } } }", 1);
    let (_, message) = api.error(&deep).await;
    assert!(message.contains("too deep"), "{message}");
    let point = |n: usize| {
        format!(
            "a{n}: deviceTelemetry(deviceId: \"pack-1\", metricName: \"m\", {RANGE}, limit: 100000) {{ metricName }}"
        )
    };
    assert_eq!(api.ask(&format!("{{ {} {} }}", point(0), point(1))).await.get("errors"), None);
    let (_, message) = api.error(&format!("{{ {} {} {} }}", point(0), point(1), point(2))).await;
    assert!(message.contains("too complex"), "{message}");
}

#[tokio::test]
async fn an_unknown_field_is_refused_without_a_guess_at_another() {
    let (_, message) = Api::new().error("{ device(id: \"pack-1\") { nam } }").await;
    assert!(message.contains("nam") && !message.contains("Did you mean"), "{message}");
}

#[tokio::test]
async fn the_standard_introspection_query_is_answered() {
    let of_type = "ofType { kind name ".repeat(7) + &"}".repeat(7);
    let query = format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name }} mutationType {{ name }}
         subscriptionType {{ name }} types {{ ...FullType }} directives {{ name description locations
         args {{ ...InputValue }} }} }} }}
         fragment FullType on __Type {{ kind name description fields(includeDeprecated: true) {{ name description
         args {{ ...InputValue }} type {{ ...TypeRef }} isDeprecated deprecationReason }} inputFields {{
         ...InputValue }} interfaces {{ ...TypeRef }} enumValues(includeDeprecated: true) {{ name description
         isDeprecated deprecationReason }} possibleTypes {{ ...TypeRef }} }}
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue }}
         fragment TypeRef on __Type {{ kind name {of_type} }}"
    );
    let data = Api::new().data(&query).await;
    assert_eq!(data["__schema"]["subscriptionType"]["name"], "Subscription");
}

#[tokio::test]
async fn a_request_that_is_none_gets_a_status_and_a_graphql_error() {
    let api = Api::new();
    let post = |content_type: &'static str, body: String| {
        let request =
            Request::post("/graphql").header("host", "localhost").header("content-type", content_type);
        request.body(Body::from(body)).unwrap()
    };
    let good = json!({ "query": "{ node { name } }" }).to_string();
    let large = json!({ "query": "#".repeat(1024 * 1024) }).to_string();
    let cases = [
        (post("text/plain", good.clone()), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (post("application/x-www-form-urlencoded", good.clone()), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (post("multipart/form-data; boundary=x", good.clone()), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (post("application/json", large), StatusCode::PAYLOAD_TOO_LARGE),
        (post("application/json", "{".to_owned()), StatusCode::BAD_REQUEST),
        (post("application/json", "{}".to_owned()), StatusCode::BAD_REQUEST),
        (post("application/json", format!("[{good}]")), StatusCode::BAD_REQUEST),
        (post("application/json; charset=utf-8", good), StatusCode::OK),
    ];
    for (request, expected) in cases {
        let answer = api.send(request).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        assert_eq!(answer.json().get("errors").is_some(), expected != StatusCode::OK);
    }
}

#[tokio::test]
async fn clients_that_accept_graphql_responses_get_a_status_that_tells() {
    let api = Api::new();
    let with_accept = |accept: &'static str, query: &str| {
        let mut request = question(&json!({ "query": query }).to_string());
        request.headers_mut().insert("accept", accept.parse().unwrap());
        request
    };
    let new = "application/graphql-response+json, application/json;q=0.9";
    let invalid = api.send(with_accept(new, "{ nothing }")).await;
    assert_eq!(invalid.status, StatusCode::BAD_REQUEST);
    assert_eq!(invalid.header("content-type"), "application/graphql-response+json; charset=utf-8");
    let failed = api.send(with_accept(new, "{ device(id: \"a b\") { id } }")).await;
    assert_eq!(failed.status, StatusCode::OK);
    let old = api.send(with_accept("application/json", "{ nothing }")).await;
    assert_eq!(old.status, StatusCode::OK);
    assert_eq!(
        api.send(with_accept("text/html", "{ node { name } }")).await.status,
        StatusCode::NOT_ACCEPTABLE
    );
}

#[tokio::test]
async fn a_question_that_was_not_executed_has_no_data_and_one_that_failed_has_null() {
    let api = Api::new();
    assert_eq!(api.ask("{ nothing }").await.get("data"), None);
    assert_eq!(api.ask("{ device(id: \"a b\") { id } }").await.get("data"), Some(&json!(null)));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_takes_too_long_is_given_up() {
    let query = format!(
        "{{ deviceTelemetry(deviceId: \"pack-1\", metricName: \"endless\", {RANGE}) {{ metricName }} }}"
    );
    let answer = Api::new().send(question(&json!({ "query": query }).to_string())).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "TIMEOUT");
}

#[tokio::test]
async fn a_link_asks_nothing() {
    let answer = Api::new().get("/graphql?query=%7Bnode%7Bname%7D%7D").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "POST");
}

#[tokio::test]
async fn a_foreign_page_can_not_kill_through_a_browser() {
    let api = Api::new();
    let kill =
        json!({ "query": "mutation { killActor(path: \"node/devices/pack-1\") { path } }" }).to_string();
    let from = |host: &'static str, origin: &'static str| {
        let mut request = question(&kill);
        request.headers_mut().insert("host", host.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request
    };
    let foreign = [("127.0.0.1:8080", "http://evil.example"), ("evil.example", "http://evil.example")];
    for (host, origin) in foreign {
        let answer = api.send(from(host, origin)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "FORBIDDEN");
    }
    assert!(api.fleet.kills.lock().is_empty());
    assert_eq!(api.send(from("127.0.0.1:8080", "http://127.0.0.1:8080")).await.status, StatusCode::OK);
    assert_eq!(api.fleet.kills.lock().len(), 1);
}
