use proptest::prelude::*;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        golden::{Golden, Seen, call, foreign, lean, step, streamed, target},
        testing::{decoded, received},
        translated::Chat,
    },
    domain::{fault::FaultClass, interface::Capability, multipart::Boundary, vendor::Vendor},
    ports::{
        codec::{Ask, Codec, Outcome, Step},
        fetcher::Found,
        transport::SocketMessage,
    },
};

const CHAT: Chat<DashScopeChat> = Chat(DashScopeChat);

fn row() -> Vendor {
    Vendor::named("v", "dashscope")
}

fn body_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body.concat()).unwrap()
}

/// What an OpenAI client would send for the SDK's parameters.
fn openai(golden: &Golden) -> Value {
    let mut params = golden.params();
    params.insert("model".to_owned(), json!("route"));
    for message in params
        .get_mut("messages")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for part in message["content"].as_array_mut().into_iter().flatten() {
            *part = match (&part["text"], &part["image"]) {
                (Value::String(text), _) => json!({"type": "text", "text": text}),
                (_, image) => json!({"type": "image_url", "image_url": {"url": image}}),
            };
        }
    }
    for (theirs, ours) in [("dimension", "dimensions"), ("text", "input")] {
        if let Some(value) = params.remove(theirs) {
            params.insert(ours.to_owned(), value);
        }
    }
    params.into()
}

fn check_request(golden: &Golden, codec: &dyn Codec, capability: Capability) {
    let body = openai(golden);
    let model = golden.params()["model"].as_str().unwrap().to_owned();
    let row = row();
    let encoded = codec.encode(&call(capability, &body), target(&model, &row)).unwrap();
    golden.check_body(&encoded);
    let place = encoded.place.unwrap();
    assert_eq!((place.path, codec.path()), (golden.place().0, ""));
    for name in [SSE, ASYNC] {
        let wanted = golden.file["request"]["headers"][name].as_str();
        assert_eq!(
            place.headers.get(name).and_then(|value| value.to_str().ok()),
            wanted,
            "{}",
            golden.name
        );
    }
}

#[test]
fn chat_is_what_the_vendors_own_library_sends_and_reads() {
    for golden in Golden::of("dashscope", "chat-") {
        check_request(&golden, &CHAT, Capability::Chat);
        golden.check_chat(&CHAT, &call(Capability::Chat, &openai(&golden)));
    }
}

#[test]
fn errors_mean_what_the_vendor_says() {
    for golden in Golden::of("dashscope", "error-") {
        if !golden.name.contains("compat") {
            golden.check_fault(&CHAT);
        }
    }
    for (status, code, class) in [
        (401, "InvalidApiKey", FaultClass::Authentication),
        (403, "AccessDenied.Unpurchased", FaultClass::Permission),
        (403, "Model.AccessDenied", FaultClass::Permission),
        (403, "Workspace.AccessDenied", FaultClass::Permission),
        (404, "ModelNotFound", FaultClass::NotFound),
        (404, "NotFound", FaultClass::NotFound),
        (400, "InvalidParameter.Size", FaultClass::InvalidRequest),
        (400, "BadRequest.TooLarge", FaultClass::InvalidRequest),
        (400, "InvalidURL", FaultClass::InvalidRequest),
        (400, "InvalidFile.Format", FaultClass::InvalidRequest),
        (400, "DataInspectionFailed", FaultClass::ContentFilter),
        (400, "InvalidParameter.DataInspection", FaultClass::ContentFilter),
        (400, "Arrearage", FaultClass::QuotaExceeded),
        (429, "Throttling", FaultClass::RateLimit),
        (429, "Throttling.BurstRate", FaultClass::RateLimit),
        (429, "Throttling.AllocationQuota", FaultClass::RateLimit),
        (500, "InternalError.Algo", FaultClass::ServerError),
        (500, "SystemError", FaultClass::ServerError),
        (503, "ModelUnavailable", FaultClass::Overloaded),
        (503, "ModelServingError", FaultClass::Overloaded),
        (500, "RequestTimeOut", FaultClass::Timeout),
        (200, "CLIENT_ERROR", FaultClass::ServerError),
        (418, "Something.New", FaultClass::InvalidRequest),
    ] {
        let body = json!({"code": code, "message": "m", "request_id": "r"}).to_string();
        let fault = CHAT.decode_fault(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, Some(code)));
    }
    let free = json!({"code": "Throttling.AllocationQuota", "message": "Free allocated quota exceeded."}).to_string();
    let fault = CHAT.decode_fault(429, &HeaderMap::new(), free.as_bytes());
    assert_eq!(fault.class, FaultClass::QuotaExceeded);
    assert_eq!(
        CHAT.decode_fault(503, &HeaderMap::new(), b"<html>").class,
        FaultClass::Overloaded
    );
}

