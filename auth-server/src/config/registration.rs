//! Clients that register themselves.

use std::time::Duration;

use oauth_wire::{GrantType, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::{
    application::register::{RegistrationMode, RegistrationPolicy, metadata::Reach},
    domain::{registration::HostRule, throttle::ThrottlePolicy},
};

/// Dynamic client registration (RFC 7591) at `/connect/register`. Clients that register themselves are third parties: they are never
/// `first_party` or `auto_approve`, hold no permissions, and cannot use the password grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationConfig {
    /// `off`, `initial_access_token` (whoever has a token of `auth-server client initial-token create`), or `open` (anybody, which is what
    /// MCP clients and OpenID Connect's dynamic clients count on; people are asked for their consent all the same).
    pub mode: Mode,
    /// Hosts that redirect URIs may lead to: names, IP addresses, or `*.` and a name for every host below it. Empty: any, and
    /// private-use schemes, too.
    pub allowed_hosts: Vec<String>,
    /// Grants that such clients may use. The password grant is never among them.
    pub grant_types: Vec<String>,
    /// Scopes that such clients may ask for; others are left out of what they register.
    pub scopes: Vec<String>,
    /// Scopes of clients that register none. Empty: all of `registration.scopes`.
    pub default_scopes: Vec<String>,
    /// Whether clients that can authenticate must use PKCE, too. Public ones always must (RFC 9700 §2.1.1); many OpenID Connect clients
    /// send a nonce instead, and the code is bound to their authentication.
    pub require_pkce: bool,
    /// Whether each update of a registration replaces its registration access token.
    pub rotate_access_token: bool,
    /// Whether a `client_id` may be an https URL at which the client describes itself (client-id metadata documents), as MCP clients do.
    /// Such clients need no registration, so this stands beside `registration.mode`.
    pub client_id_metadata_documents: bool,
    /// Hosts of such URLs, written as in `registration.allowed_hosts`. Empty: any.
    pub cimd_hosts: Vec<String>,
    /// Scopes that such clients may ask for.
    pub cimd_scopes: Vec<String>,
    /// Clients that can have registered themselves at a time.
    pub max_clients: u32,
    /// Requests to register that one address may make in a window, successful or not.
    pub max_attempts: u32,
    /// Length of the window in seconds.
    pub window_s: u64,
    /// Seconds without any use after which such a client is removed. Uses are noted by the day.
    pub unused_ttl_s: u64,
}

/// Who may register a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Off,
    InitialAccessToken,
    Open,
}

const DAY: u64 = 24 * 60 * 60;

impl Default for RegistrationConfig {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            mode: Mode::Open,
            allowed_hosts: Vec::new(),
            grant_types: texts(&["authorization_code", "refresh_token"]),
            scopes: texts(&["openid", "profile", "email", "phone", "address", "offline_access"]),
            default_scopes: Vec::new(),
            client_id_metadata_documents: true,
            cimd_hosts: Vec::new(),
            cimd_scopes: texts(&["openid", "profile", "email", "offline_access"]),
            require_pkce: false,
            rotate_access_token: false,
            max_clients: 10_000,
            max_attempts: 3_000,
            window_s: 3600,
            unused_ttl_s: 90 * DAY,
        }
    }
}

impl RegistrationConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut add = |name: &str, reason: String| problems.push(Problem::new(format!("registration.{name}"), reason));
        for (name, hosts) in [("allowed_hosts", &self.allowed_hosts), ("cimd_hosts", &self.cimd_hosts)] {
            for host in hosts {
                if let Err(error) = HostRule::parse(host) {
                    add(name, format!("{host:?} {error}"));
                }
            }
        }
        for grant in &self.grant_types {
            match GrantType::from_wire(grant) {
                None => add("grant_types", format!("{grant:?} is not supported")),
                Some(GrantType::Password) => add("grant_types", "the password grant is for first_party clients".into()),
                Some(_) => {}
            }
        }
        for (name, scopes) in [
            ("scopes", &self.scopes),
            ("default_scopes", &self.default_scopes),
            ("cimd_scopes", &self.cimd_scopes),
        ] {
            for scope in scopes {
                if oauth_wire::ScopeToken::parse(scope).is_err() {
                    add(name, format!("{scope:?} is not a scope"));
                }
            }
        }
        if !scope(&self.default_scopes).is_subset(&scope(&self.scopes)) {
            add("default_scopes", "must all be among registration.scopes".into());
        }
        if self.max_attempts == 0 {
            add("max_attempts", "must be at least 1".into());
        }
        if self.window_s == 0 {
            add("window_s", "must be at least 1 second".into());
        }
        // Uses are noted by the day, and tokens of up to a day outlive theirs.
        if !(2 * DAY..=3650 * DAY).contains(&self.unused_ttl_s) {
            add("unused_ttl_s", format!("must be {} to {} seconds", 2 * DAY, 3650 * DAY));
        }
    }

    /// The same as the use cases need it.
    pub fn policy(&self, reach: Reach) -> RegistrationPolicy {
        let scopes = scope(&self.scopes);
        RegistrationPolicy {
            mode: match self.mode {
                Mode::Off => RegistrationMode::Off,
                Mode::InitialAccessToken => RegistrationMode::InitialAccessToken,
                Mode::Open => RegistrationMode::Open,
            },
            hosts: hosts(&self.allowed_hosts),
            metadata_documents: self.client_id_metadata_documents,
            metadata_hosts: hosts(&self.cimd_hosts),
            metadata_scopes: scope(&self.cimd_scopes),
            grant_types: self
                .grant_types
                .iter()
                .filter_map(|grant| GrantType::from_wire(grant))
                .collect(),
            default_scope: match self.default_scopes.as_slice() {
                [] => scopes.clone(),
                some => scope(some),
            },
            scopes,
            require_pkce: self.require_pkce,
            rotate_access_token: self.rotate_access_token,
            max_clients: self.max_clients,
            throttle: ThrottlePolicy {
                limit: self.max_attempts,
                window: Duration::from_secs(self.window_s),
            },
            unused_ttl: Duration::from_secs(self.unused_ttl_s),
            reach,
        }
    }
}

fn hosts(texts: &[String]) -> Vec<HostRule> {
    texts.iter().filter_map(|host| HostRule::parse(host).ok()).collect()
}

fn scope(tokens: &[String]) -> Scope {
    tokens
        .iter()
        .filter_map(|token| oauth_wire::ScopeToken::parse(token).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_setting_is_named() {
        let config = RegistrationConfig {
            allowed_hosts: vec!["*.example".into()],
            grant_types: vec!["password".into(), "implicit".into()],
            scopes: vec!["open id".into()],
            default_scopes: vec!["admin".into()],
            cimd_hosts: vec!["https://app.example".into()],
            cimd_scopes: vec!["a\"b".into()],
            max_attempts: 0,
            window_s: 0,
            unused_ttl_s: 2 * DAY - 1,
            ..RegistrationConfig::default()
        };
        let mut problems = Vec::new();
        config.problems(&mut problems);
        let named: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            named,
            [
                "registration.allowed_hosts",
                "registration.cimd_hosts",
                "registration.grant_types",
                "registration.grant_types",
                "registration.scopes",
                "registration.cimd_scopes",
                "registration.default_scopes",
                "registration.max_attempts",
                "registration.window_s",
                "registration.unused_ttl_s",
            ]
        );
    }
}
