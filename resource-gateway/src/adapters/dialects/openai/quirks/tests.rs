use proptest::prelude::*;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        golden::{Golden, Seen, call, foreign, streamed, target},
        openai::{OpenAiEmbeddings, OpenAiImages},
        testing::{decoded, received},
        translated::Chat,
    },
    domain::{
        call::Call,
        fault::FaultClass,
        interface::{Capability, WhenUnsupported},
        vendor::Vendor,
    },
    ports::codec::{Codec, EncodeError, Encoded, Target},
};

/// Each vendor with its fixtures' folder, and what their names begin with.
const VENDORS: [(&str, &str, &Quirks); 11] = [
    ("openai", "chat-", &PLAIN),
    ("azure-openai", "chat-", &Quirks::AZURE),
    ("deepseek", "chat-", &Quirks::DEEPSEEK),
    ("moonshot", "chat-", &Quirks::MOONSHOT),
    ("zhipu", "chat-", &Quirks::ZHIPU),
    ("volcengine-ark", "chat-", &Quirks::VOLCENGINE),
    ("mistral", "chat-", &Quirks::MISTRAL),
    ("baidu-qianfan", "chat-", &Quirks::QIANFAN),
    ("iflytek", "compat-chat-", &Quirks::SPARK),
    ("dashscope", "compat-chat-", &Quirks::DASHSCOPE),
    ("tencent", "compat-chat-", &Quirks::HUNYUAN),
];

fn chat(quirks: &'static Quirks) -> Chat<ShapedDialect> {
    Chat(ShapedDialect::new(quirks))
}

/// The row that a fixture's inputs come to.
fn row(golden: &Golden) -> Vendor {
    let mut row = Vendor::named("v", "s");
    row.credential.app_id = golden.input("appid").map(str::to_owned);
    let version = golden.input("api_version").unwrap_or("v");
    row.options.insert(API_VERSION.to_owned(), version.to_owned());
    row
}

/// What an OpenAI client sends for a fixture's parameters.
fn openai_body(golden: &Golden) -> Value {
    let mut params = golden.params();
    if let Some(seed) = params.remove("random_seed") {
        params.insert("seed".to_owned(), seed);
    }
    // The SDK writes these at the top level.
    if let Some(Value::Object(extra)) = params.remove("extra_body") {
        params.extend(extra);
    }
    params.insert("model".to_owned(), json!("route"));
    let says_so = golden.file["vendor"] == "mistral" && params.contains_key("messages");
    if says_so && !params.contains_key("stream") {
        params.insert("stream".to_owned(), json!(false));
    }
    params.into()
}

fn model(golden: &Golden) -> String {
    golden.params()["model"].as_str().unwrap().to_owned()
}

fn json_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body.concat()).unwrap()
}

#[test]
fn chat_is_what_each_vendors_own_library_sends_and_reads() {
    for (vendor, begin, quirks) in VENDORS {
        for golden in Golden::of(vendor, begin) {
            let (codec, row, model) = (chat(quirks), row(&golden), model(&golden));
            let body = openai_body(&golden);
            let call = call(Capability::Chat, &body);
            let encoded = codec.encode(&call, target(&model, &row)).unwrap();
            golden.check_body(&encoded);
            let (path, query) = golden.place();
            match quirks.place {
                Place::Plain => assert!(path.ends_with(codec.path()), "{path}"),
                Place::Deployment => {
                    let query = form_urlencoded::Serializer::new(String::new())
                        .extend_pairs(query)
                        .finish();
                    assert_eq!(encoded.place.as_ref().unwrap().path, format!("{path}?{query}"));
                    assert_eq!(codec.path(), "");
                }
            }
            let app_id = encoded.place.as_ref().and_then(|place| place.headers.get("appid"));
            assert_eq!(app_id.and_then(|id| id.to_str().ok()), golden.input("appid"));
            golden.check_chat(&codec, &call);
        }
    }
}

#[test]
fn errors_mean_what_each_vendor_says_they_mean() {
    let errors = VENDORS
        .into_iter()
        .filter(|(vendor, ..)| !["iflytek", "dashscope", "tencent"].contains(vendor));
    for (vendor, _, quirks) in errors {
        for golden in Golden::of(vendor, "error-") {
            golden.check_fault(&chat(quirks));
        }
    }
    for golden in Golden::of("dashscope", "error-compat") {
        golden.check_fault(&chat(&Quirks::DASHSCOPE));
    }
}

