//! The news that a session has ended, on its way to an application.

use std::time::Duration;

use service_kit::Timestamp;

use super::ids::{ClientId, SessionId, UserId};

/// Nobody tries for longer than this: by then the application's own session has ended, or nobody is there.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// One application that has to hear of one session's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutDelivery {
    pub sid: SessionId,
    pub client: ClientId,
    pub user: UserId,
    /// How often somebody has taken it upon themselves, this time included.
    pub attempts: u32,
    pub queued_at: Timestamp,
    pub ends_at: Timestamp,
}

/// How deliveries are queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutPlan {
    pub at: Timestamp,
    /// Until then they are the caller's own; `None`: whoever looks first takes them.
    pub claimed_until: Option<Timestamp>,
}

impl LogoutPlan {
    /// For whoever ends sessions without staying to tell about it, such as a command.
    pub fn for_anybody(at: Timestamp) -> Self {
        Self {
            at,
            claimed_until: None,
        }
    }

    pub fn ends_at(self) -> Timestamp {
        self.at + GIVE_UP_AFTER
    }
}

impl LogoutDelivery {
    /// When to try again after a failure at `now`; `None`: not at all. `chance` spreads what failed together, so that a host that comes back
    /// is not met by everything at once.
    pub fn next_attempt(&self, now: Timestamp, chance: u16) -> Option<Timestamp> {
        let at = now + wait(self.attempts, chance);
        (at < self.ends_at).then_some(at)
    }
}

/// How long who has tried so often waits before another attempt.
pub fn wait(attempts: u32, chance: u16) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let wait = LONGEST_WAIT.min(FIRST_WAIT * 2_u32.pow(doublings));
    wait / 2 + wait / 2 * u32::from(chance) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(attempts: u32) -> LogoutDelivery {
        let at = Timestamp::from_seconds(1000);
        LogoutDelivery {
            sid: SessionId::new("s"),
            client: ClientId::new("c"),
            user: UserId::new("u"),
            attempts,
            queued_at: at,
            ends_at: LogoutPlan::for_anybody(at).ends_at(),
        }
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour_and_are_spread_over_their_second_half() {
        let now = Timestamp::from_seconds(1000);
        for (attempts, longest) in [(1, 1), (2, 2), (3, 4), (10, 512), (11, 900), (12, 900), (u32::MAX, 900)] {
            let wait = |chance| {
                delivery(attempts)
                    .next_attempt(now, chance)
                    .unwrap()
                    .since(now)
                    .as_millis()
            };
            assert_eq!((wait(0), wait(u16::MAX)), (longest * 500, longest * 1000), "{attempts}");
            assert!((longest * 500..=longest * 1000).contains(&wait(4711)));
        }
    }

    #[test]
    fn after_a_day_nobody_tries_again() {
        let queued_at = delivery(1).queued_at;
        let late = queued_at + GIVE_UP_AFTER - Duration::from_secs(1);
        assert!(delivery(1).next_attempt(late, 0).is_some());
        assert_eq!(delivery(1).next_attempt(late, u16::MAX), None);
        assert_eq!(delivery(99).next_attempt(late, 0), None);
    }
}
