use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        recut::{self, cut_short, decoded, encoded, fixture, however_cut, json_of},
        testing::{self, opening, received, target},
        translated::Chat,
    },
    domain::{
        chat::{ChatEvent, Counts, responses_to_openai},
        interface::Capability,
        vendor::Vendor,
    },
    ports::codec::{Pushed, StreamDecoder, StreamEnd},
};

fn vendor() -> Vendor {
    Vendor::named("v", "openai")
}

fn written_for(body: &Value) -> Value {
    json_of(&encoded(&ResponsesDialect, body, &vendor()).unwrap())
}

/// The field for which a request is refused, and why.
fn refused(body: &Value) -> (String, String) {
    match encoded(&ResponsesDialect, body, &vendor()) {
        Err(EncodeError::Refused(error)) => (
            error.param.unwrap_or_default().into(),
            error.code.unwrap_or_default().into(),
        ),
        other => panic!("{body}: {other:?}"),
    }
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

#[test]
fn a_request_with_everything_in_it_is_said_in_the_vendors_words() {
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "f.pdf"}},
                {"type": "file", "file": {"file_url": "https://a.test/x.pdf"}}]},
            {"role": "assistant", "content": "Hm.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.50}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "no"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "developer", "content": "Quickly."},
            {"role": "assistant", "content": [{"type": "text", "text": "x"}], "refusal": "y"},
            {"role": "user", "content": "Go on."}],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
            {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "max_completion_tokens": 99, "temperature": 0.5, "top_p": 1, "user": "u", "verbosity": "low", "store": false,
        "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k", "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "stream": true, "stream_options": {"include_usage": true}, "truncation": "auto",
    });
    let wanted = json!({
        "model": "up", "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "low"},
                {"type": "input_image", "image_url": "https://a.test/x.png"},
                {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,eA=="},
                {"type": "input_file", "file_url": "https://a.test/x.pdf"}]},
            {"type": "message", "role": "assistant", "content": "Hm."},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1.50}"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "no"},
            {"type": "function_call_output", "call_id": "c2",
             "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "message", "role": "developer", "content": "Quickly."},
            {"type": "message", "role": "assistant",
             "content": [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "y"}]},
            {"type": "message", "role": "user", "content": "Go on."}],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": false}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
        "max_output_tokens": 99, "temperature": 0.5, "top_p": 1, "user": "u", "store": false,
        "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k",
        "reasoning": {"effort": "high"}, "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "stream": true, "truncation": "auto",
    });
    let encoded = encoded(&ResponsesDialect, &body, &vendor()).unwrap();
    assert_eq!(json_of(&encoded), wanted);
    assert_eq!(encoded.accept, "text/event-stream");
}

#[test]
fn one_question_is_a_text_and_whoever_instructs_first_instructs() {
    assert_eq!(
        written_for(&json!({"messages": user("Hi")})),
        json!({"model": "up", "input": "Hi", "store": false})
    );
    let instructed =
        json!([{"role": "developer", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": "Hi"}]);
    assert_eq!(
        written_for(&json!({"messages": instructed})),
        json!({"model": "up", "instructions": "a", "input": "Hi", "store": false})
    );
    // There has to be something that is asked.
    assert_eq!(
        written_for(&json!({"messages": [{"role": "system", "content": "a"}]})),
        json!({"model": "up", "input": [{"type": "message", "role": "system", "content": "a"}], "store": false})
    );
    let twice = json!([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]);
    assert_eq!(
        written_for(&json!({"messages": twice}))["input"],
        json!([{"type": "message", "role": "system", "content": "b"}, {"type": "message", "role": "user", "content": "c"}])
    );
}

#[test]
fn formats_and_choices_have_their_own_words() {
    let with = |more: Value| {
        let mut body = json!({"messages": user("Hi")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        written_for(&body)
    };
    for (kind, wanted) in [("text", "text"), ("json_object", "json_object")] {
        let body = with(json!({"response_format": {"type": kind}}));
        assert_eq!(body["text"], json!({"format": {"type": wanted}}));
    }
    for word in ["auto", "none", "required"] {
        assert_eq!(with(json!({"tool_choice": word}))["tool_choice"], word);
    }
    let body = with(json!({"logprobs": true, "top_logprobs": 3}));
    assert_eq!(
        (&body["top_logprobs"], &body["include"]),
        (&json!(3), &json!(["message.output_text.logprobs"]))
    );
}

#[test]
fn how_hard_it_thinks_is_said_in_one_word() {
    let encrypted = json!(["reasoning.encrypted_content"]);
    for (said, wanted, include) in [
        (
            json!({"reasoning_effort": "none"}),
            json!({"effort": "none"}),
            Value::Null,
        ),
        (
            json!({"reasoning_effort": "xhigh"}),
            json!({"effort": "xhigh"}),
            encrypted.clone(),
        ),
        (json!({"thinking": {"type": "disabled"}}), Value::Null, Value::Null),
        (json!({"thinking": {"type": "auto"}}), Value::Null, Value::Null),
        (
            json!({"thinking": {"type": "enabled"}}),
            json!({"effort": "medium"}),
            encrypted.clone(),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
            json!({"effort": "low"}),
            encrypted.clone(),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 4097}}),
            json!({"effort": "medium"}),
            encrypted.clone(),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 16385, "display": "summarized"}}),
            json!({"effort": "high", "summary": "auto"}),
            encrypted,
        ),
    ] {
        let mut body = said.clone();
        body["messages"] = user("Hi");
        let body = written_for(&body);
        assert_eq!((&body["reasoning"], &body["include"]), (&wanted, &include), "{said}");
    }
}

