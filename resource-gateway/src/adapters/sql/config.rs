//! Reading configuration rows.

use std::sync::Arc;

use async_trait::async_trait;
use sql_kit::{Arg, Db, Record, Sql, SqlError, Tx, args};
use token_keys::MasterKey;

use super::{
    audit::AuditRow,
    change::SqlChange,
    convert::{AddressRow, FieldRow, InterfaceRow, RouteRow, VendorRow, interfaces, vendors},
    forms::{FormRow, forms},
    statements,
};
use crate::{
    domain::{
        audit::AuditEvent,
        config_row::{Row, RowId, RowKind},
        snapshot::{ConfigRows, Revision},
    },
    ports::config_source::{AuditQuery, ConfigChange, ConfigSource, ConfigStore, RowVersion, StoreError, StoreResult},
};

/// How often a load begins anew because somebody changed rows meanwhile.
const LOAD_ATTEMPTS: usize = 8;

/// The configuration tables. Secrets are sealed on the way in and unsealed on the way out.
#[derive(Debug, Clone)]
pub struct SqlConfig {
    db: Db,
    keys: Arc<MasterKey>,
}

impl SqlConfig {
    pub fn new(db: Db, keys: Arc<MasterKey>) -> Self {
        Self { db, keys }
    }
}

#[async_trait]
impl ConfigSource for SqlConfig {
    async fn current_revision(&self) -> StoreResult<Revision> {
        let (revision,): (i64,) = self.db.one(statements::REVISION, args![]).await?;
        Ok(Revision(revision))
    }

    async fn load_rows(&self) -> StoreResult<ConfigRows> {
        // Every change counts the revision up in its own transaction, so rows read between two equal revisions belong together.
        // That needs no transaction here, which on SQLite would be the only writer's.
        for _ in 0..LOAD_ATTEMPTS {
            let before = self.current_revision().await?;
            let rows = load(&mut Reader::Db(&self.db), &self.keys).await?;
            if rows.revision == before && self.current_revision().await? == before {
                return Ok(rows);
            }
        }
        let busy = SqlError::Busy("the configuration changes faster than it can be read".to_owned());
        Err(StoreError::from(busy))
    }
}

#[async_trait]
impl ConfigStore for SqlConfig {
    async fn begin_change(&self) -> StoreResult<Box<dyn ConfigChange>> {
        let mut tx = self.db.begin().await?;
        tx.execute(statements::LOCK_REVISION, args![]).await?;
        Ok(Box::new(SqlChange::new(tx, Arc::clone(&self.keys))))
    }

    async fn find_version(&self, id: &RowId) -> StoreResult<Option<RowVersion>> {
        find_version(&mut Reader::Db(&self.db), id).await
    }

    async fn list_audit(&self, query: &AuditQuery) -> StoreResult<Vec<AuditEvent>> {
        let (revision, position) = query
            .before
            .map_or((i64::MAX, i64::MAX), |place| (place.revision.0, place.position));
        let tenant = query.row_tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
        let args = args![revision, revision, position, tenant.is_none(), tenant, query.limit];
        let rows: Vec<AuditRow> = self.db.all(statements::AUDIT_BEFORE, args).await?;
        rows.into_iter().map(AuditEvent::try_from).collect()
    }
}

/// Reads inside or outside a transaction.
pub(super) enum Reader<'a> {
    Db(&'a Db),
    Tx(&'a mut Tx),
}

impl Reader<'_> {
    async fn all<R: Record>(&mut self, sql: Sql) -> Result<Vec<R>, SqlError> {
        let none: [Arg; 0] = args![];
        self.find(sql, none).await
    }

    async fn find<R: Record, const N: usize>(&mut self, sql: Sql, args: [Arg; N]) -> Result<Vec<R>, SqlError> {
        match self {
            Self::Db(db) => db.all(sql, args).await,
            Self::Tx(tx) => tx.all(sql, args).await,
        }
    }
}

/// The version of a row: 0 for one that has not changed since versions are counted.
pub(super) async fn find_version(reader: &mut Reader<'_>, id: &RowId) -> StoreResult<Option<RowVersion>> {
    let exists = match id.kind {
        RowKind::Vendor => statements::VENDOR_EXISTS,
        RowKind::Interface => statements::INTERFACE_EXISTS,
        RowKind::Price => statements::PRICE_EXISTS,
        RowKind::Budget => statements::BUDGET_EXISTS,
    };
    let rows: Vec<(i64,)> = reader.find(exists, args![id.name.as_str()]).await?;
    if rows.first().is_none_or(|(count,)| *count == 0) {
        return Ok(None);
    }
    let version: Vec<(i64,)> = reader
        .find(statements::VERSION, args![id.kind.as_str(), id.name.as_str()])
        .await?;
    Ok(Some(RowVersion(version.first().map_or(0, |(revision,)| *revision))))
}

/// All rows, those that cannot be read among them. Each table is read whole: a configuration has hundreds of rows, not millions.
pub(super) async fn load(reader: &mut Reader<'_>, keys: &MasterKey) -> StoreResult<ConfigRows> {
    let revision: Vec<(i64,)> = reader.all(statements::REVISION).await?;
    let vendor_rows: Vec<VendorRow> = reader.all(statements::VENDORS).await?;
    let addresses: Vec<AddressRow> = reader.all(statements::ADDRESSES).await?;
    let interface_rows: Vec<InterfaceRow> = reader.all(statements::INTERFACES).await?;
    let routes: Vec<RouteRow> = reader.all(statements::ROUTES).await?;
    let fields: Vec<FieldRow> = reader.all(statements::FIELDS).await?;
    let price_forms: Vec<FormRow> = reader.all(statements::PRICES).await?;
    let budget_forms: Vec<FormRow> = reader.all(statements::BUDGETS).await?;
    let (revision,) = revision.first().ok_or(SqlError::NoRow("config_revision"))?;
    let vendors = vendors(vendor_rows, addresses, keys)?;
    let interfaces = interfaces(interface_rows, routes, fields)?;
    let prices = forms(RowKind::Price, price_forms, |row| match row {
        Row::Price(price) => Some(price),
        Row::Vendor(_) | Row::Interface(_) | Row::Budget(_) => None,
    })?;
    let budgets = forms(RowKind::Budget, budget_forms, |row| match row {
        Row::Budget(budget) => Some(budget),
        Row::Vendor(_) | Row::Interface(_) | Row::Price(_) => None,
    })?;
    let unreadable = [
        vendors.unreadable,
        interfaces.unreadable,
        prices.unreadable,
        budgets.unreadable,
    ];
    Ok(ConfigRows {
        revision: Revision(*revision),
        vendors: vendors.rows,
        interfaces: interfaces.rows,
        prices: prices.rows,
        budgets: budgets.rows,
        unreadable: unreadable.concat(),
    })
}
