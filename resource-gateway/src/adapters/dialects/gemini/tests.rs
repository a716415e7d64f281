use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        recut::{asked, body, cut_short, decoded, encoded, fixture, however_cut, json_of, read},
        testing::{self, received},
        translated::Chat,
    },
    domain::{
        call::Call,
        chat::{ChatEvent, Finish, FinishReason, named_call},
        fault::FaultClass,
        interface::Capability,
        vendor::Vendor,
    },
    ports::codec::{Codec as _, Fetched},
};

fn written(body: &Value) -> Value {
    json_of(&encoded(&Gemini, body, &Vendor::named("v", "gemini")).unwrap())
}

fn written_with(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut written = written(&body);
    written.as_object_mut().unwrap().remove("contents");
    written
}

const CITY: &str = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;

fn weather() -> Value {
    let schema: Value = serde_json::from_str(CITY).unwrap();
    json!({"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": schema}})
}

#[test]
fn a_request_with_everything_in_it_is_in_the_vendors_words() {
    let made_up = named_call(7, 0);
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
                {"type": "input_audio", "input_audio": {"data": "eQ==", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,eg==", "filename": "a.pdf"}},
                {"type": "image_url", "image_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/a.png"}}]},
            {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [
                {"id": made_up, "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Oslo\"}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}}},
                {"id": "theirs", "type": "function", "function": {"name": "get_time", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": made_up, "content": "{\"temp_c\":-3}"},
            {"role": "tool", "tool_call_id": "theirs", "content": "noon"},
            {"role": "user", "content": "And?"}],
        "tools": [weather()], "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_tokens": 20, "stop": ["END"], "seed": 7, "n": 2,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "logprobs": true, "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "additionalProperties": false}}},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "safetySettings": [{"category": "C", "threshold": "T"}], "mediaResolution": "LOW",
        "generationConfig": {"audioTimestamp": true}
    });
    assert_eq!(
        written(&body),
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "What is this?"},
                    {"inlineData": {"mimeType": "image/png", "data": "eA=="}},
                    {"inlineData": {"mimeType": "audio/wav", "data": "eQ=="}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "eg=="}},
                    {"fileData": {"mimeType": "image/png", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a.png"}}]},
                {"role": "model", "parts": [
                    {"text": "I look."},
                    {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "theirs", "name": "get_time", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "get_weather", "response": {"temp_c": -3}}},
                    {"functionResponse": {"id": "theirs", "name": "get_time", "response": {"output": "noon"}}}]},
                {"role": "user", "parts": [{"text": "And?"}]}],
            "tools": [{"functionDeclarations": [{"name": "get_weather", "description": "Weather", "parameters":
                {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}},
            "safetySettings": [{"category": "C", "threshold": "T"}],
            "generationConfig": {
                "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 20, "stopSequences": ["END"], "seed": 7,
                "candidateCount": 2, "presencePenalty": 0.1, "frequencyPenalty": 0.2, "responseLogprobs": true, "logprobs": 2,
                "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"},
                "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 1024},
                "mediaResolution": "LOW", "audioTimestamp": true}
        })
    );
}

#[test]
fn choices_of_tools_formats_and_degrees_of_thought_have_their_words() {
    for (more, wanted) in [
        (
            json!({"tool_choice": "auto"}),
            json!({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
        ),
        (
            json!({"tool_choice": "none"}),
            json!({"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}),
        ),
        (
            json!({"tool_choice": "required"}),
            json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        ),
        (
            json!({"response_format": {"type": "json_object"}}),
            json!({"generationConfig": {"responseMimeType": "application/json"}}),
        ),
        (
            json!({"response_format": {"type": "text"}}),
            json!({"generationConfig": {"responseMimeType": "text/plain"}}),
        ),
        (
            json!({"reasoning_effort": "none"}),
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        ),
        (
            json!({"reasoning_effort": "low"}),
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}}),
        ),
        (
            json!({"reasoning_effort": "high"}),
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 24576}}}),
        ),
        (
            json!({"thinking": {"type": "disabled"}}),
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        ),
        (
            json!({"thinkingConfig": {"thinkingBudget": -1}}),
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}),
        ),
        (json!({"cachedContent": "c"}), json!({"cachedContent": "c"})),
    ] {
        assert_eq!(written_with(&more), wanted, "{more}");
    }
}

