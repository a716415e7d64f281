//! What is counted about limits.

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use crate::{
    domain::limits::Measure,
    ports::rate_store::{Bucket, Mode, RatesUnavailable},
};

const OVER: &str = "gateway_limits_exceeded_total";
const ALONE: &str = "gateway_limits_counted_alone_total";
const TOGETHER: &str = "gateway_limits_counted_together";

#[derive(Debug)]
pub(super) struct LimitMeters {
    over: Vec<(Measure, Mode, Counter)>,
    alone: Counter,
    together: Gauge,
    is_together: AtomicBool,
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
        describe_gauge!(TOGETHER, "1 while limits are counted together with the other nodes");
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
            together: gauge!(TOGETHER),
            is_together: AtomicBool::new(false),
        }
    }

    pub(super) fn over(&self, bucket: &Bucket) {
        let same =
            |(measure, mode, _): &&(Measure, Mode, Counter)| *measure == bucket.key.measure && *mode == bucket.mode;
        if let Some((_, _, counter)) = self.over.iter().find(same) {
            counter.increment(1);
        }
    }

    /// The store of all nodes answers, or there is one at all. Told and logged when that is news.
    pub(super) fn counting_together(&self, is: bool) {
        // Read first: every request passes here, and it hardly ever changes.
        if self.is_together.load(Ordering::Relaxed) != is && self.is_together.swap(is, Ordering::Relaxed) != is {
            self.together.set(if is { 1.0 } else { 0.0 });
            if is {
                tracing::info!("limits are counted together with the other nodes");
            }
        }
    }

    pub(super) fn counting_alone(&self, error: &RatesUnavailable) {
        self.alone.increment(1);
        if self.is_together.swap(false, Ordering::Relaxed) {
            self.together.set(0.0);
            tracing::warn!(%error, "limits are counted by this node alone");
        }
    }
}
