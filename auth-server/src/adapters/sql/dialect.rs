//! The statements that the engines say differently, side by side.

use sql_kit::{Sql, sql};

/// The columns of an account but its status, its roles as one JSON array.
macro_rules! user {
    (sqlite) => {
        "SELECT u.sub, u.tenant, u.username, u.password_hash, u.org, u.claims, u.updated_at, \
         (SELECT json_group_array(r.role) FROM user_role r WHERE r.user_sub = u.sub) AS roles, "
    };
    (postgres) => {
        "SELECT u.sub, u.tenant, u.username, u.password_hash, u.org, u.claims, u.updated_at, \
         (SELECT COALESCE(json_agg(r.role)::text, '[]') FROM user_role r WHERE r.user_sub = u.sub) AS roles, "
    };
}

/// The account's status as it counts: nobody of a disabled tenant is active.
macro_rules! from_users {
    () => {
        "CASE WHEN t.enabled OR u.status = 'deleted' THEN u.status ELSE 'locked' END AS status \
         FROM users u LEFT JOIN tenant t ON t.id = u.tenant "
    };
}

/// The account that something new is for, if it may still have that. Takes the account and, twice, the password that was verified
/// (null: none was).
macro_rules! active_account {
    () => {
        "FROM users u JOIN tenant t ON t.id = u.tenant AND t.enabled \
         WHERE u.sub = ? AND u.status = 'active' AND (CAST(? AS TEXT) IS NULL OR u.password_hash = ?)"
    };
}

/// Keeps the account as it was read until the transaction ends: of a sign-in and a lock at the same time either the first finds
/// the second's mark or the second finds the first's row. SQLite has one writer at a time.
macro_rules! hold {
    () => {
        " FOR SHARE OF u"
    };
}

macro_rules! insert_session {
    () => {
        "INSERT INTO session (sid, user_sub, tenant, auth_time, last_seen_at, expires_at, user_agent, address, ends_at) \
         SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? "
    };
}

/// Takes the columns, then as `active_account!` says.
pub(super) const INSERT_SESSION: Sql = sql!(
    sqlite: concat!(insert_session!(), active_account!()),
    postgres: concat!(insert_session!(), active_account!(), hold!()),
);

macro_rules! active_person {
    () => {
        "SELECT u.sub FROM users u JOIN tenant t ON t.id = u.tenant AND t.enabled WHERE u.sub = ? AND u.status = 'active'"
    };
}

/// Takes the account; a row if it is active. Held as in `hold!`, and then still so when the next statement of the transaction looks.
pub(super) const HOLD_PERSON: Sql = sql!(
    sqlite: active_person!(),
    postgres: concat!(active_person!(), hold!()),
);

/// As [`HOLD_PERSON`], and by one transaction at a time: what is counted for the person stays so until it ends.
pub(super) const HOLD_PERSON_ALONE: Sql = sql!(
    sqlite: active_person!(),
    postgres: concat!(active_person!(), " FOR NO KEY UPDATE OF u"),
);

macro_rules! insert_family {
    () => {
        "INSERT INTO refresh_token (grant_id, client_id, tenant, user_sub, sid, scope, auth_time, amr, details, generation, \
         issued_at, rotated_at, idle_expires_at, absolute_expires_at, revoked_at, ends_at) \
         SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? "
    };
}

/// Takes the columns, then as `active_account!` says.
pub(super) const INSERT_FAMILY: Sql = sql!(
    sqlite: concat!(insert_family!(), active_account!()),
    postgres: concat!(insert_family!(), active_account!(), hold!()),
);

macro_rules! insert_sector {
    () => {
        "INSERT INTO subject_sector (user_sub, sector) SELECT u.sub, ? "
    };
}

/// Takes the sector, then as `active_account!` says.
pub(super) const INSERT_SECTOR: Sql = sql!(
    sqlite: concat!(insert_sector!(), active_account!(), " ON CONFLICT DO NOTHING"),
    postgres: concat!(insert_sector!(), active_account!(), hold!(), " ON CONFLICT DO NOTHING"),
);

/// The first place in the order of revocations that a later look may find filled.
pub(super) const REVOCATION_HORIZON: Sql = sql!(
    sqlite: "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'revocation'), 0) + 1",
    postgres: "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)",
);

