//! What is told to Redis when nobody waits for it: ends of requests, and their answers.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    channel::Channel,
    script::{Arguments, StoredScript},
};

/// Errands that wait; beyond that they are not done, and what they would have freed comes free when its lease ends.
const ROOM: usize = 16 * 1024;
/// Bytes that wait, likewise.
const BYTES: usize = 64 * 1024 * 1024;
/// Calls on their way at once.
const AT_ONCE: usize = 64;
/// At shutdown the last ones have this long.
const LAST: Duration = Duration::from_secs(2);

/// One call of a script.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) part: Arc<str>,
    pub(super) script: Arc<StoredScript>,
    pub(super) arguments: Arguments,
}

/// Errands on their way to Redis, in no order.
pub(super) struct Errands {
    channel: Arc<Channel>,
    sender: mpsc::Sender<Errand>,
    /// Taken by whoever runs them.
    inbox: Mutex<Option<mpsc::Receiver<Errand>>>,
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errands")
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Errands {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        let (sender, inbox) = mpsc::channel(ROOM);
        Self {
            channel,
            sender,
            inbox: Mutex::new(Some(inbox)),
            bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// How many were not done.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, errand: Errand) {
        let weight = errand.arguments.weight();
        let before = self.bytes.fetch_add(weight, Ordering::Relaxed);
        if before + weight > BYTES || self.sender.try_send(errand).is_err() {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Does them until `stop`, and then the last ones.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        let mut batch = Vec::with_capacity(AT_ONCE);
        while stop
            .run_until_cancelled(inbox.recv_many(&mut batch, AT_ONCE))
            .await
            .is_some_and(|count| count > 0)
        {
            self.tell(std::mem::take(&mut batch)).await;
        }
        inbox.close();
        let rest = async {
            while inbox.recv_many(&mut batch, AT_ONCE).await > 0 {
                self.tell(std::mem::take(&mut batch)).await;
            }
        };
        if tokio::time::timeout(LAST, rest).await.is_err() {
            tracing::warn!("Redis was not told of all ends of requests; what they held comes free when its lease ends");
        }
    }

    async fn tell(&self, errands: Vec<Errand>) {
        stream::iter(errands)
            .for_each_concurrent(AT_ONCE, |errand| async move {
                let Errand {
                    part,
                    script,
                    arguments,
                } = errand;
                let told = self.channel.ask_soon::<redis::Value>(&part, &script, &arguments).await;
                self.bytes.fetch_sub(arguments.weight(), Ordering::Relaxed);
                if told.is_err() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            })
            .await;
    }
}
