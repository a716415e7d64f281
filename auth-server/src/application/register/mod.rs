//! Clients that register themselves (RFC 7591, OpenID Connect Registration) and manage their registration (RFC 7592).
//!
//! Whatever they say, such clients are never `first_party` or `auto_approve`, hold no permission, and cannot use the password grant.

pub mod cimd;
mod describe;
mod expire;
pub mod fault;
mod localized;
mod manage;
mod members;
pub mod metadata;
pub mod operate;
mod policy;
mod tokens;

use std::sync::Arc;

use oauth_wire::{ClientAuthMethod, RedirectUri};
use secrecy::SecretString;
use serde_json::{Map, Value};
use service_kit::{Clock, Entropy, Timestamp};

use crate::{
    application::{
        authenticate_client::{ClientSecrets, new_secret},
        client_documents::ClientDocuments,
        client_rules,
        policy::Policy,
        revocations::RevocationLog,
        token_error::TokenError,
    },
    domain::{
        client::Client,
        directory::DEFAULT_TENANT,
        ids::{ClientId, TenantId},
        registration::{DYNAMIC_PREFIX, InitialToken, Registration},
        throttle::{Attempt, ThrottleKey},
    },
    ports::{
        registrations::Registrations,
        store::{Clients, LoginThrottle, StoreError, Transactions},
    },
};
use fault::{Fault, Faults};
use metadata::{Frame, Speaker};

pub use expire::ClientUse;
pub use policy::{RegistrationMode, RegistrationPolicy};
pub use tokens::{RegistrationTokens, TokenKind};

/// The use cases of `/connect/register`.
#[derive(Clone)]
pub struct Register {
    pub policy: Arc<Policy>,
    pub clients: Arc<dyn Clients>,
    pub registrations: Arc<dyn Registrations>,
    pub throttle: Arc<dyn LoginThrottle>,
    pub transactions: Arc<dyn Transactions>,
    pub secrets: ClientSecrets,
    pub tokens: RegistrationTokens,
    pub revocations: Arc<RevocationLog>,
    pub documents: Arc<ClientDocuments>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register").finish_non_exhaustive()
    }
}

/// Why a client was not registered, or its registration not touched.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Nobody registers here: there is no such address.
    #[error("registration is off")]
    Off,
    /// Without a token, where one is needed.
    #[error("a token is needed")]
    TokenMissing,
    /// An unknown, used-up or expired token; an unknown or disabled client. They are told alike.
    #[error("the token is not valid")]
    TokenInvalid,
    /// RFC 7591 §3.2.2.
    #[error("{}", fault::told(.0))]
    Invalid(Vec<Fault>),
    #[error("software statements are not accepted")]
    SoftwareStatement,
    /// From one address.
    #[error("too many registrations")]
    Throttled { until: Timestamp },
    /// There are as many clients as the operator lets there be.
    #[error("no more clients can be registered")]
    Full,
    #[error("storage failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What a client is told of its registration (RFC 7591 §3.2.1, RFC 7592 §3).
#[derive(Debug)]
pub struct Registered {
    pub metadata: Map<String, Value>,
    pub client_id: ClientId,
    pub registered_at: Timestamp,
    /// A fresh one: it is told once.
    pub secret: Option<SecretString>,
    pub access_token: SecretString,
}

impl Register {
    /// Registers a client. `address` is where the request came from, `token` the initial access token that it brought.
    ///
    /// # Errors
    /// [`RegisterError`]; no use of the token is taken then.
    pub async fn register(
        &self,
        address: &str,
        token: Option<&str>,
        metadata: &Map<String, Value>,
    ) -> Result<Registered, RegisterError> {
        let policy = &self.policy.registration;
        if policy.mode == RegistrationMode::Off {
            return Err(RegisterError::Off);
        }
        let now = self.clock.now();
        let key = ThrottleKey::Registration(address.to_owned());
        if let Attempt::Blocked(until) = self.throttle.count_attempt(&key, policy.throttle, now).await? {
            return Err(RegisterError::Throttled { until });
        }
        let initial = self.initial_token(token, now).await?;
        let client_id = ClientId::new(format!("{DYNAMIC_PREFIX}{}", self.entropy.id()));
        let tenant = initial
            .as_ref()
            .map_or_else(|| TenantId::new(DEFAULT_TENANT), |initial| initial.tenant.clone());
        let mut client = self.read(client_id, tenant, metadata)?;
        self.check_sector(&client).await?;
        let secret = self.give_secret(&mut client)?;
        let (access_token, mac) = self.tokens.mint(TokenKind::Access, self.entropy.as_ref())?;
        let registration = Registration {
            client: client.client_id.clone(),
            access_token: mac,
            registered_at: now,
            last_used_at: now,
        };
        self.save(&client, &registration, initial.as_ref()).await?;
        let mut described = describe::describe(&client);
        // A default is the operator's and may change; what the client has registered is what it named. Strict clients take a scope that they
        // did not ask for as one that they must support.
        if !metadata.contains_key("scope") {
            described.remove("scope");
        }
        Ok(Registered {
            metadata: described,
            client_id: client.client_id,
            registered_at: now,
            secret,
            access_token,
        })
    }

