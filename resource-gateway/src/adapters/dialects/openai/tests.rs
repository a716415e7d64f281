use proptest::prelude::*;

use super::*;
use crate::ports::codec::TokenUsage;

fn chunk(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}],\"usage\":null}}\n\n"
    )
}

const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What a whole stream comes to: the caller's bytes, how it ended, what was learnt.
fn run(text: &str, cuts: &[usize], include_usage: bool) -> (String, Option<FaultClass>, Progress) {
    let mut decoder = stream::ChatStream::new(include_usage);
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([text.len()]) {
        let pushed = decoder.push(Bytes::copy_from_slice(&text.as_bytes()[from..cut]));
        from = cut;
        out.extend_from_slice(&pushed.out);
        if let Some(end) = pushed.end {
            return (String::from_utf8(out).unwrap(), class_of(end), decoder.progress());
        }
    }
    let pushed = decoder.finish();
    out.extend_from_slice(&pushed.out);
    (
        String::from_utf8(out).unwrap(),
        class_of(pushed.end.unwrap()),
        decoder.progress(),
    )
}

fn class_of(end: StreamEnd) -> Option<FaultClass> {
    match end {
        StreamEnd::Complete => None,
        StreamEnd::Failed(fault) => Some(fault.class),
    }
}

#[test]
fn a_stream_gives_the_same_result_however_it_is_cut_in_two() {
    let text = [
        &chunk("One"),
        ": keep-alive\r\n\r\n",
        &chunk(" thr\u{e9}\u{e9}"),
        FINISH,
        USAGE,
        DONE,
    ]
    .concat();
    let whole = run(&text, &[], false);
    assert!(!whole.0.contains("prompt_tokens") && whole.0.ends_with(DONE) && whole.0.contains("keep-alive"));
    assert_eq!(whole.1, None);
    assert_eq!(
        whole.2.usage,
        Some(TokenUsage {
            input: 11,
            output: 22,
            ..TokenUsage::default()
        })
    );
    for cut in 0..=text.len() {
        if text.as_bytes().get(cut).is_none_or(|_| true) {
            let got = run(&text, &[cut], false);
            assert_eq!(
                (&got.0, got.1, got.2.usage),
                (&whole.0, whole.1, whole.2.usage),
                "cut at {cut}"
            );
        }
    }
    assert_eq!(run(&text, &[], true).0, text, "who asks for usage gets every byte");
}

#[test]
fn each_way_to_end_is_told_apart() {
    let one = chunk("One");
    for (name, text, wanted, tail) in [
        ("whole", [&one, FINISH, DONE].concat(), None, DONE),
        ("no [DONE]", [&one, FINISH].concat(), None, DONE),
        ("no blank line", [&one, FINISH.trim_end()].concat(), None, DONE),
        (
            "usage on the finish chunk, no [DONE]",
            [&one, FINISH, USAGE].concat(),
            None,
            DONE,
        ),
        ("cut", one.clone(), Some(FaultClass::Transport), "null}\n\n"),
        ("nothing", String::new(), Some(FaultClass::Transport), ""),
        (
            "half an event",
            [&one, "data: {\"choi"].concat(),
            Some(FaultClass::InvalidReply),
            "null}\n\n",
        ),
        (
            "malformed",
            [&one, "data: {\"id\":\n\n", FINISH].concat(),
            Some(FaultClass::InvalidReply),
            "null}\n\n",
        ),
        (
            "not JSON",
            [&one, "data: {oh no}\n\n"].concat(),
            Some(FaultClass::InvalidReply),
            "null}\n\n",
        ),
        (
            "error in band",
            [
                &one,
                "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}\n\n",
            ]
            .concat(),
            Some(FaultClass::ServerError),
            "null}\n\n",
        ),
    ] {
        let (out, class, progress) = run(&text, &[], false);
        assert_eq!(class, wanted, "{name}");
        assert!(out.ends_with(tail), "{name}: {out}");
        assert_eq!(progress.weight.0, if name == "nothing" { 0 } else { 3 }, "{name}");
    }
}