#[test]
fn thoughts_go_back_to_the_vendor_that_has_thought_them() {
    let blocks = json!([
        {"type": "thinking", "thinking": "own", "signature": "responses:abc"},
        {"type": "redacted_thinking", "data": "responses:def"},
        {"type": "thinking", "thinking": "another's", "signature": "abc"},
        {"type": "redacted_thinking", "data": "def"}]);
    let body = json!({"messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "thinking_blocks": blocks,
         "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "assistant", "content": "x", "reasoning_content": "unproven"}]});
    assert_eq!(
        written_for(&body)["input"],
        json!([
            {"type": "message", "role": "user", "content": "Hi"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "own"}], "encrypted_content": "abc"},
            {"type": "reasoning", "summary": [], "encrypted_content": "def"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": "x"}])
    );
}

#[test]
fn what_others_have_left_at_the_vendor_is_reached_by_nobody() {
    for (name, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
        ("background", json!(true)),
    ] {
        let body = json!({"messages": user("Hi"), name: value});
        assert_eq!(refused(&body), (name.to_owned(), "unsupported_parameter".to_owned()));
    }
    for name in [
        "input",
        "instructions",
        "include",
        "text",
        "reasoning",
        "max_output_tokens",
    ] {
        let body = json!({"messages": user("Hi"), name: {}});
        assert_eq!(refused(&body), (name.to_owned(), "invalid_value".to_owned()));
    }
}

#[test]
fn what_the_vendor_has_no_words_for_is_refused_by_name_or_left_out() {
    for (name, value) in [
        ("stop", json!("x")),
        ("seed", json!(1)),
        ("n", json!(2)),
        ("top_k", json!(1)),
        ("presence_penalty", json!(0.1)),
        ("frequency_penalty", json!(0.1)),
        ("logit_bias", json!({"1": 1})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("modalities", json!(["text", "audio"])),
        ("web_search_options", json!({})),
        ("functions", json!([])),
        ("store", json!(true)),
    ] {
        let body = json!({"model": "m", "messages": user("Hi"), name: value});
        let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
        let with = |when_unsupported| {
            let vendor = vendor();
            let target = Target {
                when_unsupported,
                ..target(&vendor)
            };
            Chat(ResponsesDialect).encode(&call, target)
        };
        let Err(EncodeError::Refused(error)) = with(WhenUnsupported::Refuse) else {
            panic!("{name}");
        };
        assert_eq!(
            (error.param.as_deref(), error.code.as_deref()),
            (Some(name), Some("unsupported_by_provider"))
        );
        let sent = with(WhenUnsupported::Drop).unwrap();
        assert_eq!(sent.dropped, [name]);
        assert_eq!(json_of(&sent), json!({"model": "up", "input": "Hi", "store": false}));
    }
    let sound = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]}]);
    assert_eq!(refused(&json!({"messages": sound})).1, "unsupported_by_provider");
    // Events have no place for them.
    let streamed = json!({"messages": user("Hi"), "logprobs": true, "top_logprobs": 2, "stream": true});
    assert_eq!(
        refused(&streamed),
        ("logprobs".to_owned(), "unsupported_by_provider".to_owned())
    );
    let text = streamed.to_string();
    let request = ChatRequest::read(text.as_bytes()).unwrap();
    let vendor = vendor();
    let target = Target {
        when_unsupported: WhenUnsupported::Drop,
        ..target(&vendor)
    };
    let sent = ResponsesDialect.encode(&request, target).unwrap();
    assert_eq!(
        json_of(&sent),
        json!({"model": "up", "input": "Hi", "store": false, "stream": true})
    );
    assert_eq!(sent.dropped, ["logprobs"]);
}

