//! Real token counts, by the vocabulary `o200k_base` of tiktoken, which is a part of the binary.
//!
//! Texts are cut up here, because the crate's own tables hold each token three times, in 200,000 small allocations: 50 MB, where
//! the tokens themselves are one and a half.

use std::{cmp::Reverse, collections::BinaryHeap, error::Error, sync::LazyLock};

use regex::Regex;

use crate::ports::tokenizer::Tokenizer;

/// The vocabulary of OpenAI's models since 2024. Other vendors do not publish theirs, or have one for each model; counts by this one
/// come nearest.
///
/// Read on first use, and once for the process: it is a constant that is too large to be written as one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vocabulary;

static O200K: LazyLock<Option<Tokens>> = LazyLock::new(|| {
    Tokens::load()
        .inspect_err(|error| tracing::error!(%error, "the vocabulary cannot be read"))
        .ok()
});

/// How a text falls into words, within which tokens lie. That is tiktoken's pattern but for the alternative that looks ahead: see
/// [`Tokens::words`].
const WORDS: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"|\s*[\r\n]+",
    r"|\s+",
);

/// All tokens, one behind the other. A token's number is its rank: of two that could be made, the lower one is.
struct Tokens {
    bytes: Box<[u8]>,
    /// Where each of them ends.
    ends: Box<[u32]>,
    /// A hash table of ranks, each one higher; 0 is an empty place.
    places: Box<[u32]>,
    longest: usize,
    word: Regex,
}

impl Tokens {
    fn load() -> Result<Self, Box<dyn Error + Send + Sync>> {
        // Gone at the end of this.
        let source = tiktoken_rs::o200k_base()?;
        let (mut bytes, mut ends, mut longest) = (Vec::new(), Vec::new(), 0);
        // Special tokens stand behind a gap: in texts they are text.
        for rank in 0.. {
            let Ok(token) = source.decode_bytes(&[rank]) else { break };
            longest = longest.max(token.len());
            bytes.extend(token);
            ends.push(u32::try_from(bytes.len())?);
        }
        let mut tokens = Self {
            places: vec![0; (ends.len() * 2).next_power_of_two()].into(),
            bytes: bytes.into(),
            ends: ends.into(),
            longest,
            word: Regex::new(WORDS)?,
        };
        for rank in 0..u32::try_from(tokens.ends.len())? {
            let token = tokens.token(rank);
            let (at, _) = tokens.find(token);
            if let Some(place) = tokens.places.get_mut(at) {
                *place = rank + 1;
            }
        }
        Ok(tokens)
    }

    fn token(&self, rank: u32) -> &[u8] {
        let at = rank as usize;
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let from = at.checked_sub(1).map_or(0, end);
        self.bytes.get(from..end(at)).unwrap_or_default()
    }

    /// The place of a token, and its rank if it is there.
    fn find(&self, token: &[u8]) -> (usize, Option<u32>) {
        // FNV-1a: tokens are short.
        let hash = token.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mask = self.places.len() - 1;
        let mut at = usize::try_from((hash ^ (hash >> 32)) & 0xffff_ffff).unwrap_or(0) & mask;
        // Half the places are empty, so this ends.
        loop {
            match self.places.get(at).copied().unwrap_or(0) {
                0 => return (at, None),
                place if self.token(place - 1) == token => return (at, Some(place - 1)),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn rank(&self, token: &[u8]) -> Option<u32> {
        if token.len() > self.longest {
            return None;
        }
        self.find(token).1
    }

    fn words<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = self.word.find_at(text, at)?;
            let mut word = found.as_str();
            // `\s+(?!\S)`: of several blanks before something else the last one goes with that.
            if found.end() < text.len()
                && let Some(last) = word.chars().next_back().filter(|last| last.is_whitespace())
                && !matches!(last, '\r' | '\n')
                && word.len() > last.len_utf8()
            {
                word = word.get(..word.len() - last.len_utf8()).unwrap_or(word);
            }
            at = found.start() + word.len();
            Some(word)
        })
    }

