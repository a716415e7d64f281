//! Anthropic's Messages, in both versions that are served.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, CACHED, Choice, Finish, INPUT, OUTPUT, Telling, Tool, pieces},
    credentials,
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    unlucky,
    wire::{Events, Part, Request, Stream, Style, Whole},
};

pub(super) struct Messages;

const VERSIONS: [&str; 2] = ["2026-10-21", "2023-06-01"];

/// Version and credentials; answers the version.
fn door(request: &Request) -> Checked<&str> {
    let key = credentials("anthropic").key;
    // If both are there, `x-api-key` counts.
    match request.header("x-api-key") {
        Some(sent) if sent == key => {}
        Some(_) => return refuse(Failure::Credentials, "invalid x-api-key"),
        None => request.bearer(key)?,
    }
    match request.header("anthropic-version") {
        Some(version) if VERSIONS.contains(&version) => Ok(version),
        Some(version) => invalid("anthropic-version", &format!("{version} is no version")),
        None => invalid("anthropic-version", "header is required"),
    }
}

fn read(request: &Request, counted: bool) -> Checked<Asked> {
    let version = door(request)?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    if version == "2026-10-21"
        && let Some(name) = object.set(&["temperature", "top_p", "top_k"])
    {
        return invalid(name, "Extra inputs are not permitted");
    }
    let mut asked = Asked {
        model: object.text("model")?.to_owned(),
        usage: true,
        ..Asked::default()
    };
    if !counted {
        asked.stream = object.flag("stream", false)?;
        asked.max_tokens = object.maybe_count("max_tokens")?;
        if asked.max_tokens.is_none() {
            return invalid("max_tokens", "Field required");
        }
        asked.temperature = object.within("temperature", 0.0, 1.0)?;
        asked.top_p = object.within("top_p", 0.0, 1.0)?;
        object.maybe_count("top_k")?;
        asked.stop = object.texts("stop_sequences")?;
        object.skip(&["metadata", "service_tier", "container"]);
    }
    match object.any("system") {
        None => {}
        Some(Value::String(text)) => asked.says(text),
        Some(_) => {
            for block in object.maybe_list("system")? {
                let mut block = Object::of(block, "system")?;
                block.one_of("type", &["text"])?;
                asked.says(block.text("text")?);
                block.skip(&["cache_control", "citations"]);
                block.close()?;
            }
        }
    }
    tools(&mut object, &mut asked)?;
    if let Some(mut thinking) = object.maybe_object("thinking")? {
        let kind = thinking.one_of("type", &["enabled", "disabled", "adaptive"])?;
        asked.thinking = matches!(kind, Some("enabled" | "adaptive"));
        let budget = thinking.maybe_count("budget_tokens")?;
        if kind == Some("enabled") && budget.is_none_or(|budget| budget < 1024) {
            return invalid("thinking.budget_tokens", "must be at least 1024");
        }
        thinking.skip(&["display"]);
        thinking.close()?;
    }
    if let Some(mut output) = object.maybe_object("output_config")? {
        output.one_of("effort", &["low", "medium", "high", "max"])?;
        if let Some(mut format) = output.maybe_object("format")? {
            format.one_of("type", &["json_schema"])?;
            asked.json = format.any("schema").cloned();
            format.close()?;
        }
        output.close()?;
    }
    messages(object.list("messages")?, &mut asked, version)?;
    object.close()?;
    Ok(asked)
}

