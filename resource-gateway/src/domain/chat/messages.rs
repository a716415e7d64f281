//! Reads a request as Anthropic's callers write it, and writes it as OpenAI's do: in the words that rules, limits and budgets go by.
//!
//! Large texts and numbers are taken over as they are written. Members that nobody here knows are the vendor's.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    Block,
    read::{BLOCK_ORDER, Fields, Read, missing, wrong},
};
use crate::domain::json_object::{elements, quoted};

/// Words of OpenAI's for which this format has others, or none. Taken for an unknown member, one of them would say something else to the
/// gateway than to a vendor that gets the request word for word.
const NOT_ITS_WORDS: [&str; 25] = [
    "audio",
    "conversation_id",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "stop",
    "store",
    "stream_options",
    "top_logprobs",
    "user",
    "verbosity",
    "web_search_options",
];
/// Words that both have.
const SHARED: [&str; 7] = [
    "model",
    "max_tokens",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "thinking",
];

/// An object or an array that is being written.
pub(super) struct Out {
    pub(super) text: String,
    close: char,
}

impl Out {
    pub(super) fn object(room: usize) -> Self {
        let mut text = String::with_capacity(room);
        text.push('{');
        Self { text, close: '}' }
    }

    pub(super) fn array(room: usize) -> Self {
        let mut text = String::with_capacity(room);
        text.push('[');
        Self { text, close: ']' }
    }

    pub(super) fn comma(&mut self) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
    }

    /// A member with a value that is JSON already.
    pub(super) fn member(&mut self, name: &str, raw: &str) {
        self.comma();
        self.text.push_str(&quoted(name));
        self.text.push(':');
        self.text.push_str(raw);
    }

    pub(super) fn maybe(&mut self, name: &str, raw: Option<&str>) {
        if let Some(raw) = raw {
            self.member(name, raw);
        }
    }

    /// An element that is JSON already.
    pub(super) fn element(&mut self, raw: &str) {
        self.comma();
        self.text.push_str(raw);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.len() == 1
    }

    pub(super) fn end(mut self) -> String {
        self.text.push(self.close);
        self.text
    }
}

/// The body of `/v1/messages` as that of a chat completion.
///
/// # Errors
/// What to tell the caller, with the field's path in its own words.
pub fn messages_to_openai(body: &[u8]) -> Read<String> {
    let body = std::str::from_utf8(body).map_err(|_| wrong("", "the body must be UTF-8"))?;
    let mut fields = Fields::parse(body, "")?;
    for name in NOT_ITS_WORDS {
        if fields.raw(name)?.is_some() {
            return Err(wrong(name, "is not one of this format"));
        }
    }
    let mut out = Out::object(body.len() + body.len() / 8);
    for name in SHARED {
        let raw = fields.raw(name)?;
        out.maybe(name, raw);
    }
    out.maybe("stop", fields.raw("stop_sequences")?);
    let mut messages = Out::array(body.len());
    if let Some(raw) = fields.raw("system")? {
        let content = contents(raw, "system", &[Kind::Text])?;
        messages.element(&format!("{{\"role\":\"system\",\"content\":{content}}}"));
    }
    let all = fields.raw("messages")?.ok_or_else(|| missing("messages"))?;
    let all = elements(all).map_err(|_| wrong("messages", "must be an array"))?;
    for (at, raw) in all.into_iter().enumerate() {
        message(raw, format!("messages[{at}]"), &mut messages)?;
    }
    out.member("messages", &messages.end());
    let tools = fields.list("tools")?;
    if !tools.is_empty() {
        let mut list = Out::array(256);
        for (at, raw) in tools.into_iter().enumerate() {
            list.element(&tool(raw, format!("tools[{at}]"))?);
        }
        out.member("tools", &list.end());
    }
    tool_choice(&mut fields, &mut out)?;
    metadata(&mut fields, &mut out)?;
    output_config(&mut fields, &mut out)?;
    if let Some(tier) = fields.text("service_tier")? {
        let tier = if tier == "standard_only" {
            "default".into()
        } else {
            tier
        };
        out.member("service_tier", &quoted(&tier));
    }
    for (name, raw) in fields.rest_raw() {
        out.member(name, raw);
    }
    Ok(out.end())
}

