//! Every statement of the budget ledger.

use sql_kit::{Sql, sql};

pub(super) const OPEN_PERIOD: Sql = sql!(
    "INSERT INTO budget_period (budget_key, period_start, budget, updated_at) VALUES (?, ?, ?, ?) \
     ON CONFLICT (budget_key, period_start) DO NOTHING"
);
/// Whoever changes a period or its leases holds this row until the transaction ends.
pub(super) const LOCK_PERIOD: Sql = sql!(
    sqlite: "SELECT spent, held, folded FROM budget_period WHERE budget_key = ? AND period_start = ?",
    postgres: "SELECT spent, held, folded FROM budget_period WHERE budget_key = ? AND period_start = ? FOR UPDATE",
);
pub(super) const SET_PERIOD: Sql =
    sql!("UPDATE budget_period SET spent = ?, held = ?, updated_at = ? WHERE budget_key = ? AND period_start = ?");
/// Moves of leases: not a change of what was spent.
pub(super) const SET_HELD: Sql = sql!("UPDATE budget_period SET held = ? WHERE budget_key = ? AND period_start = ?");
pub(super) const RECALL: Sql =
    sql!("UPDATE budget_period SET recalled_at = ? WHERE budget_key = ? AND period_start = ? AND recalled_at < ?");
pub(super) const RECALLED: Sql = sql!(
    "SELECT budget_period.budget_key, budget_period.period_start, budget_period.budget, budget_period.recalled_at \
     FROM budget_lease JOIN budget_period ON budget_period.budget_key = budget_lease.budget_key \
     AND budget_period.period_start = budget_lease.period_start \
     WHERE budget_lease.node = ? AND budget_lease.held > 0 AND budget_period.recalled_at > ? \
     ORDER BY budget_period.recalled_at LIMIT 1000"
);

pub(super) const LEASE: Sql =
    sql!("SELECT held, charged FROM budget_lease WHERE node = ? AND budget_key = ? AND period_start = ?");
pub(super) const PUT_LEASE: Sql = sql!(
    "INSERT INTO budget_lease (node, budget_key, period_start, held, charged, seen_at) VALUES (?, ?, ?, ?, ?, ?) \
     ON CONFLICT (node, budget_key, period_start) DO UPDATE SET held = excluded.held, charged = excluded.charged, \
     seen_at = excluded.seen_at"
);
pub(super) const SET_LEASE: Sql =
    sql!("UPDATE budget_lease SET held = ? WHERE node = ? AND budget_key = ? AND period_start = ?");
pub(super) const DROP_LEASE: Sql =
    sql!("DELETE FROM budget_lease WHERE node = ? AND budget_key = ? AND period_start = ?");
pub(super) const DROP_EMPTY_LEASE: Sql =
    sql!("DELETE FROM budget_lease WHERE node = ? AND budget_key = ? AND period_start = ? AND held <= 0");
pub(super) const KEEP_ALIVE: Sql = sql!("UPDATE budget_lease SET seen_at = ? WHERE node = ? AND seen_at < ?");
pub(super) const LEASES_OF_NODE: Sql = sql!(
    "SELECT node, budget_key, period_start FROM budget_lease WHERE node = ? ORDER BY budget_key, period_start LIMIT ?"
);
pub(super) const STALE_LEASES: Sql = sql!(
    "SELECT node, budget_key, period_start FROM budget_lease WHERE seen_at < ? \
     ORDER BY budget_key, period_start, node LIMIT ?"
);
pub(super) const STALE_LEASE: Sql =
    sql!("SELECT seen_at FROM budget_lease WHERE node = ? AND budget_key = ? AND period_start = ?");

macro_rules! account_columns {
    () => {
        "budget_key, period_start, budget, spent, held, updated_at"
    };
}
pub(super) const ACCOUNT: Sql = sql!(concat!(
    "SELECT ",
    account_columns!(),
    " FROM budget_period WHERE budget_key = ? AND period_start = ?"
));
pub(super) const CHANGED_ACCOUNTS: Sql = sql!(concat!(
    "SELECT ",
    account_columns!(),
    " FROM budget_period WHERE updated_at >= ? ORDER BY updated_at, budget_key, period_start LIMIT ?"
));
pub(super) const ACCOUNTS_OF: Sql = sql!(concat!(
    "SELECT ",
    account_columns!(),
    " FROM budget_period WHERE budget = ? AND period_start = ? AND budget_key > ? ORDER BY budget_key LIMIT ?"
));
/// A budget's sum for all times begins at 0 and is never forgotten. Those with charges stay, too.
pub(super) const FORGET_ACCOUNTS: Sql = sql!(
    "DELETE FROM budget_period WHERE (budget_key, period_start) IN \
     (SELECT budget_key, period_start FROM budget_period WHERE (budget IS NULL OR period_start > 0) AND held = 0 AND updated_at < ? \
     AND NOT EXISTS (SELECT 1 FROM budget_charge WHERE budget_charge.budget_key = budget_period.budget_key \
     AND budget_charge.period_start = budget_period.period_start) ORDER BY updated_at LIMIT ?)"
);
pub(super) const FORGET_NOTICES: Sql = sql!(
    "DELETE FROM budget_notice WHERE (budget_key, period_start, share) IN \
     (SELECT budget_key, period_start, share FROM budget_notice WHERE period_start > 0 AND time < ? ORDER BY time LIMIT ?)"
);

