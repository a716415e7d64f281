//! OpenAI's newer format: what is asked in items, and answered in items and named events.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, CACHED, Choice, Finish, INPUT, OUTPUT, Telling, Tool, pieces},
    credentials,
    openai_vendors::flavour,
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    unlucky,
    wire::{Events, Part, Request, Stream, Style, Whole},
};

pub(super) const PATH: &str = "/v1/responses";

/// `POST /v1/responses`.
pub(super) struct Responses;

/// Fields whose values are of no interest here.
const OTHER: [&str; 9] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "top_logprobs",
    "truncation",
    "user",
    "max_tool_calls",
];

/// Fewer are refused.
const LEAST_TOKENS: u64 = 16;

fn read(request: &Request) -> Checked<Asked> {
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model: object.text("model")?.to_owned(),
        stream: object.flag("stream", false)?,
        temperature: object.within("temperature", 0.0, 2.0)?,
        top_p: object.within("top_p", 0.0, 1.0)?,
        max_tokens: object.maybe_count("max_output_tokens")?,
        little: LEAST_TOKENS,
        serial: !object.flag("parallel_tool_calls", true)?,
        usage: true,
        ..Asked::default()
    };
    if asked.max_tokens.is_some_and(|most| most < LEAST_TOKENS) {
        return invalid("max_output_tokens", "must be at least 16");
    }
    if let Some(text) = object.maybe_text("instructions")? {
        asked.says(text);
        asked.messages += 1;
    }
    // What is kept here can be had by everybody who has the key.
    if object.flag("store", true)? {
        return invalid(
            "store",
            "is true if nobody says otherwise, and this account keeps nothing",
        );
    }
    if let Some(mut options) = object.maybe_object("stream_options")? {
        options.flag("include_obfuscation", true)?;
        options.close()?;
    }
    for asked_for in object.texts("include")? {
        let known = ["reasoning.encrypted_content", "message.output_text.logprobs"];
        if !known.contains(&asked_for.as_str()) {
            return invalid("include", "is nothing that can be included");
        }
    }
    if let Some(mut reasoning) = object.maybe_object("reasoning")? {
        let efforts = ["none", "minimal", "low", "medium", "high", "xhigh"];
        asked.thinking = reasoning
            .one_of("effort", &efforts)?
            .is_some_and(|effort| effort != "none");
        reasoning.one_of("summary", &["auto", "concise", "detailed"])?;
        reasoning.close()?;
    }
    asked.tools = tools(object.maybe_list("tools")?)?;
    asked.choice = choice(object.any("tool_choice"), &asked.tools)?;
    asked.json = format(&mut object)?;
    object.skip(&OTHER);
    match object.any("input") {
        Some(Value::String(text)) => {
            asked.messages += 1;
            asked.hears(text);
        }
        Some(Value::Array(items)) if !items.is_empty() => input(items, &mut asked)?,
        _ => return invalid("input", "must be a text or a list of items"),
    }
    object.close()?;
    Ok(asked)
}

/// Unlike those of chat completions they are flat, and strict unless they say otherwise.
fn tools(list: &[Value]) -> Checked<Vec<Tool>> {
    let one = |(at, tool): (usize, &Value)| {
        let mut tool = Object::of(tool, format!("tools[{at}]"))?;
        if tool.one_of("type", &["function"])?.is_none() {
            return invalid(tool.path("type"), "Missing required parameter");
        }
        let name = tool.text("name")?.to_owned();
        tool.maybe_text("description")?;
        let Some(schema) = tool.any("parameters").filter(|schema| schema.is_object()) else {
            return invalid(tool.path("parameters"), "Missing required parameter");
        };
        let strict = tool.flag("strict", true)?;
        if strict && schema["additionalProperties"] != false {
            return invalid(
                tool.path("parameters"),
                "'additionalProperties' is required to be false",
            );
        }
        tool.close()?;
        Ok(Tool {
            name,
            schema: schema.clone(),
        })
    };
    list.iter().enumerate().map(one).collect()
}

fn choice(value: Option<&Value>, tools: &[Tool]) -> Checked<Choice> {
    match value {
        None => Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" if !tools.is_empty() => Ok(Choice::Required),
            _ => invalid("tool_choice", "is none of the choices"),
        },
        Some(value) => {
            let mut named = Object::of(value, "tool_choice")?;
            if named.one_of("type", &["function"])?.is_none() {
                return invalid("tool_choice.type", "Missing required parameter");
            }
            let name = named.text("name")?.to_owned();
            named.close()?;
            match tools.iter().any(|tool| tool.name == name) {
                true => Ok(Choice::Named(name)),
                false => invalid("tool_choice", "names no tool"),
            }
        }
    }
}

