//! Logs and metrics.

use metrics_exporter_prometheus::PrometheusBuilder;
pub use metrics_exporter_prometheus::PrometheusHandle;
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

/// Starts collecting metrics for the process; the handle renders them for `/metrics`.
///
/// # Errors
/// [`TelemetryError::StartedTwice`].
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|_| TelemetryError::StartedTwice)
}
