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
        audit::AuditEvent,
        ids::{AccessKeyId, ClientId, Subject, TenantId},
        snapshot::Revision,
    },
    ports::{
        access_keys::{AccessKeys, KeyPage, Written},
        config_source::{StoreError, StoreResult},
    },
};

/// Access keys, their secrets sealed on the way in and unsealed on the way out.
#[derive(Debug, Clone)]
pub struct SqlAccessKeys {
    db: Db,
    keys: Arc<MasterKey>,
}

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
    secret: Vec<u8>,
    previous_secret: Option<Vec<u8>>,
    version: i64,
}

impl SqlAccessKeys {
    pub fn new(db: Db, keys: Arc<MasterKey>) -> Self {
        Self { db, keys }
    }

    fn seal(&self, column: &'static str, id: &AccessKeyId, secret: &SecretString) -> StoreResult<Vec<u8>> {
        let sealed = self.keys.seal(&place(column, id), secret.expose_secret().as_bytes());
        sealed.map_err(|error| StoreError::Failed(Box::new(error)))
    }

    fn unseal(&self, column: &'static str, id: &AccessKeyId, sealed: &[u8]) -> StoreResult<SecretString> {
        let plain = self.keys.unseal(&place(column, id), sealed).ok();
        let text = plain.and_then(|plain| std::str::from_utf8(&plain).ok().map(str::to_owned));
        text.map(SecretString::from).ok_or_else(|| corrupt(column, id.as_str()))
    }

    fn sealed(&self, id: &AccessKeyId, secrets: &Secrets) -> StoreResult<(Vec<u8>, Option<Vec<u8>>)> {
        let previous = secrets.previous.as_ref();
        let previous = previous.map(|secret| self.seal("previous_secret", id, secret));
        Ok((self.seal("secret", id, &secrets.current)?, previous.transpose()?))
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

/// The audit row of a change that has counted the revision up.
async fn note(tx: &mut Tx, mut event: AuditEvent) -> StoreResult<()> {
    let (revision,): (i64,) = tx.one(statements::REVISION, args![]).await?;
    event.place.revision = Revision(revision);
    tx.execute(statements::INSERT_AUDIT, audit::columns(&event)).await?;
    Ok(())
}

#[async_trait]
impl AccessKeys for SqlAccessKeys {
    async fn find_with_secrets(&self, id: &AccessKeyId) -> StoreResult<Option<(AccessKey, Secrets)>> {
        // Two reads that belong together, when both are of one version.
        loop {
            let Some(key) = self.find(id).await? else {
                return Ok(None);
            };
            let row: Option<SecretsRow> = self.db.optional(sql::SECRETS, args![id.as_str()]).await?;
            let Some(row) = row.filter(|row| row.version == key.version) else {
                continue;
            };
            let previous = row.previous_secret.as_deref();
            let secrets = Secrets {
                current: self.unseal("secret", id, &row.secret)?,
                previous: previous
                    .map(|sealed| self.unseal("previous_secret", id, sealed))
                    .transpose()?,
            };
            return Ok(Some((key, secrets)));
        }
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

    async fn insert(&self, key: &AccessKey, secrets: &Secrets, audit: AuditEvent) -> StoreResult<()> {
        let (secret, previous) = self.sealed(&key.id, secrets)?;
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
        let mut tx = self.db.begin().await?;
        tx.execute(statements::BUMP_REVISION, args![]).await?;
        tx.execute(sql::INSERT, args).await?;
        note(&mut tx, audit).await?;
        Ok(tx.commit().await?)
    }

    async fn replace(
        &self,
        key: &AccessKey,
        secrets: Option<&Secrets>,
        version: i64,
        audit: AuditEvent,
    ) -> StoreResult<Written> {
        let sealed = secrets.map(|secrets| self.sealed(&key.id, secrets)).transpose()?;
        let rest = args![
            micros(key.previous_until),
            micros(key.rotated_at),
            key.changed_at.as_micros(),
            key.version,
            key.id.as_str(),
            version,
        ];
        let args = settings_columns(&key.settings)?.into_iter().chain(rest);
        let mut tx = self.db.begin().await?;
        tx.execute(statements::BUMP_REVISION, args![]).await?;
        if tx.execute(sql::REPLACE, args).await? != 1 {
            return Ok(Written::Conflict);
        }
        if let Some((secret, previous)) = sealed {
            tx.execute(sql::REPLACE_SECRETS, args![secret, previous, key.id.as_str()])
                .await?;
        }
        note(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(Written::Done)
    }

    async fn delete(&self, id: &AccessKeyId, version: i64, audit: AuditEvent) -> StoreResult<Written> {
        let mut tx = self.db.begin().await?;
        tx.execute(statements::BUMP_REVISION, args![]).await?;
        if tx.execute(sql::DELETE, args![id.as_str(), version]).await? != 1 {
            return Ok(Written::Conflict);
        }
        note(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(Written::Done)
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

    async fn end(&self, whose: &Ended, before: i64) -> StoreResult<u64> {
        // A revocation counts whole seconds, the one that it names included.
        let end = Timestamp::from_seconds(before.saturating_add(1)).as_micros();
        let mut tx = self.db.begin().await?;
        tx.execute(statements::BUMP_REVISION, args![]).await?;
        let ended = match whose {
            Ended::Client(id) => {
                let args = args![false, id.as_str(), true, end];
                tx.execute(sql::END_OF_CLIENT, args).await?
            }
            Ended::Subject(sub) => {
                let args = args![false, sub.as_str(), sub.as_str(), true, end];
                tx.execute(sql::END_OF_SUBJECT, args).await?
            }
        };
        // Most revocations concern nobody with a key: then nothing changes, the revision neither.
        if ended > 0 {
            tx.commit().await?;
        }
        Ok(ended)
    }
}