#[test]
fn a_schema_is_in_the_vendors_words_or_goes_on_as_it_is() {
    let reference = json!({"$defs": {"c": {"type": "string", "enum": ["a"]}}, "type": "object",
        "properties": {"type": {"$ref": "#/$defs/c"}, "n": {"type": ["integer", "null"]}, "k": {"const": "x"}},
        "additionalProperties": false});
    assert_eq!(
        schema::converted(&reference).unwrap(),
        json!({"type": "OBJECT", "properties": {"type": {"type": "STRING", "enum": ["a"]},
            "n": {"type": "INTEGER", "nullable": true}, "k": {"enum": ["x"]}}})
    );
    let either = json!({"oneOf": [{"type": "string"}, {"type": "null"}], "description": "d"});
    assert_eq!(
        schema::converted(&either).unwrap(),
        json!({"anyOf": [{"type": "STRING"}, {"type": "NULL"}], "description": "d"})
    );
    for unsaid in [
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        json!({"type": "object", "patternProperties": {"a": {}}}),
        json!({"enum": [1, 2]}),
        json!({"type": ["string", "integer"]}),
        json!({"$ref": "#"}),
        json!({"type": "object", "properties": {"again": {"$ref": "#"}}}),
        json!({"$ref": "#/$defs/nobody"}),
        json!(true),
    ] {
        assert_eq!(schema::converted(&unsaid), None, "{unsaid}");
        let mut tool = weather();
        tool["function"]["parameters"] = unsaid.clone();
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": unsaid}});
        let written = written_with(&json!({"tools": [tool], "response_format": format}));
        let declared = &written["tools"][0]["functionDeclarations"][0];
        assert_eq!(
            (&declared["parametersJsonSchema"], declared.get("parameters")),
            (&unsaid, None)
        );
        let config = &written["generationConfig"];
        assert_eq!(
            (&config["responseJsonSchema"], config.get("responseSchema")),
            (&unsaid, None)
        );
    }
}

#[test]
fn references_that_multiply_are_given_up() {
    let mut definitions = serde_json::Map::new();
    for at in 0..30 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        definitions.insert(
            format!("d{at}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    definitions.insert("d30".to_owned(), json!({"type": "string"}));
    let schema = json!({"$defs": definitions, "$ref": "#/$defs/d0"});
    assert_eq!(schema::converted(&schema), None);
}

#[test]
fn what_tools_answered_stays_an_object() {
    let answered = |message: Value| {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{not json"}});
        let mut answer = json!({"role": "tool", "tool_call_id": "c"});
        answer
            .as_object_mut()
            .unwrap()
            .extend(message.as_object().unwrap().clone());
        let body = json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [call]}, answer]});
        written(&body)["contents"].clone()
    };
    let response = |message: Value| answered(message)[1]["parts"][0]["functionResponse"]["response"].clone();
    assert_eq!(response(json!({"content": "[1]"})), json!({"output": [1]}));
    assert_eq!(
        response(json!({"content": "{\"a\":1}", "is_error": true})),
        json!({"error": {"a": 1}})
    );
    assert_eq!(
        response(json!({"content": "no such city", "is_error": true})),
        json!({"error": "no such city"})
    );
    // What a model wrote instead of an object is shown as it was.
    let args = &answered(json!({"content": "x"}))[0]["parts"][0]["functionCall"]["args"];
    assert_eq!(*args, json!({"arguments": "{not json"}));
    // A picture that a tool made stands beside its answer.
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}});
    let parts = answered(json!({"content": [{"type": "text", "text": "see"}, picture]}))[1]["parts"].clone();
    assert_eq!(parts[0]["functionResponse"]["response"], json!({"output": "see"}));
    assert_eq!(
        parts[1],
        json!({"inlineData": {"mimeType": "image/png", "data": "eA=="}})
    );
}

