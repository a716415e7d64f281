//! Issuers of assertions whose word about people is taken.

use std::{collections::HashSet, time::Duration};

use anyhow::Context as _;
use oauth_wire::{Scope, ScopeToken, SigningAlg};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use service_kit::config::Problem;
use token_keys::{ClientKeys, KeyFault};

use super::Config;
use crate::{
    application::assertion_issuers::{self, AssertionIssuer, IssuerKeys},
    domain::{client_auth::SIGNING_ALGS, ids::ClientId, reach::Target},
};

/// Longest `issuer`: it stands beside each `jti` that is remembered.
const MAX_ISSUER_BYTES: usize = 512;

/// Who vouches for people.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssertionIssuerConfig {
    /// `iss` of the assertions, compared byte for byte.
    pub issuer: String,
    /// Where the issuer's keys are (a JWK Set, RFC 7517 §5). It is asked like the `jwks_uri` of a client: see `outbound.allow_hosts`.
    pub jwks_uri: Option<String>,
    /// The keys themselves, in place of `jwks_uri`.
    pub jwks: Option<Map<String, Value>>,
    /// By which the issuer may sign.
    pub algorithms: Vec<String>,
    /// Clients, by id, that may present the assertions. They also need the grant, and `auto_approve`, since nobody is asked.
    pub clients: Vec<String>,
    /// The most that a token has which an assertion brings about.
    pub scopes: Vec<String>,
    /// What of an account of the client's tenant `sub` is: `username` or `sub`.
    pub names: NamedBy,
    /// Seconds that `exp` may lie ahead, 10 to 3600. A `jti` is remembered for as long.
    pub max_lifetime_s: u64,
}

/// What of an account `sub` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedBy {
    Username,
    Sub,
}

impl Default for AssertionIssuerConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            jwks_uri: None,
            jwks: None,
            algorithms: SigningAlg::ISSUED.iter().map(|alg| alg.as_str().to_owned()).collect(),
            clients: Vec::new(),
            scopes: Vec::new(),
            names: NamedBy::Username,
            max_lifetime_s: 300,
        }
    }
}

/// What is wrong with the list.
pub(super) fn problems(config: &Config, problems: &mut Vec<Problem>) {
    let mut known = HashSet::new();
    for (at, one) in config.assertion_issuers.iter().enumerate() {
        let mut add = |name: &str, reason: String| {
            problems.push(Problem::new(format!("assertion_issuers[{at}].{name}"), reason));
        };
        if one.issuer.is_empty() || one.issuer.len() > MAX_ISSUER_BYTES {
            add("issuer", format!("must have 1 to {MAX_ISSUER_BYTES} bytes"));
        }
        // Nothing that we sign ourselves is an assertion.
        if one.issuer == config.issuer {
            add("issuer", "must not be the provider itself".into());
        }
        if !known.insert(&one.issuer) {
            add("issuer", "stands twice".into());
        }
        one.key_problems(config, &mut add);
        one.limit_problems(&mut add);
    }
}

impl AssertionIssuerConfig {
    fn key_problems(&self, config: &Config, add: &mut impl FnMut(&str, String)) {
        match (&self.jwks, &self.jwks_uri) {
            (Some(_), Some(_)) | (None, None) => add("jwks", "either jwks or jwks_uri must be set".into()),
            (None, Some(uri)) => {
                // A host that cannot be read has been reported.
                if let Err(refusal) = Target::parse(uri, &config.outbound.allowed().unwrap_or_default()) {
                    add("jwks_uri", refusal.to_string());
                }
            }
            (Some(document), None) => match ClientKeys::from_document(document) {
                Err(error) => add("jwks", error.to_string()),
                Ok(keys) => {
                    for (at, fault) in keys.faults() {
                        if matches!(fault, KeyFault::Private | KeyFault::Symmetric) {
                            add("jwks", format!("keys[{at}]: {fault}"));
                        }
                    }
                    if !keys.can_verify(&self.algs()) {
                        add("jwks", "no key can verify one of the algorithms".into());
                    }
                }
            },
        }
        if self.algorithms.is_empty() {
            add("algorithms", "must not be empty".into());
        }
        for name in &self.algorithms {
            if SigningAlg::from_wire(name).is_none() {
                add(
                    "algorithms",
                    format!("{name:?} is not one of {}", SigningAlg::listed(&SIGNING_ALGS)),
                );
            }
        }
    }

    fn limit_problems(&self, add: &mut impl FnMut(&str, String)) {
        if self.clients.is_empty() {
            add("clients", "must name at least one client".into());
        }
        if self.scopes.is_empty() {
            add("scopes", "must name at least one scope".into());
        }
        for scope in &self.scopes {
            if ScopeToken::parse(scope).is_err() {
                add("scopes", format!("{scope:?} is not a scope"));
            }
        }
        if !(10..=3600).contains(&self.max_lifetime_s) {
            add("max_lifetime_s", "must be 10 to 3600 seconds".into());
        }
    }

    fn algs(&self) -> Vec<SigningAlg> {
        self.algorithms
            .iter()
            .filter_map(|name| SigningAlg::from_wire(name))
            .collect()
    }

