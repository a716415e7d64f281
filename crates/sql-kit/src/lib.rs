//! One executor over SQLite and PostgreSQL: portable statements, typed arguments, transactions with group commit,
//! migrations under a lock.
//!
//! A statement is a constant made by [`sql!`]: written once with `?` and bound values, or once per dialect where the
//! engines truly differ. [`Db`] runs it by itself, [`Tx`] inside a transaction; rows come back as anything that derives
//! `sqlx::FromRow`.
//!
//! ```
//! use sql_kit::{Db, Options, Sql, SqlError, args, sql};
//!
//! const CREATE: Sql = sql!("CREATE TABLE client (id TEXT PRIMARY KEY, created_at BIGINT NOT NULL)");
//! const INSERT: Sql = sql!("INSERT INTO client (id, created_at) VALUES (?, ?)");
//! const SINCE: Sql = sql!("SELECT id FROM client WHERE created_at > ? ORDER BY id");
//!
//! # async fn run() -> Result<(), SqlError> {
//! let db = Db::connect("sqlite::memory:", &Options::default()).await?;
//! db.execute(CREATE, args![]).await?;
//!
//! let mut tx = db.begin().await?;
//! tx.execute(INSERT, args!["web", 7_i64]).await?;
//! tx.commit().await?;
//!
//! let rows: Vec<(String,)> = db.all(SINCE, args![5_i64]).await?;
//! assert_eq!(rows, [("web".to_owned(),)]);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
//! ```

mod arg;
mod db;
mod error;
mod meter;
mod migrate;
mod postgres;
mod query;
mod sql;
mod sqlite;

pub use arg::Arg;
pub use db::{Db, Dialect, Options, Tx};
pub use error::SqlError;
pub use meter::Work;
pub use migrate::{History, Migrations, Step};
pub use query::Record;
pub use sql::{Sql, Statement, count_parameters, number_parameters, numbered_len, reads_only, utf8};
