//! Storage ports. Reads and single-statement writes stand on the store itself; what must happen together happens in a
//! [`StoreTx`], of which nothing is visible before `commit`.
//!
//! Every single-use or rotating row changes state by one compare-and-set statement, so that of N callers one wins on
//! every database.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use oauth_wire::RevocationEvent;
use service_kit::Timestamp;

use super::decoupled::{DecoupledRequests, PingQueue};
use super::logout::{LogoutQueue, LogoutWrites};
use super::registrations::{RegistrationWrites, Registrations};
use crate::domain::{
    authorization::PushedRequest,
    client::{Client, ClientSecret, ClientStatus},
    directory::{Dictionary, Menu, Org, Role, Tenant},
    grant::{CodeGrant, RefreshFamily},
    ids::{ClientId, CodeDigest, GrantId, KeyId, PushedDigest, RoleName, SessionId, TenantId, UserId, Username},
    session::{Consent, Session},
    signing_key::{KeyStage, SigningKey},
    throttle::{Attempt, ThrottleKey, ThrottlePolicy},
    user::{PasswordHash, User, UserStatus},
};

/// Why storage failed. Never holds a value that was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or is too busy: the caller may try again (503).
    #[error("the database is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row that must be new exists already.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// A row does not read back as what was written.
    #[error("row of {table} is corrupt in {column}")]
    Corrupt { table: &'static str, column: &'static str },
    #[error("the database refused a statement")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub type StoreResult<T> = Result<T, StoreError>;

/// One page of a list: up to `limit` rows after the key `after`, in the order of the key.
#[derive(Debug, Clone)]
pub struct PageRequest {
    pub after: Option<String>,
    pub limit: u32,
}

/// Registered clients.
#[async_trait]
pub trait Clients: Send + Sync {
    /// The client, whatever its status; deleted ones are not found. One of a disabled tenant reads as disabled.
    async fn find_client(&self, id: &ClientId) -> StoreResult<Option<Client>>;
    /// Clients by `client_id`.
    async fn list_clients(&self, page: PageRequest) -> StoreResult<Vec<Client>>;
}

/// Accounts of people.
#[async_trait]
pub trait Users: Send + Sync {
    /// The account, whatever its status, deleted ones included (their `sub` is never reused). One of a disabled tenant reads as
    /// locked, here and by name.
    async fn find_user(&self, sub: &UserId) -> StoreResult<Option<User>>;
    /// The account of that name that is not deleted.
    async fn find_user_by_name(&self, tenant: &TenantId, name: &Username) -> StoreResult<Option<User>>;
    /// Permission codes of all the person's roles and of those roles' menus.
    async fn permissions_of(&self, sub: &UserId) -> StoreResult<BTreeSet<String>>;
    /// Accounts that are not deleted, by user name, of one tenant.
    async fn list_users(&self, tenant: &TenantId, page: PageRequest) -> StoreResult<Vec<User>>;
}

/// Single sign-on sessions.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Saves a new session if its person is active and `verified` is still the password, in one statement: whoever was locked or
    /// changed the password while the old one was being compared gets none (`false`). `Conflict` when the sid exists.
    async fn insert_session(&self, session: &Session, verified: &PasswordHash) -> StoreResult<bool>;
    /// The session, if it was not ended, has not expired at `now`, and its person and their tenant are active: one statement.
    async fn find_live_session(&self, sid: &SessionId, now: Timestamp) -> StoreResult<Option<Session>>;
    /// Live sessions of a person, latest sign-in first, at most 100.
    async fn live_sessions_of(&self, user: &UserId, now: Timestamp) -> StoreResult<Vec<Session>>;
    /// Notes that the person proved who they are again: sets `auth_time`, `last_seen_at` and `expires_at`. `false` when the session is
    /// gone or ended, or its person is not active or has another password than `verified`.
    async fn renew_session(
        &self,
        sid: &SessionId,
        verified: &PasswordHash,
        auth_time: Timestamp,
        expires_at: Timestamp,
    ) -> StoreResult<bool>;
    /// Notes that the session was used.
    async fn touch_session(&self, sid: &SessionId, at: Timestamp) -> StoreResult<()>;
}

