use super::*;
use axum::http::HeaderValue;

fn three_files(name: &str) -> Option<File> {
    let (bytes, media): (&'static [u8], _) = match name {
        "index.html" => (b"<html>", "text/html; charset=utf-8"),
        "assets/app-1a2b.js" => (b"run()", "text/javascript; charset=utf-8"),
        "favicon.svg" => (b"<svg/>", "image/svg+xml"),
        _ => return None,
    };
    Some(File { bytes: Cow::Borrowed(bytes), media: media.to_owned(), etag: format!("\"{name}\"") })
}

fn asking(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

fn get(path: &str, headers: &[(header::HeaderName, &'static str)]) -> Response {
    answer(three_files, &Method::GET, path, &asking(headers))
}

fn said<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[test]
fn hashed_assets_are_cached_for_ever_and_the_page_is_not() {
    let asset = get("/assets/app-1a2b.js", &[]);
    assert_eq!(said(&asset, "cache-control"), FOR_EVER);
    assert_eq!(said(&asset, "content-type"), "text/javascript; charset=utf-8");
    for path in ["/", "/index.html", "/favicon.svg"] {
        assert_eq!(said(&get(path, &[]), "cache-control"), ASK_AGAIN, "{path}");
    }
}

#[test]
fn a_browser_on_a_path_of_the_page_gets_the_page() {
    let browser = [(header::ACCEPT, "text/html,*/*;q=0.8")];
    assert_eq!(said(&get("/devices/pack-1", &browser), "content-type"), "text/html; charset=utf-8");
    assert_eq!(get("/devices/pack-1", &[(header::ACCEPT, "*/*")]).status(), StatusCode::NOT_FOUND);
    for path in ["/assets/gone.js", "/robots.txt", "/api/v2/devices", "/health/deep"] {
        assert_eq!(get(path, &browser).status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let first = get("/", &[]);
    assert_eq!(said(&first, "etag"), "\"index.html\"");
    let again = get("/", &[(header::IF_NONE_MATCH, "\"index.html\"")]);
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(again.headers().get(header::CONTENT_TYPE).is_none());
    assert_eq!(get("/", &[(header::IF_NONE_MATCH, "\"other\"")]).status(), StatusCode::OK);
}

#[test]
fn a_build_without_the_console_says_so() {
    let response = answer(|_| None, &Method::GET, "/", &HeaderMap::new());
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said(&response, "content-type"), "text/html; charset=utf-8");
}

#[test]
fn files_are_only_read() {
    assert_eq!(answer(three_files, &Method::POST, "/", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
}

#[test]
fn no_path_leaves_the_consoles_folder() {
    for name in ["../package.json", "..%2fpackage.json", "/etc/hostname", "assets/../../package.json"] {
        assert!(built_file(name).is_none(), "{name}");
    }
}