#[test]
fn embeddings_and_pictures_take_the_same_tables() {
    for (vendor, _, quirks) in VENDORS {
        if ["deepseek", "moonshot", "openai", "iflytek", "dashscope", "tencent"].contains(&vendor) {
            continue;
        }
        for golden in Golden::of(vendor, "embeddings-") {
            let codec = Shaped {
                quirks,
                codec: &OpenAiEmbeddings,
            };
            let mut body = openai_body(&golden);
            if let Some(inputs) = body.as_object_mut().unwrap().remove("inputs") {
                body["input"] = inputs;
            }
            let (row, model) = (row(&golden), model(&golden));
            let call = call(Capability::Embeddings, &body);
            golden.check_body(&codec.encode(&call, target(&model, &row)).unwrap());
            let headers = golden.headers();
            let reply = received(&headers, golden.body());
            let answer = decoded(codec.decode(&call, reply).unwrap());
            assert_eq!(
                answer.usage.map(|usage| usage.input),
                golden.expect()["usage"]["input_tokens"].as_u64()
            );
        }
    }
    let golden = Golden::of("volcengine-ark", "images-").remove(0);
    let codec = Shaped {
        quirks: &Quirks::VOLCENGINE,
        codec: &OpenAiImages,
    };
    let call = call(Capability::Image, &openai_body(&golden));
    golden.check_body(&codec.encode(&call, target(&model(&golden), &row(&golden))).unwrap());
    let headers = golden.headers();
    let reply = received(&headers, golden.body());
    let usage = decoded(codec.decode(&call, reply).unwrap()).usage;
    assert_eq!(usage.map(|usage| (usage.images, usage.output)), Some((1, 4096)));
}

#[test]
fn words_are_exchanged_and_all_else_stays_byte_for_byte() {
    let row = Vendor::named("v", "mistral");
    let text = r#"{ "x" : 1.50, "seed":4,"model":"m","messages":[{"role":"developer","content":"b\u00e9"},{"role":"assistant", "reasoning_content":"hm","content":"a"}],"max_completion_tokens":7,"tool_choice":"required","stream":true,"stream_options":{"include_usage":true} }"#;
    let sent = Call::read(Capability::Chat, text.into(), None).unwrap();
    let encoded = chat(&Quirks::MISTRAL).encode(&sent, target("up", &row)).unwrap();
    assert_eq!(
        String::from_utf8(encoded.body.concat()).unwrap(),
        r#"{"max_tokens":7,"random_seed":4, "x" : 1.50,"model":"up","messages":[{"role":"system","content":"b\u00e9"},{"role":"assistant","content":"a"}],"tool_choice":"any","stream":true }"#
    );
    // Said in another format, the same comes to the same.
    let other = foreign(Capability::Chat, &serde_json::from_str(text).unwrap());
    let translated = chat(&Quirks::MISTRAL).encode(&other, target("up", &row)).unwrap();
    assert_eq!(json_of(&translated), json_of(&encoded));
    // Where nothing has to be exchanged, nothing is copied.
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let sent = Call::read(Capability::Chat, plain.into(), None).unwrap();
    let untouched = chat(&Quirks::MISTRAL).encode(&sent, target("up", &row)).unwrap();
    assert_eq!(untouched.body, sent.for_vendor("up"));
}

#[test]
fn a_name_in_two_spellings_is_not_exchanged_by_chance() {
    let row = Vendor::named("v", "mistral");
    for text in [
        r#"{"model":"m","messages":[],"seed":1,"Seed":2}"#,
        r#"{"model":"m","messages":[],"seed":1,"seed":2}"#,
    ] {
        let sent = Call::read(Capability::Chat, text.into(), None).unwrap();
        assert!(
            chat(&Quirks::MISTRAL).encode(&sent, target("up", &row)).is_err(),
            "{text}"
        );
    }
    // The newer name goes first where both are there.
    let text = r#"{"model":"m","messages":[],"max_tokens":1,"max_completion_tokens":2}"#;
    let sent = Call::read(Capability::Chat, text.into(), None).unwrap();
    let encoded = chat(&Quirks::DEEPSEEK).encode(&sent, target("up", &row)).unwrap();
    assert_eq!(
        json_of(&encoded),
        json!({"model": "up", "messages": [], "max_tokens": 2})
    );
}

#[test]
fn usage_is_asked_for_where_it_has_to_be() {
    let row = Vendor::named("v", "s");
    for (quirks, unasked, asked) in [
        (&PLAIN, true, true),
        (&Quirks::DEEPSEEK, true, true),
        (&Quirks::MOONSHOT, false, true),
        (&Quirks::ZHIPU, false, false),
        (&Quirks::MISTRAL, false, false),
    ] {
        let mut body = json!({"model": "m", "messages": [], "stream": true});
        let has = |body: &Value| {
            let encoded = chat(quirks)
                .encode(&call(Capability::Chat, body), target("up", &row))
                .unwrap();
            json_of(&encoded).get("stream_options").is_some()
        };
        assert_eq!(has(&body), unasked, "{quirks:?}");
        body["stream_options"] = json!({"include_usage": true});
        assert_eq!(has(&body), asked, "{quirks:?}");
    }
}

