//! What vendors that speak OpenAI's format do otherwise than OpenAI: tables, a constant for each. No code asks which vendor it is.

mod answers;
mod codecs;
mod faults;
mod rewrite;
mod vendors;

#[cfg(test)]
mod tests;

pub(super) use self::answers::{Odd, beside, counts_in, following};
pub use self::codecs::{Shaped, ShapedDialect};
use self::faults::Table;
use super::chat::SUPPORT;
use crate::ports::chat::Support;

/// What is otherwise.
#[derive(Debug)]
pub struct Quirks {
    pub place: Place,
    /// What translated requests can hold. Callers of OpenAI's format say what they like, and hear from the vendor what it does not know.
    pub support: Support,
    /// Members of a chat that the vendor does not know are refused by it, so that callers of OpenAI's format are held to
    /// [`Self::support`] as well.
    pub refuses_unknown: bool,
    /// Members of requests that have another name there.
    pub renames: &'static [(&'static str, &'static str)],
    /// Members whose value is another word there: member, OpenAI's word, the vendor's.
    pub words: &'static [(&'static str, &'static str, &'static str)],
    /// Roles that have another name there.
    pub roles: &'static [(&'static str, &'static str)],
    /// Members of messages that the vendor answers with and does not want back.
    pub kept_back: &'static [&'static str],
    pub call_ids: CallIds,
    pub stream_usage: StreamUsage,
    pub thinking: ThinkingWord,
    /// Reasons for an end for which OpenAI has another word.
    pub finishes: &'static [(&'static str, &'static str)],
    /// An answer that came to its end may not say so, and then stopped by itself.
    pub finish_may_miss: bool,
    /// A `code` other than 0 is a failure, whatever the status says.
    pub code_fails: bool,
    /// What errors mean; `None`: what they mean at OpenAI.
    faults: Option<Table>,
    /// The header that carries the vendor row's `app_id`.
    pub app_id_header: Option<&'static str>,
}

/// Where calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where OpenAI has them.
    Plain,
    /// Behind the deployment that the model's name is, in the version of the vendor's option [`API_VERSION`].
    Deployment,
}

/// What calls of tools may be named in translated requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallIds {
    Any,
    /// Nine letters and digits.
    Nine,
}

/// How a vendor is told whether to think, by callers of other formats than OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingWord {
    /// By OpenAI's `reasoning_effort`: how hard, and never that it should not.
    Effort,
    /// `thinking: {"type": "enabled"}`, or `disabled`.
    Type,
    /// A member of that name, true or false.
    Switch(&'static str),
}

/// How a vendor tells what a stream has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUsage {
    /// It is asked by `stream_options`.
    Asked,
    /// It tells unasked; `stream_options` go only if the caller wrote some.
    Unasked,
    /// It tells unasked, and does not know `stream_options`.
    Unknown,
}

/// The option that names the version of an API.
pub const API_VERSION: &str = "api_version";

impl Quirks {
    /// OpenAI itself: a beginning for tables.
    pub const NONE: Self = Self {
        place: Place::Plain,
        support: SUPPORT,
        refuses_unknown: false,
        renames: &[],
        words: &[],
        roles: &[],
        kept_back: &[],
        call_ids: CallIds::Any,
        stream_usage: StreamUsage::Asked,
        thinking: ThinkingWord::Effort,
        finishes: &[],
        finish_may_miss: false,
        code_fails: false,
        faults: None,
        app_id_header: None,
    };
}

/// OpenAI itself.
pub(super) static PLAIN: Quirks = Quirks::NONE;
