//! What is said in the words of Converse.

use super::*;

#[test]
fn roles_take_turns_and_what_instructs_stands_apart() {
    let sent = encoded(&json!({"messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "d", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{\"big\":12345678901234567890123}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "plain"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "{\"a\":1}"}], "is_error": true},
        {"role": "user", "content": "three"},
    ], "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]}));
    assert_eq!(
        sent["system"],
        json!([{"text": "s"}, {"text": "d"}, {"cachePoint": {"type": "default"}}])
    );
    let turns = sent["messages"].as_array().unwrap();
    let roles: Vec<_> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(turns[0]["content"], json!([{"text": "one"}, {"text": "two"}]));
    assert_eq!(
        turns[1]["content"][0]["toolUse"]["toolUseId"],
        "functions_f_0_1r3U3jKKIu3WEPlUi09BnzdW6I72nZKlgeJzNb6FExc"
    );
    assert_eq!(turns[1]["content"][1]["toolUse"]["input"], json!({}));
    assert_eq!(
        turns[2]["content"],
        json!([
            {"toolResult": {"toolUseId": "functions_f_0_1r3U3jKKIu3WEPlUi09BnzdW6I72nZKlgeJzNb6FExc", "content": [{"text": "plain"}], "status": "success"}},
            {"toolResult": {"toolUseId": "b", "content": [{"text": "{\"a\":1}"}], "status": "error"}},
            {"text": "three"},
        ])
    );
}

#[test]
fn the_mark_of_a_tools_answer_stands_behind_its_result() {
    let mark = json!({"type": "ephemeral"});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let sent = encoded(&json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("a"), call("b"), call("c")]},
        {"role": "tool", "tool_call_id": "a", "content": "x", "cache_control": mark},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "y", "cache_control": mark}]},
        {"role": "tool", "tool_call_id": "c", "content": "z"},
    ], "tools": [{"type": "function", "function": {"name": "f"}}]}));
    let result = |id: &str, text: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}], "status": "success"}});
    let point = json!({"cachePoint": {"type": "default"}});
    let wanted = json!([result("a", "x"), point, result("b", "y"), point, result("c", "z")]);
    assert_eq!(sent["messages"][2]["content"], wanted);
}