#[test]
fn a_deployment_cannot_leave_its_place_in_the_path() {
    let mut row = Vendor::named("v", "azure-openai");
    row.options.insert(API_VERSION.to_owned(), "2024-10-21&x=y".to_owned());
    let sent = call(Capability::Chat, &json!({"model": "m", "messages": []}));
    for (model, wanted) in [
        ("gpt-4.1_x~", "gpt-4.1_x~"),
        ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
        ("..", "%2E%2E"),
        ("\u{e9}", "%C3%A9"),
    ] {
        let encoded = chat(&Quirks::AZURE).encode(&sent, target(model, &row)).unwrap();
        assert_eq!(
            encoded.place.unwrap().path,
            format!("/openai/deployments/{wanted}/chat/completions?api-version=2024-10-21%26x%3Dy")
        );
    }
}

/// Vendor, status, class and body, line by line.
const ERRORS: &str = r#"azure-openai 404 not_found {"error":{"code":"DeploymentNotFound"}}
azure-openai 400 content_filter {"error":{"code":"content_filter"}}
azure-openai 429 rate_limit {"error":{"code":"429"}}
deepseek 402 quota_exceeded {"error":{"code":"invalid_request_error"}}
deepseek 422 invalid_request {"error":{"type":"server_error"}}
deepseek 503 overloaded {"error":{}}
moonshot 429 overloaded {"error":{"type":"engine_overloaded_error"}}
moonshot 429 quota_exceeded {"error":{"type":"exceeded_current_quota_error"}}
moonshot 429 rate_limit {"error":{"type":"rate_limit_reached_error"}}
moonshot 400 content_filter {"error":{"type":"content_filter"}}
moonshot 401 authentication {"error":{"type":"invalid_authentication_error"}}
zhipu 401 authentication {"error":{"code":"1004"}}
zhipu 429 quota_exceeded {"error":{"code":"1113"}}
zhipu 400 quota_exceeded {"error":{"code":"1120"}}
zhipu 400 not_found {"error":{"code":"1211"}}
zhipu 400 permission {"error":{"code":"1220"}}
zhipu 400 invalid_request {"error":{"code":"1210"}}
zhipu 400 invalid_request {"error":{"code":"1261"}}
zhipu 400 content_filter {"error":{"code":"1301"}}
zhipu 429 rate_limit {"error":{"code":"1303"}}
zhipu 429 quota_exceeded {"error":{"code":"1304"}}
zhipu 429 quota_exceeded {"error":{"code":"1308"}}
zhipu 429 overloaded {"error":{"code":"1305"}}
zhipu 429 overloaded {"error":{"code":"1312"}}
zhipu 500 server_error {"error":{"code":"1234"}}
zhipu 429 rate_limit {"error":{"code":"9999"}}
volcengine-ark 401 authentication {"error":{"code":"AuthenticationError"}}
volcengine-ark 403 permission {"error":{"code":"AccessDenied"}}
volcengine-ark 403 quota_exceeded {"error":{"code":"AccountOverdueError"}}
volcengine-ark 429 quota_exceeded {"error":{"code":"QuotaExceeded"}}
volcengine-ark 429 rate_limit {"error":{"code":"RateLimitExceeded.EndpointRPMExceeded"}}
volcengine-ark 429 overloaded {"error":{"code":"ServerOverloaded"}}
volcengine-ark 400 content_filter {"error":{"code":"SensitiveContentDetected.Violation"}}
volcengine-ark 400 content_filter {"error":{"code":"InputTextRiskDetection"}}
volcengine-ark 404 not_found {"error":{"code":"InvalidEndpointOrModel.NotFound"}}
volcengine-ark 500 server_error {"error":{"code":"InternalServiceError"}}
volcengine-ark 400 invalid_request {"error":{"code":"InvalidParameter"}}
mistral 401 authentication {"detail":"Unauthorized"}
mistral 422 invalid_request {"detail":[{"loc":["body","x"],"msg":"no"}]}
mistral 429 rate_limit {"object":"error","message":"m","type":"t","code":null}
baidu-qianfan 400 content_filter {"error":{"type":"unsafe_request"}}
baidu-qianfan 400 invalid_request {"error":{"code":"invalid_model"}}
baidu-qianfan 401 permission {"error":{"code":"invalid_model"}}
baidu-qianfan 401 permission {"error":{"code":"no_parameter_permission"}}
baidu-qianfan 401 authentication {"error":{"code":"invalid_appid"}}
baidu-qianfan 429 rate_limit {"error":{"code":"tpm_rate_limit_exceeded"}}
baidu-qianfan 429 rate_limit {"error":{"code":"preemptible_busy"}}
baidu-qianfan 429 quota_exceeded {"error":{"code":"insufficient_quota"}}
baidu-qianfan 429 quota_exceeded {"error":{"code":"insufficient_balance"}}
baidu-qianfan 500 server_error {"error":{"code":"dispatch_internal_error"}}
baidu-qianfan 503 overloaded {"error":{}}
iflytek 400 content_filter {"code":10013,"message":"m"}
iflytek 400 invalid_request {"error":{"code":10907,"message":"m"}}
iflytek 403 permission {"code":11200,"message":"m"}
iflytek 429 quota_exceeded {"code":11201,"message":"m"}
iflytek 429 rate_limit {"code":11203,"message":"m"}
iflytek 500 overloaded {"code":10110,"message":"m"}
iflytek 401 authentication {"message":"HMAC signature cannot be verified"}
dashscope 429 rate_limit {"error":{"code":"insufficient_quota","message":"m"}}
dashscope 429 quota_exceeded {"error":{"code":"insufficient_quota","message":"Free allocated quota exceeded."}}
dashscope 400 content_filter {"error":{"code":"data_inspection_failed"}}
tencent 401 authentication {"error":{"code":"invalid_api_key"}}"#;

