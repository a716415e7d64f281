//! Faults that a model's name asks for: `fault-[once-][quote-]NAME[-retry-after-SECONDS]`.
//!
//! | NAME | what happens |
//! | --- | --- |
//! | `400` `context` `401` `403` `404` `413` `429` `quota` `filter` `500` `overloaded` `504` | that failure in the vendor's words |
//! | `html-500` `html-200` | a page of a proxy's in place of an answer |
//! | `in-band` | status 200 and a failure inside; in a stream after some text |
//! | `truncated` | a proper end after half of the answer |
//! | `cut` | the connection breaks within the answer |
//! | `hang-up` | the connection ends without an answer |
//! | `malformed` | something that is not the format |
//! | `stall-before` `stall-after` | silence before or after the first content |
//! | `gzip` | compressed, although nobody asked for it |
//! | `no-usage` `split-usage` `late-usage` `no-done` | answers that are good and unusual |
//!
//! `once`: only the first request with that text of the user's fails. `quote`: the failure quotes the credential.

use std::time::Duration;

use axum::body::Bytes;

use super::{
    chat::Telling,
    shape::Failure,
    wire::{Part, Stream, Whole, gzip, odd_pieces},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Failure(Failure),
    Html(u16),
    InBand,
    Truncated,
    Cut,
    HangUp,
    Malformed,
    StallBefore,
    StallAfter,
    Gzip,
    Usage(Telling),
    NoTerminator,
}

#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub kind: Kind,
    pub once: bool,
    pub quote: bool,
    /// Seconds that the vendor asks to wait.
    pub wait: Option<u64>,
}

/// Longer than any test waits.
pub const STALL: Duration = Duration::from_mins(2);

impl Fault {
    /// What a model's name asks for; `None` if it names no fault.
    pub fn of(model: &str) -> Option<Self> {
        let name = model.strip_prefix("fault-")?;
        let (name, once) = name.strip_prefix("once-").map_or((name, false), |rest| (rest, true));
        let (name, quote) = name.strip_prefix("quote-").map_or((name, false), |rest| (rest, true));
        let (name, wait) = match name.split_once("-retry-after-") {
            Some((name, seconds)) => (name, Some(seconds.parse().unwrap())),
            None => (name, None),
        };
        let kind = match name {
            "400" => Kind::Failure(Failure::Invalid),
            "context" => Kind::Failure(Failure::ContextLength),
            "401" => Kind::Failure(Failure::Credentials),
            "403" => Kind::Failure(Failure::Forbidden),
            "404" => Kind::Failure(Failure::NotFound),
            "413" => Kind::Failure(Failure::TooLarge),
            "429" => Kind::Failure(Failure::RateLimit),
            "quota" => Kind::Failure(Failure::Quota),
            "filter" => Kind::Failure(Failure::Filtered),
            "500" => Kind::Failure(Failure::Internal),
            "overloaded" => Kind::Failure(Failure::Overloaded),
            "504" => Kind::Failure(Failure::Timeout),
            "html-500" => Kind::Html(500),
            "html-200" => Kind::Html(200),
            "in-band" => Kind::InBand,
            "truncated" => Kind::Truncated,
            "cut" => Kind::Cut,
            "hang-up" => Kind::HangUp,
            "malformed" => Kind::Malformed,
            "stall-before" => Kind::StallBefore,
            "stall-after" => Kind::StallAfter,
            "gzip" => Kind::Gzip,
            "no-usage" => Kind::Usage(Telling::Missing),
            "split-usage" => Kind::Usage(Telling::Split),
            "late-usage" => Kind::Usage(Telling::Late),
            "no-done" => Kind::NoTerminator,
            _ => panic!("the mock vendor knows no fault {name}"),
        };
        Some(Self {
            kind,
            once,
            quote,
            wait,
        })
    }
}

/// What goes out: pieces, pauses, and how it ends.
#[derive(Debug)]
pub struct Outgoing {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub pieces: Vec<Piece>,
    /// Told beforehand, as of an answer in one piece.
    pub length: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    Pause(Duration),
    Break,
}

