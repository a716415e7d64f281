//! How often a password may be guessed.

use std::time::Duration;

use service_kit::Timestamp;

use super::ids::{TenantId, Username};

/// What attempts are counted by. Every door (sign-in page, password grant) counts on the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ThrottleKey {
    /// Attempts on an account from browsers that never signed in to it.
    Account(TenantId, Username),
    /// Attempts on an account from a browser that signed in to it before, so that a stranger who exhausts the account's
    /// attempts cannot lock its owner out (OWASP device cookies).
    KnownDevice(TenantId, Username, String),
}

impl ThrottleKey {
    /// One text per key; kinds cannot collide.
    pub fn to_text(&self) -> String {
        match self {
            Self::Account(tenant, name) => format!("account/{tenant}/{}", name.as_str()),
            Self::KnownDevice(tenant, name, device) => format!("device/{tenant}/{}/{device}", name.as_str()),
        }
    }
}

/// At most `limit` attempts in `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottlePolicy {
    pub limit: u32,
    pub window: Duration,
}

/// Whether an attempt may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Allowed,
    /// Refused until then.
    Blocked(Timestamp),
}