#[test]
fn of_several_choices_each_has_to_finish() {
    let part = |index: u32, reason: &str| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n")
    };
    let (open, stop) = ("null", "\"stop\"");
    let cut = Some(FaultClass::Transport);
    for (name, text, wanted) in [
        ("one runs", [part(0, open), part(1, open), part(0, stop)].concat(), cut),
        (
            "both finish",
            [part(0, open), part(1, open), part(1, stop), part(0, stop)].concat(),
            None,
        ),
        ("only the second", part(1, stop), None),
        ("a word after the reason", [part(0, stop), part(0, open)].concat(), None),
        (
            "more than there can be",
            [part(500, open), part(400, open), part(500, stop)].concat(),
            None,
        ),
        (
            "in one chunk",
            "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"},{\"index\":1,\"delta\":{}}]}\n\n".to_owned(),
            cut,
        ),
        (
            "no index that could be read",
            "data: {\"choices\":[{\"index\":null,\"finish_reason\":\"stop\"}]}\n\n".to_owned(),
            None,
        ),
    ] {
        assert_eq!(run(&text, &[], false).1, wanted, "{name}");
        assert_eq!(run(&[&text, DONE].concat(), &[], false).1, None, "{name}, and [DONE]");
    }
}

#[test]
fn usage_is_found_wherever_servers_put_it() {
    let usage = |json: &str| {
        OpenAiChat
            .decode(Bytes::copy_from_slice(json.as_bytes()))
            .unwrap()
            .usage
    };
    let plain = |input, output| {
        Some(TokenUsage {
            input,
            output,
            ..TokenUsage::default()
        })
    };
    assert_eq!(usage(r#"{"choices":[]}"#), None);
    assert_eq!(usage(r#"{"choices":[],"usage":null}"#), None);
    assert_eq!(
        usage(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#),
        plain(3, 4)
    );
    assert_eq!(
        usage(r#"{"choices":[],"usage":{"prompt_tokens":3,"total_tokens":7}}"#),
        plain(3, 4)
    );
    assert_eq!(
        usage(r#"{"choices":[{"usage":{"prompt_tokens":3,"completion_tokens":4}}]}"#),
        plain(3, 4)
    );
    assert_eq!(
        usage(
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}}"#
        ),
        Some(TokenUsage {
            input: 3,
            output: 4,
            cached_input: Some(2),
            reasoning: Some(1),
            ..TokenUsage::default()
        })
    );
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for (body, wanted) in [
        ("<html>", FaultClass::InvalidReply),
        ("{}", FaultClass::InvalidReply),
        (r#"{"choices":7}"#, FaultClass::InvalidReply),
        (
            r#"{"error":{"message":"m","type":"server_error"}}"#,
            FaultClass::ServerError,
        ),
        (r#"{"error":{"message":"m","code":429}}"#, FaultClass::RateLimit),
        (
            r#"{"error":{"message":"m","code":"insufficient_quota"}}"#,
            FaultClass::QuotaExceeded,
        ),
    ] {
        assert_eq!(
            OpenAiChat.decode(Bytes::from(body)).unwrap_err().class,
            wanted,
            "{body}"
        );
    }
    assert!(OpenAiEmbeddings.decode(Bytes::from_static(br#"{"data":[]}"#)).is_ok());
    assert!(OpenAiEmbeddings.decode(Bytes::from_static(b"{}")).is_err());
}

#[test]
fn errors_are_classified_by_status_and_words() {
    let none = HeaderMap::new();
    for (status, body, wanted) in [
        (
            400,
            r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            FaultClass::InvalidRequest,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"content_filter"}}"#,
            FaultClass::ContentFilter,
        ),
        (
            401,
            r#"{"error":{"code":"invalid_api_key"}}"#,
            FaultClass::Authentication,
        ),
        (404, r#"{"error":{"code":"model_not_found"}}"#, FaultClass::NotFound),
        (
            429,
            r#"{"error":{"code":"rate_limit_exceeded"}}"#,
            FaultClass::RateLimit,
        ),
        (
            429,
            r#"{"error":{"code":"insufficient_quota"}}"#,
            FaultClass::QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"type":"engine_overloaded_error"}}"#,
            FaultClass::Overloaded,
        ),
        (500, "<html>oops</html>", FaultClass::ServerError),
        (503, "", FaultClass::Overloaded),
    ] {
        let fault = OpenAiChat.decode_fault(status, &none, body.as_bytes());
        assert_eq!((fault.class, fault.status), (wanted, Some(status)), "{status} {body}");
        assert!(fault.words.message.is_none_or(|message| !message.contains('<')));
    }
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    assert_eq!(
        OpenAiChat.decode_fault(429, &headers, b"").hints.retry_after.as_deref(),
        Some("7")
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = stream::ChatStream::new(false);
        let _ = decoder.push(Bytes::from(bytes.clone()));
        let _ = decoder.finish();
        let _ = OpenAiChat.decode(Bytes::from(bytes));
    }
}
