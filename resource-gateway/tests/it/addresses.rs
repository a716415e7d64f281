//! Which address of a pool a call goes to, and what is known of each.

use serde_json::json;

use crate::{
    resilience::{interface, servers, vendor, weighted},
    running::{Answer, Running, chat},
    scripted::{Act, Scripted},
};

#[tokio::test]
async fn weights_are_kept_to_the_call_and_a_change_holds_for_the_next() {
    let world = Running::start().await;
    let [a, b] = servers().await;
    let pool = |first: u32, second: u32| {
        let addresses = format!(
            "{{ url = \"{}\", weight = {first} }}, {{ url = \"{}\", weight = {second} }}",
            a.url, b.url
        );
        weighted("p", "strategy = \"weighted_round_robin\",", &addresses)
    };
    world.apply(&(pool(3, 1) + &interface("i", &["p"], ""))).await;
    for _ in 0..8 {
        world.chat("i").await.ok();
    }
    assert_eq!((a.calls(), b.calls()), (6, 2));
    world.apply(&pool(0, 1)).await;
    for _ in 0..3 {
        world.chat("i").await.ok();
    }
    assert_eq!((a.calls(), b.calls()), (6, 5), "a drained address gets nothing");
}

#[tokio::test]
async fn what_is_known_of_an_address_outlives_changes_of_the_configuration() {
    let world = Running::start().await;
    let [sick, sound] = servers().await;
    let pool = "strategy = \"round_robin\", breaker = { consecutive_failures = 1, open_ms = 60000 },";
    let text = vendor("p", pool, &[&sick.url, &sound.url]) + &interface("i", &["p"], "");
    world.apply(&text).await;
    sick.next([Act::status(500)]);
    while sick.calls() == 0 {
        world.chat("i").await.ok();
    }
    world.apply(&interface("another", &["p"], "")).await;
    for _ in 0..4 {
        world.chat("another").await.ok();
    }
    assert_eq!(
        (sick.calls(), world.endpoint("p", 0)["breaker"].clone()),
        (1, json!("open"))
    );
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_address_and_elsewhere_when_that_fails() {
    let world = Running::start().await;
    let all = servers::<3>().await;
    let urls: Vec<_> = all.iter().map(|server| server.url.as_str()).collect();
    let pool = "strategy = \"consistent_hash\", hash_key = \"header:X-Conversation\",";
    world
        .apply(&(vendor("p", pool, &urls) + &interface("i", &["p"], "")))
        .await;
    let ask = async |key: &str| {
        let before: Vec<_> = all.iter().map(Scripted::calls).collect();
        let request = world
            .request("/v1/chat/completions", &world.token(), &chat("i"))
            .header("x-conversation", key);
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200);
        let asked = all.iter().zip(&before).map(|(server, before)| server.calls() > *before);
        asked.collect::<Vec<_>>()
    };
    let mut used = [false; 3];
    let mut homes = Vec::new();
    // The addresses hold free ports, so that keys fall otherwise in each run: enough that none goes without.
    for at in 0..64 {
        let key = format!("conversation-{at}");
        let home = ask(&key).await;
        assert_eq!(ask(&key).await, home, "{key}");
        used.iter_mut().zip(&home).for_each(|(used, now)| *used |= now);
        homes.push((key, home));
    }
    assert_eq!(used, [true; 3]);
    let lost = homes[0].1.iter().position(|home| *home).unwrap();
    all[lost].always(Act::status(500));
    for (key, home) in &homes {
        let now = ask(key).await;
        if home[lost] {
            assert!(now.iter().enumerate().any(|(at, asked)| at != lost && *asked), "{key}");
        } else {
            assert_eq!(now, *home, "{key}");
        }
    }
}

