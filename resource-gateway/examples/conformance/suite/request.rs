//! What the adapters send, held against what the SDK sent.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::{
    application::registry::BoundVendor,
    domain::multipart::{Boundary, Form},
    ports::{codec::Outgoing, transport::SocketMessage},
};
use serde_json::{Value, json};

use super::{
    Errand,
    fixture::{Fixture, says},
    recorded,
};

/// Query fields that only SDKs send.
const SDK_ONLY_QUERY: [&str; 2] = ["aipSdk", "aipVersion"];
/// Headers that are the SDK's, or of the connection.
const SDK_ONLY_HEADERS: [&str; 9] = [
    "accept",
    "host",
    "content-length",
    "x-tc-language",
    "x-accel-buffering",
    "x-dashscope-sdk-client",
    "request-source",
    "user-agent",
    "amz-sdk-invocation-id",
];

/// The whole request of a call. A recorded signature is of the SDK's own bytes, so it is left to [`check_signature`].
pub(crate) fn compare(fixture: &Fixture, built: &Outgoing, errand: &Errand) -> Result<(), String> {
    let mut except = errand.except.clone();
    let is_of_the_body = |signing: &Value| says(signing, "token").is_none();
    if fixture.signing().is_some_and(is_of_the_body) {
        except.extend(["authorization", "x-amz-content-sha256", "content-md5"]);
    }
    let mut request = fixture.request().clone();
    let mut built_body = body_of(built)?;
    if let Some(body) = request.get_mut("body") {
        (errand.tolerances)(body);
        (errand.tolerances)(&mut built_body);
    }
    compare_head(&request, built, &except)?;
    match fixture.frames() {
        None => compare_body(&request, built, &built_body),
        // Nobody gets to speak where no WebSocket is opened.
        Some([]) => Ok(()),
        Some(frames) => compare_frames(frames, built, fixture.expect().get("error").is_some()),
    }
}

/// What the client says over a WebSocket. Sound may be cut in other places, and a task has a name of its own each time.
/// Where the other side ends it early, not all is said.
fn compare_frames(frames: &[Value], built: &Outgoing, ends_early: bool) -> Result<(), String> {
    let dialogue = built.dialogue.as_ref().ok_or("no WebSocket is opened")?;
    let mut found: Vec<Value> = Vec::new();
    let mut sound = Vec::new();
    let mut add = |text: Option<Value>, bytes: &[u8], list: &mut Vec<Value>| match text {
        None => sound.extend_from_slice(bytes),
        Some(text) => {
            if !sound.is_empty() {
                list.push(json!(STANDARD.encode(std::mem::take(&mut sound))));
            }
            list.push(nameless(text));
        }
    };
    for message in dialogue.turns.iter().flatten() {
        match message {
            SocketMessage::Text(text) => {
                let text = serde_json::from_slice(text).map_err(|error| format!("a frame is no JSON: {error}"))?;
                add(Some(text), &[], &mut found);
            }
            SocketMessage::Binary(bytes) => add(None, bytes, &mut found),
        }
    }
    let mut wanted = Vec::new();
    for frame in frames.iter().filter(|frame| says(frame, "dir") == Some("client")) {
        match (says(frame, "text"), says(frame, "base64")) {
            (Some(text), _) => {
                let text = serde_json::from_str(text).map_err(|error| error.to_string())?;
                add(Some(text), &[], &mut wanted);
            }
            (None, bytes) => {
                let bytes = STANDARD.decode(bytes.unwrap_or_default());
                add(None, &bytes.map_err(|error| error.to_string())?, &mut wanted);
            }
        }
    }
    if ends_early {
        found.truncate(wanted.len());
    }
    same(&json!(found), &json!(wanted), "frames")
}

/// A frame without its task's name.
fn nameless(mut frame: Value) -> Value {
    if let Some(header) = frame.get_mut("header").and_then(Value::as_object_mut) {
        header.remove("task_id");
    }
    frame
}

