//! Text as models read it.

use std::fmt;

/// A vocabulary. What it does takes time: some 100 µs for a kilobyte, and much more when it is asked for the first time. It is not for
/// threads that others wait for.
pub trait Tokenizer: Send + Sync + fmt::Debug {
    /// How many tokens a text has; `None` when they cannot be told.
    fn count(&self, text: &str) -> Option<u64>;
    /// Text as tokens; none when they cannot be told.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// Text in pieces of one token each; a token that is a part of a character goes with the next.
    fn pieces(&self, text: &str) -> Vec<String>;
}
