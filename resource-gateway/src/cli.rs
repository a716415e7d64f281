//! The command line.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use service_kit::{reference, telemetry};

use crate::{
    application::snapshots::POLL_INTERVAL,
    bootstrap::{self, Ambient, Foundation},
    config::Config,
};

/// AI gateway: verifies access tokens and calls AI vendors on behalf of callers.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Configuration file (TOML). Environment variables GATEWAY__… win over it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM. Migrates the database first.
    Serve {
        /// Write the bound addresses here, as JSON, once the gateway is ready.
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Bring the database schema up to this version.
    Migrate,
    /// Apply documents: each is validated whole, then written in one transaction.
    Apply {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check configuration, Redis, master key, database, stored interfaces, the journal and the provider. Changes nothing.
    Doctor,
    /// Print the reference of every configuration key (Markdown).
    ConfigReference,
}

/// Runs a command.
///
/// # Errors
/// Whatever keeps it from being carried out.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    if matches!(arguments.command, Command::ConfigReference) {
        return say(&reference::markdown::<Config>("Configuration of resource-gateway"));
    }
    let config: Config = service_kit::config::load(arguments.config.as_deref())?;
    telemetry::start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Serve { ready_file } => bootstrap::serve(config, ready_file.as_deref()).await,
            Command::Migrate => {
                Foundation::lay(&config, Ambient::default()).await?.close().await;
                say("the schema is up to date")
            }
            Command::Apply { files } => apply(&config, &files).await,
            Command::Doctor => doctor(&config).await,
            // Answered above, without configuration.
            Command::ConfigReference => Ok(()),
        }
    })
}

/// Prints why a command failed: the whole chain, since this reader is the operator.
pub fn complain(error: &anyhow::Error) {
    // Nowhere is left to say it when standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

async fn apply(config: &Config, files: &[PathBuf]) -> anyhow::Result<()> {
    let foundation = Foundation::lay(config, Ambient::default()).await?;
    let outcome = apply_all(&foundation, files).await;
    foundation.close().await;
    outcome
}

async fn apply_all(foundation: &Foundation, files: &[PathBuf]) -> anyhow::Result<()> {
    let apply = foundation.apply()?;
    let mut changed = false;
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let base = file.parent().unwrap_or(Path::new("."));
        let applied = apply
            .apply(&text, base)
            .await
            .with_context(|| file.display().to_string())?;
        for (row, _) in &applied.changed {
            say(&format!("changed {row}"))?;
        }
        changed |= !applied.changed.is_empty();
        let counts = format!("{} changed, {} as before", applied.changed.len(), applied.unchanged);
        say(&format!("{}: {counts}, revision {}", file.display(), applied.revision))?;
    }
    if changed {
        settle().await;
    }
    Ok(())
}

/// A change counts when every running node has seen it, so that a script may rely on it.
async fn settle() {
    tokio::time::sleep(POLL_INTERVAL + Duration::from_millis(100)).await;
}

/// Prints what was found, and fails when anything is wrong.
async fn doctor(config: &Config) -> anyhow::Result<()> {
    let told = bootstrap::examine(config, &Ambient::default()).await;
    let failed = told.iter().filter(|(_, outcome)| outcome.is_err()).count();
    for (what, outcome) in told {
        match outcome {
            Ok(detail) => say(&format!("ok    {what}: {detail}"))?,
            Err(error) => say(&format!("FAIL  {what}: {error:#}"))?,
        }
    }
    anyhow::ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}
