//! Authorization requests that passed every check (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1).

use std::{collections::BTreeSet, time::Duration};

use oauth_wire::{AuthorizationDetails, CodeChallenge, Confirmation, Prompt, ResponseMode, Scope};
use serde::{Deserialize, Serialize};
use service_kit::Timestamp;

use super::{
    claims_request::ClaimNames,
    client::Client,
    ids::{ClientId, PushedDigest, UserId},
    session::{Consent, Session},
    user::scope_of_claim,
};

/// A valid authorization request, kept in the browser session while the person signs in and consents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    pub client_id: ClientId,
    /// The very string that was asked for; registered, but for the port of a loopback address.
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub scope: Scope,
    /// The request named no scope, so the client has to be told which one it got (RFC 6749 §5.1).
    #[serde(default)]
    pub default_scope: bool,
    pub state: Option<String>,
    pub nonce: Option<String>,
    /// A [`CodeChallenge`] as text.
    pub code_challenge: Option<String>,
    pub prompt: BTreeSet<Prompt>,
    /// Seconds.
    pub max_age: Option<u64>,
    /// The resources that tokens are to be for (RFC 8707); empty: those that follow from the scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// What is asked for in detail (RFC 9396).
    #[serde(default, skip_serializing_if = "AuthorizationDetails::is_empty")]
    pub authorization_details: AuthorizationDetails,
    /// The person has agreed to these very details, in the request that is being answered: never kept, so never taken for granted.
    #[serde(skip)]
    pub details_agreed: bool,
    pub login_hint: Option<String>,
    pub ui_locales: Option<String>,
    /// The person that `id_token_hint` names.
    pub hinted_user: Option<UserId>,
    /// The people of whom `claims` asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_users: Option<BTreeSet<UserId>>,
    /// Claims asked for one by one, as far as the client may have them.
    #[serde(default, skip_serializing_if = "ClaimNames::is_empty")]
    pub claims: ClaimNames,
    pub received_at: Timestamp,
    /// The key that the code is to be bound to: `dpop_jkt`, or the key of a DPoP proof that came with the pushed request (RFC 9449 §10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// The pushed request that this is (RFC 9126): it is answered once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<PushedDigest>,
}

/// A request that a client has left with us, to be followed by reference (RFC 9126 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedRequest {
    pub digest: PushedDigest,
    pub request: AuthorizationRequest,
    /// From then on the reference is refused.
    pub expires_at: Timestamp,
}

impl PushedRequest {
    /// When nobody who has followed the reference can still be signing in.
    pub fn ends_at(&self) -> Timestamp {
        self.expires_at + AuthorizationRequest::LIFETIME
    }
}

impl AuthorizationRequest {
    pub fn wants(&self, prompt: Prompt) -> bool {
        self.prompt.contains(&prompt)
    }

    pub fn is_silent(&self) -> bool {
        self.wants(Prompt::None)
    }

    /// The challenge, if the request had one.
    pub fn challenge(&self) -> Option<CodeChallenge> {
        CodeChallenge::from_stored(self.code_challenge.as_deref()?).ok()
    }

    /// Whether the session's sign-in satisfies this request.
    pub fn is_signed_in_by(&self, session: &Session, now: Timestamp) -> bool {
        // prompt=login asks for a sign-in after the request came (OpenID Connect Core §3.1.2.1).
        let fresh = self.wants(Prompt::Login) || self.wants(Prompt::SelectAccount);
        if fresh && session.auth_time < self.received_at {
            return false;
        }
        // max_age counts whole seconds, since auth_time in the ID token does.
        let age = now.as_seconds().saturating_sub(session.auth_time.as_seconds());
        if self
            .max_age
            .is_some_and(|limit| u64::try_from(age).unwrap_or(0) > limit)
            && session.auth_time < self.received_at
        {
            return false;
        }
        self.is_for(&session.user)
    }

    /// Whether this person will do: the one of the hint and one of those named, if there are any.
    fn is_for(&self, user: &UserId) -> bool {
        self.hinted_user.as_ref().is_none_or(|hinted| hinted == user)
            && self.named_users.as_ref().is_none_or(|named| named.contains(user))
    }

