mod errors;
mod messages;
mod recordings;
mod requests;
mod streams;
mod vectors;

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        support,
        testing::{decoded, received, target},
        translated::Chat,
    },
    domain::{
        call::Call,
        chat::{ChatEvent, Choice, Counts, FinishReason, Thought, arguments_object},
        fault::FaultClass,
        interface::{Capability, WhenUnsupported},
        vendor::Vendor,
    },
    ports::codec::{Ask, Codec as _, Outcome, StreamEnd},
};

struct Fixture {
    name: String,
    file: Value,
}

fn fixtures(capability: &str) -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors/aws-bedrock");
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        Fixture {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            file: serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap(),
        }
    });
    files
        .filter(|fixture| fixture.file["capability"] == capability)
        .collect()
}

impl Fixture {
    fn params(&self) -> &Value {
        &self.file["inputs"]["params"]
    }

    fn model(&self) -> &str {
        self.params()["modelId"].as_str().unwrap()
    }

    fn headers(&self) -> HeaderMap {
        let headers = self.file["response"]["headers"].as_object().unwrap().iter();
        let headers = headers.map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.as_str().unwrap().parse().unwrap())
        });
        headers.collect()
    }

    fn status(&self) -> u16 {
        self.file["response"]["status"].as_u64().unwrap().try_into().unwrap()
    }

    fn body(&self) -> Bytes {
        let response = &self.file["response"];
        match response["chunks_base64"].as_array() {
            None => response["body"].to_string().into(),
            Some(chunks) => {
                let chunks = chunks
                    .iter()
                    .map(|chunk| STANDARD.decode(chunk.as_str().unwrap()).unwrap());
                chunks.collect::<Vec<_>>().concat().into()
            }
        }
    }

    fn expect(&self) -> &Value {
        &self.file["expect"]
    }

    fn assert_counts(&self, counts: Option<Counts>) {
        let counts = counts.unwrap_or_default();
        let usage = &self.expect()["usage"];
        for (name, count) in [
            ("input_tokens", counts.input),
            ("output_tokens", counts.output),
            ("total_tokens", counts.total),
            ("cached_input_tokens", counts.cached_input),
            ("cache_write_input_tokens", counts.cache_write_input),
        ] {
            assert_eq!(usage[name].as_u64(), count, "{}: {name}", self.name);
        }
    }

    fn assert_calls(&self, calls: Vec<(Option<String>, String, String)>) {
        let calls: Vec<_> = calls
            .into_iter()
            .map(|(id, name, arguments)| json!({"id": id, "name": name, "arguments": arguments_object(&arguments)}))
            .collect();
        let wanted = self.expect()["tool_calls"].as_array().cloned().unwrap_or_default();
        assert_eq!(calls, wanted, "{}", self.name);
    }
}

