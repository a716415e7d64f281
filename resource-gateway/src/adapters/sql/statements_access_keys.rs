//! Every statement about access keys.

use sql_kit::{Sql, sql};

macro_rules! facts {
    () => {
        "id, client_id, tenant, sub, scopes, interfaces, ip_allow, enabled, previous_until, created_at, rotated_at, changed_at, \
         last_used_at, version"
    };
}

pub(super) const FIND: Sql = sql!(concat!("SELECT ", facts!(), " FROM access_key WHERE id = ?"));
/// `[id]`.
pub(super) const VERSIONS: Sql = sql!(
    sqlite: "SELECT id, version FROM access_key WHERE id IN (SELECT value FROM json_each(?))",
    postgres: "SELECT id, version FROM access_key WHERE id IN \
               (SELECT value FROM json_array_elements_text(CAST(? AS json)))",
);
/// One row, so that both halves are of one version.
pub(super) const FIND_WITH_SECRETS: Sql = sql!(concat!(
    "SELECT ",
    facts!(),
    ", secret, previous_secret FROM access_key WHERE id = ?"
));
/// Parameters that are not wanted are empty texts.
pub(super) const LIST: Sql = sql!(concat!(
    "SELECT ",
    facts!(),
    " FROM access_key WHERE (? OR tenant = ?) AND (? OR client_id = ?) AND id > ? ORDER BY id LIMIT ?"
));
pub(super) const INSERT: Sql = sql!(
    "INSERT INTO access_key (client_id, tenant, sub, scopes, interfaces, ip_allow, enabled, secret, previous_secret, previous_until, \
     created_at, rotated_at, changed_at, version, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
pub(super) const REPLACE: Sql = sql!(
    "UPDATE access_key SET client_id = ?, tenant = ?, sub = ?, scopes = ?, interfaces = ?, ip_allow = ?, enabled = ?, \
     previous_until = ?, rotated_at = ?, changed_at = ?, version = ? WHERE id = ?"
);
/// After [`REPLACE`] in one transaction, so the row is this change's own.
pub(super) const REPLACE_SECRETS: Sql = sql!("UPDATE access_key SET secret = ?, previous_secret = ? WHERE id = ?");
pub(super) const DELETE: Sql = sql!("DELETE FROM access_key WHERE id = ?");
pub(super) const NOTE_USE: Sql =
    sql!("UPDATE access_key SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)");
pub(super) const ENDED_WITH_CLIENT: Sql = sql!(concat!(
    "SELECT ",
    facts!(),
    " FROM access_key WHERE client_id = ? AND enabled = ? AND changed_at < ? ORDER BY id"
));
pub(super) const ENDED_WITH_SUBJECT: Sql = sql!(concat!(
    "SELECT ",
    facts!(),
    " FROM access_key WHERE (sub = ? OR (sub IS NULL AND client_id = ?)) AND enabled = ? AND changed_at < ? ORDER BY id"
));
