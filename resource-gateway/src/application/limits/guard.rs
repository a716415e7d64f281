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
    more: Option<Box<Held>>,
}

impl Admission {
    /// Of a request that nothing limits.
    pub fn unlimited() -> Self {
        Self(None)
    }

    pub(super) fn of(store: Arc<dyn RateStore>, taken: Taken) -> Self {
        let more = None;
        Self(Some(Box::new(Held { store, taken, more })))
    }

    /// Both, of one request.
    #[must_use]
    pub fn and(mut self, mut other: Self) -> Self {
        match &mut self.0 {
            None => other,
            Some(held) => {
                held.more = other.0.take();
                self
            }
        }
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
        let mut next = self.0.take();
        while let Some(held) = next {
            let Held { store, taken, more } = *held;
            store.settle(taken, end);
            next = more;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.end(End::Undone);
    }
}
