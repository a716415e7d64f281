//! What a person does with a device's code: find out who asks for what, and decide (RFC 8628 §3.3).

use std::{net::IpAddr, sync::Arc};

use service_kit::{Clock, Timestamp};

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        decide_decoupled::{AllowError, DecideDecoupled},
        policy::Policy,
    },
    domain::{
        authorization_details::CallChoice,
        client::Client,
        decoupled::{DecoupledRequest, UserCode},
        ids::UserId,
        session::Session,
        throttle::{Attempt, ThrottleKey, address_block},
    },
    ports::{
        decoupled::DecoupledRequests,
        store::{LoginThrottle, StoreResult},
    },
};

/// The use cases of the device page.
#[derive(Clone)]
pub struct ConfirmDevice {
    pub policy: Arc<Policy>,
    pub clients: ClientDirectory,
    pub requests: Arc<dyn DecoupledRequests>,
    pub decide: DecideDecoupled,
    pub throttle: Arc<dyn LoginThrottle>,
    pub clock: Arc<dyn Clock>,
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
        self.decide.allow(client, request, session, choices).await
    }

    /// Tells the device that the person said no; `false` when somebody was faster, or it was too late.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deny(&self, device: &WaitingDevice) -> StoreResult<bool> {
        self.decide.deny(&device.request).await
    }
}
