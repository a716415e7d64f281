//! The arithmetic of the budget ledger.
//!
//! A budget's period has one row of truth: what was spent, and what nodes hold. A node holds a *lease*: money that it took out of
//! the period and from which it serves calls without asking anybody. Three things happen to the rows, each in one transaction
//! that locks the period's row: a node takes more ([`PeriodRow::grant`]), a call's cost arrives with its usage record
//! ([`PeriodRow::charge`]), a node gives back what it does not need ([`PeriodRow::give_back`]). In memory a node keeps a
//! [`Tally`] of its lease. What a crashed node held comes back when its journal has been read to the end.

use std::sync::atomic::{AtomicI64, Ordering};

/// No grant takes more than this share of what is left, except for a call that needs more: near the edge leases are as small as
/// calls, so that nothing lies idle on one node while another one refuses.
const SHARE: i64 = 8;

/// What stands in a period's row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeriodRow {
    pub spent: i64,
    /// In all leases together.
    pub held: i64,
}

/// What stands in a lease's row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseRow {
    pub held: i64,
    /// The costs that arrived from this lease, those beyond what was held included.
    pub charged: i64,
}

/// What a node wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// A call waits that will cost this at least.
    pub need: i64,
    /// It may cost this; at the edge of a budget it goes on with less, one call at a time.
    pub want: i64,
    /// This would last for a while.
    pub comfort: i64,
}

/// There is not enough left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// In leases, the asking node's own included: may come back.
    pub held: i64,
}

impl PeriodRow {
    /// What nobody has spent or holds.
    pub fn left(&self, amount: i64) -> i64 {
        amount.saturating_sub(self.spent).saturating_sub(self.held)
    }

    /// Moves money into a lease; returns how much.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing was changed.
    pub fn grant(&mut self, lease: &mut LeaseRow, amount: i64, wish: Wish) -> Result<i64, Exhausted> {
        let left = self.left(amount);
        let need = wish.need.max(0);
        if left < need || left <= 0 {
            return Err(Exhausted { held: self.held });
        }
        let granted = wish.comfort.min(left / SHARE).max(wish.want.min(left)).max(need);
        self.held += granted;
        lease.held += granted;
        Ok(granted)
    }

    /// Books a call's cost, out of the lease as far as that reaches. The rest is the call's own overshoot.
    pub fn charge(&mut self, lease: Option<&mut LeaseRow>, cost: i64) {
        self.spent = self.spent.saturating_add(cost);
        if let Some(lease) = lease {
            let covered = cost.min(lease.held);
            lease.held -= covered;
            lease.charged = lease.charged.saturating_add(cost);
            self.held -= covered;
        }
    }

    /// Takes money back out of a lease.
    pub fn give_back(&mut self, lease: &mut LeaseRow, nanos: i64) {
        let returned = nanos.clamp(0, lease.held.max(0));
        lease.held -= returned;
        self.held -= returned;
    }
}

/// What a node knows of its lease. Calls reserve and settle without a lock; the rest happens under the lock of whoever talks to
/// the database.
///
/// `available` is what the lease ever gave (`known`) less what calls have cost and what calls under way have reserved.
#[derive(Debug)]
pub struct Tally {
    available: AtomicI64,
    known: AtomicI64,
    reserved: AtomicI64,
    aside: AtomicI64,
    /// What the row had been charged with before this tally began; -1 until it is known.
    base: AtomicI64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            available: AtomicI64::new(0),
            known: AtomicI64::new(0),
            reserved: AtomicI64::new(0),
            aside: AtomicI64::new(0),
            base: AtomicI64::new(-1),
        }
    }
}

impl Tally {
    /// Reserves for a call.
    ///
    /// # Errors
    /// How much is missing; nothing was changed.
    pub fn reserve(&self, nanos: i64) -> Result<(), i64> {
        // Counted first, so that nobody takes the lease for idle in between.
        self.reserved.fetch_add(nanos, Ordering::AcqRel);
        let taken = self
            .available
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |available| {
                (available >= nanos).then(|| available - nanos)
            });
        taken.map(drop).map_err(|available| {
            self.reserved.fetch_sub(nanos, Ordering::AcqRel);
            nanos - available
        })
    }

    /// Reserves as much as there is, up to `most`, if that is `least` at least; returns how much. Nothing at all is not enough.
    pub fn reserve_some(&self, least: i64, most: i64) -> Option<i64> {
        self.reserved.fetch_add(most, Ordering::AcqRel);
        let taken = self
            .available
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |available| {
                (available > 0 && available >= least).then(|| available - available.min(most))
            })
            .map_or(0, |available| available.min(most));
        self.reserved.fetch_sub(most - taken, Ordering::AcqRel);
        (taken > 0).then_some(taken)
    }

    /// Ends a call that had reserved and has cost something: less, as much or more.
    pub fn settle(&self, reserved: i64, cost: i64) {
        self.available
            .fetch_add(reserved.saturating_sub(cost), Ordering::AcqRel);
        self.reserved.fetch_sub(reserved, Ordering::AcqRel);
    }

    /// Takes over what the lease's row says: the answer to a grant or a return, be it a refusal. The sum of what is held and what
    /// was charged is what the lease ever gave; costs that the database does not have yet stand in `held` until they arrive.
    pub fn learn(&self, row: LeaseRow) {
        let first = self
            .base
            .compare_exchange(-1, row.charged, Ordering::AcqRel, Ordering::Acquire);
        let base = first.map_or_else(|base| base, |_| row.charged);
        let known = row.held.saturating_add(row.charged - base);
        let before = self.known.swap(known, Ordering::AcqRel);
        let aside = self.aside.swap(0, Ordering::AcqRel);
        self.available.fetch_add(known - before + aside, Ordering::AcqRel);
    }

    /// Puts aside up to `most` of what no call needs, to be given back; returns how much is aside. It stays there until
    /// [`Tally::learn`] hears how much of it is still ours: when the answer to a return is lost, nobody spends it meanwhile.
    pub fn withdraw(&self, most: i64) -> i64 {
        let before = self
            .available
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |available| {
                let taken = available.min(most);
                (taken > 0).then(|| available - taken)
            });
        let taken = before.map_or(0, |available| available.min(most));
        self.aside.fetch_add(taken, Ordering::AcqRel);
        taken
    }

    /// What is put aside.
    pub fn aside(&self) -> i64 {
        self.aside.load(Ordering::Acquire)
    }

    /// Whether the lease's row was ever seen.
    pub fn has_learnt(&self) -> bool {
        self.base.load(Ordering::Acquire) >= 0
    }

    pub fn available(&self) -> i64 {
        self.available.load(Ordering::Acquire)
    }

    /// Reserved by calls under way.
    pub fn reserved(&self) -> i64 {
        self.reserved.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
