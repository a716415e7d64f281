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
fn every_recorded_request_is_what_the_vendors_library_sends() {
    let plain = fixtures("converse");
    let streams = fixtures("converse-stream");
    assert!(plain.len() >= 6 && streams.len() >= 2);
    for (fixture, stream) in plain
        .iter()
        .map(|f| (f, false))
        .chain(streams.iter().map(|f| (f, true)))
    {
        let body = as_openai(fixture.params(), stream);
        let (body, encoded) = encoded_for(&body, fixture.model(), WhenUnsupported::Refuse).unwrap();
        let request = &fixture.file["request"];
        assert_eq!(body, request["body"], "{}", fixture.name);
        let place = encoded.place.unwrap();
        assert_eq!(place.method, request["method"].as_str().unwrap());
        assert_eq!(place.path, request["path"].as_str().unwrap());
        assert_eq!(
            encoded.content_type,
            request["headers"]["content-type"].as_str().unwrap()
        );
    }
}

#[test]
fn every_recorded_answer_is_read() {
    for fixture in fixtures("converse") {
        let headers = fixture.headers();
        let reply = BedrockChat.decode(&received(&headers, fixture.body())).unwrap();
        let [choice] = &*reply.choices else {
            panic!("{}", fixture.name)
        };
        let expect = fixture.expect();
        assert_eq!(
            choice.text.as_deref().unwrap_or_default(),
            expect["text"].as_str().unwrap_or_default()
        );
        let finish = choice.finish.as_ref().unwrap();
        assert_eq!(finish.word, expect["finish_reason"]);
        assert_eq!(finish.reason.word().unwrap(), expect["finish"]);
        fixture.assert_counts(reply.counts);
        let calls = choice.tool_calls.iter();
        let calls = calls.map(|call| {
            (
                call.id.as_deref().map(str::to_owned),
                call.name.to_string(),
                call.arguments.to_string(),
            )
        });
        fixture.assert_calls(calls.collect());
        assert_eq!(
            reply.id.as_deref(),
            fixture.file["response"]["headers"]["x-amzn-requestid"].as_str()
        );
    }
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

#[test]
fn every_recorded_stream_gives_the_same_events_however_it_is_cut() {
    let recordings = fixtures("converse-stream");
    assert!(recordings.len() >= 2);
    for fixture in recordings {
        let (headers, body, expect) = (fixture.headers(), fixture.body(), fixture.expect());
        assert!(BedrockChat.is_stream(&headers));
        let (events, end) = read_stream(&headers, &[&body]);
        assert!(matches!(end, StreamEnd::Complete), "{}: {end:?}", fixture.name);
        let texts = events.iter().filter_map(|event| match event {
            ChatEvent::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(
            json!(texts.collect::<Vec<_>>()),
            expect["text_deltas"],
            "{}",
            fixture.name
        );
        let (mut calls, mut counts, mut finished) = (Vec::new(), None::<Counts>, 0);
        for event in &events {
            match event {
                ChatEvent::ToolCall { id, name, call, .. } => {
                    assert_eq!(usize::try_from(*call).unwrap(), calls.len());
                    calls.push((id.clone(), name.clone(), String::new()));
                }
                ChatEvent::Arguments { call, fragment, .. } => {
                    calls[usize::try_from(*call).unwrap()].2.push_str(fragment);
                }
                ChatEvent::Counts(newer) => {
                    counts = Some(counts.unwrap_or_default().merged(*newer));
                }
                ChatEvent::Finish { finish, .. } => {
                    finished += 1;
                    assert_eq!(finish.word, expect["finish_reason"]);
                    assert_eq!(finish.reason.word().unwrap(), expect["finish"]);
                }
                _ => {}
            }
        }
        assert_eq!(finished, 1);
        fixture.assert_counts(counts);
        fixture.assert_calls(calls);
        for cut in 0..=body.len() {
            let again = read_stream(&headers, &[&body[..cut], &body[cut..]]);
            assert_eq!(again.0, events, "{} cut at {cut}", fixture.name);
            assert!(matches!(again.1, StreamEnd::Complete));
        }
        let each: Vec<_> = body.chunks(1).collect();
        assert_eq!(read_stream(&headers, &each).0, events, "{}", fixture.name);
    }
}

#[test]
fn every_recorded_error_is_read() {
    let recordings = fixtures("error");
    assert!(recordings.len() >= 4);
    for fixture in recordings {
        let fault = BedrockChat.decode_fault(fixture.status(), &fixture.headers(), &fixture.body());
        let wanted = &fixture.expect()["error"];
        assert_eq!(fault.class.label(), wanted["class"], "{}", fixture.name);
        assert_eq!(json!(fault.words.code), wanted["code"]);
        assert_eq!(json!(fault.words.message), wanted["message"]);
        assert_eq!(json!(fault.status), wanted["status"]);
        assert_eq!(json!(fault.is_retryable()), wanted["retryable"]);
    }
}

#[test]
fn every_name_of_an_error_has_its_class() {
    use FaultClass as C;
    for (name, class) in [
        ("ValidationException", C::InvalidRequest),
        ("UnrecognizedClientException", C::Authentication),
        ("InvalidSignatureException", C::Authentication),
        ("ExpiredTokenException", C::Authentication),
        ("IncompleteSignature", C::Authentication),
        ("MissingAuthenticationToken", C::Authentication),
        ("AccessDeniedException", C::Permission),
        ("ResourceNotFoundException", C::NotFound),
        ("ModelTimeoutException", C::Timeout),
        ("ThrottlingException", C::RateLimit),
        ("ModelNotReadyException", C::Overloaded),
        ("ServiceUnavailableException", C::Overloaded),
        ("ServiceQuotaExceededException", C::QuotaExceeded),
        ("ModelErrorException", C::ServerError),
        ("ModelStreamErrorException", C::ServerError),
        ("InternalServerException", C::ServerError),
    ] {
        // Whatever the status says, the name knows better; a body's name has a place in front.
        let body = json!({"__type": format!("com.amazon.coral.service#{name}"), "message": "m"}).to_string();
        let fault = BedrockChat.decode_fault(418, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, Some(name)));
        let small = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
        let bytes = frame(&[(":message-type", "exception"), (":exception-type", &small)], "{}");
        let (_, end) = read_stream(&HeaderMap::new(), &[&bytes]);
        assert!(
            matches!(end, StreamEnd::Failed(fault) if fault.class == class),
            "{small}"
        );
    }
    for (status, body, class) in [
        (429, "<html>", C::RateLimit),
        (503, "", C::Overloaded),
        (500, r#"{"message":"x"}"#, C::ServerError),
        (403, r#"{"__type":"SomethingNewException"}"#, C::Permission),
    ] {
        assert_eq!(
            BedrockChat
                .decode_fault(status, &HeaderMap::new(), body.as_bytes())
                .class,
            class
        );
    }
}

#[test]
fn what_stands_in_place_of_an_answer_is_a_failure() {
    let headers = HeaderMap::new();
    for (body, class) in [
        (
            r#"{"__type":"x#ThrottlingException","message":"m"}"#,
            FaultClass::RateLimit,
        ),
        (
            r#"{"Output":{"__type":"UnknownOperationException"},"Version":"1.0"}"#,
            FaultClass::InvalidReply,
        ),
        ("{}", FaultClass::InvalidReply),
        ("<html>", FaultClass::InvalidReply),
    ] {
        assert_eq!(
            BedrockChat.decode(&received(&headers, body)).unwrap_err().class,
            class,
            "{body}"
        );
    }
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

fn text_delta(text: &str) -> Vec<u8> {
    event(
        "contentBlockDelta",
        &json!({"contentBlockIndex": 0, "delta": {"text": text}, "p": "abcd"}),
    )
}

#[test]
fn a_failure_in_mid_stream_leaves_the_text_before_it_and_says_what_it_was() {
    let exception = frame(
        &[
            (":message-type", "exception"),
            (":exception-type", "throttlingException"),
        ],
        r#"{"message":"slow down"}"#,
    );
    let error = frame(
        &[
            (":message-type", "error"),
            (":error-code", "InternalServerException"),
            (":error-message", "broke"),
        ],
        "",
    );
    let mut hurt = text_delta("lost");
    *hurt.last_mut().unwrap() ^= 1;
    let cut = text_delta("lost")[..20].to_vec();
    for (broken, class, code, message) in [
        (
            exception,
            FaultClass::RateLimit,
            Some("throttlingException"),
            Some("slow down"),
        ),
        (
            error,
            FaultClass::ServerError,
            Some("InternalServerException"),
            Some("broke"),
        ),
        (hurt, FaultClass::Transport, None, None),
        (cut, FaultClass::Transport, None, None),
        (Vec::new(), FaultClass::Transport, None, None),
        (
            event("contentBlockDelta", &json!("no object")),
            FaultClass::InvalidReply,
            None,
            None,
        ),
        (
            event(
                "contentBlockDelta",
                &json!({"contentBlockIndex": 9, "delta": {"toolUse": {"input": "{}"}}}),
            ),
            FaultClass::InvalidReply,
            None,
            None,
        ),
    ] {
        let bytes = [text_delta("before"), broken].concat();
        for piece in [bytes.len(), 7] {
            let pieces: Vec<_> = bytes.chunks(piece).collect();
            let (events, end) = read_stream(&HeaderMap::new(), &pieces);
            let StreamEnd::Failed(fault) = end else {
                panic!("{end:?}")
            };
            assert_eq!(fault.class, class);
            assert_eq!(
                (fault.words.code.as_deref(), fault.words.message.as_deref()),
                (code, message)
            );
            let wanted = ChatEvent::Text {
                choice: 0,
                text: "before".to_owned(),
            };
            assert_eq!(events, [wanted]);
        }
    }
}

#[test]
fn a_stream_without_usage_is_whole_and_kinds_that_are_not_known_are_passed_over() {
    let bytes = [
        event("messageStart", &json!({"role": "assistant"})),
        event("somethingNew", &json!({"x": 1})),
        frame(&[(":message-type", "other")], "not json"),
        frame(&[], ""),
        text_delta("a"),
        event(
            "contentBlockDelta",
            &json!({"contentBlockIndex": 0, "delta": {"citation": {"title": "t"}}}),
        ),
        event("messageStop", &json!({"stopReason": "malformed_tool_use"})),
    ]
    .concat();
    let (events, end) = read_stream(&HeaderMap::new(), &[&bytes]);
    assert!(matches!(end, StreamEnd::Complete));
    let [ChatEvent::Text { .. }, ChatEvent::Finish { finish, .. }] = &*events else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&*finish.word, finish.reason),
        ("malformed_tool_use", FinishReason::Other)
    );
}

#[test]
fn thinking_tools_without_arguments_and_cache_counts_come_through_in_streams() {
    let delta = |block: u64, delta: Value| {
        event(
            "contentBlockDelta",
            &json!({"contentBlockIndex": block, "delta": delta}),
        )
    };
    let start = |block: u64, id: &str| {
        let start = json!({"toolUse": {"toolUseId": id, "name": "now"}});
        event(
            "contentBlockStart",
            &json!({"contentBlockIndex": block, "start": start}),
        )
    };
    let stop = |block: u64| event("contentBlockStop", &json!({"contentBlockIndex": block}));
    let usage = json!({"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokens": 7, "cacheWriteInputTokens": 3});
    let bytes = [
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        delta(1, json!({"reasoningContent": {"redactedContent": "xyz"}})),
        start(2, "a"),
        stop(2),
        start(3, "b"),
        delta(3, json!({"toolUse": {"input": ""}})),
        delta(3, json!({"toolUse": {"input": "{\"x\":1}"}})),
        stop(3),
        event("messageStop", &json!({"stopReason": "tool_use"})),
        event("metadata", &json!({"usage": usage, "metrics": {"latencyMs": 1}})),
    ]
    .concat();
    let (events, end) = read_stream(&HeaderMap::new(), &[&bytes]);
    assert!(matches!(end, StreamEnd::Complete));
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            ChatEvent::Reasoning { text, .. } => text.clone(),
            ChatEvent::ReasoningSignature { signature, .. } => signature.clone(),
            ChatEvent::RedactedReasoning { data, .. } => data.clone(),
            ChatEvent::ToolCall { call, id, .. } => format!("call {call} {}", id.as_deref().unwrap()),
            ChatEvent::Arguments { call, fragment, .. } => format!("{call}: {fragment}"),
            ChatEvent::Finish { finish, .. } => finish.word.clone(),
            ChatEvent::Counts(counts) => counts.all_input().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "hm",
            "sig",
            "xyz",
            "call 0 a",
            "0: {}",
            "call 1 b",
            "1: {\"x\":1}",
            "tool_use",
            "15"
        ]
    );
}

#[test]
fn thinking_in_a_whole_answer_is_read_and_goes_back_with_its_proof() {
    let body = json!({"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "xyz"}},
        {"text": "a"},
        {"citationsContent": {"content": [{"text": "b"}], "citations": []}},
        {"toolUse": {"toolUseId": "t", "name": "now"}},
        {"somethingNew": {}},
    ]}}, "stopReason": "end_turn", "usage": {"inputTokens": 1, "cacheReadInputTokens": 4}});
    let reply = BedrockChat
        .decode(&received(&HeaderMap::new(), body.to_string()))
        .unwrap();
    let [
        Choice {
            text,
            thoughts,
            tool_calls,
            ..
        },
    ] = &*reply.choices
    else {
        panic!()
    };
    assert_eq!(text.as_deref(), Some("ab"));
    assert_eq!(tool_calls[0].arguments, "{}");
    assert_eq!(reply.counts.unwrap().all_input(), 5);
    let [Thought::Text { signature, .. }, Thought::Redacted(_)] = &**thoughts else {
        panic!("{thoughts:?}")
    };
    assert_eq!(signature.as_deref(), Some("sig"));
    let sent = encoded(&json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "thinking_blocks": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "thinking", "thinking": "of another model"},
            {"type": "redacted_thinking", "data": "xyz"},
        ]},
    ]}));
    assert_eq!(
        sent["messages"][1]["content"],
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "xyz"}},
            {"text": "a"},
        ])
    );
}

