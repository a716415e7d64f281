//! The keys of clients: what they sign is verified with them, and what is for their eyes alone is encrypted to them.

use std::sync::Arc;

use oauth_wire::{ClientAuthMethod, JweAlg, JweEnc, SigningAlg};
use serde_json::{Map, Value};
use token_keys::{ClientKeys, EncryptError, ForeignJwt, JwksError, KeyFault, VerifyError};

use crate::{
    application::client_documents::{ClientDocuments, DocumentError},
    domain::{
        client::Client,
        client_auth::{self, ClientFault},
        ids::ClientId,
    },
};

/// Key sets kept ready at most, of either kind. Making one ready again takes a fraction of a millisecond.
const KEPT: u64 = 2_000;

/// What a registration says of the client's method and keys that cannot be: see [`client_auth::faults`], and the keys themselves as far as they
/// stand in the registration.
pub fn registration_faults(client: &Client) -> Vec<ClientFault> {
    let mut faults = client_auth::faults(client);
    let mut add = |reason: String| faults.push(ClientFault { member: "jwks", reason });
    let Some(document) = &client.protocol.jwks else {
        return faults;
    };
    let keys = match ClientKeys::from_document(document) {
        Ok(keys) => keys,
        Err(error) => {
            add(error.to_string());
            return faults;
        }
    };
    for (at, fault) in keys.faults() {
        // RFC 7517 §5: what we do not know is passed over. A secret that stands in the open is none any more.
        if matches!(fault, KeyFault::Private | KeyFault::Symmetric) {
            add(format!("keys[{at}]: {fault}"));
        }
    }
    let algs = client.assertion_algs();
    match client.token_endpoint_auth_method {
        ClientAuthMethod::PrivateKeyJwt if !keys.can_verify(&algs) => {
            add(format!("no key can verify {}", SigningAlg::listed(&algs)));
        }
        ClientAuthMethod::SelfSignedTlsClientAuth if keys.is_empty() => add("no key can be used".into()),
        _ => {}
    }
    faults
}

/// Why a client's keys were of no use.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeyError {
    #[error("the client has registered no keys")]
    None,
    #[error("the client's jwks_uri cannot be had: {0}")]
    Unavailable(#[from] DocumentError),
    #[error("the client's keys cannot be read: {0}")]
    Unreadable(#[from] JwksError),
    #[error(transparent)]
    Verify(VerifyError),
    #[error(transparent)]
    Encrypt(EncryptError),
}

impl ClientKeyError {
    /// Tells whether the keys may only be out of reach for now, so that nothing is known of what they would show.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(error) if error.may_pass())
    }
}

/// Keys of all clients, registered or fetched, each made ready once.
#[derive(Clone)]
pub struct ClientKeyring {
    documents: Arc<ClientDocuments>,
    registered: moka::sync::Cache<ClientId, Arc<Ready<Map<String, Value>>>>,
    fetched: moka::sync::Cache<String, Arc<Ready<Arc<Value>>>>,
}

/// Keys, with what they were read from.
struct Ready<D> {
    document: D,
    keys: Arc<ClientKeys>,
}

impl std::fmt::Debug for ClientKeyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientKeyring").finish_non_exhaustive()
    }
}

impl ClientKeyring {
    pub fn new(documents: Arc<ClientDocuments>) -> Self {
        Self {
            documents,
            registered: moka::sync::Cache::new(KEPT),
            fetched: moka::sync::Cache::new(KEPT),
        }
    }