#[test]
fn everything_that_can_be_said_is_said_in_the_vendors_words() {
    let body = json!({
        "model": "m", "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "presence_penalty": 0.1, "seed": 7,
        "max_completion_tokens": 9, "n": 1, "stop": ["a", "b"], "logprobs": true, "top_logprobs": 2, "parallel_tool_calls": false,
        "response_format": {"type": "json_object"}, "enable_search": true, "thinking": {"type": "enabled", "budget_tokens": 50},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "messages": [
            {"role": "developer", "content": "be"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://a.test/x"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}, {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "done"}]
    });
    let row = row();
    let encoded = CHAT.encode(&call(Capability::Chat, &body), target("up", &row)).unwrap();
    assert_eq!(encoded.accept, "text/event-stream");
    assert_eq!(encoded.place.as_ref().unwrap().path, MULTIMODAL);
    assert_eq!(
        lean(&body_of(&encoded)),
        lean(&json!({
            "model": "up",
            "input": {"messages": [
                {"role": "system", "content": [{"text": "be"}]},
                {"role": "user", "content": [{"text": "see"}, {"image": "https://a.test/x"}, {"image": "data:image/png;base64,eA=="}, {"audio": "data:audio/wav;base64,eA=="}]},
                {"role": "assistant", "content": [], "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": [{"text": "done"}]}]},
            "parameters": {
                "temperature": 0.5, "top_p": 0.9, "top_k": 3, "presence_penalty": 0.1, "seed": 7, "max_tokens": 9, "n": 1,
                "stop": ["a", "b"], "logprobs": true, "top_logprobs": 2, "parallel_tool_calls": false,
                "response_format": {"type": "json_object"}, "enable_search": true, "enable_thinking": true, "thinking_budget": 50,
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}}, "incremental_output": true}
        }))
    );
    let other = CHAT
        .encode(&foreign(Capability::Chat, &body), target("up", &row))
        .unwrap();
    assert_eq!(body_of(&other), body_of(&encoded));
    let refused = json!({"model": "m", "messages": [], "frequency_penalty": 1});
    assert!(
        CHAT.encode(&call(Capability::Chat, &refused), target("up", &row))
            .is_err()
    );
}

#[test]
fn an_answer_in_the_form_of_a_schema_is_asked_for_by_the_schema() {
    let row = row();
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    for format in [
        json!({"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": true}}),
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}),
    ] {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": format});
        let encoded = CHAT.encode(&call(Capability::Chat, &body), target("up", &row)).unwrap();
        assert_eq!(body_of(&encoded)["parameters"]["response_format"], format);
    }
}

