//! Places that callers and vendors name, looked at for them.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

/// Fetches what lies behind a URL of somebody else's. Nothing but public addresses and what the operator allows is connected to,
/// redirects included, and no credential of ours goes along.
#[async_trait]
pub trait Fetcher: Send + Sync + fmt::Debug {
    /// The whole body, which must not be longer than `limit` bytes and has to be there `within` that time. Each byte is taken out of
    /// `room` before it is kept.
    async fn fetch(&self, url: &str, limit: usize, room: &Room, within: Duration) -> Result<Found, FetchFault>;
    /// Whether anything is fetched.
    fn is_on(&self) -> bool {
        true
    }
}

/// How many bytes several fetches may bring together.
#[derive(Debug)]
pub struct Room(AtomicUsize);

impl Room {
    pub fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, or none if they do not fit.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// What was there.
#[derive(Debug, Clone)]
pub struct Found {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is nothing. The texts are for the caller, and tell nothing of what is reachable from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    #[error("is not a URL that is fetched here")]
    Refused,
    #[error("could not be fetched")]
    Failed,
    #[error("is too large")]
    TooLarge,
    /// By itself it might do, but not beside the others.
    #[error("does not fit beside the others")]
    NoRoom,
    #[error("took too long")]
    Late,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_filled_to_its_last_byte_and_no_further() {
        let room = Room::of(10);
        assert!(room.take(6) && !room.take(5) && room.take(4));
        assert_eq!((room.left(), room.take(1), room.take(0)), (0, false, true));
    }
}
