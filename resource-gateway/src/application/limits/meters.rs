//! What is counted about limits.

use metrics::{Counter, counter, describe_counter};

use crate::{
    domain::limits::Measure,
    ports::rate_store::{Bucket, Mode},
};

const OVER: &str = "gateway_limits_exceeded_total";
const ALONE: &str = "gateway_limits_counted_alone_total";

#[derive(Debug)]
pub(super) struct LimitMeters {
    over: Vec<(Measure, Mode, Counter)>,
    alone: Counter,
}

impl LimitMeters {
    pub(super) fn new() -> Self {
        describe_counter!(
            OVER,
            "Requests over a limit, refused or in shadow mode, by what was counted"
        );
        describe_counter!(
            ALONE,
            "Requests that were counted by this node alone because Redis was away"
        );
        let of = |mode: Mode, label: &'static str| {
            Measure::ALL.map(move |measure| {
                let counter = counter!(OVER, "measure" => measure.as_str(), "mode" => label);
                (measure, mode, counter)
            })
        };
        Self {
            over: of(Mode::Enforced, "enforced")
                .into_iter()
                .chain(of(Mode::Shadow, "shadow"))
                .collect(),
            alone: counter!(ALONE),
        }
    }

    pub(super) fn over(&self, bucket: &Bucket) {
        let same =
            |(measure, mode, _): &&(Measure, Mode, Counter)| *measure == bucket.key.measure && *mode == bucket.mode;
        if let Some((_, _, counter)) = self.over.iter().find(same) {
            counter.increment(1);
        }
    }

    /// A request was decided by this node because the store of all nodes is away. Which says so itself, once.
    pub(super) fn counting_alone(&self) {
        self.alone.increment(1);
    }
}
