//! Access tokens (RFC 9068) and ID tokens (OpenID Connect Core §2).

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use oauth_wire::{AuthorizationDetails, Confirmation, Scope};
use serde::Serialize;
use serde_json::{Map, Value};
use service_kit::{Clock, Entropy, Timestamp};
use token_keys::left_half_hash;

use crate::{
    application::{
        client_sealer::{ClientSealer, Sealing},
        keyring::Keyring,
        opaque_tokens::OpaqueTokens,
        policy::{ADMIN, OPENID, Policy},
        requested_claims::{self, Destination},
        subjects::Subjects,
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        authorization_details::end,
        client::Client,
        client_protocol::AccessTokenFormat,
        grant::Grant,
        ids::{OrgId, RoleName, SessionId},
        user::User,
    },
    ports::store::Users,
};

/// `typ` of access tokens (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";
/// `acr` of a password sign-in: level of assurance 1 of ISO/IEC 29115.
pub const ACR_PASSWORD: &str = "1";
/// `acr` of somebody whom another issuer vouches for: nothing is known of the sign-in, which is level 0 (OpenID Connect Core §2).
pub const ACR_VOUCHED: &str = "0";
/// `amr` of a password sign-in (RFC 8176 §2).
pub const AMR_PASSWORD: &str = "pwd";

/// Makes tokens.
#[derive(Clone)]
pub struct TokenIssuer {
    pub policy: Arc<Policy>,
    pub keyring: Arc<Keyring>,
    pub sealer: ClientSealer,
    pub opaque: OpaqueTokens,
    pub subjects: Subjects,
    pub users: Arc<dyn Users>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIssuer").finish_non_exhaustive()
    }
}

/// What the token endpoint answers.
#[derive(Debug)]
pub struct Issued {
    pub access_token: String,
    /// What it is called, where the request could have asked for something else (RFC 8693 §2.2.1).
    pub issued_token_type: Option<&'static str>,
    pub expires_in: Duration,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    /// Present when it differs from what was asked for.
    pub scope: Option<Scope>,
    /// What the access token carries (RFC 9396 §7).
    pub authorization_details: AuthorizationDetails,
}

/// For whom an access token speaks.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The client itself.
    Client,
    /// A person, through a grant; `sid` names the browser session if it is still live.
    Person {
        user: &'a User,
        grant: &'a Grant,
        sid: Option<&'a SessionId>,
    },
}

/// What a person's tokens are to say: an access token, and an ID token when `openid` was granted.
#[derive(Debug, Clone, Copy)]
pub struct PersonOrder<'a> {
    pub call: &'a TokenCall,
    pub user: &'a User,
    pub grant: &'a Grant,
    /// The browser session, if it is still live.
    pub sid: Option<&'a SessionId>,
    pub nonce: Option<&'a str>,
    /// Those of the grant that these tokens are for; see [`TokenCall::narrow_resources`].
    pub resources: &'a [String],
}

/// What an access token is to say.
#[derive(Debug, Clone, Copy)]
pub struct AccessTokenOrder<'a> {
    pub client: &'a Client,
    pub subject: Subject<'a>,
    pub scope: &'a Scope,
    /// Whom it is for; empty: whoever follows from the scope.
    pub resources: &'a [String],
    pub authorization_details: &'a AuthorizationDetails,
    /// What it is bound to.
    pub confirmation: Option<&'a Confirmation>,
    /// What it must not exceed.
    pub within: Option<Within<'a>>,
}

/// The limits of the token that another one is made of.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    /// Seconds since the epoch.
    pub exp: i64,
    pub ai_interfaces: Option<&'a BTreeSet<String>>,
    /// The clients whose tokens it is made of, the first in front.
    pub via: &'a [String],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Many(Vec<&'a str>),
}

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    /// The sector that knows the person by this `sub`: with it the provider reads the token whatever the registration says by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    sector: Option<&'a str>,
    aud: Audience<'a>,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Scope::is_empty")]
    scope: &'a Scope,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a SessionId>,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<&'a BTreeSet<RoleName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ai_interfaces: Option<Cow<'a, BTreeSet<String>>>,
    #[serde(skip_serializing_if = "AuthorizationDetails::is_empty")]
    authorization_details: &'a AuthorizationDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Value>,
    /// Our own: clients whose end is this token's end, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    userinfo_claims: Option<String>,
}

