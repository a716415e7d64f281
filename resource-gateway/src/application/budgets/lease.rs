//! One lease: what calls take from without a lock, and what talks to the ledger about it under one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use service_kit::Timestamp;
use tokio::{sync::Mutex, time::timeout};

use crate::{
    domain::{
        budget::Period,
        ids::NodeId,
        lease::{Tally, Wish},
        money::Nanos,
    },
    ports::{
        budget::{Account, BudgetLedger, Order},
        config_source::StoreError,
    },
};

/// The ledger has this long to answer a call that waits.
const LEDGER_TIME: Duration = Duration::from_secs(2);
/// A refusal is remembered for this long: callers that come again and again must not each ask the database.
const REFUSAL_HOLDS: Duration = Duration::from_millis(250);
/// The same when other nodes hold what is missing, and are about to give some of it back.
const RECALL_HOLDS: Duration = Duration::from_millis(60);
/// A lease that was refilled less than this ago gets twice as much the next time.
const BRISK: Duration = Duration::from_secs(2);
/// How many calls like the first one a fresh lease should last for.
const FIRST_CALLS: i64 = 4;
/// How often a refill that others were quicker to use up is tried.
const TRIES: usize = 4;
/// The part of what the dearest call has cost that each cheaper one takes away.
const FORGETS: i64 = 64;
/// Calls that wait at the edge of one budget; more are refused at once.
const MOST_WAITING: usize = 512;

/// Where the ledger is asked, and as whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter<'a> {
    pub(super) ledger: &'a dyn BudgetLedger,
    pub(super) node: &'a NodeId,
    pub(super) at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) account: Account,
    /// How often the budget began anew when the lease was made.
    pub(super) every: Period,
    pub(super) tally: Tally,
    desk: Mutex<Desk>,
    /// The budget's amount, as the newest call knew it.
    amount: AtomicI64,
    /// Below this the lease is refilled in the background.
    low: AtomicI64,
    /// What the dearest call has cost of those that cost more than was held back for them; forgotten little by little.
    dearest: AtomicI64,
    wished: AtomicBool,
    closed: AtomicBool,
    waiting: AtomicUsize,
    born: Instant,
    /// Milliseconds after `born`.
    used_at: AtomicU64,
}

/// Whoever holds this talks to the ledger.
#[derive(Debug, Default)]
struct Desk {
    granted: Option<(Instant, i64)>,
    refused: Option<Refusal>,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    at: Instant,
    /// What was refused needed this at least.
    least: i64,
    /// Other nodes hold some of what is missing.
    elsewhere: bool,
}

/// What came of asking the ledger for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refill {
    /// This much.
    Reserved(i64),
    Exhausted,
    /// Nothing is left, but calls under way or other nodes hold something that they may not need.
    Held,
    Closed,
    Unavailable,
}

