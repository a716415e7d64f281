//! A bounded queue between calls and the table of payloads. What a call hands over costs it a push; redaction and SQL happen
//! behind the queue, and what the queue has no room for is dropped and counted.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, counter, describe_counter};
use service_kit::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::redaction::Redaction,
    ports::payload_log::{Payload, PayloadLog, PayloadStore, StoredPayload},
};

/// How much one transaction takes.
const BATCH: usize = 64;
/// How many may wait, whatever their size.
const MAX_WAITING: usize = 4096;
/// Rows that one step of forgetting removes: short enough for nobody to wait behind it.
const FORGET_AT_ONCE: u32 = 500;
/// How often it is looked whether there is something to forget.
const FORGET_INTERVAL: Duration = Duration::from_mins(5);
/// Answers are kept this many times the limit until they are cut, since data shrinks to its hash.
const SLACK: usize = 16;

/// What operators decide about the payload log.
#[derive(Debug, Clone, Copy)]
pub struct PayloadOptions {
    /// Bytes that are kept of each text.
    pub max_bytes: usize,
    /// Bytes that may wait to be written.
    pub queue_bytes: usize,
    /// How long rows are kept.
    pub retention: Option<Duration>,
}

/// The queue.
#[derive(Debug)]
pub struct PayloadQueue {
    options: PayloadOptions,
    sender: mpsc::Sender<Payload>,
    /// Taken by the task that writes.
    receiver: Mutex<Option<mpsc::Receiver<Payload>>>,
    waiting_bytes: AtomicUsize,
    store: Arc<dyn PayloadStore>,
    clock: Arc<dyn Clock>,
    written: Counter,
    dropped: Counter,
}

fn size(payload: &Payload) -> usize {
    payload.request.len() + payload.reply.iter().map(bytes::Bytes::len).sum::<usize>()
}

impl PayloadQueue {
    pub fn new(options: PayloadOptions, store: Arc<dyn PayloadStore>, clock: Arc<dyn Clock>) -> Self {
        const PAYLOADS: &str = "gateway_payloads_total";
        describe_counter!(PAYLOADS, "Logged payloads by what became of them");
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        Self {
            options,
            sender,
            receiver: Mutex::new(Some(receiver)),
            waiting_bytes: AtomicUsize::new(0),
            store,
            clock,
            written: counter!(PAYLOADS, "outcome" => "written"),
            dropped: counter!(PAYLOADS, "outcome" => "dropped"),
        }
    }

    /// Writes until `stop`, then what still waits.
    pub async fn follow(&self, stop: CancellationToken) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut batch = Vec::with_capacity(BATCH);
        let mut forget = tokio::time::interval(FORGET_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = forget.tick() => self.forget().await,
                count = receiver.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.write(std::mem::take(&mut batch)).await;
                }
            }
        }
        while receiver.try_recv().map(|payload| batch.push(payload)).is_ok() {}
        if !batch.is_empty() {
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Vec<Payload>) {
        let (count, bytes) = (batch.len() as u64, batch.iter().map(size).sum());
        let redaction = self.options;
        let redacted = tokio::task::spawn_blocking(move || -> Vec<StoredPayload> {
            batch.iter().map(|payload| redact(payload, redaction)).collect()
        });
        let outcome = match redacted.await {
            Ok(rows) => self
                .store
                .insert_payloads(&rows)
                .await
                .map_err(|error| error.to_string()),
            Err(_) => Err("a payload could not be redacted".to_owned()),
        };
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match outcome {
            Ok(()) => self.written.increment(count),
            Err(error) => {
                self.dropped.increment(count);
                tracing::warn!(error, payloads = count, "payloads could not be logged and are lost");
            }
        }
    }

    /// Removes what is older than operators want it, some rows at a time.
    async fn forget(&self) {
        let Some(retention) = self.options.retention else {
            return;
        };
        let before = self.clock.now() - retention;
        loop {
            match self.store.forget_payloads(before, FORGET_AT_ONCE).await {
                Ok(gone) if gone >= u64::from(FORGET_AT_ONCE) => tokio::task::yield_now().await,
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "old payloads could not be removed"),
            }
        }
    }
}

impl PayloadLog for PayloadQueue {
    fn offer(&self, payload: Payload) {
        let bytes = size(&payload);
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.options.queue_bytes || self.sender.try_send(payload).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.increment(1);
        }
    }

    fn reply_bytes(&self) -> usize {
        self.options.max_bytes.saturating_mul(SLACK)
    }
}

fn redact(payload: &Payload, options: PayloadOptions) -> StoredPayload {
    let redaction = Redaction {
        keep_base64: payload.keep_base64,
        max_bytes: options.max_bytes,
    };
    let request = redaction.apply(&payload.request);
    let kept = payload.reply.concat();
    let reply = redaction.apply(&kept);
    let length = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    StoredPayload {
        request_id: payload.request_id.to_string(),
        time: payload.time,
        tenant: payload.tenant.as_ref().map(ToString::to_string),
        client_id: payload.client_id.to_string(),
        sub: payload.sub.to_string(),
        interface: payload.interface.to_string(),
        state: payload.state.as_str().to_owned(),
        request: request.text,
        request_bytes: length(payload.request.len() as u64),
        request_cut: request.cut,
        reply: reply.text,
        reply_bytes: length(payload.reply_bytes),
        reply_cut: reply.cut || (kept.len() as u64) < payload.reply_bytes,
    }
}