/// What blocks there can be at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Image,
    Document,
}

const SHOWN: [Kind; 3] = [Kind::Text, Kind::Image, Kind::Document];

/// A text, or blocks of the kinds that may be there, as OpenAI's content.
fn contents(raw: &str, path: &str, kinds: &[Kind]) -> Read<String> {
    if raw.starts_with('"') {
        return Ok(raw.to_owned());
    }
    let blocks = elements(raw).map_err(|_| wrong(path, "must be a string or an array of blocks"))?;
    let mut parts = Out::array(raw.len());
    for (at, raw) in blocks.into_iter().enumerate() {
        let mut fields = Fields::parse(raw, format!("{path}[{at}]"))?;
        let kind = fields.required_text("type")?;
        parts.element(&shown(&mut fields, &kind, kinds)?);
    }
    Ok(parts.end())
}

/// A block that shows something, as a part.
fn shown(fields: &mut Fields<'_>, kind: &str, kinds: &[Kind]) -> Read<String> {
    let mut out = Out::object(64);
    match kind {
        "text" if kinds.contains(&Kind::Text) => {
            out.member("type", "\"text\"");
            out.member("text", required(fields, "text")?);
        }
        "image" if kinds.contains(&Kind::Image) => {
            let url = source(fields)?;
            out.member("type", "\"image_url\"");
            out.member("image_url", &format!("{{\"url\":{url}}}"));
        }
        "document" if kinds.contains(&Kind::Document) => {
            let url = source(fields)?;
            let member = if url.starts_with("\"data:") {
                "file_data"
            } else {
                "file_url"
            };
            let title = fields.raw("title")?;
            let title = title.map(|title| format!(",\"filename\":{title}")).unwrap_or_default();
            out.member("type", "\"file\"");
            out.member("file", &format!("{{\"{member}\":{url}{title}}}"));
        }
        other => return Err(unknown_block(fields, other)),
    }
    out.maybe("cache_control", fields.raw("cache_control")?);
    Ok(out.end())
}

/// Where a picture or a document is, as the text of one URL. Base64 is copied once, here.
fn source(fields: &mut Fields<'_>) -> Read<String> {
    let raw = fields.raw("source")?.ok_or_else(|| missing(&fields.at("source")))?;
    let mut source = Fields::parse(raw, fields.at("source"))?;
    match source.required_text("type")?.as_ref() {
        "base64" => {
            let media_type = source.required_text("media_type")?;
            let data = source.required_text("data")?;
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'-' | b'.');
            if !media_type.bytes().all(legal) {
                return Err(wrong(&source.at("media_type"), "must be a media type"));
            }
            if data
                .bytes()
                .any(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')))
            {
                return Err(wrong(&source.at("data"), "must be base64"));
            }
            Ok(["\"data:", media_type.as_ref(), ";base64,", data.as_ref(), "\""].concat())
        }
        "url" => Ok(required(&mut source, "url")?.to_owned()),
        "text" => {
            let data = STANDARD.encode(source.required_text("data")?.as_bytes());
            Ok(["\"data:text/plain;base64,", &data, "\""].concat())
        }
        _ => Err(wrong(
            &source.at("type"),
            "must be base64, url or text here: the gateway keeps no files for vendors",
        )),
    }
}

fn message(raw: &str, path: String, out: &mut Out) -> Read<()> {
    let mut fields = Fields::parse(raw, path)?;
    let role = fields.required_text("role")?;
    let content = required(&mut fields, "content")?;
    let path = fields.at("content");
    match role.as_ref() {
        "user" => user(content, &path, out),
        "assistant" => assistant(content, &path, out),
        _ => Err(wrong(&fields.at("role"), "must be user or assistant")),
    }
}