fn tools(object: &mut Object, asked: &mut Asked) -> Checked<()> {
    for (at, tool) in object.maybe_list("tools")?.iter().enumerate() {
        let mut tool = Object::of(tool, format!("tools.{at}"))?;
        tool.one_of("type", &["custom"])?;
        let name = tool.text("name")?.to_owned();
        tool.maybe_text("description")?;
        let schema = tool.any("input_schema").cloned().unwrap_or_default();
        if schema["type"] != "object" {
            return invalid(tool.path("input_schema.type"), "Input should be 'object'");
        }
        tool.flag("strict", false)?;
        tool.skip(&["cache_control"]);
        tool.close()?;
        asked.tools.push(Tool { name, schema });
    }
    let Some(mut choice) = object.maybe_object("tool_choice")? else {
        return Ok(());
    };
    if asked.tools.is_empty() {
        return invalid("tool_choice", "may only be specified while providing tools");
    }
    asked.serial = choice.flag("disable_parallel_tool_use", false)?;
    asked.choice = match choice.one_of("type", &["auto", "any", "tool", "none"])? {
        Some("auto") => Choice::Auto,
        Some("any") => Choice::Required,
        Some("none") => Choice::None,
        Some(_) => Choice::Named(choice.text("name")?.to_owned()),
        None => return invalid("tool_choice.type", "Field required"),
    };
    choice.close()
}

fn messages(list: &[Value], asked: &mut Asked, version: &str) -> Checked<()> {
    let mut open_calls = Vec::new();
    asked.messages = list.len();
    let mut last = "";
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("messages.{at}"))?;
        let role = message.text("role")?;
        if !["user", "assistant"].contains(&role) {
            return invalid(message.path("role"), "Input should be 'user' or 'assistant'");
        }
        let path = message.path("content");
        let blocks: Vec<Value> = match message.any("content") {
            Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
            Some(Value::Array(blocks)) => blocks.clone(),
            _ => return invalid(path, "Input should be a valid string or list"),
        };
        message.close()?;
        if blocks.is_empty() {
            return invalid(path, "must not be empty");
        }
        if role == "assistant" {
            open_calls.clear();
        } else {
            asked.pictures.clear();
        }
        let mut texts = Vec::new();
        let mut results = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            let mut turn = Turn {
                role,
                version,
                open_calls: &mut open_calls,
                texts: &mut texts,
                results: &mut results,
                pictures: &mut asked.pictures,
            };
            turn.block(Object::of(block, format!("{path}.{at}"))?)?;
        }
        if role == "user" {
            if results.is_empty() || !texts.is_empty() {
                asked.hears(&texts.join("\n"));
            }
            asked.results.extend(results);
        }
        last = role;
    }
    if last == "assistant" {
        return refuse(
            Failure::Invalid,
            "This model does not support assistant message prefill",
        );
    }
    Ok(())
}

/// What is gathered from the blocks of one message.
struct Turn<'t> {
    role: &'t str,
    version: &'t str,
    open_calls: &'t mut Vec<String>,
    texts: &'t mut Vec<String>,
    results: &'t mut Vec<String>,
    pictures: &'t mut Vec<Picture>,
}

impl Turn<'_> {
    fn block(&mut self, mut block: Object) -> Checked<()> {
        match (block.text("type")?, self.role) {
            ("text", _) => {
                let text = block.text("text")?;
                if text.is_empty() {
                    return invalid(block.path("text"), "text content blocks must be non-empty");
                }
                self.texts.push(text.to_owned());
                block.skip(&["citations"]);
            }
            ("image", "user") => self.pictures.push(picture(&mut block)?),
            ("tool_result", "user") => {
                let id = block.text("tool_use_id")?;
                if !self.open_calls.iter().any(|open| open == id) {
                    return invalid(
                        block.path("tool_use_id"),
                        "unexpected `tool_use_id`: no `tool_use` in the previous message",
                    );
                }
                self.results.push(result(&mut block)?);
            }
            ("document", "user") => block.skip(&["source", "title", "context", "citations"]),
            ("tool_use", "assistant") => {
                self.open_calls.push(block.text("id")?.to_owned());
                block.text("name")?;
                if !block.any("input").is_some_and(Value::is_object) {
                    return invalid(block.path("input"), "Input should be a valid dictionary");
                }
                block.skip(&["caller"]);
            }
            ("thinking", "assistant") => {
                block.text("thinking")?;
                block.text("signature")?;
            }
            ("redacted_thinking", "assistant") => block.skip(&["data"]),
            ("document", "assistant") if self.version == "2026-10-21" => {
                return invalid(
                    block.path("type"),
                    "document blocks are not permitted in assistant turns",
                );
            }
            _ => return invalid(block.path("type"), "is no kind of block here"),
        }
        block.skip(&["cache_control"]);
        block.close()
    }
}

