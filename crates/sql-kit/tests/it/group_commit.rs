//! SQLite's shared writer: members of a group do not see each other's failures, and nobody hangs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sql_kit::{Db, Options, Sql, SqlError, args, sql};
use sql_test_kit::TestDatabase;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use crate::suite::{INSERT, MIGRATIONS};

const IDS: Sql = sql!("SELECT id FROM item ORDER BY id");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM item");
const BY_ID: Sql = sql!("SELECT amount FROM item WHERE id = ?");
/// Nobody has prepared this one before the table is away.
const KEEP: Sql = sql!("INSERT INTO item (id, owner, amount) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING");
const AWAY: Sql = sql!("ALTER TABLE item RENAME TO item_away");
const BACK: Sql = sql!("ALTER TABLE item_away RENAME TO item");
const HANG: Duration = Duration::from_mins(1);

async fn open(options: Options) -> (TestDatabase, Db) {
    let database = TestDatabase::sqlite();
    let db = Db::connect(&database.url, &options).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    (database, db)
}

async fn ids(db: &Db) -> BTreeSet<String> {
    db.all::<(String,)>(IDS, args![])
        .await
        .unwrap()
        .into_iter()
        .map(|(id,)| id)
        .collect()
}

async fn insert(db: &Db, id: &str, amount: i64) -> Result<(), SqlError> {
    let mut tx = db.begin().await?;
    tx.execute(INSERT, args![id, id, amount]).await?;
    tx.commit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn failures_of_members_stay_their_own() {
    let (_database, db) = open(Options {
        group_limit: 7,
        ..Options::default()
    })
    .await;
    let mut tasks = JoinSet::new();
    for n in 0..400_i64 {
        let db = db.clone();
        tasks.spawn(async move {
            let id = format!("{n:04}");
            match n % 5 {
                0 => insert(&db, &id, n).await.map(|()| Some(id)),
                1 => db
                    .execute(INSERT, args![id.as_str(), "auto", n])
                    .await
                    .map(|_| Some(id)),
                // A transaction that fails after it wrote.
                2 => {
                    let mut tx = db.begin().await?;
                    tx.execute(INSERT, args![id.as_str(), "fails", n]).await?;
                    let twice = tx.execute(INSERT, args![id.as_str(), "fails", n]).await;
                    assert!(matches!(twice, Err(SqlError::Unique { .. })));
                    assert_eq!(tx.commit().await, Err(SqlError::Aborted));
                    Ok(None)
                }
                // One that changes its mind.
                3 => {
                    let mut tx = db.begin().await?;
                    tx.execute(INSERT, args![id.as_str(), "dropped", n]).await?;
                    Ok(None)
                }
                // A single statement that fails.
                _ => {
                    db.execute(INSERT, args![id.as_str(), None::<&str>, None::<i64>])
                        .await
                        .unwrap_err();
                    Ok(None)
                }
            }
        });
    }
    let outcomes: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    let expected: BTreeSet<_> = outcomes.unwrap().into_iter().flatten().collect();
    assert_eq!(expected.len(), 160);
    assert_eq!(ids(&db).await, expected);
}

/// The property that everything else rests on: whatever is dropped when, what was answered as committed is there, what was
/// not sent to commit is not, and the writer goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn committed_rows_stay_and_others_vanish_under_random_cancellation() {
    for group_limit in [1, 2, 3, 8, 64, 1000] {
        let (database, db) = open(Options {
            group_limit,
            ..Options::default()
        })
        .await;
        let committed = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let asked = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let mut tasks = JoinSet::new();
        for task in 0..40_u64 {
            let (db, committed, asked) = (db.clone(), Arc::clone(&committed), Arc::clone(&asked));
            tasks.spawn(async move {
                for step in 0..20_u64 {
                    let id = format!("{task:02}-{step:02}");
                    // Each attempt is given a random number of polls, then dropped wherever it is.
                    let polls = rand::random_range(0..12_u32);
                    let attempt = async {
                        if rand::random_bool(0.3) {
                            asked.lock().unwrap().insert(id.clone());
                            db.execute(INSERT, args![id.as_str(), id.as_str(), 0_i64])
                                .await
                                .unwrap();
                        } else {
                            let mut tx = db.begin().await.unwrap();
                            tx.execute(INSERT, args![id.as_str(), id.as_str(), 0_i64])
                                .await
                                .unwrap();
                            tx.optional::<(i64,)>(BY_ID, args![id.as_str()]).await.unwrap().unwrap();
                            if rand::random_bool(0.3) {
                                return;
                            }
                            asked.lock().unwrap().insert(id.clone());
                            tx.commit().await.unwrap();
                        }
                        committed.lock().unwrap().insert(id.clone());
                    };
                    limited(attempt, polls).await;
                }
            });
        }
        // Some whole tasks are aborted from outside as well.
        for victim in 0..8 {
            tokio::task::yield_now().await;
            if victim % 2 == 0 {
                insert(&db, &format!("main-{victim}"), 1).await.unwrap();
                committed.lock().unwrap().insert(format!("main-{victim}"));
                asked.lock().unwrap().insert(format!("main-{victim}"));
            }
        }
        tokio::time::timeout(HANG, tasks.join_all())
            .await
            .expect("nobody hangs");
        tokio::time::timeout(HANG, insert(&db, "last", 0))
            .await
            .expect("the writer is free")
            .unwrap();
        committed.lock().unwrap().insert("last".into());
        asked.lock().unwrap().insert("last".into());
        db.close().await;

        let reopened = Db::connect(&database.url, &Options::default()).await.unwrap();
        let found = ids(&reopened).await;
        let (committed, asked) = (committed.lock().unwrap().clone(), asked.lock().unwrap().clone());
        assert!(
            found.is_superset(&committed),
            "lost: {:?}",
            committed.difference(&found).collect::<Vec<_>>()
        );
        assert!(
            found.is_subset(&asked),
            "not undone: {:?}",
            found.difference(&asked).collect::<Vec<_>>()
        );
        reopened.close().await;
    }
}

