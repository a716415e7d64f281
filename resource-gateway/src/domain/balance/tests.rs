//! The definitions of the strategies, by statistics over fixed seeds.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Default)]
struct Pool(Vec<Member>);

#[derive(Debug, Clone, Default)]
struct Member {
    share: u64,
    inflight: u32,
    latency: Option<f64>,
    seed: u64,
}

impl Pool {
    fn of(weights: &[u32]) -> Self {
        let member = |(at, weight): (usize, &u32)| Member {
            share: u64::from(*weight) * WHOLE,
            seed: hash_of(&[&format!("http://node-{at}.test")]),
            ..Member::default()
        };
        Self(weights.iter().enumerate().map(member).collect())
    }
}

impl Members for Pool {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn share(&self, at: usize) -> u64 {
        self.0[at].share
    }
    fn inflight(&self, at: usize) -> u32 {
        self.0[at].inflight
    }
    fn latency(&self, at: usize) -> Option<f64> {
        self.0[at].latency
    }
    fn seed(&self, at: usize) -> u64 {
        self.0[at].seed
    }
}

fn counter() -> impl FnMut() -> u64 {
    let mut turn = 0;
    move || {
        turn += 1;
        turn - 1
    }
}

fn tally(calls: usize, members: usize, mut pick: impl FnMut() -> Option<usize>) -> Vec<usize> {
    let mut counts = vec![0; members];
    for _ in 0..calls {
        counts[pick().unwrap()] += 1;
    }
    counts
}