#[test]
fn roles_take_turns_and_what_instructs_stands_apart() {
    let sent = encoded(&json!({"messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "d", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{\"big\":12345678901234567890123}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "plain"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "{\"a\":1}"}], "is_error": true},
        {"role": "user", "content": "three"},
    ], "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]}));
    assert_eq!(
        sent["system"],
        json!([{"text": "s"}, {"text": "d"}, {"cachePoint": {"type": "default"}}])
    );
    let turns = sent["messages"].as_array().unwrap();
    let roles: Vec<_> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(turns[0]["content"], json!([{"text": "one"}, {"text": "two"}]));
    assert_eq!(turns[1]["content"][0]["toolUse"]["toolUseId"], "functions_f_0");
    assert_eq!(turns[1]["content"][1]["toolUse"]["input"], json!({}));
    assert_eq!(
        turns[2]["content"],
        json!([
            {"toolResult": {"toolUseId": "functions_f_0", "content": [{"text": "plain"}], "status": "success"}},
            {"toolResult": {"toolUseId": "b", "content": [{"text": "{\"a\":1}"}], "status": "error"}},
            {"text": "three"},
        ])
    );
}

#[test]
fn the_mark_of_a_tools_answer_stands_behind_its_result() {
    let mark = json!({"type": "ephemeral"});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let sent = encoded(&json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("a"), call("b"), call("c")]},
        {"role": "tool", "tool_call_id": "a", "content": "x", "cache_control": mark},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "y", "cache_control": mark}]},
        {"role": "tool", "tool_call_id": "c", "content": "z"},
    ], "tools": [{"type": "function", "function": {"name": "f"}}]}));
    let result = |id: &str, text: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}], "status": "success"}});
    let point = json!({"cachePoint": {"type": "default"}});
    let wanted = json!([result("a", "x"), point, result("b", "y"), point, result("c", "z")]);
    assert_eq!(sent["messages"][2]["content"], wanted);
}

