//! Every statement.

use sql_kit::{Sql, sql};

pub(super) const REVISION: Sql = sql!("SELECT revision FROM config_revision WHERE name = 'gateway'");
/// Changes nothing but holds the row: of several changes at once one goes on.
pub(super) const LOCK_REVISION: Sql = sql!("UPDATE config_revision SET revision = revision WHERE name = 'gateway'");
pub(super) const BUMP_REVISION: Sql = sql!("UPDATE config_revision SET revision = revision + 1 WHERE name = 'gateway'");

/// One when anything is sealed by the master key.
pub(super) const COUNT_SEALED: Sql = sql!(
    "SELECT COUNT(*) FROM config_revision WHERE name = 'gateway' AND (EXISTS (SELECT 1 FROM vendor WHERE secret_key IS NOT NULL) \
     OR EXISTS (SELECT 1 FROM access_key) OR EXISTS (SELECT 1 FROM job) OR EXISTS (SELECT 1 FROM message))"
);

pub(super) const VENDORS: Sql = sql!(
    "SELECT vendor.name, vendor.strategy, vendor.enabled, vendor.base_url, vendor.app_id, vendor.secret_id, \
     vendor.secret_key, vendor.policy, pool.strategy AS pool_strategy FROM vendor LEFT JOIN pool ON pool.vendor = vendor.name \
     ORDER BY vendor.name"
);
pub(super) const ADDRESSES: Sql = sql!("SELECT vendor, url, weight FROM pool_address ORDER BY vendor, position");
pub(super) const INTERFACES: Sql = sql!(
    "SELECT name, capability, enabled, connect_ms, first_byte_ms, idle_ms, total_ms, log_metadata, policy FROM interface \
     ORDER BY name"
);
pub(super) const ROUTES: Sql =
    sql!("SELECT interface, vendor, model, weight, priority FROM interface_route ORDER BY interface, position");
pub(super) const FIELDS: Sql = sql!(
    "SELECT interface, name, value, enabled, allow_override, forbidden FROM interface_field \
     ORDER BY interface, position"
);

pub(super) const INSERT_VENDOR: Sql = sql!(
    "INSERT INTO vendor (strategy, enabled, base_url, app_id, secret_id, secret_key, policy, name) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
);
pub(super) const UPDATE_VENDOR: Sql = sql!(
    "UPDATE vendor SET strategy = ?, enabled = ?, base_url = ?, app_id = ?, secret_id = ?, secret_key = ?, \
     policy = ? WHERE name = ?"
);
pub(super) const DELETE_POOL: Sql = sql!("DELETE FROM pool WHERE vendor = ?");
pub(super) const INSERT_POOL: Sql = sql!("INSERT INTO pool (vendor, strategy) VALUES (?, ?)");
pub(super) const DELETE_ADDRESSES: Sql = sql!("DELETE FROM pool_address WHERE vendor = ?");
pub(super) const INSERT_ADDRESS: Sql =
    sql!("INSERT INTO pool_address (vendor, position, url, weight) VALUES (?, ?, ?, ?)");

