//! Authorization codes and refresh-token families.

use std::time::Duration;

use oauth_wire::{AuthorizationDetails, CodeChallenge, Confirmation, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use service_kit::Timestamp;

use super::ids::{ClientId, CodeDigest, GrantId, SessionId, TenantId, UserId};

/// Who authorised what for whom: the part that codes, refresh tokens and access tokens share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub grant_id: GrantId,
    pub client: ClientId,
    pub tenant: TenantId,
    pub user: UserId,
    /// Present when the grant came out of a browser session.
    pub sid: Option<SessionId>,
    pub scope: Scope,
    pub auth_time: Timestamp,
    /// How the person signed in (RFC 8176), such as `pwd`.
    pub amr: Vec<String>,
    pub details: GrantDetails,
}

impl Grant {
    /// The grant as one token has it, with these of its authorization details.
    #[must_use]
    pub fn with_details(&self, authorization_details: AuthorizationDetails) -> Self {
        let mut grant = self.clone();
        grant.details.authorization_details = authorization_details;
        grant
    }
}

/// What a grant carries beyond its scope; what is absent was not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantDetails {
    /// The resources that tokens may be for (RFC 8707); empty: those that follow from the scope.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "AuthorizationDetails::is_empty")]
    pub authorization_details: AuthorizationDetails,
    /// The request named no scope: the client has to be told.
    #[serde(skip_serializing_if = "is_false")]
    pub default_scope: bool,
    /// The `claims` parameter (OpenID Connect Core §5.5), checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Map<String, Value>>,
    /// The authentication context class that the sign-in met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Who must redeem the code or use the refresh token: a `dpop_jkt` (RFC 9449 §10), or the key or certificate of a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// Who acts for the person (`act`, RFC 8693 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Value>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands every member over by reference"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// An authorization code at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeGrant {
    pub digest: CodeDigest,
    pub grant: Grant,
    /// The very string that the request named.
    pub redirect_uri: String,
    pub code_challenge: Option<CodeChallenge>,
    pub nonce: Option<String>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// Set by the one redemption that won.
    pub redeemed_at: Option<Timestamp>,
}

/// A family of refresh tokens: all that follow from one grant by rotation. The tokens themselves are not stored; a
/// token is `(grant, generation)` under a MAC, and the row says which generation is the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshFamily {
    pub grant: Grant,
    /// Generation of the one token that may be used next, from 1.
    pub generation: i64,
    pub issued_at: Timestamp,
    /// When the current generation was issued.
    pub rotated_at: Timestamp,
    /// Unused until then, the family ends.
    pub idle_expires_at: Timestamp,
    /// Used or not, the family ends then.
    pub absolute_expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// What a presented generation means for its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshUse {
    /// The current token: rotate.
    Current,
    /// The token before the current one, within the window in which its reply may have got lost: answer again.
    LostReply,
    /// A token that was rotated away: somebody else has a copy, end the family (RFC 9700 §4.14.2).
    Reused,
    /// The family is over.
    Dead,
}

impl RefreshFamily {
    /// Judges the use of `generation` at `now`. `window` is how long a lost reply may be asked for again.
    pub fn judge(&self, generation: i64, now: Timestamp, window: Duration) -> RefreshUse {
        if self.revoked_at.is_some() || now >= self.idle_expires_at || now >= self.absolute_expires_at {
            return RefreshUse::Dead;
        }
        match self.generation - generation {
            0 => RefreshUse::Current,
            1 if now < self.rotated_at + window => RefreshUse::LostReply,
            behind if behind > 0 => RefreshUse::Reused,
            // A generation from the future carries a valid MAC only if the row was restored from a backup.
            _ => RefreshUse::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn family() -> RefreshFamily {
        let at = Timestamp::from_seconds(1000);
        RefreshFamily {
            grant: Grant {
                grant_id: GrantId::new("g"),
                client: ClientId::new("c"),
                tenant: TenantId::new("t"),
                user: UserId::new("u"),
                sid: None,
                scope: Scope::default(),
                auth_time: at,
                amr: vec![],
                details: GrantDetails::default(),
            },
            generation: 3,
            issued_at: at,
            rotated_at: at,
            idle_expires_at: Timestamp::from_seconds(2000),
            absolute_expires_at: Timestamp::from_seconds(3000),
            revoked_at: None,
        }
    }

    #[test]
    fn the_current_token_lives_until_the_idle_limit() {
        assert_eq!(
            family().judge(3, Timestamp::from_seconds(1999), WINDOW),
            RefreshUse::Current
        );
        assert_eq!(
            family().judge(3, Timestamp::from_seconds(2000), WINDOW),
            RefreshUse::Dead
        );
    }

    #[test]
    fn the_absolute_limit_holds_however_often_the_token_was_used() {
        let family = RefreshFamily {
            idle_expires_at: Timestamp::from_seconds(9000),
            ..family()
        };
        assert_eq!(
            family.judge(3, Timestamp::from_seconds(2999), WINDOW),
            RefreshUse::Current
        );
        assert_eq!(family.judge(3, Timestamp::from_seconds(3000), WINDOW), RefreshUse::Dead);
    }

    #[test]
    fn the_previous_token_is_a_lost_reply_within_the_window_and_reuse_after_it() {
        assert_eq!(
            family().judge(2, Timestamp::from_seconds(1009), WINDOW),
            RefreshUse::LostReply
        );
        assert_eq!(
            family().judge(2, Timestamp::from_seconds(1010), WINDOW),
            RefreshUse::Reused
        );
    }

    #[test]
    fn an_older_token_is_reuse_at_once() {
        assert_eq!(
            family().judge(1, Timestamp::from_seconds(1000), WINDOW),
            RefreshUse::Reused
        );
    }

    #[test]
    fn a_revoked_family_and_a_generation_from_the_future_are_dead() {
        let revoked = RefreshFamily {
            revoked_at: Some(Timestamp::from_seconds(1)),
            ..family()
        };
        assert_eq!(
            revoked.judge(3, Timestamp::from_seconds(1000), WINDOW),
            RefreshUse::Dead
        );
        assert_eq!(
            family().judge(4, Timestamp::from_seconds(1000), WINDOW),
            RefreshUse::Dead
        );
    }
}