#[derive(Serialize)]
struct IdClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    at_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a SessionId>,
    acr: &'a str,
    amr: &'a [String],
    /// What the `claims` parameter asked for (OpenID Connect Core §5.5).
    #[serde(flatten)]
    requested: Map<String, Value>,
}

impl TokenIssuer {
    /// Tokens for a person, through a grant. A refresh token and the scope to be told are the caller's to add.
    ///
    /// # Errors
    /// When the store or a signature fails.
    pub async fn person_tokens(&self, order: PersonOrder<'_>) -> Result<Issued, TokenError> {
        let PersonOrder { call, user, grant, .. } = order;
        let client = call.client.as_ref();
        let (access_token, expires_in) = self
            .access_token(AccessTokenOrder {
                client,
                subject: Subject::Person {
                    user,
                    grant,
                    sid: order.sid,
                },
                scope: &grant.scope,
                resources: order.resources,
                authorization_details: &grant.details.authorization_details,
                confirmation: call.confirmation.as_ref(),
                within: None,
            })
            .await?;
        let id_token = self.id_token(order, &access_token).await?;
        Ok(Issued {
            access_token,
            issued_token_type: None,
            expires_in,
            refresh_token: None,
            id_token,
            scope: None,
            authorization_details: grant.details.authorization_details.clone(),
        })
    }

    /// An access token with its lifetime.
    ///
    /// # Errors
    /// When the store or a signature fails.
    pub async fn access_token(&self, order: AccessTokenOrder<'_>) -> Result<(String, Duration), TokenError> {
        let AccessTokenOrder {
            client, scope, subject, ..
        } = order;
        let now = self.clock.now();
        let lifetime = capped(
            self.policy.access_token_ttl(client),
            end(order.authorization_details),
            now,
        );
        let lifetime = capped(lifetime, order.within.map(|within| within.exp), now);
        let (person, grant, sid) = match subject {
            Subject::Client => (None, None, None),
            Subject::Person { user, grant, sid } => (Some(user), Some(grant), sid),
        };
        // Roles and permissions go out only to applications that administer: the least that a token needs to say.
        let admin = person.filter(|_| scope.contains(ADMIN));
        let permissions = match admin {
            Some(user) => Some(self.users.permissions_of(&user.sub).await?),
            None => None,
        };
        let shown = match person {
            Some(user) => Some(self.subjects.disclose(client, &user.sub).await?),
            None => None,
        };
        let unique = self.entropy.id();
        let claims = AccessClaims {
            iss: &self.policy.issuer,
            sub: shown
                .as_ref()
                .map_or(client.client_id.as_str(), |shown| shown.sub.as_str()),
            sector: shown.as_ref().and_then(|shown| shown.sector.as_deref()),
            aud: audience(self.policy.audience(scope, order.resources)),
            client_id: client.client_id.as_str(),
            scope,
            iat: now.as_seconds(),
            exp: (now + lifetime).as_seconds(),
            // 128 random bits (RFC 9068 §2.2.4: unique), so no two tokens share one without any being remembered. The grant's id comes
            // first, so that a whole grant can be revoked by prefix.
            jti: grant.map_or_else(|| unique.clone(), |grant| format!("{}.{unique}", grant.grant_id)),
            auth_time: grant.map(|grant| grant.auth_time.as_seconds()),
            acr: grant.map(acr),
            amr: grant.map(|grant| grant.amr.as_slice()).filter(|amr| !amr.is_empty()),
            sid,
            tenant: client.tenant.as_str(),
            org: person.and_then(|user| user.org.as_ref()).map(OrgId::as_str),
            roles: admin.map(|user| &user.roles),
            permissions,
            ai_interfaces: interfaces(
                client.ai_interfaces.as_ref(),
                order.within.and_then(|within| within.ai_interfaces),
            ),
            authorization_details: order.authorization_details,
            cnf: order.confirmation,
            act: grant.and_then(|grant| grant.details.actor.as_ref()),
            via: order.within.map(|within| within.via),
            userinfo_claims: grant.and_then(|grant| requested_claims::beyond(&grant.details, scope, &client.scope)),
        };
        let bytes = serde_json::to_vec(&claims).map_err(TokenError::internal)?;
        let token = match client.protocol.access_token_format {
            AccessTokenFormat::Jwt => self
                .keyring
                .sign(client.access_token_signing_alg, ACCESS_TOKEN_TYP, &bytes)?,
            AccessTokenFormat::Opaque => self.opaque.seal(&bytes)?,
        };
        Ok((token, lifetime))
    }