#[tokio::test]
async fn a_sticky_route_is_a_preference_that_a_failure_ends() {
    let world = Running::start().await;
    let [a, b] = servers().await;
    let routes =
        "routes = [{ vendor = \"p\", model = \"m\" }, { vendor = \"q\", model = \"m\" }]\nsticky = { by = \"user\" }";
    let text = format!("[[interface]]\nname = \"i\"\ncapability = \"chat\"\n{routes}\n");
    world
        .apply(&(vendor("p", "", &[&a.url]) + &vendor("q", "", &[&b.url]) + &text))
        .await;
    let (mut at_a, mut at_b) = (None, None);
    for user in 0..12 {
        let token = world.issuer.token(&json!({"sub": format!("user-{user}")}));
        let before = a.calls();
        for _ in 0..3 {
            world.chat_as(&token, "i").await.ok();
        }
        match a.calls() - before {
            3 => at_a = Some(token),
            0 => at_b = Some(token),
            some => panic!("{some} of 3 calls of one user at one route"),
        }
    }
    let (at_a, _) = (at_a.unwrap(), at_b.unwrap());
    a.always(Act::status(500));
    let answer = world.chat_as(&at_a, "i").await;
    assert_eq!((answer.status, world.attempts(&answer).await), (200, 2));
}

#[tokio::test]
async fn health_checks_take_an_address_out_and_bring_it_back() {
    let world = Running::start().await;
    let [a, b] = servers().await;
    let pool = "strategy = \"round_robin\", health = { path = \"/health\", interval_ms = 100, timeout_ms = 500 },";
    a.health(500);
    world
        .apply(&(vendor("p", pool, &[&a.url, &b.url]) + &interface("i", &["p"], "")))
        .await;
    world
        .until("it is down", async || world.endpoint("p", 0)["health"] == "down")
        .await;
    for _ in 0..4 {
        world.chat("i").await.ok();
    }
    assert_eq!((a.calls(), b.calls()), (0, 4));
    a.health(200);
    world
        .until("it is up", async || world.endpoint("p", 0)["health"] == "up")
        .await;
    for _ in 0..4 {
        world.chat("i").await.ok();
    }
    assert_eq!((a.calls(), b.calls()), (2, 6));
    assert_eq!(world.endpoint("p", 1)["health"], "up");
    let [other] = servers().await;
    world
        .apply(&(vendor("p", "strategy = \"round_robin\",", &[&a.url, &b.url]) + &vendor("q", pool, &[&other.url])))
        .await;
    world
        .until("it is not checked", async || {
            world.endpoint("p", 0)["health"] == "unchecked"
        })
        .await;
    let (checks, others) = (a.checks(), other.checks());
    world
        .until("another is checked as often", async || other.checks() >= others + 5)
        .await;
    assert!(a.checks() <= checks + 1, "nobody checks any more");
}

#[tokio::test]
async fn each_record_of_a_name_is_an_address_that_keeps_the_name() {
    let world = Running::start().await;
    let [server] = servers().await;
    let url = format!("http://localhost:{}/v1", server.port);
    world
        .apply(&(vendor("p", "discovery = \"dns\",", &[&url]) + &interface("i", &["p"], "")))
        .await;
    world
        .until("the name is resolved", async || {
            world.endpoint("p", 0)["address"].is_string()
        })
        .await;
    for _ in 0..4 {
        world.chat("i").await.ok();
    }
    let status = world.gateway.status();
    let pools = status["vendors"].as_array().unwrap();
    let pool = pools.iter().find(|pool| pool["vendor"] == "p").unwrap();
    let endpoints = pool["endpoints"].as_array().unwrap();
    let addresses: Vec<_> = endpoints
        .iter()
        .map(|endpoint| endpoint["address"].as_str().unwrap())
        .collect();
    assert!(addresses.contains(&"127.0.0.1"), "{addresses:?}");
    assert!(endpoints.iter().all(|endpoint| endpoint["url"] == url.as_str()));
    let host = format!("localhost:{}", server.port);
    assert!(server.seen().iter().all(|headers| headers["host"] == host.as_str()));
}
