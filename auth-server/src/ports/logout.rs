//! Which applications a session has reached, and the news of its end that they still have to get.

use async_trait::async_trait;
use service_kit::Timestamp;

use super::store::StoreResult;
use crate::domain::{
    ids::{ClientId, SessionId, UserId},
    logout::{LogoutDelivery, LogoutPlan},
};

/// What a node takes from the queue.
#[derive(Debug)]
pub struct LogoutClaim<'a> {
    pub now: Timestamp,
    /// Until then the deliveries are the caller's alone. After that they are due again, whatever has become of the caller.
    pub until: Timestamp,
    pub limit: usize,
    /// Of one client at most, so that one that is slow leaves room for the others.
    pub per_client: usize,
    /// Clients that have enough under way.
    pub busy: &'a [ClientId],
}

/// Deliveries that wait.
#[async_trait]
pub trait LogoutQueue: Send + Sync {
    /// Takes deliveries that are due, those that have waited longest first, and counts an attempt of each. MUST give each to one of N callers.
    async fn claim_logouts(&self, claim: LogoutClaim<'_>) -> StoreResult<Vec<LogoutDelivery>>;
    /// Lets a delivery be due at `at`, unless it was queued anew meanwhile.
    async fn postpone_logout(&self, delivery: &LogoutDelivery, at: Timestamp) -> StoreResult<()>;
    /// Removes a delivery, unless it was queued anew meanwhile.
    async fn finish_logout(&self, delivery: &LogoutDelivery) -> StoreResult<()>;
    /// How many wait.
    async fn count_logouts(&self) -> StoreResult<u64>;
}

/// Writes about who has to hear of what, in the transaction that ends it.
#[async_trait]
pub trait LogoutWrites: Send {
    /// The clients that were given a code in the session, in the order in which they came, at most 200.
    async fn clients_of_session(&mut self, sid: &SessionId) -> StoreResult<Vec<ClientId>>;
    /// Queues a delivery to every client that the session has reached and that wants one.
    async fn queue_logouts(&mut self, sid: &SessionId, plan: LogoutPlan) -> StoreResult<Vec<LogoutDelivery>>;
    /// Takes a client out of all of a person's sessions that were not ended, and queues what it has to hear about that. The client can come
    /// back by a new code.
    async fn leave_sessions(
        &mut self,
        user: &UserId,
        client: &ClientId,
        plan: LogoutPlan,
    ) -> StoreResult<Vec<LogoutDelivery>>;
}
