//! Baidu's pictures, texts and speech behind the gateway's own doors, and the token that opens them.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::mock_vendor::{MockVendor, credentials};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    oauth::Reply,
    world::{Engine, Settings, World},
};

/// Capability, its name in `/ai/invoke/`, and the vendor's model.
const CAPABILITIES: [(&str, &str, &str); 6] = [
    ("ocr", "ocr", "general"),
    ("faces", "face_detection", "v3"),
    ("labels", "image_labels", "advanced_general"),
    ("moderation", "moderation", "censor"),
    ("transcription", "stt", "1737"),
    ("speech", "tts", "text2audio"),
];

/// A gateway with the vendor's account, and a vendor of its own.
struct Stage {
    vendor: MockVendor,
    world: World,
    token: String,
}

fn document(vendor: &MockVendor, secret: &str) -> String {
    let address = vendor.address("baidu");
    let id = credentials("baidu").id;
    let mut text = format!(
        "[[vendor]]\nname = \"aip\"\nstrategy = \"baidu\"\nbase_url = \"http://{address}\"\nsecret_id = \"{id}\"\n\
         secret_key = \"{secret}\"\napp_id = \"hexgate-test\"\noptions = {{ token_url = \"http://{address}\" }}\n"
    );
    for (capability, _, model) in CAPABILITIES {
        // Nothing is tried again but by what tokens ask for.
        let _ = write!(
            text,
            "[[interface]]\nname = \"aip-{capability}\"\ncapability = \"{capability}\"\nmax_attempts = 1\n\
             routes = [{{ vendor = \"aip\", model = \"{model}\" }}]\n"
        );
    }
    text
}

