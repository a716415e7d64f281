mod answers;
mod hearing;
mod jobs;
mod requests;
mod streaming;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        golden::{Golden, Seen, call, foreign, lean, step, streamed, target},
        testing::{decoded, received},
        translated::Chat,
    },
    domain::{fault::FaultClass, interface::Capability, multipart::Boundary, vendor::Vendor},
    ports::{
        codec::{Ask, Codec, Outcome, Step},
        fetcher::Found,
        transport::SocketMessage,
    },
};

const CHAT: Chat<DashScopeChat> = Chat(DashScopeChat);

fn row() -> Vendor {
    Vendor::named("v", "dashscope")
}

fn body_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body.concat()).unwrap()
}

/// What an OpenAI client would send for the SDK's parameters.
fn openai(golden: &Golden) -> Value {
    let mut params = golden.params();
    params.insert("model".to_owned(), json!("route"));
    for message in params
        .get_mut("messages")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for part in message["content"].as_array_mut().into_iter().flatten() {
            *part = match (&part["text"], &part["image"]) {
                (Value::String(text), _) => json!({"type": "text", "text": text}),
                (_, image) => json!({"type": "image_url", "image_url": {"url": image}}),
            };
        }
    }
    for (theirs, ours) in [("dimension", "dimensions"), ("text", "input")] {
        if let Some(value) = params.remove(theirs) {
            params.insert(ours.to_owned(), value);
        }
    }
    params.into()
}

fn check_request(golden: &Golden, codec: &dyn Codec, capability: Capability) {
    let body = openai(golden);
    let model = golden.params()["model"].as_str().unwrap().to_owned();
    let row = row();
    let encoded = codec.encode(&call(capability, &body), target(&model, &row)).unwrap();
    golden.check_body(&encoded);
    let place = encoded.place.unwrap();
    assert_eq!((place.path, codec.path()), (golden.place().0, ""));
    for name in [SSE, ASYNC] {
        let wanted = golden.file["request"]["headers"][name].as_str();
        assert_eq!(
            place.headers.get(name).and_then(|value| value.to_str().ok()),
            wanted,
            "{}",
            golden.name
        );
    }
}

fn sse() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))])
}

fn event(data: &Value) -> String {
    format!("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n")
}

fn run(text: &str) -> (Seen, Option<FaultClass>) {
    let call = call(Capability::Chat, &json!({"model": "m", "messages": [], "stream": true}));
    let whole = streamed(&CHAT, &call, &sse(), &Bytes::from(text.to_owned()), &[]);
    for cut in 0..text.len() {
        let again = streamed(&CHAT, &call, &sse(), &Bytes::from(text.to_owned()), &[cut]);
        assert_eq!(again, whole, "cut at {cut}");
    }
    (Seen::in_stream(&whole.0), whole.1)
}

fn next(outcome: Outcome) -> Step {
    match outcome {
        Outcome::Next(step) => *step,
        Outcome::Answer(answer) => panic!("an answer already: {answer:?}"),
    }
}
