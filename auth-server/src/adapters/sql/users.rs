//! Accounts.

use std::collections::BTreeSet;

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::dialect::{USER_BY_NAME, USER_BY_SUB, USERS_AFTER};
use super::stored::{self, Place};
use crate::domain::ids::{OrgId, TenantId, UserId, Username};
use crate::domain::user::{PasswordHash, User, UserStatus};
use crate::ports::store::{PageRequest, StoreError, StoreResult, Users};

/// A role's own codes come as one JSON array, its menus' codes one by one.
const PERMISSIONS: Sql = sql!(
    "SELECT TRUE AS is_list, r.permissions AS codes FROM user_role u \
     JOIN role r ON r.tenant = u.tenant AND r.name = u.role WHERE u.user_sub = ? \
     UNION ALL \
     SELECT FALSE AS is_list, m.permission AS codes FROM user_role u \
     JOIN role_menu x ON x.tenant = u.tenant AND x.role = u.role \
     JOIN menu m ON m.tenant = x.tenant AND m.id = x.menu WHERE u.user_sub = ? AND m.permission IS NOT NULL"
);

/// Takes the sub, [`values`] and both times.
pub(super) const INSERT: Sql = sql!(
    "INSERT INTO users (sub, tenant, username, live_name, password_hash, org, status, claims, created_at, updated_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sub) DO NOTHING"
);

/// Takes [`values`], the time, the sub and the values again: a row that is as wanted is not touched.
pub(super) const UPDATE: Sql = sql!(
    "UPDATE users SET tenant = ?, username = ?, live_name = ?, password_hash = ?, org = ?, status = ?, claims = ?, \
     updated_at = ? WHERE sub = ? AND (tenant <> ? OR username <> ? OR live_name IS DISTINCT FROM ? \
     OR password_hash IS DISTINCT FROM ? OR org IS DISTINCT FROM ? OR status <> ? OR claims <> ?)"
);

/// Notes a change that touched the account's roles alone.
pub(super) const TOUCH: Sql = sql!("UPDATE users SET updated_at = ? WHERE sub = ?");

pub(super) const SET_PASSWORD: Sql = sql!("UPDATE users SET password_hash = ?, updated_at = ? WHERE sub = ?");
pub(super) const SET_STATUS: Sql =
    sql!("UPDATE users SET status = ?, live_name = username, updated_at = ? WHERE sub = ?");
pub(super) const DELETE: Sql = sql!("UPDATE users SET status = ?, live_name = NULL, updated_at = ? WHERE sub = ?");

#[derive(sqlx::FromRow)]
struct UserRow {
    sub: String,
    tenant: String,
    username: String,
    password_hash: Option<String>,
    org: Option<String>,
    status: String,
    claims: String,
    updated_at: i64,
    roles: String,
}

#[async_trait]
impl Users for SqlStore {
    async fn find_user(&self, sub: &UserId) -> StoreResult<Option<User>> {
        let row: Option<UserRow> = self.db.optional(USER_BY_SUB, args![sub.as_str()]).await?;
        row.map(User::try_from).transpose()
    }

    async fn find_user_by_name(&self, tenant: &TenantId, name: &Username) -> StoreResult<Option<User>> {
        let row: Option<UserRow> = self
            .db
            .optional(USER_BY_NAME, args![tenant.as_str(), name.as_str()])
            .await?;
        row.map(User::try_from).transpose()
    }

    async fn permissions_of(&self, sub: &UserId) -> StoreResult<BTreeSet<String>> {
        let rows: Vec<(bool, String)> = self.db.all(PERMISSIONS, args![sub.as_str(), sub.as_str()]).await?;
        let mut permissions = BTreeSet::new();
        for (is_list, codes) in rows {
            if is_list {
                permissions.extend(Place("role", "permissions").json::<Vec<String>>(&codes)?);
            } else {
                permissions.insert(codes);
            }
        }
        Ok(permissions)
    }

    async fn list_users(&self, tenant: &TenantId, page: PageRequest) -> StoreResult<Vec<User>> {
        let after = page.after.unwrap_or_default();
        let rows: Vec<UserRow> = self
            .db
            .all(USERS_AFTER, args![tenant.as_str(), after, page.limit])
            .await?;
        rows.into_iter().map(User::try_from).collect()
    }
}

/// The account's own columns but `sub`.
pub(super) fn values(user: &User) -> StoreResult<[Arg; 7]> {
    let live_name = (user.status != UserStatus::Deleted).then(|| user.username.as_str());
    Ok(args![
        user.tenant.as_str(),
        user.username.as_str(),
        live_name,
        user.password.as_ref().map(|hash| hash.0.as_str()),
        user.org.as_ref().map(OrgId::as_str),
        status(user.status)?,
        stored::json(&user.claims)?,
    ])
}

pub(super) fn status(status: UserStatus) -> StoreResult<String> {
    stored::word(&status)
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> StoreResult<Self> {
        let at = |column| Place("users", column);
        Ok(Self {
            sub: UserId::new(row.sub),
            tenant: TenantId::new(row.tenant),
            username: Username::parse(&row.username).map_err(|_| at("username").corrupt())?,
            password: row.password_hash.map(PasswordHash),
            org: row.org.map(OrgId::new),
            roles: Place("user_role", "role").json(&row.roles)?,
            status: at("status").word(&row.status)?,
            claims: at("claims").json(&row.claims)?,
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}
