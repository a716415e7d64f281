//! Logs and metrics.

use std::{thread, time::Duration};

use metrics::Counter;
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Logging settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Which lines are written, as a `tracing` filter such as `info` or `info,auth_server=debug`. Requests that
    /// succeed are logged at `debug`, requests that fail at `info` or above.
    pub filter: String,
    /// `text` for people, `json` for machines. Lines go to standard error.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".into(),
            format: LogFormat::Text,
        }
    }
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the buckets of histograms are refused")]
    Buckets,
    #[error("no thread for metrics: {0}")]
    Thread(std::io::Error),
    #[error("telemetry was started twice")]
    StartedTwice,
}

/// Starts logging for the process.
///
/// # Errors
/// [`TelemetryError`] for a filter that does not parse or when logging has been started already.
pub fn start_logging(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter: EnvFilter = config.filter.parse()?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError::StartedTwice)
}

/// Buckets of every histogram whose name ends in `_seconds`: from a cached answer to a long generation.
const SECONDS: [f64; 16] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];
/// How often what histograms have recorded is summed up; until then each value takes eight bytes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts collecting metrics for the process; the handle renders them for `/metrics`. Handles of meters that were made before
/// this count nothing, so it comes first.
///
/// # Errors
/// [`TelemetryError`] when metrics have been started already or the process cannot have another thread.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(|_| TelemetryError::Buckets)?
        .install_recorder()
        .map_err(|_| TelemetryError::StartedTwice)?;
    let upkeep = handle.clone();
    // A thread and no task: it belongs to the process, as the recorder does, and has nothing to finish at shutdown.
    thread::Builder::new()
        .name("metrics-upkeep".into())
        .spawn(move || {
            loop {
                thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        })
        .map_err(TelemetryError::Thread)?;
    Ok(handle)
}

/// Counters of one name, one for each value of one label, registered once so that counting is an addition.
///
/// ```
/// # use service_kit::telemetry::Counters;
/// let refusals = Counters::new("logins_refused_total", "Log-ins that were refused", "reason", &["password", "locked"]);
/// refusals.count("locked");
/// ```
#[derive(Debug)]
pub struct Counters {
    known: Vec<(&'static str, Counter)>,
    other: Counter,
}

impl Counters {
    /// Registers `name` with all `values` of `label`, and `other` for what is none of them: labels are fixed, since each value
    /// is kept for good.
    pub fn new(name: &'static str, help: &'static str, label: &'static str, values: &[&'static str]) -> Self {
        metrics::describe_counter!(name, help);
        let register = |value: &'static str| metrics::counter!(name, label => value);
        Self {
            known: values.iter().map(|value| (*value, register(value))).collect(),
            other: register("other"),
        }
    }

    /// Adds one.
    pub fn count(&self, value: &str) {
        self.add(value, 1);
    }

    /// Adds `amount`.
    pub fn add(&self, value: &str, amount: u64) {
        self.known
            .iter()
            .find(|(known, _)| *known == value)
            .map_or(&self.other, |(_, counter)| counter)
            .increment(amount);
    }
}
