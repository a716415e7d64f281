//! Cohere's second version.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, Choice, Finish, INPUT, OUTPUT, Telling, pieces},
    credentials,
    openai_request::tools,
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    wire::{Events, Part, Request, Stream, Style, Whole},
};

pub(super) struct Chat;

fn read(request: &Request) -> Checked<Asked> {
    if request.method != "POST" {
        return refuse(Failure::NotFound, "page not found");
    }
    request.bearer(credentials("cohere").key)?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model: object.text("model")?.to_owned(),
        stream: object.flag("stream", false)?,
        temperature: object.within("temperature", 0.0, 2.0)?,
        top_p: object.within("p", 0.0, 1.0)?,
        max_tokens: object.maybe_count("max_tokens")?,
        seed: object.maybe_integer("seed")?,
        stop: object.texts("stop_sequences")?,
        usage: true,
        ..Asked::default()
    };
    asked.tools = tools(object.maybe_list("tools")?)?;
    asked.choice = match object.one_of("tool_choice", &["REQUIRED", "NONE"])? {
        Some("REQUIRED") => Choice::Required,
        Some(_) => Choice::None,
        None => Choice::Auto,
    };
    if let Some(mut format) = object.maybe_object("response_format")? {
        if format.one_of("type", &["text", "json_object"])? == Some("json_object") {
            asked.json = Some(format.any("json_schema").cloned().unwrap_or_default());
        }
        format.skip(&["json_schema"]);
        format.close()?;
    }
    if let Some(mut thinking) = object.maybe_object("thinking")? {
        asked.thinking = thinking.one_of("type", &["enabled", "disabled"])? == Some("enabled");
        thinking.skip(&["token_budget"]);
        thinking.close()?;
    }
    object.skip(&[
        "k",
        "frequency_penalty",
        "presence_penalty",
        "logprobs",
        "strict_tools",
        "documents",
        "citation_options",
        "safety_mode",
        "priority",
    ]);
    messages(object.list("messages")?, &mut asked)?;
    object.close()?;
    Ok(asked)
}

fn messages(list: &[Value], asked: &mut Asked) -> Checked<()> {
    asked.messages = list.len();
    let mut open_calls: Vec<String> = Vec::new();
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("messages[{at}]"))?;
        let role = message.text("role")?;
        let mut pictures = Vec::new();
        let text = content(&mut message, &mut pictures)?;
        match role {
            "system" => asked.says(&text),
            "user" => {
                asked.pictures = pictures;
                asked.hears(&text);
            }
            "assistant" => {
                open_calls.clear();
                for call in message.maybe_list("tool_calls")? {
                    let mut call = Object::of(call, "tool_calls")?;
                    open_calls.push(call.text("id")?.to_owned());
                    call.one_of("type", &["function"])?;
                    let mut function = call.object("function")?;
                    function.text("name")?;
                    function.text("arguments")?;
                    function.close()?;
                    call.close()?;
                }
            }
            "tool" => {
                let id = message.text("tool_call_id")?;
                if !open_calls.iter().any(|open| open == id) {
                    return invalid(message.path("tool_call_id"), "no such tool call");
                }
                asked.results.push(text);
            }
            _ => return invalid(message.path("role"), "invalid role"),
        }
        message.skip(&["tool_calls", "tool_plan", "tool_call_id", "citations"]);
        message.close()?;
    }
    Ok(())
}

fn content(message: &mut Object, pictures: &mut Vec<Picture>) -> Checked<String> {
    let parts = match message.any("content") {
        None => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(_) => return invalid(message.path("content"), "must be a text or a list"),
    };
    let mut texts = Vec::new();
    for part in parts {
        let mut part = Object::of(part, message.path("content"))?;
        match part.text("type")? {
            "text" => texts.push(part.text("text")?.to_owned()),
            "image_url" => {
                let mut image = part.object("image_url")?;
                pictures.push(Picture::of_url(image.text("url")?, "content.image_url.url")?);
                image.skip(&["detail"]);
                image.close()?;
            }
            "document" => texts.push(part.any("document").unwrap_or(&Value::Null).to_string()),
            _ => return invalid(message.path("content"), "invalid type"),
        }
        part.close()?;
    }
    Ok(texts.join("\n"))
}

/// Embeddings and rerank.
pub(super) fn other(request: &Request) -> Whole {
    let answer = (|| {
        if request.method != "POST" {
            return refuse(Failure::NotFound, "page not found");
        }
        request.bearer(credentials("cohere").key)?;
        let body = request.json()?;
        let mut object = Object::of(&body, "")?;
        object.text("model")?;
        let answer = match request.path.as_str() {
            "/v2/embed" => {
                let texts = object.texts("texts")?;
                if texts.is_empty() || texts.len() > 96 {
                    return invalid("texts", "total number of texts must be at most 96");
                }
                let kinds = ["search_document", "search_query", "classification", "clustering"];
                if object.one_of("input_type", &kinds)?.is_none() {
                    return invalid("input_type", "is required");
                }
                object.texts("embedding_types")?;
                object.skip(&["output_dimension", "truncate", "max_tokens"]);
                let vectors: Vec<_> = (0..texts.len()).map(|at| json!([0.25, -0.5, at])).collect();
                json!({"id": "em-mock-1", "response_type": "embeddings_by_type", "embeddings": {"float": vectors},
                    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 30.0}}})
            }
            "/v2/rerank" => {
                object.text("query")?;
                let documents = object.texts("documents")?;
                object.maybe_count("top_n")?;
                object.skip(&["max_tokens_per_doc", "priority"]);
                let results: Vec<_> = (0..documents.len())
                    .rev()
                    .map(|at| json!({"index": at, "relevance_score": 0.5}))
                    .collect();
                json!({"id": "rr-mock-1", "results": results, "meta": {"billed_units": {"search_units": 1}}})
            }
            _ => return refuse(Failure::NotFound, "page not found"),
        };
        object.close()?;
        Ok(answer)
    })();
    match answer {
        Ok(body) => Whole::json(200, &body),
        Err(refused) => Chat.failure(&refused, None),
    }
}

