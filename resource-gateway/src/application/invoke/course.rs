//! Where a call goes first, and where next.

use std::{sync::Arc, time::Duration};

use super::Invocation;
use crate::{
    application::{
        pools::{Member, Permit, Picked, Retry, Tried, key_of},
        registry::{BoundVendor, BoundVendors},
    },
    domain::{
        balance::{Dice, HashKey},
        fault::Fault,
        interface::{Interface, Route},
        plan::{Choice, order_routes},
    },
    ports::codec::Codec,
};

/// A route with what it leads to.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) vendor: &'a Arc<BoundVendor>,
    pub(super) codec: &'a Arc<dyn Codec>,
    pub(super) model: &'a str,
    pub(super) route: &'a Route,
}

/// An address that is called.
pub(super) struct Stop<'a> {
    pub(super) way: Way<'a>,
    pub(super) member: Arc<Member>,
    pub(super) permit: Permit,
}

/// The ways of one call, in the order in which they are tried.
pub(super) struct Course<'a> {
    ways: Vec<Way<'a>>,
    /// Where the last stop was.
    at: usize,
    /// Addresses that were tried on that way.
    tried: Tried,
    dice: Dice,
    invocation: &'a Invocation,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        invocation: &'a Invocation,
        interface: &'a Interface,
        vendors: &'a BoundVendors,
        mut dice: Dice,
    ) -> Self {
        let way = |route: &'a Route| {
            let vendor = vendors.find(&route.vendor)?;
            Some(Way {
                vendor,
                codec: vendor.codec(invocation.capability)?,
                model: route.model.as_str(),
                route,
            })
        };
        let choice = match &interface.policy.sticky {
            None => Choice::Chance(&mut dice),
            Some(by) => Choice::Sticky(key(invocation, by)),
        };
        let order = order_routes(&interface.routes, |route| way(route).is_some(), choice);
        let routes = order.into_iter().filter_map(|at| interface.routes.get(at));
        Self {
            ways: routes.filter_map(way).collect(),
            at: 0,
            tried: Tried::default(),
            dice,
            invocation,
        }
    }

    /// The first stop; `None` when there is no address at all.
    pub(super) fn first(&mut self) -> Option<Stop<'a>> {
        for at in 0..self.ways.len() {
            if let Some(stop) = self.pick(at) {
                return Some(stop);
            }
        }
        self.last_resort(0)
    }

    /// When every address of the routes from `from` on is to be left alone: the one that may be asked soonest. A call that will
    /// probably fail is better than one that certainly does.
    fn last_resort(&mut self, from: usize) -> Option<Stop<'a>> {
        let mut best: Option<(Duration, usize, Way<'a>, Arc<Member>)> = None;
        for (at, way) in self.ways.iter().copied().enumerate().skip(from) {
            let soonest = way.vendor.pool.soonest(&way.route.model, &mut self.dice);
            if let Some((wait, member)) = soonest
                && best.as_ref().is_none_or(|(least, ..)| wait < *least)
            {
                best = Some((wait, at, way, member));
            }
        }
        let (_, at, way, member) = best?;
        self.at = at;
        Some(stop(way, way.vendor.pool.last_resort(member)))
    }

    /// The next stop after one that failed: another address of the same vendor where the address was to blame, else the next route.
    pub(super) fn next(&mut self, failed: &Stop<'_>, fault: &Fault) -> Option<Stop<'a>> {
        self.tried.note(&failed.member);
        let next = match fault.blames_address() {
            true => self.elsewhere(Retry::Address, Retry::Route),
            false => self.by_another_route(Retry::Route),
        };
        if next.is_some() {
            return next;
        }
        let next = self.last_resort(self.at + 1)?;
        self.tried.clear();
        next.way.vendor.pool.meters().retried(Retry::Route);
        Some(next)
    }

    /// A second stop beside one that has not answered yet.
    pub(super) fn beside(&mut self, busy: &Arc<Member>) -> Option<Stop<'a>> {
        self.tried.note(busy);
        self.elsewhere(Retry::Hedge, Retry::Hedge)
    }

    fn elsewhere(&mut self, here: Retry, there: Retry) -> Option<Stop<'a>> {
        if let Some(stop) = self.pick(self.at) {
            stop.way.vendor.pool.meters().retried(here);
            return Some(stop);
        }
        self.by_another_route(there)
    }

    fn by_another_route(&mut self, retry: Retry) -> Option<Stop<'a>> {
        for at in self.at + 1..self.ways.len() {
            self.tried.clear();
            if let Some(stop) = self.pick(at) {
                stop.way.vendor.pool.meters().retried(retry);
                return Some(stop);
            }
        }
        None
    }

    /// How long to wait before the same address may be asked once more, when it is all there is.
    pub(super) fn wait(&mut self, asked: Duration) -> Option<Duration> {
        let [way] = *self.ways.as_slice() else {
            return None;
        };
        if !way.vendor.pool.is_single() {
            return None;
        }
        let (wait, _) = way.vendor.pool.soonest(&way.route.model, &mut self.dice)?;
        Some(wait.max(asked))
    }

    /// The same address once more, unless others have found out that it still fails.
    pub(super) fn again(&mut self, member: &Arc<Member>) -> Option<Stop<'a>> {
        let way = *self.ways.get(self.at)?;
        let picked = way.vendor.pool.again(member)?;
        way.vendor.pool.meters().retried(Retry::Wait);
        Some(stop(way, picked))
    }

    /// Chance, for spreading waits.
    pub(super) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    fn pick(&mut self, at: usize) -> Option<Stop<'a>> {
        let way = *self.ways.get(at)?;
        let pool = &way.vendor.pool;
        let key = if pool.wants_key() {
            key(self.invocation, &pool.hash_key)
        } else {
            0
        };
        let picked = pool.pick(key, &way.route.model, &self.tried, &mut self.dice)?;
        self.at = at;
        Some(stop(way, picked))
    }
}

fn key(invocation: &Invocation, by: &HashKey) -> u64 {
    key_of(by, &invocation.caller, &invocation.headers.0)
}

fn stop(way: Way<'_>, picked: Picked) -> Stop<'_> {
    let Picked { member, permit } = picked;
    Stop { way, member, permit }
}
