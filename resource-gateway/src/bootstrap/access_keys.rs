//! What access keys are looked after and verified with.

use std::sync::Arc;

use serde_json::{Value, json};
use service_kit::Tasks;

use super::{Foundation, shared::SharedMemory};
use crate::{
    adapters::{local_nonces::LocalNonces, redis::RedisNonces, sql::SqlAccessKeys},
    application::{
        access_keys::{AdministerKeys, KeyIds, KnownKeys, ManageAccessKeys, VerifySignature},
        registry::Registry,
        revocations::Revocations,
        snapshots::Snapshots,
    },
    config::{AccessKeysConfig, Config},
    ports::access_keys::NonceMemory,
};

/// The memory of nonces.
#[derive(Debug)]
pub(super) enum Nonces {
    Alone(Arc<LocalNonces>),
    Together(Arc<RedisNonces>),
}

impl Nonces {
    pub(super) fn build(config: &AccessKeysConfig, memory: Option<&SharedMemory>) -> Self {
        match memory {
            None => Self::Alone(Arc::new(LocalNonces::new(config.nonce_entries))),
            Some(memory) => {
                let share = config.nonce_entries / 2;
                Self::Together(Arc::new(RedisNonces::new(Arc::clone(&memory.nonces), share)))
            }
        }
    }

    fn memory(&self) -> Arc<dyn NonceMemory> {
        match self {
            Self::Alone(nonces) => nonces.clone(),
            Self::Together(nonces) => nonces.clone(),
        }
    }

    pub(super) fn start(&self, tasks: &Tasks) {
        if let Self::Together(nonces) = self {
            let (nonces, stop) = (Arc::clone(nonces), tasks.stop_token());
            tasks.spawn(async move {
                stop.run_until_cancelled(nonces.run()).await;
            });
        }
    }

    /// For `/status`.
    pub(super) fn status(&self) -> Value {
        match self {
            Self::Alone(nonces) => json!({"remembered": "alone", "error": null, "held": nonces.held()}),
            Self::Together(nonces) => {
                let error = nonces.trouble();
                let remembered = if error.is_none() { "together" } else { "refused" };
                json!({"remembered": remembered, "error": error})
            }
        }
    }
}

impl Foundation {
    /// The use cases behind the administration of access keys.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn access_keys(&self) -> anyhow::Result<ManageAccessKeys> {
        Ok(ManageAccessKeys {
            store: self.key_store(),
            ids: self.key_ids()?,
            clock: Arc::clone(&self.ambient.clock),
            entropy: Arc::clone(&self.ambient.entropy),
        })
    }

    pub(super) fn administer_keys(&self, config: &Config, registry: &Arc<Registry>) -> anyhow::Result<AdministerKeys> {
        Ok(AdministerKeys {
            keys: self.access_keys()?,
            administer: self.administer(config, Arc::clone(registry)),
        })
    }

    pub(super) fn key_store(&self) -> Arc<SqlAccessKeys> {
        Arc::new(SqlAccessKeys::new(self.db.clone(), Arc::clone(&self.master)))
    }

    fn key_ids(&self) -> anyhow::Result<KeyIds> {
        Ok(KeyIds::new(self.master.derive(KeyIds::PURPOSE)?))
    }

    pub(super) fn signatures(
        &self,
        config: &AccessKeysConfig,
        nonces: &Nonces,
        snapshots: &Arc<Snapshots>,
        revocations: &Arc<Revocations>,
    ) -> anyhow::Result<Arc<VerifySignature>> {
        let (snapshots, ids) = (Arc::clone(snapshots), self.key_ids()?);
        Ok(Arc::new(VerifySignature {
            keys: KnownKeys::new(self.key_store(), snapshots, ids, config.cache_entries),
            nonces: nonces.memory(),
            revocations: Arc::clone(revocations),
            clock: Arc::clone(&self.ambient.clock),
        }))
    }
}