/// The connection ends without an answer.
#[derive(Debug)]
pub struct HungUp;

pub fn html(status: u16) -> Whole {
    let page =
        "<html><head><title>Bad Gateway</title></head><body><h1>nginx at 10.1.2.3 (edge-7.internal)</h1></body></html>";
    Whole {
        status,
        headers: vec![("content-type", "text/html; charset=utf-8".to_owned())],
        body: page.as_bytes().to_vec(),
    }
}

/// Sends an answer in one piece, with what went wrong on the way.
pub fn send_whole(mut whole: Whole, kind: Option<Kind>) -> Outgoing {
    let mut pieces = Vec::new();
    match kind {
        Some(Kind::StallBefore) => pieces.push(Piece::Pause(STALL)),
        Some(Kind::Gzip) => {
            whole.body = gzip(&whole.body);
            whole.headers.push(("content-encoding", "gzip".to_owned()));
        }
        _ => {}
    }
    let all = whole.body.len();
    let half = all / 2;
    let mut length = Some(all);
    match kind {
        Some(Kind::Truncated | Kind::Malformed) => {
            whole.body.truncate(half);
            length = None;
            pieces.push(Piece::Bytes(whole.body.into()));
        }
        Some(Kind::Cut | Kind::StallAfter) => {
            whole.body.truncate(half);
            pieces.push(Piece::Bytes(whole.body.into()));
            if kind == Some(Kind::StallAfter) {
                pieces.push(Piece::Pause(STALL));
            }
            pieces.push(Piece::Break);
        }
        _ => pieces.push(Piece::Bytes(whole.body.into())),
    }
    Outgoing {
        status: whole.status,
        headers: whole.headers,
        pieces,
        length,
    }
}

/// Sends a stream in odd pieces, or message by message, with what went wrong on the way. `failure` is the vendor's way to
/// say in a stream that it failed, `garbage` what its format does not allow.
pub fn send_stream(stream: Stream, kind: Option<Kind>, failure: &[u8], garbage: &[u8]) -> Outgoing {
    // Faults strike when some of the content is out.
    let struck = || {
        let mut content = 0;
        stream
            .frames
            .iter()
            .take_while(|frame| {
                content += usize::from(frame.part == Part::Content);
                content <= 6
            })
            .map(|frame| frame.bytes.clone())
            .collect::<Vec<_>>()
    };
    let whole = || {
        stream
            .frames
            .iter()
            .filter(|frame| kind != Some(Kind::NoTerminator) || frame.part != Part::Terminator)
            .map(|frame| frame.bytes.clone())
            .collect::<Vec<_>>()
    };
    let cut = |frames: Vec<Vec<u8>>| -> Vec<Piece> {
        if stream.messages {
            return frames.into_iter().map(|frame| Piece::Bytes(frame.into())).collect();
        }
        odd_pieces(&frames.concat()).into_iter().map(Piece::Bytes).collect()
    };
    let mut headers = stream.headers.clone();
    headers.push(("content-type", stream.content_type.to_owned()));
    headers.push(("cache-control", "no-cache".to_owned()));
    let pieces = match kind {
        Some(Kind::InBand) => cut([struck(), vec![failure.to_vec()]].concat()),
        Some(Kind::Malformed) => cut([struck(), vec![garbage.to_vec()], whole()].concat()),
        Some(Kind::Truncated) => cut(struck()),
        // What was sent has to be on its way before the connection goes.
        Some(Kind::Cut) => [
            cut(struck()),
            vec![Piece::Pause(Duration::from_millis(100)), Piece::Break],
        ]
        .concat(),
        Some(Kind::StallBefore) => [vec![Piece::Pause(STALL)], cut(whole())].concat(),
        Some(Kind::StallAfter) => [cut(struck()), vec![Piece::Pause(STALL)], cut(whole())].concat(),
        Some(Kind::Gzip) => {
            headers.push(("content-encoding", "gzip".to_owned()));
            cut(vec![gzip(&whole().concat())])
        }
        _ => cut(whole()),
    };
    Outgoing {
        status: 200,
        headers,
        pieces,
        length: None,
    }
}