/// An answer with these items.
fn answer(status: &str, output: &Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1_760_000_030.5, "status": status, "error": null, "incomplete_details": null,
        "model": "m-1", "output": output, "usage": {"input_tokens": 20, "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 30}})
}

fn message(parts: &Value) -> Value {
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": parts})
}

fn said(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

#[test]
fn an_answer_with_everything_in_it_is_read() {
    let probability = json!({"token": "H", "logprob": -0.5, "bytes": [72], "top_logprobs": []});
    let mut first = said("Hi");
    first["logprobs"] = json!([probability]);
    let body = answer(
        "completed",
        &json!([
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
             "encrypted_content": "enc"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "hidden"},
            {"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"type": "reasoning_text", "text": "aloud"}]},
            {"type": "reasoning", "id": "rs_4", "summary": []},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            message(&json!([first, said(" there")])),
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}", "status": "completed"},
            {"type": "function_call", "id": "fc_2", "call_id": "", "name": "g", "arguments": {"b": 2}}]),
    );
    let reply = decoded(&ResponsesDialect, &body).unwrap();
    assert_eq!(
        (reply.id.as_deref(), reply.model.as_deref(), reply.created),
        (Some("resp_1"), Some("m-1"), Some(1_760_000_030))
    );
    let counts = reply.counts.unwrap();
    assert_eq!(
        (counts.input, counts.output, counts.total),
        (Some(20), Some(10), Some(30))
    );
    assert_eq!((counts.cached_input, counts.reasoning), (Some(8), Some(4)));
    assert_eq!((counts.all_input(), counts.all_output()), (20, 10));
    let choice = &reply.choices[0];
    assert_eq!(choice.text.as_deref(), Some("Hi there"));
    assert_eq!(
        choice.logprobs,
        Some(json!({"content": [probability], "refusal": null}))
    );
    assert_eq!(
        choice.thoughts,
        [
            Thought::Text {
                text: "a\n\nb".into(),
                signature: Some("responses:enc".into())
            },
            Thought::Redacted("responses:hidden".into()),
            Thought::Text {
                text: "aloud".into(),
                signature: None
            },
        ]
    );
    let calls = choice.tool_calls.iter();
    let calls: Vec<_> = calls
        .map(|call| (call.id.as_deref(), call.name.as_ref(), call.arguments.as_ref()))
        .collect();
    assert_eq!(calls, [(Some("c1"), "f", "{\"a\":1}"), (None, "g", "{\"b\":2}")]);
    assert_eq!(choice.finish, Some(Finish::new("completed", FinishReason::ToolCalls)));
}

#[test]
fn every_end_of_an_answer_is_told_apart() {
    let ends = |status: &str, details: Value, parts: Value| {
        let mut body = answer(status, &json!([message(&parts)]));
        body["incomplete_details"] = details;
        let mut reply = decoded(&ResponsesDialect, &body).unwrap();
        let choice = reply.choices.remove(0);
        (choice.text, choice.refusal, choice.finish.unwrap().reason)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        ends("completed", Value::Null, json!([said("a")])),
        (text("a"), None, FinishReason::Stop)
    );
    assert_eq!(
        ends("completed", Value::Null, json!([{"type": "refusal", "refusal": "no"}])),
        (None, text("no"), FinishReason::Stop)
    );
    for (reason, wanted) in [
        (json!({"reason": "max_output_tokens"}), FinishReason::Length),
        (json!({"reason": "content_filter"}), FinishReason::ContentFilter),
        (json!({"reason": "new"}), FinishReason::Other),
        (Value::Null, FinishReason::Other),
    ] {
        assert_eq!(
            ends("incomplete", reason, json!([said("a")])),
            (text("a"), None, wanted)
        );
    }
    let thought_too_long = answer("incomplete", &json!([]));
    let reply = decoded(&ResponsesDialect, &thought_too_long).unwrap();
    assert_eq!(reply.choices[0].text, None);
}

#[test]
fn a_response_that_failed_is_a_fault_although_the_status_says_otherwise() {
    let failed = |error: Value| {
        let mut body = answer("failed", &json!([]));
        body["error"] = error;
        decoded(&ResponsesDialect, &body).unwrap_err()
    };
    for (code, class) in [
        ("server_error", FaultClass::ServerError),
        ("rate_limit_exceeded", FaultClass::RateLimit),
        ("insufficient_quota", FaultClass::QuotaExceeded),
        ("invalid_prompt", FaultClass::InvalidRequest),
        ("invalid_image_format", FaultClass::InvalidRequest),
        ("image_too_large", FaultClass::InvalidRequest),
        ("failed_to_download_image", FaultClass::InvalidRequest),
        ("image_content_policy_violation", FaultClass::ContentFilter),
        ("vector_store_timeout", FaultClass::ServerError),
    ] {
        let fault = failed(json!({"code": code, "message": "m"}));
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, Some(code)));
        assert_eq!(fault.words.message.as_deref(), Some("m"));
    }
    assert_eq!(failed(Value::Null).class, FaultClass::ServerError);
    for (body, class) in [
        (answer("cancelled", &json!([])), FaultClass::ServerError),
        (answer("in_progress", &json!([])), FaultClass::InvalidReply),
        (json!({"status": "completed"}), FaultClass::InvalidReply),
        (
            json!({"error": {"code": "insufficient_quota", "message": "m"}}),
            FaultClass::QuotaExceeded,
        ),
        (json!([]), FaultClass::InvalidReply),
        (json!({}), FaultClass::InvalidReply),
    ] {
        assert_eq!(decoded(&ResponsesDialect, &body).unwrap_err().class, class, "{body}");
    }
}