/// A request in the vendor's words as a caller of ours writes it.
fn as_openai(params: &Value, stream: bool) -> Value {
    let mut messages = Vec::new();
    for block in params["system"].as_array().into_iter().flatten() {
        messages.push(json!({"role": "system", "content": block["text"]}));
    }
    for turn in params["messages"].as_array().unwrap() {
        let (mut parts, mut calls) = (Vec::new(), Vec::new());
        for block in turn["content"].as_array().unwrap() {
            if let Some(text) = block["text"].as_str() {
                parts.push(json!({"type": "text", "text": text}));
            } else if let Some(image) = block["image"].as_object() {
                let format = image["format"].as_str().unwrap();
                let data = image["source"]["bytes"]["base64"].as_str().unwrap();
                let url = format!("data:image/{format};base64,{data}");
                parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
            } else if let Some(call) = block["toolUse"].as_object() {
                let function = json!({"name": call["name"], "arguments": call["input"].to_string()});
                calls.push(json!({"id": call["toolUseId"], "type": "function", "function": function}));
            } else if let Some(result) = block["toolResult"].as_object() {
                let content = match &result["content"][0] {
                    json if json["json"].is_object() => json!(json["json"].to_string()),
                    text => json!([{"type": "text", "text": text["text"]}]),
                };
                messages.push(json!({
                    "role": "tool",
                    "tool_call_id": result["toolUseId"],
                    "content": content,
                    "is_error": result["status"] == "error",
                }));
            } else {
                panic!("{block}");
            }
        }
        if !parts.is_empty() || !calls.is_empty() {
            let mut message = json!({"role": turn["role"], "content": parts});
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            messages.push(message);
        }
    }
    let mut body = json!({"model": "m", "messages": messages, "stream": stream});
    let config = &params["inferenceConfig"];
    for (from, to) in [
        ("maxTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("stopSequences", "stop"),
    ] {
        if !config[from].is_null() {
            body[to] = config[from].clone();
        }
    }
    let tools = params["toolConfig"]["tools"].as_array().into_iter().flatten();
    let tools = tools.map(|tool| {
        let spec = &tool["toolSpec"];
        let function = json!({
            "name": spec["name"],
            "description": spec["description"],
            "parameters": spec["inputSchema"]["json"],
        });
        json!({"type": "function", "function": function})
    });
    let tools: Vec<_> = tools.collect();
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    match &params["toolConfig"]["toolChoice"] {
        Value::Null => {}
        choice if choice["auto"].is_object() => body["tool_choice"] = json!("auto"),
        choice if choice["any"].is_object() => body["tool_choice"] = json!("required"),
        choice => body["tool_choice"] = json!({"type": "function", "function": {"name": choice["tool"]["name"]}}),
    }
    body
}

fn call(body: &Value) -> Call {
    Call::read(Capability::Chat, body.to_string().into(), None).unwrap()
}

fn encoded_for(body: &Value, model: &str, rule: WhenUnsupported) -> Result<(Value, Encoded), EncodeError> {
    let vendor = Vendor::named("v", "aws_bedrock");
    let target = Target {
        model,
        when_unsupported: rule,
        ..target(&vendor)
    };
    let mut body = body.clone();
    if body["model"].is_null() {
        body["model"] = json!("m");
    }
    if body["messages"].is_null() {
        body["messages"] = json!([{"role": "user", "content": "hi"}]);
    }
    let encoded = Chat(BedrockChat).encode(&call(&body), target)?;
    Ok((serde_json::from_slice(&encoded.body.concat()).unwrap(), encoded))
}

fn encoded(body: &Value) -> Value {
    encoded_for(body, "anthropic.claude", WhenUnsupported::Refuse)
        .unwrap()
        .0
}

fn refused(body: &Value) -> String {
    match encoded_for(body, "anthropic.claude", WhenUnsupported::Refuse) {
        Err(EncodeError::Refused(error)) => error.param.unwrap_or_default().into(),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn blocks_go_back_in_the_order_in_which_they_came() {
    let body = json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}],
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "block_order": ["part", "thought", "call", "part"]}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let kinds = |content: &Value| -> Vec<String> {
        let blocks = content.as_array().unwrap().iter();
        blocks
            .map(|block| block.as_object().unwrap().keys().next().unwrap().clone())
            .collect()
    };
    let sent = encoded(&body)["messages"][1]["content"].clone();
    assert_eq!(kinds(&sent), ["text", "reasoningContent", "toolUse", "text"]);
    assert_eq!((&sent[0]["text"], &sent[3]["text"]), (&json!("a"), &json!("b")));
}

fn read_stream(headers: &HeaderMap, pieces: &[&[u8]]) -> (Vec<ChatEvent>, StreamEnd) {
    let mut decoder = BedrockChat.stream(headers);
    let mut events = Vec::new();
    for piece in pieces {
        if let Some(end) = decoder.push(Bytes::copy_from_slice(piece), &mut events) {
            return (events, end);
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.as_bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.as_bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let mut bytes = total.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(head.len()).unwrap().to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(head);
    bytes.extend(payload.as_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn event(kind: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":event-type", kind), (":message-type", "event")],
        &payload.to_string(),
    )
}
