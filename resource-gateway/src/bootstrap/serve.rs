//! The gateway on its sockets, from the start to the last record.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::json;
use service_kit::{BoundListener, Tasks, TlsConfig, health::Management, tasks::termination_signal, telemetry};

use super::{Ambient, Gateway};
use crate::config::Config;

/// What the database has not taken by then waits in the journal for the next start.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// Serves until SIGINT or SIGTERM. `ready_file` gets the bound addresses as JSON once the gateway is ready.
///
/// # Errors
/// When the gateway cannot start.
pub async fn serve(config: Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let gateway = Arc::new(Gateway::build(&config, Ambient::default()).await?);
    let public = BoundListener::bind(config.listen, &config.tls)
        .await?
        .with_limits(config.connections.limits())
        .with_peer_rules(Arc::new(config.peer_rules()));
    let management = BoundListener::bind(config.management_listen, &TlsConfig::default()).await?;
    let (public_address, management_address) = (public.address(), management.address());
    let (tasks, records) = (Tasks::default(), Tasks::default());
    let grace = Duration::from_secs(config.shutdown_grace_s);
    gateway.start(&tasks, &records);
    gateway.serve_on(public, &tasks, grace);
    tasks.spawn(management.serve(health(&gateway, metrics).router(), tasks.clone(), grace));
    tracing::info!(
        listen = %public_address,
        management = %management_address,
        issuer = %config.auth.issuer,
        "resource-gateway is listening"
    );
    let told = announce(
        &gateway,
        ready_file.map(|path| {
            let addresses = json!({"listen": public_address.to_string(), "management": management_address.to_string()});
            (path, addresses.to_string())
        }),
    );
    tokio::select! {
        told = told => {
            told?;
            termination_signal().await?;
        }
        signal = termination_signal() => signal?,
    }
    tracing::info!("stopping");
    if !tasks.drain(grace + Duration::from_secs(1)).await {
        tracing::warn!("some work was still under way when the grace period ended");
    }
    records.drain(LAST_RECORDS).await;
    if !gateway.finish(LAST_RECORDS).await {
        tracing::warn!("the database did not take all usage records; the next start hands them over");
    }
    gateway.foundation.db.close().await;
    Ok(())
}

/// Waits until requests can be served and says so.
async fn announce(gateway: &Gateway, file: Option<(&Path, String)>) -> anyhow::Result<()> {
    while gateway.ready().is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tracing::info!("resource-gateway is ready");
    if let Some((path, addresses)) = file {
        std::fs::write(path, addresses).with_context(|| format!("ready file {}", path.display()))?;
    }
    Ok(())
}

fn health(gateway: &Arc<Gateway>, metrics: telemetry::PrometheusHandle) -> Management {
    let (ready, status) = (gateway.clone(), gateway.clone());
    Management::new(
        metrics,
        move || std::future::ready(ready.ready()),
        move || std::future::ready(status.status()),
    )
}
