//! Requests as bytes. What is large in them is copied once, from the caller's bytes to the vendor's.

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::domain::chat::{ChatRequest, Content, PartKind, Source};

/// What else there is in a request than texts and pictures.
const FRAME_BYTES: usize = 1024;

/// Writes a request that has about that many bytes.
pub(super) fn written(request: &impl Serialize, room: usize) -> Bytes {
    let mut out = Vec::with_capacity(room);
    // Texts, numbers and maps of them are never refused.
    let _ = serde_json::to_writer(&mut out, request);
    out.into()
}

/// What a call was made with, for formats in which that is an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arguments<'a> {
    /// As it is written: models care about neither order nor precision, those who compare do.
    Object(&'a RawValue),
    /// Models write what is none, and callers send it back: it is shown under this name.
    Other(&'a str),
}

/// Where arguments that are no object stand in one.
pub(super) const INVALID: &str = "INVALID_JSON";

impl<'a> Arguments<'a> {
    /// Nothing stands for an empty object.
    pub(super) fn of(text: &'a str) -> Self {
        let object = match text.trim() {
            "" => "{}",
            text => text,
        };
        match serde_json::from_str::<&RawValue>(object) {
            Ok(value) if value.get().starts_with('{') => Self::Object(value),
            Ok(_) | Err(_) => Self::Other(text),
        }
    }
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(object) => object.serialize(to),
            Self::Other(text) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry(INVALID, text)?;
                map.end()
            }
        }
    }
}

/// How many bytes a request has, roughly: room that is made at once is not made again and again while it is written.
pub(super) fn room_for(request: &ChatRequest<'_>) -> usize {
    let contents = request.messages.iter().map(|message| match &message.content {
        Content::None => 0,
        Content::Text(text) => text.len(),
        Content::Parts(parts) => parts.iter().map(|part| weight(&part.kind)).sum(),
    });
    let frames = FRAME_BYTES + 64 * request.messages.len();
    contents.sum::<usize>() + frames
}

fn weight(part: &PartKind<'_>) -> usize {
    match part {
        PartKind::Text(text) => text.len(),
        PartKind::Audio { data, .. }
        | PartKind::Image {
            source: Source::Base64 { data, .. },
            ..
        }
        | PartKind::Document {
            source: Source::Base64 { data, .. },
            ..
        } => data.len() + 64,
        PartKind::Image { .. } | PartKind::Document { .. } => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_whatever_the_model_wrote() {
        for (text, wanted) in [
            (
                " {\"b\":1,\"a\":12345678901234567890} ",
                "{\"b\":1,\"a\":12345678901234567890}",
            ),
            ("", "{}"),
            (" ", "{}"),
            ("{\"a\":", "{\"INVALID_JSON\":\"{\\\"a\\\":\"}"),
            ("[1]", "{\"INVALID_JSON\":\"[1]\"}"),
            ("null", "{\"INVALID_JSON\":\"null\"}"),
        ] {
            assert_eq!(serde_json::to_string(&Arguments::of(text)).unwrap(), wanted);
        }
    }
}
