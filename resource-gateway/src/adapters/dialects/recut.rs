//! For the tests of dialects: streams in every split, and recorded fixtures.

use std::path::Path;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::{
    domain::{
        call::Call,
        chat::{ChatEvent, ChatReply, ChatRequest},
        fault::{Fault, FaultClass},
        interface::{Capability, WhenUnsupported},
        vendor::Vendor,
    },
    ports::{
        chat::ChatDialect,
        codec::{Codec, EncodeError, Encoded, StreamEnd},
    },
};

/// A recording of the vendor's own library.
pub(super) fn fixture(name: &str) -> Value {
    // Those that are made up stand beside the template of new dialects.
    let places = ["tests/fixtures/vendors", "examples/new-vendor/fixtures"];
    let places = places.map(|place| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(place)
            .join(format!("{name}.json"))
    });
    let text = places.iter().find_map(|place| std::fs::read_to_string(place).ok());
    serde_json::from_str(&text.unwrap_or_else(|| panic!("there is no fixture {name}"))).unwrap()
}

/// The pieces of a recorded answer, joined.
pub(super) fn body(fixture: &Value) -> Vec<u8> {
    let response = &fixture["response"];
    let pieces = response["sse"].as_array().or(response["chunks"].as_array());
    match pieces {
        Some(pieces) => pieces
            .iter()
            .flat_map(|piece| piece.as_str().unwrap().bytes())
            .collect(),
        None => response["body"].to_string().into_bytes(),
    }
}

/// The end in words that can be compared.
pub(super) type End = Result<(), Fault>;

pub(super) fn read(dialect: &dyn ChatDialect, pieces: &[&[u8]]) -> (Vec<ChatEvent>, End) {
    let end = |end: StreamEnd| match end {
        StreamEnd::Complete => Ok(()),
        StreamEnd::Failed(fault) => Err(fault),
    };
    let mut decoder = dialect.stream(&HeaderMap::new());
    let mut events = Vec::new();
    for piece in pieces {
        if let Some(ended) = decoder.push(Bytes::copy_from_slice(piece), &mut events) {
            return (events, end(ended));
        }
    }
    let ended = decoder.finish(&mut events);
    (events, end(ended))
}

/// Reads a stream whole, cut in two at every byte, and byte by byte: all of it has to come to the same.
pub(super) fn however_cut(dialect: &dyn ChatDialect, stream: &[u8]) -> (Vec<ChatEvent>, End) {
    let whole = read(dialect, &[stream]);
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(read(dialect, &[first, second]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(dialect, &bytes), whole, "byte by byte");
    whole
}

/// A stream that stops anywhere before its end is no answer, and says so as what it is.
pub(super) fn cut_short(dialect: &dyn ChatDialect, stream: &[u8], end: usize) {
    for at in 0..end {
        let (_, ended) = read(dialect, &[&stream[..at]]);
        let class = ended.unwrap_err().class;
        assert!(
            matches!(class, FaultClass::Transport | FaultClass::InvalidReply),
            "stopped at {at}: {class:?}"
        );
    }
}

/// What a caller of OpenAI's format says, in the vendor's words.
pub(super) fn encoded(dialect: &dyn ChatDialect, body: &Value, vendor: &Vendor) -> Result<Encoded, EncodeError> {
    let text = body.to_string();
    let mut request = ChatRequest::read(text.as_bytes())?;
    let dropped = super::support::hold(&mut request, &dialect.support(), WhenUnsupported::Refuse)?;
    assert!(dropped.is_empty());
    super::support::bring(&mut request, &dialect.support(), &[])?;
    dialect.encode(&request, super::testing::target(vendor))
}

/// Its body as JSON.
pub(super) fn json_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body.concat()).unwrap()
}

pub(super) fn decoded(dialect: &dyn ChatDialect, body: &Value) -> Result<ChatReply, Fault> {
    let headers = HeaderMap::new();
    dialect.decode(&super::testing::received(&headers, body.to_string()))
}

/// A whole call of another capability than chat: the vendor's request, and what the caller gets.
pub(super) fn asked(
    codec: &dyn Codec,
    capability: Capability,
    body: &Value,
    answer: &Value,
) -> (Value, Result<Value, Fault>) {
    let vendor = Vendor::named("v", "v");
    let call = Call::read(capability, body.to_string().into(), None).unwrap();
    let request = json_of(&codec.encode(&call, super::testing::target(&vendor)).unwrap());
    let headers = HeaderMap::new();
    let outcome = codec.decode(&call, super::testing::received(&headers, answer.to_string()));
    let answer = outcome.map(|outcome| {
        let (body, _) = super::testing::decoded(outcome).answer.into_body();
        serde_json::from_slice(&body).unwrap()
    });
    (request, answer)
}