/// Polls `future` at most `polls` times before it is dropped; 11 stands for no limit.
async fn limited(future: impl Future<Output = ()>, polls: u32) {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        if left < 11 {
            left -= 1;
        }
        future.as_mut().poll(context)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_tasks_leave_nothing_behind() {
    let (_database, db) = open(Options::default()).await;
    let mut tasks = Vec::new();
    for n in 0..200_i64 {
        let db = db.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                let mut tx = db.begin().await.unwrap();
                tx.execute(INSERT, args![format!("never-{n}"), format!("{n}"), n])
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        }));
    }
    for n in 0..50 {
        insert(&db, &format!("kept-{n}"), n).await.unwrap();
    }
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    tokio::time::timeout(HANG, insert(&db, "last", 0))
        .await
        .expect("the writer is free")
        .unwrap();
    assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 51);
    assert!(ids(&db).await.iter().all(|id| !id.starts_with("never")));
}

#[tokio::test]
async fn a_member_is_answered_though_the_one_it_left_the_group_to_goes_away() {
    let (_database, db) = open(Options::default()).await;
    let mut first = db.begin().await.unwrap();
    first.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
    // Waits for the writer, so that `first` leaves the COMMIT to it; then gives up.
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { db.begin().await.map(drop) }
    });
    tokio::task::yield_now().await;
    let commit = tokio::spawn(first.commit());
    waiting.abort();
    tokio::time::timeout(HANG, commit)
        .await
        .expect("the commit is answered")
        .unwrap()
        .unwrap();
    assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 1);
}

#[tokio::test]
async fn a_member_is_answered_though_the_next_one_rolls_back() {
    let (_database, db) = open(Options::default()).await;
    let mut first = db.begin().await.unwrap();
    first.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let second = tokio::spawn({
        let (db, entered, leave) = (db.clone(), Arc::clone(&entered), Arc::clone(&leave));
        async move {
            let mut tx = db.begin().await.unwrap();
            tx.execute(INSERT, args!["b", "x", 2_i64]).await.unwrap();
            entered.notify_one();
            leave.notified().await;
        }
    });
    tokio::task::yield_now().await;
    let commit = tokio::spawn(first.commit());
    entered.notified().await;
    assert!(!commit.is_finished(), "the group is still open");
    leave.notify_one();
    second.await.unwrap();
    tokio::time::timeout(HANG, commit)
        .await
        .expect("the commit is answered")
        .unwrap()
        .unwrap();
    assert_eq!(ids(&db).await, BTreeSet::from(["a".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_hears_that_the_commit_failed() {
    let (_database, db) = open(Options::default()).await;
    // A deferred constraint fails at COMMIT, as a full disk would.
    db.execute(
        sql!("CREATE TABLE late (id TEXT REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)"),
        args![],
    )
    .await
    .unwrap();
    let late: Sql = sql!("INSERT INTO late (id) VALUES (?)");
    let mut holder = db.begin().await.unwrap();
    holder.execute(late, args!["nobody"]).await.unwrap();
    let others: Vec<_> = (0..5)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move { insert(&db, &format!("{n}"), n).await })
        })
        .collect();
    while !waiting(&db, 5) {
        tokio::task::yield_now().await;
    }
    holder.commit().await.unwrap_err();
    for other in others {
        other.await.unwrap().unwrap_err();
    }
    assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 0);
    insert(&db, "after", 1).await.unwrap();
    assert_eq!(ids(&db).await, BTreeSet::from(["after".to_owned()]));
}