#[test]
fn whether_thoughts_are_shown_is_told_to_claude_and_to_nobody_else() {
    let body = json!({"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}});
    let wanted = json!({"type": "enabled", "budget_tokens": 2048, "display": "omitted"});
    assert_eq!(encoded(&body)["additionalModelRequestFields"]["thinking"], wanted);
    let others = json!({"reasoning_effort": "low", "thinking": {"type": "enabled", "display": "omitted"}});
    let Err(EncodeError::Refused(error)) = encoded_for(&others, "openai.gpt-oss", WhenUnsupported::Refuse) else {
        panic!()
    };
    assert_eq!(error.param.as_deref(), Some("thinking.display"));
    let (_, left) = encoded_for(&others, "openai.gpt-oss", WhenUnsupported::Drop).unwrap();
    assert_eq!(left.dropped, ["thinking.display"]);
}

#[test]
fn ids_that_are_made_fit_are_not_made_alike() {
    let long = |end: char| format!("{}{end}", "x".repeat(70));
    for (one, other) in [("a.b", "a_b"), ("a_b", "a.b"), ("a:b", "a.b"), (&long('1'), &long('2'))] {
        let sent = encoded(&json!({"messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [
                {"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": other, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": other, "content": "of the other"},
            {"role": "tool", "tool_call_id": one, "content": "of the one"},
        ], "tools": [{"type": "function", "function": {"name": "f"}}]}));
        let calls = &sent["messages"][1]["content"];
        let id = |at: usize| calls[at]["toolUse"]["toolUseId"].as_str().unwrap();
        assert_ne!(id(0), id(1));
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!([id(0), id(1)].iter().all(|id| id.len() <= 64 && id.chars().all(fit)));
        let results = &sent["messages"][2]["content"];
        assert_eq!(results[0]["toolResult"]["toolUseId"], id(1));
        assert_eq!(results[1]["toolResult"]["toolUseId"], id(0));
    }
}

#[test]
fn arguments_and_results_go_on_as_they_are_written() {
    let body = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1.0, \"a\": 12345678901234567890123}"}},
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "{\"z\":1.50,\"a\":2}"},
    ], "tools": [{"type": "function", "function": {"name": "f"}}]});
    let (_, encoded) = encoded_for(&body, "m", WhenUnsupported::Refuse).unwrap();
    let text = String::from_utf8(encoded.body.concat()).unwrap();
    assert!(
        text.contains(r#""input":{"b": 1.0, "a": 12345678901234567890123}"#),
        "{text}"
    );
    assert!(text.contains(r#"[{"json":{"z":1.50,"a":2}}]"#), "{text}");
}

#[test]
fn pictures_and_documents_are_told_by_format_and_name() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let file = |name: &str, data: &str| json!({"type": "file", "file": {"filename": name, "file_data": data}});
    let content = json!([
        image("data:image/jpeg;base64,eA=="),
        image("data:image/webp;base64,eQ=="),
        file("my_report.v2 (final).pdf", "data:application/pdf;base64,eA=="),
        file("my_report.v2 (final).pdf", "data:application/pdf;base64,eQ=="),
    ]);
    let sent = encoded(&json!({"messages": [{"role": "user", "content": content}]}));
    assert_eq!(
        sent["messages"][0]["content"],
        json!([
            {"image": {"format": "jpeg", "source": {"bytes": "eA=="}}},
            {"image": {"format": "webp", "source": {"bytes": "eQ=="}}},
            {"document": {"format": "pdf", "name": "my report v2 (final) pdf", "source": {"bytes": "eA=="}}},
            {"document": {"format": "pdf", "name": "my report v2 (final) pdf (2)", "source": {"bytes": "eQ=="}}},
        ])
    );
    let bitmap = json!({"messages": [{"role": "user", "content": [image("data:image/bmp;base64,eA==")]}]});
    assert_eq!(refused(&bitmap), "messages[0].content[0]");
    let behind_url = json!({"messages": [{"role": "user", "content": [image("https://a.test/x.png")]}]});
    let asked = encoded_for(&behind_url, "m", WhenUnsupported::Refuse);
    let Err(EncodeError::Fetch(urls)) = asked else {
        panic!("{asked:?}")
    };
    assert_eq!(urls, ["https://a.test/x.png"]);
}

#[test]
fn a_large_picture_is_copied_once() {
    let data = "A".repeat(10 * 1024 * 1024);
    let content = json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}]);
    let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let vendor = Vendor::named("v", "aws_bedrock");
    let (written, _) = convert::encode(&request, target(&vendor)).unwrap();
    // Room was made once for all of it.
    let written: Vec<u8> = written.into();
    assert!(written.len() > data.len() && written.capacity() < data.len() + 4096);
}

#[test]
fn tools_are_told_and_choices_have_their_words() {
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let mut cached = function("g");
    cached["cache_control"] = json!({"type": "ephemeral"});
    let tools = json!([function("f"), cached]);
    for (choice, wanted) in [
        (json!(null), json!(null)),
        (json!("auto"), json!({"auto": {}})),
        (json!("required"), json!({"any": {}})),
        (function("g"), json!({"tool": {"name": "g"}})),
    ] {
        let sent = encoded(&json!({"tools": tools, "tool_choice": choice}));
        assert_eq!(sent["toolConfig"]["toolChoice"], wanted);
        let schema = json!({"json": {"type": "object", "properties": {}}});
        assert_eq!(
            sent["toolConfig"]["tools"],
            json!([
                {"toolSpec": {"name": "f", "inputSchema": schema}},
                {"toolSpec": {"name": "g", "inputSchema": schema}},
                {"cachePoint": {"type": "default"}},
            ])
        );
    }
    // Tools that must not be called need not be known, unless some were called before.
    let none = json!({"tools": tools, "tool_choice": "none"});
    assert!(encoded(&none)["toolConfig"].is_null());
    let mut after = none;
    after["messages"] = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "r"},
    ]);
    assert_eq!(refused(&after), "tool_choice");
    after["tool_choice"] = Value::Null;
    after["tools"] = json!([]);
    assert_eq!(refused(&after), "tools");
}

