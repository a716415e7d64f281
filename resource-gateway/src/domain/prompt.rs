//! What a request asks a vendor to read, gathered to be counted in case the vendor does not.

use std::fmt;

use serde::de::DeserializeSeed as _;

use super::estimate::{Listener, Texts, Weight};

/// Text is counted up to this length, the rest is weighed and taken to be like it.
const MOST_KEPT: usize = 128 * 1024;
/// What a picture in a conversation counts for. Vendors go by its size, which nobody here looks up; this is what OpenAI takes for
/// one of 1024 by 1024 pixels.
const PICTURE_TOKENS: u64 = 765;

/// The texts of a request, and what of it has a fixed count.
#[derive(Default)]
pub struct Prompt {
    texts: Vec<String>,
    kept: usize,
    beyond: Weight,
    /// Tokens that need no counting.
    tokens: u64,
    images: u64,
    characters: u64,
}

/// What vendors are paid for in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Input {
    pub tokens: u64,
    pub images: u64,
    pub characters: u64,
}

impl Prompt {
    /// A text by itself.
    pub fn read(&mut self, text: &str) {
        let room = match self.beyond {
            Weight(0) => MOST_KEPT.saturating_sub(self.kept),
            _ => 0,
        };
        let (text, rest) = text.split_at(text.floor_char_boundary(room));
        self.beyond += Weight::of(rest);
        if !text.is_empty() {
            self.kept += text.len();
            self.texts.push(text.to_owned());
        }
    }

    /// The texts in a JSON value. What cannot be read was refused before; here it counts nothing.
    pub fn read_json(&mut self, json: &str) {
        let mut reader = serde_json::Deserializer::from_str(json);
        let _ = Texts(self).deserialize(&mut reader);
    }

    /// The same where numbers are tokens, ready made.
    pub fn read_tokens(&mut self, json: &str) {
        let mut reader = serde_json::Deserializer::from_str(json);
        let _ = Texts(&mut ReadyMade(self)).deserialize(&mut reader);
    }

    /// So many tokens beside the texts.
    pub fn add_tokens(&mut self, tokens: u64) {
        self.tokens += tokens;
    }

    /// A picture that is what the request is about.
    pub fn look_at_picture(&mut self) {
        self.images += 1;
    }

    /// A text that is spoken: paid for by the character.
    pub fn speak(&mut self, text: &str) {
        self.characters += text.chars().count() as u64;
    }

    /// Bytes of text that are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Counts it, text by text. Where `count` fails the text is weighed.
    pub fn count(&self, count: impl Fn(&str) -> Option<u64>) -> Input {
        let (mut counted, mut weight) = (0, Weight::default());
        for text in &self.texts {
            let own = Weight::of(text);
            counted += count(text).unwrap_or_else(|| own.tokens());
            weight += own;
        }
        Input {
            tokens: weight.extended(counted, self.beyond).saturating_add(self.tokens),
            images: self.images,
            characters: self.characters,
        }
    }
}

impl Listener for Prompt {
    fn text(&mut self, text: &str) {
        self.read(text);
    }

    fn picture(&mut self) {
        self.tokens += PICTURE_TOKENS;
    }

    fn number(&mut self) {}
}

struct ReadyMade<'p>(&'p mut Prompt);

impl Listener for ReadyMade<'_> {
    fn text(&mut self, text: &str) {
        self.0.read(text);
    }

    fn picture(&mut self) {
        self.0.picture();
    }

    fn number(&mut self) {
        self.0.tokens += 1;
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What people ask is nobody's business in a log.
        f.debug_struct("Prompt")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: fn(&str) -> Option<u64> = |text| Some(text.split_whitespace().count() as u64);

    #[test]
    fn texts_are_counted_one_by_one_and_pictures_by_a_fixed_count() {
        let mut prompt = Prompt::default();
        prompt.read_json(
            r#"{"role":"user","content":[{"type":"text","text":"one two"},{"type":"image_url","image_url":{"url":"data:x y z"}},
                {"type":"input_audio","input_audio":{"data":"a b c"}},{"type":"text","text":"three"}],"n":1}"#,
        );
        prompt.add_tokens(4);
        assert_eq!(prompt.count(WORDS).tokens, 3 + PICTURE_TOKENS + 4);
        prompt.look_at_picture();
        prompt.speak("h\u{e9}llo");
        let input = prompt.count(WORDS);
        assert_eq!((input.images, input.characters), (1, 5));
    }

    #[test]
    fn numbers_are_tokens_where_they_are_ready_made() {
        let mut prompt = Prompt::default();
        prompt.read_tokens(r#"["one two",[1,2,3],4]"#);
        assert_eq!(prompt.count(WORDS).tokens, 6);
    }

    #[test]
    fn what_is_too_long_counts_as_what_was_kept() {
        let mut prompt = Prompt::default();
        for _ in 0..100 {
            prompt.read(&"word ".repeat(1000));
        }
        assert!(prompt.kept() <= MOST_KEPT);
        let counted = prompt.count(WORDS).tokens;
        assert!(counted.abs_diff(100_000) < 10, "{counted}");
    }
}