/// Which sectors know which people by a pairwise `sub`.
#[async_trait]
pub trait Sectors: Send + Sync {
    /// Notes that the sector is about to be told the person's `sub`, so that whoever ends the person's tokens finds it: one that does so at the
    /// same time waits, or this does. `false` when the account is not active; noting it again changes nothing.
    async fn note_sector(&self, user: &UserId, sector: &str) -> StoreResult<bool>;
}

/// What people agreed to.
#[async_trait]
pub trait Consents: Send + Sync {
    async fn find_consent(&self, user: &UserId, client: &ClientId) -> StoreResult<Option<Consent>>;
    /// Creates or replaces the person's consent to the client.
    async fn save_consent(&self, consent: &Consent) -> StoreResult<()>;
    /// Consents of a person, by `client_id`, at most 200.
    async fn consents_of(&self, user: &UserId) -> StoreResult<Vec<Consent>>;
}

/// Authorization codes.
#[async_trait]
pub trait Codes: Send + Sync {
    /// Saves a fresh code; `Conflict` when the digest exists.
    async fn insert_code(&self, code: &CodeGrant) -> StoreResult<()>;
    /// The code, redeemed or not, expired or not.
    async fn find_code(&self, digest: &CodeDigest) -> StoreResult<Option<CodeGrant>>;
    /// Marks the code redeemed if it is not and has not expired (`expires_at > at`), in one statement. `true` for the
    /// one caller that wins.
    async fn redeem_code(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool>;
}

/// Authorization requests that clients have pushed (RFC 9126).
#[async_trait]
pub trait PushedRequests: Send + Sync {
    /// Saves a fresh request; `Conflict` when the digest exists.
    async fn insert_pushed_request(&self, pushed: &PushedRequest) -> StoreResult<()>;
    /// The request, whether or not its reference has expired, as long as it has not been answered.
    async fn find_pushed_request(&self, digest: &PushedDigest) -> StoreResult<Option<PushedRequest>>;
    /// Takes the request away since it is being answered, in one statement. `true` for the one caller that wins.
    async fn take_pushed_request(&self, digest: &PushedDigest) -> StoreResult<bool>;
}

/// Families of refresh tokens.
#[async_trait]
pub trait RefreshFamilies: Send + Sync {
    async fn find_family(&self, grant: &GrantId) -> StoreResult<Option<RefreshFamily>>;
    /// Renews a live family in one statement. `true` for the one caller that wins; `false` when the family is gone, revoked or at another
    /// generation.
    async fn renew_family(&self, grant: &GrantId, renewal: Renewal) -> StoreResult<bool>;
}

/// A use of a family's refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The generation that was presented.
    pub from: i64,
    /// The generation from now on.
    pub to: i64,
    pub at: Timestamp,
    pub idle_expires_at: Timestamp,
}

impl Renewal {
    /// The token is replaced; `rotated_at` becomes `at`.
    pub fn rotate(from: i64, at: Timestamp, idle_expires_at: Timestamp) -> Self {
        Self {
            to: from + 1,
            ..Self::keep(from, at, idle_expires_at)
        }
    }

    /// The token stays.
    pub fn keep(generation: i64, at: Timestamp, idle_expires_at: Timestamp) -> Self {
        Self {
            from: generation,
            to: generation,
            at,
            idle_expires_at,
        }
    }
}

/// Revocations, for this node's index and for the resource servers' feed.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Revocations that matter longer than until `after`, oldest first: every one whose transaction was not over when `from` was
    /// given out, and perhaps some again. No clock has a say in that, so that neither a recorder's wrong clock nor a transaction
    /// that commits late hides one.
    async fn read_revocations(&self, from: RevocationCursor, after: Timestamp) -> StoreResult<RevocationPage>;
}

/// How far a reader has read; the default is the beginning. It means something to the store alone, but never goes back as long
/// as the database is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevocationCursor(pub i64);