/// A place among those who wait at the edge of a budget.
#[derive(Debug)]
pub(super) struct Place(Arc<Lease>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Lease {
    pub(super) fn new(account: Account, every: Period) -> Self {
        Self {
            account,
            every,
            tally: Tally::default(),
            desk: Mutex::default(),
            amount: AtomicI64::new(i64::MAX),
            low: AtomicI64::new(0),
            dearest: AtomicI64::new(0),
            wished: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            born: Instant::now(),
            used_at: AtomicU64::new(0),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn touch(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_at.store(now, Ordering::Relaxed);
    }

    pub(super) fn idle_for(&self) -> Duration {
        let used_at = Duration::from_millis(self.used_at.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(used_at)
    }

    /// Takes note of the amount that holds now. When it was lowered, nothing that was taken under the old one is spent: the next
    /// call has to ask.
    pub(super) fn obey(&self, amount: Nanos) {
        if self.amount.load(Ordering::Relaxed) == amount.0 {
            return;
        }
        let before = self.amount.swap(amount.0, Ordering::AcqRel);
        if amount.0 < before && before != i64::MAX {
            self.tally.withdraw(i64::MAX);
        }
    }

    /// What a call may cost of which nobody knows more.
    pub(super) fn dearest(&self) -> i64 {
        self.dearest.load(Ordering::Relaxed)
    }

    /// A call has cost this. As long as calls cost more than was held back, as much is held back for others; every call that does
    /// not takes some of it away.
    pub(super) fn note_cost(&self, reserved: i64, cost: i64) {
        let before = self.dearest.load(Ordering::Relaxed);
        if cost > reserved && cost > before {
            self.dearest.fetch_max(cost, Ordering::Relaxed);
        } else if before > 0 && cost < before {
            let after = before - (before / FORGETS).max(1);
            // Of two at once one takes away: that is of no account.
            let _ = self
                .dearest
                .compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    pub(super) fn is_low(&self) -> bool {
        self.tally.available() < self.low.load(Ordering::Relaxed)
    }

    /// Marks the lease as waiting for a refill; `false` when it was already.
    pub(super) fn wish(&self) -> bool {
        !self.wished.swap(true, Ordering::AcqRel)
    }

    pub(super) fn unwish(&self) {
        self.wished.store(false, Ordering::Release);
    }

    /// A place to wait in; `None` when too many do.
    pub(super) fn queue(lease: &Arc<Self>) -> Option<Place> {
        let place = Place(Arc::clone(lease));
        let before = lease.waiting.fetch_add(1, Ordering::AcqRel);
        (before < MOST_WAITING).then_some(place)
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Gets more out of the ledger for a call, and reserves it.
    pub(super) async fn refill(&self, counter: Counter<'_>, least: i64, most: i64) -> Refill {
        let work = async {
            let mut desk = self.desk.lock().await;
            for _ in 0..TRIES {
                // Somebody else may have refilled it meanwhile.
                if self.tally.reserve(most).is_ok() {
                    return Refill::Reserved(most);
                }
                if self.is_closed() {
                    return Refill::Closed;
                }
                let end = match desk.refused(least) {
                    Some(elsewhere) => Some(self.held(elsewhere)),
                    None => self.ask(&mut desk, counter, least, most).await,
                };
                if let Some(end) = end {
                    // There is no more to be had: then what there is will do, if it is enough to begin with.
                    let some = self.tally.reserve_some(least, most);
                    return some.map_or(end, Refill::Reserved);
                }
            }
            Refill::Unavailable
        };
        let done = timeout(LEDGER_TIME, work).await;
        self.touch();
        done.unwrap_or(Refill::Unavailable)
    }

    /// What a refusal means now.
    fn held(&self, elsewhere: bool) -> Refill {
        match elsewhere || self.tally.reserved() > 0 {
            true => Refill::Held,
            false => Refill::Exhausted,
        }
    }

    /// One order; `None` when something was granted.
    async fn ask(&self, desk: &mut Desk, counter: Counter<'_>, least: i64, most: i64) -> Option<Refill> {
        if self.settle_aside(counter).await.is_err() {
            return Some(Refill::Unavailable);
        }
        if self.is_closed() {
            return Some(Refill::Closed);
        }
        let comfort = match desk.granted {
            Some((when, granted)) if when.elapsed() < BRISK => granted.saturating_mul(2),
            Some(_) | None => most.saturating_mul(FIRST_CALLS),
        };
        let available = self.tally.available();
        let (need, want) = (least.saturating_sub(available), most.saturating_sub(available));
        let order = Order {
            node: counter.node,
            account: &self.account,
            amount: Nanos(self.amount.load(Ordering::Acquire)),
            wish: Wish { need, want, comfort },
            at: counter.at,
        };
        let taken = match counter.ledger.take(order).await {
            Ok(taken) => taken,
            Err(error) => {
                tell(&error);
                return Some(Refill::Unavailable);
            }
        };
        if !taken.known && self.tally.has_learnt() {
            // We were thought dead, and what we held was given back: what is known here is of no use any more.
            self.closed.store(true, Ordering::Release);
            return Some(Refill::Closed);
        }
        self.tally.learn(taken.lease);
        match taken.granted {
            Ok(granted) => {
                desk.granted = Some((Instant::now(), granted));
                desk.refused = None;
                // A grant that was no more than the need shows the edge of the budget, where nothing is taken in advance.
                let low = if granted > want { granted / 2 } else { 0 };
                self.low.store(low, Ordering::Relaxed);
                None
            }
            Err(exhausted) => {
                let elsewhere = exhausted.held > taken.lease.held;
                desk.refused = Some(Refusal {
                    at: Instant::now(),
                    least,
                    elsewhere,
                });
                self.low.store(0, Ordering::Relaxed);
                Some(self.held(elsewhere))
            }
        }
    }

    /// Takes some more in advance.
    pub(super) async fn refill_ahead(&self, counter: Counter<'_>) {
        let work = async {
            let mut desk = self.desk.lock().await;
            if !self.is_closed() && self.is_low() {
                self.ask(&mut desk, counter, 0, 0).await;
            }
        };
        // When the ledger is away, calls that need it will tell.
        let _ = timeout(LEDGER_TIME, work).await;
        self.unwish();
    }

    /// Gives back what no call under way needs.
    pub(super) async fn give_back(&self, counter: Counter<'_>) -> Given {
        let mut desk = self.desk.lock().await;
        self.low.store(0, Ordering::Relaxed);
        desk.granted = None;
        self.tally.withdraw(i64::MAX);
        match self.settle_aside(counter).await {
            Ok(()) => Given::Back,
            Err(()) => Given::Unknown,
        }
    }

    /// Gives back what is left and forgets the lease, unless calls under way or records on their way still need it.
    pub(super) async fn close(&self, counter: Counter<'_>) -> bool {
        let _desk = self.desk.lock().await;
        if self.is_closed() {
            return true;
        }
        self.tally.withdraw(i64::MAX);
        if self.settle_aside(counter).await.is_err() || self.tally.reserved() > 0 {
            return false;
        }
        // From here on nothing can be reserved: nothing is available, and only this desk could change that.
        match counter.ledger.close_lease(counter.node, &self.account).await {
            Ok(true) => {
                self.closed.store(true, Ordering::Release);
                true
            }
            Ok(false) => {
                // The row holds more than is known here: costs on their way, or a grant whose answer nobody waited for. Hearing of
                // it, the next attempt can give it back.
                let _ = self.ask_back(counter, 0).await;
                false
            }
            Err(_) => false,
        }
    }

    /// Returns to the ledger what was put aside.
    async fn settle_aside(&self, counter: Counter<'_>) -> Result<(), ()> {
        match self.tally.aside() {
            0 => Ok(()),
            aside => self.ask_back(counter, aside).await,
        }
    }

    /// Returns that much, be it nothing, and takes note of what the lease holds then.
    async fn ask_back(&self, counter: Counter<'_>, aside: i64) -> Result<(), ()> {
        let given = counter.ledger.give_back(counter.node, &self.account, aside);
        match timeout(LEDGER_TIME, given).await {
            Ok(Ok(Some(row))) => {
                self.tally.learn(row);
                Ok(())
            }
            Ok(Ok(None)) => {
                // Thought dead meanwhile, see `ask`.
                self.closed.store(true, Ordering::Release);
                Ok(())
            }
            Ok(Err(error)) => {
                tell(&error);
                Err(())
            }
            Err(_) => Err(()),
        }
    }
}

fn tell(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, cause, "the ledger of budgets cannot be asked");
}

/// Whether something was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Back,
    Unknown,
}

impl Desk {
    /// Whether the ledger would say again what it said a moment ago, and then whether other nodes hold what is missing.
    fn refused(&self, least: i64) -> Option<bool> {
        let refusal = self.refused?;
        let holds = match refusal.elsewhere {
            true => RECALL_HOLDS,
            false => REFUSAL_HOLDS,
        };
        (least >= refusal.least && refusal.at.elapsed() < holds).then_some(refusal.elsewhere)
    }
}
