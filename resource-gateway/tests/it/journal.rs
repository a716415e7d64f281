//! A process that is killed under load loses and doubles no usage row. The process is this test binary, started again.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use resource_gateway::{
    adapters::{
        journal::{Journal, JournalOptions},
        sql::SqlUsage,
    },
    ports::usage::UsageSink as _,
};
use service_kit::{SystemClock, SystemEntropy, Tasks};
use sql_kit::{Db, Options, Sql, args, sql};

use crate::storage_world::{World, full_record};

const IDS: Sql = sql!("SELECT request_id FROM usage_record ORDER BY request_id");
const URL: &str = "HEXGATE_JOURNAL_TEST_URL";
const DIR: &str = "HEXGATE_JOURNAL_TEST_DIR";
const LIFE: &str = "HEXGATE_JOURNAL_TEST_LIFE";
const THREADS: usize = 3;
const LIVES: usize = 4;

fn open(dir: &str, db: &Db) -> Journal {
    let options = JournalOptions {
        dir: dir.into(),
        segment_bytes: 64 * 1024,
        drain_interval: Duration::from_millis(20),
        ..JournalOptions::default()
    };
    Journal::open(
        options,
        Arc::new(SqlUsage::new(db.clone(), Arc::new(SystemClock))),
        &SystemEntropy,
    )
    .unwrap()
}

/// Does nothing by itself: the life of the process that the tests below start and kill.
#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_process_that_is_going_to_be_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the parent speaks to this process")]
    let variable = |name| std::env::var(name).ok();
    let (Some(url), Some(dir), Some(life)) = (variable(URL), variable(DIR), variable(LIFE)) else {
        return;
    };
    let db = Db::connect(&url, &Options::default()).await.unwrap();
    let journal = Arc::new(open(&dir, &db));
    let tasks = Tasks::default();
    let (following, stop) = (Arc::clone(&journal), tasks.stop_token());
    tasks.spawn(async move { following.follow(stop).await });
    let workers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (journal, life) = (Arc::clone(&journal), life.clone());
            std::thread::spawn(move || {
                for at in 0.. {
                    let id = format!("{life}-{thread}-{at}");
                    journal.take(&full_record(&id)).unwrap();
                    journal.flush();
                    // The reply ends: from here on somebody relies on the row.
                    let line = format!("ack {id}\n");
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

/// Lets a process live for a while and kills it; what it acknowledged.
fn live_and_die(url: &str, dir: &str, life: usize) -> HashSet<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "journal::the_life_of_a_process_that_is_going_to_be_killed",
            "--nocapture",
        ])
        .env(URL, url)
        .env(DIR, dir)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let (mut acknowledged, mut begun) = (HashSet::new(), None);
    let mut killed = false;
    while let Some(Ok(line)) = lines.next() {
        // What is printed after the kill was acknowledged before it: the pipe keeps it.
        let line = String::from_utf8(line).unwrap();
        let Some((_, id)) = line.split_once("ack ") else {
            continue;
        };
        acknowledged.insert(id.to_owned());
        let begun = *begun.get_or_insert_with(Instant::now);
        if !killed && begun.elapsed() > Duration::from_millis(150 + 70 * u64::try_from(life).unwrap()) {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    acknowledged
}

async fn kill_and_count(world: World) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let mut acknowledged = HashSet::new();
    for life in 0..LIVES {
        let (url, path) = (world.database.url.clone(), path.clone());
        let life = tokio::task::spawn_blocking(move || live_and_die(&url, &path, life))
            .await
            .unwrap();
        assert!(!life.is_empty());
        acknowledged.extend(life);
    }
    let journal = open(&path, &world.db);
    assert!(journal.finish(Duration::from_secs(30)).await);
    let status = journal.status();
    assert_eq!((status.damaged_bytes, status.refused_records), (0, 0));

    let rows: Vec<(String,)> = world.db.all(IDS, args![]).await.unwrap();
    let rows: HashSet<String> = rows.into_iter().map(|(id,)| id).collect();
    let lost: Vec<_> = acknowledged.difference(&rows).collect();
    assert!(
        lost.is_empty(),
        "lost {} of {}: {:?}",
        lost.len(),
        acknowledged.len(),
        lost.first()
    );
    // Recorded, but killed before the acknowledgement was out (the last line may be cut, too): at most one per thread and life.
    let unheard = rows.difference(&acknowledged).count();
    assert!(
        unheard <= 2 * THREADS * LIVES,
        "{unheard} rows that nobody acknowledged"
    );
    assert!(rows.len() > 100, "there was load: {}", rows.len());
}

#[tokio::test]
async fn kill_9_under_load_loses_and_doubles_nothing_on_sqlite() {
    kill_and_count(World::sqlite().await).await;
}

#[tokio::test]
async fn kill_9_under_load_loses_and_doubles_nothing_on_postgresql() {
    kill_and_count(World::postgres().await).await;
}
