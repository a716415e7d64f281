//! When an address is left alone: after failures (circuit breaker), and for as long as it asked for (cooldown).
//!
//! A pure state machine: whoever uses it holds the lock and knows the time.

mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::window::Window;

/// Nobody is left alone for longer, whatever was asked for.
pub const LONGEST_COOLDOWN: Duration = Duration::from_secs(3600);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many failures in a row open it; 0: however many.
    pub consecutive_failures: u32,
    /// So many failures per thousand calls within `window` open it; 0: however many.
    pub failure_permille: u32,
    pub window: Duration,
    /// The ratio says nothing before this many calls.
    pub minimum_calls: u32,
    /// How long it stays open the first time. Each time in a row it doubles …
    pub open: Duration,
    /// … up to this.
    pub max_open: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_permille: 500,
            window: Duration::from_secs(10),
            minimum_calls: 20,
            open: Duration::from_secs(5),
            max_open: Duration::from_secs(60),
        }
    }
}

/// How a call ended, as far as it says something about the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure {
        /// How long the address wants to be left alone.
        cooldown: Option<Duration>,
    },
    /// It says nothing: the caller left, or the request itself was refused.
    Neutral,
}

/// Why a call was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Closed,
    /// The only call at a time that finds out whether an address has recovered.
    Probe,
    /// Every address was to be left alone, so one was asked all the same.
    LastResort,
}

/// Permission for one call. Its outcome is reported with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub pass: Pass,
    /// Outcomes of calls that began under another state are old news.
    epoch: u32,
}

/// A change that operators want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    Opened,
    HalfOpened,
    Closed,
}

/// What a breaker says to a new call, so that it can be read without its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Free,
    /// From that time on it may be asked.
    From(Duration),
    /// A probe is under way.
    Probing,
}

/// The state's name, for `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateName {
    Closed,
    Open,
    HalfOpen,
}

impl StateName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { probing: bool },
}

/// A breaker with its cooldown. Times are since any fixed moment.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    epoch: u32,
    /// Failures since the last success.
    in_a_row: u32,
    window: Window,
    /// Openings without a longer time of peace between them.
    trips: u32,
    closed_at: Duration,
    cooldown_until: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            epoch: 0,
            in_a_row: 0,
            window: Window::default(),
            trips: 0,
            closed_at: Duration::ZERO,
            cooldown_until: Duration::ZERO,
        }
    }
}

impl Breaker {
    /// Asks for permission. When an address has been left alone for long enough, one call gets it, until that one's outcome is
    /// reported.
    pub fn admit(&mut self, now: Duration) -> Option<(Ticket, Option<Transition>)> {
        if now < self.cooldown_until {
            return None;
        }
        match self.state {
            State::Closed => {
                // It is over, and forgotten, so that the gate is free again.
                self.cooldown_until = Duration::ZERO;
                Some((self.ticket(Pass::Closed), None))
            }
            State::Open { until } if now >= until => {
                self.enter(State::HalfOpen { probing: true });
                Some((self.ticket(Pass::Probe), Some(Transition::HalfOpened)))
            }
            State::HalfOpen { probing: false } => {
                self.state = State::HalfOpen { probing: true };
                Some((self.ticket(Pass::Probe), None))
            }
            State::Open { .. } | State::HalfOpen { probing: true } => None,
        }
    }

    /// A ticket for a call that is made whatever the state.
    pub fn last_resort(&self) -> Ticket {
        self.ticket(Pass::LastResort)
    }

