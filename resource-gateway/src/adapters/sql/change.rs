//! Writing configuration rows.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use sql_kit::{Sql, Tx, args};
use token_keys::MasterKey;

use super::{
    audit,
    config::{Reader, find_version, load},
    convert::{field_columns, millis, policy_column, seal_place},
    statements,
};
use crate::{
    application::documents::{interface_policy, log_policy, render, vendor_policy},
    domain::{
        audit::AuditEvent,
        config_row::{Row, RowId, RowKind},
        interface::Interface,
        snapshot::{ConfigRows, Revision},
        vendor::{SecretKey, Vendor},
    },
    ports::config_source::{ConfigChange, RowVersion, StoreError, StoreResult},
};

/// One transaction over the configuration tables.
#[derive(Debug)]
pub(super) struct SqlChange {
    tx: Tx,
    keys: Arc<MasterKey>,
}

impl SqlChange {
    pub(super) fn new(tx: Tx, keys: Arc<MasterKey>) -> Self {
        Self { tx, keys }
    }

    async fn put_vendor_row(&mut self, vendor: &Vendor) -> StoreResult<()> {
        let name = vendor.name.as_str();
        let base_url = vendor.base_url.as_ref().map(|url| url.as_str().to_owned());
        let sealed = match &vendor.credential.secret_key {
            SecretKey::Absent => None,
            SecretKey::Present(secret) => {
                let sealed = self.keys.seal(&seal_place(name), secret.expose_secret().as_bytes());
                Some(sealed.map_err(|error| StoreError::Failed(Box::new(error)))?)
            }
            SecretKey::Unreadable => {
                return Err(StoreError::Corrupt {
                    table: "vendor",
                    column: "secret_key",
                    row: name.to_owned(),
                });
            }
        };
        let args = args![
            vendor.strategy.as_str(),
            vendor.enabled.is_on(),
            base_url,
            vendor.credential.app_id.clone(),
            vendor.credential.secret_id.clone(),
            sealed,
            policy_column(vendor_policy(vendor)),
            name
        ];
        // The revision's lock keeps other writers out between the two statements.
        if self.tx.execute(statements::UPDATE_VENDOR, args.clone()).await? == 0 {
            self.tx.execute(statements::INSERT_VENDOR, args).await?;
        }
        Ok(())
    }

    async fn put_vendor(&mut self, vendor: &Vendor) -> StoreResult<()> {
        self.put_vendor_row(vendor).await?;
        let name = vendor.name.as_str();
        self.tx.execute(statements::DELETE_POOL, args![name]).await?;
        self.tx.execute(statements::DELETE_ADDRESSES, args![name]).await?;
        if let Some(strategy) = vendor.pool.strategy {
            self.tx
                .execute(statements::INSERT_POOL, args![name, strategy.as_str()])
                .await?;
        }
        for (at, address) in vendor.pool.addresses.iter().enumerate() {
            let args = args![name, position(at), address.url.as_str(), address.weight];
            self.tx.execute(statements::INSERT_ADDRESS, args).await?;
        }
        Ok(())
    }

    async fn put_interface(&mut self, interface: &Interface) -> StoreResult<()> {
        let name = interface.name.as_str();
        let mut policy = interface_policy(&interface.policy);
        policy.insert("log".to_owned(), log_policy(interface.log));
        let args = args![
            interface.capability.as_str(),
            interface.enabled.is_on(),
            millis(interface.timeouts.connect),
            millis(interface.timeouts.first_byte),
            millis(interface.timeouts.idle),
            millis(interface.timeouts.total),
            interface.log.metadata.is_on(),
            policy_column(policy),
            name
        ];
        if self.tx.execute(statements::UPDATE_INTERFACE, args.clone()).await? == 0 {
            self.tx.execute(statements::INSERT_INTERFACE, args).await?;
        }
        self.tx.execute(statements::DELETE_ROUTES, args![name]).await?;
        for (at, route) in interface.routes.iter().enumerate() {
            let args = args![
                name,
                position(at),
                route.vendor.as_str(),
                route.model.as_str(),
                route.weight,
                route.priority
            ];
            self.tx.execute(statements::INSERT_ROUTE, args).await?;
        }
        self.tx.execute(statements::DELETE_FIELDS, args![name]).await?;
        for (at, rule) in interface.fields.iter().enumerate() {
            let (value, allow_override, forbidden) = field_columns(&rule.action);
            let enabled = rule.enabled.is_on();
            let pointer = rule.pointer.as_str();
            let args = args![name, position(at), pointer, value, enabled, allow_override, forbidden];
            self.tx.execute(statements::INSERT_FIELD, args).await?;
        }
        Ok(())
    }

    /// Puts a row of a kind that is stored in its written form.
    async fn put_form(&mut self, update: Sql, insert: Sql, row: &Row) -> StoreResult<()> {
        let args = args![policy_column(render(row)), row.name()];
        if self.tx.execute(update, args.clone()).await? == 0 {
            self.tx.execute(insert, args).await?;
        }
        Ok(())
    }

    /// Notes that this change made the row what it is.
    async fn set_version(&mut self, id: &RowId) -> StoreResult<RowVersion> {
        let (revision,): (i64,) = self.tx.one(statements::REVISION, args![]).await?;
        let version = revision + 1;
        let args = args![version, id.kind.as_str(), id.name.as_str()];
        if self.tx.execute(statements::UPDATE_VERSION, args.clone()).await? == 0 {
            self.tx.execute(statements::INSERT_VERSION, args).await?;
        }
        Ok(RowVersion(version))
    }
}

/// A position for its column.
fn position(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

#[async_trait]
impl ConfigChange for SqlChange {
    async fn load_rows(&mut self) -> StoreResult<ConfigRows> {
        load(&mut Reader::Tx(&mut self.tx), &self.keys).await
    }

    async fn find_version(&mut self, id: &RowId) -> StoreResult<Option<RowVersion>> {
        find_version(&mut Reader::Tx(&mut self.tx), id).await
    }

    async fn put(&mut self, row: &Row) -> StoreResult<RowVersion> {
        match row {
            Row::Vendor(vendor) => self.put_vendor(vendor).await?,
            Row::Interface(interface) => self.put_interface(interface).await?,
            Row::Price(_) => {
                self.put_form(statements::UPDATE_PRICE, statements::INSERT_PRICE, row)
                    .await?;
            }
            Row::Budget(_) => {
                self.put_form(statements::UPDATE_BUDGET, statements::INSERT_BUDGET, row)
                    .await?;
            }
        }
        self.set_version(&row.id()).await
    }

    async fn delete(&mut self, id: &RowId) -> StoreResult<bool> {
        let statement = match id.kind {
            RowKind::Vendor => statements::DELETE_VENDOR,
            RowKind::Interface => statements::DELETE_INTERFACE,
            RowKind::Price => statements::DELETE_PRICE,
            RowKind::Budget => statements::DELETE_BUDGET,
        };
        let gone = self.tx.execute(statement, args![id.name.as_str()]).await?;
        let version = args![id.kind.as_str(), id.name.as_str()];
        self.tx.execute(statements::DELETE_VERSION, version).await?;
        Ok(gone > 0)
    }

    async fn note(&mut self, event: &AuditEvent) -> StoreResult<()> {
        self.tx.execute(statements::INSERT_AUDIT, audit::columns(event)).await?;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> StoreResult<Revision> {
        self.tx.execute(statements::BUMP_REVISION, args![]).await?;
        let (revision,): (i64,) = self.tx.one(statements::REVISION, args![]).await?;
        self.tx.commit().await?;
        Ok(Revision(revision))
    }
}
