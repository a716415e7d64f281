//! The breaker against a model that keeps the whole history and computes everything anew.

use proptest::prelude::*;

use super::{window::SLOTS, *};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const FAILED: Outcome = Outcome::Failure { cooldown: None };

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures: 3,
        failure_permille: 0,
        open: ms(100),
        max_open: ms(350),
        ..BreakerPolicy::default()
    }
}

fn admit(breaker: &mut Breaker, now: Duration) -> Option<Ticket> {
    breaker.admit(now).map(|(ticket, _)| ticket)
}

/// Fails until the breaker opens.
fn trip(breaker: &mut Breaker, now: Duration) {
    for _ in 0..3 {
        let ticket = admit(breaker, now).unwrap();
        breaker.report(ticket, FAILED, now, &policy());
    }
    assert_eq!(breaker.state_name(), StateName::Open);
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let mut breaker = Breaker::default();
    for outcome in [FAILED, FAILED, Outcome::Success, FAILED, Outcome::Neutral, FAILED] {
        let ticket = admit(&mut breaker, ms(0)).unwrap();
        assert_eq!(breaker.report(ticket, outcome, ms(0), &policy()), None);
    }
    let ticket = admit(&mut breaker, ms(0)).unwrap();
    assert_eq!(
        breaker.report(ticket, FAILED, ms(0), &policy()),
        Some(Transition::Opened)
    );
    assert_eq!(breaker.gate(), Gate::From(ms(100)));
    assert_eq!(admit(&mut breaker, ms(99)), None);
}

#[test]
fn one_probe_at_a_time_decides() {
    let mut breaker = Breaker::default();
    trip(&mut breaker, ms(0));
    let (probe, transition) = breaker.admit(ms(100)).unwrap();
    assert_eq!((probe.pass, transition), (Pass::Probe, Some(Transition::HalfOpened)));
    assert_eq!((breaker.gate(), admit(&mut breaker, ms(5000))), (Gate::Probing, None));
    assert_eq!(breaker.report(probe, Outcome::Neutral, ms(110), &policy()), None);
    let second = admit(&mut breaker, ms(120)).expect("a probe that said nothing is repeated");
    assert_eq!(
        breaker.report(second, Outcome::Success, ms(130), &policy()),
        Some(Transition::Closed)
    );
    assert_eq!(breaker.gate(), Gate::Free);
}

#[test]
fn the_open_time_doubles_up_to_its_cap_and_peace_resets_it() {
    let mut breaker = Breaker::default();
    trip(&mut breaker, ms(0));
    let mut now = ms(100);
    for length in [200, 350, 350] {
        let probe = admit(&mut breaker, now).unwrap();
        breaker.report(probe, FAILED, now, &policy());
        assert_eq!(breaker.gate(), Gate::From(now + ms(length)));
        now += ms(length);
    }
    let probe = admit(&mut breaker, now).unwrap();
    breaker.report(probe, Outcome::Success, now, &policy());
    trip(&mut breaker, now + ms(349));
    assert_eq!(breaker.gate(), Gate::From(now + ms(349 + 350)), "that was no recovery");
    let probe = admit(&mut breaker, now + ms(699)).unwrap();
    breaker.report(probe, Outcome::Success, now + ms(699), &policy());
    trip(&mut breaker, now + ms(699 + 350));
    assert_eq!(breaker.gate(), Gate::From(now + ms(699 + 350 + 100)));
}

#[test]
fn the_longest_wish_to_be_left_alone_counts_but_not_for_ever() {
    let mut breaker = Breaker::default();
    let wish = |millis| Outcome::Failure {
        cooldown: Some(ms(millis)),
    };
    let tickets: Vec<_> = (0..2).map(|_| admit(&mut breaker, ms(0)).unwrap()).collect();
    breaker.report(tickets[0], wish(7000), ms(0), &policy());
    breaker.report(tickets[1], wish(1000), ms(10), &policy());
    assert_eq!(breaker.gate(), Gate::From(ms(7000)));
    assert_eq!(admit(&mut breaker, ms(6999)), None);
    let ticket = admit(&mut breaker, ms(7000)).expect("a cooldown is no open breaker: all may pass afterwards");
    assert_eq!(ticket.pass, Pass::Closed);
    assert!(admit(&mut breaker, ms(7000)).is_some());
    breaker.report(ticket, wish(u64::MAX / 2), ms(7000), &policy());
    assert_eq!(breaker.cooldown_until(), ms(7000) + LONGEST_COOLDOWN);
}

