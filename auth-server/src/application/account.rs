//! What a person sees and ends on the account page.

use std::sync::Arc;

use oauth_wire::Revoked;
use service_kit::Clock;

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        logout_delivery::Told,
        revocations::RevocationLog,
        sign_out::{Ended, SignOut},
    },
    domain::{
        client::Client,
        ids::{ClientId, SessionId, UserId},
        session::{Consent, Session},
        user::User,
    },
    ports::store::{Consents, Sessions, StoreResult, Transactions, Users},
};

/// The use cases of the account page.
#[derive(Clone)]
pub struct Account {
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub consents: Arc<dyn Consents>,
    pub clients: ClientDirectory,
    pub transactions: Arc<dyn Transactions>,
    pub revocations: Arc<RevocationLog>,
    pub sign_out: SignOut,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

/// Everything that the page shows.
#[derive(Debug)]
pub struct Overview {
    pub user: User,
    pub sessions: Vec<Session>,
    pub apps: Vec<(Arc<Client>, Consent)>,
}

impl Account {
    /// A person, for the pages to greet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn person(&self, sub: &UserId) -> StoreResult<Option<User>> {
        self.users.find_user(sub).await
    }

    /// The person's profile, live sessions and connected applications; `None` when the account is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn overview(&self, session: &Session) -> StoreResult<Option<Overview>> {
        let Some(user) = self.users.find_user(&session.user).await? else {
            return Ok(None);
        };
        let sessions = self.sessions.live_sessions_of(&user.sub, self.clock.now()).await?;
        let mut apps = Vec::new();
        for consent in self.consents.consents_of(&user.sub).await? {
            if let Some(client) = self.clients.find_known(&consent.client).await? {
                apps.push((client, consent));
            }
        }
        Ok(Some(Overview { user, sessions, apps }))
    }

    /// Ends one of the person's own sessions; somebody else's is left alone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_session(&self, own: &Session, sid: &SessionId) -> StoreResult<Ended> {
        let session = self.sessions.find_live_session(sid, self.clock.now()).await?;
        match session.filter(|session| session.user == own.user) {
            Some(session) => self.sign_out.end_session(&session.sid).await,
            None => Ok(Ended::default()),
        }
    }

    /// Ends all of the person's sessions but this one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_other_sessions(&self, own: &Session) -> StoreResult<Told> {
        self.sign_out.end_other_sessions(&own.user, &own.sid).await
    }

    /// Ends all of the person's sessions, this one included.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_every_session(&self, own: &Session) -> StoreResult<Ended> {
        self.sign_out.end_every_session(own).await
    }

    /// Takes back what the person allowed a client: consent, codes, refresh tokens, access tokens. The client is told that its sessions of the
    /// person are over.
    ///
    /// # Errors
    /// When the store fails; nothing is taken back then.
    pub async fn remove_app(&self, own: &Session, client: &ClientId) -> StoreResult<Told> {
        let now = self.clock.now();
        let deliveries = &self.sign_out.deliveries;
        let mut tx = self.transactions.begin().await?;
        tx.delete_consent(&own.user, client).await?;
        let mut grants = tx.revoke_families_of_user(&own.user, Some(client), now).await?;
        grants.extend(tx.take_codes_of(&own.user, Some(client)).await?);
        grants.sort();
        grants.dedup();
        let mut revocations = Vec::with_capacity(grants.len());
        for grant in grants {
            let revocation = self.revocations.revocation(Revoked::Grant {
                grant: grant.as_str().to_owned(),
            });
            tx.record_revocation(&revocation).await?;
            revocations.push(revocation);
        }
        let queued = tx.leave_sessions(&own.user, client, deliveries.plan()).await?;
        tx.commit().await?;
        self.revocations.announce(revocations);
        Ok(deliveries.send(queued))
    }
}
