//! Chat in the vendor's words.

use super::*;

#[test]
fn chat_is_what_the_vendors_own_library_sends_and_reads() {
    for golden in Golden::of("dashscope", "chat-") {
        check_request(&golden, &CHAT, Capability::Chat);
        golden.check_chat(&CHAT, &call(Capability::Chat, &openai(&golden)));
    }
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
