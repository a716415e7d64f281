//! Answers by question, in this process's memory.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use moka::sync::Cache;
use service_kit::{Clock, Timestamp};

use crate::{
    domain::recorded::Recorded,
    ports::replies::{AnswerKey, Answers, Kept},
};

#[derive(Clone)]
struct Entry {
    answer: Arc<Recorded>,
    stored: Timestamp,
    ttl: Duration,
}

/// Answers bounded by memory: what is asked for least makes room.
pub struct LocalAnswers {
    answers: Cache<AnswerKey, Entry>,
    largest: usize,
    clock: Arc<dyn Clock>,
}

impl LocalAnswers {
    pub fn new(max_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        let answers = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Entry| u32::try_from(entry.answer.weight()).unwrap_or(u32::MAX))
            .build();
        Self {
            answers,
            largest: Recorded::largest_in(max_bytes),
            clock,
        }
    }
}

#[async_trait]
impl Answers for LocalAnswers {
    async fn find(&self, key: &AnswerKey) -> Option<Kept> {
        let entry = self.answers.get(key)?;
        let now = self.clock.now();
        let age = now.since(entry.stored);
        // Of what was kept in a future that a clock put right has taken back, nobody knows the age.
        if age >= entry.ttl || now < entry.stored {
            self.answers.invalidate(key);
            return None;
        }
        let answer = entry.answer;
        Some(Kept { answer, age })
    }

    fn keep(&self, key: AnswerKey, answer: Arc<Recorded>, ttl: Duration) {
        let stored = self.clock.now();
        self.answers.insert(key, Entry { answer, stored, ttl });
    }

    fn largest(&self) -> usize {
        self.largest
    }
}

impl fmt::Debug for LocalAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalAnswers")
            .field("answers", &self.answers.entry_count())
            .finish_non_exhaustive()
    }
}
