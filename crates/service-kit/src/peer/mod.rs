//! Who is at the other end: the client's address and certificate, taken from the connection or, where a trusted proxy stands
//! between, from what the proxy says about it.

mod certificate;
mod certificate_header;
mod distinguished_name;
mod forwarded;
mod network;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use certificate::{
    Authorities, AuthoritiesError, BadCertificate, Certificate, MAX_CERTIFICATE_BYTES, PeerCertificate, Unverified,
};
pub use distinguished_name::{BadName, DistinguishedName};
pub use forwarded::ForwardedHeader;
pub(crate) use network::neighbourhood;
pub use network::{BadNetwork, Network};

/// Address of the client. A request extension. Behind a trusted proxy it is the one that the proxy names; its port may then be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The request came through a trusted proxy ([`ProxyConfig::trusted`]), whose other words about it may be believed, too. A request
/// extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThroughProxy;

/// Proxies between clients and the public listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Addresses and networks (`10.0.0.7`, `10.0.0.0/8`, `fd00::/8`) of proxies whose word about a client's address is taken; in
    /// `header`, the right-most address that is none of them is the client's. Anybody else's header is ignored. They must
    /// append to the header or replace it, and are spared `connections.per_address`.
    pub trusted: Vec<Network>,
    /// The header that the trusted proxies write: `x-forwarded-for` or `forwarded` (RFC 7239). The other one is not looked at,
    /// since a proxy that does not write it lets through what clients put there.
    pub header: ForwardedHeader,
}

/// What a listener believes about its peers. By default nothing but what the connection itself shows.
#[derive(Debug, Clone, Default)]
pub struct PeerRules {
    pub proxy: ProxyConfig,
    /// The header in which a proxy that terminates TLS hands over the client's certificate.
    pub certificate_header: Option<HeaderName>,
    /// Who is believed when they send it.
    pub certificate_proxies: Vec<Network>,
    /// Whose certificates are believed by [`certificate::Certificate::verify`].
    pub authorities: Option<Arc<Authorities>>,
}

impl PeerRules {
    /// Whether connections from there carry other people's requests.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        network::any_contains(&self.proxy.trusted, address) || network::any_contains(&self.certificate_proxies, address)
    }
}

/// A connection's peer: what holds for all its requests is worked out once.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    address: SocketAddr,
    certificate: Option<PeerCertificate>,
    names_address: bool,
    hands_certificate: bool,
    rules: Arc<PeerRules>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, rules: Arc<PeerRules>) -> Self {
        // A socket for both families shows IPv4 peers as IPv6 ones.
        let ip = address.ip().to_canonical();
        Self {
            address: SocketAddr::new(ip, address.port()),
            certificate: None,
            names_address: network::any_contains(&rules.proxy.trusted, ip),
            hands_certificate: network::any_contains(&rules.certificate_proxies, ip),
            rules,
        }
    }

    /// With the certificate that the TLS handshake showed.
    pub(crate) fn with_certificate(mut self, ssl: &openssl::ssl::SslRef) -> Self {
        if let Some(leaf) = ssl.peer_certificate() {
            let chain = ssl.peer_cert_chain();
            match PeerCertificate::from_handshake(leaf, chain, self.rules.authorities.clone()) {
                Ok(certificate) => self.certificate = Some(certificate),
                Err(error) => tracing::debug!(%error, peer = %self.address, "a client certificate is not used"),
            }
        }
        self
    }

    /// Puts [`PeerAddress`] and, when there is one, [`PeerCertificate`] into the request's extensions.
    pub(crate) fn introduce<B>(&self, request: &mut Request<B>) {
        let address = match self.names_address {
            true => forwarded::client(request.headers(), &self.rules.proxy).unwrap_or(self.address),
            false => self.address,
        };
        request.extensions_mut().insert(PeerAddress(address));
        if self.names_address {
            request.extensions_mut().insert(ThroughProxy);
        }
        let handed = match &self.rules.certificate_header {
            Some(name) => self.handed_over(name, request.headers()),
            None => Handed::NotAsked,
        };
        let certificate = match handed {
            Handed::NotAsked => self.certificate.clone(),
            Handed::Said(certificate) => certificate,
        };
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate);
        }
    }

    fn handed_over(&self, name: &HeaderName, headers: &HeaderMap) -> Handed {
        if !self.hands_certificate {
            if headers.contains_key(name) {
                tracing::debug!(peer = %self.address, header = %name, "a certificate from an untrusted peer is ignored");
            }
            return Handed::NotAsked;
        }
        // A certificate of the proxy's own says nothing about whom it speaks for, so without the header there is none.
        match certificate_header::read(headers, name, self.rules.authorities.as_ref()) {
            Ok(certificate) => Handed::Said(certificate),
            Err(error) => {
                tracing::info!(%error, peer = %self.address, header = %name, "a proxy's client certificate cannot be read");
                Handed::Said(None)
            }
        }
    }
}

/// What a proxy said about the client's certificate.
enum Handed {
    /// The peer speaks for itself.
    NotAsked,
    Said(Option<PeerCertificate>),
}
