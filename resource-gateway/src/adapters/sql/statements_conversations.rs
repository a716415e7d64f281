//! Statements about conversations and their messages.

use sql_kit::{Sql, sql};

macro_rules! columns {
    () => {
        "id, interface, created_at, changed_at, length"
    };
}

macro_rules! owned {
    () => {
        "tenant = ? AND client_id = ? AND sub = ?"
    };
}

pub(super) const INSERT: Sql = sql!(
    "INSERT INTO conversation (id, tenant, client_id, sub, interface, created_at, changed_at, keep_until, length, held_by, held_until) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
/// One of several at once changes the row; the others find it held.
pub(super) const HOLD: Sql = sql!(concat!(
    "UPDATE conversation SET held_by = ?, held_until = ? WHERE id = ? AND ",
    owned!(),
    " AND interface = ? AND keep_until > ? AND (held_by IS NULL OR held_until <= ?)"
));
pub(super) const FIND: Sql = sql!(concat!(
    "SELECT ",
    columns!(),
    " FROM conversation WHERE id = ? AND ",
    owned!(),
    " AND keep_until > ?"
));
pub(super) const GROW: Sql = sql!(
    "UPDATE conversation SET length = length + ?, changed_at = ?, keep_until = ?, held_by = NULL, held_until = 0 \
     WHERE id = ? AND held_by = ? AND length = ?"
);
pub(super) const INSERT_MESSAGE: Sql = sql!(
    "INSERT INTO message (conversation, number, role, body, bytes, tokens, time, request_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
);
pub(super) const DELETE_EMPTY: Sql = sql!("DELETE FROM conversation WHERE id = ? AND held_by = ? AND length = 0");
pub(super) const RELEASE: Sql =
    sql!("UPDATE conversation SET held_by = NULL, held_until = 0 WHERE id = ? AND held_by = ?");

pub(super) const NEWEST: Sql =
    sql!("SELECT number, role, bytes, tokens FROM message WHERE conversation = ? ORDER BY number DESC LIMIT ?");
pub(super) const NEWEST_SYSTEM: Sql = sql!(
    "SELECT number, role, bytes, tokens FROM message WHERE conversation = ? AND role = 'system' ORDER BY number DESC LIMIT ?"
);
pub(super) const READ: Sql = sql!(
    "SELECT number, body, time, request_id FROM message WHERE conversation = ? \
     AND (number >= ? OR (role = 'system' AND number >= ?)) ORDER BY number"
);
/// Empty ones are about to be, or were never.
pub(super) const LIST: Sql = sql!(concat!(
    "SELECT ",
    columns!(),
    " FROM conversation WHERE ",
    owned!(),
    " AND keep_until > ? AND length > 0 AND (created_at < ? OR (created_at = ? AND id < ?)) \
     ORDER BY created_at DESC, id DESC LIMIT ?"
));
pub(super) const SIZES_BEHIND: Sql = sql!(
    "SELECT number, role, bytes, tokens FROM message WHERE conversation = ? AND number > ? ORDER BY number LIMIT ?"
);
pub(super) const BETWEEN: Sql = sql!(
    "SELECT number, body, time, request_id FROM message WHERE conversation = ? AND number > ? AND number <= ? ORDER BY number"
);
/// The messages go along.
pub(super) const DELETE: Sql = sql!(concat!("DELETE FROM conversation WHERE id = ? AND ", owned!()));
pub(super) const FORGET_MESSAGES: Sql = sql!(
    "DELETE FROM message WHERE (conversation, number) IN (SELECT message.conversation, message.number FROM message \
     JOIN conversation ON conversation.id = message.conversation WHERE conversation.keep_until <= ? LIMIT ?)"
);
pub(super) const FORGET_EMPTY: Sql = sql!(
    "DELETE FROM conversation WHERE id IN (SELECT id FROM conversation WHERE keep_until <= ? \
     AND NOT EXISTS (SELECT 1 FROM message WHERE message.conversation = conversation.id) ORDER BY keep_until LIMIT ?)"
);
