//! Messages for callers who speak Anthropic's format themselves: their bytes pass, and so do the answer's.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{
    BETA_HEADER, BETAS, NEWER, OLDER, PATH, VERSION, VERSION_HEADER, faults, known, needs_older, read_reply,
    stream::Reader,
};
use crate::{
    adapters::dialects::{passing::Passing, translated::whole},
    domain::{call::Call, chat::ChatRequest, fault::Fault},
    ports::codec::{Codec, EncodeError, Encoded, Opening, Outcome, Received, StreamDecoder, Target},
};

/// `POST /v1/messages`, word for word but for the model's name.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn path(&self) -> &'static str {
        PATH
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let json = HeaderValue::from_static("application/json");
        let body = call.verbatim_for(target.model).unwrap_or_default();
        let encoded = Encoded {
            body,
            ..Encoded::of(json, Bytes::new())
        };
        let version = version_of(call, target.option(VERSION));
        let encoded = encoded.with(VERSION_HEADER, HeaderValue::from_static(version));
        let encoded = with_betas(encoded, call, target);
        Ok(if call.stream { encoded.streaming() } else { encoded })
    }

    fn decode(&self, _: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let answer = read_reply(&reply.body)?;
        Ok(whole(&answer, reply.body))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Passing::<Reader>::default())
    }
}

/// The version for which the caller has written its request; where it names none that there is, the one that takes what it wrote.
fn version_of(call: &Call, pinned: Option<&str>) -> &'static str {
    let named = call.said_header(VERSION_HEADER).next();
    pinned.or(named).and_then(known).unwrap_or_else(|| {
        // Only who names no version pays for this look.
        let older = ChatRequest::read(&call.body()).is_ok_and(|request| needs_older(&request));
        if older { OLDER } else { NEWER }
    })
}

/// With what the caller wants to try, as far as it may.
pub(super) fn with_betas(mut encoded: Encoded, call: &Call, target: Target<'_>) -> Encoded {
    let (betas, left_out) = betas(call, target.option(BETAS));
    if left_out {
        encoded.dropped.push(BETA_HEADER.to_owned());
    }
    match HeaderValue::try_from(betas.join(",")) {
        Ok(value) if !betas.is_empty() => encoded.with(BETA_HEADER, value),
        Ok(_) | Err(_) => encoded,
    }
}

/// The names in `anthropic-beta` that the vendor's option lists, `*` being all of them, and whether others were left out.
fn betas<'c>(call: &'c Call, listed: Option<&str>) -> (Vec<&'c str>, bool) {
    let listed: Vec<_> = listed.unwrap_or_default().split(',').map(str::trim).collect();
    let may_pass = |name: &str| listed.iter().any(|one| *one == "*" || *one == name);
    let asked = call.said_header(BETA_HEADER).flat_map(|value| value.split(','));
    let asked = asked.map(str::trim).filter(|name| !name.is_empty());
    let (passed, left): (Vec<_>, Vec<_>) = asked.partition(|name| may_pass(name));
    (passed, !left.is_empty())
}
