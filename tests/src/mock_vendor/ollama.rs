//! Ollama: NDJSON, streamed unless told otherwise.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, Finish, INPUT, OUTPUT, Telling, pieces},
    credentials,
    openai_request::tools,
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    wire::{Frame, Part, Request, Stream, Whole},
};

pub(super) struct Chat;

/// A server without accounts; a proxy before it may want a bearer.
fn door(request: &Request, path: &str) -> Checked<()> {
    if !request.is("POST", path) {
        return refuse(Failure::NotFound, "404 page not found");
    }
    match request.header("authorization") {
        None => Ok(()),
        Some(_) => request.bearer(credentials("ollama").key),
    }
}

fn read(request: &Request) -> Checked<Asked> {
    door(request, "/api/chat")?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model: object.text("model")?.to_owned(),
        stream: object.flag("stream", true)?,
        usage: true,
        ..Asked::default()
    };
    asked.tools = tools(object.maybe_list("tools")?)?;
    asked.json = match object.any("format") {
        None => None,
        Some(Value::String(word)) if word == "json" => Some(Value::Null),
        Some(schema) if schema.is_object() => Some(schema.clone()),
        Some(_) => return invalid("format", "must be json or a schema"),
    };
    asked.thinking = object.any("think").is_some_and(|think| *think != Value::Bool(false));
    if let Some(mut options) = object.maybe_object("options")? {
        asked.temperature = options.maybe_number("temperature")?;
        asked.top_p = options.maybe_number("top_p")?;
        asked.seed = options.maybe_integer("seed")?;
        asked.stop = options.texts("stop")?;
        asked.max_tokens = options.maybe_count("num_predict")?;
        options.skip(&[
            "top_k",
            "num_ctx",
            "presence_penalty",
            "frequency_penalty",
            "repeat_penalty",
        ]);
        options.close()?;
    }
    object.skip(&["keep_alive"]);
    let list = object.list("messages")?;
    asked.messages = list.len();
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("messages[{at}]"))?;
        let role = message.text("role")?;
        let text = message.maybe_text("content")?.unwrap_or_default();
        let pictures = message
            .texts("images")?
            .iter()
            .map(|image| Picture::of_base64(image, "images"))
            .collect::<Checked<Vec<_>>>()?;
        match role {
            "system" => asked.says(text),
            "user" => {
                asked.pictures = pictures;
                asked.hears(text);
            }
            "assistant" => {
                for call in message.maybe_list("tool_calls")? {
                    if !call["function"]["name"].is_string() || !call["function"]["arguments"].is_object() {
                        return refuse(
                            Failure::Invalid,
                            "json: cannot unmarshal string into Go struct field ToolCallFunction.arguments",
                        );
                    }
                }
            }
            "tool" => asked.results.push(text.to_owned()),
            _ => return invalid(message.path("role"), "invalid role"),
        }
        message.skip(&["tool_calls", "tool_name", "thinking", "tool_call_id"]);
        message.close()?;
    }
    object.close()?;
    Ok(asked)
}

/// `/api/embed`.
pub(super) fn embeddings(request: &Request) -> Whole {
    let answer = (|| {
        door(request, "/api/embed")?;
        let body = request.json()?;
        let mut object = Object::of(&body, "")?;
        let model = object.text("model")?.to_owned();
        let count = match object.any("input") {
            Some(Value::String(_)) => 1,
            _ => object.texts("input")?.len(),
        };
        object.skip(&["dimensions", "truncate", "options", "keep_alive"]);
        object.close()?;
        let vectors: Vec<_> = (0..count).map(|at| json!([0.25, -0.5, at])).collect();
        Ok(
            json!({"model": model, "embeddings": vectors, "prompt_eval_count": INPUT, "total_duration": 1, "load_duration": 1}),
        )
    })();
    match answer {
        Ok(body) => Whole::json(200, &body),
        Err(refused) => Chat.failure(&refused, None),
    }
}

fn reply(asked: &Asked, message: &Value) -> Value {
    json!({"model": asked.model, "created_at": "2026-03-14T15:09:26.000000001Z", "message": message, "done": false})
}

/// Makes of a reply the last one.
fn done(mut reply: Value, answer: &Answer, telling: Telling) -> Value {
    reply["done"] = true.into();
    // Calls are a normal stop here.
    reply["done_reason"] = match answer.finish {
        Finish::Stop | Finish::ToolCalls => "stop".into(),
        Finish::Length => "length".into(),
    };
    reply["total_duration"] = 5_000_000_000_u64.into();
    if telling != Telling::Missing {
        reply["prompt_eval_count"] = INPUT.into();
        reply["eval_count"] = OUTPUT.into();
    }
    reply
}

fn calls(answer: &Answer) -> Vec<Value> {
    answer
        .calls
        .iter()
        .map(|call| json!({"function": {"name": call.name, "arguments": call.arguments}}))
        .collect()
}

impl Dialect for Chat {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut message = json!({"role": "assistant", "content": answer.text});
        if let Some(thought) = &answer.reasoning {
            message["thinking"] = thought.as_str().into();
        }
        if !answer.calls.is_empty() {
            message["tool_calls"] = calls(answer).into();
        }
        Whole::json(200, &done(reply(asked, &message), answer, telling))
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut frames = Vec::new();
        let mut line = |part: Part, value: &Value| {
            frames.push(Frame {
                part,
                bytes: format!("{value}\n").into_bytes(),
            });
        };
        for piece in answer.reasoning.as_deref().map(pieces).unwrap_or_default() {
            let message = json!({"role": "assistant", "content": "", "thinking": piece});
            line(Part::Content, &reply(asked, &message));
        }
        for piece in pieces(&answer.text) {
            let message = json!({"role": "assistant", "content": piece});
            line(Part::Content, &reply(asked, &message));
        }
        for call in calls(answer) {
            let message = json!({"role": "assistant", "content": "", "tool_calls": [call]});
            line(Part::Content, &reply(asked, &message));
        }
        let last = reply(asked, &json!({"role": "assistant", "content": ""}));
        line(Part::Finish, &done(last, answer, telling));
        Stream {
            content_type: "application/x-ndjson",
            headers: Vec::new(),
            frames,
            messages: false,
        }
    }

    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole {
        let status = match refused.failure {
            Failure::Invalid | Failure::ContextLength | Failure::Filtered => 400,
            Failure::Credentials => 401,
            Failure::Quota => 402,
            Failure::Forbidden => 403,
            Failure::NotFound => 404,
            Failure::TooLarge => 413,
            Failure::RateLimit => 429,
            Failure::Internal => 500,
            Failure::Overloaded => 503,
            Failure::Timeout => 504,
        };
        let whole = Whole::json(status, &json!({"error": refused.said}));
        match wait {
            Some(seconds) => whole.with("retry-after", seconds.to_string()),
            None => whole,
        }
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        format!("{}\n", json!({"error": said})).into_bytes()
    }

    fn garbage(&self) -> Vec<u8> {
        b"{\"model\": oops\n".to_vec()
    }
}