#[test]
fn pictures_behind_urls_are_asked_for_unless_they_are_the_vendors() {
    let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let body = json!({"messages": [{"role": "user", "content": [picture("https://a.test/x"), picture("https://a.test/x"),
        picture("https://www.youtube.com/watch?v=1")]}]});
    let vendor = Vendor::named("v", "gemini");
    let missing = encoded(&Gemini, &body, &vendor).unwrap_err();
    assert_eq!(missing, EncodeError::Fetch(vec!["https://a.test/x".to_owned()]));
    let text = body.to_string();
    let request = ChatRequest::read(text.as_bytes()).unwrap();
    let fetched = [Fetched {
        url: "https://a.test/x".to_owned(),
        media_type: "image/webp".to_owned(),
        bytes: Bytes::from_static(b"x"),
    }];
    let target = Target {
        fetched: &fetched,
        ..testing::target(&vendor)
    };
    let written = json_of(&Gemini.encode(&request, target).unwrap());
    let parts = &written["contents"][0]["parts"];
    assert_eq!(
        parts[1],
        json!({"inlineData": {"mimeType": "image/webp", "data": "eA=="}})
    );
    assert_eq!(
        parts[2],
        json!({"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}})
    );
}

#[test]
fn probabilities_are_for_whole_answers() {
    let vendor = Vendor::named("v", "gemini");
    let body = json!({"messages": [], "stream": true, "logprobs": true, "top_logprobs": 3});
    assert!(matches!(encoded(&Gemini, &body, &vendor), Err(EncodeError::Refused(error)) if error.status == 400));
    let text = body.to_string();
    let request = ChatRequest::read(text.as_bytes()).unwrap();
    let target = Target {
        when_unsupported: WhenUnsupported::Drop,
        ..testing::target(&vendor)
    };
    let encoded = Gemini.encode(&request, target).unwrap();
    assert_eq!(
        (json_of(&encoded), encoded.dropped),
        (json!({"contents": []}), vec!["logprobs".to_owned()])
    );
}

#[test]
fn a_model_is_a_resource_however_it_is_written() {
    for (model, wanted) in [
        ("gemini-2.0-flash", "/models/gemini-2.0-flash:countTokens"),
        ("models/gemini-2.0-flash", "/models/gemini-2.0-flash:countTokens"),
        ("tunedModels/mine", "/tunedModels/mine:countTokens"),
        ("a b?c#d:e", "/models/a%20b%3Fc%23d%3Ae:countTokens"),
    ] {
        assert_eq!(place(model, "countTokens"), wanted);
    }
}

#[test]
fn an_answer_is_read_with_everything_in_it() {
    let reply = decoded(
        &Gemini,
        &json!({"candidates": [
            {"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
                {"text": "hm", "thought": true, "thoughtSignature": "x"}, {"text": "I "}, {"text": "look."}, {"executableCode": {}},
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "g"}}]},
             "logprobsResult": {"chosenCandidates": [{"token": "I", "tokenId": 3, "logProbability": -0.5}],
                "topCandidates": [{"candidates": [{"token": "I", "logProbability": -0.5}, {"token": "A", "logProbability": -1}]}]}},
            {"index": 1, "finishReason": "MAX_TOKENS", "content": {}}],
          "usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 4, "thoughtsTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 17},
          "modelVersion": "gemini-x", "responseId": "r"}),
    )
    .unwrap();
    let openai = reply.to_openai("up", 1);
    let message = &openai["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!("I look."), &json!("hm"))
    );
    assert_eq!(message["thinking_blocks"], Value::Null);
    assert_eq!(
        message["tool_calls"][0],
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"},
            "extra_content": {"google": {"thought_signature": "c2ln"}}})
    );
    assert_eq!(
        message["tool_calls"][1]["function"],
        json!({"name": "g", "arguments": "{}"})
    );
    assert_eq!(reply.choices[0].tool_calls[1].id, None);
    assert_eq!(openai["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        openai["choices"][0]["logprobs"]["content"],
        json!([{"token": "I", "logprob": -0.5, "bytes": [73], "top_logprobs": [
            {"token": "I", "logprob": -0.5, "bytes": [73]}, {"token": "A", "logprob": -1.0, "bytes": [65]}]}])
    );
    assert_eq!(
        (
            &openai["choices"][1]["finish_reason"],
            &openai["choices"][1]["message"]["content"]
        ),
        (&json!("length"), &Value::Null)
    );
    assert_eq!(
        openai["usage"],
        json!({"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 5}})
    );
    assert_eq!((&openai["id"], &openai["model"]), (&json!("r"), &json!("gemini-x")));
}

#[test]
fn reasons_to_end_have_their_counterparts() {
    for (word, reason) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("IMAGE_SAFETY", FinishReason::ContentFilter),
        ("LANGUAGE", FinishReason::Other),
        ("OTHER", FinishReason::Other),
        ("MALFORMED_FUNCTION_CALL", FinishReason::Other),
    ] {
        let reply = decoded(&Gemini, &json!({"candidates": [{"finishReason": word}]})).unwrap();
        assert_eq!(reply.choices[0].finish, Some(Finish::new(word, reason)));
    }
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}});
    let reply = decoded(&Gemini, &blocked).unwrap();
    assert_eq!(
        reply.choices[0].finish,
        Some(Finish::new("SAFETY", FinishReason::ContentFilter))
    );
    assert_eq!(reply.counts.unwrap().all_output(), 0);
    let (events, end) = however_cut(&Gemini, format!("data: {blocked}\n\n").as_bytes());
    assert!(end.is_ok());
    assert!(matches!(&events[0], ChatEvent::Finish { finish, .. } if finish.reason == FinishReason::ContentFilter));
}

