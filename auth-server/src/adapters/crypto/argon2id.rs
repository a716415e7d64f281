//! Argon2id on a bounded pool of low-priority threads.
//!
//! One hash takes some 20 ms of a core. On the async threads a flood of log-ins would stall every light request, so
//! hashing has threads of its own, fewer than cores, at a lower priority, behind a bounded queue. Each thread keeps its working
//! memory, which saves faulting in 19 MiB per log-in.

use std::{sync::Arc, thread};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Ident, Output, ParamsString, PasswordHash as PhcHash, Salt},
};
use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use service_kit::Entropy;
use subtle::ConstantTimeEq as _;
use tokio::sync::{mpsc, oneshot};

use crate::{
    domain::user::PasswordHash,
    ports::crypto::{MAX_PASSWORD_BYTES, PasswordError, PasswordHasher},
};

/// Cost of password hashing. The defaults are OWASP's floor for Argon2id.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HasherConfig {
    /// Memory per hash in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Threads that hash; 0: one less than there are cores, at least one.
    pub threads: usize,
    /// Log-ins that may wait for a thread; one more is answered 503.
    pub queue: usize,
}

impl Default for HasherConfig {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            threads: 0,
            queue: 256,
        }
    }
}

/// Bytes of a hash and of its salt.
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// Steps by which hashing threads yield to the threads that answer requests.
const NICENESS: i32 = 10;

type Work = Box<dyn FnOnce(&Argon2<'static>, &mut Vec<Block>) + Send>;

/// Adapter for [`PasswordHasher`].
#[derive(Debug)]
pub struct Argon2Hasher {
    queue: mpsc::Sender<Work>,
    entropy: Arc<dyn Entropy>,
    params: Params,
}

impl Argon2Hasher {
    /// Starts the threads; they end when the hasher is dropped.
    ///
    /// # Errors
    /// When the cost is out of Argon2's range or a thread cannot be started.
    pub fn start(config: &HasherConfig, entropy: Arc<dyn Entropy>) -> anyhow::Result<Self> {
        let params = Params::new(config.memory_kib, config.passes, 1, Some(HASH_BYTES))
            .map_err(|error| anyhow::anyhow!("password hashing: {error}"))?;
        let (queue, work) = mpsc::channel(config.queue.max(1));
        let work = Arc::new(std::sync::Mutex::new(work));
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if config.threads == 0 {
            cores.saturating_sub(1).max(1)
        } else {
            config.threads
        };
        for number in 0..threads {
            let (work, params) = (Arc::clone(&work), params.clone());
            thread::Builder::new()
                .name(format!("argon2-{number}"))
                .spawn(move || work_off(&work, &params))?;
        }
        Ok(Self { queue, entropy, params })
    }

    async fn run<T: Send + 'static>(
        &self,
        password: SecretString,
        salt: [u8; SALT_BYTES],
        cost: Option<Params>,
        then: impl FnOnce([u8; HASH_BYTES]) -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        if password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |usual, memory| {
            // Nobody waits any more: hashing for nobody would only keep others waiting.
            if reply.is_closed() {
                return;
            }
            let other = cost.map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params));
            let argon2 = other.as_ref().unwrap_or(usual);
            memory.resize(argon2.params().block_count().max(memory.len()), Block::default());
            let mut out = [0; HASH_BYTES];
            let hashed = argon2.hash_password_into_with_memory(
                password.expose_secret().as_bytes(),
                &salt,
                &mut out,
                memory.as_mut_slice(),
            );
            // A caller that has left needs no answer.
            let _ = reply.send(hashed.map(|()| then(out)));
        });
        self.queue.try_send(work).map_err(|_| PasswordError::Busy)?;
        answer
            .await
            .map_err(|_| PasswordError::Failed)?
            .map_err(|_| PasswordError::Failed)
    }
}

fn work_off(work: &std::sync::Mutex<mpsc::Receiver<Work>>, params: &Params) {
    // On Linux this sets the priority of the calling thread only; elsewhere hashing keeps the usual one.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "hashing threads keep the usual priority");
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut memory = Vec::new();
    loop {
        let next = work.lock().ok().and_then(|mut queue| queue.blocking_recv());
        match next {
            Some(job) => job(&argon2, &mut memory),
            None => return,
        }
    }
}

