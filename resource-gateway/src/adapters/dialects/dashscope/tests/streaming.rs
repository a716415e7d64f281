//! Answers in events, of news or of everything so far.

use super::*;

fn said(message: &Value, finish: &str, tokens: Option<u64>) -> String {
    event(
        &json!({"output": {"choices": [{"message": message, "finish_reason": finish}]},
        "usage": {"input_tokens": 5, "output_tokens": tokens}, "request_id": "r"}),
    )
}

#[test]
fn events_that_repeat_everything_and_events_of_news_come_to_the_same() {
    let text = |text: &str| json!({"role": "assistant", "content": text});
    let parts = |text: &str| json!({"role": "assistant", "content": [{"text": text}]});
    let thought = |thought: &str, text: &str| json!({"reasoning_content": thought, "content": text});
    for (name, events, wanted) in [
        (
            "news",
            vec![
                (text("ab"), "null", Some(1)),
                (text("cd"), "null", Some(2)),
                (text(""), "stop", Some(2)),
            ],
            ("", "abcd"),
        ),
        (
            "everything",
            vec![
                (text("ab"), "null", Some(1)),
                (text("abcd"), "null", Some(2)),
                (text("abcd"), "stop", Some(2)),
            ],
            ("", "abcd"),
        ),
        (
            "everything, uncounted",
            vec![(text("ab"), "null", None), (text("abcd"), "stop", None)],
            ("", "abcd"),
        ),
        (
            "the same syllable, paid twice",
            vec![
                (text("ha"), "null", Some(1)),
                (text("haha"), "null", Some(3)),
                (text("!"), "stop", Some(4)),
            ],
            ("", "hahaha!"),
        ),
        (
            "the same word, paid twice",
            vec![(text("ha"), "null", Some(1)), (text("ha"), "stop", Some(2))],
            ("", "haha"),
        ),
        (
            "parts",
            vec![
                (parts("a"), "null", Some(1)),
                (parts("b"), "null", Some(2)),
                (json!({"content": []}), "stop", Some(2)),
            ],
            ("", "ab"),
        ),
        (
            "thoughts, everything",
            vec![
                (thought("hm", ""), "null", Some(1)),
                (thought("hm hm.", ""), "null", Some(3)),
                (thought("hm hm.", "a"), "null", Some(4)),
                (thought("hm hm.", "ab"), "stop", Some(5)),
            ],
            ("hm hm.", "ab"),
        ),
        (
            "thoughts, news",
            vec![
                (thought("h", ""), "null", Some(1)),
                (thought("m", ""), "null", Some(2)),
                (thought("", "a"), "stop", Some(3)),
            ],
            ("hm", "a"),
        ),
    ] {
        check(name, &events, wanted);
    }
}

/// Events of a message, the reason for the end, and how many tokens were paid for by then.
fn check(name: &str, events: &[(Value, &str, Option<u64>)], wanted: (&str, &str)) {
    let stream: String = events
        .iter()
        .map(|(message, finish, tokens)| said(message, finish, *tokens))
        .collect();
    let (seen, end) = run(&stream);
    assert_eq!((seen.reasoning.as_str(), seen.text.as_str()), wanted, "{name}");
    assert_eq!((seen.finish.as_deref(), end), (Some("stop"), None), "{name}");
}

#[test]
fn events_are_news_until_they_repeat_again_and_again() {
    let text = |text: &str| json!({"role": "assistant", "content": text});
    let thought = |thought: &str, text: &str| json!({"reasoning_content": thought, "content": text});
    for (name, events, wanted) in [
        (
            "figures that begin alike",
            vec![
                (text("1"), "null", Some(1)),
                (text("10"), "null", Some(2)),
                (text(""), "stop", Some(2)),
            ],
            ("", "110"),
        ),
        (
            "figures that begin alike again and again",
            vec![
                (text("1"), "null", Some(1)),
                (text("10"), "null", Some(2)),
                (text("100"), "null", Some(3)),
                (text("!"), "stop", Some(4)),
            ],
            ("", "110100!"),
        ),
        (
            "a word that goes on as it began, once",
            vec![
                (text("an"), "null", Some(1)),
                (text("and"), "null", Some(2)),
                (text(" so"), "stop", Some(3)),
            ],
            ("", "anand so"),
        ),
        (
            "thoughts that are left out when there are words",
            vec![
                (thought("a", ""), "null", Some(1)),
                (thought("ab", ""), "null", Some(2)),
                (thought("", "c"), "null", Some(3)),
                (thought("", "d"), "stop", Some(4)),
            ],
            ("aab", "cd"),
        ),
        (
            "everything, and a token for its end",
            vec![
                (text("Hal"), "null", Some(2)),
                (text("Hallo"), "null", Some(3)),
                (text("Hallo Welt"), "null", Some(5)),
                (text("Hallo Welt"), "stop", Some(6)),
            ],
            ("", "Hallo Welt"),
        ),
    ] {
        check(name, &events, wanted);
    }
}