#[test]
fn usage_that_cannot_be_read_costs_no_answer() {
    let reply = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "x"}]}}], "usageMetadata": {"promptTokenCount": "many"}});
    let reply = decoded(&Gemini, &reply).unwrap();
    assert_eq!((reply.choices[0].text.as_deref(), reply.counts), (Some("x"), None));
}

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for name in ["gemini/generate-stream", "gemini/generate-stream-tools"] {
        let fixture = fixture(name);
        let stream = body(&fixture);
        let (events, end) = however_cut(&Gemini, &stream);
        assert_eq!(end, Ok(()));
        let texts: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                ChatEvent::Text { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(json!(texts), fixture["expect"]["text_deltas"], "{name}");
        let text = String::from_utf8(stream.clone()).unwrap();
        for ends in ["\r\n", "\r"] {
            let other = text.replace('\n', ends);
            assert_eq!(
                however_cut(&Gemini, other.as_bytes()),
                (events.clone(), Ok(())),
                "{name}"
            );
        }
        // It ends with a blank line, which may be missing, and nothing before that is the end.
        let before = text.trim_end().len();
        cut_short(&Gemini, &stream, before);
    }
}

fn written_as_events(events: &[Value]) -> String {
    let events: Vec<_> = events
        .iter()
        .map(|event| format!(": alive\n\ndata: {event}\n\n"))
        .collect();
    events.concat()
}

