//! Callers of the vendor's own format.

use super::*;

/// What a caller of `/v1/responses` has said.
fn said_by_caller(body: &str) -> Call {
    let translated = responses_to_openai(body.as_bytes()).unwrap();
    let call = Call::read(Capability::Chat, translated.into(), None).unwrap();
    call.said_as(Voice::Responses, body.to_owned().into())
}

fn passed_on(body: &str) -> String {
    let sent = Chat(ResponsesDialect).encode(&said_by_caller(body), target(&vendor()));
    String::from_utf8(sent.unwrap().body.concat()).unwrap()
}

#[test]
fn who_speaks_the_vendors_format_gets_its_own_bytes_sent() {
    let body = "{ \"model\" : \"alias\",\n \"store\":false, \"input\":\"\\u0048i\", \"reasoning\": {\"effort\":\"low\",\"summary\":\"auto\"}, \"new\":1.50e1 }";
    assert_eq!(passed_on(body), body.replace("alias", "up"));
    let call = said_by_caller("{\"stream\":true,\"model\":\"m\",\"input\":\"x\"}");
    let sent = Chat(ResponsesDialect).encode(&call, target(&vendor())).unwrap();
    assert_eq!(
        (sent.accept.to_str().unwrap(), sent.dropped.len()),
        ("text/event-stream", 0)
    );
    assert_eq!(
        sent.body.concat(),
        b"{\"store\":false,\"stream\":true,\"model\":\"up\",\"input\":\"x\"}"
    );
}

#[test]
fn nothing_is_kept_at_the_vendor_and_nothing_that_was_kept_is_found() {
    assert_eq!(
        passed_on("{\"model\":\"m\",\"input\":\"x\",\"store\":null}"),
        "{\"model\":\"up\",\"input\":\"x\",\"store\":false}"
    );
    let asked = "{\"role\": \"user\", \"content\": \"a reasoning\"}";
    let whole = |items: &[&str]| format!("{{\"model\":\"m\",\"input\":[{}],\"store\":false}}", items.join(","));
    let thought = |more: &str| format!("{{\"type\":\"\\u0072easoning\",\"id\":\"rs_1\",\"summary\":[]{more}}}");
    let (own, found) = (thought(",\"encrypted_content\":\"e\""), thought(""));
    let others = ["thought:EqQB", "redacted:EmwK"].map(|kept| thought(&format!(",\"encrypted_content\":\"{kept}\"")));
    assert_eq!(
        passed_on(&whole(&[asked, &others[0], &own, &others[1]])),
        passed_on(&whole(&[asked, &own]))
    );
    let (empty, null) = (
        thought(",\"encrypted_content\":\"\""),
        thought(",\"encrypted_content\":null"),
    );
    let body = whole(&[asked, &own]);
    assert_eq!(passed_on(&body), body.replace("\"m\"", "\"up\""));
    assert_eq!(
        passed_on(&whole(&[&found, asked, &own, &null, &empty])),
        passed_on(&body)
    );
    for twice in [
        ",\"encrypted_content\":\"e\",\"encrypted_content\":null",
        ",\"encryptedContent\":\"e\"",
        ",\"encrypted_content\":1",
    ] {
        let body = whole(&[&thought(twice)]);
        assert!(responses_to_openai(body.as_bytes()).is_err(), "{twice}");
    }
}

#[test]
fn what_a_rule_has_changed_is_written_anew() {
    let call = said_by_caller("{\"model\":\"m\",\"input\":\"x\",\"max_output_tokens\":50,\"new\":1}");
    let changed = call.body();
    let translated = String::from_utf8(changed.to_vec()).unwrap().replace("50", "20");
    let call = Call::read(Capability::Chat, translated.into(), None).unwrap();
    let sent = Chat(ResponsesDialect).encode(&call, target(&vendor())).unwrap();
    assert_eq!(
        json_of(&sent),
        json!({"model": "up", "input": "x", "max_output_tokens": 20, "store": false, "new": 1})
    );
}

