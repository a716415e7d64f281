use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::recut::{body, cut_short, decoded, encoded, fixture, however_cut, json_of},
    domain::{
        chat::{ChatEvent, Finish, FinishReason},
        fault::FaultClass,
        vendor::Vendor,
    },
};

const PLAIN: &str = "template/chat-plain";
const STREAM: &str = "template/chat-stream";

/// The same recording in other words, or a made-up one that waits for a real one.
fn recorded(name: &str) -> Value {
    let fixture = fixture(name);
    assert_ne!(
        fixture["sdk"]["name"], "made up",
        "tests/fixtures/vendors/{name}.json is made up: put what the vendor's own SDK sends and gets there, then write wire.rs and convert.rs until this test passes"
    );
    fixture
}

#[test]
#[should_panic(expected = "is made up: put what the vendor's own SDK sends")]
fn the_recorded_request_is_what_is_written() {
    let fixture = recorded(PLAIN);
    let asked = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20});
    let encoded = encoded(&Template, &asked, &Vendor::named("v", "template")).unwrap();
    let mut wanted = fixture["request"]["body"].clone();
    // In tests every model is called so.
    wanted["model"] = json!("up");
    assert_eq!(json_of(&encoded), wanted);
}

#[test]
#[should_panic(expected = "is made up: put what the vendor's own SDK sends")]
fn the_recorded_answer_is_read() {
    let fixture = recorded(PLAIN);
    let reply = decoded(&Template, &fixture["response"]["body"]).unwrap();
    assert_eq!(json!(reply.choices[0].text), fixture["expect"]["text"]);
    assert_eq!(
        json!(reply.counts.unwrap().input),
        fixture["expect"]["usage"]["input_tokens"]
    );
}

#[test]
#[should_panic(expected = "is made up: put what the vendor's own SDK sends")]
fn the_recorded_stream_is_the_same_however_it_is_cut() {
    let fixture = recorded(STREAM);
    let stream = body(&fixture);
    let (events, end) = however_cut(&Template, &stream);
    assert_eq!(end, Ok(()));
    let texts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Text { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(json!(texts), fixture["expect"]["text_deltas"]);
    cut_short(&Template, &stream, stream.trim_ascii_end().len());
}

#[test]
#[should_panic(expected = "SUPPORT in mod.rs says that the vendor can do nothing but talk")]
fn what_the_vendor_can_do_is_told() {
    assert_ne!(
        format!("{SUPPORT:?}"),
        format!("{:?}", Support::NONE),
        "SUPPORT in mod.rs says that the vendor can do nothing but talk: name what it can, write it in convert.rs, and try a request with everything in it here"
    );
}

#[test]
#[should_panic(expected = "list the vendor's codes here with the class of each")]
fn errors_have_the_class_of_their_code() {
    /// Status, code and class of each error in the vendor's documents.
    const CODES: [(u16, &str, FaultClass); 0] = [];
    assert!(
        !CODES.is_empty(),
        "list the vendor's codes here with the class of each, and tell them apart in faults.rs"
    );
    for (status, code, class) in CODES {
        let error = json!({"error": {"code": code, "message": "m"}});
        let fault = Template.decode_fault(status, &HeaderMap::new(), error.to_string().as_bytes());
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, Some(code)));
    }
}

#[test]
fn an_error_in_mid_stream_keeps_what_was_said() {
    let stream = "data: {\"text\":\"one\"}\n\ndata: {\"error\":{\"code\":\"busy\",\"message\":\"m\"}}\n\n";
    let (events, end) = however_cut(&Template, stream.as_bytes());
    let said = ChatEvent::Text {
        choice: 0,
        text: "one".to_owned(),
    };
    assert_eq!(events, [said]);
    assert_eq!(end.unwrap_err().class, FaultClass::Overloaded);
    let (_, end) = however_cut(&Template, b"data: {\"text\":\"one\"}\n\n");
    assert_eq!(end.unwrap_err().class, FaultClass::Transport);
}

#[test]
fn an_error_in_place_of_an_answer_is_one() {
    for (body, class) in [
        (
            json!({"error": {"code": "busy", "message": "m"}}),
            FaultClass::Overloaded,
        ),
        (json!({"error": {"message": "m"}}), FaultClass::ServerError),
        (json!({}), FaultClass::InvalidReply),
    ] {
        assert_eq!(decoded(&Template, &body).unwrap_err().class, class, "{body}");
    }
    let fault = Template.decode_fault(503, &HeaderMap::new(), b"<html>");
    assert_eq!((fault.class, fault.words.message), (FaultClass::Overloaded, None));
}

#[test]
fn words_for_the_end_have_their_counterparts() {
    for (word, reason) in [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("another", FinishReason::Other),
    ] {
        let reply = decoded(&Template, &json!({"text": "", "end": word})).unwrap();
        assert_eq!(reply.choices[0].finish, Some(Finish::new(word, reason)));
    }
}
