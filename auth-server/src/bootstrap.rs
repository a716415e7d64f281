//! The composition root: the only place that picks adapters.

mod listeners;

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
use sql_kit::Options;
use token_keys::{DpopNonces, MasterKey};
use url::Url;

use listeners::Listeners;

use crate::{
    adapters::{
        crypto::Argon2Hasher,
        http::{self, Services},
        outbound::{Crowd, ExtraRoots, GuardSettings, GuardedOutbound, SystemLookup},
        oxide::OxideCodeRules,
        sql::SqlStore,
    },
    application::{
        accept_assertion::AcceptAssertion,
        account::Account,
        apply::Apply,
        authenticate_client::{AuthenticateClient, ClientDirectory, ClientSecrets},
        authorize::Authorize,
        ciba_pings::{CibaPings, PingSeal},
        client_credentials::ClientCredentials,
        client_documents::ClientDocuments,
        client_keyring::ClientKeyring,
        client_logo::ClientLogos,
        client_rules,
        client_sealer::ClientSealer,
        confirm_ciba::ConfirmCiba,
        confirm_device::ConfirmDevice,
        decide_decoupled::DecideDecoupled,
        delivery_lanes::Lanes,
        end_grant::EndGrant,
        exchange_code::ExchangeCode,
        exchange_token::ExchangeToken,
        introspect::Introspect,
        issue::TokenIssuer,
        keep_house::KeepHouse,
        keyring::{KeyFactory, Keyring},
        live_tokens::{LiveTokens, TokenReader},
        logout_delivery::{LogoutDeliveries, LogoutParts},
        meters::Meters,
        opaque_tokens::OpaqueTokens,
        operate::Operate,
        password_grant::PasswordGrant,
        policy::Policy,
        poll_events::PollEvents,
        redeem_decoupled::RedeemDecoupled,
        refresh_secret::RefreshSecrets,
        register::{
            ClientUse, Register, RegistrationTokens, cimd::MetadataDocuments, metadata::Reach, operate::InitialTokens,
        },
        request_ciba::RequestCiba,
        request_device::RequestDevice,
        revocations::RevocationLog,
        revoke_token::RevokeToken,
        rotate_refresh::RotateRefresh,
        sender_constraint::SenderConstraint,
        sign_in::{DeviceCookies, SignIn},
        sign_out::SignOut,
        subjects::Subjects,
        userinfo::Userinfo,
    },
    config::Config,
    domain::{
        client::{Client, SigningAlg},
        client_auth::ClientFault,
        resource::Resources,
    },
    ports::{
        crypto::PasswordHasher,
        outbound::Outbound,
        store::{Clients as _, PageRequest, Revisions as _, SigningKeys as _, Transactions as _},
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

/// What every command needs: the store, the master key, the policy.
pub struct Foundation {
    pub store: Arc<SqlStore>,
    pub policy: Arc<Policy>,
    pub hasher: Arc<dyn PasswordHasher>,
    pub secrets: ClientSecrets,
    pub revocations: Arc<RevocationLog>,
    pub subjects: Subjects,
    pub key_factory: KeyFactory,
    /// The one HTTP client: whoever asks another host asks through it.
    pub outbound: Arc<dyn Outbound>,
    /// What clients publish, fetched through it.
    pub documents: Arc<ClientDocuments>,
    pub ambient: Ambient,
    master: MasterKey,
}

impl std::fmt::Debug for Foundation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foundation").finish_non_exhaustive()
    }
}

impl Foundation {
    /// Connects, migrates, and loads the master key, which is made only for a database that has no signing keys yet: with another one nothing that is
    /// sealed or hashed would ever open again.
    ///
    /// # Errors
    /// When the database or the master key cannot be used, or when they do not belong together.
    pub async fn lay(config: &Config, ambient: Ambient) -> anyhow::Result<Self> {
        let store = Arc::new(connect(config).await?);
        store.migrate().await.context("the schema could not be migrated")?;
        let is_new = store.list_keys().await?.is_empty();
        let master = match is_new {
            true => MasterKey::load_or_create(&config.keys.dir)?,
            false => MasterKey::load(&config.keys.dir)
                .context("this database has signing keys, so its master key must be there")?,
        };
        let foundation = Self::on(config, ambient, store, master)?;
        foundation.key_factory.ensure().await?;
        foundation.check_keys().await?;
        Ok(foundation)
    }

