//! Who is calling the token endpoint and its neighbours (RFC 6749 §2.3, OpenID Connect Core §9, RFC 8705 §2).

pub(in crate::application) mod assertion;
mod certificate;
mod directory;
mod guesses;
mod secrets;

use std::{net::IpAddr, sync::Arc};

use oauth_wire::ClientAuthMethod;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use service_kit::{Clock, PeerCertificate};
use token_keys::{ForeignJwt, VerifyError, peek_claims, verify_hmac};

pub use directory::ClientDirectory;
use guesses::{Guesser, SecretGuesses};
pub use secrets::{ClientSecrets, new_secret};

use crate::{
    application::{
        client_keyring::{ClientKeyError, ClientKeyring},
        policy::Policy,
        token_error::TokenError,
    },
    domain::{client::Client, ids::ClientId},
    ports::store::{LoginThrottle, SingleUseId},
};

/// No client has a longer id; whoever sends one is not worth a look into the store.
const MAX_CLIENT_ID: usize = 1024;

/// What a request shows of its client.
#[derive(Debug)]
pub struct Presented {
    /// The `client_id` parameter or the name in a Basic header.
    pub client_id: Option<ClientId>,
    pub proof: Proof,
    /// Of the connection. It may be there for the tokens' sake alone (RFC 8705 §3).
    pub certificate: Option<PeerCertificate>,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
}

/// What is meant to prove who the client is.
#[derive(Debug)]
pub enum Proof {
    /// Nothing in the request itself: a public client, or a certificate.
    None,
    /// In a Basic header or in the body.
    Secret(SecretString),
    /// A JWT (RFC 7523 §2.2).
    Assertion(SecretString),
}

/// A client that has proved who it is.
#[derive(Debug)]
pub struct Authenticated {
    pub client: Arc<Client>,
    /// What the proof is used up by. It MUST be spent, with success, before anything is done for the client.
    pub unspent: Vec<SingleUseId>,
}

/// Authenticates clients.
#[derive(Clone)]
pub struct AuthenticateClient {
    clients: ClientDirectory,
    secrets: ClientSecrets,
    keyring: ClientKeyring,
    guesses: SecretGuesses,
    policy: Arc<Policy>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for AuthenticateClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticateClient").finish_non_exhaustive()
    }
}

