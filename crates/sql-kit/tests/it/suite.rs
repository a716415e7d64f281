//! What holds on every engine.

use std::time::Duration;

use sql_kit::{Arg, Db, Migrations, Options, Sql, SqlError, Step, args, sql};
use sql_test_kit::TestDatabase;
use tokio::task::JoinSet;

pub(crate) const SCHEMA: &str = "CREATE TABLE item (id TEXT NOT NULL PRIMARY KEY, owner TEXT, amount BIGINT NOT NULL, \
    open BOOLEAN NOT NULL DEFAULT TRUE, UNIQUE (owner, amount)); \
    CREATE TABLE part (id TEXT NOT NULL PRIMARY KEY, item TEXT NOT NULL REFERENCES item (id));";

pub(crate) static MIGRATIONS: Migrations = Migrations {
    history: sql_kit::history!("kit_migrations"),
    steps: &[
        Step {
            name: "0001_create_item",
            sqlite: SCHEMA,
            postgres: SCHEMA,
        },
        Step {
            name: "0002_create_blob",
            sqlite: "CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, body BLOB)",
            postgres: "CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, body BYTEA)",
        },
    ],
};

pub(crate) const INSERT: Sql = sql!("INSERT INTO item (id, owner, amount) VALUES (?, ?, ?)");
const INSERT_PART: Sql = sql!("INSERT INTO part (id, item) VALUES (?, ?)");
const TAKE: Sql = sql!("UPDATE item SET open = FALSE WHERE id = ? AND open");
const RETURNING: Sql = sql!("UPDATE item SET amount = amount + ? WHERE id = ? RETURNING amount");
const BY_ID: Sql = sql!("SELECT id, owner, amount, open FROM item WHERE id = ?");
const IDS: Sql = sql!("SELECT id FROM item ORDER BY id");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM item");
const PUT_THING: Sql = sql!("INSERT INTO thing (id, body) VALUES (?, ?)");
const THING: Sql = sql!("SELECT body FROM thing WHERE id = ?");
const OWNER_AS_NUMBER: Sql = sql!("SELECT owner AS amount FROM item WHERE id = ?");
const BROKEN: Sql = sql!("SELECT nothing FROM item");

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Item {
    id: String,
    owner: Option<String>,
    amount: i64,
    open: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct Amount {
    #[expect(dead_code, reason = "read to fail")]
    amount: i64,
}

/// A database of each kind, migrated.
async fn each(test: impl AsyncFn(Db)) {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let db = Db::connect(&database.url, &Options::default()).await.unwrap();
        db.migrate(&MIGRATIONS).await.unwrap();
        test(db.clone()).await;
        db.close().await;
    }
    let db = Db::connect("sqlite::memory:", &Options::default()).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    test(db.clone()).await;
    db.close().await;
}

#[tokio::test]
async fn values_of_every_kind_come_back_as_they_went_in() {
    each(async |db| {
        assert_eq!(db.execute(INSERT, args!["a", None::<&str>, 7_i64]).await.unwrap(), 1);
        let item: Item = db.one(BY_ID, args!["a"]).await.unwrap();
        assert_eq!(
            item,
            Item {
                id: "a".into(),
                owner: None,
                amount: 7,
                open: true
            }
        );
        db.execute(PUT_THING, args![1_i64, vec![0_u8, 255]]).await.unwrap();
        db.execute(PUT_THING, args![2_i64, None::<Vec<u8>>]).await.unwrap();
        assert_eq!(
            db.one::<(Option<Vec<u8>>,)>(THING, args![1_i64]).await.unwrap().0,
            Some(vec![0, 255])
        );
        assert_eq!(db.one::<(Option<Vec<u8>>,)>(THING, args![2_i64]).await.unwrap().0, None);
        assert_eq!(db.optional::<Item>(BY_ID, args!["b"]).await.unwrap(), None);
        assert_eq!(
            db.one::<Item>(BY_ID, args!["b"]).await.unwrap_err(),
            SqlError::NoRow("item")
        );
    })
    .await;
}