    /// Lays it on a migrated store that has its signing keys already.
    ///
    /// # Errors
    /// When the hashing threads cannot be started, or `outbound.extra_ca` cannot be used.
    pub fn on(config: &Config, ambient: Ambient, store: Arc<SqlStore>, master: MasterKey) -> anyhow::Result<Self> {
        let policy = Arc::new(policy(config)?);
        let hasher = Arc::new(Argon2Hasher::start(
            &config.password_hashing,
            Arc::clone(&ambient.entropy),
        )?);
        let revocations = Arc::new(RevocationLog::new(
            store.clone(),
            ambient.clock.clone(),
            ambient.entropy.clone(),
            &policy.lifetimes,
        ));
        let key_factory = KeyFactory {
            algs: policy.signing_algs.clone(),
            schedule: config.keys.schedule(),
            keys: store.clone(),
            transactions: store.clone(),
            clock: ambient.clock.clone(),
            master: master.clone(),
        };
        let secrets = ClientSecrets::new(master.derive("client-secret")?, master.clone());
        let subjects = Subjects::new(master.siv("pairwise-subject")?, store.clone());
        let outbound = match &ambient.outbound {
            Some(outbound) => outbound.clone(),
            None => Arc::new(GuardedOutbound::new(guard_settings(config)?)),
        };
        Ok(Self {
            store,
            policy,
            hasher,
            secrets,
            revocations,
            subjects,
            key_factory,
            documents: Arc::new(ClientDocuments::new(outbound.clone(), ambient.clock.clone())),
            outbound,
            ambient,
            master,
        })
    }

    /// Opens the signing keys in use with the master key.
    async fn check_keys(&self) -> anyhow::Result<()> {
        let (clock, algs) = (self.ambient.clock.clone(), self.policy.signing_algs.clone());
        Keyring::load(self.store.clone(), clock, self.master.clone(), algs).await?;
        Ok(())
    }

    /// The use case behind `apply`.
    pub fn apply(&self) -> Apply {
        Apply {
            policy: self.policy.clone(),
            users: self.store.clone(),
            clients: self.store.clone(),
            transactions: self.store.clone(),
            hasher: self.hasher.clone(),
            secrets: self.secrets.clone(),
            revocations: self.revocations.clone(),
            subjects: self.subjects.clone(),
            clock: self.ambient.clock.clone(),
            entropy: self.ambient.entropy.clone(),
        }
    }

    /// The use cases of dynamic registration.
    ///
    /// # Errors
    /// When no key can be derived.
    pub fn register(&self) -> anyhow::Result<Register> {
        Ok(Register {
            policy: self.policy.clone(),
            clients: self.store.clone(),
            registrations: self.store.clone(),
            throttle: self.store.clone(),
            transactions: self.store.clone(),
            secrets: self.secrets.clone(),
            tokens: self.registration_tokens()?,
            revocations: self.revocations.clone(),
            documents: self.documents.clone(),
            clock: self.ambient.clock.clone(),
            entropy: self.ambient.entropy.clone(),
        })
    }

    /// The use cases behind `client initial-token`.
    ///
    /// # Errors
    /// When no key can be derived.
    pub fn initial_tokens(&self) -> anyhow::Result<InitialTokens> {
        Ok(InitialTokens {
            registrations: self.store.clone(),
            tokens: self.registration_tokens()?,
            clock: self.ambient.clock.clone(),
            entropy: self.ambient.entropy.clone(),
        })
    }

    fn registration_tokens(&self) -> anyhow::Result<RegistrationTokens> {
        Ok(RegistrationTokens::new(self.master.derive("registration-token")?))
    }

    /// The use cases behind `user` and `client`.
    pub fn operate(&self) -> Operate {
        Operate {
            policy: self.policy.clone(),
            users: self.store.clone(),
            clients: self.store.clone(),
            transactions: self.store.clone(),
            hasher: self.hasher.clone(),
            secrets: self.secrets.clone(),
            revocations: self.revocations.clone(),
            subjects: self.subjects.clone(),
            clock: self.ambient.clock.clone(),
            entropy: self.ambient.entropy.clone(),
        }
    }
}

/// What the guarded client holds itself to, as configured.
fn guard_settings(config: &Config) -> anyhow::Result<GuardSettings> {
    let roots = match &config.outbound.extra_ca {
        Some(path) => ExtraRoots::load(path).with_context(|| format!("outbound.extra_ca: {}", path.display()))?,
        None => ExtraRoots::default(),
    };
    Ok(GuardSettings {
        roots,
        allowed: config.outbound.allowed().context("outbound.allow_hosts")?,
        fetch_deadline: config.outbound.fetch_deadline(),
        delivery_deadline: config.outbound.delivery_deadline(),
        crowd: Crowd::default(),
        lookup: Arc::new(SystemLookup),
    })
}

