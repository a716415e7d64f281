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

/// An answer may take this part of the memory for answers.
const LARGEST_SHARE: u64 = 8;
/// And no more than this.
const LARGEST: u64 = 8 * 1024 * 1024;

impl Recorded {
    /// How long an answer may be to be kept in so many bytes of memory.
    pub fn largest_in(bytes: u64) -> usize {
        usize::try_from((bytes / LARGEST_SHARE).min(LARGEST)).unwrap_or(0)
    }

    /// Memory that it takes, roughly.
    pub fn weight(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.len() + PIECE_OVERHEAD).sum();
        pieces + ANSWER_OVERHEAD
    }
}
