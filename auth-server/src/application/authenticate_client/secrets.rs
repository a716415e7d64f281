//! Client secrets at rest.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::ClientAuthMethod;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::{Entropy, Timestamp};
use subtle::ConstantTimeEq as _;
use token_keys::{MacKey, MasterKey, SealError};

use crate::{
    application::token_error::TokenError,
    domain::{
        client::{Client, ClientSecret},
        ids::ClientId,
    },
};

/// Keyed hashing of client secrets. They are made by machines and unguessable, so a slow password hash would only cost time.
///
/// `client_secret_jwt` needs the secret itself, since it is the key of a MAC: for clients of that method, and for no others, it is kept
/// as well, sealed under the master key.
#[derive(Debug, Clone)]
pub struct ClientSecrets {
    key: MacKey,
    master: MasterKey,
}

impl ClientSecrets {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: MacKey, master: MasterKey) -> Self {
        Self { key, master }
    }

    /// A secret of a client as it is stored.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(
        &self,
        client: &ClientId,
        method: ClientAuthMethod,
        secret: &SecretString,
        expires_at: Option<Timestamp>,
    ) -> Result<ClientSecret, TokenError> {
        let sealed = match method {
            ClientAuthMethod::ClientSecretJwt => {
                let sealed = self.master.seal(&place(client), secret.expose_secret().as_bytes());
                Some(URL_SAFE_NO_PAD.encode(sealed.map_err(TokenError::internal)?))
            }
            _ => None,
        };
        Ok(ClientSecret {
            mac: self.mac(secret)?,
            expires_at,
            sealed,
        })
    }

    /// Tells whether `secret` is one of the stored ones that still work.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn matches(&self, secret: &SecretString, stored: &[ClientSecret], now: Timestamp) -> Result<bool, TokenError> {
        let mac = self.mac(secret)?;
        let usable = stored.iter().filter(|one| is_usable(one, now));
        Ok(usable.fold(false, |found, one| {
            found | bool::from(one.mac.as_bytes().ct_eq(mac.as_bytes()))
        }))
    }

    /// The client's secrets that still work, as far as they were kept.
    ///
    /// # Errors
    /// When one of them was sealed for another client or under another master key.
    pub(super) fn unsealed(
        &self,
        client: &Client,
        now: Timestamp,
    ) -> Result<Vec<impl AsRef<[u8]> + use<>>, TokenError> {
        let usable = client.secrets.iter().filter(|one| is_usable(one, now));
        usable
            .filter_map(|one| one.sealed.as_ref())
            .map(|sealed| {
                let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| SealError);
                let plain = sealed.and_then(|sealed| self.master.unseal(&place(&client.client_id), &sealed));
                plain.map(Unsealed).map_err(TokenError::internal)
            })
            .collect()
    }

    fn mac(&self, secret: &SecretString) -> Result<String, TokenError> {
        let mac = self
            .key
            .mac(&[secret.expose_secret().as_bytes()])
            .map_err(TokenError::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(mac))
    }
}

/// A new client secret, with a prefix for secret scanners. Long enough for every MAC (RFC 7518 §3.2).
pub fn new_secret(entropy: &dyn Entropy) -> SecretString {
    SecretString::from(format!("hgcs_{}{}", entropy.secret(), entropy.id()))
}

/// Wiped when it is dropped.
struct Unsealed<T>(T);

impl<T: std::ops::Deref<Target = Vec<u8>>> AsRef<[u8]> for Unsealed<T> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn is_usable(secret: &ClientSecret, now: Timestamp) -> bool {
    secret.expires_at.is_none_or(|at| at > now)
}

/// Where a sealed secret belongs: it opens nowhere else.
fn place(client: &ClientId) -> String {
    format!("client/secret/{client}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client_auth::tests::client;

    fn secrets() -> (tempfile::TempDir, ClientSecrets) {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::load_or_create(dir.path()).unwrap();
        (dir, ClientSecrets::new(master.derive("client-secret").unwrap(), master))
    }

    const NOW: Timestamp = Timestamp::from_seconds(1000);

    #[test]
    fn a_secret_is_kept_for_client_secret_jwt_alone_and_opens_for_its_client_alone() {
        let (_dir, secrets) = secrets();
        let secret = SecretString::from("s".repeat(40));
        for method in ClientAuthMethod::ALL {
            let mut client = client(*method);
            let stored = secrets.seal(&client.client_id, *method, &secret, None).unwrap();
            assert!(secrets.matches(&secret, std::slice::from_ref(&stored), NOW).unwrap());
            assert_eq!(stored.sealed.is_some(), *method == ClientAuthMethod::ClientSecretJwt);
            client.secrets = vec![stored];
            let opened = secrets.unsealed(&client, NOW).unwrap();
            let opened: Vec<&[u8]> = opened.iter().map(AsRef::as_ref).collect();
            match method {
                ClientAuthMethod::ClientSecretJwt => {
                    assert_eq!(opened, [secret.expose_secret().as_bytes()]);
                    client.client_id = ClientId::new("other");
                    assert!(secrets.unsealed(&client, NOW).is_err());
                }
                _ => assert!(opened.is_empty()),
            }
        }
    }

    #[test]
    fn a_secret_that_has_expired_is_not_opened_and_none_is_shown() {
        let (_dir, secrets) = secrets();
        let (method, secret) = (ClientAuthMethod::ClientSecretJwt, SecretString::from("hush".repeat(9)));
        let mut client = client(method);
        client.secrets = vec![secrets.seal(&client.client_id, method, &secret, Some(NOW)).unwrap()];
        assert!(secrets.unsealed(&client, NOW).unwrap().is_empty());
        let shown = format!("{client:?}{}", serde_json::to_string(&client.secrets).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