#[tokio::test]
async fn counts_and_returned_rows_are_those_of_the_statement_itself() {
    each(async |db| {
        db.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
        assert_eq!(db.execute(TAKE, args!["a"]).await.unwrap(), 1);
        assert_eq!(db.execute(TAKE, args!["a"]).await.unwrap(), 0);
        assert_eq!(db.one::<(i64,)>(RETURNING, args![4_i64, "a"]).await.unwrap().0, 5);
        // In a transaction the first statement travels with others that change nothing.
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.execute(TAKE, args!["a"]).await.unwrap(), 0);
        assert_eq!(tx.one::<(i64,)>(RETURNING, args![1_i64, "a"]).await.unwrap().0, 6);
        tx.commit().await.unwrap();
        assert_eq!(db.one::<Item>(BY_ID, args!["a"]).await.unwrap().amount, 6);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_is_seen_whole_after_commit_and_not_at_all_without() {
    each(async |db| {
        let mut tx = db.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
        tx.execute(INSERT, args!["b", "x", 2_i64]).await.unwrap();
        assert_eq!(tx.all::<(String,)>(IDS, args![]).await.unwrap().len(), 2);
        tx.commit().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tx.execute(INSERT, args!["c", "x", 3_i64]).await.unwrap();
        drop(tx);
        let ids: Vec<(String,)> = db.all(IDS, args![]).await.unwrap();
        assert_eq!(ids, [("a".to_owned(),), ("b".to_owned(),)]);
    })
    .await;
}

#[tokio::test]
async fn a_taken_key_is_named_alike_by_every_engine() {
    each(async |db| {
        db.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
        let twice = db.execute(INSERT, args!["a", "y", 2_i64]).await.unwrap_err();
        assert_eq!(
            twice,
            SqlError::Unique {
                constraint: "item(id)".into()
            }
        );
        let pair = db.execute(INSERT, args!["b", "x", 1_i64]).await.unwrap_err();
        assert_eq!(
            pair,
            SqlError::Unique {
                constraint: "item(owner, amount)".into()
            }
        );
        let orphan = db.execute(INSERT_PART, args!["p", "none"]).await.unwrap_err();
        assert_eq!(orphan, SqlError::ForeignKey { table: "part".into() });
        assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 1);
    })
    .await;
}

#[tokio::test]
async fn an_error_ends_the_transaction() {
    each(async |db| {
        let mut tx = db.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
        tx.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap_err();
        assert_eq!(
            tx.optional::<Item>(BY_ID, args!["a"]).await.unwrap_err(),
            SqlError::Aborted
        );
        assert_eq!(tx.commit().await.unwrap_err(), SqlError::Aborted);
        assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 0);
    })
    .await;
}

