//! `conversation`: whether an interface stores conversations, and how much of one goes along with the next request.

use serde_json::{Map, Value, json};

use super::{Faults, Table};
use crate::domain::{conversation::ConversationPolicy, interface::Policy};

pub(super) fn read_interface(policy: &mut Policy, table: &mut Table, faults: &mut Faults) {
    let Some(mut table) = table.table("conversation", faults) else {
        return;
    };
    let default = ConversationPolicy::default();
    let mut number = |name: &str, most: u32, default: u32| table.number(name, 1..=most, faults).unwrap_or(default);
    policy.conversation = ConversationPolicy {
        max_messages: number(
            "max_messages",
            ConversationPolicy::MOST_IN_CONTEXT,
            default.max_messages,
        ),
        max_context_tokens: number(
            "max_context_tokens",
            ConversationPolicy::MOST_TOKENS,
            default.max_context_tokens,
        ),
        retention_days: number(
            "retention_days",
            ConversationPolicy::LONGEST_DAYS,
            default.retention_days,
        ),
        enabled: table.flag("enabled", default.enabled.is_on(), faults).into(),
    };
    table.finish(faults);
}

/// What is as it is by default is left out.
pub(super) fn render_interface(policy: &Policy, members: &mut Map<String, Value>) {
    let conversation = &policy.conversation;
    if *conversation != ConversationPolicy::default() {
        let value = json!({"enabled": conversation.enabled.is_on(), "max_messages": conversation.max_messages,
            "max_context_tokens": conversation.max_context_tokens, "retention_days": conversation.retention_days});
        members.insert("conversation".to_owned(), value);
    }
}
