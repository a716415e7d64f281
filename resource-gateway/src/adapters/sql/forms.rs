//! Rows that are stored in their written form, as JSON.

use sqlx::FromRow;

use crate::{
    application::documents::{Faults, SecretPlace, Table, read_row},
    domain::{
        budget::Budget,
        config_row::{Row, RowKind},
        price::Price,
    },
    ports::config_source::{StoreError, StoreResult},
};

#[derive(FromRow)]
pub(super) struct FormRow {
    name: String,
    form: String,
}

impl FormRow {
    /// Reads the form by the code that reads documents.
    fn read(&self, kind: RowKind) -> StoreResult<Row> {
        let corrupt = || StoreError::Corrupt {
            table: kind.as_str(),
            column: "form",
            row: self.name.clone(),
        };
        let table = Table::root(serde_json::from_str(&self.form).map_err(|_| corrupt())?);
        let mut faults = Faults::default();
        let row = read_row(kind, table, "?", SecretPlace::Nowhere, &mut faults).row;
        let sound = faults.is_empty() && row.name() == self.name;
        sound.then_some(row).ok_or_else(corrupt)
    }
}

pub(super) fn prices(rows: Vec<FormRow>) -> StoreResult<Vec<Price>> {
    let mut prices = Vec::with_capacity(rows.len());
    for row in rows {
        if let Row::Price(price) = row.read(RowKind::Price)? {
            prices.push(price);
        }
    }
    Ok(prices)
}

pub(super) fn budgets(rows: Vec<FormRow>) -> StoreResult<Vec<Budget>> {
    let mut budgets = Vec::with_capacity(rows.len());
    for row in rows {
        if let Row::Budget(budget) = row.read(RowKind::Budget)? {
            budgets.push(budget);
        }
    }
    Ok(budgets)
}
