//! Usage rows as reports read them.

use std::fmt;

use async_trait::async_trait;
use service_kit::Timestamp;

use super::config_source::StoreResult;

/// Which rows. Absent members leave the choice open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// This moment and later.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    pub sub: Option<String>,
    pub access_key: Option<String>,
    pub interface: Option<String>,
    pub capability: Option<String>,
    pub vendor: Option<String>,
    pub model: Option<String>,
    pub state: Option<String>,
    pub currency: Option<String>,
    pub request_id: Option<String>,
}

/// The place of a row in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePlace {
    pub time: Timestamp,
    pub request_id: String,
}

/// A row as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    pub request_id: String,
    pub time: Timestamp,
    pub tenant: Option<String>,
    pub client_id: String,
    pub sub: String,
    pub interface: String,
    pub capability: String,
    pub vendor: Option<String>,
    pub model: Option<String>,
    pub state: String,
    pub stream: bool,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cached_input_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub images: i64,
    pub audio_ms: i64,
    pub characters: i64,
    /// Billionths of the currency's unit.
    pub cost: Option<i64>,
    pub currency: Option<String>,
    pub price: Option<String>,
    pub access_key: Option<String>,
    pub estimated: bool,
    pub attempts: i64,
    pub duration_ms: i64,
    pub first_byte_ms: Option<i64>,
}

/// What sums can be grouped by. Currency always is: amounts of different ones have no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grouping {
    /// Of UTC.
    Day,
    Tenant,
    ClientId,
    Sub,
    AccessKey,
    Interface,
    Capability,
    Vendor,
    Model,
    State,
}

impl Grouping {
    pub const ALL: [Self; 10] = [
        Self::Day,
        Self::Tenant,
        Self::ClientId,
        Self::Sub,
        Self::AccessKey,
        Self::Interface,
        Self::Capability,
        Self::Vendor,
        Self::Model,
        Self::State,
    ];

    /// The name in `group_by` and in the sums.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Tenant => "tenant",
            Self::ClientId => "client_id",
            Self::Sub => "sub",
            Self::AccessKey => "access_key",
            Self::Interface => "interface",
            Self::Capability => "capability",
            Self::Vendor => "vendor",
            Self::Model => "model",
            Self::State => "state",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grouping| grouping.as_str() == text)
    }
}

/// The sums of a group. Members by which nothing is grouped are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSum {
    /// Where the group stands in the order of all: opaque, and the same in every page.
    pub place: String,
    pub day: Option<Timestamp>,
    /// In the order of [`Grouping::ALL`], without the day.
    pub names: [Option<String>; 9],
    pub currency: Option<String>,
    pub requests: i64,
    /// Those whose tokens are an estimate, and those whose cost is not known.
    pub estimated: i64,
    pub unpriced: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cached_input_tokens: i64,
    pub reasoning_tokens: i64,
    pub images: i64,
    pub audio_ms: i64,
    pub characters: i64,
    pub cost: i64,
}

/// Reads usage rows, and lets go of old ones.
#[async_trait]
pub trait UsageReports: Send + Sync + fmt::Debug {
    /// Rows, the newest first, those behind `after`.
    async fn list_usage(
        &self,
        filter: &UsageFilter,
        after: Option<&UsagePlace>,
        limit: u32,
    ) -> StoreResult<Vec<UsageRow>>;
    /// Sums in the order of their groups, those behind the place `after`: rows that come in meanwhile neither repeat a group nor
    /// hide one.
    async fn sum_usage(
        &self,
        filter: &UsageFilter,
        by: &[Grouping],
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<UsageSum>>;
    /// Deletes rows from before `before`, at most `limit`; how many that were.
    async fn delete_usage(&self, before: Timestamp, limit: u32) -> StoreResult<u64>;
}
