//! What all nodes keep together in Redis: limits, spent nonces, and answers that are given again.
//!
//! Each has a [`Channel`] of its own, which knows what of Redis does not answer and what that means. Channels share the connections of
//! a [`Link`]; answers are long, and have a link of their own, so that no admission waits behind them.

mod answers;
mod channel;
mod errands;
mod leases;
mod link;
mod lost;
mod nonces;
mod rates;
mod recorded;
mod replies;
mod script;

pub use answers::RedisAnswers;
pub use channel::{Channel, Purpose};
pub use link::Link;
pub use nonces::RedisNonces;
pub use rates::RedisRates;
pub use replies::{RedisReplies, ReplyTimes};

use std::time::Duration;

/// What a node that died held comes free after this.
pub const LEASE: Duration = Duration::from_secs(30);

/// In a cluster a script reaches one node, so what has no parts of its own is spread over so many.
const SPREAD: usize = 16;

/// The parts over which something is spread.
#[derive(Debug)]
struct Spread(Vec<std::sync::Arc<str>>);

impl Spread {
    fn new(name: &str) -> Self {
        Self((0..SPREAD).map(|at| format!("{name}-{at}").into()).collect())
    }

    fn all(&self) -> &[std::sync::Arc<str>] {
        &self.0
    }

    /// The part of something by any byte of its digest.
    fn of(&self, byte: u8, home: &std::sync::Arc<str>) -> std::sync::Arc<str> {
        let part = self.0.get(usize::from(byte) % SPREAD);
        std::sync::Arc::clone(part.unwrap_or(home))
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string never fails.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
