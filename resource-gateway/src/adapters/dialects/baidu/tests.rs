//! What the fixtures do not show: every path, edges, and lists that are several calls.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::testing::{decoded, received, target},
    domain::{
        call::Call,
        fault::{Fault, FaultClass},
        interface::WhenUnsupported,
        multipart::Boundary,
        vendor::Vendor,
    },
    ports::codec::{Ask, Codec, EncodeError, Fetched, Outcome, Received, Target},
};

fn call(capability: Capability, body: &Value) -> Call {
    let mut body = body.clone();
    body["model"] = "interface".into();
    Call::read(capability, body.to_string().into(), None).unwrap()
}

fn recording(fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Call {
    let mut body = Vec::new();
    for (name, value) in fields.iter().chain(&[("model", "interface")]) {
        body.extend(format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes());
    }
    if let Some((name, bytes)) = file {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend(head.into_bytes());
        body.extend(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--B--\r\n");
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=B").unwrap();
    Call::read(Capability::Transcription, body.into(), Some(&boundary)).unwrap()
}

fn encoded(codec: &dyn Codec, call: &Call, model: &str) -> Result<Encoded, EncodeError> {
    let vendor = Vendor::named("v", "baidu");
    codec.encode(
        call,
        Target {
            model,
            ..target(&vendor)
        },
    )
}

fn refused(codec: &dyn Codec, call: &Call, model: &str) -> String {
    match encoded(codec, call, model) {
        Err(EncodeError::Refused(error)) => error.param.unwrap_or_default().into(),
        other => panic!("{other:?}"),
    }
}

/// The place behind the codec's path, and the fields of the form that goes there.
fn told(encoded: &Encoded) -> (String, BTreeMap<String, String>) {
    let path = encoded.place.as_ref().map(|place| place.path.clone());
    let body = encoded.body.concat();
    let form = form_urlencoded::parse(&body).into_owned().collect();
    (path.unwrap_or_default(), form)
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn answer(codec: &dyn Codec, call: &Call, body: &Value) -> Result<Value, Fault> {
    let headers = HeaderMap::new();
    let outcome = codec.decode(call, received(&headers, body.to_string()))?;
    let (body, _) = decoded(outcome).answer.into_body();
    Ok(serde_json::from_slice(&body).unwrap())
}

#[test]
fn text_is_looked_for_where_the_routes_model_says() {
    let body = json!({"image": {"base64": "a+/="}, "detect_direction": true, "language_type": "ENG", "x": null, "image_type": 1});
    let request = call(Capability::Ocr, &body);
    for model in ["general_basic", "accurate_basic", "general", "accurate"] {
        let (path, form) = told(&encoded(&BaiduOcr, &request, model).unwrap());
        assert_eq!(path, format!("/{model}"));
        let wanted = [
            ("image", "a+/="),
            ("detect_direction", "true"),
            ("language_type", "ENG"),
            ("image_type", "1"),
        ];
        assert_eq!(form, fields(&wanted));
    }
    assert_eq!(refused(&BaiduOcr, &request, "../face/v3/detect"), "model");
    let nested = call(Capability::Ocr, &json!({"image": {"base64": "x"}, "opts": {"a": 1}}));
    assert_eq!(refused(&BaiduOcr, &nested, "general"), "opts");
    let doubled = call(
        Capability::Ocr,
        &json!({"image": {"url": "https://a.test/x"}, "url": "https://b.test/y"}),
    );
    let (_, form) = told(&encoded(&BaiduOcr, &doubled, "general").unwrap());
    assert_eq!(
        form,
        fields(&[("url", "https://a.test/x")]),
        "the checked picture is looked at"
    );
}

#[test]
fn a_threshold_has_the_vendor_tell_how_sure_it_is() {
    let held = call(
        Capability::Ocr,
        &json!({"image": {"base64": "x"}, "min_confidence": 0.5}),
    );
    let (_, form) = told(&encoded(&BaiduOcr, &held, "general").unwrap());
    assert_eq!(form, fields(&[("image", "x"), ("probability", "true")]));
}

#[test]
fn lines_have_corners_where_the_vendor_tells_a_place() {
    let request = call(Capability::Ocr, &json!({"image": {"base64": "x"}}));
    let place = json!({"left": 10, "top": 20, "width": 80, "height": 24});
    let reply = json!({"log_id": "1740000000000000002", "direction": 0, "words_result_num": 2, "words_result": [
        {"words": "a", "location": place, "chars": [{"char": "a", "location": place}], "probability": {"average": 0.5}}, {"words": "b"}]});
    let found = answer(&BaiduOcr, &request, &reply).unwrap();
    let bounds = json!({"x": 10, "y": 20, "width": 80, "height": 24});
    let first = json!({"text": "a", "confidence": 0.5, "box": bounds, "chars": [{"text": "a", "box": bounds}],
        "polygon": [[10, 20], [90, 20], [90, 44], [10, 44]]});
    assert_eq!(found["lines"], json!([first, {"text": "b", "polygon": []}]));
    assert_eq!(
        (&found["text"], &found["id"], &found["direction"]),
        (&json!("a\nb"), &json!("1740000000000000002"), &json!(0))
    );
    assert_eq!(
        answer(&BaiduOcr, &request, &json!({"log_id": 1})).unwrap_err().class,
        FaultClass::InvalidReply
    );
}

#[test]
fn labels_are_read_however_each_model_writes_them() {
    let body = json!({"image": {"base64": "x"}, "top_num": 3});
    let request = call(Capability::Labels, &body);
    for (model, wanted) in [
        ("advanced_general", "/v2/advanced_general"),
        ("animal", "/v1/animal"),
        ("plant", "/v1/plant"),
        ("dish", "/v2/dish"),
        ("car", "/v1/car"),
        ("object_detect", "/v1/object_detect"),
    ] {
        let (path, form) = told(&encoded(&BaiduLabels, &request, model).unwrap());
        assert_eq!(
            (path.as_str(), form),
            (wanted, fields(&[("image", "x"), ("top_num", "3")]))
        );
    }
    assert_eq!(refused(&BaiduLabels, &request, "logo"), "model");
    for (result, wanted) in [
        (
            json!([{"keyword": "cat", "root": "animals", "score": 0.93}]),
            json!([{"name": "cat", "confidence": 0.93, "category": "animals"}]),
        ),
        (
            json!([{"name": "cat", "score": "0.93"}]),
            json!([{"name": "cat", "confidence": 0.93}]),
        ),
        (
            json!([{"name": "soup", "probability": "0.4", "calorie": "119"}]),
            json!([{"name": "soup", "confidence": 0.4, "calorie": "119"}]),
        ),
        (
            json!({"left": 1, "top": 2, "width": 3, "height": 4}),
            json!([{"name": "object", "box": {"x": 1, "y": 2, "width": 3, "height": 4}}]),
        ),
        (json!([]), json!([])),
    ] {
        let found = answer(&BaiduLabels, &request, &json!({"log_id": 1, "result": result})).unwrap();
        assert_eq!(found["labels"], wanted, "{result}");
    }
}

#[test]
fn what_is_behind_a_url_is_fetched_where_the_vendor_does_not_look() {
    let request = call(Capability::Labels, &json!({"image": {"url": "https://a.test/x"}}));
    let missing = encoded(&BaiduLabels, &request, "animal").unwrap_err();
    assert_eq!(missing, EncodeError::Fetch(vec!["https://a.test/x".to_owned()]));
    let vendor = Vendor::named("v", "baidu");
    let fetched = [Fetched {
        url: "https://a.test/x".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: Bytes::from_static(b"x"),
    }];
    let target = Target {
        model: "animal",
        fetched: &fetched,
        ..target(&vendor)
    };
    let (_, form) = told(&BaiduLabels.encode(&request, target).unwrap());
    assert_eq!(form, fields(&[("image", "eA==")]));
}

#[test]
fn faces_are_found_or_compared() {
    let json_of = |encoded: &Encoded| {
        let path = encoded.place.as_ref().unwrap().path.clone();
        (path, serde_json::from_slice::<Value>(&encoded.body.concat()).unwrap())
    };
    let one = call(
        Capability::Faces,
        &json!({"image": {"url": "https://a.test/x"}, "max_face_num": 2}),
    );
    let wanted = json!({"image": "https://a.test/x", "image_type": "URL", "max_face_num": 2});
    assert_eq!(
        json_of(&encoded(&BaiduFaces, &one, "up").unwrap()),
        ("/detect".to_owned(), wanted)
    );
    let known = call(
        Capability::Faces,
        &json!({"image": {"base64": "t"}, "image_type": "FACE_TOKEN"}),
    );
    let wanted = json!({"image": "t", "image_type": "FACE_TOKEN"});
    assert_eq!(json_of(&encoded(&BaiduFaces, &known, "up").unwrap()).1, wanted);
    let two = call(
        Capability::Faces,
        &json!({"image": {"base64": "a"}, "compare_to": {"url": "https://a.test/x"}}),
    );
    let wanted = json!([{"image": "a", "image_type": "BASE64"}, {"image": "https://a.test/x", "image_type": "URL"}]);
    assert_eq!(
        json_of(&encoded(&BaiduFaces, &two, "up").unwrap()),
        ("/match".to_owned(), wanted)
    );
    let reply =
        json!({"error_code": 0, "result": {"score": 82.5, "face_list": [{"face_token": "a"}, {"face_token": "b"}]}});
    let alike = answer(&BaiduFaces, &two, &reply).unwrap();
    assert_eq!(alike, json!({"faces": [], "filtered": 0, "similarity": 0.825}));
    let nobody = json!({"error_code": 222_202, "error_msg": "pic not has face", "result": null});
    assert_eq!(
        answer(&BaiduFaces, &one, &nobody).unwrap_err().class,
        FaultClass::NoResult
    );
    assert_eq!(
        answer(&BaiduFaces, &one, &json!({"error_code": 0, "result": null}))
            .unwrap_err()
            .class,
        FaultClass::InvalidReply
    );
}

type Asked = Vec<(String, BTreeMap<String, String>)>;

/// Plays the calls of a review; tells where each went and with what, and the answer.
fn review(call: &Call, replies: &[Value]) -> (Asked, Result<Value, FaultClass>) {
    let mut asked = vec![told(&encoded(&BaiduModeration, call, "up").unwrap())];
    let (headers, mut state) = (HeaderMap::new(), Value::Null);
    for reply in replies {
        let received = Received {
            state: &state,
            ..received(&headers, reply.to_string())
        };
        match BaiduModeration.decode(call, received) {
            Ok(Outcome::Answer(answer)) => {
                let (body, _) = answer.answer.into_body();
                return (asked, Ok(serde_json::from_slice(&body).unwrap()));
            }
            Ok(Outcome::Next(step)) => {
                match &step.ask {
                    Ask::Vendor(encoded) => asked.push(told(encoded)),
                    ask @ (Ask::Url(_) | Ask::Urls(_)) => panic!("{ask:?}"),
                }
                state = step.state;
            }
            Err(fault) => return (asked, Err(fault.class)),
        }
    }
    panic!("no answer after {asked:?}");
}

#[test]
fn a_list_of_texts_is_reviewed_text_by_text_and_parts_together() {
    let pass = json!({"log_id": 12, "conclusionType": 1, "conclusion": "合规"});
    let block = json!({"log_id": 13, "conclusionType": 2, "data": [{"type": 12, "subType": 4, "msg": "m",
        "hits": [{"words": ["a"], "probability": 0.5}, {"words": ["b"], "probability": 0.9}]}]});
    let suspect = json!({"log_id": 14, "conclusionType": 3, "data": [{"type": 1, "subType": 1, "msg": "n", "probability": 0.62}]});
    let texts = call(
        Capability::Moderation,
        &json!({"input": ["x & y", "\"z\""], "strategyId": 7}),
    );
    let (asked, found) = review(&texts, &[pass.clone(), block.clone()]);
    let text = "/text_censor/v2/user_defined".to_owned();
    let wanted = |input: &str| (text.clone(), fields(&[("text", input), ("strategyId", "7")]));
    assert_eq!(asked, [wanted("x & y"), wanted("\"z\"")]);
    let blocked = json!({"flagged": true, "verdict": "block", "categories": {"12/4": true}, "category_scores": {"12/4": 0.9},
        "reasons": [{"type": 12, "sub_type": 4, "message": "m", "confidence": 0.9, "words": ["a", "b"]}]});
    let passed = json!({"flagged": false, "verdict": "pass", "categories": {}, "category_scores": {}, "reasons": []});
    assert_eq!(
        found.unwrap(),
        json!({"id": "modr-12", "model": "up", "results": [passed, blocked]})
    );

    let parts = json!({"input": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
        {"type": "image_url", "image_url": {"url": "https://a.test/x"}}]});
    let (asked, found) = review(&call(Capability::Moderation, &parts), &[block, suspect, pass]);
    let places: Vec<_> = asked
        .iter()
        .map(|(path, form)| (path.as_str(), form.keys().next().unwrap().as_str()))
        .collect();
    let image = "/img_censor/v2/user_defined";
    assert_eq!(places, [(text.as_str(), "text"), (image, "image"), (image, "imgUrl")]);
    let found = found.unwrap();
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &found["results"][0]["verdict"],
            found["results"][0]["reasons"].as_array().unwrap().len()
        ),
        (&json!("block"), 2)
    );
}

#[test]
fn a_review_that_fails_fails_the_call_and_too_much_is_not_sent() {
    let one = call(Capability::Moderation, &json!({"input": "x"}));
    for (reply, class) in [
        (
            json!({"conclusionType": 4, "conclusion": "审核失败"}),
            FaultClass::ServerError,
        ),
        (json!({"conclusionType": 9}), FaultClass::InvalidReply),
        (json!({"error_code": 18, "error_msg": "m"}), FaultClass::RateLimit),
    ] {
        assert_eq!(review(&one, &[reply]).1, Err(class));
    }
    let size = |bytes: usize| call(Capability::Moderation, &json!({"input": "x".repeat(bytes)}));
    assert!(encoded(&BaiduModeration, &size(20_000), "up").is_ok());
    for input in [
        json!("x".repeat(20_001)),
        json!(vec!["x"; 33]),
        json!([]),
        json!([1]),
        json!([{"type": "image_url", "image_url": {"url": "x"}}]),
    ] {
        assert_eq!(
            refused(
                &BaiduModeration,
                &call(Capability::Moderation, &json!({"input": input})),
                "up"
            ),
            "input"
        );
    }
}

fn wav(rate: u32, seconds: u32) -> Vec<u8> {
    let length = rate * 2 * seconds;
    let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    out.extend(rate.to_le_bytes());
    out.extend((rate * 2).to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(length.to_le_bytes());
    out.resize(out.len() + usize::try_from(length).unwrap(), 0);
    out
}

#[test]
fn a_short_recording_is_written_down() {
    let json_of = |call: &Call, model: &str| -> Value {
        serde_json::from_slice(&encoded(&BaiduTranscription, call, model).unwrap().body.concat()).unwrap()
    };
    let amr = recording(&[("lm_id", "7"), ("token", "mine")], Some(("a.amr", b"x")));
    let wanted = json!({"format": "amr", "rate": 16000, "channel": 1, "cuid": "hexgate", "speech": "eA==", "len": 1, "dev_pid": 1737, "lm_id": 7});
    assert_eq!(json_of(&amr, "1737"), wanted);
    let minute = recording(
        &[("response_format", "srt"), ("dev_pid", "1537")],
        Some(("a.wav", &wav(8000, 60))),
    );
    assert_eq!(
        json_of(&minute, "1737")["dev_pid"],
        1737,
        "the route's model goes before the caller's"
    );
    let body = json_of(&minute, "short");
    assert_eq!((&body["rate"], &body["dev_pid"]), (&json!(8000), &json!(1537)));
    let headers = HeaderMap::new();
    let reply = json!({"err_no": 0, "err_msg": "success.", "result": ["北京天气。", "second"]});
    let outcome = BaiduTranscription
        .decode(&minute, received(&headers, reply.to_string()))
        .unwrap();
    let decoded = decoded(outcome);
    assert_eq!(decoded.usage.map(|usage| usage.audio_ms), Some(60_000));
    let (subtitles, _) = decoded.answer.into_body();
    assert_eq!(subtitles, "1\n00:00:00,000 --> 00:01:00,000\n北京天气。\n\n");
    for (call, param) in [
        (recording(&[], Some(("a.wav", &wav(8000, 61)))), "file"),
        (recording(&[], Some(("a.wav", &wav(44_100, 1)))), "file"),
        (recording(&[], Some(("a.mp3", b"x"))), "file"),
        (
            recording(&[("response_format", "vtt")], Some(("a.amr", b"x"))),
            "response_format",
        ),
        (
            recording(&[("timestamp_granularities[]", "word")], Some(("a.amr", b"x"))),
            "timestamp_granularities[]",
        ),
    ] {
        assert_eq!(refused(&BaiduTranscription, &call, "short"), param);
    }
    // Samples without a head are as long as there are of them; of other formats nobody knows.
    let samples = vec![0; 32_000];
    for (call, wanted) in [
        (recording(&[], Some(("a.pcm", &samples))), Some(1000)),
        (recording(&[("rate", "8000")], Some(("a.pcm", &samples))), Some(2000)),
        (recording(&[("format", "pcm")], Some(("a", &samples))), Some(1000)),
        (recording(&[], Some(("a.amr", &samples))), None),
        (recording(&[("url", "https://a.test/x.wav")], None), None),
    ] {
        let outcome = BaiduTranscription.decode(&call, received(&headers, reply.to_string()));
        let usage = self::decoded(outcome.unwrap()).usage;
        assert_eq!(usage.map(|usage| usage.audio_ms), wanted);
    }
    let failed = json!({"err_no": 3301, "err_msg": "speech quality error.", "sn": "s"});
    let fault = BaiduTranscription
        .decode(&amr, received(&headers, failed.to_string()))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::InvalidRequest);
}

#[test]
fn a_recording_behind_a_url_is_fetched() {
    let call = recording(&[("url", "https://a.test/x")], None);
    let missing = encoded(&BaiduTranscription, &call, "short").unwrap_err();
    assert_eq!(missing, EncodeError::Fetch(vec!["https://a.test/x".to_owned()]));
    let vendor = Vendor::named("v", "baidu");
    let fetched = [Fetched {
        url: "https://a.test/x".to_owned(),
        media_type: "audio/amr".to_owned(),
        bytes: Bytes::from_static(b"x"),
    }];
    let target = Target {
        fetched: &fetched,
        ..target(&vendor)
    };
    let encoded = BaiduTranscription.encode(&call, target).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
    assert_eq!((&body["format"], &body["len"]), (&json!("amr"), &json!(1)));
    // How long it was is not known any more when the answer comes.
    let call = recording(&[("url", "https://a.test/x"), ("response_format", "srt")], None);
    let fetched = [Fetched {
        url: "https://a.test/x".to_owned(),
        media_type: "audio/wav".to_owned(),
        bytes: wav(8000, 1).into(),
    }];
    let target = Target {
        fetched: &fetched,
        ..target
    };
    let refused = BaiduTranscription.encode(&call, target).unwrap_err();
    assert!(
        matches!(&refused, EncodeError::Refused(error) if error.param.as_deref() == Some("response_format")),
        "{refused:?}"
    );
}

fn spoken(body: &Value) -> Result<BTreeMap<String, String>, String> {
    let call = call(Capability::Speech, body);
    match encoded(&BaiduSpeech, &call, "up") {
        Ok(encoded) => Ok(told(&encoded).1),
        Err(EncodeError::Refused(error)) => Err(error.param.unwrap_or_default().into()),
        Err(EncodeError::Fetch(urls)) => panic!("{urls:?}"),
    }
}

#[test]
fn speech_is_asked_for_in_the_vendors_numbers() {
    let body = json!({"input": "你好 & 再见+%", "voice": "4", "speed": 1.5, "response_format": "wav", "vol": 9, "tok": "mine"});
    let wanted = [
        ("tex", "你好 & 再见+%"),
        ("per", "4"),
        ("spd", "8"),
        ("aue", "6"),
        ("vol", "9"),
        ("lan", "zh"),
        ("ctp", "1"),
        ("cuid", "hexgate"),
    ];
    assert_eq!(spoken(&body), Ok(fields(&wanted)));
    let mut ruled = body.clone();
    for (name, value) in [("per", 0), ("spd", 15), ("aue", 3)] {
        ruled[name] = value.into();
    }
    assert_eq!(
        spoken(&ruled),
        Ok(fields(&wanted)),
        "what may be ruled goes before the vendor's own"
    );
    let plain = [("tex", "a"), ("lan", "zh"), ("ctp", "1"), ("cuid", "hexgate")];
    assert_eq!(spoken(&json!({"input": "a"})), Ok(fields(&plain)));
    assert!(spoken(&json!({"input": "你".repeat(512)})).is_ok());
    for (body, param) in [
        (json!({"input": format!("{}a", "你".repeat(512))}), "input"),
        (json!({"input": "a", "voice": "alloy"}), "voice"),
        (json!({"input": "a", "instructions": "kindly"}), "instructions"),
        (json!({"input": "a", "response_format": "opus"}), "response_format"),
    ] {
        assert_eq!(spoken(&body), Err(param.to_owned()));
    }
    let vendor = Vendor::named("v", "baidu");
    let lenient = Target {
        when_unsupported: WhenUnsupported::Drop,
        ..target(&vendor)
    };
    let call = call(Capability::Speech, &json!({"input": "a", "voice": "alloy"}));
    assert_eq!(BaiduSpeech.encode(&call, lenient).unwrap().dropped, ["voice"]);
}

#[test]
fn what_is_no_sound_is_an_error() {
    let call = call(Capability::Speech, &json!({"input": "你好"}));
    let decode = |content_type: &'static str, body: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        BaiduSpeech.decode(&call, received(&headers, body)).map(decoded)
    };
    for (content_type, wanted) in [
        ("audio/mp3", "audio/mpeg"),
        ("audio/wav", "audio/wav"),
        ("audio/basic;codec=pcm;rate=16000;channel=1", "audio/pcm"),
    ] {
        let decoded = decode(content_type, "x").unwrap();
        assert_eq!(decoded.usage.map(|usage| usage.characters), Some(2));
        assert_eq!(decoded.answer.into_body().1, wanted);
    }
    for (content_type, body, class) in [
        (
            "application/json",
            r#"{"err_no":502,"err_msg":"authentication failed."}"#,
            FaultClass::Authentication,
        ),
        ("text/html", "<html>", FaultClass::InvalidReply),
        ("audio/mp3", "", FaultClass::InvalidReply),
    ] {
        assert_eq!(decode(content_type, body).unwrap_err().class, class, "{content_type}");
    }
}

#[test]
fn a_dead_token_is_told_apart_so_that_another_one_is_bought() {
    let request = call(Capability::Ocr, &json!({"image": {"base64": "x"}}));
    for code in [100, 110, 111] {
        let reply = json!({"error_code": code, "error_msg": "Access token invalid or no longer valid"});
        assert_eq!(
            answer(&BaiduOcr, &request, &reply).unwrap_err().class,
            FaultClass::Authentication
        );
    }
}
