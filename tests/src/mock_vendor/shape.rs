//! Reading what was sent as a strict vendor does: every field has a type, and an unknown one is refused by its name.

use base64::{Engine as _, engine::general_purpose};
use serde_json::{Map, Value};

/// What a vendor finds wrong, before its own words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Invalid,
    ContextLength,
    Credentials,
    Forbidden,
    NotFound,
    TooLarge,
    RateLimit,
    Quota,
    Filtered,
    Internal,
    Overloaded,
    Timeout,
}

/// A request that is not taken.
#[derive(Debug, Clone)]
pub struct Refused {
    pub failure: Failure,
    pub said: String,
    pub field: Option<String>,
}

pub type Checked<T> = Result<T, Refused>;

/// Refuses a field.
pub fn invalid<T>(field: impl Into<String>, said: &str) -> Checked<T> {
    let field = field.into();
    Err(Refused {
        failure: Failure::Invalid,
        said: format!("{field}: {said}"),
        field: Some(field),
    })
}

/// Refuses for another reason than a field's.
pub fn refuse<T>(failure: Failure, said: impl Into<String>) -> Checked<T> {
    Err(Refused {
        failure,
        said: said.into(),
        field: None,
    })
}

/// A JSON object whose fields are taken one by one; [`Object::close`] refuses those that nobody took.
#[derive(Debug)]
pub struct Object<'v> {
    path: String,
    fields: &'v Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'v> Object<'v> {
    pub fn of(value: &'v Value, path: impl Into<String>) -> Checked<Self> {
        let path = path.into();
        match value.as_object() {
            Some(fields) => Ok(Self {
                path,
                fields,
                taken: Vec::new(),
            }),
            None => invalid(path, "must be an object"),
        }
    }

    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A field of any type; `null` counts as left out, as it does at every vendor.
    pub fn any(&mut self, name: &'static str) -> Option<&'v Value> {
        self.taken.push(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Fields that are known and of no interest.
    pub fn skip(&mut self, names: &[&'static str]) {
        self.taken.extend(names);
    }

    /// The first of those names that is set.
    pub fn set(&self, names: &[&'static str]) -> Option<&'static str> {
        names
            .iter()
            .find(|name| self.fields.get(**name).is_some_and(|v| !v.is_null()))
            .copied()
    }

    fn required(&mut self, name: &'static str) -> Checked<&'v Value> {
        match self.any(name) {
            Some(value) => Ok(value),
            None => invalid(self.path(name), "Field required"),
        }
    }

    pub fn text(&mut self, name: &'static str) -> Checked<&'v str> {
        let value = self.required(name)?;
        self.as_text(name, value)
    }

    pub fn maybe_text(&mut self, name: &'static str) -> Checked<Option<&'v str>> {
        self.any(name).map(|value| self.as_text(name, value)).transpose()
    }

    fn as_text(&self, name: &str, value: &'v Value) -> Checked<&'v str> {
        value
            .as_str()
            .map_or_else(|| invalid(self.path(name), "must be a text"), Ok)
    }

    pub fn maybe_number(&mut self, name: &'static str) -> Checked<Option<f64>> {
        let Some(value) = self.any(name) else { return Ok(None) };
        value
            .as_f64()
            .map_or_else(|| invalid(self.path(name), "must be a number"), |n| Ok(Some(n)))
    }

    /// A number between two others.
    pub fn within(&mut self, name: &'static str, from: f64, to: f64) -> Checked<Option<f64>> {
        let number = self.maybe_number(name)?;
        match number {
            Some(number) if !(from..=to).contains(&number) => {
                invalid(self.path(name), &format!("must be between {from} and {to}"))
            }
            number => Ok(number),
        }
    }

    /// A whole number of at least one.
    pub fn maybe_count(&mut self, name: &'static str) -> Checked<Option<u64>> {
        let Some(value) = self.any(name) else { return Ok(None) };
        value.as_u64().filter(|count| *count > 0).map_or_else(
            || invalid(self.path(name), "must be a positive integer"),
            |n| Ok(Some(n)),
        )
    }

    pub fn maybe_integer(&mut self, name: &'static str) -> Checked<Option<i64>> {
        let Some(value) = self.any(name) else { return Ok(None) };
        value
            .as_i64()
            .map_or_else(|| invalid(self.path(name), "must be an integer"), |n| Ok(Some(n)))
    }

    pub fn flag(&mut self, name: &'static str, otherwise: bool) -> Checked<bool> {
        let Some(value) = self.any(name) else {
            return Ok(otherwise);
        };
        value
            .as_bool()
            .map_or_else(|| invalid(self.path(name), "must be a boolean"), Ok)
    }

    pub fn list(&mut self, name: &'static str) -> Checked<&'v [Value]> {
        let value = self.required(name)?;
        match value.as_array() {
            Some(list) if !list.is_empty() => Ok(list),
            Some(_) => invalid(self.path(name), "must not be empty"),
            None => invalid(self.path(name), "must be a list"),
        }
    }

    pub fn maybe_list(&mut self, name: &'static str) -> Checked<&'v [Value]> {
        match self.any(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => invalid(self.path(name), "must be a list"),
        }
    }

    pub fn maybe_object(&mut self, name: &'static str) -> Checked<Option<Object<'v>>> {
        let path = self.path(name);
        self.any(name).map(|value| Object::of(value, path)).transpose()
    }

    pub fn object(&mut self, name: &'static str) -> Checked<Object<'v>> {
        let value = self.required(name)?;
        Object::of(value, self.path(name))
    }

    /// The texts of a list of texts.
    pub fn texts(&mut self, name: &'static str) -> Checked<Vec<String>> {
        let path = self.path(name);
        self.maybe_list(name)?
            .iter()
            .map(|value| {
                value.as_str().map_or_else(
                    || invalid(path.clone(), "must be a list of texts"),
                    |t| Ok(t.to_owned()),
                )
            })
            .collect()
    }

    pub fn one_of(&mut self, name: &'static str, allowed: &[&str]) -> Checked<Option<&'v str>> {
        let text = self.maybe_text(name)?;
        match text {
            Some(text) if !allowed.contains(&text) => {
                invalid(self.path(name), &format!("must be one of {allowed:?}, not {text:?}"))
            }
            text => Ok(text),
        }
    }

    /// Refuses what nobody took. A `null` of an unknown name is unknown all the same.
    pub fn close(self) -> Checked<()> {
        match self.fields.keys().find(|name| !self.taken.contains(&name.as_str())) {
            Some(name) => invalid(self.path(name), "Extra inputs are not permitted"),
            None => Ok(()),
        }
    }
}

/// A picture that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    Bytes(Vec<u8>),
    Url(String),
}

impl Picture {
    /// Base64 in the standard alphabet with padding, and what it holds must be a picture.
    pub fn of_base64(text: &str, path: &str) -> Checked<Self> {
        match general_purpose::STANDARD.decode(text) {
            Ok(bytes) if is_picture(&bytes) => Ok(Self::Bytes(bytes)),
            Ok(_) => invalid(path, "Could not process image"),
            Err(_) => invalid(path, "invalid base64 data"),
        }
    }

    /// A data URL, or one that the vendor would fetch.
    pub fn of_url(url: &str, path: &str) -> Checked<Self> {
        if let Some(data) = url.strip_prefix("data:image/") {
            return match data.split_once(";base64,") {
                Some((_, text)) => Self::of_base64(text, path),
                None => invalid(path, "invalid data URL"),
            };
        }
        if url.starts_with("https://") || url.starts_with("http://") {
            return Ok(Self::Url(url.to_owned()));
        }
        invalid(path, "must be an http, https or data URL")
    }
}

pub fn is_picture(bytes: &[u8]) -> bool {
    let starts: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF"];
    starts.iter().any(|start| bytes.starts_with(start))
}
