//! The composition root: the only place that picks adapters.

mod examine;
mod foundation;
mod listeners;
mod services;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::Router;
use serde_json::json;
use service_kit::{
    Clock, Entropy, SystemClock, SystemEntropy, Tasks, Timestamp,
    config::{ConfigError, Settings as _},
    health::Management,
    tasks::termination_signal,
    telemetry,
};

use listeners::Listeners;
use services::{ciba_pings, logout_deliveries, services};

pub use examine::examine;
pub use foundation::Foundation;

use crate::{
    adapters::http::{self},
    application::{
        authenticate_client::ClientDirectory,
        ciba_pings::CibaPings,
        delivery_lanes::Lanes,
        keep_house::KeepHouse,
        keyring::Keyring,
        logout_delivery::LogoutDeliveries,
        register::{Register, cimd::MetadataDocuments},
    },
    config::Config,
    domain::client::SigningAlg,
    ports::{
        outbound::Outbound,
        store::{Revisions as _, Transactions as _},
    },
};

/// How often a node looks for what other nodes and commands have changed. Revocations reach the gateways within a second, so this is a
/// fraction of one.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// How often a node looks for news of logouts and of decisions that nobody has taken.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);
/// How often ended rows are removed, and how many of each kind at a time.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(15);
/// How often a node looks whether signing keys are due.
const KEY_INTERVAL: Duration = Duration::from_secs(60);
const HOUSEKEEPING_BATCH: u32 = 1000;
const HOUSEKEEPING_PAUSE: Duration = Duration::from_millis(20);
/// A node that has not seen what others changed for this long must not be asked: it may honour what was revoked.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Where time and randomness come from, and the way out.
#[derive(Debug, Clone)]
pub struct Ambient {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// In place of the guarded client that the configuration describes.
    pub outbound: Option<Arc<dyn Outbound>>,
}

impl Default for Ambient {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            outbound: None,
        }
    }
}

/// The provider, ready to be served: by listeners, or by a test without sockets.
pub struct Provider {
    pub router: Router,
    pub foundation: Foundation,
    keyring: Arc<Keyring>,
    clients: ClientDirectory,
    /// The news of ended sessions, on its way to applications.
    pub logouts: LogoutDeliveries,
    /// The news of decisions, likewise.
    pub pings: CibaPings,
    /// The room that both share.
    lanes: Arc<Lanes>,
    register: Register,
    /// Background work, which a shutdown stops and waits for.
    pub tasks: Tasks,
    /// When it was last in step with the store, in microseconds.
    synced_at: AtomicI64,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

impl Provider {
    /// Wires everything.
    ///
    /// # Errors
    /// When the database, the master key or the signing keys cannot be used.
    pub async fn build(config: &Config, ambient: Ambient) -> anyhow::Result<Self> {
        if let problems @ [_, ..] = config.problems().as_slice() {
            return Err(ConfigError::Invalid(problems.to_vec()).into());
        }
        Self::assemble(Foundation::lay(config, ambient).await?).await
    }

    /// As [`Provider::build`], on a foundation that has been laid: a caller may have put keys and rows there first.
    ///
    /// # Errors
    /// When the store or the signing keys cannot be used.
    pub async fn assemble(foundation: Foundation) -> anyhow::Result<Self> {
        let clock = foundation.ambient.clock.clone();
        let (master, algs) = (foundation.master.clone(), foundation.policy.signing_algs.clone());
        let keyring = Keyring::load(foundation.store.clone(), clock, master, algs).await?;
        let keyring = Arc::new(keyring);
        foundation.revocations.refresh().await?;
        let synced_at = AtomicI64::new(foundation.ambient.clock.now().as_micros());
        let documents = MetadataDocuments {
            policy: foundation.policy.clone(),
            documents: foundation.documents.clone(),
        };
        let clients = ClientDirectory::new(foundation.store.clone(), Some(documents));
        let tasks = Tasks::default();
        let lanes = Arc::new(Lanes::default());
        let logouts = logout_deliveries(&foundation, &keyring, &clients, (&lanes, &tasks));
        let pings = ciba_pings(&foundation, &clients, (&lanes, &tasks))?;
        let services = services(&foundation, &keyring, &clients, (&logouts, &pings), &tasks)?;
        Ok(Self {
            register: services.register.clone(),
            router: http::router(Arc::new(services)),
            foundation,
            keyring,
            clients,
            logouts,
            pings,
            lanes,
            tasks,
            synced_at,
        })
    }

    /// Notices what other nodes and commands have changed.
    ///
    /// # Errors
    /// When the store fails; what is known stays in use.
    pub async fn sync(&self, seen: &mut i64) -> anyhow::Result<()> {
        let begun = self.foundation.ambient.clock.now();
        self.foundation.revocations.refresh().await?;
        let revision = self.foundation.store.current_revision().await?;
        if revision != *seen {
            self.clients.invalidate();
            self.keyring.reload().await?;
            *seen = revision;
        } else if self.keyring.is_stale() {
            self.keyring.reload().await?;
        }
        self.synced_at.store(begun.as_micros(), Ordering::Relaxed);
        Ok(())
    }