#[test]
fn counts_that_cannot_be_read_cost_no_answer() {
    for usage in [Value::Null, json!("many"), json!({"input_tokens": -1})] {
        let mut body = answer("completed", &json!([message(&json!([said("a")]))]));
        body["usage"] = usage;
        let reply = decoded(&ResponsesDialect, &body).unwrap();
        assert_eq!((reply.choices[0].text.as_deref(), reply.counts), (Some("a"), None));
    }
}

#[test]
fn faults_are_openais() {
    let body = br#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let fault = ResponsesDialect.decode_fault(429, &HeaderMap::new(), body);
    assert_eq!((fault.class, fault.status), (FaultClass::QuotaExceeded, Some(429)));
    assert_eq!(
        ResponsesDialect.decode_fault(502, &HeaderMap::new(), b"<html>").class,
        FaultClass::ServerError
    );
}

/// A stream of these events, as the vendor writes it.
fn stream_of(events: &[Value]) -> String {
    let event = |(at, event): (usize, &Value)| {
        let mut event = event.clone();
        event["sequence_number"] = at.into();
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
    };
    events.iter().enumerate().map(event).collect()
}

fn created() -> Value {
    let mut response = answer("in_progress", &json!([]));
    response["usage"] = Value::Null;
    json!({"type": "response.created", "response": response})
}

fn delta(kind: &str, at: u64, text: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "item_id": "i", "output_index": at, "content_index": 0, "delta": text})
}

fn item(what: &str, at: u64, item: &Value) -> Value {
    json!({"type": format!("response.output_item.{what}"), "output_index": at, "item": item})
}

fn ended(status: &str, output: &Value) -> Value {
    json!({"type": format!("response.{status}"), "response": answer(status, output)})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "f", "arguments": arguments})
}

