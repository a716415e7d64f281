//! Counts the tokens that vendors did not count, where nobody waits behind it.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::ports::tokenizer::Tokenizer;

/// Text that waits to be counted: a second's work. What comes on top is weighed instead, so that neither memory nor the time that ends
/// of replies wait for it can grow.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// What a count takes up beside its text.
const OVERHEAD: usize = 4096;

/// Work that counts. Without a tokenizer there is no time to: then texts are weighed.
type Count = Box<dyn FnOnce(Option<&dyn Tokenizer>) + Send>;

/// Counts one call after the other, on a thread for work that may take its time: however many calls need it, the others lose no more
/// than that thread's share.
pub struct Tally {
    tokenizer: Arc<dyn Tokenizer>,
    queue: Mutex<Queue>,
    tracker: TaskTracker,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(usize, Count)>,
    bytes: usize,
    /// Somebody is at it.
    counting: bool,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("tokenizer", &self.tokenizer)
            .finish_non_exhaustive()
    }
}

impl Tally {
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self {
            tokenizer,
            queue: Mutex::default(),
            tracker: TaskTracker::new(),
        }
    }

    /// Has `work` done soon; so many bytes of text are to be counted by it. When too much waits, or the process is about to end, it
    /// is done at once, without a tokenizer.
    pub fn count(self: &Arc<Self>, bytes: usize, work: impl FnOnce(Option<&dyn Tokenizer>) + Send + 'static) {
        let bytes = bytes + OVERHEAD;
        let Ok(runtime) = Handle::try_current() else {
            return work(None);
        };
        let mut queue = self.queue();
        if queue.bytes + bytes > MOST_WAITING {
            drop(queue);
            return work(None);
        }
        queue.bytes += bytes;
        queue.waiting.push_back((bytes, Box::new(work)));
        if std::mem::replace(&mut queue.counting, true) {
            return;
        }
        drop(queue);
        let this = Arc::clone(self);
        self.tracker.spawn_blocking_on(move || this.work(), &runtime);
    }

    fn work(&self) {
        loop {
            let Some((bytes, work)) = self.next() else { return };
            // Text is text: whatever it does to the tokenizer, the next call's is counted. What was moved in is settled when dropped.
            if catch_unwind(AssertUnwindSafe(|| work(Some(self.tokenizer.as_ref())))).is_err() {
                tracing::error!("counting tokens failed");
            }
            self.queue().bytes -= bytes;
        }
    }

    fn next(&self) -> Option<(usize, Count)> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.counting = next.is_some();
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all is counted; `false` when `deadline` passed first. To be called after the last reply.
    pub async fn finish(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    #[derive(Debug)]
    struct Words;

    impl Tokenizer for Words {
        fn count(&self, text: &str) -> Option<u64> {
            Some(text.split_whitespace().count() as u64)
        }

        fn encode(&self, _: &str) -> Vec<u32> {
            Vec::new()
        }

        fn pieces(&self, _: &str) -> Vec<String> {
            Vec::new()
        }
    }

    fn tally() -> Arc<Tally> {
        Arc::new(Tally::new(Arc::new(Words)))
    }

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn calls_are_counted_one_after_the_other_and_the_end_waits_for_all() {
        let tally = tally();
        let (at_once, most, done) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        for _ in 0..50 {
            let (at_once, most, done) = (at_once.clone(), most.clone(), done.clone());
            tally.count(10, move |tokenizer| {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                assert_eq!(tokenizer.and_then(|tokenizer| tokenizer.count("a b")), Some(2));
                at_once.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert!(tally.finish(LONG).await);
        assert_eq!((done.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (50, 1));
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_weighed_at_once() {
        let tally = tally();
        let (go, wait) = mpsc::channel::<()>();
        tally.count(MOST_WAITING / 2, move |_| {
            let _ = wait.recv();
        });
        let counted = Arc::new(AtomicUsize::new(0));
        let weighed = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let (counted, weighed) = (counted.clone(), weighed.clone());
            tally.count(MOST_WAITING / 4, move |tokenizer| {
                let which = if tokenizer.is_some() { counted } else { weighed };
                which.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!((counted.load(Ordering::SeqCst), weighed.load(Ordering::SeqCst)), (0, 2));
        go.send(()).unwrap();
        assert!(tally.finish(LONG).await);
        assert_eq!(counted.load(Ordering::SeqCst), 1);
        assert_eq!(tally.queue().bytes, 0, "and there is room again");
    }

    #[tokio::test]
    async fn a_text_that_breaks_the_tokenizer_takes_nobody_along() {
        let tally = tally();
        let (sent, got) = mpsc::channel();
        tally.count(1, |_| panic!("a broken text"));
        tally.count(1, move |tokenizer| sent.send(tokenizer.is_some()).unwrap());
        assert!(tally.finish(LONG).await);
        assert!(got.recv().unwrap());
    }

    #[test]
    fn without_a_runtime_it_is_weighed() {
        let (sent, got) = mpsc::channel();
        tally().count(1, move |tokenizer| sent.send(tokenizer.is_none()).unwrap());
        assert!(got.recv().unwrap());
    }
}
