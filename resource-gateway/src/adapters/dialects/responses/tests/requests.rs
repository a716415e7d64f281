//! What is said in the vendor's words.

use super::*;

#[test]
fn a_request_with_everything_in_it_is_said_in_the_vendors_words() {
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "f.pdf"}},
                {"type": "file", "file": {"file_url": "https://a.test/x.pdf"}}]},
            {"role": "assistant", "content": "Hm.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.50}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "no"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "developer", "content": "Quickly."},
            {"role": "assistant", "content": [{"type": "text", "text": "x"}], "refusal": "y"},
            {"role": "user", "content": "Go on."}],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
            {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "max_completion_tokens": 99, "temperature": 0.5, "top_p": 1, "user": "u", "verbosity": "low", "store": false,
        "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k", "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "stream": true, "stream_options": {"include_usage": true}, "truncation": "auto",
    });
    let wanted = json!({
        "model": "up", "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "low"},
                {"type": "input_image", "image_url": "https://a.test/x.png"},
                {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,eA=="},
                {"type": "input_file", "file_url": "https://a.test/x.pdf"}]},
            {"type": "message", "role": "assistant", "content": "Hm."},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1.50}"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "no"},
            {"type": "function_call_output", "call_id": "c2",
             "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "message", "role": "developer", "content": "Quickly."},
            {"type": "message", "role": "assistant",
             "content": [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "y"}]},
            {"type": "message", "role": "user", "content": "Go on."}],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": false}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
        "max_output_tokens": 99, "temperature": 0.5, "top_p": 1, "user": "u", "store": false,
        "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k",
        "reasoning": {"effort": "high"}, "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "stream": true, "truncation": "auto",
    });
    let encoded = encoded(&ResponsesDialect, &body, &vendor()).unwrap();
    assert_eq!(json_of(&encoded), wanted);
    assert_eq!(encoded.accept, "text/event-stream");
}

#[test]
fn one_question_is_a_text_and_whoever_instructs_first_instructs() {
    assert_eq!(
        written_for(&json!({"messages": user("Hi")})),
        json!({"model": "up", "input": "Hi", "store": false})
    );
    let instructed =
        json!([{"role": "developer", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": "Hi"}]);
    assert_eq!(
        written_for(&json!({"messages": instructed})),
        json!({"model": "up", "instructions": "a", "input": "Hi", "store": false})
    );
    // Fewer tokens than that are refused.
    for (most, wanted) in [(1, 16), (15, 16), (16, 16), (17, 17)] {
        let written = written_for(&json!({"messages": user("Hi"), "max_tokens": most}));
        assert_eq!(written["max_output_tokens"], wanted);
    }
    // There has to be something that is asked.
    assert_eq!(
        written_for(&json!({"messages": [{"role": "system", "content": "a"}]})),
        json!({"model": "up", "input": [{"type": "message", "role": "system", "content": "a"}], "store": false})
    );
    let twice = json!([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]);
    assert_eq!(
        written_for(&json!({"messages": twice}))["input"],
        json!([{"type": "message", "role": "system", "content": "b"}, {"type": "message", "role": "user", "content": "c"}])
    );
}

#[test]
fn formats_and_choices_have_their_own_words() {
    let with = |more: Value| {
        let mut body = json!({"messages": user("Hi")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        written_for(&body)
    };
    for (kind, wanted) in [("text", "text"), ("json_object", "json_object")] {
        let body = with(json!({"response_format": {"type": kind}}));
        assert_eq!(body["text"], json!({"format": {"type": wanted}}));
    }
    for word in ["auto", "none", "required"] {
        assert_eq!(with(json!({"tool_choice": word}))["tool_choice"], word);
    }
    let body = with(json!({"logprobs": true, "top_logprobs": 3}));
    assert_eq!(
        (&body["top_logprobs"], &body["include"]),
        (&json!(3), &json!(["message.output_text.logprobs"]))
    );
}

#[test]
fn how_hard_it_thinks_is_said_in_one_word() {
    let encrypted = json!(["reasoning.encrypted_content"]);
    for (said, wanted, include) in [
        (
            json!({"reasoning_effort": "none"}),
            json!({"effort": "none"}),
            Value::Null,
        ),
        (
            json!({"reasoning_effort": "xhigh"}),
            json!({"effort": "xhigh"}),
            encrypted.clone(),
        ),
        (json!({"thinking": {"type": "disabled"}}), Value::Null, Value::Null),
        (json!({"thinking": {"type": "auto"}}), Value::Null, Value::Null),
        (
            json!({"thinking": {"type": "enabled"}}),
            json!({"effort": "medium"}),
            encrypted.clone(),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
            json!({"effort": "low"}),
            encrypted.clone(),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 4097}}),
            json!({"effort": "medium"}),
            encrypted.clone(),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 16385, "display": "summarized"}}),
            json!({"effort": "high", "summary": "auto"}),
            encrypted,
        ),
    ] {
        let mut body = said.clone();
        body["messages"] = user("Hi");
        let body = written_for(&body);
        assert_eq!((&body["reasoning"], &body["include"]), (&wanted, &include), "{said}");
    }
}

