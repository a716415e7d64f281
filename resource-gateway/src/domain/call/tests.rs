use super::*;
use crate::domain::{
    interface::{FieldAction, JsonPointer},
    vendor::Switch,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn sent(body: &str) -> String {
    let call = Call::read(Capability::Chat, Bytes::copy_from_slice(body.as_bytes()), None).unwrap();
    String::from_utf8(call.for_vendor("up\"stream").concat()).unwrap()
}

#[test]
fn the_model_gives_way_and_all_else_stays() {
    assert_eq!(
        sent("{ \"x_new\":{\"b\":1.0}, \"model\" : \"chat\",\n\"messages\":[ ] }"),
        "{ \"x_new\":{\"b\":1.0}, \"model\" : \"up\\\"stream\",\n\"messages\":[ ] }"
    );
}

#[test]
fn usage_is_asked_for_only_in_streams_and_only_once() {
    for (options, wanted, asked) in [
        ("", Some(json!({"include_usage": true})), false),
        (r#","stream_options":null"#, Some(json!({"include_usage": true})), false),
        (r#","stream_options":{}"#, Some(json!({"include_usage": true})), false),
        (
            r#","stream_options":{"x":1,"include_usage":false}"#,
            Some(json!({"x": 1, "include_usage": true})),
            false,
        ),
        (
            r#","stream_options":{"include_usage":true,"x":1}"#,
            Some(json!({"x": 1, "include_usage": true})),
            true,
        ),
    ] {
        let body = format!(r#"{{"model":"m","messages":[],"stream":true{options}}}"#);
        let got: Value = serde_json::from_str(&sent(&body)).unwrap();
        assert_eq!(got.get("stream_options").cloned(), wanted, "{options}");
        let call = Call::read(Capability::Chat, body.into(), None).unwrap();
        assert_eq!(call.include_usage, asked);
    }
    let plain: Value = serde_json::from_str(&sent(r#"{"model":"m","messages":[]}"#)).unwrap();
    assert!(plain.get("stream_options").is_none());
}

#[test]
fn what_cannot_be_read_is_refused_with_the_name_of_the_field() {
    for (body, param) in [
        ("", None),
        ("[]", None),
        ("{", None),
        (r#"{"messages":[]}"#, Some("model")),
        (r#"{"model":7,"messages":[]}"#, Some("model")),
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"model":"m","messages":"x"}"#, Some("messages")),
        (r#"{"model":"m","messages":["x"]}"#, Some("messages")),
        (r#"{"model":"m","messages":[],"stream":"yes"}"#, Some("stream")),
        (
            r#"{"model":"m","messages":[],"stream":true,"stream_options":7}"#,
            Some("stream_options"),
        ),
        (r#"{"model":"m","model":"n","messages":[]}"#, Some("model")),
        // Readers that know no case would take these for the others, and the last one wins.
        (r#"{"model":"m","Model":"n","messages":[]}"#, Some("model")),
        (r#"{"MODEL":"n","messages":[]}"#, Some("model")),
        (r#"{"model":"m","messages":[],"Stream":true}"#, Some("stream")),
        (
            "{\"model\":\"m\",\"messages\":[],\"\u{17f}tream\":true}",
            Some("stream"),
        ),
        (
            r#"{"model":"m","messages":[],"stream":true,"Stream_Options":{}}"#,
            Some("stream_options"),
        ),
        (
            r#"{"model":"m","messages":[],"stream":true,"stream_options":{"Include_Usage":false}}"#,
            Some("include_usage"),
        ),
        (r#"{"model":"m","messages":[],"Messages":[]}"#, Some("messages")),
        (r#"{"model":"m","messages":[],"messages":[]}"#, Some("messages")),
    ] {
        let error = Call::read(Capability::Chat, Bytes::from(body), None).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, param), "{body}");
    }
    let deep = format!(
        r#"{{"model":"m","messages":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(Call::read(Capability::Chat, Bytes::from(deep), None).is_err());
    assert!(
        Call::read(
            Capability::Embeddings,
            Bytes::from_static(br#"{"model":"m","input":7}"#),
            None
        )
        .is_err()
    );
}

#[test]
fn a_body_of_nothing_but_names_is_refused_as_that() {
    let body = |more: usize| {
        let more: Vec<_> = (0..more).map(|at| format!(",\"\u{e9}{at}\":0")).collect();
        format!(r#"{{"model":"m","messages":[]{}}}"#, more.concat())
    };
    let read = |more| Call::read(Capability::Chat, Bytes::from(body(more)), None);
    assert!(read(MOST_MEMBERS - 2).is_ok());
    let error = read(MOST_MEMBERS - 1).unwrap_err();
    assert_eq!((error.status, error.code.as_deref()), (400, Some("invalid_json")));
    assert!(error.message.contains("more than 4096 members"), "{error:?}");
}

#[test]
fn a_picture_does_not_count_as_text() {
    let picture = "A".repeat(1 << 20);
    let message = json!({"role": "user", "content": [
        {"type": "text", "text": "twelve chars"},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{picture}")}}]});
    let body = json!({"model": "m", "messages": [message]}).to_string();
    let call = Call::read(Capability::Chat, body.into(), None).unwrap();
    assert!(call.estimated_input < 100, "{}", call.estimated_input);
}

#[test]
fn all_that_a_model_gets_to_see_is_weighed() {
    let long = "word ".repeat(10_000);
    let weighed = |body: Value| {
        let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
        call.estimated_input
    };
    for message in [
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "i", "type": "function",
            "function": {"name": "f", "arguments": long}}]}),
        json!({"role": "assistant", "content": "x", "reasoning_content": long}),
        json!({"role": "assistant", "content": "x", "thinking_blocks": [{"type": "thinking", "thinking": long}]}),
        json!({"role": "assistant", "content": null, "refusal": long}),
    ] {
        let weight = weighed(json!({"model": "m", "messages": [message]}));
        assert!(
            (12_500..12_600).contains(&weight),
            "{weight}: {:.60}",
            message.to_string()
        );
    }
    let hi = json!([{"role": "user", "content": "hi"}]);
    let schema = json!({"type": "object", "description": long});
    for beside in [
        json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}),
        json!({"functions": [{"name": "f", "parameters": schema}]}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
    ] {
        let mut body = beside.clone();
        body["model"] = "m".into();
        body["messages"] = hi.clone();
        let weight = weighed(body);
        assert!(
            (12_500..12_600).contains(&weight),
            "{weight}: {:.60}",
            beside.to_string()
        );
    }
    let plain = json!({"model": "m", "messages": hi});
    let mut text = plain.clone();
    text["response_format"] = json!({"type": "text"});
    assert_eq!(weighed(text), weighed(plain));
}

#[test]
fn numbers_of_every_form_bound_what_is_held_back() {
    let asked = |beside: &str| {
        let body = format!(r#"{{"model":"m","messages":[],{beside}}}"#);
        let call = Call::read(Capability::Chat, Bytes::from(body), None).unwrap();
        (call.asked_output, call.choices)
    };
    for beside in [
        r#""max_tokens":100,"n":8"#,
        r#""max_tokens":100.0,"n":8.0"#,
        r#""max_completion_tokens":1e2,"n":"8""#,
    ] {
        assert_eq!(asked(beside), (800, 8), "{beside}");
    }
    assert_eq!(asked(r#""max_tokens":"many","n":[]"#), (0, 1));
}

proptest! {
    #[test]
    fn a_vendor_gets_what_the_caller_sent_with_another_model(
        extra in proptest::collection::btree_map("x[a-z]{0,4}", "\\PC{0,12}", 0..4),
        model in "\\PC{1,12}",
        target in "\\PC{1,12}",
        stream in any::<bool>(),
    ) {
        let mut value = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream});
        for (name, text) in extra {
            value[name] = text.into();
        }
        let call = Call::read(Capability::Chat, Bytes::from(value.to_string()), None).unwrap();
        prop_assert_eq!(&call.model, &model);
        let got: Value = serde_json::from_slice(&call.for_vendor(&target).concat()).unwrap();
        value["model"] = target.into();
        if stream {
            value["stream_options"] = json!({"include_usage": true});
        }
        prop_assert_eq!(got, value);
    }
}

fn rule(pointer: &str, action: FieldAction) -> FieldRule {
    FieldRule {
        pointer: JsonPointer::parse(pointer).unwrap(),
        action,
        enabled: Switch::On,
    }
}

#[test]
fn rules_and_what_a_vendor_gets_otherwise_come_together() {
    let body =
        r#"{"stream":true,"stream_options":{"x":1},"model":"m","messages":[],"max_completion_tokens":9,"seed":1}"#;
    let rules = [
        rule("/stream_options/include_usage", FieldAction::Force(json!(false))),
        rule("/max_tokens", FieldAction::Force(json!(5))),
        rule("/seed", FieldAction::Force(json!(1))),
        rule("/temperature", FieldAction::Fill(json!(0.5))),
    ];
    let call = Call::read(Capability::Chat, body.into(), None).unwrap();
    let call = call.shaped_by(rules.iter()).unwrap();
    assert!(!call.include_usage);
    assert_eq!(
        call.forced_fields().unwrap(),
        "/stream_options/include_usage,/max_tokens"
    );
    assert_eq!(
        String::from_utf8(call.for_vendor("up").concat()).unwrap(),
        r#"{"max_tokens":5,"temperature":0.5,"stream":true,"stream_options":{"include_usage":true,"x":1},"model":"up","messages":[],"seed":1}"#
    );
    assert_eq!(
        call.body(),
        r#"{"max_tokens":5,"temperature":0.5,"stream":true,"stream_options":{"include_usage":false,"x":1},"model":"m","messages":[],"seed":1}"#
    );
}

#[test]
fn a_long_body_is_never_copied_for_a_short_change() {
    let picture = "A".repeat(10 << 20);
    let body = Bytes::from(format!(
        r#"{{"image":{{"base64":"{picture}"}},"model":"m","min_confidence":0.5,"x":1}}"#
    ));
    let rules = [
        rule("/x", FieldAction::Force(json!(2))),
        rule("/y", FieldAction::Fill(json!(3))),
    ];
    let call = Call::read(Capability::Ocr, body.clone(), None)
        .unwrap()
        .shaped_by(rules.iter())
        .unwrap();
    assert_eq!(call.min_confidence, Some(Confidence::new(0.5).unwrap()));
    let pieces = call.for_vendor("up");
    let long = pieces.iter().find(|piece| piece.len() > picture.len()).unwrap();
    assert!(body.as_ptr_range().contains(&long.as_ptr()));
    let ends: Vec<_> = pieces
        .concat()
        .chunks(60)
        .map(|some| String::from_utf8_lossy(some).into_owned())
        .collect();
    assert!(ends[0].starts_with(r#"{"y":3,"image":{"base64":"AAAA"#), "{}", ends[0]);
    let tail = ends[ends.len() - 2..].concat();
    assert!(tail.ends_with(r#"AAA"},"model":"up","x":2}"#), "{tail}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_capability_asks_for_what_it_cannot_do_without() {
    for (capability, body, param) in [
        (Capability::Speech, json!({"input": "x", "voice": "v"}), None),
        (Capability::Speech, json!({"input": ""}), Some("input")),
        (Capability::Speech, json!({"voice": "v"}), Some("input")),
        (
            Capability::Speech,
            json!({"input": "x", "response_format": "midi"}),
            Some("response_format"),
        ),
        (
            Capability::Speech,
            json!({"input": "x", "response_format": 7}),
            Some("response_format"),
        ),
        (
            Capability::Speech,
            json!({"input": "x", "stream_format": "sse"}),
            Some("stream_format"),
        ),
        (
            Capability::Speech,
            json!({"input": "x", "stream": true}),
            Some("stream"),
        ),
        (Capability::Image, json!({"prompt": "x", "n": 10}), None),
        (
            Capability::Image,
            json!({"prompt": "x", "response_format": "url"}),
            None,
        ),
        (Capability::Image, json!({"prompt": "x", "n": 11}), Some("n")),
        (Capability::Image, json!({"prompt": ["x"]}), Some("prompt")),
        (Capability::Ocr, json!({"image": {"base64": "x"}}), None),
        (Capability::Labels, json!({"image": {"url": "x", "detail": 1}}), None),
        (
            Capability::Faces,
            json!({"image": {"file_id": "x"}, "min_confidence": 1}),
            None,
        ),
        (
            Capability::Faces,
            json!({"image": {"base64": "x"}, "compare_to": {"url": "y"}}),
            None,
        ),
        (
            Capability::Faces,
            json!({"image": {"base64": "x"}, "compare_to": {"base64": "y", "url": "z"}}),
            Some("compare_to"),
        ),
        (
            Capability::Faces,
            json!({"image": {"base64": "x"}, "compare_to": {"file_id": 7}}),
            Some("compare_to.file_id"),
        ),
        (
            Capability::Faces,
            json!({"image": {"base64": "x"}, "compareTo": {"url": "y"}}),
            Some("compare_to"),
        ),
        (Capability::Ocr, json!({}), Some("image")),
        (Capability::Ocr, json!({"image": "x"}), Some("image")),
        (Capability::Ocr, json!({"image": {}}), Some("image")),
        (
            Capability::Ocr,
            json!({"image": {"base64": "x", "url": "y"}}),
            Some("image"),
        ),
        (Capability::Ocr, json!({"image": {"base64": ""}}), Some("image.base64")),
        (
            Capability::Ocr,
            json!({"image": {"base64": null}}),
            Some("image.base64"),
        ),
        (
            Capability::Ocr,
            json!({"image": {"base64": "x", "URL": "y"}}),
            Some("url"),
        ),
        (
            Capability::Ocr,
            json!({"image": {"base64": "x"}, "min_confidence": "high"}),
            Some("min_confidence"),
        ),
        (
            Capability::Ocr,
            json!({"image": {"base64": "x"}, "min_confidence": 1.01}),
            Some("min_confidence"),
        ),
        (
            Capability::Ocr,
            json!({"image": {"base64": "x"}, "minConfidence": 1}),
            Some("min_confidence"),
        ),
        (Capability::Moderation, json!({"input": "x"}), None),
        (
            Capability::Moderation,
            json!({"input": [{"type": "text", "text": "x"}]}),
            None,
        ),
        (Capability::Moderation, json!({"input": 7}), Some("input")),
        (
            Capability::Rerank,
            json!({"query": "x", "documents": ["y", {"text": "z"}]}),
            None,
        ),
        (
            Capability::Rerank,
            json!({"query": "x", "documents": []}),
            Some("documents"),
        ),
        (Capability::Rerank, json!({"documents": ["y"]}), Some("query")),
    ] {
        let mut body = body;
        body["model"] = "m".into();
        let read = Call::read(capability, body.to_string().into(), None);
        let got = read.err().map(|error| error.param.unwrap_or_default());
        assert_eq!(got.as_deref(), param, "{capability:?} {body}");
    }
    let twice = r#"{"model":"m","image":{"base64":"x","base64":"y"}}"#;
    assert!(Call::read(Capability::Ocr, twice.into(), None).is_err());
    assert!(Call::read(Capability::Raw, "{}".into(), None).is_err());
}

fn recording(fields: &[(&str, &str)]) -> (Bytes, Boundary) {
    let mut text = String::new();
    for (name, value) in fields {
        let file = if *name == "file" { "; filename=\"a.wav\"" } else { "" };
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}");
        text += &[head.as_str(), "\r\n\r\n", value, "\r\n"].concat();
    }
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=B").unwrap();
    ((text + "--B--\r\n").into(), boundary)
}

fn transcription(fields: &[(&str, &str)]) -> Result<Call, PublicError> {
    let (body, boundary) = recording(fields);
    Call::read(Capability::Transcription, body, Some(&boundary))
}

#[test]
fn a_url_can_stand_in_the_place_of_a_recording() {
    assert!(transcription(&[("model", "m"), ("url", "https://a.test/x.mp3")]).is_ok());
    for fields in [
        &[("model", "m"), ("url", "ftp://a.test/x")][..],
        &[("model", "m"), ("url", "https://a.test/x"), ("file", "RIFF")],
    ] {
        assert_eq!(transcription(fields).unwrap_err().param.as_deref(), Some("url"));
    }
    assert_eq!(
        transcription(&[("model", "m")]).unwrap_err().param.as_deref(),
        Some("file")
    );
}

#[test]
fn a_recording_comes_as_a_form() {
    let call = transcription(&[
        ("prompt", "four"),
        ("file", "RIFF"),
        ("model", "stt"),
        ("response_format", "srt"),
    ])
    .unwrap();
    assert_eq!(
        (call.model.as_str(), call.estimated_input, call.format),
        ("stt", 1, Some("srt"))
    );
    let vendor = |call: &Call| {
        let boundary = Boundary::of_content_type(&call.content_type()).unwrap();
        Form::parse(&call.for_vendor("whisper").concat().into(), &boundary).unwrap()
    };
    let form = vendor(&call);
    let text = |form: &Form, name: &str| form.texts(name).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        (text(&form, "model"), text(&form, "response_format")),
        (vec!["whisper".into()], vec!["srt".to_owned()])
    );
    // Under a threshold the scores have to come along.
    let held = call.held_to(Some(Confidence::new(0.5).unwrap()));
    assert_eq!(text(&vendor(&held), "response_format"), ["verbose_json"]);
    assert_eq!(held.transcript_format(), TranscriptFormat::Srt);
    let words = [
        ("model", "m"),
        ("file", "x"),
        ("timestamp_granularities[]", "word"),
        ("min_confidence", "0.5"),
    ];
    let form = vendor(&transcription(&words).unwrap());
    assert_eq!(text(&form, "timestamp_granularities[]"), ["word", "segment"]);
    assert!(form.get("min_confidence").unwrap().is_none());
    for (fields, param) in [
        (vec![("model", "m")], Some("file")),
        (vec![("file", "x")], Some("model")),
        (vec![("model", "m"), ("model", "n"), ("file", "x")], Some("model")),
        (vec![("model", "m"), ("MODEL", "n"), ("file", "x")], Some("model")),
        (vec![("Model", "m"), ("file", "x")], Some("model")),
        (vec![("model", "m"), ("file", "x"), ("stream", "true")], Some("stream")),
        (
            vec![("model", "m"), ("file", "x"), ("response_format", "xml")],
            Some("response_format"),
        ),
        (
            vec![("model", "m"), ("file", "x"), ("min_confidence", "NaN")],
            Some("min_confidence"),
        ),
        (
            vec![("model", "m"), ("file", "x"), ("timestamp_granularities", "word")],
            Some("timestamp_granularities[]"),
        ),
    ] {
        let error = transcription(&fields).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, param), "{fields:?}");
    }
    let (body, _) = recording(&[("model", "m"), ("file", "x")]);
    assert!(Call::read(Capability::Transcription, body, None).is_err());
}

#[test]
fn rules_hold_for_forms_as_well() {
    let call = transcription(&[("model", "m"), ("file", "x"), ("temperature", "0.9")]).unwrap();
    let rules = [
        rule("/temperature", FieldAction::Force(json!(0))),
        rule("/language", FieldAction::Fill(json!("en"))),
        rule("/prompt", FieldAction::Forbid),
    ];
    let shaped = call.shaped_by(rules.iter()).unwrap();
    assert_eq!(shaped.forced_fields().unwrap(), "/temperature");
    assert_eq!(
        shaped.outline(),
        "model: m\nfile: [a.wav application/octet-stream 1 bytes]\ntemperature: 0\nlanguage: en\n"
    );
    let sent = String::from_utf8(shaped.for_vendor("up").concat()).unwrap();
    assert!(sent.contains("name=\"temperature\"\r\n\r\n0\r\n") && sent.contains("name=\"language\"\r\n\r\nen\r\n"));
    let prompted = transcription(&[("model", "m"), ("file", "x"), ("prompt", "p")]).unwrap();
    assert_eq!(
        prompted.shaped_by(rules.iter()).unwrap_err().param.as_deref(),
        Some("prompt")
    );
}
