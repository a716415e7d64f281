//! What a request comes to, without an answer.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Invocation, Invoke, InvokeError,
    attempt::{Errand, read_fault},
    attempts::Journey,
    course::Course,
    fetching::Brought,
    paced::Paced,
};
use crate::{
    application::limits::Part,
    domain::{
        balance::Dice,
        call::Call,
        fault::{ErrorKind, Fault, FaultClass, PublicError},
        interface::Interface,
        snapshot::Snapshot,
    },
    ports::codec::Encoded,
};

/// A vendor has this long to count: who counts wants to know before asking in earnest, and the gateway can count itself.
const VENDOR_TIME: Duration = Duration::from_secs(5);
/// A count is a number.
const MAX_COUNT_BYTES: usize = 64 * 1024;

/// How long a request is, and who said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub tokens: u64,
    pub by: Counter,
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// The vendor that the call would go to first.
    Vendor,
    /// The gateway's own vocabulary, which is exact for some vendors and near for others.
    Gateway,
}

impl Invoke {
    /// The tokens of a request as the interface would send it: by the vendor that it would go to where that can be asked and answers in
    /// time, else by the gateway's own vocabulary. Authorised and limited as the call itself would be, less its tokens; nobody pays
    /// for it.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub async fn count_tokens(&self, invocation: &Invocation, headers: &mut HeaderMap) -> Result<Counted, InvokeError> {
        let snapshot = self.snapshots.current();
        let (interface, call) = self.resolve(invocation, &snapshot)?;
        let call = self.admit(invocation, &snapshot, (&interface, call), headers)?;
        let limited = self.limit(invocation, &snapshot, (&interface, &call), Part::Requests, headers);
        let _admission = Box::pin(limited).await?;
        if let Some(tokens) = Box::pin(self.ask_vendor(invocation, &snapshot, &interface, &call)).await {
            let by = Counter::Vendor;
            return Ok(Counted { tokens, by });
        }
        let words = call.words();
        let (done, counted) = oneshot::channel();
        Arc::clone(&self.tally).count(words.bytes(), move |tokenizer| {
            let count = |text: &str| tokenizer.and_then(|tokenizer| tokenizer.count(text));
            // Whoever asked may have left.
            let _ = done.send(words.gather().count(count).tokens);
        });
        let counted = counted.await.map(|tokens| Counted {
            tokens,
            by: Counter::Gateway,
        });
        counted.map_err(|_| {
            let message = "The gateway cannot count now.";
            InvokeError::Error(PublicError::new(503, ErrorKind::Server, "count_unavailable", message))
        })
    }

    /// By the vendor; `None` where it cannot be asked, or does not say.
    async fn ask_vendor(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
        interface: &Interface,
        call: &Call,
    ) -> Option<u64> {
        let vendors = self.registry.bind(snapshot);
        let mut course = Course::new(invocation, interface, &vendors, Dice::new(self.chance()));
        let stop = course.first()?;
        let brought = Brought::new(&self.fetching, interface.capability);
        let journey = Journey {
            invocation,
            interface,
            call,
            brought: &brought,
            entropy: self.entropy.as_ref(),
            background: &self.background,
        };
        let errand = Errand::new(journey, &stop);
        // What would have to be fetched, or cannot be said, is left to the call itself.
        let encoded = errand.codec().encode_count(call, errand.target(&[]))?.ok()?;
        let asked = tokio::time::timeout(VENDOR_TIME, ask(&errand, encoded)).await;
        match asked.unwrap_or_else(|_| Err(Fault::of(FaultClass::Timeout))) {
            // Either way nothing is noted of the address: vendors limit counting by itself and are quick with it, so that it says
            // nothing of how they answer.
            Ok(tokens) => Some(tokens),
            Err(fault) => {
                tracing::debug!(class = fault.class.label(), "a vendor did not count");
                None
            }
        }
    }
}

async fn ask(errand: &Errand<'_>, encoded: Encoded) -> Result<u64, Fault> {
    let token = errand.stop.way.vendor.token(errand.at()).await?;
    let reply = errand.post(encoded, token.as_ref(), &mut false).await?;
    if !reply.status.is_success() {
        return Err(read_fault(errand.codec(), reply).await);
    }
    let body = Paced::new(reply.body, VENDOR_TIME, Instant::now() + VENDOR_TIME);
    errand.codec().decode_count(&body.collect(MAX_COUNT_BYTES).await?)
}
