//! Values between the domain and their columns. What does not read back names its table and column.

use std::time::Duration;

use oauth_wire::Scope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::Timestamp;

use crate::ports::store::{StoreError, StoreResult};

/// A place in the database, for the error that says that it holds nonsense.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(pub(super) &'static str, pub(super) &'static str);

impl Place {
    pub(super) fn corrupt(self) -> StoreError {
        StoreError::Corrupt {
            table: self.0,
            column: self.1,
        }
    }

    pub(super) fn json<T: DeserializeOwned>(self, text: &str) -> StoreResult<T> {
        serde_json::from_str(text).map_err(|_| self.corrupt())
    }

    pub(super) fn optional_json<T: DeserializeOwned>(self, text: Option<&str>) -> StoreResult<Option<T>> {
        text.map(|text| self.json(text)).transpose()
    }

    /// A unit variant, stored as the bare word that serde knows it by.
    pub(super) fn word<T: DeserializeOwned>(self, text: &str) -> StoreResult<T> {
        serde_json::from_value(serde_json::Value::from(text)).map_err(|_| self.corrupt())
    }

    pub(super) fn scope(self, text: &str) -> StoreResult<Scope> {
        text.parse().map_err(|_| self.corrupt())
    }

    pub(super) fn seconds(self, seconds: Option<i64>) -> StoreResult<Option<Duration>> {
        let convert = |seconds| {
            u64::try_from(seconds)
                .map(Duration::from_secs)
                .map_err(|_| self.corrupt())
        };
        seconds.map(convert).transpose()
    }
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.into()))
}

/// The inverse of [`Place::word`].
pub(super) fn word<T: Serialize>(value: &T) -> StoreResult<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) => Err(StoreError::Failed("a value of an enumeration is not a word".into())),
        Err(error) => Err(StoreError::Failed(error.into())),
    }
}

pub(super) fn seconds(length: Option<Duration>) -> Option<i64> {
    length.map(|length| i64::try_from(length.as_secs()).unwrap_or(i64::MAX))
}

pub(super) fn optional_time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}
