use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        testing::{decoded, opening, received, target},
        translated::Chat,
    },
    domain::{
        chat::{ChatEvent, messages_to_openai},
        fault::FaultClass,
        interface::{Capability, FieldAction, FieldRule, JsonPointer},
        vendor::{Switch, Vendor},
    },
    ports::codec::{Codec as _, Pushed, StreamEnd},
};

fn fixtures() -> Vec<(String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendors/anthropic");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    };
    let all: Vec<_> = files.map(read).collect();
    assert!(all.len() >= 16);
    all
}

fn vendor() -> Vendor {
    Vendor::named("v", "anthropic")
}

fn encode(body: &Value, vendor: &Vendor, rule: WhenUnsupported) -> Result<(Value, Encoded), EncodeError> {
    let mut body = body.clone();
    body["model"] = "m".into();
    let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
    let target = Target {
        when_unsupported: rule,
        ..target(vendor)
    };
    let encoded = Chat(AnthropicDialect).encode(&call, target)?;
    Ok((serde_json::from_slice(&encoded.body.concat()).unwrap(), encoded))
}

fn encoded(body: &Value) -> Value {
    encode(body, &vendor(), WhenUnsupported::Refuse).unwrap().0
}

fn version(encoded: &Encoded) -> &str {
    encoded.place.as_ref().unwrap().headers[VERSION_HEADER]
        .to_str()
        .unwrap()
}

#[test]
fn a_request_with_everything_in_it_is_said_in_the_vendors_words() {
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "f.pdf"}},
                {"type": "file", "file": {"file_data": "data:text/markdown;base64,IyBIaQ=="}}]},
            {"role": "assistant", "content": "Hm.", "thinking_blocks": [
                {"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "redacted_thinking", "data": "r"}],
             "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.50}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "no", "is_error": true},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "yes"}]},
            {"role": "user", "content": "And now?"},
            {"role": "developer", "content": "Quickly."},
            {"role": "assistant", "content": "Wait", "reasoning_content": "nobody's"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
            "cache_control": {"type": "ephemeral"}}, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": "required", "parallel_tool_calls": false, "max_completion_tokens": 9, "stop": "x", "user": "u",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "reasoning_effort": "low", "service_tier": "default", "stream": true, "container": "c", "output_config": {"task_budget": 1},
    });
    let wanted = json!({
        "model": "up", "max_tokens": 9, "stream": true, "stop_sequences": ["x"], "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Quickly."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}},
                {"type": "image", "source": {"type": "url", "url": "https://a.test/x.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="}, "title": "f.pdf"},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "# Hi"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "redacted_thinking", "data": "r"},
                {"type": "text", "text": "Hm."},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1.5}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": true},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "yes"}]},
                {"type": "text", "text": "And now?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Wait"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
            {"name": "g", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "thinking": {"type": "adaptive"},
        "output_config": {"task_budget": 1, "effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "service_tier": "standard_only", "container": "c",
    });
    let (body, request) = encode(&body, &vendor(), WhenUnsupported::Refuse).unwrap();
    assert_eq!(body, wanted);
    assert_eq!(
        (version(&request), request.accept.as_bytes()),
        (NEWER, &b"text/event-stream"[..])
    );
}

#[test]
fn the_version_takes_what_the_request_holds() {
    let ask = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, wanted) in [
        (json!({}), NEWER),
        (json!({"temperature": 0.3}), OLDER),
        (json!({"top_p": 1}), OLDER),
        (json!({"top_k": 3}), OLDER),
        (json!({"temperature": null}), NEWER),
    ] {
        let (_, request) = encode(&ask(more.clone()), &vendor(), WhenUnsupported::Refuse).unwrap();
        assert_eq!(version(&request), wanted, "{more}");
    }
    let mut pinned = vendor();
    pinned.options.insert(VERSION.to_owned(), NEWER.to_owned());
    let sampled = ask(json!({"temperature": 0.3, "top_k": 3}));
    let refused = encode(&sampled, &pinned, WhenUnsupported::Refuse).unwrap_err();
    assert!(matches!(refused, EncodeError::Refused(error) if error.param.as_deref() == Some("temperature")));
    let (body, request) = encode(&sampled, &pinned, WhenUnsupported::Drop).unwrap();
    assert_eq!(
        (version(&request), request.dropped.join(" ")),
        (NEWER, "temperature top_k".to_owned())
    );
    assert!(body.get("temperature").is_none() && body.get("top_k").is_none());
    pinned.options.insert(VERSION.to_owned(), OLDER.to_owned());
    let (_, request) = encode(&ask(json!({})), &pinned, WhenUnsupported::Refuse).unwrap();
    assert_eq!(version(&request), OLDER);
}

