//! Clients of a document.

use std::{collections::BTreeSet, time::Duration};

use oauth_wire::{ClientAuthMethod, GrantType, RedirectUri, ResponseType, Scope, SigningAlg};
use service_kit::config::Problem;
use url::Url;

use super::{
    Apply, ApplyError,
    document::{ClientDoc, Document},
};
use crate::{
    application::client_rules,
    domain::{
        client::{Client, ClientLinks, ClientSecret, ClientStatus},
        ids::{ClientId, TenantId, UserId},
    },
};

pub(super) struct PlannedClient {
    pub(super) client: Client,
    pub(super) before: Option<Client>,
}

impl PlannedClient {
    pub(super) fn changes(&self) -> bool {
        self.before.as_ref() != Some(&self.client)
    }
}

/// Collects the faults of one client under its path.
struct Faults<'a> {
    path: String,
    problems: &'a mut Vec<Problem>,
}

impl Faults<'_> {
    fn add(&mut self, key: &str, reason: impl Into<String>) {
        self.problems.push(Problem::new(format!("{}.{key}", self.path), reason));
    }

    fn words<T: Copy>(&mut self, key: &str, texts: &[String], read: fn(&str) -> Option<T>) -> Vec<T> {
        let mut words = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            match read(text) {
                Some(word) => words.push(word),
                None => self.add(&format!("{key}[{at}]"), format!("{text:?} is not supported")),
            }
        }
        words
    }

    fn uris(&mut self, key: &str, texts: &[String]) -> Vec<RedirectUri> {
        let mut uris = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            match RedirectUri::parse(text) {
                Ok(uri) => uris.push(uri),
                Err(error) => self.add(&format!("{key}[{at}]"), error.to_string()),
            }
        }
        uris
    }

    fn link(&mut self, key: &str, text: Option<&String>) -> Option<String> {
        let text = text?;
        let fine = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
        if !fine {
            self.add(key, "must be an http or https URL");
        }
        Some(text.clone())
    }

    fn alg(&mut self, key: &str, text: Option<&String>, default: SigningAlg) -> SigningAlg {
        let Some(text) = text else { return default };
        SigningAlg::from_wire(text).unwrap_or_else(|| {
            self.add(key, format!("{text:?} is not supported"));
            default
        })
    }

    fn lifetime(&mut self, key: &str, seconds: Option<u64>, longest: Duration) -> Option<Duration> {
        let lifetime = Duration::from_secs(seconds?);
        if lifetime.is_zero() || lifetime > longest {
            self.add(key, format!("must be 1 to {} seconds", longest.as_secs()));
        }
        Some(lifetime)
    }
}

impl Apply {
    pub(super) async fn plan_clients(
        &self,
        document: &Document,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<PlannedClient>, ApplyError> {
        let mut planned = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, doc) in document.client.iter().enumerate() {
            let mut faults = Faults {
                path: format!("client[{at}]"),
                problems,
            };
            if !seen.insert(doc.client_id.as_str()) {
                faults.add("client_id", "stands twice in the document");
            }
            // A resource server must be able to tell a machine from a person (RFC 9700 §4.15).
            let is_sub = document
                .user
                .iter()
                .any(|user| user.sub.as_ref() == Some(&doc.client_id));
            if is_sub || self.users.find_user(&UserId::new(&*doc.client_id)).await?.is_some() {
                faults.add("client_id", "is the sub of a person");
            }
            let before = self.clients.find_client(&ClientId::new(&*doc.client_id)).await?;
            let client = self.client(doc, before.as_ref(), &mut faults)?;
            planned.push(PlannedClient { client, before });
        }
        Ok(planned)
    }

