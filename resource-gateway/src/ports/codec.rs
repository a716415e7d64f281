//! Wire formats and signatures of vendors: pure translation, no I/O.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use secrecy::SecretString;
use serde_json::Value;
use service_kit::{Entropy, Timestamp};

use super::{
    chat::ChatDialect,
    fetcher::Found,
    transport::{Deadlines, Dialogue, UpstreamRequest},
};
use crate::domain::{
    answer::Answer,
    call::Call,
    chat::Counts,
    estimate::Weight,
    fault::{Fault, FaultClass, PublicError},
    interface::WhenUnsupported,
    said::Said,
    vendor::Vendor,
};

/// URLs of one request whose content is fetched for its vendor. Who looks for them can stop at the first one beyond.
pub const MOST_URLS: usize = 20;

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
    /// Puts two counts of the same call together: vendors send parts, or the same again and again, and what they say last holds.
    /// Nothing is what they do not say.
    #[must_use]
    pub fn merged(self, newer: Self) -> Self {
        let last = |newer: u64, older: u64| if newer > 0 { newer } else { older };
        Self {
            input: last(newer.input, self.input),
            output: last(newer.output, self.output),
            cached_input: newer.cached_input.or(self.cached_input),
            reasoning: newer.reasoning.or(self.reasoning),
            images: last(newer.images, self.images),
            audio_ms: last(newer.audio_ms, self.audio_ms),
            characters: last(newer.characters, self.characters),
        }
    }
}

impl From<Counts> for TokenUsage {
    fn from(counts: Counts) -> Self {
        Self {
            input: counts.all_input(),
            output: counts.all_output(),
            cached_input: counts.cached_input,
            reasoning: counts.reasoning,
            ..Self::default()
        }
    }
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The vendor's name of the model.
    pub model: &'a str,
    pub vendor: &'a Vendor,
    pub when_unsupported: WhenUnsupported,
    /// What was fetched because the codec asked for it.
    pub fetched: &'a [Fetched],
    /// For vendors that want a call to have a name.
    pub entropy: &'a dyn Entropy,
}

impl<'a> Target<'a> {
    /// A setting of the vendor's own.
    pub fn option(&self, name: &str) -> Option<&'a str> {
        self.vendor.options.get(name).map(String::as_str)
    }
}

/// What lies behind a URL of the caller's, for vendors that do not look themselves.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub url: String,
    pub media_type: String,
    pub bytes: Bytes,
}

/// Why a call cannot be written for a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeError {
    /// It holds what this vendor cannot do, or what is wrong anywhere.
    Refused(PublicError),
    /// These URLs have to be fetched first; then it is written once more.
    Fetch(Vec<String>),
}

impl From<PublicError> for EncodeError {
    fn from(error: PublicError) -> Self {
        Self::Refused(error)
    }
}

