//! Real token counts.

use std::sync::{Arc, OnceLock};

use tiktoken_rs::CoreBPE;

/// The tokenizer of the simulator. Its vocabulary is read from the binary on first use.
///
/// `r50k_base` is the smallest vocabulary that there is: the simulator has no model whose counts it would have to meet, and half
/// the tokens are half the memory.
#[derive(Clone, Default)]
pub(super) struct Tokenizer(Arc<OnceLock<Option<CoreBPE>>>);

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("loaded", &self.0.get().is_some())
            .finish()
    }
}

impl Tokenizer {
    /// Text as tokens.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        self.vocabulary()
            .map(|vocabulary| vocabulary.encode_ordinary(text))
            .unwrap_or_default()
    }

    pub(super) fn count(&self, text: &str) -> usize {
        self.encode(text).len()
    }

    /// Text in pieces of one token each; a token that is a part of a character goes with the next.
    pub(super) fn pieces(&self, text: &str) -> Vec<String> {
        let Some(vocabulary) = self.vocabulary() else {
            return vec![text.to_owned()];
        };
        let mut pieces = Vec::new();
        let mut bytes = Vec::new();
        for token in vocabulary.encode_ordinary(text) {
            bytes.extend(vocabulary.decode_bytes(&[token]).unwrap_or_default());
            match String::from_utf8(std::mem::take(&mut bytes)) {
                Ok(piece) => pieces.push(piece),
                Err(partial) => bytes = partial.into_bytes(),
            }
        }
        pieces
    }

    fn vocabulary(&self) -> Option<&CoreBPE> {
        let loaded = self.0.get_or_init(|| {
            tiktoken_rs::r50k_base()
                .inspect_err(|error| tracing::error!(%error, "the tokenizer's vocabulary cannot be read"))
                .ok()
        });
        loaded.as_ref()
    }
}
