//! Every statement about jobs.

use sql_kit::{Sql, sql};

macro_rules! facts {
    () => {
        "id, interface, capability, request_id, status, created_at, started_at, finished_at, expires_at, due_at, runs, error, \
         result_type, result_bytes, webhook_state, webhook_attempts, voice"
    };
}

/// Holds the row until the transaction ends.
pub(super) const PASS_GATE: Sql = sql!(
    "INSERT INTO job_gate (gate, turns) VALUES (?, 1) ON CONFLICT (gate) DO UPDATE SET turns = job_gate.turns + 1"
);
pub(super) const UNFINISHED: Sql = sql!(
    "SELECT COUNT(*) FROM job WHERE client_id = ? AND interface = ? AND tenant = ? AND status IN ('queued', 'running')"
);
pub(super) const INSERT: Sql = sql!(
    "INSERT INTO job (id, tenant, client_id, sub, interface, capability, request_id, status, created_at, expires_at, retention, \
     due_at, runs, lost, caller, request, webhook, webhook_state, webhook_attempts, repeat_key, fingerprint, voice) \
     VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, 0, ?, ?, ?)"
);
/// The job that was asked for under a name, as long as it may come to something.
pub(super) const REPEATED: Sql = sql!(
    "SELECT id, fingerprint FROM job WHERE repeat_key = ? AND (status IN ('queued', 'running') OR (status = 'succeeded' AND due_at > ?))"
);
pub(super) const RELEASE_REPEAT: Sql = sql!("UPDATE job SET repeat_key = NULL WHERE repeat_key = ?");
/// What has ended is due when it is removed, and not shown from then on.
pub(super) const FIND: Sql = sql!(concat!(
    "SELECT ",
    facts!(),
    " FROM job WHERE id = ? AND client_id = ? AND sub = ? AND tenant = ? \
     AND (status IN ('queued', 'running') OR due_at > ?)"
));
pub(super) const LIST: Sql = sql!(concat!(
    "SELECT ",
    facts!(),
    " FROM job WHERE client_id = ? AND sub = ? AND tenant = ? AND (? OR id < ?) \
     AND (status IN ('queued', 'running') OR due_at > ?) ORDER BY id DESC LIMIT ?"
));
pub(super) const RESULT: Sql = sql!(
    "SELECT result, result_type FROM job WHERE id = ? AND client_id = ? AND sub = ? AND tenant = ? AND status = 'succeeded' \
     AND due_at > ?"
);
/// The end of a job that nobody runs, or whose run is to be dropped. One that never ran is not kept for long: there is nothing to
/// see, and no limit is asked for it.
pub(super) const CANCEL: Sql = sql!(
    "UPDATE job SET status = 'cancelled', finished_at = ?, \
     due_at = ? + CASE WHEN runs = 0 AND retention > ? THEN ? ELSE retention END, node = NULL, request = NULL, caller = NULL, \
     webhook_state = CASE WHEN webhook_state = 'waiting' THEN 'pending' ELSE webhook_state END, webhook_due = ? \
     WHERE id = ? AND client_id = ? AND sub = ? AND tenant = ? AND status IN ('queued', 'running')"
);
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE job SET lost = CASE WHEN status = 'running' THEN lost + 1 ELSE lost END, status = 'running', node = ?, \
             due_at = ?, runs = runs + 1, started_at = COALESCE(started_at, ?) WHERE id = (SELECT id FROM job \
             WHERE status IN ('queued', 'running') AND due_at <= ? AND expires_at > ? AND (status = 'queued' OR lost < ?) \
             ORDER BY due_at, id LIMIT 1",
            $lock,
            ") AND status IN ('queued', 'running') AND due_at <= ? \
             RETURNING id, interface, capability, request_id, runs, voice, caller, request"
        )
    };
}
/// One of many nodes gets the row: the condition is looked at once more when the row is written.
pub(super) const CLAIM: Sql = sql!(
    sqlite: claim!(""),
    postgres: claim!(" FOR UPDATE SKIP LOCKED"),
);
/// `[{id, runs}]`: the runs that their node knows of. A row that was left behind, because its end could not be written or the answer
/// to its claim was lost, must not be kept alive by its node's other jobs.
pub(super) const RENEW: Sql = sql!(
    sqlite: "UPDATE job SET due_at = ? WHERE node = ? AND status = 'running' AND (id, runs) IN \
             (SELECT value->>'id', value->>'runs' FROM json_each(?)) RETURNING id, runs",
    postgres: "UPDATE job SET due_at = ? WHERE node = ? AND status = 'running' AND (id, runs) IN \
               (SELECT id, runs FROM json_to_recordset(CAST(? AS json)) AS run (id text, runs bigint)) RETURNING id, runs",
);
pub(super) const RELEASE: Sql = sql!(
    "UPDATE job SET status = 'queued', node = NULL, due_at = ?, runs = runs - ? \
     WHERE id = ? AND node = ? AND runs = ? AND status = 'running'"
);
pub(super) const FINISH: Sql = sql!(
    "UPDATE job SET status = ?, finished_at = ?, due_at = ? + retention, node = NULL, request = NULL, caller = NULL, error = ?, \
     result = ?, result_type = ?, result_bytes = ?, \
     webhook_state = CASE WHEN webhook_state = 'waiting' THEN 'pending' ELSE webhook_state END, webhook_due = ? \
     WHERE id = ? AND node = ? AND runs = ? AND status = 'running'"
);
pub(super) const WAITING_CALLERS: Sql =
    sql!("SELECT id, caller FROM job WHERE status = 'queued' AND id > ? ORDER BY id LIMIT ?");
