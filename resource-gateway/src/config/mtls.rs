//! Client certificates that a proxy hands over (RFC 8705 §3).

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{Network, config::Problem};

/// Client certificates that a proxy hands over, for access tokens that are bound to one (RFC 8705 §3).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MtlsConfig {
    /// The header in which a proxy that terminates TLS hands over the client's certificate: URL-encoded PEM (nginx's
    /// `$ssl_client_escaped_cert`) or the structured field of RFC 9440 (`Client-Cert`).
    pub proxy_header: Option<String>,
    /// Addresses and networks of proxies that are believed when they send `proxy_header`. They must remove or replace what
    /// clients send in it. Anybody else's header is ignored; while the list is empty, everybody's.
    pub trusted_proxies: Vec<Network>,
}

impl MtlsConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.proxy_header.is_some() && self.header().is_none() {
            problems.push(Problem::new("mtls.proxy_header", "must be the name of a header"));
        }
    }

    /// [`MtlsConfig::proxy_header`] as a name.
    pub fn header(&self) -> Option<HeaderName> {
        self.proxy_header.as_ref()?.parse().ok()
    }
}