/// What tools answered comes as messages of their own, before whatever else the user says.
fn user(content: &str, path: &str, out: &mut Out) -> Read<()> {
    if content.starts_with('"') {
        out.element(&format!("{{\"role\":\"user\",\"content\":{content}}}"));
        return Ok(());
    }
    let blocks = elements(content).map_err(|_| wrong(path, "must be a string or an array of blocks"))?;
    let mut parts = Out::array(content.len());
    let mut answered = false;
    for (at, raw) in blocks.into_iter().enumerate() {
        let mut fields = Fields::parse(raw, format!("{path}[{at}]"))?;
        let kind = fields.required_text("type")?;
        if kind != "tool_result" {
            parts.element(&shown(&mut fields, &kind, &SHOWN)?);
            continue;
        }
        answered = true;
        let mut result = Out::object(raw.len() + 32);
        result.member("role", "\"tool\"");
        result.member("tool_call_id", required(&mut fields, "tool_use_id")?);
        let content = match fields.raw("content")? {
            None => "null".to_owned(),
            Some(raw) => contents(raw, &fields.at("content"), &SHOWN)?,
        };
        result.member("content", &content);
        result.maybe("is_error", fields.raw("is_error")?);
        result.maybe("cache_control", fields.raw("cache_control")?);
        out.element(&result.end());
    }
    if !parts.is_empty() || !answered {
        out.element(&format!("{{\"role\":\"user\",\"content\":{}}}", parts.end()));
    }
    Ok(())
}

fn assistant(content: &str, path: &str, out: &mut Out) -> Read<()> {
    if content.starts_with('"') {
        out.element(&format!("{{\"role\":\"assistant\",\"content\":{content}}}"));
        return Ok(());
    }
    let blocks = elements(content).map_err(|_| wrong(path, "must be a string or an array of blocks"))?;
    let (mut parts, mut calls, mut thoughts) = (Out::array(content.len()), Out::array(64), Out::array(64));
    let mut order = Vec::with_capacity(blocks.len());
    for (at, raw) in blocks.into_iter().enumerate() {
        let mut fields = Fields::parse(raw, format!("{path}[{at}]"))?;
        let kind = fields.required_text("type")?;
        match kind.as_ref() {
            "thinking" | "redacted_thinking" => {
                order.push(Block::Thought);
                thoughts.element(raw);
            }
            "tool_use" => {
                order.push(Block::Call);
                let (id, name) = (required(&mut fields, "id")?, required(&mut fields, "name")?);
                let input = fields.raw("input")?.unwrap_or("{}");
                if !input.starts_with('{') {
                    return Err(wrong(&fields.at("input"), "must be an object"));
                }
                let function = format!("{{\"name\":{name},\"arguments\":{}}}", quoted(input));
                calls.element(&format!(
                    "{{\"id\":{id},\"type\":\"function\",\"function\":{function}}}"
                ));
            }
            kind => {
                order.push(Block::Part);
                parts.element(&shown(&mut fields, kind, &[Kind::Text, Kind::Document])?);
            }
        }
    }
    let mut message = Out::object(content.len() + 64);
    message.member("role", "\"assistant\"");
    let said = if parts.is_empty() {
        "null".to_owned()
    } else {
        parts.end()
    };
    message.member("content", &said);
    for (name, list) in [("thinking_blocks", thoughts), ("tool_calls", calls)] {
        if !list.is_empty() {
            message.member(name, &list.end());
        }
    }
    if !order.is_sorted() {
        message.member(BLOCK_ORDER, &json!(order).to_string());
    }
    out.element(&message.end());
    Ok(())
}

fn unknown_block(fields: &Fields<'_>, kind: &str) -> crate::domain::fault::PublicError {
    let kind: String = kind.chars().take(40).collect();
    let why = format!("is {kind:?}, and there can be no such block here");
    wrong(&fields.at("type"), &why)
}

