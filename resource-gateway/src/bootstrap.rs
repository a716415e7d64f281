//! The composition root: the only place that picks adapters.

mod access_keys;
mod jobs;
pub(crate) mod limits;
mod money;
mod replay;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use serde_json::json;
use service_kit::{
    BoundListener, Clock, Entropy, SystemClock, SystemEntropy, Tasks, TlsConfig, health::Management,
    tasks::termination_signal, telemetry,
};
use sql_kit::{Db, Options};
use token_keys::{DpopNonces, MasterKey};

use self::{limits::Limits, money::Money};
use crate::{
    adapters::{
        auth_schemes::{Bearer, Unsigned},
        dialects::{
            normalised::Normalised,
            openai::{
                OpenAiChat, OpenAiEmbeddings, OpenAiImages, OpenAiModerations, OpenAiSpeech, OpenAiTranscription,
            },
        },
        http::{self, App, ResourceMetadata},
        journal::{Journal, JournalOptions},
        jwks::DiscoveredKeys,
        payload_log::{PayloadOptions, PayloadQueue},
        revocation_feed::{FeedCredential, HttpRevocationFeed},
        sandbox::Sandbox,
        secrets::MachineSecrets,
        sql::{MIGRATIONS, SqlConfig, SqlConversations, SqlPayloads, SqlUsage},
        upstream::{HyperTransport, SystemResolver},
    },
    application::{
        access_keys::{KeyUpkeep, VerifySignature},
        administer::Administer,
        apply::ApplyDocument,
        change_config::ChangeConfig,
        check_possession::CheckPossession,
        conversations::Conversations,
        invoke::Invoke,
        list_models::ListModels,
        meters::Meters,
        pools::KeepPools,
        registry::{Profile, Registry},
        revocations::{FollowRevocations, Revocations},
        snapshots::Snapshots,
        verify_token::VerifyToken,
    },
    config::Config,
    domain::{
        caller::Expected,
        ids::TenantId,
        interface::Capability,
        snapshot::{Need, StrategyFacts},
        vendor::BaseUrl,
    },
    ports::{
        codec::Codec,
        provider::ProviderKeys,
        transport::Transport,
        usage::{UsageSink, UsageStore as _},
    },
};

/// What this version can do.
const CAPABILITIES: [Capability; 10] = [
    Capability::Chat,
    Capability::Embeddings,
    Capability::Transcription,
    Capability::Speech,
    Capability::Image,
    Capability::Ocr,
    Capability::Labels,
    Capability::Faces,
    Capability::Moderation,
    Capability::Rerank,
];
/// The provider has this long to answer; it is close by.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
/// What the database has not taken by then waits in the journal for the next start.
const LAST_RECORDS: Duration = Duration::from_secs(3);

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
    db: Db,
    master: Arc<MasterKey>,
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
        Ok(Self { ambient, db, master })
    }

    /// The use case behind `apply`.
    ///
    /// # Errors
    /// When the strategies cannot be set up.
    pub fn apply(&self) -> anyhow::Result<ApplyDocument> {
        let registry = Arc::new(registry(&self.ambient, None)?);
        let config = ChangeConfig::new(self.store(), registry, Arc::clone(&self.ambient.clock));
        Ok(ApplyDocument::new(config, Arc::new(MachineSecrets)))
    }

    /// The use cases behind the admin API.
    fn administer(&self, config: &Config, registry: Arc<Registry>) -> Administer {
        let store = self.store();
        Administer {
            config: ChangeConfig::new(store.clone(), registry, Arc::clone(&self.ambient.clock)),
            store,
            operator: TenantId::new(config.admin.operator_tenant.as_str()),
        }
    }

    fn payload_store(&self) -> Arc<SqlPayloads> {
        Arc::new(SqlPayloads::new(self.db.clone()))
    }

    fn conversations(&self, config: &Config) -> Arc<Conversations> {
        let store = Arc::new(SqlConversations::new(self.db.clone()));
        let Ambient { clock, entropy } = self.ambient.clone();
        Arc::new(Conversations::new(
            store,
            (clock, entropy),
            config.limits.max_body_bytes,
        ))
    }

    fn store(&self) -> Arc<SqlConfig> {
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
        let registry = Arc::new(registry(&self.ambient, None)?);
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
        let keys = provider_keys(config, provider_client(config)?);
        keys.refresh().await?;
        Ok(format!("{} publishes keys", config.auth.issuer))
    }

    pub async fn close(self) {
        self.db.close().await;
    }
}