#[test]
fn a_stream_tells_thoughts_calls_and_counts_as_they_come() {
    let events_of_two = [
        json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "h\u{f6}m", "thought": true}]}}], "modelVersion": "m"}),
        json!({"candidates": [{"index": 0, "content": {"parts": [
            {"functionCall": {"name": "f", "args": {"a": "\u{4f60}"}}, "thoughtSignature": "s"},
            {"functionCall": {"id": "c2", "name": "g", "args": {}}}]}}], "responseId": "r"}),
        json!({"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "STOP"}]}),
        json!({"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 5}}),
        json!({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 9}}),
    ];
    let stream = written_as_events(&events_of_two);
    let (events, end) = however_cut(&Gemini, stream.as_bytes());
    assert_eq!(end, Ok(()));
    assert!(events.contains(&ChatEvent::Reasoning {
        choice: 0,
        text: "h\u{f6}m".to_owned()
    }));
    assert!(events.contains(&ChatEvent::ToolCall {
        choice: 0,
        call: 0,
        id: None,
        name: "f".to_owned(),
        signature: Some("s".to_owned())
    }));
    assert!(events.contains(&ChatEvent::Arguments {
        choice: 0,
        call: 0,
        fragment: "{\"a\":\"\u{4f60}\"}".to_owned()
    }));
    assert!(events.contains(&ChatEvent::ToolCall {
        choice: 0,
        call: 1,
        id: Some("c2".to_owned()),
        name: "g".to_owned(),
        signature: None
    }));
    assert!(events.contains(&ChatEvent::Finish {
        choice: 0,
        finish: Finish::new("STOP", FinishReason::ToolCalls)
    }));
    assert!(events.contains(&ChatEvent::Finish {
        choice: 1,
        finish: Finish::new("STOP", FinishReason::Stop)
    }));
    let counts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Counts(counts) => Some(counts.all_output()),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [2, 6], "of a total, thoughts are a part");
    // One of two candidates has not ended.
    let cut = written_as_events(&events_of_two[..3]);
    assert_eq!(
        read(&Gemini, &[cut.as_bytes()]).1.unwrap_err().class,
        FaultClass::Transport
    );
}

#[test]
fn an_error_in_mid_stream_keeps_what_was_said() {
    let said = json!({"candidates": [{"content": {"parts": [{"text": "one"}]}}]});
    let error = json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}});
    let (events, end) = however_cut(&Gemini, format!("data: {said}\n\ndata: {error}\n\n").as_bytes());
    assert_eq!(
        events,
        [ChatEvent::Text {
            choice: 0,
            text: "one".to_owned()
        }]
    );
    let fault = end.unwrap_err();
    assert_eq!(
        (fault.class, fault.words.code.as_deref()),
        (FaultClass::Overloaded, Some("UNAVAILABLE"))
    );
    let (_, end) = read(&Gemini, &[b"data: {\"candidates\": [oops\n\n"]);
    assert_eq!(end.unwrap_err().class, FaultClass::InvalidReply);
}

#[test]
fn errors_have_the_class_of_their_word() {
    for (status, word, class) in [
        (400, "INVALID_ARGUMENT", FaultClass::InvalidRequest),
        (400, "FAILED_PRECONDITION", FaultClass::Permission),
        (401, "UNAUTHENTICATED", FaultClass::Authentication),
        (403, "PERMISSION_DENIED", FaultClass::Permission),
        (404, "NOT_FOUND", FaultClass::NotFound),
        (429, "RESOURCE_EXHAUSTED", FaultClass::RateLimit),
        (500, "INTERNAL", FaultClass::ServerError),
        (503, "UNAVAILABLE", FaultClass::Overloaded),
        (504, "DEADLINE_EXCEEDED", FaultClass::Timeout),
        (499, "CANCELLED", FaultClass::InvalidRequest),
    ] {
        let error = json!({"error": {"code": status, "message": "m", "status": word}});
        let fault = Gemini.decode_fault(status, &HeaderMap::new(), error.to_string().as_bytes());
        assert_eq!((fault.class, fault.status), (class, Some(status)), "{word}");
        assert_eq!(
            (fault.words.code.as_deref(), fault.words.message.as_deref()),
            (Some(word), Some("m"))
        );
        // The same in place of an answer, alone or as the only event of a stream in the other form.
        assert_eq!(decoded(&Gemini, &error).unwrap_err().class, class, "{word}");
        assert_eq!(decoded(&Gemini, &json!([error])).unwrap_err().class, class, "{word}");
    }
    for (status, body, class) in [
        (503, "<html>", FaultClass::Overloaded),
        (500, "", FaultClass::ServerError),
        (429, "{\"error\":\"slow down\"}", FaultClass::RateLimit),
    ] {
        assert_eq!(
            Gemini.decode_fault(status, &HeaderMap::new(), body.as_bytes()).class,
            class,
            "{body}"
        );
    }
    assert_eq!(
        decoded(&Gemini, &json!({})).unwrap_err().class,
        FaultClass::InvalidReply
    );
    assert_eq!(
        decoded(&Gemini, &json!("x")).unwrap_err().class,
        FaultClass::InvalidReply
    );
}

