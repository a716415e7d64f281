//! Requests that a person decides on elsewhere, at rest.

use async_trait::async_trait;
use service_kit::Timestamp;

use super::store::StoreResult;
use crate::domain::{
    ciba::OpenLimits,
    decoupled::{DecoupledKind, DecoupledRequest, Pace, UserCode},
    grant::Grant,
    ids::{CodeDigest, SessionId, UserId},
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
    async fn deny_decoupled(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool>;
    /// Notes that the tokens are fetched, if it was allowed, they were not before, and it has not expired.
    async fn redeem_decoupled(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool>;
}
