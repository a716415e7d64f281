//! The ledger of budgets in SQL. The arithmetic is the domain's; here rows are locked, read and written.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Db, SqlError, Tx, args};
use sqlx::FromRow;

use super::{ledger_statements as statements, statements_notices::KEEP_NOTICE};
use crate::{
    domain::{
        ids::{BudgetName, NodeId},
        lease::{LeaseRow, PeriodRow},
    },
    ports::{
        budget::{Account, AccountStatus, BudgetLedger, Notice, Order, Reconciled, Taken},
        config_source::StoreResult,
    },
};

/// Leases that are ended in one go.
const ENDED_AT_ONCE: i64 = 500;

/// The tables `budget_period`, `budget_lease`, `budget_charge` and `budget_notice`.
#[derive(Debug, Clone)]
pub struct SqlLedger(pub(super) Db);

#[derive(FromRow)]
struct AccountRow {
    budget_key: String,
    period_start: i64,
    budget: Option<String>,
    spent: i64,
    held: i64,
    updated_at: i64,
}

impl From<AccountRow> for AccountStatus {
    fn from(row: AccountRow) -> Self {
        Self {
            account: Account {
                key: row.budget_key,
                budget: row.budget.map(BudgetName::new),
                period: Timestamp::from_micros(row.period_start),
            },
            row: PeriodRow {
                spent: row.spent,
                held: row.held,
            },
            updated_at: Timestamp::from_micros(row.updated_at),
        }
    }
}

/// A period whose row is locked.
struct Locked {
    row: PeriodRow,
    folded: i64,
}

async fn lock(tx: &mut Tx, key: &str, period: i64) -> Result<Option<Locked>, SqlError> {
    let row: Option<(i64, i64, i64)> = tx.optional(statements::LOCK_PERIOD, args![key, period]).await?;
    Ok(row.map(|(spent, held, folded)| Locked {
        row: PeriodRow { spent, held },
        folded,
    }))
}

/// A period's sums as they stand, and those of what they are made of.
type Sums = (i64, i64, i64, i64);

/// What the period should be, if it is something else.
fn misfit((spent, held, charged, leased): Sums) -> Option<(PeriodRow, PeriodRow)> {
    let before = PeriodRow { spent, held };
    let after = PeriodRow {
        spent: charged,
        held: leased,
    };
    (before != after).then_some((before, after))
}

async fn lease(tx: &mut Tx, node: &NodeId, key: &str, period: i64) -> Result<Option<LeaseRow>, SqlError> {
    let row: Option<(i64, i64)> = tx
        .optional(statements::LEASE, args![node.as_str(), key, period])
        .await?;
    Ok(row.map(|(held, charged)| LeaseRow { held, charged }))
}

async fn set_period(tx: &mut Tx, key: &str, period: i64, row: PeriodRow, at: Timestamp) -> Result<(), SqlError> {
    let args = args![row.spent, row.held, at.as_micros(), key, period];
    tx.execute(statements::SET_PERIOD, args).await.map(drop)
}

