//! Quotas with limits: whose requests count together.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock};
use test_kit::FixedClock;

use crate::{
    running::{Running, chat},
    signed_calls::settings,
};

/// A world with a document's entries beside the usual ones, whose clock stands still.
async fn world(entries: &str) -> (Arc<FixedClock>, Running) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), entries, |_| {}).await;
    (clock, world)
}

fn quota(name: &str, members: &str, limits: &str) -> String {
    format!("[[quota]]\nname = \"{name}\"\n{members}\nlimits = {{ {limits} }}\n")
}

/// How many of so many calls in a row pass.
async fn passing(world: &Running, model: &str, claims: Value, calls: usize) -> usize {
    let token = world.issuer.token(&claims);
    let mut passed = 0;
    for _ in 0..calls {
        match world.chat_as(&token, model).await.status {
            200 => passed += 1,
            429 => {}
            other => panic!("{other}"),
        }
    }
    passed
}

fn user(sub: &str) -> Value {
    json!({"sub": sub})
}

#[tokio::test]
async fn each_of_a_star_has_a_bucket_and_those_who_are_named_share_one() {
    let (_clock, world) = world(&[quota("each", "sub = \"*\"", "requests_per_minute = 3")].concat()).await;
    assert_eq!(passing(&world, "echo", user("alice"), 5).await, 3);
    assert_eq!(passing(&world, "echo", user("bob"), 5).await, 3);
    assert_eq!(passing(&world, "echo", user("alice"), 5).await, 0);
    let (_clock, world) = self::world(&quota("named", "client_id = \"app\"", "requests_per_minute = 3")).await;
    assert_eq!(passing(&world, "echo", user("alice"), 2).await, 2);
    assert_eq!(passing(&world, "echo", user("bob"), 5).await, 1);
    let other = json!({"client_id": "other", "sub": "bob"});
    assert_eq!(passing(&world, "echo", other, 5).await, 5, "a client that is not named");
}

#[tokio::test]
async fn all_members_of_a_selector_must_match() {
    let entries = [
        quota("pair", "tenant = \"t1\"\nsub = \"*\"", "requests_per_minute = 2"),
        quota("tenants", "tenant = \"*\"", "requests_per_minute = 5"),
        quota(
            "triple",
            "tenant = \"t2\"\nclient_id = \"app\"\nsub = \"carol\"",
            "requests_per_minute = 1",
        ),
    ];
    let (_clock, world) = world(&entries.concat()).await;
    let of = |tenant: &str, sub: &str| json!({"tenant": tenant, "sub": sub});
    // Two for each user of t1, and five for all of them.
    assert_eq!(passing(&world, "echo", of("t1", "alice"), 4).await, 2);
    assert_eq!(passing(&world, "echo", of("t1", "bob"), 4).await, 2);
    assert_eq!(passing(&world, "echo", of("t1", "carol"), 4).await, 1);
    // Refused by the tenant's limit, she has used only one of her own two.
    assert_eq!(passing(&world, "echo", of("t2", "carol"), 4).await, 1);
    assert_eq!(passing(&world, "echo", of("t2", "dave"), 9).await, 4);
    assert_eq!(
        passing(&world, "echo", json!({"tenant": null}), 9).await,
        9,
        "no tenant, no quota of tenants"
    );
}

#[tokio::test]
async fn a_quota_spans_interfaces_unless_it_names_one() {
    let entries = [
        quota("everywhere", "sub = \"*\"", "requests_per_minute = 4"),
        quota("here", "interface = \"echo\"", "requests_per_minute = 3"),
    ];
    let (_clock, world) = world(&entries.concat()).await;
    assert_eq!(passing(&world, "silent", user("alice"), 2).await, 2);
    assert_eq!(passing(&world, "echo", user("alice"), 5).await, 2);
    assert_eq!(
        passing(&world, "echo", user("bob"), 5).await,
        1,
        "the interface's quota is for all callers"
    );
    assert_eq!(
        passing(&world, "silent", user("bob"), 5).await,
        3,
        "what was refused there took nothing here"
    );
}

