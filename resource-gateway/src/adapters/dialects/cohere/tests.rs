use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::recut::{asked, body, cut_short, decoded, encoded, fixture, however_cut, json_of, read},
    domain::{
        chat::{ChatEvent, Counts, Finish, FinishReason},
        fault::FaultClass,
        interface::Capability,
        vendor::Vendor,
    },
};

fn written(body: &Value) -> Value {
    json_of(&encoded(&Cohere, body, &Vendor::named("v", "cohere")).unwrap())
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "d", "parameters": {"type": "object"}}})
}

#[test]
fn a_request_with_everything_in_it_is_in_the_vendors_words() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let picture = json!({"type": "image_url", "image_url": {"url": "https://a.test/x", "detail": "low"}});
    let body = json!({
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]},
            {"role": "assistant", "content": null, "reasoning_content": "I will look.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "{\"t\":1}"}, {"type": "text", "text": "x"}]},
            {"role": "assistant", "content": "So.", "reasoning_content": "done"},
            {"role": "user", "content": "And?"}],
        "tools": [tool("f"), tool("g")], "tool_choice": "required",
        "temperature": 0.1, "top_p": 0.9, "top_k": 3, "seed": 7, "stop": "END", "max_tokens": 20,
        "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "safety_mode": "STRICT", "stream": true
    });
    assert_eq!(
        written(&body),
        json!({
            "model": "up", "stream": true,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]},
                {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": [
                    {"type": "document", "document": {"data": {"t": 1}}}, {"type": "document", "document": {"data": "x"}}]},
                {"role": "assistant", "content": "So."},
                {"role": "user", "content": "And?"}],
            "tools": [tool("f"), tool("g")], "tool_choice": "REQUIRED",
            "temperature": 0.1, "p": 0.9, "k": 3, "seed": 7, "stop_sequences": ["END"], "max_tokens": 20,
            "presence_penalty": 0.1, "frequency_penalty": 0.2,
            "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
            "thinking": {"type": "enabled", "token_budget": 1024}, "safety_mode": "STRICT"
        })
    );
}