#[test]
fn whether_thoughts_are_shown_is_told_to_claude_and_to_nobody_else() {
    let body = json!({"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}});
    let wanted = json!({"type": "enabled", "budget_tokens": 2048, "display": "omitted"});
    assert_eq!(encoded(&body)["additionalModelRequestFields"]["thinking"], wanted);
    let others = json!({"reasoning_effort": "low", "thinking": {"type": "enabled", "display": "omitted"}});
    let Err(EncodeError::Refused(error)) = encoded_for(&others, "openai.gpt-oss", WhenUnsupported::Refuse) else {
        panic!()
    };
    assert_eq!(error.param.as_deref(), Some("thinking.display"));
    let (_, left) = encoded_for(&others, "openai.gpt-oss", WhenUnsupported::Drop).unwrap();
    assert_eq!(left.dropped, ["thinking.display"]);
}

#[test]
fn ids_that_are_made_fit_are_not_made_alike() {
    let long = |end: char| format!("{}{end}", "x".repeat(70));
    for (one, other) in [("a.b", "a_b"), ("a_b", "a.b"), ("a:b", "a.b"), (&long('1'), &long('2'))] {
        let sent = encoded(&json!({"messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [
                {"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": other, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": other, "content": "of the other"},
            {"role": "tool", "tool_call_id": one, "content": "of the one"},
        ], "tools": [{"type": "function", "function": {"name": "f"}}]}));
        let calls = &sent["messages"][1]["content"];
        let id = |at: usize| calls[at]["toolUse"]["toolUseId"].as_str().unwrap();
        assert_ne!(id(0), id(1));
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!([id(0), id(1)].iter().all(|id| id.len() <= 64 && id.chars().all(fit)));
        let results = &sent["messages"][2]["content"];
        assert_eq!(results[0]["toolResult"]["toolUseId"], id(1));
        assert_eq!(results[1]["toolResult"]["toolUseId"], id(0));
    }
}

#[test]
fn arguments_and_results_go_on_as_they_are_written() {
    let body = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1.0, \"a\": 12345678901234567890123}"}},
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "{\"z\":1.50,\"a\":2}"},
    ], "tools": [{"type": "function", "function": {"name": "f"}}]});
    let (_, encoded) = encoded_for(&body, "m", WhenUnsupported::Refuse).unwrap();
    let text = String::from_utf8(encoded.body.concat()).unwrap();
    assert!(
        text.contains(r#""input":{"b": 1.0, "a": 12345678901234567890123}"#),
        "{text}"
    );
    assert!(text.contains(r#"[{"json":{"z":1.50,"a":2}}]"#), "{text}");
}

#[test]
fn pictures_and_documents_are_told_by_format_and_name() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let file = |name: &str, data: &str| json!({"type": "file", "file": {"filename": name, "file_data": data}});
    let content = json!([
        image("data:image/jpeg;base64,eA=="),
        image("data:image/webp;base64,eQ=="),
        file("my_report.v2 (final).pdf", "data:application/pdf;base64,eA=="),
        file("my_report.v2 (final).pdf", "data:application/pdf;base64,eQ=="),
    ]);
    let sent = encoded(&json!({"messages": [{"role": "user", "content": content}]}));
    assert_eq!(
        sent["messages"][0]["content"],
        json!([
            {"image": {"format": "jpeg", "source": {"bytes": "eA=="}}},
            {"image": {"format": "webp", "source": {"bytes": "eQ=="}}},
            {"document": {"format": "pdf", "name": "my report v2 (final) pdf", "source": {"bytes": "eA=="}}},
            {"document": {"format": "pdf", "name": "my report v2 (final) pdf (2)", "source": {"bytes": "eQ=="}}},
        ])
    );
    let bitmap = json!({"messages": [{"role": "user", "content": [image("data:image/bmp;base64,eA==")]}]});
    assert_eq!(refused(&bitmap), "messages[0].content[0]");
    let behind_url = json!({"messages": [{"role": "user", "content": [image("https://a.test/x.png")]}]});
    let asked = encoded_for(&behind_url, "m", WhenUnsupported::Refuse);
    let Err(EncodeError::Fetch(urls)) = asked else {
        panic!("{asked:?}")
    };
    assert_eq!(urls, ["https://a.test/x.png"]);
}

#[test]
fn a_large_picture_is_copied_once() {
    let data = "A".repeat(10 * 1024 * 1024);
    let content = json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}]);
    let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let vendor = Vendor::named("v", "aws_bedrock");
    let (written, _) = convert::encode(&request, target(&vendor)).unwrap();
    // Room was made once for all of it.
    let written: Vec<u8> = written.into();
    assert!(written.len() > data.len() && written.capacity() < data.len() + 4096);
}