    /// The token that lets the caller register; `None` where nobody needs one and none was sent.
    async fn initial_token(&self, token: Option<&str>, now: Timestamp) -> Result<Option<InitialToken>, RegisterError> {
        let Some(token) = token else {
            return match self.policy.registration.mode {
                RegistrationMode::Open => Ok(None),
                RegistrationMode::Off | RegistrationMode::InitialAccessToken => Err(RegisterError::TokenMissing),
            };
        };
        let mac = self.tokens.mac(TokenKind::Initial, token)?;
        let found = self.registrations.find_initial_token(&mac).await?;
        let usable = found.filter(|token| token.is_usable(now));
        usable.map(Some).ok_or(RegisterError::TokenInvalid)
    }

    /// What a stranger says, held to every rule.
    fn read(
        &self,
        client_id: ClientId,
        tenant: TenantId,
        metadata: &Map<String, Value>,
    ) -> Result<Client, RegisterError> {
        // RFC 7591 §3.2.2: none is approved, and to ignore one would register something else than its publisher has signed.
        if metadata.get("software_statement").is_some_and(|value| !value.is_null()) {
            return Err(RegisterError::SoftwareStatement);
        }
        let mut faults = Faults::default();
        let frame = Frame {
            client_id,
            tenant,
            speaker: Speaker::Stranger,
            // RFC 7591 §2.
            default_method: ClientAuthMethod::ClientSecretBasic,
            reach: &self.policy.registration.reach,
        };
        let mut client = metadata::read(metadata, frame, &mut faults);
        self.policy.registration.bound(&mut client, metadata, &mut faults);
        for fault in client_rules::faults_of_stranger(&client, &self.policy) {
            faults.add(fault.member, fault.reason);
        }
        match faults.is_empty() {
            true => Ok(client),
            false => Err(RegisterError::Invalid(faults.into_iter().collect())),
        }
    }

    /// OpenID Connect Registration §5: the document at `sector_identifier_uri` must name every redirect URI. A client without any is known
    /// by the addresses at which it is asked (CIBA §4); naming none it could join any sector.
    async fn check_sector(&self, client: &Client) -> Result<(), RegisterError> {
        let Some(uri) = &client.protocol.sector_identifier_uri else {
            return Ok(());
        };
        let protocol = &client.protocol;
        let asked_at = [&protocol.jwks_uri, &protocol.backchannel_client_notification_endpoint];
        let wanted: Vec<&str> = match client.redirect_uris.as_slice() {
            [] => asked_at.into_iter().flatten().map(String::as_str).collect(),
            uris => uris.iter().map(RedirectUri::as_str).collect(),
        };
        let reason = match self.documents.sector(uri).await {
            Ok(named) => match wanted.iter().all(|uri| named.iter().any(|one| one == uri)) {
                true if !wanted.is_empty() => return Ok(()),
                true => "needs a redirect URI, jwks_uri or backchannel_client_notification_endpoint to name".to_owned(),
                false => "its document does not name every redirect URI, or jwks_uri and \
                          backchannel_client_notification_endpoint without any"
                    .to_owned(),
            },
            Err(error) => format!("its document cannot be used: {error}"),
        };
        Err(RegisterError::Invalid(vec![Fault {
            member: "sector_identifier_uri".to_owned(),
            reason,
        }]))
    }

    /// A secret for a client that authenticates by one.
    fn give_secret(&self, client: &mut Client) -> Result<Option<SecretString>, RegisterError> {
        let method = client.token_endpoint_auth_method;
        if !method.has_secret() {
            return Ok(None);
        }
        let secret = new_secret(&*self.entropy);
        client.secrets = vec![self.secrets.seal(&client.client_id, method, &secret, None)?];
        Ok(Some(secret))
    }

    async fn save(
        &self,
        client: &Client,
        registration: &Registration,
        initial: Option<&InitialToken>,
    ) -> Result<(), RegisterError> {
        let at = registration.registered_at;
        let mut tx = self.transactions.begin().await?;
        if let Some(initial) = initial
            && !tx.spend_initial_token(&initial.mac, at).await?
        {
            return Err(RegisterError::TokenInvalid);
        }
        tx.upsert_client(client, at).await?;
        let cap = self.policy.registration.max_clients;
        if !tx.insert_registration(registration, cap).await? {
            return Err(RegisterError::Full);
        }
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::policy::tests::policy;
}
