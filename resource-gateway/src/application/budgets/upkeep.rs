//! What happens to leases beside the calls: refills in advance, returns, and news for operators.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use metrics::{counter, describe_counter};
use service_kit::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Budgets, lease::Given, read};
use crate::{
    application::snapshots::Snapshots,
    domain::{ids::BudgetName, money::Nanos},
    ports::{
        budget::{AccountStatus, Notice},
        config_source::StoreResult,
    },
};

const NOTICES: &str = "gateway_budget_notices_total";
const REPAIRS: &str = "gateway_budget_repairs_total";

/// How often other nodes' recalls are looked for, while anything is held.
const TICK: Duration = Duration::from_millis(200);
/// How often operators are told of budgets that run out.
const NOTICE_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How often sums are compared with what they are made of.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);
/// A lease that nobody used for this long is given back.
const IDLE: Duration = Duration::from_secs(20);
/// Leases that are closed in one sweep.
const SWEPT_AT_ONCE: usize = 200;
/// Accounts that are looked at in one go.
const ACCOUNTS_AT_ONCE: u32 = 500;
/// Clocks that differ, and transactions that take a while, must not hide an account.
const OVERLAP: Duration = Duration::from_secs(15);
const NOTICES_OF: Duration = Duration::from_hours(24);

/// The background work of [`Budgets`].
#[derive(Debug)]
pub struct Upkeep {
    pub budgets: Arc<Budgets>,
    pub snapshots: Arc<Snapshots>,
    /// What nodes hold that were not heard of for this long is given back, although their journals were not read: those are lost,
    /// or come back with costs that nothing is held for.
    pub dead_after: Duration,
}

impl Budgets {
    /// Closes leases that nobody uses, and those of periods that are over.
    pub async fn sweep(&self, idle: Duration) {
        // They stay in the list until they are closed, where whoever needs one of them again finds it.
        let over: Vec<_> = self.ending().values().map(Arc::clone).collect();
        for lease in over {
            if lease.close(self.counter()).await {
                self.forget_ended(&lease);
            }
        }
        let mut unused = Vec::new();
        // Each time another one first: leases that cannot be closed yet must not keep all others from being looked at.
        let first = self.next_shelf.fetch_add(1, Ordering::Relaxed) % self.shelves.len();
        let shelves = self.shelves.iter().cycle().skip(first);
        for shelf in shelves.take(self.shelves.len()) {
            let leases = read(shelf);
            let found = leases
                .values()
                .filter(|lease| lease.is_closed() || lease.idle_for() >= idle);
            unused.extend(found.take(SWEPT_AT_ONCE - unused.len()).map(Arc::clone));
        }
        for lease in unused {
            if lease.close(self.counter()).await {
                self.forget(&lease);
            }
        }
    }
}

/// When what is due, and how far it has come.
struct Diary {
    recalls: Timestamp,
    notices: Timestamp,
    notice_at: Instant,
    sweep_at: Instant,
    keep_alive_at: Instant,
    reconcile_at: Instant,
}