#[async_trait]
impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: SecretString) -> Result<PasswordHash, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        let params = ParamsString::try_from(&self.params).map_err(|_| PasswordError::Failed)?;
        self.run(password, salt, None, move |hash| {
            let phc = PhcHash {
                algorithm: Ident::new("argon2id").ok()?,
                version: Some(Version::V0x13.into()),
                params,
                salt: Some(Salt::new(&salt).ok()?),
                hash: Some(Output::new(&hash).ok()?),
            };
            Some(PasswordHash(phc.to_string()))
        })
        .await?
        .ok_or(PasswordError::Failed)
    }

    async fn verify(&self, password: SecretString, hash: Option<PasswordHash>) -> Result<bool, PasswordError> {
        let Some(PasswordHash(text)) = hash else {
            // Unknown account: the same work, so that the time tells nothing.
            return self.run(password, [0; SALT_BYTES], None, |_| false).await;
        };
        let phc = PhcHash::new(&text).map_err(|_| PasswordError::CorruptHash)?;
        let salt = phc
            .salt
            .as_ref()
            .and_then(|salt| <[u8; SALT_BYTES]>::try_from(salt.as_ref()).ok());
        let wanted = phc
            .hash
            .as_ref()
            .and_then(|hash| <[u8; HASH_BYTES]>::try_from(hash.as_bytes()).ok());
        let (Some(salt), Some(wanted)) = (salt, wanted) else {
            return Err(PasswordError::CorruptHash);
        };
        // Hashes made under an earlier cost verify under that cost.
        let cost = Params::try_from(&phc).map_err(|_| PasswordError::CorruptHash)?;
        let cost = (cost != self.params).then_some(cost);
        self.run(password, salt, cost, move |made| made.ct_eq(&wanted).into())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::SystemEntropy;

    fn hasher(config: &HasherConfig) -> Argon2Hasher {
        Argon2Hasher::start(config, Arc::new(SystemEntropy)).unwrap()
    }

    fn cheap() -> HasherConfig {
        HasherConfig {
            memory_kib: 64,
            passes: 1,
            threads: 1,
            queue: 4,
        }
    }

    #[tokio::test]
    async fn the_right_password_verifies_and_another_does_not() {
        let hasher = hasher(&cheap());
        let hash = hasher.hash("correct horse".into()).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", hash.0);
        assert!(hasher.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("wrong horse".into(), Some(hash)).await.unwrap());
        assert!(!hasher.verify("any".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_made_under_another_cost_still_verifies() {
        let hash = hasher(&cheap()).hash("pw".into()).await.unwrap();
        let dearer = hasher(&HasherConfig {
            memory_kib: 128,
            ..cheap()
        });
        assert!(dearer.verify("pw".into(), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn a_password_may_have_1024_bytes_and_no_more() {
        let hasher = hasher(&cheap());
        assert!(hasher.hash("a".repeat(1024).into()).await.is_ok());
        assert!(matches!(
            hasher.hash("a".repeat(1025).into()).await,
            Err(PasswordError::TooLong)
        ));
    }

    #[tokio::test]
    async fn a_stored_hash_that_is_no_hash_is_an_error_and_not_a_refusal() {
        let asked = hasher(&cheap())
            .verify("pw".into(), Some(PasswordHash("plain".into())))
            .await;
        assert!(matches!(asked, Err(PasswordError::CorruptHash)));
    }

    #[tokio::test]
    async fn a_full_queue_answers_busy_at_once() {
        let hasher = hasher(&HasherConfig {
            memory_kib: 8192,
            passes: 3,
            threads: 1,
            queue: 1,
        });
        let all = futures_util::future::join_all((0..32).map(|_| hasher.verify("pw".into(), None))).await;
        assert!(all.iter().any(|one| matches!(one, Err(PasswordError::Busy))));
        assert!(all.iter().any(Result::is_ok));
    }
}