    fn client(&self, doc: &ClientDoc, before: Option<&Client>, faults: &mut Faults<'_>) -> Result<Client, ApplyError> {
        // Characters that no encoding changes, so that raw and form-encoded Basic credentials coincide.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
        if doc.client_id.is_empty() || doc.client_id.len() > 128 || !doc.client_id.chars().all(plain) {
            faults.add("client_id", "must have 1 to 128 characters of A-Z a-z 0-9 - . _ ~");
        }
        let grant_types: BTreeSet<GrantType> = match &doc.grant_types {
            Some(texts) => faults
                .words("grant_types", texts, GrantType::from_wire)
                .into_iter()
                .collect(),
            None => [GrantType::AuthorizationCode].into(),
        };
        let response_types = match &doc.response_types {
            Some(texts) => faults
                .words("response_types", texts, ResponseType::from_wire)
                .into_iter()
                .collect(),
            None if grant_types.contains(&GrantType::AuthorizationCode) => [ResponseType::Code].into(),
            None => BTreeSet::new(),
        };
        let scope = doc.scope.parse().unwrap_or_else(|error: oauth_wire::ScopeError| {
            faults.add("scope", error.to_string());
            Scope::default()
        });
        let method = method(doc, before, faults);
        let client = Client {
            client_id: ClientId::new(&*doc.client_id),
            tenant: TenantId::new(&*doc.tenant),
            client_name: doc.client_name.clone().unwrap_or_else(|| doc.client_id.clone()),
            secrets: self.secrets(doc, before, method, faults)?,
            token_endpoint_auth_method: method,
            redirect_uris: faults.uris("redirect_uris", &doc.redirect_uris),
            post_logout_redirect_uris: faults.uris("post_logout_redirect_uris", &doc.post_logout_redirect_uris),
            grant_types,
            response_types,
            scope,
            links: ClientLinks {
                client_uri: faults.link("client_uri", doc.client_uri.as_ref()),
                logo_uri: faults.link("logo_uri", doc.logo_uri.as_ref()),
                policy_uri: faults.link("policy_uri", doc.policy_uri.as_ref()),
                tos_uri: faults.link("tos_uri", doc.tos_uri.as_ref()),
            },
            first_party: doc.first_party,
            auto_approve: doc.auto_approve,
            require_pkce: doc.require_pkce,
            access_token_ttl: faults.lifetime(
                "access_token_ttl",
                doc.access_token_ttl,
                self.policy.lifetimes.max_access_token,
            ),
            refresh_token_ttl: faults.lifetime(
                "refresh_token_ttl",
                doc.refresh_token_ttl,
                self.policy.lifetimes.refresh_absolute,
            ),
            id_token_signed_response_alg: faults.alg(
                "id_token_signed_response_alg",
                doc.id_token_signed_response_alg.as_ref(),
                SigningAlg::Rs256,
            ),
            access_token_signing_alg: faults.alg(
                "access_token_signing_alg",
                doc.access_token_signing_alg.as_ref(),
                SigningAlg::Es256,
            ),
            ai_interfaces: doc.ai_interfaces.clone(),
            permissions: doc.permissions.clone(),
            protocol: doc.protocol.clone(),
            status: match doc.enabled {
                Some(true) => ClientStatus::Active,
                Some(false) => ClientStatus::Disabled,
                None => before.map_or(ClientStatus::Active, |before| before.status),
            },
        };
        for fault in client_rules::faults(&client, &self.policy) {
            faults.add(fault.member, fault.reason);
        }
        Ok(client)
    }

    /// The secret of the document, kept as it is when the database has it already.
    fn secrets(
        &self,
        doc: &ClientDoc,
        before: Option<&Client>,
        method: ClientAuthMethod,
        faults: &mut Faults<'_>,
    ) -> Result<Vec<ClientSecret>, ApplyError> {
        let stored = before.map(|client| client.secrets.clone()).unwrap_or_default();
        match (&doc.client_secret, method) {
            (None, ClientAuthMethod::None) => Ok(Vec::new()),
            (Some(_), ClientAuthMethod::None) => {
                faults.add(
                    "client_secret",
                    "a public client (token_endpoint_auth_method = \"none\") has no secret",
                );
                Ok(Vec::new())
            }
            (None, _) => {
                if stored.is_empty() {
                    faults.add("client_secret", "is missing");
                }
                Ok(stored)
            }
            (Some(secret), _) => match self.secrets.matches(secret, &stored, self.clock.now())? {
                true => Ok(stored),
                false => Ok(vec![self.secrets.seal(secret, None)?]),
            },
        }
    }
}

fn method(doc: &ClientDoc, before: Option<&Client>, faults: &mut Faults<'_>) -> ClientAuthMethod {
    match &doc.token_endpoint_auth_method {
        // RFC 7591 §2: the default is client_secret_basic.
        None => before.map_or(ClientAuthMethod::ClientSecretBasic, |client| {
            client.token_endpoint_auth_method
        }),
        Some(text) => ClientAuthMethod::from_wire(text).unwrap_or_else(|| {
            faults.add(
                "token_endpoint_auth_method",
                "must be client_secret_basic, client_secret_post or none",
            );
            ClientAuthMethod::ClientSecretBasic
        }),
    }
}
