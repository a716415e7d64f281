//! What is counted of a call if its vendor does not.

use crate::domain::{
    call::Words,
    prompt::{Input, Prompt},
    said::Said,
};

/// A request that is longer is not held on to while its answer is streamed: what it says is looked for at once, and the rest, pictures
/// most often, is let go of.
const MOST_HELD: usize = 64 * 1024;

/// Question and answer.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    pub(super) asked: Asked,
    pub(super) said: Said,
}

#[derive(Debug, Default)]
pub(super) enum Asked {
    #[default]
    Nothing,
    /// As it came.
    Words(Words),
    Gathered(Box<Prompt>),
}

impl Uncounted {
    /// Holds on to no more than texts.
    pub(super) fn lighten(&mut self) {
        if let Asked::Words(words) = &self.asked
            && words.bytes() > MOST_HELD
        {
            self.asked = Asked::Gathered(Box::new(words.gather()));
        }
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        let asked = match &self.asked {
            Asked::Nothing => 0,
            Asked::Words(words) => words.bytes(),
            Asked::Gathered(prompt) => prompt.kept(),
        };
        asked + self.said.kept()
    }

    pub(super) fn count_asked(&self, count: impl Fn(&str) -> Option<u64>) -> Input {
        match &self.asked {
            Asked::Nothing => Input::default(),
            Asked::Words(words) => words.gather().count(count),
            Asked::Gathered(prompt) => prompt.count(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{call::Call, interface::Capability};

    const WORDS: fn(&str) -> Option<u64> = |text| Some(text.split_whitespace().count() as u64);

    fn asked(picture: usize) -> Uncounted {
        let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "x".repeat(picture)}}, {"type": "text", "text": "what is it"}]}]});
        let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
        Uncounted {
            asked: Asked::Words(call.words()),
            said: Said::of("a cat"),
        }
    }

    #[test]
    fn large_requests_are_let_go_of_and_count_the_same() {
        let mut small = asked(1);
        small.lighten();
        assert!(matches!(small.asked, Asked::Words(_)));
        let mut large = asked(MOST_HELD);
        assert!(large.bytes() > MOST_HELD);
        large.lighten();
        assert_eq!(large.bytes(), "what is it".len() + "a cat".len());
        assert_eq!(large.count_asked(WORDS), small.count_asked(WORDS));
        assert_eq!(Uncounted::default().count_asked(WORDS), Input::default());
    }
}
