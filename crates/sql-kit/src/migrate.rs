//! Migrations: the same numbered steps for every dialect, embedded in the binary.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::{Dialect, SqlError};

/// The schema history of one service. Made by [`migrations!`](crate::migrations!).
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// The table that remembers which steps were applied; one per service, so that services can share a database.
    pub history: &'static str,
    pub steps: &'static [Step],
}

/// One step, in the words of every dialect.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// `0001_create_identity`: a number, then what it does.
    pub name: &'static str,
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// Embeds `<folder>/<dialect>/<name>.sql` for every name; a dialect that lacks a file does not compile. The folder is given
/// from the root of the package.
///
/// ```text
/// pub static MIGRATIONS: Migrations = sql_kit::migrations!("auth_migrations", "/../migrations/auth", ["0001_create_identity"]);
/// ```
#[macro_export]
macro_rules! migrations {
    ($history:literal, $folder:literal, [$($name:literal),+ $(,)?]) => {
        $crate::Migrations {
            history: $history,
            steps: &[$($crate::Step {
                name: $name,
                sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), $folder, "/sqlite/", $name, ".sql")),
                postgres: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), $folder, "/postgres/", $name, ".sql")),
            }),+],
        }
    };
}

impl Migrations {
    /// What sqlx applies to a database of this dialect.
    pub(crate) fn migrator(&self, dialect: Dialect) -> Result<Migrator, SqlError> {
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            let text = match dialect {
                Dialect::Sqlite => step.sqlite,
                Dialect::Postgres => step.postgres,
            };
            let (number, description) = step.name.split_once('_').unwrap_or((step.name, ""));
            let version = number
                .parse()
                .map_err(|_| SqlError::Other(format!("migration {} does not begin with a number", step.name)))?;
            let description = description.replace('_', " ").into();
            steps.push(Migration::new(
                version,
                description,
                MigrationType::Simple,
                text.into_sql_str(),
                false,
            ));
        }
        let mut migrator = Migrator::with_migrations(steps);
        migrator.table_name = self.history.into();
        Ok(migrator)
    }
}

pub(crate) fn error(error: &MigrateError) -> SqlError {
    match error {
        MigrateError::Execute(cause) => SqlError::from(cause),
        MigrateError::ExecuteMigration(cause, version) => match SqlError::from(cause) {
            SqlError::Other(text) => SqlError::Other(format!("migration {version} failed: {text}")),
            known => known,
        },
        // The rest speaks of versions and checksums.
        other => SqlError::Other(other.to_string()),
    }
}