#[test]
fn a_wait_stands_in_the_body_and_headers_go_before_it() {
    let waits = |delay: &str, headers: &HeaderMap| {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]);
        let error = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}});
        let fault = Gemini.decode_fault(429, headers, error.to_string().as_bytes());
        (
            fault.hints.wait(0).map(|wait| wait.as_secs_f64()),
            fault.hints.retry_after,
        )
    };
    let none = HeaderMap::new();
    assert_eq!(waits("38s", &none), (Some(38.0), Some("38".into())));
    assert_eq!(waits("0.847655010s", &none), (Some(0.847_655_010), Some("1".into())));
    for nonsense in ["38", "-1s", "s", "NaNs", "1e999s"] {
        assert_eq!(waits(nonsense, &none), (None, None), "{nonsense}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("5"));
    assert_eq!(waits("38s", &headers), (Some(5.0), Some("5".into())));
}

#[test]
fn recorded_errors_are_understood() {
    for name in ["gemini/error-400-bad-key", "gemini/error-429-quota", "gemini/error-503"] {
        let fixture = fixture(name);
        let wanted = &fixture["expect"]["error"];
        let status = wanted["status"].as_u64().unwrap().try_into().unwrap();
        let fault = Gemini.decode_fault(status, &HeaderMap::new(), &body(&fixture));
        assert_eq!(fault.class.label(), wanted["class"], "{name}");
        assert_eq!(json!(fault.words.message), wanted["message"], "{name}");
        assert_eq!(
            json!(fault.hints.wait(0).map(|wait| wait.as_secs())),
            wanted["retry_after_s"],
            "{name}"
        );
    }
}

#[test]
fn embeddings_are_asked_for_in_one_batch() {
    let wanted = fixture("gemini/embeddings-batch");
    let body =
        json!({"model": "m", "input": ["red", "blue"], "dimensions": 3, "taskType": "RETRIEVAL_DOCUMENT", "user": "u"});
    let (request, answer) = asked(
        &GeminiEmbeddings,
        Capability::Embeddings,
        &body,
        &wanted["response"]["body"],
    );
    assert_eq!(
        request["requests"][1],
        json!({"model": "models/up", "content": {"parts": [{"text": "blue"}]}, "outputDimensionality": 3, "taskType": "RETRIEVAL_DOCUMENT"})
    );
    let answer = answer.unwrap();
    assert_eq!(answer["data"][1]["embedding"], wanted["expect"]["vectors"][1]);
    assert_eq!(answer.get("usage"), None);
    let single = json!({"embedding": {"values": [1.5]}});
    let (_, answer) = asked(
        &GeminiEmbeddings,
        Capability::Embeddings,
        &json!({"model": "m", "input": "x"}),
        &single,
    );
    assert_eq!(answer.unwrap()["data"][0]["embedding"], json!([1.5]));
    let error = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}});
    let (_, answer) = asked(&GeminiEmbeddings, Capability::Embeddings, &body, &error);
    assert_eq!(answer.unwrap_err().class, FaultClass::RateLimit);
}

