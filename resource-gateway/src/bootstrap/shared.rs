//! What all nodes keep together in Redis, when there is one.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use service_kit::Tasks;

use super::{Foundation, access_keys::Nonces, limits::Limits, replay::Answers};
use crate::{
    adapters::redis::{Channel, Link, Purpose},
    config::Config,
};

/// The ways to Redis.
#[derive(Debug)]
pub(super) struct SharedMemory {
    place: String,
    pub(super) limits: Arc<Channel>,
    pub(super) nonces: Arc<Channel>,
    pub(super) answers: Arc<Channel>,
}

impl SharedMemory {
    /// `None` when each node is on its own.
    pub(super) fn build(config: &Config, extra_ca: Option<&[u8]>) -> anyhow::Result<Option<Self>> {
        let Some(place) = config.redis.place().context("redis.url")? else {
            return Ok(None);
        };
        let patience = Duration::from_millis(config.redis.timeout_ms);
        let link = || Arc::new(Link::new(place.clone(), extra_ca.map(Into::into), patience));
        let channel = |link, purpose| Channel::new(link, config.redis.prefix.clone(), purpose);
        let questions = link();
        Ok(Some(Self {
            place: place.to_string(),
            limits: channel(Arc::clone(&questions), &Purpose::LIMITS),
            nonces: channel(questions, &Purpose::NONCES),
            answers: channel(link(), &Purpose::ANSWERS),
        }))
    }

    /// Looks for what is lost until the tasks are to stop.
    pub(super) fn start(&self, tasks: &Tasks) {
        for channel in [&self.limits, &self.nonces, &self.answers] {
            let (channel, stop) = (Arc::clone(channel), tasks.stop_token());
            tasks.spawn(async move {
                stop.run_until_cancelled(channel.watch()).await;
            });
        }
    }

    /// For `doctor`.
    ///
    /// # Errors
    /// Redis cannot be used.
    pub(super) async fn check(&self) -> anyhow::Result<String> {
        let checked = self.limits.check().await;
        checked
            .map_err(anyhow::Error::msg)
            .with_context(|| self.place.clone())?;
        Ok(format!("{} answers and can be written", self.place))
    }
}

/// What each node keeps by itself without Redis.
#[derive(Debug)]
pub(super) struct Kept {
    memory: Option<SharedMemory>,
    pub(super) limits: Limits,
    pub(super) nonces: Nonces,
    pub(super) answers: Answers,
}

impl Kept {
    pub(super) fn build(config: &Config, foundation: &Foundation) -> anyhow::Result<Self> {
        let memory = SharedMemory::build(config, foundation.extra_ca.as_deref())?;
        Ok(Self {
            limits: Limits::build(config, &foundation.ambient, memory.as_ref()),
            nonces: Nonces::build(&config.access_keys, memory.as_ref()),
            answers: Answers::build(config, foundation, memory.as_ref()),
            memory,
        })
    }

    /// The last answers and ends of requests are told until `records` stop, which comes after the last reply.
    pub(super) fn start(&self, tasks: &Tasks, records: &Tasks) {
        if let Some(memory) = &self.memory {
            memory.start(records);
        }
        self.limits.start(tasks, records);
        self.nonces.start(tasks);
        self.answers.start(records);
    }
}