impl AuthenticateClient {
    pub fn new(
        clients: ClientDirectory,
        secrets: ClientSecrets,
        keyring: ClientKeyring,
        throttle: Arc<dyn LoginThrottle>,
        policy: Arc<Policy>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            guesses: SecretGuesses::new(throttle, policy.client_auth.clone()),
            clients,
            secrets,
            keyring,
            policy,
            clock,
        }
    }

    /// The client that the request comes from. It must use the method that it is registered for, but that the two ways to send a
    /// secret prove the same, so that a client that is registered for one may use the other.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`] for an unknown or disabled client, a proof that does not hold, or one of another method, all
    /// alike; [`TokenError::ClientOutOfReach`] where its description or its keys cannot be had just now; [`TokenError::InvalidAssertion`] for what is wrong with an assertion that the client did sign;
    /// [`TokenError::Throttled`] where a secret was guessed too often.
    pub async fn authenticate(&self, presented: Presented) -> Result<Authenticated, TokenError> {
        let id = named(&presented)?;
        let outcome = match &presented.proof {
            Proof::None => self.by_connection(&id, presented.certificate.as_ref()).await,
            Proof::Secret(secret) => self.by_secret(&id, secret, presented.address).await,
            Proof::Assertion(assertion) => self.by_assertion(&id, assertion, presented.address).await,
        };
        if let Err(TokenError::InvalidAssertion(reason)) = &outcome {
            tracing::info!(client.id = %id, reason, "a client's assertion was refused");
        }
        outcome
    }

    /// A public client, or one that its certificate proves.
    async fn by_connection(
        &self,
        id: &ClientId,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Authenticated, TokenError> {
        let client = self.active(id).await?.ok_or(TokenError::InvalidClient)?;
        let genuine = match (client.token_endpoint_auth_method, certificate) {
            (ClientAuthMethod::None, _) => true,
            (ClientAuthMethod::TlsClientAuth, Some(shown)) => self.is_vouched_for(&client, shown),
            (ClientAuthMethod::SelfSignedTlsClientAuth, Some(shown)) => {
                let registered = self.keyring.has_certificate(&client, &shown.der).await;
                registered.or_else(|error| {
                    tracing::info!(client.id = %id, %error, "a client's certificate cannot be compared");
                    match error.may_pass() {
                        true => Err(TokenError::ClientOutOfReach),
                        false => Ok(false),
                    }
                })?
            }
            _ => false,
        };
        match genuine {
            true => Ok(Authenticated::without_use(client)),
            false => Err(TokenError::InvalidClient),
        }
    }

    /// RFC 8705 §2.1: the chain holds, and the subject is the registered one.
    fn is_vouched_for(&self, client: &Client, shown: &PeerCertificate) -> bool {
        if let Err(error) = shown.verify(self.clock.now()) {
            tracing::info!(client.id = %client.client_id, %error, "a client's certificate is not believed");
            return false;
        }
        certificate::is_of(shown, client)
    }

    async fn by_secret(
        &self,
        id: &ClientId,
        secret: &SecretString,
        address: Option<IpAddr>,
    ) -> Result<Authenticated, TokenError> {
        let guesser = self.guesses.guesser(id, address);
        self.guesses.admit(&guesser, self.clock.now())?;
        let remembered = self.clients.remembered(id);
        let was_remembered = remembered.is_some();
        let client = match remembered {
            Some(client) => Some(client),
            None => self.clients.read(id).await?,
        };
        if self.try_secret(&guesser, client.as_ref(), secret)? {
            return client.map(Authenticated::without_use).ok_or(TokenError::InvalidClient);
        }
        // Whether the client is unknown or the secret wrong, the store is read once and written once, so that it takes as long. And a
        // client that was changed a moment ago is judged by what it is now.
        if was_remembered
            && let Some(client) = self.clients.read(id).await?
            && self.has_secret(Some(&client), secret)?
        {
            self.guesses.forgive(&guesser);
            return Ok(Authenticated::without_use(client));
        }
        self.guesses.share(&guesser, self.clock.now()).await?;
        Err(TokenError::InvalidClient)
    }

    /// Compares, and counts a failure, without letting go in between.
    fn try_secret(
        &self,
        guesser: &Guesser,
        client: Option<&Arc<Client>>,
        secret: &SecretString,
    ) -> Result<bool, TokenError> {
        let now = self.clock.now();
        self.guesses.admit(guesser, now)?;
        let genuine = self.has_secret(client, secret)?;
        if !genuine {
            self.guesses.note(guesser, now);
        }
        Ok(genuine)
    }

    /// The same work for every client and for none.
    fn has_secret(&self, client: Option<&Arc<Client>>, secret: &SecretString) -> Result<bool, TokenError> {
        let stored = client.map(|client| client.secrets.as_slice()).unwrap_or_default();
        let matches = self.secrets.matches(secret, stored, self.clock.now())?;
        let may = client.is_some_and(|client| client.is_active() && client.token_endpoint_auth_method.sends_secret());
        Ok(matches && may)
    }

    async fn by_assertion(
        &self,
        id: &ClientId,
        assertion: &SecretString,
        address: Option<IpAddr>,
    ) -> Result<Authenticated, TokenError> {
        let client = self.active(id).await?.ok_or(TokenError::InvalidClient)?;
        let jwt = match client.token_endpoint_auth_method {
            ClientAuthMethod::PrivateKeyJwt => self.signed(&client, assertion.expose_secret()).await?,
            ClientAuthMethod::ClientSecretJwt => {
                let guesser = self.guesses.guesser(id, address);
                let Some(jwt) = self.try_mac(&guesser, &client, assertion.expose_secret())? else {
                    self.guesses.share(&guesser, self.clock.now()).await?;
                    return Err(TokenError::InvalidClient);
                };
                jwt
            }
            _ => return Err(TokenError::InvalidClient),
        };
        let used = assertion::check(&jwt, &client, &self.policy, self.clock.now());
        let used = used.map_err(TokenError::InvalidAssertion)?;
        Ok(Authenticated {
            client,
            unspent: vec![used],
        })
    }

    async fn signed(&self, client: &Client, assertion: &str) -> Result<ForeignJwt, TokenError> {
        let verified = self.keyring.verify(client, assertion, &client.assertion_algs()).await;
        verified.map_err(|error| {
            // Anybody can send a forged one: that is not worth a line each.
            if !matches!(
                error,
                ClientKeyError::Verify(VerifyError::Malformed | VerifyError::BadSignature)
            ) {
                tracing::info!(client.id = %client.client_id, %error, "a client's assertion was not verified");
            }
            // To be told that its key is wrong would make a client give up, although nobody has looked at the key.
            match error.may_pass() {
                true => TokenError::ClientOutOfReach,
                false => TokenError::InvalidClient,
            }
        })
    }

    /// The assertion, if it is under a MAC with one of the client's secrets. Whoever tries secrets by it is counted as well.
    fn try_mac(&self, guesser: &Guesser, client: &Client, assertion: &str) -> Result<Option<ForeignJwt>, TokenError> {
        let now = self.clock.now();
        self.guesses.admit(guesser, now)?;
        let allowed = client.assertion_macs();
        let secrets = self.secrets.unsealed(client, now)?;
        let mut verified = secrets
            .iter()
            .map(|secret| verify_hmac(assertion, secret.as_ref(), &allowed));
        let jwt = verified.find_map(Result::ok);
        if jwt.is_none() {
            self.guesses.note(guesser, now);
        }
        Ok(jwt)
    }

    async fn active(&self, id: &ClientId) -> Result<Option<Arc<Client>>, TokenError> {
        let client = self.clients.find(id).await?;
        // To be told that it is unknown would make a client throw away its refresh token.
        if client.is_none() && self.clients.why_unknown(id).await.is_some_and(|why| why.may_pass()) {
            return Err(TokenError::ClientOutOfReach);
        }
        Ok(client.filter(|client| client.is_active()))
    }
}

impl Authenticated {
    /// By a proof that may be shown again.
    fn without_use(client: Arc<Client>) -> Self {
        Self {
            client,
            unspent: Vec::new(),
        }
    }
}

/// Who the request says that it is. An assertion names its client itself; a `client_id` beside it must be the same (RFC 7521 §4.2).
fn named(presented: &Presented) -> Result<ClientId, TokenError> {
    let id = match &presented.proof {
        Proof::None | Proof::Secret(_) => presented.client_id.clone(),
        Proof::Assertion(assertion) => {
            let claims = peek_claims(assertion.expose_secret()).map_err(|_| TokenError::InvalidClient)?;
            let subject = claims.get("sub").and_then(Value::as_str).map(ClientId::new);
            subject.filter(|subject| presented.client_id.as_ref().is_none_or(|id| id == subject))
        }
    };
    id.filter(|id| id.as_str().len() <= MAX_CLIENT_ID)
        .ok_or(TokenError::InvalidClient)
}
