//! The table `access_key`.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::{Network, Timestamp};
use sql_kit::{Arg, Db, Tx, args};
use sqlx::FromRow;
use token_keys::MasterKey;

use super::{audit, statements, statements_access_keys as sql};
use crate::{
    domain::{
        access_key::{AccessKey, Ended, KeySettings, Secrets},
        audit::{AuditEvent, AuditPlace},
        ids::{AccessKeyId, ClientId, Subject, TenantId},
        snapshot::Revision,
    },
    ports::{
        access_keys::{AccessKeys, KeyChange, KeyPage},
        config_source::{StoreError, StoreResult},
    },
};

/// Access keys, their secrets sealed on the way in and unsealed on the way out.
#[derive(Debug, Clone)]
pub struct SqlAccessKeys {
    db: Db,
    seals: Seals,
}

/// One transaction over the table.
#[derive(Debug)]
struct SqlKeyChange {
    tx: Tx,
    seals: Seals,
    /// Audit rows that it has written.
    notes: i64,
}

/// What seals and opens secrets.
#[derive(Debug, Clone)]
struct Seals(Arc<MasterKey>);

#[derive(FromRow)]
struct KeyRow {
    id: String,
    client_id: String,
    tenant: Option<String>,
    sub: Option<String>,
    scopes: String,
    interfaces: Option<String>,
    ip_allow: String,
    enabled: bool,
    previous_until: Option<i64>,
    created_at: i64,
    rotated_at: Option<i64>,
    changed_at: i64,
    last_used_at: Option<i64>,
    version: i64,
}

#[derive(FromRow)]
struct SecretsRow {
    #[sqlx(flatten)]
    key: KeyRow,
    secret: Vec<u8>,
    previous_secret: Option<Vec<u8>>,
}

impl SqlAccessKeys {
    pub fn new(db: Db, keys: Arc<MasterKey>) -> Self {
        let seals = Seals(keys);
        Self { db, seals }
    }
}

impl Seals {
    fn seal(&self, column: &'static str, id: &AccessKeyId, secret: &SecretString) -> StoreResult<Vec<u8>> {
        let sealed = self.0.seal(&place(column, id), secret.expose_secret().as_bytes());
        sealed.map_err(|error| StoreError::Failed(Box::new(error)))
    }

    fn unseal(&self, column: &'static str, id: &AccessKeyId, sealed: &[u8]) -> StoreResult<SecretString> {
        let plain = self.0.unseal(&place(column, id), sealed).ok();
        let text = plain.and_then(|plain| std::str::from_utf8(&plain).ok().map(str::to_owned));
        text.map(SecretString::from).ok_or_else(|| corrupt(column, id.as_str()))
    }

    fn sealed(&self, id: &AccessKeyId, secrets: &Secrets) -> StoreResult<(Vec<u8>, Option<Vec<u8>>)> {
        let previous = secrets.previous.as_ref();
        let previous = previous.map(|secret| self.seal("previous_secret", id, secret));
        Ok((self.seal("secret", id, &secrets.current)?, previous.transpose()?))
    }

    fn opened(&self, row: SecretsRow) -> StoreResult<(AccessKey, Secrets)> {
        let key = row.key.into_key()?;
        let previous = row.previous_secret.as_deref();
        let secrets = Secrets {
            current: self.unseal("secret", &key.id, &row.secret)?,
            previous: previous
                .map(|sealed| self.unseal("previous_secret", &key.id, sealed))
                .transpose()?,
        };
        Ok((key, secrets))
    }
}

/// What a secret is sealed for, so that it opens in no other row and column.
fn place(column: &str, id: &AccessKeyId) -> String {
    format!("access_key/{column}/{id}")
}

fn corrupt(column: &'static str, row: &str) -> StoreError {
    StoreError::Corrupt {
        table: "access_key",
        column,
        row: row.to_owned(),
    }
}