/// Whole numbers come as floats.
fn usage() -> Value {
    let (input, output) = (f64_of(INPUT), f64_of(OUTPUT));
    json!({"billed_units": {"input_tokens": 20.0, "output_tokens": output}, "tokens": {"input_tokens": input, "output_tokens": output}})
}

fn f64_of(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

fn finish_word(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "COMPLETE",
        Finish::Length => "MAX_TOKENS",
        Finish::ToolCalls => "TOOL_CALL",
    }
}

const PLAN: &str = "I will look it up.";

impl Dialect for Chat {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    fn whole(&self, _: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut message = json!({"role": "assistant"});
        let mut content = Vec::new();
        if let Some(thought) = &answer.reasoning {
            content.push(json!({"type": "thinking", "thinking": thought}));
        }
        if answer.calls.is_empty() {
            content.push(json!({"type": "text", "text": answer.text}));
        } else {
            message["tool_plan"] = PLAN.into();
            let calls = answer.calls.iter().enumerate().map(|(at, call)| {
                json!({"id": format!("call_mock_{at}"), "type": "function", "function": {"name": call.name, "arguments": call.arguments.to_string()}})
            });
            message["tool_calls"] = calls.collect();
        }
        if !content.is_empty() {
            message["content"] = content.into();
        }
        let mut body = json!({"id": "ch-mock-1", "finish_reason": finish_word(answer), "message": message});
        if telling != Telling::Missing {
            body["usage"] = usage();
        }
        Whole::json(200, &body)
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut events = Events::new(Style::of(&asked.user));
        let mut event = |part: Part, body: &Value| {
            let name = body["type"].as_str().unwrap();
            events.event(part, &format!("event: {name}\n"), body);
        };
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        event(
            Part::Start,
            &json!({"type": "message-start", "id": "ch-mock-1", "delta": {"message": message}}),
        );
        let delta = |kind: &str, index: usize, message: Value| json!({"type": kind, "index": index, "delta": {"message": message}});
        if answer.calls.is_empty() {
            let start = json!({"content": {"type": "text", "text": ""}});
            event(Part::Start, &delta("content-start", 0, start));
            for piece in pieces(&answer.text) {
                event(
                    Part::Content,
                    &delta("content-delta", 0, json!({"content": {"text": piece}})),
                );
            }
            event(Part::Content, &json!({"type": "content-end", "index": 0}));
        } else {
            for piece in pieces(PLAN) {
                event(
                    Part::Content,
                    &json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}),
                );
            }
        }
        for (at, call) in answer.calls.iter().enumerate() {
            let head = json!({"tool_calls": {"id": format!("call_mock_{at}"), "type": "function", "function": {"name": call.name, "arguments": ""}}});
            event(Part::Content, &delta("tool-call-start", at, head));
            for piece in pieces(&call.arguments.to_string()) {
                let fragment = json!({"tool_calls": {"function": {"arguments": piece}}});
                event(Part::Content, &delta("tool-call-delta", at, fragment));
            }
            event(Part::Content, &json!({"type": "tool-call-end", "index": at}));
        }
        let mut end =
            json!({"type": "message-end", "id": "ch-mock-1", "delta": {"finish_reason": finish_word(answer)}});
        if telling != Telling::Missing {
            end["delta"]["usage"] = usage();
        }
        event(Part::Finish, &end);
        events.stream()
    }

    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole {
        let status = match refused.failure {
            Failure::Invalid | Failure::ContextLength => 400,
            Failure::TooLarge => 422,
            Failure::Credentials => 401,
            Failure::Quota => 402,
            Failure::Forbidden => 403,
            Failure::NotFound => 404,
            Failure::RateLimit => 429,
            Failure::Filtered => 498,
            Failure::Internal => 500,
            Failure::Overloaded => 503,
            Failure::Timeout => 504,
        };
        let whole = Whole::json(status, &json!({"message": refused.said, "id": "er-mock-1"}));
        match wait {
            Some(seconds) => whole.with("retry-after", seconds.to_string()),
            None => whole,
        }
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let end = json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": said}});
        format!("event: message-end\ndata: {end}\n\n").into_bytes()
    }

    fn garbage(&self) -> Vec<u8> {
        b"event: content-delta\ndata: {\"type\": [oops\n\n".to_vec()
    }
}
