//! Answers that are rough at the edges, and what each dialect makes of them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{
    anthropic::AnthropicDialect,
    baidu::{BaiduLabels, BaiduOcr},
    bedrock::BedrockChat,
    cohere::Cohere,
    dashscope::{DashScopeChat, DashScopeSpeech},
    gemini::Gemini,
    golden::{call, streamed},
    openai::{
        OpenAiChat, OpenAiDialect,
        quirks::{Quirks, ShapedDialect},
    },
    recut::{decoded, however_cut},
    responses::ResponsesDialect,
    tencent::TencentChat,
    testing::{self, received},
    translated::Chat,
};
use crate::{
    domain::{
        call::{Call, Voice},
        chat::{ChatEvent, Counts},
        fault::FaultClass,
        interface::Capability,
    },
    ports::{chat::ChatDialect, codec::Codec},
};

/// A dialect, an event with a word in it, and the event that tells the end.
const STREAMS: [(&dyn ChatDialect, &str, &str); 5] = [
    (
        &OpenAiDialect,
        r#"data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ),
    (
        &AnthropicDialect,
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
    ),
    (
        &Gemini,
        r#"data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#,
        r#"data: {"candidates":[{"finishReason":"STOP"}]}"#,
    ),
    (
        &DashScopeChat,
        r#"data: {"output":{"choices":[{"message":{"content":"Hi"},"finish_reason":"null"}]}}"#,
        r#"data: {"output":{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}}"#,
    ),
    (
        &TencentChat,
        r#"data: {"Choices":[{"Delta":{"Content":"Hi"},"FinishReason":""}]}"#,
        r#"data: {"Choices":[{"Delta":{"Content":""},"FinishReason":"stop"}]}"#,
    ),
];

/// What a cut connection leaves of a last event.
const HALVES: [&str; 5] = [
    "data: {\"choi",
    "data: {\"usage\":{\"a\":1}",
    "data:",
    "event: mess",
    ": keep-al",
];

fn class_of(end: super::recut::End) -> Option<FaultClass> {
    end.err().map(|fault| fault.class)
}

#[test]
fn half_an_event_at_the_end_is_what_a_cut_connection_leaves() {
    for (dialect, word, finish) in STREAMS {
        for half in HALVES {
            let (events, end) = however_cut(dialect, format!("{word}\n\n{half}").as_bytes());
            assert_eq!(class_of(end), Some(FaultClass::Transport), "{dialect:?} {half}");
            assert!(matches!(&*events, [ChatEvent::Text { .. }]), "{dialect:?} {events:?}");
            let (_, end) = however_cut(dialect, format!("{word}\n\n{finish}\n\n{half}").as_bytes());
            assert_eq!(class_of(end), None, "{dialect:?} {half}");
        }
        let (_, end) = however_cut(dialect, format!("{word}\n\n{finish}").as_bytes());
        assert_eq!(class_of(end), None, "{dialect:?}, without its blank line");
        let (_, end) = however_cut(dialect, format!("{word}\n\ndata: {{oh no\n\n").as_bytes());
        assert_eq!(
            class_of(end),
            Some(FaultClass::InvalidReply),
            "{dialect:?}, in the middle"
        );
    }
}

#[test]
fn half_an_event_does_not_get_to_callers_whose_bytes_pass() {
    let headers = HeaderMap::new();
    let body = json!({"model": "m", "messages": [], "stream": true});
    let sent = call(Capability::Chat, &body);
    let spoken = call(Capability::Chat, &body).said_as(Voice::Anthropic, body.to_string().into());
    let anthropic = Chat(AnthropicDialect);
    let codecs: [(&dyn Codec, &Call, usize); 2] = [(&OpenAiChat, &sent, 0), (&anthropic, &spoken, 1)];
    for (codec, sent, at) in codecs {
        let run = |text: &str| streamed(codec, sent, &headers, &Bytes::from(text.to_owned()), &[]);
        let (_, word, finish) = STREAMS[at];
        for half in HALVES {
            let (out, end) = run(&format!("{word}\n\n{half}"));
            assert_eq!(
                (out.as_str(), end),
                (&*format!("{word}\n\n"), Some(FaultClass::Transport)),
                "{half}"
            );
            let (out, end) = run(&format!("{word}\n\n{finish}\n\n{half}"));
            assert_eq!(end, None, "{half}");
            let tail = [
                "data: [DONE]\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ][at];
            assert_eq!(out, format!("{word}\n\n{finish}\n\n{tail}"), "{half}");
        }
    }
}

#[test]
fn a_mark_of_the_byte_order_hides_no_event() {
    for (dialect, word, finish) in STREAMS {
        let stream = format!("{word}\n\n{finish}\n\n");
        let wanted = however_cut(dialect, stream.as_bytes());
        let marked = however_cut(dialect, format!("\u{feff}{stream}").as_bytes());
        assert_eq!(marked, wanted, "{dialect:?}");
    }
}

/// Ways to write what is no count, and 12 in ways that are one.
const NO_COUNTS: [&str; 5] = ["-1", "null", "\"many\"", "{\"a\":1}", "1.0e300"];
const TWELVES: [&str; 3] = ["12", "12.0", "\"12\""];

#[test]
fn a_count_that_cannot_be_read_costs_neither_the_answer_nor_the_other_counts() {
    let whole: [(&dyn ChatDialect, &str); 6] = [
        (
            &OpenAiDialect,
            r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":COUNT,"completion_tokens":3}}"#,
        ),
        (
            &AnthropicDialect,
            r#"{"content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":COUNT,"output_tokens":3}}"#,
        ),
        (
            &Gemini,
            r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{"promptTokenCount":COUNT,"candidatesTokenCount":3}}"#,
        ),
        (
            &DashScopeChat,
            r#"{"output":{"choices":[{"message":{"content":"Hi"}}]},"usage":{"input_tokens":COUNT,"output_tokens":3}}"#,
        ),
        (
            &BedrockChat,
            r#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":COUNT,"outputTokens":3}}"#,
        ),
        (
            &ResponsesDialect,
            r#"{"status":"completed","created_at":"now","output":[{"type":"new","content":7},{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":COUNT,"output_tokens":3,"input_tokens_details":7}}"#,
        ),
    ];
    for (dialect, body) in whole {
        for (written, input) in NO_COUNTS
            .map(|text| (text, None))
            .into_iter()
            .chain(TWELVES.map(|text| (text, Some(12))))
        {
            let body: Value = serde_json::from_str(&body.replace("COUNT", written)).unwrap();
            let reply = decoded(dialect, &body).unwrap_or_else(|fault| panic!("{dialect:?} {body} {fault:?}"));
            let counts = reply.counts.unwrap();
            assert_eq!((counts.input, counts.output), (input, Some(3)), "{dialect:?} {written}");
        }
        for usage in ["7", "[]", "\"none\"", "null"] {
            let mut body: Value = serde_json::from_str(&body.replace("COUNT", "1")).unwrap();
            let member = if body.get("usage").is_some() {
                "usage"
            } else {
                "usageMetadata"
            };
            body[member] = serde_json::from_str(usage).unwrap();
            let reply = decoded(dialect, &body).unwrap_or_else(|fault| panic!("{dialect:?} {body} {fault:?}"));
            let said = reply.counts.is_some_and(|counts| counts.says_anything());
            assert!(!said, "{dialect:?} {usage}");
            assert_eq!(reply.choices[0].text.as_deref(), Some("Hi"));
        }
    }
    let streams = [
        r#"data: {"choices":[],"usage":{"prompt_tokens":COUNT,"completion_tokens":3}}"#,
        r#"data: {"type":"message_delta","delta":{},"usage":{"input_tokens":COUNT,"output_tokens":3}}"#,
        r#"data: {"usageMetadata":{"promptTokenCount":COUNT,"candidatesTokenCount":3}}"#,
        r#"data: {"output":{"choices":[]},"usage":{"input_tokens":COUNT,"output_tokens":3}}"#,
        r#"data: {"Choices":[],"Usage":{"PromptTokens":COUNT,"CompletionTokens":3}}"#,
    ];
    for ((dialect, word, finish), usage) in STREAMS.into_iter().zip(streams) {
        for written in NO_COUNTS.into_iter().chain(TWELVES) {
            let usage = usage.replace("COUNT", written);
            let (events, end) = however_cut(dialect, format!("{word}\n\n{usage}\n\n{finish}\n\n").as_bytes());
            assert_eq!(class_of(end), None, "{dialect:?} {written}");
            let output = events.iter().find_map(|event| match event {
                ChatEvent::Counts(counts) => counts.output,
                _ => None,
            });
            assert_eq!(output, Some(3), "{dialect:?} {written}");
        }
    }
}

#[test]
fn a_count_that_cannot_be_read_costs_callers_whose_bytes_pass_nothing_either() {
    let headers = HeaderMap::new();
    let sent = call(Capability::Chat, &json!({"model": "m", "messages": []}));
    for (body, input) in [
        (
            r#"{"choices":[],"usage":{"prompt_tokens":12.0,"completion_tokens":3}}"#,
            12,
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":3}}"#,
            0,
        ),
        (
            r#"{"choices":[{"usage":{"prompt_tokens":"x","completion_tokens":3}}]}"#,
            0,
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":12,"input_tokens":12,"completion_tokens":3,"output_tokens":3}}"#,
            12,
        ),
        (
            r#"{"choices":[],"usage":{"input_tokens":12,"output_tokens":3,"prompt_tokens_details":7}}"#,
            12,
        ),
    ] {
        let answer = testing::decoded(OpenAiChat.decode(&sent, received(&headers, body)).unwrap());
        let usage = answer.usage.unwrap();
        assert_eq!((usage.input, usage.output), (input, 3), "{body}");
    }
    let odd = r#"{"choices":[{"usage":"none","message":{"content":"Hi"}}]}"#;
    let answer = testing::decoded(OpenAiChat.decode(&sent, received(&headers, odd)).unwrap());
    assert_eq!(answer.usage, None);
}

#[test]
fn the_same_under_two_names_is_told_once() {
    let said = json!({"content": "Hi", "reasoning": "hm", "reasoning_content": "hm", "thinking": null});
    let body = json!({"choices": [{"message": said, "delta": {}}],
        "usage": {"prompt_tokens": 4, "input_tokens": 4, "completion_tokens": 5, "output_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1}, "input_tokens_details": {"cached_tokens": 1}}});
    let reply = decoded(&OpenAiDialect, &body).unwrap();
    assert_eq!(reply.choices[0].text.as_deref(), Some("Hi"));
    assert_eq!(reply.choices[0].thoughts.len(), 1);
    let counts = Counts {
        input: Some(4),
        output: Some(5),
        cached_input: Some(1),
        ..Counts::default()
    };
    assert_eq!(reply.counts, Some(counts));
    let chunk = json!({"choices": [{"delta": said, "message": {"content": "all of it"}, "finish_reason": "stop"}]});
    let (events, end) = however_cut(&OpenAiDialect, format!("data: {chunk}\n\n").as_bytes());
    assert_eq!(class_of(end), None);
    let [
        ChatEvent::Reasoning { text: thought, .. },
        ChatEvent::Text { text, .. },
        ChatEvent::Finish { .. },
    ] = &*events
    else {
        panic!("{events:?}")
    };
    assert_eq!((thought.as_str(), text.as_str()), ("hm", "Hi"));
}

#[test]
fn an_error_under_two_names_keeps_its_kind() {
    let body = br#"{"__type":"x#ThrottlingException","message":"slow","Message":"slow"}"#;
    let fault = BedrockChat.decode_fault(400, &HeaderMap::new(), body);
    assert_eq!(
        (fault.class, fault.words.message.as_deref()),
        (FaultClass::RateLimit, Some("slow"))
    );
    let mut headers = HeaderMap::new();
    headers.insert(
        "x-amzn-errortype",
        HeaderValue::from_static("com.amazon#ThrottlingException:http://x/"),
    );
    let fault = BedrockChat.decode_fault(400, &headers, b"{}");
    assert_eq!(fault.class, FaultClass::RateLimit);
}

#[test]
fn a_label_under_two_names_is_a_label() {
    let headers = HeaderMap::new();
    let request = call(Capability::Labels, &json!({"model": "m", "image": {"base64": "x"}}));
    let body = json!({"result": [{"keyword": "cat", "name": "cat", "score": 0.5, "probability": "0.5", "root": "a"}]});
    let answer = BaiduLabels
        .decode(&request, received(&headers, body.to_string()))
        .unwrap();
    let found: Value = serde_json::from_slice(&testing::decoded(answer).answer.into_body().0).unwrap();
    assert_eq!(
        found["labels"],
        json!([{"name": "cat", "confidence": 0.5, "category": "a"}])
    );
}

#[test]
fn an_empty_reason_is_no_end() {
    let headers = HeaderMap::new();
    let chunk = |reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    for reason in ["\"\"", "\"null\"", "null"] {
        let text = [chunk(reason), chunk(reason)].concat();
        let (_, end) = however_cut(&OpenAiDialect, text.as_bytes());
        assert_eq!(class_of(end), Some(FaultClass::Transport), "{reason}");
        let sent = call(Capability::Chat, &json!({"model": "m", "messages": [], "stream": true}));
        let (out, end) = streamed(&OpenAiChat, &sent, &headers, &Bytes::from(text.clone()), &[]);
        assert_eq!((out, end), (text.clone(), Some(FaultClass::Transport)), "{reason}");
        // Whoever may leave the end out gets it told.
        let shaped = Chat(ShapedDialect::new(&Quirks::SPARK));
        let ended = Bytes::from(text + "data: [DONE]\n\n");
        let (out, end) = streamed(&shaped, &sent, &headers, &ended, &[]);
        assert_eq!(end, None);
        assert!(out.contains(r#""finish_reason":"stop""#), "{out}");
    }
    let whole = json!({"choices": [{"message": {"content": "a"}, "finish_reason": ""}]});
    assert_eq!(decoded(&OpenAiDialect, &whole).unwrap().choices[0].finish, None);
}

#[test]
fn what_is_not_known_may_be_of_any_form() {
    for (dialect, unknown) in [
        (
            &AnthropicDialect as &dyn ChatDialect,
            r#"{"type":"new","message":7,"index":"x","content_block":[],"error":null,"usage":"u"}"#,
        ),
        (
            &ResponsesDialect,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"new","content":7,"name":{},"summary":"x"}}"#,
        ),
        (
            &AnthropicDialect,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"new","text":{},"data":[1],"id":7}}"#,
        ),
        (&Cohere, r#"{"type":"new","message":{"a":1},"delta":"d","id":7}"#),
        (
            &Cohere,
            r#"{"type":"citation-start","delta":{"message":{"content":"x","tool_plan":7}}}"#,
        ),
    ] {
        let stream = format!("data: {unknown}\n\n");
        let (events, end) = however_cut(dialect, stream.as_bytes());
        assert_eq!(
            (events.len(), class_of(end)),
            (0, Some(FaultClass::Transport)),
            "{unknown}"
        );
    }
    let body = json!({"content": [{"type": "new", "text": {}, "data": [1]}, {"type": "text", "text": "Hi"}]});
    let reply = decoded(&AnthropicDialect, &body).unwrap();
    assert_eq!(reply.choices[0].text.as_deref(), Some("Hi"));
}

#[test]
fn of_calls_that_are_too_many_nothing_is_told() {
    let many: Vec<u32> = (0..1100).collect();
    for (dialect, word) in [(&OpenAiDialect as &dyn ChatDialect, "stop"), (&DashScopeChat, "stop")] {
        let events = many.iter().map(|index| {
            let calls = json!([{"index": index, "id": "c", "function": {"name": "f", "arguments": "{}"}}]);
            let choice =
                json!({"delta": {"tool_calls": calls}, "message": {"tool_calls": calls}, "finish_reason": word});
            format!(
                "data: {}\n\n",
                json!({"choices": [choice], "output": {"choices": [choice]}})
            )
        });
        let stream: String = events.collect();
        let (events, _) = super::recut::read(dialect, &[stream.as_bytes()]);
        let begun = events
            .iter()
            .filter(|event| matches!(event, ChatEvent::ToolCall { .. }))
            .count();
        let told = events
            .iter()
            .filter(|event| matches!(event, ChatEvent::Arguments { .. }))
            .count();
        assert_eq!((begun, told), (1024, 1024), "{dialect:?}");
    }
}

fn last_counts(dialect: &dyn ChatDialect, events: &[&str]) -> (u64, u64) {
    let stream = format!("data: {}\n\n", events.join("\n\ndata: "));
    let (events, _) = however_cut(dialect, stream.as_bytes());
    let counts = events.iter().fold(Counts::default(), |counts, event| match event {
        ChatEvent::Counts(newer) => counts.merged(*newer),
        _ => counts,
    });
    (counts.all_input(), counts.all_output())
}

#[test]
fn what_was_counted_last_is_what_counts() {
    let overridden = [
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":25,"cache_read_input_tokens":100,"output_tokens":1}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":10,"cache_read_input_tokens":0,"output_tokens":5}}"#,
    ];
    assert_eq!(last_counts(&AnthropicDialect, &overridden), (10, 5));
    // What is not told again stays.
    let partly = [
        overridden[0],
        r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":5}}"#,
    ];
    assert_eq!(last_counts(&AnthropicDialect, &partly), (125, 5));
    let gemini = [
        r#"{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":9}}"#,
        r#"{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":7}}"#,
    ];
    assert_eq!(last_counts(&Gemini, &gemini), (4, 7));
    let tencent = [
        r#"{"Choices":[],"Usage":{"PromptTokens":4,"CompletionTokens":9}}"#,
        r#"{"Choices":[],"Usage":{"PromptTokens":3,"CompletionTokens":7}}"#,
    ];
    assert_eq!(last_counts(&TencentChat, &tencent), (3, 7));
}

#[test]
fn choices_come_in_the_order_of_their_numbers() {
    let openai =
        json!({"choices": [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]});
    let candidate = |index: u32, text: &str| json!({"index": index, "content": {"parts": [{"text": text}]}});
    let gemini = json!({"candidates": [candidate(1, "b"), candidate(0, "a")]});
    let tencent = json!({"Response": {"Choices": [{"Index": 1, "Message": {"Content": "b"}}, {"Index": 0, "Message": {"Content": "a"}}]}});
    let replies: [(&dyn ChatDialect, Value); 4] = [
        (&OpenAiDialect, openai.clone()),
        (&Gemini, gemini),
        (&DashScopeChat, json!({"output": openai})),
        (&TencentChat, tencent),
    ];
    for (dialect, body) in replies {
        let reply = decoded(dialect, &body).unwrap();
        let texts: Vec<_> = reply
            .choices
            .iter()
            .map(|choice| choice.text.as_deref().unwrap())
            .collect();
        assert_eq!(texts, ["a", "b"], "{dialect:?}");
    }
}

#[test]
fn hints_of_a_proxy_are_heard() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("7"));
    let codecs: [&dyn Codec; 2] = [&BaiduOcr, &Chat(TencentChat)];
    for codec in codecs {
        let fault = codec.decode_fault(503, &headers, b"<html>");
        assert_eq!(fault.hints.wait(0).map(|wait| wait.as_secs()), Some(7), "{codec:?}");
    }
}

