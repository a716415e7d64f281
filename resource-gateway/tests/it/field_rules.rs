//! Field rules through HTTP: what a vendor sees, and what the caller is told.

use serde_json::{Value, json};

use crate::{
    forms,
    recorder::{interface, world},
    running::{Answer, Running, chat},
};

async fn raw(world: &Running, path: &str, body: &str) -> Answer {
    let request = world
        .http
        .post(format!("{}{path}", world.url))
        .bearer_auth(world.token());
    let request = request.header("content-type", "application/json").body(body.to_owned());
    Answer::read(request.send().await.unwrap()).await
}

const RULES: &str = "fields = [\
    { name = \"/temperature\", value = 0 }, \
    { name = \"/max_tokens\", value = 5 }, \
    { name = \"/top_p\", value = 0.5, allow_override = true }, \
    { name = \"/messages/*/name\", forbid = true }, \
    { name = \"/stop/-\", value = \"END\" }, \
    { name = \"/metadata/team\", value = { id = 7, tags = [\"x\"] } }, \
    { name = \"/tools\", forbid = true }]";

#[tokio::test]
async fn the_caller_is_told_which_fields_were_forced() {
    let (world, vendor) = world(&interface("ruled", "chat", "recorder", RULES)).await;
    let header = |answer: &Answer| answer.header("x-hexgate-forced-fields").to_owned();
    let mut body = chat("ruled");
    let answer = world.post("/v1/chat/completions", &world.token(), &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer), "/temperature,/max_tokens,/stop/-,/metadata/team");
    let seen: Value = serde_json::from_str(&vendor.take().text()).unwrap();
    assert_eq!(seen["stop"], json!(["END"]));
    assert_eq!(seen["metadata"], json!({"team": {"id": 7, "tags": ["x"]}}));
    assert_eq!(
        (&seen["temperature"], &seen["max_tokens"], &seen["top_p"]),
        (&json!(0), &json!(5), &json!(0.5))
    );
    // What was sent as it has to be is not reported.
    body["temperature"] = 0.into();
    body["max_completion_tokens"] = 5000.into();
    body["top_p"] = 1.into();
    body["metadata"] = json!({"team": {"tags": ["x"], "id": 7}, "mine": 1});
    body["stream"] = true.into();
    let stream = world.post("/v1/chat/completions", &world.token(), &body).await;
    assert_eq!(header(&stream), "/max_tokens,/stop/-");
    assert!(stream.body.contains("[DONE]"));
    let seen: Value = serde_json::from_str(&vendor.take().text()).unwrap();
    assert_eq!((&seen["max_tokens"], &seen["top_p"]), (&json!(5), &json!(1)));
    assert!(
        seen.get("max_completion_tokens").is_none(),
        "the field's other name is gone"
    );
    assert_eq!(seen["metadata"]["mine"], 1);
    // An error after shaping tells it, too.
    body["stream"] = false.into();
    body["user"] = "fail".into();
    let failed = world.post("/v1/chat/completions", &world.token(), &body).await;
    failed.error(400);
    assert_eq!(header(&failed), "/max_tokens,/stop/-");
    // And what no rule touches is told nothing.
    assert!(!world.chat("echo").await.headers.contains_key("x-hexgate-forced-fields"));
}

