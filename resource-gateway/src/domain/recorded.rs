//! Answers that are kept, to be given again.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::ids::RequestId;

/// A complete answer as a caller got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// A plain answer is one piece; a stream has those that went to the caller.
    pub pieces: Vec<Bytes>,
    pub stream: bool,
    pub status: StatusCode,
    pub content_type: HeaderValue,
    /// Headers that belong to the answer itself.
    pub headers: http::HeaderMap,
    /// The request that it was made for.
    pub request_id: RequestId,
}

/// Beside its bytes a piece costs so many.
const PIECE_OVERHEAD: usize = 64;
/// And an answer so many.
const ANSWER_OVERHEAD: usize = 512;

impl Recorded {
    /// Memory that it takes, roughly.
    pub fn weight(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.len() + PIECE_OVERHEAD).sum();
        pieces + ANSWER_OVERHEAD
    }
}