#[test]
fn thoughts_go_back_to_the_vendor_that_has_thought_them() {
    let blocks = json!([
        {"type": "thinking", "thinking": "own", "signature": "responses:abc"},
        {"type": "redacted_thinking", "data": "responses:def"},
        {"type": "thinking", "thinking": "another's", "signature": "abc"},
        {"type": "redacted_thinking", "data": "def"}]);
    let body = json!({"messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "thinking_blocks": blocks,
         "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "assistant", "content": "x", "reasoning_content": "unproven"}]});
    assert_eq!(
        written_for(&body)["input"],
        json!([
            {"type": "message", "role": "user", "content": "Hi"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "own"}], "encrypted_content": "abc"},
            {"type": "reasoning", "summary": [], "encrypted_content": "def"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": "x"}])
    );
}

#[test]
fn what_others_have_left_at_the_vendor_is_reached_by_nobody() {
    for (name, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
        ("background", json!(true)),
    ] {
        let body = json!({"messages": user("Hi"), name: value});
        assert_eq!(refused(&body), (name.to_owned(), "unsupported_parameter".to_owned()));
    }
    for name in [
        "input",
        "instructions",
        "include",
        "text",
        "reasoning",
        "max_output_tokens",
    ] {
        let body = json!({"messages": user("Hi"), name: {}});
        assert_eq!(refused(&body), (name.to_owned(), "invalid_value".to_owned()));
    }
}

#[test]
fn what_the_vendor_has_no_words_for_is_refused_by_name_or_left_out() {
    for (name, value) in [
        ("stop", json!("x")),
        ("seed", json!(1)),
        ("n", json!(2)),
        ("top_k", json!(1)),
        ("presence_penalty", json!(0.1)),
        ("frequency_penalty", json!(0.1)),
        ("logit_bias", json!({"1": 1})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("modalities", json!(["text", "audio"])),
        ("web_search_options", json!({})),
        ("functions", json!([])),
        ("store", json!(true)),
    ] {
        let body = json!({"model": "m", "messages": user("Hi"), name: value});
        let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
        let with = |when_unsupported| {
            let vendor = vendor();
            let target = Target {
                when_unsupported,
                ..target(&vendor)
            };
            Chat(ResponsesDialect).encode(&call, target)
        };
        let Err(EncodeError::Refused(error)) = with(WhenUnsupported::Refuse) else {
            panic!("{name}");
        };
        assert_eq!(
            (error.param.as_deref(), error.code.as_deref()),
            (Some(name), Some("unsupported_by_provider"))
        );
        let sent = with(WhenUnsupported::Drop).unwrap();
        assert_eq!(sent.dropped, [name]);
        assert_eq!(json_of(&sent), json!({"model": "up", "input": "Hi", "store": false}));
    }
    let sound = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]}]);
    assert_eq!(refused(&json!({"messages": sound})).1, "unsupported_by_provider");
    // Events have no place for them.
    let streamed = json!({"messages": user("Hi"), "logprobs": true, "top_logprobs": 2, "stream": true});
    assert_eq!(
        refused(&streamed),
        ("logprobs".to_owned(), "unsupported_by_provider".to_owned())
    );
    let text = streamed.to_string();
    let request = ChatRequest::read(text.as_bytes()).unwrap();
    let vendor = vendor();
    let target = Target {
        when_unsupported: WhenUnsupported::Drop,
        ..target(&vendor)
    };
    let sent = ResponsesDialect.encode(&request, target).unwrap();
    assert_eq!(
        json_of(&sent),
        json!({"model": "up", "input": "Hi", "store": false, "stream": true})
    );
    assert_eq!(sent.dropped, ["logprobs"]);
}
