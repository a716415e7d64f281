//! Usage rows, and what they are charged to.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{Clock, Timestamp};
use sql_kit::{Arg, Db, Dialect, SqlError, Tx, args};

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
        let records = batch.as_json_array();
        let rows: Vec<Row<'_>> = serde_json::from_str(records).map_err(|error| StoreError::Failed(Box::new(error)))?;
        let mut tx = self.db.begin().await?;
        let mut charges = Charges::default();
        if insert(&mut tx, self.db.dialect(), records, &rows).await? == rows.len() {
            charges.add_all(&rows);
        } else {
            // Some were there already, after a crash. Which of them are new has to be asked for.
            drop(tx);
            tx = self.db.begin().await?;
            let mut new = insert_new(&mut tx, self.db.dialect(), records, &rows).await?;
            // Taken out, so that what stands in the batch twice counts once.
            charges.add_all(rows.iter().filter(|row| new.remove(row.request_id.as_ref())));
        }
        charges.book(&mut tx, self.clock.now()).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Inserts what is not there yet, and tells how much that was.
async fn insert(tx: &mut Tx, dialect: Dialect, records: &str, rows: &[Row<'_>]) -> StoreResult<usize> {
    let mut inserted = 0;
    match dialect {
        Dialect::Postgres => inserted = tx.execute(statements::INSERT_USAGE_BATCH, args![records]).await?,
        Dialect::Sqlite => {
            let mut rest = rows;
            for (count, statement) in statements::INSERT_USAGE_ROWS {
                while let Some((rows, later)) = rest.split_at_checked(count) {
                    inserted += tx.execute(statement, rows.iter().flat_map(Row::values)).await?;
                    rest = later;
                }
            }
        }
    }
    Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
}

/// The same, and tells which ones.
async fn insert_new(tx: &mut Tx, dialect: Dialect, records: &str, rows: &[Row<'_>]) -> StoreResult<HashSet<String>> {
    match dialect {
        Dialect::Postgres => {
            let new: Vec<(String,)> = tx.all(statements::INSERT_USAGE_BATCH_NEW, args![records]).await?;
            Ok(new.into_iter().map(|(id,)| id).collect())
        }
        Dialect::Sqlite => {
            let mut new = HashSet::new();
            for row in rows {
                if tx.execute(statements::INSERT_USAGE_ROW, row.values()).await? == 1 {
                    new.insert(row.request_id.clone().into_owned());
                }
            }
            Ok(new)
        }
    }
}

#[async_trait]
impl UsageStore for SqlUsage {
    async fn insert_usage(&self, batch: &UsageBatch) -> StoreResult<()> {
        if batch.is_empty() {
            return Ok(prove(&self.db).await?);
        }
        self.insert_and_charge(batch).await
    }

    async fn end_node(&self, node: &NodeId) -> StoreResult<()> {
        Ok(SqlLedger::new(self.db.clone()).end_all_of(node).await?)
    }
}

/// Asks for nothing of the tables that records and charges need. A ledger that is not there must not make single records look
/// bad.
async fn prove(db: &Db) -> Result<(), SqlError> {
    let mut tx = db.begin().await?;
    tx.execute(statements::TRY_USAGE, args![]).await?;
    let _: Vec<(String, i64, i64, i64)> = tx.all(ledger::LOCK_PERIODS, args!["[]"]).await?;
    let _: Vec<(String, String, i64, i64, i64)> = tx.all(ledger::LEASES, args!["[]"]).await?;
    tx.commit().await
}

/// A record as it stands in the journal; see [`UsageRecord`](crate::domain::usage::UsageRecord). What older versions did not write
/// has a default.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    time: i64,
    #[serde(borrow)]
    tenant: Option<Text<'a>>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    interface: Cow<'a, str>,
    #[serde(borrow)]
    capability: Cow<'a, str>,
    #[serde(borrow)]
    vendor: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    stream: bool,
    input_tokens: i64,
    output_tokens: i64,
    cached_input_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    estimated: bool,
    attempts: i64,
    duration_ms: i64,
    first_byte_ms: Option<i64>,
    #[serde(default)]
    images: i64,
    #[serde(default)]
    audio_ms: i64,
    #[serde(default)]
    characters: i64,
    #[serde(default)]
    cost: Option<i64>,
    #[serde(borrow, default)]
    currency: Option<Text<'a>>,
    #[serde(borrow, default)]
    price: Option<Text<'a>>,
    #[serde(borrow, default)]
    access_key: Option<Text<'a>>,
    #[serde(borrow, default)]
    node: Option<Text<'a>>,
    #[serde(borrow, default)]
    charges: Vec<ChargedAccount<'a>>,
}

/// Borrowed where it can be; in an `Option`, serde does not do that for a bare [`Cow`].
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Row<'_> {
    /// In the order of the statements' columns.
    fn values(&self) -> [Arg; 26] {
        let text = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.0.clone().into_owned());
        args![
            self.request_id.as_ref(),
            self.time,
            text(&self.tenant),
            self.client_id.as_ref(),
            self.sub.as_ref(),
            self.interface.as_ref(),
            self.capability.as_ref(),
            text(&self.vendor),
            text(&self.model),
            self.state.as_ref(),
            self.stream,
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
            self.reasoning_tokens,
            self.estimated,
            self.attempts,
            self.duration_ms,
            self.first_byte_ms,
            self.images,
            self.audio_ms,
            self.characters,
            self.cost,
            text(&self.currency),
            text(&self.price),
            text(&self.access_key),
        ]
    }
}

