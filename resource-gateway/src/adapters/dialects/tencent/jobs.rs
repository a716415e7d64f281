//! Work that takes a while: how it stands is asked again and again, more and more slowly.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ports::codec::{Ask, Encoded, Outcome, Step};

const PAUSES_MS: [u64; 5] = [1000, 1500, 2000, 3000, 5000];

/// What is known of a job between two answers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct JobState {
    pub(super) job_id: Value,
    job_status: String,
    asked: usize,
}

impl JobState {
    /// What was left with the step before.
    pub(super) fn read(state: &Value) -> Self {
        Self::deserialize(state).unwrap_or_default()
    }

    pub(super) fn begun(self, job_id: Value) -> Self {
        Self { job_id, ..self }.with_status("queued")
    }

    /// Whether there is a job to ask for.
    pub(super) fn is_known(&self) -> bool {
        !self.job_id.is_null()
    }

    pub(super) fn with_status(self, status: &str) -> Self {
        Self {
            job_status: status.to_owned(),
            ..self
        }
    }

    /// Asks how it stands.
    pub(super) fn asked_by(mut self, ask: impl Fn(&Self) -> Encoded) -> Outcome {
        let pause = PAUSES_MS.get(self.asked).or(PAUSES_MS.last()).copied();
        self.asked += 1;
        Outcome::Next(Box::new(Step {
            ask: Ask::Vendor(ask(&self)),
            after: Duration::from_millis(pause.unwrap_or(1000)),
            state: json!(self),
            // The vendor has no way to take a job back.
            cancel: None,
        }))
    }
}