/// Whether each count is within five standard deviations of its expectation.
fn is_fair(counts: &[usize], weights: &[u32]) -> bool {
    let calls: usize = counts.iter().sum();
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    counts.iter().zip(weights).all(|(count, weight)| {
        let p = f64::from(*weight) / total;
        let (n, count) = (calls as f64, *count as f64);
        (count - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt()
    })
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0_u32..20, 1..8).prop_filter("somebody takes part", |w| w.iter().any(|w| *w > 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(4), ..ProptestConfig::default() })]

    #[test]
    fn nobody_picks_who_has_no_share(weights in weights(), seed: u64, key: u64) {
        let mut pool = Pool::of(&weights);
        for (at, member) in pool.0.iter_mut().enumerate() {
            member.inflight = u32::try_from(at).unwrap() * 3;
            member.latency = (at % 2 == 0).then_some(5000.0 * at as f64);
        }
        let (mut dice, mut turn) = (Dice::new(seed), counter());
        for round in 0..50 {
            for pick in [
                round_robin(&pool, round, &mut dice),
                weighted_round_robin(&pool, &mut turn, &mut dice),
                random(&pool, &mut dice),
                least_inflight(&pool, &mut dice),
                p2c_ewma(&pool, &mut dice),
                consistent_hash(&pool, key.wrapping_add(round)),
            ] {
                prop_assert!(weights[pick.unwrap()] > 0);
            }
        }
    }

    #[test]
    fn round_robin_gives_everybody_the_same(weights in weights(), rounds in 1_u64..20) {
        let pool = Pool::of(&weights);
        let open = weights.iter().filter(|w| **w > 0).count();
        let mut turns = 0..;
        let counts = tally(open * rounds as usize, weights.len(), || round_robin(&pool, turns.next()?, &mut Dice::new(1)));
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert_eq!(*count, if *weight > 0 { rounds as usize } else { 0 });
        }
    }

    #[test]
    fn weighted_round_robin_is_exact_in_every_window_and_smooth_inside(weights in weights(), skip in 0_usize..40) {
        let pool = Pool::of(&weights);
        let total = weights.iter().sum::<u32>() as usize;
        let (mut turn, mut dice) = (counter(), Dice::new(1));
        tally(skip, weights.len(), || weighted_round_robin(&pool, &mut turn, &mut dice));
        let mut counts = vec![0_usize; weights.len()];
        for calls in 1..=total {
            counts[weighted_round_robin(&pool, &mut turn, &mut dice).unwrap()] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let due = calls as f64 * f64::from(*weight) / total as f64;
                prop_assert!((*count as f64 - due).abs() < 3.0, "{:?} after {} calls of {:?}", counts, calls, weights);
            }
        }
        let wanted: Vec<_> = weights.iter().map(|w| *w as usize).collect();
        prop_assert_eq!(counts, wanted);
    }

    #[test]
    fn chance_keeps_to_the_weights(weights in weights(), seed: u64) {
        let (pool, mut dice) = (Pool::of(&weights), Dice::new(seed));
        let counts = tally(4000, weights.len(), || random(&pool, &mut dice));
        prop_assert!(is_fair(&counts, &weights), "{counts:?} {weights:?}");
    }

    #[test]
    fn idle_pools_keep_to_their_weights_under_load_strategies(weights in weights(), seed: u64) {
        let mut pool = Pool::of(&weights);
        // Latencies that differ by less than what is noise.
        for (at, member) in pool.0.iter_mut().enumerate() {
            member.latency = Some(200_000.0 + 1000.0 * at as f64);
        }
        let mut dice = Dice::new(seed);
        let counts = tally(4000, weights.len(), || p2c_ewma(&pool, &mut dice));
        prop_assert!(is_fair(&counts, &weights), "p2c {counts:?} {weights:?}");
        let counts = tally(4000, weights.len(), || least_inflight(&pool, &mut dice));
        prop_assert!(is_fair(&counts, &weights), "least {counts:?} {weights:?}");
    }

    #[test]
    fn least_inflight_is_the_least_for_its_weight(
        members in prop::collection::vec((1_u32..10, 0_u32..50), 1..8), seed: u64,
    ) {
        let mut pool = Pool::of(&members.iter().map(|m| m.0).collect::<Vec<_>>());
        for (member, (_, inflight)) in pool.0.iter_mut().zip(&members) {
            member.inflight = *inflight;
        }
        let (weight, inflight) = members[least_inflight(&pool, &mut Dice::new(seed)).unwrap()];
        for (other, others) in members {
            prop_assert!(inflight * other <= others * weight);
        }
    }

    #[test]
    fn keys_keep_to_the_weights_and_to_their_node(weights in weights(), seed: u64) {
        let pool = Pool::of(&weights);
        let mut dice = Dice::new(seed);
        let keys: Vec<u64> = (0..4000).map(|_| dice.roll()).collect();
        let before: Vec<_> = keys.iter().map(|key| consistent_hash(&pool, *key).unwrap()).collect();
        let mut counts = vec![0; weights.len()];
        for at in &before {
            counts[*at] += 1;
        }
        prop_assert!(is_fair(&counts, &weights), "{counts:?} {weights:?}");
        let again: Vec<_> = keys.iter().map(|key| consistent_hash(&pool, *key).unwrap()).collect();
        prop_assert_eq!(before, again);
    }

    #[test]
    fn only_the_keys_of_a_lost_node_move(nodes in 2_usize..9, lost in 0_usize..9, seed: u64) {
        let lost = lost % nodes;
        let pool = Pool::of(&vec![1; nodes]);
        let mut without = pool.clone();
        without.0[lost].share = 0;
        let mut dice = Dice::new(seed);
        let mut moved = vec![0_usize; nodes];
        for _ in 0..4000 {
            let key = dice.roll();
            let (before, after) = (consistent_hash(&pool, key).unwrap(), consistent_hash(&without, key).unwrap());
            if before == lost {
                moved[after] += 1;
            } else {
                prop_assert_eq!(before, after);
            }
        }
        // About one in n moves …
        let all: usize = moved.iter().sum();
        let mut share = vec![0, all];
        share[0] = 4000 - all;
        prop_assert!(is_fair(&share, &[u32::try_from(nodes).unwrap() - 1, 1]), "{all} of 4000 moved from one of {nodes}");
        // … and they spread over all others.
        moved.remove(lost);
        prop_assert!(is_fair(&moved, &vec![1; nodes - 1]), "{moved:?}");
    }

    #[test]
    fn a_hot_key_cannot_load_one_node_above_its_bound(weights in weights(), seed: u64) {
        let mut pool = Pool::of(&weights);
        let total: u64 = pool.0.iter().map(|m| m.share).sum();
        let mut dice = Dice::new(seed);
        let hot = dice.roll();
        for calls in 1..500_u64 {
            // Half of all calls have the same key.
            let key = if dice.below(2) == 0 { hot } else { dice.roll() };
            let at = consistent_hash(&pool, key).unwrap();
            pool.0[at].inflight += 1;
            let member = &pool.0[at];
            let bound = (1.25 * calls as f64 * member.share as f64 / total as f64).ceil();
            prop_assert!(f64::from(member.inflight) <= bound, "{} over {bound} of {calls} calls", member.inflight);
        }
    }
}