fn everything() -> String {
    let summary = |part: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": part, "delta": text});
    stream_of(&[
        created(),
        item("added", 0, &json!({"type": "reasoning", "id": "rs", "summary": []})),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": {}}),
        summary(0, "first"),
        summary(0, " thought"),
        json!({"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": "first thought"}),
        summary(1, "second"),
        item(
            "done",
            0,
            &json!({"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "first thought"}],
                "encrypted_content": "enc"}),
        ),
        item("added", 1, &message(&json!([]))),
        delta("output_text", 1, "Gr\u{fc}\u{df}"),
        delta("output_text", 1, ""),
        delta("output_text", 1, "e \u{1f44b}"),
        json!({"type": "response.output_text.annotation.added", "output_index": 1, "annotation": {}}),
        item("done", 1, &message(&json!([said("Gr\u{fc}\u{df}e \u{1f44b}")]))),
        item("added", 2, &call("c1", "")),
        item("added", 3, &call("c2", "")),
        delta("function_call_arguments", 3, "{\"b\""),
        delta("function_call_arguments", 2, "{\"a\":"),
        delta("function_call_arguments", 2, "1}"),
        delta("function_call_arguments", 3, ":2}"),
        json!({"type": "response.brand_new", "anything": [1]}),
        item("done", 2, &call("c1", "{\"a\":1}")),
        item("done", 3, &call("c2", "{\"b\":2}")),
        ended(
            "completed",
            &json!([
                message(&json!([said("Gr\u{fc}\u{df}e \u{1f44b}")])),
                call("c1", "{\"a\":1}"),
                call("c2", "{\"b\":2}")
            ]),
        ),
    ])
}

/// What a stream comes to, by kind.
#[derive(Debug, Default, PartialEq)]
struct Told {
    text: Vec<String>,
    thoughts: Vec<String>,
    proofs: Vec<String>,
    refusals: Vec<String>,
    calls: Vec<(Option<String>, String, String)>,
    finish: Option<Finish>,
    counts: Option<Counts>,
    heads: usize,
}

