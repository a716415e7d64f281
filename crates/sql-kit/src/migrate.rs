//! Migrations: the same numbered steps for every dialect, embedded in the binary.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::{Dialect, Sql, SqlError, sql};

/// Whether there is a table.
pub(crate) const HAS_TABLE: Sql = sql!(
    sqlite: "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?",
    postgres: "SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass(?)",
);

/// The schema history of one service. Made by [`migrations!`](crate::migrations!).
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    pub history: History,
    pub steps: &'static [Step],
}

/// The table that remembers which steps were applied; one per service, so that services can share a database. Made by
/// [`history!`](crate::history!).
#[derive(Debug, Clone, Copy)]
pub struct History {
    pub table: &'static str,
    /// What stands in it: versions and checksums.
    pub applied: Sql,
}

/// One step, in the words of every dialect.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// `0001_create_identity`: a number, then what it does.
    pub name: &'static str,
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// Names the table that remembers which steps were applied.
#[macro_export]
macro_rules! history {
    ($table:literal) => {
        $crate::History {
            table: $table,
            applied: $crate::sql!(concat!("SELECT version, checksum FROM ", $table, " ORDER BY version")),
        }
    };
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
            history: $crate::history!($history),
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
            let description = step.name.split_once('_').map_or("", |(_, description)| description);
            steps.push(Migration::new(
                step.version()?,
                description.replace('_', " ").into(),
                MigrationType::Simple,
                text.into_sql_str(),
                false,
            ));
        }
        let mut migrator = Migrator::with_migrations(steps);
        migrator.table_name = self.history.table.into();
        Ok(migrator)
    }

    /// The steps that are not among the applied ones, of which versions and checksums are told.
    ///
    /// # Errors
    /// As [`Db::migrate`](crate::Db::migrate): one was applied that is unknown, or was changed since.
    pub(crate) fn missing(&self, dialect: Dialect, applied: &[(i64, Vec<u8>)]) -> Result<Vec<&'static str>, SqlError> {
        let migrator = self.migrator(dialect)?;
        for (version, checksum) in applied {
            let Some(known) = migrator.iter().find(|step| step.version == *version) else {
                return Err(error(&MigrateError::VersionMissing(*version)));
            };
            if known.checksum.as_ref() != checksum.as_slice() {
                return Err(error(&MigrateError::VersionMismatch(*version)));
            }
        }
        let mut missing = Vec::new();
        for step in self.steps {
            let version = step.version()?;
            if !applied.iter().any(|(done, _)| *done == version) {
                missing.push(step.name);
            }
        }
        Ok(missing)
    }
}

impl Step {
    fn version(&self) -> Result<i64, SqlError> {
        let number = self.name.split('_').next().unwrap_or_default();
        number
            .parse()
            .map_err(|_| SqlError::Other(format!("migration {} does not begin with a number", self.name)))
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
