//! Reserves money for calls: out of leases in memory, with the ledger behind them.
//!
//! A call that finds enough in its node's lease touches two atomics and no database. Leases are refilled in the background before
//! they run dry; only at the edge of a budget does a call wait for the ledger, and then for a bounded time.

mod lease;
mod tell;
mod upkeep;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use service_kit::{Clock, Timestamp};
use tokio::sync::mpsc;

use self::lease::{Counter, Lease, Refill};
pub use self::{
    tell::{NoticeSecrets, TellNotices},
    upkeep::Upkeep,
};
use crate::{
    domain::{
        budget::{Firmness, Period},
        ids::{BudgetName, NodeId},
        money::Nanos,
        usage::Charge,
    },
    ports::budget::{Account, BudgetLedger},
};

const REFUSED: &str = "gateway_budget_refusals_total";
const LEASES: &str = "gateway_budget_leases";

/// Accounts that a node keeps leases of. Beyond that it takes no new ones until idle ones have been given back.
const MOST_LEASES: usize = 200_000;
/// Leases that wait to be refilled in the background.
const MOST_WISHES: usize = 1024;
const SHELVES: usize = 16;
/// Notices that are remembered.
const MOST_TOLD: usize = 10_000;
/// At the edge of a budget a call waits this long for what calls under way, or other nodes, may not need after all.
const EDGE_WAIT: Duration = Duration::from_secs(5);
const EDGE_PAUSE: Duration = Duration::from_millis(20);

/// What a call needs from one budget.
#[derive(Debug, Clone)]
pub struct Demand {
    pub account: Account,
    /// How often the budget begins anew.
    pub every: Period,
    pub firmness: Firmness,
    /// What may be spent in the period, by everybody together.
    pub amount: Nanos,
    /// What the call will cost at least.
    pub least: Nanos,
    /// What it may cost, as far as can be told: held back until it has ended.
    pub most: Nanos,
    pub bound: Bound,
    /// The budget's name, if it is the caller's own and may be told.
    pub shown: Option<BudgetName>,
}

/// How far [`Demand::most`] can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The caller has said how long the answer may be, or it shows beforehand.
    Known,
    /// Nobody has: it is what most calls need. What calls have cost that needed more is held back then.
    Assumed,
}

/// Why no money was reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error("the budget is used up")]
    Exhausted(Option<BudgetName>),
    /// Not the caller's fault: the ledger cannot be asked.
    #[error("the ledger of budgets cannot be asked")]
    Unavailable,
}

/// The leases of this node.
#[derive(Debug)]
pub struct Budgets {
    ledger: Arc<dyn BudgetLedger>,
    node: NodeId,
    clock: Arc<dyn Clock>,
    shelves: [Shelf; SHELVES],
    hasher: RandomState,
    count: AtomicUsize,
    /// Where the next sweep begins.
    next_shelf: AtomicUsize,
    /// Leases that nothing is taken from any more: of periods that are over, or of another length than the budget has now. Whoever
    /// needs one of them after all gets it back, because a second one of the same account would count its money twice.
    ending: Mutex<HashMap<Account, Arc<Lease>>>,
    /// Notices that are known to have been given: spares the database being asked every second. Forgotten when there are many.
    told: Mutex<HashSet<(String, Timestamp, u32)>>,
    wishes: mpsc::Sender<Arc<Lease>>,
    wished: Mutex<Option<mpsc::Receiver<Arc<Lease>>>>,
}

type Shelf = RwLock<HashMap<String, Arc<Lease>>>;