async fn connect(config: &Config) -> anyhow::Result<SqlStore> {
    let options = Options {
        postgres_connections: config.database.max_connections,
        application_name: "hexgate auth-server".into(),
        ..Options::default()
    };
    SqlStore::connect(&config.database.url, &options)
        .await
        .context("database.url")
}

/// Looks at an installation without changing it: what it says is what `doctor` tells, check by check.
pub async fn examine(config: &Config, ambient: &Ambient) -> Vec<(&'static str, anyhow::Result<String>)> {
    let master = MasterKey::load(&config.keys.dir).map_err(anyhow::Error::from);
    let mut told = vec![
        (
            "master key",
            master
                .as_ref()
                .map(|_| format!("loaded from {}", config.keys.dir.display()))
                .map_err(|error| anyhow::anyhow!("{error}")),
        ),
        ("outbound requests", guard_settings(config).map(|guard| told_of(&guard))),
    ];
    let store = match connect(config).await {
        Ok(store) => Arc::new(store),
        Err(error) => {
            told.push(("database", Err(error)));
            return told;
        }
    };
    let keys = store.list_keys().await;
    told.push((
        "database",
        match &keys {
            Ok(_) => Ok("answers, and has the schema".into()),
            Err(error) => Err(anyhow::anyhow!("{error}; run `auth-server migrate`")),
        },
    ));
    if let (Ok(keys), Ok(master)) = (keys, master) {
        let algs = config.keys.signing_algs();
        let opened = Keyring::load(store.clone(), ambient.clock.clone(), master, algs).await;
        told.push((
            "signing keys",
            match opened {
                Ok(_) if keys.is_empty() => Err(anyhow::anyhow!("there are none; run `auth-server migrate`")),
                Ok(_) => Ok(format!("{} stored, those in use open with this master key", keys.len())),
                Err(error) => Err(error.into()),
            },
        ));
    }
    let clients = match policy(config) {
        Ok(policy) => registrations(store.as_ref(), &policy).await,
        Err(error) => Err(error),
    };
    told.push(("clients", clients));
    store.close().await;
    told
}

fn told_of(guard: &GuardSettings) -> String {
    let hosts: Vec<String> = guard.allowed.iter().map(ToString::to_string).collect();
    let roots = match guard.roots.len() {
        0 => "the system's certificate authorities".to_owned(),
        extra => format!("the system's certificate authorities and {extra} more"),
    };
    match hosts.as_slice() {
        [] => format!("https at public addresses, {roots}"),
        hosts => format!("https at public addresses, anything at {}, {roots}", hosts.join(", ")),
    }
}

/// Which clients break the rules by which they would be registered today: what they ask for may fail.
async fn registrations(store: &SqlStore, policy: &Policy) -> anyhow::Result<String> {
    let (mut count, mut faults, mut after) = (0_usize, Vec::new(), None);
    loop {
        let page = store.list_clients(PageRequest { after, limit: 200 }).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.client_id.as_str().to_owned());
        count += page.len();
        let found = |client: &Client| {
            let told = |fault: ClientFault| format!("{} of {} {}", fault.member, client.client_id, fault.reason);
            client_rules::faults(client, policy)
                .into_iter()
                .map(told)
                .collect::<Vec<_>>()
        };
        faults.extend(page.iter().flat_map(found));
    }
    match faults.as_slice() {
        [] => Ok(format!("{count} registered, all by the rules")),
        [first, ..] => Err(anyhow::anyhow!(
            "{} faults in {count} registrations, such as: {first}",
            faults.len()
        )),
    }
}