    /// Whether somebody signed in after the request came, but not the person whom it names.
    pub fn was_signed_in_by_another(&self, session: &Session) -> bool {
        session.auth_time > self.received_at && !self.is_for(&session.user)
    }

    /// Scopes that the person has yet to agree to. With prompt=consent that is all of them, until they agreed after the request came.
    pub fn scopes_to_consent(&self, client: &Client, consent: Option<&Consent>) -> Scope {
        if client.auto_approve {
            return Scope::default();
        }
        match consent {
            Some(consent) if self.wants(Prompt::Consent) && consent.granted_at < self.received_at => self.scope.clone(),
            Some(consent) => self.scope.difference(&consent.scope),
            None => self.scope.clone(),
        }
    }

    /// Claims that the person has yet to agree to one by one: those that no scope of the request opens.
    pub fn claims_to_consent(&self, client: &Client, consent: Option<&Consent>) -> BTreeSet<&str> {
        if client.auto_approve {
            return BTreeSet::new();
        }
        let asks_again = |consent: &&Consent| self.wants(Prompt::Consent) && consent.granted_at < self.received_at;
        let known = consent
            .filter(|consent| !asks_again(consent))
            .map(|consent| &consent.claims);
        let mut beyond = self.claims_beyond_scope();
        beyond.retain(|name| known.is_none_or(|known| !known.contains(*name)));
        beyond
    }

    /// Claims asked for one by one that no scope of the request opens.
    pub fn claims_beyond_scope(&self) -> BTreeSet<&str> {
        let mut claims = self.claims.all();
        claims.retain(|name| scope_of_claim(name).is_none_or(|scope| !self.scope.contains(scope)));
        claims
    }

    /// Requests are forgotten after this long.
    pub const LIFETIME: Duration = Duration::from_secs(30 * 60);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SessionId, TenantId};

    fn request() -> AuthorizationRequest {
        AuthorizationRequest {
            client_id: ClientId::new("web"),
            redirect_uri: "https://app.example/cb".into(),
            response_mode: ResponseMode::Query,
            scope: "openid profile".parse().unwrap(),
            default_scope: false,
            state: None,
            nonce: None,
            code_challenge: None,
            prompt: BTreeSet::new(),
            max_age: None,
            resources: Vec::new(),
            authorization_details: AuthorizationDetails::default(),
            details_agreed: false,
            login_hint: None,
            ui_locales: None,
            hinted_user: None,
            named_users: None,
            claims: ClaimNames::default(),
            received_at: Timestamp::from_seconds(1000),
            confirmation: None,
            pushed: None,
        }
    }

    fn session(auth_time: i64) -> Session {
        let at = Timestamp::from_seconds(auth_time);
        Session {
            sid: SessionId::new("s"),
            user: UserId::new("u"),
            tenant: TenantId::new("t"),
            auth_time: at,
            last_seen_at: at,
            expires_at: at + Duration::from_secs(9999),
            user_agent: String::new(),
            address: String::new(),
        }
    }

    #[test]
    fn prompt_login_wants_a_sign_in_after_the_request() {
        let request = AuthorizationRequest {
            prompt: [Prompt::Login].into(),
            ..request()
        };
        assert!(!request.is_signed_in_by(&session(999), Timestamp::from_seconds(1000)));
        assert!(request.is_signed_in_by(&session(1000), Timestamp::from_seconds(1005)));
    }

    #[test]
    fn max_age_holds_at_its_edge_and_a_sign_in_for_this_request_always_counts() {
        let request = AuthorizationRequest {
            max_age: Some(10),
            ..request()
        };
        assert!(request.is_signed_in_by(&session(990), Timestamp::from_seconds(1000)));
        assert!(!request.is_signed_in_by(&session(989), Timestamp::from_seconds(1000)));
        let zero = AuthorizationRequest {
            max_age: Some(0),
            ..request
        };
        assert!(zero.is_signed_in_by(&session(1001), Timestamp::from_seconds(1003)));
    }

    #[test]
    fn a_hint_for_somebody_else_wants_another_sign_in() {
        let request = AuthorizationRequest {
            hinted_user: Some(UserId::new("other")),
            ..request()
        };
        assert!(!request.is_signed_in_by(&session(999), Timestamp::from_seconds(1000)));
    }
}
