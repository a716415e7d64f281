//! Streams that are mended to OpenAI's.

use super::*;

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
fn what_comes_beside_no_choice_goes_along_with_the_next_one() {
    let beside = |member: &str, value: u32| event(&json!({"id": "x", "choices": [], member: value}));
    let text = [
        beside("a", 1),
        beside("b", 2),
        beside("a", 3),
        event(&json!({"id": "x", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]})),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let body = json!({"model": "m", "messages": [], "stream": true});
    let told = chunks(&Quirks::AZURE, &body, &text);
    assert_eq!((told.len(), &told[0]["a"], &told[0]["b"]), (1, &json!(3), &json!(2)));
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