    fn encode(&self, text: &str, mut tell: impl FnMut(u32)) {
        for word in self.words(text) {
            match self.rank(word.as_bytes()) {
                Some(rank) => tell(rank),
                None => Merge::of(self, word.as_bytes()).run(&mut tell),
            }
        }
    }
}

/// A word on its way from bytes to tokens: the pair of neighbours that makes the token of the lowest rank becomes one, the first of
/// several, until no pair makes a token.
struct Merge<'m> {
    tokens: &'m Tokens,
    word: &'m [u8],
    /// By where a part begins: where it ends, or 0 when it has become a part of another, and where the one before it begins.
    parts: Vec<(usize, usize)>,
    /// Pairs that may become one, by rank, beginning and end. Those that are not there any more are passed over.
    pairs: BinaryHeap<Reverse<(u32, usize, usize)>>,
}

impl<'m> Merge<'m> {
    fn of(tokens: &'m Tokens, word: &'m [u8]) -> Self {
        let parts = (0..word.len()).map(|at| (at + 1, at.saturating_sub(1))).collect();
        let mut merge = Self {
            tokens,
            word,
            parts,
            pairs: BinaryHeap::with_capacity(word.len()),
        };
        for at in 0..word.len() {
            merge.offer(at);
        }
        merge
    }

    fn end(&self, at: usize) -> usize {
        self.parts.get(at).map_or(0, |(end, _)| *end)
    }

    /// The end of the pair that begins there.
    fn end_of_pair(&self, at: usize) -> usize {
        match self.end(at) {
            0 => 0,
            middle => self.end(middle),
        }
    }

    fn offer(&mut self, at: usize) {
        let end = self.end_of_pair(at);
        if let Some(rank) = self.word.get(at..end).and_then(|pair| self.tokens.rank(pair)) {
            self.pairs.push(Reverse((rank, at, end)));
        }
    }

    fn run(mut self, mut tell: impl FnMut(u32)) {
        while let Some(Reverse((_, at, end))) = self.pairs.pop() {
            if self.end_of_pair(at) != end {
                continue;
            }
            let middle = self.end(at);
            if let Some(part) = self.parts.get_mut(middle) {
                part.0 = 0;
            }
            let mut before = at;
            if let Some(part) = self.parts.get_mut(at) {
                part.0 = end;
                before = part.1;
            }
            if let Some(next) = self.parts.get_mut(end) {
                next.1 = at;
            }
            self.offer(at);
            if before != at {
                self.offer(before);
            }
        }
        let mut at = 0;
        while at < self.word.len() {
            let end = self.end(at).max(at + 1);
            // Each byte is a token, and so is all that was made of them.
            if let Some(rank) = self.word.get(at..end).and_then(|part| self.tokens.rank(part)) {
                tell(rank);
            }
            at = end;
        }
    }
}

impl Tokenizer for Vocabulary {
    fn count(&self, text: &str) -> Option<u64> {
        let tokens = O200K.as_ref()?;
        let mut count = 0;
        tokens.encode(text, |_| count += 1);
        Some(count)
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ranks = Vec::new();
        if let Some(tokens) = O200K.as_ref() {
            tokens.encode(text, |rank| ranks.push(rank));
        }
        ranks
    }