/// The deliveries that are taken: of those that have waited longest as many as one look goes through, of each client a few.
macro_rules! due_logouts {
    ($busy:literal) => {
        concat!(
            "SELECT id FROM (SELECT id, due_at, ROW_NUMBER() OVER (PARTITION BY client_id ORDER BY due_at) AS place \
             FROM (SELECT id, client_id, due_at FROM logout_delivery WHERE due_at <= ? AND client_id NOT IN (",
            $busy,
            ") ORDER BY due_at LIMIT 1000) AS due) AS placed WHERE place <= ? ORDER BY due_at LIMIT ?"
        )
    };
}

macro_rules! claim_logouts {
    ($ids:expr) => {
        concat!(
            "UPDATE logout_delivery SET due_at = ?, attempts = attempts + 1 WHERE id IN (",
            $ids,
            ") RETURNING sid, client_id, user_sub, attempts, queued_at, ends_at"
        )
    };
}

/// Takes the end of the claim, the moment twice, the JSON array of clients to leave out, how many of one client, and how many. The moment is
/// asked of the locked row, too: another node may have moved it between the look and the lock.
pub(super) const CLAIM_LOGOUTS: Sql = sql!(
    sqlite: claim_logouts!(concat!(
        "SELECT id FROM logout_delivery WHERE due_at <= ? AND id IN (",
        due_logouts!("SELECT value FROM json_each(?)"),
        ")"
    )),
    postgres: claim_logouts!(concat!(
        "SELECT id FROM logout_delivery WHERE due_at <= ? AND id IN (",
        due_logouts!("SELECT jsonb_array_elements_text(CAST(? AS jsonb))"),
        ") FOR UPDATE SKIP LOCKED"
    )),
);

macro_rules! due_pings {
    ($busy:literal) => {
        concat!(
            "SELECT digest FROM (SELECT digest, ping_due_at, ROW_NUMBER() OVER (PARTITION BY client_id ORDER BY ping_due_at) AS place \
             FROM (SELECT digest, client_id, ping_due_at FROM decoupled_request WHERE ping_due_at <= ? AND expires_at > ? \
             AND client_id NOT IN (",
            $busy,
            ") ORDER BY ping_due_at LIMIT 1000) AS due) AS placed WHERE place <= ? ORDER BY ping_due_at LIMIT ?"
        )
    };
}

macro_rules! claim_pings {
    ($digests:expr) => {
        concat!(
            "UPDATE decoupled_request SET ping_due_at = ?, ping_attempts = ping_attempts + 1 WHERE digest IN (",
            $digests,
            ") RETURNING digest, client_id, ping, ping_attempts, expires_at"
        )
    };
}

/// Takes the end of the claim, the moment three times, the JSON array of clients to leave out, how many of one client, and how many. As in
/// [`CLAIM_LOGOUTS`] the moment is asked of the locked row, too.
pub(super) const CLAIM_PINGS: Sql = sql!(
    sqlite: claim_pings!(concat!(
        "SELECT digest FROM decoupled_request WHERE ping_due_at <= ? AND digest IN (",
        due_pings!("SELECT value FROM json_each(?)"),
        ")"
    )),
    postgres: claim_pings!(concat!(
        "SELECT digest FROM decoupled_request WHERE ping_due_at <= ? AND digest IN (",
        due_pings!("SELECT jsonb_array_elements_text(CAST(? AS jsonb))"),
        ") FOR UPDATE SKIP LOCKED"
    )),
);

pub(super) const USER_BY_SUB: Sql = sql!(
    sqlite: concat!(user!(sqlite), from_users!(), "WHERE u.sub = ?"),
    postgres: concat!(user!(postgres), from_users!(), "WHERE u.sub = ?"),
);

pub(super) const USER_BY_NAME: Sql = sql!(
    sqlite: concat!(user!(sqlite), from_users!(), "WHERE u.tenant = ? AND u.live_name = ?"),
    postgres: concat!(user!(postgres), from_users!(), "WHERE u.tenant = ? AND u.live_name = ?"),
);

/// What an operator sees: the account's own status.
pub(super) const USERS_AFTER: Sql = sql!(
    sqlite: concat!(user!(sqlite), "u.status FROM users u WHERE u.tenant = ? AND u.live_name > ? ORDER BY u.live_name LIMIT ?"),
    postgres: concat!(user!(postgres), "u.status FROM users u WHERE u.tenant = ? AND u.live_name > ? ORDER BY u.live_name LIMIT ?"),
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
