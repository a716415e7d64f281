//! Chat in neutral words: what a caller asks for and what a vendor answers, whatever the wire formats of either.
//!
//! A request borrows from the caller's bytes, so that a large picture is not copied before it is encoded.

mod messages;
pub mod proofs;
mod read;
mod reply;
mod responses;
mod tell;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Number, Value, value::RawValue};
use sha2::{Digest as _, Sha256};

use super::signature::hex;

pub use self::{
    messages::messages_to_openai,
    read::{BLOCK_ORDER, OPENAI_WORDS, STORE, data_url},
    reply::{ChatEvent, ChatReply, Choice, Counts, Finish, FinishReason, Thought, ToolUse},
    responses::responses_to_openai,
    tell::{arguments_object, finish_word, is_made_up, made_up_id, named_answer, named_call, thinking, usage},
};

/// Text that is borrowed where it stands in the request without escapes.
pub type Text<'a> = Cow<'a, str>;

/// A request for an answer to a conversation. Its model is the route's business.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatRequest<'a> {
    pub messages: Vec<Message<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice<'a>>,
    pub parallel_tool_calls: Option<bool>,
    pub format: Option<Format<'a>>,
    /// Tokens of output at most, for each choice.
    pub max_tokens: Option<u64>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<Number>,
    pub presence_penalty: Option<Number>,
    pub frequency_penalty: Option<Number>,
    pub stop: Vec<Text<'a>>,
    pub seed: Option<Number>,
    /// Answers at once.
    pub n: Option<u64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u64>,
    /// The caller's own name for the person behind the call.
    pub user: Option<Text<'a>>,
    pub reasoning: Option<Reasoning<'a>>,
    pub stream: bool,
    /// Members that OpenAI has a meaning for and this model has no field for.
    pub openai: Map<String, Value>,
    /// Members that nobody here knows: they are the vendor's, by its own names.
    pub options: Map<String, Value>,
}

/// The caller's own name for a person, within what a vendor takes: a digest stands for a longer one, so that the same person stays the
/// same, and a name never decides whether a call works. Some callers' names are documents.
pub fn user_within(user: &str, most: usize) -> Text<'_> {
    if user.chars().nth(most).is_none() {
        return user.into();
    }
    hex(&Sha256::digest(user)).chars().take(most).collect::<String>().into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    /// OpenAI's newer word for the system.
    Developer,
    User,
    Assistant,
    /// What a tool answered.
    Tool,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool];

    /// OpenAI's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// Whether it instructs the model instead of talking to it.
    pub fn instructs(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    pub role: Role,
    pub content: Content<'a>,
    pub name: Option<Text<'a>>,
    /// Of an assistant's message: what it asked for.
    pub tool_calls: Vec<ToolUse<'a>>,
    /// Of a tool's message: which call it answers.
    pub tool_call_id: Option<Text<'a>>,
    /// Of a tool's message: the tool failed.
    pub is_error: bool,
    /// Of an assistant's message: what it thought before it spoke.
    pub thoughts: Vec<Thought<'a>>,
    /// Of an assistant's message: in which order it thought, spoke and called, where that was another than this.
    pub order: Vec<Block>,
    pub refusal: Option<Text<'a>>,
    /// Of an assistant's message: what it said aloud, by the vendor's name for it.
    pub audio: Option<Value>,
    /// Of a tool's message: Anthropic's `cache_control`, as for parts.
    pub cache: Option<Value>,
}

impl<'a> Message<'a> {
    pub fn new(role: Role, content: Content<'a>) -> Self {
        Self {
            role,
            content,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            is_error: false,
            thoughts: Vec::new(),
            order: Vec::new(),
            refusal: None,
            audio: None,
            cache: None,
        }
    }

    /// All that was said, in the order in which it was said. Vendors that prove thoughts refuse them at another place.
    pub fn blocks(&self) -> Vec<Said<'_, 'a>> {
        let (text, parts) = match &self.content {
            Content::None => (None, &[][..]),
            Content::Text(text) => (Some(text), &[][..]),
            Content::Parts(parts) => (None, parts.as_slice()),
        };
        let mut thoughts = self.thoughts.iter().map(Said::Thought);
        let text = text.map(|text| Said::Text(text));
        let mut parts = text
            .into_iter()
            .chain(parts.iter().enumerate().map(|(at, part)| Said::Part(at, part)));
        let mut calls = self
            .tool_calls
            .iter()
            .enumerate()
            .map(|(at, call)| Said::Call(at, call));
        let mut said = Vec::with_capacity(self.thoughts.len() + self.tool_calls.len() + 2);
        said.extend(self.order.iter().filter_map(|block| match block {
            Block::Thought => thoughts.next(),
            Block::Part => parts.next(),
            Block::Call => calls.next(),
        }));
        said.extend(thoughts.chain(parts));
        said.extend(self.refusal.iter().map(|refusal| Said::Text(refusal)));
        said.extend(calls);
        said
    }
}

/// What an assistant's message is made of, in formats that keep it in one list; first what is commonly first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    Thought,
    Part,
    Call,
}

