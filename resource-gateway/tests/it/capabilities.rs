//! Every capability: its routes, its scope, what the simulator says and what is accounted for.

use serde_json::{Value, json};

use crate::{
    forms,
    recorder::{interface, world},
    running::{Answer, Running},
};

/// Capability, route, name in `/ai/invoke`, request.
fn kinds() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let image = json!({"image": {"base64": "aGVsbG8="}});
    vec![
        (
            "speech",
            "/v1/audio/speech",
            "tts",
            json!({"input": "hello", "voice": "alloy", "response_format": "wav"}),
        ),
        (
            "image",
            "/v1/images/generations",
            "image_generation",
            json!({"prompt": "a cat", "size": "64x64", "n": 2}),
        ),
        ("ocr", "/v1/ocr", "ocr", image.clone()),
        ("labels", "/v1/images/labels", "image_labels", image.clone()),
        ("faces", "/v1/faces/detect", "face_detection", image),
        (
            "moderation",
            "/v1/moderations",
            "moderation",
            json!({"input": "I will kill it"}),
        ),
        (
            "rerank",
            "/v1/rerank",
            "rerank",
            json!({"query": "a", "documents": ["a", "b"]}),
        ),
    ]
}

async fn sandbox() -> Running {
    let names = kinds().into_iter().map(|(name, ..)| name).chain(["transcription"]);
    let document: String = names.map(|name| interface(name, name, "sandbox", "")).collect();
    world(&document).await.0
}

async fn post(world: &Running, path: &str, model: &str, body: &Value) -> Answer {
    let mut body = body.clone();
    body["model"] = model.into();
    world.post(path, &world.token(), &body).await
}

