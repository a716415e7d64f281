//! What an operator does from the command line: lock people, disable clients, set passwords, rotate secrets, keep house.

use std::sync::Arc;

use oauth_wire::Revoked;
use secrecy::SecretString;
use service_kit::{Clock, Entropy, Timestamp};

use crate::{
    application::{
        authenticate_client::{ClientSecrets, new_secret},
        policy::Policy,
        register::cimd::outline,
        revocations::RevocationLog,
        subjects::Subjects,
        token_error::TokenError,
    },
    domain::{
        client::{Client, ClientStatus},
        ids::{ClientId, TenantId, UserId, Username},
        logout::LogoutPlan,
        user::{User, UserStatus},
    },
    ports::{
        crypto::{PasswordError, PasswordHasher},
        store::{Clients, PageRequest, RecordedRevocation, StoreError, StoreResult, StoreTx, Transactions, Users},
    },
};

/// Rows read at a time when everything is listed.
pub(super) const PAGE: u32 = 200;

/// Up to which second of issue a revocation by time ends tokens. Nodes may serve what they remember for a fraction of a second more, and
/// a request under way may sign just after the change, so the second that follows is included.
pub(super) fn cutoff(now: Timestamp) -> i64 {
    now.as_seconds() + 1
}

/// Why an operation was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    #[error("there is no user named {0}")]
    NoSuchUser(String),
    #[error("there is no client {0}")]
    NoSuchClient(String),
    #[error("client {0} authenticates by {1}: it has no secret")]
    NoSecret(String, &'static str),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("{0}")]
    Secret(#[from] TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The operator's use cases.
#[derive(Clone)]
pub struct Operate {
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

impl std::fmt::Debug for Operate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operate").finish_non_exhaustive()
    }
}

impl Operate {
    /// A person by user name.
    ///
    /// # Errors
    /// [`OperateError::NoSuchUser`].
    pub async fn user(&self, tenant: &TenantId, name: &str) -> Result<User, OperateError> {
        let unknown = || OperateError::NoSuchUser(name.to_owned());
        let folded = Username::parse(name).map_err(|_| unknown())?;
        self.users.find_user_by_name(tenant, &folded).await?.ok_or_else(unknown)
    }

    /// Every person of a tenant, by user name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all_users(&self, tenant: &TenantId) -> StoreResult<Vec<User>> {
        let mut all: Vec<User> = Vec::new();
        loop {
            let after = all.last().map(|user| user.username.as_str().to_owned());
            let page = self
                .users
                .list_users(tenant, PageRequest { after, limit: PAGE })
                .await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Every client, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all_clients(&self) -> StoreResult<Vec<Client>> {
        let mut all: Vec<Client> = Vec::new();
        loop {
            let after = all.last().map(|client| client.client_id.as_str().to_owned());
            let page = self.clients.list_clients(PageRequest { after, limit: PAGE }).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Locks, unlocks or deletes an account. Unless it becomes active, everything that it holds ends.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn set_user_status(&self, user: &User, status: UserStatus) -> Result<(), OperateError> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        tx.set_user_status(&user.sub, status, now).await?;
        let revocations = match status {
            UserStatus::Active => Vec::new(),
            UserStatus::Locked | UserStatus::Deleted => {
                end_everything_of(tx.as_mut(), &self.revocations, &self.subjects, &user.sub, now).await?
            }
        };
        tx.bump_revision().await?;
        tx.commit().await?;
        self.revocations.announce(revocations);
        Ok(())
    }

    /// Signs a person out everywhere: what they hold ends, and they may sign in anew.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn sign_out(&self, user: &User) -> Result<(), OperateError> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        let revocations = end_everything_of(tx.as_mut(), &self.revocations, &self.subjects, &user.sub, now).await?;
        tx.commit().await?;
        self.revocations.announce(revocations);
        Ok(())
    }

    /// Sets a password; every session and token of the person ends (they may have been somebody else's).
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn set_password(&self, user: &User, password: SecretString) -> Result<(), OperateError> {
        let hash = self.hasher.hash(password).await?;
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        tx.set_password(&user.sub, &hash, now).await?;
        let revocations = end_everything_of(tx.as_mut(), &self.revocations, &self.subjects, &user.sub, now).await?;
        tx.bump_revision().await?;
        tx.commit().await?;
        self.revocations.announce(revocations);
        Ok(())
    }

    /// Enables or disables a client. A disabled one loses every token, and everything that it could have turned into one.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn set_client_status(&self, id: &ClientId, status: ClientStatus) -> Result<(), OperateError> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        if !tx.set_client_status(id, status, now).await? {
            // A client that is described at its URL has no row until it is kept out by one.
            if status == ClientStatus::Active || id.as_metadata_url().is_none() {
                return Err(OperateError::NoSuchClient(id.to_string()));
            }
            let blocked = Client {
                status,
                ..outline(id, &self.policy)
            };
            tx.upsert_client(&blocked, now).await?;
        }
        let revocation = match status {
            ClientStatus::Active => None,
            ClientStatus::Disabled => Some(end_everything_of_client(tx.as_mut(), &self.revocations, id, now).await?),
        };
        tx.bump_revision().await?;
        tx.commit().await?;
        self.revocations.announce(revocation);
        Ok(())
    }

    /// Gives a client a new secret and returns it, once. The one before works for `overlap` longer, so that the client can be changed over.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn rotate_secret(
        &self,
        id: &ClientId,
        overlap: std::time::Duration,
    ) -> Result<SecretString, OperateError> {
        let client = self
            .clients
            .find_client(id)
            .await?
            .ok_or_else(|| OperateError::NoSuchClient(id.to_string()))?;
        let method = client.token_endpoint_auth_method;
        if !method.has_secret() {
            return Err(OperateError::NoSecret(id.to_string(), method.as_str()));
        }
        let secret = new_secret(&*self.entropy);
        let now = self.clock.now();
        let mut secrets = vec![self.secrets.seal(id, method, &secret, None)?];
        // The one before only: at most two work at once.
        let before = client
            .secrets
            .iter()
            .find(|one| one.expires_at.is_none_or(|at| at > now))
            .cloned();
        secrets.extend(before.map(|before| crate::domain::client::ClientSecret {
            expires_at: Some(before.expires_at.map_or(now + overlap, |at| at.min(now + overlap))),
            ..before
        }));
        let mut tx = self.transactions.begin().await?;
        tx.set_client_secrets(id, &secrets, now).await?;
        tx.bump_revision().await?;
        tx.commit().await?;
        Ok(secret)
    }
}

