//! The published snapshot follows the database and outlives its faults.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use resource_gateway::{
    adapters::sql::SqlConfig,
    application::{
        apply::ApplyDocument,
        snapshots::{POLL_INTERVAL, Snapshots},
    },
    domain::snapshot::{ConfigRows, Revision},
    ports::config_source::{ConfigSource, StoreResult},
};
use service_kit::{SystemClock, Tasks};
use sql_kit::{Sql, args, sql};

use crate::{
    apply::NoSecrets,
    storage_world::{Catalog, World},
};

const BREAK: Sql = sql!("UPDATE vendor SET strategy = 'gone'");
const MEND: Sql = sql!("UPDATE vendor SET strategy = 'sandbox'");
const BUMP: Sql = sql!("UPDATE config_revision SET revision = revision + 1");

const DOCUMENT: &str = r#"
    [[vendor]]
    name = "sandbox"
    strategy = "sandbox"
    [[interface]]
    name = "chat"
    capability = "chat"
    routes = [{ vendor = "sandbox" }]
"#;

fn snapshots(world: &World) -> Snapshots {
    Snapshots::new(Arc::new(world.config.clone()), Arc::new(Catalog), Arc::new(SystemClock))
}

async fn apply(world: &World, text: &str) {
    let apply = ApplyDocument::new(world.change_config(), Arc::new(NoSecrets));
    apply.apply(text, std::path::Path::new(".")).await.unwrap();
}

#[tokio::test]
async fn a_change_is_published_within_a_poll_and_requests_keep_what_they_began_with() {
    let world = World::sqlite().await;
    let snapshots = Arc::new(snapshots(&world));
    let tasks = Tasks::default();
    let (following, stop) = (Arc::clone(&snapshots), tasks.stop_token());
    tasks.spawn(async move { following.follow(stop).await });
    let before = snapshots.current();

    apply(&world, DOCUMENT).await;
    let published = async {
        while snapshots.current().revision() != Revision(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(POLL_INTERVAL * 4, published).await.unwrap();

    assert!(snapshots.current().find_interface("chat").is_some());
    assert!(before.find_interface("chat").is_none());
    assert!(tasks.drain(Duration::from_secs(1)).await);
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_not_published_and_the_reason_stands_in_the_status() {
    let world = World::sqlite().await;
    let snapshots = snapshots(&world);
    assert_eq!(snapshots.ready().unwrap_err(), "no configuration was loaded yet");
    apply(&world, DOCUMENT).await;
    snapshots.refresh().await;
    snapshots.ready().unwrap();
    let good = snapshots.current();

    // Somebody writes past `apply`.
    world.db.execute(BREAK, args![]).await.unwrap();
    world.db.execute(BUMP, args![]).await.unwrap();
    snapshots.refresh().await;
    assert!(Arc::ptr_eq(&good, &snapshots.current()));
    snapshots.ready().unwrap();
    let status = snapshots.status();
    let refused = status.refused.unwrap();
    assert_eq!((status.revision, refused.revision), (1, 2));
    assert_eq!(
        refused.faults,
        ["vendor \"sandbox\" strategy: unknown strategy \"gone\"; this version has openai, sandbox, signed"]
    );

    world.db.execute(MEND, args![]).await.unwrap();
    world.db.execute(BUMP, args![]).await.unwrap();
    snapshots.refresh().await;
    let status = snapshots.status();
    assert_eq!((status.revision, status.refused), (3, None));
}

#[tokio::test]
async fn when_the_database_is_gone_the_last_snapshot_stays() {
    let world = World::sqlite().await;
    let snapshots = snapshots(&world);
    apply(&world, DOCUMENT).await;
    snapshots.refresh().await;
    world.db.close().await;
    snapshots.refresh().await;
    assert!(snapshots.current().find_interface("chat").is_some());
    snapshots.ready().unwrap();
    assert!(snapshots.status().source_error.unwrap().contains("unavailable"));
}

#[tokio::test]
async fn a_start_without_a_sound_configuration_is_not_ready_and_says_why() {
    let world = World::sqlite().await;
    apply(&world, DOCUMENT).await;
    world.db.execute(BREAK, args![]).await.unwrap();
    let snapshots = snapshots(&world);
    snapshots.refresh().await;
    assert!(snapshots.ready().unwrap_err().contains("unknown strategy \"gone\""));
}

/// The first who reads the rows has to wait before it gets them.
#[derive(Debug)]
struct SlowAtFirst {
    rows: SqlConfig,
    first: tokio::sync::Semaphore,
    go_on: tokio::sync::Semaphore,
}

#[async_trait]
impl ConfigSource for SlowAtFirst {
    async fn current_revision(&self) -> StoreResult<Revision> {
        self.rows.current_revision().await
    }

    async fn load_rows(&self) -> StoreResult<ConfigRows> {
        let rows = self.rows.load_rows().await;
        if let Ok(first) = self.first.try_acquire() {
            first.forget();
            self.go_on.acquire().await.unwrap().forget();
        }
        rows
    }
}

#[tokio::test]
async fn an_older_revision_is_never_published_after_a_newer_one() {
    let world = World::sqlite().await;
    apply(&world, DOCUMENT).await;
    let source = Arc::new(SlowAtFirst {
        rows: world.config.clone(),
        first: tokio::sync::Semaphore::new(1),
        go_on: tokio::sync::Semaphore::new(0),
    });
    let snapshots = Arc::new(Snapshots::new(source.clone(), Arc::new(Catalog), Arc::new(SystemClock)));
    let tasks = Tasks::default();
    let refresh = || {
        let snapshots = Arc::clone(&snapshots);
        tasks.spawn(async move { snapshots.refresh().await });
    };
    refresh();
    while source.first.available_permits() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let talk = DOCUMENT.replace("name = \"chat\"", "name = \"talk\"");
    apply(&world, &talk).await;
    refresh();
    // Time enough for the second one to overtake, if it could.
    let overtaken = async {
        while snapshots.current().revision() != Revision(2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(300), overtaken).await;
    source.go_on.add_permits(1);
    assert!(tasks.drain(Duration::from_secs(5)).await);
    assert_eq!(snapshots.current().revision(), Revision(2));
    assert!(snapshots.current().find_interface("talk").is_some());
}
