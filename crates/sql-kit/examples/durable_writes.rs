//! Measures durable transactions a second on a SQLite file, and on PostgreSQL when `HEXGATE_TEST_POSTGRES_URL` is set:
//! `cargo run --release -p sql-kit --example durable_writes -- [tasks] [seconds]`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sql_kit::{Db, Migrations, Options, Sql, Step, args, sql};
use sql_test_kit::{POSTGRES_VARIABLE, TestDatabase};

const SCHEMA: &str = "CREATE TABLE token (id TEXT NOT NULL PRIMARY KEY, used_at BIGINT)";
static MIGRATIONS: Migrations = Migrations {
    history: sql_kit::history!("migrations"),
    steps: &[Step {
        name: "0001_create_token",
        sqlite: SCHEMA,
        postgres: SCHEMA,
    }],
};
const INSERT: Sql = sql!("INSERT INTO token (id, used_at) VALUES (?, ?)");
const USE: Sql = sql!("UPDATE token SET used_at = ? WHERE id = ? AND used_at IS NULL");
const FIND: Sql = sql!("SELECT used_at FROM token WHERE id = ?");

#[derive(Clone, Copy)]
enum Work {
    Statement,
    Transaction,
    Cycle,
    Read,
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let tasks = numbers.next().unwrap_or(16);
    let time = Duration::from_secs(numbers.next().unwrap_or(3));
    let mut databases = vec![("sqlite", TestDatabase::sqlite())];
    if std::env::var_os(POSTGRES_VARIABLE).is_some() {
        databases.push(("postgres", TestDatabase::postgres().await));
    }
    for (name, database) in &databases {
        let db = Db::connect(&database.url, &Options::default()).await.unwrap();
        db.migrate(&MIGRATIONS).await.unwrap();
        for (label, work) in [
            ("single statements", Work::Statement),
            ("transactions of one insert", Work::Transaction),
            ("insert, then transaction of update + insert", Work::Cycle),
            ("reads", Work::Read),
        ] {
            for count in [1, tasks] {
                let rate = measure(&db, work, count, time).await;
                println!("{name}: {rate:8.0} {label} a second, {count} tasks");
            }
        }
        db.close().await;
    }
}

async fn measure(db: &Db, work: Work, tasks: u64, time: Duration) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (db, done) = (db.clone(), Arc::clone(&done));
        running.spawn(async move {
            while start.elapsed() < time {
                once(&db, work).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    running.join_all().await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let done = done.load(Ordering::Relaxed) as f64;
    done / start.elapsed().as_secs_f64()
}

async fn once(db: &Db, work: Work) {
    let id = format!("{:032x}", rand::random::<u128>());
    match work {
        Work::Statement => {
            db.execute(INSERT, args![id, None::<i64>]).await.unwrap();
        }
        Work::Transaction => {
            let mut tx = db.begin().await.unwrap();
            tx.execute(INSERT, args![id, None::<i64>]).await.unwrap();
            tx.commit().await.unwrap();
        }
        Work::Cycle => {
            db.execute(INSERT, args![id.as_str(), None::<i64>]).await.unwrap();
            let mut tx = db.begin().await.unwrap();
            tx.execute(USE, args![1_i64, id.as_str()]).await.unwrap();
            tx.execute(INSERT, args![format!("r{id}"), None::<i64>]).await.unwrap();
            tx.commit().await.unwrap();
        }
        Work::Read => {
            db.optional::<(Option<i64>,)>(FIND, args![id]).await.unwrap();
        }
    }
}