fn tool(raw: &str, path: String) -> Read<String> {
    let mut fields = Fields::parse(raw, path)?;
    if fields.text("type")?.is_some_and(|kind| kind != "custom") {
        return Err(wrong(
            &fields.at("type"),
            "must be custom: tools that a vendor runs itself are not offered here",
        ));
    }
    let mut function = Out::object(raw.len());
    function.member("name", required(&mut fields, "name")?);
    function.maybe("description", fields.raw("description")?);
    function.maybe("parameters", fields.raw("input_schema")?);
    function.maybe("strict", fields.raw("strict")?);
    let mut out = Out::object(raw.len() + 64);
    out.member("type", "\"function\"");
    out.member("function", &function.end());
    out.maybe("cache_control", fields.raw("cache_control")?);
    Ok(out.end())
}

fn tool_choice(fields: &mut Fields<'_>, out: &mut Out) -> Read<()> {
    let Some(raw) = fields.raw("tool_choice")? else {
        return Ok(());
    };
    let mut choice = Fields::parse(raw, fields.at("tool_choice"))?;
    let word = match choice.required_text("type")?.as_ref() {
        "auto" => Cow::Borrowed("\"auto\""),
        "any" => "\"required\"".into(),
        "none" => "\"none\"".into(),
        "tool" => {
            let name = required(&mut choice, "name")?;
            format!("{{\"type\":\"function\",\"function\":{{\"name\":{name}}}}}").into()
        }
        _ => return Err(wrong(&choice.at("type"), "must be auto, any, tool or none")),
    };
    out.member("tool_choice", &word);
    if let Some(one_by_one) = choice.flag("disable_parallel_tool_use")? {
        out.member("parallel_tool_calls", if one_by_one { "false" } else { "true" });
    }
    Ok(())
}

/// The person behind the call is named here; what else there is goes on as it is.
fn metadata(fields: &mut Fields<'_>, out: &mut Out) -> Read<()> {
    let Some(raw) = fields.raw("metadata")? else {
        return Ok(());
    };
    let mut metadata = Fields::parse(raw, fields.at("metadata"))?;
    out.maybe("user", metadata.raw("user_id")?);
    let mut rest = Out::object(raw.len());
    for (name, raw) in metadata.rest_raw() {
        rest.member(name, raw);
    }
    if !rest.is_empty() {
        out.member("metadata", &rest.end());
    }
    Ok(())
}

fn output_config(fields: &mut Fields<'_>, out: &mut Out) -> Read<()> {
    let Some(raw) = fields.raw("output_config")? else {
        return Ok(());
    };
    let thinks = fields.raw("thinking")?.is_some();
    let mut config = Fields::parse(raw, fields.at("output_config"))?;
    if let Some(effort) = config.raw("effort")? {
        out.member("reasoning_effort", effort);
        // Here it says how hard to try, and not that the model should think.
        if !thinks {
            out.member("thinking", "{\"type\":\"auto\"}");
        }
    }
    if let Some(raw) = config.raw("format")? {
        let mut format = Fields::parse(raw, config.at("format"))?;
        if format.required_text("type")? != "json_schema" {
            return Err(wrong(&format.at("type"), "must be json_schema"));
        }
        let schema = required(&mut format, "schema")?;
        let named = json!("answer");
        let format = format!("{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":{named},\"schema\":{schema}}}}}");
        out.member("response_format", &format);
    }
    let mut rest = Out::object(raw.len());
    for (name, raw) in config.rest_raw() {
        rest.member(name, raw);
    }
    if !rest.is_empty() {
        out.member("output_config", &rest.end());
    }
    Ok(())
}

