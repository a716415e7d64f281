//! The composition root: the only place that picks adapters.

mod access_keys;
mod examine;
mod foundation;
mod jobs;
mod limits;
mod money;
mod provider;
mod records;
mod replay;
mod serve;
mod shared;
mod strategies;

use std::{sync::Arc, time::Duration};

use axum::Router;
use serde_json::json;
use service_kit::{BoundListener, Clock, Tasks};

pub use self::{
    examine::examine,
    foundation::{Ambient, Foundation},
    serve::serve,
    strategies::registry,
};
use self::{money::Money, provider::Provider, records::Records, shared::Kept};
use crate::{
    adapters::{
        http::{self, App},
        journal::Journal,
        upstream::SystemResolver,
    },
    application::{
        access_keys::VerifySignature, conversations::Conversations, invoke::Invoke, list_models::ListModels,
        meters::Meters, pools::KeepPools, registry::Registry, snapshots::Snapshots, vendor_models::ListVendorModels,
    },
    config::Config,
    domain::interface::Capability,
    ports::usage::UsageSink,
};

fn keep_pools(snapshots: &Arc<Snapshots>, registry: Arc<Registry>, clock: Arc<dyn Clock>) -> KeepPools {
    KeepPools {
        snapshots: snapshots.clone(),
        registry,
        resolver: Arc::new(SystemResolver),
        clock,
        look_up_every: KeepPools::LOOK_UP_EVERY,
    }
}

fn list_models(snapshots: &Arc<Snapshots>) -> ListModels {
    let snapshots = snapshots.clone();
    ListModels { snapshots }
}

/// The gateway, ready to be served: by listeners, or by a test.
#[derive(Debug)]
pub struct Gateway {
    pub router: Router,
    pub snapshots: Arc<Snapshots>,
    pub journal: Arc<Journal>,
    records: Records,
    money: Money,
    pub conversations: Arc<Conversations>,
    pub foundation: Foundation,
    kept: Kept,
    provider: Provider,
    pools: Arc<KeepPools>,
    signatures: Arc<VerifySignature>,
    jobs: jobs::JobTasks,
    /// What goes on when requests are over.
    background: Tasks,
}

impl Gateway {
    /// Wires everything.
    ///
    /// # Errors
    /// When the database, the master key or the journal cannot be used.
    pub async fn build(config: &Config, ambient: Ambient) -> anyhow::Result<Self> {
        let foundation = Foundation::lay(config, ambient).await?;
        let Ambient { clock, entropy, .. } = foundation.ambient.clone();
        let registry = Arc::new(foundation.registry()?);
        let snapshots = Arc::new(Snapshots::new(foundation.store(), registry.clone(), clock.clone()));
        snapshots.refresh().await;
        let records = Records::build(config, &foundation)?;
        let money = Money::build(&foundation, &config.usage, records.journal.node().clone())?;
        let conversations = foundation.conversations(config);
        let provider = Provider::build(config, &foundation)?;
        let revocations = &provider.revocations;
        let kept = Kept::build(config, &foundation)?;
        let signatures = foundation.signatures(&config.access_keys, &kept.nonces, &snapshots, revocations)?;
        let meters = Arc::new(Meters::new(&Capability::ALL));
        let jobs = jobs::build(config, &foundation)?;
        let background = Tasks::default();
        let app = App {
            jobs: jobs.clone(),
            verify_token: provider.verify_token(config, &foundation)?,
            verify_signature: signatures.clone(),
            invoke: Invoke {
                snapshots: snapshots.clone(),
                registry: registry.clone(),
                limits: kept.limits.limiter.clone(),
                replay: kept.answers.replay.clone(),
                usage: records.journal.clone(),
                payloads: records.payloads.clone(),
                budgets: money.budgets.clone(),
                conversations: conversations.clone(),
                meters: meters.clone(),
                tally: money.tally.clone(),
                entropy: entropy.clone(),
                fetching: foundation.fetching(config),
                background: background.clone(),
            },
            list_models: list_models(&snapshots),
            access_keys: foundation.administer_keys(config, &registry)?,
            conversations: conversations.clone(),
            administer: foundation.administer(config, registry.clone()),
            vendor_models: ListVendorModels {
                administer: foundation.administer(config, registry.clone()),
                snapshots: snapshots.clone(),
                registry: registry.clone(),
                clock: clock.clone(),
            },
            list_payloads: foundation.list_payloads(config, registry.clone()),
            report_usage: money.report(&foundation, foundation.administer(config, registry.clone())),
            snapshots: snapshots.clone(),
            meters,
            public_url: config.base_url().to_owned(),
            metadata: provider::resource_metadata(config)?,
            capabilities: Capability::ALL.to_vec(),
            max_body_bytes: config.limits.max_body_bytes,
            started: clock.now().as_seconds(),
            clock: clock.clone(),
        };
        let pools = Arc::new(keep_pools(&snapshots, registry, clock));
        let jobs = foundation.job_tasks(config, jobs, app.invoke.clone(), revocations);
        let router = http::router(Arc::new(app), entropy);
        Ok(Self {
            router,
            snapshots,
            journal: records.journal.clone(),
            records,
            money,
            conversations,
            foundation,
            kept,
            provider,
            pools,
            signatures,
            jobs,
            background,
        })
    }

    /// Starts what runs beside the requests. Usage is handed over until `records` stops, which has to
    /// come after the last reply.
    pub fn start(self: &Arc<Self>, tasks: &Tasks, records: &Tasks) {
        self.provider.start(tasks);
        let (signatures, stop) = (self.signatures.clone(), tasks.clone());
        tasks.spawn(async move { signatures.note_uses(stop).await });
        let (snapshots, stop) = (self.snapshots.clone(), tasks.stop_token());
        tasks.spawn(async move { snapshots.follow(stop).await });
        self.kept.start(tasks, records);
        self.jobs.start(tasks);
        tasks.spawn(self.pools.clone().run(tasks.clone()));
        self.money.start(tasks, &self.snapshots, &self.foundation.ambient.clock);
        let (conversations, stop) = (self.conversations.clone(), records.stop_token());
        records.spawn(async move { conversations.follow(stop).await });
        self.records.start(records);
    }

    /// Answers callers. Usage of which they may see the end is saved before they do.
    pub fn serve_on(&self, listener: BoundListener, tasks: &Tasks, grace: Duration) {
        let journal = Arc::clone(&self.journal);
        let listener = listener.before_writes(move || journal.flush());
        tasks.spawn(listener.serve(self.router.clone(), tasks.clone(), grace));
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.provider.ready()?;
        self.snapshots.ready()?;
        self.records.ready()
    }

    /// Hands over the last usage records and gives back what budgets lent; `false` when the database did not take them in time, and
    /// then the next start does the rest. To be called after the last reply.
    pub async fn finish(&self, deadline: Duration) -> bool {
        self.background.drain(deadline).await;
        // What is not counted by then is weighed.
        self.money.tally.finish(deadline).await;
        self.records.finish(deadline).await
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
            "provider": self.provider.status(),
        })
    }
}
