//! Storage of clients that registered themselves.

use async_trait::async_trait;
use service_kit::Timestamp;

use super::store::StoreResult;
use crate::domain::{
    client::Client,
    ids::ClientId,
    registration::{InitialToken, Registration, TokenMac},
};

/// Registrations, and the tokens that allow them.
#[async_trait]
pub trait Registrations: Send + Sync {
    async fn find_registration(&self, client: &ClientId) -> StoreResult<Option<Registration>>;
    /// Notes a use of the client, if the last one noted is older than `before`.
    async fn note_use(&self, client: &ClientId, at: Timestamp, before: Timestamp) -> StoreResult<()>;
    /// Clients that nobody has used since `before`, longest unused first.
    async fn unused_registrations(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<ClientId>>;
    /// The token, used up or not, expired or not; none of a disabled tenant.
    async fn find_initial_token(&self, mac: &TokenMac) -> StoreResult<Option<InitialToken>>;
    /// Every token that is kept, oldest first, at most 1000.
    async fn list_initial_tokens(&self) -> StoreResult<Vec<InitialToken>>;
    async fn insert_initial_token(&self, token: &InitialToken) -> StoreResult<()>;
    /// Forgets a token; `false` when there is none.
    async fn delete_initial_token(&self, id: &str) -> StoreResult<bool>;
}

/// Writes about registrations.
#[async_trait]
pub trait RegistrationWrites: Send {
    /// Takes one use of the token if one is left and it has not expired, in one statement. `false` when not: of N callers with one use
    /// left, one wins.
    async fn spend_initial_token(&mut self, mac: &TokenMac, at: Timestamp) -> StoreResult<bool>;
    /// Saves a registration if there are fewer than `cap`, exactly, however many callers there are; `false` otherwise.
    async fn insert_registration(&mut self, registration: &Registration, cap: u32) -> StoreResult<bool>;
    /// Sets what a client says about itself, if it is active: what its operator has decided stays. `false` when it is not, or is gone.
    async fn replace_metadata(&mut self, client: &Client, at: Timestamp) -> StoreResult<bool>;
    /// Puts another registration access token in place of this one; the two may be the same. `false` when this one does not hold.
    async fn renew_registration(&mut self, client: &ClientId, from: &TokenMac, to: &TokenMac) -> StoreResult<bool>;
    /// Ends the registration, not the client; `false` when it is gone or `when` does not hold.
    async fn end_registration(&mut self, client: &ClientId, when: &RegistrationEnd) -> StoreResult<bool>;
    /// Marks the client deleted: it is not found any more. `false` when there is none.
    async fn delete_client(&mut self, client: &ClientId, at: Timestamp) -> StoreResult<bool>;
}

/// Under which condition a registration ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationEnd {
    /// Its access token still is this one.
    Holder(TokenMac),
    /// It was not used since.
    UnusedSince(Timestamp),
    /// The operator has taken the client over.
    Adopted,
}
