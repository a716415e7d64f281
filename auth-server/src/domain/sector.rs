//! Sectors: clients of one sector see the same pairwise `sub` of a person, others see another (OpenID Connect Core §8.1).

use std::collections::BTreeSet;

use url::{Host, Url};

use super::client::Client;

/// Why a client belongs to no sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SectorFault {
    #[error("must be an https URL with a host")]
    Uri,
    #[error("is needed, since the redirect_uris do not share one host")]
    SeveralHosts,
    /// An application on a person's own device: what it has in common with others of its kind is not its owner.
    #[error("is needed, since a redirect_uri without a host of its own does not say who owns the application")]
    NoHost,
    #[error("is needed, since there is no redirect_uri")]
    NoRedirectUri,
}

impl Client {
    /// The client's sector: the host of its `sector_identifier_uri`, else the one host of its redirect URIs.
    ///
    /// # Errors
    /// [`SectorFault`], about `sector_identifier_uri`.
    pub fn sector(&self) -> Result<String, SectorFault> {
        if let Some(uri) = &self.protocol.sector_identifier_uri {
            let uri = Url::parse(uri).map_err(|_| SectorFault::Uri)?;
            // OpenID Connect Registration §5: https.
            return match (uri.scheme(), uri.host_str()) {
                ("https", Some(host)) => Ok(host.to_owned()),
                _ => Err(SectorFault::Uri),
            };
        }
        let hosts: BTreeSet<Option<String>> = self.redirect_uris.iter().map(|uri| host(uri.as_str())).collect();
        let mut hosts = hosts.into_iter();
        match (hosts.next(), hosts.next()) {
            (None, _) => Err(SectorFault::NoRedirectUri),
            (Some(None), _) => Err(SectorFault::NoHost),
            (Some(Some(host)), None) => Ok(host),
            (Some(Some(_)), Some(_)) => Err(SectorFault::SeveralHosts),
        }
    }
}

/// The host that owns a redirect URI; loopback ones belong to nobody.
fn host(uri: &str) -> Option<String> {
    let uri = Url::parse(uri).ok()?;
    let is_web = matches!(uri.scheme(), "https" | "http");
    let owned = match uri.host()? {
        Host::Domain(name) => name != "localhost" && !name.ends_with(".localhost"),
        Host::Ipv4(address) => !address.is_loopback(),
        Host::Ipv6(address) => !address.is_loopback(),
    };
    (is_web && owned).then(|| uri.host_str().map(str::to_owned)).flatten()
}
