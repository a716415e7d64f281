use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        recut::{cut_short, encoded, fixture, however_cut, read},
        testing::received,
    },
    domain::{
        chat::{ChatEvent, Finish, FinishReason},
        fault::FaultClass,
        vendor::Vendor,
    },
};

fn row(version: Option<&str>) -> Vendor {
    let mut vendor = Vendor::named("v", "spark-websocket");
    vendor.credential.app_id = Some("a1".to_owned());
    let version = version.unwrap_or("v3.5");
    vendor.options.insert(VERSION.to_owned(), version.to_owned());
    vendor
}

fn said_first(encoded: &Encoded) -> Value {
    let dialogue = encoded.dialogue.as_ref().unwrap();
    let [SocketMessage::Text(text)] = dialogue.turns[0].as_slice() else {
        panic!("one text begins: {dialogue:?}")
    };
    serde_json::from_slice(text).unwrap()
}

fn written(body: &Value) -> Value {
    said_first(&encoded(&Spark, body, &row(None)).unwrap())
}

/// The vendor's frames as the transport tells them.
fn recorded() -> Vec<u8> {
    let recording = fixture("iflytek/chat-ws-plain");
    let frames = recording["request"]["ws_frames"].as_array().unwrap().iter();
    let frames = frames.filter(|frame| frame["dir"] == "server");
    frames
        .flat_map(|frame| format!("{}\n", frame["text"].as_str().unwrap()).into_bytes())
        .collect()
}

fn frames(frames: &[Value]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| format!("{frame}\n").into_bytes())
        .collect()
}

fn frame(status: u8, text: &Value) -> Value {
    json!({"header": {"code": 0, "sid": "s", "status": status}, "payload": {"choices": {"status": status, "text": [text]}}})
}

#[test]
fn a_request_with_everything_in_it_is_one_frame() {
    let body = json!({
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "weather"}, {"type": "text", "text": "in Rome?"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "rain"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "max_tokens": 20, "user": "u1", "auditing": "default", "stream": true
    });
    assert_eq!(
        written(&body),
        json!({
            "header": {"app_id": "a1", "uid": "u1"},
            "parameter": {"chat": {"domain": "up", "temperature": 0.5, "top_p": 0.9, "top_k": 3, "max_tokens": 20, "auditing": "default"}},
            "payload": {
                "message": {"text": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "weather\nin Rome?"},
                    {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"role": "tool", "content": "rain"}]},
                "functions": {"text": [{"name": "f", "description": "d", "parameters": {"type": "object"}}]}
            }
        })
    );
}

#[test]
fn a_longer_name_of_a_person_is_said_by_its_digest() {
    let uid = |user: &str| written(&json!({"messages": [], "user": user}))["header"]["uid"].clone();
    let most = "x".repeat(32);
    assert_eq!(uid(&most), most.as_str());
    let longer = uid(&"x".repeat(33));
    assert_eq!(longer.as_str().map(str::len), Some(32));
    assert_eq!(longer, uid(&"x".repeat(33)));
    assert_ne!(longer, uid(&"x".repeat(34)));
}

#[test]
fn what_has_no_word_there_is_refused_by_name() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"messages": [{"role": "assistant", "tool_calls": [call("a"), call("b")]}]});
    let refused = encoded(&Spark, &body, &row(None)).unwrap_err();
    assert!(
        matches!(&refused, EncodeError::Refused(error) if error.param.as_deref() == Some("messages[0].tool_calls[1]")),
        "{refused:?}"
    );
}

#[test]
fn each_model_has_a_place_of_its_own() {
    let place_of = |model: &str, vendor: &Vendor| {
        place(Target {
            model,
            ..crate::adapters::dialects::testing::target(vendor)
        })
    };
    let unsaid = Vendor::named("v", "spark-websocket");
    for (model, path) in PATHS {
        assert_eq!(place_of(model, &unsaid).unwrap(), path);
    }
    assert_eq!(place_of("4.0Ultra", &row(Some("v9"))).unwrap(), "/v9/chat");
    for (model, vendor) in [("x", &unsaid), ("x", &row(Some("../up"))), ("x", &row(Some("v1?a=b")))] {
        assert_eq!(place_of(model, vendor).unwrap_err().param.as_deref(), Some("model"));
    }
}

