//! Answers that are given again: from the cache of an interface that wants one, and to a caller that repeats its own request.

mod cache;
mod keeper;
mod recorded_stream;
mod repeat;

use std::sync::Arc;

use http::HeaderMap;

pub use cache::ResponseCache;
pub use recorded_stream::RecordedStream;
pub use repeat::{IDEMPOTENCY_KEY, REPLAYED, Repeats};

pub(super) use cache::Found;
pub(super) use keeper::Keeper;
pub(super) use repeat::{another, named};

use self::{
    cache::{CachePlace, Looked, Question},
    repeat::{Claim, Repeat, tell},
};
use super::invoke::Invocation;
use crate::domain::{call::Call, fault::PublicError, interface::Interface, recorded::Recorded, snapshot::Snapshot};

/// Gives answers again, and keeps those that may be wanted again.
#[derive(Debug, Clone)]
pub struct Replay {
    pub cache: Arc<ResponseCache>,
    pub repeats: Repeats,
}

/// What is known about a call before it is run.
pub(super) enum Before {
    /// The caller's own request has its answer: nothing is done or counted a second time.
    Again(Arc<Recorded>),
    Go(Wanted),
}

/// Who wants the answer of a call, and whether there is one.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) found: Option<Found>,
    cache: Option<CachePlace>,
    claim: Option<Claim>,
}

impl Replay {
    /// Looks for an answer. Costs the look for one header when neither the interface nor the caller wants any of this.
    pub(super) async fn before(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
        (interface, call): (&Interface, &Call),
        headers: &mut HeaderMap,
    ) -> Result<Before, PublicError> {
        let mut wanted = Wanted::default();
        let sent = &invocation.headers.0;
        let repeat = self.repeats.begin(sent, &invocation.caller, invocation);
        match repeat.await? {
            Repeat::Unnamed => {}
            Repeat::First(claim) => wanted.claim = Some(claim),
            Repeat::Again(answer) => {
                tell(&answer, headers);
                return Ok(Before::Again(answer));
            }
        }
        let question = Question {
            interface,
            call,
            caller: &invocation.caller,
            sent,
        };
        match self.cache.look(snapshot, question, headers).await? {
            Looked::Not => {}
            Looked::Hit(found) => wanted.found = Some(found),
            Looked::Miss(place) => wanted.cache = Some(place),
        }
        Ok(Before::Go(wanted))
    }

    /// What writes the call's answer down; `None` when nobody wants it.
    pub(super) fn keeper(&self, wanted: Wanted, invocation: &Invocation) -> Option<Box<Keeper>> {
        let cache = wanted.cache.map(|place| (Arc::clone(&self.cache), place));
        let claim = wanted.claim.map(|claim| (claim, self.repeats.largest));
        Keeper::new(cache, claim, &invocation.request_id)
    }
}

impl Wanted {
    /// The answer that was found, if there is one: it is the one that the caller's key stands for from now on.
    pub(super) fn take_found(&mut self, invocation: &Invocation, headers: &mut HeaderMap) -> Option<Arc<Recorded>> {
        let found = self.found.take()?;
        found.tell(headers);
        if let Some(claim) = self.claim.take() {
            claim.finish(Arc::new(Recorded {
                request_id: invocation.request_id.clone(),
                ..(*found.answer).clone()
            }));
        }
        Some(found.answer)
    }
}
