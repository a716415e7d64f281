//! Replies of the token and introspection endpoints.

use serde::{Deserialize, Serialize};

use crate::{authorization_details::AuthorizationDetails, grant::wire_enum, scope::Scope};

/// A successful answer of the token endpoint (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenReply {
    pub access_token: String,
    /// What it is, in a token exchange (RFC 8693 §2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
    pub token_type: TokenType,
    /// Seconds.
    pub expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Present only when it differs from what was asked for (RFC 6749 §5.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// What the access token permits, which may be less than what was asked for (RFC 9396 §7).
    #[serde(default, skip_serializing_if = "AuthorizationDetails::is_empty")]
    pub authorization_details: AuthorizationDetails,
}

impl std::fmt::Debug for TokenReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReply")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

wire_enum! {
    /// `token_type` values.
    TokenType {
        Bearer = "Bearer",
        /// Bound to a key (RFC 9449 §5).
        Dpop = "DPoP",
    }
}

wire_enum! {
    /// `token_type_hint` values (RFC 7009 §2.1). An unknown hint is ignored, so it is no error here.
    TokenTypeHint { AccessToken = "access_token", RefreshToken = "refresh_token" }
}

/// An answer of the introspection endpoint (RFC 7662 §2.2). `claims` holds what the token says, as it says it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IntrospectionReply {
    pub active: bool,
    #[serde(flatten)]
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl IntrospectionReply {
    /// RFC 7662 §2.2: nothing else is said about an inactive token.
    pub fn inactive() -> Self {
        Self {
            active: false,
            claims: serde_json::Map::new(),
        }
    }
}