#[tokio::test]
async fn errors_name_places_and_never_values() {
    each(async |db| {
        db.execute(INSERT, args!["a", "secret-owner", 1_i64]).await.unwrap();
        let corrupt = db.one::<Amount>(OWNER_AS_NUMBER, args!["a"]).await.unwrap_err();
        assert_eq!(
            corrupt,
            SqlError::Corrupt {
                table: "item",
                column: "amount"
            }
        );
        let broken = db.all::<(String,)>(BROKEN, args![]).await.unwrap_err();
        assert!(matches!(broken, SqlError::Other(_)) && !broken.is_unavailable());
        let few = db.execute(INSERT, args!["secret-id"]).await.unwrap_err();
        assert_eq!(few.to_string(), "a statement on item takes 3 parameters, not 1");
        let unique = db.execute(INSERT, args!["b", "secret-owner", 1_i64]).await.unwrap_err();
        for error in [corrupt, broken, few, unique] {
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        assert_eq!(format!("{:?}", Arg::from("secret")), "Text");
    })
    .await;
}

#[tokio::test]
async fn nothing_equals_a_text_with_a_nul_and_none_is_stored() {
    each(async |db| {
        assert_eq!(db.optional::<Item>(BY_ID, args!["a\0"]).await.unwrap(), None);
        assert_eq!(db.all::<Item>(BY_ID, args!["\0"]).await.unwrap(), []);
        let delete = sql!("DELETE FROM item WHERE id = ?");
        assert_eq!(db.execute(delete, args!["a\0"]).await.unwrap(), 0);
        let refused = db.execute(INSERT, args!["a\0", None::<&str>, 1_i64]).await;
        assert!(matches!(refused, Err(SqlError::Other(_))), "{refused:?}");
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.optional::<Item>(BY_ID, args!["a\0"]).await.unwrap(), None);
        tx.execute(INSERT, args!["a", None::<&str>, 1_i64]).await.unwrap();
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_many_takers_one_wins() {
    each(async |db| {
        db.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
        let mut takers = JoinSet::new();
        for _ in 0..100 {
            let db = db.clone();
            takers.spawn(async move { db.execute(TAKE, args!["a"]).await.unwrap() });
        }
        assert_eq!(takers.join_all().await.into_iter().sum::<u64>(), 1);
    })
    .await;
}

#[tokio::test]
async fn migrations_run_once_however_many_nodes_start_together() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let mut nodes = JoinSet::new();
        for _ in 0..6 {
            let url = database.url.clone();
            nodes.spawn(async move {
                let db = Db::connect(&url, &Options::default()).await.unwrap();
                db.migrate(&MIGRATIONS).await.unwrap();
                db.migrate(&MIGRATIONS).await.unwrap();
                db.close().await;
            });
        }
        nodes.join_all().await;
    }
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_and_a_changed_one_is_refused() {
    const BAD: &str = "CREATE TABLE extra (id TEXT); CREATE TABLE item (id TEXT)";
    static FAILING: Migrations = Migrations {
        history: sql_kit::history!("kit_migrations"),
        steps: &[
            Step {
                name: "0001_create_item",
                sqlite: SCHEMA,
                postgres: SCHEMA,
            },
            Step {
                name: "0002_create_blob",
                ..MIGRATIONS.steps[1]
            },
            Step {
                name: "0003_fail",
                sqlite: BAD,
                postgres: BAD,
            },
        ],
    };
    static CHANGED: Migrations = Migrations {
        history: sql_kit::history!("kit_migrations"),
        steps: &[
            Step {
                name: "0001_create_item",
                sqlite: "SELECT 1",
                postgres: "SELECT 1",
            },
            MIGRATIONS.steps[1],
        ],
    };
    each(async |db| {
        let error = db.migrate(&FAILING).await.unwrap_err().to_string();
        assert!(error.starts_with("migration 3 failed: "), "{error}");
        let changed = db.migrate(&CHANGED).await.unwrap_err().to_string();
        assert_eq!(changed, "migration 1 was previously applied but has been modified");
        // Neither left a lock or half a step behind.
        db.migrate(&MIGRATIONS).await.unwrap();
        db.all::<(String,)>(sql!("SELECT id FROM extra"), args![])
            .await
            .unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn who_looks_at_a_database_is_told_what_it_lacks_and_changes_nothing() {
    static EARLIER: Migrations = Migrations {
        steps: &[MIGRATIONS.steps[0]],
        ..MIGRATIONS
    };
    static OTHER: Migrations = Migrations {
        steps: &[Step {
            sqlite: "SELECT 1",
            postgres: "SELECT 1",
            ..MIGRATIONS.steps[0]
        }],
        ..MIGRATIONS
    };
    const HISTORY: Sql = sql!("SELECT COUNT(*) FROM kit_migrations");
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        if let Some(directory) = database.directory() {
            let error = Db::look_at(&database.url, &Options::default()).await.unwrap_err();
            assert!(
                error.is_unavailable() && error.to_string().contains("test.db"),
                "{error}"
            );
            assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
        } else {
            let db = Db::look_at(&database.url, &Options::default()).await.unwrap();
            assert_eq!(
                db.missing(&MIGRATIONS).await.unwrap(),
                ["0001_create_item", "0002_create_blob"]
            );
            db.migrate(&MIGRATIONS).await.unwrap_err();
            db.close().await;
        }
        let db = Db::connect(&database.url, &Options::default()).await.unwrap();
        assert_eq!(
            db.missing(&MIGRATIONS).await.unwrap(),
            ["0001_create_item", "0002_create_blob"]
        );
        db.all::<(i64,)>(HISTORY, args![]).await.unwrap_err();
        db.migrate(&EARLIER).await.unwrap();
        let looking = Db::look_at(&database.url, &Options::default()).await.unwrap();
        assert_eq!(looking.missing(&MIGRATIONS).await.unwrap(), ["0002_create_blob"]);
        looking.migrate(&MIGRATIONS).await.unwrap_err();
        looking
            .execute(INSERT, args!["a", None::<String>, 1_i64])
            .await
            .unwrap_err();
        looking.close().await;
        assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap(), (0,));
        db.migrate(&MIGRATIONS).await.unwrap();
        assert!(db.missing(&MIGRATIONS).await.unwrap().is_empty());
        // What `migrate` would refuse.
        let newer = db.missing(&EARLIER).await.unwrap_err().to_string();
        assert_eq!(newer, db.migrate(&EARLIER).await.unwrap_err().to_string());
        let changed = db.missing(&OTHER).await.unwrap_err().to_string();
        assert!(
            changed == "migration 1 was previously applied but has been modified" || changed == newer,
            "{changed}"
        );
        db.close().await;
    }
}

#[tokio::test]
async fn two_services_keep_their_histories_apart_in_one_database() {
    static OTHER: Migrations = Migrations {
        history: sql_kit::history!("other_migrations"),
        steps: &[Step {
            name: "0001_create_other",
            sqlite: "CREATE TABLE other (id TEXT)",
            postgres: "CREATE TABLE other (id TEXT)",
        }],
    };
    each(async |db| {
        db.migrate(&OTHER).await.unwrap();
        db.migrate(&MIGRATIONS).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_closed_database_is_unavailable() {
    each(async |db| {
        db.ping().await.unwrap();
        db.close().await;
        assert!(db.ping().await.unwrap_err().is_unavailable());
        assert!(db.execute(TAKE, args!["a"]).await.unwrap_err().is_unavailable());
        assert!(db.begin().await.unwrap_err().is_unavailable());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_the_error_holds_no_password() {
    let options = Options {
        acquire_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    for url in ["postgres://user:secret@127.0.0.1:1/db", "sqlite:///proc/secret/x.db"] {
        let error = Db::connect(url, &options).await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert!(!error.to_string().contains("user:secret"), "{error}");
    }
    let error = Db::connect("mongodb://user:secret@host/db", &options)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database URL must begin with sqlite: or postgres:"
    );
}

#[tokio::test]
async fn an_abandoned_statement_ends_its_transaction() {
    each(async |db| {
        let mut tx = db.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "x", 1_i64]).await.unwrap();
        // Polled once, then dropped: the statement is on its way.
        let pending = tokio::time::timeout(Duration::ZERO, tx.execute(INSERT, args!["b", "x", 2_i64])).await;
        if pending.is_err() {
            assert_eq!(tx.commit().await.unwrap_err(), SqlError::Aborted);
            assert_eq!(db.one::<(i64,)>(COUNT, args![]).await.unwrap().0, 0);
        }
    })
    .await;
}
