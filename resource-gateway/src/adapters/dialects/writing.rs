//! Requests as bytes. What is large in them is copied once, from the caller's bytes to the vendor's.

use bytes::Bytes;
use serde::Serialize;

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