/// `[{key, period, request_id, requests, amount, time}]`.
pub(super) const INSERT_CHARGES: Sql = sql!(
    sqlite: "INSERT INTO budget_charge (budget_key, period_start, request_id, requests, amount, time) \
             SELECT value->>'key', value->>'period', value->>'request_id', value->>'requests', value->>'amount', \
             value->>'time' FROM json_each(?)",
    postgres: "INSERT INTO budget_charge (budget_key, period_start, request_id, requests, amount, time) \
               SELECT key, period, request_id, requests, amount, time FROM json_to_recordset(CAST(? AS json)) \
               AS charge (key text, period bigint, request_id text, requests bigint, amount bigint, time bigint)",
);
/// `[{key, period, budget}]`, in order.
pub(super) const OPEN_PERIODS: Sql = sql!(
    sqlite: "INSERT INTO budget_period (budget_key, period_start, budget, updated_at) \
             SELECT value->>'key', value->>'period', value->>'budget', ? FROM json_each(?) WHERE true \
             ON CONFLICT (budget_key, period_start) DO NOTHING",
    postgres: "INSERT INTO budget_period (budget_key, period_start, budget, updated_at) \
               SELECT key, period, budget, CAST(? AS bigint) FROM json_to_recordset(CAST(? AS json)) \
               AS account (key text, period bigint, budget text) ORDER BY key, period \
               ON CONFLICT (budget_key, period_start) DO NOTHING",
);
pub(super) const LOCK_PERIODS: Sql = sql!(
    sqlite: "SELECT budget_key, period_start, spent, held FROM budget_period WHERE (budget_key, period_start) IN \
             (SELECT value->>'key', value->>'period' FROM json_each(?))",
    postgres: "SELECT budget_key, period_start, spent, held FROM budget_period WHERE (budget_key, period_start) IN \
               (SELECT key, period FROM json_to_recordset(CAST(? AS json)) AS account (key text, period bigint)) \
               ORDER BY budget_key, period_start FOR UPDATE",
);
/// `[{node, key, period}]`.
pub(super) const LEASES: Sql = sql!(
    sqlite: "SELECT node, budget_key, period_start, held, charged FROM budget_lease WHERE (node, budget_key, period_start) IN \
             (SELECT value->>'node', value->>'key', value->>'period' FROM json_each(?))",
    postgres: "SELECT node, budget_key, period_start, held, charged FROM budget_lease WHERE (node, budget_key, period_start) IN \
               (SELECT node, key, period FROM json_to_recordset(CAST(? AS json)) \
               AS lease (node text, key text, period bigint))",
);
/// `[{key, period, spent, held}]`.
pub(super) const SET_PERIODS: Sql = sql!(
    sqlite: "UPDATE budget_period SET spent = account.value->>'spent', held = account.value->>'held', updated_at = ? \
             FROM json_each(?) AS account WHERE budget_key = account.value->>'key' AND period_start = account.value->>'period'",
    postgres: "UPDATE budget_period SET spent = account.spent, held = account.held, updated_at = CAST(? AS bigint) \
               FROM json_to_recordset(CAST(? AS json)) AS account (key text, period bigint, spent bigint, held bigint) \
               WHERE budget_key = account.key AND period_start = account.period",
);
/// `[{node, key, period, held, charged}]`.
pub(super) const SET_LEASES: Sql = sql!(
    sqlite: "UPDATE budget_lease SET held = lease.value->>'held', charged = lease.value->>'charged' \
             FROM json_each(?) AS lease WHERE node = lease.value->>'node' AND budget_key = lease.value->>'key' \
             AND period_start = lease.value->>'period'",
    postgres: "UPDATE budget_lease SET held = lease.held, charged = lease.charged \
               FROM json_to_recordset(CAST(? AS json)) AS lease (node text, key text, period bigint, held bigint, charged bigint) \
               WHERE budget_lease.node = lease.node AND budget_key = lease.key AND period_start = lease.period",
);

/// What a period's sums are, and what they should be.
pub(super) const SUMS: Sql = sql!(
    "SELECT spent, held, \
     folded + (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM budget_charge \
     WHERE budget_charge.budget_key = budget_period.budget_key AND budget_charge.period_start = budget_period.period_start), \
     (SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM budget_lease \
     WHERE budget_lease.budget_key = budget_period.budget_key AND budget_lease.period_start = budget_period.period_start) \
     FROM budget_period WHERE budget_key = ? AND period_start = ?"
);
pub(super) const OLD_CHARGES: Sql = sql!(
    "SELECT budget_key, period_start, CAST(COUNT(*) AS BIGINT) FROM \
     (SELECT budget_key, period_start FROM budget_charge WHERE time < ? ORDER BY time LIMIT ?) AS old \
     GROUP BY budget_key, period_start ORDER BY budget_key, period_start"
);
pub(super) const SUM_OF_OLD_CHARGES: Sql = sql!(
    "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT) FROM \
     (SELECT amount FROM budget_charge WHERE budget_key = ? AND period_start = ? AND time < ? \
     ORDER BY time, request_id LIMIT ?) AS old"
);
pub(super) const DROP_OLD_CHARGES: Sql = sql!(
    "DELETE FROM budget_charge WHERE (budget_key, period_start, request_id) IN \
     (SELECT budget_key, period_start, request_id FROM budget_charge \
     WHERE budget_key = ? AND period_start = ? AND time < ? ORDER BY time, request_id LIMIT ?)"
);
pub(super) const SET_FOLDED: Sql =
    sql!("UPDATE budget_period SET folded = ? WHERE budget_key = ? AND period_start = ?");
