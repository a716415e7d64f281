//! What the gateway says about itself (RFC 9728).

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use oauth_wire::{AuthorizationDetails, ProtectedResourceMetadata, SigningAlg, ai_scope};
use url::Url;

use super::AppState;
use crate::domain::interface::Capability;

pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The document, and where it is.
#[derive(Debug)]
pub struct ResourceMetadata {
    /// For challenges.
    pub(super) url: String,
    /// The path of `url`.
    pub(super) path: String,
    document: ProtectedResourceMetadata,
}

impl ResourceMetadata {
    /// `resource` is the gateway's URL as callers know it.
    ///
    /// # Errors
    /// It is not a URL.
    pub fn new(resource: &str, issuer: &str, capabilities: &[Capability]) -> Result<Self, url::ParseError> {
        let parsed = Url::parse(resource)?;
        // RFC 9728 §3.1: the well-known part goes between the host and the resource's path.
        let path = format!("{WELL_KNOWN}{}", parsed.path().trim_end_matches('/'));
        let origin = parsed.origin().ascii_serialization();
        let document = ProtectedResourceMetadata {
            // Exactly as it was configured: clients compare it byte for byte (§3.3).
            resource: resource.to_owned(),
            authorization_servers: vec![issuer.to_owned()],
            scopes_supported: capabilities
                .iter()
                .map(|capability| ai_scope(capability.as_str()))
                .collect(),
            bearer_methods_supported: vec!["header".to_owned()],
            dpop_signing_alg_values_supported: SigningAlg::DPOP.iter().map(|alg| alg.as_str().to_owned()).collect(),
            authorization_details_types_supported: AuthorizationDetails::TYPES.map(str::to_owned).to_vec(),
            tls_client_certificate_bound_access_tokens: false,
            resource_name: Some("Hexgate AI gateway".to_owned()),
            resource_documentation: None,
        };
        Ok(Self {
            url: format!("{origin}{path}"),
            path,
            document,
        })
    }
}

impl ResourceMetadata {
    /// Says whether tokens that are bound to certificates can be used here (RFC 9728 §2): only if callers can show theirs.
    #[must_use]
    pub fn with_client_certificates(mut self, shown: bool) -> Self {
        self.document.tls_client_certificate_bound_access_tokens = shown;
        self
    }
}

pub(super) async fn get(State(app): State<AppState>) -> Response {
    let mut response = Json(&app.metadata.document).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    // The document is public, and browser apps of any origin need it.
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_part_goes_before_the_path() {
        for (resource, url) in [
            (
                "https://gw.test",
                "https://gw.test/.well-known/oauth-protected-resource",
            ),
            (
                "https://gw.test/",
                "https://gw.test/.well-known/oauth-protected-resource",
            ),
            (
                "http://127.0.0.1:9100",
                "http://127.0.0.1:9100/.well-known/oauth-protected-resource",
            ),
            (
                "https://gw.test/ai/v2",
                "https://gw.test/.well-known/oauth-protected-resource/ai/v2",
            ),
        ] {
            let metadata = ResourceMetadata::new(resource, "https://op.test", &[Capability::Chat]).unwrap();
            assert_eq!(metadata.url, url);
            assert_eq!(metadata.document.resource, resource);
        }
    }
}
