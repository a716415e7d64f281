//! What is said in the vendor's words.

use super::*;

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

fn converted(schema: &Value) -> Option<Value> {
    schema::Schemas::default().converted(schema)
}

#[test]
fn a_schema_is_in_the_vendors_words_or_goes_on_as_it_is() {
    let reference = json!({"$defs": {"c": {"type": "string", "enum": ["a"]}}, "type": "object",
        "properties": {"type": {"$ref": "#/$defs/c"}, "n": {"type": ["integer", "null"]}, "k": {"const": "x"}},
        "additionalProperties": false});
    assert_eq!(
        converted(&reference).unwrap(),
        json!({"type": "OBJECT", "properties": {"type": {"type": "STRING", "enum": ["a"]},
            "n": {"type": "INTEGER", "nullable": true}, "k": {"type": "STRING", "enum": ["x"]}}})
    );
    let either = json!({"oneOf": [{"type": "string"}, {"type": "null"}], "description": "d"});
    assert_eq!(
        converted(&either).unwrap(),
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
        assert_eq!(converted(&unsaid), None, "{unsaid}");
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
    assert_eq!(converted(&schema), None);
}

#[test]
fn references_to_long_texts_are_given_up_for_all_schemas_of_a_request() {
    let long = |keyword: &str, value: Value, times: usize| {
        let references = vec![json!({"$ref": "#/$defs/a"}); times];
        json!({"$defs": {"a": {keyword: value}}, "anyOf": references})
    };
    let text = "d".repeat(1_000);
    for (keyword, value) in [
        ("description", json!(text)),
        ("default", json!({"a": [text]})),
        ("enum", json!([text])),
        ("properties", json!({&text: {}})),
        ("default", json!(vec![1; 100])),
    ] {
        let few = converted(&long(keyword, value.clone(), 100)).unwrap();
        assert!(few.to_string().len() < 300_000, "{keyword}");
        assert_eq!(converted(&long(keyword, value, 4_900)), None, "{keyword}");
    }
    // However long it is, what nothing refers to is written once.
    let own = json!({"type": "string", "description": "d".repeat(1_000_000)});
    assert!(converted(&own).is_some());
    // One room for all: each tool alone would have enough of it.
    let schema = long("description", json!(text), 100);
    let tools: Vec<_> = (0..50)
        .map(|at| json!({"type": "function", "function": {"name": format!("f{at}"), "parameters": schema}}))
        .collect();
    let written = written_with(&json!({"tools": tools}));
    let declared = written["tools"][0]["functionDeclarations"].as_array().unwrap();
    let converted = declared.iter().filter(|tool| tool.get("parameters").is_some()).count();
    assert_eq!((declared.len(), converted), (50, 2));
    assert_eq!(declared[49]["parametersJsonSchema"], schema);
    assert!(written.to_string().len() < 2 * 256 * 1024 + json!(tools).to_string().len());
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
fn links_go_to_the_vendor_with_what_the_caller_says_that_lies_there() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "gs://bucket/scone", "format": "image/jpeg"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/scone.png"}},
        {"type": "file", "file": {"file_url": "https://a.test/report", "format": "application/pdf"}},
        {"type": "file", "file": {"file_url": "https://generativelanguage.googleapis.com/v1beta/files/a", "format": "text/csv"}},
    ]}]});
    let file = |kind: &str, uri: &str| json!({"fileData": {"mimeType": kind, "fileUri": uri}});
    assert_eq!(
        written(&body)["contents"][0]["parts"],
        json!([
            file("image/jpeg", "gs://bucket/scone"),
            file("image/png", "gs://bucket/scone.png"),
            file("application/pdf", "https://a.test/report"),
            file("text/csv", "https://generativelanguage.googleapis.com/v1beta/files/a"),
        ])
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