#[test]
fn every_code_of_every_table_has_its_class() {
    for line in ERRORS.lines() {
        let parts: Vec<_> = line.splitn(4, ' ').collect();
        let [vendor, status, class, body] = parts[..] else {
            panic!("{line}")
        };
        let (_, _, quirks) = VENDORS.into_iter().find(|(known, ..)| *known == vendor).unwrap();
        let status = status.parse().unwrap();
        let fault = chat(quirks).decode_fault(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class.label(), fault.status), (class, Some(status)), "{line}");
        for junk in ["", "<html>", "[]", "{\"error\":7}"] {
            let fault = chat(quirks).decode_fault(status, &HeaderMap::new(), junk.as_bytes());
            assert_eq!(fault.class, FaultClass::of_status(status), "{junk}");
        }
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn sse() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))])
}

/// One stream, as OpenAI's callers and as others get it.
fn ends(quirks: &'static Quirks, text: &str) -> [(String, Option<FaultClass>); 2] {
    let body = json!({"model": "m", "messages": [], "stream": true});
    [call(Capability::Chat, &body), foreign(Capability::Chat, &body)]
        .map(|call| streamed(&chat(quirks), &call, &sse(), &Bytes::from(text.to_owned()), &[]))
}

/// The text of a stream of Anthropic's, and why it ended.
fn in_messages(out: &str) -> (String, Option<String>) {
    let (mut text, mut reason) = (String::new(), None);
    for data in out.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        text += event["delta"]["text"].as_str().unwrap_or_default();
        reason = event["delta"]["stop_reason"].as_str().map(str::to_owned).or(reason);
    }
    (text, reason)
}

/// Vendor, class and event, line by line.
const FAILURES: &str = r#"volcengine-ark overloaded {"error":{"code":"ServerOverloaded","message":"m"}}
volcengine-ark rate_limit {"error":{"code":"RateLimitExceeded.X","message":"m"}}
zhipu content_filter {"error":{"code":"1301","message":"m"}}
mistral server_error {"object":"error","message":"m","type":"server_error"}
azure-openai rate_limit {"error":{"code":"429","message":"m"}}
iflytek content_filter {"code":10014,"message":"m","sid":"s"}
iflytek quota_exceeded {"code":11201,"message":"m","choices":[]}
dashscope content_filter {"error":{"code":"data_inspection_failed"}}
baidu-qianfan rate_limit {"error":{"code":"rpm_rate_limit_exceeded"}}
moonshot overloaded {"error":{"type":"engine_overloaded_error"}}
deepseek server_error {"error":{"message":"m"}}
tencent rate_limit {"error":{"message":"m","code":429}}"#;