pub(super) const FAIL_WAITING: Sql = sql!(
    "UPDATE job SET status = 'failed', finished_at = ?, due_at = ? + retention, request = NULL, caller = NULL, error = ?, \
     webhook_state = CASE WHEN webhook_state = 'waiting' THEN 'pending' ELSE webhook_state END, webhook_due = ? \
     WHERE id = ? AND status = 'queued'"
);
pub(super) const EXPIRE: Sql = sql!(
    "UPDATE job SET status = 'expired', finished_at = ?, due_at = ? + retention, node = NULL, request = NULL, caller = NULL, \
     webhook_state = CASE WHEN webhook_state = 'waiting' THEN 'pending' ELSE webhook_state END, webhook_due = ? \
     WHERE id IN (SELECT id FROM job WHERE status IN ('queued', 'running') AND due_at <= ? AND expires_at <= ? LIMIT ?) \
     AND status IN ('queued', 'running') AND due_at <= ?"
);
pub(super) const FAIL_LOST: Sql = sql!(
    "UPDATE job SET status = 'failed', finished_at = ?, due_at = ? + retention, node = NULL, request = NULL, caller = NULL, \
     error = ?, webhook_state = CASE WHEN webhook_state = 'waiting' THEN 'pending' ELSE webhook_state END, webhook_due = ? \
     WHERE id IN (SELECT id FROM job WHERE status = 'running' AND due_at <= ? AND lost >= ? LIMIT ?) \
     AND status = 'running' AND due_at <= ?"
);
/// News that are still to be told keep their row, but for those of a job that was cancelled before it ran: its caller knows.
pub(super) const REMOVE: Sql = sql!(
    "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE status IN ('succeeded', 'failed', 'cancelled', 'expired') \
     AND due_at <= ? AND (COALESCE(webhook_state, '') <> 'pending' OR (status = 'cancelled' AND runs = 0)) \
     ORDER BY due_at LIMIT ?)"
);
macro_rules! claim_delivery {
    ($busy:literal, $lock:literal) => {
        concat!(
            "UPDATE job SET webhook_due = ?, webhook_attempts = webhook_attempts + 1 WHERE id = (SELECT id FROM job \
             WHERE webhook_state = 'pending' AND webhook_due <= ? AND (tenant, client_id) NOT IN (SELECT ",
            $busy,
            ") ORDER BY webhook_due, id LIMIT 1",
            $lock,
            ") AND webhook_state = 'pending' AND webhook_due <= ? \
             RETURNING id, tenant, client_id, sub, status, finished_at, webhook, webhook_attempts"
        )
    };
}
/// `[{tenant, client_id}]`: clients that are being told enough at once.
pub(super) const CLAIM_DELIVERY: Sql = sql!(
    sqlite: claim_delivery!("value->>'tenant', value->>'client_id' FROM json_each(?)", ""),
    postgres: claim_delivery!(
        "tenant, client_id FROM json_to_recordset(CAST(? AS json)) AS busy (tenant text, client_id text)",
        " FOR UPDATE SKIP LOCKED"
    ),
);
pub(super) const NOTE_DELIVERY: Sql = sql!(
    "UPDATE job SET webhook_state = ?, webhook_due = ? WHERE id = ? AND webhook_attempts = ? AND webhook_state = 'pending'"
);
