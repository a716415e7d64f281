//! The description of the admin API as a page for people. It needs no script.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
    h2{border-bottom:1px solid #d0d7de;margin-top:2.5rem}a{color:#0550ae}code{font:14px ui-monospace,monospace;overflow-wrap:anywhere}\
    nav a{margin-right:1rem;white-space:nowrap}section{border:1px solid #d0d7de;border-radius:6px;margin:1rem 0;padding:.25rem 1rem}\
    section p{margin:.5rem 0}b{display:inline-block;min-width:4.5rem;color:#0550ae}small{color:#57606a}\
    table{border-collapse:collapse;width:100%;table-layout:fixed}col:first-child{width:30%}col:nth-child(2){width:30%}\
    td,th{border:1px solid #d0d7de;padding:.25rem .5rem;text-align:left;vertical-align:top}\
    @media(max-width:40rem){table,tbody,tr,td{display:block}tr{margin:.5rem 0}th{display:none}}\
    @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}a,b{color:#79c0ff}small{color:#8b949e}\
    section,td,th,h2{border-color:#30363d}}";

/// The whole page.
pub(super) fn render(document: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1><p>{1}</p>\
         <p>For programs: <a href=\"/admin/openapi.json\">openapi.json</a></p>",
        text(document.pointer("/info/title")),
        text(document.pointer("/info/description")),
    );
    let tags = tags(document);
    page.push_str("<nav><p>");
    for tag in &tags {
        let _ = write!(page, "<a href=\"#{}\">{}</a>", anchor(tag), escape(tag));
    }
    page.push_str("</p><p>");
    for (name, _) in members(document, "/components/schemas") {
        let _ = write!(page, "{} ", link(name));
    }
    page.push_str("</p></nav>");
    for tag in &tags {
        let _ = write!(page, "<h2 id=\"{}\">{}</h2>", anchor(tag), escape(&capital(tag)));
        for (path, method, operation) in operations(document).filter(|(.., operation)| tag_of(operation) == Some(tag)) {
            render_operation(&mut page, path, method, operation);
        }
    }
    for (name, schema) in members(document, "/components/schemas") {
        let _ = write!(
            page,
            "<h2 id=\"{0}\">{0}</h2><p>{1}</p><table><colgroup><col><col><col></colgroup>\
             <tr><th>Member</th><th>Value</th><th>Meaning</th></tr>",
            escape(name),
            text(schema.get("description"))
        );
        render_members(&mut page, "", schema);
        page.push_str("</table>");
    }
    page.push_str("</body></html>");
    page
}

fn render_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let answers: Vec<String> = members(operation, "/responses")
        .map(|(status, _)| escape(status))
        .collect();
    let _ = write!(
        page,
        "<section id=\"{}\"><p><b>{}</b><code>{}</code></p><p>{}. {}</p><p><small>Answers {}</small></p></section>",
        text(operation.get("operationId")),
        method.to_uppercase(),
        escape(path),
        text(operation.get("summary")),
        text(operation.get("description")),
        answers.join(", "),
    );
}

/// A row for each member, and for those of objects in it.
fn render_members(page: &mut String, outer: &str, schema: &Value) {
    let required = schema.get("required").and_then(Value::as_array);
    for (name, member) in members(schema, "/properties") {
        let path = format!("{outer}{name}");
        let is_required = required.is_some_and(|names| names.iter().any(|other| other == name.as_str()));
        let _ = write!(
            page,
            "<tr><td><code>{}</code></td><td>{}{}</td><td>{}</td></tr>",
            escape(&path),
            kind(member),
            if is_required { ", required" } else { "" },
            text(member.get("description")),
        );
        render_members(page, &format!("{path}."), member);
        if let Some(items) = member.get("items") {
            render_members(page, &format!("{path}[]."), items);
        }
    }
}

/// What a member may be, in words.
fn kind(schema: &Value) -> String {
    let mut words = vec![shape(schema)];
    words.extend(match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => Some(format!("from {least} to {most}")),
        (Some(least), None) => Some(format!("from {least}")),
        (None, Some(most)) => Some(format!("up to {most}")),
        (None, None) => None,
    });
    words.extend(schema.get("exclusiveMinimum").map(|below| format!("above {below}")));
    let mut parts = vec![words.join(" ")];
    parts.extend(schema.get("maxItems").map(|most| format!("at most {most}")));
    for (key, said) in [("readOnly", "only read"), ("writeOnly", "only written")] {
        if schema.get(key) == Some(&Value::Bool(true)) {
            parts.push(said.to_owned());
        }
    }
    let default = schema.get("default").map(|value| escape(&value.to_string()));
    parts.extend(default.map(|value| format!("<code>{value}</code> if left out")));
    parts.join(", ")
}

fn shape(schema: &Value) -> String {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return link(target.rsplit('/').next().unwrap_or_default());
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(value.as_str().unwrap_or("null"))))
            .collect();
        return values.join(" or ");
    }
    let kinds = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return "any value".to_owned(),
    };
    let named = |kind: &str| match kind {
        "array" => format!(
            "list of {}",
            schema.get("items").map_or_else(|| "values".to_owned(), shape)
        ),
        "string" => schema
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or("string")
            .to_owned(),
        other => other.to_owned(),
    };
    kinds.into_iter().map(named).collect::<Vec<_>>().join(" or ")
}

