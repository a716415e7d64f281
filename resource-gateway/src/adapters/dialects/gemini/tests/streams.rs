//! Answers in events.

use super::*;

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for name in ["gemini/generate-stream", "gemini/generate-stream-tools"] {
        let fixture = fixture(name);
        let stream = body(&fixture);
        let (events, end) = however_cut(&Gemini, &stream);
        assert_eq!(end, Ok(()));
        let texts: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                ChatEvent::Text { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(json!(texts), fixture["expect"]["text_deltas"], "{name}");
        let text = String::from_utf8(stream.clone()).unwrap();
        for ends in ["\r\n", "\r"] {
            let other = text.replace('\n', ends);
            assert_eq!(
                however_cut(&Gemini, other.as_bytes()),
                (events.clone(), Ok(())),
                "{name}"
            );
        }
        // It ends with a blank line, which may be missing, and nothing before that is the end.
        let before = text.trim_end().len();
        cut_short(&Gemini, &stream, before);
    }
}

fn written_as_events(events: &[Value]) -> String {
    let events: Vec<_> = events
        .iter()
        .map(|event| format!(": alive\n\ndata: {event}\n\n"))
        .collect();
    events.concat()
}

#[test]
fn a_stream_tells_thoughts_calls_and_counts_as_they_come() {
    let events_of_two = [
        json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "h\u{f6}m", "thought": true}]}}], "modelVersion": "m"}),
        json!({"candidates": [{"index": 0, "content": {"parts": [
            {"functionCall": {"name": "f", "args": {"a": "\u{4f60}"}}, "thoughtSignature": "s"},
            {"functionCall": {"id": "c2", "name": "g", "args": {}}}]}}], "responseId": "r"}),
        json!({"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "STOP"}]}),
        json!({"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 5}}),
        json!({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 9}}),
    ];
    let stream = written_as_events(&events_of_two);
    let (events, end) = however_cut(&Gemini, stream.as_bytes());
    assert_eq!(end, Ok(()));
    assert!(events.contains(&ChatEvent::Reasoning {
        choice: 0,
        text: "h\u{f6}m".to_owned()
    }));
    assert!(events.contains(&ChatEvent::ToolCall {
        choice: 0,
        call: 0,
        id: None,
        name: "f".to_owned(),
        signature: Some("s".to_owned())
    }));
    assert!(events.contains(&ChatEvent::Arguments {
        choice: 0,
        call: 0,
        fragment: "{\"a\":\"\u{4f60}\"}".to_owned()
    }));
    assert!(events.contains(&ChatEvent::ToolCall {
        choice: 0,
        call: 1,
        id: Some("c2".to_owned()),
        name: "g".to_owned(),
        signature: None
    }));
    assert!(events.contains(&ChatEvent::Finish {
        choice: 0,
        finish: Finish::new("STOP", FinishReason::ToolCalls)
    }));
    assert!(events.contains(&ChatEvent::Finish {
        choice: 1,
        finish: Finish::new("STOP", FinishReason::Stop)
    }));
    let counts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Counts(counts) => Some(counts.all_output()),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [2, 6], "of a total, thoughts are a part");
    // One of two candidates has not ended.
    let cut = written_as_events(&events_of_two[..3]);
    assert_eq!(
        read(&Gemini, &[cut.as_bytes()]).1.unwrap_err().class,
        FaultClass::Transport
    );
}

#[test]
fn another_formats_word_for_an_end_says_nothing() {
    let whole =
        written_as_events(&[json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]})]);
    let (events, end) = however_cut(&Gemini, whole.as_bytes());
    let (same, ended) = however_cut(&Gemini, [whole.as_str(), "data: [DONE]\n\n"].concat().as_bytes());
    assert_eq!((&events, &end), (&same, &ended));
    assert_eq!((events.len(), end), (2, Ok(())));
}

#[test]
fn an_error_in_mid_stream_keeps_what_was_said() {
    let said = json!({"candidates": [{"content": {"parts": [{"text": "one"}]}}]});
    let error = json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}});
    let (events, end) = however_cut(&Gemini, format!("data: {said}\n\ndata: {error}\n\n").as_bytes());
    assert_eq!(
        events,
        [ChatEvent::Text {
            choice: 0,
            text: "one".to_owned()
        }]
    );
    let fault = end.unwrap_err();
    assert_eq!(
        (fault.class, fault.words.code.as_deref()),
        (FaultClass::Overloaded, Some("UNAVAILABLE"))
    );
    let (_, end) = read(&Gemini, &[b"data: {\"candidates\": [oops\n\n"]);
    assert_eq!(end.unwrap_err().class, FaultClass::InvalidReply);
}

proptest! {
    #[test]
    fn hurt_streams_end_somehow_and_the_same_however_they_are_cut(
        at in 0usize..600, with in any::<u8>(), first in 0usize..600, second in 0usize..600,
    ) {
        let mut stream = body(&fixture("gemini/generate-stream-tools"));
        let length = stream.len();
        stream[at % length] = with;
        let (first, second) = ((first % length).min(second % length), (first % length).max(second % length));
        let whole = read(&Gemini, &[&stream]);
        prop_assert_eq!(read(&Gemini, &[&stream[..first], &stream[first..second], &stream[second..]]), whole);
    }
}
