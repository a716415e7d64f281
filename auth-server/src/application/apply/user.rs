//! People of a document.

use std::collections::BTreeSet;

use service_kit::config::Problem;

use super::{
    Apply, ApplyError,
    client::PlannedClient,
    document::{Document, UserDoc},
};
use crate::{
    application::subjects::MAX_SUB,
    domain::{
        ids::{OrgId, RoleName, TenantId, UserId, Username},
        user::{PasswordHash, StandardClaims, User, UserStatus},
    },
    ports::crypto::MAX_PASSWORD_BYTES,
};
use secrecy::ExposeSecret as _;

pub(super) struct PlannedUser {
    pub(super) user: User,
    before: Option<User>,
}

impl PlannedUser {
    pub(super) fn changes(&self) -> bool {
        self.before.as_ref() != Some(&self.user)
    }

    /// Whether what the person holds has to end: another password, or no longer active.
    pub(super) fn loses_access(&self) -> bool {
        self.before.as_ref().is_some_and(|before| {
            before.password != self.user.password || (before.is_active() && !self.user.is_active())
        })
    }
}

impl Apply {
    pub(super) async fn plan_users(
        &self,
        document: &Document,
        clients: &[PlannedClient],
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<PlannedUser>, ApplyError> {
        let mut planned = Vec::new();
        let mut seen = BTreeSet::new();
        let mut subs = BTreeSet::new();
        for (at, doc) in document.user.iter().enumerate() {
            let path = |key: &str| format!("user[{at}].{key}");
            let Ok(username) = Username::parse(&doc.username) else {
                problems.push(Problem::new(
                    path("username"),
                    "must have 1 to 128 characters and no control characters",
                ));
                continue;
            };
            let tenant = TenantId::new(&*doc.tenant);
            if !seen.insert((tenant.clone(), username.clone())) {
                problems.push(Problem::new(path("username"), "stands twice in the document"));
            }
            let before = self.users.find_user_by_name(&tenant, &username).await?;
            if let Some(fault) = self.sub_fault(doc, before.as_ref(), clients).await? {
                problems.push(Problem::new(path("sub"), fault));
            }
            if doc
                .password
                .as_ref()
                .is_some_and(|password| password.expose_secret().len() > MAX_PASSWORD_BYTES)
            {
                problems.push(Problem::new(
                    path("password"),
                    format!("has more than {MAX_PASSWORD_BYTES} bytes"),
                ));
                continue;
            }
            let user = self.user(doc, username, tenant, before.as_ref()).await?;
            if !subs.insert(user.sub.clone()) {
                problems.push(Problem::new(path("sub"), "stands twice in the document"));
            }
            planned.push(PlannedUser { user, before });
        }
        Ok(planned)
    }

    /// A `sub` never changes, and never is a `client_id`: a resource server must be able to tell a person from a machine (RFC 9700 §4.15).
    async fn sub_fault(
        &self,
        doc: &UserDoc,
        before: Option<&User>,
        clients: &[PlannedClient],
    ) -> Result<Option<&'static str>, ApplyError> {
        let Some(sub) = &doc.sub else { return Ok(None) };
        // An account from before this limit keeps its sub.
        let is_long = sub.len() > MAX_SUB && before.is_none();
        if sub.is_empty() || is_long || !sub.is_ascii() {
            return Ok(Some("must have 1 to 128 ASCII characters"));
        }
        if before.is_some_and(|before| before.sub.as_str() != sub) {
            return Ok(Some("the account has another sub, which cannot change"));
        }
        let id = crate::domain::ids::ClientId::new(&**sub);
        let is_client = clients.iter().any(|planned| planned.client.client_id == id);
        if is_client || self.clients.find_client(&id).await?.is_some() {
            return Ok(Some("is the client_id of a client"));
        }
        if before.is_none() && self.users.find_user(&UserId::new(&**sub)).await?.is_some() {
            return Ok(Some("belongs to another account"));
        }
        Ok(None)
    }

    async fn user(
        &self,
        doc: &UserDoc,
        username: Username,
        tenant: TenantId,
        before: Option<&User>,
    ) -> Result<User, ApplyError> {
        let sub = match (before, &doc.sub) {
            (Some(before), _) => before.sub.clone(),
            (None, Some(sub)) => UserId::new(&**sub),
            (None, None) => UserId::new(self.entropy.id()),
        };
        let unchanged = User {
            sub,
            tenant,
            username,
            password: self.password(doc, before).await?,
            org: doc.org.as_deref().map(OrgId::new),
            roles: doc.roles.iter().map(RoleName::new).collect(),
            status: match doc.locked {
                Some(true) => UserStatus::Locked,
                Some(false) => UserStatus::Active,
                None => before.map_or(UserStatus::Active, |before| before.status),
            },
            claims: claims(doc),
            updated_at: before.map_or_else(|| self.clock.now(), |before| before.updated_at),
        };
        Ok(match before == Some(&unchanged) {
            true => unchanged,
            false => User {
                updated_at: self.clock.now(),
                ..unchanged
            },
        })
    }

    /// The stored hash when the document's password is still the right one, so that applying a document twice changes nothing.
    async fn password(&self, doc: &UserDoc, before: Option<&User>) -> Result<Option<PasswordHash>, ApplyError> {
        let stored = before.and_then(|before| before.password.clone());
        let Some(password) = &doc.password else {
            return Ok(stored);
        };
        if let Some(stored) = &stored
            && self.hasher.verify(password.clone(), Some(stored.clone())).await?
        {
            return Ok(Some(stored.clone()));
        }
        Ok(Some(self.hasher.hash(password.clone()).await?))
    }
}

fn claims(doc: &UserDoc) -> StandardClaims {
    StandardClaims {
        name: doc.name.clone(),
        given_name: doc.given_name.clone(),
        family_name: doc.family_name.clone(),
        middle_name: doc.middle_name.clone(),
        nickname: doc.nickname.clone(),
        preferred_username: doc.preferred_username.clone(),
        profile: doc.profile.clone(),
        picture: doc.picture.clone(),
        website: doc.website.clone(),
        gender: doc.gender.clone(),
        birthdate: doc.birthdate.clone(),
        zoneinfo: doc.zoneinfo.clone(),
        locale: doc.locale.clone(),
        email: doc.email.clone(),
        email_verified: doc.email_verified,
        phone_number: doc.phone_number.clone(),
        phone_number_verified: doc.phone_number_verified,
        address: doc.address.clone(),
    }
}
