//! What every command needs: the database and the master key.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use service_kit::{Clock, Entropy, SystemClock, SystemEntropy};
use sql_kit::{Db, Options};
use token_keys::MasterKey;

use super::{provider, strategies};
use crate::{
    adapters::{
        secrets::MachineSecrets,
        sql::{MIGRATIONS, SqlConfig, SqlConversations, SqlPayloads},
        webhooks::{HttpWebhooks, WebhookRules},
    },
    application::{
        administer::Administer, apply::ApplyDocument, change_config::ChangeConfig, conversations::Conversations,
        list_payloads::ListPayloads, registry::Registry, snapshots::Snapshots,
    },
    config::Config,
    domain::ids::TenantId,
};

/// Where time and randomness come from.
#[derive(Debug, Clone)]
pub struct Ambient {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Ambient {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

/// What every command needs: the database and the master key.
#[derive(Debug)]
pub struct Foundation {
    pub ambient: Ambient,
    pub(super) db: Db,
    pub(super) master: Arc<MasterKey>,
    pub(super) webhooks: Arc<HttpWebhooks>,
}

impl Foundation {
    /// Connects, migrates, and loads the master key.
    ///
    /// # Errors
    /// When the database or the master key cannot be used.
    pub async fn lay(config: &Config, ambient: Ambient) -> anyhow::Result<Self> {
        let master = Arc::new(MasterKey::load_or_create(&config.keys.dir)?);
        let options = Options {
            postgres_connections: config.database.max_connections,
            application_name: "hexgate resource-gateway".into(),
            ..Options::default()
        };
        let db = Db::connect(&config.database.url, &options)
            .await
            .context("database.url")?;
        db.migrate(&MIGRATIONS)
            .await
            .context("the schema could not be migrated")?;
        Ok(Self {
            ambient,
            db,
            master,
            webhooks: Arc::new(webhooks(config)?),
        })
    }

    /// The use case behind `apply`.
    ///
    /// # Errors
    /// When the strategies cannot be set up.
    pub fn apply(&self) -> anyhow::Result<ApplyDocument> {
        let registry = Arc::new(strategies::registry(&self.ambient, None)?);
        Ok(ApplyDocument::new(
            self.change_config(registry),
            Arc::new(MachineSecrets),
        ))
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
        let Ambient { clock, entropy } = self.ambient.clone();
        Arc::new(Conversations::new(
            store,
            (clock, entropy),
            config.limits.max_body_bytes,
        ))
    }

    pub(super) fn store(&self) -> Arc<SqlConfig> {
        Arc::new(SqlConfig::new(self.db.clone(), Arc::clone(&self.master)))
    }

    /// # Errors
    /// The database does not answer.
    pub async fn check_database(&self) -> anyhow::Result<String> {
        self.db.ping().await?;
        Ok("answers, schema up to date".to_owned())
    }

    /// # Errors
    /// What is stored would not be published.
    pub async fn check_snapshot(&self) -> anyhow::Result<String> {
        let registry = Arc::new(strategies::registry(&self.ambient, None)?);
        let snapshots = Snapshots::new(self.store(), registry, Arc::clone(&self.ambient.clock));
        snapshots.refresh().await;
        snapshots.ready().map_err(anyhow::Error::msg)?;
        let snapshot = snapshots.current();
        let (interfaces, vendors) = (snapshot.interfaces().count(), snapshot.vendors().count());
        Ok(format!(
            "{interfaces} interfaces and {vendors} vendors at revision {}",
            snapshot.revision()
        ))
    }

    /// # Errors
    /// The journal cannot be written.
    pub fn check_journal(&self, config: &Config) -> anyhow::Result<String> {
        let dir = config.usage.journal_dir(&config.database);
        std::fs::create_dir_all(&dir)
            .and_then(|()| tempfile_in(&dir, self.ambient.entropy.as_ref()))
            .with_context(|| dir.display().to_string())?;
        Ok(format!("{} can be written", dir.display()))
    }

    /// # Errors
    /// The provider's keys cannot be loaded.
    pub async fn check_provider(&self, config: &Config) -> anyhow::Result<String> {
        let keys = provider::keys(config, provider::client(config)?);
        keys.refresh().await?;
        Ok(format!("{} publishes keys", config.auth.issuer))
    }

    pub async fn close(self) {
        self.db.close().await;
    }
}

/// Whoever is told of anything: ends of jobs, budgets that run out.
fn webhooks(config: &Config) -> anyhow::Result<HttpWebhooks> {
    let extra_ca = match &config.outbound.extra_ca {
        None => None,
        Some(path) => Some(std::fs::read(path).with_context(|| format!("outbound.extra_ca {}", path.display()))?),
    };
    let rules = WebhookRules::new(&config.jobs.webhook_hosts, config.jobs.webhook_networks.clone());
    Ok(HttpWebhooks::new(rules, extra_ca))
}

/// Writes a file and removes it.
fn tempfile_in(dir: &Path, entropy: &dyn Entropy) -> std::io::Result<()> {
    let path = dir.join(format!("doctor-{}", entropy.id()));
    std::fs::write(&path, b"")?;
    std::fs::remove_file(path)
}