    /// The same as the use case needs it.
    ///
    /// # Errors
    /// When the keys cannot be read, which has been reported by then.
    pub(super) fn read(&self) -> anyhow::Result<AssertionIssuer> {
        let keys = match (&self.jwks, &self.jwks_uri) {
            (Some(document), _) => IssuerKeys::Listed(ClientKeys::from_document(document)?),
            (None, uri) => IssuerKeys::At(uri.clone().context("assertion_issuers: no keys")?),
        };
        let scopes = self.scopes.iter().filter_map(|text| ScopeToken::parse(text).ok());
        Ok(AssertionIssuer {
            issuer: self.issuer.clone(),
            keys,
            algs: self.algs(),
            clients: self.clients.iter().map(ClientId::new).collect(),
            scopes: scopes.collect::<Scope>(),
            names: match self.names {
                NamedBy::Username => assertion_issuers::NamedBy::Username,
                NamedBy::Sub => assertion_issuers::NamedBy::Sub,
            },
            max_lifetime: Duration::from_secs(self.max_lifetime_s),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> AssertionIssuerConfig {
        AssertionIssuerConfig {
            issuer: "https://idp.example".into(),
            jwks_uri: Some("https://idp.example/jwks".into()),
            clients: vec!["orders".into()],
            scopes: vec!["ai:chat".into()],
            ..AssertionIssuerConfig::default()
        }
    }

    fn blamed(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config {
            assertion_issuers: vec![good()],
            ..Config::default()
        };
        change(&mut config);
        let mut found = Vec::new();
        problems(&config, &mut found);
        found.into_iter().map(|problem| problem.path).collect()
    }

    fn blamed_for(change: impl FnOnce(&mut AssertionIssuerConfig)) -> Vec<String> {
        blamed(|config| {
            let mut one = good();
            change(&mut one);
            config.assertion_issuers = vec![one];
        })
    }

    fn keys(members: &str) -> Option<Map<String, Value>> {
        serde_json::from_str(&format!("{{\"keys\":[{members}]}}")).unwrap()
    }

    #[test]
    fn each_setting_is_checked() {
        assert_eq!(blamed_for(|_| {}), Vec::<String>::new());
        assert_eq!(blamed_for(|one| one.issuer.clear()), ["assertion_issuers[0].issuer"]);
        assert_eq!(blamed_for(|one| one.jwks_uri = None), ["assertion_issuers[0].jwks"]);
        assert_eq!(blamed_for(|one| one.jwks = keys("")), ["assertion_issuers[0].jwks"]);
        assert_eq!(
            blamed_for(|one| one.jwks_uri = Some("http://idp.example/jwks".into())),
            ["assertion_issuers[0].jwks_uri"]
        );
        assert_eq!(
            blamed_for(|one| one.algorithms = vec!["none".into()]),
            ["assertion_issuers[0].algorithms"]
        );
        assert_eq!(
            blamed_for(|one| one.algorithms.clear()),
            ["assertion_issuers[0].algorithms"]
        );
        assert_eq!(blamed_for(|one| one.clients.clear()), ["assertion_issuers[0].clients"]);
        assert_eq!(blamed_for(|one| one.scopes.clear()), ["assertion_issuers[0].scopes"]);
        assert_eq!(
            blamed_for(|one| one.scopes.push("two words".into())),
            ["assertion_issuers[0].scopes"]
        );
        assert_eq!(
            blamed_for(|one| one.max_lifetime_s = 3601),
            ["assertion_issuers[0].max_lifetime_s"]
        );
    }

    #[test]
    fn nobody_stands_twice_and_the_provider_is_no_issuer() {
        assert_eq!(
            blamed(|config| config.assertion_issuers.push(good())),
            ["assertion_issuers[1].issuer"]
        );
        assert_eq!(
            blamed(|config| config.issuer = "https://idp.example".into()),
            ["assertion_issuers[0].issuer"]
        );
    }

    #[test]
    fn keys_that_verify_nothing_or_are_no_secret_any_more_are_refused() {
        let listed = |members: &'static str| {
            blamed_for(move |one| {
                one.jwks_uri = None;
                one.jwks = keys(members);
            })
        };
        let jwks = "assertion_issuers[0].jwks";
        assert_eq!(listed(""), [jwks]);
        assert_eq!(listed(r#"{"kty":"oct","k":"c2VjcmV0"}"#), [jwks, jwks]);
        let public = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(listed(public), Vec::<String>::new());
        let private = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
        assert_eq!(listed(private), [jwks, jwks]);
    }

    #[test]
    fn a_table_of_the_file_is_read_as_it_is_written() {
        let file = "[[assertion_issuers]]\nissuer = 'https://idp.example'\nclients = ['orders']\nscopes = ['ai:chat']\nnames = 'sub'\n\
                    [[assertion_issuers.jwks.keys]]\nkty = 'OKP'\ncrv = 'Ed25519'\nkid = 'Key-1'\n\
                    x = '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'\n";
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let config: Config = service_kit::config::load(Some(path.path())).unwrap();
        let [one] = config.trusted_issuers().unwrap().try_into().unwrap();
        assert_eq!(one.issuer, "https://idp.example");
        assert_eq!(one.names, assertion_issuers::NamedBy::Sub);
        assert!(matches!(one.keys, IssuerKeys::Listed(keys) if keys.can_verify(&[SigningAlg::EdDsa])));
    }
}
