//! Which address of a pool takes a call. Pure: weights, load, time and chance come in, a place comes out.
//!
//! Shares, not weights, are compared: a share is a weight, scaled down while an address warms up, and 0 while an address must not be
//! picked (drained, its breaker open, tried before). So every strategy honours all of that without knowing of it.

mod dice;
mod hash;
mod latency;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    dice::Dice,
    hash::{HashKey, InvalidHashKey, hash_of, mix, rank},
    latency::{LATENCY_TAU, Latency, penalised},
};

/// The share of an address of weight 1 that has warmed up.
pub const WHOLE: u64 = 1000;

/// An address that has just joined begins with this part of its share, in thousandths: enough to learn how it does.
const FIRST_SHARE: u64 = 100;

/// How far above the average load of its share an address may stand before `consistent_hash` passes it over: a quarter, in percent.
const BOUND_PERCENT: u64 = 125;

/// Latencies below this are alike: what lies beneath is noise beside the time that a model thinks.
const FINEST_MICROS: f64 = 1000.0;

/// One address must be this much cheaper than the other before it is preferred: below that, weights decide.
const CLEARLY_CHEAPER: f64 = 0.8;

/// The addresses of a pool, as they stand now. Answers may change between two questions.
pub trait Members {
    fn count(&self) -> usize;
    /// Its part of the calls relative to the others', [`WHOLE`] per unit of weight; 0: it must not be picked.
    fn share(&self, at: usize) -> u64;
    /// Calls that it works on.
    fn inflight(&self, at: usize) -> u32;
    /// How long it takes to answer, in microseconds; `None` before anything is known.
    fn latency(&self, at: usize) -> Option<f64>;
    /// A number that stands for the address, the same on every gateway.
    fn seed(&self, at: usize) -> u64;
}

fn open(members: &impl Members) -> impl Iterator<Item = (usize, u64)> + Clone {
    (0..members.count())
        .map(|at| (at, members.share(at)))
        .filter(|(_, share)| *share > 0)
}

/// Scales a weight by how long the address has been there.
pub fn share_of(weight: u32, age: Duration, slow_start: Duration) -> u64 {
    if age >= slow_start {
        return u64::from(weight) * WHOLE;
    }
    let part = age.as_millis() * u128::from(WHOLE) / slow_start.as_millis().max(1);
    let part = u64::try_from(part).unwrap_or(WHOLE).clamp(FIRST_SHARE, WHOLE);
    u64::from(weight) * part
}

/// Each in its turn, whatever the weights. An address that warms up lets some of its turns pass.
pub fn round_robin(members: &impl Members, turn: u64, dice: &mut Dice) -> Option<usize> {
    let count = open(members).count();
    let first = usize::try_from(turn % u64::try_from(count.max(1)).ok()?).ok()?;
    let in_turn = open(members).cycle().skip(first).take(count);
    let mut fallback = None;
    for (at, share) in in_turn {
        if share >= WHOLE || dice.below(WHOLE) < share {
            return Some(at);
        }
        fallback.get_or_insert(at);
    }
    fallback
}

/// Each as often as its share says, the calls of each spread out evenly. `turn` counts up and is asked several times.
///
/// One round of turns gives the largest share one call and each other one its part of a call, added up over the rounds; so after
/// as many calls as the weights add up to, each has had its share to the call. No state but the count, and so no lock.
pub fn weighted_round_robin(members: &impl Members, mut turn: impl FnMut() -> u64, dice: &mut Dice) -> Option<usize> {
    let largest = open(members).map(|(_, share)| share).max()?;
    let count = u64::try_from(members.count()).ok()?;
    // The largest share is taken once in each round. Other callers take turns in between, so that it may escape us a few times.
    for _ in 0..count.saturating_mul(4) {
        let turn = turn();
        let (round, place) = (turn / count % largest, turn % count);
        let at = usize::try_from(place).ok()?;
        let share = members.share(at).min(largest);
        // The rounds in which small shares are due are spread, too.
        let offset = largest / count * place;
        if share > 0 && (round * share + offset) % largest >= largest - share {
            return Some(at);
        }
    }
    random(members, dice)
}