#[test]
fn who_speaks_the_vendors_format_gets_its_answer_byte_for_byte() {
    let call = said_by_caller("{\"model\":\"m\",\"input\":\"x\"}");
    let body = r#"{ "id":"x","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":2,"input_tokens_details":{"cached_tokens":1},"output_tokens":4},"new":[1.50] }"#;
    let headers = HeaderMap::new();
    let read = |body: &str| Chat(ResponsesDialect).decode(&call, received(&headers, body.to_owned()));
    let answer = testing::decoded(read(body).unwrap());
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.cached_input), (2, 4, Some(1)));
    assert_eq!(answer.answer.into_body().0, body);
    let failed = r#"{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#;
    assert_eq!(read(failed).unwrap_err().class, FaultClass::ServerError);
}

/// What of a stream passes, how it ends, and the tokens of text that nobody has counted.
fn pass(pieces: &[&[u8]]) -> (String, Option<FaultClass>, Box<dyn StreamDecoder>) {
    let headers = HeaderMap::new();
    let call = said_by_caller("{\"model\":\"m\",\"input\":\"x\",\"stream\":true}");
    let mut stream = Chat(ResponsesDialect).stream(&call, opening(&headers));
    let mut out = Vec::new();
    let mut ended = None;
    for piece in pieces {
        let Pushed { out: more, end } = stream.push(Bytes::copy_from_slice(piece));
        out.extend_from_slice(&more);
        ended = end;
        if ended.is_some() {
            break;
        }
    }
    let end = ended.unwrap_or_else(|| {
        let Pushed { out: more, end } = stream.finish();
        out.extend_from_slice(&more);
        end.unwrap()
    });
    let class = match end {
        StreamEnd::Complete => None,
        StreamEnd::Failed(fault) => Some(fault.class),
    };
    (String::from_utf8(out).unwrap(), class, stream)
}

#[test]
fn a_passed_stream_ends_where_it_breaks() {
    let said = stream_of(&[created(), delta("output_text", 0, "abc")]);
    let error = stream_of(&[json!({"type": "error", "code": "server_error", "message": "m"})]);
    for (text, class) in [
        (said.clone(), FaultClass::Transport),
        (format!("{said}data: {{\"type\":\"resp"), FaultClass::Transport),
        (format!("{said}{error}"), FaultClass::ServerError),
    ] {
        let (out, ended, mut stream) = pass(&[text.as_bytes()]);
        assert_eq!((out, ended), (said.clone(), Some(class)));
        assert_eq!(stream.take_said().count(|text| Some(text.len() as u64)).tokens, 3);
    }
}

proptest! {
    #[test]
    fn a_stream_passes_byte_for_byte_in_any_split(cuts in prop::collection::vec(0_usize..6000, 0..12)) {
        let text = everything();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([text.len()]);
        let begins = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<&[u8]> = begins.zip(ends).map(|(from, to)| &text.as_bytes()[from..to]).collect();
        let (out, ended, stream) = pass(&pieces);
        prop_assert_eq!(ended, None);
        prop_assert!(out == text);
        let usage = stream.progress().usage.unwrap();
        prop_assert_eq!((usage.input, usage.output, usage.reasoning), (20, 10, Some(4)));
        let read = recut::read(&ResponsesDialect, &pieces);
        prop_assert_eq!(read, recut::read(&ResponsesDialect, &[text.as_bytes()]));
    }
}

#[test]
fn every_caller_gets_a_stream_in_its_own_format() {
    let text = everything();
    let of = |call: &Call| {
        let headers = HeaderMap::new();
        let mut stream = Chat(ResponsesDialect).stream(call, opening(&headers));
        let pushed = stream.push(Bytes::copy_from_slice(text.as_bytes()));
        assert!(matches!(pushed.end, Some(StreamEnd::Complete)));
        String::from_utf8(pushed.out.to_vec()).unwrap()
    };
    let body = json!({"model": "m", "messages": user("x"), "stream": true, "stream_options": {"include_usage": true}});
    let call = Call::read(Capability::Chat, body.to_string().into(), None).unwrap();
    let chunks = of(&call);
    assert!(chunks.contains("\"finish_reason\":\"tool_calls\"") && chunks.ends_with("data: [DONE]\n\n"));
    assert!(chunks.contains("\"total_tokens\":30"));
    let messages = of(&call.said_as(Voice::Anthropic, "{\"model\":\"m\"}".into()));
    assert!(messages.contains("responses:enc") && messages.contains("event: message_stop"));
}
