//! What a vendor answered, whole or piece by piece.

use serde_json::Value;

use super::Text;

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatReply {
    /// The vendor's own; `None` when it has none.
    pub id: Option<String>,
    pub model: Option<String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    pub choices: Vec<Choice>,
    pub counts: Option<Counts>,
}

/// One answer of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// `None` where the vendor sent no text, or only tool calls.
    pub text: Option<String>,
    pub thoughts: Vec<Thought<'static>>,
    pub refusal: Option<String>,
    pub tool_calls: Vec<ToolUse<'static>>,
    pub finish: Option<Finish>,
    /// OpenAI's `logprobs`, where the vendor has them in that shape.
    pub logprobs: Option<Value>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolUse<'a> {
    /// `None` where the vendor has none: whoever needs one makes one up.
    pub id: Option<Text<'a>>,
    pub name: Text<'a>,
    /// A JSON text, as the model wrote it. May be no JSON at all: models err.
    pub arguments: Text<'a>,
    /// What the vendor wants back with the call: Gemini's `thoughtSignature`.
    pub signature: Option<Text<'a>>,
}

/// A piece of thinking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thought<'a> {
    Text {
        text: Text<'a>,
        /// The vendor's proof that the text is its own; goes back with it.
        signature: Option<Text<'a>>,
    },
    /// What the vendor does not show; goes back as it is.
    Redacted(Text<'a>),
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The vendor's word.
    pub word: String,
    pub reason: FinishReason,
    /// Which of the stop sequences it was, where the vendor says.
    pub sequence: Option<String>,
}

impl Finish {
    pub fn new(word: impl Into<String>, reason: FinishReason) -> Self {
        Self {
            word: word.into(),
            reason,
            sequence: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    /// A vendor's word without a counterpart.
    Other,
}

impl FinishReason {
    /// OpenAI's word. What has no counterpart is told as the vendor's own.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Stop => Some("stop"),
            Self::Length => Some("length"),
            Self::ToolCalls => Some("tool_calls"),
            Self::ContentFilter => Some("content_filter"),
            Self::Other => None,
        }
    }
}

/// Tokens as the vendor counts them; `None`: it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub total: Option<u64>,
    pub cached_input: Option<u64>,
    pub cache_write_input: Option<u64>,
    pub reasoning: Option<u64>,
    /// Input that was read from or written to a cache is not within `input`.
    pub cached_apart: bool,
    /// Reasoning is not within `output`.
    pub reasoning_apart: bool,
}

impl Counts {
    /// Puts two counts of the same answer together: vendors send parts, or the same again and again, and what they say last holds.
    #[must_use]
    pub fn merged(self, newer: Self) -> Self {
        Self {
            input: newer.input.or(self.input),
            output: newer.output.or(self.output),
            total: newer.total.or(self.total),
            cached_input: newer.cached_input.or(self.cached_input),
            cache_write_input: newer.cache_write_input.or(self.cache_write_input),
            reasoning: newer.reasoning.or(self.reasoning),
            cached_apart: self.cached_apart || newer.cached_apart,
            reasoning_apart: self.reasoning_apart || newer.reasoning_apart,
        }
    }

    /// Whether there is any count that can be accounted for: of a total alone nobody knows what was read and what was written, and
    /// they have different prices.
    pub fn says_anything(&self) -> bool {
        self.input.or(self.output).is_some()
    }

    /// All input, whether it came out of a cache or not.
    pub fn all_input(&self) -> u64 {
        let apart = match self.cached_apart {
            true => self
                .cached_input
                .unwrap_or(0)
                .saturating_add(self.cache_write_input.unwrap_or(0)),
            false => 0,
        };
        let known = self.input.or_else(|| Some(self.total?.saturating_sub(self.output?)));
        known.unwrap_or(0).saturating_add(apart)
    }

    /// All output, reasoning included.
    pub fn all_output(&self) -> u64 {
        let apart = match self.reasoning_apart {
            true => self.reasoning.unwrap_or(0),
            false => 0,
        };
        let known = self.output.map(|output| output.saturating_add(apart));
        // The total holds all of it.
        let of_total = || Some(self.total?.saturating_sub(self.input?).max(apart));
        known.or_else(of_total).unwrap_or(apart)
    }
}

/// A piece of a streamed answer. `choice` tells answers apart when there are several.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// What the vendor says of the answer as a whole; may come more than once, and late.
    Head {
        id: Option<String>,
        model: Option<String>,
    },
    Text {
        choice: u32,
        text: String,
    },
    Reasoning {
        choice: u32,
        text: String,
    },
    /// The signature of the reasoning that came before it.
    ReasoningSignature {
        choice: u32,
        signature: String,
    },
    RedactedReasoning {
        choice: u32,
        data: String,
    },
    Refusal {
        choice: u32,
        text: String,
    },
    /// A tool call begins. `call` counts the calls of the choice from 0.
    ToolCall {
        choice: u32,
        call: u32,
        id: Option<String>,
        name: String,
        signature: Option<String>,
    },
    /// More of the arguments' JSON text of a call that has begun.
    Arguments {
        choice: u32,
        call: u32,
        fragment: String,
    },
    Finish {
        choice: u32,
        finish: Finish,
    },
    /// As counted so far: later ones say more.
    Counts(Counts),
}