#[test]
fn a_failure_in_the_middle_of_a_stream_means_what_the_table_says() {
    let first = event(&json!({"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}));
    for line in FAILURES.lines() {
        let parts: Vec<_> = line.splitn(3, ' ').collect();
        let [vendor, class, failure] = parts[..] else {
            panic!("{line}")
        };
        let (_, _, quirks) = VENDORS.into_iter().find(|(known, ..)| *known == vendor).unwrap();
        let class = FaultClass::ALL
            .into_iter()
            .find(|known| known.label() == class)
            .unwrap();
        let failure: Value = serde_json::from_str(failure).unwrap();
        let text = [first.clone(), event(&failure)].concat();
        for (out, end) in ends(quirks, &text) {
            assert_eq!(end, Some(class), "{failure}");
            assert!(
                out.contains("\"a\"") && !out.contains("\"m\"}"),
                "what came before stays: {out}"
            );
        }
        // And in the place of an answer.
        let body = json!({"model": "m", "messages": []});
        for call in [call(Capability::Chat, &body), foreign(Capability::Chat, &body)] {
            let headers = HeaderMap::new();
            let reply = received(&headers, failure.to_string());
            assert_eq!(chat(quirks).decode(&call, reply).unwrap_err().class, class, "{failure}");
        }
        // Without its end a stream is cut off.
        for (_, end) in ends(quirks, &first) {
            assert_eq!(end, Some(FaultClass::Transport));
        }
    }
}

#[test]
fn ends_are_told_in_openais_words() {
    for (quirks, theirs, ours) in [
        (&Quirks::ZHIPU, "sensitive", "content_filter"),
        (&Quirks::MISTRAL, "model_length", "length"),
        (&Quirks::QIANFAN, "normal", "stop"),
        (&Quirks::HUNYUAN, "sensitive", "content_filter"),
        (
            &Quirks::DEEPSEEK,
            "insufficient_system_resource",
            "insufficient_system_resource",
        ),
    ] {
        let delta = json!({"choices": [{"index": 0, "delta": {"content": theirs}, "finish_reason": theirs}], "x": 1.5});
        let whole =
            json!({"choices": [{"index": 0, "message": {"content": theirs}, "finish_reason": theirs}], "x": 1.5});
        let text = [event(&delta), "data: [DONE]\n\n".to_owned()].concat();
        let [(own, _), (other, _)] = ends(quirks, &text);
        assert!(own.contains("\"x\":1.5"), "{own}");
        let seen = Seen::in_stream(&own);
        assert_eq!((seen.text.as_str(), seen.finish.as_deref()), (theirs, Some(ours)));
        let reason = match ours {
            "content_filter" => "refusal",
            "length" => "max_tokens",
            "stop" => "end_turn",
            // What has no counterpart is not told as if all were well.
            theirs => theirs,
        };
        assert_eq!(in_messages(&other), (theirs.to_owned(), Some(reason.to_owned())));
        let sent = call(Capability::Chat, &json!({"model": "m", "messages": []}));
        let headers = HeaderMap::new();
        let reply = received(&headers, whole.to_string());
        let answer = decoded(chat(quirks).decode(&sent, reply).unwrap());
        let body: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], ours);
        assert_eq!(
            (&body["choices"][0]["message"]["content"], &body["x"]),
            (&json!(theirs), &json!(1.5))
        );
    }
}

#[test]
fn an_end_that_may_be_left_out_is_told_all_the_same() {
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
    let chunk = |more: Value| {
        let mut chunk =
            json!({"code": 0, "message": "Success", "sid": "s", "choices": [{"index": 0, "delta": {"content": "a"}}]});
        chunk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event(&chunk)
    };
    let done = "data: [DONE]\n\n".to_owned();
    for text in [
        [chunk(json!({})), chunk(json!({"usage": usage})), done.clone()].concat(),
        [chunk(json!({})), chunk(json!({"usage": usage}))].concat(),
        [chunk(json!({})), chunk(json!({})), done.clone()].concat(),
    ] {
        let [(own, end), (other, others_end)] = ends(&Quirks::SPARK, &text);
        let seen = Seen::in_stream(&own);
        assert_eq!(
            (seen.text.as_str(), seen.finish.as_deref(), end),
            ("aa", Some("stop"), None),
            "{own}"
        );
        let body = json!({"model": "m", "messages": [], "stream": true});
        for chunk in chunks(&Quirks::SPARK, &body, &text) {
            assert_eq!(
                (&chunk["sid"], chunk["choices"].as_array().unwrap().len()),
                (&json!("s"), 1),
                "{own}"
            );
        }
        assert_eq!(
            (in_messages(&other), others_end),
            (("aa".to_owned(), Some("end_turn".to_owned())), None),
            "{other}"
        );
    }
    for (_, end) in ends(&Quirks::SPARK, &chunk(json!({}))) {
        assert_eq!(end, Some(FaultClass::Transport));
    }
}

/// The chunks of a stream that came to its end.
fn chunks(quirks: &'static Quirks, body: &Value, text: &str) -> Vec<Value> {
    let (out, end) = streamed(
        &chat(quirks),
        &call(Capability::Chat, body),
        &sse(),
        &Bytes::from(text.to_owned()),
        &[],
    );
    assert_eq!(end, None, "{out}");
    let out = out.replace("\r\n", "\n");
    let mut events: Vec<_> = out.split("\n\n").collect();
    events.retain(|event| event.contains("data:"));
    assert!(events.pop().unwrap().contains("[DONE]"), "{out}");
    let data = |event: &&str| {
        event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .collect::<String>()
    };
    events
        .iter()
        .map(|event| serde_json::from_str(&data(event)).unwrap())
        .collect()
}

/// A chunk in which nothing but these differs.
fn chunk(choices: &Value, usage: Option<&Value>) -> Value {
    let mut chunk =
        json!({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices});
    if let Some(usage) = usage {
        chunk["usage"] = usage.clone();
    }
    chunk
}

#[test]
fn what_a_stream_used_is_told_to_those_who_ask_and_where_openai_tells_it() {
    let whole = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "x_hits": 1});
    let part = json!({"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3});
    let rest = json!({"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2});
    let said = |text: &str| json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]);
    let stop = || json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    let mut in_choice = stop();
    in_choice[0]["usage"] = whole.clone();
    let null = Value::Null;
    let added = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    for (name, stream, wanted) in [
        (
            "at the end",
            vec![chunk(&said("a"), None), chunk(&stop(), Some(&whole))],
            &whole,
        ),
        (
            "in the choice",
            vec![chunk(&said("a"), None), chunk(&in_choice, None)],
            &whole,
        ),
        (
            "in a chunk of its own",
            vec![
                chunk(&said("a"), Some(&null)),
                chunk(&stop(), Some(&null)),
                chunk(&json!([]), Some(&whole)),
            ],
            &whole,
        ),
        (
            "again and again",
            vec![
                chunk(&said("a"), Some(&part)),
                chunk(&stop(), Some(&whole)),
                chunk(&json!([]), Some(&whole)),
            ],
            &whole,
        ),
        (
            "in parts",
            vec![chunk(&said("a"), Some(&part)), chunk(&stop(), Some(&rest))],
            &added,
        ),
        (
            "before the end",
            vec![chunk(&said("a"), Some(&whole)), chunk(&stop(), None)],
            &whole,
        ),
    ] {
        let data: Vec<_> = stream.iter().map(Value::to_string).collect();
        let lines =
            |line: fn(&str) -> String| data.iter().map(|data| line(data)).collect::<String>() + "data: [DONE]\n\n";
        for text in [
            lines(|data| format!("data: {data}\n\n")),
            lines(|data| format!("event: x\r\ndata:{data}\r\n\r\n")),
            lines(|data| format!(": ping\n\ndata: {{\ndata: {}\n\n", &data[1..])),
        ] {
            let mut body = json!({"model": "m", "messages": [], "stream": true});
            let unasked = chunks(&Quirks::MISTRAL, &body, &text);
            assert_eq!(unasked.len(), 2, "{name}: {unasked:?}");
            for chunk in &unasked {
                assert!(
                    chunk["usage"].is_null() && chunk["choices"][0]["usage"].is_null(),
                    "{name}: {chunk}"
                );
                assert!(chunk["choices"][0]["delta"].is_object(), "{name}: {chunk}");
            }
            body["stream_options"] = json!({"include_usage": true});
            let mut asked = chunks(&Quirks::MISTRAL, &body, &text);
            let last = asked.pop().unwrap();
            assert_eq!(last, chunk(&json!([]), Some(wanted)), "{name}");
            assert_eq!(asked, unasked, "{name}");
        }
    }
}

#[test]
fn a_chunk_of_which_nothing_is_otherwise_passes_byte_for_byte() {
    let first = "data: { \"id\":\"c\", \"choices\":[ {\"index\":0,\"delta\":{\"content\":\"b\\u00e9\", \"tool_calls\":null}}],\"usage\" :null, \"x\":1.50}\n\n";
    let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[ {\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n";
    let more = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0, \"function\":{\"arguments\":\"{}\"}}]}}]}\n\n";
    let last = "data: {\"choices\":[{\"delta\": {}, \"index\":0,\"finish_reason\":\"tool_calls\"}] , \"usage\":{\"prompt_tokens\":1} , \"y\":2}\n\n";
    let done = "data: [DONE]\n\n";
    let text = [first, call, more, last, done].concat();
    for (_, _, quirks) in VENDORS {
        let [(out, end), _] = ends(quirks, &text);
        // But for the member that nobody asked for.
        let wanted = text.replace(" , \"usage\":{\"prompt_tokens\":1}", "");
        assert_eq!((out, end), (wanted, None), "{quirks:?}");
    }
}

#[test]
fn calls_of_tools_have_what_openais_clients_build_upon() {
    let body = json!({"model": "m", "messages": [], "stream": true});
    let deltas = |calls: &[Value]| -> Vec<Value> {
        let text: String = calls
            .iter()
            .map(|calls| event(&json!({"id": "c-1", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]})))
            .chain([event(
                &json!({"id": "c-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
            )])
            .collect();
        let chunks = chunks(&Quirks::MISTRAL, &body, &text);
        chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"].get("tool_calls").cloned())
            .collect()
    };
    let call = |index: u32, id: &str, name: &str, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    // Mistral's: whole, of no kind. Others leave out the number as well.
    for number in [true, false] {
        let mut told = [
            json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]),
            json!([{"index": 1, "id": "b", "type": null, "function": {"name": "g", "arguments": {"n": 1.50}}}]),
        ];
        if !number {
            for calls in &mut told {
                calls[0].as_object_mut().unwrap().remove("index");
            }
        }
        let wanted = [
            json!([call(0, "a", "f", "{}")]),
            json!([call(1, "b", "g", "{\"n\":1.5}")]),
        ];
        assert_eq!(deltas(&told), wanted);
    }
    // With every piece.
    let again = [
        json!([call(0, "a", "f", "{"), call(1, "b", "f", "")]),
        json!([call(0, "a", "f", "}"), {"index": 1, "id": "", "function": {"name": null, "arguments": "{}"}}]),
    ];
    let wanted = [
        again[0].clone(),
        json!([
            {"index": 0, "type": "function", "function": {"arguments": "}"}},
            {"index": 1, "id": "", "function": {"name": null, "arguments": "{}"}}
        ]),
    ];
    assert_eq!(deltas(&again), wanted);
    // Without a name to answer to, in a stream as in a whole answer.
    let nameless =
        json!([{"function": {"name": "f", "arguments": "{}"}}, {"id": "", "function": {"name": "g", "arguments": {}}}]);
    let given = deltas(std::slice::from_ref(&nameless)).remove(0);
    let whole = json!({"id": "c-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": nameless}, "finish_reason": "tool_calls"}]});
    let sent = call_of(&json!({"model": "m", "messages": []}));
    let answer = decoded(
        chat(&Quirks::MISTRAL)
            .decode(&sent, received(&HeaderMap::new(), whole.to_string()))
            .unwrap(),
    );
    let answer: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
    let calls = &answer["choices"][0]["message"]["tool_calls"];
    for (at, name) in ["f", "g"].into_iter().enumerate() {
        let id = calls[at]["id"].as_str().unwrap();
        assert!(crate::domain::chat::is_made_up(id), "{id}");
        assert_eq!(
            calls[at],
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}})
        );
        assert_eq!(given[at]["id"], id);
    }
    assert_ne!(calls[0]["id"], calls[1]["id"]);
}

