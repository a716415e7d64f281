//! What is written down of calls: usage in a journal that the database takes over, payloads in a queue.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use service_kit::Tasks;

use super::{Ambient, Foundation};
use crate::{
    adapters::{
        journal::{Journal, JournalOptions},
        payload_log::{PayloadOptions, PayloadQueue},
        sql::SqlUsage,
    },
    config::Config,
    ports::usage::{UsageSink as _, UsageStore as _},
};

/// What is written down of calls.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) journal: Arc<Journal>,
    pub(super) payloads: Arc<PayloadQueue>,
    usage: Arc<SqlUsage>,
}

impl Records {
    pub(super) fn build(config: &Config, foundation: &Foundation) -> anyhow::Result<Self> {
        let Ambient { clock, entropy, .. } = &foundation.ambient;
        let usage = Arc::new(SqlUsage::new(foundation.db.clone(), clock.clone()));
        let options = JournalOptions {
            dir: config.usage.journal_dir(&config.database),
            cap_bytes: config.usage.journal_cap_bytes,
            ..JournalOptions::default()
        };
        let journal = Journal::open(options, usage.clone(), entropy.as_ref()).context("usage.journal_dir")?;
        let options = PayloadOptions {
            max_bytes: config.payload_log.max_bytes,
            queue_bytes: config.payload_log.queue_bytes,
            retention: config.payload_log.retention(),
        };
        let payloads = PayloadQueue::new(options, foundation.payload_store(), clock.clone());
        Ok(Self {
            journal: Arc::new(journal),
            payloads: Arc::new(payloads),
            usage,
        })
    }

    /// Hands them over until `records` stops, which comes after the last reply.
    pub(super) fn start(&self, records: &Tasks) {
        let (payloads, stop) = (self.payloads.clone(), records.stop_token());
        records.spawn(async move { payloads.follow(stop).await });
        let (journal, stop) = (self.journal.clone(), records.stop_token());
        records.spawn(async move { journal.follow(stop).await });
    }

    /// Whether calls can be accounted for.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.journal.status().refusing.map_or(Ok(()), Err)
    }

    /// Hands over what is left and tells that this node is gone; `false` when the database did not take it in time.
    pub(super) async fn finish(&self, deadline: Duration) -> bool {
        if !self.journal.finish(deadline).await {
            return false;
        }
        let ended = tokio::time::timeout(deadline, self.usage.end_node(self.journal.node())).await;
        matches!(ended, Ok(Ok(())))
    }
}
