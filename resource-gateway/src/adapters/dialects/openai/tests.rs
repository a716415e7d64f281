use proptest::prelude::*;

use http::header;
use serde_json::Value;

use super::{
    super::testing::{decoded, received},
    *,
};
use crate::{
    domain::{
        chat::ChatRequest,
        confidence::Confidence,
        interface::{Capability, WhenUnsupported},
        multipart::{Boundary, Form},
        vendor::{BaseUrl, Vendor},
    },
    ports::{
        chat::ChatDialect,
        codec::{Progress, StreamEnd, TokenUsage},
    },
};

fn call() -> Call {
    Call::read(Capability::Chat, r#"{"model":"m","messages":[]}"#.into(), None).unwrap()
}

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
            Some(FaultClass::Transport),
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
            .decode(&call(), received(&HeaderMap::new(), json.to_owned()))
            .map(decoded)
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
        usage(r#"{"choices":[],"usage":{"total_tokens":7}}"#),
        None,
        "nobody knows how much of it was written"
    );
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
            OpenAiChat
                .decode(&call(), received(&HeaderMap::new(), body))
                .unwrap_err()
                .class,
            wanted,
            "{body}"
        );
    }
    assert!(
        OpenAiEmbeddings
            .decode(&call(), received(&HeaderMap::new(), r#"{"data":[]}"#))
            .is_ok()
    );
    assert!(
        OpenAiEmbeddings
            .decode(&call(), received(&HeaderMap::new(), "{}"))
            .is_err()
    );
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
        let _ = OpenAiChat.decode(&call(), received(&HeaderMap::new(), bytes));
    }
}

fn of_type(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
}

fn recording(format: &str, threshold: Option<f64>) -> Call {
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=B").unwrap();
    let mut form = Form::empty(boundary.clone());
    form.set("model", vec!["m".into()]).unwrap();
    form.set("response_format", vec![format.into()]).unwrap();
    let form = form.render().concat();
    let file = b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nx\r\n";
    let body: Bytes = [file, form.as_slice()].concat().into();
    let call = Call::read(Capability::Transcription, body, Some(&boundary)).unwrap();
    call.held_to(threshold.map(|threshold| Confidence::new(threshold).unwrap()))
}

const VERBOSE: &str = r#"{"text":"sure unsure","x":1.50,"duration":"2.5","segments":[{"start":0,"end":1,"text":"sure","avg_logprob":0},{"start":1,"end":2,"text":" unsure","avg_logprob":-9}],"usage":{"type":"duration","seconds":3}}"#;