/// A request as a vendor reads it. A copy copies no content.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub content_type: HeaderValue,
    /// What kind of answer is wanted.
    pub accept: HeaderValue,
    /// In pieces: most of them the caller's own bytes. Without any there is no content, and it has no type.
    pub body: Vec<Bytes>,
    /// What is said over a WebSocket in place of a body.
    pub dialogue: Option<Box<Dialogue>>,
    /// Where it goes otherwise than by `POST` to the codec's own path.
    pub place: Option<Box<Place>>,
    /// The caller's fields that this vendor does not get, for the notice to the caller.
    pub dropped: Vec<String>,
    /// What comes of it will have to be fetched from a place that the vendor names. Where nothing is fetched, nothing is begun.
    pub ends_elsewhere: bool,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Encoded {
    /// JSON, for an answer in JSON.
    pub fn json(body: &Value) -> Self {
        Self::of(JSON, body.to_string().into())
    }

    /// A body, for an answer in JSON.
    pub fn of(content_type: HeaderValue, body: Bytes) -> Self {
        Self {
            content_type,
            accept: JSON,
            body: if body.is_empty() { Vec::new() } else { vec![body] },
            dialogue: None,
            place: None,
            dropped: Vec::new(),
            ends_elsewhere: false,
        }
    }

    /// Work whose result has to be fetched.
    #[must_use]
    pub fn ending_elsewhere(self, so: bool) -> Self {
        Self {
            ends_elsewhere: so,
            ..self
        }
    }

    /// A request without content.
    pub fn get(path: impl Into<String>) -> Self {
        Self::of(JSON, Bytes::new()).at(Method::GET, path)
    }

    /// A WebSocket at a place behind the codec's path. The answer comes in lines.
    pub fn socket(path: impl Into<String>, dialogue: Dialogue) -> Self {
        Self {
            dialogue: Some(Box::new(dialogue)),
            accept: HeaderValue::from_static("*/*"),
            ..Self::get(path)
        }
    }

    /// For an answer in events.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.accept = HeaderValue::from_static("text/event-stream");
        self
    }

    /// At a place behind the codec's path, which may hold a query.
    #[must_use]
    pub fn at(mut self, method: Method, path: impl Into<String>) -> Self {
        let headers = self.place.take().map(|place| place.headers).unwrap_or_default();
        self.place = Some(Box::new(Place {
            method,
            path: path.into(),
            headers,
            manner: Manner::Own,
        }));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: HeaderValue) -> Self {
        let place = self.place.get_or_insert_with(|| {
            Box::new(Place {
                method: Method::POST,
                path: String::new(),
                headers: HeaderMap::new(),
                manner: Manner::Own,
            })
        });
        place.headers.insert(name, value);
        self
    }
}

/// Where a call goes, and what goes along.
#[derive(Debug, Clone)]
pub struct Place {
    pub method: Method,
    /// Path and query behind the vendor's base URL and the codec's path, with a leading slash; empty for just that. Was checked.
    pub path: String,
    pub headers: HeaderMap,
    pub manner: Manner,
}

/// Whose words a call is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The codec's: it reads the answer.
    Own,
    /// The caller's: it is passed on, and so is what of the answer's head may pass.
    Passed,
}

/// A whole answer as it came.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    /// The model that was asked.
    pub model: &'a str,
    pub at: Timestamp,
    /// What the codec left for itself with the step before; `null` at first.
    pub state: &'a Value,
    /// What lay at the places that the codec named, in their order. Head and body are empty then.
    pub found: &'a [Found],
}

/// What a whole answer is.
#[derive(Debug)]
pub enum Outcome {
    Answer(Box<Decoded>),
    /// Not the answer yet: something else has to be asked first.
    Next(Box<Step>),
}

impl From<Decoded> for Outcome {
    fn from(decoded: Decoded) -> Self {
        Self::Answer(Box::new(decoded))
    }
}

/// What is asked next on the way to an answer: whether a job is done, or where its result lies.
#[derive(Debug)]
pub struct Step {
    pub ask: Ask,
    /// How long to wait before.
    pub after: Duration,
    /// For the codec, when it reads what comes. It is read and written anew with each step: nothing large belongs there.
    pub state: Value,
    /// What ends the vendor's work when nobody waits for it any more.
    pub cancel: Option<Encoded>,
}

/// Who is asked.
#[derive(Debug)]
pub enum Ask {
    /// The same vendor, signed like every call.
    Vendor(Encoded),
    /// A place that the vendor named: guarded, and without our credentials.
    Url(String),
    /// Several such places at the same time. What lies there is no longer together than one answer may be.
    Urls(Vec<String>),
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
    /// The base URL of this capability where a vendor has a host for each, and the configuration names none.
    /// `{region}` in it stands for the vendor's option of that name.
    fn home(&self) -> Option<&'static str> {
        None
    }
    /// The request for the vendor.
    ///
    /// # Errors
    /// [`EncodeError`].
    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError>;
    /// Reads a whole answer that came with a status of success.
    ///
    /// # Errors
    /// The body is an error all the same, or no answer.
    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault>;
    /// Reads an answer that came with another status; the body may be cut, empty, or not the vendor's at all.
    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault;
    /// Whether an answer is a stream, by its head.
    fn is_stream(&self, headers: &HeaderMap) -> bool {
        has_media_type(headers, "text/event-stream")
    }
    /// A decoder for one streamed answer, whose head is there.
    fn stream(&self, call: &Call, opening: Opening<'_>) -> Box<dyn StreamDecoder>;
    /// How the vendor is asked for its models, where that is known.
    fn models(&self) -> Option<&dyn ModelList> {
        None
    }
    /// Asks how many tokens a call has, without an answer to it; `None` where the vendor cannot be asked.
    fn encode_count(&self, _call: &Call, _target: Target<'_>) -> Option<Result<Encoded, EncodeError>> {
        None
    }
    /// The tokens.
    ///
    /// # Errors
    /// The body is no count.
    fn decode_count(&self, _body: &[u8]) -> Result<u64, Fault> {
        Err(Fault::of(FaultClass::InvalidReply))
    }
    /// The dialect behind it, where the capability is chat.
    fn chat(&self) -> Option<&dyn ChatDialect> {
        None
    }
}

