//! An interface: what a caller names in `model`; a capability with its policy and its routes to vendors.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    balance::HashKey,
    confidence::Confidence,
    conversation::ConversationPolicy,
    ids::{InterfaceName, ModelName, VendorName},
    job::JobPolicy,
    limits::Limits,
    raw::RawPolicy,
    vendor::Switch,
};

/// A kind of AI work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    Chat,
    Embeddings,
    Transcription,
    Speech,
    Image,
    Ocr,
    Labels,
    Faces,
    Moderation,
    Rerank,
    Raw,
}

impl Capability {
    pub const ALL: [Self; 11] = [
        Self::Chat,
        Self::Embeddings,
        Self::Transcription,
        Self::Speech,
        Self::Image,
        Self::Ocr,
        Self::Labels,
        Self::Faces,
        Self::Moderation,
        Self::Rerank,
        Self::Raw,
    ];

    /// The word in scopes (`ai:chat`), documents and usage rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Transcription => "transcription",
            Self::Speech => "speech",
            Self::Image => "image",
            Self::Ocr => "ocr",
            Self::Labels => "labels",
            Self::Faces => "faces",
            Self::Moderation => "moderation",
            Self::Rerank => "rerank",
            Self::Raw => "raw",
        }
    }

    /// The name in `/ai/invoke/{capability}`.
    pub fn invoke_name(self) -> &'static str {
        match self {
            Self::Chat => "chat_completion",
            Self::Embeddings => "embeddings",
            Self::Transcription => "stt",
            Self::Speech => "tts",
            Self::Image => "image_generation",
            Self::Ocr => "ocr",
            Self::Labels => "image_labels",
            Self::Faces => "face_detection",
            Self::Moderation => "moderation",
            Self::Rerank => "rerank",
            Self::Raw => "raw",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == word)
    }

    pub fn by_invoke_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.invoke_name() == name)
    }
}

/// What callers may ask for, and what happens then.
#[derive(Debug, Clone, PartialEq)]
pub struct Interface {
    pub name: InterfaceName,
    pub capability: Capability,
    pub enabled: Switch,
    /// In the order of the document.
    pub routes: Vec<Route>,
    /// Disabled ones included; [`Interface::field_rules`] gives those that hold.
    pub fields: Vec<FieldRule>,
    pub timeouts: Timeouts,
    pub log: LogPolicy,
    pub policy: Policy,
}

/// What else the operator decided about an interface's calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Calls to vendors that one request may cost, retries and fallbacks together.
    pub max_attempts: u32,
    /// Of the interface as a whole, for all callers together.
    pub limits: Limits,
    /// Calls that belong together take the same route as long as it works.
    pub sticky: Option<HashKey>,
    /// A plain call that has no answer by then is sent once more, to another address; the first answer counts.
    pub hedge_after: Option<Duration>,
    /// Parts of an answer that are less sure are dropped.
    pub min_confidence: Option<Confidence>,
    /// Whether callers may have their calls run later.
    pub jobs: JobPolicy,
    /// For so long an answer is given again to whoever asks the same.
    pub cache_ttl: Option<Duration>,
    /// Whether conversations are stored, and how.
    pub conversation: ConversationPolicy,
    /// What may be asked of vendors where calls are passed on as they are.
    pub raw: Option<Arc<RawPolicy>>,
    /// What becomes of fields that a vendor cannot obey.
    pub when_unsupported: WhenUnsupported,
}

/// What becomes of a field that a vendor cannot obey: a seed where there is none, a penalty that its format has no word for.
///
/// That is about how to answer. What to answer to (a picture, a tool) is never left out: the answer would be to another question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenUnsupported {
    /// The call is not made; another route may take it.
    #[default]
    Refuse,
    /// It is left out, and the caller is told.
    Drop,
}

impl WhenUnsupported {
    pub const ALL: [Self; 2] = [Self::Refuse, Self::Drop];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Drop => "drop",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == text)
    }
}

impl Policy {
    /// More attempts multiply the load of an outage and mend nothing.
    pub const MOST_ATTEMPTS: u32 = 10;
    /// A week, in seconds.
    pub const LONGEST_CACHE: u32 = 7 * 24 * 60 * 60;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            limits: Limits::default(),
            sticky: None,
            hedge_after: None,
            min_confidence: None,
            jobs: JobPolicy::default(),
            cache_ttl: None,
            conversation: ConversationPolicy::default(),
            raw: None,
            when_unsupported: WhenUnsupported::default(),
        }
    }
}

