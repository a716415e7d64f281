//! The provider whose tokens are taken: its keys, what it revokes, and what tokens must hold.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use service_kit::Tasks;
use token_keys::DpopNonces;

use super::Foundation;
use crate::{
    adapters::{
        http::ResourceMetadata,
        jwks::DiscoveredKeys,
        revocation_feed::{FeedCredential, HttpRevocationFeed},
    },
    application::{
        access_keys::KeyUpkeep,
        check_possession::CheckPossession,
        revocations::{FollowRevocations, Revocations},
        verify_token::VerifyToken,
    },
    config::Config,
    domain::{caller::Expected, interface::Capability},
    ports::provider::ProviderKeys as _,
};

/// The provider has this long to answer; it is close by.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);

/// The provider, as far as it is followed.
#[derive(Debug)]
pub(super) struct Provider {
    keys: Arc<DiscoveredKeys>,
    pub(super) revocations: Arc<Revocations>,
    follow: FollowRevocations,
}

impl Provider {
    pub(super) fn build(config: &Config, foundation: &Foundation) -> anyhow::Result<Self> {
        let client = client(foundation.extra_ca.as_deref())?;
        let keys = Arc::new(keys(config, client.clone()));
        let revocations = Arc::new(Revocations::default());
        let clock = foundation.ambient.clock.clone();
        let follow = FollowRevocations {
            feed: Arc::new(revocation_feed(config, foundation, client, keys.clone())?),
            keys: keys.clone(),
            revocations: revocations.clone(),
            access_keys: Arc::new(KeyUpkeep::new(foundation.key_store(), clock.clone())),
            clock,
        };
        Ok(Self {
            keys,
            revocations,
            follow,
        })
    }

    /// What judges its tokens.
    pub(super) fn verify_token(&self, config: &Config, foundation: &Foundation) -> anyhow::Result<VerifyToken> {
        Ok(VerifyToken::new(
            self.keys.clone(),
            self.revocations.clone(),
            possession(config, foundation)?,
            expected(config),
            foundation.ambient.clock.clone(),
            config.auth.token_cache_entries,
        ))
    }

    pub(super) fn start(&self, tasks: &Tasks) {
        tasks.spawn(self.keys.clone().keep_fresh(tasks.clone()));
        tasks.spawn(self.follow.clone().run(tasks.clone()));
        tasks.spawn(self.follow.access_keys.clone().end_revoked(tasks.clone()));
    }

    /// Whether its tokens can be judged.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn ready(&self) -> Result<(), String> {
        if !self.keys.is_loaded() {
            return Err("the provider's keys were not loaded yet".to_owned());
        }
        if !self.revocations.was_asked() {
            return Err("the provider was not asked for revocations yet".to_owned());
        }
        Ok(())
    }

    /// For `/status`.
    pub(super) fn status(&self) -> Value {
        json!({
            "keys_loaded": self.keys.is_loaded(),
            "revocations": self.revocations.len(),
            "revocations_asked": self.revocations.was_asked(),
            "revocations_error": self.revocations.error().map(|error| error.to_string()),
        })
    }
}

pub(super) fn client(extra_ca: Option<&[u8]>) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(PROVIDER_TIMEOUT)
        .connect_timeout(PROVIDER_TIMEOUT / 2)
        .tcp_nodelay(true)
        // The provider has no reason to send us elsewhere, and the feed's credential must not go there.
        .redirect(reqwest::redirect::Policy::none());
    for certificate in reqwest::Certificate::from_pem_bundle(extra_ca.unwrap_or_default())? {
        builder = builder.add_root_certificate(certificate);
    }
    Ok(builder.build()?)
}

pub(super) fn keys(config: &Config, client: reqwest::Client) -> DiscoveredKeys {
    let refresh = Duration::from_secs(config.auth.jwks_refresh_s);
    DiscoveredKeys::new(config.auth.issuer.clone(), client, refresh)
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

pub(super) fn resource_metadata(config: &Config) -> anyhow::Result<ResourceMetadata> {
    let metadata = ResourceMetadata::new(config.resource(), &config.auth.issuer, &Capability::ALL)?;
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
