//! What is known of one address, and permission to call it. Counters and estimates are single words; only the breaker has a lock, of
//! its own for each address, and calls that find it closed begin without it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::Common;
use crate::{
    domain::{
        balance::{Latency, penalised},
        breaker::{Breaker, BreakerPolicy, Gate, LONGEST_COOLDOWN, Outcome, Pass, StateName, Ticket},
        fault::{Fault, FaultClass},
        ids::ModelName,
    },
    ports::transport::Transport,
};

/// What an address is known by, whatever the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EndpointKey {
    pub(super) vendor: Box<str>,
    /// Another strategy speaks to another server, whatever its URL.
    pub(super) strategy: Box<str>,
    pub(super) url: Box<str>,
    /// One of those that the host stands for; `None`: whatever it stands for.
    pub(super) address: Option<IpAddr>,
}

/// A gate in one word: 0 is free, the largest a probe under way, any other the millisecond from which on it may be asked.
const FREE: u64 = 0;
const PROBING: u64 = u64::MAX;

/// Failed health checks in a row after which an address is down. One may be a mishap.
const CHECKS_UNTIL_DOWN: u8 = 2;

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: Box<str>,
    pub(super) address: Option<IpAddr>,
    transport: Arc<dyn Transport>,
    inflight: AtomicU32,
    latency: AtomicU64,
    gate: AtomicU64,
    /// The breaker's epoch; read only while the gate is free.
    epoch: AtomicU32,
    /// Since when it takes calls, in milliseconds.
    joined: AtomicU64,
    /// Failed health checks in a row; stays at the number that means down.
    failed_checks: AtomicU8,
    breaker: Mutex<Breaker>,
    /// Models whose rate limit is reached, and until when: a vendor limits each by itself.
    limited: Mutex<Vec<(ModelName, Duration)>>,
    /// When the last of them is over, in milliseconds; before that, calls have to look.
    limited_until: AtomicU64,
    common: Arc<Common>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}

/// For the estimate's own clock, which wraps.
fn short_millis(time: Duration) -> u32 {
    u32::try_from(millis(time) & u64::from(u32::MAX)).unwrap_or(0)
}

impl Endpoint {
    pub(super) fn new(key: &EndpointKey, transport: &Arc<dyn Transport>, common: Arc<Common>) -> Self {
        let pinned = key.address.and_then(|address| transport.pinned(address));
        Self {
            url: key.url.clone(),
            address: key.address,
            transport: pinned.unwrap_or_else(|| Arc::clone(transport)),
            inflight: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            gate: AtomicU64::new(FREE),
            epoch: AtomicU32::new(0),
            joined: AtomicU64::new(millis(common.now())),
            failed_checks: AtomicU8::new(0),
            breaker: Mutex::default(),
            limited: Mutex::default(),
            limited_until: AtomicU64::new(0),
            common,
        }
    }

    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    pub(super) fn inflight(&self) -> u32 {
        self.inflight.load(Relaxed)
    }

    pub(super) fn latency(&self, now: Duration) -> Option<f64> {
        let known = Latency::from_bits(self.latency.load(Relaxed));
        known.map(|known| known.faded(short_millis(now)))
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        Duration::from_millis(millis(now).saturating_sub(self.joined.load(Relaxed)))
    }

    pub(super) fn is_up(&self) -> bool {
        self.failed_checks.load(Relaxed) < CHECKS_UNTIL_DOWN
    }

    /// Whether a call would probably be let through.
    pub(super) fn is_open(&self, now: Duration, model: &ModelName) -> bool {
        self.is_up()
            && self.limit(now, model).is_zero()
            && match self.gate.load(Relaxed) {
                FREE => true,
                PROBING => false,
                from => millis(now) >= from,
            }
    }

    /// How much longer the model's rate limit holds.
    fn limit(&self, now: Duration, model: &ModelName) -> Duration {
        if millis(now) >= self.limited_until.load(Relaxed) {
            return Duration::ZERO;
        }
        let limited = self.limited();
        let until = limited.iter().find(|(known, _)| known == model);
        until.map_or(Duration::ZERO, |(_, until)| until.saturating_sub(now))
    }

