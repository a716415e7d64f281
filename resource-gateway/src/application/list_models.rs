//! Which interfaces a caller may use.

use std::sync::Arc;

use super::{invoke::unknown_model, snapshots::Snapshots};
use crate::domain::{caller::Caller, fault::PublicError, interface::Interface};

/// Answers what there is for a caller.
#[derive(Debug, Clone)]
pub struct ListModels {
    pub snapshots: Arc<Snapshots>,
}

impl ListModels {
    /// The interfaces that the caller may use at `now` (seconds), by name.
    pub fn list(&self, caller: &Caller, now: i64) -> Vec<Arc<Interface>> {
        let snapshot = self.snapshots.current();
        let mine = snapshot
            .interfaces()
            .filter(|interface| may_use(caller, interface, now));
        mine.cloned().collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of that name for this caller; whether there is one for others is not told.
    pub fn load(&self, caller: &Caller, name: &str, now: i64) -> Result<Arc<Interface>, PublicError> {
        let snapshot = self.snapshots.current();
        let found = snapshot
            .find_interface(name)
            .filter(|interface| may_use(caller, interface, now));
        found.cloned().ok_or_else(|| unknown_model(name, None))
    }
}

fn may_use(caller: &Caller, interface: &Interface, now: i64) -> bool {
    interface.enabled.is_on() && caller.check_interface(interface, now).is_ok()
}
