//! Writes an answer down while it passes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{ResponseCache, cache::CachePlace, repeat::Claim};
use crate::domain::{ids::RequestId, recorded::Recorded, usage::UsageState};

/// Travels with a request's settlement. An answer that is complete is kept, for whoever asked for that; any other is forgotten.
#[derive(Debug)]
pub(in crate::application) struct Keeper {
    pieces: Vec<Bytes>,
    bytes: usize,
    largest: usize,
    stream: bool,
    status: StatusCode,
    content_type: HeaderValue,
    headers: HeaderMap,
    request_id: RequestId,
    cache: Option<(Arc<ResponseCache>, CachePlace)>,
    claim: Option<Claim>,
}

impl Keeper {
    /// `None` when nobody wants the answer.
    pub(super) fn new(
        cache: Option<(Arc<ResponseCache>, CachePlace)>,
        claim: Option<(Claim, usize)>,
        request_id: &RequestId,
    ) -> Option<Box<Self>> {
        let largest_cached = cache.as_ref().map(|(cache, _)| cache.largest());
        let largest_claimed = claim.as_ref().map(|(_, largest)| *largest);
        let largest = largest_cached.max(largest_claimed)?;
        Some(Box::new(Self {
            pieces: Vec::new(),
            bytes: 0,
            largest,
            stream: true,
            status: StatusCode::OK,
            content_type: HeaderValue::from_static("text/event-stream; charset=utf-8"),
            headers: HeaderMap::new(),
            request_id: request_id.clone(),
            cache,
            claim: claim.map(|(claim, _)| claim),
        }))
    }

    /// The answer is one body.
    pub(in crate::application) fn whole(&mut self) {
        self.stream = false;
    }

    /// What stands before the body.
    pub(in crate::application) fn head(&mut self, status: StatusCode, content_type: &HeaderValue, headers: &HeaderMap) {
        self.status = status;
        self.content_type = content_type.clone();
        self.headers = headers.clone();
    }

    /// A part of the answer goes to the caller.
    pub(in crate::application) fn piece(&mut self, piece: &Bytes) {
        if piece.is_empty() || self.bytes > self.largest {
            return;
        }
        self.bytes += piece.len();
        if self.bytes > self.largest {
            self.pieces = Vec::new();
            return;
        }
        // A copy: the piece may be a small part of a large buffer, which would stay in memory uncounted.
        self.pieces.push(Bytes::copy_from_slice(piece));
    }

    /// The answer has ended in this state.
    pub(in crate::application) fn end(self, state: UsageState) {
        if state != UsageState::Completed || self.bytes > self.largest {
            // Dropping the claim gives the key back.
            return;
        }
        let answer = Arc::new(Recorded {
            pieces: self.pieces,
            stream: self.stream,
            status: self.status,
            content_type: self.content_type,
            headers: self.headers,
            request_id: self.request_id,
        });
        keep(answer, self.cache, self.claim);
    }
}

/// Keeps a complete answer where it is wanted and not too long.
fn keep(answer: Arc<Recorded>, cache: Option<(Arc<ResponseCache>, CachePlace)>, claim: Option<Claim>) {
    if let Some((cache, place)) = cache
        && answer.weight() <= cache.largest()
    {
        cache.keep(place, Arc::clone(&answer));
    }
    if let Some(claim) = claim {
        claim.finish(answer);
    }
}