#[test]
fn several_calls_at_once_are_asked_for_where_the_callers_format_has_them_unasked() {
    let row = row();
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let asked = |call: &Call| {
        let encoded = CHAT.encode(call, target("up", &row)).unwrap();
        body_of(&encoded)["parameters"].get("parallel_tool_calls").cloned()
    };
    for (more, by_openais_callers, by_others) in [
        (json!({"tools": tools}), None, Some(json!(true))),
        (
            json!({"tools": tools, "parallel_tool_calls": true}),
            Some(json!(true)),
            Some(json!(true)),
        ),
        (
            json!({"tools": tools, "parallel_tool_calls": false}),
            Some(json!(false)),
            Some(json!(false)),
        ),
        (json!({}), None, None),
    ] {
        assert_eq!(
            asked(&call(Capability::Chat, &body(more.clone()))),
            by_openais_callers,
            "{more}"
        );
        assert_eq!(
            asked(&foreign(Capability::Chat, &body(more.clone()))),
            by_others,
            "{more}"
        );
    }
}

fn sse() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))])
}

fn event(data: &Value) -> String {
    format!("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n")
}

fn said(message: &Value, finish: &str, tokens: Option<u64>) -> String {
    event(
        &json!({"output": {"choices": [{"message": message, "finish_reason": finish}]},
        "usage": {"input_tokens": 5, "output_tokens": tokens}, "request_id": "r"}),
    )
}

fn run(text: &str) -> (Seen, Option<FaultClass>) {
    let call = call(Capability::Chat, &json!({"model": "m", "messages": [], "stream": true}));
    let whole = streamed(&CHAT, &call, &sse(), &Bytes::from(text.to_owned()), &[]);
    for cut in 0..text.len() {
        let again = streamed(&CHAT, &call, &sse(), &Bytes::from(text.to_owned()), &[cut]);
        assert_eq!(again, whole, "cut at {cut}");
    }
    (Seen::in_stream(&whole.0), whole.1)
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

#[test]
fn answers_come_in_the_older_form_as_well() {
    let sent = call(Capability::Chat, &json!({"model": "m", "messages": []}));
    let headers = HeaderMap::new();
    let older = json!({"output": {"text": "hi", "finish_reason": "stop"}, "usage": {"input_tokens": 1, "output_tokens": 2}, "request_id": "r"});
    let answer = decoded(CHAT.decode(&sent, received(&headers, older.to_string())).unwrap());
    let body: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
    assert_eq!(
        (&body["choices"][0]["message"]["content"], &body["id"]),
        (&json!("hi"), &json!("r"))
    );
    for broken in [json!({}), json!({"output": {}}), json!([])] {
        let fault = CHAT.decode(&sent, received(&headers, broken.to_string())).unwrap_err();
        assert_eq!(fault.class, FaultClass::InvalidReply);
    }
    let failed = json!({"code": "Arrearage", "message": "m"});
    let fault = CHAT.decode(&sent, received(&headers, failed.to_string())).unwrap_err();
    assert_eq!(fault.class, FaultClass::QuotaExceeded);
    let (seen, end) = run(&event(&older));
    assert_eq!(
        (seen.text.as_str(), seen.finish.as_deref(), end),
        ("hi", Some("stop"), None)
    );
}

#[test]
fn vectors_come_in_the_order_of_their_texts() {
    let golden = Golden::of("dashscope", "embeddings-").remove(0);
    check_request(&golden, &DashScopeEmbeddings, Capability::Embeddings);
    let headers = golden.headers();
    let read = |body: &Value| {
        let answer = DashScopeEmbeddings.decode(&call(Capability::Embeddings, body), received(&headers, golden.body()));
        let answer = decoded(answer.unwrap());
        let usage = answer.usage.map(|usage| usage.input);
        let body: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        assert_eq!((usage, &body["usage"]["total_tokens"]), (Some(4), &json!(4)));
        body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|vector| vector["embedding"].clone())
            .collect::<Value>()
    };
    assert_eq!(read(&openai(&golden)), golden.expect()["vectors"]);
    let mut packed = openai(&golden);
    packed["encoding_format"] = json!("base64");
    assert_eq!(read(&packed)[1], json!("AAAAPwAAgL4="));
    let row = row();
    for (input, good) in [(json!("one"), true), (json!([[1, 2]]), false), (json!([1, 2]), false)] {
        let body = json!({"model": "m", "input": input});
        let encoded = DashScopeEmbeddings.encode(&call(Capability::Embeddings, &body), target("up", &row));
        assert_eq!(encoded.is_ok(), good, "{body}");
    }
}

