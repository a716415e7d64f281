//! The composition root: the only place that picks adapters.

mod access_keys;
mod examine;
mod foundation;
mod jobs;
mod limits;
mod money;
mod provider;
mod replay;
mod serve;
mod shared;
mod strategies;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use serde_json::json;
use service_kit::Tasks;

pub use self::{
    examine::examine,
    foundation::{Ambient, Foundation},
    serve::serve,
};
use self::{money::Money, shared::Kept};
use crate::{
    adapters::{
        http::{self, App},
        journal::{Journal, JournalOptions},
        jwks::DiscoveredKeys,
        payload_log::{PayloadOptions, PayloadQueue},
        sql::SqlUsage,
        upstream::SystemResolver,
    },
    application::{
        access_keys::VerifySignature,
        conversations::Conversations,
        invoke::Invoke,
        list_models::ListModels,
        meters::Meters,
        pools::KeepPools,
        registry::Registry,
        revocations::{FollowRevocations, Revocations},
        snapshots::Snapshots,
        verify_token::VerifyToken,
    },
    config::Config,
    domain::interface::Capability,
    ports::{
        provider::ProviderKeys as _,
        usage::{UsageSink, UsageStore as _},
    },
};

fn keep_pools(snapshots: &Arc<Snapshots>, registry: Arc<Registry>) -> KeepPools {
    KeepPools {
        snapshots: snapshots.clone(),
        registry,
        resolver: Arc::new(SystemResolver),
        look_up_every: KeepPools::LOOK_UP_EVERY,
    }
}

fn list_models(snapshots: &Arc<Snapshots>) -> ListModels {
    let snapshots = snapshots.clone();
    ListModels { snapshots }
}

fn journal(config: &Config, foundation: &Foundation) -> anyhow::Result<Journal> {
    let options = JournalOptions {
        dir: config.usage.journal_dir(&config.database),
        cap_bytes: config.usage.journal_cap_bytes,
        ..JournalOptions::default()
    };
    let Ambient { clock, entropy } = &foundation.ambient;
    let store = Arc::new(SqlUsage::new(foundation.db.clone(), clock.clone()));
    Journal::open(options, store, entropy.as_ref()).context("usage.journal_dir")
}

fn payload_queue(config: &Config, foundation: &Foundation) -> PayloadQueue {
    let options = PayloadOptions {
        max_bytes: config.payload_log.max_bytes,
        queue_bytes: config.payload_log.queue_bytes,
        retention: config.payload_log.retention(),
    };
    let clock = Arc::clone(&foundation.ambient.clock);
    PayloadQueue::new(options, foundation.payload_store(), clock)
}

/// The gateway, ready to be served: by listeners, or by a test.
#[derive(Debug)]
pub struct Gateway {
    pub router: Router,
    pub snapshots: Arc<Snapshots>,
    pub journal: Arc<Journal>,
    payloads: Arc<PayloadQueue>,
    money: Money,
    pub conversations: Arc<Conversations>,
    pub foundation: Foundation,
    kept: Kept,
    keys: Arc<DiscoveredKeys>,
    revocations: Arc<Revocations>,
    pools: Arc<KeepPools>,
    follow: FollowRevocations,
    signatures: Arc<VerifySignature>,
    jobs: jobs::JobTasks,
}