#[derive(Deserialize)]
struct ChargedAccount<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    period: i64,
    #[serde(borrow, default)]
    budget: Option<Text<'a>>,
}

/// The charges of new records, summed up by account and node. In the order of the keys, in which all gateways lock.
#[derive(Default)]
struct Charges<'a> {
    accounts: BTreeMap<(&'a str, i64), Account<'a>>,
}

#[derive(Default)]
struct Account<'a> {
    budget: Option<&'a str>,
    /// None: of a record that names no node.
    nodes: BTreeMap<Option<&'a str>, i64>,
    amount: i64,
    requests: i64,
    /// One of the requests: no other sum can have it as well.
    request_id: &'a str,
    /// Of the latest.
    time: i64,
}

impl<'a> Charges<'a> {
    fn add_all(&mut self, records: impl IntoIterator<Item = &'a Row<'a>>) {
        for record in records {
            self.add(record);
        }
    }

    fn add(&mut self, record: &'a Row<'_>) {
        let Some(cost) = record.cost.filter(|cost| *cost > 0) else {
            return;
        };
        for charge in &record.charges {
            let account = self.accounts.entry((&charge.key, charge.period)).or_default();
            account.budget = charge.budget.as_ref().map(|budget| budget.0.as_ref());
            account.amount = account.amount.saturating_add(cost);
            account.requests += 1;
            account.request_id = &record.request_id;
            account.time = account.time.max(record.time);
            let of_node = account
                .nodes
                .entry(record.node.as_ref().map(|node| node.0.as_ref()))
                .or_default();
            *of_node = of_node.saturating_add(cost);
        }
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
        let sums = self.list(|key, period, account| {
            json!({"key": key, "period": period, "request_id": account.request_id, "requests": account.requests,
                "amount": account.amount, "time": account.time})
        });
        tx.execute(ledger::INSERT_CHARGES, args![sums]).await?;
        let mut periods: HashMap<(&str, i64), PeriodRow> = HashMap::new();
        for (key, period, spent, held) in &rows {
            let (spent, held) = (*spent, *held);
            periods.insert((key, *period), PeriodRow { spent, held });
        }
        let mut leases = self.load_leases(tx).await?;
        for ((key, period), account) in &self.accounts {
            let Some(row) = periods.get_mut(&(*key, *period)) else {
                return Err(SqlError::NoRow("budget_period"));
            };
            for (node, amount) in &account.nodes {
                let lease = node
                    .as_ref()
                    .and_then(|node| leases.get_mut(&((*node).to_owned(), (*key).to_owned(), *period)));
                row.charge(lease, *amount);
            }
        }
        let periods = self.list(|key, period, _| {
            let row = periods.get(&(key, period)).copied().unwrap_or_default();
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

    fn list(&self, entry: impl Fn(&str, i64, &Account<'_>) -> Value) -> String {
        let entries = self
            .accounts
            .iter()
            .map(|((key, period), account)| entry(key, *period, account));
        Value::Array(entries.collect()).to_string()
    }
}
