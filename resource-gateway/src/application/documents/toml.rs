//! Documents: TOML texts of many rows.

use serde_json::{Map, Value};

use super::{Entry, Faults, Place, SecretPlace, Table, read_row};
use crate::domain::config_row::RowKind;

/// Reads a TOML text. Notes everything that is wrong; entries that are partly wrong stand in the result with substitutes in the
/// wrong places, so that the rest of them can be judged, too.
pub fn read_document(text: &str, secrets: SecretPlace<'_>, faults: &mut Faults) -> Vec<Entry> {
    let members = match toml::from_str::<toml::Table>(text) {
        Ok(table) => json_table(table, &Place::default(), faults),
        Err(error) => {
            // Only the message and the place: the parser's own text quotes the line, which may hold a secret.
            let at = error.span().map_or(0, |span| span.start);
            faults.add(Place::outside(line_and_column(text, at)), error.message());
            return Vec::new();
        }
    };
    let mut root = Table::root(members);
    let mut entries = Vec::new();
    for kind in RowKind::ALL {
        for word in kind.document_words() {
            for table in root.tables(word, faults).into_iter().flatten() {
                // By its place: `[[budget]]` and `[[quota]]` count separately and are one kind.
                let substitute = format!("?{}", table.place());
                entries.push(read_row(kind, table, &substitute, secrets, faults));
            }
        }
    }
    root.finish(faults);
    entries
}

fn line_and_column(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

/// TOML as JSON. A date or a number that JSON lacks is noted.
fn json_table(table: toml::Table, place: &Place, faults: &mut Faults) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, value) in table {
        if let Some(value) = json(value, &place.member(&name), faults) {
            members.insert(name, value);
        }
    }
    members
}

fn json(value: toml::Value, place: &Place, faults: &mut Faults) -> Option<Value> {
    match value {
        toml::Value::String(text) => Some(Value::String(text)),
        toml::Value::Integer(number) => Some(number.into()),
        toml::Value::Boolean(flag) => Some(Value::Bool(flag)),
        toml::Value::Float(number) => {
            let number = serde_json::Number::from_f64(number).map(Value::Number);
            if number.is_none() {
                faults.add(place.clone(), "is not a finite number");
            }
            number
        }
        toml::Value::Datetime(_) => {
            faults.add(place.clone(), "is a date without quotes, which JSON does not have");
            None
        }
        toml::Value::Array(values) => {
            let values = values.into_iter().enumerate();
            let values = values.map(|(at, value)| json(value, &place.index(at), faults));
            // A substitute keeps the places of those behind it.
            Some(values.map(|value| value.unwrap_or(Value::Null)).collect())
        }
        toml::Value::Table(table) => Some(Value::Object(json_table(table, place, faults))),
    }
}
