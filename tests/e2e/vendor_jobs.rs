//! Work that vendors begin and are asked for, at OpenAI's doors, whose callers wait for nothing but an answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::mock_vendor::{MockVendor, credentials};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    oauth::Reply,
    world::{Engine, Settings, World},
};

/// A gateway that may fetch from this machine, and vendors of its own.
struct Stage {
    vendors: MockVendor,
    world: World,
    token: String,
}

impl Stage {
    async fn set() -> Self {
        let vendors = MockVendor::start();
        let settings = Settings {
            gateway: "fetch.allow_networks = [\"127.0.0.1\"]\n".to_owned(),
            ..Settings::default()
        };
        let world = World::start_with(Engine::Sqlite, settings).await;
        let document: String = ["dashscope", "tencent"]
            .map(|vendor| {
                let account = credentials(vendor);
                let id = match account.id {
                    "" => String::new(),
                    id => format!("secret_id = \"{id}\"\n"),
                };
                let interface = |capability: &str, model: &str| {
                    format!(
                        "[[interface]]\nname = \"{vendor}-{capability}\"\ncapability = \"{capability}\"\nmax_attempts = 1\n\
                         routes = [{{ vendor = \"{vendor}\", model = \"{model}\" }}]\n"
                    )
                };
                format!(
                    "[[vendor]]\nname = \"{vendor}\"\nstrategy = \"{vendor}\"\nbase_url = \"http://{}\"\n{id}secret_key = \"{}\"\n{}{}",
                    vendors.address(vendor),
                    account.key,
                    interface("image", "wanx2.1-t2i-turbo"),
                    if vendor == "dashscope" { interface("transcription", "paraformer-v2") } else { String::new() },
                )
            })
            .concat();
        world.write("jobs.toml", &document);
        world.gateway_cli(&["apply", "jobs.toml"]);
        let token = world
            .http()
            .client_credentials("service", "ai:image ai:transcription")
            .await;
        Self {
            vendors,
            world,
            token: token.access,
        }
    }

    async fn draw(&self, vendor: &str, prompt: &str, more: Value) -> Reply {
        let mut body = more;
        body["model"] = format!("{vendor}-image").into();
        body["prompt"] = prompt.into();
        let url = format!("{}/v1/images/generations", self.world.gateway);
        let request = self.world.http().request(Method::POST, &url).bearer_auth(&self.token);
        Reply::read(request.json(&body).send().await.unwrap()).await
    }