#[test]
fn documents_are_ranked() {
    let golden = Golden::of("dashscope", "rerank-").remove(0);
    check_request(&golden, &DashScopeRerank, Capability::Rerank);
    let (headers, body) = (golden.headers(), openai(&golden));
    let answer = DashScopeRerank.decode(&call(Capability::Rerank, &body), received(&headers, golden.body()));
    let body: Value = serde_json::from_slice(&decoded(answer.unwrap()).answer.into_body().0).unwrap();
    assert_eq!(
        (&body["results"][0]["index"], &body["results"][0]["relevance_score"]),
        (&json!(1), &json!(0.91))
    );
    assert_eq!(
        (&body["results"][1]["document"]["text"], &body["usage"]["total_tokens"]),
        (&json!("blau"), &json!(9))
    );
}

fn next(outcome: Outcome) -> Step {
    match outcome {
        Outcome::Next(step) => *step,
        Outcome::Answer(answer) => panic!("an answer already: {answer:?}"),
    }
}

#[test]
fn a_picture_is_a_task_that_is_asked_for_until_it_is_done() {
    let submitted = Golden::of("dashscope", "images-generation-submit").remove(0);
    check_request(&submitted, &DashScopeImages, Capability::Image);
    let headers = HeaderMap::new();
    let sent = call(Capability::Image, &openai(&submitted));
    let first = next(
        DashScopeImages
            .decode(&sent, received(&headers, submitted.body()))
            .unwrap(),
    );
    assert_eq!(
        (&first.state["job_id"], &first.state["job_status"]),
        (&json!("task-img-1"), &json!("queued"))
    );
    let Ask::Vendor(question) = &first.ask else {
        panic!("{first:?}")
    };
    let place = question.place.as_ref().unwrap();
    assert_eq!(
        (&place.method, place.path.as_str()),
        (&Method::GET, "/api/v1/tasks/task-img-1")
    );
    assert!(question.body.is_empty());
    let cancel = first.cancel.as_ref().unwrap().place.as_ref().unwrap();
    assert_eq!(
        (&cancel.method, cancel.path.as_str()),
        (&Method::POST, "/api/v1/tasks/task-img-1/cancel")
    );
    let poll = |name: &str, state: &Value, sent: &Call| {
        let golden = Golden::of("dashscope", name).remove(0);
        DashScopeImages.decode(sent, step(&headers, &golden.file["response"]["body"], state))
    };
    let running = next(poll("images-generation-poll-running", &first.state, &sent).unwrap());
    assert_eq!(running.state["job_status"], "running");
    assert!(running.after >= first.after);
    let fault = poll("images-generation-poll-failed", &running.state, &sent).unwrap_err();
    assert_eq!(fault.class, FaultClass::ContentFilter);
    let done = decoded(poll("images-generation-poll-done", &running.state, &sent).unwrap());
    assert_eq!(done.usage.map(|usage| usage.images), Some(1));
    let body: Value = serde_json::from_slice(&done.answer.into_body().0).unwrap();
    assert_eq!(
        body["data"][0]["url"],
        "https://img.example.test/o.png?Expires=1&Signature=x%2B"
    );
    // Whoever wants the bytes gets them, though the vendor has URLs alone.
    let sent = call(
        Capability::Image,
        &json!({"model": "m", "prompt": "x", "response_format": "b64_json"}),
    );
    let fetching = next(poll("images-generation-poll-done", &running.state, &sent).unwrap());
    let Ask::Urls(urls) = &fetching.ask else {
        panic!("{fetching:?}")
    };
    assert!(urls.len() == 1 && urls[0].starts_with("https://img.example.test/o.png"));
    assert_eq!(fetching.state["job_status"], "done");
    let picture = Received {
        state: &fetching.state,
        found: &[Found {
            headers: HeaderMap::new(),
            body: "PNG".into(),
        }],
        ..received(&headers, "")
    };
    let body = decoded(DashScopeImages.decode(&sent, picture).unwrap())
        .answer
        .into_body()
        .0;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["data"][0]["b64_json"], &body["data"][0]["url"]),
        (&json!("UE5H"), &Value::Null)
    );
}

