//! Writes about clients, people and what they belong to.
//!
//! An upsert is an INSERT that yields to an existing row, then, if there was one, an UPDATE that matches only when a value
//! differs: its count tells created, updated and unchanged apart, and an unchanged row is not written.

use std::collections::BTreeSet;

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::dialect::{ADD_ROLE_MENUS, ADD_USER_ROLES, KEEP_ITEMS, KEEP_ROLE_MENUS, KEEP_USER_ROLES};
use super::{SqlTx, clients, limits, stored, users};
use crate::domain::client::{Client, ClientSecret, ClientStatus};
use crate::domain::directory::{Dictionary, Menu, Org, Role, Tenant};
use crate::domain::ids::{ClientId, OrgId, RoleName, TenantId, UserId};
use crate::domain::user::{PasswordHash, User, UserStatus};
use crate::ports::store::{DirectoryWrites, StoreResult, Upserted};

const INSERT_TENANT: Sql = sql!(
    "INSERT INTO tenant (id, name, enabled, created_at, updated_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
);
const UPDATE_TENANT: Sql =
    sql!("UPDATE tenant SET name = ?, enabled = ?, updated_at = ? WHERE id = ? AND (name <> ? OR enabled <> ?)");

const INSERT_ORG: Sql = sql!(
    "INSERT INTO org (tenant, id, name, parent, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?) \
     ON CONFLICT (tenant, id) DO NOTHING"
);
const UPDATE_ORG: Sql = sql!(
    "UPDATE org SET name = ?, parent = ?, updated_at = ? WHERE tenant = ? AND id = ? \
     AND (name <> ? OR parent IS DISTINCT FROM ?)"
);

const INSERT_MENU: Sql = sql!(
    "INSERT INTO menu (tenant, id, title, parent, path, permission, position, created_at, updated_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING"
);
const UPDATE_MENU: Sql = sql!(
    "UPDATE menu SET title = ?, parent = ?, path = ?, permission = ?, position = ?, updated_at = ? \
     WHERE tenant = ? AND id = ? AND (title <> ? OR parent IS DISTINCT FROM ? OR path IS DISTINCT FROM ? \
     OR permission IS DISTINCT FROM ? OR position <> ?)"
);

const INSERT_ROLE: Sql = sql!(
    "INSERT INTO role (tenant, name, description, permissions, data_permission, data_orgs, created_at, updated_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, name) DO NOTHING"
);
const UPDATE_ROLE: Sql = sql!(
    "UPDATE role SET description = ?, permissions = ?, data_permission = ?, data_orgs = ?, updated_at = ? \
     WHERE tenant = ? AND name = ? \
     AND (description <> ? OR permissions <> ? OR data_permission <> ? OR data_orgs <> ?)"
);
const TOUCH_ROLE: Sql = sql!("UPDATE role SET updated_at = ? WHERE tenant = ? AND name = ?");
const ROLE_NAMES: Sql = sql!("SELECT name FROM role WHERE tenant = ?");

const INSERT_DICTIONARY: Sql = sql!(
    "INSERT INTO dictionary (tenant, name, description, created_at, updated_at) VALUES (?, ?, ?, ?, ?) \
     ON CONFLICT (tenant, name) DO NOTHING"
);
const UPDATE_DICTIONARY: Sql =
    sql!("UPDATE dictionary SET description = ?, updated_at = ? WHERE tenant = ? AND name = ? AND description <> ?");
const TOUCH_DICTIONARY: Sql = sql!("UPDATE dictionary SET updated_at = ? WHERE tenant = ? AND name = ?");
const INSERT_ITEM: Sql = sql!(
    "INSERT INTO dictionary_item (tenant, dictionary, item_key, label, position) VALUES (?, ?, ?, ?, ?) \
     ON CONFLICT (tenant, dictionary, item_key) DO NOTHING"
);
const UPDATE_ITEM: Sql = sql!(
    "UPDATE dictionary_item SET label = ?, position = ? WHERE tenant = ? AND dictionary = ? AND item_key = ? \
     AND (label <> ? OR position <> ?)"
);

