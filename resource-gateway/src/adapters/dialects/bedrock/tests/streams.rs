//! Answers in frames, and thoughts in whole ones.

use super::*;

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
            {"type": "thinking", "thinking": "of another vendor", "signature": ""},
            {"type": "thinking", "thinking": "of OpenAI's", "signature": "responses:abc"},
            {"type": "redacted_thinking", "data": "responses:abc"},
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
