//! Vendors that speak over a WebSocket: what the gateway says there, and what becomes of what it hears.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use service_kit::SystemClock;
use tokio::net::TcpListener;
use tokio_websockets::{Message, ServerBuilder};

use crate::running::{Answer, Running};

/// How the vendor behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Kind,
    /// Says that something failed in place of its second frame.
    Failing,
    /// Hangs up after its first.
    Leaving,
    /// Refuses the handshake.
    Closed,
    /// Answers the handshake to another key than it was asked with.
    Impostor,
}

#[derive(Clone)]
struct Talker {
    url: String,
    inner: Arc<Inner>,
}

struct Inner {
    mood: Mood,
    /// Path and query of each handshake.
    asked: Mutex<Vec<String>>,
    heard: Mutex<Vec<Message>>,
}

impl Talker {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            inner: Arc::new(Inner {
                mood,
                asked: Mutex::default(),
                heard: Mutex::default(),
            }),
        };
        let router = Router::new().fallback(shake).with_state(vendor.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        vendor
    }

    fn texts(&self) -> Vec<Value> {
        let heard = self.inner.heard.lock().unwrap();
        let texts = heard.iter().filter_map(|message| message.as_text());
        texts.map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

/// RFC 6455 §4.2.2.
fn proof(key: &HeaderValue) -> String {
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(openssl::sha::sha1(&text))
}

async fn shake(State(vendor): State<Talker>, mut request: Request<Body>) -> Response {
    let inner = Arc::clone(&vendor.inner);
    if request.uri().path() == "/recording" {
        return recording().into_response();
    }
    inner.asked.lock().unwrap().push(request.uri().to_string());
    if inner.mood == Mood::Closed {
        let why = json!({"message": "HMAC signature cannot be verified"});
        return (StatusCode::UNAUTHORIZED, axum::Json(why)).into_response();
    }
    let headers = request.headers();
    assert_eq!(
        (&headers["upgrade"], &headers["sec-websocket-version"]),
        (&HeaderValue::from_static("websocket"), &HeaderValue::from_static("13"))
    );
    let proof = match inner.mood {
        Mood::Impostor => proof(&HeaderValue::from_static("another")),
        _ => proof(&headers["sec-websocket-key"]),
    };
    let is_sound = request.uri().path() == "/api-ws/v1/inference";
    let connection = hyper::upgrade::on(&mut request);
    #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
    tokio::spawn(async move {
        let mut socket = ServerBuilder::new().serve(TokioIo::new(connection.await.unwrap()));
        let answers = if is_sound {
            transcript(inner.mood)
        } else {
            chat(inner.mood)
        };
        let mut answers = answers.into_iter();
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_text() && !message.is_binary() {
                continue;
            }
            let asks = message.is_text();
            inner.heard.lock().unwrap().push(message);
            if !asks {
                continue;
            }
            // A ping in between is none of the answer.
            let _ = socket.send(Message::ping("are you there?")).await;
            let Some(frames) = answers.next() else { continue };
            for frame in frames {
                let Some(frame) = frame else { return };
                let _ = socket
                    .send(Message::text(serde_json::to_string_pretty(&frame).unwrap()))
                    .await;
            }
        }
    });
    let head = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, proof),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
}

/// What is said after each text of the gateway's; `None` hangs up.
type Answers = Vec<Vec<Option<Value>>>;

fn chat(mood: Mood) -> Answers {
    let frame = |status: u8, text: &str, more: Value| {
        let mut payload =
            json!({"choices": {"status": status, "seq": status, "text": [{"content": text, "role": "assistant"}]}});
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Some(json!({"header": {"code": 0, "message": "Success", "sid": "s1", "status": status}, "payload": payload}))
    };
    let usage = json!({"usage": {"text": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}});
    let second = match mood {
        Mood::Failing => {
            Some(json!({"header": {"code": 10013, "message": "input audit failed", "sid": "s1", "status": 2}}))
        }
        Mood::Leaving => None,
        _ => frame(1, "lo", json!({})),
    };
    vec![vec![frame(0, "Hel", json!({})), second, frame(2, "!", usage)]]
}