/// By chance, in proportion to the shares.
pub fn random(members: &impl Members, dice: &mut Dice) -> Option<usize> {
    pick_except(members, None, dice)
}

/// Draws among all but one.
fn pick_except(members: &impl Members, except: Option<usize>, dice: &mut Dice) -> Option<usize> {
    let others = || open(members).filter(|(at, _)| Some(*at) != except);
    let total: u64 = others().map(|(_, share)| share).sum();
    let mut point = dice.below(total);
    let mut last = None;
    for (at, share) in others() {
        last = Some(at);
        match point.checked_sub(share) {
            Some(rest) => point = rest,
            None => break,
        }
    }
    last
}

/// The one with the fewest calls under way for its share; among equals by chance, in proportion to the shares.
pub fn least_inflight(members: &impl Members, dice: &mut Dice) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    // Shares of all that are as idle as the best.
    let mut equals = 0;
    for (at, share) in open(members) {
        let inflight = u64::from(members.inflight(at));
        let order = best.map_or(std::cmp::Ordering::Less, |(_, least, its_share)| {
            (inflight * its_share).cmp(&(least * share))
        });
        match order {
            std::cmp::Ordering::Less => {
                equals = share;
                best = Some((at, inflight, share));
            }
            std::cmp::Ordering::Equal => {
                equals += share;
                if dice.below(equals) < share {
                    best = Some((at, inflight, share));
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    best.map(|(at, _, _)| at)
}

/// Two are drawn in proportion to their shares; the one that will answer sooner is taken. When neither is clearly better it is the
/// first drawn, so that an idle pool keeps to its weights.
///
/// A pick among all would send every caller to the same best address at once; of two, the choice stays spread.
pub fn p2c_ewma(members: &impl Members, dice: &mut Dice) -> Option<usize> {
    let first = random(members, dice)?;
    let Some(second) = pick_except(members, Some(first), dice) else {
        return Some(first);
    };
    let (here, there) = (members.latency(first), members.latency(second));
    // What is not known of one is taken to be like the other.
    let latency = |of: Option<f64>| of.or(here).or(there).unwrap_or(FINEST_MICROS).max(FINEST_MICROS);
    let shares = (members.share(first).max(1), members.share(second).max(1));
    let mean = unit(shares.0 + shares.1) / 2.0;
    let cost =
        |at: usize, latency: f64, share: u64| latency * (1.0 + f64::from(members.inflight(at)) * mean / unit(share));
    let cost_here = cost(first, latency(here), shares.0);
    let cost_there = cost(second, latency(there), shares.1);
    Some(match cost_there < cost_here * CLEARLY_CHEAPER {
        true => second,
        false => first,
    })
}

/// The same key goes to the same address as long as that one can take it. When an address leaves, only its keys move, and they
/// spread over all others; so do the calls that would load an address a quarter above its part of all calls under way.
///
/// Rendezvous hashing by weight: there is no ring to be rebuilt, and an address that warms up takes its keys over bit by bit.
pub fn consistent_hash(members: &impl Members, key: u64) -> Option<usize> {
    let (mut calls, mut shares) = (1, 0);
    for (at, share) in open(members) {
        calls += u64::from(members.inflight(at));
        shares += share;
    }
    let has_room = |at: usize, share: u64| {
        let limit = (u128::from(calls) * u128::from(share) * u128::from(BOUND_PERCENT))
            .div_ceil(u128::from(shares.max(1)) * 100);
        u128::from(members.inflight(at)) < limit
    };
    let mut best: Option<(usize, f64)> = None;
    let mut fallback: Option<(usize, f64)> = None;
    for (at, share) in open(members) {
        let score = rank(key, members.seed(at), share);
        let place = if has_room(at, share) { &mut best } else { &mut fallback };
        if place.is_none_or(|(_, known)| score > known) {
            *place = Some((at, score));
        }
    }
    // The numbers change while they are read; then one that looked full is better than none.
    best.or(fallback).map(|(at, _)| at)
}

#[expect(clippy::cast_precision_loss, reason = "shares are far below 2^53")]
fn unit(share: u64) -> f64 {
    share as f64
}
