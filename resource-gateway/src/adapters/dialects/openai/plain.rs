//! Takes out of a translated request what only vendors of other formats have words for: OpenAI refuses members that it does not know.

use serde_json::{Map, Value, json};

use crate::domain::vendor::Vendor;

/// Of a message: what the caller's format says beside it.
const BESIDE: [&str; 4] = ["is_error", "thinking_blocks", "reasoning_content", "cache_control"];
/// Thinking up to so many tokens is little, and up to so many not much.
const LITTLE: u64 = 4096;
const SOME: u64 = 16384;

/// Leaves what OpenAI knows.
pub(super) fn only(body: &mut Map<String, Value>, vendor: &Vendor) {
    let list = |name: &str, body: &mut Map<String, Value>| match body.get_mut(name) {
        Some(Value::Array(list)) => std::mem::take(list),
        _ => Vec::new(),
    };
    let mut messages = list("messages", body);
    messages.iter_mut().filter_map(Value::as_object_mut).for_each(message);
    body.insert("messages".to_owned(), Value::Array(messages));
    for tool in body
        .get_mut("tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(tool) = tool.as_object_mut() {
            tool.remove("cache_control");
        }
    }
    if let Some(effort) = body.remove("thinking").as_ref().and_then(effort) {
        body.entry("reasoning_effort").or_insert_with(|| json!(effort));
    }
    // The older name is what servers of this format know; OpenAI's newer models want the newer one.
    if vendor.endpoints().is_empty()
        && let Some(most) = body.remove("max_tokens")
    {
        body.insert("max_completion_tokens".to_owned(), most);
    }
}

fn message(message: &mut Map<String, Value>) {
    for name in BESIDE {
        message.remove(name);
    }
    let answers = message.get("role").is_some_and(|role| role == "tool");
    let Some(content) = message.get_mut("content") else {
        return;
    };
    match content {
        // What a tool did not say is nothing.
        Value::Null if answers => *content = json!(""),
        Value::Array(parts) => {
            for part in parts.iter_mut().filter_map(Value::as_object_mut) {
                part.remove("cache_control");
            }
            // Many servers take texts only.
            if let [only] = parts.as_mut_slice()
                && let Some(Value::String(text)) = only.get_mut("text")
            {
                *content = Value::String(std::mem::take(text));
            }
        }
        _ => {}
    }
}

/// How hard to think, where it was said how much.
fn effort(thinking: &Value) -> Option<&'static str> {
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
    match (thinking.get("type")?.as_str()?, budget) {
        ("enabled", Some(..=LITTLE)) => Some("low"),
        ("enabled", None | Some(..=SOME)) => Some("medium"),
        ("enabled", Some(_)) => Some("high"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_formats_are_left_out_or_said_otherwise() {
        let request = json!({
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
                {"role": "assistant", "content": null, "reasoning_content": "r", "thinking_blocks": [], "tool_calls": []},
                {"role": "tool", "tool_call_id": "c", "content": null, "is_error": true, "cache_control": {}},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://a.test/x"}}]}],
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {}}],
            "thinking": {"type": "enabled", "budget_tokens": 4097}, "max_tokens": 5, "top_k": 1,
        });
        let mut body = request.as_object().unwrap().clone();
        only(&mut body, &Vendor::named("v", "openai"));
        let wanted = json!({
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "assistant", "content": null, "tool_calls": []},
                {"role": "tool", "tool_call_id": "c", "content": ""},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://a.test/x"}}]}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "reasoning_effort": "medium", "max_completion_tokens": 5, "top_k": 1,
        });
        assert_eq!(Value::Object(body), wanted);
        for (budget, wanted) in [(4096, "low"), (16384, "medium"), (16385, "high")] {
            assert_eq!(
                effort(&json!({"type": "enabled", "budget_tokens": budget})),
                Some(wanted)
            );
        }
        assert_eq!(effort(&json!({"type": "disabled"})), None);
    }
}
