//! The statements that the engines say differently, side by side.

use sql_kit::{Sql, sql};

/// The columns of an account, its roles as one JSON array.
macro_rules! user {
    (sqlite) => {
        "SELECT u.sub, u.tenant, u.username, u.password_hash, u.org, u.status, u.claims, u.updated_at, \
         (SELECT json_group_array(r.role) FROM user_role r WHERE r.user_sub = u.sub) AS roles FROM users u "
    };
    (postgres) => {
        "SELECT u.sub, u.tenant, u.username, u.password_hash, u.org, u.status, u.claims, u.updated_at, \
         (SELECT COALESCE(json_agg(r.role)::text, '[]') FROM user_role r WHERE r.user_sub = u.sub) AS roles FROM users u "
    };
}

pub(super) const USER_BY_SUB: Sql = sql!(
    sqlite: concat!(user!(sqlite), "WHERE u.sub = ?"),
    postgres: concat!(user!(postgres), "WHERE u.sub = ?"),
);

pub(super) const USER_BY_NAME: Sql = sql!(
    sqlite: concat!(user!(sqlite), "WHERE u.tenant = ? AND u.live_name = ?"),
    postgres: concat!(user!(postgres), "WHERE u.tenant = ? AND u.live_name = ?"),
);

pub(super) const USERS_AFTER: Sql = sql!(
    sqlite: concat!(user!(sqlite), "WHERE u.tenant = ? AND u.live_name > ? ORDER BY u.live_name LIMIT ?"),
    postgres: concat!(user!(postgres), "WHERE u.tenant = ? AND u.live_name > ? ORDER BY u.live_name LIMIT ?"),
);

/// Takes the tenant, the role and the JSON array of menus to keep.
pub(super) const KEEP_ROLE_MENUS: Sql = sql!(
    sqlite: "DELETE FROM role_menu WHERE tenant = ? AND role = ? AND menu NOT IN (SELECT value FROM json_each(?))",
    postgres: "DELETE FROM role_menu WHERE tenant = ? AND role = ? \
        AND menu NOT IN (SELECT jsonb_array_elements_text(CAST(? AS jsonb)))",
);

/// Takes the tenant, the role and the JSON array of menus to have.
pub(super) const ADD_ROLE_MENUS: Sql = sql!(
    sqlite: "INSERT INTO role_menu (tenant, role, menu) SELECT ?, ?, value FROM json_each(?) WHERE TRUE \
        ON CONFLICT (tenant, role, menu) DO NOTHING",
    postgres: "INSERT INTO role_menu (tenant, role, menu) SELECT ?, ?, jsonb_array_elements_text(CAST(? AS jsonb)) \
        ON CONFLICT (tenant, role, menu) DO NOTHING",
);

/// Takes the account and the JSON array of roles to keep.
pub(super) const KEEP_USER_ROLES: Sql = sql!(
    sqlite: "DELETE FROM user_role WHERE user_sub = ? AND role NOT IN (SELECT value FROM json_each(?))",
    postgres: "DELETE FROM user_role WHERE user_sub = ? \
        AND role NOT IN (SELECT jsonb_array_elements_text(CAST(? AS jsonb)))",
);

/// Takes the account, its tenant and the JSON array of roles to have.
pub(super) const ADD_USER_ROLES: Sql = sql!(
    sqlite: "INSERT INTO user_role (user_sub, tenant, role) SELECT ?, ?, value FROM json_each(?) WHERE TRUE \
        ON CONFLICT (user_sub, role) DO NOTHING",
    postgres: "INSERT INTO user_role (user_sub, tenant, role) SELECT ?, ?, jsonb_array_elements_text(CAST(? AS jsonb)) \
        ON CONFLICT (user_sub, role) DO NOTHING",
);

/// Takes the tenant, the dictionary and the JSON array of keys to keep.
pub(super) const KEEP_ITEMS: Sql = sql!(
    sqlite: "DELETE FROM dictionary_item WHERE tenant = ? AND dictionary = ? \
        AND item_key NOT IN (SELECT value FROM json_each(?))",
    postgres: "DELETE FROM dictionary_item WHERE tenant = ? AND dictionary = ? \
        AND item_key NOT IN (SELECT jsonb_array_elements_text(CAST(? AS jsonb)))",
);
