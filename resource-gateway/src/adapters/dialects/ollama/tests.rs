use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::recut::{asked, body, cut_short, decoded, encoded, fixture, however_cut, json_of, read},
    domain::{
        chat::{ChatEvent, Finish, FinishReason},
        fault::FaultClass,
        interface::Capability,
        vendor::Vendor,
    },
};

fn written(body: &Value) -> Value {
    json_of(&encoded(&Ollama, body, &Vendor::named("v", "ollama")).unwrap())
}

fn completing() -> Vendor {
    let mut vendor = Vendor::named("v", "ollama");
    vendor.options.insert(API.to_owned(), GENERATE.to_owned());
    vendor
}

#[test]
fn a_request_with_everything_in_it_is_in_the_vendors_words() {
    let tool =
        json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
    let body = json!({
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "colour?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"}],
        "tools": [tool], "temperature": 0.1, "top_p": 0.9, "top_k": 3, "seed": 7, "stop": "END", "max_tokens": 20,
        "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "reasoning_effort": "low", "keep_alive": "5m", "num_ctx": 4096, "options": {"mirostat": 1}
    });
    assert_eq!(
        written(&body),
        json!({
            "model": "up", "stream": false,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "colour?", "images": ["eA=="]},
                {"role": "assistant", "thinking": "hm", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
                {"role": "tool", "content": "r", "tool_name": "f"}],
            "tools": [tool], "format": {"type": "object"}, "think": "low", "keep_alive": "5m",
            "options": {"temperature": 0.1, "top_p": 0.9, "top_k": 3, "seed": 7, "stop": ["END"], "num_predict": 20,
                "presence_penalty": 0.1, "frequency_penalty": 0.2, "num_ctx": 4096, "mirostat": 1}
        })
    );
}

#[test]
fn thinking_is_on_off_or_of_some_degree() {
    for (more, wanted) in [
        (json!({"thinking": {"type": "enabled"}}), json!(true)),
        (json!({"thinking": {"type": "disabled"}}), json!(false)),
        (json!({"reasoning_effort": "none"}), json!(false)),
        (json!({"reasoning_effort": "minimal"}), json!("low")),
        (json!({"reasoning_effort": "medium"}), json!("medium")),
        (json!({"reasoning_effort": "xhigh"}), json!("high")),
        (json!({"think": "high"}), json!("high")),
        (json!({}), Value::Null),
    ] {
        let mut body = json!({"messages": []});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(written(&body)["think"], wanted, "{more}");
    }
    let bounded = json!({"messages": [], "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let encoded = encoded(&Ollama, &bounded, &Vendor::named("v", "ollama")).unwrap();
    assert_eq!(
        (&json_of(&encoded)["think"], encoded.dropped),
        (&json!(true), vec!["thinking.budget_tokens".to_owned()])
    );
}

#[test]
fn one_prompt_is_completed_where_the_vendor_is_asked_that_way() {
    let body = json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]}], "keep_alive": "5m"});
    let encoded = encoded(&Ollama, &body, &completing()).unwrap();
    assert_eq!(encoded.place.as_ref().unwrap().path, "/api/generate");
    assert_eq!(
        json_of(&encoded),
        json!({"model": "up", "stream": false, "system": "s", "prompt": "hi", "images": ["eA=="], "keep_alive": "5m"})
    );
    for (body, param) in [
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            "messages[1]",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}),
            "messages[1]",
        ),
        (
            json!({"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "tools",
        ),
    ] {
        let refused = super::super::recut::encoded(&Ollama, &body, &completing()).unwrap_err();
        assert!(
            matches!(refused, EncodeError::Refused(error) if error.param.as_deref() == Some(param)),
            "{body}"
        );
    }
}

#[test]
fn pictures_behind_urls_are_asked_for() {
    let body = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/x"}}]}]});
    let missing = encoded(&Ollama, &body, &Vendor::named("v", "ollama")).unwrap_err();
    assert_eq!(missing, EncodeError::Fetch(vec!["https://a.test/x".to_owned()]));
}

