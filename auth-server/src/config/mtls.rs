//! Client certificates (RFC 8705): where clients show them and who vouches for them.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{Authorities, Network, config::Problem};
use url::Url;

/// Client certificates (RFC 8705).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MtlsConfig {
    /// Address of a TLS listener of its own for clients with certificates, with the certificate of `tls.cert`. The main listener
    /// then asks nobody for one, so that no browser asks its user to choose. Port 0 takes any free one.
    pub listen: Option<SocketAddr>,
    /// The public base URL for clients with certificates, without trailing slash and with the issuer's path if it has one. It
    /// stands in the metadata as `mtls_endpoint_aliases` (RFC 8705 §5).
    pub base_url: Option<String>,
    /// PEM file with the certificate authorities that are believed for `tls_client_auth`, roots or others. Chain, validity, key
    /// usage and strength are checked whenever a certificate is used; whether it was revoked is not.
    pub ca: Option<PathBuf>,
    /// The header in which a proxy that terminates TLS hands over the client's certificate: URL-encoded PEM (nginx's
    /// `$ssl_client_escaped_cert`) or the structured field of RFC 9440 (`Client-Cert`, with `Client-Cert-Chain` if it comes).
    pub proxy_header: Option<String>,
    /// Addresses and networks of proxies that are believed when they send `proxy_header`. They must remove or replace what
    /// clients send in it. Anybody else's header is ignored; while the list is empty, everybody's.
    pub trusted_proxies: Vec<Network>,
}

impl MtlsConfig {
    pub(super) fn problems(&self, tls_is_on: bool, problems: &mut Vec<Problem>) {
        if self.listen.is_some() && !tls_is_on {
            problems.push(Problem::new("mtls.listen", "needs tls.cert and tls.key"));
        }
        if self.base_url.as_deref().is_some_and(|url| !is_base_url(url)) {
            problems.push(Problem::new(
                "mtls.base_url",
                "must be an https URL without user name, query, fragment and trailing slash",
            ));
        }
        if self.proxy_header.is_some() && self.header().is_none() {
            problems.push(Problem::new("mtls.proxy_header", "must be the name of a header"));
        }
    }

    /// [`MtlsConfig::proxy_header`] as a name.
    pub fn header(&self) -> Option<HeaderName> {
        self.proxy_header.as_ref()?.parse().ok()
    }

    /// Reads [`MtlsConfig::ca`].
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn authorities(&self) -> anyhow::Result<Option<Authorities>> {
        let load = |file: &PathBuf| Authorities::load(file).with_context(|| format!("mtls.ca {}", file.display()));
        self.ca.as_ref().map(load).transpose()
    }
}

fn is_base_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    url.scheme() == "https" && url.has_host() && bare && !text.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut MtlsConfig), tls_is_on: bool) -> Vec<String> {
        let mut config = MtlsConfig::default();
        change(&mut config);
        let mut problems = Vec::new();
        config.problems(tls_is_on, &mut problems);
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_base_url_that_clients_could_not_append_to_is_refused() {
        for (url, good) in [
            ("https://mtls.op.example", true),
            ("https://mtls.op.example:8443/tenant", true),
            ("https://mtls.op.example/", false),
            ("http://mtls.op.example", false),
            ("https://mtls.op.example?x", false),
            ("https://mtls.op.example#x", false),
            ("https://user@mtls.op.example", false),
            ("mtls.op.example", false),
        ] {
            let found = problems(|config| config.base_url = Some(url.into()), true);
            assert_eq!(found.is_empty(), good, "{url}");
        }
    }

    #[test]
    fn a_listener_for_certificates_needs_tls_and_a_header_a_name() {
        let listen = |config: &mut MtlsConfig| config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        assert_eq!(problems(listen, false), ["mtls.listen"]);
        assert!(problems(listen, true).is_empty());
        let header = |config: &mut MtlsConfig| config.proxy_header = Some("client cert".into());
        assert_eq!(problems(header, true), ["mtls.proxy_header"]);
    }
}
