//! Device authorization requests (RFC 8628 §3.1): a device gets a code for itself and one for its person.

use std::{net::IpAddr, sync::Arc, time::Duration};

use oauth_wire::{GrantType, Scope};
use service_kit::{Clock, Entropy, Timestamp};

use crate::{
    application::{
        authorize::digest,
        policy::{OFFLINE_ACCESS, Policy},
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        client::Client,
        decoupled::{DecoupledKind, DecoupledRequest, DecoupledState, UserCode},
        grant::GrantDetails,
        throttle::{Attempt, ThrottleKey, address_block},
    },
    ports::{
        decoupled::DecoupledRequests,
        store::{LoginThrottle, StoreError},
    },
};

/// Prefix of device codes, for secret scanners.
const CODE_PREFIX: &str = "hgd_";
/// Where people bring their code, below the issuer.
pub const VERIFICATION_PATH: &str = "/device";
/// How often another user code is tried when one is taken; with a million of them waiting one in 25 000 is.
const TRIES: usize = 4;

/// Gives codes to devices.
#[derive(Clone)]
pub struct RequestDevice {
    pub policy: Arc<Policy>,
    pub requests: Arc<dyn DecoupledRequests>,
    pub throttle: Arc<dyn LoginThrottle>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for RequestDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestDevice").finish_non_exhaustive()
    }
}

/// What the device sends.
#[derive(Debug)]
pub struct DeviceOrder {
    pub scope: Option<Scope>,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
}

/// What it gets (RFC 8628 §3.2).
#[derive(Debug)]
pub struct DeviceAuthorization {
    pub device_code: String,
    pub user_code: UserCode,
    pub verification_uri: String,
    pub verification_uri_complete: String,
    pub expires_in: Duration,
    pub interval: Duration,
}

impl RequestDevice {
    /// Keeps the request and makes its codes.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn request(&self, call: &TokenCall, order: DeviceOrder) -> Result<DeviceAuthorization, TokenError> {
        let client = call.client.as_ref();
        if !client.may_use(GrantType::DeviceCode) {
            return Err(TokenError::UnauthorizedClient(
                "the client may not use the device grant",
            ));
        }
        let asked = order.scope.filter(|scope| !scope.is_empty());
        let default_scope = asked.is_none();
        // RFC 6749 §3.3: without the parameter what the client is registered for, less what outlives everything.
        let scope = asked.unwrap_or_else(|| client.scope.clone().without(OFFLINE_ACCESS));
        if scope.is_empty() {
            return Err(TokenError::InvalidScope("scope is missing"));
        }
        if !scope.is_subset(&client.scope) {
            return Err(TokenError::InvalidScope(
                "scope holds a value that the client is not registered for",
            ));
        }
        let now = self.clock.now();
        let details = GrantDetails {
            resources: call.resources.clone(),
            authorization_details: call.own_details(&scope, now)?,
            default_scope,
            ..GrantDetails::default()
        };
        self.throttle(client, order.address, now).await?;
        let (device_code, user_code) = self.keep(client, &scope, &details, now).await?;
        let verification_uri = format!("{}{VERIFICATION_PATH}", self.policy.issuer);
        Ok(DeviceAuthorization {
            device_code,
            verification_uri_complete: complete(&verification_uri, &user_code),
            verification_uri,
            user_code,
            expires_in: self.policy.device.lifetime,
            interval: self.policy.device.interval,
        })
    }

    /// Anybody can use the name of a public client. The more codes wait, the sooner one of them is guessed (RFC 8628 §5.1).
    async fn throttle(&self, client: &Client, address: Option<IpAddr>, now: Timestamp) -> Result<(), TokenError> {
        if !client.is_public() {
            return Ok(());
        }
        let key = ThrottleKey::DeviceAddress(address.map(address_block).unwrap_or_default());
        match self
            .throttle
            .count_attempt(&key, self.policy.device.requests, now)
            .await?
        {
            Attempt::Allowed => Ok(()),
            Attempt::Blocked(until) => Err(TokenError::Throttled { until }),
        }
    }

    async fn keep(
        &self,
        client: &Client,
        scope: &Scope,
        details: &GrantDetails,
        now: Timestamp,
    ) -> Result<(String, UserCode), TokenError> {
        let device_code = format!("{CODE_PREFIX}{}", self.entropy.secret());
        let mut tries = 1;
        loop {
            let user_code = self.user_code();
            let request = DecoupledRequest {
                digest: digest(&device_code),
                kind: DecoupledKind::Device,
                user_code: Some(user_code.clone()),
                client: client.client_id.clone(),
                tenant: client.tenant.clone(),
                user: None,
                scope: scope.clone(),
                details: details.clone(),
                message: None,
                ping: None,
                requested_at: now,
                expires_at: now + self.policy.device.lifetime,
                interval: self.policy.device.interval,
                next_poll_at: now,
                state: DecoupledState::Pending,
            };
            match self.requests.insert_decoupled(&request).await {
                Ok(()) => return Ok((device_code, user_code)),
                Err(StoreError::Conflict(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn user_code(&self) -> UserCode {
        loop {
            // Of 16 bytes, eight are below 240 but for one time in ten million.
            let mut bytes = [0; 16];
            self.entropy.fill(&mut bytes);
            if let Some(code) = UserCode::from_random(bytes) {
                return code;
            }
        }
    }
}

/// The address that brings its code along (RFC 8628 §3.3.1).
pub fn complete(verification_uri: &str, code: &UserCode) -> String {
    format!("{verification_uri}?user_code={code}")
}