#[test]
fn what_is_not_within_converse_goes_by_the_models_family() {
    let sent = |body: &Value, model: &str| encoded_for(body, model, WhenUnsupported::Refuse).map(|(body, _)| body);
    let fields = |body: &Value, model: &str| sent(body, model).unwrap()["additionalModelRequestFields"].clone();
    let top_k = json!({"top_k": 3, "additionalModelRequestFields": {"x": 1}});
    assert_eq!(fields(&top_k, "us.anthropic.claude-v1:0"), json!({"top_k": 3, "x": 1}));
    assert_eq!(
        fields(&top_k, "amazon.nova-lite-v1:0"),
        json!({"inferenceConfig": {"topK": 3}, "x": 1})
    );
    for (body, model, wanted) in [
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 9}),
            "anthropic.c",
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ),
        (
            json!({"reasoning_effort": "low"}),
            "anthropic.c",
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ),
        (
            json!({"reasoning_effort": "high", "max_tokens": 3001}),
            "anthropic.c",
            json!({"thinking": {"type": "enabled", "budget_tokens": 3000}}),
        ),
        (json!({"reasoning_effort": "none"}), "anthropic.c", json!(null)),
        (json!({"thinking": {"type": "disabled"}}), "meta.llama", json!(null)),
        (
            json!({"reasoning_effort": "low"}),
            "openai.gpt-oss-120b-1:0",
            json!({"reasoning_effort": "low"}),
        ),
    ] {
        assert_eq!(fields(&body, model), wanted, "{body} {model}");
    }
    let unknown = json!({"reasoning_effort": "low"});
    assert!(sent(&unknown, "meta.llama").is_err());
    let (body, encoded) = encoded_for(&unknown, "meta.llama", WhenUnsupported::Drop).unwrap();
    assert!(body["additionalModelRequestFields"].is_null());
    assert_eq!(encoded.dropped, ["reasoning"]);
}

#[test]
fn members_by_the_vendors_names_pass_unless_they_are_made_of_others() {
    let guardrail = json!({"guardrailIdentifier": "g", "guardrailVersion": "1"});
    let sent = encoded(&json!({"guardrailConfig": guardrail, "user": "u-1"}));
    assert_eq!(sent["guardrailConfig"], guardrail);
    assert_eq!(sent["requestMetadata"], json!({"user": "u-1"}));
    for name in ["system", "inferenceConfig", "toolConfig"] {
        let mut body = json!({});
        body[name] = json!({});
        assert_eq!(refused(&body), name);
    }
    assert_eq!(refused(&json!({"user": "\u{4f60}"})), "user");
    assert_eq!(
        refused(&json!({"top_k": 1, "additionalModelRequestFields": 7})),
        "additionalModelRequestFields"
    );
    assert_eq!(refused(&json!({"seed": 1})), "seed");
    let cut = json!({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"cut"}},
    ]}], "tools": [{"type": "function", "function": {"name": "f"}}]});
    let sent = encoded(&cut);
    let input = &sent["messages"][0]["content"][0]["toolUse"]["input"];
    assert_eq!(*input, json!({"INVALID_JSON": "{\"cut"}));
}

#[test]
fn both_notices_of_dropped_fields_reach_the_caller() {
    let body = json!({"seed": 1, "reasoning_effort": "low"});
    let (_, encoded) = encoded_for(&body, "meta.llama", WhenUnsupported::Drop).unwrap();
    assert_eq!(encoded.dropped, ["seed", "reasoning"]);
    assert!(
        support::hold(
            &mut ChatRequest::default(),
            &BedrockChat.support(),
            WhenUnsupported::Refuse
        )
        .is_ok()
    );
}

#[test]
fn a_model_is_one_segment_of_the_path() {
    assert_eq!(
        place("arn:aws:bedrock:us-east-1:1:inference-profile/a b", "converse"),
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fa%20b/converse"
    );
}