#[test]
fn tools_are_told_and_choices_have_their_words() {
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let mut cached = function("g");
    cached["cache_control"] = json!({"type": "ephemeral"});
    let tools = json!([function("f"), cached]);
    for (choice, wanted) in [
        (json!(null), json!(null)),
        (json!("auto"), json!({"auto": {}})),
        (json!("required"), json!({"any": {}})),
        (function("g"), json!({"tool": {"name": "g"}})),
    ] {
        let sent = encoded(&json!({"tools": tools, "tool_choice": choice}));
        assert_eq!(sent["toolConfig"]["toolChoice"], wanted);
        let schema = json!({"json": {"type": "object", "properties": {}}});
        assert_eq!(
            sent["toolConfig"]["tools"],
            json!([
                {"toolSpec": {"name": "f", "inputSchema": schema}},
                {"toolSpec": {"name": "g", "inputSchema": schema}},
                {"cachePoint": {"type": "default"}},
            ])
        );
    }
    // Tools that must not be called need not be known, unless some were called before.
    let none = json!({"tools": tools, "tool_choice": "none"});
    assert!(encoded(&none)["toolConfig"].is_null());
    let mut after = none;
    after["messages"] = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "r"},
    ]);
    assert_eq!(refused(&after), "tool_choice");
    after["tool_choice"] = Value::Null;
    after["tools"] = json!([]);
    assert_eq!(refused(&after), "tools");
}

