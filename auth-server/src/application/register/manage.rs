//! A client and its own registration (RFC 7592).

use oauth_wire::ClientAuthMethod;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use service_kit::Timestamp;

use super::{
    Register, RegisterError, Registered, RegistrationMode, TokenKind, describe::describe, fault::Fault, tokens::same,
};
use crate::{
    application::operate::end_everything_of_client,
    domain::{
        client::{Client, ClientSecret},
        ids::ClientId,
        registration::{Registration, TokenMac},
    },
    ports::registrations::RegistrationEnd,
};

/// A client that has shown the token of its registration.
struct Holder {
    client: Client,
    registration: Registration,
    mac: TokenMac,
}

impl Register {
    /// What is registered (§2.1). Secrets are kept as hashes, so the answer has none.
    ///
    /// # Errors
    /// [`RegisterError::TokenInvalid`] for a wrong token, an unknown client and a disabled one alike (§2.1: no 404).
    pub async fn read_registration(&self, id: &ClientId, token: Option<&str>) -> Result<Registered, RegisterError> {
        let (holder, token) = self.holder(id, token).await?;
        Ok(Registered {
            metadata: describe(&holder.client),
            client_id: holder.client.client_id,
            registered_at: holder.registration.registered_at,
            secret: None,
            access_token: token,
        })
    }

    /// Replaces everything that the client says about itself (§2.2). What its operator has decided stays, and a disabled client
    /// stays disabled.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn update_registration(
        &self,
        id: &ClientId,
        token: Option<&str>,
        metadata: &Map<String, Value>,
    ) -> Result<Registered, RegisterError> {
        let (holder, token) = self.holder(id, token).await?;
        let now = self.clock.now();
        self.check_identity(&holder.client, metadata, now)?;
        let before = holder.client;
        let mut client = self.read(before.client_id.clone(), before.tenant.clone(), metadata)?;
        self.check_sector(&client).await?;
        let method = client.token_endpoint_auth_method;
        // A secret that is to be a key must be kept itself, and one that is no longer a key must not.
        let as_before = |one: &ClientSecret| one.sealed.is_some() == (method == ClientAuthMethod::ClientSecretJwt);
        let keeps_secret = method.has_secret() && !before.secrets.is_empty() && before.secrets.iter().all(as_before);
        let secret = match keeps_secret {
            true => None,
            false => self.give_secret(&mut client)?,
        };
        let (access_token, mac) = match self.policy.registration.rotate_access_token {
            true => self.tokens.mint(TokenKind::Access, self.entropy.as_ref())?,
            false => (token, holder.mac.clone()),
        };
        let mut tx = self.transactions.begin().await?;
        let changed = tx.renew_registration(id, &holder.mac, &mac).await? && tx.replace_metadata(&client, now).await?;
        if !changed {
            // Disabled, deleted or renewed meanwhile.
            return Err(RegisterError::TokenInvalid);
        }
        if !keeps_secret && client.secrets != before.secrets {
            tx.set_client_secrets(id, &client.secrets, now).await?;
        }
        tx.bump_revision().await?;
        tx.commit().await?;
        Ok(Registered {
            metadata: describe(&client),
            client_id: client.client_id,
            registered_at: holder.registration.registered_at,
            secret,
            access_token,
        })
    }

    /// Removes the client (§2.3): everything that was issued to it ends.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn delete_registration(&self, id: &ClientId, token: Option<&str>) -> Result<(), RegisterError> {
        let (holder, _) = self.holder(id, token).await?;
        match self.remove(id, &RegistrationEnd::Holder(holder.mac)).await? {
            true => Ok(()),
            false => Err(RegisterError::TokenInvalid),
        }
    }

    /// Ends the registration if it still stands as `when` says, and with it the client and everything that it holds.
    pub(super) async fn remove(&self, id: &ClientId, when: &RegistrationEnd) -> Result<bool, RegisterError> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        if !tx.end_registration(id, when).await? {
            return Ok(false);
        }
        tx.delete_client(id, now).await?;
        let revocation = end_everything_of_client(tx.as_mut(), &self.revocations, id, now).await?;
        tx.bump_revision().await?;
        tx.commit().await?;
        self.revocations.announce([revocation]);
        Ok(true)
    }

    /// The client that the token belongs to, if that is the one, and active: who was disabled cannot so much as read.
    async fn holder(&self, id: &ClientId, token: Option<&str>) -> Result<(Holder, SecretString), RegisterError> {
        if self.policy.registration.mode == RegistrationMode::Off {
            return Err(RegisterError::Off);
        }
        let token = token.ok_or(RegisterError::TokenMissing)?;
        let mac = self.tokens.mac(TokenKind::Access, token)?;
        let registration = self.registrations.find_registration(id).await?;
        let registration = registration.filter(|registration| same(&registration.access_token, &mac));
        let registration = registration.ok_or(RegisterError::TokenInvalid)?;
        // From the store, not from a cache: it may have been disabled this very moment.
        let client = self.clients.find_client(id).await?.filter(Client::is_active);
        let client = client.ok_or(RegisterError::TokenInvalid)?;
        let holder = Holder {
            client,
            registration,
            mac,
        };
        Ok((holder, SecretString::from(token)))
    }

    /// §2.2: the id must be there and be the client's own, and a secret, if there is one, the one that it has.
    fn check_identity(
        &self,
        client: &Client,
        metadata: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        let fault = |member: &str, reason: &str| {
            Err(RegisterError::Invalid(vec![Fault {
                member: member.to_owned(),
                reason: reason.to_owned(),
            }]))
        };
        if metadata.get("client_id").and_then(Value::as_str) != Some(client.client_id.as_str()) {
            return fault("client_id", "must be the client's own");
        }
        match metadata.get("client_secret") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(secret)) => {
                let secret = SecretString::from(secret.as_str());
                match self.secrets.matches(&secret, &client.secrets, now)? && !secret.expose_secret().is_empty() {
                    true => Ok(()),
                    false => fault("client_secret", "is not the client's own"),
                }
            }
            Some(_) => fault("client_secret", "must be a text"),
        }
    }
}
