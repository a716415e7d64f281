//! Takes out of a translated request what only vendors of other formats have words for: OpenAI refuses members that it does not know.

use serde_json::{Map, Value, json};

use crate::domain::{
    chat::{BLOCK_ORDER, user_within},
    vendor::{Address, Vendor},
};

/// Of a message: what the caller's format says beside it.
const BESIDE: [&str; 5] = [
    "is_error",
    "thinking_blocks",
    "reasoning_content",
    BLOCK_ORDER,
    "cache_control",
];
/// Longer names of persons are said to be refused.
const MAX_USER_CHARS: usize = 64;
/// Thinking up to so many tokens is little, and up to so many not much.
const LITTLE: u64 = 4096;
const SOME: u64 = 16384;

/// Leaves what OpenAI knows; answers what was said and is not.
pub(super) fn only(body: &mut Map<String, Value>, vendor: &Vendor) -> Vec<String> {
    let list = |name: &str, body: &mut Map<String, Value>| match body.get_mut(name) {
        Some(Value::Array(list)) => std::mem::take(list),
        _ => Vec::new(),
    };
    let mut messages = list("messages", body);
    let takes_lists = is_openais(vendor);
    for said in messages.iter_mut().filter_map(Value::as_object_mut) {
        message(said, takes_lists);
    }
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
    if is_openais(vendor)
        && let Some(most) = body.remove("max_tokens")
    {
        body.insert("max_completion_tokens".to_owned(), most);
    }
    let user = body.get("user").and_then(Value::as_str);
    if let Some(user) = user.map(|user| user_within(user, MAX_USER_CHARS).into_owned()) {
        body.insert("user".to_owned(), user.into());
    }
    // How to choose among no tools is refused.
    let has_tools = body
        .get("tools")
        .and_then(Value::as_array)
        .is_some_and(|tools| !tools.is_empty());
    if !has_tools {
        body.remove("parallel_tool_calls");
        if body
            .get("tool_choice")
            .is_some_and(|choice| choice == "auto" || choice == "none")
        {
            body.remove("tool_choice");
        }
    }
    // A mark on what is kept: OpenAI refuses it where nothing is.
    let is_kept = body.get("store").is_some_and(|store| *store == true);
    match is_openais(vendor) && !is_kept && body.remove("metadata").is_some() {
        true => vec!["metadata".to_owned()],
        false => Vec::new(),
    }
}

/// Whether the models behind it are OpenAI's. They refuse what they do not know, and the newer ones `max_tokens`; all other servers of
/// this format know that name, and may pass over the newer one without a word.
pub(super) fn is_openais(vendor: &Vendor) -> bool {
    let is_openais = |address: &Address| {
        let host = address.url.as_url().host_str().unwrap_or_default();
        ["openai.com", "openai.azure.com"]
            .iter()
            .any(|home| host.strip_suffix(home).is_some_and(|before| before.ends_with('.')))
    };
    match vendor.strategy.as_str() {
        "azure-openai" => true,
        "openai" => vendor.endpoints().iter().all(is_openais),
        _ => false,
    }
}

