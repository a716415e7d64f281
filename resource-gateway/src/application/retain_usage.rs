//! Lets go of usage rows that are older than the operator wants to keep them, and of charges that are long in the sums.

use std::{sync::Arc, time::Duration};

use service_kit::Clock;
use tokio_util::sync::CancellationToken;

use crate::ports::{budget::BudgetLedger, config_source::StoreResult, usage_reports::UsageReports};

/// How often old rows are looked for.
const EVERY: Duration = Duration::from_mins(10);
/// The first time: not while everything else starts.
const FIRST: Duration = Duration::from_secs(30);
/// Rows in one statement, so that nobody waits long for a lock.
const AT_ONCE: u32 = 1000;
/// Between two statements others get their turn.
const PAUSE: Duration = Duration::from_millis(50);
/// Charges are summed up again every minute to see whether a budget's books are right, so there must not be too many of them.
const CHARGES_KEPT: Duration = Duration::from_hours(1);
/// Grants live for months, and what was spent of them must be known as long as they can come back. Sums of last year's periods
/// are of use, too.
const ACCOUNTS_KEPT: Duration = Duration::from_hours(400 * 24);

/// The background work. Any number of nodes may do it at once: each statement deletes what is there.
#[derive(Debug, Clone)]
pub struct RetainUsage {
    pub reports: Arc<dyn UsageReports>,
    pub ledger: Arc<dyn BudgetLedger>,
    pub clock: Arc<dyn Clock>,
    /// None: rows stay for ever.
    pub keep: Option<Duration>,
}

impl RetainUsage {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = FIRST;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = EVERY;
            tokio::select! {
                () = stop.cancelled() => return,
                gone = self.clean() => match gone {
                    Ok(0) => {}
                    Ok(rows) => tracing::info!(rows, "old usage rows were deleted"),
                    Err(error) => tracing::warn!(%error, "old usage rows cannot be deleted"),
                }
            }
        }
    }

    /// Deletes all that is old; how many usage rows that were.
    ///
    /// # Errors
    /// The database does not answer; some may be gone already.
    pub async fn clean(&self) -> StoreResult<u64> {
        let now = self.clock.now();
        let mut rows = 0;
        while self.ledger.fold(now - CHARGES_KEPT, AT_ONCE).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(keep) = self.keep {
            loop {
                let gone = self.reports.delete_usage(now - keep, AT_ONCE).await?;
                rows += gone;
                if gone == 0 {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        while self.ledger.forget_accounts(now - ACCOUNTS_KEPT, AT_ONCE).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(rows)
    }
}
