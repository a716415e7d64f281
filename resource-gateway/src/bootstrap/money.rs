//! Prices, budgets and reports of usage.

use std::{sync::Arc, time::Duration};

use service_kit::{Clock, Tasks};

use super::Foundation;
use crate::{
    adapters::{
        guarded::webhooks::HttpWebhooks,
        sql::{SqlLedger, SqlReports},
        vocabulary::Vocabulary,
    },
    application::{
        administer::Administer,
        budgets::{Budgets, NoticeSecrets, TellNotices, Upkeep},
        report_usage::ReportUsage,
        retain_usage::RetainUsage,
        snapshots::Snapshots,
        tally::Tally,
    },
    config::UsageConfig,
    domain::ids::NodeId,
};

/// What a node holds of budgets is given back when it was not heard of for this long: long enough for its machine to come back
/// and its journal to be read.
const DEAD_AFTER: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub(super) struct Money {
    pub(super) budgets: Arc<Budgets>,
    /// Counts what vendors do not count.
    pub(super) tally: Arc<Tally>,
    ledger: Arc<SqlLedger>,
    reports: Arc<SqlReports>,
    retain: RetainUsage,
    webhooks: Arc<HttpWebhooks>,
    notice_secrets: Arc<NoticeSecrets>,
}

impl Money {
    /// `node` is whom the usage journal names as the writer of its records.
    pub(super) fn build(foundation: &Foundation, config: &UsageConfig, node: NodeId) -> anyhow::Result<Self> {
        let clock = &foundation.ambient.clock;
        let ledger = Arc::new(SqlLedger::new(foundation.db.clone()));
        let reports = Arc::new(SqlReports::new(foundation.db.clone()));
        let secrets = NoticeSecrets::new(foundation.master.derive(NoticeSecrets::PURPOSE)?);
        Ok(Self {
            tally: Arc::new(Tally::new(Arc::new(Vocabulary))),
            budgets: Arc::new(Budgets::new(ledger.clone(), node, clock.clone())),
            retain: RetainUsage {
                reports: reports.clone(),
                ledger: ledger.clone(),
                clock: clock.clone(),
                keep: config.retention(),
            },
            ledger,
            reports,
            webhooks: foundation.webhooks.clone(),
            notice_secrets: Arc::new(secrets),
        })
    }

    pub(super) fn report(&self, foundation: &Foundation, administer: Administer) -> ReportUsage {
        ReportUsage {
            administer,
            reports: self.reports.clone(),
            ledger: self.ledger.clone(),
            notice_secrets: self.notice_secrets.clone(),
            clock: foundation.ambient.clock.clone(),
        }
    }

    pub(super) fn start(&self, tasks: &Tasks, snapshots: &Arc<Snapshots>, clock: &Arc<dyn Clock>) {
        let tell = TellNotices {
            outbox: self.ledger.clone(),
            webhooks: self.webhooks.clone(),
            secrets: self.notice_secrets.clone(),
            snapshots: snapshots.clone(),
            clock: clock.clone(),
        };
        let stop = tasks.stop_token();
        tasks.spawn(async move { tell.run(stop).await });
        let upkeep = Upkeep {
            budgets: self.budgets.clone(),
            snapshots: snapshots.clone(),
            dead_after: DEAD_AFTER,
        };
        tasks.spawn(upkeep.run(tasks.stop_token()));
        tasks.spawn(self.retain.clone().run(tasks.stop_token()));
    }
}