impl Budgets {
    /// `node` is the name under which this process's usage records are drained: what it held goes back when they have been.
    pub fn new(ledger: Arc<dyn BudgetLedger>, node: NodeId, clock: Arc<dyn Clock>) -> Self {
        describe_counter!(REFUSED, "Calls that were refused for a budget's sake");
        describe_gauge!(LEASES, "Budgets that this node holds money of");
        let (wishes, wished) = mpsc::channel(MOST_WISHES);
        Self {
            ledger,
            node,
            clock,
            shelves: Default::default(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            next_shelf: AtomicUsize::new(0),
            ending: Mutex::default(),
            told: Mutex::default(),
            wishes,
            wished: Mutex::new(Some(wished)),
        }
    }

    /// Reserves for a call from every budget that it counts against; from all of them or from none.
    ///
    /// # Errors
    /// [`BudgetError`], of the first hard budget that gives nothing. Soft ones always do.
    pub async fn reserve(&self, demands: Vec<Demand>) -> Result<Reservation, BudgetError> {
        let mut reservation = Reservation {
            node: self.node.clone(),
            holds: Vec::with_capacity(demands.len()),
        };
        for demand in demands {
            // What was reserved before an error goes back when the reservation is dropped.
            let (lease, reserved) = match demand.firmness {
                Firmness::Soft => (None, 0),
                // What is free needs nothing to be left.
                Firmness::Hard if demand.most.0 <= 0 && demand.least.0 <= 0 => (None, 0),
                Firmness::Hard => {
                    let (lease, reserved) = self.hold(&demand).await.inspect_err(count_refusal)?;
                    (Some(lease), reserved)
                }
            };
            // Close to midnight the lease may be of the next period already.
            let account = lease.as_ref().map_or(demand.account, |lease| lease.account.clone());
            reservation.holds.push(Hold {
                lease,
                reserved,
                account,
            });
        }
        Ok(reservation)
    }

    /// Reserves from one account: all that the call may cost, or at the edge of the budget what there is.
    async fn hold(&self, demand: &Demand) -> Result<(Arc<Lease>, i64), BudgetError> {
        let (least, assumed) = (demand.least.0.max(0), demand.most.0.max(demand.least.0).max(0));
        let exhausted = || BudgetError::Exhausted(demand.shown.clone());
        let began = Instant::now();
        let mut place = None;
        loop {
            let lease = self.lease_of(&demand.account, demand.every)?;
            lease.obey(demand.amount);
            let most = match demand.bound {
                Bound::Known => assumed,
                Bound::Assumed => assumed.max(lease.dearest()),
            };
            if lease.tally.reserve(most).is_ok() {
                if lease.is_low() && lease.wish() && self.wishes.try_send(Arc::clone(&lease)).is_err() {
                    lease.unwish();
                }
                return Ok((lease, most));
            }
            match lease.refill(self.counter(), least, most).await {
                Refill::Reserved(reserved) => return Ok((lease, reserved)),
                // The next one is new.
                Refill::Closed => {}
                Refill::Unavailable => return Err(BudgetError::Unavailable),
                Refill::Held if began.elapsed() < EDGE_WAIT => {
                    if place.is_none() {
                        place = Some(Lease::queue(&lease).ok_or_else(exhausted)?);
                    }
                    tokio::time::sleep(EDGE_PAUSE).await;
                }
                Refill::Held | Refill::Exhausted => return Err(exhausted()),
            }
        }
    }

    /// The lease of an account; a new and empty one when there is none, or when that is of a period that is over. A later period is
    /// the current one only among those of one length: a week begins before its days do.
    fn lease_of(&self, account: &Account, every: Period) -> Result<Arc<Lease>, BudgetError> {
        let shelf = self.shelf(&account.key);
        let current = |lease: &Lease| {
            let (held, wanted) = (lease.account.period, account.period);
            !lease.is_closed() && (held == wanted || (lease.every == every && held > wanted))
        };
        if let Some(lease) = read(shelf).get(&account.key)
            && current(lease)
        {
            return Ok(Arc::clone(lease));
        }
        let mut leases = shelf.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = leases.get(&account.key) {
            if current(lease) {
                return Ok(Arc::clone(lease));
            }
        } else if self.count.load(Ordering::Relaxed) >= MOST_LEASES {
            tracing::error!("too many budgets are in use at once, calls are refused");
            return Err(BudgetError::Unavailable);
        }
        let mut ending = self.ending();
        let lease = match ending.remove(account) {
            Some(lease) if !lease.is_closed() => lease,
            Some(_) | None => Arc::new(Lease::new(account.clone(), every)),
        };
        match leases.insert(account.key.clone(), Arc::clone(&lease)) {
            Some(old) if !old.is_closed() => {
                ending.insert(old.account.clone(), old);
            }
            Some(_) => {}
            None => {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(lease)
    }

    fn counter(&self) -> Counter<'_> {
        Counter {
            ledger: self.ledger.as_ref(),
            node: &self.node,
            at: self.clock.now(),
        }
    }

    /// The lease of a key, if there is one.
    fn find(&self, key: &str) -> Option<Arc<Lease>> {
        read(self.shelf(key)).get(key).map(Arc::clone)
    }

    /// Drops a lease that was closed.
    fn forget(&self, lease: &Arc<Lease>) {
        let key = lease.account.key.as_str();
        let mut leases = self.shelf(key).write().unwrap_or_else(PoisonError::into_inner);
        if leases.get(key).is_some_and(|known| Arc::ptr_eq(known, lease)) {
            leases.remove(key);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops a lease that nothing was taken from any more, and that was closed now. One that was needed again is on its shelf.
    fn forget_ended(&self, lease: &Arc<Lease>) {
        let mut ending = self.ending();
        if ending
            .get(&lease.account)
            .is_some_and(|known| Arc::ptr_eq(known, lease))
        {
            ending.remove(&lease.account);
        }
    }

    fn was_told(&self, account: &Account, share: u32) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.contains(&(account.key.clone(), account.period, share))
    }

    fn note_told(&self, account: &Account, share: u32) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST_TOLD {
            told.clear();
        }
        told.insert((account.key.clone(), account.period, share));
    }

    fn shelf(&self, key: &str) -> &Shelf {
        let place = self.hasher.hash_one(key) % SHELVES as u64;
        let [first, ..] = &self.shelves;
        usize::try_from(place)
            .ok()
            .and_then(|place| self.shelves.get(place))
            .unwrap_or(first)
    }

    fn ending(&self) -> std::sync::MutexGuard<'_, HashMap<Account, Arc<Lease>>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    fn tell_count(&self) {
        gauge!(LEASES).set(self.count.load(Ordering::Relaxed) as f64);
    }
}

fn read(shelf: &Shelf) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Lease>>> {
    shelf.read().unwrap_or_else(PoisonError::into_inner)
}

fn count_refusal(error: &BudgetError) {
    let reason = match error {
        BudgetError::Exhausted(_) => "exhausted",
        BudgetError::Unavailable => "unavailable",
    };
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// Money reserved for one call. Dropped without being settled, it goes back whole.
#[derive(Debug)]
pub struct Reservation {
    node: NodeId,
    holds: Vec<Hold>,
}

#[derive(Debug)]
struct Hold {
    /// None: of a soft budget, from which nothing has to be held back.
    lease: Option<Arc<Lease>>,
    reserved: i64,
    account: Account,
}

impl Reservation {
    /// The node and the accounts that the call's record has to name.
    pub fn charges(&self) -> (NodeId, Vec<Charge>) {
        let charge = |hold: &Hold| Charge {
            key: hold.account.key.clone(),
            budget: hold.account.budget.clone(),
            period: hold.account.period,
        };
        (self.node.clone(), self.holds.iter().map(charge).collect())
    }

    /// The call has ended, and its record with the charges is safe.
    pub fn settle(mut self, cost: Nanos) {
        self.release(cost.0);
    }

    fn release(&mut self, cost: i64) {
        for hold in self.holds.drain(..) {
            if let Some(lease) = hold.lease {
                lease.tally.settle(hold.reserved, cost);
                lease.note_cost(hold.reserved, cost);
                lease.touch();
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(0);
    }
}
