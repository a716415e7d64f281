//! Conversations: what was said before goes along, within bounds, for its owner alone, and nothing is lost in silence.

use reqwest::Method;
use serde_json::{Value, json};
use sql_kit::{Sql, sql};

use crate::{
    admin::{problem, put},
    running::{Answer, Running},
};

const ID: &str = "x-hexgate-conversation-id";
const CHAT: &str = "/v1/chat/completions";

/// An interface that stores conversations.
async fn talking(running: &Running, name: &str, model: &str, more: &str) {
    let text = format!(
        "[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"stub\", model = \"{model}\" }}]\n\
         conversation = {{ enabled = true, max_messages = 6, max_context_tokens = 1000 }}\n{more}\n"
    );
    running.apply(&text).await;
}

fn ask(model: &str, id: &str, said: &str, marker: &str) -> Value {
    json!({"model": model, "conversation_id": id, "user": marker, "messages": [{"role": "user", "content": said}]})
}

async fn say(running: &Running, model: &str, id: &str, said: &str, marker: &str) -> Answer {
    running
        .post(CHAT, &running.token(), &ask(model, id, said, marker))
        .await
}

/// What the vendor was told.
fn told(running: &Running, marker: &str) -> Vec<String> {
    let body = running.vendor.find_call(marker).unwrap().body();
    assert!(body.get("conversation_id").is_none(), "{body}");
    let messages = body["messages"].as_array().unwrap().iter();
    messages
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}

async fn read(running: &Running, path: &str) -> Answer {
    running.get(path, &running.token()).await
}

