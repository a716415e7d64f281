//! `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7521 §4.1, RFC 7523 §2.1): a token on somebody's word.
//!
//! Of people only issuers may speak that the operator has listed, and only to the clients listed with them. A client that has keys of its own
//! may speak of itself. docs/adr/0016-assertions-of-others.md says why.

use std::sync::Arc;

use oauth_wire::{AuthorizationDetails, Confirmation, GrantType, Scope};
use serde::Deserialize as _;
use serde_json::{Map, Value};
use service_kit::{Clock, Entropy, Timestamp};
use token_keys::{ForeignJwt, VerifyError, peek_claims};

use crate::{
    application::{
        assertion_issuers::{AssertionIssuer, IssuerKeys, NamedBy},
        authenticate_client::assertion,
        client_credentials::ClientCredentials,
        client_keyring::{ClientKeyError, ClientKeyring},
        issue::{ACR_VOUCHED, AccessTokenOrder, Issued, Subject},
        policy::{OFFLINE_ACCESS, Policy, UNKNOWN_RESOURCE},
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        client::Client,
        grant::{Grant, GrantDetails},
        ids::{GrantId, UserId, Username},
        user::User,
    },
    ports::store::{SingleUse, SingleUseId, SingleUseKind, Users},
};

/// `typ` of an assertion from an enterprise's identity provider (draft-ietf-oauth-identity-assertion-authz-grant); others say nothing, or
/// that they are a JWT.
const TYP_IDENTITY: &str = "oauth-id-jag+jwt";
/// Claims by which other kinds of JWT are known: ID tokens and logout tokens, which are told apart by nothing else where they have no `typ`.
const FOREIGN_CLAIMS: [&str; 4] = ["nonce", "at_hash", "c_hash", "events"];

/// Exchanges assertions for tokens.
#[derive(Clone)]
pub struct AcceptAssertion {
    pub policy: Arc<Policy>,
    pub keyring: ClientKeyring,
    pub users: Arc<dyn Users>,
    pub single_use: Arc<dyn SingleUse>,
    /// Makes tokens of a client's own.
    pub own: ClientCredentials,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for AcceptAssertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptAssertion").finish_non_exhaustive()
    }
}

/// What an assertion says that holds. It has not been spent yet.
struct Vouched {
    sub: String,
    /// The most that it is for, if it says so.
    scope: Option<Scope>,
    /// The most that it is for; empty: it does not say.
    resources: Vec<String>,
    authorization_details: Option<AuthorizationDetails>,
    /// When the person was there, as far as the issuer tells.
    auth_time: Option<Timestamp>,
    used: SingleUseId,
}

/// RFC 7521 §4.1.1: whatever is wrong with an assertion is `invalid_grant`.
const fn refused(reason: &'static str) -> TokenError {
    TokenError::InvalidGrant(reason)
}

const EXCEEDS: TokenError =
    TokenError::InvalidScope("scope exceeds what the client, the issuer or the assertion allows");
const NOBODY: TokenError = refused("sub is nobody who may sign in");