    async fn keep_in_sync(self: Arc<Self>, tasks: Tasks) {
        let mut seen = 0;
        let mut failing = false;
        loop {
            match self.sync(&mut seen).await {
                Ok(()) => failing = false,
                // Once per outage: the line would come five times a second.
                Err(error) if !failing => {
                    tracing::warn!(%error, "changes by other nodes cannot be read; what is known stays in use");
                    failing = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(SYNC_INTERVAL) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn keep_house(self: Arc<Self>, tasks: Tasks) {
        let house = KeepHouse {
            store: self.foundation.store.clone(),
            clock: self.foundation.ambient.clock.clone(),
            keep: self.foundation.policy.lifetimes.max_access_token,
            batch: HOUSEKEEPING_BATCH,
            pause: HOUSEKEEPING_PAUSE,
        };
        let round = async || {
            tokio::time::sleep(HOUSEKEEPING_INTERVAL).await;
            self.expire_unused_clients().await;
            house.tidy().await
        };
        loop {
            let tidied = tokio::select! {
                tidied = round() => tidied,
                () = tasks.stopping() => return,
            };
            if tidied.rows > 0 {
                tracing::debug!(rows = tidied.rows, "ended rows were removed");
            }
            for (kind, error) in tidied.failures {
                tracing::warn!(kind, %error, "ended rows could not be removed");
            }
        }
    }

    async fn expire_unused_clients(&self) {
        match self.register.expire_unused().await {
            Ok(0) => {}
            Ok(clients) => tracing::info!(clients, "clients that nobody used were removed"),
            Err(error) => tracing::warn!(%error, "clients that nobody uses could not be removed"),
        }
    }

    async fn deliver_news(self: Arc<Self>, tasks: Tasks) {
        let mut failing = false;
        loop {
            // The news of a decision first: somebody is waiting for it.
            let sent = match self.pings.send_due().await {
                Ok(_) => self.logouts.send_due().await,
                failed => failed,
            };
            match sent {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(%error, "news of logouts and decisions cannot be read; it waits");
                    failing = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(NEWS_INTERVAL) => {}
                // More may be due than there was room for.
                () = self.lanes.freed() => {}
                () = tasks.stopping() => return,
            }
        }
    }

    /// Exchanges signing keys when their time has come. This node reads the new ones as it reads every change.
    async fn keep_keys(self: Arc<Self>, tasks: Tasks) {
        loop {
            match self.foundation.key_factory.rotate_due().await {
                Ok(rotated) if rotated.is_empty() => {}
                Ok(rotated) => {
                    let algorithms = SigningAlg::listed(&rotated);
                    tracing::info!(algorithms, "the signing keys of these algorithms were rotated");
                }
                Err(error) => tracing::warn!(%error, "signing keys that are due could not be rotated"),
            }
            tokio::select! {
                () = tokio::time::sleep(KEY_INTERVAL) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    /// When this node last read what other nodes and commands have changed.
    pub fn synced_at(&self) -> Timestamp {
        Timestamp::from_micros(self.synced_at.load(Ordering::Relaxed))
    }

    /// Why the node must not be asked now, if there is a reason.
    ///
    /// # Errors
    /// The reason.
    pub async fn readiness(&self) -> Result<(), String> {
        self.foundation.store.ping().await.map_err(|error| error.to_string())?;
        let age = self.foundation.ambient.clock.now().since(self.synced_at());
        if age > STALE_AFTER {
            return Err(format!(
                "changes by other nodes, revocations included, were last read {} s ago",
                age.as_secs()
            ));
        }
        Ok(())
    }
}

/// Serves until SIGINT or SIGTERM. `ready_file` gets the bound addresses as JSON once both listeners accept connections.
///
/// # Errors
/// When the provider cannot start.
pub async fn serve(config: Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let provider = Arc::new(Provider::build(&config, Ambient::default()).await?);
    let listeners = Listeners::bind(&config).await?;
    let addresses = listeners.addresses();
    let tasks = provider.tasks.clone();
    let grace = Duration::from_secs(config.shutdown_grace_s);
    let health = health(&provider, metrics);
    let router = provider.router.clone();
    tasks.spawn(provider.clone().keep_in_sync(tasks.clone()));
    tasks.spawn(provider.clone().keep_house(tasks.clone()));
    tasks.spawn(provider.clone().deliver_news(tasks.clone()));
    tasks.spawn(provider.clone().keep_keys(tasks.clone()));
    listeners.serve(&router, health.router(), &tasks, grace);
    if let Some(path) = ready_file {
        std::fs::write(path, addresses.to_string()).with_context(|| format!("ready file {}", path.display()))?;
    }
    tracing::info!(%addresses, issuer = %config.issuer, "auth-server is ready");
    termination_signal().await?;
    tracing::info!("stopping");
    if !tasks.drain(grace + Duration::from_secs(1)).await {
        tracing::warn!("some work was still under way when the grace period ended");
    }
    provider.foundation.store.close().await;
    Ok(())
}

fn health(provider: &Arc<Provider>, metrics: telemetry::PrometheusHandle) -> Management {
    let (ready, status) = (provider.clone(), provider.clone());
    Management::new(
        metrics,
        move || {
            let provider = ready.clone();
            async move { provider.readiness().await }
        },
        move || {
            let provider = status.clone();
            async move {
                let revision = provider.foundation.store.current_revision().await;
                let age = provider.foundation.ambient.clock.now().since(provider.synced_at());
                let waiting = provider.logouts.waiting().await;
                let pings = provider.pings.waiting().await;
                json!({
                    "version": env!("CARGO_PKG_VERSION"),
                    "issuer": provider.foundation.policy.issuer,
                    "revision": revision.ok(),
                    "synced_at": provider.synced_at().as_seconds(),
                    "sync_age_ms": u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                    "revocations": provider.foundation.revocations.feed().len(),
                    "logout_deliveries": waiting.ok(),
                    "ciba_notifications": pings.ok(),
                })
            }
        },
    )
}