fn told(events: &[ChatEvent]) -> Told {
    let mut told = Told::default();
    for event in events {
        match event.clone() {
            ChatEvent::Head { .. } => told.heads += 1,
            ChatEvent::Text { text, .. } => told.text.push(text),
            ChatEvent::Reasoning { text, .. } => told.thoughts.push(text),
            ChatEvent::ReasoningSignature { signature, .. } => told.proofs.push(signature),
            ChatEvent::RedactedReasoning { data, .. } => told.proofs.push(format!("redacted {data}")),
            ChatEvent::Refusal { text, .. } => told.refusals.push(text),
            ChatEvent::ToolCall { call, id, name, .. } => {
                assert_eq!(call as usize, told.calls.len());
                told.calls.push((id, name, String::new()));
            }
            ChatEvent::Arguments { call, fragment, .. } => told.calls[call as usize].2.push_str(&fragment),
            ChatEvent::Finish { finish, .. } => told.finish = Some(finish),
            ChatEvent::Counts(counts) => told.counts = Some(counts),
        }
    }
    told
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_stream_with_everything_in_it_is_read_however_it_is_cut() {
    let stream = everything();
    let (events, end) = however_cut(&ResponsesDialect, stream.as_bytes());
    assert_eq!(end, Ok(()));
    let call = |id: &str, arguments: &str| (Some(id.to_owned()), "f".to_owned(), arguments.to_owned());
    assert_eq!(
        told(&events),
        Told {
            text: strings(&["Gr\u{fc}\u{df}", "e \u{1f44b}"]),
            thoughts: strings(&["first", " thought", "\n\nsecond"]),
            proofs: strings(&["responses:enc"]),
            calls: vec![call("c1", "{\"a\":1}"), call("c2", "{\"b\":2}")],
            finish: Some(Finish::new("completed", FinishReason::ToolCalls)),
            counts: Some(Counts {
                input: Some(20),
                output: Some(10),
                total: Some(30),
                cached_input: Some(8),
                reasoning: Some(4),
                ..Counts::default()
            }),
            heads: 1,
            ..Told::default()
        }
    );
    let last = stream.rfind("event: response.completed").unwrap();
    cut_short(&ResponsesDialect, stream.as_bytes(), last);
}

#[test]
fn a_recorded_stream_is_read_however_it_is_cut() {
    let recording = fixture("openai/responses-stream");
    let (events, end) = however_cut(&ResponsesDialect, &recut::body(&recording));
    assert_eq!(end, Ok(()));
    assert_eq!(told(&events).text, ["Hi", "!"]);
    let whole = decoded(
        &ResponsesDialect,
        &fixture("openai/responses-plain")["response"]["body"],
    )
    .unwrap();
    assert_eq!(whole.choices[0].text.as_deref(), Some("Hi."));
}

#[test]
fn what_has_not_come_in_pieces_is_told_at_its_end() {
    let items = json!([
        {"type": "reasoning", "summary": [], "encrypted_content": "enc"},
        message(&json!([said("a"), {"type": "refusal", "refusal": "b"}])),
        call("c1", ""),
        call("c2", "{\"a\":1}")]);
    let each = items.as_array().unwrap().iter().zip(0..);
    let done: Vec<Value> = each.map(|(one, at)| item("done", at, one)).collect();
    let in_items = [vec![created()], done, vec![ended("completed", &items)]].concat();
    for events in [in_items, vec![ended("completed", &items)]] {
        let (events, end) = however_cut(&ResponsesDialect, stream_of(&events).as_bytes());
        let told = told(&events);
        assert_eq!(end, Ok(()));
        assert_eq!((told.text, told.refusals), (strings(&["a"]), strings(&["b"])));
        assert_eq!(told.proofs, ["redacted responses:enc"]);
        let arguments: Vec<_> = told.calls.iter().map(|(.., arguments)| arguments.as_str()).collect();
        assert_eq!((arguments, told.heads), (vec!["{}", "{\"a\":1}"], 1));
    }
}

#[test]
fn a_refusal_and_an_answer_that_was_too_long_are_told_as_such() {
    let refusal = [
        created(),
        delta("refusal", 0, "I can"),
        delta("refusal", 0, "not."),
        ended("completed", &json!([])),
    ];
    let (events, end) = however_cut(&ResponsesDialect, stream_of(&refusal).as_bytes());
    let heard = told(&events);
    assert_eq!((heard.refusals.concat().as_str(), end), ("I cannot.", Ok(())));
    assert_eq!(heard.finish, Some(Finish::new("completed", FinishReason::Stop)));
    for (reason, wanted) in [
        ("max_output_tokens", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
    ] {
        let mut last = ended("incomplete", &json!([]));
        last["response"]["incomplete_details"] = json!({"reason": reason});
        let events = [created(), delta("output_text", 0, "a"), last];
        let (events, end) = however_cut(&ResponsesDialect, stream_of(&events).as_bytes());
        let heard = told(&events);
        assert_eq!((heard.finish, end), (Some(Finish::new(reason, wanted)), Ok(())));
        assert_eq!(heard.counts.and_then(|counts| counts.total), Some(30));
    }
}

#[test]
fn a_stream_that_fails_in_the_middle_says_why() {
    let mut failed = ended("failed", &json!([]));
    failed["response"]["error"] = json!({"code": "server_error", "message": "m"});
    let error = json!({"code": "rate_limit_exceeded", "message": "m"});
    for (last, class, code) in [
        (failed, FaultClass::ServerError, Some("server_error")),
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}),
            FaultClass::RateLimit,
            Some("rate_limit_exceeded"),
        ),
        (
            json!({"type": "error", "error": {"type": "insufficient_quota", "message": "m"}}),
            FaultClass::QuotaExceeded,
            None,
        ),
        (
            json!({"type": "response.failed", "error": error}),
            FaultClass::RateLimit,
            Some("rate_limit_exceeded"),
        ),
    ] {
        let stream = stream_of(&[
            created(),
            delta("output_text", 0, "a"),
            last.clone(),
            delta("output_text", 0, "b"),
        ]);
        let (events, end) = however_cut(&ResponsesDialect, stream.as_bytes());
        let fault = end.unwrap_err();
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, code), "{last}");
        assert_eq!(fault.words.message.as_deref(), Some("m"), "{last}");
        assert_eq!(told(&events).text, ["a"], "{last}");
    }
    let class = |stream: &str| {
        let (_, end) = however_cut(&ResponsesDialect, stream.as_bytes());
        end.unwrap_err().class
    };
    let proxys = "data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n";
    assert_eq!(class(proxys), FaultClass::RateLimit);
    let said = stream_of(&[delta("output_text", 0, "a")]);
    // Other formats' ends are none here.
    for (more, wanted) in [
        ("", FaultClass::Transport),
        ("data: [DONE]\n\n", FaultClass::Transport),
        ("data: {\"type\":\"response.output_te", FaultClass::Transport),
        ("data: {\"type\":\n\n", FaultClass::InvalidReply),
        ("data: {\"type\":\"response.completed\"}\n\n", FaultClass::ServerError),
        (
            "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"in_progress\"}}\n\n",
            FaultClass::InvalidReply,
        ),
    ] {
        assert_eq!(class(&format!("{said}{more}")), wanted, "{more}");
    }
}