#[test]
fn recorded_frames_are_the_same_answer_however_they_are_cut() {
    let stream = recorded();
    let (events, end) = however_cut(&Spark, &stream);
    assert_eq!(end, Ok(()));
    let texts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["你", "好", "！"]);
    let last = stream[..stream.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    cut_short(&Spark, &stream, last);

    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, "application/x-ndjson".parse().unwrap())]);
    let reply = Spark.decode(&received(&headers, stream)).unwrap();
    assert_eq!(reply.id.as_deref(), Some("cht000@test"));
    assert_eq!(reply.choices[0].text.as_deref(), Some("你好！"));
    let counts = reply.counts.unwrap();
    assert_eq!((counts.input, counts.output, counts.total), (Some(3), Some(3), Some(6)));
}

#[test]
fn a_function_that_is_wanted_ends_the_answer() {
    let stream = frames(&[
        frame(0, &json!({"content": "", "reasoning_content": "hm"})),
        frame(
            2,
            &json!({"content": "", "function_call": {"name": "f", "arguments": "{\"a\":1}"}}),
        ),
    ]);
    let (events, end) = however_cut(&Spark, &stream);
    assert_eq!(end, Ok(()));
    assert_eq!(
        events[1],
        ChatEvent::Reasoning {
            choice: 0,
            text: "hm".to_owned()
        }
    );
    assert!(matches!(&events[2], ChatEvent::ToolCall { call: 0, name, .. } if name == "f"));
    assert!(matches!(&events[3], ChatEvent::Arguments { call: 0, fragment, .. } if fragment == "{\"a\":1}"));
    let finish = Finish::new("tool_calls", FinishReason::ToolCalls);
    assert_eq!(events[4], ChatEvent::Finish { choice: 0, finish });
}

#[test]
fn failures_are_told_by_their_numbers_and_end_everything() {
    for (code, class) in [
        (10013, FaultClass::ContentFilter),
        (10907, FaultClass::InvalidRequest),
        (11200, FaultClass::Permission),
        (11201, FaultClass::QuotaExceeded),
        (11202, FaultClass::RateLimit),
        (10110, FaultClass::Overloaded),
        (10000, FaultClass::ServerError),
        (-1, FaultClass::ServerError),
    ] {
        let failure = json!({"header": {"code": code, "message": "why", "sid": "s", "status": 2}});
        let (events, end) = however_cut(&Spark, &frames(&[frame(0, &json!({"content": "a"})), failure.clone()]));
        let fault = end.unwrap_err();
        assert_eq!((fault.class, events.len()), (class, 2), "{code}");
        assert_eq!(fault.words.message.as_deref(), Some("why"));
        assert_eq!(fault.words.code.as_deref(), Some(code.to_string().as_str()));
        assert!(is_last(failure.to_string().as_bytes()));
    }
}

#[test]
fn a_handshake_that_is_refused_says_why() {
    let headers = HeaderMap::new();
    let refused = Spark.decode_fault(401, &headers, br#"{"message":"HMAC signature cannot be verified"}"#);
    assert_eq!(refused.class, FaultClass::Authentication);
    assert_eq!(
        refused.words.message.as_deref(),
        Some("HMAC signature cannot be verified")
    );
    let late = Spark.decode_fault(
        403,
        &headers,
        br#"{"message":"HMAC signature cannot be verified, a valid date is required"}"#,
    );
    assert_eq!(late.class, FaultClass::Permission);
    assert_eq!(
        Spark.decode_fault(502, &headers, b"<html>").class,
        FaultClass::ServerError
    );
    // Somebody in between answers without a WebSocket.
    let answered = Spark.decode(&received(&headers, "{}")).unwrap_err();
    assert_eq!(answered.class, FaultClass::InvalidReply);
}

#[test]
fn the_last_frame_is_known() {
    for (text, last) in [
        (frame(0, &json!({})).to_string(), false),
        (frame(1, &json!({})).to_string(), false),
        (frame(2, &json!({})).to_string(), true),
        (
            json!({"header": {"code": 0}, "payload": {"choices": {"status": 2, "text": []}}}).to_string(),
            true,
        ),
        ("no frame".to_owned(), true),
    ] {
        assert_eq!(is_last(text.as_bytes()), last, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
        let cut = at.min(bytes.len());
        let _ = read(&Spark, &[&bytes[..cut], &bytes[cut..]]);
        is_last(&bytes);
    }
}
