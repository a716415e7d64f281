//! The description of the admin API (OpenAPI 3.1), for programs and as a page for people.

use std::fmt::Write as _;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

/// Kept true by tests: every route is in it, and every member of every row.
const DOCUMENT: &str = include_str!("../../../../api/admin.openapi.json");

pub(super) async fn document() -> Response {
    respond("application/json", DOCUMENT.to_owned())
}

/// The same as a page that needs no script.
pub(super) async fn page() -> Response {
    let mut response = respond("text/html; charset=utf-8", render());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    response
}

fn respond(content_type: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
    h2{border-bottom:1px solid #d0d7de;margin-top:2.5rem}section{border:1px solid #d0d7de;border-radius:6px;margin:1rem 0;padding:.5rem 1rem}\
    b{display:inline-block;min-width:4.5rem;color:#0550ae}code{font:14px ui-monospace,monospace}table{border-collapse:collapse;width:100%}\
    td,th{border:1px solid #d0d7de;padding:.25rem .5rem;text-align:left;vertical-align:top}\
    @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}b{color:#79c0ff}section,td,th,h2{border-color:#30363d}}";

fn render() -> String {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1><p>{1}</p>\
         <p><a href=\"/admin/openapi.json\">openapi.json</a></p>",
        text(document.pointer("/info/title")),
        text(document.pointer("/info/description")),
    );
    for (path, operations) in members(&document, "/paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(operation) = operations.get(method) else {
                continue;
            };
            let _ = write!(
                page,
                "<section id=\"{}\"><p><b>{}</b><code>{}</code></p><p>{}</p><p>{}</p><p>Answers: {}</p></section>",
                text(operation.get("operationId")),
                method.to_uppercase(),
                escape(path),
                text(operation.get("summary")),
                text(operation.get("description")),
                members(operation, "/responses")
                    .map(|(status, _)| escape(status))
                    .collect::<Vec<_>>()
                    .join(", "),
            );
        }
    }
    for (name, schema) in members(&document, "/components/schemas") {
        let _ = write!(
            page,
            "<h2 id=\"{0}\">{0}</h2><p>{1}</p><table>",
            escape(name),
            text(schema.get("description"))
        );
        for (member, kind) in members(schema, "/properties") {
            let mut shape = kind.clone();
            if let Some(members) = shape.as_object_mut() {
                members.remove("description");
            }
            let _ = write!(
                page,
                "<tr><td><code>{}</code></td><td><code>{}</code></td><td>{}</td></tr>",
                escape(member),
                escape(&shape.to_string()),
                text(kind.get("description")),
            );
        }
        page.push_str("</table>");
    }
    page.push_str("</body></html>");
    page
}

/// The object at a place; none is as good as an empty one.
fn members<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

fn text(value: Option<&Value>) -> String {
    escape(value.and_then(Value::as_str).unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