    async fn write_down(&self, url: &str) -> Reply {
        let fields = [
            ("model", "dashscope-transcription"),
            ("url", url),
            ("response_format", "verbose_json"),
        ];
        let parts = fields
            .map(|(name, value)| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
        let door = format!("{}/v1/audio/transcriptions", self.world.gateway);
        let request = self.world.http().request(Method::POST, &door).bearer_auth(&self.token);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        Reply::read(
            request
                .body(format!("{}--b--\r\n", parts.concat()))
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// How often the vendor was asked for something below a path.
    fn asked(&self, path: &str) -> usize {
        let calls = self.vendors.calls("");
        calls.iter().filter(|call| call.path.starts_with(path)).count()
    }

    fn did(&self, action: &str) -> usize {
        let calls = self.vendors.calls("");
        calls
            .iter()
            .filter(|call| call.header("x-tc-action") == Some(action))
            .count()
    }
}

#[track_caller]
fn ok(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

/// The mock's picture of a number.
fn drawn(image: &Value, number: usize, prompt: &str) {
    let bytes = STANDARD.decode(image["b64_json"].as_str().unwrap()).unwrap();
    let wanted = format!("{number} of {prompt}");
    assert!(
        bytes.starts_with(b"\x89PNG") && bytes.ends_with(wanted.as_bytes()),
        "{image}"
    );
    assert!(image.get("url").is_none(), "{image}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_waited_for_and_fetched_where_their_vendor_put_them() {
    let stage = Stage::set().await;
    let (linked, whole) = futures_util::join!(
        stage.draw("dashscope", "a gate, pending-2", json!({"n": 2, "size": "1024x1024"})),
        stage.draw(
            "tencent",
            "a gate, pending-2",
            json!({"n": 2, "size": "768x768", "response_format": "b64_json"})
        ),
    );
    let linked = ok(&linked);
    let address = stage.vendors.address("dashscope");
    for image in linked["data"].as_array().unwrap() {
        let url = image["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("http://{address}/results/")), "{linked}");
        assert_eq!(image["revised_prompt"], "a gate, pending-2, in detail");
    }
    assert_eq!(linked["data"].as_array().unwrap().len(), 2);
    // Asked once for the work, and until it is done how it stands.
    assert_eq!(
        (stage.asked("/api/v1/services/"), stage.asked("/api/v1/tasks/")),
        (1, 3)
    );

    let whole = ok(&whole);
    for (number, image) in whole["data"].as_array().unwrap().iter().enumerate() {
        drawn(image, number, "a gate, pending-2");
        assert_eq!(image["revised_prompt"], "a gate, pending-2, in detail");
    }
    assert_eq!(
        (stage.did("SubmitHunyuanImageJob"), stage.did("QueryHunyuanImageJob")),
        (1, 3)
    );
    assert_eq!(stage.asked("/results/"), 2, "nobody fetches what is only told of");

    // The other way round; one picture of three did not come to be.
    let (whole, linked) = futures_util::join!(
        stage.draw(
            "dashscope",
            "a wall, lacks-one",
            json!({"n": 3, "response_format": "b64_json"})
        ),
        stage.draw("tencent", "a wall, lacks-one", json!({"n": 3})),
    );
    let whole = ok(&whole);
    assert_eq!(whole["data"].as_array().unwrap().len(), 2);
    drawn(&whole["data"][1], 1, "a wall, lacks-one");
    let linked = ok(&linked);
    let urls: Vec<_> = linked["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["url"].as_str().unwrap())
        .collect();
    assert!(
        urls.len() == 2 && urls.iter().all(|url| url.contains("/results/")),
        "{urls:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_fails_in_the_end_fails_as_what_it_is() {
    let stage = Stage::set().await;
    for (vendor, code, status) in [
        ("dashscope", "DataInspectionFailed", 400),
        ("dashscope", "InternalError.Algo", 502),
        ("dashscope", "Throttling.RateQuota", 429),
        ("tencent", "InvalidParameterValue.Prompt", 400),
        ("tencent", "InternalError", 502),
        ("tencent", "RequestLimitExceeded", 429),
    ] {
        let reply = stage
            .draw(vendor, &format!("a cat that fails-{code}, pending-1"), json!({}))
            .await;
        assert_eq!(reply.status, status, "{vendor} {code}: {}", reply.body);
    }
    assert_eq!(
        stage.asked("/api/v1/services/"),
        3,
        "what fails there is not begun again"
    );
    assert_eq!(stage.did("SubmitHunyuanImageJob"), 3);
    // Before anything was begun.
    for vendor in ["dashscope", "tencent"] {
        let reply = stage.draw(vendor, "a cat", json!({"n": 5})).await;
        assert_eq!(reply.status, 400, "{vendor}: {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_lies_somewhere_is_written_down_when_its_vendor_has_heard_it() {
    let stage = Stage::set().await;
    let url = "https://sounds.example.test/pending-2.wav";
    let heard = ok(&stage.write_down(url).await);
    assert_eq!(heard["text"], format!("Good morning from {url}. How are you?"));
    let segments = heard["segments"].as_array().unwrap();
    assert_eq!(
        (segments.len(), &segments[1]["start"], &segments[1]["end"]),
        (2, &json!(0.9), &json!(2.0))
    );
    assert_eq!(heard["duration"], 2.0);
    assert_eq!((stage.asked("/api/v1/tasks/"), stage.asked("/results/")), (3, 1));

    let failed = stage
        .write_down("https://sounds.example.test/fails-InvalidFile.NotFound/a.wav")
        .await;
    assert_eq!(failed.status, 400, "{}", failed.body);
}