pub(super) const INSERT_INTERFACE: Sql = sql!(
    "INSERT INTO interface (capability, enabled, connect_ms, first_byte_ms, idle_ms, total_ms, log_metadata, policy, \
     name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
pub(super) const UPDATE_INTERFACE: Sql = sql!(
    "UPDATE interface SET capability = ?, enabled = ?, connect_ms = ?, first_byte_ms = ?, idle_ms = ?, total_ms = ?, \
     log_metadata = ?, policy = ? WHERE name = ?"
);
pub(super) const DELETE_ROUTES: Sql = sql!("DELETE FROM interface_route WHERE interface = ?");
pub(super) const INSERT_ROUTE: Sql = sql!(
    "INSERT INTO interface_route (interface, position, vendor, model, weight, priority) VALUES (?, ?, ?, ?, ?, ?)"
);
pub(super) const DELETE_FIELDS: Sql = sql!("DELETE FROM interface_field WHERE interface = ?");
pub(super) const INSERT_FIELD: Sql = sql!(
    "INSERT INTO interface_field (interface, position, name, value, enabled, allow_override, forbidden) \
     VALUES (?, ?, ?, ?, ?, ?, ?)"
);

/// Routes, fields, pool and addresses go with their rows.
pub(super) const DELETE_VENDOR: Sql = sql!("DELETE FROM vendor WHERE name = ?");
pub(super) const DELETE_INTERFACE: Sql = sql!("DELETE FROM interface WHERE name = ?");

pub(super) const VERSION: Sql = sql!("SELECT revision FROM config_version WHERE kind = ? AND name = ?");
pub(super) const INSERT_VERSION: Sql = sql!("INSERT INTO config_version (revision, kind, name) VALUES (?, ?, ?)");
pub(super) const UPDATE_VERSION: Sql = sql!("UPDATE config_version SET revision = ? WHERE kind = ? AND name = ?");
pub(super) const DELETE_VERSION: Sql = sql!("DELETE FROM config_version WHERE kind = ? AND name = ?");
pub(super) const VENDOR_EXISTS: Sql = sql!("SELECT COUNT(*) FROM vendor WHERE name = ?");
pub(super) const INTERFACE_EXISTS: Sql = sql!("SELECT COUNT(*) FROM interface WHERE name = ?");

macro_rules! audit_columns {
    () => {
        "revision, position, time, sub, client_id, tenant, request_id, action, kind, name, row_tenant, before_form, \
         after_form, secret_changed"
    };
}

pub(super) const INSERT_AUDIT: Sql = sql!(concat!(
    "INSERT INTO audit_event (",
    audit_columns!(),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
));
/// The newest first; a null tenant is every tenant.
pub(super) const AUDIT_BEFORE: Sql = sql!(concat!(
    "SELECT ",
    audit_columns!(),
    " FROM audit_event WHERE (revision < ? OR (revision = ? AND position < ?)) AND (? OR row_tenant = ?) \
     ORDER BY revision DESC, position DESC LIMIT ?"
));

pub(super) const PRICES: Sql = sql!("SELECT name, form FROM price ORDER BY name");
pub(super) const PRICE_EXISTS: Sql = sql!("SELECT COUNT(*) FROM price WHERE name = ?");
pub(super) const INSERT_PRICE: Sql = sql!("INSERT INTO price (form, name) VALUES (?, ?)");
pub(super) const UPDATE_PRICE: Sql = sql!("UPDATE price SET form = ? WHERE name = ?");
pub(super) const DELETE_PRICE: Sql = sql!("DELETE FROM price WHERE name = ?");
pub(super) const BUDGETS: Sql = sql!("SELECT name, form FROM budget ORDER BY name");
pub(super) const BUDGET_EXISTS: Sql = sql!("SELECT COUNT(*) FROM budget WHERE name = ?");
pub(super) const INSERT_BUDGET: Sql = sql!("INSERT INTO budget (form, name) VALUES (?, ?)");
pub(super) const UPDATE_BUDGET: Sql = sql!("UPDATE budget SET form = ? WHERE name = ?");
pub(super) const DELETE_BUDGET: Sql = sql!("DELETE FROM budget WHERE name = ?");

macro_rules! usage_columns {
    () => {
        "request_id, time, tenant, client_id, sub, interface, capability, vendor, model, state, stream, input_tokens, \
         output_tokens, cached_input_tokens, reasoning_tokens, estimated, attempts, duration_ms, first_byte_ms, \
         images, audio_ms, characters, cost, currency, price, access_key"
    };
}

/// Whether records could be inserted, without inserting any.
pub(super) const TRY_USAGE: Sql = sql!(concat!(
    "INSERT INTO usage_record (",
    usage_columns!(),
    ") SELECT ",
    usage_columns!(),
    " FROM usage_record WHERE 1 = 0"
));

/// A whole batch in one statement, in the order of the key, so that two gateways that replay the same records cannot block each
/// other. Records of older versions lack the newer members.
macro_rules! insert_usage_batch {
    ($answer:literal) => {
        sql!(concat!(
        "INSERT INTO usage_record (", usage_columns!(), ") SELECT request_id, time, tenant, client_id, sub, interface, capability, \
         vendor, model, state, stream, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, estimated, attempts, \
         duration_ms, first_byte_ms, COALESCE(images, 0), COALESCE(audio_ms, 0), COALESCE(characters, 0), cost, currency, price, \
         access_key FROM json_to_recordset(CAST(? AS json)) \
         AS batch (request_id text, time bigint, tenant text, client_id text, sub text, interface text, capability text, \
         vendor text, model text, state text, stream boolean, input_tokens bigint, output_tokens bigint, \
         cached_input_tokens bigint, reasoning_tokens bigint, estimated boolean, attempts bigint, duration_ms bigint, \
         first_byte_ms bigint, images bigint, audio_ms bigint, characters bigint, cost bigint, currency text, price text, \
         access_key text) ORDER BY request_id ON CONFLICT (request_id) DO NOTHING", $answer
        ))
    };
}

/// For PostgreSQL, which reads JSON well.
pub(super) const INSERT_USAGE_BATCH: Sql = insert_usage_batch!("");
/// Answers the requests whose records were not there yet.
pub(super) const INSERT_USAGE_BATCH_NEW: Sql = insert_usage_batch!(" RETURNING request_id");

macro_rules! usage_row {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
}

macro_rules! four_times {
    ($rows:expr) => {
        concat!($rows, ", ", $rows, ", ", $rows, ", ", $rows)
    };
}

macro_rules! insert_usage_rows {
    ($rows:expr) => {
        sql!(concat!(
            "INSERT INTO usage_record (",
            usage_columns!(),
            ") VALUES ",
            $rows,
            " ON CONFLICT (request_id) DO NOTHING"
        ))
    };
}

pub(super) const INSERT_USAGE_ROW: Sql = insert_usage_rows!(usage_row!());
/// For SQLite, to which a row of parameters is half the work of one of JSON: statements by the number of their rows.
pub(super) const INSERT_USAGE_ROWS: [(usize, Sql); 4] = [
    (
        32,
        insert_usage_rows!(concat!(
            four_times!(four_times!(usage_row!())),
            ", ",
            four_times!(four_times!(usage_row!()))
        )),
    ),
    (16, insert_usage_rows!(four_times!(four_times!(usage_row!())))),
    (4, insert_usage_rows!(four_times!(usage_row!()))),
    (1, INSERT_USAGE_ROW),
];

macro_rules! payload_columns {
    () => {
        "request_id, time, tenant, client_id, sub, interface, state, request, request_bytes, request_cut, reply, \
         reply_bytes, reply_cut"
    };
}

pub(super) const INSERT_PAYLOAD: Sql = sql!(concat!(
    "INSERT INTO call_payload (",
    payload_columns!(),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING"
));
pub(super) const PAYLOADS_BEFORE: Sql = sql!(concat!(
    "SELECT ",
    payload_columns!(),
    " FROM call_payload WHERE (time < ? OR (time = ? AND request_id < ?)) AND (? OR tenant = ?) AND (? OR request_id = ?) \
     AND (? OR interface = ?) AND (? OR client_id = ?) ORDER BY time DESC, request_id DESC LIMIT ?"
));
pub(super) const FORGET_PAYLOADS: Sql = sql!(
    "DELETE FROM call_payload WHERE request_id IN \
     (SELECT request_id FROM call_payload WHERE time < ? ORDER BY time LIMIT ?)"
);