    /// Takes in how a call ended.
    pub fn report(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Duration,
        policy: &BreakerPolicy,
    ) -> Option<Transition> {
        if let Outcome::Failure {
            cooldown: Some(cooldown),
        } = outcome
        {
            // Of several wishes the longest counts, also that of a call from long ago.
            let until = now + cooldown.min(LONGEST_COOLDOWN);
            self.cooldown_until = self.cooldown_until.max(until);
        }
        if ticket.epoch != self.epoch {
            return None;
        }
        match (ticket.pass, outcome, self.state) {
            (Pass::Probe, Outcome::Success, _)
            | (Pass::LastResort, Outcome::Success, State::Open { .. } | State::HalfOpen { .. }) => {
                Some(self.close(now))
            }
            (Pass::Probe, Outcome::Failure { .. }, _) => Some(self.open(now, policy)),
            (Pass::Probe, Outcome::Neutral, _) => {
                self.state = State::HalfOpen { probing: false };
                None
            }
            (Pass::LastResort, Outcome::Success, State::Closed) => {
                // It answers although it asked to be left alone.
                self.cooldown_until = Duration::ZERO;
                self.succeed(now, policy);
                None
            }
            (Pass::Closed, Outcome::Success, State::Closed) => {
                self.succeed(now, policy);
                None
            }
            (Pass::Closed | Pass::LastResort, Outcome::Failure { .. }, State::Closed) => self.fail(now, policy),
            // A last resort that fails where nothing else was expected does not put the next probe off.
            (Pass::LastResort, Outcome::Failure { .. }, State::Open { .. } | State::HalfOpen { .. })
            | (Pass::Closed | Pass::LastResort, Outcome::Neutral, _)
            | (Pass::Closed, _, State::Open { .. } | State::HalfOpen { .. }) => None,
        }
    }

    /// What a new call would be told.
    pub fn gate(&self) -> Gate {
        let from = match self.state {
            State::HalfOpen { probing: true } => return Gate::Probing,
            State::Closed if self.cooldown_until == Duration::ZERO => return Gate::Free,
            State::Closed | State::HalfOpen { probing: false } => self.cooldown_until,
            State::Open { until } => until.max(self.cooldown_until),
        };
        Gate::From(from)
    }

    pub fn state_name(&self) -> StateName {
        match self.state {
            State::Closed => StateName::Closed,
            State::Open { .. } => StateName::Open,
            State::HalfOpen { .. } => StateName::HalfOpen,
        }
    }

    /// Until when the address wants to be left alone.
    pub fn cooldown_until(&self) -> Duration {
        self.cooldown_until
    }

    /// Changes with every change of the state.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A ticket for a call that found the gate free.
    pub fn free_ticket(epoch: u32) -> Ticket {
        let pass = Pass::Closed;
        Ticket { pass, epoch }
    }

    fn ticket(&self, pass: Pass) -> Ticket {
        let epoch = self.epoch;
        Ticket { pass, epoch }
    }

    fn succeed(&mut self, now: Duration, policy: &BreakerPolicy) {
        self.in_a_row = 0;
        if policy.failure_permille > 0 {
            self.window.note(now, policy.window, Outcome::Success);
        }
    }

    fn fail(&mut self, now: Duration, policy: &BreakerPolicy) -> Option<Transition> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let row = policy.consecutive_failures > 0 && self.in_a_row >= policy.consecutive_failures;
        let ratio = policy.failure_permille > 0 && {
            self.window
                .note(now, policy.window, Outcome::Failure { cooldown: None });
            let (calls, failures) = self.window.totals(now, policy.window);
            calls >= u64::from(policy.minimum_calls.max(1))
                && failures * 1000 >= calls * u64::from(policy.failure_permille)
        };
        (row || ratio).then(|| self.open(now, policy))
    }

    fn open(&mut self, now: Duration, policy: &BreakerPolicy) -> Transition {
        // What held for a while was a recovery; what follows is trouble of its own.
        if matches!(self.state, State::Closed) && now.saturating_sub(self.closed_at) >= policy.max_open {
            self.trips = 0;
        }
        let factor = 2_u32.saturating_pow(self.trips);
        self.trips = self.trips.saturating_add(1);
        let length = policy.open.saturating_mul(factor).min(policy.max_open);
        self.enter(State::Open { until: now + length });
        Transition::Opened
    }

    fn close(&mut self, now: Duration) -> Transition {
        self.enter(State::Closed);
        self.closed_at = now;
        self.cooldown_until = Duration::ZERO;
        Transition::Closed
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch = self.epoch.wrapping_add(1);
        self.in_a_row = 0;
        self.window = Window::default();
    }
}