#[test]
fn answers_are_read_whichever_way_was_asked() {
    let call = json!({"function": {"name": "f", "arguments": {"a": 1}}});
    let reply = decoded(
        &Ollama,
        &json!({"model": "m", "message": {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
            "done": true, "done_reason": "stop", "eval_count": 3}),
    )
    .unwrap();
    let choice = &reply.choices[0];
    assert_eq!(
        (choice.tool_calls[0].id.clone(), choice.tool_calls[0].arguments.as_ref()),
        (None, "{\"a\":1}")
    );
    assert_eq!(choice.finish, Some(Finish::new("stop", FinishReason::ToolCalls)));
    let counts = reply.counts.unwrap();
    assert_eq!(
        (counts.input, counts.output),
        (None, Some(3)),
        "a cached prompt is not counted"
    );
    let reply = decoded(
        &Ollama,
        &json!({"response": "Hello", "thinking": "hm", "done": true, "done_reason": "length"}),
    )
    .unwrap();
    assert_eq!(reply.choices[0].text.as_deref(), Some("Hello"));
    assert_eq!(reply.choices[0].thoughts.len(), 1);
    assert_eq!(
        reply.choices[0].finish,
        Some(Finish::new("length", FinishReason::Length))
    );
    assert_eq!(reply.counts, None);
    let loaded = decoded(
        &Ollama,
        &json!({"message": {"content": ""}, "done": true, "done_reason": "load"}),
    )
    .unwrap();
    assert_eq!(loaded.choices[0].finish, Some(Finish::new("load", FinishReason::Other)));
    for (body, class) in [
        (json!({"error": "it broke"}), FaultClass::ServerError),
        (json!({}), FaultClass::InvalidReply),
        (json!([]), FaultClass::InvalidReply),
    ] {
        assert_eq!(decoded(&Ollama, &body).unwrap_err().class, class, "{body}");
    }
}

#[test]
fn the_recorded_stream_is_the_same_however_it_is_cut() {
    let fixture = fixture("ollama/chat-stream");
    let stream = body(&fixture);
    let (events, end) = however_cut(&Ollama, &stream);
    assert_eq!(end, Ok(()));
    let texts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Text { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(json!(texts), fixture["expect"]["text_deltas"]);
    let text = String::from_utf8(stream.clone()).unwrap().replace('\n', "\r\n\r\n");
    assert_eq!(however_cut(&Ollama, text.as_bytes()), (events, Ok(())));
    // The last line is whole without its end.
    cut_short(&Ollama, &stream, stream.len() - 1);
}

#[test]
fn a_stream_tells_thoughts_and_calls() {
    let lines = [
        json!({"model": "m", "message": {"content": "", "thinking": "h\u{f6}m"}, "done": false}),
        json!({"model": "m", "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "\u{4f60}"}}}]}, "done": false}),
        json!({"model": "m", "message": {"content": "", "tool_calls": [{"id": "c", "function": {"name": "g", "arguments": {}}}]}, "done": false}),
        json!({"model": "m", "message": {"content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 2, "eval_count": 3}),
    ];
    let stream = lines.map(|line| format!("{line}\n")).concat();
    let (events, end) = however_cut(&Ollama, stream.as_bytes());
    assert_eq!(end, Ok(()));
    assert_eq!(
        events[0],
        ChatEvent::Head {
            id: None,
            model: Some("m".to_owned())
        }
    );
    assert_eq!(
        events[1],
        ChatEvent::Reasoning {
            choice: 0,
            text: "h\u{f6}m".to_owned()
        }
    );
    assert_eq!(
        events[3],
        ChatEvent::Arguments {
            choice: 0,
            call: 0,
            fragment: "{\"a\":\"\u{4f60}\"}".to_owned()
        }
    );
    assert_eq!(
        events[4],
        ChatEvent::ToolCall {
            choice: 0,
            call: 1,
            id: Some("c".to_owned()),
            name: "g".to_owned(),
            signature: None
        }
    );
    assert_eq!(
        events[6],
        ChatEvent::Finish {
            choice: 0,
            finish: Finish::new("stop", FinishReason::ToolCalls)
        }
    );
    // What comes behind the end is not read.
    let (_, end) = read(&Ollama, &[stream.as_bytes(), b"nonsense\n"]);
    assert_eq!(end, Ok(()));
}

#[test]
fn an_error_in_mid_stream_keeps_what_was_said() {
    let stream = "{\"message\":{\"content\":\"one\"},\"done\":false}\n{\"error\":\"llama runner terminated\"}\n";
    let (events, end) = however_cut(&Ollama, stream.as_bytes());
    assert_eq!(
        events,
        [ChatEvent::Text {
            choice: 0,
            text: "one".to_owned()
        }]
    );
    let fault = end.unwrap_err();
    assert_eq!(
        (fault.class, fault.words.message.as_deref()),
        (FaultClass::ServerError, Some("llama runner terminated"))
    );
    let (_, end) = read(&Ollama, &[b"{\"model\": oops\n"]);
    assert_eq!(end.unwrap_err().class, FaultClass::InvalidReply);
}

#[test]
fn errors_go_by_their_status() {
    for (status, body, class) in [
        (404, "{\"error\":\"model 'nope' not found\"}", FaultClass::NotFound),
        (503, "{\"error\":\"server busy\"}", FaultClass::Overloaded),
        (500, "{\"error\":\"terminated\"}", FaultClass::ServerError),
        (400, "{\"error\":\"invalid\"}", FaultClass::InvalidRequest),
        (502, "<html>", FaultClass::ServerError),
    ] {
        let fault = Ollama.decode_fault(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class, fault.status), (class, Some(status)), "{body}");
        assert_eq!(fault.words.message.is_some(), body.starts_with('{'), "{body}");
    }
}

#[test]
fn embeddings_are_asked_for_as_they_are_written() {
    let wanted = fixture("ollama/embeddings-plain");
    let body = json!({"model": "m", "input": ["a", "b"], "dimensions": 2, "truncate": false});
    let (request, answer) = asked(
        &OllamaEmbeddings,
        Capability::Embeddings,
        &body,
        &wanted["response"]["body"],
    );
    assert_eq!(
        request,
        json!({"model": "up", "input": ["a", "b"], "dimensions": 2, "truncate": false})
    );
    let answer = answer.unwrap();
    assert_eq!(answer["data"][0]["embedding"], wanted["expect"]["vectors"][0]);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let body = json!({"model": "m", "input": "a"});
    let (request, answer) = asked(
        &OllamaEmbeddings,
        Capability::Embeddings,
        &body,
        &json!({"error": "no"}),
    );
    assert_eq!(request, json!({"model": "up", "input": "a"}));
    assert_eq!(answer.unwrap_err().class, FaultClass::ServerError);
}

proptest! {
    #[test]
    fn hurt_streams_end_somehow_and_the_same_however_they_are_cut(
        at in 0usize..600, with in any::<u8>(), first in 0usize..600, second in 0usize..600,
    ) {
        let mut stream = body(&fixture("ollama/chat-stream"));
        let length = stream.len();
        stream[at % length] = with;
        let (first, second) = ((first % length).min(second % length), (first % length).max(second % length));
        let whole = read(&Ollama, &[&stream]);
        prop_assert_eq!(read(&Ollama, &[&stream[..first], &stream[first..second], &stream[second..]]), whole);
    }
}
