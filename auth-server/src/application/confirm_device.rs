//! What a person does with a device's code: find out who asks for what, and decide (RFC 8628 §3.3).

use std::{net::IpAddr, sync::Arc};

use service_kit::{Clock, Entropy, Timestamp};

use crate::{
    application::{authenticate_client::ClientDirectory, issue::AMR_PASSWORD, policy::Policy},
    domain::{
        authorization_details::{CallChoice, NotAPart, narrow},
        client::Client,
        decoupled::{DecoupledRequest, UserCode},
        grant::Grant,
        ids::{GrantId, UserId},
        session::{Consent, Session},
        throttle::{Attempt, ThrottleKey, address_block},
    },
    ports::{
        decoupled::{DecoupledRequests, Permission},
        store::{Consents, LoginThrottle, StoreError, StoreResult},
    },
};

/// The use cases of the device page.
#[derive(Clone)]
pub struct ConfirmDevice {
    pub policy: Arc<Policy>,
    pub clients: ClientDirectory,
    pub requests: Arc<dyn DecoupledRequests>,
    pub consents: Arc<dyn Consents>,
    pub throttle: Arc<dyn LoginThrottle>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for ConfirmDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfirmDevice").finish_non_exhaustive()
    }
}

/// A device that waits for an answer, and whose it is.
#[derive(Debug)]
pub struct WaitingDevice {
    pub client: Arc<Client>,
    pub request: DecoupledRequest,
}

/// What typing a code leads to.
#[derive(Debug)]
pub enum Typed {
    Known(UserCode),
    /// No device waits with that code: wrong, too late, or answered already. Which one is not told.
    Unknown,
    /// Too many wrong ones.
    Blocked {
        until: Timestamp,
    },
}

/// Why nothing was allowed.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    #[error(transparent)]
    NotAPart(#[from] NotAPart),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

/// Who types a code, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Typist<'a> {
    pub person: Option<&'a UserId>,
    pub address: Option<IpAddr>,
}

impl ConfirmDevice {
    /// Looks for the device of a code. The attempt is counted first, so that parallel guesses cannot slip through, and given back when
    /// the code is right.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look_up(&self, typed: &str, typist: Typist<'_>) -> StoreResult<Typed> {
        let now = self.clock.now();
        let mut keys = vec![ThrottleKey::UserCodeAddress(
            typist.address.map(address_block).unwrap_or_default(),
        )];
        keys.extend(typist.person.cloned().map(ThrottleKey::UserCodePerson));
        for key in &keys {
            let policy = self.policy.device.attempts;
            if let Attempt::Blocked(until) = self.throttle.count_attempt(key, policy, now).await? {
                return Ok(Typed::Blocked { until });
            }
        }
        let Some(code) = UserCode::parse(typed) else {
            return Ok(Typed::Unknown);
        };
        if self.find(&code).await?.is_none() {
            return Ok(Typed::Unknown);
        }
        for key in &keys {
            self.throttle.forgive_attempt(key).await?;
        }
        Ok(Typed::Known(code))
    }

    /// The device that waits with that code, if its client is active.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, code: &UserCode) -> StoreResult<Option<WaitingDevice>> {
        let Some(request) = self.requests.find_by_user_code(code, self.clock.now()).await? else {
            return Ok(None);
        };
        let client = self.clients.find(&request.client).await?;
        let active = client.filter(|client| client.is_active());
        Ok(active.map(|client| WaitingDevice { client, request }))
    }

    /// Lets the device act for the person, who has seen what it asks for, within what they left of its details; `false` when somebody was
    /// faster, or it was too late.
    ///
    /// # Errors
    /// [`AllowError`]; nothing is allowed then.
    pub async fn allow(
        &self,
        device: &WaitingDevice,
        session: &Session,
        choices: &[CallChoice],
    ) -> Result<bool, AllowError> {
        let WaitingDevice { client, request } = device;
        if session.tenant != client.tenant {
            return Ok(false);
        }
        let at = self.clock.now();
        let mut details = request.details.clone();
        if !details.authorization_details.is_empty() {
            details.authorization_details = narrow(&details.authorization_details, choices, at.as_seconds())?;
        }
        let consent = match client.auto_approve {
            true => None,
            false => Some(self.consent(client, request, session, at).await?),
        };
        let grant = Grant {
            grant_id: GrantId::new(self.entropy.id()),
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: session.user.clone(),
            // The device is somewhere else: signing out of this browser must not sign it out.
            sid: None,
            scope: request.scope.clone(),
            auth_time: session.auth_time,
            amr: vec![AMR_PASSWORD.to_owned()],
            details,
        };
        let permission = Permission {
            digest: request.digest,
            grant,
            sid: session.sid.clone(),
            consent,
            at,
        };
        Ok(self.requests.allow_decoupled(&permission).await?)
    }

    /// The person's consent with this one added: so the application stands on the account page, where it can be removed.
    async fn consent(
        &self,
        client: &Client,
        request: &DecoupledRequest,
        session: &Session,
        at: Timestamp,
    ) -> StoreResult<Consent> {
        let known = self.consents.find_consent(&session.user, &client.client_id).await?;
        let (scope, claims) = known.map(|known| (known.scope, known.claims)).unwrap_or_default();
        Ok(Consent {
            user: session.user.clone(),
            client: client.client_id.clone(),
            scope: scope.union(&request.scope),
            claims,
            granted_at: at,
        })
    }

    /// Tells the device that the person said no; `false` when somebody was faster, or it was too late.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deny(&self, device: &WaitingDevice) -> StoreResult<bool> {
        self.requests
            .deny_decoupled(&device.request.digest, self.clock.now())
            .await
    }
}