impl AcceptAssertion {
    /// A token for whom the assertion names: a person if a listed issuer signed it, the client itself if it did. There is no refresh token: a
    /// client that needs another access token gets another assertion (RFC 7521 §4.1).
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn accept(&self, call: &TokenCall, assertion: &str, asked: Option<Scope>) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        if !client.may_use(GrantType::JwtBearer) || client.is_public() {
            return Err(TokenError::UnauthorizedClient("the client may not use jwt-bearer"));
        }
        // Chooses who is asked for keys, and nothing else.
        let claims = peek_claims(assertion).map_err(|_| refused("the assertion is not a signed JWT"))?;
        let iss = claims.get("iss").and_then(Value::as_str);
        let iss = iss.ok_or(refused("iss is missing"))?;
        let mut listed = self.policy.assertion_issuers.iter();
        match listed.find(|trusted| trusted.issuer == iss && trusted.clients.contains(&client.client_id)) {
            Some(trusted) => self.for_person(call, trusted, assertion, asked).await,
            None if iss == client.client_id.as_str() => self.for_client(call, assertion, asked).await,
            None => Err(refused("iss is nobody whose word is taken for this client")),
        }
    }

    async fn for_person(
        &self,
        call: &TokenCall,
        trusted: &AssertionIssuer,
        assertion: &str,
        asked: Option<Scope>,
    ) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        // The person is not there to be asked.
        if !client.auto_approve {
            return Err(TokenError::UnauthorizedClient(
                "nobody can be asked for consent in this grant, so the client needs auto_approve",
            ));
        }
        let verified = match &trusted.keys {
            IssuerKeys::Listed(keys) => keys.verify(assertion, &trusted.algs).map_err(ClientKeyError::Verify),
            IssuerKeys::At(url) => self.keyring.verify_by(url, assertion, &trusted.algs).await,
        };
        let jwt = verified.map_err(|error| unverified(client, &trusted.issuer, error))?;
        let vouched = self.judge(call, &jwt, &trusted.issuer, trusted.max_lifetime)?;
        self.person(client, trusted.names, &vouched.sub).await?;
        let allowed = client.scope.intersection(&trusted.scopes).without(OFFLINE_ACCESS);
        let (scope, told) = scope(allowed, vouched.scope.as_ref(), asked)?;
        let now = self.clock.now();
        let authorization_details = match &vouched.authorization_details {
            Some(granted) => call.narrow_details(granted, now)?,
            None => call.own_details(&scope, now)?,
        };
        let resources = call.narrow_resources(&vouched.resources)?;
        // Whatever can be refused has been by now: from here on the assertion is spent.
        self.spend(&[vouched.used]).await?;
        // That may have taken its time, and no row of this grant stands for a lock to end: whoever was locked meanwhile gets nothing.
        let user = self.person(client, trusted.names, &vouched.sub).await?;
        let grant = Grant {
            grant_id: GrantId::new(self.entropy.id()),
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: user.sub.clone(),
            sid: None,
            scope,
            auth_time: vouched.auth_time.unwrap_or(now),
            amr: Vec::new(),
            details: GrantDetails {
                acr: Some(ACR_VOUCHED.to_owned()),
                ..GrantDetails::default()
            },
        };
        let order = AccessTokenOrder {
            client,
            subject: Subject::Person {
                user: &user,
                grant: &grant,
                sid: None,
            },
            scope: &grant.scope,
            resources: &resources,
            authorization_details: &authorization_details,
            confirmation: call.confirmation.as_ref(),
            within: None,
        };
        let (access_token, expires_in) = self.own.issuer.access_token(order).await?;
        tracing::info!(
            client.id = %client.client_id, assertion.issuer = trusted.issuer, grant.id = %grant.grant_id,
            "an assertion was exchanged for a person's token"
        );
        Ok(Issued {
            access_token,
            issued_token_type: None,
            expires_in,
            refresh_token: None,
            id_token: None,
            scope: told,
            authorization_details,
        })
    }

    /// As by `client_credentials`, within what the assertion allows.
    async fn for_client(&self, call: &TokenCall, assertion: &str, asked: Option<Scope>) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        let id = client.client_id.as_str();
        let verified = self.keyring.verify(client, assertion, &client.grant_algs()).await;
        let jwt = verified.map_err(|error| unverified(client, id, error))?;
        let vouched = self.judge(call, &jwt, id, self.policy.client_auth.max_assertion_lifetime)?;
        if vouched.sub != id {
            return Err(refused(
                "sub must be the client_id: a client speaks for nobody but itself",
            ));
        }
        let asked = match vouched.scope {
            None => asked,
            // Nothing is not everything.
            Some(limit) if limit.is_empty() => return Err(EXCEEDS),
            Some(limit) => match asked.filter(|asked| !asked.is_empty()) {
                Some(asked) if !asked.is_subset(&limit) => return Err(EXCEEDS),
                asked => asked.or(Some(limit)),
            },
        };
        let call = TokenCall {
            resources: call.narrow_resources(&vouched.resources)?,
            authorization_details: match &vouched.authorization_details {
                Some(granted) => Some(call.narrow_details(granted, self.clock.now())?),
                None => call.authorization_details.clone(),
            },
            ..call.clone()
        };
        let own = self.own.judge(&call, asked)?;
        // What the client signs about itself could pass for its authentication, and the other way round: it works once, as one of them.
        let as_authentication = SingleUseId {
            namespace: SingleUseKind::ClientAssertion,
            ..vouched.used.clone()
        };
        self.spend(&[vouched.used, as_authentication]).await?;
        self.own.make(&call, own).await
    }

    /// What the assertion, whose signature holds, says (RFC 7523 §3).
    fn judge(
        &self,
        call: &TokenCall,
        jwt: &ForeignJwt,
        issuer: &str,
        longest: std::time::Duration,
    ) -> Result<Vouched, TokenError> {
        let claims = &jwt.claims;
        let is_identity = jwt.is_typ(TYP_IDENTITY);
        if jwt.typ.is_some() && !jwt.is_typ("JWT") && !is_identity {
            return Err(refused("the assertion is a JWT of another kind"));
        }
        if FOREIGN_CLAIMS.iter().any(|name| claims.contains_key(*name)) {
            return Err(refused("the assertion is an ID token or a security event"));
        }
        self.check_audience(claims)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let id = call.client.client_id.as_str();
        match claims.get("client_id") {
            None if !is_identity => {}
            Some(named) if named == id => {}
            _ => return Err(refused("client_id is not the client that presents the assertion")),
        }
        // RFC 8693 §4.1: what would be left out is whoever really acts.
        if claims.contains_key("act") {
            return Err(refused("act is not supported in assertions"));
        }
        if let Some(cnf) = claims.get("cnf") {
            let bound = Confirmation::deserialize(cnf).map_err(|_| refused("cnf is not one that can be checked"))?;
            call.check_binding(Some(&bound))?;
        }
        let now = self.clock.now();
        let expires_at = assertion::lifetime(claims, longest, now).map_err(refused)?;
        let jti = assertion::jti(claims).map_err(refused)?;
        let auth_time = assertion::time(claims, "auth_time").map_err(|_| refused("auth_time is not a time"))?;
        let auth_time = auth_time.or(assertion::time(claims, "iat").map_err(refused)?);
        Ok(Vouched {
            sub: text("sub").ok_or(refused("sub is missing"))?.to_owned(),
            scope: limit(claims, "scope", |value| value.as_str()?.parse().ok())?,
            resources: self.resources(claims)?,
            authorization_details: limit(claims, "authorization_details", |value| {
                AuthorizationDetails::parse(&value.to_string()).ok()
            })?,
            auth_time: auth_time.map(|at| at.min(now)),
            used: SingleUseId {
                namespace: SingleUseKind::GrantAssertion,
                id: format!("{issuer} {jti}"),
                expires_at,
            },
        })
    }

    /// Us and nobody else (rfc7523bis): what is meant for somebody else as well, they could use here.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let audience = match claims.get("aud") {
            Some(Value::Array(several)) => match several.as_slice() {
                [only] => only.as_str(),
                _ => None,
            },
            other => other.and_then(Value::as_str),
        };
        match audience == Some(self.policy.issuer.as_str()) {
            true => Ok(()),
            false => Err(refused("aud must be the issuer, and nobody else")),
        }
    }

    fn resources(&self, claims: &Map<String, Value>) -> Result<Vec<String>, TokenError> {
        let named = limit(claims, "resource", |value| match value {
            Value::String(one) => Some(vec![one.clone()]),
            several => Vec::deserialize(several).ok().filter(|named| !named.is_empty()),
        })?;
        let known = self.policy.known_resources(named.unwrap_or_default());
        known.ok_or(TokenError::InvalidTarget(UNKNOWN_RESOURCE))
    }

    /// Of the client's tenant, whatever else the issuer knows.
    async fn person(&self, client: &Client, names: NamedBy, sub: &str) -> Result<User, TokenError> {
        let user = match names {
            NamedBy::Sub => self.users.find_user(&UserId::new(sub)).await?,
            NamedBy::Username => match Username::parse(sub) {
                Ok(name) => self.users.find_user_by_name(&client.tenant, &name).await?,
                Err(_) => None,
            },
        };
        user.filter(|user| user.is_active() && user.tenant == client.tenant)
            .ok_or(NOBODY)
    }

    async fn spend(&self, used: &[SingleUseId]) -> Result<(), TokenError> {
        match self.single_use.spend(used).await? {
            true => Ok(()),
            false => Err(refused("the assertion was used before")),
        }
    }
}

