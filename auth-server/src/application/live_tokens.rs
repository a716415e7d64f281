//! Whether an access token of ours is good right now.

use std::sync::Arc;

use oauth_wire::{Confirmation, TokenFacts, actors};
use serde::Deserialize as _;
use serde_json::{Map, Value};
use service_kit::Clock;
use sha2::{Digest, Sha256};

use crate::{
    application::{
        authenticate_client::ClientDirectory, issue::ACCESS_TOKEN_TYP, keyring::Keyring, opaque_tokens::OpaqueTokens,
        policy::Policy, revocations::RevocationLog, subjects::Subjects,
    },
    domain::{client::Client, ids::ClientId},
    ports::store::StoreResult,
};

/// Verified tokens kept in memory at most: a token is verified once, not once a request.
const CACHED_TOKENS: u64 = 20_000;

/// An access token whose signature or seal and fixed claims hold. Whether it has expired or was revoked is asked anew each time.
#[derive(Debug)]
pub struct AccessToken {
    pub claims: Map<String, Value>,
    pub client_id: ClientId,
    jti: String,
    sub: String,
    sid: Option<String>,
    via: Vec<String>,
    /// By the names that we know, as `sub`.
    actors: Vec<String>,
    iat: i64,
    confirmation: Option<Confirmation>,
    /// Seconds since the epoch.
    pub exp: i64,
}

impl AccessToken {
    /// The person (or the client) by the name that we know, which for a pairwise client is not the one in the token's claims.
    pub fn sub(&self) -> &str {
        &self.sub
    }

    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// The clients whose tokens it was made of (RFC 8693), the first in front.
    pub fn via(&self) -> &[String] {
        &self.via
    }

    /// What the token is bound to (RFC 7800).
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.confirmation.as_ref()
    }

    /// Tells whether `name` is in `aud`.
    pub fn is_for(&self, name: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == name,
            Some(Value::Array(several)) => several.iter().any(|one| one == name),
            _ => false,
        }
    }

    pub fn has_scope(&self, wanted: &str) -> bool {
        let scope = self.claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        scope.split(' ').any(|token| token == wanted)
    }

    fn facts(&self) -> TokenFacts<'_> {
        TokenFacts {
            jti: &self.jti,
            sid: self.sid.as_deref(),
            sub: &self.sub,
            client_id: self.client_id.as_str(),
            via: &self.via,
            actors: &self.actors,
            iat: self.iat,
        }
    }
}

/// What access tokens are read with.
#[derive(Debug, Clone)]
pub struct TokenReader {
    pub keyring: Arc<Keyring>,
    pub opaque: OpaqueTokens,
    pub subjects: Subjects,
}

/// Checks access tokens.
#[derive(Clone)]
pub struct LiveTokens {
    policy: Arc<Policy>,
    reader: TokenReader,
    clients: ClientDirectory,
    revocations: Arc<RevocationLog>,
    clock: Arc<dyn Clock>,
    verified: moka::sync::Cache<[u8; 32], Arc<AccessToken>>,
}

impl std::fmt::Debug for LiveTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveTokens").finish_non_exhaustive()
    }
}

impl LiveTokens {
    pub fn new(
        policy: Arc<Policy>,
        reader: TokenReader,
        clients: ClientDirectory,
        revocations: Arc<RevocationLog>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let verified = moka::sync::Cache::builder()
            .max_capacity(CACHED_TOKENS)
            .time_to_live(policy.lifetimes.max_access_token)
            .build();
        Self {
            policy,
            reader,
            clients,
            revocations,
            clock,
            verified,
        }
    }

    /// The token and its client, if the token is ours, has not expired, was not revoked, and its client is active.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, token: &str) -> StoreResult<Option<(Arc<AccessToken>, Arc<Client>)>> {
        let Some(token) = self.verified(token) else {
            return Ok(None);
        };
        if token.exp <= self.clock.now().as_seconds() || self.revocations.covers(token.facts()) {
            return Ok(None);
        }
        let client = self
            .clients
            .find(&token.client_id)
            .await?
            .filter(|client| client.is_active());
        Ok(client.map(|client| (token, client)))
    }

    /// A token of ours, expired or revoked or not.
    pub fn verified(&self, token: &str) -> Option<Arc<AccessToken>> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.verified.get(&digest) {
            return Some(known);
        }
        let fresh = Arc::new(self.verify(token)?);
        self.verified.insert(digest, Arc::clone(&fresh));
        Some(fresh)
    }

    fn verify(&self, token: &str) -> Option<AccessToken> {
        let claims = if OpaqueTokens::is_opaque(token) {
            self.reader.opaque.open(token)?
        } else {
            let jwt = self.reader.keyring.verify(token).ok()?;
            // RFC 9068 §4: an ID token or a logout token signed by the same key is not an access token.
            jwt.is_typ(ACCESS_TOKEN_TYP).then_some(jwt.claims)?
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| claims.get(name).and_then(Value::as_i64);
        if text("iss")? != self.policy.issuer {
            return None;
        }
        let subjects = &self.reader.subjects;
        // Nobody could end a token by an actor who cannot be read.
        let actors = actors(&claims).map(|act| subjects.named_by(act.as_object()?));
        Some(AccessToken {
            actors: actors.collect::<Option<_>>()?,
            client_id: ClientId::new(text("client_id")?),
            jti: text("jti")?,
            sub: subjects.named_by(&claims)?,
            sid: text("sid"),
            via: claims
                .get("via")
                .map_or(Some(Vec::new()), |via| Vec::deserialize(via).ok())?,
            iat: number("iat")?,
            exp: number("exp")?,
            confirmation: match claims.get("cnf") {
                None => None,
                // One that we do not know, from a newer node: nobody can be shown to hold it.
                Some(cnf) => Some(Confirmation::deserialize(cnf).ok()?),
            },
            claims,
        })
    }
}
