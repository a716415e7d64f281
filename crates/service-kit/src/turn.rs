//! Writes that wait for their turn.

use std::{
    future::Future as _,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
};

/// Requests that the process is answering.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// One of the requests that the process is answering.
#[derive(Debug)]
pub(crate) struct UnderWay(());

impl UnderWay {
    pub(crate) fn begin() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Holds a connection's write back until every task that is ready has run.
///
/// A write to a socket wakes whoever sleeps at its other end, and on a machine with few cores to spare that interrupt is the
/// dearest part of a small answer: as much as all that hyper does for it. Writes that leave one right after the other mostly find
/// the peer awake already. So each first lets the runtime finish what is ready, which costs a look at the poll set; a request that
/// is alone does not wait for company.
#[derive(Debug, Default)]
pub struct Turn {
    has_waited: bool,
}

impl Turn {
    /// Runs `write` when the turn has come. Until then the task of `cx` is woken again.
    pub fn write<T>(&mut self, cx: &mut Context<'_>, write: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if !self.has_waited && UNDER_WAY.load(Ordering::Relaxed) > 1 {
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

    /// How often a write that fails to go out `full` times is tried, and how often its task runs for it.
    async fn tried(full: usize) -> (usize, usize) {
        let (mut turn, mut tries, mut polls) = (Turn::default(), 0, 0);
        poll_fn(|cx| {
            polls += 1;
            turn.write(cx, |cx| {
                tries += 1;
                if tries <= full {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
        })
        .await;
        (tries, polls)
    }

    /// One test, because requests are counted for the whole process.
    #[tokio::test]
    async fn a_write_lets_go_first_whoever_is_ready_unless_its_request_is_alone() {
        let alone = UnderWay::begin();
        assert_eq!(tried(0).await, (1, 1));
        let other = UnderWay::begin();
        assert_eq!(tried(0).await, (1, 2));
        // A peer that takes nothing is not waited for once more.
        assert_eq!(tried(2).await, (3, 4));

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

        drop(other);
        assert_eq!(tried(2).await, (3, 3));
        drop(alone);
    }
}
