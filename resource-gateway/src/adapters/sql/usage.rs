//! Usage rows, and what they are charged to.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{Clock, Timestamp};
use sql_kit::{Db, SqlError, Tx, args};
use std::sync::Arc;

use super::{SqlLedger, ledger_statements as ledger, statements};
use crate::{
    domain::{
        ids::NodeId,
        lease::{LeaseRow, PeriodRow},
    },
    ports::{
        config_source::{StoreError, StoreResult},
        usage::{UsageBatch, UsageStore},
    },
};

/// The table `usage_record`, and the charges of the budget ledger.
#[derive(Debug, Clone)]
pub struct SqlUsage {
    db: Db,
    clock: Arc<dyn Clock>,
}

impl SqlUsage {
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { db, clock }
    }

    async fn insert_and_charge(&self, batch: &UsageBatch) -> StoreResult<()> {
        let records = batch.to_json_array();
        let origins = Origins::read(&records)?;
        let mut tx = self.db.begin().await?;
        tx.execute(statements::INSERT_USAGE, args![records.as_str()]).await?;
        let new: Vec<(String, i64, String, i64)> = tx.all(ledger::INSERT_CHARGES, args![records]).await?;
        let mut charges = Charges::default();
        for (key, period, request_id, amount) in new {
            charges.add(&origins, key, period, &request_id, amount);
        }
        if batch.is_empty() {
            prove(&mut tx).await?;
        }
        charges.book(&mut tx, self.clock.now()).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Asks for nothing of the tables that charges need. A ledger that is not there must not make single records look bad.
async fn prove(tx: &mut Tx) -> Result<(), SqlError> {
    let _: Vec<(String, i64, i64, i64)> = tx.all(ledger::LOCK_PERIODS, args!["[]"]).await?;
    let _: Vec<(String, String, i64, i64, i64)> = tx.all(ledger::LEASES, args!["[]"]).await?;
    Ok(())
}

#[async_trait]
impl UsageStore for SqlUsage {
    async fn insert_usage(&self, batch: &UsageBatch) -> StoreResult<()> {
        // Also when it is empty: the statements still prove that the tables are there and may be written.
        if batch.is_charged() || batch.is_empty() {
            return self.insert_and_charge(batch).await;
        }
        self.db
            .execute(statements::INSERT_USAGE, args![batch.to_json_array()])
            .await?;
        Ok(())
    }

    async fn end_node(&self, node: &NodeId) -> StoreResult<()> {
        Ok(SqlLedger::new(self.db.clone()).end_all_of(node).await?)
    }
}

/// What of a record tells where its charges come from.
#[derive(Deserialize)]
struct Charged {
    request_id: String,
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    charges: Vec<ChargedAccount>,
}

#[derive(Deserialize)]
struct ChargedAccount {
    key: String,
    #[serde(default)]
    budget: Option<String>,
}

/// Which node took a call, and what the keys of its charges belong to.
struct Origins {
    nodes: HashMap<String, Option<String>>,
    budgets: HashMap<String, Option<String>>,
}

impl Origins {
    fn read(records: &str) -> StoreResult<Self> {
        let records: Vec<Charged> =
            serde_json::from_str(records).map_err(|error| StoreError::Failed(Box::new(error)))?;
        let (mut nodes, mut budgets) = (HashMap::new(), HashMap::new());
        for record in records.into_iter().filter(|record| !record.charges.is_empty()) {
            nodes.insert(record.request_id, record.node);
            budgets.extend(record.charges.into_iter().map(|charge| (charge.key, charge.budget)));
        }
        Ok(Self { nodes, budgets })
    }
}

/// New charges, summed up by account and node. In the order of the keys, in which all gateways lock.
#[derive(Default)]
struct Charges {
    accounts: BTreeMap<(String, i64), Account>,
}

#[derive(Default)]
struct Account {
    budget: Option<String>,
    /// None: of a record that names no node.
    nodes: BTreeMap<Option<String>, i64>,
}

impl Charges {
    fn add(&mut self, origins: &Origins, key: String, period: i64, request_id: &str, amount: i64) {
        let budget = origins.budgets.get(&key).cloned().flatten();
        let node = origins.nodes.get(request_id).cloned().flatten();
        let account = self.accounts.entry((key, period)).or_default();
        account.budget = budget;
        let sum = account.nodes.entry(node).or_default();
        *sum = sum.saturating_add(amount);
    }

    /// Moves the sums from what the nodes hold to what was spent.
    async fn book(&self, tx: &mut Tx, at: Timestamp) -> Result<(), SqlError> {
        if self.accounts.is_empty() {
            return Ok(());
        }
        let accounts =
            self.list(|key, period, account| json!({"key": key, "period": period, "budget": account.budget}));
        tx.execute(ledger::OPEN_PERIODS, args![at.as_micros(), accounts.as_str()])
            .await?;
        let rows: Vec<(String, i64, i64, i64)> = tx.all(ledger::LOCK_PERIODS, args![accounts]).await?;
        let mut periods: HashMap<(String, i64), PeriodRow> = HashMap::new();
        for (key, period, spent, held) in rows {
            periods.insert((key, period), PeriodRow { spent, held });
        }
        let mut leases = self.load_leases(tx).await?;
        for ((key, period), account) in &self.accounts {
            let Some(row) = periods.get_mut(&(key.clone(), *period)) else {
                return Err(SqlError::NoRow("budget_period"));
            };
            for (node, amount) in &account.nodes {
                let lease = node
                    .as_ref()
                    .and_then(|node| leases.get_mut(&(node.clone(), key.clone(), *period)));
                row.charge(lease, *amount);
            }
        }
        let periods = self.list(|key, period, _| {
            let row = periods.get(&(key.to_owned(), period)).copied().unwrap_or_default();
            json!({"key": key, "period": period, "spent": row.spent, "held": row.held})
        });
        tx.execute(ledger::SET_PERIODS, args![at.as_micros(), periods]).await?;
        if !leases.is_empty() {
            let leases = leases.into_iter().map(|((node, key, period), row)| {
                json!({"node": node, "key": key, "period": period, "held": row.held, "charged": row.charged})
            });
            let leases = Value::Array(leases.collect()).to_string();
            tx.execute(ledger::SET_LEASES, args![leases]).await?;
        }
        Ok(())
    }

    async fn load_leases(&self, tx: &mut Tx) -> Result<HashMap<(String, String, i64), LeaseRow>, SqlError> {
        let wanted = self.accounts.iter().flat_map(|((key, period), account)| {
            let nodes = account.nodes.keys().flatten();
            nodes.map(move |node| json!({"node": node, "key": key, "period": period}))
        });
        let wanted = Value::Array(wanted.collect()).to_string();
        let rows: Vec<(String, String, i64, i64, i64)> = tx.all(ledger::LEASES, args![wanted]).await?;
        let read = |(node, key, period, held, charged)| ((node, key, period), LeaseRow { held, charged });
        Ok(rows.into_iter().map(read).collect())
    }

    fn list(&self, entry: impl Fn(&str, i64, &Account) -> Value) -> String {
        let entries = self
            .accounts
            .iter()
            .map(|((key, period), account)| entry(key, *period, account));
        Value::Array(entries.collect()).to_string()
    }
}
