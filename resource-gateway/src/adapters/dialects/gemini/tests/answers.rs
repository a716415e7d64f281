//! Whole answers, failures, and what else is asked for.

use super::*;

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
    let openai = reply.to_openai("up", 1, 1);
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
    for name in ["content", "outputDimensionality", "output_dimensionality"] {
        let mut body = json!({"model": "m", "input": "a"});
        body[name] = json!({"parts": [{"text": "b"}]});
        let call = Call::read(Capability::Embeddings, body.to_string().into(), None).unwrap();
        let vendor = Vendor::named("v", "gemini");
        let refused = GeminiEmbeddings.encode(&call, testing::target(&vendor));
        assert!(
            matches!(&refused, Err(EncodeError::Refused(error)) if error.param.as_deref() == Some(name)),
            "{refused:?}"
        );
    }
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
fn answers_stand_in_the_order_of_their_numbers_of_which_the_first_is_not_written() {
    let said = |text: &str| json!({"parts": [{"text": text}]});
    let reply = decoded(
        &Gemini,
        &json!({"candidates": [{"index": 1, "content": said("b")}, {"content": said("a")}]}),
    );
    let choices = reply.unwrap().choices;
    let texts: Vec<_> = choices.iter().filter_map(|choice| choice.text.as_deref()).collect();
    assert_eq!(texts, ["a", "b"]);
}
