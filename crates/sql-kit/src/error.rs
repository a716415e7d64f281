//! Why a statement failed, in words that hold on every engine and never with the value of a parameter in them.

use sqlx::error::DatabaseError;

use crate::Sql;

/// A failed statement, transaction or connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// A row with this key exists. `constraint` is `table(column, column)` on every engine.
    #[error("{constraint} must be unique")]
    Unique { constraint: String },
    /// A row that is referred to does not exist, or one that is still referred to was to be deleted.
    #[error("a foreign key of {table} is violated")]
    ForeignKey { table: String },
    /// Another writer holds what this one needs, longer than it may wait; or two transactions blocked each other.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The database cannot be reached or cannot store anything now.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A stored value is not what its reader expects.
    #[error("the value in {table}.{column} cannot be read")]
    Corrupt { table: &'static str, column: &'static str },
    /// A row that must exist does not.
    #[error("no such row in {0}")]
    NoRow(&'static str),
    /// A statement of this transaction failed or was abandoned before, so nothing of it can be saved.
    #[error("the transaction failed earlier")]
    Aborted,
    /// A fault of the program: bad statement, wrong parameters, violated check.
    #[error("{0}")]
    Other(String),
}

impl SqlError {
    /// Whether trying again later may help. Callers answer these with 503.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_))
    }

    /// What went wrong with `sql`.
    pub(crate) fn of(sql: Sql, error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { index, .. } => {
                // The driver quotes names of columns in its index.
                Self::Corrupt {
                    table: sql.table(),
                    column: sql.column(index.trim_matches('"')),
                }
            }
            sqlx::Error::RowNotFound => Self::NoRow(sql.table()),
            sqlx::Error::Database(fault) if fault.is_foreign_key_violation() => Self::ForeignKey {
                table: sql.table().to_owned(),
            },
            other => Self::from(other),
        }
    }
}

impl From<&sqlx::Error> for SqlError {
    fn from(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(fault) => of_engine(fault.as_ref()),
            sqlx::Error::Io(cause) => Self::Unavailable(cause.to_string()),
            sqlx::Error::Tls(cause) => Self::Unavailable(format!("TLS: {cause}")),
            sqlx::Error::PoolTimedOut => Self::Busy("no connection became free in time".into()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable("the connection is closed".into())
            }
            sqlx::Error::Protocol(_) => Self::Unavailable("the connection broke".into()),
            // These say what the program asked for, and name columns and types but no values.
            sqlx::Error::Configuration(_) => Self::Other("the database URL cannot be used".into()),
            sqlx::Error::ColumnNotFound(column) => Self::Other(format!("no column {column} in the result")),
            sqlx::Error::ColumnIndexOutOfBounds { index, len } => {
                Self::Other(format!("no column {index} in a result of {len}"))
            }
            sqlx::Error::TypeNotFound { type_name } => Self::Other(format!("no type {type_name}")),
            _ => Self::Other("the driver failed".into()),
        }
    }
}

fn of_engine(fault: &dyn DatabaseError) -> SqlError {
    if let Some(postgres) = fault.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return of_postgres(postgres);
    }
    of_sqlite(fault)
}

fn of_sqlite(fault: &dyn DatabaseError) -> SqlError {
    let code: i32 = fault.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    if fault.is_unique_violation() {
        return SqlError::Unique {
            constraint: sqlite_constraint(fault.message()),
        };
    }
    if fault.is_foreign_key_violation() {
        return SqlError::ForeignKey {
            table: "a table".into(),
        };
    }
    // <https://www.sqlite.org/rescode.html>: the low byte is the primary code.
    let text = format!("SQLite {code}: {}", fault.message());
    match code & 0xff {
        5 | 6 => SqlError::Busy(text),                                  // BUSY, LOCKED
        7..=11 | 13..=15 | 22 | 23 | 26 => SqlError::Unavailable(text), // out of memory, disk, permission, damaged file
        _ => SqlError::Other(text),
    }
}

/// `UNIQUE constraint failed: users.tenant, users.name` as `users(tenant, name)`.
fn sqlite_constraint(message: &str) -> String {
    let columns = message.split_once(": ").map_or(message, |(_, columns)| columns);
    let mut table = "";
    let mut names = Vec::new();
    for column in columns.split(", ") {
        match column.split_once('.') {
            Some((owner, name)) => {
                table = owner;
                names.push(name);
            }
            None => return columns.to_owned(),
        }
    }
    format!("{table}({})", names.join(", "))
}

fn of_postgres(fault: &sqlx::postgres::PgDatabaseError) -> SqlError {
    let code = fault.code();
    let table = fault.table().unwrap_or("a table");
    match code {
        "23505" => {
            return SqlError::Unique {
                constraint: postgres_constraint(fault, table),
            };
        }
        "23503" => {
            return SqlError::ForeignKey {
                table: table.to_owned(),
            };
        }
        _ => {}
    }
    // <https://www.postgresql.org/docs/current/errcodes-appendix.html>: the first two characters are the class.
    // Messages about data (classes 22 and 23) may quote the data, so they are left out.
    let class = code.get(..2).unwrap_or_default();
    let text = match class {
        "22" | "23" => format!("PostgreSQL {code} on {}", fault.constraint().unwrap_or(table)),
        _ => format!("PostgreSQL {code}: {}", fault.message()),
    };
    match class {
        "40" | "55" => SqlError::Busy(text),
        "08" | "28" | "3D" | "53" | "57" | "58" => SqlError::Unavailable(text),
        // A standby after a failover refuses writes until it is promoted; a transaction was left idle for too long.
        "25" if matches!(code, "25006" | "25P03") => SqlError::Unavailable(text),
        _ => SqlError::Other(text),
    }
}

/// `Key (tenant, name)=(…) already exists.` as `users(tenant, name)`, without the values behind it.
fn postgres_constraint(fault: &sqlx::postgres::PgDatabaseError, table: &str) -> String {
    let columns = fault
        .detail()
        .and_then(|detail| detail.split_once(")=("))
        .and_then(|(before, _)| before.split_once('('))
        .map(|(_, columns)| columns);
    match (columns, fault.constraint()) {
        (Some(columns), _) => format!("{table}({columns})"),
        (None, Some(name)) => name.to_owned(),
        (None, None) => table.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::sqlite_constraint;

    #[test]
    fn a_sqlite_constraint_is_named_by_table_and_columns() {
        for (message, name) in [
            (
                "UNIQUE constraint failed: users.tenant, users.name",
                "users(tenant, name)",
            ),
            ("UNIQUE constraint failed: client.id", "client(id)"),
            (
                "UNIQUE constraint failed: index 'users_lower_name'",
                "index 'users_lower_name'",
            ),
        ] {
            assert_eq!(sqlite_constraint(message), name);
        }
    }
}