fn policy(config: &Config) -> anyhow::Result<Policy> {
    let reach = Reach {
        allowed: config.outbound.allowed().context("outbound.allow_hosts")?,
        plain_loopback: config.dev_mode,
    };
    Ok(Policy {
        issuer: config.issuer.clone(),
        mtls_base_url: config.mtls.base_url.clone(),
        takes_certificates: config.takes_certificates(),
        gateway_audience: config.tokens.gateway_audience.clone(),
        resources: Resources::new(
            [config.issuer.clone(), config.tokens.gateway_audience.clone()],
            config.tokens.resource_patterns(),
        ),
        signing_algs: config.keys.signing_algs(),
        lifetimes: config.tokens.lifetimes(),
        require_pushed_authorization_requests: config.require_pushed_authorization_requests,
        login: config.login.policy(),
        registration: config.registration.policy(reach),
        dpop: config.dpop,
        client_auth: config.client_auth.policy(config.certificates()),
        device: config.device.policy(),
        assertion_issuers: config.trusted_issuers()?.into(),
        ciba: config.ciba.policy(),
    })
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

fn logout_deliveries(
    foundation: &Foundation,
    keyring: &Arc<Keyring>,
    clients: &ClientDirectory,
    (lanes, tasks): (&Arc<Lanes>, &Tasks),
) -> LogoutDeliveries {
    let parts = LogoutParts {
        policy: foundation.policy.clone(),
        keyring: keyring.clone(),
        subjects: foundation.subjects.clone(),
        clients: clients.clone(),
        outbound: foundation.outbound.clone(),
        lanes: lanes.clone(),
        tasks: tasks.clone(),
        clock: foundation.ambient.clock.clone(),
        entropy: foundation.ambient.entropy.clone(),
    };
    LogoutDeliveries::new(foundation.store.clone(), parts)
}

fn ciba_pings(
    foundation: &Foundation,
    clients: &ClientDirectory,
    (lanes, tasks): (&Arc<Lanes>, &Tasks),
) -> anyhow::Result<CibaPings> {
    Ok(CibaPings {
        queue: foundation.store.clone(),
        clients: clients.clone(),
        seal: PingSeal::new(foundation.master.sealing("ciba-ping")?),
        outbound: foundation.outbound.clone(),
        lanes: lanes.clone(),
        tasks: tasks.clone(),
        clock: foundation.ambient.clock.clone(),
        entropy: foundation.ambient.entropy.clone(),
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "one literal per use case; cut in pieces, the wiring would only be harder to see"
)]
fn services(
    foundation: &Foundation,
    keyring: &Arc<Keyring>,
    clients: &ClientDirectory,
    (logouts, pings): (&LogoutDeliveries, &CibaPings),
    tasks: &Tasks,
) -> anyhow::Result<Services> {
    let Foundation {
        store,
        policy,
        hasher,
        secrets,
        revocations,
        documents,
        subjects,
        ambient,
        master,
        ..
    } = foundation;
    let Ambient { clock, entropy, .. } = ambient;
    let client_keyring = ClientKeyring::new(documents.clone());
    let sealer = ClientSealer {
        keyring: keyring.clone(),
        client_keys: client_keyring.clone(),
    };
    let refresh = RefreshSecrets::new(master.derive("refresh-token")?);
    let opaque = OpaqueTokens::new(master.sealing("opaque-access-token")?, &policy.issuer);
    let issuer = TokenIssuer {
        policy: policy.clone(),
        keyring: keyring.clone(),
        sealer: sealer.clone(),
        opaque: opaque.clone(),
        subjects: subjects.clone(),
        users: store.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let tokens = LiveTokens::new(
        policy.clone(),
        TokenReader {
            keyring: keyring.clone(),
            opaque,
            subjects: subjects.clone(),
        },
        clients.clone(),
        revocations.clone(),
        clock.clone(),
    );
    let sender_constraint = SenderConstraint {
        nonces: DpopNonces::new(master.derive("dpop-nonce")?, policy.dpop.nonce_lifetime()),
        bases: std::iter::once(policy.issuer.clone())
            .chain(policy.mtls_base_url.clone())
            .collect(),
        config: policy.dpop,
        single_use: store.clone(),
        clock: clock.clone(),
    };
    let end_grant = EndGrant {
        transactions: store.clone(),
        revocations: revocations.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
    };
    let sign_out = SignOut {
        policy: policy.clone(),
        clients: clients.clone(),
        keyring: keyring.clone(),
        transactions: store.clone(),
        revocations: revocations.clone(),
        deliveries: logouts.clone(),
        clock: clock.clone(),
    };
    let sign_in = SignIn {
        policy: policy.clone(),
        users: store.clone(),
        sessions: store.clone(),
        throttle: store.clone(),
        hasher: hasher.clone(),
        devices: DeviceCookies::new(master.derive("device-cookie")?),
        sign_out: sign_out.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let decide_decoupled = DecideDecoupled {
        requests: store.clone(),
        consents: store.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let url = Url::parse(&policy.issuer).context("issuer")?;
    Ok(Services {
        authenticate_client: AuthenticateClient::new(
            clients.clone(),
            secrets.clone(),
            client_keyring.clone(),
            store.clone(),
            policy.clone(),
            clock.clone(),
        ),
        single_use: store.clone(),
        meters: Meters::new(),
        authorize: Authorize {
            policy: policy.clone(),
            clients: clients.clone(),
            codes: store.clone(),
            pushed: store.clone(),
            transactions: store.clone(),
            consents: store.clone(),
            keyring: keyring.clone(),
            sealer: sealer.clone(),
            documents: documents.clone(),
            client_keys: client_keyring.clone(),
            subjects: subjects.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        sender_constraint: sender_constraint.clone(),
        exchange_code: ExchangeCode {
            policy: policy.clone(),
            codes: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            transactions: store.clone(),
            rules: Arc::new(OxideCodeRules),
            issuer: issuer.clone(),
            refresh: refresh.clone(),
            end_grant: end_grant.clone(),
            clock: clock.clone(),
        },
        exchange_token: ExchangeToken {
            policy: policy.clone(),
            tokens: tokens.clone(),
            users: store.clone(),
            subjects: subjects.clone(),
            issuer: issuer.clone(),
            clock: clock.clone(),
        },
        rotate_refresh: RotateRefresh {
            policy: policy.clone(),
            families: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            transactions: store.clone(),
            end_grant: end_grant.clone(),
            issuer: issuer.clone(),
            refresh: refresh.clone(),
            clock: clock.clone(),
        },
        client_credentials: ClientCredentials { issuer: issuer.clone() },
        accept_assertion: AcceptAssertion {
            policy: policy.clone(),
            keyring: client_keyring.clone(),
            users: store.clone(),
            single_use: store.clone(),
            own: ClientCredentials { issuer: issuer.clone() },
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        password_grant: PasswordGrant {
            policy: policy.clone(),
            sign_in: sign_in.clone(),
            transactions: store.clone(),
            issuer: issuer.clone(),
            refresh: refresh.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        request_device: RequestDevice {
            policy: policy.clone(),
            requests: store.clone(),
            throttle: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        confirm_device: ConfirmDevice {
            policy: policy.clone(),
            clients: clients.clone(),
            requests: store.clone(),
            decide: decide_decoupled.clone(),
            throttle: store.clone(),
            clock: clock.clone(),
        },
        request_ciba: RequestCiba {
            policy: policy.clone(),
            requests: store.clone(),
            users: store.clone(),
            keyring: keyring.clone(),
            subjects: subjects.clone(),
            seal: pings.seal.clone(),
            throttle: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        confirm_ciba: ConfirmCiba {
            clients: clients.clone(),
            requests: store.clone(),
            decide: decide_decoupled,
            pings: pings.clone(),
            clock: clock.clone(),
        },
        redeem_decoupled: RedeemDecoupled {
            policy: policy.clone(),
            requests: store.clone(),
            users: store.clone(),
            transactions: store.clone(),
            issuer,
            refresh: refresh.clone(),
            clock: clock.clone(),
        },
        introspect: Introspect {
            policy: policy.clone(),
            tokens: tokens.clone(),
            clients: clients.clone(),
            subjects: subjects.clone(),
            families: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            refresh: refresh.clone(),
            sealer: sealer.clone(),
            clock: clock.clone(),
        },
        revoke_token: RevokeToken {
            tokens: tokens.clone(),
            families: store.clone(),
            transactions: store.clone(),
            refresh,
            revocations: revocations.clone(),
            end_grant,
            clock: clock.clone(),
        },
        userinfo: Userinfo {
            policy: policy.clone(),
            tokens,
            users: store.clone(),
            sealer,
            sender_constraint,
        },
        poll_events: PollEvents::new(
            policy.clone(),
            keyring.clone(),
            revocations.clone(),
            clock.clone(),
            tasks.clone(),
        ),
        register: foundation.register()?,
        client_use: ClientUse::new(store.clone(), clock.clone()),
        client_logos: ClientLogos::new(clients.clone(), foundation.outbound.clone(), clock.clone()),
        account: Account {
            users: store.clone(),
            sessions: store.clone(),
            consents: store.clone(),
            clients: clients.clone(),
            transactions: store.clone(),
            revocations: revocations.clone(),
            sign_out: sign_out.clone(),
            clock: clock.clone(),
        },
        sign_in,
        sign_out,
        keyring: keyring.clone(),
        sessions: store.clone(),
        browser_sessions: store.clone(),
        catalogue: http::catalogue()?,
        metadata: http::metadata(policy)?,
        events_credential: master.service_credential("events-poll")?,
        base_path: url.path().trim_end_matches('/').to_owned(),
        secure: url.scheme() == "https",
        policy: policy.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
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
