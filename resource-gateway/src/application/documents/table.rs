//! Reading a table of a document: every member is taken by name, what is wrong is noted with its path, what is left over is
//! unknown. Values are JSON, so that documents and admin requests can be read by the same code.

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};

use super::Place;

/// An hour: longer times are a mistake in the unit.
const LONGEST_MS: u32 = 3_600_000;

/// One thing that is wrong with a document. Holds no value of a secret member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentFault {
    pub place: Place,
    pub reason: String,
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// All that is wrong, in the order of reading.
#[derive(Debug, Default)]
pub struct Faults(Vec<DocumentFault>);

impl Faults {
    pub fn add(&mut self, place: Place, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.push(DocumentFault { place, reason });
    }

    /// Adds a fault that follows from the whole, unless its place or a part of it was found faulty before: what follows from a
    /// misread value only confuses.
    pub fn add_unless_known(&mut self, place: Place, reason: impl Into<String>) {
        let related = |known: &DocumentFault| known.place.is_within(&place) || place.is_within(&known.place);
        if !self.0.iter().any(related) {
            self.add(place, reason);
        }
    }

    pub fn mentions(&self, place: &Place) -> bool {
        self.0.iter().any(|fault| fault.place == *place)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_vec(self) -> Vec<DocumentFault> {
        self.0
    }
}

/// A table with its place.
pub struct Table {
    place: Place,
    members: Map<String, Value>,
    /// Every name that was asked for: these are the members that there can be.
    known: Vec<String>,
}

/// Shows the place only: a member may be a secret.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// A whole document, body or column.
    pub fn root(members: Map<String, Value>) -> Self {
        Self::at_place(Place::default(), members)
    }

    fn at_place(place: Place, members: Map<String, Value>) -> Self {
        let known = Vec::new();
        Self { place, members, known }
    }

    fn of(place: Place, value: Value, faults: &mut Faults) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self::at_place(place, members)),
            other => {
                faults.add(place, format!("must be a table, not {}", kind(&other)));
                None
            }
        }
    }

    /// The place of a member.
    pub fn at(&self, name: &str) -> Place {
        self.place.member(name)
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The names of the members that were not taken yet.
    pub fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    pub fn has(&mut self, name: &str) -> bool {
        self.note(name);
        self.members.contains_key(name)
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.note(name);
        self.members.remove(name)
    }

    fn note(&mut self, name: &str) {
        if !self.known.iter().any(|known| known == name) {
            self.known.push(name.to_owned());
        }
    }

    pub fn text(&mut self, name: &str, faults: &mut Faults) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                faults.add(self.at(name), format!("must be text, not {}", kind(&other)));
                None
            }
        }
    }

    /// A text that must be there and not be empty. Notes the fault otherwise.
    pub fn required_text(&mut self, name: &str, faults: &mut Faults) -> Option<String> {
        if !self.has(name) {
            faults.add(self.at(name), "is missing");
            return None;
        }
        self.text(name, faults)
            .and_then(|text| self.not_empty(name, text, faults))
    }

    /// A text that may be absent but not empty.
    pub fn optional_text(&mut self, name: &str, faults: &mut Faults) -> Option<String> {
        self.text(name, faults)
            .and_then(|text| self.not_empty(name, text, faults))
    }

    fn not_empty(&self, name: &str, text: String, faults: &mut Faults) -> Option<String> {
        if text.trim().is_empty() {
            faults.add(self.at(name), "must not be empty");
            return None;
        }
        Some(text)
    }

    pub fn flag(&mut self, name: &str, default: bool, faults: &mut Faults) -> bool {
        match self.take(name) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                faults.add(self.at(name), format!("must be true or false, not {}", kind(&other)));
                default
            }
        }
    }

    /// A whole number from `range`.
    pub fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u32>, faults: &mut Faults) -> Option<u32> {
        let value = self.take(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let (low, high) = (range.start(), range.end());
        faults.add(self.at(name), format!("must be a whole number from {low} to {high}"));
        None
    }

    /// A time in milliseconds, from `least` to an hour.
    pub fn millis(&mut self, name: &str, least: u32, faults: &mut Faults) -> Option<Duration> {
        let millis = self.number(name, least..=LONGEST_MS, faults)?;
        Some(Duration::from_millis(u64::from(millis)))
    }

    pub fn table(&mut self, name: &str, faults: &mut Faults) -> Option<Table> {
        let value = self.take(name)?;
        Table::of(self.at(name), value, faults)
    }

    /// An array of tables; absent is empty. Members that are no tables are noted and `None`, so that places stay what they are.
    pub fn tables(&mut self, name: &str, faults: &mut Faults) -> Vec<Option<Table>> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(values)) => {
                let place = self.at(name);
                let read = |(at, value)| Table::of(place.index(at), value, faults);
                values.into_iter().enumerate().map(read).collect()
            }
            Some(other) => {
                faults.add(
                    self.at(name),
                    format!("must be an array of tables, not {}", kind(&other)),
                );
                Vec::new()
            }
        }
    }

    /// An array of texts, each with its position in it; absent is `None`.
    pub fn texts(&mut self, name: &str, faults: &mut Faults) -> Option<Vec<(usize, String)>> {
        let value = self.take(name)?;
        let Value::Array(values) = value else {
            faults.add(
                self.at(name),
                format!("must be an array of texts, not {}", kind(&value)),
            );
            return None;
        };
        let mut texts = Vec::with_capacity(values.len());
        for (at, value) in values.into_iter().enumerate() {
            match value {
                Value::String(text) => texts.push((at, text)),
                other => faults.add(self.at(name).index(at), format!("must be text, not {}", kind(&other))),
            }
        }
        Some(texts)
    }

    /// Refuses what nobody asked for.
    pub fn finish(self, faults: &mut Faults) {
        let known = self.known.join(", ");
        for name in self.members.keys() {
            faults.add(self.at(name), format!("unknown key; known are {known}"));
        }
    }
}

/// A time as [`Table::millis`] reads it.
pub(super) fn to_ms(time: Duration) -> Value {
    json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}
