//! Signing keys in use: made on the first start, published with overlap, rotated without a gap.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
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
    document: Bytes,
    /// When the first of them retires.
    until: Option<Timestamp>,
}

/// Signs and verifies with the installation's keys.
pub struct Keyring {
    store: Arc<dyn SigningKeys>,
    clock: Arc<dyn Clock>,
    master: MasterKey,
    preference: Vec<SigningAlg>,
    keys: ArcSwap<Keys>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// Loads the keys. `preference` is the order in which they are published, by algorithm.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn load(
        store: Arc<dyn SigningKeys>,
        clock: Arc<dyn Clock>,
        master: MasterKey,
        preference: Vec<SigningAlg>,
    ) -> Result<Self, KeyringError> {
        let keys = read(store.as_ref(), clock.as_ref(), &master, &preference).await?;
        Ok(Self {
            store,
            clock,
            master,
            preference,
            keys: ArcSwap::from_pointee(keys),
        })
    }

    /// Reads the keys again, after somebody rotated them.
    ///
    /// # Errors
    /// [`KeyringError`]; the keys in use stay.
    pub async fn reload(&self) -> Result<(), KeyringError> {
        let keys = read(self.store.as_ref(), self.clock.as_ref(), &self.master, &self.preference).await?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Whether a key has retired since they were read.
    pub fn is_stale(&self) -> bool {
        self.keys.load().until.is_some_and(|at| at <= self.clock.now())
    }

    /// Signs claims with the current key of an algorithm; with `None` the header has no `typ`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn sign<'a>(
        &self,
        alg: SigningAlg,
        typ: impl Into<Option<&'a str>>,
        claims: &[u8],
    ) -> Result<String, KeyError> {
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
    pub fn document(&self) -> Bytes {
        self.keys.load().document.clone()
    }
}

async fn read(
    store: &dyn SigningKeys,
    clock: &dyn Clock,
    master: &MasterKey,
    preference: &[SigningAlg],
) -> Result<Keys, KeyringError> {
    let now = clock.now();
    let stored = store.list_keys().await?;
    let mut served: Vec<&SigningKey> = stored
        .iter()
        .filter(|key| key.retire_at.is_none_or(|at| at > now))
        .collect();
    // The preferred algorithm first, and of its keys the one that signs: a reader that takes the first that it understands does well.
    let rank = |alg| {
        preference
            .iter()
            .position(|preferred| *preferred == alg)
            .unwrap_or(usize::MAX)
    };
    served.sort_by_key(|key| (rank(key.alg), key.stage != KeyStage::Current));
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

/// When keys are exchanged.
#[derive(Debug, Clone, Copy)]
pub struct KeySchedule {
    /// How long a key signs; `None`: until somebody rotates it by hand.
    pub every: Option<Duration>,
    /// How long the next key is published before it may sign.
    pub publish_ahead: Duration,
    /// How long a key stays published after it has signed its last token.
    pub retirement: Duration,
}

/// Makes, lists and rotates keys.
#[derive(Clone)]
pub struct KeyFactory {
    /// What is signed with.
    pub algs: Vec<SigningAlg>,
    pub schedule: KeySchedule,
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
    /// Makes the keys that are missing, per algorithm one current and one next, and retires those of algorithms that are used no more. Of several
    /// nodes that start at once one wins.
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
        self.retire_abandoned(&stored).await
    }

    /// Keys of algorithms that the configuration no longer names sign nothing more, but what they signed is good until it expires.
    async fn retire_abandoned(&self, stored: &[SigningKey]) -> Result<(), KeyringError> {
        let is_abandoned = |key: &&SigningKey| key.stage != KeyStage::Retiring && !self.algs.contains(&key.alg);
        let abandoned: Vec<&SigningKey> = stored.iter().filter(is_abandoned).collect();
        if abandoned.is_empty() {
            return Ok(());
        }
        let retire_at = self.clock.now() + self.schedule.retirement;
        let mut tx = self.transactions.begin().await?;
        for key in abandoned {
            tx.move_key(&key.kid, key.stage, KeyStage::Retiring, retire_at).await?;
        }
        tx.bump_revision().await?;
        tx.commit().await?;
        Ok(())
    }

    /// Every key, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> StoreResult<Vec<SigningKey>> {
        self.keys.list_keys().await
    }

    /// Lets the next key of every algorithm sign from now on: at an operator's word, so at once. `false` when somebody else was rotating them
    /// at the same time, and has.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn rotate(&self) -> Result<bool, KeyringError> {
        self.ensure().await?;
        let stored = self.keys.list_keys().await?;
        self.exchange(&stored, &self.algs).await
    }

    /// Rotates the algorithms whose key has signed for as long as it may and whose next key has been published for as long as it must. Every
    /// node asks; of several that ask at once one wins. Tells what it has rotated.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn rotate_due(&self) -> Result<Vec<SigningAlg>, KeyringError> {
        let Some(every) = self.schedule.every else {
            return Ok(Vec::new());
        };
        let now = self.clock.now();
        let stored = self.keys.list_keys().await?;
        let find = |alg, stage| stored.iter().find(|key| key.alg == alg && key.stage == stage);
        let is_due = |alg: &SigningAlg| {
            let (current, next) = (find(*alg, KeyStage::Current), find(*alg, KeyStage::Next));
            let has_served = current.is_some_and(|key| key.activated_at.unwrap_or(key.created_at) + every <= now);
            has_served && next.is_some_and(|key| key.created_at + self.schedule.publish_ahead <= now)
        };
        let due: Vec<SigningAlg> = self.algs.iter().copied().filter(is_due).collect();
        let won = !due.is_empty() && self.exchange(&stored, &due).await?;
        Ok(if won { due } else { Vec::new() })
    }

    /// Moves the keys of these algorithms one stage on, in one transaction: the current one stays in the JWKS until it has retired, the next one
    /// signs, and a new next one is published, so that resource servers know it long before it signs. A key that is no longer where it was
    /// found has been moved by somebody else: `false` then, and nothing has changed.
    async fn exchange(&self, stored: &[SigningKey], algs: &[SigningAlg]) -> Result<bool, KeyringError> {
        let fresh = self.make_all(algs.iter().map(|alg| (*alg, KeyStage::Next))).await?;
        let now = self.clock.now();
        let retire_at = now + self.schedule.retirement;
        let mut tx = self.transactions.begin().await?;
        for (from, to, at) in [
            (KeyStage::Current, KeyStage::Retiring, retire_at),
            (KeyStage::Next, KeyStage::Current, now),
        ] {
            for key in stored.iter().filter(|key| key.stage == from && algs.contains(&key.alg)) {
                if !tx.move_key(&key.kid, from, to, at).await? {
                    return Ok(false);
                }
            }
        }
        for key in &fresh {
            tx.insert_key(key).await?;
        }
        tx.bump_revision().await?;
        tx.commit().await?;
        Ok(true)
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
        let now = self.clock.now();
        Ok(SigningKey {
            alg: pair.alg(),
            stage,
            public_jwk: pair.public_jwk(),
            sealed_private: sealed.map_err(|error| KeyringError::OpenSsl(Box::new(error)))?,
            created_at: now,
            activated_at: (stage == KeyStage::Current).then_some(now),
            retire_at: None,
            kid,
        })
    }
}
