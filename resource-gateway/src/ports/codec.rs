//! Wire formats and signatures of vendors: pure translation, no I/O.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::SecretString;

use crate::domain::{
    answer::Answer,
    call::Call,
    estimate::Weight,
    fault::{Fault, FaultClass},
    said::Said,
};

/// What a vendor counted. Components are kept; totals are derived last, by whoever needs one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    pub input: u64,
    pub output: u64,
    pub cached_input: Option<u64>,
    pub reasoning: Option<u64>,
    /// Pictures made or looked at, milliseconds of sound, characters of text: for capabilities that are paid by them.
    pub images: u64,
    pub audio_ms: u64,
    pub characters: u64,
}

impl TokenUsage {
    /// Puts two counts of the same call together: vendors send parts, or the same again and again, and counts only grow.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cached_input: self.cached_input.max(other.cached_input),
            reasoning: self.reasoning.max(other.reasoning),
            images: self.images.max(other.images),
            audio_ms: self.audio_ms.max(other.audio_ms),
            characters: self.characters.max(other.characters),
        }
    }
}

/// A request as a vendor reads it.
#[derive(Debug)]
pub struct Encoded {
    pub content_type: HeaderValue,
    /// What kind of answer is wanted.
    pub accept: HeaderValue,
    /// In pieces: most of them the caller's own bytes. Without any there is no content, and it has no type.
    pub body: Vec<Bytes>,
    /// What is passed on as it came, and where to; `None`: `POST`, to the codec's own path.
    pub passed: Option<Box<Passed>>,
}

/// Method, place and headers of a call that is not translated.
#[derive(Debug)]
pub struct Passed {
    pub method: Method,
    /// Path and query behind the vendor's base URL and the codec's path, with a leading slash. Was checked.
    pub path: String,
    pub headers: HeaderMap,
}

/// A whole answer as it came.
#[derive(Debug)]
pub struct Received<'a> {
    pub headers: &'a HeaderMap,
    pub body: Bytes,
}

/// A whole answer, translated.
#[derive(Debug)]
pub struct Decoded {
    pub answer: Answer,
    pub usage: Option<TokenUsage>,
    /// The answer's text, to be counted; empty when the vendor has counted it.
    pub said: Said,
    /// For the caller, as far as it may see them.
    pub headers: HeaderMap,
}

impl Decoded {
    /// An answer of which nothing is known but itself.
    pub fn of(answer: Answer) -> Self {
        Self {
            answer,
            usage: None,
            said: Said::default(),
            headers: HeaderMap::new(),
        }
    }
}

/// One capability in one wire format.
pub trait Codec: Send + Sync + fmt::Debug {
    /// Behind the vendor's base URL, with a leading slash.
    fn path(&self) -> &'static str;
    /// The request for the vendor.
    fn encode(&self, call: &Call, model: &str) -> Encoded;
    /// Reads a whole answer that came with a status of success.
    ///
    /// # Errors
    /// The body is an error all the same, or no answer.
    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Decoded, Fault>;
    /// Reads an answer that came with another status; the body may be cut, empty, or not the vendor's at all.
    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault;
    /// A decoder for one streamed answer.
    fn stream(&self, call: &Call) -> Box<dyn StreamDecoder>;
}

/// Reads one streamed answer. Any split of the bytes gives the same result.
pub trait StreamDecoder: Send {
    /// Takes bytes as they came.
    fn push(&mut self, bytes: Bytes) -> Pushed;
    /// The vendor's body has ended.
    fn finish(&mut self) -> Pushed;
    /// What is known so far.
    fn progress(&self) -> Progress;
    /// The answer's text so far, to be counted; empty when the vendor has counted it. It is asked for once, at the end.
    fn take_said(&mut self) -> Said;
}

/// The decoder of what is never streamed: a request that asks for it is refused before it gets to a codec.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStream;

impl StreamDecoder for NoStream {
    fn push(&mut self, _bytes: Bytes) -> Pushed {
        self.finish()
    }

    fn finish(&mut self) -> Pushed {
        Pushed {
            out: Bytes::new(),
            end: Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    fn progress(&self) -> Progress {
        Progress::default()
    }

    fn take_said(&mut self) -> Said {
        Said::default()
    }
}

/// What some bytes of a stream came to.
#[derive(Debug)]
pub struct Pushed {
    /// For the caller, in the caller's format; may be empty.
    pub out: Bytes,
    pub end: Option<StreamEnd>,
}

/// How a stream ended.
#[derive(Debug)]
pub enum StreamEnd {
    /// The answer is whole.
    Complete,
    Failed(Fault),
}

/// What a stream has told so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub usage: Option<TokenUsage>,
    /// How much text there was: as long as there is none, nothing of the answer has come.
    pub weight: Weight,
}

/// Adds credentials to a call: an auth scheme. Runs last, on a request that nobody changes afterwards.
pub trait Signer: Send + Sync + fmt::Debug {
    /// Adds what proves who we are.
    fn sign(&self, headers: &mut HeaderMap);
    /// Whether a text of the vendor's gives the credential away.
    fn is_shown_in(&self, text: &[u8]) -> bool;
}

/// Makes a signer of a vendor's credential.
pub trait AuthScheme: Send + Sync + fmt::Debug {
    /// # Errors
    /// The credential cannot be used; the text does not hold it.
    fn signer(&self, secret_key: Option<&SecretString>) -> Result<Box<dyn Signer>, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_merge_by_field() {
        let start = TokenUsage {
            input: 25,
            output: 1,
            cached_input: Some(3),
            images: 2,
            ..TokenUsage::default()
        };
        let end = TokenUsage {
            input: 0,
            output: 40,
            reasoning: Some(7),
            images: 1,
            audio_ms: 1500,
            ..TokenUsage::default()
        };
        let merged = TokenUsage {
            input: 25,
            output: 40,
            cached_input: Some(3),
            reasoning: Some(7),
            images: 2,
            audio_ms: 1500,
            characters: 0,
        };
        assert_eq!(start.merged(end), merged);
        assert_eq!(end.merged(start), merged);
        assert_eq!(merged.merged(merged), merged);
    }
}
