//! Whole answers, and failures.

use super::*;

#[test]
fn errors_mean_what_the_vendor_says() {
    for golden in Golden::of("dashscope", "error-") {
        if !golden.name.contains("compat") {
            golden.check_fault(&CHAT);
        }
    }
    for (status, code, class) in [
        (401, "InvalidApiKey", FaultClass::Authentication),
        (403, "AccessDenied.Unpurchased", FaultClass::Permission),
        (403, "Model.AccessDenied", FaultClass::Permission),
        (403, "Workspace.AccessDenied", FaultClass::Permission),
        (404, "ModelNotFound", FaultClass::NotFound),
        (404, "NotFound", FaultClass::NotFound),
        (400, "InvalidParameter.Size", FaultClass::InvalidRequest),
        (400, "BadRequest.TooLarge", FaultClass::InvalidRequest),
        (400, "InvalidURL", FaultClass::InvalidRequest),
        (400, "InvalidFile.Format", FaultClass::InvalidRequest),
        (400, "DataInspectionFailed", FaultClass::ContentFilter),
        (400, "InvalidParameter.DataInspection", FaultClass::ContentFilter),
        (400, "Arrearage", FaultClass::QuotaExceeded),
        (429, "Throttling", FaultClass::RateLimit),
        (429, "Throttling.BurstRate", FaultClass::RateLimit),
        (429, "Throttling.AllocationQuota", FaultClass::RateLimit),
        (500, "InternalError.Algo", FaultClass::ServerError),
        (500, "SystemError", FaultClass::ServerError),
        (503, "ModelUnavailable", FaultClass::Overloaded),
        (503, "ModelServingError", FaultClass::Overloaded),
        (500, "RequestTimeOut", FaultClass::Timeout),
        (200, "CLIENT_ERROR", FaultClass::ServerError),
        (418, "Something.New", FaultClass::InvalidRequest),
    ] {
        let body = json!({"code": code, "message": "m", "request_id": "r"}).to_string();
        let fault = CHAT.decode_fault(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, Some(code)));
    }
    let free = json!({"code": "Throttling.AllocationQuota", "message": "Free allocated quota exceeded."}).to_string();
    let fault = CHAT.decode_fault(429, &HeaderMap::new(), free.as_bytes());
    assert_eq!(fault.class, FaultClass::QuotaExceeded);
    assert_eq!(
        CHAT.decode_fault(503, &HeaderMap::new(), b"<html>").class,
        FaultClass::Overloaded
    );
}

#[test]
fn answers_come_in_the_older_form_as_well() {
    let sent = call(Capability::Chat, &json!({"model": "m", "messages": []}));
    let headers = HeaderMap::new();
    let older = json!({"output": {"text": "hi", "finish_reason": "stop"}, "usage": {"input_tokens": 1, "output_tokens": 2}, "request_id": "r"});
    let answer = decoded(CHAT.decode(&sent, received(&headers, older.to_string())).unwrap());
    let body: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
    assert_eq!(
        (&body["choices"][0]["message"]["content"], &body["id"]),
        (&json!("hi"), &json!("r"))
    );
    for broken in [json!({}), json!({"output": {}}), json!([])] {
        let fault = CHAT.decode(&sent, received(&headers, broken.to_string())).unwrap_err();
        assert_eq!(fault.class, FaultClass::InvalidReply);
    }
    let failed = json!({"code": "Arrearage", "message": "m"});
    let fault = CHAT.decode(&sent, received(&headers, failed.to_string())).unwrap_err();
    assert_eq!(fault.class, FaultClass::QuotaExceeded);
    let (seen, end) = run(&event(&older));
    assert_eq!(
        (seen.text.as_str(), seen.finish.as_deref(), end),
        ("hi", Some("stop"), None)
    );
}