impl Interface {
    /// The field rules that hold, in the order of the document.
    pub fn field_rules(&self) -> impl Iterator<Item = &FieldRule> {
        self.fields.iter().filter(|rule| rule.enabled.is_on())
    }
}

/// One way to serve an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub vendor: VendorName,
    /// What the vendor calls the model.
    pub model: ModelName,
    /// Share of the calls among routes of one priority; 0 drains the route.
    pub weight: u32,
    /// Lower goes first; higher ones are tried only after all lower ones failed.
    pub priority: u32,
}

/// What the operator decided about one field of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldRule {
    pub pointer: JsonPointer,
    pub action: FieldAction,
    pub enabled: Switch,
}

/// What happens to the field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldAction {
    /// The value is set when the caller sent none (`allow_override = true`).
    Fill(Value),
    /// The value is set whatever the caller sent (`allow_override = false`).
    Force(Value),
    /// A request that holds the field is refused (`forbid = true`).
    Forbid,
}

/// A place in a JSON document (RFC 6901), never the whole document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonPointer {
    text: String,
    /// The names on the way, read once and not for every request.
    tokens: Vec<String>,
}

/// The text is not a JSON pointer to a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPointer {
    #[error("must not be empty: a rule is about one field")]
    Empty,
    #[error("is not a JSON pointer; write {0:?}")]
    NoSlash(String),
    // RFC 6901 §3: a tilde is written ~0, a slash inside a name ~1.
    #[error("has a ~ that is not followed by 0 or 1")]
    Escape,
    #[error("is longer than 256 bytes")]
    Long,
}

impl JsonPointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// [`InvalidPointer`].
    pub fn parse(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Err(InvalidPointer::Empty);
        }
        if text.len() > 256 {
            return Err(InvalidPointer::Long);
        }
        if !text.starts_with('/') {
            return Err(InvalidPointer::NoSlash(format!("/{text}")));
        }
        let escapes_well = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if !escapes_well {
            return Err(InvalidPointer::Escape);
        }
        Ok(Self::of_text(text.to_owned()))
    }

    /// The pointer to a member of the whole document.
    pub fn of_member(name: &str) -> Self {
        Self::of_text(format!("/{}", name.replace('~', "~0").replace('/', "~1")))
    }

    fn of_text(text: String) -> Self {
        let names = text.split('/').skip(1);
        let tokens = names.map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        Self { text, tokens }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names on the way, unescaped (RFC 6901 §4): `/a~1b/0` is `a/b`, `0`. There is one at least.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

/// How long each part of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the vendor's connection stands.
    pub connect: Duration,
    /// From sending the request to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// For the whole call, attempts and stream included.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// What is kept about calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPolicy {
    /// Whether refused calls leave a usage row (`rejected`), too. Calls that reached a vendor always leave one.
    pub metadata: Switch,
    /// Whether requests and answers are kept, cut to a number of bytes and without secrets.
    pub payload: Switch,
    /// Whether base64 data in them is kept, too, instead of its length and hash.
    pub image_base64: Switch,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self {
            metadata: Switch::On,
            payload: Switch::Off,
            image_base64: Switch::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_one_word_and_one_invoke_name() {
        for capability in Capability::ALL {
            assert_eq!(Capability::parse(capability.as_str()), Some(capability));
            assert_eq!(Capability::by_invoke_name(capability.invoke_name()), Some(capability));
            assert_eq!(serde_json::to_value(capability).unwrap(), capability.as_str());
        }
    }

    #[test]
    fn every_scope_that_the_provider_offers_opens_a_capability_and_each_has_one() {
        assert_eq!(Capability::ALL.map(Capability::as_str), oauth_wire::AI_CAPABILITIES);
    }

    #[test]
    fn a_pointer_names_one_field() {
        let tokens = |text: &str| JsonPointer::parse(text).map(|p| p.tokens().to_vec());
        assert_eq!(tokens("/temperature").unwrap(), ["temperature"]);
        assert_eq!(tokens("/a~1b/m~0n/0").unwrap(), ["a/b", "m~n", "0"]);
        assert_eq!(tokens("/~01").unwrap(), ["~1"]);
        assert_eq!(JsonPointer::of_member("a/~b").tokens(), ["a/~b"]);
        assert_eq!(tokens(""), Err(InvalidPointer::Empty));
        assert_eq!(tokens("top_p"), Err(InvalidPointer::NoSlash("/top_p".into())));
        assert_eq!(tokens("/a~"), Err(InvalidPointer::Escape));
        assert_eq!(tokens("/a~2"), Err(InvalidPointer::Escape));
    }
}