fn transcript(mood: Mood) -> Answers {
    let event =
        |event: &str, payload: Value| Some(json!({"header": {"event": event, "task_id": "t"}, "payload": payload}));
    let sentence = |from: u64, to: Option<u64>, text: &str| {
        let sentence =
            json!({"begin_time": from, "end_time": to, "text": text, "sentence_end": to.is_some(), "words": []});
        event(
            "result-generated",
            json!({"output": {"sentence": sentence}, "usage": {"duration": 2}}),
        )
    };
    let failed = json!({"header": {"event": "task-failed", "error_code": "InvalidParameter", "error_message": "no such format"}});
    match mood {
        Mood::Failing => vec![vec![Some(failed)]],
        _ => vec![
            vec![event("task-started", json!({}))],
            vec![
                sentence(0, None, "Good"),
                sentence(0, Some(900), "Good morning."),
                sentence(900, Some(2000), "How are you?"),
                event("task-finished", json!({})),
            ],
        ],
    }
}

fn document(strategy: &str, url: &str, more: &str, capability: &str, model: &str) -> String {
    format!(
        "[[vendor]]\nname = \"v\"\nstrategy = \"{strategy}\"\nbase_url = \"{url}\"\nsecret_key = \"secret-0123456789\"\n{more}\n\
         [[interface]]\nname = \"talk\"\ncapability = \"{capability}\"\nroutes = [{{ vendor = \"v\", model = \"{model}\" }}]\n"
    )
}

const SPARK: &str = "app_id = \"app7\"\nsecret_id = \"id-0123456789\"";

async fn spark(mood: Mood) -> (Talker, Running) {
    let vendor = Talker::start(mood).await;
    let document = document("spark-websocket", &vendor.url, SPARK, "chat", "4.0Ultra");
    let world = Running::start_at(Arc::new(SystemClock), &document, |_| {}).await;
    (vendor, world)
}

#[tokio::test]
async fn an_answer_over_a_websocket_is_whole_or_in_pieces_as_the_caller_likes() {
    let (vendor, world) = spark(Mood::Kind).await;
    let answer = world.chat("talk").await;
    let body = answer.ok();
    assert_eq!(body["choices"][0]["message"]["content"], "Hello!");
    assert_eq!(body["usage"]["total_tokens"], 5);
    let asked = vendor.inner.asked.lock().unwrap()[0].clone();
    assert!(asked.starts_with("/v4.0/chat?authorization="), "{asked}");
    assert_eq!(vendor.texts()[0]["header"], json!({"app_id": "app7"}));
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.input, usage.output), (3, 2));

    let body = json!({"model": "talk", "stream": true, "messages": [{"role": "user", "content": "hi"}],
        "stream_options": {"include_usage": true}});
    let answer = world.post("/v1/chat/completions", &world.token(), &body).await;
    let told: Vec<&str> = answer
        .body
        .split("\n\n")
        .filter(|event| event.contains("\"content\":\""))
        .collect();
    assert_eq!(told.len(), 3, "{}", answer.body);
    assert!(answer.body.contains("\"total_tokens\":5") && answer.body.trim_end().ends_with("data: [DONE]"));
    world.stop().await;
}

#[tokio::test]
async fn failures_over_a_websocket_are_the_failures_that_they_are_everywhere() {
    for (mood, status, code) in [
        (Mood::Failing, 400, "10013"),
        (Mood::Leaving, 502, "upstream_unreachable"),
        (Mood::Closed, 502, "upstream_refused"),
        (Mood::Impostor, 502, "upstream_unreachable"),
    ] {
        let (_vendor, world) = spark(mood).await;
        let answer = world.chat("talk").await;
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &error["error"]["code"]),
            (status, &json!(code)),
            "{mood:?}: {}",
            answer.body
        );
        world.stop().await;
    }
}