#[tokio::test]
async fn there_is_no_way_round_a_rule() {
    let (world, vendor) = world(&interface("ruled", "chat", "recorder", RULES)).await;
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    for extra in [
        // The name twice, disguised, in another case, as one word, by its other name.
        r#""temperature":1,"temperature":0"#,
        r#""temperature":0,"temper\u0061ture":1"#,
        r#""Temperature":1"#,
        r#""TEMPERATURE":1,"temperature":0"#,
        r#""maxTokens":100"#,
        r#""max-tokens":100"#,
        r#""MaxCompletionTokens":100"#,
        r#""max_completion_tokens":1,"max_completion_tokens":100"#,
        r#""to\u006fls":[]"#,
        r#""functions":[]"#,
        r#""function\u0073":[]"#,
        r#""Functions":[]"#,
        "\"tool\u{17f}\":[]",
        r#""metadata":{"team":1,"Team":2}"#,
        r#""metadata":{"team":1,"team":2}"#,
        r#""metadata":{},"Metadata":{"team":1}"#,
        r#""metadata":"text""#,
        r#""stop":"text""#,
    ] {
        for path in ["/v1/chat/completions", "/ai/invoke/chat_completion"] {
            let refused = raw(&world, path, &format!("{{\"model\":\"ruled\",{messages},{extra}}}")).await;
            assert_eq!(refused.status, 400, "{extra}: {}", refused.body);
        }
    }
    for message in [
        r#"{"role":"user","name":"x"}"#,
        r#"{"role":"user","n\u0061me":"x"}"#,
        r#"{"role":"user","Name":"x"}"#,
    ] {
        let body = format!(r#"{{"model":"ruled","messages":[{{"role":"user","content":"x"}},{message}]}}"#);
        assert_eq!(
            raw(&world, "/v1/chat/completions", &body).await.status,
            400,
            "{message}"
        );
    }
    assert!(vendor.is_untouched());
    // What is let through is what every reader sees.
    let disguised = format!(r#"{{"model":"ruled",{messages},"temper\u0061ture":1,"max_completion_tokens":100}}"#);
    assert_eq!(raw(&world, "/v1/chat/completions", &disguised).await.status, 200);
    let seen = vendor.take().text();
    assert!(
        seen.contains(r#""temper\u0061ture":0"#) && !seen.contains("100"),
        "{seen}"
    );
}

#[tokio::test]
async fn forms_have_no_way_round_either() {
    let rules = "fields = [{ name = \"/temperature\", value = 0 }, { name = \"/language\", value = \"en\", allow_override = true }, \
         { name = \"/prompt\", forbid = true }]";
    let (world, vendor) = world(&interface("stt", "transcription", "recorder", rules)).await;
    let path = "/v1/audio/transcriptions";
    let send = async |fields: &[(&str, &str)]| {
        let fields = [&[("model", "stt"), ("file", "RIFF")], fields].concat();
        forms::send(&world, path, forms::form(&fields)).await
    };
    let answer = send(&[("temperature", "0.9")]).await;
    assert_eq!(
        (answer.status, answer.header("x-hexgate-forced-fields")),
        (200, "/temperature")
    );
    let seen = vendor.take().form();
    assert_eq!(seen.texts("temperature").collect::<Vec<_>>(), ["0"]);
    assert_eq!(seen.texts("language").collect::<Vec<_>>(), ["en"]);
    let same = send(&[("temperature", "0"), ("language", "de")]).await;
    assert!(!same.headers.contains_key("x-hexgate-forced-fields"));
    assert_eq!(vendor.take().form().texts("language").collect::<Vec<_>>(), ["de"]);
    for fields in [
        [("prompt", "x")].as_slice(),
        &[("Prompt", "x")],
        &[("prompt[]", "x")],
        &[("temperature", "0"), ("temperature", "1")],
        &[("Temperature", "1")],
        &[("temperature[]", "1")],
        &[("temperature\"; name=\"x", "1")],
        &[("temperature\"; filename=\"x", "1")],
        &[("temp%65rature", "1")],
        &[("_charset_", "utf-7")],
    ] {
        assert_eq!(send(fields).await.status, 400, "{fields:?}");
    }
    let hidden = forms::form(&[("model", "stt"), ("file", "RIFF")]);
    let hidden = String::from_utf8(hidden).unwrap().replacen(
        "name=\"model\"",
        "name=\"model\"\r\nContent-Type: text/plain; charset=utf-16",
        1,
    );
    assert_eq!(forms::send(&world, path, hidden.into_bytes()).await.status, 400);
    assert!(vendor.is_untouched());
}

#[tokio::test]
async fn rules_hold_for_every_capability() {
    let rules = "fields = [{ name = \"/x_rule\", value = \"forced\" }, { name = \"/x_no\", forbid = true }]";
    let kinds = [
        ("embeddings", "/v1/embeddings", json!({"input": "x"})),
        ("speech", "/v1/audio/speech", json!({"input": "x", "voice": "v"})),
        ("image", "/v1/images/generations", json!({"prompt": "x"})),
        ("moderation", "/v1/moderations", json!({"input": "x"})),
    ];
    let document = kinds
        .each_ref()
        .map(|(name, ..)| interface(name, name, "recorder", rules))
        .concat();
    let (world, vendor) = world(&document).await;
    for (name, path, mut body) in kinds {
        body["model"] = name.into();
        body["x_rule"] = "mine".into();
        let answer = world.post(path, &world.token(), &body).await;
        assert_eq!(
            (answer.status, answer.header("x-hexgate-forced-fields")),
            (200, "/x_rule"),
            "{name}"
        );
        let seen: Value = serde_json::from_str(&vendor.take().text()).unwrap();
        assert_eq!((&seen["x_rule"], &seen["model"]), (&json!("forced"), &json!("up")));
        body["x_no"] = 1.into();
        assert_eq!(
            world.post(path, &world.token(), &body).await.error(400)["param"],
            "x_no"
        );
        assert!(vendor.is_untouched());
    }
}