fn format(object: &mut Object) -> Checked<Option<Value>> {
    let Some(mut text) = object.maybe_object("text")? else {
        return Ok(None);
    };
    text.one_of("verbosity", &["low", "medium", "high"])?;
    let format = text.maybe_object("format")?;
    text.close()?;
    let Some(mut format) = format else { return Ok(None) };
    let wanted = match format.one_of("type", &["text", "json_object", "json_schema"])? {
        Some("json_object") => Some(Value::Null),
        Some("json_schema") => {
            format.text("name")?;
            format.maybe_text("description")?;
            format.flag("strict", false)?;
            Some(format.any("schema").cloned().unwrap_or_default())
        }
        Some(_) => None,
        None => return invalid("text.format.type", "Missing required parameter"),
    };
    format.close()?;
    Ok(wanted)
}

fn input(items: &[Value], asked: &mut Asked) -> Checked<()> {
    let mut open_calls: Vec<String> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let mut item = Object::of(item, format!("input[{at}]"))?;
        let kind = item.one_of(
            "type",
            &["message", "function_call", "function_call_output", "reasoning"],
        )?;
        item.skip(&["id", "status"]);
        match kind {
            None | Some("message") => {
                asked.messages += 1;
                message(&mut item, asked)?;
            }
            Some("function_call") => {
                open_calls.push(item.text("call_id")?.to_owned());
                item.text("name")?;
                let arguments = item.text("arguments")?;
                if serde_json::from_str::<Value>(arguments).is_err() {
                    return invalid(item.path("arguments"), "must be JSON");
                }
            }
            Some("function_call_output") => {
                let id = item.text("call_id")?;
                if !open_calls.iter().any(|open| open == id) {
                    return invalid(item.path("call_id"), "No tool call found for function call output");
                }
                let said = content(&mut item, "output", &["input_text"], &mut Vec::new())?;
                asked.results.push(said);
            }
            Some(_) => {
                // Nothing was kept by which it could be found.
                item.text("encrypted_content")?;
                item.maybe_list("summary")?;
            }
        }
        item.close()?;
    }
    Ok(())
}

fn message(item: &mut Object, asked: &mut Asked) -> Checked<()> {
    match item.text("role")? {
        "system" | "developer" => {
            let text = content(item, "content", &["input_text"], &mut Vec::new())?;
            asked.says(&text);
        }
        "user" => {
            asked.pictures.clear();
            let text = content(item, "content", &["input_text", "input_image"], &mut asked.pictures)?;
            asked.hears(&text);
        }
        "assistant" => {
            content(item, "content", &["output_text", "refusal"], &mut Vec::new())?;
        }
        _ => return invalid(item.path("role"), "is no role"),
    }
    Ok(())
}

/// A text, or parts of these kinds: texts are joined and pictures kept.
fn content(item: &mut Object, name: &'static str, kinds: &[&str], pictures: &mut Vec<Picture>) -> Checked<String> {
    let path = item.path(name);
    let parts = match item.any(name) {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) if !parts.is_empty() => parts,
        _ => return invalid(path, "must be a text or a list of parts"),
    };
    let mut texts = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut part = Object::of(part, format!("{path}[{at}]"))?;
        match part.one_of("type", kinds)? {
            Some("input_image") => {
                let field = part.path("image_url");
                pictures.push(Picture::of_url(part.text("image_url")?, &field)?);
                part.one_of("detail", &["auto", "low", "high"])?;
            }
            Some("refusal") => texts.push(part.text("refusal")?),
            Some(_) => {
                texts.push(part.text("text")?);
                part.skip(&["annotations", "logprobs"]);
            }
            None => return invalid(part.path("type"), "Missing required parameter"),
        }
        part.close()?;
    }
    Ok(texts.join("\n"))
}

