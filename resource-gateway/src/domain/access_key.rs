//! Access keys: credentials of machines that sign their requests instead of fetching tokens.

use std::collections::BTreeSet;

use oauth_wire::{AI_SCOPE, Scope};
use secrecy::SecretString;
use service_kit::{Network, Timestamp};

use super::{
    ids::{AccessKeyId, ClientId, Subject, TenantId, check_name},
    interface::Capability,
    vendor::Switch,
};

/// What ids of access keys begin with, so that people and secret scanners know them.
pub const ID_PREFIX: &str = "hgk_";
/// What their secrets begin with.
pub const SECRET_PREFIX: &str = "hgks_";

const MAX_NAME_BYTES: usize = 256;
const MAX_ENTRIES: usize = 256;

/// What an operator decides about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// The client that calls by it. It shares the client's budgets and limits, and ends with it.
    pub client_id: ClientId,
    pub tenant: Option<TenantId>,
    /// Whom the key speaks for; the client itself when nobody is named.
    pub sub: Option<Subject>,
    /// `ai:<capability>` and `ai:<capability>:<interface>`.
    pub scopes: BTreeSet<String>,
    /// Interfaces that may be used; `None`: all that the scopes allow.
    pub interfaces: Option<BTreeSet<String>>,
    /// Where calls may come from; empty: from everywhere.
    pub ip_allow: Vec<Network>,
    pub enabled: Switch,
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingFault {
    /// The setting.
    pub path: &'static str,
    pub reason: SettingReason,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingReason {
    #[error("must have 1 to 256 bytes and no control characters")]
    Name,
    #[error("must be ai:<capability> or ai:<capability>:<interface>")]
    Scope,
    #[error("at least one scope is needed: a key without any opens nothing")]
    NoScope,
    #[error("is no name that an interface can have")]
    Interface,
    #[error("has more than 256 entries")]
    Long,
}

impl KeySettings {
    /// All that makes no sense.
    pub fn faults(&self) -> Vec<SettingFault> {
        let mut faults = Vec::new();
        let mut fault = |path, reason| faults.push(SettingFault { path, reason });
        for (path, text) in [
            ("client_id", Some(self.client_id.as_str())),
            ("tenant", self.tenant.as_ref().map(TenantId::as_str)),
            ("sub", self.sub.as_ref().map(Subject::as_str)),
        ] {
            let good =
                |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
            if !text.is_none_or(good) {
                fault(path, SettingReason::Name);
            }
        }
        if self.scopes.is_empty() {
            fault("scopes", SettingReason::NoScope);
        }
        for reason in self.scopes.iter().filter_map(|scope| check_scope(scope).err()) {
            fault("scopes", reason);
        }
        let names = self.interfaces.iter().flatten();
        for reason in names.filter_map(|name| check_interface(name).err()) {
            fault("interfaces", reason);
        }
        for (path, entries) in [
            ("scopes", self.scopes.len()),
            ("interfaces", self.interfaces.as_ref().map_or(0, BTreeSet::len)),
            ("ip_allow", self.ip_allow.len()),
        ] {
            if entries > MAX_ENTRIES {
                fault(path, SettingReason::Long);
            }
        }
        faults
    }

    /// The scopes as a token would have them.
    pub fn scope(&self) -> Scope {
        let words: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        words.join(" ").parse().unwrap_or_default()
    }

    /// Whom calls are made for.
    pub fn subject(&self) -> Subject {
        self.sub
            .clone()
            .unwrap_or_else(|| Subject::new(self.client_id.as_str()))
    }
}

/// `ai:<capability>` or `ai:<capability>:<interface>`. What opens the admin API is none: keys are for calls.
///
/// # Errors
/// [`SettingReason::Scope`].
pub fn check_scope(scope: &str) -> Result<(), SettingReason> {
    let mut parts = scope.strip_prefix(AI_SCOPE).unwrap_or_default().splitn(2, ':');
    let capability = parts.next().is_some_and(|word| Capability::parse(word).is_some());
    let interface = parts.next().is_none_or(|name| check_name(name).is_ok());
    let is_one = capability && interface;
    is_one.then_some(()).ok_or(SettingReason::Scope)
}

/// A name that an interface can have.
///
/// # Errors
/// [`SettingReason::Interface`].
pub fn check_interface(name: &str) -> Result<(), SettingReason> {
    check_name(name).map_err(|_| SettingReason::Interface)
}

/// A key as it is kept, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub id: AccessKeyId,
    pub settings: KeySettings,
    pub created_at: Timestamp,
    pub rotated_at: Option<Timestamp>,
    /// When an operator last stood by it: issued, rotated or replaced it. What revokes a client ends the keys that nobody has
    /// touched since.
    pub changed_at: Timestamp,
    /// To the minute or so.
    pub last_used_at: Option<Timestamp>,
    /// Until when the secret before the last rotation is good, too.
    pub previous_until: Option<Timestamp>,
    /// Counted up by every change of an operator's.
    pub version: i64,
}

/// What its holder signs with: two during a rotation.
#[derive(Debug, Clone)]
pub struct Secrets {
    pub current: SecretString,
    pub previous: Option<SecretString>,
}

/// Whose keys end with a revocation that the provider told of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ended {
    Client(ClientId),
    Subject(Subject),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> KeySettings {
        KeySettings {
            client_id: ClientId::new("service"),
            tenant: None,
            sub: None,
            scopes: ["ai:chat".to_owned(), "ai:embeddings:small".to_owned()].into(),
            interfaces: None,
            ip_allow: Vec::new(),
            enabled: Switch::On,
        }
    }

    #[test]
    fn every_fault_of_a_key_is_named() {
        assert_eq!(settings().faults(), []);
        let bad = KeySettings {
            client_id: ClientId::new(""),
            tenant: Some(TenantId::new("a\nb")),
            sub: Some(Subject::new("x".repeat(257))),
            scopes: ["admin", "ai:", "ai:chat:", "ai:chat:a b", "ai:sorcery", "openid"]
                .map(str::to_owned)
                .into(),
            interfaces: Some(["a/b".to_owned()].into()),
            ip_allow: vec!["10.0.0.1".parse().unwrap(); 257],
            enabled: Switch::On,
        };
        let paths: Vec<_> = bad.faults().into_iter().map(|fault| fault.path).collect();
        let wanted = [
            "client_id",
            "tenant",
            "sub",
            "scopes",
            "scopes",
            "scopes",
            "scopes",
            "scopes",
            "scopes",
            "interfaces",
            "ip_allow",
        ];
        assert_eq!(paths, wanted);
        let none = KeySettings {
            scopes: BTreeSet::new(),
            ..settings()
        };
        assert_eq!(none.faults()[0].reason, SettingReason::NoScope);
    }

    #[test]
    fn a_key_speaks_for_its_client_unless_somebody_is_named() {
        assert_eq!(settings().subject().as_str(), "service");
        let named = KeySettings {
            sub: Some(Subject::new("alice")),
            ..settings()
        };
        assert_eq!(named.subject().as_str(), "alice");
        assert_eq!(settings().scope().to_string(), "ai:chat ai:embeddings:small");
    }
}
