//! Pictures and speech, which lie somewhere else.

use super::*;

#[test]
fn a_picture_is_a_task_that_is_asked_for_until_it_is_done() {
    let submitted = Golden::of("dashscope", "images-generation-submit").remove(0);
    check_request(&submitted, &DashScopeImages, Capability::Image);
    let headers = HeaderMap::new();
    let sent = call(Capability::Image, &openai(&submitted));
    let first = next(
        DashScopeImages
            .decode(&sent, received(&headers, submitted.body()))
            .unwrap(),
    );
    assert_eq!(
        (&first.state["job_id"], &first.state["job_status"]),
        (&json!("task-img-1"), &json!("queued"))
    );
    let Ask::Vendor(question) = &first.ask else {
        panic!("{first:?}")
    };
    let place = question.place.as_ref().unwrap();
    assert_eq!(
        (&place.method, place.path.as_str()),
        (&Method::GET, "/api/v1/tasks/task-img-1")
    );
    assert!(question.body.is_empty());
    let cancel = first.cancel.as_ref().unwrap().place.as_ref().unwrap();
    assert_eq!(
        (&cancel.method, cancel.path.as_str()),
        (&Method::POST, "/api/v1/tasks/task-img-1/cancel")
    );
    let poll = |name: &str, state: &Value, sent: &Call| {
        let golden = Golden::of("dashscope", name).remove(0);
        DashScopeImages.decode(sent, step(&headers, &golden.file["response"]["body"], state))
    };
    let running = next(poll("images-generation-poll-running", &first.state, &sent).unwrap());
    assert_eq!(running.state["job_status"], "running");
    assert!(running.after >= first.after);
    let fault = poll("images-generation-poll-failed", &running.state, &sent).unwrap_err();
    assert_eq!(fault.class, FaultClass::ContentFilter);
    let done = decoded(poll("images-generation-poll-done", &running.state, &sent).unwrap());
    assert_eq!(done.usage.map(|usage| usage.images), Some(1));
    let body: Value = serde_json::from_slice(&done.answer.into_body().0).unwrap();
    assert_eq!(
        body["data"][0]["url"],
        "https://img.example.test/o.png?Expires=1&Signature=x%2B"
    );
    // Whoever wants the bytes gets them, though the vendor has URLs alone.
    let sent = call(
        Capability::Image,
        &json!({"model": "m", "prompt": "x", "response_format": "b64_json"}),
    );
    let fetching = next(poll("images-generation-poll-done", &running.state, &sent).unwrap());
    let Ask::Urls(urls) = &fetching.ask else {
        panic!("{fetching:?}")
    };
    assert!(urls.len() == 1 && urls[0].starts_with("https://img.example.test/o.png"));
    assert_eq!(fetching.state["job_status"], "done");
    let picture = Received {
        state: &fetching.state,
        found: &[Found {
            headers: HeaderMap::new(),
            body: "PNG".into(),
        }],
        ..received(&headers, "")
    };
    let body = decoded(DashScopeImages.decode(&sent, picture).unwrap())
        .answer
        .into_body()
        .0;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["data"][0]["b64_json"], &body["data"][0]["url"]),
        (&json!("UE5H"), &Value::Null)
    );
}

