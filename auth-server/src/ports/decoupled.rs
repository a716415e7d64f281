//! Requests that a person decides on elsewhere, at rest.

use async_trait::async_trait;
use service_kit::Timestamp;

use super::store::StoreResult;
use crate::domain::{
    ciba::{OpenLimits, Ping},
    decoupled::{DecoupledKind, DecoupledRequest, Pace, UserCode},
    grant::Grant,
    ids::{ClientId, CodeDigest, SessionId, UserId},
    session::Consent,
};

/// A person's yes.
#[derive(Debug, Clone)]
pub struct Permission {
    pub digest: CodeDigest,
    pub grant: Grant,
    /// The session in which it was said. The grant does not belong to it, but must not come out of one that has ended.
    pub sid: SessionId,
    /// What the person has agreed to by it, if that is to be remembered.
    pub consent: Option<Consent>,
    pub at: Timestamp,
    /// Until then telling the client is the caller's alone, if the client is to be told.
    pub ping_due_at: Timestamp,
}

/// A person's no.
#[derive(Debug, Clone)]
pub struct Denial {
    pub digest: CodeDigest,
    pub at: Timestamp,
    /// As in [`Permission`].
    pub ping_due_at: Timestamp,
}

/// What a node takes from the queue of news.
#[derive(Debug)]
pub struct PingClaim<'a> {
    pub now: Timestamp,
    /// Until then the news is the caller's alone. After that it is due again, whatever has become of the caller.
    pub until: Timestamp,
    pub limit: usize,
    /// Of one client at most, so that one that is slow leaves room for the others.
    pub per_client: usize,
    /// Clients that have enough under way.
    pub busy: &'a [ClientId],
}

/// News of decisions that clients still have to get.
#[async_trait]
pub trait PingQueue: Send + Sync {
    /// Takes news that is due, the oldest first, and counts an attempt of each. MUST give each to one of N callers. What has expired or was
    /// redeemed is not news.
    async fn claim_pings(&self, claim: PingClaim<'_>) -> StoreResult<Vec<Ping>>;
    /// Lets news be due at `at`, if it still is news.
    async fn postpone_ping(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<()>;
    /// Forgets the news and what it would be told with.
    async fn finish_ping(&self, digest: &CodeDigest) -> StoreResult<()>;
    /// How much waits.
    async fn count_pings(&self, now: Timestamp) -> StoreResult<u64>;
}

/// What became of a request that was to be saved for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    Saved,
    /// The account is not active, or there is none.
    Inactive,
    /// As many wait already as may; the first of them to expire does so then.
    TooMany {
        until: Timestamp,
    },
}

/// Device and CIBA requests. Whoever decides or redeems does so by one compare-and-set: of N callers one wins.
#[async_trait]
pub trait DecoupledRequests: Send + Sync {
    /// Saves a fresh request; `Conflict` when its code or its user code exists.
    async fn insert_decoupled(&self, request: &DecoupledRequest) -> StoreResult<()>;
    /// Saves a fresh request to the person whom it names, unless too many wait for them. Of N callers at once no more get through than the limits let.
    async fn insert_asking(&self, request: &DecoupledRequest, limits: OpenLimits) -> StoreResult<Asking>;
    /// What of a kind waits for a person, the latest first, at most 100.
    async fn waiting_for(
        &self,
        kind: DecoupledKind,
        user: &UserId,
        now: Timestamp,
    ) -> StoreResult<Vec<DecoupledRequest>>;
    /// The request, decided or not, expired or not.
    async fn find_decoupled(&self, kind: DecoupledKind, digest: &CodeDigest) -> StoreResult<Option<DecoupledRequest>>;
    /// The request with that user code, if it is undecided and has not expired.
    async fn find_by_user_code(&self, code: &UserCode, now: Timestamp) -> StoreResult<Option<DecoupledRequest>>;
    /// Notes a poll, if none was noted since `next_poll_at` was `seen`.
    async fn note_poll(&self, digest: &CodeDigest, seen: Timestamp, pace: Pace) -> StoreResult<bool>;
    /// Notes that the person allows it, and remembers their consent, if it is undecided, has not expired, is not somebody else's, and
    /// the session and its person are active. Whoever locks the person or changes the password meanwhile ends this grant too.
    async fn allow_decoupled(&self, permission: &Permission) -> StoreResult<bool>;
    /// Notes that the person does not allow it, if it is undecided and has not expired.
    async fn deny_decoupled(&self, denial: &Denial) -> StoreResult<bool>;
    /// Notes that the tokens are fetched, if it was allowed, they were not before, and it has not expired.
    async fn redeem_decoupled(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool>;
}
