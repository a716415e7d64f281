//! Alibaba's DashScope in its own format.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, Choice, Finish, INPUT, OUTPUT, Telling, pieces},
    credentials,
    openai_request::tools,
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    unlucky,
    wire::{Events, Part, Request, Stream, Style, Whole},
};

pub(super) struct Generation;

const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";
const EMBEDDINGS: &str = "/api/v1/services/embeddings/text-embedding/text-embedding";
const RERANK: &str = "/api/v1/services/rerank/text-rerank/text-rerank";

pub(super) fn is_chat(request: &Request) -> bool {
    [TEXT, MULTIMODAL].contains(&request.path.as_str())
}

fn read(request: &Request) -> Checked<Asked> {
    if request.method != "POST" {
        return refuse(Failure::NotFound, "url error");
    }
    request.bearer(credentials("dashscope").key)?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model: object.text("model")?.to_owned(),
        usage: true,
        ..Asked::default()
    };
    asked.stream = match request.header("x-dashscope-sse") {
        None => false,
        Some("enable") => true,
        Some(_) => return invalid("X-DashScope-SSE", "must be enable"),
    };
    let multimodal = request.path == MULTIMODAL;
    let mut parameters = match object.maybe_object("parameters")? {
        Some(parameters) => parameters,
        None => Object::of(empty(), "parameters")?,
    };
    settings(&mut parameters, &mut asked)?;
    if !multimodal && parameters.one_of("result_format", &["message", "text"])? != Some("message") {
        return invalid("parameters.result_format", "must be message for tools and choices");
    }
    parameters.skip(&["result_format"]);
    parameters.close()?;
    let mut input = object.object("input")?;
    messages(input.list("messages")?, &mut asked, multimodal)?;
    input.close()?;
    object.close()?;
    Ok(asked)
}

fn empty() -> &'static Value {
    static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));
    &EMPTY
}

fn settings(parameters: &mut Object, asked: &mut Asked) -> Checked<()> {
    asked.temperature = parameters.within("temperature", 0.0, 2.0)?;
    asked.top_p = parameters.within("top_p", 0.0, 1.0)?;
    asked.max_tokens = parameters.maybe_count("max_tokens")?;
    asked.seed = parameters.maybe_integer("seed")?;
    asked.stop = match parameters.any("stop") {
        Some(Value::String(one)) => vec![one.clone()],
        _ => parameters.texts("stop")?,
    };
    asked.thinking = parameters.flag("enable_thinking", false)?;
    asked.serial = !parameters.flag("parallel_tool_calls", false)?;
    asked.tools = tools(parameters.maybe_list("tools")?)?;
    asked.choice = match parameters.any("tool_choice") {
        None => Choice::Auto,
        Some(Value::String(word)) if word == "auto" => Choice::Auto,
        Some(Value::String(word)) if word == "none" => Choice::None,
        Some(value) if value["function"]["name"].is_string() => {
            Choice::Named(value["function"]["name"].as_str().unwrap().to_owned())
        }
        Some(_) => return invalid("parameters.tool_choice", "is none of auto, none or a function"),
    };
    if let Some(mut format) = parameters.maybe_object("response_format")? {
        match format.one_of("type", &["text", "json_object", "json_schema"])? {
            Some("json_object") => asked.json = Some(Value::Null),
            Some("json_schema") => asked.json = format.any("json_schema").map(|schema| schema["schema"].clone()),
            _ => {}
        }
        format.skip(&["json_schema"]);
        format.close()?;
    }
    // Chunks that hold only what is new, in a stream; a reader that did not ask for them gets all so far each time.
    if asked.stream && !parameters.flag("incremental_output", false)? {
        asked.usage = false;
    }
    parameters.skip(&[
        "incremental_output",
        "top_k",
        "repetition_penalty",
        "presence_penalty",
        "enable_search",
        "search_options",
        "thinking_budget",
        "n",
        "logprobs",
        "top_logprobs",
    ]);
    Ok(())
}