/// A string or another value as it is written.
fn required<'a>(fields: &mut Fields<'a>, name: &str) -> Read<&'a str> {
    fields.raw(name)?.ok_or_else(|| missing(&fields.at(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::chat::ChatRequest;

    fn translated(body: &Value) -> Value {
        let text = messages_to_openai(body.to_string().as_bytes()).unwrap();
        ChatRequest::read(text.as_bytes()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_request_with_everything_in_it_is_said_in_openais_words() {
        let body = json!({
            "model": "m", "max_tokens": 9, "stream": true, "temperature": 0.5, "top_p": 1, "top_k": 3, "stop_sequences": ["x"],
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "hi \"you\""},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
                    {"type": "text", "text": "a", "citations": null}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": "\"b\""}}]},
                {"role": "user", "content": [
                    {"type": "text", "text": "and"},
                    {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}], "is_error": true},
                    {"type": "tool_result", "tool_use_id": "d"},
                    {"type": "image", "source": {"type": "url", "url": "https://a.test/x.png"}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "T"}]}],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "metadata": {"user_id": "u", "more": 1}, "service_tier": "standard_only",
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "own": 1},
            "container": "c",
        });
        let wanted = json!({
            "model": "m", "max_tokens": 9, "stream": true, "temperature": 0.5, "top_p": 1, "top_k": 3, "stop": ["x"],
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "content": "hi \"you\""},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}],
                 "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}],
                 "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"\\\"b\\\"\"}"}}]},
                {"role": "tool", "tool_call_id": "c", "is_error": true, "content": [{"type": "text", "text": "r"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]},
                {"role": "tool", "tool_call_id": "d", "content": null},
                {"role": "user", "content": [{"type": "text", "text": "and"},
                    {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
                    {"type": "file", "file": {"file_data": "data:text/plain;base64,eA==", "filename": "T"}}]}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
                "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
            "user": "u", "metadata": {"more": 1}, "service_tier": "default", "reasoning_effort": "low", "thinking": {"type": "auto"},
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            "output_config": {"own": 1}, "container": "c",
        });
        assert_eq!(translated(&body), wanted);
    }

    #[test]
    fn an_assistants_blocks_keep_their_order() {
        let blocks = json!([
            {"type": "text", "text": "a"},
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {}},
            {"type": "text", "text": "b"}]);
        let body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": blocks}]});
        let message = translated(&body)["messages"][0].clone();
        assert_eq!(message["block_order"], json!(["part", "thought", "call", "part"]));
    }

    #[test]
    fn what_it_has_no_words_for_is_refused_by_its_place() {
        let user = |block: Value| json!({"model": "m", "messages": [{"role": "user", "content": [block]}]});
        for (body, param) in [
            (json!({"model": "m"}), "messages"),
            (
                json!({"messages": [{"role": "system", "content": "x"}]}),
                "messages[0].role",
            ),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (
                json!({"messages": [{"role": "user", "content": 7}]}),
                "messages[0].content",
            ),
            (user(json!({"type": "search_result"})), "messages[0].content[0].type"),
            (
                user(json!({"type": "tool_use", "id": "c", "name": "f", "input": {}})),
                "messages[0].content[0].type",
            ),
            (
                user(json!({"type": "tool_result"})),
                "messages[0].content[0].tool_use_id",
            ),
            (
                user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
                "messages[0].content[0].source.type",
            ),
            (
                user(
                    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png\",", "data": "eA=="}}),
                ),
                "messages[0].content[0].source.media_type",
            ),
            (
                user(json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "e\"A"}})),
                "messages[0].content[0].source.data",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": [{"type": "image", "source": {}}]}]}),
                "messages[0].content[0].type",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": []}]}]}),
                "messages[0].content[0].input",
            ),
            (
                json!({"messages": [], "tools": [{"type": "web_search_20250305", "name": "w"}]}),
                "tools[0].type",
            ),
            (
                json!({"messages": [], "tool_choice": {"type": "some"}}),
                "tool_choice.type",
            ),
            (
                json!({"messages": [], "max_completion_tokens": 1}),
                "max_completion_tokens",
            ),
            (json!({"messages": [], "conversation_id": "c"}), "conversation_id"),
            (json!({"messages": [], "maxTokens": 1}), "max_tokens"),
            (
                json!({"messages": [], "output_config": {"format": {"type": "xml"}}}),
                "output_config.format.type",
            ),
        ] {
            let error = messages_to_openai(body.to_string().as_bytes()).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
        }
        let twice = br#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#;
        assert!(
            messages_to_openai(twice).is_err(),
            "nobody gets to choose what was said"
        );
    }
}
