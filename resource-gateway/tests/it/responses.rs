//! `/v1/responses`: OpenAI's newer format for callers, whatever their vendor speaks.

use serde_json::{Value, json};

use crate::{
    running::{Answer, Running},
    speaking_vendor::{data, events, streamed},
};

const PATH: &str = "/v1/responses";

fn ask(model: &str, marker: &str) -> Value {
    json!({"model": model, "instructions": "Be brief.", "input": "Hello, world", "max_output_tokens": 50, "user": marker})
}

#[tokio::test]
async fn a_vendor_of_another_format_is_asked_and_answers_in_its_callers() {
    let world = Running::start().await;
    let answer = world.post(PATH, &world.token(), &ask("echo", "m1")).await;
    let response = answer.ok();
    assert_eq!(
        (&response["object"], &response["status"], &response["model"]),
        (&json!("response"), &json!("completed"), &json!("echo"))
    );
    assert_eq!(response["output"][0]["content"][0]["text"], "four");
    assert_eq!(
        response["usage"],
        json!({"input_tokens": 11, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 22,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 33})
    );
    assert_eq!(
        world.vendor.find_call("m1").unwrap().body(),
        json!({"model": "echo", "max_tokens": 50, "user": "m1",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello, world"}]})
    );
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.state.as_str(), usage.input, usage.output), ("completed", 11, 22));
    world.stop().await;
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_format_and_an_error_in_it_as_well() {
    let world = Running::start().await;
    let stream = async |model: &str| world.post(PATH, &world.token(), &streamed(ask(model, model))).await;
    let names = |answer: &Answer| events(answer).join(" ").replace("response.", "");
    let begin = "created in_progress output_item.added content_part.added output_text.delta output_text.delta";
    let answer = stream("echo").await;
    assert_eq!(
        names(&answer),
        format!("{begin} output_text.done content_part.done output_item.done completed")
    );
    let last = data(&answer).pop().unwrap();
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "fourfour");
    assert_eq!(last["response"]["usage"]["input_tokens_details"]["cached_tokens"], 3);
    for model in ["in-band", "cut"] {
        let answer = stream(model).await;
        assert_eq!(names(&answer), format!("{begin} error"), "{model}");
        let last = data(&answer).pop().unwrap();
        assert!(last["error"]["code"].is_string() && last["type"] == "error", "{last}");
        assert_eq!(world.usage(answer.request_id()).await.state, "incomplete", "{model}");
    }
    world.stop().await;
}

#[tokio::test]
async fn what_would_have_to_be_kept_is_refused_by_its_name() {
    let world = Running::start().await;
    for (name, value) in [
        ("store", json!(true)),
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("background", json!(true)),
        ("tools", json!([{"type": "web_search"}])),
    ] {
        let mut body = ask("echo", "kept");
        body[name] = value;
        let error = world.post(PATH, &world.token(), &body).await.error(400);
        assert!(error["param"].as_str().unwrap().starts_with(name), "{error}");
        assert_eq!(error["code"], "unsupported_parameter");
    }
    assert!(world.vendor.find_call("kept").is_none());
    world.post(PATH, "nobody", &ask("echo", "x")).await.error(401);
    world
        .post(PATH, &world.token(), &ask("nothing-of-that-name", "x"))
        .await
        .error(404);
    world.stop().await;
}
