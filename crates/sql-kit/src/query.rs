//! What comes back from a statement: a count, at most one row, or all rows, from either driver by the same code.

use std::future::Future;
use std::marker::PhantomData;

use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Either, Executor, FromRow};

/// A row type that every driver can fill: any struct of `i64`, `bool`, `String`, `Vec<u8>` and options of them that derives
/// `sqlx::FromRow`, or a tuple of these.
pub trait Record: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static {}

impl<R> Record for R where R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static {}

/// How an answer is taken from a driver.
pub(crate) trait Shape {
    type Answer: Send;

    /// The answer of a statement that finds no row.
    fn nothing() -> Self::Answer;

    fn sqlite(
        connection: &mut SqliteConnection,
        text: &'static str,
        args: SqliteArguments,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;

    fn postgres(
        connection: &mut PgConnection,
        text: &'static str,
        args: PgArguments,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;
}

/// The number of affected rows.
pub(crate) struct Count;
/// The first row, if any.
pub(crate) struct First<R>(PhantomData<R>);
/// Every row.
pub(crate) struct All<R>(PhantomData<R>);

impl Shape for Count {
    type Answer = u64;

    fn nothing() -> u64 {
        0
    }

    async fn sqlite(
        connection: &mut SqliteConnection,
        text: &'static str,
        args: SqliteArguments,
    ) -> Result<u64, sqlx::Error> {
        let mut steps = connection.fetch_many(sqlx::query_with(text, args));
        let mut affected = 0;
        while let Some(step) = steps.try_next().await? {
            // The last count is the statement's own: the SAVEPOINT before it repeats the count of whatever changed rows last.
            if let Either::Left(done) = step {
                affected = done.rows_affected();
            }
        }
        Ok(affected)
    }

    async fn postgres(
        connection: &mut PgConnection,
        text: &'static str,
        args: PgArguments,
    ) -> Result<u64, sqlx::Error> {
        Ok(sqlx::query_with(text, args).execute(connection).await?.rows_affected())
    }
}

impl<R: Record> Shape for First<R> {
    type Answer = Option<R>;

    fn nothing() -> Option<R> {
        None
    }

    async fn sqlite(
        connection: &mut SqliteConnection,
        text: &'static str,
        args: SqliteArguments,
    ) -> Result<Option<R>, sqlx::Error> {
        let row = connection.fetch_optional(sqlx::query_with(text, args)).await?;
        row.as_ref().map(R::from_row).transpose()
    }

    async fn postgres(
        connection: &mut PgConnection,
        text: &'static str,
        args: PgArguments,
    ) -> Result<Option<R>, sqlx::Error> {
        let row = connection.fetch_optional(sqlx::query_with(text, args)).await?;
        row.as_ref().map(R::from_row).transpose()
    }
}

impl<R: Record> Shape for All<R> {
    type Answer = Vec<R>;

    fn nothing() -> Vec<R> {
        Vec::new()
    }

    async fn sqlite(
        connection: &mut SqliteConnection,
        text: &'static str,
        args: SqliteArguments,
    ) -> Result<Vec<R>, sqlx::Error> {
        let rows = connection.fetch_all(sqlx::query_with(text, args)).await?;
        rows.iter().map(R::from_row).collect()
    }

    async fn postgres(
        connection: &mut PgConnection,
        text: &'static str,
        args: PgArguments,
    ) -> Result<Vec<R>, sqlx::Error> {
        let rows = connection.fetch_all(sqlx::query_with(text, args)).await?;
        rows.iter().map(R::from_row).collect()
    }
}