#[test]
fn fragments_of_calls_join_by_their_index() {
    let fragment = |index: u32, id: &str, name: &str, arguments: &str| json!({"content": "", "tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]});
    let news = [
        said(&fragment(0, "c", "f", "{\"a\""), "null", Some(2)),
        said(&fragment(0, "", "", ":1}"), "null", Some(4)),
        said(&fragment(1, "d", "g", "{}"), "null", Some(5)),
        said(&json!({"content": ""}), "tool_calls", Some(5)),
    ];
    let everything = [
        said(&fragment(0, "c", "f", "{\"a\""), "null", Some(2)),
        said(&fragment(0, "c", "f", "{\"a\":1}"), "null", Some(3)),
        said(
            &json!({"content": "", "tool_calls": [
            {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"index": 1, "id": "d", "function": {"name": "g", "arguments": "{}"}}]}),
            "tool_calls",
            Some(5),
        ),
    ];
    for stream in [news.concat(), everything.concat()] {
        let (seen, end) = run(&stream);
        let wanted = [
            ("f".to_owned(), "{\"a\":1}".to_owned()),
            ("g".to_owned(), "{}".to_owned()),
        ];
        assert_eq!(
            (seen.tools.as_slice(), seen.finish.as_deref(), end),
            (&wanted[..], Some("tool_calls"), None)
        );
    }
}

#[test]
fn what_waits_to_be_told_apart_is_told_when_the_stream_breaks_off() {
    let text = |text: &str, tokens| said(&json!({"content": text}), "null", Some(tokens));
    let begun = [text("1", 1), text("10", 2)].concat();
    for end in [
        "",
        "id:3\nevent:error\n:HTTP_STATUS/500\ndata:{\"code\":\"InternalError\",\"message\":\"m\"}\n\n",
    ] {
        let (seen, end) = run(&format!("{begun}{end}"));
        assert_eq!(seen.text, "110");
        assert!(end.is_some());
    }
    // More than is held back.
    let long = "1".repeat(100_000);
    let (out, _) = streamed(
        &CHAT,
        &call(Capability::Chat, &json!({"model": "m", "messages": [], "stream": true})),
        &sse(),
        &Bytes::from([text("1", 1), text(&long, 100_000), text(&long, 200_000)].concat()),
        &[],
    );
    assert_eq!(Seen::in_stream(&out).text.len(), 200_001);
}

#[test]
fn a_stream_that_fails_or_breaks_off_is_told_apart() {
    let first = said(&json!({"content": "a"}), "null", Some(1));
    let failure = |status: u16, code: &str| {
        format!(
            "id:2\nevent:error\n:HTTP_STATUS/{status}\ndata:{{\"code\":\"{code}\",\"message\":\"m\",\"request_id\":\"r\"}}\n\n"
        )
    };
    for (text, class) in [
        (
            [first.clone(), failure(400, "DataInspectionFailed")].concat(),
            FaultClass::ContentFilter,
        ),
        (
            [first.clone(), failure(429, "Throttling.RateQuota")].concat(),
            FaultClass::RateLimit,
        ),
        (
            [first.clone(), failure(503, "New.Word")].concat(),
            FaultClass::Overloaded,
        ),
        (first.clone(), FaultClass::Transport),
        (String::new(), FaultClass::Transport),
        (
            [first.clone(), "data:{oh no}\n\n".to_owned()].concat(),
            FaultClass::InvalidReply,
        ),
    ] {
        assert_eq!(run(&text).1, Some(class), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), one in 0usize..600, other in 0usize..600) {
        let sent = call(Capability::Chat, &json!({"model": "m", "messages": [], "stream": true}));
        let headers = HeaderMap::new();
        let _ = streamed(&CHAT, &sent, &sse(), &Bytes::from(bytes.clone()), &[]);
        let _ = CHAT.decode(&sent, received(&headers, bytes.clone()));
        let _ = DashScopeImages.decode(&sent, received(&headers, bytes.clone()));
        let _ = DashScopeSpeech.decode(&sent, received(&headers, bytes.clone()));
        let _ = CHAT.decode_fault(400, &headers, &bytes);
        let golden = Golden::of("dashscope", "chat-stream").remove(0);
        let whole = golden.body();
        let mut cuts = [one.min(whole.len()), other.min(whole.len())];
        cuts.sort_unstable();
        prop_assert_eq!(streamed(&CHAT, &sent, &sse(), &whole, &cuts), streamed(&CHAT, &sent, &sse(), &whole, &[]));
    }

    #[test]
    fn a_text_arrives_whole_however_it_is_told(words in proptest::collection::vec("[a-c ]{1,3}", 1..8), everything in any::<bool>()) {
        let mut stream = String::new();
        let mut so_far = String::new();
        for word in &words {
            so_far += word;
            let told = if everything { so_far.clone() } else { word.clone() };
            // A token for each character, so that it shows what was paid for.
            stream += &said(&json!({"content": told}), "null", Some(so_far.len() as u64));
        }
        stream += &said(&json!({"content": if everything { so_far.clone() } else { String::new() }}), "stop", Some(so_far.len() as u64));
        let sent = call(Capability::Chat, &json!({"model": "m", "messages": [], "stream": true}));
        let (out, end) = streamed(&CHAT, &sent, &sse(), &Bytes::from(stream), &[]);
        prop_assert_eq!((Seen::in_stream(&out).text, end), (so_far, None));
    }
}
