//! What everything stands on: the configuration as policy, the store, the keys, the way out. Commands need no more than this.

use std::sync::Arc;

use anyhow::Context as _;
use sql_kit::Options;
use token_keys::MasterKey;

use crate::{
    adapters::{
        crypto::Argon2Hasher,
        outbound::{Crowd, ExtraRoots, GuardSettings, GuardedOutbound, SystemLookup},
        sql::SqlStore,
    },
    application::{
        apply::Apply,
        authenticate_client::ClientSecrets,
        client_documents::ClientDocuments,
        keyring::{KeyFactory, Keyring},
        operate::Operate,
        policy::Policy,
        register::{Register, RegistrationTokens, metadata::Reach, operate::InitialTokens},
        revocations::RevocationLog,
        subjects::Subjects,
    },
    config::Config,
    domain::resource::Resources,
    ports::{crypto::PasswordHasher, outbound::Outbound, store::SigningKeys as _},
};

use super::Ambient;

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
    pub(super) master: MasterKey,
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
pub(super) fn guard_settings(config: &Config) -> anyhow::Result<GuardSettings> {
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

pub(super) async fn connect(config: &Config) -> anyhow::Result<SqlStore> {
    let options = Options {
        postgres_connections: config.database.max_connections,
        application_name: "hexgate auth-server".into(),
        ..Options::default()
    };
    SqlStore::connect(&config.database.url, &options)
        .await
        .context("database.url")
}

pub(super) fn policy(config: &Config) -> anyhow::Result<Policy> {
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