/// Writes a file and removes it.
fn tempfile_in(dir: &Path, entropy: &dyn Entropy) -> std::io::Result<()> {
    let path = dir.join(format!("doctor-{}", entropy.id()));
    std::fs::write(&path, b"")?;
    std::fs::remove_file(path)
}

/// Every strategy of this version: the one place that knows their names.
fn registry(ambient: &Ambient, extra_ca: Option<&Path>) -> anyhow::Result<Registry> {
    let openai = openai_codecs();
    let sandbox: Vec<_> = openai.iter().cloned().chain(normalised_codecs()).collect();
    let http: Arc<dyn Transport> = Arc::new(HyperTransport::new(extra_ca)?);
    let facts = |codecs: &[(Capability, Arc<dyn Codec>)], base_url, pool, secret_key| StrategyFacts {
        capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
        base_url,
        pool,
        app_id: Need::Unused,
        secret_id: Need::Unused,
        secret_key,
    };
    Ok(Registry::new(vec![
        Profile {
            name: "openai",
            facts: facts(&openai, Need::Optional, Need::Optional, Need::Optional),
            codecs: openai,
            scheme: Arc::new(Bearer),
            transport: http,
            default_base_url: Some(BaseUrl::parse("https://api.openai.com/v1")?),
        },
        Profile {
            name: "sandbox",
            facts: facts(&sandbox, Need::Unused, Need::Unused, Need::Unused),
            codecs: sandbox,
            scheme: Arc::new(Unsigned),
            transport: Arc::new(Sandbox::new(Arc::clone(&ambient.clock))),
            // Nothing is sent there; the name is reserved for that (RFC 2606 §2).
            default_base_url: Some(BaseUrl::parse("http://sandbox.invalid")?),
        },
    ]))
}

/// What OpenAI's format has a request for.
fn openai_codecs() -> Vec<(Capability, Arc<dyn Codec>)> {
    vec![
        (Capability::Chat, Arc::new(OpenAiChat)),
        (Capability::Embeddings, Arc::new(OpenAiEmbeddings)),
        (Capability::Transcription, Arc::new(OpenAiTranscription)),
        (Capability::Speech, Arc::new(OpenAiSpeech)),
        (Capability::Image, Arc::new(OpenAiImages)),
        (Capability::Moderation, Arc::new(OpenAiModerations)),
    ]
}

/// What it has none for.
fn normalised_codecs() -> Vec<(Capability, Arc<dyn Codec>)> {
    vec![
        (Capability::Ocr, Arc::new(Normalised::OCR)),
        (Capability::Labels, Arc::new(Normalised::LABELS)),
        (Capability::Faces, Arc::new(Normalised::FACES)),
        (Capability::Rerank, Arc::new(Normalised::RERANK)),
    ]
}

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

fn provider_client(config: &Config) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(PROVIDER_TIMEOUT)
        .connect_timeout(PROVIDER_TIMEOUT / 2)
        .tcp_nodelay(true)
        // The provider has no reason to send us elsewhere, and the feed's credential must not go there.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &config.outbound.extra_ca {
        let pem = std::fs::read(path).with_context(|| format!("outbound.extra_ca {}", path.display()))?;
        for certificate in reqwest::Certificate::from_pem_bundle(&pem).context("outbound.extra_ca")? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder.build()?)
}

