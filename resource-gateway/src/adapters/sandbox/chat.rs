//! Simulated chat completions.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, Refusal, tokens::Tokenizer};

/// Of the person's words so many are repeated.
const MAX_ECHO_CHARS: usize = 500;
/// As OpenAI limits them.
const MAX_CHOICES: u32 = 128;
const MAX_STOPS: usize = 4;

/// The part of a request that the simulator understands; the rest changes nothing.
#[derive(Deserialize)]
struct ChatRequest {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(default)]
    response_format: Option<ResponseFormat>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts: Vec<_> = parts.iter().filter_map(|part| part.text.as_deref()).collect();
                texts.join("\n")
            }
        }
    }
}

/// A finished text.
struct Written {
    /// One token each.
    pieces: Vec<String>,
    finish_reason: &'static str,
}

pub(super) fn answer(body: &[u8], tokenizer: &Tokenizer, created: i64) -> Result<Answer, Refusal> {
    let request: ChatRequest =
        serde_json::from_slice(body).map_err(|error| Refusal::new("messages", format!("Invalid request: {error}.")))?;
    let limit = check(&request)?;
    let written = write(&request, tokenizer, limit);
    let choices = request.n.unwrap_or(1);
    let prompt_tokens = count_prompt(&request.messages, tokenizer);
    let completion_tokens = written.pieces.len() * choices as usize;
    let usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    });
    let digest = Sha256::digest(body);
    let frame = Frame {
        id: format!(
            "chatcmpl-sandbox-{}",
            URL_SAFE_NO_PAD.encode(digest.get(..15).unwrap_or_default())
        ),
        created,
        model: request.model,
    };
    if request.stream == Some(true) {
        let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
        return Ok(Answer::Events(frame.events(
            &written,
            choices,
            include_usage.then_some(usage),
        )));
    }
    let text = written.pieces.concat();
    let choice = |index: u32| {
        json!({"index": index, "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null, "finish_reason": written.finish_reason})
    };
    let mut reply = frame.envelope("chat.completion", (0..choices).map(choice).collect());
    set_usage(&mut reply, usage);
    Ok(Answer::Whole(reply))
}

/// Checks values as OpenAI does; answers how many tokens the answer may have.
fn check(request: &ChatRequest) -> Result<Option<u64>, Refusal> {
    if request.messages.is_empty() {
        return Err(Refusal::new("messages", "There must be at least one message."));
    }
    if let Some(unknown) = request.messages.iter().find(|message| {
        !matches!(
            message.role.as_str(),
            "system" | "developer" | "user" | "assistant" | "tool" | "function"
        )
    }) {
        let role: String = unknown.role.chars().take(40).collect();
        return Err(Refusal::new(
            "messages",
            format!("'{role}' is not the role of a message."),
        ));
    }
    if request.n.is_some_and(|n| n == 0 || n > MAX_CHOICES) {
        return Err(Refusal::new("n", format!("There can be 1 to {MAX_CHOICES} choices.")));
    }
    if let Some(Stop::Many(stops)) = &request.stop
        && stops.len() > MAX_STOPS
    {
        return Err(Refusal::new(
            "stop",
            format!("There can be {MAX_STOPS} stop sequences at most."),
        ));
    }
    let limit = request.max_completion_tokens.or(request.max_tokens);
    if limit == Some(0) {
        return Err(Refusal::new("max_tokens", "There must be at least one token."));
    }
    Ok(limit)
}

fn write(request: &ChatRequest, tokenizer: &Tokenizer, limit: Option<u64>) -> Written {
    let last = request.messages.iter().rev().find(|message| message.role == "user");
    let said: String = last
        .map(Message::text)
        .unwrap_or_default()
        .chars()
        .take(MAX_ECHO_CHARS)
        .collect();
    let mut text = format!("This is the Hexgate sandbox, a simulator and not a model. You said: {said}");
    if request
        .response_format
        .as_ref()
        .is_some_and(|format| format.r#type.starts_with("json"))
    {
        text = json!({"sandbox": true, "you_said": said}).to_string();
    }
    let stops: &[String] = match &request.stop {
        None => &[],
        Some(Stop::One(stop)) => std::slice::from_ref(stop),
        Some(Stop::Many(stops)) => stops,
    };
    let stop = stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min();
    if let Some(at) = stop {
        text.truncate(at);
    }
    let mut pieces = tokenizer.pieces(&text);
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let finish_reason = if pieces.len() > limit { "length" } else { "stop" };
    pieces.truncate(limit);
    Written { pieces, finish_reason }
}

/// OpenAI's rule: three tokens a message besides its text, its role and its name, and three for the answer's beginning.
fn count_prompt(messages: &[Message], tokenizer: &Tokenizer) -> usize {
    let count = |message: &Message| {
        let name = message.name.as_deref().map_or(0, |name| tokenizer.count(name) + 1);
        3 + tokenizer.count(&message.role) + tokenizer.count(&message.text()) + name
    };
    messages.iter().map(count).sum::<usize>() + 3
}

fn set_usage(reply: &mut Value, usage: Value) {
    if let Some(members) = reply.as_object_mut() {
        members.insert("usage".to_owned(), usage);
    }
}

/// What all parts of an answer have in common.
struct Frame {
    id: String,
    created: i64,
    model: String,
}

impl Frame {
    fn envelope(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
            "system_fingerprint": "fp_sandbox", "sandbox": true})
    }

    fn events(&self, written: &Written, choices: u32, usage: Option<Value>) -> Vec<Value> {
        let mut events = Vec::with_capacity(written.pieces.len() + 3);
        let wants_usage = usage.is_some();
        let mut push = |choices: Vec<Value>, usage: Option<Value>| {
            let mut event = self.envelope("chat.completion.chunk", choices);
            if wants_usage {
                set_usage(&mut event, usage.unwrap_or_default());
            }
            events.push(event);
        };
        let choice = |index: u32, delta: Value, finish_reason: Value| json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        for index in 0..choices {
            push(
                vec![choice(
                    index,
                    json!({"role": "assistant", "content": "", "refusal": null}),
                    Value::Null,
                )],
                None,
            );
            for piece in &written.pieces {
                push(vec![choice(index, json!({"content": piece}), Value::Null)], None);
            }
            push(vec![choice(index, json!({}), written.finish_reason.into())], None);
        }
        if let Some(usage) = usage {
            push(Vec::new(), Some(usage));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &Value) -> Value {
        match answer(body.to_string().as_bytes(), &Tokenizer::default(), 1)
            .map_err(|refusal| refusal.message)
            .unwrap()
        {
            Answer::Whole(value) => value,
            Answer::Events(_) | Answer::Bytes { .. } => panic!("a stream"),
        }
    }

    fn hello(extra: &Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello, world"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    }

    #[test]
    fn counts_are_those_of_the_vocabulary() {
        let reply = whole(&hello(&json!({"max_tokens": 5})));
        // "Hello", ",", " world"; "user"; three for the message and three for the answer.
        assert_eq!(
            reply["usage"],
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
        );
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
        assert_eq!(reply["sandbox"], true);
    }

    #[test]
    fn stop_n_and_json_are_obeyed() {
        let reply = whole(&hello(&json!({"stop": [" simulator", "zzz"], "n": 2})));
        assert_eq!(
            reply["choices"][1]["message"]["content"],
            "This is the Hexgate sandbox, a"
        );
        assert_eq!(reply["choices"].as_array().unwrap().len(), 2);
        let reply = whole(&hello(&json!({"response_format": {"type": "json_object"}})));
        let content: Value = serde_json::from_str(reply["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(content["you_said"], "Hello, world");
    }

    #[test]
    fn a_stream_holds_the_same_text_and_counts() {
        let text =
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Gr\u{fc}\u{df}e \u{1f600}"}]}]});
        let plain = whole(&hello(&text));
        let mut streamed = hello(&text);
        streamed["stream"] = true.into();
        streamed["stream_options"] = json!({"include_usage": true});
        let Ok(Answer::Events(events)) = answer(streamed.to_string().as_bytes(), &Tokenizer::default(), 1) else {
            panic!("no stream")
        };
        let content: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(plain["choices"][0]["message"]["content"], content);
        assert_eq!(events.last().unwrap()["usage"], plain["usage"]);
        assert!(events.iter().all(|event| event["sandbox"] == true));
    }

    #[test]
    fn bad_values_are_refused() {
        for (extra, param) in [
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages"),
            (json!({"n": 0}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        ] {
            let refused = answer(hello(&extra).to_string().as_bytes(), &Tokenizer::default(), 1).err();
            assert_eq!(refused.map(|refusal| refusal.param), Some(param), "{extra}");
        }
    }
}