fn picture(block: &mut Object) -> Checked<Picture> {
    let mut source = block.object("source")?;
    let picture = match source.one_of("type", &["base64", "url"])? {
        Some("base64") => {
            let kinds = ["image/jpeg", "image/png", "image/gif", "image/webp"];
            if source.one_of("media_type", &kinds)?.is_none() {
                return invalid(source.path("media_type"), "Field required");
            }
            let path = source.path("data");
            Picture::of_base64(source.text("data")?, &path)?
        }
        Some(_) => Picture::Url(source.text("url")?.to_owned()),
        None => return invalid(source.path("type"), "Field required"),
    };
    source.close()?;
    Ok(picture)
}

fn result(block: &mut Object) -> Checked<String> {
    block.flag("is_error", false)?;
    match block.any("content") {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => {
            let mut texts = Vec::new();
            for part in block.maybe_list("content")? {
                let mut part = Object::of(part, "content")?;
                match part.text("type")? {
                    "text" => texts.push(part.text("text")?),
                    "image" => {
                        picture(&mut part)?;
                    }
                    _ => return invalid("content.type", "is no kind of block here"),
                }
                part.skip(&["cache_control", "citations"]);
                part.close()?;
            }
            Ok(texts.join("\n"))
        }
    }
}

/// `/v1/messages/count_tokens`.
pub(super) fn count(request: &Request) -> Whole {
    let counted = (|| {
        if request.method != "POST" {
            return refuse(Failure::NotFound, "Not Found");
        }
        read(request, true)
    })();
    match counted {
        Ok(_) => Whole::json(200, &json!({"input_tokens": INPUT})),
        Err(refused) => Messages.failure(&refused, None),
    }
}

fn usage() -> Value {
    json!({"input_tokens": INPUT - CACHED, "cache_creation_input_tokens": 0, "cache_read_input_tokens": CACHED,
        "output_tokens": OUTPUT, "service_tier": "standard"})
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
    }
}

/// What is said before a tool is used.
const PREAMBLE: &str = "Let me look.";

fn event(events: &mut Events, part: Part, data: &Value) {
    let name = data["type"].as_str().unwrap();
    events.event(part, &format!("event: {name}\n"), data);
}

/// A block from its start to its stop.
fn block(events: &mut Events, index: usize, start: &Value, deltas: Vec<Value>) {
    event(
        events,
        Part::Content,
        &json!({"type": "content_block_start", "index": index, "content_block": start}),
    );
    for delta in deltas {
        event(
            events,
            Part::Content,
            &json!({"type": "content_block_delta", "index": index, "delta": delta}),
        );
    }
    event(
        events,
        Part::Content,
        &json!({"type": "content_block_stop", "index": index}),
    );
}

