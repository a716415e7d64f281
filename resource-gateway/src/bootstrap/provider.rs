//! The provider whose tokens are taken: its keys, what it revokes, and what tokens must hold.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
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
    },
    config::Config,
    domain::{caller::Expected, interface::Capability},
};

/// The provider has this long to answer; it is close by.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn client(config: &Config) -> anyhow::Result<reqwest::Client> {
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

pub(super) fn keys(config: &Config, client: reqwest::Client) -> DiscoveredKeys {
    let refresh = Duration::from_secs(config.auth.jwks_refresh_s);
    DiscoveredKeys::new(config.auth.issuer.clone(), client, refresh)
}

/// Whom tokens must come from and be meant for.
pub(super) fn expected(config: &Config) -> Expected {
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

pub(super) fn follow_revocations(
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
        access_keys: Arc::new(KeyUpkeep::new(foundation.key_store(), foundation.ambient.clock.clone())),
        clock: foundation.ambient.clock.clone(),
    })
}

pub(super) fn resource_metadata(config: &Config) -> anyhow::Result<ResourceMetadata> {
    let metadata = ResourceMetadata::new(config.resource(), &config.auth.issuer, &Capability::ALL)?;
    Ok(metadata.with_client_certificates(config.takes_certificates()))
}

/// Nonces are minted under the shared master key, so that those of one node are good at another.
pub(super) fn possession(config: &Config, foundation: &Foundation) -> anyhow::Result<CheckPossession> {
    let nonces = DpopNonces::new(foundation.master.derive("dpop-nonce")?, config.dpop.nonce_lifetime());
    Ok(CheckPossession::new(
        config.dpop,
        nonces,
        foundation.ambient.clock.clone(),
    ))
}
