//! Writes that wait for their turn.

use std::{
    future::Future as _,
    pin::pin,
    task::{Context, Poll, ready},
};

/// Holds a connection's write back until every task that is ready has run.
///
/// A write to a socket wakes whoever sleeps at its other end, and on a machine with few cores to spare that interrupt is the
/// dearest part of a small answer: as much as all that hyper does for it. Writes that leave one right after the other mostly find
/// the peer awake already. So each first lets the runtime finish what is ready; with nothing else to do, that is one look at
/// the poll set, about a microsecond.
#[derive(Debug, Default)]
pub struct Turn {
    has_waited: bool,
}

impl Turn {
    /// Runs `write` when the turn has come. Wakes the task of `cx`, if it has not.
    ///
    /// Panics outside of a tokio runtime's task, as all of its sockets do.
    pub fn write<T>(&mut self, cx: &mut Context<'_>, write: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if !self.has_waited {
            self.has_waited = true;
            // Asks to be woken after the others, which is done by its first poll alone.
            if pin!(tokio::task::yield_now()).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let written = ready!(write(cx));
        self.has_waited = false;
        Poll::Ready(written)
    }
}
