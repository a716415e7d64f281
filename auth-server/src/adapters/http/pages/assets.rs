//! Style sheet and icons, compiled into the binary.

use std::future::{Ready, ready};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// Nothing in an asset may run or load anything when it is opened by itself; an SVG is a document, too.
const ASSET_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";
/// The address names the content by its hash, so it can never change.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Without a hash in the address (references inside the style sheet) the copy is checked by its tag.
const CHECKED: &str = "public, max-age=3600, must-revalidate";

/// The route of all assets.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{name}", get(serve))
}

/// Where the style sheet of this build is.
pub(crate) fn css_href() -> String {
    href("app.css")
}

/// The address of an asset with the hash of its content, so that browsers keep it and still see a new release at once.
pub(crate) fn href(name: &str) -> String {
    match Assets::get(name) {
        Some(file) => format!("/assets/{name}?v={}", version(&file)),
        None => format!("/assets/{name}"),
    }
}

fn serve(Path(name): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Ready<Response> {
    ready(asset_response(&name, query.as_deref(), &headers))
}

/// Answers `/assets/{name}?{query}`.
pub(crate) fn asset_response(name: &str, query: Option<&str>, request: &HeaderMap) -> Response {
    let Some(file) = Assets::get(name) else {
        return (
            StatusCode::NOT_FOUND,
            [(header::CACHE_CONTROL, "no-store")],
            "no such asset\n",
        )
            .into_response();
    };
    let version = version(&file);
    let named_by_hash = query.and_then(|query| query.strip_prefix("v=")) == Some(version.as_str());
    let tag = format!("\"{version}\"");
    let unchanged = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|sent| names(sent, &tag));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(file.data))
    };
    let headers = response.headers_mut();
    if !unchanged {
        set(headers, header::CONTENT_TYPE, &content_type(file.metadata.mimetype()));
    }
    set(
        headers,
        header::CACHE_CONTROL,
        if named_by_hash { FOREVER } else { CHECKED },
    );
    set(headers, header::ETAG, &tag);
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::CONTENT_SECURITY_POLICY, ASSET_POLICY);
    response
}

/// Whether an `If-None-Match` value lists the tag (RFC 9110 §13.1.2: weak comparison, a list, or `*`).
fn names(sent: &HeaderValue, tag: &str) -> bool {
    sent.to_str().is_ok_and(|list| {
        list.split(',')
            .map(str::trim)
            .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
    })
}

/// The first 64 bits of the content's SHA-256, in hex: enough to tell releases apart, short enough for an address.
fn version(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    hash.iter()
        .take(8)
        .fold(String::with_capacity(16), |hex, byte| hex + &format!("{byte:02x}"))
}

fn content_type(guessed: &str) -> String {
    if guessed.starts_with("text/") {
        format!("{guessed}; charset=utf-8")
    } else {
        guessed.to_owned()
    }
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // All values are ASCII made here; were one not, the answer is right without that header.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(name: &str, query: Option<&str>, if_none_match: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(tag) = if_none_match {
            headers.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
        }
        asset_response(name, query, &headers)
    }

    #[test]
    fn an_address_with_the_hash_is_cached_for_ever() {
        let href = css_href();
        let query = href.split_once('?').unwrap().1;
        let response = served("app.css", Some(query), None);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CACHE_CONTROL], FOREVER);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[test]
    fn an_address_without_or_with_an_old_hash_is_not() {
        for query in [None, Some("v=0123456789abcdef"), Some("")] {
            assert_eq!(
                served("app.css", query, None).headers()[header::CACHE_CONTROL],
                CHECKED,
                "{query:?}"
            );
        }
    }

    #[test]
    fn a_known_tag_saves_the_body() {
        let tag = served("mark.svg", None, None).headers()[header::ETAG]
            .to_str()
            .unwrap()
            .to_owned();
        for sent in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"other\", {tag}"),
            "*".to_owned(),
        ] {
            let response = served("mark.svg", None, Some(&sent));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{sent}");
            assert_eq!(response.headers()[header::ETAG], tag);
        }
        assert_eq!(served("mark.svg", None, Some("\"other\"")).status(), StatusCode::OK);
    }

    #[test]
    fn nothing_outside_the_folder_is_served() {
        for name in [
            "../Cargo.toml",
            "..%2fCargo.toml",
            "/etc/passwd",
            "",
            "app.css/",
            "unknown.css",
        ] {
            assert_eq!(served(name, None, None).status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn the_style_sheet_loads_nothing_from_elsewhere() {
        let css = String::from_utf8(Assets::get("app.css").unwrap().data.into_owned()).unwrap();
        assert!(!css.contains("@import") && !css.contains("//") && !css.contains("data:"));
        for (at, _) in css.match_indices("url(") {
            let name = css[at + 4..].split(')').next().unwrap().trim_matches('"');
            assert!(Assets::get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn icons_carry_no_script_and_no_style() {
        for name in Assets::iter().filter(|name| name.ends_with(".svg")) {
            let svg = String::from_utf8(Assets::get(&name).unwrap().data.into_owned()).unwrap();
            for bad in ["<script", "<style", " style=", " on", "href=", "<foreignObject"] {
                assert!(!svg.contains(bad), "{name} has {bad}");
            }
        }
    }
}
