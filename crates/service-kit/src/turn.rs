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
    /// Runs `write` when the turn has come. Until then the task of `cx` is woken again.
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::poll_fn, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn a_write_lets_go_first_whoever_is_ready() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let local = LocalSet::new();
        for name in ["a", "b"] {
            let log = Rc::clone(&log);
            local.spawn_local(async move {
                let mut turn = Turn::default();
                log.borrow_mut().push(format!("{name} is ready"));
                for piece in 1..=2 {
                    poll_fn(|cx| {
                        turn.write(cx, |_| {
                            log.borrow_mut().push(format!("{name} writes {piece}"));
                            Poll::Ready(())
                        })
                    })
                    .await;
                }
            });
        }
        local.await;
        // Which of those that wait comes first is the runtime's affair.
        let mut rounds: Vec<Vec<String>> = log.borrow().chunks(2).map(<[String]>::to_vec).collect();
        for round in &mut rounds {
            round.sort();
        }
        assert_eq!(
            rounds,
            [
                ["a is ready", "b is ready"],
                ["a writes 1", "b writes 1"],
                ["a writes 2", "b writes 2"]
            ]
        );
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_not_waited_for_twice() {
        let (mut turn, mut tries) = (Turn::default(), 0);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            turn.write(cx, |cx| {
                tries += 1;
                if tries < 3 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
        })
        .await;
        assert_eq!((polls, tries), (4, 3));
    }
}
