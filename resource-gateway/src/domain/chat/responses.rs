//! Reads a request as callers of OpenAI's Responses write it, and writes it as a chat completion: in the words that rules, limits and
//! budgets go by. Nothing is kept between two calls, so whatever would need that is refused by its name.

use super::{
    Thought,
    messages::Out,
    proofs,
    read::{Fields, Read, missing, wrong},
};
use crate::domain::{
    fault::PublicError,
    json_object::{elements, quoted},
};

/// What needs a memory, or tools of the vendor's own.
const NOT_OFFERED: [&str; 5] = [
    "previous_response_id",
    "conversation",
    "prompt",
    "max_tool_calls",
    "top_logprobs",
];
/// Words of chat completions for which this format has others, or none. Taken for an unknown member, one of them would say something
/// else to the gateway than to a vendor that gets the request word for word.
const NOT_ITS_WORDS: [&str; 22] = [
    "audio",
    "conversation_id",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "n",
    "prediction",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "thinking",
    "top_k",
    "verbosity",
    "web_search_options",
];
/// Words that both have.
const SHARED: [&str; 11] = [
    "model",
    "stream",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
];
/// What may be asked for beside the answer: it is left out where there is none.
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// The body of `/v1/responses` as that of a chat completion.
///
/// # Errors
/// What to tell the caller, with the field's path in its own words.
pub fn responses_to_openai(body: &[u8]) -> Read<String> {
    let body = std::str::from_utf8(body).map_err(|_| wrong("", "the body must be UTF-8"))?;
    let mut fields = Fields::parse(body, "")?;
    check(&mut fields)?;
    let mut out = Out::object(body.len() + body.len() / 8);
    for name in SHARED {
        let raw = fields.raw(name)?;
        out.maybe(name, raw);
    }
    out.maybe("max_tokens", fields.raw("max_output_tokens")?);
    let mut messages = Messages {
        list: Out::array(body.len()),
        assistant: None,
    };
    if let Some(instructions) = fields.raw("instructions")? {
        messages.say("system", instructions);
    }
    let input = fields.raw("input")?.ok_or_else(|| missing("input"))?;
    if input.starts_with('"') {
        messages.say("user", input);
    } else {
        let items = elements(input).map_err(|_| wrong("input", "must be a string or an array of items"))?;
        for (at, raw) in items.into_iter().enumerate() {
            item(raw, format!("input[{at}]"), &mut messages)?;
        }
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
    text(&mut fields, &mut out)?;
    if let Some(raw) = fields.raw("reasoning")? {
        let mut reasoning = Fields::parse(raw, "reasoning")?;
        out.maybe("reasoning_effort", reasoning.raw("effort")?);
    }
    for (name, raw) in fields.rest_raw() {
        out.member(name, raw);
    }
    Ok(out.end())
}

fn check(fields: &mut Fields<'_>) -> Read<()> {
    for name in NOT_OFFERED {
        if fields.raw(name)?.is_some() {
            return Err(not_offered(name));
        }
    }
    for name in NOT_ITS_WORDS {
        if fields.raw(name)?.is_some() {
            return Err(wrong(name, "is not one of this format"));
        }
    }
    for name in ["store", "background"] {
        if fields.flag(name)? == Some(true) {
            return Err(not_offered(name));
        }
    }
    if fields.text("truncation")?.is_some_and(|how| how != "disabled") {
        return Err(not_offered("truncation"));
    }
    for (at, raw) in fields.list("include")?.into_iter().enumerate() {
        if raw != quoted(ENCRYPTED) {
            return Err(not_offered(&format!("include[{at}]")));
        }
    }
    // About padding on the wire.
    fields.raw("stream_options")?;
    Ok(())
}

fn not_offered(field: &str) -> PublicError {
    let message = format!(
        "The field '{field}' cannot be used here: the gateway keeps no responses, and runs no tools of its own."
    );
    PublicError::invalid(Some(field), "unsupported_parameter", message)
}

/// Messages as they gather. What the assistant says and what it calls is one of them.
struct Messages {
    list: Out,
    assistant: Option<Assistant>,
}

#[derive(Default)]
struct Assistant {
    /// Texts and lists of parts, one behind the other.
    contents: Vec<String>,
    thoughts: Vec<String>,
    calls: Vec<String>,
}

impl Assistant {
    fn content(&self) -> String {
        match self.contents.as_slice() {
            [] => "null".to_owned(),
            [only] => only.clone(),
            several => {
                let mut list = Out::array(several.iter().map(String::len).sum());
                for content in several {
                    match elements(content) {
                        Ok(parts) => parts.into_iter().for_each(|part| list.element(part)),
                        Err(_) => list.element(&format!("{{\"type\":\"text\",\"text\":{content}}}")),
                    }
                }
                list.end()
            }
        }
    }
}

fn list_of(elements: &[String]) -> String {
    let mut list = Out::array(elements.iter().map(String::len).sum());
    for element in elements {
        list.element(element);
    }
    list.end()
}

impl Messages {
    fn say(&mut self, role: &str, content: &str) {
        self.flush();
        self.list
            .element(&format!("{{\"role\":\"{role}\",\"content\":{content}}}"));
    }

    fn assistant(&mut self) -> &mut Assistant {
        self.assistant.get_or_insert_default()
    }

    /// What the assistant says behind what it called is of the same turn, as long as nothing was answered.
    fn assistant_says(&mut self, content: String) {
        let said = |assistant: &Assistant| assistant.calls.is_empty() && !assistant.contents.is_empty();
        if self.assistant.as_ref().is_some_and(said) {
            self.flush();
        }
        self.assistant().contents.push(content);
    }

    fn flush(&mut self) {
        let Some(turn) = self.assistant.take() else { return };
        // Thoughts that came to nothing are no turn.
        if turn.contents.is_empty() && turn.calls.is_empty() {
            return;
        }
        let mut message = Out::object(64);
        message.member("role", "\"assistant\"");
        message.member("content", &turn.content());
        if !turn.thoughts.is_empty() {
            message.member("thinking_blocks", &list_of(&turn.thoughts));
        }
        if !turn.calls.is_empty() {
            message.member("tool_calls", &list_of(&turn.calls));
        }
        self.list.element(&message.end());
    }

    fn end(mut self) -> String {
        self.flush();
        self.list.end()
    }
}

fn item(raw: &str, path: String, messages: &mut Messages) -> Read<()> {
    let mut fields = Fields::parse(raw, path)?;
    match fields.text("type")?.as_deref() {
        None | Some("message") => message(&mut fields, messages),
        Some("function_call") => {
            let (id, name) = (required(&mut fields, "call_id")?, required(&mut fields, "name")?);
            let arguments = required(&mut fields, "arguments")?;
            let function = format!("{{\"name\":{name},\"arguments\":{arguments}}}");
            let call = format!("{{\"id\":{id},\"type\":\"function\",\"function\":{function}}}");
            messages.assistant().calls.push(call);
            Ok(())
        }
        Some("function_call_output") => {
            let id = required(&mut fields, "call_id")?;
            let output = required(&mut fields, "output")?;
            let output = contents(output, &fields.at("output"))?;
            messages.flush();
            let answer = format!("{{\"role\":\"tool\",\"tool_call_id\":{id},\"content\":{output}}}");
            messages.list.element(&answer);
            Ok(())
        }
        Some("reasoning") => thought(&mut fields, messages),
        Some(_) => Err(not_offered(&fields.at("type"))),
    }
}

/// Goes back to the vendor that can read it; to all others it says nothing.
fn thought(fields: &mut Fields<'_>, messages: &mut Messages) -> Read<()> {
    let kept = fields.text("encrypted_content")?.unwrap_or_default();
    let mut text = String::new();
    for (at, raw) in fields.list("summary")?.into_iter().enumerate() {
        let mut part = Fields::parse(raw, format!("{}[{at}]", fields.at("summary")))?;
        text.push_str(&part.text("text")?.unwrap_or_default());
    }
    let block = match proofs::decrypted(text.into(), &kept) {
        None => return Ok(()),
        Some(Thought::Redacted(data)) => {
            format!("{{\"type\":\"redacted_thinking\",\"data\":{}}}", quoted(&data))
        }
        Some(Thought::Text { text, signature }) => format!(
            "{{\"type\":\"thinking\",\"thinking\":{},\"signature\":{}}}",
            quoted(&text),
            quoted(&signature.unwrap_or_default())
        ),
    };
    messages.assistant().thoughts.push(block);
    Ok(())
}

fn message(fields: &mut Fields<'_>, messages: &mut Messages) -> Read<()> {
    let role = fields.required_text("role")?;
    let content = required(fields, "content")?;
    let content = contents(content, &fields.at("content"))?;
    match role.as_ref() {
        "assistant" => messages.assistant_says(content),
        "user" | "system" | "developer" => messages.say(&role, &content),
        _ => {
            return Err(wrong(
                &fields.at("role"),
                "must be user, assistant, system or developer",
            ));
        }
    }
    Ok(())
}

/// A text, or parts under the names that chat completions have for them.
fn contents(raw: &str, path: &str) -> Read<String> {
    if raw.starts_with('"') {
        return Ok(raw.to_owned());
    }
    let parts = elements(raw).map_err(|_| wrong(path, "must be a string or an array of parts"))?;
    let mut list = Out::array(raw.len());
    for (at, raw) in parts.into_iter().enumerate() {
        let mut fields = Fields::parse(raw, format!("{path}[{at}]"))?;
        list.element(&part(&mut fields)?);
    }
    Ok(list.end())
}

fn part(fields: &mut Fields<'_>) -> Read<String> {
    let kind = fields.required_text("type")?;
    match kind.as_ref() {
        "input_text" | "output_text" | "text" => {
            let text = required(fields, "text")?;
            Ok(format!("{{\"type\":\"text\",\"text\":{text}}}"))
        }
        "refusal" => {
            let text = required(fields, "refusal")?;
            Ok(format!("{{\"type\":\"text\",\"text\":{text}}}"))
        }
        "input_image" => {
            if fields.raw("file_id")?.is_some() {
                return Err(not_offered(&fields.at("file_id")));
            }
            let mut image = Out::object(64);
            image.member("url", required(fields, "image_url")?);
            image.maybe("detail", fields.raw("detail")?);
            Ok(["{\"type\":\"image_url\",\"image_url\":", &image.end(), "}"].concat())
        }
        "input_file" => {
            if fields.raw("file_id")?.is_some() {
                return Err(not_offered(&fields.at("file_id")));
            }
            let mut file = Out::object(64);
            for name in ["file_data", "file_url", "filename"] {
                let raw = fields.raw(name)?;
                file.maybe(name, raw);
            }
            Ok(["{\"type\":\"file\",\"file\":", &file.end(), "}"].concat())
        }
        _ => Err(wrong(
            &fields.at("type"),
            "must be input_text, output_text, refusal, input_image or input_file",
        )),
    }
}

fn tool(raw: &str, path: String) -> Read<String> {
    let mut fields = Fields::parse(raw, path)?;
    if fields.required_text("type")? != "function" {
        return Err(not_offered(&fields.at("type")));
    }
    let mut function = Out::object(raw.len());
    function.member("name", required(&mut fields, "name")?);
    for name in ["description", "parameters", "strict"] {
        let raw = fields.raw(name)?;
        function.maybe(name, raw);
    }
    Ok(["{\"type\":\"function\",\"function\":", &function.end(), "}"].concat())
}

fn tool_choice(fields: &mut Fields<'_>, out: &mut Out) -> Read<()> {
    let Some(raw) = fields.raw("tool_choice")? else {
        return Ok(());
    };
    if raw.starts_with('"') {
        out.member("tool_choice", raw);
        return Ok(());
    }
    let mut choice = Fields::parse(raw, "tool_choice")?;
    if choice.required_text("type")? != "function" {
        return Err(not_offered("tool_choice.type"));
    }
    let name = required(&mut choice, "name")?;
    let choice = format!("{{\"type\":\"function\",\"function\":{{\"name\":{name}}}}}");
    out.member("tool_choice", &choice);
    Ok(())
}

/// `text`: what the answer looks like.
fn text(fields: &mut Fields<'_>, out: &mut Out) -> Read<()> {
    let Some(raw) = fields.raw("text")? else { return Ok(()) };
    let mut text = Fields::parse(raw, "text")?;
    out.maybe("verbosity", text.raw("verbosity")?);
    let Some(raw) = text.raw("format")? else { return Ok(()) };
    let mut format = Fields::parse(raw, "text.format")?;
    match format.required_text("type")?.as_ref() {
        kind @ ("text" | "json_object") => out.member("response_format", &format!("{{\"type\":\"{kind}\"}}")),
        "json_schema" => {
            let mut schema = Out::object(raw.len());
            schema.member("schema", required(&mut format, "schema")?);
            for name in ["name", "description", "strict"] {
                let raw = format.raw(name)?;
                schema.maybe(name, raw);
            }
            let format = ["{\"type\":\"json_schema\",\"json_schema\":", &schema.end(), "}"].concat();
            out.member("response_format", &format);
        }
        _ => return Err(wrong("text.format.type", "must be text, json_object or json_schema")),
    }
    Ok(())
}

/// A value as it is written.
fn required<'a>(fields: &mut Fields<'a>, name: &str) -> Read<&'a str> {
    fields.raw(name)?.ok_or_else(|| missing(&fields.at(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::chat::ChatRequest;

    #[test]
    fn a_request_with_everything_in_it_is_said_as_a_chat_completion() {
        let body = json!({
            "model": "m", "instructions": "be brief", "max_output_tokens": 9, "temperature": 0.5, "top_p": 1, "stream": true, "store": false,
            "parallel_tool_calls": false, "include": ["reasoning.encrypted_content"], "truncation": "disabled", "vendors_own": 1,
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://a.test/x", "detail": "low"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,eA==", "filename": "f"}]},
                {"type": "reasoning", "id": "r", "summary": []},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"},
                {"type": "function_call", "call_id": "d", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "r"},
                {"type": "function_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "s"}]},
                {"role": "developer", "content": "now"}],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
            "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
        });
        let wanted = json!({
            "model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 1, "stream": true, "parallel_tool_calls": false, "vendors_own": 1,
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://a.test/x", "detail": "low"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "f"}}]},
                {"role": "assistant", "content": [{"type": "text", "text": "b"}], "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "r"},
                {"role": "tool", "tool_call_id": "d", "content": [{"type": "text", "text": "s"}]},
                {"role": "developer", "content": "now"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "reasoning_effort": "low", "verbosity": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        });
        let text = responses_to_openai(body.to_string().as_bytes()).unwrap();
        ChatRequest::read(text.as_bytes()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
        let text = responses_to_openai(br#"{"model":"m","input":"hi"}"#).unwrap();
        assert_eq!(text, r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
    }

    #[test]
    fn what_needs_a_memory_is_refused_by_its_name() {
        for (more, param) in [
            (json!({"store": true}), "store"),
            (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"conversation": "c"}), "conversation"),
            (json!({"background": true}), "background"),
            (json!({"prompt": {"id": "p"}}), "prompt"),
            (json!({"truncation": "auto"}), "truncation"),
            (json!({"include": ["message.output_text.logprobs"]}), "include[0]"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tool_choice": {"type": "file_search"}}), "tool_choice.type"),
            (
                json!({"input": [{"type": "item_reference", "id": "x"}]}),
                "input[0].type",
            ),
            (json!({"input": [{"role": "robot", "content": "x"}]}), "input[0].role"),
            (
                json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}),
                "input[0].content[0].file_id",
            ),
            (
                json!({"input": [{"role": "user", "content": [{"type": "video"}]}]}),
                "input[0].content[0].type",
            ),
            (json!({"max_tokens": 1}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"input": null}), "input"),
            (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        ] {
            let mut body = json!({"model": "m", "input": "x"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let error = responses_to_openai(body.to_string().as_bytes()).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{more}");
        }
    }
}