/// A call in OpenAI's words.
fn call_of(body: &Value) -> Call {
    call(Capability::Chat, body)
}

#[test]
fn every_chunk_but_that_of_the_usage_has_a_choice_that_says_something() {
    let filters = json!([{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false}}}]);
    let first =
        json!({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": filters});
    let text = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]});
    // Azure's filters, when they work beside the model.
    let late = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": null, "content_filter_offsets": {"check_offset": 1}}]});
    let stop = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
    let stream: String = [&first, &text, &late, &stop, &usage].into_iter().map(event).collect();
    let mut body = json!({"model": "m", "messages": [], "stream": true});
    for asks in [false, true] {
        if asks {
            body["stream_options"] = json!({"include_usage": true});
        }
        let mut chunks = chunks(&Quirks::AZURE, &body, &stream);
        if asks {
            assert_eq!(chunks.pop().unwrap(), usage);
        }
        let (mut with_filters, mut with_delta) = (text.clone(), late.clone());
        with_filters["prompt_filter_results"] = filters.clone();
        with_delta["choices"][0]["delta"] = json!({});
        assert_eq!(chunks, [with_filters, with_delta, stop.clone()], "nothing is lost");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_cut_changes_a_stream(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        one in 0usize..400,
        other in 0usize..400,
        at in 0usize..VENDORS.len(),
    ) {
        let (vendor, begin, quirks) = VENDORS[at];
        let body = json!({"model": "m", "messages": [], "stream": true});
        for call in [call(Capability::Chat, &body), foreign(Capability::Chat, &body)] {
            let _ = streamed(&chat(quirks), &call, &sse(), &Bytes::from(bytes.clone()), &[]);
            let headers = HeaderMap::new();
            let _ = chat(quirks).decode(&call, received(&headers, bytes.clone()));
            let _ = chat(quirks).decode_fault(400, &headers, &bytes);
            for golden in Golden::of(vendor, begin).into_iter().filter(Golden::is_stream) {
                let whole = golden.body();
                let mut cuts = [one.min(whole.len()), other.min(whole.len())];
                cuts.sort_unstable();
                let again = streamed(&chat(quirks), &call, &sse(), &whole, &cuts);
                prop_assert_eq!(again, streamed(&chat(quirks), &call, &sse(), &whole, &[]));
            }
        }
    }
}