    /// Makes sure that tokens of this scope can be made for the client: to be asked before anything is spent that works once.
    ///
    /// # Errors
    /// When the client's ID tokens are to be encrypted and it has no key for that.
    pub async fn prepare(&self, client: &Client, scope: &Scope) -> Result<(), TokenError> {
        match scope.contains(OPENID) {
            true => self.sealer.prepare(client, Sealing::of_id_token(client)).await,
            false => Ok(()),
        }
    }

    /// The ID token that goes with an access token; `None` without the scope `openid`.
    ///
    /// # Errors
    /// When the signature fails, or the token cannot be encrypted to the client.
    async fn id_token(&self, order: PersonOrder<'_>, access_token: &str) -> Result<Option<String>, TokenError> {
        let (client, grant) = (order.call.client.as_ref(), order.grant);
        if !grant.scope.contains(OPENID) {
            return Ok(None);
        }
        let now: Timestamp = self.clock.now();
        let claims = IdClaims {
            iss: &self.policy.issuer,
            sub: &self.subjects.shown_to(client, &grant.user)?.sub,
            aud: client.client_id.as_str(),
            iat: now.as_seconds(),
            exp: (now + self.policy.lifetimes.id_token).as_seconds(),
            auth_time: grant.auth_time.as_seconds(),
            nonce: order.nonce,
            at_hash: left_half_hash(client.id_token_signed_response_alg, access_token),
            sid: grant.sid.as_ref(),
            acr: acr(grant),
            amr: &grant.amr,
            requested: order.user.claims_named(&requested_claims::within(
                requested_claims::names(&grant.details, Destination::IdToken),
                &client.scope,
            )),
        };
        let bytes = serde_json::to_vec(&claims).map_err(TokenError::internal)?;
        let sealing = Sealing::of_id_token(client);
        self.sealer.seal(client, sealing, Some("JWT"), &bytes).await.map(Some)
    }
}

/// The class that the sign-in met; a password is the least.
fn acr(grant: &Grant) -> &str {
    grant.details.acr.as_deref().unwrap_or(ACR_PASSWORD)
}

/// Those that both allow; `None` allows all.
fn interfaces<'a>(
    own: Option<&'a BTreeSet<String>>,
    within: Option<&'a BTreeSet<String>>,
) -> Option<Cow<'a, BTreeSet<String>>> {
    match (own, within) {
        (Some(own), Some(within)) => Some(Cow::Owned(own & within)),
        (one, other) => one.or(other).map(Cow::Borrowed),
    }
}

/// A token lives no longer than what it permits.
fn capped(lifetime: Duration, end: Option<i64>, now: Timestamp) -> Duration {
    let left = end.map(|end| Timestamp::from_seconds(end).since(Timestamp::from_seconds(now.as_seconds())));
    left.map_or(lifetime, |left| lifetime.min(left))
}

fn audience(mut names: Vec<&str>) -> Audience<'_> {
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => Audience::One(only),
        (last, _) => Audience::Many(names.into_iter().chain(last).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_no_longer_than_its_details() {
        let lifetime = |end| capped(Duration::from_secs(600), end, Timestamp::from_seconds(1000)).as_secs();
        assert_eq!(lifetime(None), 600);
        assert_eq!(lifetime(Some(9999)), 600);
        assert_eq!(lifetime(Some(1060)), 60);
        assert_eq!(lifetime(Some(999)), 0);
    }

    #[test]
    fn a_single_audience_is_a_string_and_several_are_an_array() {
        let json = |names| serde_json::to_string(&audience(names)).unwrap();
        assert_eq!(json(vec!["a"]), "\"a\"");
        assert_eq!(json(vec!["a", "b"]), "[\"a\",\"b\"]");
    }
}
