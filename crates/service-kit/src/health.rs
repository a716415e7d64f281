//! The management listener's routes: `/healthz`, `/readyz`, `/metrics`, `/status`.

use std::{future::Future, pin::Pin, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a service says about itself on the management listener.
#[derive(Clone)]
pub struct Management {
    ready: Arc<dyn Fn() -> Boxed<Result<(), String>> + Send + Sync>,
    status: Arc<dyn Fn() -> Boxed<Value> + Send + Sync>,
    metrics: PrometheusHandle,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management").finish_non_exhaustive()
    }
}

impl Management {
    /// `ready` answers why the service cannot take requests now; `status` is the body of `/status`.
    pub fn new<R, S, RF, SF>(metrics: PrometheusHandle, ready: R, status: S) -> Self
    where
        R: Fn() -> RF + Send + Sync + 'static,
        RF: Future<Output = Result<(), String>> + Send + 'static,
        S: Fn() -> SF + Send + Sync + 'static,
        SF: Future<Output = Value> + Send + 'static,
    {
        Self {
            ready: Arc::new(move || Box::pin(ready())),
            status: Arc::new(move || Box::pin(status())),
            metrics,
        }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
            .route("/readyz", get(readyz))
            .route(
                "/metrics",
                get(|State(m): State<Management>| async move { m.metrics.render() }),
            )
            .route(
                "/status",
                get(|State(m): State<Management>| async move { Json((m.status)().await) }),
            )
            .with_state(self)
    }
}

async fn readyz(State(management): State<Management>) -> impl IntoResponse {
    match (management.ready)().await {
        Ok(()) => (StatusCode::OK, Json(json!({"status": "ready"}))),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "not_ready", "reason": reason})),
        ),
    }
}