/// One of the things that a message says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said<'m, 'a> {
    Thought(&'m Thought<'a>),
    Text(&'m str),
    /// With its place among the parts.
    Part(usize, &'m Part<'a>),
    /// With its place among the calls.
    Call(usize, &'m ToolUse<'a>),
}

/// What a message says. One text and a list of one text mean the same; vendors that tell them apart get what the caller wrote.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Content<'a> {
    #[default]
    None,
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

impl<'a> Content<'a> {
    /// All texts one behind the other, with `between` in between.
    pub fn text(&self, between: &str) -> Text<'_> {
        match self {
            Self::None => Cow::Borrowed(""),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Parts(parts) => {
                let texts = parts.iter().filter_map(|part| match &part.kind {
                    PartKind::Text(text) => Some(text.as_ref()),
                    _ => None,
                });
                let texts: Vec<&str> = texts.collect();
                match texts.as_slice() {
                    [only] => Cow::Borrowed(only),
                    texts => Cow::Owned(texts.join(between)),
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Text(text) => text.is_empty(),
            Self::Parts(parts) => parts.is_empty(),
        }
    }

    /// The parts; a text is one.
    pub fn parts(&self) -> Vec<Cow<'_, Part<'a>>> {
        match self {
            Self::None => Vec::new(),
            Self::Text(text) => vec![Cow::Owned(Part::text(text.clone()))],
            Self::Parts(parts) => parts.iter().map(Cow::Borrowed).collect(),
        }
    }

    /// Whether there is anything but text.
    pub fn is_text_only(&self) -> bool {
        match self {
            Self::None | Self::Text(_) => true,
            Self::Parts(parts) => parts.iter().all(|part| matches!(part.kind, PartKind::Text(_))),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Part<'a> {
    pub kind: PartKind<'a>,
    /// Anthropic's `cache_control`: what stands up to here may be kept by the vendor.
    pub cache: Option<Value>,
}

impl<'a> Part<'a> {
    pub fn text(text: Text<'a>) -> Self {
        Self::of(PartKind::Text(text))
    }

    pub fn of(kind: PartKind<'a>) -> Self {
        Self { kind, cache: None }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum PartKind<'a> {
    Text(Text<'a>),
    Image {
        source: Source<'a>,
        /// How closely to look: OpenAI's `low`, `high`, `auto`.
        detail: Option<Text<'a>>,
    },
    /// Sound, in base64.
    Audio {
        data: Text<'a>,
        format: Text<'a>,
    },
    Document {
        source: Source<'a>,
        name: Option<Text<'a>>,
    },
}

/// Where a picture or a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<'a> {
    /// Standard base64, without line breaks.
    Base64 { media_type: Text<'a>, data: Text<'a> },
    /// http, https, or `gs` of Google's storage.
    Url {
        url: Text<'a>,
        /// What lies there, where the caller knows.
        media_type: Option<Text<'a>>,
    },
}

impl Source<'_> {
    /// As one URL, with the bytes in it if they are there (RFC 2397).
    pub fn to_url(&self) -> Text<'_> {
        match self {
            Self::Url { url, .. } => Cow::Borrowed(url),
            Self::Base64 { media_type, data } => Cow::Owned(format!("data:{media_type};base64,{data}")),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool<'a> {
    pub name: Text<'a>,
    pub description: Option<Text<'a>>,
    /// `None` when the caller gave none.
    pub parameters: Option<Schema<'a>>,
    pub strict: Option<bool>,
    pub cache: Option<Value>,
}

/// A JSON schema as its author wrote it: models read its members in their order, which a parsed value does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema<'a>(&'a str);

impl<'a> Schema<'a> {
    /// A text that was read as JSON before.
    pub const fn of(json: &'a str) -> Self {
        Self(json)
    }

    pub fn text(self) -> &'a str {
        self.0
    }

    pub fn value(self) -> Value {
        serde_json::from_str(self.0).unwrap_or_default()
    }
}

impl serde::Serialize for Schema<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text: &RawValue = serde_json::from_str(self.0).map_err(serde::ser::Error::custom)?;
        text.serialize(to)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    Auto,
    None,
    /// Some tool has to be called.
    Required,
    Named(Text<'a>),
}

/// What the answer has to look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Format<'a> {
    Text,
    JsonObject,
    JsonSchema {
        name: Text<'a>,
        description: Option<Text<'a>>,
        schema: Value,
        strict: Option<bool>,
    },
}

/// How much the model may think before it speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning<'a> {
    /// OpenAI's word: `none`, `minimal`, `low`, `medium`, `high`, …
    pub effort: Option<Text<'a>>,
    /// Tokens at most.
    pub budget: Option<u64>,
    /// Whether it thinks at all, where that was said.
    pub enabled: Option<bool>,
    /// The caller leaves that to the model (`auto`), whatever else it says here.
    pub open: bool,
    /// How much of it is shown: Anthropic's `summarized` and `omitted`.
    pub display: Option<Text<'a>>,
}

impl Reasoning<'_> {
    /// Whether to think at all, where that was said in whichever way.
    pub fn thinks(&self) -> Option<bool> {
        let by_effort = self.effort.as_deref().map(|effort| effort != "none");
        let by_budget = self.budget.map(|budget| budget > 0);
        self.enabled.or(by_effort).or(by_budget)
    }
}
