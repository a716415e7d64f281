//! A PostgreSQL that is slow, locked or silent: callers are answered in time, and the pool recovers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sql_kit::{Db, Options, Sql, SqlError, args, sql};
use sql_test_kit::TestDatabase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::suite::{INSERT, MIGRATIONS};

const SLEEP: Sql =
    sql!(sqlite: "SELECT ?", postgres: "SELECT CAST(pg_sleep(CAST(? AS DOUBLE PRECISION) / 1000) AS TEXT)");
const LOCK: Sql = sql!("UPDATE item SET amount = amount WHERE id = ?");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM item");

fn options(statement_timeout: u64) -> Options {
    Options {
        statement_timeout: Duration::from_millis(statement_timeout),
        acquire_timeout: Duration::from_secs(2),
        postgres_connections: 2,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_unavailable() {
    let database = TestDatabase::postgres().await;
    let db = Db::connect(&database.url, &options(300)).await.unwrap();
    let started = Instant::now();
    let late = db.all::<(String,)>(SLEEP, args![30_000_i64]).await;
    assert!(matches!(late, Err(SqlError::Unavailable(_))), "{late:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    db.ping().await.unwrap();
    db.close().await;
}

#[tokio::test]
async fn a_lock_that_is_not_given_back_makes_others_busy() {
    let database = TestDatabase::postgres().await;
    let db = Db::connect(&database.url, &options(600)).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    db.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
    let mut holder = db.begin().await.unwrap();
    holder.execute(LOCK, args!["a"]).await.unwrap();
    let waiting = db.execute(LOCK, args!["a"]).await;
    assert!(matches!(waiting, Err(SqlError::Busy(_))), "{waiting:?}");
    drop(holder);
    db.execute(LOCK, args!["a"]).await.unwrap();
    db.close().await;
}

#[tokio::test]
async fn a_transaction_that_is_left_idle_loses_its_locks() {
    let database = TestDatabase::postgres().await;
    let db = Db::connect(&database.url, &options(200)).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    db.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
    let mut idle = db.begin().await.unwrap();
    idle.execute(LOCK, args!["a"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    db.execute(LOCK, args!["a"]).await.unwrap();
    let after = idle.execute(LOCK, args!["a"]).await;
    assert!(matches!(&after, Err(error) if error.is_unavailable()), "{after:?}");
    drop(idle);
    db.close().await;
}

#[tokio::test]
async fn a_migration_takes_as_long_as_it_takes() {
    static SLOW: sql_kit::Migrations = sql_kit::Migrations {
        history: sql_kit::history!("slow_migrations"),
        steps: &[sql_kit::Step {
            name: "0001_sleep",
            sqlite: "SELECT 1",
            postgres: "SELECT pg_sleep(0.5)",
        }],
    };
    let database = TestDatabase::postgres().await;
    let db = Db::connect(&database.url, &options(100)).await.unwrap();
    db.migrate(&SLOW).await.unwrap();
    db.close().await;
}

/// Stands between the pool and the server and, on demand, passes nothing on while every connection stays open, as a stopped
/// server or a network that swallows packets does.
struct Wire {
    port: u16,
    frozen: watch::Sender<bool>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (frozen, state) = watch::channel(false);
        let server = Arc::new(server);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (Arc::clone(&server), state.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(server.as_str()).await.unwrap();
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    tokio::join!(
                        pass(client_read, server_write, state.clone()),
                        pass(server_read, client_write, state)
                    );
                });
            }
        });
        Self { port, frozen }
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = Vec::new();
    while let Ok(1..) = from.read_buf(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.clear();
    }
}

#[tokio::test]
async fn a_silent_server_is_unavailable_in_time_and_usable_when_it_speaks_again() {
    let database = TestDatabase::postgres().await;
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let (user, server) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
    let wire = Wire::to(server.to_owned()).await;
    let url = format!("{scheme}://{user}@127.0.0.1:{}/{path}", wire.port);
    let db = Db::connect(&url, &options(200)).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    let mut open = db.begin().await.unwrap();
    open.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
    let mut committing = db.begin().await.unwrap();
    committing.execute(INSERT, args!["b", "x", 2_i64]).await.unwrap();

    wire.frozen.send(true).unwrap();
    let started = Instant::now();
    let late = open.execute(INSERT, args!["c", "x", 3_i64]).await;
    assert!(matches!(late, Err(SqlError::Unavailable(_))), "{late:?}");
    assert_eq!(open.commit().await, Err(SqlError::Aborted));
    let late = committing.commit().await;
    assert!(matches!(late, Err(SqlError::Unavailable(_))), "{late:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for _ in 0..3 {
        let late = db.all::<(i64,)>(COUNT, args![]).await;
        assert!(matches!(&late, Err(error) if error.is_unavailable()), "{late:?}");
        // A caller who hangs up meanwhile costs the pool nothing either.
        let _ = tokio::time::timeout(Duration::from_millis(20), db.begin()).await;
    }

    wire.frozen.send(false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while db.all::<(i64,)>(COUNT, args![]).await.is_err() {
        assert!(Instant::now() < deadline, "the pool does not recover");
    }
    for _ in 0..2 {
        let mut tx = db.begin().await.unwrap();
        tx.execute(LOCK, args!["b"]).await.unwrap();
        tx.commit().await.unwrap();
    }
    db.close().await;
}