#[test]
fn old_news_changes_nothing_but_the_cooldown() {
    let mut breaker = Breaker::default();
    let old = admit(&mut breaker, ms(0)).unwrap();
    trip(&mut breaker, ms(0));
    assert_eq!(breaker.report(old, Outcome::Success, ms(1), &policy()), None);
    assert_eq!(breaker.gate(), Gate::From(ms(100)));
    let wish = Outcome::Failure {
        cooldown: Some(ms(400)),
    };
    assert_eq!(breaker.report(old, wish, ms(1), &policy()), None);
    assert_eq!(breaker.gate(), Gate::From(ms(401)));
}

#[test]
fn a_last_resort_that_succeeds_closes_and_one_that_fails_postpones_nothing() {
    let mut breaker = Breaker::default();
    trip(&mut breaker, ms(0));
    let ticket = breaker.last_resort();
    assert_eq!(breaker.report(ticket, FAILED, ms(90), &policy()), None);
    assert_eq!(breaker.gate(), Gate::From(ms(100)));
    let ticket = breaker.last_resort();
    assert_eq!(
        breaker.report(ticket, Outcome::Success, ms(95), &policy()),
        Some(Transition::Closed)
    );
    assert!(admit(&mut breaker, ms(95)).is_some());
}

#[test]
fn a_bad_ratio_opens_it_once_there_were_enough_calls() {
    let policy = BreakerPolicy {
        consecutive_failures: 0,
        failure_permille: 500,
        minimum_calls: 10,
        window: ms(1000),
        ..policy()
    };
    let mut breaker = Breaker::default();
    let call = |breaker: &mut Breaker, now: u64, outcome| {
        let ticket = admit(breaker, ms(now)).unwrap();
        breaker.report(ticket, outcome, ms(now), &policy)
    };
    for _ in 0..9 {
        assert_eq!(call(&mut breaker, 0, FAILED), None);
    }
    // The nine are out of the window.
    for at in 0..9 {
        let outcome = if at % 2 == 0 { Outcome::Success } else { FAILED };
        assert_eq!(call(&mut breaker, 1000, outcome), None);
    }
    assert_eq!(call(&mut breaker, 1999, FAILED), Some(Transition::Opened));
}

/// What a test does to a breaker.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Admit,
    LastResort,
    /// Ends the n-th of the calls under way.
    End(usize, Outcome),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        2 => Just(Outcome::Success),
        4 => Just(FAILED),
        1 => (1_u64..400).prop_map(|cooldown| Outcome::Failure { cooldown: Some(ms(cooldown)) }),
        1 => Just(Outcome::Neutral),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u64..120).prop_map(Step::Pass),
        5 => Just(Step::Admit),
        1 => Just(Step::LastResort),
        5 => (0_usize..8, outcome()).prop_map(|(at, outcome)| Step::End(at, outcome)),
    ]
}

/// The same by history: lists of what happened, nothing summed up on the way.
#[derive(Default)]
struct Model {
    /// Times and kinds of changes, the last being the state now: (when, open until).
    opened: Option<Duration>,
    half_open: bool,
    probe: Option<usize>,
    /// Since the last change of state: (when, failed).
    log: Vec<(Duration, bool)>,
    wishes: Vec<Duration>,
    era: usize,
    lengths: Vec<Duration>,
    closed_at: Duration,
}

impl Model {
    fn is_closed(&self) -> bool {
        self.opened.is_none() && !self.half_open
    }

    fn cools(&self, now: Duration) -> bool {
        self.wishes.iter().any(|until| now < *until)
    }

    fn change(&mut self, opened: Option<Duration>, half_open: bool) {
        (self.opened, self.half_open, self.probe) = (opened, half_open, None);
        self.log.clear();
        self.era += 1;
    }

    fn admit(&mut self, now: Duration, id: usize) -> Option<Pass> {
        if self.cools(now) {
            return None;
        }
        if self.is_closed() {
            return Some(Pass::Closed);
        }
        if self.opened.is_some_and(|until| now >= until) {
            self.change(None, true);
        }
        if self.half_open && self.probe.is_none() {
            self.probe = Some(id);
            return Some(Pass::Probe);
        }
        None
    }

