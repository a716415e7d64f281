//! OAuth clients: registered applications and machines.

use std::{collections::BTreeSet, fmt, time::Duration};

pub use oauth_wire::SigningAlg;
use oauth_wire::{ClientAuthMethod, GrantType, RedirectUri, ResponseType, Scope};
use serde::{Deserialize, Serialize};
use service_kit::Timestamp;

use super::{
    client_protocol::ClientProtocol,
    ids::{ClientId, TenantId},
};

/// Lets a client ask about any token (RFC 7662), also one that was not issued for it.
pub const PERMISSION_INTROSPECT: &str = "token:introspect";
/// Lets a client poll the security events of all clients (RFC 8936).
pub const PERMISSION_POLL_EVENTS: &str = "events:poll";

/// A registered client. Field names are those of RFC 7591 where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub client_id: ClientId,
    pub tenant: TenantId,
    pub client_name: String,
    /// At most two are valid at once, during a rotation.
    pub secrets: Vec<ClientSecret>,
    pub token_endpoint_auth_method: ClientAuthMethod,
    pub redirect_uris: Vec<RedirectUri>,
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    pub grant_types: BTreeSet<GrantType>,
    pub response_types: BTreeSet<ResponseType>,
    /// Every scope that the client may ask for.
    pub scope: Scope,
    pub links: ClientLinks,
    /// One of the operator's own applications: the only kind that may use the password grant.
    pub first_party: bool,
    /// No consent page: the operator has consented for everybody.
    pub auto_approve: bool,
    /// On by default (OAuth 2.1 §7.5). An operator may turn it off for a confidential client that protects itself by `nonce`.
    pub require_pkce: bool,
    pub access_token_ttl: Option<Duration>,
    /// Idle lifetime of refresh tokens.
    pub refresh_token_ttl: Option<Duration>,
    pub id_token_signed_response_alg: SigningAlg,
    /// Our own extension: the algorithm of the client's access tokens.
    pub access_token_signing_alg: SigningAlg,
    /// Interfaces of the gateway that the client may call; `None`: all that its scopes allow.
    pub ai_interfaces: Option<BTreeSet<String>>,
    /// Permission codes of the client itself, such as [`PERMISSION_INTROSPECT`].
    pub permissions: BTreeSet<String>,
    pub status: ClientStatus,
    pub protocol: ClientProtocol,
}

/// Whether a client may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientStatus {
    Active,
    Disabled,
}

/// Where a person can read about a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientLinks {
    pub client_uri: Option<String>,
    pub logo_uri: Option<String>,
    pub policy_uri: Option<String>,
    pub tos_uri: Option<String>,
}

/// A client secret at rest: a keyed hash. Secrets are made by machines, so a password hash would only cost time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    /// HMAC-SHA256 under a key derived from the master key, base64url.
    pub mac: String,
    /// When the secret stops working; set on the older one during a rotation.
    pub expires_at: Option<Timestamp>,
    /// The secret itself, sealed under the master key, base64url: only `client_secret_jwt` needs it, to verify what is under a MAC with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecret")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub fn is_active(&self) -> bool {
        self.status == ClientStatus::Active
    }

    pub fn is_public(&self) -> bool {
        self.token_endpoint_auth_method == ClientAuthMethod::None
    }

    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    pub fn holds(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }

    /// What the client says in a language in place of one of its members (RFC 7591 §2.2): `zh` finds `client_name#zh` and, without
    /// that, `client_name#zh-Hans`.
    pub fn in_language(&self, member: &str, language: &str) -> Option<&str> {
        let mut localized = self.protocol.localized.iter();
        localized.find_map(|(name, text)| {
            let (base, tag) = name.split_once('#')?;
            let primary = tag.split('-').next()?;
            (base == member && primary.eq_ignore_ascii_case(language)).then_some(text.as_str())
        })
    }

    /// The registered URI that `asked` is, compared as RFC 9700 §2.1 asks: as strings, but for the loopback port of an app that runs on the
    /// person's own device (RFC 8252 §7.3). Such an app cannot keep a secret, so only a public client is one.
    pub fn redirect_uri(&self, asked: &str) -> Option<&RedirectUri> {
        let same = |registered: &&RedirectUri| match self.is_public() {
            true => registered.matches(asked),
            false => registered.as_str() == asked,
        };
        self.redirect_uris.iter().find(same)
    }

    pub fn post_logout_redirect_uri(&self, asked: &str) -> Option<&RedirectUri> {
        self.post_logout_redirect_uris
            .iter()
            .find(|registered| registered.as_str() == asked)
    }
}