#[test]
fn what_is_not_within_converse_goes_by_the_models_family() {
    let sent = |body: &Value, model: &str| encoded_for(body, model, WhenUnsupported::Refuse).map(|(body, _)| body);
    let fields = |body: &Value, model: &str| sent(body, model).unwrap()["additionalModelRequestFields"].clone();
    let top_k = json!({"top_k": 3, "additionalModelRequestFields": {"x": 1}});
    assert_eq!(fields(&top_k, "us.anthropic.claude-v1:0"), json!({"top_k": 3, "x": 1}));
    assert_eq!(
        fields(&top_k, "amazon.nova-lite-v1:0"),
        json!({"inferenceConfig": {"topK": 3}, "x": 1})
    );
    for (body, model, wanted) in [
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 9}),
            "anthropic.c",
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ),
        (
            json!({"reasoning_effort": "low"}),
            "anthropic.c",
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ),
        (
            json!({"reasoning_effort": "high", "max_tokens": 3001}),
            "anthropic.c",
            json!({"thinking": {"type": "enabled", "budget_tokens": 3000}}),
        ),
        (json!({"reasoning_effort": "none"}), "anthropic.c", json!(null)),
        (json!({"thinking": {"type": "disabled"}}), "meta.llama", json!(null)),
        (
            json!({"reasoning_effort": "low"}),
            "openai.gpt-oss-120b-1:0",
            json!({"reasoning_effort": "low"}),
        ),
    ] {
        assert_eq!(fields(&body, model), wanted, "{body} {model}");
    }
    let unknown = json!({"reasoning_effort": "low"});
    assert!(sent(&unknown, "meta.llama").is_err());
    let (body, encoded) = encoded_for(&unknown, "meta.llama", WhenUnsupported::Drop).unwrap();
    assert!(body["additionalModelRequestFields"].is_null());
    assert_eq!(encoded.dropped, ["reasoning"]);
}