fn messages(list: &[Value], asked: &mut Asked, multimodal: bool) -> Checked<()> {
    let mut open_calls: Vec<String> = Vec::new();
    asked.messages = list.len();
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("input.messages[{at}]"))?;
        let role = message.text("role")?;
        let calls = message.maybe_list("tool_calls")?;
        if calls.iter().any(|call| !call["function"]["arguments"].is_string()) {
            return invalid(message.path("tool_calls"), "arguments must be a JSON text");
        }
        let mut pictures = Vec::new();
        let text = content(&mut message, multimodal, &mut pictures, !calls.is_empty())?;
        match role {
            "system" => asked.says(&text),
            "user" => {
                asked.pictures = pictures;
                asked.hears(&text);
            }
            "assistant" => {
                open_calls = calls
                    .iter()
                    .map(|call| call["id"].as_str().unwrap_or_default().to_owned())
                    .collect();
            }
            "tool" => {
                let id = message.text("tool_call_id")?;
                if !open_calls.iter().any(|open| open == id) {
                    return invalid(message.path("tool_call_id"), "answers no call of the message before");
                }
                message.maybe_text("name")?;
                asked.results.push(text);
            }
            _ => return invalid(message.path("role"), "is no role"),
        }
        message.skip(&["reasoning_content", "partial", "tool_call_id"]);
        message.close()?;
    }
    Ok(())
}

/// A text; for models that see, a list of texts and pictures.
fn content(message: &mut Object, multimodal: bool, pictures: &mut Vec<Picture>, optional: bool) -> Checked<String> {
    let path = message.path("content");
    let parts = match message.any("content") {
        None if optional => return Ok(String::new()),
        Some(Value::String(text)) if !multimodal => return Ok(text.clone()),
        Some(Value::Array(parts)) if multimodal => parts,
        _ if multimodal => return invalid(path, "must be a list of parts"),
        _ => return invalid(path, "must be a text"),
    };
    let mut texts = Vec::new();
    for part in parts {
        let mut part = Object::of(part, path.clone())?;
        if let Some(text) = part.maybe_text("text")? {
            texts.push(text);
        } else if let Some(url) = part.maybe_text("image")? {
            pictures.push(Picture::of_url(url, &path)?);
        } else {
            return invalid(path, "is neither text nor image");
        }
        part.close()?;
    }
    Ok(texts.join("\n"))
}

/// Embeddings and rerank.
pub(super) fn other(request: &Request) -> Whole {
    let answer = (|| {
        if request.method != "POST" {
            return refuse(Failure::NotFound, "url error");
        }
        request.bearer(credentials("dashscope").key)?;
        let body = request.json()?;
        let mut object = Object::of(&body, "")?;
        object.text("model")?;
        let mut input = object.object("input")?;
        object.skip(&["parameters"]);
        let output = match request.path.as_str() {
            EMBEDDINGS => {
                let texts = input.texts("texts")?;
                if texts.is_empty() || texts.len() > 25 {
                    return invalid("input.texts", "batch size is invalid");
                }
                // The last one first: only the index tells.
                let vectors: Vec<_> = (0..texts.len())
                    .rev()
                    .map(|at| json!({"text_index": at, "embedding": [0.25, -0.5, at]}))
                    .collect();
                json!({"output": {"embeddings": vectors}, "usage": {"total_tokens": INPUT}, "request_id": "rq-mock-1"})
            }
            RERANK => {
                input.text("query")?;
                let documents = input.list("documents")?;
                let results: Vec<_> = (0..documents.len())
                    .rev()
                    .map(|at| json!({"index": at, "relevance_score": 0.5}))
                    .collect();
                json!({"output": {"results": results}, "usage": {"total_tokens": INPUT}, "request_id": "rq-mock-1"})
            }
            _ => return refuse(Failure::NotFound, "url error, please check url!"),
        };
        input.close()?;
        object.close()?;
        Ok(output)
    })();
    match answer {
        Ok(body) => Whole::json(200, &body),
        Err(refused) => Generation.failure(&refused, None),
    }
}

