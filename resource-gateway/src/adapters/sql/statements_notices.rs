//! Every statement about notices of budgets.

use sql_kit::{Sql, sql};

pub(super) const KEEP_NOTICE: Sql = sql!(
    "INSERT INTO budget_notice (budget_key, period_start, share, budget, spent, amount, currency, time, state, due) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (budget_key, period_start, share) DO NOTHING"
);
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE budget_notice SET due = ?, attempts = attempts + 1 WHERE (budget_key, period_start, share) = \
             (SELECT budget_key, period_start, share FROM budget_notice WHERE state = 'pending' AND due <= ? \
             ORDER BY due, budget_key, period_start, share LIMIT 1",
            $lock,
            ") AND state = 'pending' AND due <= ? \
             RETURNING budget_key, period_start, share, budget, spent, amount, currency, time, attempts"
        )
    };
}
/// One of many nodes gets the row: the condition is looked at once more when the row is written.
pub(super) const CLAIM_NOTICE: Sql = sql!(
    sqlite: claim!(""),
    postgres: claim!(" FOR UPDATE SKIP LOCKED"),
);
pub(super) const NOTE_NOTICE: Sql = sql!(
    "UPDATE budget_notice SET state = ?, due = ? \
     WHERE budget_key = ? AND period_start = ? AND share = ? AND attempts = ? AND state = 'pending'"
);