    fn pieces(&self, text: &str) -> Vec<String> {
        let Some(tokens) = O200K.as_ref() else {
            return vec![text.to_owned()];
        };
        let mut pieces = Vec::new();
        let mut bytes = Vec::new();
        tokens.encode(text, |rank| {
            bytes.extend_from_slice(tokens.token(rank));
            match String::from_utf8(std::mem::take(&mut bytes)) {
                Ok(piece) => pieces.push(piece),
                Err(partial) => bytes = partial.into_bytes(),
            }
        });
        pieces
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_those_of_the_vocabulary() {
        for (text, tokens) in [
            ("", vec![]),
            ("hello world", vec![24912, 2375]),
            ("Hello, world!", vec![13225, 11, 2375, 0]),
        ] {
            assert_eq!(Vocabulary.encode(text), tokens, "{text}");
            assert_eq!(Vocabulary.count(text), Some(tokens.len() as u64), "{text}");
        }
        // Special tokens of the vocabulary are text here.
        assert!(Vocabulary.count("<|endoftext|>") > Some(1));
    }

    fn same_as_tiktoken(text: &str) {
        let wanted = tiktoken_rs::o200k_base_singleton().encode_ordinary(text);
        assert_eq!(Vocabulary.encode(text), wanted, "{text:?}");
    }

    #[test]
    fn texts_become_the_tokens_that_tiktoken_makes_of_them() {
        for text in [
            include_str!("vocabulary.rs"),
            include_str!("../../../docs/money.md"),
            "It's  what THEY'LL say\u{2019}s,  isn'T it?   ",
            "a  b   c    \n\n  d\t\te \r\n \r\n\tf \n",
            " \u{a0} \u{3000}x\u{2003}\u{2003}y",
            "1234567890 12,345.67 \u{661}\u{662}\u{663}\u{664} \u{2167}x",
            "\u{4eca}\u{5929}\u{5929}\u{6c14}\u{4e0d}\u{9519}\u{ff0c}\u{6211}\u{4eec}\u{53bb}\u{516c}\u{56ed}\u{5427}\u{3002}",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} e\u{301}\u{301} \u{5d0}\u{5d1} \u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940} \u{e44}\u{e17}\u{e22}",
            "fn main() {\n    println!(\"{}\", x[0]/*//*/);\n}\n// ---- ====\n",
            "<|endoftext|><|fim_prefix|>",
            "\0\u{1}\u{7f}\u{feff}\u{fffd}",
        ] {
            same_as_tiktoken(text);
        }
        for unit in PATHOLOGICAL {
            for length in [1, 2, 3, 99, 100, 101, 1000] {
                same_as_tiktoken(&unit.repeat(length));
                same_as_tiktoken(&format!("{}x", unit.repeat(length)));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_the_tokens_that_tiktoken_makes_of_it(text in "\\PC*", spaced in "[ \\t\\r\\n'a-zA-Z0-9\u{e9}\u{4e00}\u{300}!/.]{0,64}") {
            same_as_tiktoken(&text);
            same_as_tiktoken(&spaced);
        }
    }

    #[test]
    fn a_text_is_the_sum_of_its_pieces() {
        for text in [
            "Gr\u{fc}\u{df}e",
            "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
            "\u{56db}\u{5b63} x",
            "a\r\n\t b",
        ] {
            assert_eq!(Vocabulary.pieces(text).concat(), text);
        }
    }

    #[test]
    fn it_takes_little_memory() {
        let tokens = O200K.as_ref().unwrap();
        assert_eq!(tokens.ends.len(), 199_998);
        let bytes = tokens.bytes.len() + 4 * (tokens.ends.len() + tokens.places.len());
        assert!(bytes < 5 << 20, "{bytes}");
    }

    const PATHOLOGICAL: [&str; 20] = [
        "a",
        "A",
        "aA",
        " ",
        "\n",
        " \n",
        "\t ",
        "!",
        "1",
        "\u{56db}",
        "\u{300}",
        "\u{1f600}",
        "'s",
        "a ",
        "  a",
        "\0",
        "/\n",
        "<|endoftext|>",
        "\u{3042}A",
        "ab\u{ad}",
    ];

    /// As much as is counted at once, in the worst that callers can send.
    #[test]
    fn no_text_takes_long() {
        const BYTES: usize = 128 * 1024;
        Vocabulary.count("");
        for unit in PATHOLOGICAL {
            let text = unit.repeat(BYTES / unit.len());
            let began = Instant::now();
            let count = Vocabulary.count(&text);
            let took = began.elapsed();
            println!("{unit:?}: {count:?} {took:?}");
            assert!(count.is_some_and(|count| count > 0), "{unit:?}");
            // Generous: tests are built without optimisation. Something quadratic would take minutes.
            assert!(took < Duration::from_secs(10), "{unit:?}: {took:?}");
        }
    }
}