fn usage() -> Value {
    json!({"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT})
}

fn finish_word(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

fn reply(message: &Value, finish: &str, usage: Option<Value>) -> Value {
    let mut body =
        json!({"output": {"choices": [{"finish_reason": finish, "message": message}]}, "request_id": "rq-mock-1"});
    if let Some(usage) = usage {
        body["usage"] = usage;
    }
    body
}

/// Content as the service that was asked writes it.
fn written(asked: &Asked, text: &str) -> Value {
    if asked.pictures.is_empty() {
        text.into()
    } else {
        json!([{"text": text}])
    }
}

impl Dialect for Generation {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut message = json!({"role": "assistant", "content": written(asked, &answer.text)});
        if let Some(thought) = &answer.reasoning {
            message["reasoning_content"] = thought.as_str().into();
        }
        if !answer.calls.is_empty() {
            let calls = answer.calls.iter().enumerate().map(|(at, call)| {
                json!({"index": at, "id": format!("call_mock_{at}"), "type": "function", "function": {"name": call.name, "arguments": call.arguments.to_string()}})
            });
            message["tool_calls"] = calls.collect();
        }
        let usage = (telling != Telling::Missing).then(usage);
        Whole::json(200, &reply(&message, finish_word(answer), usage))
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut events = Events::new(Style::of(&asked.user));
        let incremental = asked.usage;
        let mut number = 0;
        let mut result = |part: Part, body: &Value| {
            number += 1;
            let head = format!("id:{number}\nevent:result\n:HTTP_STATUS/200\n");
            events.event(part, &head, body);
        };
        let so_far = |count: usize| {
            (telling != Telling::Missing)
                .then(|| json!({"input_tokens": INPUT, "output_tokens": count, "total_tokens": 30 + count}))
        };
        let mut said = String::new();
        let mut count = 0;
        if let Some(thought) = &answer.reasoning {
            for piece in pieces(thought) {
                let message = json!({"role": "assistant", "content": "", "reasoning_content": piece});
                result(Part::Content, &reply(&message, "null", so_far(1)));
            }
        }
        for piece in pieces(&answer.text) {
            count = (count + 1).min(11);
            said.push_str(&piece);
            let shown = if incremental { &piece } else { &said };
            let message = json!({"role": "assistant", "content": written(asked, shown)});
            result(Part::Content, &reply(&message, "null", so_far(count)));
        }
        for (at, call) in answer.calls.iter().enumerate() {
            let mut id = format!("call_mock_{at}");
            let mut name = Some(call.name.as_str());
            for piece in pieces(&call.arguments.to_string()) {
                let mut function = json!({"arguments": piece});
                if let Some(name) = name.take() {
                    function["name"] = name.into();
                }
                let call =
                    json!({"index": at, "id": std::mem::take(&mut id), "type": "function", "function": function});
                let message = json!({"role": "assistant", "content": "", "tool_calls": [call]});
                result(Part::Content, &reply(&message, "null", so_far(1)));
            }
        }
        let last = if incremental { "" } else { said.as_str() };
        let message = json!({"role": "assistant", "content": written(asked, last)});
        let usage = (telling != Telling::Missing).then(usage);
        result(Part::Finish, &reply(&message, finish_word(answer), usage));
        events.stream()
    }

    fn failure(&self, refused: &Refused, _: Option<u64>) -> Whole {
        let (status, code) = match refused.failure {
            Failure::Invalid | Failure::ContextLength | Failure::TooLarge => (400, "InvalidParameter"),
            Failure::Credentials => (401, "InvalidApiKey"),
            Failure::Forbidden => (403, "AccessDenied"),
            Failure::NotFound => (404, "ModelNotFound"),
            Failure::RateLimit => (429, "Throttling.RateQuota"),
            Failure::Quota => (400, "Arrearage"),
            Failure::Filtered => (400, "DataInspectionFailed"),
            Failure::Internal => (500, "InternalError.Algo"),
            Failure::Overloaded => (503, "ModelUnavailable"),
            Failure::Timeout => (504, "RequestTimeOut"),
        };
        Whole::json(
            status,
            &json!({"code": code, "message": refused.said, "request_id": "rq-mock-error"}),
        )
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let whole = self.failure(&unlucky(said), None);
        [
            b"id:99\nevent:error\n:HTTP_STATUS/500\ndata:",
            whole.body.as_slice(),
            b"\n\n",
        ]
        .concat()
    }

    fn garbage(&self) -> Vec<u8> {
        b"id:98\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\": [oops\n\n".to_vec()
    }
}
