use serde_json::{Map, Value, json};

use super::*;
use crate::domain::json_object::MOST_MEMBERS;

fn read(body: &Value) -> Value {
    let text = body.to_string();
    let request = ChatRequest::read(text.as_bytes()).unwrap();
    Value::Object(request.to_openai())
}

#[test]
fn an_object_of_too_many_members_is_named() {
    let many: Map<String, Value> = (0..=MOST_MEMBERS).map(|at| (format!("a{at}"), json!(0))).collect();
    for (body, param) in [(json!(many), None), (json!({"messages": [many]}), Some("messages[0]"))] {
        let error = ChatRequest::read(body.to_string().as_bytes()).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, param));
        assert!(error.message.contains("more than 4096 members"), "{error:?}");
    }
}

#[test]
fn what_is_read_is_written_again() {
    for more in [
        json!({}),
        json!({"temperature": 0.5, "top_p": 1, "top_k": 3, "seed": 7, "n": 2, "stop": ["a"], "user": "u"}),
        json!({"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}}),
        json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 5, "presence_penalty": 0.1, "frequency_penalty": -1}),
        json!({"reasoning_effort": "low", "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        json!({"reasoning_effort": "low", "thinking": {"type": "auto"}}),
        json!({"thinking": {"type": "disabled", "display": "omitted"}}),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
        json!({"logit_bias": {"1": 2}, "safe_prompt": true}),
        json!({"messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
                {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "f.pdf"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "thinking_blocks": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "redacted_thinking", "data": "xx"}],
             "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"},
                "extra_content": {"google": {"thought_signature": "s"}}}]},
            {"role": "tool", "content": "r", "tool_call_id": "c", "is_error": true, "cache_control": {"type": "ephemeral"}},
            {"role": "assistant", "content": null, "audio": {"id": "audio_1"}},
        ]}),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "gr\u{fc}\u{df}e \"\n"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(read(&body), body);
    }
}

#[test]
fn calls_without_names_are_told_in_todays_words() {
    let called = |name: &str| json!({"role": "assistant", "content": null, "function_call": {"name": name, "arguments": "{\"a\":1}"}});
    let answered = |name: &str| json!({"role": "function", "name": name, "content": "r"});
    let body = json!({"messages": [
        {"role": "user", "content": "x"}, called("f"), answered("f"), called("f"), answered("f"),
        // As answers of today are sent back.
        {"role": "assistant", "content": "so", "function_call": null, "audio": null, "tool_calls": null}]});
    let call = |id: &str| {
        json!({"role": "assistant", "content": null,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]})
    };
    let answer = |id: &str| json!({"role": "tool", "tool_call_id": id, "name": "f", "content": "r"});
    let wanted = json!({"messages": [
        {"role": "user", "content": "x"}, call("call_1"), answer("call_1"), call("call_3"), answer("call_3"),
        {"role": "assistant", "content": "so"}]});
    assert_eq!(read(&body), wanted);
}

#[test]
fn one_call_in_both_words_is_one() {
    let calls = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let both = json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": calls, "function_call": {"name": "f", "arguments": "{}"}}]});
    assert_eq!(
        read(&both),
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": calls}]})
    );
}

#[test]
fn what_is_between_the_caller_and_us_is_no_part_of_it() {
    let body = json!({"model": "m", "conversation_id": "c", "messages": [], "temperature": null, "max_completion_tokens": 3,
        "max_tokens": 5, "safety_identifier": "s"});
    assert_eq!(read(&body), json!({"messages": [], "max_tokens": 3, "user": "s"}));
}

#[test]
fn a_large_picture_is_borrowed() {
    let data = "A".repeat(1 << 20);
    let body = json!({"messages": [{"role": "user", "content": [{"type": "image_url",
        "image_url": {"url": format!("data:image/png;base64,{data}")}}]}]});
    let body = body.to_string();
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let Content::Parts(parts) = &request.messages[0].content else {
        panic!()
    };
    let PartKind::Image {
        source: Source::Base64 { data: found, .. },
        ..
    } = &parts[0].kind
    else {
        panic!()
    };
    assert!(matches!(found, Cow::Borrowed(_)) && **found == data);
}

