//! How often a client's secret may be guessed.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use service_kit::Timestamp;

use crate::{
    application::{policy::ClientAuthPolicy, token_error::TokenError},
    domain::{
        ids::ClientId,
        throttle::{Attempt, ThrottleKey, address_block},
    },
    ports::store::{LoginThrottle, StoreResult},
};

/// Clients and addresses remembered at most.
const REMEMBERED: u64 = 100_000;

/// Counts wrong secrets by client and address, so that nobody locks out a client elsewhere. What is right costs no statement: this
/// node's count decides who may try, and it grows before the next guess is looked at; the store's count, over all nodes, joins in with
/// every failure.
#[derive(Clone)]
pub(super) struct SecretGuesses {
    throttle: Arc<dyn LoginThrottle>,
    policy: ClientAuthPolicy,
    failures: moka::sync::Cache<(ClientId, String), Arc<Mutex<Failures>>>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// When the count starts anew.
    ends_at: Option<Timestamp>,
}

/// One client's secret as it is guessed from one address; `None` when nobody counts.
pub(super) struct Guesser(Option<(ClientId, String)>);

impl SecretGuesses {
    pub(super) fn new(throttle: Arc<dyn LoginThrottle>, policy: ClientAuthPolicy) -> Self {
        let failures = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(policy.throttle.window)
            .build();
        Self {
            throttle,
            policy,
            failures,
        }
    }

    /// Whose guesses these are.
    pub(super) fn guesser(&self, client: &ClientId, address: Option<IpAddr>) -> Guesser {
        let exempt = self.policy.is_exempt(client, address);
        Guesser((!exempt).then(|| (client.clone(), address.map(address_block).unwrap_or_default())))
    }

    /// Lets an attempt go on, unless too many have failed.
    pub(super) fn admit(&self, guesser: &Guesser, now: Timestamp) -> Result<(), TokenError> {
        let known = guesser.0.as_ref().and_then(|key| self.failures.get(key));
        let Some(failures) = known else { return Ok(()) };
        let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.ends_at.filter(|at| *at > now) {
            Some(until) if failures.count >= self.policy.throttle.limit => Err(TokenError::Throttled { until }),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes a failure in this node's count. Callers admit, compare and note without a pause, so that of a thousand guesses at once no
    /// more than a few slip through.
    pub(super) fn note(&self, guesser: &Guesser, now: Timestamp) {
        let Some(key) = &guesser.0 else { return };
        let failures = self.failures.get_with_by_ref(key, Arc::default);
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.ends_at.is_none_or(|at| at <= now) {
            *failures = Failures {
                count: 0,
                ends_at: Some(now + self.policy.throttle.window),
            };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// Takes a note back: the secret was right after all.
    pub(super) fn forgive(&self, guesser: &Guesser) {
        let known = guesser.0.as_ref().and_then(|key| self.failures.get(key));
        if let Some(failures) = known {
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// Notes the same in the store's count, which other nodes share.
    pub(super) async fn share(&self, guesser: &Guesser, now: Timestamp) -> StoreResult<()> {
        let Some(key) = &guesser.0 else { return Ok(()) };
        let (client, address) = key.clone();
        let shared = ThrottleKey::ClientSecret(client, address);
        if let Attempt::Blocked(until) = self.throttle.count_attempt(&shared, self.policy.throttle, now).await? {
            let failures = self.failures.get_with_by_ref(key, Arc::default);
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            *failures = Failures {
                count: u32::MAX,
                ends_at: Some(until),
            };
        }
        Ok(())
    }
}
