//! What is counted of calls: what their prices are for, and what their budgets hold back. What is not counted is bounded.

use std::{path::Path, sync::Arc, time::Duration};

use resource_gateway::application::{apply::ApplyDocument, change_config::ChangeError, refused_rows::MOST_A_MINUTE};
use serde_json::json;
use service_kit::{Clock as _, SystemClock};
use sql_kit::{Db, Options, Record, Sql, args, sql};
use test_kit::FixedClock;

use crate::{
    apply::NoSecrets,
    forms,
    recorder::{interface, world},
    running::{Running, chat},
    storage_world::World,
};

const COST: Sql = sql!("SELECT cost, audio_ms FROM usage_record");
const HELD: Sql = sql!("SELECT held FROM budget_period WHERE held > 0");
const REFUSED: Sql = sql!("SELECT COUNT(*) FROM usage_record WHERE state = 'rejected'");
const KEPT: Sql = sql!("SELECT keep_until - created_at FROM conversation");

fn price(name: &str, target: &str, rate: &str) -> String {
    format!("[[price]]\nname = \"{name}\"\n{target}\n{rate} = \"0.01\"\ncurrency = \"EUR\"\n")
}

/// What is wrong with a document; it is applied if nothing is.
async fn faults(world: &World, text: &str) -> Vec<String> {
    let apply = ApplyDocument::new(world.change_config(), Arc::new(NoSecrets));
    match apply.apply(text, Path::new(".")).await {
        Ok(_) => Vec::new(),
        Err(ChangeError::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

async fn rows<R: Record>(world: &Running, sql: Sql) -> Vec<R> {
    let db = Db::connect(&world.database, &Options::default()).await.unwrap();
    let rows = db.all(sql, args![]).await.unwrap();
    db.close().await;
    rows
}

#[tokio::test]
async fn a_price_that_counts_nothing_of_its_calls_is_refused() {
    let world = World::sqlite().await;
    let vendor = "[[vendor]]\nname = \"v\"\nstrategy = \"sandbox\"\n";
    let faults = async |capability: &str, price: String| {
        let interface =
            format!("[[interface]]\nname = \"i\"\ncapability = \"{capability}\"\nroutes = [{{ vendor = \"v\" }}]\n");
        faults(&world, &format!("{vendor}{interface}{price}")).await
    };
    for (capability, rate) in [
        ("speech", "input_per_million"),
        ("speech", "per_second"),
        ("chat", "per_second"),
        ("chat", "per_image"),
        ("embeddings", "output_per_million"),
        ("transcription", "per_million_characters"),
        ("ocr", "per_second"),
    ] {
        let wanted = format!(
            "price[0].unit: costs nothing at interface \"i\": of \"{capability}\" nothing is counted that it has a rate for"
        );
        assert_eq!(
            faults(capability, price("p", "interface = \"i\"", rate)).await,
            [wanted]
        );
        // Whatever it is written for.
        assert_eq!(faults(capability, price("p", "vendor = \"v\"", rate)).await.len(), 1);
    }
    for (capability, rate) in [
        ("speech", "per_million_characters"),
        ("transcription", "per_second"),
        ("image", "per_image"),
        ("chat", "output_per_million"),
        ("rerank", "per_call"),
    ] {
        let none = faults(capability, price("p", "vendor = \"v\"", rate)).await;
        assert!(none.is_empty(), "{capability} {none:?}");
    }
    let free = price("p", "vendor = \"v\"", "per_image").replace("0.01", "0");
    assert!(faults("chat", free).await.is_empty(), "it says that nothing is paid");
}

#[tokio::test]
async fn so_many_budgets_count_one_call_and_no_more() {
    let budgets = |count: usize, whose: &str| -> String {
        let one = |at| {
            format!(
                "[[quota]]\nname = \"b{at}\"\n{whose}\namount = 1\ncurrency = \"EUR\"\nperiod = \"day\"\nhard = false\n"
            )
        };
        (0..count).map(one).collect()
    };
    for (whose, most, reason) in [
        (
            "client_id = \"c\"",
            32,
            "more than 32 budgets of money would count one call",
        ),
        (
            "tenant = \"*\"",
            32,
            "more than 32 budgets of money would count one call",
        ),
        (
            "tenant = \"t\"",
            64,
            "more than 64 of the tenant's budgets of money would count one call",
        ),
    ] {
        let world = World::sqlite().await;
        assert!(faults(&world, &budgets(most, whose)).await.is_empty());
        let crowd = faults(&world, &budgets(most + 1, whose)).await;
        assert_eq!(crowd.len(), 1);
        assert!(
            crowd[0].ends_with(&format!("amount: {reason}; limits alone are not counted")),
            "{crowd:?}"
        );
    }
}

#[tokio::test]
async fn seconds_are_paid_for_in_whatever_format_a_transcript_is_wanted() {
    let priced = interface("stt", "transcription", "recorder", "") + &price("s", "interface = \"stt\"", "per_second");
    for (format, begins) in [
        ("text", "Clear. Mumble.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nClear.\n"),
        ("vtt", "WEBVTT\n"),
        ("json", "{\"text\":\"Clear. Mumble.\""),
        ("verbose_json", crate::recorder::VERBOSE),
    ] {
        let (world, vendor) = world(&priced).await;
        let body = forms::form(&[("response_format", format), ("file", "RIFF"), ("model", "stt")]);
        let answer = forms::send(&world, "/v1/audio/transcriptions", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.starts_with(begins), "{format}: {}", answer.body);
        assert_eq!(
            vendor.take().form().texts("response_format").next(),
            Some("verbose_json")
        );
        world.usage(answer.request_id()).await;
        assert_eq!(
            rows::<(Option<i64>, i64)>(&world, COST).await,
            [(Some(20_000_000), 2000)],
            "{format}"
        );
    }
}

#[tokio::test]
async fn a_budget_holds_back_for_every_choice_that_is_asked_for() {
    let text = "[[price]]\nname = \"stub\"\ninterface = \"patient\"\noutput_per_million = 10\ncurrency = \"EUR\"\n\
        [[quota]]\nname = \"b\"\ninterface = \"patient\"\namount = 100\ncurrency = \"EUR\"\nperiod = \"total\"\n";
    let world = Running::start_at(Arc::new(SystemClock), text, |_| {}).await;
    let mut body = chat("patient");
    body["n"] = json!(8);
    let call = world.request("/v1/chat/completions", &world.token(), &body);
    // It never ends.
    let (call, held) = (call.timeout(Duration::from_secs(30)).send(), async {
        let mut held = Vec::new();
        world
            .until("money is held", async || {
                held = rows::<(i64,)>(&world, HELD).await;
                !held.is_empty()
            })
            .await;
        held
    });
    let held = tokio::select! {
        answer = call => panic!("{answer:?}"),
        held = held => held,
    };
    // 4096 tokens of each of eight, and something in advance.
    assert!(held[0].0 >= 8 * 4096 * 10_000, "{held:?}");
}

#[tokio::test]
async fn of_many_refused_calls_some_leave_a_row() {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let text = "[[interface]]\nname = \"one\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"echo\" }]\n\
        limits = { requests_per_minute = 1 }\n";
    let world = Running::start_at(clock.clone(), text, |_| {}).await;
    // A later one would be of a time that this clock does not reach.
    let token = world.token();
    let other = world.issuer.token(&json!({"client_id": "other"}));
    assert_eq!(world.chat_as(&token, "one").await.status, 200);
    for _ in 0..MOST_A_MINUTE + 5 {
        assert_eq!(world.chat_as(&token, "one").await.status, 429);
    }
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    let most = i64::try_from(MOST_A_MINUTE).unwrap();
    assert_eq!(rows::<(i64,)>(&world, REFUSED).await, [(most,)]);
    // Others are not affected by it.
    assert_eq!(world.chat_as(&other, "one").await.status, 429);
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    assert_eq!(rows::<(i64,)>(&world, REFUSED).await, [(most + 1,)]);
}

#[tokio::test]
async fn a_conversation_in_which_nothing_was_said_yet_is_not_kept_for_long() {
    let text = "[[interface]]\nname = \"talk\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"hang\" }]\n\
        conversation = { enabled = true }\ntimeouts_ms = { total = 60000 }\n";
    let world = Running::start_at(Arc::new(SystemClock), text, |_| {}).await;
    let mut body = chat("talk");
    body["conversation_id"] = json!("new");
    let call = world.request("/v1/chat/completions", &world.token(), &body).send();
    let begun = async {
        let mut kept = Vec::new();
        world
            .until("the conversation begins", async || {
                kept = rows::<(i64,)>(&world, KEPT).await;
                !kept.is_empty()
            })
            .await;
        kept
    };
    let kept = tokio::select! {
        answer = call => panic!("{answer:?}"),
        kept = begun => kept,
    };
    assert_eq!(kept, [(90_000_000,)], "as long as its answer may take to be stored");
    world
        .until("it goes with its caller", async || {
            rows::<(i64,)>(&world, KEPT).await.is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_caller_that_leaves_while_the_database_is_busy_leaves_its_turn() {
    const TOUCH: Sql = sql!("UPDATE config_revision SET revision = revision");
    let text = "[[interface]]\nname = \"talk\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"echo\" }]\n\
        conversation = { enabled = true }\n";
    let world = Running::start_at(Arc::new(SystemClock), text, |_| {}).await;
    let mut body = chat("talk");
    body["conversation_id"] = json!("new");
    let first = world.post("/v1/chat/completions", &world.token(), &body).await;
    body["conversation_id"] = json!(first.header("x-hexgate-conversation-id"));
    let db = Db::connect(&world.database, &Options::default()).await.unwrap();
    let mut busy = db.begin().await.unwrap();
    busy.execute(TOUCH, args![]).await.unwrap();
    let call = world.request("/v1/chat/completions", &world.token(), &body);
    let left = call.timeout(Duration::from_millis(300)).send().await;
    assert!(left.is_err(), "{left:?}");
    drop(busy);
    world
        .until("the next request has its turn", async || {
            world.post("/v1/chat/completions", &world.token(), &body).await.status == 200
        })
        .await;
    db.close().await;
}

#[tokio::test]
async fn a_conversations_requests_are_limited_before_the_database_hears_of_them() {
    let text = "[[interface]]\nname = \"talk\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"echo\" }]\n\
        conversation = { enabled = true }\nlimits = { requests_per_minute = 2, tokens_per_minute = 100000, concurrency = 1 }\n";
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), text, |_| {}).await;
    let mut body = chat("talk");
    body["conversation_id"] = json!("new");
    let path = "/v1/chat/completions";
    for left in ["1", "0"] {
        let answer = world.post(path, &world.token(), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), left);
        assert!(!answer.header("x-ratelimit-remaining-tokens").is_empty());
    }
    world
        .execute(sql!("ALTER TABLE conversation RENAME TO conversation_away"))
        .await;
    assert_eq!(
        world.post(path, &world.token(), &body).await.error(429)["code"],
        "rate_limit_exceeded"
    );
    world
        .execute(sql!("ALTER TABLE conversation_away RENAME TO conversation"))
        .await;
    // The slot came free each time.
    clock.advance(Duration::from_mins(1));
    assert_eq!(world.post(path, &world.token(), &body).await.status, 200);
}
