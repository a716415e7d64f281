//! What the operator lets strangers register.

use std::{collections::BTreeSet, time::Duration};

use oauth_wire::{GrantType, Scope};
use serde_json::{Map, Value};

use super::{fault::Faults, metadata::Reach};
use crate::domain::{client::Client, registration::HostRule, throttle::ThrottlePolicy};

/// Who may register a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationMode {
    Off,
    /// Who has a token from the operator (RFC 7591 §3).
    InitialAccessToken,
    /// Anybody.
    Open,
}

/// Bounds of registration by strangers.
#[derive(Debug, Clone)]
pub struct RegistrationPolicy {
    pub mode: RegistrationMode,
    /// Hosts that redirect URIs may lead to; none: any.
    pub hosts: Vec<HostRule>,
    pub grant_types: BTreeSet<GrantType>,
    pub scopes: Scope,
    /// Of clients that ask for no scope.
    pub default_scope: Scope,
    pub require_pkce: bool,
    /// Whether every update of a registration brings a new registration access token (RFC 7592 §2.2 leaves it open).
    pub rotate_access_token: bool,
    pub max_clients: u32,
    /// Requests to register from one address.
    pub throttle: ThrottlePolicy,
    /// Whether clients may be described at the URL that is their id, wherever `mode` stands.
    pub metadata_documents: bool,
    /// Hosts of such URLs; none: any.
    pub metadata_hosts: Vec<HostRule>,
    /// Scopes of such clients.
    pub metadata_scopes: Scope,
    /// A client that nobody uses for this long is removed.
    pub unused_ttl: Duration,
    /// Holds for documents, too.
    pub reach: Reach,
}

impl RegistrationPolicy {
    /// Holds what a stranger registers to the operator's bounds, and fills in what they left open.
    pub(super) fn bound(&self, client: &mut Client, metadata: &Map<String, Value>, faults: &mut Faults) {
        for (name, uris) in [
            ("redirect_uris", &client.redirect_uris),
            ("post_logout_redirect_uris", &client.post_logout_redirect_uris),
        ] {
            for (at, uri) in uris.iter().enumerate() {
                if !HostRule::allow(&self.hosts, uri.as_str()) {
                    faults.add(format!("{name}[{at}]"), "is at a host that is not allowed here");
                }
            }
        }
        for grant in client.grant_types.difference(&self.grant_types) {
            faults.add("grant_types", format!("{} is not allowed here", grant.as_str()));
        }
        client.scope = match metadata.get("scope").and_then(Value::as_str).unwrap_or_default() {
            "" => self.default_scope.clone(),
            // RFC 7591 §3.2.1: a server may put other values in place of those that were asked for, and tells so.
            _ => client.scope.intersection(&self.scopes),
        };
        if client.scope.is_empty() && !self.default_scope.is_empty() {
            faults.add("scope", "holds no scope that is allowed here");
        }
        // Who keeps FAPI's rules, by name or by binding its tokens, does PKCE as well (FAPI 2.0 §5.3.2.2).
        let is_strict = client.protocol.security_profile.is_some() || client.is_sender_constrained();
        client.require_pkce = self.require_pkce || is_strict || client.is_public();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Anybody may register what is common.
    pub(crate) fn policy() -> RegistrationPolicy {
        let scope: Scope = "openid profile email".parse().unwrap();
        RegistrationPolicy {
            mode: RegistrationMode::Open,
            hosts: Vec::new(),
            grant_types: [GrantType::AuthorizationCode, GrantType::RefreshToken].into(),
            default_scope: scope.clone(),
            metadata_documents: true,
            metadata_hosts: Vec::new(),
            metadata_scopes: scope.clone(),
            scopes: scope,
            require_pkce: true,
            rotate_access_token: false,
            max_clients: 100,
            throttle: ThrottlePolicy {
                limit: 100,
                window: Duration::from_secs(3600),
            },
            unused_ttl: Duration::from_secs(90 * 24 * 3600),
            reach: Reach::default(),
        }
    }
}
