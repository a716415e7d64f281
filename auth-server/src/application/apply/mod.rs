//! Declarative documents: validated whole, then written in one transaction, idempotent.

mod client;
mod directory;
mod document;
mod user;

use std::{collections::BTreeMap, fmt, sync::Arc};

use service_kit::{Clock, Entropy, config::Problem};

use crate::{
    application::{
        authenticate_client::ClientSecrets,
        operate::{PAGE, cutoff, end_everything_of, end_everything_of_client},
        policy::Policy,
        revocations::RevocationLog,
        subjects::Subjects,
        token_error::TokenError,
    },
    domain::{
        client::{Client, ClientStatus},
        ids::{ClientId, TenantId},
    },
    ports::{
        crypto::{PasswordError, PasswordHasher},
        registrations::RegistrationEnd,
        store::{Clients, PageRequest, StoreError, StoreTx, Transactions, Upserted, Users},
    },
};
use document::Document;
use oauth_wire::Revoked;

/// Applies documents.
#[derive(Clone)]
pub struct Apply {
    pub policy: Arc<Policy>,
    pub users: Arc<dyn Users>,
    pub clients: Arc<dyn Clients>,
    pub transactions: Arc<dyn Transactions>,
    pub hasher: Arc<dyn PasswordHasher>,
    pub secrets: ClientSecrets,
    pub revocations: Arc<RevocationLog>,
    pub subjects: Subjects,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Apply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apply").finish_non_exhaustive()
    }
}

/// Why a document was not applied. Nothing has been written then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Every fault that the document has, each with its path.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Secret(#[from] TokenError),
}

/// What a document changed, by kind of row.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    counts: BTreeMap<&'static str, Counts>,
    revoked: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    created: u32,
    updated: u32,
    unchanged: u32,
}

impl Report {
    fn count(&mut self, kind: &'static str, upserted: Upserted) {
        let counts = self.counts.entry(kind).or_default();
        match upserted {
            Upserted::Created => counts.created += 1,
            Upserted::Updated => counts.updated += 1,
            Upserted::Unchanged => counts.unchanged += 1,
        }
    }

    /// Whether the document ended what an account or a client held.
    pub fn has_revoked(&self) -> bool {
        self.revoked
    }

    /// Whether the document was what the database already said.
    pub fn is_unchanged(&self) -> bool {
        self.counts.values().all(|counts| counts.created + counts.updated == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (kind, counts) in &self.counts {
            let separator = if std::mem::take(&mut first) { "" } else { "\n" };
            let Counts {
                created,
                updated,
                unchanged,
            } = counts;
            write!(
                f,
                "{separator}{kind}: {created} created, {updated} updated, {unchanged} unchanged"
            )?;
        }
        Ok(())
    }
}

impl Apply {
    /// Applies one document (TOML text).
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn apply(&self, text: &str) -> Result<Report, ApplyError> {
        let document: Document = document::parse(text).map_err(|problem| ApplyError::Invalid(vec![problem]))?;
        let mut problems = Vec::new();
        let directory = directory::plan(&document, &mut problems);
        let clients = self.plan_clients(&document, &mut problems).await?;
        let users = self.plan_users(&document, &clients, &mut problems).await?;
        if !problems.is_empty() {
            return Err(ApplyError::Invalid(problems));
        }
        let concerned = self.clients_of(&directory.disabled_tenants()).await?;
        let mut report = Report::default();
        let mut revocations = Vec::new();
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        let disabled = directory.write(tx.as_mut(), now, &mut report).await?;
        for (client, _) in concerned.iter().filter(|(_, tenant)| disabled.contains(tenant)) {
            let revoked = Revoked::Client {
                client_id: client.to_string(),
                before: cutoff(now),
            };
            revocations.push(self.record(tx.as_mut(), revoked).await?);
        }
        for planned in &clients {
            let upserted = match planned.changes() {
                true => {
                    let id = &planned.client.client_id;
                    let upserted = tx.upsert_client(&planned.client, now).await?;
                    // Its operator speaks for the client from now on: whoever registered it must not say otherwise.
                    tx.end_registration(id, &RegistrationEnd::Adopted).await?;
                    upserted
                }
                false => Upserted::Unchanged,
            };
            report.count("client", upserted);
            let was_active = planned.before.as_ref().is_some_and(Client::is_active);
            if was_active && planned.client.status == ClientStatus::Disabled {
                let id = &planned.client.client_id;
                revocations.push(end_everything_of_client(tx.as_mut(), &self.revocations, id, now).await?);
            }
        }
        check_roles(tx.as_mut(), &users).await?;
        for planned in &users {
            let upserted = match planned.changes() {
                true => tx.upsert_user(&planned.user, now).await?,
                false => Upserted::Unchanged,
            };
            report.count("user", upserted);
            if planned.loses_access() {
                let sub = &planned.user.sub;
                revocations.extend(end_everything_of(tx.as_mut(), &self.revocations, &self.subjects, sub, now).await?);
            }
        }
        if !report.is_unchanged() {
            tx.bump_revision().await?;
        }
        tx.commit().await?;
        report.revoked = !revocations.is_empty();
        self.revocations.announce(revocations);
        Ok(report)
    }

    /// Clients of tenants that the document disables: resource servers have to hear that their tokens are over.
    async fn clients_of(&self, tenants: &[TenantId]) -> Result<Vec<(ClientId, TenantId)>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        while !tenants.is_empty() {
            let page = self.clients.list_clients(PageRequest { after, limit: PAGE }).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.client_id.as_str().to_owned());
            let theirs = page.into_iter().filter(|client| tenants.contains(&client.tenant));
            found.extend(theirs.map(|client| (client.client_id, client.tenant)));
        }
        Ok(found)
    }

    async fn record(
        &self,
        tx: &mut dyn StoreTx,
        revoked: Revoked,
    ) -> Result<crate::ports::store::RecordedRevocation, StoreError> {
        let revocation = self.revocations.revocation(revoked);
        tx.record_revocation(&revocation).await?;
        Ok(revocation)
    }
}

/// A role that exists neither in the document nor in the database is a typing error, not an empty role.
async fn check_roles(tx: &mut dyn StoreTx, users: &[user::PlannedUser]) -> Result<(), ApplyError> {
    let mut problems = Vec::new();
    for (at, planned) in users.iter().enumerate() {
        let known = tx.role_names(&planned.user.tenant).await?;
        for role in planned.user.roles.difference(&known) {
            problems.push(Problem::new(
                format!("user[{at}].roles"),
                format!("there is no role {role}"),
            ));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ApplyError::Invalid(problems))
    }
}