#[test]
fn members_by_the_vendors_names_pass_unless_they_are_made_of_others() {
    let guardrail = json!({"guardrailIdentifier": "g", "guardrailVersion": "1"});
    let sent = encoded(&json!({"guardrailConfig": guardrail, "user": "u-1"}));
    assert_eq!(sent["guardrailConfig"], guardrail);
    assert_eq!(sent["requestMetadata"], json!({"user": "u-1"}));
    for name in ["system", "inferenceConfig", "toolConfig"] {
        let mut body = json!({});
        body[name] = json!({});
        assert_eq!(refused(&body), name);
    }
    assert_eq!(refused(&json!({"user": "\u{4f60}"})), "user");
    assert_eq!(
        refused(&json!({"top_k": 1, "additionalModelRequestFields": 7})),
        "additionalModelRequestFields"
    );
    assert_eq!(refused(&json!({"seed": 1})), "seed");
    let cut = json!({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"cut"}},
    ]}]});
    assert_eq!(refused(&cut), "messages[0].tool_calls[0].function.arguments");
}

#[test]
fn both_notices_of_dropped_fields_reach_the_caller() {
    let body = json!({"seed": 1, "reasoning_effort": "low"});
    let (_, encoded) = encoded_for(&body, "meta.llama", WhenUnsupported::Drop).unwrap();
    assert_eq!(encoded.dropped, ["seed", "reasoning"]);
    assert!(
        support::hold(
            &mut ChatRequest::default(),
            &BedrockChat.support(),
            WhenUnsupported::Refuse
        )
        .is_ok()
    );
}

