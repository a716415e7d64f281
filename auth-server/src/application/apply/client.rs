//! Clients of a document.

use std::{collections::BTreeSet, time::Duration};

use oauth_wire::ClientAuthMethod;
use secrecy::ExposeSecret as _;
use service_kit::config::Problem;

use super::{
    Apply, ApplyError,
    document::{ClientDoc, Document},
};
use crate::{
    application::{
        client_rules,
        register::{
            fault::Faults,
            metadata::{self, Frame, Speaker},
        },
    },
    domain::{
        client::{Client, ClientSecret, ClientStatus},
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

impl Apply {
    pub(super) async fn plan_clients(
        &self,
        document: &Document,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<PlannedClient>, ApplyError> {
        let mut planned = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, doc) in document.client.iter().enumerate() {
            let mut faults = Faults::default();
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
            problems.extend(
                faults
                    .into_iter()
                    .map(|fault| Problem::new(format!("client[{at}].{}", fault.member), fault.reason)),
            );
        }
        Ok(planned)
    }

    fn client(&self, doc: &ClientDoc, before: Option<&Client>, faults: &mut Faults) -> Result<Client, ApplyError> {
        // Characters that no encoding changes, so that raw and form-encoded Basic credentials coincide.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
        if doc.client_id.is_empty() || doc.client_id.len() > 128 || !doc.client_id.chars().all(plain) {
            faults.add("client_id", "must have 1 to 128 characters of A-Z a-z 0-9 - . _ ~");
        }
        let frame = Frame {
            client_id: ClientId::new(&*doc.client_id),
            tenant: TenantId::new(&*doc.tenant),
            speaker: Speaker::Operator,
            // RFC 7591 §2. What an earlier document said does not matter: a document means the same whenever it comes.
            default_method: ClientAuthMethod::ClientSecretBasic,
            reach: &self.policy.registration.reach,
        };
        let described = metadata::read(&doc.metadata, frame, faults);
        let lifetimes = &self.policy.lifetimes;
        let mut client = Client {
            first_party: doc.first_party,
            auto_approve: doc.auto_approve,
            require_pkce: doc.require_pkce,
            access_token_ttl: lifetime(
                "access_token_ttl",
                doc.access_token_ttl,
                lifetimes.max_access_token,
                faults,
            ),
            refresh_token_ttl: lifetime(
                "refresh_token_ttl",
                doc.refresh_token_ttl,
                lifetimes.refresh_absolute,
                faults,
            ),
            ai_interfaces: doc.ai_interfaces.clone(),
            permissions: doc.permissions.clone(),
            status: match doc.enabled {
                Some(true) => ClientStatus::Active,
                Some(false) => ClientStatus::Disabled,
                None => before.map_or(ClientStatus::Active, |before| before.status),
            },
            ..described
        };
        client.secrets = self.secrets(doc, before, &client, faults)?;
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
        client: &Client,
        faults: &mut Faults,
    ) -> Result<Vec<ClientSecret>, ApplyError> {
        let (id, method) = (&client.client_id, client.token_endpoint_auth_method);
        let stored = before.map(|client| client.secrets.clone()).unwrap_or_default();
        // Only this method keeps the secret itself, and it cannot do without.
        let is_kept = |one: &ClientSecret| one.sealed.is_some() == (method == ClientAuthMethod::ClientSecretJwt);
        let Some(secret) = &doc.client_secret else {
            return Ok(match method {
                _ if !method.has_secret() => Vec::new(),
                ClientAuthMethod::ClientSecretJwt if !stored.iter().all(is_kept) => {
                    faults.add("client_secret", "must be given again for client_secret_jwt");
                    Vec::new()
                }
                _ if stored.is_empty() => {
                    faults.add("client_secret", "is missing");
                    Vec::new()
                }
                ClientAuthMethod::ClientSecretJwt => stored,
                _ => stored
                    .into_iter()
                    .map(|one| ClientSecret { sealed: None, ..one })
                    .collect(),
            });
        };
        if !method.has_secret() {
            let reason = format!(
                "a client with token_endpoint_auth_method = \"{}\" has no secret",
                method.as_str()
            );
            faults.add("client_secret", reason);
            return Ok(Vec::new());
        }
        let least = client.min_secret_bytes();
        if secret.expose_secret().len() < least {
            faults.add("client_secret", format!("must have at least {least} bytes"));
        }
        match self.secrets.matches(secret, &stored, self.clock.now())? && stored.iter().all(is_kept) {
            true => Ok(stored),
            false => Ok(vec![self.secrets.seal(id, method, secret, None)?]),
        }
    }
}

fn lifetime(name: &str, seconds: Option<u64>, longest: Duration, faults: &mut Faults) -> Option<Duration> {
    let lifetime = Duration::from_secs(seconds?);
    if lifetime.is_zero() || lifetime > longest {
        faults.add(name, format!("must be 1 to {} seconds", longest.as_secs()));
    }
    Some(lifetime)
}