/// What a reader of revocations gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationPage {
    pub revocations: Vec<RecordedRevocation>,
    /// Where to read on.
    pub next: RevocationCursor,
}

/// A revocation as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRevocation {
    /// Unique, becomes the `jti` of the security event.
    pub id: String,
    pub event: RevocationEvent,
    pub recorded_at: Timestamp,
}

/// Signing keys.
#[async_trait]
pub trait SigningKeys: Send + Sync {
    /// Every key, oldest first.
    async fn list_keys(&self) -> StoreResult<Vec<SigningKey>>;
}

/// Counters of password attempts.
#[async_trait]
pub trait LoginThrottle: Send + Sync {
    /// Counts an attempt before the password is looked at, so that parallel guesses cannot slip through: one statement.
    /// Attempt number `limit + 1` within `window` of the first is blocked until the window ends; a later one starts a new window.
    async fn count_attempt(&self, key: &ThrottleKey, policy: ThrottlePolicy, now: Timestamp) -> StoreResult<Attempt>;
    /// Takes back one attempt that came to no answer.
    async fn forgive_attempt(&self, key: &ThrottleKey) -> StoreResult<()>;
    /// Forgets the attempts after a success.
    async fn clear_attempts(&self, key: &ThrottleKey) -> StoreResult<()>;
}

/// Something that works once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleUseId {
    /// What kind of thing it is: ids of different kinds never meet.
    pub namespace: SingleUseKind,
    /// The id as its maker wrote it, together with whoever it is unique for: `<client id> <jti>`.
    pub id: String,
    /// From then on the thing is refused for its age, and its id may be forgotten.
    pub expires_at: Timestamp,
}

/// Kinds of things that work once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleUseKind {
    /// `jti` of a client assertion (RFC 7523 §3).
    ClientAssertion,
    /// `jti` of an assertion grant (RFC 7523 §3).
    GrantAssertion,
    /// `jti` of a DPoP proof (RFC 9449 §11.1).
    DpopProof,
}

impl SingleUseKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientAssertion => "client-assertion",
            Self::GrantAssertion => "grant-assertion",
            Self::DpopProof => "dpop-proof",
        }
    }
}

/// Ids that were used.
#[async_trait]
pub trait SingleUse: Send + Sync {
    /// Notes that all of them are used now, in one statement: `true` if none of them was before. Otherwise none is noted, and of N callers
    /// with the same id one wins. At most eight.
    async fn spend(&self, ids: &[SingleUseId]) -> StoreResult<bool>;
}

/// Contents of browser sessions before and after sign-in (the cookie's server side). Keyed by a digest of the cookie's id.
#[async_trait]
pub trait BrowserSessions: Send + Sync {
    /// Saves new contents; `false` when the key exists.
    async fn create_browser_session(&self, key: &str, contents: &str, expires_at: Timestamp) -> StoreResult<bool>;
    /// Creates or replaces contents.
    async fn save_browser_session(&self, key: &str, contents: &str, expires_at: Timestamp) -> StoreResult<()>;
    /// Contents that have not expired.
    async fn load_browser_session(&self, key: &str, now: Timestamp) -> StoreResult<Option<String>>;
    async fn delete_browser_session(&self, key: &str) -> StoreResult<()>;
}

/// A counter that every change of configuration rows (clients, keys, users' status) moves, so that nodes notice.
#[async_trait]
pub trait Revisions: Send + Sync {
    async fn current_revision(&self) -> StoreResult<i64>;
}

/// Removal of rows that nobody can use any more.
#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Deletes at most `limit` rows of each kind that ended before `now` less `keep`: codes (kept that much longer so that a
    /// replay is still recognised), pushed requests, families, sessions, browser sessions, revocations, throttle rows, retired keys. A kind that
    /// fails does not keep the others from being swept.
    async fn delete_expired(&self, now: Timestamp, keep: Duration, limit: u32) -> Vec<Swept>;
}