#[test]
fn calls_without_a_name_get_one_that_is_unique_in_the_conversation_and_stays_here() {
    let call_of = |messages: &Value| {
        let body = json!({"model": "m", "messages": messages, "stream": true}).to_string();
        Call::read(Capability::Chat, body.into(), None).unwrap()
    };
    let headers = HeaderMap::new();
    let asked_again = |messages: &Value| {
        let call = call_of(messages);
        let answer = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}]}}]});
        let outcome = Chat(Gemini)
            .decode(&call, received(&headers, answer.to_string()))
            .unwrap();
        let (body, _) = testing::decoded(outcome).answer.into_body();
        let reply: Value = serde_json::from_slice(&body).unwrap();
        let message = reply["choices"][0]["message"].clone();
        // The same answer as a stream has the same names.
        let mut stream = Chat(Gemini).stream(&call, testing::opening(&headers));
        let out = stream.push(format!("data: {answer}\n\n").into()).out;
        let out = String::from_utf8(out.to_vec()).unwrap();
        for at in 0..2 {
            assert!(out.contains(message["tool_calls"][at]["id"].as_str().unwrap()), "{out}");
        }
        message
    };
    let mut messages = json!([{"role": "user", "content": "go"}]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let message = asked_again(&messages);
        let all = messages.as_array_mut().unwrap();
        all.push(message.clone());
        for call in message["tool_calls"].as_array().unwrap() {
            assert!(seen.insert(call["id"].to_string()), "{call}");
            all.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "{}"}));
        }
    }
    let contents = written(&json!({"messages": messages}))["contents"].to_string();
    assert!(!contents.contains("call_"), "{contents}");
    assert_eq!(contents.matches("\"functionResponse\"").count(), 6);
}

#[test]
fn what_is_counted_is_what_would_be_sent() {
    let count = |body: Value| {
        let text = body.to_string();
        let request = ChatRequest::read(text.as_bytes()).unwrap();
        let vendor = Vendor::named("v", "gemini");
        let target = testing::target(&vendor);
        let encoded = Gemini.counting().unwrap().encode(&request, target).unwrap();
        assert_eq!(encoded.place.as_ref().unwrap().path, "/models/up:countTokens");
        json_of(&encoded)
    };
    let messages = json!([{"role": "user", "content": "hi"}]);
    let contents = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    assert_eq!(
        count(json!({"messages": messages, "max_tokens": 5})),
        json!({"contents": contents})
    );
    let declared = json!([{"functionDeclarations": [{"name": "f"}]}]);
    assert_eq!(
        count(json!({"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]})),
        json!({"generateContentRequest": {"model": "models/up", "contents": contents, "tools": declared}})
    );
    let counting = Gemini.counting().unwrap();
    assert_eq!(counting.decode(br#"{"totalTokens":2}"#), Ok(2));
    let error = br#"{"error":{"code":404,"status":"NOT_FOUND"}}"#;
    assert_eq!(counting.decode(error).unwrap_err().class, FaultClass::NotFound);
}

#[test]
fn a_large_picture_is_written_into_room_that_was_made_for_it() {
    let data = "A".repeat(10 << 20);
    let body = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}]}]}).to_string();
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let room = writing::room_for(&request);
    let encoded = Gemini
        .encode(&request, testing::target(&Vendor::named("v", "gemini")))
        .unwrap();
    let length = encoded.body.concat().len();
    assert!(length > data.len() && length <= room, "{length} in {room}");
}

proptest! {
    #[test]
    fn hurt_streams_end_somehow_and_the_same_however_they_are_cut(
        at in 0usize..600, with in any::<u8>(), first in 0usize..600, second in 0usize..600,
    ) {
        let mut stream = body(&fixture("gemini/generate-stream-tools"));
        let length = stream.len();
        stream[at % length] = with;
        let (first, second) = ((first % length).min(second % length), (first % length).max(second % length));
        let whole = read(&Gemini, &[&stream]);
        prop_assert_eq!(read(&Gemini, &[&stream[..first], &stream[first..second], &stream[second..]]), whole);
    }
}

#[test]
fn thoughts_are_shown_as_the_caller_wants_them_shown() {
    let config =
        |thinking: Value| written_with(&json!({"thinking": thinking}))["generationConfig"]["thinkingConfig"].clone();
    for (display, shown) in [("summarized", true), ("omitted", false)] {
        assert_eq!(
            config(json!({"type": "enabled", "budget_tokens": 1024, "display": display})),
            json!({"includeThoughts": shown, "thinkingBudget": 1024})
        );
        assert_eq!(
            config(json!({"type": "disabled", "display": display})),
            json!({"thinkingBudget": 0})
        );
    }
}
