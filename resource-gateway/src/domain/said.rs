//! What an answer says, kept to be counted in case its vendor does not.

use std::fmt;

use super::estimate::Weight;

/// Text is kept up to this length: some 16,000 tokens. What is beyond is weighed, and taken to be like what was kept.
const MOST_KEPT: usize = 64 * 1024;
/// Choices, each with its words, its thoughts and its calls.
const MOST_PARTS: usize = 512;
/// Most answers are longer than a word.
const FIRST_ROOM: usize = 256;

/// In what way something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Speech,
    Reasoning,
    ToolCalls,
}

/// The text of an answer, as far as it is known. What is said piece by piece is put together again: the tokens of a text are not those
/// of its pieces.
#[derive(Default)]
pub struct Said {
    parts: Vec<Part>,
    kept: usize,
    beyond: Weight,
}

struct Part {
    choice: u64,
    manner: Manner,
    text: String,
}

/// Tokens of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub tokens: u64,
    /// The part of them that was reasoning.
    pub reasoning: u64,
}

impl Said {
    /// A text in one piece.
    pub fn of(text: &str) -> Self {
        let mut said = Self::default();
        said.add(0, Manner::Speech, text);
        said
    }

    /// The next piece of what one of the choices says in that manner.
    pub fn add(&mut self, choice: u64, manner: Manner, text: &str) {
        // The rest is not kept in crumbs: what follows a gap would not be counted as it was written.
        let room = match self.beyond {
            Weight(0) => MOST_KEPT.saturating_sub(self.kept),
            _ => 0,
        };
        let (text, rest) = text.split_at(text.floor_char_boundary(room));
        self.beyond += Weight::of(rest);
        if text.is_empty() {
            return;
        }
        match self.part(choice, manner) {
            Some(part) => {
                part.text.push_str(text);
                self.kept += text.len();
            }
            None => self.beyond += Weight::of(text),
        }
    }

    fn part(&mut self, choice: u64, manner: Manner) -> Option<&mut Part> {
        // The newest is the likeliest.
        let is_it = |part: &Part| part.choice == choice && part.manner == manner;
        let at = match self.parts.iter().rposition(is_it) {
            Some(at) => at,
            None if self.parts.len() < MOST_PARTS => {
                self.parts.push(Part {
                    choice,
                    manner,
                    text: String::with_capacity(FIRST_ROOM),
                });
                self.parts.len() - 1
            }
            None => return None,
        };
        self.parts.get_mut(at)
    }

    pub fn is_empty(&self) -> bool {
        self.kept == 0 && self.beyond == Weight::default()
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Counts it, text by text. Where `count` fails the text is weighed.
    pub fn count(&self, count: impl Fn(&str) -> Option<u64>) -> Counted {
        let (mut counted, mut weight) = (Counted::default(), Weight::default());
        for part in &self.parts {
            let own = Weight::of(&part.text);
            let tokens = count(&part.text).unwrap_or_else(|| own.tokens());
            weight += own;
            counted.tokens += tokens;
            if part.manner == Manner::Reasoning {
                counted.reasoning += tokens;
            }
        }
        Counted {
            tokens: weight.extended(counted.tokens, self.beyond),
            reasoning: match counted.reasoning {
                0 => 0,
                reasoning => weight.extended(reasoning, self.beyond),
            },
        }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What models say is nobody's business in a log.
        f.debug_struct("Said").field("kept", &self.kept).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words are tokens.
    const WORDS: fn(&str) -> Option<u64> = |text| Some(text.split_whitespace().count() as u64);

    #[test]
    fn pieces_are_counted_as_the_text_that_they_are_of() {
        let mut said = Said::default();
        for piece in ["Hel", "lo", " wor", "ld"] {
            said.add(0, Manner::Speech, piece);
            said.add(1, Manner::Speech, piece);
        }
        said.add(0, Manner::Reasoning, "I think");
        said.add(0, Manner::ToolCalls, "f");
        let counted = said.count(WORDS);
        assert_eq!((counted.tokens, counted.reasoning), (7, 2));
        assert_eq!(said.kept(), 30);
    }

    #[test]
    fn what_is_too_long_to_be_kept_counts_as_what_was_kept() {
        let mut said = Said::default();
        // Three bytes each, so that the bound is inside a character.
        let long = "\u{56db} ".repeat(4096);
        for _ in 0..40 {
            said.add(0, Manner::Speech, &long);
        }
        assert!(said.kept() <= MOST_KEPT && said.kept() > MOST_KEPT - 4);
        let counted = said.count(WORDS).tokens;
        assert!(counted.abs_diff(40 * 4096) < 20, "{counted}");
        // Small pieces behind the gap do not slip in.
        let kept = said.kept();
        said.add(0, Manner::Speech, "a");
        assert_eq!(said.kept(), kept);
    }

    #[test]
    fn choices_without_end_are_bounded() {
        let mut said = Said::default();
        for choice in 0..100_000 {
            said.add(choice, Manner::Speech, "word ");
        }
        assert_eq!(said.parts.len(), MOST_PARTS);
        let counted = said.count(WORDS).tokens;
        assert!((99_000..101_000).contains(&counted), "{counted}");
    }

    #[test]
    fn without_a_vocabulary_it_is_weighed() {
        assert_eq!(Said::of("The quick brown fox").count(|_| None).tokens, 5);
        assert_eq!(Said::default().count(|_| None), Counted::default());
        assert!(Said::default().is_empty() && !Said::of("x").is_empty());
    }

    #[test]
    fn what_was_said_does_not_show() {
        assert_eq!(format!("{:?}", Said::of("secret")), "Said { kept: 6, .. }");
    }
}
