//! What `doctor` looks at.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use rustix::fs::{Access, access};
use sql_kit::Db;
use token_keys::MasterKey;

use super::{
    Ambient,
    foundation::{SEALED, database_options, extra_ca},
    provider,
    shared::SharedMemory,
    strategies,
};
use crate::{
    adapters::sql::{self, MIGRATIONS, SqlConfig},
    application::snapshots::Snapshots,
    config::Config,
};

/// What was looked at, and what is to be said about it.
type Told = (&'static str, anyhow::Result<String>);

/// Looks at an installation without changing it: what it says is what `doctor` tells, check by check.
pub async fn examine(config: &Config, ambient: &Ambient) -> Vec<Told> {
    let listening = format!("listening on {}, reached at {}", config.listen, config.resource());
    let mut told = vec![("configuration", Ok(listening))];
    match extra_ca(config) {
        // Whom to trust is not known, so nobody is asked.
        Err(error) => told.push(("outbound requests", Err(error))),
        Ok(extra_ca) => {
            told.push(("outbound requests", Ok(trusted(extra_ca.as_deref()))));
            told.extend(redis(config, extra_ca.as_deref()).await);
            told.push(("provider", provider(config, extra_ca.as_deref()).await));
        }
    }
    told.extend(stored(config, ambient).await);
    told.push(("usage journal", journal(&config.usage.journal_dir(&config.database))));
    told.extend(engines(ambient).await);
    told
}

/// The local engines. Nobody has to have them, so that none is wrong for being away.
async fn engines(ambient: &Ambient) -> Vec<Told> {
    let found = strategies::local::engines(ambient).look().await;
    let told = found.into_iter().map(|engine| {
        let away = format!(
            "no {} that works, so that strategy \"local\" cannot do this here",
            engine.program
        );
        (engine.name, Ok(engine.state.unwrap_or(away)))
    });
    told.collect()
}

fn trusted(extra_ca: Option<&[u8]>) -> String {
    let more = extra_ca.map_or("", |_| " and those of outbound.extra_ca");
    format!("the system's certificate authorities{more}")
}

/// Tried by a key that is gone after a second: a replica answers, too, and refuses to be written.
async fn redis(config: &Config, extra_ca: Option<&[u8]>) -> Option<Told> {
    let told = match SharedMemory::build(config, extra_ca).transpose()? {
        Ok(memory) => memory.check().await,
        Err(error) => Err(error),
    };
    Some(("redis", told))
}

/// The master key, the database, and what stands in it.
async fn stored(config: &Config, ambient: &Ambient) -> Vec<Told> {
    let master = MasterKey::load(&config.keys.dir);
    let loaded = |_: &MasterKey| format!("loaded from {}", config.keys.dir.display());
    let found = Db::look_at(&config.database.url, &database_options(config)).await;
    let db = match found.context("database.url") {
        Ok(db) => db,
        Err(error) => {
            let key = master.as_ref().map(loaded).map_err(|error| anyhow::anyhow!("{error}"));
            return vec![("master key", key), ("database", Err(error))];
        }
    };
    let schema = schema(&db).await;
    let is_sealed = schema.is_ok() && sql::holds_sealed(&db).await.unwrap_or_default();
    let key = master.as_ref().map(loaded).map_err(|error| match is_sealed {
        true => anyhow::anyhow!("{SEALED}: {error}"),
        false => anyhow::anyhow!("{error}"),
    });
    let interfaces = match (&schema, master) {
        (Ok(_), Ok(master)) => {
            let stored = SqlConfig::new(db.clone(), Arc::new(master));
            Some(("stored interfaces", interfaces(stored, ambient).await))
        }
        (Err(_), _) | (_, Err(_)) => None,
    };
    db.close().await;
    let told = [("master key", key), ("database", schema)];
    told.into_iter().chain(interfaces).collect()
}

async fn schema(db: &Db) -> anyhow::Result<String> {
    let missing = db.missing(&MIGRATIONS).await?;
    anyhow::ensure!(
        missing.is_empty(),
        "lacks {}; run `resource-gateway migrate`",
        missing.join(", ")
    );
    Ok("answers, and has the schema".to_owned())
}

/// Whether what is stored would be published.
async fn interfaces(stored: SqlConfig, ambient: &Ambient) -> anyhow::Result<String> {
    let registry = Arc::new(strategies::registry(ambient, None)?);
    let snapshots = Snapshots::new(Arc::new(stored), registry, Arc::clone(&ambient.clock));
    snapshots.refresh().await;
    snapshots.ready().map_err(anyhow::Error::msg)?;
    let snapshot = snapshots.current();
    let (interfaces, vendors) = (snapshot.interfaces().count(), snapshot.vendors().count());
    Ok(format!(
        "{interfaces} interfaces and {vendors} vendors at revision {}",
        snapshot.revision()
    ))
}

/// Whether the journal can be written, or made where there is none yet.
fn journal(dir: &Path) -> anyhow::Result<String> {
    let above = |dir: &Path| dir.ancestors().find(|above| above.exists()).map(Path::to_owned);
    // A relative one ends in nothing, which is here.
    let there = above(dir).unwrap_or_else(|| Path::new(".").to_owned());
    anyhow::ensure!(there.is_dir(), "{} is not a directory", there.display());
    access(&there, Access::WRITE_OK | Access::EXEC_OK).with_context(|| there.display().to_string())?;
    let can = if there == dir { "can be written" } else { "can be made" };
    Ok(format!("{} {can}", dir.display()))
}

async fn provider(config: &Config, extra_ca: Option<&[u8]>) -> anyhow::Result<String> {
    let keys = provider::keys(config, provider::client(extra_ca)?);
    keys.refresh().await.with_context(|| config.auth.issuer.clone())?;
    Ok(format!("{} publishes keys", config.auth.issuer))
}
