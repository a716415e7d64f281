//! What a client's registration says about the protocol, beyond the basics in [`Client`].
//!
//! Member names are those of their specifications, in the database as in documents and registrations. Unknown ones
//! are passed over when a row is read: during an upgrade a newer node may have written it.

use std::collections::{BTreeMap, BTreeSet};

use oauth_wire::{JweAlg, JweEnc, SigningAlg};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{client::Client, security_profile::SecurityProfile};

/// The registration metadata of OpenID Connect Registration §2, its logout and CIBA extensions, RFC 7591, RFC 8705, RFC 9101, RFC 9126,
/// RFC 9396, RFC 9449 and RFC 9701. The default of every member is what its specification says an absent one means.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the specifications define these members as booleans"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientProtocol {
    // Keys and authentication of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// Our own extension: what the `aud` of the client's assertions may be.
    #[serde(skip_serializing_if = "is_default")]
    pub client_assertion_audience: AssertionAudience,
    /// Our own extension: rules that the client keeps as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_profile: Option<SecurityProfile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_email: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_client_certificate_bound_access_tokens: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub dpop_bound_access_tokens: bool,

    // Authorization requests and responses.
    #[serde(skip_serializing_if = "is_default")]
    pub require_pushed_authorization_requests: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub require_signed_request_object: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object_signing_alg: Option<SigningAlg>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_uris: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_signed_response_alg: Option<SigningAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_encrypted_response_alg: Option<JweAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_encrypted_response_enc: Option<JweEnc>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub authorization_details_types: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub require_auth_time: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_acr_values: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiate_login_uri: Option<String>,

    // Tokens and claims.
    #[serde(skip_serializing_if = "is_default")]
    pub subject_type: SubjectType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sector_identifier_uri: Option<String>,
    /// Our own extension.
    #[serde(skip_serializing_if = "is_default")]
    pub access_token_format: AccessTokenFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_encrypted_response_alg: Option<JweAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_encrypted_response_enc: Option<JweEnc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userinfo_signed_response_alg: Option<SigningAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userinfo_encrypted_response_alg: Option<JweAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userinfo_encrypted_response_enc: Option<JweEnc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection_signed_response_alg: Option<SigningAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection_encrypted_response_alg: Option<JweAlg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection_encrypted_response_enc: Option<JweEnc>,

    // Logout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub backchannel_logout_session_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontchannel_logout_uri: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub frontchannel_logout_session_required: bool,

    // CIBA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_token_delivery_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_client_notification_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_authentication_request_signing_alg: Option<SigningAlg>,
    #[serde(skip_serializing_if = "is_default")]
    pub backchannel_user_code_parameter: bool,

    // About the software.
    #[serde(skip_serializing_if = "is_default")]
    pub application_type: ApplicationType,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// Members in other languages, by their whole names: `client_name#de` (RFC 7591 §2.2).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub localized: BTreeMap<String, String>,
}

/// Whether all clients see the same `sub` of a person (OpenID Connect Core §8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    #[default]
    Public,
    Pairwise,
}

/// What the `aud` of a client's assertions may be: never a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// The issuer (rfc7523bis, FAPI 2.0 §5.3.2.1): an assertion that somebody else's server talked the client into sending names that
    /// server, and is worth nothing here.
    #[default]
    Issuer,
    /// The issuer or the token endpoint's URL, which OpenID Connect Core §9 recommends, or that of another endpoint at which clients authenticate,
    /// since libraries name the one that they call: for clients that know no better.
    TokenEndpoint,
}

impl AssertionAudience {
    /// The most that a client may have that registered itself, and what it has if it says nothing of it: OpenID Connect Core §9 speaks for those, unless they keep FAPI's rules or
    /// are the same client everywhere, so that what they sign for another provider could pass here.
    pub fn of_stranger(client: &Client) -> Self {
        let is_strict = client.protocol.security_profile.is_some() || client.is_sender_constrained();
        match is_strict || client.client_id.as_metadata_url().is_some() {
            true => Self::Issuer,
            false => Self::TokenEndpoint,
        }
    }
}

/// What a client's access tokens look like to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessTokenFormat {
    /// RFC 9068.
    #[default]
    Jwt,
    /// To be introspected.
    Opaque,
}

/// OpenID Connect Registration §2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    #[default]
    Web,
    Native,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_stored_of_a_client_that_says_nothing() {
        assert_eq!(serde_json::to_string(&ClientProtocol::default()).unwrap(), "{}");
    }
}