impl KeyRow {
    fn into_key(self) -> StoreResult<AccessKey> {
        let texts =
            |column, json: &str| serde_json::from_str::<BTreeSet<String>>(json).map_err(|_| corrupt(column, &self.id));
        let networks: Result<Vec<Network>, _> = serde_json::from_str(&self.ip_allow);
        Ok(AccessKey {
            settings: KeySettings {
                client_id: ClientId::new(self.client_id),
                tenant: self.tenant.map(TenantId::new),
                sub: self.sub.map(Subject::new),
                scopes: texts("scopes", &self.scopes)?,
                interfaces: self
                    .interfaces
                    .as_deref()
                    .map(|json| texts("interfaces", json))
                    .transpose()?,
                ip_allow: networks.map_err(|_| corrupt("ip_allow", &self.id))?,
                enabled: self.enabled.into(),
            },
            created_at: Timestamp::from_micros(self.created_at),
            rotated_at: self.rotated_at.map(Timestamp::from_micros),
            changed_at: Timestamp::from_micros(self.changed_at),
            last_used_at: self.last_used_at.map(Timestamp::from_micros),
            previous_until: self.previous_until.map(Timestamp::from_micros),
            version: self.version,
            id: AccessKeyId::new(self.id),
        })
    }
}

/// Columns `client_id` to `enabled`.
fn settings_columns(settings: &KeySettings) -> StoreResult<[Arg; 7]> {
    let failed = |error: serde_json::Error| StoreError::Failed(Box::new(error));
    let interfaces = settings.interfaces.as_ref().map(serde_json::to_string);
    Ok(args![
        settings.client_id.as_str(),
        settings.tenant.as_ref().map(TenantId::as_str),
        settings.sub.as_ref().map(Subject::as_str),
        serde_json::to_string(&settings.scopes).map_err(failed)?,
        interfaces.transpose().map_err(failed)?,
        serde_json::to_string(&settings.ip_allow).map_err(failed)?,
        settings.enabled.is_on(),
    ])
}

fn micros(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_micros)
}

#[async_trait]
impl AccessKeys for SqlAccessKeys {
    async fn find_with_secrets(&self, id: &AccessKeyId) -> StoreResult<Option<(AccessKey, Secrets)>> {
        let row: Option<SecretsRow> = self.db.optional(sql::FIND_WITH_SECRETS, args![id.as_str()]).await?;
        row.map(|row| self.seals.opened(row)).transpose()
    }

    async fn find(&self, id: &AccessKeyId) -> StoreResult<Option<AccessKey>> {
        let row: Option<KeyRow> = self.db.optional(sql::FIND, args![id.as_str()]).await?;
        row.map(KeyRow::into_key).transpose()
    }

    async fn versions(&self, ids: &[AccessKeyId]) -> StoreResult<Vec<(AccessKeyId, i64)>> {
        let ids: Vec<_> = ids.iter().map(AccessKeyId::as_str).collect();
        let ids = serde_json::to_string(&ids).map_err(|error| StoreError::Failed(Box::new(error)))?;
        let rows: Vec<(String, i64)> = self.db.all(sql::VERSIONS, args![ids]).await?;
        Ok(rows
            .into_iter()
            .map(|(id, version)| (AccessKeyId::new(id), version))
            .collect())
    }

    async fn list(&self, page: &KeyPage) -> StoreResult<Vec<AccessKey>> {
        let args = args![
            page.tenant.is_none(),
            page.tenant.as_ref().map_or("", TenantId::as_str),
            page.client_id.is_none(),
            page.client_id.as_ref().map_or("", ClientId::as_str),
            page.after.as_ref().map_or("", AccessKeyId::as_str),
            page.limit,
        ];
        let rows: Vec<KeyRow> = self.db.all(sql::LIST, args).await?;
        rows.into_iter().map(KeyRow::into_key).collect()
    }

