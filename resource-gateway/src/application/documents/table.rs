//! Reading a table of a document: every member is taken by name, what is wrong is noted with its path, what is left over is
//! unknown. Values are JSON, so that documents and admin requests can be read by the same code.

use std::fmt;

use serde_json::{Map, Value};

/// One thing that is wrong with a document. Holds no value of a secret member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentFault {
    /// Such as `interface[1].routes[0].vendor`.
    pub path: String,
    pub reason: String,
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// All that is wrong, in the order of reading.
#[derive(Debug, Default)]
pub struct Faults(Vec<DocumentFault>);

impl Faults {
    pub fn add(&mut self, path: String, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.push(DocumentFault { path, reason });
    }

    /// Adds a fault that follows from the whole, unless its place or a part of it was found faulty before: what follows from a
    /// misread value only confuses.
    pub fn add_unless_known(&mut self, path: String, reason: impl Into<String>) {
        let related = |known: &DocumentFault| known.path.starts_with(&path) || is_inside(&path, &known.path);
        if !self.0.iter().any(related) {
            self.add(path, reason);
        }
    }

    pub fn mentions(&self, path: &str) -> bool {
        self.0.iter().any(|fault| fault.path == path)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_vec(self) -> Vec<DocumentFault> {
        self.0
    }
}

fn is_inside(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// A table with its path.
pub struct Table {
    path: String,
    members: Map<String, Value>,
}

/// Shows the path only: a member may be a secret.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// A whole document, body or column.
    pub fn root(members: Map<String, Value>) -> Self {
        let path = String::new();
        Self { path, members }
    }

    fn of(path: String, value: Value, faults: &mut Faults) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self { path, members }),
            other => {
                faults.add(path, format!("must be a table, not {}", kind(&other)));
                None
            }
        }
    }

    /// The path of a member.
    pub fn at(&self, name: &str) -> String {
        join(&self.path, name)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
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
        if !self.members.contains_key(name) {
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

    pub fn table(&mut self, name: &str, faults: &mut Faults) -> Option<Table> {
        let value = self.take(name)?;
        Table::of(self.at(name), value, faults)
    }

    /// An array of tables; absent is empty. Members that are no tables are noted and `None`, so that places stay what they are.
    pub fn tables(&mut self, name: &str, faults: &mut Faults) -> Vec<Option<Table>> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(values)) => {
                let path = self.at(name);
                let read = |(at, value)| Table::of(format!("{path}[{at}]"), value, faults);
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

    /// Refuses settings of the contract that this version would ignore.
    pub fn refuse(&mut self, names: &[&str], faults: &mut Faults) {
        for name in names {
            if self.take(name).is_some() {
                faults.add(self.at(name), "is not supported by this version");
            }
        }
    }

    /// An array of texts; absent is `None`.
    pub fn texts(&mut self, name: &str, faults: &mut Faults) -> Option<Vec<String>> {
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
                Value::String(text) => texts.push(text),
                other => faults.add(
                    format!("{}[{at}]", self.at(name)),
                    format!("must be text, not {}", kind(&other)),
                ),
            }
        }
        Some(texts)
    }

    /// Refuses what nobody asked for.
    pub fn finish(self, known: &str, faults: &mut Faults) {
        for name in self.members.keys() {
            faults.add(self.at(name), format!("unknown key; known are {known}"));
        }
    }
}

/// A member's path.
pub(super) fn join(path: &str, member: &str) -> String {
    if path.is_empty() || member.is_empty() {
        return format!("{path}{member}");
    }
    format!("{path}.{member}")
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