    fn open(&mut self, now: Duration, policy: &BreakerPolicy) {
        if self.is_closed() && now >= self.closed_at + policy.max_open {
            self.lengths.clear();
        }
        let next = self
            .lengths
            .last()
            .map_or(policy.open, |last| (*last * 2).min(policy.max_open));
        self.lengths.push(next);
        self.change(Some(now + next), false);
    }

    fn is_bad(&self, now: Duration, policy: &BreakerPolicy) -> bool {
        let row = self.log.iter().rev().take_while(|(_, failed)| *failed).count();
        let slot = |at: Duration| at.as_millis() / (policy.window.as_millis() / u128::from(SLOTS));
        let recent: Vec<_> = self
            .log
            .iter()
            .filter(|(at, _)| slot(*at) + u128::from(SLOTS) > slot(now))
            .collect();
        let failures = recent.iter().filter(|(_, failed)| *failed).count();
        (policy.consecutive_failures > 0 && row >= policy.consecutive_failures as usize)
            || (policy.failure_permille > 0
                && recent.len() >= policy.minimum_calls as usize
                && failures * 1000 >= recent.len() * policy.failure_permille as usize)
    }

    fn end(&mut self, call: &Call, outcome: Outcome, now: Duration, policy: &BreakerPolicy) {
        if let Outcome::Failure { cooldown: Some(wish) } = outcome {
            self.wishes.push(now + wish);
        }
        if call.era != self.era {
            return;
        }
        let close = |model: &mut Self| {
            model.change(None, false);
            model.closed_at = now;
            model.wishes.clear();
        };
        match (call.ticket.pass, outcome) {
            (_, Outcome::Neutral) => self.probe = self.probe.filter(|probe| *probe != call.id),
            (Pass::Probe, Outcome::Success) => close(self),
            (Pass::Probe, Outcome::Failure { .. }) => self.open(now, policy),
            (Pass::LastResort, Outcome::Success) if !self.is_closed() => close(self),
            (Pass::LastResort, Outcome::Failure { .. }) if !self.is_closed() => {}
            (pass, outcome) => {
                let failed = outcome != Outcome::Success;
                if pass == Pass::LastResort && !failed {
                    self.wishes.clear();
                }
                self.log.push((now, failed));
                if failed && self.is_bad(now, policy) {
                    self.open(now, policy);
                }
            }
        }
    }
}

struct Call {
    id: usize,
    ticket: Ticket,
    era: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: proptest::test_runner::RngSeed::Fixed(16), ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_its_history_says(
        steps in prop::collection::vec(step(), 1..200), row in 0_u32..4, permille in prop::sample::select(vec![0_u32, 300, 600]),
    ) {
        let policy = BreakerPolicy {
            consecutive_failures: row,
            failure_permille: permille,
            minimum_calls: 5,
            window: ms(300),
            open: ms(50),
            max_open: ms(180),
        };
        let (mut breaker, mut model, mut now) = (Breaker::default(), Model::default(), ms(0));
        let mut under_way: Vec<Call> = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Pass(millis) => now += ms(millis),
                Step::Admit => {
                    let gate = breaker.gate();
                    let ticket = admit(&mut breaker, now);
                    prop_assert_eq!(ticket.map(|ticket| ticket.pass), model.admit(now, id));
                    let foretold = match gate {
                        Gate::Free => true,
                        Gate::From(from) => now >= from,
                        Gate::Probing => false,
                    };
                    prop_assert_eq!(ticket.is_some(), foretold, "the gate tells what a call will be told");
                    under_way.extend(ticket.map(|ticket| Call { id, ticket, era: model.era }));
                }
                Step::LastResort => {
                    let ticket = breaker.last_resort();
                    under_way.push(Call { id, ticket, era: model.era });
                }
                Step::End(at, outcome) => {
                    if at < under_way.len() {
                        let call = under_way.remove(at);
                        breaker.report(call.ticket, outcome, now, &policy);
                        model.end(&call, outcome, now, &policy);
                    }
                }
            }
            let probes = under_way.iter().filter(|call| call.ticket.pass == Pass::Probe && call.era == model.era);
            prop_assert!(probes.count() <= 1, "one probe at a time");
            let wanted = match (model.is_closed(), model.half_open) {
                (true, _) => StateName::Closed,
                (false, true) => StateName::HalfOpen,
                (false, false) => StateName::Open,
            };
            prop_assert_eq!(breaker.state_name(), wanted);
        }
    }
}
