//! Anthropic's models, invoked in their own format.

use super::*;

#[test]
fn anthropics_models_are_invoked_in_their_own_words() {
    let recordings = fixtures("invoke-model");
    let recordings: Vec<_> = recordings
        .iter()
        .filter(|fixture| fixture.expect()["text"].is_string())
        .collect();
    assert!(!recordings.is_empty());
    for fixture in recordings {
        let params = &fixture.params()["body"];
        let body = json!({"model": "m", "max_tokens": params["max_tokens"], "messages": params["messages"]});
        let vendor = Vendor::named("v", "bedrock-anthropic");
        let target = Target {
            model: fixture.model(),
            ..target(&vendor)
        };
        let encoded = Chat(BedrockMessages).encode(&call(&body), target).unwrap();
        let request = &fixture.file["request"];
        let place = encoded.place.unwrap();
        assert_eq!(place.path, request["path"].as_str().unwrap());
        assert!(place.headers.is_empty());
        let sent: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        assert_eq!(sent, request["body"], "{}", fixture.name);
        let headers = fixture.headers();
        let reply = BedrockMessages.decode(&received(&headers, fixture.body())).unwrap();
        assert_eq!(reply.choices[0].text.as_deref(), fixture.expect()["text"].as_str());
        assert_eq!(
            reply.choices[0].finish.as_ref().unwrap().word,
            fixture.expect()["finish_reason"]
        );
        assert_eq!(
            reply.counts.unwrap().input,
            fixture.expect()["usage"]["input_tokens"].as_u64()
        );
    }
}

#[test]
fn anthropics_events_come_in_frames_however_they_are_cut() {
    let chunk = |event: Value| event_frame_of(&event);
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}}});
    let good = [
        chunk(start.clone()),
        chunk(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        chunk(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "h\u{e9}"}})),
        chunk(json!({"type": "content_block_stop", "index": 0})),
        chunk(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})),
        chunk(json!({"type": "message_stop"})),
    ]
    .concat();
    let read = |pieces: &[&[u8]]| {
        let mut decoder = BedrockMessages.stream(&HeaderMap::new());
        let mut events = Vec::new();
        for piece in pieces {
            if let Some(end) = decoder.push(Bytes::copy_from_slice(piece), &mut events) {
                return (events, end);
            }
        }
        let end = decoder.finish(&mut events);
        (events, end)
    };
    let (events, end) = read(&[&good]);
    assert!(matches!(end, StreamEnd::Complete));
    assert!(events.contains(&ChatEvent::Text {
        choice: 0,
        text: "h\u{e9}".to_owned()
    }));
    for cut in 0..good.len() {
        let again = read(&[&good[..cut], &good[cut..]]);
        assert_eq!(again.0, events, "{cut}");
    }
    let exception = frame(
        &[
            (":message-type", "exception"),
            (":exception-type", "modelTimeoutException"),
        ],
        "{}",
    );
    let broken = event("chunk", &json!({"bytes": "%"}));
    for (rest, class) in [
        (exception, FaultClass::Timeout),
        (broken, FaultClass::InvalidReply),
        (Vec::new(), FaultClass::Transport),
        (vec![0, 0], FaultClass::Transport),
    ] {
        let (_, end) = read(&[&chunk(start.clone()), &rest]);
        assert!(
            matches!(&end, StreamEnd::Failed(fault) if fault.class == class),
            "{end:?}"
        );
    }
}

fn event_frame_of(data: &Value) -> Vec<u8> {
    event(
        "chunk",
        &json!({"bytes": STANDARD.encode(data.to_string()), "p": "abc"}),
    )
}
