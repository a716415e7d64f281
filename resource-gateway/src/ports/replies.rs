//! Answers that are given again: to a caller that repeats a request under its idempotency key, and to whoever asks the same.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::domain::recorded::Recorded;

/// Whose key of what name, as a digest.
pub type ReplyPlace = [u8; 32];
/// What the request was, as a digest.
pub type Fingerprint = [u8; 32];

/// Finished answers by idempotency key, and the keys of requests that are under way.
#[async_trait]
pub trait Replies: Send + Sync + fmt::Debug {
    /// Takes the key for a request. MUST let one of several callers at once begin. Whoever was told `Begun` MUST call
    /// [`Replies::finish`] or [`Replies::abandon`].
    async fn begin(&self, place: ReplyPlace, request: Fingerprint) -> Beginning;

    /// Keeps the answer of a request that began.
    fn finish(&self, place: ReplyPlace, request: Fingerprint, answer: Arc<Recorded>);

    /// Gives the key back: the request has no answer that could be kept.
    fn abandon(&self, place: ReplyPlace);
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// It is the request's own now.
    Begun,
    /// The answer to the same request before.
    Finished(Arc<Recorded>),
    /// The same request is under way.
    UnderWay,
    /// The key was another request's.
    Another,
    /// It cannot be told now.
    Unknown,
}

/// What was asked, as a digest: see [`ResponseCache`](crate::application::replay::ResponseCache).
pub type AnswerKey = [u8; 32];

/// Complete answers by question, given to whoever asks the same.
#[async_trait]
pub trait Answers: Send + Sync + fmt::Debug {
    /// The answer to a question; `None` also when that cannot be told.
    async fn find(&self, key: &AnswerKey) -> Option<Kept>;

    /// Keeps an answer for `ttl`, as long as there is room.
    fn keep(&self, key: AnswerKey, answer: Arc<Recorded>, ttl: Duration);

    /// Answers that weigh more are not kept.
    fn largest(&self) -> usize;
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub answer: Arc<Recorded>,
    pub age: Duration,
}