/// Whether so many wait for the writer.
fn waiting(db: &Db, count: u64) -> bool {
    format!("{db:?}").contains(&format!("wanting: {count}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_wait_together_share_a_commit() {
    let (database, db) = open(Options {
        group_limit: 64,
        ..Options::default()
    })
    .await;
    let finished = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(33));
    let holder = db.begin().await.unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let (db, finished, barrier) = (db.clone(), Arc::clone(&finished), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                insert(&db, &format!("{n}"), n).await.unwrap();
                finished.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    barrier.wait().await;
    while !waiting(&db, 32) {
        tokio::task::yield_now().await;
    }
    let before = log_pages(&database);
    drop(holder);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(finished.load(Ordering::SeqCst), 32);
    let pages = log_pages(&database) - before;
    // One COMMIT writes each changed page once; 32 of them would write at least 3 pages each.
    assert!(pages < 32, "{pages} pages were written");
}

/// Pages in the write-ahead log, each with a header of 24 bytes.
fn log_pages(database: &TestDatabase) -> u64 {
    database
        .directory()
        .unwrap()
        .join("test.db-wal")
        .metadata()
        .unwrap()
        .len()
        / (4096 + 24)
}

#[tokio::test]
async fn another_process_that_writes_is_waited_for_and_then_said_to_be_busy() {
    let (database, db) = open(Options {
        busy_timeout: Duration::from_millis(50),
        ..Options::default()
    })
    .await;
    let path = database.directory().unwrap().join("test.db");
    let mut other = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let error = insert(&db, "a", 1).await.unwrap_err();
    assert!(
        matches!(error, SqlError::Busy(_)) && error.is_unavailable(),
        "{error:?}"
    );
    assert!(
        db.execute(INSERT, args!["b", "x", 1_i64])
            .await
            .unwrap_err()
            .is_unavailable()
    );
    // Readers do not mind.
    assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 0);
    other.execute("COMMIT").await.unwrap();
    insert(&db, "a", 1).await.unwrap();
    assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 1);
}

#[tokio::test]
async fn a_table_that_another_process_takes_away_is_an_error_until_it_is_back() {
    let (database, db) = open(Options::default()).await;
    let other = Db::connect(&database.url, &Options::default()).await.unwrap();
    insert(&db, "a", 1).await.unwrap();
    db.execute(INSERT, args!["b", "x", 1_i64]).await.unwrap();
    other.execute(AWAY, args![]).await.unwrap();
    tokio::time::timeout(HANG, async {
        for _ in 0..3 {
            let grouped = insert(&db, "c", 1).await;
            assert!(matches!(grouped, Err(SqlError::Other(_))), "{grouped:?}");
            let alone = db.execute(KEEP, args!["c", "x", 1_i64]).await;
            assert!(matches!(alone, Err(SqlError::Other(_))), "{alone:?}");
            let read = db.all::<(String,)>(IDS, args![]).await;
            assert!(matches!(read, Err(SqlError::Other(_))), "{read:?}");
        }
        other.execute(BACK, args![]).await.unwrap();
        insert(&db, "c", 1).await.unwrap();
        assert_eq!(ids(&db).await.len(), 3);
    })
    .await
    .expect("nobody hangs");
}

#[tokio::test]
async fn who_waits_too_long_for_the_writer_is_told_so_and_the_group_goes_on() {
    let (_database, db) = open(Options {
        acquire_timeout: Duration::from_millis(50),
        ..Options::default()
    })
    .await;
    let mut holder = db.begin().await.unwrap();
    holder.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
    assert!(matches!(insert(&db, "b", 1).await, Err(SqlError::Busy(_))));
    holder.commit().await.unwrap();
    insert(&db, "b", 1).await.unwrap();
    assert_eq!(ids(&db).await.len(), 2);
}

#[tokio::test]
async fn the_writer_is_durable_and_readers_cannot_write() {
    let (database, db) = open(Options::default()).await;
    // 2 is FULL: the log is synced at every COMMIT, so an answered commit survives a power cut.
    let synchronous = db.one::<(i64,)>(sql!("PRAGMA synchronous"), args![]).await.unwrap().0;
    assert_eq!(synchronous, 2);
    assert_eq!(
        db.one::<(String,)>(sql!("PRAGMA journal_mode"), args![])
            .await
            .unwrap()
            .0,
        "wal"
    );
    // Taken for a read by its first word, run by a connection that refuses to write.
    let sly = db
        .execute(
            sql!("WITH x AS (SELECT 1) REPLACE INTO thing (id) SELECT * FROM x"),
            args![],
        )
        .await;
    assert!(sly.is_err());
    drop(database);
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (database, db) = open(Options::default()).await;
    insert(&db, "a", 1).await.unwrap();
    for entry in std::fs::read_dir(database.directory().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            entry.path()
        );
    }
}