/// What became of one kind of ended rows.
#[derive(Debug)]
pub struct Swept {
    pub kind: &'static str,
    /// How many were deleted.
    pub outcome: StoreResult<u64>,
}

/// Starts transactions.
#[async_trait]
pub trait Transactions: Send + Sync {
    async fn begin(&self) -> StoreResult<Box<dyn StoreTx>>;
    /// Answers when the database does.
    async fn ping(&self) -> StoreResult<()>;
}

/// One transaction. Dropping it rolls back.
#[async_trait]
pub trait StoreTx: GrantWrites + LogoutWrites + DirectoryWrites + RegistrationWrites + KeyWrites + Send {
    /// Makes everything durable and visible.
    async fn commit(self: Box<Self>) -> StoreResult<()>;
}

/// Writes about grants, sessions and revocations.
#[async_trait]
pub trait GrantWrites: Send {
    /// As [`SingleUse::spend`], inside the transaction, which is lost by `false`.
    async fn spend(&mut self, ids: &[SingleUseId]) -> StoreResult<bool>;
    /// As [`Codes::insert_code`], inside the transaction.
    async fn insert_code(&mut self, code: &CodeGrant) -> StoreResult<()>;
    /// As [`PushedRequests::insert_pushed_request`], inside the transaction.
    async fn insert_pushed_request(&mut self, pushed: &PushedRequest) -> StoreResult<()>;
    /// As [`PushedRequests::take_pushed_request`], inside the transaction.
    async fn take_pushed_request(&mut self, digest: &PushedDigest) -> StoreResult<bool>;
    /// As [`Codes::redeem_code`], inside the transaction.
    async fn redeem_code(&mut self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool>;
    /// As [`DecoupledRequests::redeem_decoupled`], inside the transaction.
    async fn redeem_decoupled(&mut self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool>;
    /// Saves a new family if its person is active and, when a password was verified for it, still has that one; `false` otherwise.
    /// Holds the account until the transaction ends, so that whoever locks it meanwhile ends this family too. `Conflict` when the
    /// grant has one.
    async fn insert_family(&mut self, family: &RefreshFamily, verified: Option<&PasswordHash>) -> StoreResult<bool>;
    /// As [`RefreshFamilies::renew_family`], inside the transaction.
    async fn renew_family(&mut self, grant: &GrantId, renewal: Renewal) -> StoreResult<bool>;
    /// Ends a family; `false` when it is gone or ended already.
    async fn revoke_family(&mut self, grant: &GrantId, at: Timestamp) -> StoreResult<bool>;
    /// Ends every live family of a person, or of the person and one client, and returns their grants.
    async fn revoke_families_of_user(
        &mut self,
        user: &UserId,
        client: Option<&ClientId>,
        at: Timestamp,
    ) -> StoreResult<Vec<GrantId>>;
    /// Ends every live family of a client.
    async fn revoke_families_of_client(&mut self, client: &ClientId, at: Timestamp) -> StoreResult<u64>;
    /// Ends the live families that are bound to a browser session, but those whose scope holds `offline_access`.
    async fn revoke_families_of_session(&mut self, sid: &SessionId, at: Timestamp) -> StoreResult<Vec<GrantId>>;
    /// Ends a session; `false` when it is gone or ended already.
    async fn end_session(&mut self, sid: &SessionId, at: Timestamp) -> StoreResult<bool>;
    /// Ends every live session of a person but `keep`, and returns their sids.
    async fn end_sessions_of(
        &mut self,
        user: &UserId,
        keep: Option<&SessionId>,
        at: Timestamp,
    ) -> StoreResult<Vec<SessionId>>;
    /// Forgets what the person allowed the client; `false` when there was nothing.
    async fn delete_consent(&mut self, user: &UserId, client: &ClientId) -> StoreResult<bool>;
    /// Deletes the person's codes for a client, or for all clients, those of devices and of CIBA among them, redeemed ones included as
    /// far as they are still kept, and returns their grants.
    async fn take_codes_of(&mut self, user: &UserId, client: Option<&ClientId>) -> StoreResult<Vec<GrantId>>;
    /// Deletes what waits for a client, whoever it is about: codes, requests of devices and of CIBA, decided or not, and pushed requests.
    /// Returns how many there were.
    async fn take_requests_of_client(&mut self, client: &ClientId) -> StoreResult<u64>;
    /// The sectors that have been noted for a person, in lexical order.
    async fn sectors_of(&mut self, user: &UserId) -> StoreResult<Vec<String>>;
    /// Records a revocation for every node's index and the feed; `false` when the very same thing was revoked before.
    async fn record_revocation(&mut self, revocation: &RecordedRevocation) -> StoreResult<bool>;
}

/// Whether an upsert changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upserted {
    Created,
    Updated,
    Unchanged,
}

/// Writes about clients, people and what they belong to.
#[async_trait]
pub trait DirectoryWrites: Send {
    async fn upsert_tenant(&mut self, tenant: &Tenant, at: Timestamp) -> StoreResult<Upserted>;
    async fn upsert_org(&mut self, org: &Org, at: Timestamp) -> StoreResult<Upserted>;
    async fn upsert_menu(&mut self, menu: &Menu, at: Timestamp) -> StoreResult<Upserted>;
    async fn upsert_role(&mut self, role: &Role, at: Timestamp) -> StoreResult<Upserted>;
    /// Names of the tenant's roles, those written in this transaction included.
    async fn role_names(&mut self, tenant: &TenantId) -> StoreResult<BTreeSet<RoleName>>;
    async fn upsert_dictionary(&mut self, dictionary: &Dictionary, at: Timestamp) -> StoreResult<Upserted>;
    /// Creates or replaces the client (`created_at` stays).
    async fn upsert_client(&mut self, client: &Client, at: Timestamp) -> StoreResult<Upserted>;
    /// Creates or replaces the account with that `sub`; `Conflict` when another live account of the tenant has the user name.
    async fn upsert_user(&mut self, user: &User, at: Timestamp) -> StoreResult<Upserted>;
    /// Replaces the client's secrets and nothing else; `false` when there is no such client.
    async fn set_client_secrets(&mut self, id: &ClientId, secrets: &[ClientSecret], at: Timestamp)
    -> StoreResult<bool>;
    /// `false` when there is no such client.
    async fn set_client_status(&mut self, id: &ClientId, status: ClientStatus, at: Timestamp) -> StoreResult<bool>;
    /// `false` when there is no such account. [`UserStatus::Deleted`] frees the user name.
    async fn set_user_status(&mut self, sub: &UserId, status: UserStatus, at: Timestamp) -> StoreResult<bool>;
    async fn set_password(&mut self, sub: &UserId, hash: &PasswordHash, at: Timestamp) -> StoreResult<bool>;
    /// Moves the revision counter and returns the new value.
    async fn bump_revision(&mut self) -> StoreResult<i64>;
}

/// Writes about signing keys.
#[async_trait]
pub trait KeyWrites: Send {
    /// Saves a key; `Conflict` when the kid exists or when its algorithm has a `Next` or `Current` key at that stage already.
    async fn insert_key(&mut self, key: &SigningKey) -> StoreResult<()>;
    /// Moves a key from one stage to another; `false` when it is not at `from`. `at` is since when a key at `Current` signs and until when
    /// one at `Retiring` is published.
    async fn move_key(&mut self, kid: &KeyId, from: KeyStage, to: KeyStage, at: Timestamp) -> StoreResult<bool>;
}

/// Everything that storage offers, for the one adapter that implements it and the composition root that hands out parts.
pub trait Store:
    Clients
    + Users
    + Sessions
    + Sectors
    + Consents
    + Codes
    + PushedRequests
    + DecoupledRequests
    + PingQueue
    + RefreshFamilies
    + Revocations
    + SigningKeys
    + LoginThrottle
    + BrowserSessions
    + SingleUse
    + LogoutQueue
    + Registrations
    + Revisions
    + Housekeeping
    + Transactions
{
}
