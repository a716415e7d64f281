//! For the tests of dialects.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use service_kit::Timestamp;

use crate::{
    domain::{interface::WhenUnsupported, vendor::Vendor},
    ports::codec::{Decoded, Opening, Outcome, Received, Target},
};

/// An answer with a body, for a model called `up`.
pub(super) fn received(headers: &HeaderMap, body: impl Into<Bytes>) -> Received<'_> {
    Received {
        headers,
        body: body.into(),
        model: "up",
        at: Timestamp::from_seconds(1),
        state: &Value::Null,
        found: &[],
    }
}

/// The head of a stream.
pub(super) fn opening(headers: &HeaderMap) -> Opening<'_> {
    Opening {
        headers,
        model: "up",
        at: Timestamp::from_seconds(1),
    }
}

/// A vendor's model, called `up`.
pub(super) fn target(vendor: &Vendor) -> Target<'_> {
    Target {
        model: "up",
        vendor,
        when_unsupported: WhenUnsupported::Refuse,
        fetched: &[],
        entropy: &service_kit::SystemEntropy,
    }
}

/// An answer that takes no more steps.
pub(super) fn decoded(outcome: Outcome) -> Decoded {
    match outcome {
        Outcome::Answer(decoded) => *decoded,
        Outcome::Next(step) => panic!("not the answer yet: {step:?}"),
    }
}
