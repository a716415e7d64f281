//! Fixtures as they are stored.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use service_kit::Timestamp;

/// One recording.
#[derive(Debug)]
pub(crate) struct Fixture(Value);

/// A recorded answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// As they were flushed.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// The body never came to its end.
    pub(crate) cut: bool,
}

/// Every fixture below a folder, by name.
pub(crate) fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            find(&entry, found)?;
        } else if entry.extension().is_some_and(|extension| extension == "json") {
            found.push(entry);
        }
    }
    Ok(())
}

impl Fixture {
    pub(crate) fn load(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(Self(value))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn vendor(&self) -> &str {
        self.text("vendor")
    }

    pub(crate) fn capability(&self) -> &str {
        self.text("capability")
    }

    pub(crate) fn case(&self) -> &str {
        self.text("case")
    }

    /// What the SDK was told beside the call: credentials and the like.
    pub(crate) fn input(&self, name: &str) -> Option<&str> {
        self.0.pointer("/inputs")?.get(name)?.as_str()
    }

    /// The same where it is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.pointer("/inputs")?.get(name)?.as_u64()
    }

    /// The call, in the SDK's own words.
    pub(crate) fn params(&self) -> Value {
        self.0.pointer("/inputs/params").cloned().unwrap_or(Value::Null)
    }

    /// The moment at which it was signed.
    pub(crate) fn at(&self) -> Timestamp {
        let seconds = self.0.pointer("/inputs/frozen_unix").and_then(Value::as_i64);
        Timestamp::from_seconds(seconds.unwrap_or(1_741_964_966))
    }

    pub(crate) fn request(&self) -> &Value {
        self.0.get("request").unwrap_or(&Value::Null)
    }

    pub(crate) fn preceding(&self) -> &[Value] {
        self.0
            .get("preceding")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Whether it is of the list of models, whatever came of it.
    pub(crate) fn asks_for_models(&self) -> bool {
        let path = says(self.request(), "path").unwrap_or_default();
        says(self.request(), "method") == Some("GET") && (path.ends_with("/models") || path.ends_with("/api/tags"))
    }

    /// Whether it is of a count, whatever came of it.
    pub(crate) fn asks_to_count(&self) -> bool {
        let path = says(self.request(), "path").unwrap_or_default();
        path.ends_with("/count_tokens") || path.ends_with(":countTokens")
    }

    /// A secret, with the token of a temporary key behind it.
    pub(crate) fn secret_of(&self, secret: &str, token: &str) -> Option<String> {
        let secret = self.input(secret)?;
        Some(match self.input(token) {
            Some(token) => format!("{secret} {token}"),
            None => secret.to_owned(),
        })
    }

    pub(crate) fn signing(&self) -> Option<&Value> {
        self.0.get("signing")
    }

    pub(crate) fn expect(&self) -> &Value {
        self.0.get("expect").unwrap_or(&Value::Null)
    }

    pub(crate) fn response(&self) -> Result<Response, String> {
        let response = response(self.0.get("response").unwrap_or(&Value::Null))?;
        match self.frames() {
            Some(frames) if response.status == 101 => socket_response(frames),
            _ => Ok(response),
        }
    }

    /// What was said over a WebSocket, by both sides.
    pub(crate) fn frames(&self) -> Option<&[Value]> {
        self.request().get("ws_frames")?.as_array().map(Vec::as_slice)
    }
}

/// The server's frames as the transport tells them: a line each.
fn socket_response(frames: &[Value]) -> Result<Response, String> {
    let mut pieces = Vec::new();
    for frame in frames.iter().filter(|frame| says(frame, "dir") == Some("server")) {
        let text = says(frame, "text").ok_or("a server's frame is no text")?;
        pieces.push(format!("{}\n", text.replace('\n', " ")).into_bytes());
    }
    let lines = HeaderValue::from_static("application/x-ndjson");
    Ok(Response {
        status: 200,
        headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, lines)]),
        pieces,
        cut: false,
    })
}

pub(crate) fn says<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

/// An answer as it is stored.
pub(crate) fn response(stored: &Value) -> Result<Response, String> {
    let status = stored.get("status").and_then(Value::as_u64).unwrap_or(200);
    let texts = |name: &str| -> Option<Vec<Vec<u8>>> {
        let pieces = stored.get(name)?.as_array()?;
        Some(
            pieces
                .iter()
                .map(|piece| piece.as_str().unwrap_or_default().into())
                .collect(),
        )
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    let pieces = if let Some(pieces) = texts("sse").or_else(|| texts("chunks")) {
        pieces
    } else if let Some(pieces) = stored.get("chunks_base64").and_then(Value::as_array) {
        let pieces = pieces.iter().map(|piece| decode(piece.as_str().unwrap_or_default()));
        pieces.collect::<Result<_, _>>()?
    } else if let Some(body) = stored.get("body_base64").and_then(Value::as_str) {
        vec![decode(body)?]
    } else {
        match stored.get("body") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => vec![text.clone().into()],
            Some(body) => vec![body.to_string().into()],
        }
    };
    Ok(Response {
        status: u16::try_from(status).map_err(|error| error.to_string())?,
        headers: headers(stored.get("headers"))?,
        pieces,
        cut: stored
            .get("connection_cut_after_last_piece")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    })
}

/// Headers as they are stored.
pub(crate) fn headers(stored: Option<&Value>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in stored.and_then(Value::as_object).into_iter().flatten() {
        let name: HeaderName = name.parse().map_err(|_| format!("{name} is no header"))?;
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        headers.append(name, HeaderValue::from_str(&value).map_err(|error| error.to_string())?);
    }
    Ok(headers)
}