#[test]
fn an_answer_has_a_length_even_if_nobody_said_so() {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    assert_eq!(encoded(&body)["max_tokens"], DEFAULT_MAX_TOKENS);
    let mut generous = vendor();
    generous.options.insert("max_tokens".to_owned(), "100".to_owned());
    let asked = |body: &Value| encode(body, &generous, WhenUnsupported::Refuse).unwrap().0;
    assert_eq!(asked(&body)["max_tokens"], 100);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    assert_eq!(asked(&body)["max_tokens"], 1124, "thinking leaves room for an answer");
    body["max_tokens"] = 7.into();
    assert_eq!(asked(&body)["max_tokens"], 7);
}

#[test]
fn turns_in_which_nothing_is_said_are_left_out() {
    let empty = json!([{"type": "text", "text": ""}]);
    for nothing in [json!(""), Value::Null, empty.clone(), json!([])] {
        let body = encoded(&json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": nothing},
            {"role": "user", "content": empty},
            {"role": "assistant", "content": "", "thinking_blocks": [{"type": "thinking", "thinking": "unproved"}]},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": nothing, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": nothing},
            {"role": "user", "content": ""},
        ], "tools": [{"type": "function", "function": {"name": "f"}}]}));
        let wanted = json!([
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
        ]);
        assert_eq!(body["messages"], wanted, "{nothing}");
    }
}

#[test]
fn nothing_is_chosen_among_no_tools() {
    let user = json!({"role": "user", "content": "x"});
    for choice in ["auto", "none"] {
        let body =
            encoded(&json!({"messages": [user], "tool_choice": choice, "tools": [], "parallel_tool_calls": false}));
        assert!(body.get("tool_choice").is_none(), "{body}");
    }
    for choice in [
        json!("required"),
        json!({"type": "function", "function": {"name": "f"}}),
    ] {
        let body = json!({"messages": [user], "tool_choice": choice});
        let refused = encode(&body, &vendor(), WhenUnsupported::Refuse).unwrap_err();
        assert!(matches!(refused, EncodeError::Refused(error) if error.param.as_deref() == Some("tool_choice")));
    }
}

#[test]
fn how_much_it_thinks_is_said_in_one_of_the_vendors_ways() {
    for (said, thinking, effort) in [
        (
            json!({"reasoning_effort": "high"}),
            json!({"type": "adaptive"}),
            json!("high"),
        ),
        (
            json!({"reasoning_effort": "minimal"}),
            json!({"type": "adaptive"}),
            json!("low"),
        ),
        (
            json!({"reasoning_effort": "none"}),
            json!({"type": "disabled"}),
            Value::Null,
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
            json!({"type": "enabled", "budget_tokens": 2048}),
            Value::Null,
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
            json!({"type": "adaptive", "display": "omitted"}),
            Value::Null,
        ),
        (
            json!({"thinking": {"type": "disabled"}}),
            json!({"type": "disabled"}),
            Value::Null,
        ),
        (
            json!({"thinking": {"type": "auto"}, "reasoning_effort": "low"}),
            Value::Null,
            json!("low"),
        ),
        (json!({}), Value::Null, Value::Null),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let body = encoded(&body);
        assert_eq!(
            (&body["thinking"], &body["output_config"]["effort"]),
            (&thinking, &effort),
            "{said}"
        );
    }
}