/// A recording of some 20 ms in 16 kHz.
fn recording() -> Vec<u8> {
    let samples = vec![7; 30_000];
    let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    out.extend(8000_u32.to_le_bytes());
    out.extend(16_000_u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(u32::try_from(samples.len()).unwrap().to_le_bytes());
    out.extend(samples);
    out
}

/// How a recording is handed in.
#[derive(Debug, Clone, Copy)]
enum Given {
    /// As a file of this name.
    File(&'static str),
    /// By where it lies, which is told without a type.
    Link,
}

async fn write_down(mood: Mood, given: Given) -> (Talker, Answer) {
    let vendor = Talker::start(mood).await;
    let model = "paraformer-realtime-v2";
    let document = document("dashscope", &vendor.url, "", "transcription", model);
    let world = Running::start_at(Arc::new(SystemClock), &document, |config| {
        config.fetch.allow_networks = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut form = Vec::new();
    for (field, value) in [
        ("model", "talk"),
        ("language", "en"),
        ("response_format", "verbose_json"),
        ("disfluency_removal_enabled", "true"),
    ] {
        let part = format!("--B\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
        form.extend(part.into_bytes());
    }
    let (field, content) = match given {
        Given::File(name) => (format!("\"file\"; filename=\"{name}\""), recording()),
        Given::Link => ("\"url\"".to_owned(), format!("{}/recording", vendor.url).into_bytes()),
    };
    form.extend(format!("--B\r\nContent-Disposition: form-data; name={field}\r\n\r\n").into_bytes());
    form.extend(content);
    form.extend(b"\r\n--B--\r\n");
    let request = world
        .http
        .post(format!("{}/v1/audio/transcriptions", world.url))
        .bearer_auth(world.token())
        .header("content-type", "multipart/form-data; boundary=B")
        .body(form);
    let answer = Answer::read(request.send().await.unwrap()).await;
    world.stop().await;
    (vendor, answer)
}

#[tokio::test]
async fn a_recording_is_heard_over_a_websocket_once_the_vendor_is_ready() {
    let (vendor, answer) = write_down(Mood::Kind, Given::File("a.wav")).await;
    let body = answer.ok();
    assert_eq!(body["text"], "Good morning. How are you?");
    let segments = body["segments"].as_array().unwrap();
    assert_eq!(
        (segments.len(), &segments[1]["start"], &segments[1]["end"]),
        (2, &json!(0.9), &json!(2.0))
    );
    assert_eq!(body["duration"], 2.0);
    let texts = vendor.texts();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0]["header"]["task_id"], texts[1]["header"]["task_id"]);
    assert_eq!(texts[0]["header"]["task_id"].as_str().unwrap().len(), 32);
    assert_eq!(
        texts[0]["payload"]["parameters"],
        json!({"format": "wav", "sample_rate": 8000, "language_hints": ["en"], "disfluency_removal_enabled": true})
    );
    let heard = vendor.inner.heard.lock().unwrap();
    let sound: Vec<&[u8]> = heard
        .iter()
        .filter(|message| message.is_binary())
        .map(|message| &**message.as_payload())
        .collect();
    assert_eq!(sound.concat(), recording());
    assert!(sound.len() > 1 && sound.iter().all(|piece| piece.len() <= 12_800));
    drop(heard);
}

#[tokio::test]
async fn a_recording_behind_a_link_is_heard_as_well() {
    let (vendor, answer) = write_down(Mood::Kind, Given::Link).await;
    assert_eq!(answer.ok()["text"], "Good morning. How are you?");
    assert_eq!(vendor.texts()[0]["payload"]["parameters"]["format"], "wav");
    let heard = vendor.inner.heard.lock().unwrap();
    let sound = heard.iter().filter(|message| message.is_binary());
    let sound: Vec<&[u8]> = sound.map(|message| &**message.as_payload()).collect();
    assert_eq!(sound.concat(), recording());
}

#[tokio::test]
async fn what_a_vendor_will_not_hear_is_not_told_to_it() {
    let (vendor, answer) = write_down(Mood::Failing, Given::File("a.wav")).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(vendor.inner.heard.lock().unwrap().len(), 1, "it had said no before");
    let (vendor, answer) = write_down(Mood::Kind, Given::File("sound")).await;
    assert_eq!(
        (answer.error(400)["param"].clone(), vendor.texts().len()),
        (json!("file"), 0)
    );
}