/// In the order of their first operation.
fn tags(document: &Value) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in operations(document).filter_map(|(.., operation)| tag_of(operation)) {
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn tag_of(operation: &Value) -> Option<&str> {
    operation.pointer("/tags/0").and_then(Value::as_str)
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &'static str, &Value)> {
    members(document, "/paths").flat_map(|(path, operations)| {
        let methods = ["get", "post", "put", "patch", "delete"];
        methods
            .into_iter()
            .filter_map(move |method| Some((path, method, operations.get(method)?)))
    })
}

/// The object at a place; none is as good as an empty one.
fn members<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

fn link(name: &str) -> String {
    format!("<a href=\"#{0}\">{0}</a>", escape(name))
}

/// A place in the page; no schema has such a name.
fn anchor(tag: &str) -> String {
    format!("of-{}", escape(&tag.replace(' ', "-")))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Sentences, with what stands between backticks as code.
fn text(value: Option<&Value>) -> String {
    let escaped = escape(value.and_then(Value::as_str).unwrap_or_default());
    let mut shown = String::with_capacity(escaped.len());
    for (at, part) in escaped.split('`').enumerate() {
        if at > 0 {
            shown.push_str(if at % 2 == 1 { "<code>" } else { "</code>" });
        }
        shown.push_str(part);
    }
    shown
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_member_may_be_is_told_in_words() {
        for (schema, words) in [
            (
                json!({"type": "integer", "minimum": 1, "maximum": 9, "default": 3}),
                "integer from 1 to 9, <code>3</code> if left out",
            ),
            (
                json!({"type": ["string", "null"], "format": "date-time"}),
                "date-time or null",
            ),
            (
                json!({"type": "array", "maxItems": 4, "items": {"$ref": "#/components/schemas/Pool"}}),
                "list of <a href=\"#Pool\">Pool</a>, at most 4",
            ),
            (
                json!({"enum": ["day", "week"]}),
                "<code>day</code> or <code>week</code>",
            ),
            (json!({}), "any value"),
        ] {
            assert_eq!(kind(&schema), words, "{schema}");
        }
    }

    #[test]
    fn members_of_inner_objects_have_rows_of_their_own_and_nothing_gets_out_of_its_cell() {
        let schema = json!({"required": ["<a>"], "properties": {"<a>": {"type": "object", "description": "`x` & y",
            "properties": {"b": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "string"}}}}}}}});
        let mut page = String::new();
        render_members(&mut page, "", &schema);
        assert!(page.contains("<code>&lt;a&gt;.b[].c</code>"), "{page}");
        assert!(
            page.contains("object, required</td><td><code>x</code> &amp; y</td>"),
            "{page}"
        );
    }
}