async fn delete(running: &Running, token: &str, id: &str) -> Answer {
    let url = format!("{}/v1/conversations/{id}", running.url);
    let request = running.http.request(Method::DELETE, url).bearer_auth(token);
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn what_was_said_before_goes_along() {
    let running = Running::start().await;
    talking(&running, "talk", "echo", "").await;
    let first = say(&running, "talk", "new", "one", "c1").await;
    first.ok();
    let id = first.header(ID).to_owned();
    assert!(id.starts_with("conv_"), "{id}");
    assert_eq!(told(&running, "c1"), ["one"]);
    let second = say(&running, "talk", &id, "two", "c2").await;
    second.ok();
    assert_eq!(second.header(ID), id);
    assert_eq!(told(&running, "c2"), ["one", "four", "two"]);
    let mut streamed = ask("talk", &id, "three", "c3");
    streamed["stream"] = true.into();
    let third = running.post(CHAT, &running.token(), &streamed).await;
    assert!(
        third.status == 200 && third.body.ends_with("data: [DONE]\n\n"),
        "{}",
        third.body
    );
    assert_eq!(third.header(ID), id);
    assert_eq!(told(&running, "c3"), ["one", "four", "two", "four", "three"]);
    // Six messages go along at most, this request's own included.
    say(&running, "talk", &id, "five", "c4").await.ok();
    assert_eq!(
        told(&running, "c4"),
        ["four", "two", "four", "three", "fourfour", "five"]
    );
    let shown = read(&running, &format!("/v1/conversations/{id}?limit=3")).await.ok();
    assert_eq!((&shown["messages"], &shown["model"]), (&json!(8), &json!("talk")));
    assert_eq!(
        shown["items"][1]["message"],
        json!({"role": "assistant", "content": "four"})
    );
    assert_eq!(shown["items"][2]["number"], 3);
    assert_eq!(shown["items"][0]["request_id"], first.request_id());
    let next = shown["next_page_token"].as_str().unwrap();
    let rest = read(&running, &format!("/v1/conversations/{id}?page_token={next}"))
        .await
        .ok();
    assert_eq!(rest["items"].as_array().unwrap().len(), 5);
    assert_eq!(rest["items"][0]["number"], 4);
    assert_eq!(rest["next_page_token"], Value::Null);
}

#[tokio::test]
async fn system_messages_stay_and_what_else_is_old_goes() {
    let running = Running::start().await;
    talking(&running, "talk", "echo", "").await;
    let mut opening = ask("talk", "new", "one", "s1");
    let system = json!({"role": "system", "content": "be brief"});
    opening["messages"].as_array_mut().unwrap().insert(0, system);
    let first = running.post(CHAT, &running.token(), &opening).await;
    first.ok();
    let id = first.header(ID).to_owned();
    for said in ["two", "three"] {
        say(&running, "talk", &id, said, said).await.ok();
    }
    say(&running, "talk", &id, "last", "s2").await.ok();
    assert_eq!(
        told(&running, "s2"),
        ["be brief", "two", "four", "three", "four", "last"]
    );
    let long = "long ".repeat(900);
    say(&running, "talk", &id, &long, "s3").await.ok();
    assert_eq!(
        told(&running, "s3"),
        [long.as_str()],
        "there is no room for anything else"
    );
}

#[tokio::test]
async fn a_conversation_is_its_owners_alone() {
    let running = Running::start().await;
    talking(&running, "talk", "echo", "").await;
    talking(&running, "other", "echo", "").await;
    let id = say(&running, "talk", "new", "secret", "o1").await.header(ID).to_owned();
    say(&running, "talk", "new", "second", "o2").await.ok();
    for stranger in [
        json!({"sub": "bob"}),
        json!({"client_id": "app2"}),
        json!({"tenant": "t2"}),
        json!({"tenant": null}),
    ] {
        let token = running.issuer.token(&stranger);
        let path = format!("/v1/conversations/{id}");
        assert_eq!(
            running.get(&path, &token).await.error(404)["code"],
            "conversation_not_found"
        );
        assert_eq!(running.get("/v1/conversations", &token).await.ok()["items"], json!([]));
        assert_eq!(
            delete(&running, &token, &id).await.error(404)["code"],
            "conversation_not_found"
        );
        let answer = running.post(CHAT, &token, &ask("talk", &id, "tell me", "o3")).await;
        assert_eq!(answer.error(404)["code"], "conversation_not_found");
        assert!(running.vendor.find_call("o3").is_none());
    }
    let elsewhere = say(&running, "other", &id, "tell me", "o4").await;
    assert_eq!(
        elsewhere.error(400)["code"],
        "other_conversation",
        "another model's vendors do not learn of it"
    );
    assert_eq!(
        running
            .get(
                "/v1/conversations",
                &running.issuer.token(&json!({"scope": "ai:embeddings"}))
            )
            .await
            .status,
        403
    );
    let page = read(&running, "/v1/conversations?limit=1").await.ok();
    assert_eq!(page["items"][0]["messages"], 2);
    let next = page["next_page_token"].as_str().unwrap();
    let last = read(&running, &format!("/v1/conversations?limit=1&page_token={next}"))
        .await
        .ok();
    assert_eq!(
        (&last["items"][0]["id"], &last["next_page_token"]),
        (&json!(id), &Value::Null)
    );
    for bad in ["limit=0", "limit=101", "colour=red", "limit=1&limit=2", "page_token=eA"] {
        read(&running, &format!("/v1/conversations?{bad}")).await.error(400);
    }
    assert_eq!(delete(&running, &running.token(), &id).await.status, 204);
    assert_eq!(delete(&running, &running.token(), &id).await.status, 404);
    read(&running, &format!("/v1/conversations/{id}")).await.error(404);
    say(&running, "talk", &id, "again", "o5").await.error(404);
}

#[tokio::test]
async fn an_interface_without_conversations_says_so() {
    let running = Running::start().await;
    assert_eq!(
        say(&running, "echo", "new", "x", "w1").await.error(400)["code"],
        "conversations_not_offered"
    );
    assert!(running.vendor.find_call("w1").is_none());
    talking(&running, "talk", "echo", "").await;
    for wrong in [json!(1), json!("x".repeat(65)), json!({"id": "new"})] {
        let mut body = ask("talk", "", "x", "w2");
        body["conversation_id"] = wrong;
        let error = running.post(CHAT, &running.token(), &body).await.error(400);
        assert_eq!(error["param"], "conversation_id");
    }
    let mut body = ask("talk", "", "x", "w3");
    body["conversation_id"] = Value::Null;
    let plain = running.post(CHAT, &running.token(), &body).await;
    plain.ok();
    assert_eq!((plain.header(ID), told(&running, "w3").len()), ("", 1));
    assert_eq!(read(&running, "/v1/conversations").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn one_request_at_a_time_speaks_and_a_failure_gives_the_turn_back() {
    let running = Running::start().await;
    talking(&running, "talk", "held", "").await;
    let (first, ()) = tokio::join!(say(&running, "talk", "new", "one", "b1"), async {
        running
            .until("the call is under way", async || {
                running.vendor.find_call("b1").is_some()
            })
            .await;
        let nothing = read(&running, "/v1/conversations").await.ok();
        assert_eq!(nothing["items"], json!([]), "nothing was said yet");
        running.vendor.release();
    });
    let id = first.header(ID).to_owned();
    // A caller who leaves gives the turn back as well.
    talking(&running, "talk", "hang", "").await;
    let second = async {
        running
            .until("the call is under way", async || {
                running.vendor.find_call("b2").is_some()
            })
            .await;
        say(&running, "talk", &id, "me too", "b3").await
    };
    let second = tokio::select! {
        _ = say(&running, "talk", &id, "two", "b2") => panic!("nobody answers"),
        second = second => second,
    };
    assert_eq!(second.error(409)["code"], "conversation_busy");
    assert_eq!(second.header("retry-after"), "1");
    assert!(running.vendor.find_call("b3").is_none());
    for (model, marker) in [("status-400", "b4"), ("cut", "b5")] {
        talking(&running, "talk", model, "max_attempts = 1").await;
        let mut failed = None;
        running
            .until("the turn is free", async || {
                let answer = say(&running, "talk", &id, "fails", marker).await;
                failed = Some(answer.status);
                answer.status != 409
            })
            .await;
        assert!(failed.unwrap() >= 400);
    }
    talking(&running, "talk", "echo", "").await;
    running
        .until("the turn is free", async || {
            say(&running, "talk", &id, "well", "b6").await.status == 200
        })
        .await;
    assert_eq!(
        told(&running, "b6"),
        ["one", "four", "well"],
        "what was not answered was not stored"
    );
}

#[tokio::test]
async fn rules_and_counts_hold_for_what_was_said_before() {
    let running = Running::start().await;
    talking(&running, "talk", "no-usage", "").await;
    let mut named = ask("talk", "new", "a first question of some length", "r1");
    named["messages"][0]["name"] = "eve".into();
    let first = running.post(CHAT, &running.token(), &named).await;
    first.ok();
    let id = first.header(ID).to_owned();
    let second = say(&running, "talk", &id, "x", "r2").await;
    second.ok();
    let (one, two) = (
        running.usage(first.request_id()).await,
        running.usage(second.request_id()).await,
    );
    assert!(two.input > one.input, "{two:?} counts what {one:?} counted");
    talking(
        &running,
        "talk",
        "echo",
        "fields = [{ name = \"/messages/*/name\", forbid = true }]",
    )
    .await;
    let refused = say(&running, "talk", &id, "x", "r3").await;
    assert_eq!(refused.error(400)["param"], "messages.*.name");
    talking(
        &running,
        "talk",
        "echo",
        "fields = [{ name = \"/messages/0/content\", value = \"changed\" }]",
    )
    .await;
    running
        .until("the turn is free", async || {
            say(&running, "talk", &id, "x", "r4").await.status == 200
        })
        .await;
    assert_eq!(told(&running, "r4")[0], "changed");
    let shown = read(&running, &format!("/v1/conversations/{id}")).await.ok();
    assert_eq!(
        shown["items"][0]["message"]["content"], "a first question of some length",
        "it is stored as it was said"
    );
    talking(&running, "talk", "echo", "limits = { tokens_per_minute = 20 }").await;
    say(&running, "talk", "new", "x", "r5").await.ok();
    running
        .until("what was said is counted", async || {
            say(&running, "talk", &id, "x", "r6").await.status == 429
        })
        .await;
}

const HIDE: Sql = sql!("ALTER TABLE message RENAME TO elsewhere");
const SHOW: Sql = sql!("ALTER TABLE elsewhere RENAME TO message");

#[tokio::test]
async fn a_database_that_is_away_is_said_and_never_a_loss_of_memory() {
    let running = Running::start().await;
    talking(&running, "talk", "echo", "").await;
    let id = say(&running, "talk", "new", "one", "d1").await.header(ID).to_owned();
    running.execute(HIDE).await;
    let blind = say(&running, "talk", &id, "two", "d2").await;
    assert_eq!(blind.error(503)["code"], "conversations_unavailable");
    assert!(
        running.vendor.find_call("d2").is_none(),
        "no vendor is asked without the context"
    );
    let plain = say(&running, "talk", "new", "three", "d3").await;
    assert_eq!(plain.error(503)["code"], "conversations_unavailable");
    assert_eq!(plain.header(ID), "");
    let mut streamed = ask("talk", "new", "four", "d4");
    streamed["stream"] = true.into();
    let answer = running.post(CHAT, &running.token(), &streamed).await;
    assert!(
        answer.body.contains("conversations_unavailable") && !answer.body.contains("[DONE]"),
        "{}",
        answer.body
    );
    running.execute(SHOW).await;
    running
        .until("the conversation goes on", async || {
            say(&running, "talk", &id, "five", "d5").await.status == 200
        })
        .await;
    assert_eq!(told(&running, "d5"), ["one", "four", "five"]);
    assert_eq!(
        read(&running, "/v1/conversations").await.ok()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_conversation_deleted_meanwhile_takes_no_answer() {
    let running = Running::start().await;
    talking(&running, "talk", "echo", "").await;
    let id = say(&running, "talk", "new", "one", "g1").await.header(ID).to_owned();
    talking(&running, "talk", "held", "").await;
    let (answer, ()) = tokio::join!(say(&running, "talk", &id, "two", "g2"), async {
        running
            .until("the call is under way", async || {
                running.vendor.find_call("g2").is_some()
            })
            .await;
        assert_eq!(delete(&running, &running.token(), &id).await.status, 204);
        running.vendor.release();
    });
    assert_eq!(answer.error(409)["code"], "conversation_gone");
}

#[tokio::test]
async fn what_is_said_in_a_conversation_is_not_answered_later() {
    let running = Running::start().await;
    talking(&running, "talk", "echo", "jobs = { enabled = true }").await;
    let request = running.request(CHAT, &running.token(), &ask("talk", "new", "one", "j1"));
    let later = Answer::read(request.header("prefer", "respond-async").send().await.unwrap()).await;
    assert_eq!(later.error(400)["code"], "conversation_not_deferrable");
    assert!(running.vendor.find_call("j1").is_none());
}

#[tokio::test]
async fn the_settings_are_read_back_and_held_to_their_bounds() {
    let running = Running::start().await;
    let mut body = json!({"capability": "chat", "routes": [{"vendor": "stub", "model": "echo"}],
        "conversation": {"enabled": true, "max_messages": 7, "max_context_tokens": 70, "retention_days": 2}});
    let answer = put(&running, "/v1/interfaces/talk", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.json()["conversation"], body["conversation"]);
    body["conversation"] =
        json!({"max_messages": 0, "max_context_tokens": "x", "retention_days": 4000, "enabled": 1, "more": 1});
    let wrong = problem(&put(&running, "/v1/interfaces/talk", &body).await, 422, "invalid");
    let places: Vec<_> = wrong["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "conversation.max_messages",
            "conversation.max_context_tokens",
            "conversation.retention_days",
            "conversation.enabled",
            "conversation.more"
        ]
    );
    for (other, place) in [
        (
            json!({"capability": "embeddings", "routes": [{"vendor": "stub", "model": "e"}], "conversation": {"enabled": true}}),
            "conversation",
        ),
        (
            json!({"capability": "chat", "routes": [{"vendor": "stub", "model": "e"}], "fields": [{"name": "/conversation_id", "forbid": true}]}),
            "fields[0].name",
        ),
    ] {
        let wrong = problem(&put(&running, "/v1/interfaces/talk", &other).await, 422, "invalid");
        assert_eq!(wrong["errors"][0]["field"], place);
    }
}