    /// Verifies a JWT that the client signed: an assertion, a request object, a grant. `allowed` comes from the registration
    /// ([`Client::signing_algs`], [`Client::assertion_algs`]). Claims and `typ` are the caller's to check.
    ///
    /// A `kid` that nobody knows may be of a key that the client has just made, so its keys are fetched again, but not at every
    /// stranger's word.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub async fn verify(
        &self,
        client: &Client,
        jwt: &str,
        allowed: &[SigningAlg],
    ) -> Result<ForeignJwt, ClientKeyError> {
        self.with_keys(client, |keys| keys.verify(jwt, allowed), is_of_unknown_key)
            .await?
            .map_err(ClientKeyError::Verify)
    }

    /// As [`ClientKeyring::verify`], for an issuer of assertions whose keys are at `url`.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub async fn verify_by(&self, url: &str, jwt: &str, allowed: &[SigningAlg]) -> Result<ForeignJwt, ClientKeyError> {
        self.with_keys_at(url, |keys| keys.verify(jwt, allowed), is_of_unknown_key)
            .await?
            .map_err(ClientKeyError::Verify)
    }

    /// Encrypts to the client. `cty` is `JWT` for what was signed before (RFC 7519 §5.2).
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub async fn encrypt(
        &self,
        client: &Client,
        payload: &[u8],
        cty: Option<&str>,
        (alg, enc): (JweAlg, JweEnc),
    ) -> Result<String, ClientKeyError> {
        self.with_keys(
            client,
            |keys| keys.encrypt(payload, cty, alg, enc),
            |encrypted| matches!(encrypted, Err(EncryptError::NoKey(_))),
        )
        .await?
        .map_err(ClientKeyError::Encrypt)
    }

    /// Whether the client registered this certificate, in DER, or its key (RFC 8705 §2.2).
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub async fn has_certificate(&self, client: &Client, der: &[u8]) -> Result<bool, ClientKeyError> {
        self.with_keys(client, |keys| keys.has_certificate(der), |found| !found)
            .await
    }

    /// Tries with the keys that are known, and, if the outcome asks for it, with those that the client has now.
    async fn with_keys<T>(
        &self,
        client: &Client,
        attempt: impl Fn(&ClientKeys) -> T,
        is_worth_another: impl Fn(&T) -> bool,
    ) -> Result<T, ClientKeyError> {
        if let Some(document) = &client.protocol.jwks {
            return Ok(attempt(&*self.registered(&client.client_id, document)?));
        }
        let url = client.protocol.jwks_uri.as_ref().ok_or(ClientKeyError::None)?;
        self.with_keys_at(url, attempt, is_worth_another).await
    }

    async fn with_keys_at<T>(
        &self,
        url: &str,
        attempt: impl Fn(&ClientKeys) -> T,
        is_worth_another: impl Fn(&T) -> bool,
    ) -> Result<T, ClientKeyError> {
        let known = self.documents.jwks.load(url).await?;
        let outcome = attempt(&*self.fetched(url, &known)?);
        if !is_worth_another(&outcome) {
            return Ok(outcome);
        }
        let current = self.documents.jwks.refetch(url).await?;
        match Arc::ptr_eq(&known, &current) {
            true => Ok(outcome),
            false => Ok(attempt(&*self.fetched(url, &current)?)),
        }
    }

    fn registered(&self, id: &ClientId, document: &Map<String, Value>) -> Result<Arc<ClientKeys>, ClientKeyError> {
        if let Some(known) = self.registered.get(id).filter(|known| known.document == *document) {
            return Ok(Arc::clone(&known.keys));
        }
        let ready = Ready {
            document: document.clone(),
            keys: Arc::new(ClientKeys::from_document(document)?),
        };
        let keys = Arc::clone(&ready.keys);
        self.registered.insert(id.clone(), Arc::new(ready));
        Ok(keys)
    }

    fn fetched(&self, url: &str, document: &Arc<Value>) -> Result<Arc<ClientKeys>, ClientKeyError> {
        let is_this = |known: &Arc<Ready<Arc<Value>>>| Arc::ptr_eq(&known.document, document);
        if let Some(known) = self.fetched.get(url).filter(is_this) {
            return Ok(Arc::clone(&known.keys));
        }
        let nothing = Map::new();
        let set = document.as_object().unwrap_or(&nothing);
        let ready = Ready {
            document: Arc::clone(document),
            keys: Arc::new(ClientKeys::from_document(set)?),
        };
        let keys = Arc::clone(&ready.keys);
        self.fetched.insert(url.to_owned(), Arc::new(ready));
        Ok(keys)
    }
}

fn is_of_unknown_key(verified: &Result<ForeignJwt, VerifyError>) -> bool {
    matches!(verified, Err(VerifyError::UnknownKey))
}