#[test]
fn errors_are_understood_in_whatever_form_their_words_come() {
    let zhipu = Chat(ShapedDialect::new(&Quirks::ZHIPU));
    let mistral = Chat(ShapedDialect::new(&Quirks::MISTRAL));
    let dashscope = Chat(DashScopeChat);
    let detail = json!([{"loc": ["body", "model"], "msg": "wrong", "type": "t"}]);
    let codecs: [&dyn Codec; 3] = [&zhipu, &mistral, &dashscope];
    for (at, status, body, class, code, message) in [
        (
            0_usize,
            429,
            json!({"error": {"code": 1113, "message": "m"}}),
            FaultClass::QuotaExceeded,
            Some("1113"),
            "m",
        ),
        (
            0_usize,
            429,
            json!({"error": {"code": "1113", "message": "m"}}),
            FaultClass::QuotaExceeded,
            Some("1113"),
            "m",
        ),
        (
            2,
            429,
            json!({"code": 429, "message": "m"}),
            FaultClass::RateLimit,
            Some("429"),
            "m",
        ),
        (
            1,
            422,
            json!({"object": "error", "message": {"detail": detail}, "type": "t", "code": "1000"}),
            FaultClass::InvalidRequest,
            Some("1000"),
            "body.model: wrong",
        ),
        (
            1,
            400,
            json!({"object": "error", "message": {"message": "m"}}),
            FaultClass::InvalidRequest,
            None,
            "m",
        ),
    ] {
        let fault = codecs[at].decode_fault(status, &HeaderMap::new(), body.to_string().as_bytes());
        assert_eq!(
            (fault.class, fault.words.code.as_deref(), fault.words.message.as_deref()),
            (class, code, Some(message)),
            "{body}"
        );
    }
}

#[test]
fn sound_may_stand_in_the_answer() {
    let headers = HeaderMap::new();
    let sent = call(Capability::Speech, &json!({"model": "m", "input": "x", "voice": "v"}));
    for url in [json!(""), Value::Null] {
        // RIFF and some more.
        let body = json!({"output": {"audio": {"url": url, "data": "UklGRjAwMDBXQVZF"}}, "usage": {"input_tokens": 3, "output_tokens": 4}});
        let answer = DashScopeSpeech
            .decode(&sent, received(&headers, body.to_string()))
            .unwrap();
        let answer = testing::decoded(answer);
        assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((3, 4)));
        let (bytes, kind) = answer.answer.into_body();
        assert_eq!((&bytes[..], kind), (&b"RIFF0000WAVE"[..], "audio/wav"));
    }
    for data in [json!("%"), json!(""), Value::Null] {
        let body = json!({"output": {"audio": {"url": "", "data": data}}});
        let fault = DashScopeSpeech
            .decode(&sent, received(&headers, body.to_string()))
            .unwrap_err();
        assert_eq!(fault.class, FaultClass::InvalidReply, "{data}");
    }
}