#[test]
fn parts_of_a_transcript_that_tell_no_end_cost_nothing() {
    for (untimed, audio_ms) in [
        (r#"{"text":"hi","segments":[{"id":0,"text":"hi"}]}"#, None),
        (r#"{"text":"hi","segments":[{"end":null},{"end":2.5}]}"#, Some(2500)),
        (r#"{"text":"hi","segments":"none"}"#, None),
    ] {
        let answer = OpenAiTranscription
            .decode(
                &recording("verbose_json", None),
                received(&of_type("application/json"), untimed),
            )
            .map(decoded);
        assert_eq!(answer.unwrap().usage.map(|usage| usage.audio_ms), audio_ms, "{untimed}");
    }
}

#[test]
fn a_transcript_passes_as_it_came_unless_a_threshold_holds() {
    let decode = |format: &str, threshold, kind: &'static str, body: &'static str| {
        OpenAiTranscription
            .decode(&recording(format, threshold), received(&of_type(kind), body))
            .map(decoded)
    };
    let plain = decode("verbose_json", None, "application/json", VERBOSE).unwrap();
    assert_eq!(plain.usage.map(|usage| (usage.input, usage.audio_ms)), Some((0, 3000)));
    assert_eq!(
        plain.answer.into_body(),
        (Bytes::from_static(VERBOSE.as_bytes()), "application/json")
    );
    let held = |format: &str| {
        let mut decoded = decode(format, Some(0.5), "application/json", VERBOSE).unwrap();
        assert_eq!(decoded.answer.hold_to(Confidence::new(0.5).unwrap()), 1);
        let (body, kind) = decoded.answer.into_body();
        (String::from_utf8(body.to_vec()).unwrap(), kind)
    };
    assert_eq!(held("text"), ("sure\n".into(), "text/plain; charset=utf-8"));
    assert!(held("srt").0.contains("sure") && !held("srt").0.contains("unsure"));
    let json: Value = serde_json::from_str(&held("json").0).unwrap();
    assert_eq!(
        (&json["text"], &json["filtered"]),
        (&Value::from("sure"), &Value::from(1))
    );
    // Asked for its seconds, the vendor answers with all that it knows, and the caller gets what it wanted.
    let timed = |format: &str, body: &'static str| {
        let call = recording(format, None).timed(true);
        let decoded = OpenAiTranscription
            .decode(&call, received(&of_type("application/json"), body))
            .map(decoded);
        let decoded = decoded.unwrap();
        (decoded.usage.map(|usage| usage.audio_ms), decoded.answer.into_body())
    };
    let (seconds, (text, kind)) = timed("text", VERBOSE);
    assert_eq!(
        (seconds, &text[..], kind),
        (Some(3000), &b"sure unsure\n"[..], "text/plain; charset=utf-8")
    );
    assert_eq!(
        timed("verbose_json", VERBOSE).1.0,
        Bytes::from_static(VERBOSE.as_bytes())
    );
    let bare = r#"{"text":"x","segments":[{"start":0,"end":1.5,"text":"x"},{"start":1,"end":1.25,"text":"x"}]}"#;
    assert_eq!(timed("json", bare).0, Some(1500), "as long as its last part");
    let rough = r#"{"text":"x","segments":[{"id":0,"text":"x"},{"id":1,"text":"x","end":2}]}"#;
    assert_eq!(timed("json", rough).0, Some(2000), "parts without times");
    let rough = r#"{"text":"x","segments":{"id":0}}"#;
    assert_eq!(timed("json", rough).0, None, "no parts");
    let text = decode("text", None, "text/plain", "hello\n").unwrap();
    assert_eq!(
        (text.said.kept(), text.answer.into_body().1),
        (6, "text/plain; charset=utf-8")
    );
    let tokens = r#"{"text":"x","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}"#;
    let usage = decode("json", None, "application/json", tokens).unwrap().usage.unwrap();
    assert_eq!((usage.input, usage.output), (14, 45));
    for (format, kind, body, class) in [
        ("text", "text/html", "<html>", FaultClass::InvalidReply),
        (
            "text",
            "application/json",
            r#"{"error":{"message":"m","code":"server_error"}}"#,
            FaultClass::ServerError,
        ),
        (
            "json",
            "application/json",
            r#"{"error":{"message":"m","code":"server_error"}}"#,
            FaultClass::ServerError,
        ),
        ("json", "application/json", "{}", FaultClass::InvalidReply),
        ("json", "text/html", "<html>", FaultClass::InvalidReply),
    ] {
        assert_eq!(
            decode(format, None, kind, body).unwrap_err().class,
            class,
            "{format} {body}"
        );
    }
}

#[test]
fn only_sound_is_passed_on_as_sound() {
    let body = r#"{"model":"m","input":"h\u00e9llo","voice":"v","response_format":"opus"}"#;
    let call = Call::read(Capability::Speech, body.into(), None).unwrap();
    let decode = |kind: &'static str, body: &'static str| {
        OpenAiSpeech.decode(&call, received(&of_type(kind), body)).map(decoded)
    };
    let sound = decode("audio/ogg", "OggS").unwrap();
    assert_eq!(sound.usage.map(|usage| (usage.input, usage.characters)), Some((0, 5)));
    assert_eq!(sound.answer.into_body(), (Bytes::from_static(b"OggS"), "audio/opus"));
    let error = r#"{"error":{"message":"m","type":"server_error"}}"#;
    assert_eq!(
        decode("application/json", error).unwrap_err().class,
        FaultClass::ServerError
    );
    for (kind, body) in [("text/html", "<html>"), ("audio/mpeg", ""), ("application/json", "{}")] {
        assert_eq!(
            decode(kind, body).unwrap_err().class,
            FaultClass::InvalidReply,
            "{kind}"
        );
    }
}

#[test]
fn sound_is_called_what_its_vendor_calls_it() {
    let speech = |format: &str| {
        let body = format!(r#"{{"model":"m","input":"x","voice":"v"{format}}}"#);
        Call::read(Capability::Speech, body.into(), None).unwrap()
    };
    let (silent, wav) = (speech(""), speech(r#","response_format":"wav""#));
    for (call, kind, wanted) in [
        (&silent, "audio/mpeg", "audio/mpeg"),
        // Made without a word for it, and not OpenAI's default.
        (&silent, "audio/x-wav", "audio/wav"),
        (&silent, "Audio/OGG; codecs=opus", "audio/ogg"),
        (&silent, "application/octet-stream", "audio/mpeg"),
        (&wav, "application/octet-stream", "audio/wav"),
        (&wav, "audio/x-unheard-of", "audio/wav"),
        (&wav, "audio/mpeg", "audio/mpeg"),
    ] {
        let sound = decoded(OpenAiSpeech.decode(call, received(&of_type(kind), "sound")).unwrap());
        assert_eq!(sound.answer.into_body().1, wanted, "{kind}");
    }
}

#[test]
fn images_are_counted_and_moderations_need_results() {
    let call = Call::read(Capability::Image, r#"{"model":"m","prompt":"x"}"#.into(), None).unwrap();
    let images = r#"{"data":[{"b64_json":"x"},{"b64_json":"y"}],"usage":{"input_tokens":5,"output_tokens":7}}"#;
    let decoded = decoded(OpenAiImages.decode(&call, received(&HeaderMap::new(), images)).unwrap());
    assert_eq!(
        decoded.usage.map(|usage| (usage.images, usage.input, usage.output)),
        Some((2, 5, 7))
    );
    let decode = |body: &'static str| OpenAiModerations.decode(&call, received(&HeaderMap::new(), body));
    assert!(decode(r#"{"results":[{"flagged":false}]}"#).is_ok());
    assert!(decode(r#"{"data":[]}"#).is_err());
}

#[test]
fn openai_itself_has_no_top_k_and_servers_of_its_format_may_have() {
    let body = r#"{"messages":[{"role":"user","content":"x"}],"top_k":3}"#;
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let asked = |vendor: &Vendor, rule: WhenUnsupported| {
        let target = Target {
            when_unsupported: rule,
            ..crate::adapters::dialects::testing::target(vendor)
        };
        let encoded = OpenAiDialect.encode(&request, target)?;
        let written: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        Ok::<_, EncodeError>((written["top_k"].clone(), encoded.dropped))
    };
    let openai = Vendor::named("v", "openai");
    let Err(EncodeError::Refused(error)) = asked(&openai, WhenUnsupported::Refuse) else {
        panic!()
    };
    assert_eq!(error.param.as_deref(), Some("top_k"));
    assert_eq!(
        asked(&openai, WhenUnsupported::Drop).unwrap(),
        (Value::Null, vec!["top_k".to_owned()])
    );
    let other = Vendor {
        base_url: BaseUrl::parse("https://vllm.example/v1").ok(),
        ..openai
    };
    assert_eq!(asked(&other, WhenUnsupported::Refuse).unwrap(), (3.into(), vec![]));
}

#[test]
fn who_cannot_be_told_not_to_think_is_not_and_that_is_told() {
    let row = Vendor::named("v", "openai");
    let dialects: [&dyn ChatDialect; 2] = [&OpenAiDialect, &crate::adapters::dialects::responses::ResponsesDialect];
    for dialect in dialects {
        for (said, effort, dropped) in [
            (r#""thinking":{"type":"disabled"}"#, None, Some("thinking")),
            (
                r#""thinking":{"type":"enabled","budget_tokens":2048}"#,
                Some("low"),
                None,
            ),
            (r#""reasoning_effort":"none""#, Some("none"), None),
            (r#""n":1"#, None, None),
        ] {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{said}}}"#);
            let body: Value = serde_json::from_str(&body).unwrap();
            let encoded = crate::adapters::dialects::recut::encoded(dialect, &body, &row).unwrap();
            let written: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
            let told = written.get("reasoning_effort").or(written["reasoning"].get("effort"));
            assert_eq!(told.and_then(Value::as_str), effort, "{said}");
            assert_eq!(written.get("thinking"), None);
            assert_eq!(encoded.dropped.first().map(String::as_str), dropped, "{said}");
        }
    }
}