#[test]
fn a_task_is_not_asked_for_at_another_place() {
    let headers = HeaderMap::new();
    let sent = call(Capability::Image, &json!({"model": "m", "prompt": "x"}));
    for id in ["", "../../x", "a/b", "a?b", "a#b", &"a".repeat(129)] {
        let body = json!({"output": {"task_id": id, "task_status": "PENDING"}});
        let fault = DashScopeImages
            .decode(&sent, received(&headers, body.to_string()))
            .unwrap_err();
        assert_eq!(fault.class, FaultClass::InvalidReply, "{id}");
    }
    for (status, class) in [
        ("UNKNOWN", FaultClass::ServerError),
        ("NEW", FaultClass::InvalidReply),
        ("CANCELED", FaultClass::ServerError),
    ] {
        let body = json!({"output": {"task_id": "a", "task_status": status}});
        let fault = DashScopeImages
            .decode(&sent, received(&headers, body.to_string()))
            .unwrap_err();
        assert_eq!(fault.class, class, "{status}");
    }
    // Done, but with some of its pictures refused: the others are the answer.
    let some = json!({"output": {"task_id": "a", "task_status": "SUCCEEDED", "results": [{"code": "InvalidParameter", "message": "m"}, {"url": "https://a.test/"}]}});
    assert!(
        DashScopeImages
            .decode(&sent, received(&headers, some.to_string()))
            .is_ok()
    );
    let none = json!({"output": {"task_id": "a", "task_status": "SUCCEEDED", "results": [{"code": "DataInspectionFailed", "message": "m"}]}});
    let fault = DashScopeImages
        .decode(&sent, received(&headers, none.to_string()))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::ContentFilter);
}

