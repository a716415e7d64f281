//! Signing keys in use: made on the first start, published with overlap, rotated without a gap.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use service_kit::{Clock, Timestamp};
use token_keys::{Jwks, KeyError, MasterKey, SigningKeyPair, VerifiedJwt, VerifyError};

use crate::{
    domain::{
        client::SigningAlg,
        ids::KeyId,
        signing_key::{KeyStage, SigningKey},
    },
    ports::store::{SigningKeys, StoreError, StoreResult, Transactions},
};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("storage failed")]
    Store(#[from] StoreError),
    #[error("a key could not be made")]
    Key(#[from] KeyError),
    #[error("signing key {0} was sealed with another master key: keys.dir is not the one of this installation")]
    Sealed(KeyId),
    #[error("OpenSSL refused")]
    OpenSsl(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the key factory ended early")]
    FactoryEnded,
}

/// The keys as they stand at one moment.
struct Keys {
    current: Vec<Arc<SigningKeyPair>>,
    verifiers: Jwks,
    document: Arc<[u8]>,
    /// When the first of them retires.
    until: Option<Timestamp>,
}

/// Signs and verifies with the installation's keys.
pub struct Keyring {
    store: Arc<dyn SigningKeys>,
    clock: Arc<dyn Clock>,
    master: MasterKey,
    keys: ArcSwap<Keys>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// Loads the keys.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn load(
        store: Arc<dyn SigningKeys>,
        clock: Arc<dyn Clock>,
        master: MasterKey,
    ) -> Result<Self, KeyringError> {
        let keys = ArcSwap::from_pointee(read(store.as_ref(), clock.as_ref(), &master).await?);
        Ok(Self {
            store,
            clock,
            master,
            keys,
        })
    }

    /// Reads the keys again, after somebody rotated them.
    ///
    /// # Errors
    /// [`KeyringError`]; the keys in use stay.
    pub async fn reload(&self) -> Result<(), KeyringError> {
        let keys = read(self.store.as_ref(), self.clock.as_ref(), &self.master).await?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Whether a key has retired since they were read.
    pub fn is_stale(&self) -> bool {
        self.keys.load().until.is_some_and(|at| at <= self.clock.now())
    }

    /// Signs claims with the current key of an algorithm.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn sign(&self, alg: SigningAlg, typ: &str, claims: &[u8]) -> Result<String, KeyError> {
        let keys = self.keys.load();
        let key = keys
            .current
            .iter()
            .find(|key| key.alg() == alg)
            .ok_or(KeyError::NotIssued(alg))?;
        key.sign(typ, claims)
    }

    /// Verifies a token of ours. Claims are the caller's to check.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, token: &str) -> Result<VerifiedJwt, VerifyError> {
        self.keys.load().verifiers.verify(token)
    }

    /// The JWKS document (RFC 7517 §5).
    pub fn document(&self) -> Arc<[u8]> {
        Arc::clone(&self.keys.load().document)
    }
}

async fn read(store: &dyn SigningKeys, clock: &dyn Clock, master: &MasterKey) -> Result<Keys, KeyringError> {
    let now = clock.now();
    let stored = store.list_keys().await?;
    let served: Vec<&SigningKey> = stored
        .iter()
        .filter(|key| key.retire_at.is_none_or(|at| at > now))
        .collect();
    let mut current = Vec::new();
    for key in served.iter().filter(|key| key.stage != KeyStage::Retiring) {
        // The next key is opened as well: a wrong master key must show now, not on the day of the rotation.
        let private = master
            .unseal(&place(&key.kid), &key.sealed_private)
            .map_err(|_| KeyringError::Sealed(key.kid.clone()))?;
        if key.stage == KeyStage::Current {
            current.push(Arc::new(SigningKeyPair::from_private_bytes(key.alg, &private)?));
        }
    }
    let public: Vec<&Map<String, Value>> = served.iter().map(|key| &key.public_jwk).collect();
    let document = json!({ "keys": public }).to_string().into_bytes().into();
    let until = served.iter().filter_map(|key| key.retire_at).min();
    Ok(Keys {
        current,
        verifiers: Jwks::from_keys(public.iter().copied()),
        document,
        until,
    })
}

