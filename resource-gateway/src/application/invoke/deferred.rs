//! Calls that are run later.

use std::sync::Arc;

use http::HeaderMap;

use super::{Invocation, Invoke, InvokeError};
use crate::domain::{call::Call, fault::PublicError, interface::Interface};

impl Invoke {
    /// Whether a call may be run later: the interface when it offers that, after everything that a call is refused for before limits
    /// are asked. `None`: it does not, and the call is run now.
    ///
    /// # Errors
    /// [`InvokeError`]; usage is settled.
    pub fn defer(
        &self,
        invocation: &Invocation,
        headers: &mut HeaderMap,
    ) -> Result<Option<Arc<Interface>>, InvokeError> {
        let snapshot = self.snapshots.current();
        // A call that is run now must be neither refused nor recorded twice, so nothing is judged before it is clear which one it is.
        let body = invocation.body.clone();
        let named = Call::read(invocation.capability, body, invocation.boundary.as_ref()).ok();
        let named = named.and_then(|call| snapshot.find_interface(&call.model));
        if !named.is_some_and(|interface| interface.policy.jobs.enabled.is_on()) {
            return Ok(None);
        }
        let (interface, call) = self.resolve(invocation, &snapshot)?;
        if call.conversation.is_some() {
            // Its turn would be held for as long as the call waits, and what goes along would be what was said until now.
            self.reject(invocation, &snapshot, &interface, call.stream);
            let message = "A call in a conversation cannot be answered later: send no conversation_id, or no Prefer: respond-async.";
            return Err(PublicError::invalid(Some("conversation_id"), "conversation_not_deferrable", message).into());
        }
        let call = self.admit(invocation, &snapshot, (&interface, call), headers)?;
        if call.stream {
            self.reject(invocation, &snapshot, &interface, true);
            let message = "A stream cannot be answered later: send no \"stream\": true, or no Prefer: respond-async.";
            return Err(PublicError::invalid(Some("stream"), "stream_not_deferrable", message).into());
        }
        Ok(Some(interface))
    }

    /// Leaves a record of a call that may be run later, but was refused as a job.
    pub fn turn_down(&self, invocation: &Invocation, interface: &Interface) {
        self.reject(invocation, &self.snapshots.current(), interface, false);
    }

    /// Whether any interface offers to run calls later.
    pub fn offers_jobs(&self) -> bool {
        let snapshot = self.snapshots.current();
        snapshot
            .interfaces()
            .any(|interface| interface.policy.jobs.enabled.is_on())
    }
}