/// Ends all that a person holds: sessions, refresh tokens, codes, and with the revocations, once announced, access tokens. There is one per name
/// by which resource servers know the person. The nodes tell the applications.
pub(super) async fn end_everything_of(
    tx: &mut dyn StoreTx,
    revocations: &RevocationLog,
    subjects: &Subjects,
    sub: &UserId,
    now: Timestamp,
) -> StoreResult<Vec<RecordedRevocation>> {
    for sid in tx.end_sessions_of(sub, None, now).await? {
        tx.queue_logouts(&sid, LogoutPlan::for_anybody(now)).await?;
    }
    tx.revoke_families_of_user(sub, None, now).await?;
    tx.take_codes_of(sub, None).await?;
    let mut recorded = Vec::new();
    for revoked in subjects.names_of(tx, sub, cutoff(now)).await? {
        let revocation = revocations.revocation(revoked);
        tx.record_revocation(&revocation).await?;
        recorded.push(revocation);
    }
    Ok(recorded)
}

/// Ends all that a client holds, and all that waits for it: what was allowed before must not be fetched by whoever has the client when it is let
/// in again.
pub(super) async fn end_everything_of_client(
    tx: &mut dyn StoreTx,
    revocations: &RevocationLog,
    id: &ClientId,
    now: Timestamp,
) -> StoreResult<RecordedRevocation> {
    // Families before codes: in the order in which the end of a person or of a permission takes them, so that neither blocks the other.
    tx.revoke_families_of_client(id, now).await?;
    tx.take_requests_of_client(id).await?;
    // Again: a code that was being redeemed meanwhile was waited for, and has left a family.
    tx.revoke_families_of_client(id, now).await?;
    let revocation = revocations.revocation(Revoked::Client {
        client_id: id.as_str().to_owned(),
        before: cutoff(now),
    });
    tx.record_revocation(&revocation).await?;
    Ok(revocation)
}