fn provider_keys(config: &Config, client: reqwest::Client) -> DiscoveredKeys {
    let refresh = Duration::from_secs(config.auth.jwks_refresh_s);
    DiscoveredKeys::new(config.auth.issuer.clone(), client, refresh)
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

/// Whom tokens must come from and be meant for.
fn expected(config: &Config) -> Expected {
    Expected {
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
        leeway: i64::from(config.auth.leeway_s),
    }
}

/// The way on which the provider tells of tokens that have ended.
fn revocation_feed(
    config: &Config,
    foundation: &Foundation,
    provider: reqwest::Client,
    keys: Arc<DiscoveredKeys>,
) -> anyhow::Result<HttpRevocationFeed> {
    let credential = match config.auth.client().context("auth.client_secret_file")? {
        Some((client_id, client_secret)) => FeedCredential::Client {
            client_id,
            client_secret,
        },
        None => FeedCredential::Service(foundation.master.service_credential("events-poll")?),
    };
    let node = foundation.ambient.entropy.id();
    Ok(HttpRevocationFeed::new(
        config.auth.issuer.clone(),
        &node,
        provider,
        credential,
        keys,
    ))
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
    limits: Limits,
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
        let registry = Arc::new(registry(&foundation.ambient, config.outbound.extra_ca.as_deref())?);
        let snapshots = Arc::new(Snapshots::new(foundation.store(), registry.clone(), clock.clone()));
        snapshots.refresh().await;
        let journal = Arc::new(journal(config, &foundation)?);
        let payloads = Arc::new(payload_queue(config, &foundation));
        let money = Money::build(&foundation, &config.usage, journal.node().clone());
        let conversations = foundation.conversations(config);
        let provider = provider_client(config)?;
        let keys = Arc::new(provider_keys(config, provider.clone()));
        let revocations = Arc::new(Revocations::default());
        let follow = follow_revocations(config, &foundation, provider, &keys, &revocations)?;
        let signatures = foundation.signatures(&config.access_keys, &snapshots, &revocations)?;
        let meters = Arc::new(Meters::new(&CAPABILITIES));
        let limits = Limits::build(config, &foundation.ambient)?;
        let jobs = jobs::build(config, &foundation)?;
        let app = App {
            jobs: jobs.clone(),
            verify_token: VerifyToken::new(
                keys.clone(),
                revocations.clone(),
                possession(config, &foundation)?,
                expected(config),
                clock.clone(),
                config.auth.token_cache_entries,
            ),
            verify_signature: signatures.clone(),
            invoke: Invoke {
                snapshots: snapshots.clone(),
                registry: registry.clone(),
                limits: limits.limiter.clone(),
                replay: replay::replay(config),
                usage: journal.clone(),
                payloads: payloads.clone(),
                budgets: money.budgets.clone(),
                conversations: conversations.clone(),
                meters: meters.clone(),
                entropy: entropy.clone(),
            },
            list_models: list_models(&snapshots),
            access_keys: foundation.administer_keys(config, &registry)?,
            conversations: conversations.clone(),
            administer: foundation.administer(config, registry.clone()),
            payloads: foundation.payload_store(),
            report_usage: money.report(&foundation, foundation.administer(config, registry.clone())),
            snapshots: snapshots.clone(),
            meters,
            public_url: config.resource().trim_end_matches('/').to_owned(),
            metadata: resource_metadata(config)?,
            capabilities: CAPABILITIES.to_vec(),
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
            limits,
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
        self.limits.start(tasks, records);
        self.jobs.start(tasks);
        tasks.spawn(self.pools.clone().run(tasks.clone()));
        let (payloads, stop) = (self.payloads.clone(), records.stop_token());
        records.spawn(async move { payloads.follow(stop).await });
        self.money.start(tasks, &self.snapshots);
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
            "limits": self.limits.limiter.status(),
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

/// Serves until SIGINT or SIGTERM. `ready_file` gets the bound addresses as JSON once the gateway is ready.
///
/// # Errors
/// When the gateway cannot start.
pub async fn serve(config: Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let gateway = Arc::new(Gateway::build(&config, Ambient::default()).await?);
    let public = BoundListener::bind(config.listen, &config.tls)
        .await?
        .with_limits(config.connections.limits())
        .with_peer_rules(Arc::new(config.peer_rules()));
    let management = BoundListener::bind(config.management_listen, &TlsConfig::default()).await?;
    let (public_address, management_address) = (public.address(), management.address());
    let (tasks, records) = (Tasks::default(), Tasks::default());
    let grace = Duration::from_secs(config.shutdown_grace_s);
    gateway.start(&tasks, &records);
    tasks.spawn(public.serve(gateway.router.clone(), tasks.clone(), grace));
    tasks.spawn(management.serve(health(&gateway, metrics).router(), tasks.clone(), grace));
    tracing::info!(
        listen = %public_address,
        management = %management_address,
        issuer = %config.auth.issuer,
        "resource-gateway is listening"
    );
    let told = announce(
        &gateway,
        ready_file.map(|path| {
            let addresses = json!({"listen": public_address.to_string(), "management": management_address.to_string()});
            (path, addresses.to_string())
        }),
    );
    tokio::select! {
        told = told => {
            told?;
            termination_signal().await?;
        }
        signal = termination_signal() => signal?,
    }
    tracing::info!("stopping");
    if !tasks.drain(grace + Duration::from_secs(1)).await {
        tracing::warn!("some work was still under way when the grace period ended");
    }
    records.drain(LAST_RECORDS).await;
    if !gateway.finish(LAST_RECORDS).await {
        tracing::warn!("the database did not take all usage records; the next start hands them over");
    }
    gateway.foundation.db.close().await;
    Ok(())
}

fn follow_revocations(
    config: &Config,
    foundation: &Foundation,
    provider: reqwest::Client,
    keys: &Arc<DiscoveredKeys>,
    revocations: &Arc<Revocations>,
) -> anyhow::Result<FollowRevocations> {
    let feed = revocation_feed(config, foundation, provider, keys.clone())?;
    Ok(FollowRevocations {
        feed: Arc::new(feed),
        keys: keys.clone(),
        revocations: revocations.clone(),
        access_keys: Arc::new(KeyUpkeep::new(foundation.key_store())),
        clock: foundation.ambient.clock.clone(),
    })
}

fn resource_metadata(config: &Config) -> anyhow::Result<ResourceMetadata> {
    let metadata = ResourceMetadata::new(config.resource(), &config.auth.issuer, &CAPABILITIES)?;
    Ok(metadata.with_client_certificates(config.takes_certificates()))
}

/// Nonces are minted under the shared master key, so that those of one node are good at another.
fn possession(config: &Config, foundation: &Foundation) -> anyhow::Result<CheckPossession> {
    let nonces = DpopNonces::new(foundation.master.derive("dpop-nonce")?, config.dpop.nonce_lifetime());
    Ok(CheckPossession::new(
        config.dpop,
        nonces,
        foundation.ambient.clock.clone(),
    ))
}

/// Waits until requests can be served and says so.
async fn announce(gateway: &Gateway, file: Option<(&Path, String)>) -> anyhow::Result<()> {
    while gateway.ready().is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tracing::info!("resource-gateway is ready");
    if let Some((path, addresses)) = file {
        std::fs::write(path, addresses).with_context(|| format!("ready file {}", path.display()))?;
    }
    Ok(())
}

fn health(gateway: &Arc<Gateway>, metrics: telemetry::PrometheusHandle) -> Management {
    let (ready, status) = (gateway.clone(), gateway.clone());
    Management::new(
        metrics,
        move || std::future::ready(ready.ready()),
        move || std::future::ready(status.status()),
    )
}