impl Stage {
    async fn set(secret: &str) -> Self {
        let vendor = MockVendor::start();
        let world = World::start_with(Engine::Sqlite, Settings::default()).await;
        world.write("aip.toml", &document(&vendor, secret));
        world.gateway_cli(&["apply", "aip.toml"]);
        let scopes: Vec<_> = CAPABILITIES.iter().map(|(word, ..)| format!("ai:{word}")).collect();
        let token = world.http().client_credentials("service", &scopes.join(" ")).await;
        Self {
            vendor,
            world,
            token: token.access,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        let url = format!("{}{path}", self.world.gateway);
        let request = self.world.http().request(Method::POST, &url).bearer_auth(&self.token);
        Reply::read(request.json(body).send().await.unwrap()).await
    }

    /// A call at the normalised door.
    async fn invoke(&self, capability: &str, mut body: Value) -> Reply {
        let (_, name, _) = CAPABILITIES.iter().find(|(word, ..)| *word == capability).unwrap();
        body["model"] = format!("aip-{capability}").into();
        self.post(&format!("/ai/invoke/{name}"), &body).await
    }

    async fn hear(&self, path: &str, sound: Vec<u8>) -> Reply {
        let part = |what: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{what}\r\n\r\n").into_bytes();
        let form = [
            part("model\""),
            b"aip-transcription\r\n".to_vec(),
            part("file\"; filename=\"a.pcm\""),
            sound,
            b"\r\n--b--\r\n".to_vec(),
        ];
        let url = format!("{}{path}", self.world.gateway);
        let request = self.world.http().request(Method::POST, &url).bearer_auth(&self.token);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        Reply::read(request.body(form.concat()).send().await.unwrap()).await
    }

    /// How often a token was bought.
    fn sales(&self) -> usize {
        let calls = self.vendor.calls("");
        calls.iter().filter(|call| call.path == "/oauth/2.0/token").count()
    }

    /// How often anything else was asked for.
    fn asked(&self) -> usize {
        self.vendor.calls("").len() - self.sales()
    }
}

/// A picture in base64 whose bytes hold a text.
fn picture(text: &str) -> Value {
    let bytes = [b"\x89PNG\r\n\x1a\n", text.as_bytes()].concat();
    json!({"base64": STANDARD.encode(bytes)})
}

#[track_caller]
fn ok(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_capability_of_the_vendor_is_had_at_the_gateways_doors_with_one_token() {
    let stage = Stage::set(credentials("baidu").key).await;

    let read = stage
        .invoke("ocr", json!({"image": picture(""), "min_confidence": 0.5}))
        .await;
    let read = ok(&read);
    assert_eq!(
        (&read["lines"][0]["text"], &read["filtered"]),
        (&json!("INVOICE 42"), &json!(1))
    );
    assert_eq!(read["lines"][0]["polygon"], json!([[1, 2], [31, 2], [31, 12], [1, 12]]));

    let faces = stage
        .invoke("faces", json!({"image": picture(""), "face_field": "age,gender"}))
        .await;
    let face = &ok(&faces)["faces"][0];
    assert_eq!((&face["confidence"], &face["box"]["x"]), (&json!(0.98), &json!(11.5)));
    assert_eq!(
        (&face["attributes"]["gender"], &face["attributes"]["age"]),
        (&json!("female"), &json!(33))
    );
    let alike = stage
        .invoke("faces", json!({"image": picture(""), "compare_to": picture("b")}))
        .await;
    assert_eq!(ok(&alike)["similarity"], 0.875);

    let labels = stage.invoke("labels", json!({"image": picture("")})).await;
    assert_eq!(ok(&labels)["labels"][0]["name"], "bicycle");

    // Each text is a call of its own.
    let judged = stage.invoke("moderation", json!({"input": ["hello", "to kill"]})).await;
    let results = ok(&judged)["results"].clone();
    assert_eq!(
        (&results[0]["flagged"], &results[1]["verdict"]),
        (&json!(false), &json!("block"))
    );

    for path in ["/v1/audio/transcriptions", "/ai/invoke/stt"] {
        let heard = stage.hear(path, vec![7; 320]).await;
        assert_eq!(ok(&heard)["text"], "320 bytes were heard");
    }
    for path in ["/v1/audio/speech", "/ai/invoke/tts"] {
        let said = json!({"model": "aip-speech", "input": "你好", "voice": "4", "response_format": "mp3"});
        let spoken = stage.post(path, &said).await;
        assert_eq!((spoken.status, spoken.body.as_str()), (200, "ID34: 你好"));
        assert_eq!(spoken.header("content-type"), "audio/mpeg");
    }
    assert_eq!((stage.sales(), stage.asked()), (1, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_vendor_says_in_numbers_is_told_as_everywhere() {
    let stage = Stage::set(credentials("baidu").key).await;
    for (number, status, code) in [
        (18, 429, "rate_limit_exceeded"),
        (17, 429, "insufficient_quota"),
        (6, 502, "upstream_refused"),
        (216_201, 400, "216201"),
        (282_000, 502, "upstream_error"),
    ] {
        let reply = stage
            .invoke("ocr", json!({"image": picture(&format!("fault-{number}"))}))
            .await;
        let told = reply.json();
        assert_eq!(
            (reply.status, &told["error"]["code"]),
            (status, &json!(code)),
            "{number}: {told}"
        );
    }
    for (number, status) in [(3304, 429), (3305, 429), (3301, 400), (3303, 502)] {
        let reply = stage
            .hear("/v1/audio/transcriptions", format!("fault-{number}").into_bytes())
            .await;
        assert_eq!(reply.status, status, "{number}: {}", reply.body);
    }
    for (number, status) in [(513, 400), (503, 502), (16, 429)] {
        let said = json!({"model": "aip-speech", "input": format!("fault-{number}")});
        let reply = stage.post("/v1/audio/speech", &said).await;
        assert_eq!(reply.status, status, "{number}: {}", reply.body);
    }
    // A picture without a face is an answer.
    let nobody = stage.invoke("faces", json!({"image": picture("fault-222202")})).await;
    assert_eq!(ok(&nobody)["faces"], json!([]));
    assert_eq!(stage.sales(), 1, "none of it is the token's fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_has_expired_is_bought_once_more_whoever_finds_out() {
    let stage = Stage::set(credentials("baidu").key).await;
    // Nobody has one yet, and all want it.
    let read = async |_| stage.invoke("ocr", json!({"image": picture("")})).await;
    let crowd = join_all((0..12).map(read)).await;
    assert!(crowd.iter().all(|reply| reply.status == 200));
    assert_eq!((stage.sales(), stage.asked()), (1, 12));

    // All find it dead at the same time, in the address and in the content.
    stage.vendor.expire_tokens("baidu");
    let (pictures, texts, sounds) = futures_util::join!(
        join_all((0..6).map(read)),
        join_all((0..6).map(async |_| {
            let said = json!({"model": "aip-speech", "input": "hello"});
            stage.post("/v1/audio/speech", &said).await
        })),
        join_all((0..6).map(async |_| stage.hear("/v1/audio/transcriptions", vec![7; 320]).await)),
    );
    for reply in pictures.into_iter().chain(texts).chain(sounds) {
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    assert_eq!(stage.sales(), 2, "one of them bought it for all");

    // A token that is refused as soon as it is bought is not bought for ever.
    let before = stage.asked();
    let refused = stage.invoke("ocr", json!({"image": picture("fault-110")})).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (502, &json!("upstream_refused"))
    );
    assert_eq!((stage.sales(), stage.asked()), (3, before + 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_buys_nothing_is_for_the_operator_to_mend() {
    let stage = Stage::set("aip-secret-of-somebody-else").await;
    let refused = stage.invoke("ocr", json!({"image": picture("")})).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (502, &json!("upstream_refused"))
    );
    assert!(
        !refused.body.contains("Client authentication failed"),
        "{}",
        refused.body
    );
    assert_eq!((stage.sales(), stage.asked()), (1, 0));
}
