//! What a request holds of its limits.

use std::sync::Arc;

use crate::ports::rate_store::{End, RateStore, Taken};

/// What a request took. It is settled once; dropped before, everything is given back, since the request never began.
#[derive(Debug, Default)]
pub struct Admission(Option<Box<Held>>);

#[derive(Debug)]
struct Held {
    store: Arc<dyn RateStore>,
    taken: Taken,
}

impl Admission {
    /// Of a request that nothing limits.
    pub fn unlimited() -> Self {
        Self(None)
    }

    pub(super) fn of(store: Arc<dyn RateStore>, taken: Taken) -> Self {
        Self(Some(Box::new(Held { store, taken })))
    }

    /// The request has ended and has used so many tokens. Only the first call counts.
    pub fn settle(&mut self, tokens: u64) {
        self.end(End::Used { tokens });
    }

    /// The request is refused after all, and has used nothing.
    pub fn give_back(&mut self) {
        self.end(End::Undone);
    }

    fn end(&mut self, end: End) {
        if let Some(held) = self.0.take() {
            held.store.settle(held.taken, end);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.end(End::Undone);
    }
}