/// A pool in time: `rate` calls each millisecond, each taking what its node takes; returns calls by node.
fn simulate(nodes: &[(u32, u64)], seed: u64, mut pick: impl FnMut(&Pool, &mut Dice) -> Option<usize>) -> Vec<usize> {
    let pool = RefCell::new(Pool::of(&nodes.iter().map(|n| n.0).collect::<Vec<_>>()));
    let mut dice = Dice::new(seed);
    let mut ends: BTreeMap<u64, Vec<(usize, u64)>> = BTreeMap::new();
    let mut known: Vec<Option<Latency>> = vec![None; nodes.len()];
    let mut counts = vec![0; nodes.len()];
    for now in 0..20_000_u64 {
        let now_ms = u32::try_from(now).unwrap();
        for (at, took) in ends.remove(&now).unwrap_or_default() {
            pool.borrow_mut().0[at].inflight -= 1;
            known[at] = Some(Latency::observed(known[at], took as f64 * 1000.0, now_ms));
        }
        for (member, known) in pool.borrow_mut().0.iter_mut().zip(&known) {
            member.latency = known.map(|known| known.faded(now_ms));
        }
        let at = pick(&pool.borrow(), &mut dice).unwrap();
        counts[at] += 1;
        pool.borrow_mut().0[at].inflight += 1;
        // From half to one and a half times the node's own time.
        let took = nodes[at].1 / 2 + dice.below(nodes[at].1 + 1);
        ends.entry(now + took.max(1)).or_default().push((at, took.max(1)));
    }
    counts
}

#[test]
fn one_slow_node_gets_little_under_p2c_and_least_inflight() {
    // Three answer in 50 ms, one in a second.
    let nodes = [(1, 50), (1, 50), (1, 50), (1, 1000)];
    for seed in [1, 2, 3] {
        let by_chance = simulate(&nodes, seed, random);
        assert!(by_chance[3] > 4700, "{by_chance:?}");
        let p2c = simulate(&nodes, seed, p2c_ewma);
        assert!(p2c[3] < 20_000 / 40, "a fifth of its share and less: {p2c:?}");
        assert!(p2c[..3].iter().all(|count| *count > 5500), "{p2c:?}");
        let least = simulate(&nodes, seed, least_inflight);
        assert!(least[3] < 20_000 / 20, "{least:?}");
    }
}

#[test]
fn p2c_and_least_inflight_keep_to_the_weights_when_all_are_equally_quick() {
    let nodes = [(1, 100), (2, 100), (5, 100)];
    for seed in [1, 2, 3] {
        for counts in [simulate(&nodes, seed, p2c_ewma), simulate(&nodes, seed, least_inflight)] {
            for (count, (weight, _)) in counts.iter().zip(nodes) {
                let due = 20_000.0 * f64::from(weight) / 8.0;
                assert!((*count as f64 / due - 1.0).abs() < 0.2, "{counts:?}");
            }
        }
    }
}