/// What a caller of `/v1/responses` has said.
fn said_by_caller(body: &str) -> Call {
    let translated = responses_to_openai(body.as_bytes()).unwrap();
    let call = Call::read(Capability::Chat, translated.into(), None).unwrap();
    call.said_as(Voice::Responses, body.to_owned().into())
}

fn passed_on(body: &str) -> String {
    let sent = Chat(ResponsesDialect).encode(&said_by_caller(body), target(&vendor()));
    String::from_utf8(sent.unwrap().body.concat()).unwrap()
}

#[test]
fn who_speaks_the_vendors_format_gets_its_own_bytes_sent() {
    let body = "{ \"model\" : \"alias\",\n \"store\":false, \"input\":\"\\u0048i\", \"reasoning\": {\"effort\":\"low\",\"summary\":\"auto\"}, \"new\":1.50e1 }";
    assert_eq!(passed_on(body), body.replace("alias", "up"));
    let call = said_by_caller("{\"stream\":true,\"model\":\"m\",\"input\":\"x\"}");
    let sent = Chat(ResponsesDialect).encode(&call, target(&vendor())).unwrap();
    assert_eq!(
        (sent.accept.to_str().unwrap(), sent.dropped.len()),
        ("text/event-stream", 0)
    );
    assert_eq!(
        sent.body.concat(),
        b"{\"store\":false,\"stream\":true,\"model\":\"up\",\"input\":\"x\"}"
    );
}

#[test]
fn nothing_is_kept_at_the_vendor_and_nothing_that_was_kept_is_found() {
    assert_eq!(
        passed_on("{\"model\":\"m\",\"input\":\"x\",\"store\":null}"),
        "{\"model\":\"up\",\"input\":\"x\",\"store\":false}"
    );
    let thought = |more: &str| format!("{{\"type\":\"\\u0072easoning\",\"id\":\"rs_1\",\"summary\":[]{more}}}");
    let (own, found) = (thought(",\"encrypted_content\":\"e\""), thought(""));
    let (empty, null) = (
        thought(",\"encrypted_content\":\"\""),
        thought(",\"encrypted_content\":null"),
    );
    let asked = "{\"role\": \"user\", \"content\": \"a reasoning\"}";
    let whole = |items: &[&str]| format!("{{\"model\":\"m\",\"input\":[{}],\"store\":false}}", items.join(","));
    let body = whole(&[asked, &own]);
    assert_eq!(passed_on(&body), body.replace("\"m\"", "\"up\""));
    assert_eq!(
        passed_on(&whole(&[&found, asked, &own, &null, &empty])),
        passed_on(&body)
    );
    for twice in [
        ",\"encrypted_content\":\"e\",\"encrypted_content\":null",
        ",\"encryptedContent\":\"e\"",
        ",\"encrypted_content\":1",
    ] {
        let body = whole(&[&thought(twice)]);
        assert!(responses_to_openai(body.as_bytes()).is_err(), "{twice}");
    }
}

#[test]
fn what_a_rule_has_changed_is_written_anew() {
    let call = said_by_caller("{\"model\":\"m\",\"input\":\"x\",\"max_output_tokens\":50,\"new\":1}");
    let changed = call.body();
    let translated = String::from_utf8(changed.to_vec()).unwrap().replace("50", "20");
    let call = Call::read(Capability::Chat, translated.into(), None).unwrap();
    let sent = Chat(ResponsesDialect).encode(&call, target(&vendor())).unwrap();
    assert_eq!(
        json_of(&sent),
        json!({"model": "up", "input": "x", "max_output_tokens": 20, "store": false, "new": 1})
    );
}