impl Dialect for Messages {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        if !request.is("POST", "/v1/messages") {
            return refuse(Failure::NotFound, "Not Found");
        }
        read(request, false)
    }

    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut content = Vec::new();
        if let Some(thinking) = &answer.reasoning {
            content.push(json!({"type": "thinking", "thinking": thinking, "signature": "bW9jaw=="}));
        }
        let text = if answer.calls.is_empty() {
            &answer.text
        } else {
            PREAMBLE
        };
        content.push(json!({"type": "text", "text": text}));
        for (at, call) in answer.calls.iter().enumerate() {
            content.push(
                json!({"type": "tool_use", "id": format!("toolu_mock_{at}"), "name": call.name, "input": call.arguments}),
            );
        }
        let mut body = json!({"id": "msg_mock_1", "type": "message", "role": "assistant", "model": asked.model, "content": content,
            "stop_reason": stop_reason(answer), "stop_sequence": null, "usage": usage()});
        if telling == Telling::Missing {
            body.as_object_mut().unwrap().remove("usage");
        }
        Whole::json(200, &body).with("request-id", "req-mock-1")
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut events = Events::new(Style::of(&asked.user));
        let mut message = json!({"id": "msg_mock_1", "type": "message", "role": "assistant", "model": asked.model, "content": [],
            "stop_reason": null, "stop_sequence": null});
        let mut at_start = usage();
        at_start["output_tokens"] = 1.into();
        let at_end = match telling {
            Telling::Usual | Telling::Split => json!({"output_tokens": OUTPUT}),
            Telling::Late => {
                at_start = json!({"input_tokens": 0, "output_tokens": 0});
                usage()
            }
            Telling::Missing => Value::Null,
        };
        if telling != Telling::Missing {
            message["usage"] = at_start;
        }
        event(
            &mut events,
            Part::Start,
            &json!({"type": "message_start", "message": message}),
        );
        event(&mut events, Part::Start, &json!({"type": "ping"}));
        let mut index = 0;
        if let Some(thinking) = &answer.reasoning {
            let mut deltas: Vec<_> = pieces(thinking)
                .into_iter()
                .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
                .collect();
            deltas.push(json!({"type": "signature_delta", "signature": "bW9jaw=="}));
            let start = json!({"type": "thinking", "thinking": "", "signature": ""});
            block(&mut events, index, &start, deltas);
            index += 1;
        }
        let text = if answer.calls.is_empty() {
            &answer.text
        } else {
            PREAMBLE
        };
        let deltas = pieces(text)
            .into_iter()
            .map(|piece| json!({"type": "text_delta", "text": piece}))
            .collect();
        block(&mut events, index, &json!({"type": "text", "text": ""}), deltas);
        for (at, call) in answer.calls.iter().enumerate() {
            let start = json!({"type": "tool_use", "id": format!("toolu_mock_{at}"), "name": call.name, "input": {}});
            let mut deltas = vec![json!({"type": "input_json_delta", "partial_json": ""})];
            for piece in pieces(&call.arguments.to_string()) {
                deltas.push(json!({"type": "input_json_delta", "partial_json": piece}));
            }
            block(&mut events, index + 1 + at, &start, deltas);
        }
        // Readers skip what they do not know.
        event(&mut events, Part::Content, &json!({"type": "mock_unheard_of", "x": 1}));
        let mut end =
            json!({"type": "message_delta", "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null}});
        if !at_end.is_null() {
            end["usage"] = at_end;
        }
        event(&mut events, Part::Finish, &end);
        event(&mut events, Part::Terminator, &json!({"type": "message_stop"}));
        let mut stream = events.stream();
        stream.headers.push(("request-id", "req-mock-1".to_owned()));
        stream
    }

    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole {
        let (status, kind) = match refused.failure {
            Failure::Invalid | Failure::ContextLength | Failure::Filtered => (400, "invalid_request_error"),
            Failure::Credentials => (401, "authentication_error"),
            Failure::Quota => (402, "billing_error"),
            Failure::Forbidden => (403, "permission_error"),
            Failure::NotFound => (404, "not_found_error"),
            Failure::TooLarge => (413, "request_too_large"),
            Failure::RateLimit => (429, "rate_limit_error"),
            Failure::Internal => (500, "api_error"),
            Failure::Timeout => (504, "timeout_error"),
            Failure::Overloaded => (529, "overloaded_error"),
        };
        let body =
            json!({"type": "error", "error": {"type": kind, "message": refused.said}, "request_id": "req-mock-error"});
        let whole = Whole::json(status, &body).with("request-id", "req-mock-error");
        match wait {
            Some(seconds) => whole.with("retry-after", seconds.to_string()),
            None => whole,
        }
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let whole = self.failure(
            &Refused {
                failure: Failure::Overloaded,
                ..unlucky(said)
            },
            None,
        );
        [b"event: error\ndata: ", whole.body.as_slice(), b"\n\n"].concat()
    }

    fn garbage(&self) -> Vec<u8> {
        b"event: content_block_delta\ndata: {\"type\": [oops\n\n".to_vec()
    }
}
