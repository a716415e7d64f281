//! Stored conversations: whose they are, what of them goes along with the next request, and what is kept of it.

mod answer;
mod window;

use serde::Deserialize;
use service_kit::Timestamp;

pub use self::{
    answer::{AnswerText, message_of},
    window::{Own, Room, choose},
};
pub use super::owner::Owner;
use super::{
    ids::{ConversationId, InterfaceName},
    vendor::Switch,
};

/// No conversation gets longer.
pub const MOST_MESSAGES: u64 = 10_000;
/// What callers write for a conversation that does not exist yet.
pub const NEW: &str = "new";

/// What the operator decided about an interface's conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationPolicy {
    pub enabled: Switch,
    /// Messages of a request, earlier ones included.
    pub max_messages: u32,
    /// Their tokens, as estimated.
    pub max_context_tokens: u32,
    /// Days after its last answer for which a conversation is kept.
    pub retention_days: u32,
}

impl ConversationPolicy {
    /// Each message is a row that has to be read.
    pub const MOST_IN_CONTEXT: u32 = 1000;
    pub const MOST_TOKENS: u32 = 10_000_000;
    pub const LONGEST_DAYS: u32 = 3650;
}

impl Default for ConversationPolicy {
    fn default() -> Self {
        Self {
            enabled: Switch::Off,
            max_messages: 50,
            max_context_tokens: 16_000,
            retention_days: 30,
        }
    }
}

/// The conversation that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    New,
    Earlier(ConversationId),
}

/// A conversation without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    pub id: ConversationId,
    /// Where it takes place. What was said to one interface's vendors is not told to another's.
    pub interface: InterfaceName,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// How many messages it has.
    pub length: u64,
}

/// What is known of a message without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHead {
    /// From 1, without gaps.
    pub number: u64,
    pub role: Role,
    pub bytes: u64,
    pub tokens: u64,
}

/// As far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `system`, or `developer`.
    System,
    /// The result of a tool, which means nothing without the call of it.
    Tool,
    Other,
}

impl Role {
    pub fn parse(word: &str) -> Self {
        match word {
            "system" | "developer" => Self::System,
            "tool" | "function" => Self::Tool,
            _ => Self::Other,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Tool => "tool",
            Self::Other => "other",
        }
    }

    /// Of a message as it is written.
    pub fn of(message: &str) -> Self {
        #[derive(Deserialize)]
        struct Roled<'a> {
            #[serde(borrow, default)]
            role: std::borrow::Cow<'a, str>,
        }
        serde_json::from_str::<Roled<'_>>(message).map_or(Self::Other, |message| Self::parse(&message.role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_apart_as_far_as_it_matters() {
        for (message, role) in [
            (r#"{"role":"system","content":"x"}"#, Role::System),
            (r#"{"content":[{"a":1}],"role":"dev\u0065loper"}"#, Role::System),
            (r#"{"role":"tool"}"#, Role::Tool),
            (r#"{"role":"user"}"#, Role::Other),
            ("{}", Role::Other),
            (r#"{"role":1}"#, Role::Other),
        ] {
            assert_eq!(Role::of(message), role, "{message}");
            assert_eq!(Role::parse(role.as_str()), role);
        }
    }
}