/// How a vendor is asked for the models that it has.
pub trait ModelList: Send + Sync + fmt::Debug {
    /// Behind the vendor's base URL, with a leading slash.
    fn path(&self) -> &'static str;
    /// The request; at most `limit` models are wanted, where the vendor pages.
    fn encode(&self, limit: Option<u32>) -> Encoded;
    ///
    /// # Errors
    /// The body is no list of models.
    fn decode(&self, body: &[u8]) -> Result<Models, Fault>;
}

/// Models that a vendor has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// As the vendor writes them.
    pub names: Vec<String>,
    /// Whether it has more than these.
    pub truncated: bool,
}

impl Models {
    /// All that there are.
    pub fn all(names: Vec<String>) -> Self {
        Self {
            names,
            truncated: false,
        }
    }
}

/// Whether a message has that media type, whatever its parameters.
pub fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case(wanted)
    })
}

/// The head of a streamed answer.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    pub headers: &'a HeaderMap,
    /// The model that was asked.
    pub model: &'a str,
    pub at: Timestamp,
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

/// A call that is complete but for the proof of who we are.
pub struct Outgoing {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Vec<Bytes>,
    pub dialogue: Option<Box<Dialogue>>,
}

impl Outgoing {
    /// Ready to be sent.
    pub fn within(self, deadlines: Deadlines) -> UpstreamRequest {
        UpstreamRequest {
            method: self.method,
            uri: self.uri,
            headers: self.headers,
            body: self.body,
            dialogue: self.dialogue,
            deadlines,
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither address nor headers nor body: each may hold a secret.
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// Adds credentials to a call: an auth scheme. Runs last, on a request that nobody changes afterwards.
pub trait Signer: Send + Sync + fmt::Debug {
    /// Adds what proves who we are. `token` is what [`Self::exchange`] bought.
    fn sign(&self, request: &mut Outgoing, at: Timestamp, token: Option<&SecretString>);
    /// Whether a text of the vendor's gives the credential away.
    fn is_shown_in(&self, text: &[u8]) -> bool;
    /// Where the token is bought that signs, for schemes that need one.
    fn exchange(&self) -> Option<&dyn Exchange> {
        None
    }
}

/// Buys tokens for a credential.
pub trait Exchange: Send + Sync + fmt::Debug {
    /// The request that buys one, signed as far as it has to be.
    fn request(&self, at: Timestamp) -> Outgoing;
    /// Reads the answer, whatever its status.
    ///
    /// # Errors
    /// There is no token in it.
    fn read(&self, status: u16, headers: &HeaderMap, body: &[u8], at: Timestamp) -> Result<Bought, Fault>;
}

/// A token.
#[derive(Debug, Clone)]
pub struct Bought {
    pub token: SecretString,
    /// From then on a new one is needed: a margin before the vendor's own time.
    pub good_until: Timestamp,
}

/// Makes a signer of a vendor's credential and options.
pub trait AuthScheme: Send + Sync + fmt::Debug {
    /// # Errors
    /// The credential cannot be used; the text does not hold it.
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String>;
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
        assert_eq!(merged.merged(merged), merged);
        let less = TokenUsage {
            input: 24,
            cached_input: Some(0),
            ..TokenUsage::default()
        };
        let wanted = TokenUsage {
            input: 24,
            cached_input: Some(0),
            ..merged
        };
        assert_eq!(merged.merged(less), wanted);
    }
}