/// Where a sealed private key belongs: it opens nowhere else.
fn place(kid: &KeyId) -> String {
    format!("signing_key/sealed_private/{kid}")
}

/// Makes, lists and rotates keys.
#[derive(Clone)]
pub struct KeyFactory {
    /// What is signed with.
    pub algs: Vec<SigningAlg>,
    pub keys: Arc<dyn SigningKeys>,
    pub transactions: Arc<dyn Transactions>,
    pub clock: Arc<dyn Clock>,
    pub master: MasterKey,
}

impl std::fmt::Debug for KeyFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFactory").finish_non_exhaustive()
    }
}

impl KeyFactory {
    /// Makes the keys that are missing: per algorithm one current and one next. Of several nodes that start at once one wins.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn ensure(&self) -> Result<(), KeyringError> {
        let stored = self.keys.list_keys().await?;
        let stages = |alg: &SigningAlg| [(*alg, KeyStage::Current), (*alg, KeyStage::Next)];
        let wanted = self.algs.iter().flat_map(stages);
        let missing = wanted.filter(|(alg, stage)| !stored.iter().any(|key| key.alg == *alg && key.stage == *stage));
        for key in self.make_all(missing).await? {
            let mut tx = self.transactions.begin().await?;
            match tx.insert_key(&key).await {
                Ok(()) => {
                    tx.bump_revision().await?;
                    tx.commit().await?;
                }
                // Another node was quicker: its key serves.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Every key, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> StoreResult<Vec<SigningKey>> {
        self.keys.list_keys().await
    }

    /// Lets the next key of every algorithm sign from now on. The one before stays in the JWKS until `retirement` has passed, and a
    /// new next key is published at once, so that resource servers know it long before it signs.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn rotate(&self, retirement: std::time::Duration) -> Result<(), KeyringError> {
        self.ensure().await?;
        let fresh = self
            .make_all(self.algs.iter().map(|alg| (*alg, KeyStage::Next)))
            .await?;
        let mut stored = self.keys.list_keys().await?;
        stored.retain(|key| self.algs.contains(&key.alg));
        let retire_at = self.clock.now() + retirement;
        let mut tx = self.transactions.begin().await?;
        for key in stored.iter().filter(|key| key.stage == KeyStage::Current) {
            tx.move_key(&key.kid, KeyStage::Current, KeyStage::Retiring, Some(retire_at))
                .await?;
        }
        for key in stored.iter().filter(|key| key.stage == KeyStage::Next) {
            tx.move_key(&key.kid, KeyStage::Next, KeyStage::Current, None).await?;
        }
        for key in &fresh {
            tx.insert_key(key).await?;
        }
        tx.bump_revision().await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes keys, all at once: an RSA key takes some hundred milliseconds of a core, and a first start needs four.
    async fn make_all(
        &self,
        wanted: impl IntoIterator<Item = (SigningAlg, KeyStage)>,
    ) -> Result<Vec<SigningKey>, KeyringError> {
        let at_work: Vec<_> = wanted
            .into_iter()
            .map(|(alg, stage)| {
                (
                    stage,
                    tokio::task::spawn_blocking(move || SigningKeyPair::generate(alg)),
                )
            })
            .collect();
        let mut made = Vec::with_capacity(at_work.len());
        for (stage, pair) in at_work {
            made.push(self.seal(&pair.await.map_err(|_| KeyringError::FactoryEnded)??, stage)?);
        }
        Ok(made)
    }

    fn seal(&self, pair: &SigningKeyPair, stage: KeyStage) -> Result<SigningKey, KeyringError> {
        let kid = KeyId::new(pair.kid());
        let private = pair.to_private_bytes()?;
        let sealed = self.master.seal(&place(&kid), &private);
        Ok(SigningKey {
            alg: pair.alg(),
            stage,
            public_jwk: pair.public_jwk(),
            sealed_private: sealed.map_err(|error| KeyringError::OpenSsl(Box::new(error)))?,
            created_at: self.clock.now(),
            retire_at: None,
            kid,
        })
    }
}
