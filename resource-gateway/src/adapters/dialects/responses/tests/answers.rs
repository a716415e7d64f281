//! Whole answers, and failures.

use super::*;

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