impl SqlTx {
    /// Runs `insert` with `key`, `values` and both times; if the row exists, `update` with `values`, the time, `key` and
    /// `values` again.
    async fn upsert<const K: usize, const V: usize>(
        &mut self,
        (insert, update): (Sql, Sql),
        key: [Arg; K],
        values: [Arg; V],
        at: Timestamp,
    ) -> StoreResult<Upserted> {
        let at = Arg::from(at.as_micros());
        let times = [at.clone(), at.clone()];
        let args = key.clone().into_iter().chain(values.clone()).chain(times);
        if self.tx.execute(insert, args).await? == 1 {
            return Ok(Upserted::Created);
        }
        let args = values.clone().into_iter().chain([at]).chain(key).chain(values);
        let changed = self.tx.execute(update, args).await?;
        Ok(if changed == 1 {
            Upserted::Updated
        } else {
            Upserted::Unchanged
        })
    }

    /// What became of a row together with `parts` changed rows that belong to it; notes the change if only they changed.
    async fn with_parts<const N: usize>(
        &mut self,
        row: Upserted,
        parts: u64,
        touch: (Sql, [Arg; N]),
    ) -> StoreResult<Upserted> {
        if row != Upserted::Unchanged || parts == 0 {
            return Ok(row);
        }
        self.tx.execute(touch.0, touch.1).await?;
        Ok(Upserted::Updated)
    }
}

#[async_trait]
impl DirectoryWrites for SqlTx {
    async fn upsert_tenant(&mut self, tenant: &Tenant, at: Timestamp) -> StoreResult<Upserted> {
        let values = args![tenant.name.as_str(), tenant.enabled];
        self.upsert((INSERT_TENANT, UPDATE_TENANT), args![tenant.id.as_str()], values, at)
            .await
    }

    async fn upsert_org(&mut self, org: &Org, at: Timestamp) -> StoreResult<Upserted> {
        let key = args![org.tenant.as_str(), org.id.as_str()];
        let values = args![org.name.as_str(), org.parent.as_ref().map(OrgId::as_str)];
        self.upsert((INSERT_ORG, UPDATE_ORG), key, values, at).await
    }

    async fn upsert_menu(&mut self, menu: &Menu, at: Timestamp) -> StoreResult<Upserted> {
        let key = args![menu.tenant.as_str(), menu.id.as_str()];
        let values = args![
            menu.title.as_str(),
            menu.parent.as_deref(),
            menu.path.as_deref(),
            menu.permission.as_deref(),
            menu.position,
        ];
        self.upsert((INSERT_MENU, UPDATE_MENU), key, values, at).await
    }

    async fn upsert_role(&mut self, role: &Role, at: Timestamp) -> StoreResult<Upserted> {
        let key = args![role.tenant.as_str(), role.name.as_str()];
        let values = args![
            role.description.as_str(),
            stored::json(&role.permissions)?,
            stored::word(&role.data_permission)?,
            stored::json(&role.data_orgs)?,
        ];
        let row = self.upsert((INSERT_ROLE, UPDATE_ROLE), key.clone(), values, at).await?;
        let wanted = [Arg::from(stored::json(&role.menus)?)];
        let parts = self
            .tx
            .execute(KEEP_ROLE_MENUS, key.clone().into_iter().chain(wanted.clone()))
            .await?
            + self
                .tx
                .execute(ADD_ROLE_MENUS, key.clone().into_iter().chain(wanted))
                .await?;
        let [tenant, name] = key;
        self.with_parts(row, parts, (TOUCH_ROLE, [Arg::from(at.as_micros()), tenant, name]))
            .await
    }

    async fn role_names(&mut self, tenant: &TenantId) -> StoreResult<BTreeSet<RoleName>> {
        let rows: Vec<(String,)> = self.tx.all(ROLE_NAMES, args![tenant.as_str()]).await?;
        Ok(rows.into_iter().map(|(name,)| RoleName::new(name)).collect())
    }