#[test]
fn a_task_is_not_asked_for_at_another_place() {
    let headers = HeaderMap::new();
    let sent = call(Capability::Image, &json!({"model": "m", "prompt": "x"}));
    for id in ["", "../../x", "a/b", "a?b", "a#b", &"a".repeat(129)] {
        let body = json!({"output": {"task_id": id, "task_status": "PENDING"}});
        let fault = DashScopeImages
            .decode(&sent, received(&headers, body.to_string()))
            .unwrap_err();
        assert_eq!(fault.class, FaultClass::InvalidReply, "{id}");
    }
    for (status, class) in [
        ("UNKNOWN", FaultClass::NotFound),
        ("NEW", FaultClass::InvalidReply),
        ("CANCELED", FaultClass::ServerError),
    ] {
        let body = json!({"output": {"task_id": "a", "task_status": status}});
        let fault = DashScopeImages
            .decode(&sent, received(&headers, body.to_string()))
            .unwrap_err();
        assert_eq!(fault.class, class, "{status}");
    }
    // Done, but with some of its pictures refused: the others are the answer.
    let some = json!({"output": {"task_id": "a", "task_status": "SUCCEEDED", "results": [{"code": "InvalidParameter", "message": "m"}, {"url": "https://a.test/"}]}});
    assert!(
        DashScopeImages
            .decode(&sent, received(&headers, some.to_string()))
            .is_ok()
    );
    let none = json!({"output": {"task_id": "a", "task_status": "SUCCEEDED", "results": [{"code": "DataInspectionFailed", "message": "m"}]}});
    let fault = DashScopeImages
        .decode(&sent, received(&headers, none.to_string()))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::ContentFilter);
}

#[test]
fn speech_is_fetched_from_where_the_vendor_put_it() {
    let golden = Golden::of("dashscope", "tts-").remove(0);
    check_request(&golden, &DashScopeSpeech, Capability::Speech);
    let sent = call(Capability::Speech, &openai(&golden));
    let headers = HeaderMap::new();
    let fetching = next(
        DashScopeSpeech
            .decode(&sent, received(&headers, golden.body()))
            .unwrap(),
    );
    assert_eq!(fetching.state["audio_url"], golden.expect()["audio_url"]);
    assert!(matches!(&fetching.ask, Ask::Url(url) if url == golden.expect()["audio_url"].as_str().unwrap()));
    for (bytes, kind) in [
        (&b"RIFF0000WAVE"[..], Some("audio/wav")),
        (b"ID3x", Some("audio/mpeg")),
        (b"OggS", Some("audio/ogg")),
        (b"<html>", None),
        (b"", None),
    ] {
        let sound = Received {
            state: &fetching.state,
            ..received(&headers, Bytes::from_static(bytes))
        };
        let answer = DashScopeSpeech.decode(&sent, sound).map(decoded);
        assert_eq!(
            answer
                .as_ref()
                .ok()
                .map(|answer| answer.usage.map(|usage| (usage.input, usage.output))),
            kind.map(|_| Some((10, 30)))
        );
        assert_eq!(answer.ok().map(|answer| answer.answer.into_body().1), kind);
    }
    let row = row();
    let body = json!({"model": "m", "input": "x", "voice": "v", "response_format": "opus"});
    assert!(
        DashScopeSpeech
            .encode(&call(Capability::Speech, &body), target("up", &row))
            .is_err()
    );
}

#[test]
fn a_failed_task_with_a_number_for_a_code_has_failed_all_the_same() {
    let headers = HeaderMap::new();
    let sent = call(Capability::Image, &json!({"model": "m", "prompt": "a"}));
    let body = json!({"output": {"task_id": "t", "task_status": "FAILED", "code": 7, "message": "no"}});
    let fault = DashScopeImages
        .decode(&sent, received(&headers, body.to_string()))
        .unwrap_err();
    assert_eq!((fault.class, fault.ended), (FaultClass::ServerError, true));
}

#[test]
fn sound_without_a_head_is_what_its_place_says() {
    let sent = call(Capability::Speech, &json!({"model": "m", "input": "x", "voice": "v"}));
    let state = json!({"audio_url": "https://a.test/x", "usage": null});
    for (said, kind) in [
        ("audio/pcm", "audio/pcm"),
        ("Audio/AAC; rate=1", "audio/aac"),
        ("audio/x-new", "application/octet-stream"),
    ] {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(said))]);
        let sound = Received {
            state: &state,
            ..received(&headers, Bytes::from_static(b"\0\x01"))
        };
        let answer = decoded(DashScopeSpeech.decode(&sent, sound).unwrap());
        assert_eq!(answer.answer.into_body().1, kind);
    }
}