impl Gateway {
    /// Wires everything.
    ///
    /// # Errors
    /// When the database, the master key or the journal cannot be used.
    pub async fn build(config: &Config, ambient: Ambient) -> anyhow::Result<Self> {
        let foundation = Foundation::lay(config, ambient).await?;
        let Ambient { clock, entropy } = foundation.ambient.clone();
        let registry = Arc::new(strategies::registry(
            &foundation.ambient,
            config.outbound.extra_ca.as_deref(),
        )?);
        let snapshots = Arc::new(Snapshots::new(foundation.store(), registry.clone(), clock.clone()));
        snapshots.refresh().await;
        let journal = Arc::new(journal(config, &foundation)?);
        let payloads = Arc::new(payload_queue(config, &foundation));
        let money = Money::build(&foundation, &config.usage, journal.node().clone())?;
        let conversations = foundation.conversations(config);
        let provider = provider::client(config)?;
        let keys = Arc::new(provider::keys(config, provider.clone()));
        let revocations = Arc::new(Revocations::default());
        let follow = provider::follow_revocations(config, &foundation, provider, &keys, &revocations)?;
        let kept = Kept::build(config, &foundation)?;
        let signatures = foundation.signatures(&config.access_keys, &kept.nonces, &snapshots, &revocations)?;
        let meters = Arc::new(Meters::new(&Capability::ALL));
        let jobs = jobs::build(config, &foundation)?;
        let app = App {
            jobs: jobs.clone(),
            verify_token: VerifyToken::new(
                keys.clone(),
                revocations.clone(),
                provider::possession(config, &foundation)?,
                provider::expected(config),
                clock.clone(),
                config.auth.token_cache_entries,
            ),
            verify_signature: signatures.clone(),
            invoke: Invoke {
                snapshots: snapshots.clone(),
                registry: registry.clone(),
                limits: kept.limits.limiter.clone(),
                replay: kept.answers.replay.clone(),
                usage: journal.clone(),
                payloads: payloads.clone(),
                budgets: money.budgets.clone(),
                conversations: conversations.clone(),
                meters: meters.clone(),
                tally: money.tally.clone(),
                entropy: entropy.clone(),
            },
            list_models: list_models(&snapshots),
            access_keys: foundation.administer_keys(config, &registry)?,
            conversations: conversations.clone(),
            administer: foundation.administer(config, registry.clone()),
            list_payloads: foundation.list_payloads(config, registry.clone()),
            report_usage: money.report(&foundation, foundation.administer(config, registry.clone())),
            snapshots: snapshots.clone(),
            meters,
            public_url: config.resource().trim_end_matches('/').to_owned(),
            metadata: provider::resource_metadata(config)?,
            capabilities: Capability::ALL.to_vec(),
            max_body_bytes: config.limits.max_body_bytes,
            started: clock.now().as_seconds(),
            clock,
        };
        let pools = Arc::new(keep_pools(&snapshots, registry));
        let jobs = foundation.job_tasks(config, jobs, app.invoke.clone(), &revocations);
        let router = http::router(Arc::new(app), entropy);
        Ok(Self {
            router,
            snapshots,
            journal,
            payloads,
            money,
            conversations,
            foundation,
            kept,
            keys,
            revocations,
            pools,
            follow,
            signatures,
            jobs,
        })
    }

    /// Starts what runs beside the requests. Usage is handed over until `records` stops, which has to
    /// come after the last reply.
    pub fn start(self: &Arc<Self>, tasks: &Tasks, records: &Tasks) {
        tasks.spawn(self.keys.clone().keep_fresh(tasks.clone()));
        tasks.spawn(self.follow.clone().run(tasks.clone()));
        tasks.spawn(self.follow.access_keys.clone().end_revoked(tasks.clone()));
        let (signatures, stop) = (self.signatures.clone(), tasks.clone());
        tasks.spawn(async move { signatures.note_uses(stop).await });
        let (snapshots, stop) = (self.snapshots.clone(), tasks.stop_token());
        tasks.spawn(async move { snapshots.follow(stop).await });
        self.kept.start(tasks, records);
        self.jobs.start(tasks);
        tasks.spawn(self.pools.clone().run(tasks.clone()));
        let (payloads, stop) = (self.payloads.clone(), records.stop_token());
        records.spawn(async move { payloads.follow(stop).await });
        self.money.start(tasks, &self.snapshots, &self.foundation.ambient.clock);
        let (conversations, stop) = (self.conversations.clone(), records.stop_token());
        records.spawn(async move { conversations.follow(stop).await });
        let (journal, stop) = (self.journal.clone(), records.stop_token());
        records.spawn(async move { journal.follow(stop).await });
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        if !self.keys.is_loaded() {
            return Err("the provider's keys were not loaded yet".to_owned());
        }
        if !self.revocations.was_asked() {
            return Err("the provider was not asked for revocations yet".to_owned());
        }
        self.snapshots.ready()?;
        match self.journal.status().refusing {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// Hands over the last usage records and gives back what budgets lent; `false` when the database did not take them in time, and
    /// then the next start does the rest. To be called after the last reply.
    pub async fn finish(&self, deadline: Duration) -> bool {
        // What is not counted by then is weighed.
        self.money.tally.finish(deadline).await;
        if !self.journal.finish(deadline).await {
            return false;
        }
        let ended = SqlUsage::new(self.foundation.db.clone(), self.foundation.ambient.clock.clone());
        let ended = tokio::time::timeout(deadline, async { ended.end_node(self.journal.node()).await });
        matches!(ended.await, Ok(Ok(())))
    }

    /// For `/status`.
    pub fn status(&self) -> serde_json::Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "config": self.snapshots.status(),
            "usage": self.journal.status(),
            "limits": self.kept.limits.limiter.status(),
            "nonces": self.kept.nonces.status(),
            "answers": self.kept.answers.status(),
            "vendors": self.pools.status(self.foundation.ambient.clock.now()),
            "provider": {
                "keys_loaded": self.keys.is_loaded(),
                "revocations": self.revocations.len(),
                "revocations_asked": self.revocations.was_asked(),
                "revocations_error": self.revocations.error().map(|error| error.to_string()),
            },
        })
    }
}