#[test]
fn a_model_is_one_segment_of_the_path() {
    assert_eq!(
        place("arn:aws:bedrock:us-east-1:1:inference-profile/a b", "converse"),
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fa%20b/converse"
    );
}

fn embed(body: &Value, model: &str) -> Result<Encoded, EncodeError> {
    let vendor = Vendor::named("v", "aws_bedrock");
    let target = Target {
        model,
        ..target(&vendor)
    };
    BedrockEmbeddings.encode(&embeddings_call(body), target)
}

fn embeddings_call(body: &Value) -> Call {
    let mut body = body.clone();
    body["model"] = json!("m");
    Call::read(Capability::Embeddings, body.to_string().into(), None).unwrap()
}

#[test]
fn the_recorded_vectors_are_asked_for_and_read() {
    let recordings = fixtures("invoke-model");
    let recordings: Vec<_> = recordings
        .iter()
        .filter(|fixture| fixture.expect()["vectors"].is_array())
        .collect();
    assert!(!recordings.is_empty());
    for fixture in recordings {
        let params = &fixture.params()["body"];
        let mut body = params.clone();
        let input = body.as_object_mut().unwrap().remove("inputText").unwrap();
        body["input"] = input;
        let encoded = embed(&body, fixture.model()).unwrap();
        assert_eq!(
            encoded.place.unwrap().path,
            fixture.file["request"]["path"].as_str().unwrap()
        );
        let sent: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        assert_eq!(sent, fixture.file["request"]["body"], "{}", fixture.name);
        let headers = fixture.headers();
        let reply = Received {
            model: fixture.model(),
            ..received(&headers, fixture.body())
        };
        let answer = decoded(BedrockEmbeddings.decode(&embeddings_call(&body), reply).unwrap());
        assert_eq!(
            answer.usage.unwrap().input,
            fixture.expect()["usage"]["input_tokens"].as_u64().unwrap()
        );
        let written: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        let vectors: Vec<_> = written["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| &found["embedding"])
            .collect();
        assert_eq!(json!(vectors), fixture.expect()["vectors"]);
    }
}

#[test]
fn titan_reads_one_text_after_the_other() {
    let body = json!({"input": ["a", "b", "c"], "encoding_format": "base64"});
    let (call, headers, model) = (embeddings_call(&body), HeaderMap::new(), "amazon.titan-embed-text-v2:0");
    let mut request = embed(&body, model).unwrap();
    let mut state = Value::Null;
    for (at, text) in ["a", "b", "c"].iter().enumerate() {
        let sent: Value = serde_json::from_slice(&request.body.concat()).unwrap();
        assert_eq!(sent, json!({"inputText": text}));
        let vector = json!({"embedding": [at, 0.5], "inputTextTokenCount": 2}).to_string();
        let reply = Received {
            model,
            state: &state,
            ..received(&headers, vector)
        };
        match BedrockEmbeddings.decode(&call, reply).unwrap() {
            Outcome::Next(step) => {
                let Ask::Vendor(next) = step.ask else { panic!() };
                (request, state) = (next, step.state);
            }
            Outcome::Answer(answer) => {
                assert_eq!((at, answer.usage.unwrap().input), (2, 6));
                let written: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
                let last = written["data"][2]["embedding"].as_str().unwrap();
                let wanted = [2f32.to_le_bytes(), 0.5f32.to_le_bytes()].concat();
                assert_eq!(STANDARD.decode(last).unwrap(), wanted);
                return;
            }
        }
    }
    panic!("no answer");
}

#[test]
fn cohere_reads_all_texts_at_once_and_other_models_none() {
    let body = json!({"input": ["a", "b"], "dimensions": 256});
    let model = "cohere.embed-v4:0";
    let encoded = embed(&body, model).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
    assert_eq!(
        sent,
        json!({"texts": ["a", "b"], "input_type": "search_document", "output_dimension": 256})
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-bedrock-input-token-count", "4".parse().unwrap());
    for vectors in [json!([[1.0], [2.0]]), json!({"float": [[1.0], [2.0]]})] {
        let reply = Received {
            model,
            ..received(&headers, json!({"embeddings": vectors}).to_string())
        };
        let answer = decoded(BedrockEmbeddings.decode(&embeddings_call(&body), reply).unwrap());
        assert_eq!(answer.usage.unwrap().input, 4);
        let written: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        assert_eq!(
            written["data"][1],
            json!({"object": "embedding", "index": 1, "embedding": [2.0]})
        );
    }
    let reply = Received {
        model,
        ..received(&headers, json!({"embeddings": [[1.0]]}).to_string())
    };
    assert!(BedrockEmbeddings.decode(&embeddings_call(&body), reply).is_err());
    for (body, model) in [
        (json!({"input": "a"}), "meta.llama"),
        (json!({"input": []}), "amazon.titan-embed-text-v2:0"),
        (json!({"input": [[1, 2]]}), "amazon.titan-embed-text-v2:0"),
        (json!({"input": vec!["a"; 97]}), model),
        (json!({"input": "a", "encoding_format": "int8"}), model),
    ] {
        assert!(embed(&body, model).is_err(), "{body}");
    }
}

#[test]
fn anthropics_models_are_invoked_in_their_own_words() {
    let recordings = fixtures("invoke-model");
    let recordings: Vec<_> = recordings
        .iter()
        .filter(|fixture| fixture.expect()["text"].is_string())
        .collect();
    assert!(!recordings.is_empty());
    for fixture in recordings {
        let params = &fixture.params()["body"];
        let body = json!({"model": "m", "max_tokens": params["max_tokens"], "messages": params["messages"]});
        let vendor = Vendor::named("v", "bedrock-anthropic");
        let target = Target {
            model: fixture.model(),
            ..target(&vendor)
        };
        let encoded = Chat(BedrockMessages).encode(&call(&body), target).unwrap();
        let request = &fixture.file["request"];
        let place = encoded.place.unwrap();
        assert_eq!(place.path, request["path"].as_str().unwrap());
        assert!(place.headers.is_empty());
        let sent: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        assert_eq!(sent, request["body"], "{}", fixture.name);
        let headers = fixture.headers();
        let reply = BedrockMessages.decode(&received(&headers, fixture.body())).unwrap();
        assert_eq!(reply.choices[0].text.as_deref(), fixture.expect()["text"].as_str());
        assert_eq!(
            reply.choices[0].finish.as_ref().unwrap().word,
            fixture.expect()["finish_reason"]
        );
        assert_eq!(
            reply.counts.unwrap().input,
            fixture.expect()["usage"]["input_tokens"].as_u64()
        );
    }
}

#[test]
fn anthropics_events_come_in_frames_however_they_are_cut() {
    let chunk = |event: Value| event_frame_of(&event);
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}}});
    let good = [
        chunk(start.clone()),
        chunk(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        chunk(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "h\u{e9}"}})),
        chunk(json!({"type": "content_block_stop", "index": 0})),
        chunk(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})),
        chunk(json!({"type": "message_stop"})),
    ]
    .concat();
    let read = |pieces: &[&[u8]]| {
        let mut decoder = BedrockMessages.stream(&HeaderMap::new());
        let mut events = Vec::new();
        for piece in pieces {
            if let Some(end) = decoder.push(Bytes::copy_from_slice(piece), &mut events) {
                return (events, end);
            }
        }
        let end = decoder.finish(&mut events);
        (events, end)
    };
    let (events, end) = read(&[&good]);
    assert!(matches!(end, StreamEnd::Complete));
    assert!(events.contains(&ChatEvent::Text {
        choice: 0,
        text: "h\u{e9}".to_owned()
    }));
    for cut in 0..good.len() {
        let again = read(&[&good[..cut], &good[cut..]]);
        assert_eq!(again.0, events, "{cut}");
    }
    let exception = frame(
        &[
            (":message-type", "exception"),
            (":exception-type", "modelTimeoutException"),
        ],
        "{}",
    );
    let broken = event("chunk", &json!({"bytes": "%"}));
    for (rest, class) in [
        (exception, FaultClass::Timeout),
        (broken, FaultClass::InvalidReply),
        (Vec::new(), FaultClass::Transport),
        (vec![0, 0], FaultClass::Transport),
    ] {
        let (_, end) = read(&[&chunk(start.clone()), &rest]);
        assert!(
            matches!(&end, StreamEnd::Failed(fault) if fault.class == class),
            "{end:?}"
        );
    }
}

fn event_frame_of(data: &Value) -> Vec<u8> {
    event(
        "chunk",
        &json!({"bytes": STANDARD.encode(data.to_string()), "p": "abc"}),
    )
}