#[test]
fn one_tool_of_several_is_the_only_one_that_is_offered() {
    let mut strict = tool("g");
    strict["function"]["strict"] = json!(true);
    let choice = json!({"type": "function", "function": {"name": "g"}});
    let request = written(&json!({"messages": [], "tools": [tool("f"), strict], "tool_choice": choice}));
    assert_eq!(
        (&request["tools"], &request["tool_choice"]),
        (&json!([tool("g")]), &json!("REQUIRED"))
    );
    assert_eq!(request["strict_tools"], true);
    let unknown = json!({"messages": [], "tools": [tool("f")], "tool_choice": choice});
    let refused = encoded(&Cohere, &unknown, &Vendor::named("v", "cohere"));
    let Err(EncodeError::Refused(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.param.as_deref(), Some("tool_choice"));
    for (choice, wanted) in [("auto", Value::Null), ("none", json!("NONE"))] {
        let request = written(&json!({"messages": [], "tools": [tool("f")], "tool_choice": choice}));
        assert_eq!(request["tool_choice"], wanted);
    }
}

#[test]
fn thinking_is_on_or_off() {
    for (more, wanted) in [
        (json!({"reasoning_effort": "high"}), json!({"type": "enabled"})),
        (json!({"reasoning_effort": "none"}), json!({"type": "disabled"})),
        (json!({"thinking": {"type": "disabled"}}), json!({"type": "disabled"})),
        (json!({}), Value::Null),
    ] {
        let mut body = json!({"messages": []});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(written(&body)["thinking"], wanted, "{more}");
    }
}

#[test]
fn an_answer_is_read_with_everything_in_it() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let reply = decoded(
        &Cohere,
        &json!({"id": "r", "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_plan": "plan", "tool_calls": [call],
            "content": [{"type": "thinking", "thinking": " hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "citations": [{}]},
            "usage": {"billed_units": {"input_tokens": 1.0}, "tokens": {"input_tokens": 60.0, "output_tokens": 2.0}, "cached_tokens": 4}}),
    )
    .unwrap();
    let openai = reply.to_openai("up", 1, 1);
    let message = &openai["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!("ab"), &json!("plan hm"))
    );
    assert_eq!(message["tool_calls"], json!([call]));
    assert_eq!(
        reply.counts,
        Some(Counts {
            input: Some(60),
            output: Some(2),
            cached_input: Some(4),
            ..Counts::default()
        })
    );
    for (word, reason) in [
        ("COMPLETE", FinishReason::Stop),
        ("STOP_SEQUENCE", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("TOOL_CALL", FinishReason::ToolCalls),
        ("ERROR", FinishReason::Other),
        ("TIMEOUT", FinishReason::Other),
    ] {
        let reply = decoded(&Cohere, &json!({"finish_reason": word, "message": {}})).unwrap();
        assert_eq!(reply.choices[0].finish, Some(Finish::new(word, reason)));
        assert_eq!((reply.choices[0].text.as_deref(), reply.counts), (None, None));
    }
    for (body, class) in [
        (json!({"message": "it broke", "id": "e"}), FaultClass::ServerError),
        (json!({}), FaultClass::InvalidReply),
        (json!("x"), FaultClass::InvalidReply),
    ] {
        assert_eq!(decoded(&Cohere, &body).unwrap_err().class, class, "{body}");
    }
}

#[test]
fn the_recorded_stream_is_the_same_however_it_is_cut() {
    let fixture = fixture("cohere/chat-stream");
    let stream = body(&fixture);
    let (events, end) = however_cut(&Cohere, &stream);
    assert_eq!(end, Ok(()));
    let texts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Text { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(json!(texts), fixture["expect"]["text_deltas"]);
    let text = String::from_utf8(stream.clone()).unwrap();
    for ends in ["\r\n", "\r"] {
        assert_eq!(
            however_cut(&Cohere, text.replace('\n', ends).as_bytes()),
            (events.clone(), Ok(()))
        );
    }
    cut_short(&Cohere, &stream, text.trim_end().len());
}

fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap())
}

#[test]
fn a_stream_tells_plans_thoughts_and_calls() {
    let call = |kind: &str, index: u32, call: Value| json!({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}});
    let stream = [
        json!({"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "pl\u{e4}n"}}}),
        json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": ""}}}}),
        json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "hm"}}}}),
        call("tool-call-start", 0, json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call("tool-call-delta", 0, json!({"function": {"arguments": "{\"a\":"}})),
        call("tool-call-delta", 0, json!({"function": {"arguments": "1}"}})),
        json!({"type": "tool-call-end", "index": 0}),
        call("tool-call-start", 1, json!({"id": "b", "function": {"name": "g"}})),
        json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 1}}}}),
        json!({"type": "what-is-still-to-come", "delta": {"message": {"content": [1]}}}),
        json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"billed_units": {"input_tokens": 5.0, "output_tokens": 6.0}}}}),
    ]
    .map(|told| event(&told))
    .concat();
    let (events, end) = however_cut(&Cohere, stream.as_bytes());
    assert_eq!(end, Ok(()));
    let begun = |call, id: &str, name: &str| ChatEvent::ToolCall {
        choice: 0,
        call,
        id: Some(id.to_owned()),
        name: name.to_owned(),
        signature: None,
    };
    let more = |fragment: &str| ChatEvent::Arguments {
        choice: 0,
        call: 0,
        fragment: fragment.to_owned(),
    };
    let thought = |text: &str| ChatEvent::Reasoning {
        choice: 0,
        text: text.to_owned(),
    };
    assert_eq!(
        events,
        [
            ChatEvent::Head {
                id: Some("r".to_owned()),
                model: None
            },
            thought("pl\u{e4}n"),
            thought("hm"),
            begun(0, "a", "f"),
            more("{\"a\":"),
            more("1}"),
            begun(1, "b", "g"),
            ChatEvent::Counts(Counts {
                input: Some(5),
                output: Some(6),
                ..Counts::default()
            }),
            ChatEvent::Finish {
                choice: 0,
                finish: Finish::new("TOOL_CALL", FinishReason::ToolCalls)
            },
        ]
    );
}

#[test]
fn an_error_in_mid_stream_keeps_what_was_said() {
    let said = event(&json!({"type": "content-delta", "delta": {"message": {"content": {"text": "one"}}}}));
    for error in [
        event(&json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke"}})),
        "data: {\"message\":\"it broke\",\"id\":\"e\"}\n\n".to_owned(),
    ] {
        let (events, end) = however_cut(&Cohere, format!("{said}{error}").as_bytes());
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
            (FaultClass::ServerError, Some("it broke"))
        );
    }
    let (_, end) = read(&Cohere, &[b"event: content-delta\ndata: {\"type\": [oops\n\n"]);
    assert_eq!(end.unwrap_err().class, FaultClass::InvalidReply);
}