#[test]
fn a_slow_start_grows_from_a_tenth_to_the_whole() {
    let at = |ms: u64, slow: u64| share_of(3, Duration::from_millis(ms), Duration::from_millis(slow));
    assert_eq!((at(0, 0), at(5, 0)), (3000, 3000), "switched off");
    assert_eq!((at(0, 1000), at(100, 1000)), (300, 300));
    assert_eq!((at(500, 1000), at(999, 1000), at(1000, 1000)), (1500, 2997, 3000));
    let mut pool = Pool::of(&[1, 1]);
    pool.0[1].share = 100;
    let (mut dice, mut turns) = (Dice::new(9), 0..);
    let counts = tally(10_000, 2, || round_robin(&pool, turns.next()?, &mut dice));
    assert!(
        (450..550).contains(&counts[1]),
        "half of the turns, a tenth of them taken: {counts:?}"
    );
}

#[test]
fn a_node_that_warms_up_takes_its_keys_bit_by_bit_and_no_others() {
    let mut pool = Pool::of(&[1, 1, 1, 1]);
    let mut dice = Dice::new(3);
    let keys: Vec<u64> = (0..4000).map(|_| dice.roll()).collect();
    let mut owned_before = 0;
    pool.0[3].share = 0;
    for share in [100, 400, 700, 1000] {
        let others = |pool: &Pool| -> Vec<_> { keys.iter().map(|key| consistent_hash(pool, *key).unwrap()).collect() };
        let before = others(&pool);
        pool.0[3].share = share;
        let after = others(&pool);
        assert!(
            before.iter().zip(&after).all(|(b, a)| b == a || *a == 3),
            "keys move to the new node only"
        );
        let owned = after.iter().filter(|at| **at == 3).count();
        assert!(owned >= owned_before);
        owned_before = owned;
    }
    assert!((900..1100).contains(&owned_before), "{owned_before}");
}

#[test]
fn a_slow_answer_is_believed_at_once_and_forgotten_slowly() {
    let quick = Latency::observed(None, 1000.0, 0);
    let slow = Latency::observed(Some(quick), 500_000.0, 10);
    assert!((slow.faded(10) - 500_000.0).abs() < 1.0);
    let confirmed = Latency::observed(Some(slow), 1000.0, 20);
    assert!(confirmed.faded(20) > 490_000.0, "one quick answer proves little");
    assert!((slow.faded(10_010) / 500_000.0 - (-1.0_f64).exp()).abs() < 0.001);
    assert!(
        slow.faded(5) > 499_999.0,
        "a clock read by another thread is no time travel"
    );
    assert_eq!(Latency::from_bits(0), None);
    let kept = Latency::from_bits(slow.to_bits()).unwrap();
    assert_eq!((kept.micros, kept.at_ms), (slow.micros, 11));
}

#[test]
fn failing_fast_is_not_being_fast() {
    assert!((penalised(None, 10.0) - 1_000_000.0).abs() < 1.0);
    assert!((penalised(Some(3_000_000.0), 10.0) - 6_000_000.0).abs() < 1.0);
    assert!((penalised(Some(1.0), 4_000_000.0) - 4_000_000.0).abs() < 1.0);
    assert!((penalised(Some(1e9), 1.0) - 60_000_000.0).abs() < 1.0);
}

#[test]
fn a_hash_key_is_a_word_or_a_header() {
    for text in ["user", "client", "session", "header:x-tenant"] {
        assert_eq!(HashKey::parse(text).unwrap().to_text(), text);
    }
    assert_eq!(HashKey::parse("header:X-Tenant").unwrap().to_text(), "header:x-tenant");
    for (text, wrong) in [
        ("", InvalidHashKey::Unknown),
        ("ip", InvalidHashKey::Unknown),
        ("header:", InvalidHashKey::Header),
        ("header:a b", InvalidHashKey::Header),
        ("header:Authorization", InvalidHashKey::Credential),
    ] {
        assert_eq!(HashKey::parse(text), Err(wrong), "{text}");
    }
    assert_ne!(hash_of(&["ab", "c"]), hash_of(&["a", "bc"]));
}