#[test]
fn who_speaks_the_vendors_format_gets_its_answer_byte_for_byte() {
    let call = said_by_caller("{\"model\":\"m\",\"input\":\"x\"}");
    let body = r#"{ "id":"x","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":2,"input_tokens_details":{"cached_tokens":1},"output_tokens":4},"new":[1.50] }"#;
    let headers = HeaderMap::new();
    let read = |body: &str| Chat(ResponsesDialect).decode(&call, received(&headers, body.to_owned()));
    let answer = testing::decoded(read(body).unwrap());
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.cached_input), (2, 4, Some(1)));
    assert_eq!(answer.answer.into_body().0, body);
    let failed = r#"{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#;
    assert_eq!(read(failed).unwrap_err().class, FaultClass::ServerError);
}

/// What of a stream passes, how it ends, and the tokens of text that nobody has counted.
fn pass(pieces: &[&[u8]]) -> (String, Option<FaultClass>, Box<dyn StreamDecoder>) {
    let headers = HeaderMap::new();
    let call = said_by_caller("{\"model\":\"m\",\"input\":\"x\",\"stream\":true}");
    let mut stream = Chat(ResponsesDialect).stream(&call, opening(&headers));
    let mut out = Vec::new();
    let mut ended = None;
    for piece in pieces {
        let Pushed { out: more, end } = stream.push(Bytes::copy_from_slice(piece));
        out.extend_from_slice(&more);
        ended = end;
        if ended.is_some() {
            break;
        }
    }
    let end = ended.unwrap_or_else(|| {
        let Pushed { out: more, end } = stream.finish();
        out.extend_from_slice(&more);
        end.unwrap()
    });
    let class = match end {
        StreamEnd::Complete => None,
        StreamEnd::Failed(fault) => Some(fault.class),
    };
    (String::from_utf8(out).unwrap(), class, stream)
}

#[test]
fn a_passed_stream_ends_where_it_breaks() {
    let said = stream_of(&[created(), delta("output_text", 0, "abc")]);
    let error = stream_of(&[json!({"type": "error", "code": "server_error", "message": "m"})]);
    for (text, class) in [
        (said.clone(), FaultClass::Transport),
        (format!("{said}data: {{\"type\":\"resp"), FaultClass::Transport),
        (format!("{said}{error}"), FaultClass::ServerError),
    ] {
        let (out, ended, mut stream) = pass(&[text.as_bytes()]);
        assert_eq!((out, ended), (said.clone(), Some(class)));
        assert_eq!(stream.take_said().count(|text| Some(text.len() as u64)).tokens, 3);
    }
}

proptest! {
    #[test]
    fn a_stream_passes_byte_for_byte_in_any_split(cuts in prop::collection::vec(0_usize..6000, 0..12)) {
        let text = everything();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([text.len()]);
        let begins = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<&[u8]> = begins.zip(ends).map(|(from, to)| &text.as_bytes()[from..to]).collect();
        let (out, ended, stream) = pass(&pieces);
        prop_assert_eq!(ended, None);
        prop_assert!(out == text);
        let usage = stream.progress().usage.unwrap();
        prop_assert_eq!((usage.input, usage.output, usage.reasoning), (20, 10, Some(4)));
        let read = recut::read(&ResponsesDialect, &pieces);
        prop_assert_eq!(read, recut::read(&ResponsesDialect, &[text.as_bytes()]));
    }
}

#[test]
fn every_caller_gets_a_stream_in_its_own_format() {
    let text = everything();
    let of = |call: &Call| {
        let headers = HeaderMap::new();
        let mut stream = Chat(ResponsesDialect).stream(call, opening(&headers));
        let pushed = stream.push(Bytes::copy_from_slice(text.as_bytes()));
        assert!(matches!(pushed.end, Some(StreamEnd::Complete)));
        String::from_utf8(pushed.out.to_vec()).unwrap()
    };
    let body = json!({"model": "m", "messages": user("x"), "stream": true, "stream_options": {"include_usage": true}});
    let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
    let chunks = of(&call);
    assert!(chunks.contains("\"finish_reason\":\"tool_calls\"") && chunks.ends_with("data: [DONE]\n\n"));
    assert!(chunks.contains("\"total_tokens\":30"));
    let messages = of(&call.said_as(Voice::Anthropic, "{\"model\":\"m\"}".into()));
    assert!(messages.contains("responses:enc") && messages.contains("event: message_stop"));
}
