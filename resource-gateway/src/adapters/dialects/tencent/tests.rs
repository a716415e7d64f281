//! What the fixtures do not show: everything at once, edges, and streams in any pieces.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        testing::{decoded, opening, received, target},
        translated::Chat,
    },
    domain::{
        call::{Call, Voice},
        chat::ChatEvent,
        interface::WhenUnsupported,
        multipart::Boundary,
        vendor::Vendor,
    },
    ports::{
        chat::ChatDialect as _,
        codec::{Ask, Codec, EncodeError, Outcome, Received, StreamEnd, Target},
        fetcher::Found,
    },
};

fn call(capability: Capability, body: &Value) -> Call {
    let mut body = body.clone();
    body["model"] = "interface".into();
    Call::read(capability, body.to_string().into(), None).unwrap()
}

fn form(fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Call {
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

/// The action of a call and its body.
fn told(encoded: &Encoded) -> (String, Value) {
    let headers = &encoded.place.as_ref().unwrap().headers;
    let action = headers["x-tc-action"].to_str().unwrap().to_owned();
    (action, serde_json::from_slice(&encoded.body.concat()).unwrap())
}

fn encoded(codec: &dyn Codec, call: &Call, model: &str) -> Result<Encoded, EncodeError> {
    let vendor = Vendor::named("v", "tencent");
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

fn answer(codec: &dyn Codec, call: &Call, body: &Value) -> Result<Value, Fault> {
    let headers = HeaderMap::new();
    let reply = received(&headers, json!({"Response": body}).to_string());
    let outcome = codec.decode(call, reply)?;
    let (body, _) = decoded(outcome).answer.into_body();
    Ok(serde_json::from_slice(&body).unwrap())
}

/// Models write arguments in the order in which a schema names them.
#[test]
fn the_schema_of_a_tool_is_told_as_its_author_wrote_it() {
    let schema = r#"{ "type":"object","properties":{"z":{"type":"string"},"a":{"const":1.50}},"required":["z"] }"#;
    let call = |text: &str, voice: Voice| {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":SCHEMA}}]}"#;
        let call = Call::read(Capability::Chat, body.replace("SCHEMA", text).into(), None).unwrap();
        call.said_as(voice, Bytes::from_static(b"{}"))
    };
    for voice in [Voice::OpenAi, Voice::Anthropic, Voice::Responses] {
        let encoded = encoded(&Chat(TencentChat), &call(schema, voice), "up").unwrap();
        assert_eq!(told(&encoded).1["Tools"][0]["Function"]["Parameters"], schema);
    }
}

#[test]
fn everything_that_hunyuan_can_be_told_is_told() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let body = json!({
        "messages": [
            {"role": "system", "content": "short"},
            {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "text", "text": "else"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "developer", "content": "kind"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://a.test/x"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}},
            {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["a", "b"], "stream": true, "reasoning_effort": "high",
        "EnableEnhancement": false,
    });
    let encoded = encoded(&Chat(TencentChat), &call(Capability::Chat, &body), "up").unwrap();
    assert_eq!(encoded.accept, "text/event-stream");
    let tool = |name: &str, schema: &Value, description: Value| {
        let mut tool = json!({"Type": "function", "Function": {"Name": name, "Parameters": schema.to_string()}});
        if !description.is_null() {
            tool["Function"]["Description"] = description;
        }
        tool
    };
    let none = json!({"type": "object", "properties": {}});
    let mut found = told(&encoded);
    // A JSON text may have its members in any order.
    let text = found.1["Tools"][1]["Function"]["Parameters"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), none);
    found.1["Tools"][1]["Function"]["Parameters"] = none.to_string().into();
    let wanted = json!({
        "Model": "up",
        "Messages": [
            {"Role": "system", "Content": "short\n\nkind"},
            {"Role": "user", "Content": "what\nelse"},
            {"Role": "assistant", "ToolCalls": [{"Id": "c1", "Type": "function", "Function": {"Name": "f", "Arguments": "{}"}}]},
            {"Role": "tool", "ToolCallId": "c1", "Content": "4"},
            {"Role": "user", "Contents": [{"Type": "text", "Text": "see"}, {"Type": "image_url", "ImageUrl": {"Url": "https://a.test/x"}},
                {"Type": "image_url", "ImageUrl": {"Url": "data:image/png;base64,eA=="}}]},
        ],
        "Tools": [tool("f", &schema, "d".into()), tool("g", &none, Value::Null)],
        "ToolChoice": "custom", "CustomTool": tool("f", &schema, "d".into()),
        "Temperature": 0.5, "TopP": 0.9, "Seed": 7, "Stop": ["a", "b"], "Stream": true, "EnableThinking": true,
        "EnableEnhancement": false,
    });
    assert_eq!(found, ("ChatCompletions".to_owned(), wanted));
}

#[test]
fn that_some_tool_has_to_be_called_can_be_said_of_one_only() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let mut body =
        json!({"messages": [{"role": "user", "content": "x"}], "tools": [tool("f")], "tool_choice": "required"});
    let (_, told_one) = told(&encoded(&Chat(TencentChat), &call(Capability::Chat, &body), "up").unwrap());
    assert_eq!(told_one["CustomTool"]["Function"]["Name"], "f");
    body["tools"] = json!([tool("f"), tool("g")]);
    let two = call(Capability::Chat, &body);
    assert_eq!(refused(&Chat(TencentChat), &two, "up"), "tool_choice");
    let vendor = Vendor::named("v", "tencent");
    let lenient = Target {
        when_unsupported: WhenUnsupported::Drop,
        ..target(&vendor)
    };
    let dropped = Chat(TencentChat).encode(&two, lenient).unwrap().dropped;
    assert_eq!(dropped, ["tool_choice"]);
    body["tool_choice"] = tool("h");
    assert_eq!(
        refused(&Chat(TencentChat), &call(Capability::Chat, &body), "up"),
        "tool_choice"
    );
}

#[test]
fn a_bound_on_the_output_cannot_be_told_and_only_anthropics_callers_may_not_leave_it_out() {
    let body = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 9});
    let call = call(Capability::Chat, &body);
    assert_eq!(refused(&Chat(TencentChat), &call, "up"), "max_tokens");
    let call = call.said_as(Voice::Anthropic, r#"{"model":"interface"}"#.into());
    let encoded = encoded(&Chat(TencentChat), &call, "up").unwrap();
    assert_eq!(encoded.dropped, ["max_tokens"]);
    assert_eq!(told(&encoded).1.as_object().unwrap().len(), 2);
}

#[test]
fn thinking_is_switched_by_whatever_word_says_it() {
    for (word, wanted) in [
        (json!({"reasoning_effort": "none"}), json!(false)),
        (json!({"reasoning_effort": "low"}), json!(true)),
        (json!({"thinking": {"type": "disabled"}}), json!(false)),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
            json!(true),
        ),
        (json!({}), Value::Null),
    ] {
        let mut body = word.clone();
        body["messages"] = json!([{"role": "user", "content": "x"}]);
        let encoded = encoded(&Chat(TencentChat), &call(Capability::Chat, &body), "up").unwrap();
        assert_eq!(told(&encoded).1["EnableThinking"], wanted, "{word}");
        // Whether is all that can be said.
        let degrees = ["reasoning_effort", "thinking.budget_tokens"];
        let lost = [json!("low"), json!(9)];
        let told = [&word["reasoning_effort"], &word["thinking"]["budget_tokens"]];
        let lost: Vec<_> = (0..2)
            .filter(|at| *told[*at] == lost[*at])
            .map(|at| degrees[at])
            .collect();
        assert_eq!(encoded.dropped, lost, "{word}");
    }
}

const STREAM: &str = concat!(
    r#"data: {"Choices":[{"Index":0,"Delta":{"Role":"assistant","ReasoningContent":"嗯"},"FinishReason":""}],"Id":"hy-1","Usage":{"PromptTokens":3,"CompletionTokens":1,"TotalTokens":4}}"#,
    "\r\n\r\n: keep-alive\n\n",
    r#"data: {"Choices":[{"Index":0,"Delta":{"Content":"你好"},"FinishReason":""}],"Id":"hy-1","Usage":{"PromptTokens":3,"CompletionTokens":2,"TotalTokens":5}}"#,
    "\n\n",
    r#"data: {"Choices":[{"Index":0,"Delta":{"ToolCalls":[{"Id":"c1","Type":"function","Index":0,"Function":{"Name":"f","Arguments":""}}]}}],"Id":"hy-1"}"#,
    "\n\n",
    r#"data: {"Choices":[{"Index":0,"Delta":{"ToolCalls":[{"Id":"c1","Type":"function","Index":0,"Function":{"Name":"","Arguments":"{\"a\":1}"}}]}}],"Id":"hy-1"}"#,
    "\r\r",
    r#"data: {"Choices":[{"Index":0,"Delta":{"Content":""},"FinishReason":"tool_calls"}],"Usage":{"PromptTokens":3,"CompletionTokens":9,"TotalTokens":12},"Id":"hy-1","News":[1]}"#,
    "\n\n",
);

fn read_stream(pieces: &[&[u8]]) -> (Vec<ChatEvent>, StreamEnd) {
    let mut decoder = TencentChat.stream(&HeaderMap::new());
    let mut events = Vec::new();
    for piece in pieces {
        if let Some(end) = decoder.push(Bytes::copy_from_slice(piece), &mut events) {
            return (events, end);
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn fault_of(end: StreamEnd) -> Fault {
    match end {
        StreamEnd::Failed(fault) => fault,
        StreamEnd::Complete => panic!("complete"),
    }
}

#[test]
fn a_stream_is_the_same_wherever_it_is_cut() {
    let (events, end) = read_stream(&[STREAM.as_bytes()]);
    assert!(matches!(end, StreamEnd::Complete));
    let texts: String = events
        .iter()
        .map(|event| match event {
            ChatEvent::Reasoning { text, .. } => format!("({text})"),
            ChatEvent::Text { text, .. } => text.clone(),
            ChatEvent::ToolCall { name, .. } => name.clone(),
            ChatEvent::Arguments { fragment, .. } => fragment.clone(),
            ChatEvent::Finish { finish, .. } => format!(" {}", finish.word),
            _ => String::new(),
        })
        .collect();
    assert_eq!(texts, "(嗯)你好f{\"a\":1} tool_calls");
    for cut in 0..=STREAM.len() {
        let (head, tail) = STREAM.as_bytes().split_at(cut);
        assert_eq!(read_stream(&[head, tail]).0, events, "{cut}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_not_taken_for_a_whole_one() {
    let last = STREAM.trim_end().rfind("data:").unwrap();
    for cut in [0, 1, 40, last, STREAM.trim_end().len() - 1] {
        let (_, end) = read_stream(&[&STREAM.as_bytes()[..cut]]);
        assert_eq!(fault_of(end).class, FaultClass::Transport, "{cut}");
    }
    // The last blank line may be missing, and a terminator may come.
    assert!(matches!(
        read_stream(&[STREAM.trim_end().as_bytes()]).1,
        StreamEnd::Complete
    ));
    let done = [STREAM, "data: [DONE]\n\n"].concat();
    assert!(matches!(read_stream(&[done.as_bytes()]).1, StreamEnd::Complete));
}

#[test]
fn what_fails_in_the_middle_leaves_the_text_before_it() {
    let first = STREAM
        .find("\n\ndata: {\"Choices\":[{\"Index\":0,\"Delta\":{\"Tool")
        .unwrap();
    for (failure, class, code) in [
        (
            r#"{"ErrorMsg":{"Msg":"engine","Code":4001},"Id":"hy-1"}"#,
            FaultClass::ServerError,
            Some("4001"),
        ),
        (
            r#"{"Response":{"Error":{"Code":"RequestLimitExceeded","Message":"engine"}}}"#,
            FaultClass::RateLimit,
            Some("RequestLimitExceeded"),
        ),
    ] {
        let text = format!("{}\n\ndata: {failure}\n\n", &STREAM[..first]);
        let (events, end) = read_stream(&[text.as_bytes()]);
        let fault = fault_of(end);
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, code));
        assert_eq!(fault.words.message.as_deref(), Some("engine"));
        assert!(
            events
                .iter()
                .any(|event| matches!(event, ChatEvent::Text { text, .. } if text == "你好"))
        );
    }
    let (_, end) = read_stream(&[b"data: {\"Choices\": [oops\n\n"]);
    assert_eq!(fault_of(end).class, FaultClass::InvalidReply);
}

proptest! {
    #[test]
    fn two_cuts_anywhere_change_nothing(one in 0..STREAM.len(), other in 0..STREAM.len()) {
        let (from, to) = (one.min(other), one.max(other));
        let bytes = STREAM.as_bytes();
        let found = read_stream(&[&bytes[..from], &bytes[from..to], &bytes[to..]]).0;
        prop_assert_eq!(found, read_stream(&[bytes]).0);
    }

    #[test]
    fn hurt_bytes_never_panic(at in 0..STREAM.len(), byte in any::<u8>(), cut in 0..STREAM.len()) {
        let mut bytes = STREAM.as_bytes().to_vec();
        bytes[at] = byte;
        let (head, tail) = bytes.split_at(cut);
        read_stream(&[head, tail]);
    }
}

#[test]
fn a_streamed_answer_reaches_the_caller_whole() {
    let body = json!({"messages": [{"role": "user", "content": "x"}], "stream": true});
    let headers = HeaderMap::new();
    let mut decoder = Chat(TencentChat).stream(&call(Capability::Chat, &body), opening(&headers));
    let out = decoder.push(Bytes::from_static(STREAM.as_bytes())).out;
    let end = decoder.finish();
    assert!(matches!(end.end, Some(StreamEnd::Complete)));
    assert!(String::from_utf8_lossy(&out).contains("你好"));
    assert_eq!(
        decoder.progress().usage.map(|usage| (usage.input, usage.output)),
        Some((3, 9))
    );
}

#[test]
fn a_whole_answer_is_read_with_its_thoughts_and_without_its_bill() {
    let body = json!({"messages": [{"role": "user", "content": "x"}]});
    let call = call(Capability::Chat, &body);
    let reply = json!({"Choices": [{"Message": {"Role": "assistant", "Content": "a", "ReasoningContent": "b"}, "FinishReason": "sensitive"}], "Id": "hy-1"});
    let found = answer(&Chat(TencentChat), &call, &reply).unwrap();
    let choice = &found["choices"][0];
    assert_eq!(choice["message"]["content"], "a");
    assert_eq!(choice["message"]["reasoning_content"], "b");
    assert_eq!(choice["finish_reason"], "content_filter");
    assert_eq!((&found["id"], &found["model"]), (&json!("hy-1"), &json!("up")));
    for (reply, class) in [
        (json!({"RequestId": "r"}), FaultClass::InvalidReply),
        (json!({"ErrorMsg": {"Msg": "m", "Code": 1}}), FaultClass::ServerError),
        (
            json!({"Error": {"Code": "InternalError", "Message": "m"}}),
            FaultClass::ServerError,
        ),
    ] {
        assert_eq!(
            answer(&Chat(TencentChat), &call, &reply).unwrap_err().class,
            class,
            "{reply}"
        );
    }
}

#[test]
fn vectors_come_in_the_order_of_their_texts_and_in_the_form_that_was_asked_for() {
    let many = |count: usize| call(Capability::Embeddings, &json!({"input": vec!["x"; count]}));
    let (action, body) = told(&encoded(&TencentEmbeddings, &many(50), "up").unwrap());
    assert_eq!(
        (action.as_str(), body["InputList"].as_array().unwrap().len()),
        ("GetEmbedding", 50)
    );
    assert_eq!(refused(&TencentEmbeddings, &many(51), "up"), "input");
    let doubled = json!({"input": "a", "InputList": ["c"]});
    let (_, body) = told(&encoded(&TencentEmbeddings, &call(Capability::Embeddings, &doubled), "up").unwrap());
    assert_eq!(body, json!({"Input": "a"}));
    for (body, param) in [
        (json!({"input": [[1, 2]]}), "input"),
        (json!({"input": "x", "dimensions": 8}), "dimensions"),
        (json!({"input": "x", "encoding_format": "int8"}), "encoding_format"),
    ] {
        assert_eq!(
            refused(&TencentEmbeddings, &call(Capability::Embeddings, &body), "up"),
            param
        );
    }
    let reply = json!({"Data": [{"Embedding": [1.0], "Index": 1}, {"Embedding": [0.5, -0.25], "Index": 0}], "Usage": {"PromptTokens": 2, "TotalTokens": 2}});
    let plain = answer(&TencentEmbeddings, &many(2), &reply).unwrap();
    assert_eq!(
        plain["data"][0],
        json!({"object": "embedding", "index": 0, "embedding": [0.5, -0.25]})
    );
    assert_eq!(plain["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    let packed = call(
        Capability::Embeddings,
        &json!({"input": ["x", "y"], "encoding_format": "base64"}),
    );
    let fault = answer(&TencentEmbeddings, &many(1), &reply).unwrap_err();
    assert_eq!(fault.class, FaultClass::InvalidReply);
    let odd = json!({"Data": [{"Embedding": [1.0]}], "Usage": 7});
    assert_eq!(
        answer(&TencentEmbeddings, &many(1), &odd).unwrap()["data"][0]["embedding"],
        json!([1.0])
    );
    let packed = answer(&TencentEmbeddings, &packed, &reply).unwrap();
    assert_eq!(packed["data"][0]["embedding"], "AAAAPwAAgL4=");
}

/// Plays a job's answers; tells what was asked for in between, and the answer.
fn play(codec: &dyn Codec, call: &Call, replies: &[Vec<u8>]) -> (Vec<String>, Result<Value, FaultClass>) {
    let (headers, mut state, mut asked) = (HeaderMap::new(), Value::Null, Vec::new());
    let mut replies = replies.iter().cloned();
    let mut places = 0;
    loop {
        let found = |body: Vec<u8>| Found {
            headers: HeaderMap::new(),
            body: body.into(),
        };
        let found: Vec<_> = replies.by_ref().take(places).map(found).collect();
        let reply = if places == 0 { replies.next() } else { Some(Vec::new()) };
        let Some(reply) = reply else {
            panic!("no answer after {asked:?}");
        };
        places = 0;
        let received = Received {
            state: &state,
            found: &found,
            ..received(&headers, reply)
        };
        match codec.decode(call, received) {
            Ok(Outcome::Answer(answer)) => {
                let (body, _) = answer.answer.into_body();
                return (asked, Ok(serde_json::from_slice(&body).unwrap()));
            }
            Ok(Outcome::Next(step)) => {
                let after = step.after.as_millis();
                match &step.ask {
                    Ask::Vendor(encoded) => asked.push(format!("{after} {} {}", told(encoded).0, told(encoded).1)),
                    Ask::Url(url) => panic!("{url}"),
                    Ask::Urls(urls) => {
                        places = urls.len();
                        asked.extend(urls.iter().map(|url| format!("{after} {url}")));
                    }
                }
                state = step.state;
            }
            Err(fault) => return (asked, Err(fault.class)),
        }
    }
}

fn response(body: &Value) -> Vec<u8> {
    json!({ "Response": body }).to_string().into_bytes()
}

#[test]
fn a_picture_is_a_job_that_is_asked_for_more_and_more_slowly() {
    let body = json!({"prompt": "a dot", "n": 2, "size": "768x1024", "Style": "riman"});
    let request = call(Capability::Image, &body);
    let (action, sent) = told(&encoded(&TencentImages, &request, "up").unwrap());
    assert_eq!(action, "SubmitHunyuanImageJob");
    assert_eq!(
        sent,
        json!({"Prompt": "a dot", "Num": 2, "Resolution": "768:1024", "Style": "riman"})
    );
    let uncounted = call(Capability::Image, &json!({"prompt": "a dot", "Num": 9}));
    assert_eq!(refused(&TencentImages, &uncounted, "up"), "Num");
    let waits = |code: &str| response(&json!({"JobStatusCode": code, "RequestId": "r"}));
    let done = response(
        &json!({"JobStatusCode": "5", "ResultImage": ["https://a.test/1", "", "https://a.test/3"], "RevisedPrompt": ["one"]}),
    );
    let mut replies = vec![response(&json!({"JobId": "j"})), waits("1")];
    replies.extend(vec![waits("2"); 5]);
    replies.push(done.clone());
    let (asked, answer) = play(&TencentImages, &request, &replies);
    let pauses: Vec<_> = asked.iter().filter_map(|asked| asked.split(' ').next()).collect();
    assert_eq!(pauses, ["1000", "1500", "2000", "3000", "5000", "5000", "5000"]);
    assert!(
        asked
            .iter()
            .all(|asked| asked.ends_with(r#"QueryHunyuanImageJob {"JobId":"j"}"#))
    );
    let images = json!([{"url": "https://a.test/1", "revised_prompt": "one"}, {"url": "https://a.test/3"}]);
    assert_eq!(answer.unwrap()["data"], images);

    let bytes = call(
        Capability::Image,
        &json!({"prompt": "a dot", "response_format": "b64_json"}),
    );
    let replies = [
        response(&json!({"JobId": "j"})),
        done,
        b"one".to_vec(),
        b"three".to_vec(),
    ];
    let (asked, answer) = play(&TencentImages, &bytes, &replies);
    assert_eq!(asked[1..], ["0 https://a.test/1", "0 https://a.test/3"]);
    let images = json!([{"b64_json": "b25l", "revised_prompt": "one"}, {"b64_json": "dGhyZWU="}]);
    assert_eq!(answer.unwrap()["data"], images);
}

#[test]
fn a_job_that_fails_fails_the_call() {
    let request = call(Capability::Image, &json!({"prompt": "a dot"}));
    let first = response(&json!({"JobId": "j"}));
    for (reply, class) in [
        (
            json!({"JobStatusCode": "4", "JobErrorCode": "FailedOperation.RequestTimeout", "JobErrorMsg": "m"}),
            FaultClass::Timeout,
        ),
        (
            json!({"JobStatusCode": "4", "JobErrorCode": ""}),
            FaultClass::ServerError,
        ),
        (
            json!({"JobStatusCode": "5", "ResultImage": []}),
            FaultClass::InvalidReply,
        ),
        (json!({"JobStatusCode": "9"}), FaultClass::InvalidReply),
        (
            json!({"Error": {"Code": "ResourceInsufficient", "Message": "m"}}),
            FaultClass::QuotaExceeded,
        ),
    ] {
        let (_, answer) = play(&TencentImages, &request, &[first.clone(), response(&reply)]);
        assert_eq!(answer, Err(class), "{reply}");
    }
    for (body, param) in [
        (json!({"prompt": "x", "size": "large"}), "size"),
        (json!({"prompt": "x", "size": "0x5"}), "size"),
        (json!({"prompt": "x", "quality": "hd"}), "quality"),
        (json!({"prompt": "x", "response_format": "png"}), "response_format"),
    ] {
        assert_eq!(refused(&TencentImages, &call(Capability::Image, &body), "up"), param);
    }
}

#[test]
fn the_routes_model_says_how_closely_text_is_looked_at() {
    let body = json!({"image": {"url": "https://a.test/x"}, "LanguageType": "auto", "min_confidence": 0.5});
    let request = call(Capability::Ocr, &body);
    for action in ["GeneralBasicOCR", "GeneralAccurateOCR"] {
        let found = told(&encoded(&TencentOcr, &request, action).unwrap());
        assert_eq!(
            found,
            (
                action.to_owned(),
                json!({"ImageUrl": "https://a.test/x", "LanguageType": "auto"})
            )
        );
    }
    assert_eq!(refused(&TencentOcr, &request, "GeneralHandwritingOCR"), "model");
    let doubled = json!({"image": {"base64": "eA=="}, "ImageBase64": "eQ==", "ImageUrl": "https://a.test/other"});
    let found = told(&encoded(&TencentOcr, &call(Capability::Ocr, &doubled), "GeneralBasicOCR").unwrap());
    assert_eq!(
        found.1,
        json!({"ImageBase64": "eA=="}),
        "one picture is looked at, and it is the checked one"
    );
}

#[test]
fn labels_of_all_scenes_are_told() {
    let request = call(
        Capability::Labels,
        &json!({"image": {"base64": "eA=="}, "Scenes": ["WEB", "CAMERA"]}),
    );
    let encoded = encoded(&TencentLabels, &request, "up").unwrap();
    assert_eq!(encoded.place.as_ref().unwrap().headers["x-tc-region"], "ap-guangzhou");
    let reply = json!({"Labels": [{"Name": "a", "Confidence": 93, "FirstCategory": "b", "SecondCategory": "c"}], "CameraLabels": [{"Name": "d", "Confidence": 41}], "AlbumLabels": null, "RequestId": "r"});
    let labels = answer(&TencentLabels, &request, &reply).unwrap()["labels"].clone();
    let wanted = json!([{"name": "a", "confidence": 0.93, "category": "b", "subcategory": "c"}, {"name": "d", "confidence": 0.41, "scene": "CAMERA"}]);
    assert_eq!(labels, wanted);
    assert_eq!(
        answer(&TencentLabels, &request, &json!({})).unwrap_err().class,
        FaultClass::InvalidReply
    );
}

#[test]
fn two_faces_are_compared() {
    let body = json!({"image": {"base64": "eA=="}, "compare_to": {"url": "https://a.test/x"}, "QualityControl": 1});
    let request = call(Capability::Faces, &body);
    let found = told(&encoded(&TencentFaces, &request, "3.0").unwrap());
    let wanted = json!({"ImageA": "eA==", "UrlB": "https://a.test/x", "QualityControl": 1, "FaceModelVersion": "3.0"});
    assert_eq!(found, ("CompareFace".to_owned(), wanted));
    let alike = answer(&TencentFaces, &request, &json!({"Score": 91.25})).unwrap();
    assert_eq!(alike, json!({"faces": [], "filtered": 0, "similarity": 0.9125}));
    let alone = call(Capability::Faces, &json!({"image": {"base64": "eA=="}}));
    let found = told(&encoded(&TencentFaces, &alone, "faces").unwrap());
    assert_eq!(found, ("DetectFace".to_owned(), json!({"Image": "eA=="})));
    let nobody = json!({"Error": {"Code": "InvalidParameterValue.NoFaceInPhoto", "Message": "m"}});
    assert_eq!(
        answer(&TencentFaces, &alone, &nobody).unwrap_err().class,
        FaultClass::NoResult
    );
}

#[test]
fn a_long_recording_or_one_behind_a_url_is_a_task() {
    let wav = |seconds: u32| {
        let length = 16_000 * seconds;
        let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data".to_vec();
        out.extend(length.to_le_bytes());
        out.resize(out.len() + usize::try_from(length).unwrap(), 0);
        out
    };
    let action = |call: &Call| told(&encoded(&TencentTranscription, call, "16k_zh").unwrap()).0;
    assert_eq!(action(&form(&[], Some(("a.wav", &wav(60))))), "SentenceRecognition");
    assert_eq!(action(&form(&[], Some(("a.wav", &wav(61))))), "CreateRecTask");
    assert_eq!(
        action(&form(&[], Some(("a.mp3", &vec![0; 480_000])))),
        "SentenceRecognition"
    );
    assert_eq!(action(&form(&[], Some(("a.mp3", &vec![0; 480_001])))), "CreateRecTask");
    assert_eq!(action(&form(&[], Some(("a.mp3", &vec![0; MIB * 5])))), "CreateRecTask");
    assert_eq!(
        refused(
            &TencentTranscription,
            &form(&[], Some(("a.mp3", &vec![0; MIB * 5 + 1]))),
            "16k_zh"
        ),
        "file"
    );
    assert_eq!(
        action(&form(&[("ResTextFormat", "3")], Some(("a.wav", &wav(1))))),
        "CreateRecTask"
    );
    let url = ("url", "https://a.test/x.mp3?sig=1");
    assert_eq!(action(&form(&[url], None)), "CreateRecTask");
    let short = form(
        &[url, ("VoiceFormat", "mp3"), ("WordInfo", "1"), ("HotwordId", "12")],
        None,
    );
    let found = told(&encoded(&TencentTranscription, &short, "16k_zh").unwrap());
    let wanted = json!({"EngSerViceType": "16k_zh", "SourceType": 0, "Url": url.1, "VoiceFormat": "mp3", "WordInfo": 1, "HotwordId": "12"});
    assert_eq!(found, ("SentenceRecognition".to_owned(), wanted));
    // The route's model, and the sound that was checked, go before the caller's.
    let dear = [
        ("EngSerViceType", "16k_zh_large"),
        ("EngineModelType", "16k_zh_large"),
        ("Data", "eQ=="),
    ];
    let short = [dear.as_slice(), &[url, ("VoiceFormat", "mp3"), ("WordInfo", "1")]].concat();
    let long = [dear.as_slice(), &[url]].concat();
    for (fields, engine) in [(short, "EngSerViceType"), (long, "EngineModelType")] {
        let (_, body) = told(&encoded(&TencentTranscription, &form(&fields, None), "16k_zh").unwrap());
        assert_eq!((&body[engine], &body["Data"]), (&json!("16k_zh"), &Value::Null));
    }
    let words = form(&[("timestamp_granularities[]", "word")], Some(("a.opus", b"x")));
    let (_, body) = told(&encoded(&TencentTranscription, &words, "16k_zh").unwrap());
    let wanted = json!({"EngSerViceType": "16k_zh", "SourceType": 1, "Data": "eA==", "DataLen": 1, "VoiceFormat": "ogg-opus", "WordInfo": 2});
    assert_eq!(body, wanted);
    for (call, param) in [
        (form(&[("language", "zh")], Some(("a.wav", b"x"))), "language"),
        (form(&[], Some(("noname", b"x"))), "file"),
    ] {
        assert_eq!(refused(&TencentTranscription, &call, "16k_zh"), param);
    }
}

const MIB: usize = 1024 * 1024;

#[test]
fn a_task_is_asked_for_until_it_tells_its_sentences() {
    let request = form(&[("response_format", "verbose_json")], Some(("a.wav", b"x")));
    let data = |body: &Value| response(&json!({ "Data": body }));
    let detail = json!({"TaskId": 5, "Status": 2, "AudioDuration": 4.5, "Result": "", "ResultDetail": [
        {"FinalSentence": "One.", "StartMs": 20, "EndMs": 2000, "SpeakerId": 1, "Words": [{"Word": "One", "OffsetStartMs": 10, "OffsetEndMs": 90}]},
        {"FinalSentence": "Two.", "StartMs": 2000, "EndMs": 4500}]});
    let replies = [
        data(&json!({"TaskId": 5})),
        data(&json!({"TaskId": 5, "Status": 0})),
        data(&json!({"TaskId": 5, "Status": 1})),
        data(&detail),
    ];
    let (asked, answer) = play(&TencentTranscription, &request, &replies);
    let question = r#"DescribeTaskStatus {"TaskId":5}"#;
    assert_eq!(
        asked,
        [
            format!("1000 {question}"),
            format!("1500 {question}"),
            format!("2000 {question}")
        ]
    );
    let wanted = json!({"text": "One. Two.", "duration": 4.5,
        "segments": [{"start": 0.02, "end": 2.0, "text": "One.", "speaker": 1}, {"start": 2.0, "end": 4.5, "text": "Two."}],
        "words": [{"word": "One", "start": 0.03, "end": 0.11}]});
    assert_eq!(answer.unwrap(), wanted);

    let plain = json!({"TaskId": 5, "Status": 2, "Result": "[0:0.020,0:2.380]  你好。\n[1:2.500,1:3.000,0]  再见。\nnot timed\n"});
    let (_, answer) = play(
        &TencentTranscription,
        &request,
        &[data(&json!({"TaskId": 5})), data(&plain)],
    );
    let answer = answer.unwrap();
    assert_eq!(answer["text"], "你好。再见。not timed");
    assert_eq!(
        answer["segments"][1],
        json!({"start": 62.5, "end": 63.0, "text": "再见。"})
    );

    let failed = data(&json!({"TaskId": 5, "Status": 3, "ErrorMsg": "Failed to download audio file!"}));
    let (_, answer) = play(&TencentTranscription, &request, &[data(&json!({"TaskId": 5})), failed]);
    assert_eq!(answer, Err(FaultClass::ServerError));
}
