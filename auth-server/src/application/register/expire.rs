//! Clients that nobody uses any more, and how that is known.

use std::{sync::Arc, time::Duration};

use service_kit::Clock;

use super::{Register, RegisterError};
use crate::{
    domain::ids::ClientId,
    ports::registrations::{RegistrationEnd, Registrations},
};

/// A use is noted once in this time.
const NOTED_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clients of which a node remembers that it has noted a use.
const REMEMBERED: u64 = 10_000;
/// Clients that are removed in one go.
const BATCH: u32 = 50;

impl Register {
    /// Removes clients that were registered by strangers and that nobody has used for long. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn expire_unused(&self) -> Result<u64, RegisterError> {
        let before = self.clock.now() - self.policy.registration.unused_ttl;
        let mut removed = 0;
        for client in self.registrations.unused_registrations(before, BATCH).await? {
            // Used or removed meanwhile: then not.
            removed += u64::from(self.remove(&client, &RegistrationEnd::UnusedSince(before)).await?);
        }
        Ok(removed)
    }
}

/// Notes when clients that registered themselves are used: at most once a day and client, so that issuing tokens stays free of writes.
#[derive(Clone)]
pub struct ClientUse {
    registrations: Arc<dyn Registrations>,
    clock: Arc<dyn Clock>,
    noted: moka::sync::Cache<ClientId, i64>,
}

impl std::fmt::Debug for ClientUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientUse").finish_non_exhaustive()
    }
}

impl ClientUse {
    pub fn new(registrations: Arc<dyn Registrations>, clock: Arc<dyn Clock>) -> Self {
        Self {
            registrations,
            clock,
            noted: moka::sync::Cache::new(REMEMBERED),
        }
    }

    /// Notes that something was issued to the client. Should that fail, the client is not told: it is noted with the next use.
    pub async fn note(&self, client: &ClientId) {
        if !client.looks_dynamic() {
            return;
        }
        let now = self.clock.now();
        let before = now - NOTED_EVERY;
        if self.noted.get(client).is_some_and(|at| at > before.as_micros()) {
            return;
        }
        match self.registrations.note_use(client, now, before).await {
            Ok(()) => self.noted.insert(client.clone(), now.as_micros()),
            Err(error) => tracing::warn!(client.id = %client, %error, "the use of a client could not be noted"),
        }
    }
}