#[test]
fn speech_is_fetched_from_where_the_vendor_put_it() {
    let golden = Golden::of("dashscope", "tts-").remove(0);
    check_request(&golden, &DashScopeSpeech, Capability::Speech);
    let sent = call(Capability::Speech, &openai(&golden));
    let headers = HeaderMap::new();
    let fetching = next(
        DashScopeSpeech
            .decode(&sent, received(&headers, golden.body()))
            .unwrap(),
    );
    assert_eq!(fetching.state["audio_url"], golden.expect()["audio_url"]);
    assert!(matches!(&fetching.ask, Ask::Url(url) if url == golden.expect()["audio_url"].as_str().unwrap()));
    for (bytes, kind) in [
        (&b"RIFF0000WAVE"[..], Some("audio/wav")),
        (b"ID3x", Some("audio/mpeg")),
        (b"OggS", Some("audio/ogg")),
        (b"<html>", None),
        (b"", None),
    ] {
        let sound = Received {
            state: &fetching.state,
            ..received(&headers, Bytes::from_static(bytes))
        };
        let answer = DashScopeSpeech.decode(&sent, sound).map(decoded);
        assert_eq!(
            answer
                .as_ref()
                .ok()
                .map(|answer| answer.usage.map(|usage| (usage.input, usage.output))),
            kind.map(|_| Some((10, 30)))
        );
        assert_eq!(answer.ok().map(|answer| answer.answer.into_body().1), kind);
    }
    let row = row();
    let body = json!({"model": "m", "input": "x", "voice": "v", "response_format": "opus"});
    assert!(
        DashScopeSpeech
            .encode(&call(Capability::Speech, &body), target("up", &row))
            .is_err()
    );
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

/// A form as an OpenAI client sends it.
fn recording_form(fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Call {
    let mut body = Vec::new();
    for (name, value) in fields.iter().copied().chain([("model", "route")]) {
        let part = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    if let Some((name, bytes)) = file {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=B").unwrap();
    Call::read(Capability::Transcription, body.into(), Some(&boundary)).unwrap()
}

#[test]
fn a_recording_behind_a_url_is_a_task_whose_result_lies_somewhere_else() {
    let row = row();
    let sent = recording_form(
        &[
            ("url", "https://audio.example.test/a.wav"),
            ("language", "zh"),
            ("channel_id", "[0]"),
            ("vocabulary_id", "vocab-1"),
            ("response_format", "verbose_json"),
        ],
        None,
    );
    let encoded = DashScopeTranscription
        .encode(&sent, target("paraformer-v2", &row))
        .unwrap();
    assert_eq!(
        body_of(&encoded),
        json!({"model": "paraformer-v2", "input": {"file_urls": ["https://audio.example.test/a.wav"]},
            "parameters": {"language_hints": ["zh"], "channel_id": [0], "vocabulary_id": "vocab-1"}})
    );
    assert_eq!(encoded.place.unwrap().headers[ASYNC], "enable");

    let headers = HeaderMap::new();
    let read = |body: &Value, state: &Value| DashScopeTranscription.decode(&sent, step(&headers, body, state));
    let submitted = Golden::of("dashscope", "asr-file-submit").remove(0);
    let first = next(read(&submitted.file["response"]["body"], &Value::Null).unwrap());
    assert_eq!(
        (&first.state["job_id"], &first.state["job_status"]),
        (&json!("task-asr-1"), &json!("queued"))
    );
    let polled = Golden::of("dashscope", "asr-file-poll-done").remove(0);
    let second = next(read(&polled.file["response"]["body"], &first.state).unwrap());
    let Ask::Url(url) = &second.ask else {
        panic!("{second:?}")
    };
    assert_eq!(url, "https://result.example.test/t.json?sig=1");
    let written = json!({"file_url": "u", "properties": {"original_duration_in_milliseconds": 8900}, "transcripts": [
        {"channel_id": 0, "text": "你好。再见。", "sentences": [
            {"begin_time": 170, "end_time": 920, "text": "你好。", "words": [{"begin_time": 170, "end_time": 400, "text": "你好", "punctuation": "。"}]},
            {"begin_time": 1000, "end_time": 2000, "text": "再见。"}]}]});
    let done = decoded(read(&written, &second.state).unwrap());
    assert_eq!(done.usage.unwrap().audio_ms, 9000);
    let body: Value = serde_json::from_slice(&done.answer.into_body().0).unwrap();
    assert_eq!(
        (&body["text"], &body["duration"]),
        (&json!("你好。再见。"), &json!(9.0))
    );
    assert_eq!(
        (&body["segments"][0]["start"], &body["segments"][1]["end"]),
        (&json!(0.17), &json!(2.0))
    );
    assert_eq!(body["words"][0]["word"], "你好。");
}

#[test]
fn a_file_that_could_not_be_written_down_says_why() {
    let sent = recording_form(&[("url", "https://audio.example.test/a.wav")], None);
    let headers = HeaderMap::new();
    let read = |output: Value| {
        let state = json!({"job_id": "task-1", "job_status": "running", "asked": 1});
        DashScopeTranscription
            .decode(&sent, step(&headers, &json!({"output": output}), &state))
            .unwrap_err()
    };
    for (output, class) in [
        (
            json!({"task_status": "FAILED", "code": "InvalidFile.DownloadFailed", "message": "m"}),
            FaultClass::InvalidRequest,
        ),
        (
            json!({"task_status": "SUCCEEDED", "results": [{"subtask_status": "FAILED", "code": "InvalidFile.DecodeFailed", "message": "m"}]}),
            FaultClass::InvalidRequest,
        ),
        (
            json!({"task_status": "SUCCEEDED", "results": []}),
            FaultClass::InvalidReply,
        ),
        (json!({"task_status": "UNKNOWN"}), FaultClass::ServerError),
        (
            json!({"task_status": "RUNNING", "task_id": "../x"}),
            FaultClass::InvalidReply,
        ),
        (json!({"task_status": "DANCING"}), FaultClass::InvalidReply),
    ] {
        assert_eq!(read(output.clone()).class, class, "{output}");
    }
}

#[test]
fn models_that_hear_want_bytes_and_the_others_want_places() {
    let row = row();
    let refused = |sent: &Call, model: &str| match DashScopeTranscription.encode(sent, target(model, &row)).unwrap_err()
    {
        EncodeError::Refused(error) => error.param.map(String::from),
        EncodeError::Fetch(urls) => Some(urls.join(" ")),
    };
    let bytes = recording_form(&[], Some(("a.wav", b"RIFF")));
    assert_eq!(refused(&bytes, "paraformer-v2").as_deref(), Some("file"));
    let place = recording_form(&[("url", "https://a.test/a.mp3")], None);
    assert_eq!(
        refused(&place, "paraformer-realtime-v2").as_deref(),
        Some("https://a.test/a.mp3")
    );
    let nameless = recording_form(&[], Some(("a", b"RIFF")));
    assert_eq!(refused(&nameless, "paraformer-realtime-v2").as_deref(), Some("file"));
    let told = recording_form(&[("format", "pcm"), ("sample_rate", "8000")], Some(("a", b"xx")));
    let encoded = DashScopeTranscription
        .encode(&told, target("paraformer-realtime-v2", &row))
        .unwrap();
    let dialogue = encoded.dialogue.unwrap();
    let SocketMessage::Text(first) = &dialogue.turns[0][0] else {
        panic!("{dialogue:?}")
    };
    let first: Value = serde_json::from_slice(first).unwrap();
    assert_eq!(
        first["payload"]["parameters"],
        json!({"format": "pcm", "sample_rate": 8000})
    );
    assert_eq!(dialogue.turns[1][0], SocketMessage::Binary(Bytes::from_static(b"xx")));
}

#[test]
fn what_is_heard_ends_with_the_vendors_word_for_it() {
    let sent = recording_form(&[("response_format", "verbose_json")], Some(("a.wav", b"RIFF")));
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]);
    let event = |event: &str, payload: Value| json!({"header": {"event": event}, "payload": payload});
    let sentence = |text: &str, end: Option<u64>| {
        event(
            "result-generated",
            json!({"output": {"sentence": {"begin_time": 0, "end_time": end, "text": text, "heartbeat": text.is_empty()}}}),
        )
    };
    let heard = |events: &[Value]| {
        let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
        DashScopeTranscription.decode(&sent, received(&headers, lines.join("\n")))
    };
    let done = heard(&[
        event("task-started", json!({})),
        sentence("Hel", None),
        sentence("Hello.", Some(5)),
        sentence("", None),
        sentence("And a rest", None),
        event("task-finished", json!({})),
    ]);
    let body: Value = serde_json::from_slice(&decoded(done.unwrap()).answer.into_body().0).unwrap();
    assert_eq!(body["text"], "Hello. And a rest");
    assert_eq!(body["segments"].as_array().unwrap().len(), 2);
    let failed = json!({"header": {"event": "task-failed", "error_code": "CLIENT_ERROR", "error_message": "m"}});
    assert_eq!(heard(&[failed]).unwrap_err().class, FaultClass::ServerError);
    assert_eq!(
        heard(&[sentence("Hello.", Some(5))]).unwrap_err().class,
        FaultClass::Transport
    );
    assert_eq!(heard(&[json!([])]).unwrap_err().class, FaultClass::InvalidReply);
}
