//! Tokens that sign calls to a vendor, bought with its credential.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;
use tokio::{sync::Mutex, time::Instant};

use super::invoke::{Paced, fault_of};
use crate::{
    domain::fault::{Fault, FaultClass},
    ports::{
        codec::{Bought, Exchange},
        transport::{Deadlines, Transport},
    },
};

/// For one purchase, from the connection to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Answers with tokens are some hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The token of one vendor. Of all that need a new one at the same time one buys it, and the others wait for that.
#[derive(Default)]
pub struct Tokens {
    current: ArcSwapOption<Bought>,
    /// Held while a token is bought: that is what the others wait for. Whoever waits longer than its call may take drops its place.
    buying: Mutex<()>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.current.load().is_some();
        f.debug_struct("Tokens").field("held", &held).finish_non_exhaustive()
    }
}

impl Tokens {
    /// A token that is good at the time; bought unless there is one.
    ///
    /// # Errors
    /// It is not sold.
    pub(super) async fn get(
        &self,
        exchange: &dyn Exchange,
        transport: &dyn Transport,
        at: Timestamp,
    ) -> Result<SecretString, Fault> {
        if let Some(token) = self.held(at) {
            return Ok(token);
        }
        let _buying = self.buying.lock().await;
        // Somebody else may have bought it meanwhile.
        if let Some(token) = self.held(at) {
            return Ok(token);
        }
        let bought = buy(exchange, transport, at).await?;
        let token = bought.token.clone();
        self.current.store(Some(Arc::new(bought)));
        Ok(token)
    }

    /// The token that is in use, however old it is.
    pub(super) fn known(&self) -> Option<SecretString> {
        self.current.load().as_ref().map(|bought| bought.token.clone())
    }

    fn held(&self, at: Timestamp) -> Option<SecretString> {
        let current = self.current.load();
        let current = current.as_ref().filter(|bought| bought.good_until > at)?;
        Some(current.token.clone())
    }

    /// Forgets a token that the vendor does not take any more, unless a newer one is there already.
    pub(super) fn forget(&self, refused: &SecretString) {
        let current = self.current.load();
        let is_it = |bought: &Arc<Bought>| bought.token.expose_secret() == refused.expose_secret();
        if current.as_ref().is_some_and(is_it) {
            // A newer one that came in between stays.
            self.current.compare_and_swap(&current, None);
        }
    }
}

async fn buy(exchange: &dyn Exchange, transport: &dyn Transport, at: Timestamp) -> Result<Bought, Fault> {
    let deadline = Instant::now() + DEADLINE;
    let request = exchange.request(at).within(Deadlines {
        connect: CONNECT,
        head: DEADLINE,
    });
    let reply = transport.send(request).await.map_err(fault_of)?;
    let body = Paced::new(reply.body, DEADLINE, deadline)
        .collect(MAX_ANSWER_BYTES)
        .await?;
    let bought = exchange.read(reply.status.as_u16(), &reply.headers, &body, at)?;
    match bought.good_until > at {
        true => Ok(bought),
        // It would be bought again for every call.
        false => Err(Fault::of(FaultClass::InvalidReply)),
    }
}
