//! Answers in events.

use super::*;

#[test]
fn nothing_is_lost_of_what_comes_early_late_or_only_at_the_end() {
    let thought = json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "enc"});
    let hosted = json!({"type": "web_search_call", "content": 7, "summary": "x", "name": {}});
    let told = [
        // Arguments before their call, and no end of the thought.
        item("added", 0, &json!({"type": "reasoning", "id": "rs", "summary": []})),
        item("added", 1, &hosted),
        delta("function_call_arguments", 2, "{\"a\":"),
        item("added", 2, &call("c1", "")),
        delta("function_call_arguments", 2, "1}"),
        item("added", 3, &message(&json!([]))),
    ];
    let output = json!([thought, hosted, call("c1", "{\"a\":1}"), message(&json!([said("Hi")]))]);
    for some in 0..=told.len() {
        let mut events = vec![created()];
        events.extend(told[..some].iter().cloned());
        events.push(ended("completed", &output));
        let (told, end) = however_cut(&ResponsesDialect, stream_of(&events).as_bytes());
        assert_eq!(end, Ok(()));
        let told: Vec<String> = told
            .iter()
            .filter_map(|event| match event {
                ChatEvent::Text { text, .. } => Some(text.clone()),
                ChatEvent::RedactedReasoning { data, .. } => Some(data.clone()),
                ChatEvent::ToolCall { name, .. } => Some(name.clone()),
                ChatEvent::Arguments { fragment, .. } => Some(fragment.clone()),
                _ => None,
            })
            .collect();
        let mut sorted = told.clone();
        sorted.sort();
        assert_eq!(sorted, ["Hi", "f", "responses:enc", "{\"a\":1}"], "{some} {told:?}");
    }
    // Servers that do not number their items are taken by what they told first.
    let bare = |event: Value| {
        let mut event = event;
        event.as_object_mut().unwrap().remove("output_index");
        event
    };
    let stream = stream_of(&[
        created(),
        bare(item("added", 0, &message(&json!([])))),
        bare(delta("output_text", 0, "Hi")),
        ended("completed", &json!([thought, message(&json!([said("Hi")]))])),
    ]);
    let (events, _) = however_cut(&ResponsesDialect, stream.as_bytes());
    let texts = events.iter().filter(|event| matches!(event, ChatEvent::Text { .. }));
    assert_eq!(texts.count(), 1);
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