#[test]
fn vectors_come_in_the_order_of_their_texts() {
    let golden = Golden::of("dashscope", "embeddings-").remove(0);
    check_request(&golden, &DashScopeEmbeddings, Capability::Embeddings);
    let headers = golden.headers();
    let read = |body: &Value| {
        let answer = DashScopeEmbeddings.decode(&call(Capability::Embeddings, body), received(&headers, golden.body()));
        let answer = decoded(answer.unwrap());
        let usage = answer.usage.map(|usage| usage.input);
        let body: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        assert_eq!((usage, &body["usage"]["total_tokens"]), (Some(4), &json!(4)));
        body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|vector| vector["embedding"].clone())
            .collect::<Value>()
    };
    assert_eq!(read(&openai(&golden)), golden.expect()["vectors"]);
    let mut packed = openai(&golden);
    packed["encoding_format"] = json!("base64");
    assert_eq!(read(&packed)[1], json!("AAAAPwAAgL4="));
    let row = row();
    for (input, good) in [(json!("one"), true), (json!([[1, 2]]), false), (json!([1, 2]), false)] {
        let body = json!({"model": "m", "input": input});
        let encoded = DashScopeEmbeddings.encode(&call(Capability::Embeddings, &body), target("up", &row));
        assert_eq!(encoded.is_ok(), good, "{body}");
    }
}

#[test]
fn vectors_are_as_many_as_texts_and_an_odd_count_costs_none() {
    let headers = HeaderMap::new();
    let one = call(Capability::Embeddings, &json!({"model": "m", "input": "a"}));
    let two = call(Capability::Embeddings, &json!({"model": "m", "input": ["a", "b"]}));
    for (usage, told) in [
        (json!({"total_tokens": 12.0}), Some(12)),
        (json!({"total_tokens": "many"}), None),
        (json!(7), None),
    ] {
        let body = json!({"output": {"embeddings": [{"text_index": 0, "embedding": [0.5]}]}, "usage": usage});
        let read = |call: &Call| DashScopeEmbeddings.decode(call, received(&headers, body.to_string()));
        assert_eq!(
            decoded(read(&one).unwrap()).usage.map(|usage| usage.input),
            told,
            "{usage}"
        );
        assert_eq!(read(&two).unwrap_err().class, FaultClass::InvalidReply);
        let ranks = json!({"output": {"results": [{"index": 0, "relevance_score": 0.5}]}, "usage": usage});
        let asked = call(
            Capability::Rerank,
            &json!({"model": "m", "query": "q", "documents": ["a"]}),
        );
        let ranked = decoded(
            DashScopeRerank
                .decode(&asked, received(&headers, ranks.to_string()))
                .unwrap(),
        );
        assert_eq!(ranked.usage.map(|usage| usage.input), told, "{usage}");
    }
}

#[test]
fn a_size_that_only_the_vendor_understands_costs_no_answer() {
    let (headers, row) = (HeaderMap::new(), row());
    let body = json!({"output": {"embeddings": [{"text_index": 0, "embedding": [0.5]}]}});
    for dimensions in [json!(512.0), json!("512")] {
        let sent = call(
            Capability::Embeddings,
            &json!({"model": "m", "input": "a", "dimensions": dimensions}),
        );
        assert!(DashScopeEmbeddings.encode(&sent, target("up", &row)).is_ok());
        let answer = DashScopeEmbeddings.decode(&sent, received(&headers, body.to_string()));
        assert!(answer.is_ok(), "{dimensions}");
    }
}

#[test]
fn documents_and_how_many_are_wanted_may_be_said_in_words_of_others() {
    let row = row();
    let body = json!({"model": "m", "query": "q", "documents": [{"text": "a"}, "b", {"image": "c"}], "top_k": 2});
    let encoded = DashScopeRerank
        .encode(&call(Capability::Rerank, &body), target("up", &row))
        .unwrap();
    assert_eq!(
        body_of(&encoded),
        json!({"model": "up", "input": {"query": "q", "documents": ["a", "b", {"image": "c"}]}, "parameters": {"top_n": 2}})
    );
}

#[test]
fn documents_are_ranked() {
    let golden = Golden::of("dashscope", "rerank-").remove(0);
    check_request(&golden, &DashScopeRerank, Capability::Rerank);
    let (headers, body) = (golden.headers(), openai(&golden));
    let answer = DashScopeRerank.decode(&call(Capability::Rerank, &body), received(&headers, golden.body()));
    let body: Value = serde_json::from_slice(&decoded(answer.unwrap()).answer.into_body().0).unwrap();
    assert_eq!(
        (&body["results"][0]["index"], &body["results"][0]["relevance_score"]),
        (&json!(1), &json!(0.91))
    );
    assert_eq!(
        (&body["results"][1]["document"]["text"], &body["usage"]["total_tokens"]),
        (&json!("blau"), &json!(9))
    );
}
