//! Rows that are stored in their written form, as JSON.

use sqlx::FromRow;

use super::convert::Readings;
use crate::{
    application::documents::{Faults, SecretPlace, Table, read_row},
    domain::{
        config_row::{Row, RowKind},
        vendor::SecretKey,
    },
    ports::config_source::{StoreError, StoreResult},
};

#[derive(FromRow)]
pub(super) struct FormRow {
    name: String,
    form: String,
}

impl FormRow {
    fn corrupt(&self, kind: RowKind) -> StoreError {
        StoreError::Corrupt {
            table: kind.as_str(),
            column: "form",
            row: self.name.clone(),
        }
    }

    /// Reads the form by the code that reads documents.
    fn read(&self, kind: RowKind) -> StoreResult<Row> {
        let corrupt = || self.corrupt(kind);
        let table = Table::root(serde_json::from_str(&self.form).map_err(|_| corrupt())?);
        let mut faults = Faults::default();
        let row = read_row(kind, table, "?", SecretPlace::Nowhere, &mut faults).row;
        let sound = faults.is_empty() && row.name() == self.name;
        sound.then_some(row).ok_or_else(corrupt)
    }
}

/// Rows of a kind; `of_kind` takes them out of the general row.
pub(super) fn forms<T>(
    kind: RowKind,
    rows: Vec<FormRow>,
    of_kind: impl Fn(Row) -> Option<T>,
) -> StoreResult<Readings<T>> {
    let rows = rows.into_iter().map(|row| {
        let read = row.read(kind);
        let read = read.and_then(|read| of_kind(read).ok_or_else(|| row.corrupt(kind)));
        (row.name, SecretKey::Absent, read)
    });
    Readings::of(kind, rows)
}