/// What is asked for within all limits, else all that is left of them; and what the client has to be told.
fn scope(allowed: Scope, limit: Option<&Scope>, asked: Option<Scope>) -> Result<(Scope, Option<Scope>), TokenError> {
    let allowed = limit.map_or(allowed.clone(), |limit| allowed.intersection(limit));
    match asked.filter(|asked| !asked.is_empty()) {
        Some(asked) if asked.is_subset(&allowed) => Ok((asked, None)),
        None if !allowed.is_empty() => Ok((allowed.clone(), Some(allowed))),
        Some(_) | None => Err(EXCEEDS),
    }
}

/// A limit that the assertion names. One that cannot be read is never passed over.
fn limit<T>(
    claims: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let unreadable = refused("scope, resource or authorization_details of the assertion cannot be read");
    read(value).map(Some).ok_or(unreadable)
}

fn unverified(client: &Client, issuer: &str, error: ClientKeyError) -> TokenError {
    // Anybody with the client's secret can send a forged one: that is not worth a line each.
    if !matches!(
        error,
        ClientKeyError::Verify(VerifyError::Malformed | VerifyError::BadSignature)
    ) {
        tracing::info!(client.id = %client.client_id, assertion.issuer = issuer, %error, "an assertion was not verified");
    }
    match error {
        ClientKeyError::Unavailable(error) if error.may_pass() => TokenError::KeysOutOfReach,
        ClientKeyError::None | ClientKeyError::Unavailable(_) | ClientKeyError::Unreadable(_) => {
            refused("the keys of the assertion's issuer cannot be had")
        }
        ClientKeyError::Verify(VerifyError::AlgorithmNotAllowed) => {
            refused("the assertion's alg is not one that its issuer may sign by")
        }
        ClientKeyError::Verify(_) => refused("the assertion is not signed by a key of its issuer"),
        other @ ClientKeyError::Encrypt(_) => TokenError::internal(other),
    }
}