    fn limited(&self) -> MutexGuard<'_, Vec<(ModelName, Duration)>> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The models whose rate limit is reached, with how long it holds.
    pub(super) fn limits(&self, now: Duration) -> Vec<(ModelName, Duration)> {
        let limited = self.limited();
        let left = limited
            .iter()
            .map(|(model, until)| (model.clone(), until.saturating_sub(now)));
        left.filter(|(_, left)| !left.is_zero()).collect()
    }

    /// Leaves a model alone here for a time. The longest of several wishes counts.
    fn limit_model(&self, model: &ModelName, time: Duration) {
        let now = self.common.now();
        let until = now + time.min(LONGEST_COOLDOWN);
        let mut limited = self.limited();
        limited.retain(|(_, until)| *until > now);
        match limited.iter_mut().find(|(known, _)| known == model) {
            Some((_, known)) => *known = until.max(*known),
            // There are no more models than routes that name them.
            None => limited.push((model.clone(), until)),
        }
        let last = limited.iter().map(|(_, until)| millis(*until) + 1).max().unwrap_or(0);
        self.limited_until.store(last, Relaxed);
    }

    /// How long it is to be left alone by calls for a model; down or probing counts as longest.
    pub(super) fn wait(&self, now: Duration, model: &ModelName) -> Duration {
        self.rest(now).max(self.limit(now, model))
    }

    /// How long it is to be left alone by all calls.
    pub(super) fn rest(&self, now: Duration) -> Duration {
        match self.gate.load(Relaxed) {
            _ if !self.is_up() => Duration::MAX,
            FREE => Duration::ZERO,
            PROBING => Duration::MAX / 2,
            from => Duration::from_millis(from.saturating_sub(millis(now))),
        }
    }

    pub(super) fn admit(self: &Arc<Self>, now: Duration, policy: BreakerPolicy) -> Option<Permit> {
        let epoch = self.epoch.load(Acquire);
        if self.gate.load(Acquire) == FREE {
            return Some(Permit::new(self, Breaker::free_ticket(epoch), policy));
        }
        let mut breaker = self.breaker();
        let (ticket, transition) = breaker.admit(now)?;
        self.publish(&breaker);
        drop(breaker);
        if let Some(transition) = transition {
            self.common.meters.changed(transition);
        }
        Some(Permit::new(self, ticket, policy))
    }

    pub(super) fn last_resort(self: &Arc<Self>, policy: BreakerPolicy) -> Permit {
        let ticket = self.breaker().last_resort();
        self.common.meters.last_resort();
        Permit::new(self, ticket, policy)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, breaker: &Breaker) {
        let word = match breaker.gate() {
            Gate::Free => FREE,
            Gate::Probing => PROBING,
            // Rounded up, so that nobody comes too early, and never the word for free.
            Gate::From(from) => millis(from).saturating_add(1),
        };
        // The epoch first: who sees a free gate must not see an epoch from before.
        self.epoch.store(breaker.epoch(), Release);
        self.gate.store(word, Release);
    }

    fn report(&self, ticket: Ticket, outcome: Outcome, policy: &BreakerPolicy) {
        let now = self.common.now();
        let mut breaker = self.breaker();
        let transition = breaker.report(ticket, outcome, now, policy);
        // A success of a closed breaker changes nothing that others look at.
        if transition.is_some() || outcome != Outcome::Success || ticket.pass != Pass::Closed {
            self.publish(&breaker);
        }
        drop(breaker);
        let Some(transition) = transition else { return };
        self.common.meters.changed(transition);
        if transition == crate::domain::breaker::Transition::Closed {
            self.came_back(now);
        }
        tracing::info!(server.address = &*self.url, breaker = ?transition, "a breaker changed");
    }