#[tokio::test]
async fn no_path_leads_around_a_quota() {
    let (clock, world) = world(&quota("gold-plan", "sub = \"*\"", "requests_per_minute = 2")).await;
    let token = world.token();
    for path in ["/v1/chat/completions", "/ai/invoke/chat_completion"] {
        assert_eq!(world.post(path, &token, &chat("echo")).await.status, 200);
    }
    for (path, body) in [
        ("/v1/chat/completions", chat("echo")),
        ("/ai/invoke/chat_completion", chat("silent")),
        ("/v1/embeddings", json!({"model": "embed", "input": "a"})),
        ("/ai/invoke/embeddings", json!({"model": "embed", "input": "a"})),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            if stream && body["model"] != "embed" {
                body["stream"] = true.into();
            }
            let refused = world.post(path, &token, &body).await;
            assert_eq!(refused.error(429)["code"], "rate_limit_exceeded", "{path}");
            assert_eq!(refused.header("x-ratelimit-limit-requests"), "2");
            assert!(!refused.body.contains("gold-plan"), "quotas are named for operators");
        }
    }
    // Another token of the same user is no other user.
    assert_eq!(passing(&world, "echo", json!({"jti": "other.token"}), 3).await, 0);
    clock.advance(Duration::from_secs(30));
    assert_eq!(passing(&world, "echo", json!({}), 3).await, 1);
}

#[tokio::test]
async fn the_tightest_of_all_limits_is_told_and_the_longest_wait() {
    let entries = [
        quota(
            "wide",
            "tenant = \"*\"",
            "requests_per_minute = 1000, tokens_per_minute = 70",
        ),
        quota("tight", "sub = \"*\"", "requests_per_second = 2, concurrency = 9"),
        quota("shadow", "client_id = \"*\"", "requests_per_minute = 1, shadow = true"),
    ];
    let (_clock, world) = world(&entries.concat()).await;
    let first = world.chat("echo").await;
    first.ok();
    assert_eq!(first.header("x-ratelimit-limit-requests"), "2");
    assert_eq!(first.header("x-ratelimit-limit-tokens"), "70");
    assert_eq!(first.header("x-ratelimit-shadow"), "");
    let second = world.chat("echo").await;
    second.ok();
    assert_eq!(second.header("x-ratelimit-shadow"), "requests_per_minute");
    // 33 tokens each: 4 are left of 70, and more are wanted. That takes seconds, the limit of requests half of one.
    let third = world.chat("echo").await;
    assert!(
        third.error(429)["message"]
            .as_str()
            .unwrap()
            .contains("70 tokens per minute"),
        "{}",
        third.body
    );
    assert!(third.header("retry-after-ms").parse::<u64>().unwrap() > 500);
    assert_eq!(third.header("x-ratelimit-remaining-requests"), "0");
    assert_eq!(third.header("x-ratelimit-remaining-tokens"), "4");
}

#[tokio::test]
async fn access_keys_have_quotas_each_for_itself_or_by_name() {
    let (_clock, world) = world(&quota("keys", "access_key = \"*\"", "requests_per_minute = 3")).await;
    let holders = [world.issue(settings()).await, world.issue(settings()).await];
    let named = quota(
        "slow-key",
        &format!("access_key = \"{}\"", holders[0].id),
        "requests_per_minute = 2",
    );
    world.apply(&named).await;
    for (holder, limit) in holders.iter().zip([2, 3]) {
        let mut passed = 0;
        for _ in 0..5 {
            let answer = world.signed_chat(holder, "echo").await;
            assert!(matches!(answer.status, 200 | 429), "{}", answer.body);
            passed += usize::from(answer.status == 200);
        }
        assert_eq!(passed, limit);
    }
    // The same client and tenant without a key.
    let token = json!({"client_id": "machine", "sub": "machine"});
    assert_eq!(passing(&world, "echo", token, 9).await, 9);
}
