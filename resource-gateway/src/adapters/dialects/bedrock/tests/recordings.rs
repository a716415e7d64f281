//! What the vendor's library was recorded to send and to read.

use super::*;

#[test]
fn every_recorded_request_is_what_the_vendors_library_sends() {
    let plain = fixtures("converse");
    let streams = fixtures("converse-stream");
    assert!(plain.len() >= 6 && streams.len() >= 2);
    for (fixture, stream) in plain
        .iter()
        .map(|f| (f, false))
        .chain(streams.iter().map(|f| (f, true)))
    {
        let body = as_openai(fixture.params(), stream);
        let (body, encoded) = encoded_for(&body, fixture.model(), WhenUnsupported::Refuse).unwrap();
        let request = &fixture.file["request"];
        assert_eq!(body, request["body"], "{}", fixture.name);
        let place = encoded.place.unwrap();
        assert_eq!(place.method, request["method"].as_str().unwrap());
        assert_eq!(place.path, request["path"].as_str().unwrap());
        assert_eq!(
            encoded.content_type,
            request["headers"]["content-type"].as_str().unwrap()
        );
    }
}

#[test]
fn every_recorded_answer_is_read() {
    for fixture in fixtures("converse") {
        let headers = fixture.headers();
        let reply = BedrockChat.decode(&received(&headers, fixture.body())).unwrap();
        let [choice] = &*reply.choices else {
            panic!("{}", fixture.name)
        };
        let expect = fixture.expect();
        assert_eq!(
            choice.text.as_deref().unwrap_or_default(),
            expect["text"].as_str().unwrap_or_default()
        );
        let finish = choice.finish.as_ref().unwrap();
        assert_eq!(finish.word, expect["finish_reason"]);
        assert_eq!(finish.reason.word().unwrap(), expect["finish"]);
        fixture.assert_counts(reply.counts);
        let calls = choice.tool_calls.iter();
        let calls = calls.map(|call| {
            (
                call.id.as_deref().map(str::to_owned),
                call.name.to_string(),
                call.arguments.to_string(),
            )
        });
        fixture.assert_calls(calls.collect());
        assert_eq!(
            reply.id.as_deref(),
            fixture.file["response"]["headers"]["x-amzn-requestid"].as_str()
        );
    }
}

#[test]
fn every_recorded_stream_gives_the_same_events_however_it_is_cut() {
    let recordings = fixtures("converse-stream");
    assert!(recordings.len() >= 2);
    for fixture in recordings {
        let (headers, body, expect) = (fixture.headers(), fixture.body(), fixture.expect());
        assert!(BedrockChat.is_stream(&headers));
        let (events, end) = read_stream(&headers, &[&body]);
        assert!(matches!(end, StreamEnd::Complete), "{}: {end:?}", fixture.name);
        let texts = events.iter().filter_map(|event| match event {
            ChatEvent::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(
            json!(texts.collect::<Vec<_>>()),
            expect["text_deltas"],
            "{}",
            fixture.name
        );
        let (mut calls, mut counts, mut finished) = (Vec::new(), None::<Counts>, 0);
        for event in &events {
            match event {
                ChatEvent::ToolCall { id, name, call, .. } => {
                    assert_eq!(usize::try_from(*call).unwrap(), calls.len());
                    calls.push((id.clone(), name.clone(), String::new()));
                }
                ChatEvent::Arguments { call, fragment, .. } => {
                    calls[usize::try_from(*call).unwrap()].2.push_str(fragment);
                }
                ChatEvent::Counts(newer) => {
                    counts = Some(counts.unwrap_or_default().merged(*newer));
                }
                ChatEvent::Finish { finish, .. } => {
                    finished += 1;
                    assert_eq!(finish.word, expect["finish_reason"]);
                    assert_eq!(finish.reason.word().unwrap(), expect["finish"]);
                }
                _ => {}
            }
        }
        assert_eq!(finished, 1);
        fixture.assert_counts(counts);
        fixture.assert_calls(calls);
        for cut in 0..=body.len() {
            let again = read_stream(&headers, &[&body[..cut], &body[cut..]]);
            assert_eq!(again.0, events, "{} cut at {cut}", fixture.name);
            assert!(matches!(again.1, StreamEnd::Complete));
        }
        let each: Vec<_> = body.chunks(1).collect();
        assert_eq!(read_stream(&headers, &each).0, events, "{}", fixture.name);
    }
}

#[test]
fn every_recorded_error_is_read() {
    let recordings = fixtures("error");
    assert!(recordings.len() >= 4);
    for fixture in recordings {
        let fault = BedrockChat.decode_fault(fixture.status(), &fixture.headers(), &fixture.body());
        let wanted = &fixture.expect()["error"];
        assert_eq!(fault.class.label(), wanted["class"], "{}", fixture.name);
        assert_eq!(json!(fault.words.code), wanted["code"]);
        assert_eq!(json!(fault.words.message), wanted["message"]);
        assert_eq!(json!(fault.status), wanted["status"]);
        assert_eq!(json!(fault.is_retryable()), wanted["retryable"]);
    }
}