#[test]
fn errors_go_by_their_status() {
    for (status, class) in [
        (400, FaultClass::InvalidRequest),
        (422, FaultClass::InvalidRequest),
        (401, FaultClass::Authentication),
        (402, FaultClass::QuotaExceeded),
        (403, FaultClass::Permission),
        (404, FaultClass::NotFound),
        (429, FaultClass::RateLimit),
        (498, FaultClass::ContentFilter),
        (500, FaultClass::ServerError),
        (503, FaultClass::Overloaded),
        (504, FaultClass::Timeout),
    ] {
        let fault = Cohere.decode_fault(status, &HeaderMap::new(), b"{\"message\":\"m\",\"id\":\"e\"}");
        assert_eq!(
            (fault.class, fault.status, fault.words.message.as_deref()),
            (class, Some(status), Some("m"))
        );
        for other in ["<html>", "", "[]", "\"m\""] {
            let fault = Cohere.decode_fault(status, &HeaderMap::new(), other.as_bytes());
            assert_eq!((fault.class, fault.words.message), (class, None), "{other}");
        }
    }
}

#[test]
fn embeddings_say_what_they_are_for() {
    let wanted = fixture("cohere/embeddings-float");
    let body = json!({"model": "m", "input": ["red", "\u{84dd}"], "dimensions": 256, "truncate": "END"});
    let (request, answer) = asked(
        &CohereEmbeddings,
        Capability::Embeddings,
        &body,
        &wanted["response"]["body"],
    );
    assert_eq!(
        request,
        json!({"model": "up", "texts": ["red", "\u{84dd}"], "output_dimension": 256, "truncate": "END",
            "input_type": "search_document", "embedding_types": ["float"]})
    );
    let answer = answer.unwrap();
    assert_eq!(answer["data"][1]["embedding"], wanted["expect"]["vectors"][1]);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    let body = json!({"model": "m", "input": "x", "input_type": "search_query", "embedding_types": ["int8"]});
    let small = json!({"embeddings": {"int8": [[-1, 2]]}});
    let (request, answer) = asked(&CohereEmbeddings, Capability::Embeddings, &body, &small);
    assert_eq!(
        (&request["input_type"], &request["embedding_types"]),
        (&json!("search_query"), &json!(["int8"]))
    );
    assert_eq!(answer.unwrap()["data"][0]["embedding"], json!([-1, 2]));
    let (_, answer) = asked(
        &CohereEmbeddings,
        Capability::Embeddings,
        &body,
        &json!({"message": "no"}),
    );
    assert_eq!(answer.unwrap_err().class, FaultClass::ServerError);
}

#[test]
fn documents_are_ranked_and_shown_where_that_is_wanted() {
    let wanted = fixture("cohere/rerank-plain");
    let body = json!({"model": "m", "query": "red?", "documents": ["blue", {"text": "red"}], "top_n": 2, "return_documents": true, "min_confidence": 0.5});
    let (request, answer) = asked(&CohereRerank, Capability::Rerank, &body, &wanted["response"]["body"]);
    assert_eq!(
        request,
        json!({"model": "up", "query": "red?", "documents": ["blue", "red"], "top_n": 2})
    );
    let answer = answer.unwrap();
    assert_eq!(
        answer["results"][0],
        json!({"index": 1, "relevance_score": 0.98, "document": {"text": "red"}})
    );
    assert_eq!(answer["usage"], json!({"search_units": 1}));
    let (_, answer) = asked(&CohereRerank, Capability::Rerank, &body, &json!({"message": "no"}));
    assert_eq!(answer.unwrap_err().class, FaultClass::ServerError);
}

proptest! {
    #[test]
    fn hurt_streams_end_somehow_and_the_same_however_they_are_cut(
        at in 0usize..1200, with in any::<u8>(), first in 0usize..1200, second in 0usize..1200,
    ) {
        let mut stream = body(&fixture("cohere/chat-stream"));
        let length = stream.len();
        stream[at % length] = with;
        let (first, second) = ((first % length).min(second % length), (first % length).max(second % length));
        let whole = read(&Cohere, &[&stream]);
        prop_assert_eq!(read(&Cohere, &[&stream[..first], &stream[first..second], &stream[second..]]), whole);
    }
}
