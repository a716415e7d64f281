//! Notices of budgets on their way to those who want to be told.

use std::fmt;

use async_trait::async_trait;
use service_kit::Timestamp;

use super::{config_source::StoreResult, jobs::Told};
use crate::domain::{
    ids::BudgetName,
    money::{Currency, Nanos},
};

/// The notices that [`BudgetLedger::keep_notice`](super::budget::BudgetLedger::keep_notice) kept for being told.
#[async_trait]
pub trait NoticeOutbox: Send + Sync + fmt::Debug {
    /// Takes the notice that is due longest, for one node of many; another may try again from `until` on.
    async fn claim_notice(&self, now: Timestamp, until: Timestamp) -> StoreResult<Option<DueNotice>>;

    /// Writes what became of an attempt; `false` when another node has taken the notice since.
    async fn note_notice(&self, notice: &DueNotice, told: Told) -> StoreResult<bool>;
}

/// A notice that is to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNotice {
    /// Whose sum, see [`Budget::key`](crate::domain::budget::Budget::key).
    pub key: String,
    pub period: Timestamp,
    /// In thousandths.
    pub share: u32,
    pub budget: BudgetName,
    pub spent: Nanos,
    pub amount: Nanos,
    pub currency: Currency,
    /// When the share was seen to be reached.
    pub at: Timestamp,
    /// This one included.
    pub attempts: i64,
}
