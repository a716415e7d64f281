//! What access keys are looked after and verified with.

use std::sync::Arc;

use super::Foundation;
use crate::{
    adapters::{local_nonces::LocalNonces, sql::SqlAccessKeys},
    application::{
        access_keys::{AdministerKeys, KeyIds, KnownKeys, ManageAccessKeys, VerifySignature},
        registry::Registry,
        revocations::Revocations,
        snapshots::Snapshots,
    },
    config::{AccessKeysConfig, Config},
};

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
        snapshots: &Arc<Snapshots>,
        revocations: &Arc<Revocations>,
    ) -> anyhow::Result<Arc<VerifySignature>> {
        let (snapshots, ids) = (Arc::clone(snapshots), self.key_ids()?);
        Ok(Arc::new(VerifySignature {
            keys: KnownKeys::new(self.key_store(), snapshots, ids, config.cache_entries),
            nonces: Arc::new(LocalNonces::new(config.nonce_entries)),
            revocations: Arc::clone(revocations),
            clock: Arc::clone(&self.ambient.clock),
        }))
    }
}
