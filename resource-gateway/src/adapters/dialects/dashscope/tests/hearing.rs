//! Recordings.

use super::*;

/// A form as an OpenAI client sends it.
fn recording_form(fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Call {
    let mut body = Vec::new();
    for (name, value) in fields.iter().copied().chain([("model", "route")]) {
        let part = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    if let Some((name, bytes)) = file {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=B").unwrap();
    Call::read(Capability::Transcription, body.into(), Some(&boundary)).unwrap()
}

#[test]
fn a_recording_behind_a_url_is_a_task_whose_result_lies_somewhere_else() {
    let row = row();
    let sent = recording_form(
        &[
            ("url", "https://audio.example.test/a.wav"),
            ("language", "zh"),
            ("channel_id", "[0]"),
            ("vocabulary_id", "vocab-1"),
            ("response_format", "verbose_json"),
        ],
        None,
    );
    let encoded = DashScopeTranscription
        .encode(&sent, target("paraformer-v2", &row))
        .unwrap();
    assert_eq!(
        body_of(&encoded),
        json!({"model": "paraformer-v2", "input": {"file_urls": ["https://audio.example.test/a.wav"]},
            "parameters": {"language_hints": ["zh"], "channel_id": [0], "vocabulary_id": "vocab-1"}})
    );
    assert_eq!(encoded.place.unwrap().headers[ASYNC], "enable");

    let headers = HeaderMap::new();
    let read = |body: &Value, state: &Value| DashScopeTranscription.decode(&sent, step(&headers, body, state));
    let submitted = Golden::of("dashscope", "asr-file-submit").remove(0);
    let first = next(read(&submitted.file["response"]["body"], &Value::Null).unwrap());
    assert_eq!(
        (&first.state["job_id"], &first.state["job_status"]),
        (&json!("task-asr-1"), &json!("queued"))
    );
    let polled = Golden::of("dashscope", "asr-file-poll-done").remove(0);
    let second = next(read(&polled.file["response"]["body"], &first.state).unwrap());
    let Ask::Url(url) = &second.ask else {
        panic!("{second:?}")
    };
    assert_eq!(url, "https://result.example.test/t.json?sig=1");
    let written = json!({"file_url": "u", "properties": {"original_duration_in_milliseconds": 8900}, "transcripts": [
        {"channel_id": 0, "text": "你好。再见。", "sentences": [
            {"begin_time": 170, "end_time": 920, "text": "你好。", "words": [{"begin_time": 170, "end_time": 400, "text": "你好", "punctuation": "。"}]},
            {"begin_time": 1000, "end_time": 2000, "text": "再见。"}]}]});
    let done = decoded(read(&written, &second.state).unwrap());
    assert_eq!(done.usage.unwrap().audio_ms, 9000);
    let body: Value = serde_json::from_slice(&done.answer.into_body().0).unwrap();
    assert_eq!(
        (&body["text"], &body["duration"]),
        (&json!("你好。再见。"), &json!(9.0))
    );
    assert_eq!(
        (&body["segments"][0]["start"], &body["segments"][1]["end"]),
        (&json!(0.17), &json!(2.0))
    );
    assert_eq!(body["words"][0]["word"], "你好。");
}

#[test]
fn a_file_that_could_not_be_written_down_says_why() {
    let sent = recording_form(&[("url", "https://audio.example.test/a.wav")], None);
    let headers = HeaderMap::new();
    let read = |output: Value| {
        let state = json!({"job_id": "task-1", "job_status": "running", "asked": 1});
        DashScopeTranscription
            .decode(&sent, step(&headers, &json!({"output": output}), &state))
            .unwrap_err()
    };
    for (output, class) in [
        (
            json!({"task_status": "FAILED", "code": "InvalidFile.DownloadFailed", "message": "m"}),
            FaultClass::InvalidRequest,
        ),
        (
            json!({"task_status": "SUCCEEDED", "results": [{"subtask_status": "FAILED", "code": "InvalidFile.DecodeFailed", "message": "m"}]}),
            FaultClass::InvalidRequest,
        ),
        (
            json!({"task_status": "SUCCEEDED", "results": []}),
            FaultClass::InvalidReply,
        ),
        (json!({"task_status": "UNKNOWN"}), FaultClass::NotFound),
        (
            json!({"task_status": "RUNNING", "task_id": "../x"}),
            FaultClass::InvalidReply,
        ),
        (json!({"task_status": "DANCING"}), FaultClass::InvalidReply),
    ] {
        assert_eq!(read(output.clone()).class, class, "{output}");
    }
}

#[test]
fn models_that_hear_want_bytes_and_the_others_want_places() {
    let row = row();
    let refused = |sent: &Call, model: &str| match DashScopeTranscription.encode(sent, target(model, &row)).unwrap_err()
    {
        EncodeError::Refused(error) => error.param.map(String::from),
        EncodeError::Fetch(urls) => Some(urls.join(" ")),
    };
    let bytes = recording_form(&[], Some(("a.wav", b"RIFF")));
    assert_eq!(refused(&bytes, "paraformer-v2").as_deref(), Some("file"));
    let place = recording_form(&[("url", "https://a.test/a.mp3")], None);
    assert_eq!(
        refused(&place, "paraformer-realtime-v2").as_deref(),
        Some("https://a.test/a.mp3")
    );
    let nameless = recording_form(&[], Some(("a", b"RIFF")));
    assert_eq!(refused(&nameless, "paraformer-realtime-v2").as_deref(), Some("file"));
    let told = recording_form(&[("format", "pcm"), ("sample_rate", "8000")], Some(("a", b"xx")));
    let encoded = DashScopeTranscription
        .encode(&told, target("paraformer-realtime-v2", &row))
        .unwrap();
    let dialogue = encoded.dialogue.unwrap();
    let SocketMessage::Text(first) = &dialogue.turns[0][0] else {
        panic!("{dialogue:?}")
    };
    let first: Value = serde_json::from_slice(first).unwrap();
    assert_eq!(
        first["payload"]["parameters"],
        json!({"format": "pcm", "sample_rate": 8000})
    );
    assert_eq!(dialogue.turns[1][0], SocketMessage::Binary(Bytes::from_static(b"xx")));
}

#[test]
fn what_is_heard_ends_with_the_vendors_word_for_it() {
    let sent = recording_form(&[("response_format", "verbose_json")], Some(("a.wav", b"RIFF")));
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]);
    let event = |event: &str, payload: Value| json!({"header": {"event": event}, "payload": payload});
    let sentence = |text: &str, end: Option<u64>| {
        event(
            "result-generated",
            json!({"output": {"sentence": {"begin_time": 0, "end_time": end, "text": text, "heartbeat": text.is_empty()}}}),
        )
    };
    let heard = |events: &[Value]| {
        let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
        DashScopeTranscription.decode(&sent, received(&headers, lines.join("\n")))
    };
    let done = heard(&[
        event("task-started", json!({})),
        sentence("Hel", None),
        sentence("Hello.", Some(5)),
        sentence("", None),
        sentence("And a rest", None),
        event("task-finished", json!({})),
    ]);
    let body: Value = serde_json::from_slice(&decoded(done.unwrap()).answer.into_body().0).unwrap();
    assert_eq!(body["text"], "Hello. And a rest");
    assert_eq!(body["segments"].as_array().unwrap().len(), 2);
    let failed = json!({"header": {"event": "task-failed", "error_code": "CLIENT_ERROR", "error_message": "m"}});
    assert_eq!(heard(&[failed]).unwrap_err().class, FaultClass::ServerError);
    assert_eq!(
        heard(&[sentence("Hello.", Some(5))]).unwrap_err().class,
        FaultClass::Transport
    );
    assert_eq!(heard(&[json!([])]).unwrap_err().class, FaultClass::InvalidReply);
}