#[tokio::test]
async fn the_simulator_answers_every_capability_in_its_shape() {
    let world = sandbox().await;
    for (name, path, _, body) in kinds().into_iter().filter(|(name, ..)| *name != "speech") {
        let answer = post(&world, path, name, &body).await;
        let reply = answer.ok();
        assert_eq!(reply["sandbox"], true, "{name}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(reply, {
            let mut again = post(&world, path, name, &body).await.ok();
            if name == "image" {
                again["created"] = reply["created"].clone();
            }
            again
        });
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.estimated), ("completed", false), "{name}");
        match name {
            "ocr" => {
                let line = &reply["lines"][0];
                assert!(line["text"].is_string() && line["confidence"].is_f64() && line["polygon"][3][1].is_u64());
                assert!(reply["id"].is_string() && reply["model"] == "up" && reply["text"].is_string());
                assert_eq!(usage.output, reply["usage"]["output_tokens"].as_i64().unwrap());
            }
            "labels" => assert!(reply["labels"][0]["name"].is_string() && reply["labels"][0]["confidence"].is_f64()),
            "faces" => {
                let face = &reply["faces"][0];
                assert!(face["confidence"].is_f64() && face["attributes"].is_object());
                assert!(
                    ["x", "y", "width", "height"]
                        .iter()
                        .all(|side| face["box"][side].is_number())
                );
            }
            "moderation" => {
                assert_eq!(reply["results"][0]["flagged"], true);
                assert_eq!(usage.input, reply["usage"]["prompt_tokens"].as_i64().unwrap());
            }
            "rerank" => assert_eq!(reply["results"][0], json!({"index": 0, "relevance_score": 1.0})),
            "image" => {
                assert_eq!(reply["data"].as_array().unwrap().len(), 2);
                assert!(reply["data"][0]["b64_json"].as_str().unwrap().starts_with("iVBOR"));
                assert_eq!(usage.input, reply["usage"]["input_tokens"].as_i64().unwrap());
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn speech_comes_as_sound_and_is_heard_again() {
    let world = sandbox().await;
    let mut body = json!({"model": "speech", "input": "hello", "voice": "alloy", "response_format": "wav"});
    let request = world.request("/v1/audio/speech", &world.token(), &body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "audio/wav");
    assert_eq!(response.headers()["x-sandbox"], "true");
    let wav = response.bytes().await.unwrap();
    assert!(wav.starts_with(b"RIFF"));
    body["response_format"] = "pcm".into();
    let pcm = world
        .request("/v1/audio/speech", &world.token(), &body)
        .send()
        .await
        .unwrap();
    assert_eq!(pcm.headers()["content-type"], "audio/pcm");
    body["response_format"] = "mp3".into();
    let refused = world.post("/v1/audio/speech", &world.token(), &body).await;
    assert_eq!(refused.error(400)["param"], "response_format");
    let mut form = forms::form(&[("model", "transcription"), ("response_format", "verbose_json")]);
    form.truncate(form.len() - "--XyZ--\r\n".len());
    form.extend_from_slice(b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
    form.extend_from_slice(&wav);
    form.extend_from_slice(b"\r\n--XyZ--\r\n");
    let heard = forms::send(&world, "/v1/audio/transcriptions", form).await.ok();
    assert_eq!((&heard["duration"], &heard["sandbox"]), (&json!(0.25), &json!(true)));
    assert_eq!(heard["segments"].as_array().unwrap().len(), 4);
    let text = forms::form(&[("model", "transcription"), ("response_format", "text"), ("file", "x")]);
    let text = forms::send(&world, "/v1/audio/transcriptions", text).await;
    assert_eq!((text.status, text.header("x-sandbox")), (200, "true"));
}

#[tokio::test]
async fn every_route_wants_its_own_scope_and_its_own_kind_of_model() {
    let world = sandbox().await;
    for (name, path, invoke_name, body) in kinds() {
        let mut body = body;
        body["model"] = name.into();
        let only = |scope: &str| world.issuer.token(&json!({"scope": scope}));
        for path in [path, &format!("/ai/invoke/{invoke_name}")] {
            let right = world.post(path, &only(&format!("ai:{name}")), &body).await;
            assert_eq!(right.status, 200, "{path}: {}", right.body);
            let others = "ai:chat ai:embeddings ai:transcription";
            assert_eq!(world.post(path, &only(others), &body).await.status, 403, "{path}");
        }
        // A model of another capability is unknown here.
        body["model"] = "echo".into();
        assert_eq!(
            world.post(path, &world.token(), &body).await.error(404)["code"],
            "model_not_found"
        );
        assert_eq!(
            world
                .post(
                    "/v1/chat/completions",
                    &world.token(),
                    &json!({"model": name, "messages": []})
                )
                .await
                .status,
            404
        );
        assert_eq!(world.get(path, &world.token()).await.status, 405);
    }
    let models = world.get("/v1/models", &world.token()).await.ok();
    for (name, ..) in kinds() {
        assert!(
            models["data"]
                .as_array()
                .unwrap()
                .iter()
                .any(|model| model["id"] == name && model["capability"] == name)
        );
    }
}

#[tokio::test]
async fn a_picture_has_one_source_that_the_simulator_can_reach() {
    let world = sandbox().await;
    for (image, param) in [
        (json!({"url": "https://example.test/a.png"}), "image.url"),
        (json!({"file_id": "file-1"}), "image.file_id"),
        (json!({"base64": "%%%"}), "image.base64"),
        (json!({}), "image"),
        (
            json!({"base64": "aGVsbG8=", "url": "https://example.test/a.png"}),
            "image",
        ),
        (json!("aGVsbG8="), "image"),
    ] {
        for path in ["/v1/ocr", "/v1/images/labels", "/v1/faces/detect"] {
            let model = path.rsplit('/').next().unwrap().replace("detect", "faces");
            let refused = post(&world, path, &model, &json!({"image": image})).await;
            assert_eq!(refused.error(400)["param"], param, "{path} {image}");
        }
    }
}

#[tokio::test]
async fn openais_other_calls_pass_as_they_came_and_are_counted() {
    let kinds = ["speech", "image", "moderation"];
    let document: String = kinds.iter().map(|name| interface(name, name, "recorder", "")).collect();
    let (world, vendor) = world(&document).await;
    let speech = post(
        &world,
        "/v1/audio/speech",
        "speech",
        &json!({"input": "hello", "voice": "v", "x_new": 1}),
    )
    .await;
    assert_eq!(
        (speech.body.as_str(), speech.header("content-type")),
        ("ID3 sound", "audio/mpeg")
    );
    // The vendor claims to be the simulator, and nobody else may.
    assert_eq!(speech.header("x-sandbox"), "");
    let seen = vendor.take();
    assert_eq!(
        (seen.path.as_str(), seen.content_type.as_str()),
        ("/v1/audio/speech", "application/json")
    );
    assert_eq!(
        serde_json::from_str::<Value>(&seen.text()).unwrap(),
        json!({"model": "up", "input": "hello", "voice": "v", "x_new": 1})
    );
    let images = post(&world, "/v1/images/generations", "image", &json!({"prompt": "x"})).await;
    assert_eq!(images.ok()["data"][1]["b64_json"], "AQ==");
    let usage = world.usage(images.request_id()).await;
    assert_eq!((usage.input, usage.output, usage.estimated), (7, 100, false));
    vendor.take();
    let flags = post(
        &world,
        "/v1/moderations",
        "moderation",
        &json!({"input": "x", "min_confidence": 1}),
    )
    .await;
    assert_eq!(flags.ok()["results"][0]["flagged"], true, "flags are never held back");
    assert!(
        vendor.take().text().contains("min_confidence"),
        "a word that means nothing here passes like any other"
    );
}

#[tokio::test]
async fn short_texts_have_a_short_limit() {
    let world = sandbox().await;
    let long = json!({"input": "x".repeat(1 << 20), "voice": "v"});
    assert_eq!(
        post(&world, "/v1/audio/speech", "speech", &long).await.error(413)["code"],
        "request_too_large"
    );
    let picture = json!({"image": {"base64": "AAAA".repeat(1 << 19)}});
    assert_eq!(post(&world, "/v1/ocr", "ocr", &picture).await.status, 200);
}
