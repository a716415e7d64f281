//! What every command needs: the database and the master key.

use std::{ffi::OsString, sync::Arc, time::Duration};

use anyhow::Context as _;
use reqwest::Certificate;
use service_kit::{Clock, Entropy, SystemClock, SystemEntropy};
use sql_kit::{Db, Options};
use token_keys::MasterKey;

use super::strategies;
use crate::{
    adapters::{
        guarded::{
            fetching::{FetchRules, HttpFetcher},
            webhooks::{HttpWebhooks, WebhookRules},
        },
        secrets::MachineSecrets,
        sql::{self, MIGRATIONS, SqlConfig, SqlConversations, SqlPayloads},
    },
    application::{
        administer::Administer, apply::ApplyDocument, change_config::ChangeConfig, conversations::Conversations,
        invoke::Fetching, list_payloads::ListPayloads, registry::Registry,
    },
    config::Config,
    domain::ids::TenantId,
};

/// Where time, randomness and programs come from.
#[derive(Debug, Clone)]
pub struct Ambient {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// The directories in which local engines are looked for, as `PATH` writes them.
    pub programs: Option<OsString>,
}

impl Default for Ambient {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            programs: std::env::var_os("PATH"),
        }
    }
}

/// Why no master key is made.
pub(super) const SEALED: &str = "the database holds what is sealed by its master key, which must be there";

pub(super) fn database_options(config: &Config) -> Options {
    Options {
        postgres_connections: config.database.max_connections,
        application_name: "hexgate resource-gateway".into(),
        ..Options::default()
    }
}

/// What every command needs: the database and the master key.
#[derive(Debug)]
pub struct Foundation {
    pub ambient: Ambient,
    pub(super) db: Db,
    pub(super) master: Arc<MasterKey>,
    /// The certificate authorities to trust beside the system's, as PEM.
    pub(super) extra_ca: Option<Vec<u8>>,
    pub(super) webhooks: Arc<HttpWebhooks>,
}

impl Foundation {
    /// Connects, migrates, and loads the master key, which is made only for a database in which nothing is sealed yet: with another one
    /// nothing of it would ever open again.
    ///
    /// # Errors
    /// When the database or the master key cannot be used.
    pub async fn lay(config: &Config, ambient: Ambient) -> anyhow::Result<Self> {
        let extra_ca = extra_ca(config)?;
        let db = Db::connect(&config.database.url, &database_options(config))
            .await
            .context("database.url")?;
        db.migrate(&MIGRATIONS)
            .await
            .context("the schema could not be migrated")?;
        let master = match sql::holds_sealed(&db).await? {
            true => MasterKey::load(&config.keys.dir).context(SEALED)?,
            false => MasterKey::load_or_create(&config.keys.dir)?,
        };
        Ok(Self {
            ambient,
            db,
            master: Arc::new(master),
            webhooks: Arc::new(webhooks(config, extra_ca.clone())),
            extra_ca,
        })
    }

    /// The use case behind `apply`.
    ///
    /// # Errors
    /// When the strategies cannot be set up.
    pub fn apply(&self) -> anyhow::Result<ApplyDocument> {
        let registry = Arc::new(self.registry()?);
        Ok(ApplyDocument::new(
            self.change_config(registry),
            Arc::new(MachineSecrets),
        ))
    }

    pub(super) fn registry(&self) -> anyhow::Result<Registry> {
        strategies::registry(&self.ambient, self.extra_ca.as_deref())
    }

    fn change_config(&self, registry: Arc<Registry>) -> ChangeConfig {
        let clock = Arc::clone(&self.ambient.clock);
        ChangeConfig::new(self.store(), registry, self.webhooks.clone(), clock)
    }

    /// The use cases behind the admin API.
    pub(super) fn administer(&self, config: &Config, registry: Arc<Registry>) -> Administer {
        Administer {
            config: self.change_config(registry),
            store: self.store(),
            operator: TenantId::new(config.admin.operator_tenant.as_str()),
        }
    }

    pub(super) fn list_payloads(&self, config: &Config, registry: Arc<Registry>) -> ListPayloads {
        ListPayloads {
            administer: self.administer(config, registry),
            store: self.payload_store(),
        }
    }

    pub(super) fn payload_store(&self) -> Arc<SqlPayloads> {
        Arc::new(SqlPayloads::new(self.db.clone()))
    }

    pub(super) fn conversations(&self, config: &Config) -> Arc<Conversations> {
        let store = Arc::new(SqlConversations::new(self.db.clone(), Arc::clone(&self.master)));
        let Ambient { clock, entropy, .. } = self.ambient.clone();
        Arc::new(Conversations::new(
            store,
            (clock, entropy),
            config.limits.max_body_bytes,
        ))
    }

    pub(super) fn fetching(&self, config: &Config) -> Arc<Fetching> {
        let fetch = &config.fetch;
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let rules = FetchRules {
            enabled: fetch.enabled,
            networks: fetch.allow_networks.clone(),
            max_bytes: bytes(fetch.max_bytes),
            timeout: Duration::from_secs(fetch.timeout_s),
        };
        let fetcher = Arc::new(HttpFetcher::new(rules, self.extra_ca.clone()));
        Arc::new(Fetching::new(
            fetcher,
            bytes(fetch.max_bytes),
            bytes(fetch.max_held_bytes),
        ))
    }

    pub(super) fn store(&self) -> Arc<SqlConfig> {
        Arc::new(SqlConfig::new(self.db.clone(), Arc::clone(&self.master)))
    }

    pub async fn close(self) {
        self.db.close().await;
    }
}

/// Whoever is told of anything: ends of jobs, budgets that run out.
fn webhooks(config: &Config, extra_ca: Option<Vec<u8>>) -> HttpWebhooks {
    let rules = WebhookRules::new(&config.jobs.webhook_hosts, config.jobs.webhook_networks.clone());
    HttpWebhooks::new(rules, extra_ca)
}

/// What `outbound.extra_ca` names, read here once for whoever calls out.
pub(super) fn extra_ca(config: &Config) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = &config.outbound.extra_ca else {
        return Ok(None);
    };
    let place = || format!("outbound.extra_ca: {}", path.display());
    let pem = std::fs::read(path).with_context(place)?;
    let certificates = Certificate::from_pem_bundle(&pem).with_context(place)?;
    anyhow::ensure!(!certificates.is_empty(), "{}: holds no certificate", place());
    Ok(Some(pem))
}