impl SqlLedger {
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Gives back all that a lease holds and forgets it, unless its node has been seen since `before`.
    async fn end(&self, node: &NodeId, key: &str, period: i64, before: Timestamp) -> Result<bool, SqlError> {
        let mut tx = self.0.begin().await?;
        let locked = lock(&mut tx, key, period).await?;
        let args = args![node.as_str(), key, period];
        let seen: Option<(i64,)> = tx.optional(statements::STALE_LEASE, args.clone()).await?;
        if seen.is_none_or(|(seen,)| seen >= before.as_micros()) {
            return Ok(false);
        }
        if let (Some(mut locked), Some(mut lease)) = (locked, lease(&mut tx, node, key, period).await?) {
            let held = lease.held;
            locked.row.give_back(&mut lease, held);
            set_held(&mut tx, key, period, locked.row.held).await?;
        }
        tx.execute(statements::DROP_LEASE, args).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends the leases of a node that is dead and whose records are all here.
    pub(super) async fn end_all_of(&self, node: &NodeId) -> Result<(), SqlError> {
        loop {
            let leases: Vec<(String, String, i64)> = self
                .0
                .all(statements::LEASES_OF_NODE, args![node.as_str(), ENDED_AT_ONCE])
                .await?;
            if leases.is_empty() {
                return Ok(());
            }
            for (_, key, period) in leases {
                self.end(node, &key, period, Timestamp::from_micros(i64::MAX)).await?;
            }
        }
    }
}

async fn set_held(tx: &mut Tx, key: &str, period: i64, held: i64) -> Result<(), SqlError> {
    tx.execute(statements::SET_HELD, args![held, key, period])
        .await
        .map(drop)
}

#[async_trait]
impl BudgetLedger for SqlLedger {
    async fn take(&self, order: Order<'_>) -> StoreResult<Taken> {
        let Order { node, account, at, .. } = order;
        let (key, period) = (account.key.as_str(), account.period.as_micros());
        let budget = account.budget.as_ref().map(|name| name.as_str().to_owned());
        let mut tx = self.0.begin().await?;
        tx.execute(statements::OPEN_PERIOD, args![key, period, budget, at.as_micros()])
            .await?;
        let locked = lock(&mut tx, key, period).await?;
        let mut row = locked.ok_or(SqlError::NoRow("budget_period"))?.row;
        let before = lease(&mut tx, node, key, period).await?;
        let mut mine = before.unwrap_or_default();
        let granted = row.grant(&mut mine, order.amount.0, order.wish);
        match granted {
            Ok(_) => {
                set_held(&mut tx, key, period, row.held).await?;
                let args = args![node.as_str(), key, period, mine.held, mine.charged, at.as_micros()];
                tx.execute(statements::PUT_LEASE, args).await?;
            }
            Err(exhausted) if exhausted.held > mine.held => {
                let args = args![at.as_micros(), key, period, at.as_micros()];
                tx.execute(statements::RECALL, args).await?;
            }
            Err(_) => {}
        }
        tx.commit().await?;
        Ok(Taken {
            granted,
            lease: mine,
            known: before.is_some(),
        })
    }

    async fn give_back(&self, node: &NodeId, account: &Account, nanos: i64) -> StoreResult<Option<LeaseRow>> {
        let (key, period) = (account.key.as_str(), account.period.as_micros());
        let mut tx = self.0.begin().await?;
        let locked = lock(&mut tx, key, period).await?;
        let (Some(mut locked), Some(mut mine)) = (locked, lease(&mut tx, node, key, period).await?) else {
            return Ok(None);
        };
        locked.row.give_back(&mut mine, nanos);
        set_held(&mut tx, key, period, locked.row.held).await?;
        tx.execute(statements::SET_LEASE, args![mine.held, node.as_str(), key, period])
            .await?;
        tx.commit().await?;
        Ok(Some(mine))
    }

    async fn close_lease(&self, node: &NodeId, account: &Account) -> StoreResult<bool> {
        let args = args![node.as_str(), account.key.as_str(), account.period.as_micros()];
        self.0.execute(statements::DROP_EMPTY_LEASE, args.clone()).await?;
        let left: Option<(i64, i64)> = self.0.optional(statements::LEASE, args).await?;
        Ok(left.is_none())
    }