    async fn upsert_dictionary(&mut self, dictionary: &Dictionary, at: Timestamp) -> StoreResult<Upserted> {
        let key = args![dictionary.tenant.as_str(), dictionary.name.as_str()];
        let values = args![dictionary.description.as_str()];
        let row = self
            .upsert((INSERT_DICTIONARY, UPDATE_DICTIONARY), key.clone(), values, at)
            .await?;
        let wanted: Vec<&str> = dictionary.items.iter().map(|item| item.key.as_str()).collect();
        let wanted = [Arg::from(stored::json(&wanted)?)];
        let mut parts = self
            .tx
            .execute(KEEP_ITEMS, key.clone().into_iter().chain(wanted))
            .await?;
        for item in &dictionary.items {
            let key = key.clone().into_iter().chain(args![item.key.as_str()]);
            let values = args![item.label.as_str(), item.position];
            let created = self.tx.execute(INSERT_ITEM, key.clone().chain(values.clone())).await?;
            if created == 0 {
                parts += self
                    .tx
                    .execute(UPDATE_ITEM, values.clone().into_iter().chain(key).chain(values))
                    .await?;
            }
            parts += created;
        }
        let [tenant, name] = key;
        self.with_parts(
            row,
            parts,
            (TOUCH_DICTIONARY, [Arg::from(at.as_micros()), tenant, name]),
        )
        .await
    }

    async fn upsert_client(&mut self, client: &Client, at: Timestamp) -> StoreResult<Upserted> {
        let key = args![client.client_id.as_str()];
        self.upsert((clients::INSERT, clients::UPDATE), key, clients::values(client)?, at)
            .await
    }

    async fn upsert_user(&mut self, user: &User, at: Timestamp) -> StoreResult<Upserted> {
        let key = args![user.sub.as_str()];
        let row = self
            .upsert((users::INSERT, users::UPDATE), key, users::values(user)?, at)
            .await?;
        let wanted = stored::json(&user.roles)?;
        let parts = self
            .tx
            .execute(KEEP_USER_ROLES, args![user.sub.as_str(), wanted.as_str()])
            .await?
            + self
                .tx
                .execute(ADD_USER_ROLES, args![user.sub.as_str(), user.tenant.as_str(), wanted])
                .await?;
        self.with_parts(row, parts, (users::TOUCH, args![at.as_micros(), user.sub.as_str()]))
            .await
    }

    async fn set_client_secrets(
        &mut self,
        id: &ClientId,
        secrets: &[ClientSecret],
        at: Timestamp,
    ) -> StoreResult<bool> {
        let args = args![stored::json(secrets)?, at.as_micros(), id.as_str()];
        Ok(self.tx.execute(clients::SET_SECRETS, args).await? == 1)
    }

    async fn set_client_status(&mut self, id: &ClientId, status: ClientStatus, at: Timestamp) -> StoreResult<bool> {
        let args = args![clients::status(status)?, at.as_micros(), id.as_str()];
        Ok(self.tx.execute(clients::SET_STATUS, args).await? == 1)
    }

    async fn set_user_status(&mut self, sub: &UserId, status: UserStatus, at: Timestamp) -> StoreResult<bool> {
        let statement = match status {
            UserStatus::Active | UserStatus::Locked => users::SET_STATUS,
            UserStatus::Deleted => users::DELETE,
        };
        let args = args![users::status(status)?, at.as_micros(), sub.as_str()];
        Ok(self.tx.execute(statement, args).await? == 1)
    }

    async fn set_password(&mut self, sub: &UserId, hash: &PasswordHash, at: Timestamp) -> StoreResult<bool> {
        let args = args![hash.0.as_str(), at.as_micros(), sub.as_str()];
        Ok(self.tx.execute(users::SET_PASSWORD, args).await? == 1)
    }

    async fn bump_revision(&mut self) -> StoreResult<i64> {
        self.tx.execute(limits::BUMP, args![]).await?;
        let (value,) = self.tx.one(limits::REVISION, args![]).await?;
        Ok(value)
    }
}