#[test]
fn whether_to_think_is_said_in_the_vendors_own_word() {
    let row = Vendor::named("v", "v");
    let said = |quirks: &'static Quirks, more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let encoded = crate::adapters::dialects::recut::encoded(&ShapedDialect::new(quirks), &body, &row).unwrap();
        let written: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        let told = ["thinking", "enable_thinking", "reasoning_effort"].map(|name| written[name].clone());
        (told, encoded.dropped)
    };
    let enabled = || json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let disabled = || json!({"thinking": {"type": "disabled"}});
    let budget = vec!["thinking.budget_tokens".to_owned()];
    let word = |word: &str| json!({"type": word});
    assert_eq!(
        said(&Quirks::ZHIPU, enabled()),
        ([word("enabled"), Value::Null, Value::Null], budget.clone())
    );
    assert_eq!(
        said(&Quirks::VOLCENGINE, disabled()),
        ([word("disabled"), Value::Null, Value::Null], vec![])
    );
    assert_eq!(
        said(&Quirks::DASHSCOPE, enabled()),
        ([Value::Null, json!(true), Value::Null], budget)
    );
    assert_eq!(
        said(&Quirks::QIANFAN, disabled()),
        ([Value::Null, json!(false), Value::Null], vec![])
    );
    let none = json!({"reasoning_effort": "none"});
    assert_eq!(
        said(&Quirks::ZHIPU, none),
        ([word("disabled"), Value::Null, Value::Null], vec![])
    );
    // A word for how hard is none for not at all.
    assert_eq!(
        said(&Quirks::DEEPSEEK, enabled()),
        ([Value::Null, Value::Null, json!("low")], vec![])
    );
    assert_eq!(
        said(&Quirks::DEEPSEEK, disabled()),
        ([Value::Null, Value::Null, Value::Null], vec!["thinking".to_owned()])
    );
    assert_eq!(
        said(&Quirks::ZHIPU, json!({})),
        ([Value::Null, Value::Null, Value::Null], vec![])
    );
}

