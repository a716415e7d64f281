//! Real token counts.

use std::sync::Arc;

use crate::ports;

/// The tokenizer of the simulator.
#[derive(Debug, Clone)]
pub(super) struct Tokenizer(pub(super) Arc<dyn ports::tokenizer::Tokenizer>);

impl Tokenizer {
    /// Text as tokens.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    pub(super) fn count(&self, text: &str) -> usize {
        self.encode(text).len()
    }

    /// Text in pieces of one token each.
    pub(super) fn pieces(&self, text: &str) -> Vec<String> {
        self.0.pieces(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Default for Tokenizer {
        fn default() -> Self {
            Self(Arc::new(crate::adapters::vocabulary::Vocabulary))
        }
    }
}
