//! Browser sessions of people who are signed in.

use std::collections::BTreeSet;

use service_kit::Timestamp;

use super::ids::{ClientId, SessionId, TenantId, UserId};
use oauth_wire::Scope;

/// A single sign-on session: one sign-in in one browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub sid: SessionId,
    pub user: UserId,
    pub tenant: TenantId,
    /// When the person proved who they are (`auth_time`).
    pub auth_time: Timestamp,
    pub last_seen_at: Timestamp,
    /// Absolute end.
    pub expires_at: Timestamp,
    /// `User-Agent` of the sign-in, cut to 300 characters, shown on the account page.
    pub user_agent: String,
    /// Address of the sign-in, shown on the account page.
    pub address: String,
}

/// What a person has agreed that a client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    pub user: UserId,
    pub client: ClientId,
    pub scope: Scope,
    /// Claims that were agreed to one by one, beyond those that the scope opens.
    pub claims: BTreeSet<String>,
    pub granted_at: Timestamp,
}