    async fn find_ended(&self, whose: &Ended, before: i64) -> StoreResult<Vec<AccessKey>> {
        // A revocation counts whole seconds, the one that it names included.
        let end = Timestamp::from_seconds(before.saturating_add(1)).as_micros();
        let rows: Vec<KeyRow> = match whose {
            Ended::Client(id) => {
                let args = args![id.as_str(), true, end];
                self.db.all(sql::ENDED_WITH_CLIENT, args).await?
            }
            Ended::Subject(sub) => {
                let args = args![sub.as_str(), sub.as_str(), true, end];
                self.db.all(sql::ENDED_WITH_SUBJECT, args).await?
            }
        };
        rows.into_iter().map(KeyRow::into_key).collect()
    }

    async fn begin_change(&self) -> StoreResult<Box<dyn KeyChange>> {
        let mut tx = self.db.begin().await?;
        tx.execute(statements::LOCK_REVISION, args![]).await?;
        let seals = self.seals.clone();
        Ok(Box::new(SqlKeyChange { tx, seals, notes: 0 }))
    }

    async fn note_uses(&self, uses: &[(AccessKeyId, Timestamp)]) -> StoreResult<()> {
        let mut uses: Vec<_> = uses.iter().collect();
        // In the order of the key, so that two gateways cannot block each other.
        uses.sort();
        let mut tx = self.db.begin().await?;
        for (id, at) in uses {
            let at = at.as_micros();
            tx.execute(sql::NOTE_USE, args![at, id.as_str(), at]).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl KeyChange for SqlKeyChange {
    async fn find(&mut self, id: &AccessKeyId) -> StoreResult<Option<AccessKey>> {
        let row: Option<KeyRow> = self.tx.optional(sql::FIND, args![id.as_str()]).await?;
        row.map(KeyRow::into_key).transpose()
    }

    async fn find_with_secrets(&mut self, id: &AccessKeyId) -> StoreResult<Option<(AccessKey, Secrets)>> {
        let row: Option<SecretsRow> = self.tx.optional(sql::FIND_WITH_SECRETS, args![id.as_str()]).await?;
        row.map(|row| self.seals.opened(row)).transpose()
    }

    async fn insert(&mut self, key: &AccessKey, secrets: &Secrets) -> StoreResult<()> {
        let (secret, previous) = self.seals.sealed(&key.id, secrets)?;
        let rest = args![
            secret,
            previous,
            micros(key.previous_until),
            key.created_at.as_micros(),
            micros(key.rotated_at),
            key.changed_at.as_micros(),
            key.version,
            key.id.as_str(),
        ];
        let args = settings_columns(&key.settings)?.into_iter().chain(rest);
        self.tx.execute(sql::INSERT, args).await?;
        Ok(())
    }

    async fn replace(&mut self, key: &AccessKey, secrets: Option<&Secrets>) -> StoreResult<()> {
        let rest = args![
            micros(key.previous_until),
            micros(key.rotated_at),
            key.changed_at.as_micros(),
            key.version,
            key.id.as_str(),
        ];
        let args = settings_columns(&key.settings)?.into_iter().chain(rest);
        self.tx.execute(sql::REPLACE, args).await?;
        if let Some(secrets) = secrets {
            let (secret, previous) = self.seals.sealed(&key.id, secrets)?;
            let args = args![secret, previous, key.id.as_str()];
            self.tx.execute(sql::REPLACE_SECRETS, args).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, id: &AccessKeyId) -> StoreResult<()> {
        self.tx.execute(sql::DELETE, args![id.as_str()]).await?;
        Ok(())
    }

    async fn note(&mut self, mut event: AuditEvent) -> StoreResult<()> {
        // The change holds the revision's lock, so this is the one that it will make.
        let (revision,): (i64,) = self.tx.one(statements::REVISION, args![]).await?;
        event.place = AuditPlace {
            revision: Revision(revision + 1),
            position: self.notes,
        };
        self.notes += 1;
        self.tx
            .execute(statements::INSERT_AUDIT, audit::columns(&event))
            .await?;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> StoreResult<()> {
        self.tx.execute(statements::BUMP_REVISION, args![]).await?;
        Ok(self.tx.commit().await?)
    }
}
