//! The ledger of budgets.

use std::fmt;

use async_trait::async_trait;
use service_kit::Timestamp;

use super::config_source::StoreResult;
use crate::domain::{
    ids::{BudgetName, NodeId},
    lease::{Exhausted, LeaseRow, PeriodRow, Wish},
    money::{Currency, Nanos},
};

/// Which sum: a budget's (or a grant's) in one period.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// See [`Budget::key`](crate::domain::budget::Budget::key).
    pub key: String,
    /// None for the allowance of a grant.
    pub budget: Option<BudgetName>,
    pub period: Timestamp,
}

/// A node wants money.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub node: &'a NodeId,
    pub account: &'a Account,
    /// What may be spent in the period, by everybody together.
    pub amount: Nanos,
    pub wish: Wish,
    pub at: Timestamp,
}

/// The answer to an [`Order`]. The lease is told in any case: the answer before may have been lost.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub granted: Result<i64, Exhausted>,
    pub lease: LeaseRow,
    /// Whether there was a lease before.
    pub known: bool,
}

/// An account as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStatus {
    pub account: Account,
    pub row: PeriodRow,
    pub updated_at: Timestamp,
}

/// A share of a budget that was reached.
#[derive(Debug, Clone)]
pub struct Notice<'a> {
    pub account: &'a Account,
    pub share: u32,
    pub spent: Nanos,
    pub amount: Nanos,
    pub currency: Currency,
    pub at: Timestamp,
    /// Whether somebody is to be told over the network.
    pub told: bool,
}

/// What checking the sums of an account came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    pub account: Account,
    pub before: PeriodRow,
    pub after: PeriodRow,
}

/// The truth about budgets, shared by all nodes. Costs do not come here but with their usage records, see
/// [`UsageStore::insert_usage`](super::usage::UsageStore::insert_usage).
///
/// Every change locks the account and happens in one transaction. A call that is dropped in the middle may or may not have
/// happened; the next answer tells.
#[async_trait]
pub trait BudgetLedger: Send + Sync + fmt::Debug {
    /// Moves money from an account into the node's lease, as [`PeriodRow::grant`] says. When other nodes hold what is missing,
    /// they are asked to give back what they do not need: [`BudgetLedger::recalled`] tells them.
    async fn take(&self, order: Order<'_>) -> StoreResult<Taken>;
    /// Moves money back; the lease as it stands then, `None` when there is none any more.
    async fn give_back(&self, node: &NodeId, account: &Account, nanos: i64) -> StoreResult<Option<LeaseRow>>;
    /// Forgets a lease that holds nothing; `false` if it holds something.
    async fn close_lease(&self, node: &NodeId, account: &Account) -> StoreResult<bool>;
    /// The node's accounts that were recalled after `since`, and the time of the newest recall.
    async fn recalled(&self, node: &NodeId, since: Timestamp) -> StoreResult<Vec<(Account, Timestamp)>>;
    /// The node lives.
    async fn keep_alive(&self, node: &NodeId, at: Timestamp) -> StoreResult<()>;
    /// Gives back what nodes hold that were not heard of since `before`; how many leases that were.
    async fn end_stale(&self, before: Timestamp) -> StoreResult<u64>;
    /// One account; `None` before anything happened to it.
    async fn find_account(&self, key: &str, period: Timestamp) -> StoreResult<Option<AccountStatus>>;
    /// The accounts of a budget in a period by key, those behind `after`.
    async fn accounts_of(
        &self,
        budget: &str,
        period: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<AccountStatus>>;
    /// Accounts that changed at `since` or later, the oldest change first, at most `limit`.
    async fn changed_accounts(&self, since: Timestamp, limit: u32) -> StoreResult<Vec<AccountStatus>>;
    /// Keeps a notice; `false` if that share was told of before.
    async fn keep_notice(&self, notice: Notice<'_>) -> StoreResult<bool>;
    /// Compares an account with its charges and leases, and puts it right; `None` when it was right.
    async fn reconcile(&self, account: &Account, at: Timestamp) -> StoreResult<Option<Reconciled>>;
    /// Forgets accounts of grants and of periods that are over, in which nothing has happened since `before` and of whose charges
    /// none is kept, with their notices; at most `limit`; how many.
    async fn forget_accounts(&self, before: Timestamp, limit: u32) -> StoreResult<u64>;
    /// Folds charges from before `before` into their accounts, at most `limit`; how many were there.
    async fn fold(&self, before: Timestamp, limit: u32) -> StoreResult<u64>;
}