    /// Whatever was learned belongs to the time before it was gone.
    fn came_back(&self, now: Duration) {
        self.joined.store(millis(now), Relaxed);
        self.latency.store(0, Relaxed);
    }

    /// Takes in the result of a health check.
    pub(super) fn note_check(&self, passed: bool) {
        let was_up = self.is_up();
        let checks = if passed {
            0
        } else {
            self.failed_checks
                .load(Relaxed)
                .saturating_add(1)
                .min(CHECKS_UNTIL_DOWN)
        };
        self.failed_checks.store(checks, Relaxed);
        if was_up != self.is_up() {
            if passed {
                self.came_back(self.common.now());
            }
            tracing::info!(
                server.address = &*self.url,
                up = passed,
                "health checks changed their mind"
            );
        }
    }

    /// Nobody checks any more, so nobody would notice that it is back.
    pub(super) fn forget_checks(&self) {
        self.failed_checks.store(0, Relaxed);
    }

    fn observe(&self, sample: impl Fn(Option<Latency>, u32) -> f64) {
        let now = short_millis(self.common.now());
        let mut seen = self.latency.load(Relaxed);
        loop {
            let known = Latency::from_bits(seen);
            let next = Latency::observed(known, sample(known, now), now).to_bits();
            match self.latency.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    pub(super) fn state(&self) -> (StateName, Duration) {
        let breaker = self.breaker();
        (breaker.state_name(), breaker.cooldown_until())
    }
}

/// Permission for one call, counted among those under way. Dropped without a word about the call, it counts as one that said
/// nothing: the caller left.
#[derive(Debug)]
pub struct Permit {
    endpoint: Arc<Endpoint>,
    ticket: Ticket,
    policy: BreakerPolicy,
    began: Duration,
    reported: bool,
}

impl Permit {
    fn new(endpoint: &Arc<Endpoint>, ticket: Ticket, policy: BreakerPolicy) -> Self {
        endpoint.inflight.fetch_add(1, Relaxed);
        Self {
            endpoint: Arc::clone(endpoint),
            ticket,
            policy,
            began: endpoint.common.now(),
            reported: false,
        }
    }

    /// The answer has begun: that is what the address is measured by, since how long an answer is lies with the question.
    pub fn answered(&self) {
        let took = self.took_micros();
        self.endpoint.observe(|_, _| took);
    }

    /// The call went well to its end.
    pub fn succeed(&mut self) {
        self.report(Outcome::Success);
    }

    /// The call failed, and the vendor may have asked to be left alone for a while. A rate limit with a time is no failure: the server
    /// does well and says when to come back for the model.
    pub fn fail(&mut self, fault: &Fault, cooldown: Option<Duration>, model: &ModelName) {
        match cooldown {
            Some(time) if fault.class == FaultClass::RateLimit => {
                self.endpoint.limit_model(model, time);
                self.report(Outcome::Neutral);
            }
            cooldown => self.blame(fault, cooldown),
        }
    }

    /// A stream that had begun failed. It has no headers left that could ask for a wait.
    pub fn break_off(&mut self, fault: &Fault) {
        self.blame(fault, None);
    }

    fn blame(&mut self, fault: &Fault, cooldown: Option<Duration>) {
        if !fault.blames_address() {
            return self.report(Outcome::Neutral);
        }
        let took = self.took_micros();
        self.endpoint
            .observe(|known, at| penalised(known.map(|known| known.faded(at)), took));
        self.report(Outcome::Failure { cooldown });
    }

    fn report(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        // What says nothing to a closed breaker need not be said.
        if outcome != Outcome::Neutral || self.ticket.pass == Pass::Probe {
            self.endpoint.report(self.ticket, outcome, &self.policy);
        }
    }

    fn took_micros(&self) -> f64 {
        let took = self.endpoint.common.now().saturating_sub(self.began);
        took.as_secs_f64() * 1_000_000.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.endpoint.inflight.fetch_sub(1, Relaxed);
        self.report(Outcome::Neutral);
    }
}