fn message(message: &mut Map<String, Value>, takes_lists: bool) {
    for name in BESIDE {
        message.remove(name);
    }
    for call in message
        .get_mut("tool_calls")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(call) = call.as_object_mut() {
            call.remove("extra_content");
        }
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
                for held in ["image_url", "file"] {
                    if let Some(Value::Object(held)) = part.get_mut(held) {
                        held.remove("format");
                    }
                }
            }
            // Many servers take texts only.
            let texts: Option<Vec<_>> = parts.iter().map(|part| part.get("text")?.as_str()).collect();
            match texts.as_deref() {
                None | Some([]) => {}
                Some([_, _, ..]) if takes_lists => {}
                Some(texts) => *content = Value::String(texts.join("\n")),
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
    use crate::domain::vendor::BaseUrl;

    #[test]
    fn the_bound_of_an_answer_has_the_name_that_the_server_knows() {
        for (strategy, base_url, newer) in [
            ("openai", None, true),
            ("openai", Some("https://api.openai.com/v1"), true),
            ("openai", Some("https://eu.api.openai.com/v1"), true),
            ("openai", Some("https://x.openai.azure.com/openai/v1"), true),
            ("openai", Some("https://vllm.example/v1"), false),
            ("openai", Some("https://api.notopenai.com/v1"), false),
            ("azure-openai", Some("https://proxy.example"), true),
            ("moonshot", None, false),
            ("dashscope-compatible", None, false),
        ] {
            let mut vendor = Vendor::named("v", strategy);
            vendor.base_url = base_url.map(|url| BaseUrl::parse(url).unwrap());
            let mut body = Map::from_iter([("max_tokens".to_owned(), json!(5))]);
            only(&mut body, &vendor);
            let name = if newer { "max_completion_tokens" } else { "max_tokens" };
            assert_eq!(body[name], 5, "{strategy} {base_url:?}");
        }
    }

    #[test]
    fn what_only_goes_with_something_else_goes_with_it() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let choice = json!({"tool_choice": "auto", "parallel_tool_calls": false});
        let with = |more: &str, value: &Value| {
            let mut body = choice.clone();
            body[more] = value.clone();
            let mut body = body.as_object().unwrap().clone();
            only(&mut body, &Vendor::named("v", "openai"));
            (
                body.contains_key("tool_choice"),
                body.contains_key("parallel_tool_calls"),
            )
        };
        assert_eq!(with("tools", &tools), (true, true));
        assert_eq!(with("tools", &json!([])), (false, false));
        // Who insists is told by the vendor that there are none.
        assert_eq!(with("tool_choice", &json!("required")), (true, false));
        for (body, dropped) in [
            (json!({"metadata": {"k": "v"}}), vec!["metadata".to_owned()]),
            (json!({"metadata": {"k": "v"}, "store": true}), vec![]),
            (json!({}), vec![]),
        ] {
            let mut body = body.as_object().unwrap().clone();
            assert_eq!(only(&mut body, &Vendor::named("v", "openai")), dropped);
        }
    }

    #[test]
    fn a_longer_name_of_a_person_is_said_by_its_digest() {
        let said = |user: &str| {
            let mut body = Map::from_iter([("user".to_owned(), json!(user))]);
            only(&mut body, &Vendor::named("v", "openai"));
            body["user"].as_str().unwrap().to_owned()
        };
        let most = "x".repeat(64);
        assert_eq!(said(&most), most);
        let longer = said(&"x".repeat(65));
        assert!(
            longer.len() == 64 && longer.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{longer}"
        );
    }

    #[test]
    fn what_is_text_alone_is_one_text_for_servers_that_may_take_no_lists() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let picture = json!({"type": "image_url", "image_url": {"url": "https://a.test/x"}});
        let said = |strategy: &str, content: Value| {
            let messages = json!([{"role": "user", "content": content}]);
            let mut body = Map::from_iter([("messages".to_owned(), messages)]);
            only(&mut body, &Vendor::named("v", strategy));
            body["messages"][0]["content"].clone()
        };
        let two = || json!([text("a"), text("b")]);
        assert_eq!(said("moonshot", two()), "a\nb");
        assert_eq!(said("openai", two()), two());
        assert_eq!(said("openai", json!([text("a")])), "a");
        let mixed = || json!([text("a"), picture]);
        // What lies behind a link is said to those who asked for it.
        let told = json!({"type": "image_url", "image_url": {"url": "https://a.test/x", "format": "image/png"}});
        assert_eq!(said("openai", json!([told])), json!([picture]));
        assert_eq!(said("moonshot", mixed()), mixed());
        assert_eq!(said("moonshot", json!([])), json!([]));
    }

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
