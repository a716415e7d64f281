//! Requests as they arrived, replies as they leave, and the ways in which a stream may be written and cut.

use axum::{body::Bytes, http::HeaderMap};
use serde_json::Value;

use super::shape::{Checked, Failure, invalid, refuse};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub vendor: &'static str,
    pub method: String,
    /// As on the wire.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What a query says, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    pub fn json(&self) -> Checked<Value> {
        let kind = self.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/json") {
            return invalid("content-type", "must be application/json");
        }
        serde_json::from_slice(&self.body).map_or_else(
            |error| refuse(Failure::Invalid, format!("The body is no JSON: {error}")),
            Ok,
        )
    }

    pub fn form(&self) -> Checked<Vec<(String, String)>> {
        let kind = self.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return invalid("content-type", "must be application/x-www-form-urlencoded");
        }
        Ok(url::form_urlencoded::parse(&self.body).into_owned().collect())
    }

    /// Method and path as they must be.
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    /// `Authorization: Bearer` with exactly that key.
    pub fn bearer(&self, key: &str) -> Checked<()> {
        match self
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
        {
            Some(sent) if sent == key => Ok(()),
            Some(_) => refuse(Failure::Credentials, "Incorrect API key provided"),
            None => refuse(
                Failure::Credentials,
                "You didn't provide an API key in an Authorization header",
            ),
        }
    }
}

/// An answer in one piece.
#[derive(Debug, Clone)]
pub struct Whole {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Whole {
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a part of a stream is for, so that faults know where to strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Start,
    Content,
    Finish,
    Usage,
    Terminator,
}

#[derive(Debug, Clone)]
pub struct Frame {
    pub part: Part,
    pub bytes: Vec<u8>,
}

/// A stream before faults and cuts.
#[derive(Debug, Clone)]
pub struct Stream {
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub frames: Vec<Frame>,
    /// Each frame is a message of a WebSocket's and goes out as it is; elsewhere nobody sees where one ends.
    pub messages: bool,
}

/// How server-sent events are written: all the same to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Crlf,
    /// With comments and blank lines between, and no space after the colon.
    Commented,
    /// Data over several lines, which join with a line feed.
    Multiline,
}

impl Style {
    /// One of them, by the request.
    pub fn of(seed: &str) -> Self {
        match seed.bytes().fold(0_u32, |sum, byte| sum + u32::from(byte)) % 4 {
            0 => Self::Plain,
            1 => Self::Crlf,
            2 => Self::Commented,
            _ => Self::Multiline,
        }
    }
}

/// Writes server-sent events.
#[derive(Debug)]
pub struct Events {
    style: Style,
    /// Lines before the data of each event, such as DashScope's.
    frames: Vec<Frame>,
}

impl Events {
    pub fn new(style: Style) -> Self {
        Self {
            style,
            frames: Vec::new(),
        }
    }

    /// A comment, as proxies and queues send to keep a connection open.
    pub fn comment(&mut self, text: &str) {
        self.write(Part::Start, format!(": {text}\n\n"));
    }

    pub fn data(&mut self, part: Part, data: &Value) {
        self.event(part, "", data);
    }

    pub fn terminator(&mut self) {
        self.write(Part::Terminator, "data: [DONE]\n\n".to_owned());
    }

    /// An event with lines of its own before the data, each ending in a line feed.
    pub fn event(&mut self, part: Part, before: &str, data: &Value) {
        let text = data.to_string();
        let event = match self.style {
            Style::Commented => format!(": ping\n{before}data:{text}\n\n"),
            // Between two tokens of JSON a line feed is white space.
            Style::Multiline => match text.split_at_checked(1) {
                Some((brace, rest)) => format!("{before}data: {brace}\ndata: {rest}\n\n"),
                None => format!("{before}data: {text}\n\n"),
            },
            Style::Plain | Style::Crlf => format!("{before}data: {text}\n\n"),
        };
        self.write(part, event);
    }

    fn write(&mut self, part: Part, event: String) {
        let event = match self.style {
            Style::Crlf => event.replace('\n', "\r\n"),
            _ => event,
        };
        self.frames.push(Frame {
            part,
            bytes: event.into_bytes(),
        });
    }

    pub fn stream(self) -> Stream {
        Stream {
            content_type: "text/event-stream",
            headers: Vec::new(),
            frames: self.frames,
            messages: false,
        }
    }
}

/// Cuts bytes where nobody would: within characters, lines and frames.
pub fn odd_pieces(bytes: &[u8]) -> Vec<Bytes> {
    let lengths = [1, 7, 2, 31, 3, 64, 5, 13, 128];
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = after;
    }
    pieces
}

/// Gzip without compression (RFC 1952, stored blocks of RFC 1951 §3.2.4): as good as any to a reader.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let blocks: Vec<&[u8]> = bytes.chunks(0xffff).collect();
    for (at, block) in blocks.iter().enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(at + 1 == blocks.len()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend(crc32fast::hash(bytes).to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out
}