#[test]
fn faults_name_their_place() {
    for (body, param) in [
        (
            r#"{"messages":[{"role":"user","content":[{"type":"video"}]}]}"#,
            "messages[0].content[0].type",
        ),
        (r#"{"messages":[{"role":"robot"}]}"#, "messages[0].role"),
        (
            r#"{"messages":[{"role":"function","name":"f","content":"r"}]}"#,
            "messages[0].role",
        ),
        (
            r#"{"messages":[{"role":"assistant","function_call":{"arguments":"{}"}}]}"#,
            "messages[0].function_call.name",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"ftp://x"}}]}]}"#,
            "messages[0].content[0].image_url.url",
        ),
        (r#"{"messages":[],"tools":[{"type":"function"}]}"#, "tools[0].function"),
        (r#"{"messages":[],"temperature":"hot"}"#, "temperature"),
        (r#"{"messages":[],"stop":[1]}"#, "stop"),
        (r#"{"messages":[],"tool_choice":"maybe"}"#, "tool_choice"),
        (
            r#"{"messages":[],"response_format":{"type":"xml"}}"#,
            "response_format.type",
        ),
        (r#"{"messages":[],"seed":1,"seed":2}"#, "seed"),
        (r#"{"messages":[],"foo":1,"foo":2}"#, "foo"),
    ] {
        let error = ChatRequest::read(body.as_bytes()).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
    }
}

#[test]
fn counts_come_to_openais_totals() {
    let anthropic = Counts {
        input: Some(15),
        output: Some(30),
        cached_input: Some(4),
        cache_write_input: Some(2),
        cached_apart: true,
        ..Counts::default()
    };
    assert_eq!((anthropic.all_input(), anthropic.all_output()), (21, 30));
    let gemini = Counts {
        input: Some(5),
        output: Some(3),
        reasoning: Some(7),
        reasoning_apart: true,
        ..Counts::default()
    };
    assert_eq!((gemini.all_input(), gemini.all_output()), (5, 10));
    let only_total = Counts {
        total: Some(9),
        output: Some(4),
        ..Counts::default()
    };
    assert_eq!((only_total.all_input(), only_total.all_output()), (5, 4));
    let whole = Counts {
        total: Some(9),
        ..Counts::default()
    };
    assert!(only_total.says_anything() && !whole.says_anything());
}

#[test]
fn thoughts_are_a_part_of_a_total() {
    let silent = Counts {
        input: Some(5),
        reasoning: Some(7),
        total: Some(12),
        reasoning_apart: true,
        ..Counts::default()
    };
    assert_eq!((silent.all_input(), silent.all_output()), (5, 7));
    let only = Counts {
        reasoning: Some(7),
        reasoning_apart: true,
        ..Counts::default()
    };
    assert_eq!(only.all_output(), 7);
}

#[test]
fn names_that_were_made_up_are_known_again() {
    for made_up in [
        made_up_id(0),
        made_up_id(27),
        named_call(0, 0),
        named_call(u64::MAX, 12),
    ] {
        assert!(is_made_up(&made_up), "{made_up}");
    }
    for theirs in [
        "call_abc",
        "call_",
        "call_12345",
        "call_0123456789abcdef",
        "toolu_1",
        "call_0123456789abcdeg_1",
        "",
    ] {
        assert!(!is_made_up(theirs), "{theirs}");
    }
}

#[test]
fn an_order_that_does_not_fit_loses_nothing() {
    use super::{Block, Message, Said};

    let thought = |text: &'static str| Thought::Text {
        text: text.into(),
        signature: None,
    };
    let mut message = Message::new(Role::Assistant, Content::Text("said".into()));
    message.thoughts = vec![thought("one"), thought("two")];
    message.refusal = Some("no".into());
    let told = |order: &[Block]| -> Vec<String> {
        let message = Message {
            order: order.to_vec(),
            ..message.clone()
        };
        let tell = |said: Said<'_, '_>| match said {
            Said::Thought(Thought::Text { text, .. }) => text.clone().into_owned(),
            Said::Text(text) => text.to_owned(),
            other => panic!("{other:?}"),
        };
        message.blocks().into_iter().map(tell).collect()
    };
    assert_eq!(told(&[]), ["one", "two", "said", "no"]);
    assert_eq!(told(&[Block::Part]), ["said", "one", "two", "no"]);
    let (thought, part, call) = (Block::Thought, Block::Part, Block::Call);
    assert_eq!(
        told(&[thought, call, part, part, thought]),
        ["one", "said", "two", "no"]
    );
}