#[test]
fn what_the_vendor_has_no_words_for_is_refused_by_name() {
    let user = json!({"role": "user", "content": "x"});
    for (more, param) in [
        (json!({"presence_penalty": 1}), "presence_penalty"),
        (json!({"seed": 1}), "seed"),
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"logit_bias": {"1": 1}}), "logit_bias"),
        (json!({"metadata": {"a": "b"}}), "metadata"),
        (json!({"service_tier": "flex"}), "service_tier"),
        (json!({"system": "be evil"}), "system"),
        (json!({"stop_sequences": ["x"]}), "stop_sequences"),
        (json!({"output_config": 1}), "output_config"),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "messages[0].tool_call_id",
        ),
        (
            json!({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "https://a.test/x"}]}, user]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]}]}),
            "messages[0].content[0]",
        ),
    ] {
        let mut body = json!({"messages": [user]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match encode(&body, &vendor(), WhenUnsupported::Refuse) {
            Err(EncodeError::Refused(error)) => {
                assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{more}");
            }
            other => panic!("{more}: {other:?}"),
        }
    }
}

#[test]
fn recorded_answers_are_read_as_they_were_meant() {
    for (name, fixture) in fixtures() {
        let (response, expect) = (&fixture["response"], &fixture["expect"]);
        if !response["body"].is_object() || fixture["capability"] != "messages" {
            continue;
        }
        let reply = read_reply(response["body"].to_string().as_bytes()).unwrap();
        let choice = &reply.choices[0];
        assert_eq!(json!(choice.text), expect["text"], "{name}");
        assert_eq!(json!(reply.id), expect["id"], "{name}");
        let finish = choice.finish.as_ref().unwrap();
        assert_eq!(
            json!([finish.word, finish.reason.word()]),
            json!([expect["finish_reason"], expect["finish"]]),
            "{name}"
        );
        check_counts(&name, reply.counts.unwrap(), &expect["usage"]);
        let calls = choice.tool_calls.iter().map(|call| {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
            json!({"id": call.id, "name": call.name, "arguments": arguments})
        });
        let calls: Vec<Value> = calls.collect();
        assert_eq!(
            json!(calls),
            expect.get("tool_calls").cloned().unwrap_or(json!([])),
            "{name}"
        );
    }
}

fn check_counts(name: &str, counts: crate::domain::chat::Counts, usage: &Value) {
    assert_eq!(
        json!([counts.input, counts.output]),
        json!([usage["input_tokens"], usage["output_tokens"]]),
        "{name}"
    );
    let cached = json!([counts.cached_input, counts.cache_write_input]);
    assert_eq!(
        cached,
        json!([usage["cached_input_tokens"], usage["cache_write_input_tokens"]]),
        "{name}"
    );
}

#[test]
fn recorded_faults_have_their_class() {
    let mut seen = 0;
    for (name, fixture) in fixtures().into_iter().filter(|(name, _)| name.starts_with("error-")) {
        let (response, expect) = (&fixture["response"], &fixture["expect"]["error"]);
        let mut headers = HeaderMap::new();
        for (name, value) in response["headers"].as_object().unwrap() {
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        let status = u16::try_from(response["status"].as_u64().unwrap()).unwrap();
        let fault = AnthropicDialect.decode_fault(status, &headers, response["body"].to_string().as_bytes());
        assert_eq!(fault.class.label(), expect["class"], "{name}");
        assert_eq!(fault.words.message.as_deref(), expect["message"].as_str(), "{name}");
        assert_eq!(fault.words.code.as_deref(), expect["type"].as_str(), "{name}");
        assert_eq!(fault.is_retryable(), expect["retryable"], "{name}");
        assert_eq!(
            fault.hints.wait(0).map(|wait| wait.as_secs()),
            expect["retry_after_s"].as_u64(),
            "{name}"
        );
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn a_fault_is_told_by_its_type_and_then_by_its_status() {
    let error =
        |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
    let balance = "Your credit balance is too low to access the Anthropic API.";
    for (status, body, class) in [
        (400, error("invalid_request_error", balance), FaultClass::QuotaExceeded),
        (402, error("billing_error", "m"), FaultClass::QuotaExceeded),
        (403, error("permission_error", "m"), FaultClass::Permission),
        (404, error("not_found_error", "m"), FaultClass::NotFound),
        (413, error("request_too_large", "m"), FaultClass::InvalidRequest),
        (504, error("timeout_error", "m"), FaultClass::Timeout),
        (500, error("overloaded_error", "m"), FaultClass::Overloaded),
        (529, "<html>".to_owned(), FaultClass::Overloaded),
        (400, error("new_error", "m"), FaultClass::InvalidRequest),
        (409, String::new(), FaultClass::InvalidRequest),
        (503, r#"{"error":7}"#.to_owned(), FaultClass::Overloaded),
    ] {
        let fault = AnthropicDialect.decode_fault(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class, fault.status), (class, Some(status)), "{body}");
    }
    for body in ["", "[]", "{}", r#"{"content":7}"#, r#"{"type":"message"}"#] {
        assert_eq!(
            read_reply(body.as_bytes()).unwrap_err().class,
            FaultClass::InvalidReply,
            "{body}"
        );
    }
    let in_band = read_reply(error("rate_limit_error", "m").as_bytes()).unwrap_err();
    assert_eq!(in_band.class, FaultClass::RateLimit);
}

fn stream_of(fixture: &Value) -> String {
    let pieces = fixture["response"]["sse"].as_array().unwrap();
    pieces.iter().map(|piece| piece.as_str().unwrap()).collect()
}

/// What a stream tells, with texts that follow one another in one piece.
fn read_stream(pieces: &[&[u8]]) -> (Vec<ChatEvent>, StreamEnd) {
    let mut decoder = AnthropicDialect.stream(&HeaderMap::new());
    let mut events = Vec::new();
    for piece in pieces {
        if let Some(end) = decoder.push(Bytes::copy_from_slice(piece), &mut events) {
            return (events, end);
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn end_of(end: &StreamEnd) -> Option<FaultClass> {
    match end {
        StreamEnd::Complete => None,
        StreamEnd::Failed(fault) => Some(fault.class),
    }
}

const THINKING: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\r\n\r\n\
data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\r\r\
: keep\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"h\u{e9}\"}}\n\n\
data: {\"type\":\"content_block_delta\",\"index\":0,\ndata: \"delta\":{\"type\":\"signature_delta\",\"signature\":\"s\"}}\n\n\
data: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"r\"}}\n\n\
data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"server_tool_use\",\"id\":\"x\",\"name\":\"n\",\"input\":{}}}\n\n\
data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n\
data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"citations_delta\",\"citation\":{}}}\n\n\
data: {\"type\":\"brand_new\",\"odd\":true}\n\n\
data: {\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n\
data: {\"type\":\"content_block_stop\",\"index\":3}\n\n\
data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"x\"},\"usage\":{\"input_tokens\":9,\"output_tokens\":7}}\n\n\
event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[test]
fn a_stream_tells_all_that_it_holds_and_skips_what_is_new() {
    let (events, end) = read_stream(&[THINKING.as_bytes()]);
    assert_eq!(end_of(&end), None);
    let said = |event: &ChatEvent| match event {
        ChatEvent::Head { .. } => "head".to_owned(),
        ChatEvent::Text { text, .. } => text.clone(),
        ChatEvent::Reasoning { text, .. } => format!("thinks {text}"),
        ChatEvent::ReasoningSignature { signature, .. } => format!("signs {signature}"),
        ChatEvent::RedactedReasoning { data, .. } => format!("hides {data}"),
        ChatEvent::ToolCall { id, name, call, .. } => format!("calls {name} {id:?} {call}"),
        ChatEvent::Arguments { fragment, call, .. } => format!("{call} {fragment}"),
        ChatEvent::Finish { finish, .. } => format!("{} {:?}", finish.word, finish.sequence),
        ChatEvent::Counts(counts) => format!("{:?} {:?}", counts.input, counts.output),
        ChatEvent::Refusal { .. } => "refuses".to_owned(),
    };
    let told: Vec<_> = events.iter().map(said).collect();
    let wanted = [
        "head",
        "Some(3) None",
        "thinks h\u{e9}",
        "signs s",
        "hides r",
        "calls f Some(\"t\") 0",
        "0 {}",
        "Some(9) Some(7)",
        "stop_sequence Some(\"x\")",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn recorded_streams_tell_the_same_wherever_they_are_cut() {
    let mut streams: Vec<_> = fixtures()
        .into_iter()
        .filter(|(_, fixture)| fixture["response"]["sse"].is_array())
        .map(|(name, fixture)| {
            let expect = &fixture["expect"];
            let text = stream_of(&fixture);
            let (events, end) = read_stream(&[text.as_bytes()]);
            assert_eq!(end_of(&end), None, "{name}");
            let deltas = events.iter().filter_map(|event| match event {
                ChatEvent::Text { text, .. } => Some(text.clone()),
                _ => None,
            });
            assert_eq!(json!(deltas.collect::<Vec<_>>()), expect["text_deltas"], "{name}");
            let mut counts = crate::domain::chat::Counts::default();
            for event in &events {
                if let ChatEvent::Counts(newer) = event {
                    counts = counts.merged(*newer);
                }
            }
            check_counts(&name, counts, &expect["usage"]);
            text
        })
        .collect();
    assert_eq!(streams.len(), 2);
    streams.push(THINKING.to_owned());
    for text in streams {
        let text = text.as_bytes();
        let (whole, _) = read_stream(&[text]);
        for at in 0..=text.len() {
            let (before, behind) = text.split_at(at);
            let (cut, end) = read_stream(&[before, behind]);
            assert!(cut == whole && end_of(&end).is_none(), "cut at {at}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(read_stream(&bytes).0, whole);
    }
}

#[test]
fn an_end_is_told_from_a_cut_and_from_an_error() {
    let start =
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";
    let finish = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let overloaded =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"o\"}}\n\n";
    for (text, wanted) in [
        (start.to_owned(), Some(FaultClass::Transport)),
        (format!("{start}{finish}"), None),
        (format!("{start}{overloaded}{finish}"), Some(FaultClass::Overloaded)),
        (format!("{start}data: {{\"type\":\n\n"), Some(FaultClass::InvalidReply)),
        (
            format!("{start}data: {{\"type\":\"error\"}}\n\n"),
            Some(FaultClass::ServerError),
        ),
        // A proxy's.
        (
            format!("{start}data: {{\"error\":{{\"type\":\"overloaded_error\"}}}}\n\n"),
            Some(FaultClass::Overloaded),
        ),
        (String::new(), Some(FaultClass::Transport)),
    ] {
        let (events, end) = read_stream(&[text.as_bytes()]);
        assert_eq!(end_of(&end), wanted, "{text}");
        assert_eq!(events.is_empty(), text.is_empty());
    }
}

fn native_call(body: &Value, headers: &HeaderMap) -> Call {
    // The translation is the business of whoever takes the call in; its model and messages are all that is looked at.
    let read = json!({"model": "m", "messages": [], "stream": body["stream"], "temperature": body["temperature"]});
    let call = Call::read(Capability::Chat, read.to_string().into(), None).unwrap();
    call.said_as(Voice::Anthropic, body.to_string().into())
        .said_beside(headers)
}

#[test]
fn calls_of_other_vendors_can_be_told() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let sent = encoded(&json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("functions.f:0", "{\"a\":"), call("call_1", "[1]")]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"},
        {"role": "tool", "tool_call_id": "call_1", "content": "y"}]}));
    let (said, answers) = (&sent["messages"][1]["content"], &sent["messages"][2]["content"]);
    let id = said[0]["id"].as_str().unwrap();
    assert!(id.starts_with("functions_f_0_") && !id.contains(['.', ':']), "{id}");
    assert_eq!(answers[0]["tool_use_id"], id);
    assert_eq!(
        (&said[1]["id"], &answers[1]["tool_use_id"]),
        (&json!("call_1"), &json!("call_1"))
    );
    assert_eq!(said[0]["input"], json!({"INVALID_JSON": "{\"a\":"}));
    assert_eq!(said[1]["input"], json!({"INVALID_JSON": "[1]"}));
}

#[test]
fn what_other_vendors_have_thought_is_not_sent() {
    let own = json!({"type": "thinking", "thinking": "a", "signature": "EqQB"});
    let body = |blocks: &[Value]| {
        let mut content = blocks.to_vec();
        content.push(json!({"type": "text", "text": "x"}));
        json!({"model": "m", "max_tokens": 5, "messages": [
            {"role": "user", "content": "q"}, {"role": "assistant", "content": content}, {"role": "user", "content": "r"}]})
    };
    let sent = |blocks: &[Value]| {
        let body = body(blocks).to_string();
        let read = messages_to_openai(body.as_bytes()).unwrap();
        let call = Call::read(Capability::Chat, read.into(), None).unwrap();
        let call = call.said_as(Voice::Anthropic, body.into());
        let sent = Chat(AnthropicDialect).encode(&call, target(&vendor())).unwrap();
        serde_json::from_slice::<Value>(&sent.body.concat()).unwrap()
    };
    let mut verbatim = body(std::slice::from_ref(&own));
    verbatim["model"] = json!("up");
    assert_eq!(sent(std::slice::from_ref(&own)), verbatim);
    for other in [
        json!({"type": "thinking", "thinking": "b", "signature": ""}),
        json!({"type": "thinking", "thinking": "b", "signature": "responses:gAAA"}),
        json!({"type": "redacted_thinking", "data": "responses:gAAA"}),
        json!({"type": "redacted_thinking", "data": "call:0:sig"}),
    ] {
        let sent = sent(&[own.clone(), other.clone()]);
        assert_eq!(
            sent["messages"][1]["content"],
            json!([own, {"type": "text", "text": "x"}]),
            "{other}"
        );
    }
}

#[test]
fn who_speaks_the_vendors_format_gets_its_own_bytes_sent() {
    let body =
        json!({"model": "alias", "max_tokens": 1, "messages": [], "stream": true, "anything": {"b": 1, "a": [2]}});
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
    headers.append("anthropic-beta", "one-2026, two-2026".parse().unwrap());
    headers.append("anthropic-beta", "three-2026".parse().unwrap());
    headers.insert("x-api-key", "callers-own".parse().unwrap());
    let call = native_call(&body, &headers);
    let mut vendor = vendor();
    vendor
        .options
        .insert(BETAS.to_owned(), "one-2026, three-2026".to_owned());
    let sent = Chat(AnthropicDialect).encode(&call, target(&vendor)).unwrap();
    let text = String::from_utf8(sent.body.concat()).unwrap();
    assert_eq!(text, body.to_string().replace("alias", "up"));
    let passed = &sent.place.as_ref().unwrap().headers;
    assert_eq!(
        (passed.len(), &passed["anthropic-version"], &passed["anthropic-beta"]),
        (
            2,
            &headers["anthropic-version"],
            &"one-2026,three-2026".parse().unwrap()
        )
    );
    assert_eq!(
        (sent.dropped, sent.accept.as_bytes()),
        (vec!["anthropic-beta".to_owned()], &b"text/event-stream"[..])
    );

    // What a rule changes is not what stands beside it.
    let rule = FieldRule {
        pointer: JsonPointer::parse("/top_p").unwrap(),
        action: FieldAction::Fill(json!(0.5)),
        enabled: Switch::On,
    };
    let ruled = call.clone().shaped_by(std::iter::once(&rule)).unwrap();
    assert!(!ruled.is_verbatim());
    let sent = Chat(AnthropicDialect).encode(&ruled, target(&vendor)).unwrap();
    assert_eq!(
        sent.place.as_ref().unwrap().headers["anthropic-beta"],
        "one-2026,three-2026"
    );
    assert_eq!(sent.dropped, ["anthropic-beta"]);

    vendor.options.insert(BETAS.to_owned(), "*".to_owned());
    vendor.options.insert(VERSION.to_owned(), NEWER.to_owned());
    let sent = Chat(AnthropicDialect).encode(&call, target(&vendor)).unwrap();
    assert_eq!((version(&sent), sent.dropped.len()), (NEWER, 0));
    for (temperature, wanted) in [(json!(0.3), OLDER), (Value::Null, NEWER)] {
        let call = native_call(&json!({"model": "m", "temperature": temperature}), &HeaderMap::new());
        let sent = Chat(AnthropicDialect).encode(&call, target(&self::vendor())).unwrap();
        assert_eq!(version(&sent), wanted);
    }
    // What the newer version refuses is not only how an answer is drawn.
    let document = json!({"type": "file", "file": {"file_data": "data:text/plain;base64,eA=="}});
    for (role, wanted) in [("assistant", OLDER), ("user", NEWER)] {
        let read = json!({"model": "m", "messages": [{"role": role, "content": [document]}]});
        let call = Call::read(Capability::Chat, read.to_string().into(), None).unwrap();
        let call = call.said_as(Voice::Anthropic, json!({"model": "m"}).to_string().into());
        let sent = Chat(AnthropicDialect).encode(&call, target(&self::vendor())).unwrap();
        assert_eq!(version(&sent), wanted, "{role}");
    }
}

#[test]
fn who_speaks_the_vendors_format_gets_its_answer_byte_for_byte() {
    let call = native_call(&json!({"model": "m"}), &HeaderMap::new());
    let body = r#"{ "id":"x","content":[{"type":"text","text":"hi"}], "stop_reason":"end_turn","usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":4},"new":[1.50] }"#;
    let headers = HeaderMap::new();
    let answer = decoded(Chat(AnthropicDialect).decode(&call, received(&headers, body)).unwrap());
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.cached_input), (5, 4, Some(3)));
    assert_eq!(answer.answer.into_body().0, body);

    for cut in 0..THINKING.len() {
        let (before, behind) = THINKING.as_bytes().split_at(cut);
        let mut stream = Chat(AnthropicDialect).stream(&call, opening(&headers));
        let mut out = Vec::new();
        let mut end = None;
        for piece in [before, behind] {
            let Pushed { out: more, end: ended } = stream.push(Bytes::copy_from_slice(piece));
            out.extend_from_slice(&more);
            end = end.or(ended);
        }
        assert!(matches!(end, Some(StreamEnd::Complete)), "{cut}");
        assert!(out == THINKING.as_bytes(), "{cut}");
        let usage = stream.progress().usage.unwrap();
        assert_eq!((usage.input, usage.output), (9, 7));
    }
}

#[test]
fn a_passed_stream_that_breaks_ends_before_its_error_and_one_without_end_gets_one() {
    let call = native_call(&json!({"model": "m"}), &HeaderMap::new());
    let headers = HeaderMap::new();
    let run = |text: &str| {
        let mut stream = Chat(AnthropicDialect).stream(&call, opening(&headers));
        let pushed = stream.push(Bytes::copy_from_slice(text.as_bytes()));
        let last = if pushed.end.is_none() {
            stream.finish()
        } else {
            Pushed {
                out: Bytes::new(),
                end: None,
            }
        };
        let end = pushed.end.or(last.end).unwrap();
        let out = [pushed.out, last.out].concat();
        (
            String::from_utf8(out).unwrap(),
            end_of(&end),
            stream.take_said().count(|text| Some(text.len() as u64)).tokens,
        )
    };
    let text = "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"abc\"}}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}\n\n";
    let finish = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}";
    assert_eq!(
        run(&format!("{text}{error}")),
        (text.to_owned(), Some(FaultClass::ServerError), 3)
    );
    assert_eq!(run(text), (text.to_owned(), Some(FaultClass::Transport), 3));
    // Half an event is none.
    let half = "data: {\"type\":\"message_del";
    assert_eq!(
        run(&format!("{text}{half}")),
        (text.to_owned(), Some(FaultClass::Transport), 3)
    );
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(
        run(&format!("{text}{finish}")),
        (format!("{text}{finish}\n\n{stop}"), None, 3)
    );
}

#[test]
fn a_large_picture_is_written_once() {
    let data = "A".repeat(10 << 20);
    let body = json!({"messages": [{"role": "user", "content": [{"type": "image_url",
        "image_url": {"url": format!("data:image/png;base64,{data}")}}]}]});
    let text = body.to_string();
    let request = ChatRequest::read(text.as_bytes()).unwrap();
    let wire = convert::request(&request, "up", 1).unwrap();
    let wire::Content::Blocks(blocks) = &wire.messages[0].content else {
        panic!()
    };
    let wire::BlockKind::Image {
        source: wire::Source::Base64 { data, .. },
    } = &blocks[0].kind
    else {
        panic!()
    };
    assert!(text.as_bytes().as_ptr_range().contains(&data.as_ptr()));
}

proptest! {
    #[test]
    fn hurt_answers_are_faults_or_answers(at in 0..THINKING.len(), byte: u8, cut in 0..THINKING.len()) {
        let mut text = THINKING.as_bytes().to_vec();
        text[at] = byte;
        let (before, behind) = text.split_at(cut);
        let (whole, end) = read_stream(&[&text]);
        let (cut, cut_end) = read_stream(&[before, behind]);
        prop_assert_eq!(end_of(&end), end_of(&cut_end));
        prop_assert_eq!(whole, cut);
    }
}