    async fn recalled(&self, node: &NodeId, since: Timestamp) -> StoreResult<Vec<(Account, Timestamp)>> {
        let rows: Vec<(String, i64, Option<String>, i64)> = self
            .0
            .all(statements::RECALLED, args![node.as_str(), since.as_micros()])
            .await?;
        let read = |(key, period, budget, at): (String, i64, Option<String>, i64)| {
            let account = Account {
                key,
                budget: budget.map(BudgetName::new),
                period: Timestamp::from_micros(period),
            };
            (account, Timestamp::from_micros(at))
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn keep_alive(&self, node: &NodeId, at: Timestamp) -> StoreResult<()> {
        let args = args![at.as_micros(), node.as_str(), at.as_micros()];
        self.0.execute(statements::KEEP_ALIVE, args).await?;
        Ok(())
    }

    async fn end_stale(&self, before: Timestamp) -> StoreResult<u64> {
        let stale: Vec<(String, String, i64)> = self
            .0
            .all(statements::STALE_LEASES, args![before.as_micros(), ENDED_AT_ONCE])
            .await?;
        let mut ended = 0;
        for (node, key, period) in stale {
            if self.end(&NodeId::new(node), &key, period, before).await? {
                ended += 1;
            }
        }
        Ok(ended)
    }

    async fn find_account(&self, key: &str, period: Timestamp) -> StoreResult<Option<AccountStatus>> {
        let row: Option<AccountRow> = self
            .0
            .optional(statements::ACCOUNT, args![key, period.as_micros()])
            .await?;
        Ok(row.map(Into::into))
    }

    async fn accounts_of(
        &self,
        budget: &str,
        period: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<AccountStatus>> {
        let args = args![budget, period.as_micros(), after.unwrap_or_default(), limit];
        let rows: Vec<AccountRow> = self.0.all(statements::ACCOUNTS_OF, args).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn forget_accounts(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let args = args![before.as_micros(), limit];
        self.0.execute(statements::FORGET_NOTICES, args.clone()).await?;
        Ok(self.0.execute(statements::FORGET_ACCOUNTS, args).await?)
    }

    async fn changed_accounts(&self, since: Timestamp, limit: u32) -> StoreResult<Vec<AccountStatus>> {
        let rows: Vec<AccountRow> = self
            .0
            .all(statements::CHANGED_ACCOUNTS, args![since.as_micros(), limit])
            .await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn keep_notice(&self, notice: Notice<'_>) -> StoreResult<bool> {
        let account = notice.account;
        let args = args![
            account.key.as_str(),
            account.period.as_micros(),
            notice.share,
            account.budget.as_ref().map_or("", BudgetName::as_str),
            notice.spent.0,
            notice.amount.0,
            notice.currency.as_str(),
            notice.at.as_micros(),
            if notice.told { "pending" } else { "kept" },
            notice.told.then(|| notice.at.as_micros())
        ];
        Ok(self.0.execute(KEEP_NOTICE, args).await? == 1)
    }

    async fn reconcile(&self, account: &Account, at: Timestamp) -> StoreResult<Option<Reconciled>> {
        let (key, period) = (account.key.as_str(), account.period.as_micros());
        // One statement sees one state, so nobody has to wait for it.
        let seen: Option<Sums> = self.0.optional(statements::SUMS, args![key, period]).await?;
        if seen.and_then(misfit).is_none() {
            return Ok(None);
        }
        let mut tx = self.0.begin().await?;
        lock(&mut tx, key, period).await?;
        let seen: Option<Sums> = tx.optional(statements::SUMS, args![key, period]).await?;
        let Some((before, after)) = seen.and_then(misfit) else {
            return Ok(None);
        };
        set_period(&mut tx, key, period, after, at).await?;
        tx.commit().await?;
        let account = account.clone();
        Ok(Some(Reconciled { account, before, after }))
    }

    async fn fold(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let old: Vec<(String, i64, i64)> = self
            .0
            .all(statements::OLD_CHARGES, args![before.as_micros(), limit])
            .await?;
        let mut folded_charges = 0;
        for (key, period, _) in old {
            let mut tx = self.0.begin().await?;
            let Some(locked) = lock(&mut tx, &key, period).await? else {
                continue;
            };
            let args = args![key.as_str(), period, before.as_micros(), limit];
            let (sum, count): (i64, i64) = tx.one(statements::SUM_OF_OLD_CHARGES, args.clone()).await?;
            tx.execute(statements::DROP_OLD_CHARGES, args).await?;
            let folded = locked.folded.saturating_add(sum);
            tx.execute(statements::SET_FOLDED, args![folded, key.as_str(), period])
                .await?;
            tx.commit().await?;
            folded_charges += u64::try_from(count).unwrap_or_default();
        }
        Ok(folded_charges)
    }
}