#[test]
fn what_a_vendors_list_of_parameters_lacks_is_refused_or_dropped_with_notice() {
    let row = Vendor::named("v", "v");
    let asked = |quirks: &'static Quirks, call: &Call, rule: WhenUnsupported| {
        let target = Target {
            when_unsupported: rule,
            ..target("up", &row)
        };
        match chat(quirks).encode(call, target) {
            Ok(encoded) => Ok((json_of(&encoded), encoded.dropped)),
            Err(EncodeError::Refused(error)) => Err(error.param.unwrap_or_default().to_string()),
            Err(other) => panic!("{other:?}"),
        }
    };
    let messages = json!([{"role": "user", "content": "x"}]);
    let top_k = json!({"model": "m", "messages": messages, "top_k": 3});
    let plain = json!({"model": "up", "messages": messages});
    for (quirks, has) in [
        (&Quirks::AZURE, false),
        (&Quirks::DEEPSEEK, false),
        (&Quirks::MOONSHOT, false),
        (&Quirks::ZHIPU, false),
        (&Quirks::VOLCENGINE, false),
        (&Quirks::MISTRAL, false),
        (&Quirks::SPARK, true),
        (&Quirks::DASHSCOPE, true),
    ] {
        let translated = foreign(Capability::Chat, &top_k);
        let (refused, dropped) = (
            asked(quirks, &translated, WhenUnsupported::Refuse),
            asked(quirks, &translated, WhenUnsupported::Drop).unwrap(),
        );
        if has {
            assert_eq!(refused.unwrap().0["top_k"], 3);
        } else {
            assert_eq!(refused, Err("top_k".to_owned()));
            assert_eq!(dropped, (plain.clone(), vec!["top_k".to_owned()]));
        }
        // Who speaks the vendor's format hears from the vendor itself what it does not know, unless that is more than it takes.
        let own = asked(quirks, &call_of(&top_k), WhenUnsupported::Refuse);
        match quirks.refuses_unknown {
            true => assert_eq!(own, Err("top_k".to_owned())),
            false => assert_eq!(own.unwrap().0["top_k"], 3),
        }
    }
    for (name, value) in [
        ("logit_bias", json!({"1": 2})),
        ("logprobs", json!(true)),
        ("user", json!("u")),
        ("store", json!(true)),
    ] {
        let mut body = json!({"model": "m", "messages": messages});
        body[name] = value;
        let own = call_of(&body);
        assert_eq!(
            asked(&Quirks::MISTRAL, &own, WhenUnsupported::Refuse),
            Err(name.to_owned())
        );
        let wanted = (plain.clone(), vec![name.to_owned()]);
        assert_eq!(asked(&Quirks::MISTRAL, &own, WhenUnsupported::Drop), Ok(wanted));
    }
    let nothing = json!({"model": "m", "messages": messages, "logprobs": false, "store": false, "user": null, "safe_prompt": true});
    let (written, dropped) = asked(&Quirks::MISTRAL, &call_of(&nothing), WhenUnsupported::Refuse).unwrap();
    assert_eq!(
        (written, dropped),
        (
            json!({"model": "up", "messages": messages, "safe_prompt": true}),
            vec![]
        )
    );
    let named = json!({"model": "m", "messages": [{"role": "user", "name": "Ann", "content": "x"}]});
    let named = foreign(Capability::Chat, &named);
    let refused = asked(&Quirks::MISTRAL, &named, WhenUnsupported::Refuse);
    assert_eq!(refused, Err("messages[0].name".to_owned()));
    assert!(asked(&Quirks::DEEPSEEK, &named, WhenUnsupported::Refuse).is_ok());
}