/// A request that is no call.
pub(crate) fn compare_bare(request: &Value, built: &Outgoing, except: &[&'static str]) -> Result<(), String> {
    compare_head(request, built, except)?;
    compare_body(request, built, &body_of(built)?)
}

fn compare_head(request: &Value, built: &Outgoing, except: &[&'static str]) -> Result<(), String> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let uri = &built.uri;
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    for (name, found, wanted) in [
        ("method", built.method.as_str(), text("method")),
        ("scheme", uri.scheme_str().unwrap_or_default(), text("scheme")),
        ("host", host.as_str(), text("host")),
        ("path", uri.path(), text("path")),
    ] {
        // A WebSocket begins as a request over HTTP.
        if found != wanted && found.replace("http", "ws") != wanted {
            return Err(format!("{name} is {found:?}, wanted {wanted:?}"));
        }
    }
    let found = pairs(uri.query().unwrap_or_default());
    let mut wanted: Vec<(String, String)> = match request.get("query").and_then(Value::as_array) {
        Some(pairs) => pairs
            .iter()
            .map(|pair| {
                let at = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
                (at(0), at(1))
            })
            .collect(),
        None => pairs(text("raw_query")),
    };
    wanted.retain(|(name, _)| !SDK_ONLY_QUERY.contains(&name.as_str()) && !except.contains(&name.as_str()));
    let mut found: Vec<_> = found
        .into_iter()
        .filter(|(name, _)| !except.contains(&name.as_str()))
        .collect();
    wanted.sort();
    found.sort();
    if found != wanted {
        return Err(format!("query is {found:?}, wanted {wanted:?}"));
    }
    let sdk_only: Vec<&str> = request
        .get("sdk_only_headers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, wanted) in request.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let name = name.as_str();
        if SDK_ONLY_HEADERS.contains(&name) || sdk_only.contains(&name) || except.contains(&name) {
            continue;
        }
        let wanted = plain_value(wanted.as_str().unwrap_or_default());
        let found = built
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(plain_value);
        // What has no content needs no type.
        if name == "content-type" && built.body.iter().all(bytes::Bytes::is_empty) {
            continue;
        }
        if found.as_deref() != Some(wanted.as_str()) {
            return Err(format!("header {name} is {found:?}, wanted {wanted:?}"));
        }
    }
    Ok(())
}

/// Without a charset or a boundary.
fn plain_value(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    match lower.split_once(';') {
        Some((kind, rest))
            if rest.trim_start().starts_with("charset=") || rest.trim_start().starts_with("boundary=") =>
        {
            kind.trim().to_owned()
        }
        _ => value.to_owned(),
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The body as JSON where it is that.
fn body_of(built: &Outgoing) -> Result<Value, String> {
    let body = built.body.concat();
    let kind = built
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if kind.starts_with("application/json") && !body.is_empty() {
        return serde_json::from_slice(&body).map_err(|error| format!("the body is no JSON: {error}"));
    }
    Ok(Value::Null)
}

fn compare_body(request: &Value, built: &Outgoing, built_body: &Value) -> Result<(), String> {
    let bytes = built.body.concat();
    if let Some(form) = request.get("form").and_then(Value::as_array) {
        let mut wanted: Vec<(String, String)> = form
            .iter()
            .map(|pair| {
                let at = |at: usize| match pair.get(at) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                (at(0), at(1))
            })
            .collect();
        let mut found: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
        wanted.sort();
        found.sort();
        return same(&json!(found), &json!(wanted), "form");
    }
    if let Some(parts) = request.get("multipart").and_then(Value::as_array) {
        return compare_form(parts, built, &bytes);
    }
    match request.get("body") {
        None | Some(Value::Null) if bytes.is_empty() => Ok(()),
        None | Some(Value::Null) => match request.get("body_base64").and_then(Value::as_str) {
            Some(wanted) if STANDARD.decode(wanted).ok().as_deref() == Some(&bytes) => Ok(()),
            Some(_) => Err("the bytes of the body differ".to_owned()),
            None => Err(format!("there is a body of {} bytes, wanted none", bytes.len())),
        },
        Some(Value::String(wanted)) if wanted.as_bytes() == bytes => Ok(()),
        Some(Value::String(_)) => Err("the text of the body differs".to_owned()),
        Some(wanted) => same(built_body, wanted, "body"),
    }
}

fn compare_form(wanted: &[Value], built: &Outgoing, bytes: &[u8]) -> Result<(), String> {
    let kind = built
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let boundary = Boundary::of_content_type(kind).ok_or_else(|| format!("{kind:?} has no boundary"))?;
    let form = Form::parse(&bytes.to_vec().into(), &boundary).map_err(|error| format!("{error:?}"))?;
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for part in form.parts() {
        found.entry(part.name.to_string()).or_default().push(json!({
            "base64": STANDARD.encode(&part.value),
            "filename": part.file.as_ref().map(|file| &file.name),
            "content_type": part.file.as_ref().map(|file| &file.content_type),
        }));
    }
    let mut expected: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for part in wanted {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        let value = text("base64").map_or_else(|| STANDARD.encode(text("text").unwrap_or_default()), str::to_owned);
        expected
            .entry(text("name").unwrap_or_default().to_owned())
            .or_default()
            .push(json!({
                "base64": value,
                "filename": text("filename"),
                "content_type": text("filename").and_then(|_| text("content_type")),
            }));
    }
    same(&json!(found), &json!(expected), "form")
}

/// Whether two values are the same JSON; `1` is `1.0`.
pub(crate) fn same(found: &Value, wanted: &Value, place: &str) -> Result<(), String> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for (name, value) in wanted {
                let place = format!("{place}.{name}");
                match found.get(name) {
                    Some(found) => same(found, value, &place)?,
                    None => return Err(format!("{place} is missing, wanted {}", clipped(value))),
                }
            }
            match found.keys().find(|name| !wanted.contains_key(*name)) {
                Some(name) => Err(format!(
                    "{place}.{name} is {}, wanted none",
                    clipped(found.get(name).unwrap_or(&Value::Null))
                )),
                None => Ok(()),
            }
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                same(found, wanted, &format!("{place}[{at}]"))?;
            }
            Ok(())
        }
        (Value::Number(found), Value::Number(wanted)) if close(found.as_f64(), wanted.as_f64()) => Ok(()),
        (found, wanted) if found == wanted => Ok(()),
        (found, wanted) => Err(format!("{place} is {}, wanted {}", clipped(found), clipped(wanted))),
    }
}

/// Numbers come through floats.
pub(crate) fn close(found: Option<f64>, wanted: Option<f64>) -> bool {
    match (found, wanted) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
        _ => false,
    }
}

pub(crate) fn clipped(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}

/// Signs what the SDK signed, byte by byte; the signature has to be the SDK's.
pub(crate) fn check_signature(fixture: &Fixture, bound: &BoundVendor) -> Result<(), String> {
    let request = fixture.request();
    let wanted = request.pointer("/headers/authorization").and_then(Value::as_str);
    let (Some(_), Some(wanted)) = (fixture.signing(), wanted) else {
        return Ok(());
    };
    // Compared with the other headers: it is of the caller and the time alone.
    if wanted.starts_with("Bearer ") {
        return Ok(());
    }
    let body = match request.get("body_text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => request
            .get("body")
            .filter(|body| !body.is_null())
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    let mut again = recorded(request, &body)?;
    again.headers.remove("authorization");
    bound.signer.sign(&mut again, fixture.at(), None);
    let found = again.headers.get("authorization").and_then(|value| value.to_str().ok());
    match found == Some(wanted) {
        true => Ok(()),
        false => Err(format!("{found:?}, wanted {wanted:?}")),
    }
}