impl Upkeep {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        describe_counter!(NOTICES, "Shares of budgets that were reached");
        describe_counter!(
            REPAIRS,
            "Sums of budgets that did not fit what they are made of, and were put right"
        );
        let wished = self.budgets.wished.lock().ok().and_then(|mut wished| wished.take());
        let Some(mut wished) = wished else { return };
        let (now, at) = (Instant::now(), self.budgets.clock.now());
        let mut diary = Diary {
            recalls: at - OVERLAP,
            // What was reached when the last gateway died is told at the start.
            notices: at - NOTICES_OF,
            notice_at: now,
            sweep_at: now + SWEEP_EVERY,
            keep_alive_at: now + KEEP_ALIVE_EVERY,
            reconcile_at: now + RECONCILE_EVERY,
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // Never `None`: the sender lives as long as the budgets.
                Some(lease) = wished.recv() => lease.refill_ahead(self.budgets.counter()).await,
                _ = ticks.tick() => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.turn(&mut diary) => {}
                    }
                }
            }
        }
    }

    async fn turn(&self, diary: &mut Diary) {
        let now = Instant::now();
        let holds = self.budgets.count.load(Ordering::Relaxed) > 0;
        if holds {
            self.obey_recalls(diary).await;
        }
        if now >= diary.notice_at {
            diary.notice_at = now + NOTICE_EVERY;
            if !self.snapshots.current().budgets().is_empty()
                && let Err(error) = self.give_notice(diary).await
            {
                tracing::debug!(%error, "budgets cannot be looked at");
            }
        }
        if now >= diary.sweep_at {
            diary.sweep_at = now + SWEEP_EVERY;
            self.budgets.sweep(IDLE).await;
            self.budgets.tell_count();
        }
        if holds && now >= diary.keep_alive_at {
            diary.keep_alive_at = now + KEEP_ALIVE_EVERY;
            let alive = self
                .budgets
                .ledger
                .keep_alive(&self.budgets.node, self.budgets.clock.now());
            if let Err(error) = alive.await {
                tracing::debug!(%error, "the ledger of budgets cannot be told that this node lives");
            }
        }
        if now >= diary.reconcile_at {
            diary.reconcile_at = now + RECONCILE_EVERY;
            if let Err(error) = self.reconcile().await {
                tracing::debug!(%error, "budgets cannot be reconciled");
            }
        }
    }

    /// Gives back what other nodes ask for.
    async fn obey_recalls(&self, diary: &mut Diary) {
        let budgets = &self.budgets;
        let Ok(recalled) = budgets.ledger.recalled(&budgets.node, diary.recalls).await else {
            return;
        };
        for (account, at) in recalled {
            diary.recalls = diary.recalls.max(at);
            let Some(lease) = budgets.find(&account.key).filter(|lease| lease.account == account) else {
                continue;
            };
            // Calls that wait here go first, or the money would go to and fro and nobody would use it. Those who wait elsewhere
            // ask again.
            if lease.has_waiting() {
                continue;
            }
            if lease.give_back(budgets.counter()).await == Given::Unknown {
                return;
            }
        }
    }

    /// Tells operators of shares that were reached, each once, whichever node notices first.
    async fn give_notice(&self, diary: &mut Diary) -> StoreResult<()> {
        let ledger = &self.budgets.ledger;
        loop {
            let changed = ledger.changed_accounts(diary.notices, ACCOUNTS_AT_ONCE).await?;
            let newest = changed.last().map(|status| status.updated_at);
            for status in &changed {
                self.notice(status).await?;
            }
            let Some(newest) = newest else { return Ok(()) };
            let full = changed.len() >= ACCOUNTS_AT_ONCE as usize;
            if full && newest > diary.notices {
                diary.notices = newest;
                continue;
            }
            // Only what is old cannot be overtaken by a transaction that began earlier.
            let settled = self.budgets.clock.now() - OVERLAP;
            diary.notices = diary.notices.max(newest.min(settled));
            return Ok(());
        }
    }

    async fn notice(&self, status: &AccountStatus) -> StoreResult<()> {
        let account = &status.account;
        let snapshot = self.snapshots.current();
        let name = account.budget.as_ref().map_or("", BudgetName::as_str);
        let Some(money) = snapshot.budgets().find(name).and_then(|budget| budget.money.as_ref()) else {
            return Ok(());
        };
        let at = self.budgets.clock.now();
        // Of periods that are over nobody needs to hear.
        if money.period.start(at) != account.period {
            return Ok(());
        }
        for share in money.reached(Nanos(status.row.spent)) {
            if self.budgets.was_told(account, share) {
                continue;
            }
            let notice = Notice {
                account,
                share,
                spent: Nanos(status.row.spent),
                amount: money.amount,
                currency: money.currency,
                at,
                told: money.notify_url.is_some(),
            };
            if self.budgets.ledger.keep_notice(notice).await? {
                counter!(NOTICES, "share" => share.to_string()).increment(1);
                tracing::warn!(
                    budget.name = name,
                    budget.key = account.key,
                    budget.period = %account.period,
                    budget.share = f64::from(share) / 1000.0,
                    budget.spent = %Nanos(status.row.spent),
                    budget.amount = %money.amount,
                    budget.currency = %money.currency,
                    "a budget has reached a share of its amount"
                );
            }
            self.budgets.note_told(account, share);
        }
        Ok(())
    }

    /// Gives back what dead nodes hold, and compares the sums of what changed lately.
    async fn reconcile(&self) -> StoreResult<()> {
        let (ledger, now) = (&self.budgets.ledger, self.budgets.clock.now());
        let ended = ledger.end_stale(now - self.dead_after).await?;
        if ended > 0 {
            tracing::warn!(
                leases = ended,
                "nodes were not heard of for long, what they held was given back"
            );
        }
        let mut since = now - (RECONCILE_EVERY + OVERLAP);
        loop {
            let changed = ledger.changed_accounts(since, ACCOUNTS_AT_ONCE).await?;
            for status in &changed {
                // By now whatever hid it is over.
                self.notice(status).await?;
                let Some(repaired) = ledger.reconcile(&status.account, now).await? else {
                    continue;
                };
                counter!(REPAIRS).increment(1);
                tracing::error!(
                    budget.key = repaired.account.key,
                    budget.period = %repaired.account.period,
                    before.spent = %Nanos(repaired.before.spent),
                    before.held = %Nanos(repaired.before.held),
                    after.spent = %Nanos(repaired.after.spent),
                    after.held = %Nanos(repaired.after.held),
                    "the sums of a budget did not fit its charges and leases, and were put right"
                );
            }
            match changed.last() {
                Some(last) if changed.len() >= ACCOUNTS_AT_ONCE as usize && last.updated_at > since => {
                    since = last.updated_at;
                }
                _ => return Ok(()),
            }
        }
    }
}