/// The response around some items.
fn response(asked: &Asked, status: &str, output: &[Value], usage: bool) -> Value {
    let usage = match usage {
        true => {
            json!({"input_tokens": INPUT, "input_tokens_details": {"cached_tokens": CACHED}, "output_tokens": OUTPUT,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": INPUT + OUTPUT})
        }
        false => Value::Null,
    };
    let details = match status {
        "incomplete" => json!({"reason": "max_output_tokens"}),
        _ => Value::Null,
    };
    json!({"id": "resp_mock_1", "object": "response", "created_at": 1_760_000_000, "status": status, "error": null,
        "incomplete_details": details, "instructions": null, "metadata": {}, "model": asked.model, "output": output,
        "parallel_tool_calls": !asked.serial, "store": false, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": usage})
}

fn status(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Length => "incomplete",
        Finish::Stop | Finish::ToolCalls => "completed",
    }
}

fn output(answer: &Answer) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(reasoning) = &answer.reasoning {
        items.push(
            json!({"type": "reasoning", "id": "rs_mock", "encrypted_content": "bW9jaw==",
            "summary": [{"type": "summary_text", "text": reasoning}]}),
        );
    }
    if answer.calls.is_empty() {
        items.push(
            json!({"type": "message", "id": "msg_mock", "status": status(answer), "role": "assistant",
            "content": [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}]}),
        );
    }
    let calls = answer.calls.iter().enumerate();
    items.extend(calls.map(|(at, call)| {
        json!({"type": "function_call", "id": format!("fc_mock_{at}"), "status": "completed", "call_id": format!("call_mock_{at}"),
            "name": call.name, "arguments": call.arguments.to_string()})
    }));
    items
}

/// Writes events with their names and numbers.
struct Named {
    events: Events,
    number: u64,
}

impl Named {
    fn event(&mut self, part: Part, kind: &str, mut data: Value) {
        data["type"] = format!("response.{kind}").into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        self.events.event(part, &format!("event: response.{kind}\n"), &data);
    }

    /// An item from its beginning to its end.
    fn item(&mut self, at: usize, item: &Value) {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        let (growth, more, text) = match item["type"].as_str().unwrap() {
            "reasoning" => {
                begun["summary"] = json!([]);
                (
                    "reasoning_summary_text",
                    json!({"summary_index": 0}),
                    &item["summary"][0]["text"],
                )
            }
            "message" => {
                begun["content"] = json!([]);
                (
                    "output_text",
                    json!({"content_index": 0, "logprobs": []}),
                    &item["content"][0]["text"],
                )
            }
            _ => {
                begun["arguments"] = "".into();
                ("function_call_arguments", json!({}), &item["arguments"])
            }
        };
        self.event(
            Part::Content,
            "output_item.added",
            json!({"output_index": at, "item": begun}),
        );
        for piece in pieces(text.as_str().unwrap()) {
            let mut delta = more.clone();
            delta["item_id"] = item["id"].clone();
            delta["output_index"] = at.into();
            delta["delta"] = piece.into();
            self.event(Part::Content, &format!("{growth}.delta"), delta);
        }
        self.event(
            Part::Content,
            "output_item.done",
            json!({"output_index": at, "item": item}),
        );
    }
}

impl Dialect for Responses {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        if !request.is("POST", PATH) {
            return refuse(
                Failure::NotFound,
                format!("Invalid URL ({} {})", request.method, request.path),
            );
        }
        request.bearer(credentials("openai").key)?;
        read(request)
    }

    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let body = response(asked, status(answer), &output(answer), telling != Telling::Missing);
        Whole::json(200, &body).with("x-request-id", "req-mock-1")
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut named = Named {
            events: Events::new(Style::of(&asked.user)),
            number: 0,
        };
        for kind in ["created", "in_progress"] {
            let begun = response(asked, "in_progress", &[], false);
            named.event(Part::Start, kind, json!({"response": begun}));
        }
        let items = output(answer);
        for (at, item) in items.iter().enumerate() {
            named.item(at, item);
        }
        // Readers skip what they do not know.
        named.event(Part::Content, "mock_unheard_of", json!({"x": 1}));
        let last = response(asked, status(answer), &items, telling != Telling::Missing);
        named.event(Part::Finish, status(answer), json!({"response": last}));
        let mut stream = named.events.stream();
        stream.headers.push(("x-request-id", "req-mock-1".to_owned()));
        stream
    }

    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole {
        flavour("openai").failure(refused, wait)
    }

    /// The status of the response says so, and not that of the answer.
    fn hidden_failure(&self, said: &str) -> Whole {
        Whole::json(200, &failed(said))
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let data = json!({"type": "response.failed", "sequence_number": 99, "response": failed(said)});
        format!("event: response.failed\ndata: {data}\n\n").into_bytes()
    }

    fn garbage(&self) -> Vec<u8> {
        b"event: response.output_text.delta\ndata: {\"type\": [oops\n\n".to_vec()
    }
}

fn failed(said: &str) -> Value {
    let mut failed = response(&Asked::default(), "failed", &[], false);
    failed["error"] = json!({"code": "server_error", "message": unlucky(said).said});
    failed
}
