//! What a pool and several routes do when some of them fail, are slow, or ask to be left alone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    running::{Answer, Running, chat},
    scripted::{Act, End, Scripted},
    stub_vendor::CHUNK,
};

const CLOSED: &str = "http://127.0.0.1:1/v1";

/// A vendor of that name.
fn vendor(name: &str, pool: &str, urls: &[&str]) -> String {
    let addresses: Vec<_> = urls.iter().map(|url| format!("{{ url = \"{url}\" }}")).collect();
    weighted(name, pool, &addresses.join(", "))
}

fn weighted(name: &str, pool: &str, addresses: &str) -> String {
    format!("[[vendor]]\nname = \"{name}\"\nstrategy = \"openai\"\npool = {{ {pool} addresses = [{addresses}] }}\n")
}

/// An interface with a route to each vendor, in this order.
fn interface(name: &str, vendors: &[&str], more: &str) -> String {
    let routes: Vec<_> = vendors
        .iter()
        .enumerate()
        .map(|(at, vendor)| format!("{{ vendor = \"{vendor}\", model = \"m\", priority = {at} }}"))
        .collect();
    let routes = routes.join(", ");
    format!("[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{routes}]\n{more}\n")
}

async fn servers<const N: usize>() -> [Scripted; N] {
    let started = join_all((0..N).map(|_| Scripted::start())).await;
    started.try_into().ok().unwrap()
}

impl Running {
    /// What `/status` says of a vendor's only, or first, address.
    fn endpoint(&self, vendor: &str, at: usize) -> Value {
        let status = self.gateway.status();
        let vendors = status["vendors"].as_array().unwrap().iter();
        // Before anybody asked, nothing is known of it.
        let mut named = vendors.filter(|known| known["vendor"] == vendor);
        named
            .next()
            .map(|known| known["endpoints"][at].clone())
            .unwrap_or_default()
    }

    async fn attempts(&self, answer: &Answer) -> i64 {
        self.usage(answer.request_id()).await.attempts
    }
}

#[tokio::test]
async fn a_dead_address_costs_a_second_attempt_until_its_breaker_opens() {
    let world = Running::start().await;
    let [live] = servers().await;
    let pool = "strategy = \"round_robin\", breaker = { consecutive_failures = 2, open_ms = 60000 },";
    world
        .apply(&(vendor("p", pool, &[CLOSED, &live.url]) + &interface("i", &["p"], "")))
        .await;
    let mut attempts = Vec::new();
    for _ in 0..10 {
        let answer = world.chat("i").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        attempts.push(world.attempts(&answer).await);
    }
    assert_eq!(
        attempts.iter().sum::<i64>(),
        12,
        "two calls met the dead address: {attempts:?}"
    );
    assert!(attempts[6..].iter().all(|attempts| *attempts == 1), "{attempts:?}");
    assert_eq!(world.endpoint("p", 0)["breaker"], "open");
    assert!(world.endpoint("p", 0)["cooldown_until"].is_string());
    assert_eq!(world.endpoint("p", 1)["breaker"], "closed");
    assert!(world.endpoint("p", 1)["ewma_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn when_all_are_to_be_left_alone_one_is_asked_all_the_same() {
    let world = Running::start().await;
    let [first, second] = servers().await;
    let pool = "breaker = { consecutive_failures = 1, open_ms = 60000, max_open_ms = 60000 },";
    world
        .apply(&(vendor("p", pool, &[&first.url, &second.url]) + &interface("i", &["p"], "")))
        .await;
    for server in [&first, &second] {
        server.always(Act::status(500));
    }
    assert_eq!(world.attempts(&world.chat("i").await).await, 2, "each address once");
    for at in 0..2 {
        assert_eq!(world.endpoint("p", at)["breaker"], "open");
    }
    let answer = world.chat("i").await;
    assert_eq!(
        answer.error(502)["code"],
        "upstream_error",
        "the vendor's fault, not an outage of ours"
    );
    assert_eq!(world.attempts(&answer).await, 1);
    first.well();
    second.well();
    world.chat("i").await.ok();
    let closed = (0..2).filter(|at| world.endpoint("p", *at)["breaker"] == "closed");
    assert_eq!(closed.count(), 1, "what answered is trusted again");
}

#[tokio::test]
async fn one_call_at_a_time_finds_out_whether_an_address_is_back() {
    let world = Running::start().await;
    let [sick, sound] = servers().await;
    let pool = "strategy = \"round_robin\", breaker = { consecutive_failures = 1, open_ms = 100, max_open_ms = 100 },";
    world
        .apply(&(vendor("p", pool, &[&sick.url, &sound.url]) + &interface("i", &["p"], "")))
        .await;
    sick.next([Act::status(500)]);
    while sick.calls() == 0 {
        world.chat("i").await.ok();
    }
    tokio::time::sleep(Duration::from_millis(110)).await;
    let slow = Act::well(false).after(Duration::from_millis(1500));
    sick.always(slow);
    let answers = join_all((0..16).map(|_| world.chat("i"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(
        (sick.calls(), sick.most_under_way()),
        (2, 1),
        "the failure and one probe"
    );
    assert_eq!(world.endpoint("p", 0)["breaker"], "closed");
    sick.well();
    for _ in 0..4 {
        world.chat("i").await.ok();
    }
    assert_eq!(sick.calls(), 4, "it has its turns again");
}

#[tokio::test]
async fn a_rate_limit_with_a_time_is_kept_for_the_model_and_is_no_failure() {
    let world = Running::start().await;
    let [limited, free] = servers().await;
    let pool = "strategy = \"round_robin\", breaker = { consecutive_failures = 1 },";
    let other =
        "[[interface]]\nname = \"other\"\ncapability = \"chat\"\nroutes = [{ vendor = \"p\", model = \"n\" }]\n";
    world
        .apply(&(vendor("p", pool, &[&limited.url, &free.url]) + &interface("i", &["p"], "") + other))
        .await;
    limited.next([Act::status(429)
        .with("retry-after", "60")
        .with("retry-after-ms", "61000")]);
    while limited.calls() == 0 {
        world.chat("i").await.ok();
    }
    let before = free.calls();
    for _ in 0..6 {
        let answer = world.chat("i").await;
        assert_eq!((answer.status, world.attempts(&answer).await), (200, 1));
    }
    assert_eq!((limited.calls(), free.calls()), (1, before + 6));
    let status = world.endpoint("p", 0);
    assert_eq!(
        (&status["breaker"], &status["limited"][0]["model"]),
        (&json!("closed"), &json!("m"))
    );
    for _ in 0..2 {
        world.chat("other").await.ok();
    }
    assert_eq!(limited.calls(), 2, "another model has a limit of its own");
}

#[tokio::test]
async fn a_server_that_asks_for_a_rest_gets_it() {
    let world = Running::start().await;
    let [tired, fresh] = servers().await;
    world
        .apply(&(vendor("p", "strategy = \"round_robin\",", &[&tired.url, &fresh.url]) + &interface("i", &["p"], "")))
        .await;
    tired.next([Act::status(503).with("retry-after", "60")]);
    while tired.calls() == 0 {
        world.chat("i").await.ok();
    }
    for _ in 0..4 {
        world.chat("i").await.ok();
    }
    assert_eq!(tired.calls(), 1);
    let status = world.endpoint("p", 0);
    assert_eq!(status["breaker"], "closed", "one failure is no series");
    assert!(status["cooldown_until"].is_string());
}

#[tokio::test]
async fn the_only_address_is_asked_again_after_the_time_that_it_asked_for() {
    let world = Running::start().await;
    let [only] = servers().await;
    world
        .apply(&(vendor("p", "", &[&only.url]) + &interface("i", &["p"], "")))
        .await;
    for status in [429, 503] {
        only.next([Act::status(status).with("retry-after-ms", "300")]);
        let began = Instant::now();
        let answer = world.chat("i").await;
        assert_eq!((answer.status, world.attempts(&answer).await), (200, 2), "{status}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{status}");
    }
    // Without a time, or with one that is too long to wait, the caller decides.
    for act in [
        Act::status(500),
        Act::status(429),
        Act::status(429).with("retry-after", "7"),
        Act::status(429)
            .with("retry-after", "1")
            .with("x-should-retry", "false"),
    ] {
        let told = act
            .headers
            .iter()
            .find(|(name, _)| *name == "retry-after")
            .map(|(_, v)| v.clone());
        only.next([act]);
        let began = Instant::now();
        let answer = world.chat("i").await;
        assert_eq!(world.attempts(&answer).await, 1, "{}", answer.body);
        assert_eq!(answer.header("retry-after"), told.unwrap_or_default());
        assert!(began.elapsed() < Duration::from_millis(900));
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_the_gateway_waits_ends_the_request() {
    let world = Running::start().await;
    let [only] = servers().await;
    world
        .apply(&(vendor("p", "", &[&only.url]) + &interface("i", &["p"], "")))
        .await;
    only.always(Act::status(503).with("retry-after-ms", "400"));
    let request = world.request("/v1/chat/completions", &world.token(), &chat("i"));
    assert!(request.timeout(Duration::from_millis(200)).send().await.is_err());
    let usage = world.only_usage().await;
    assert_eq!(
        (usage.state.as_str(), usage.attempts),
        ("client_gone_before_first_byte", 1)
    );
    assert_eq!(world.endpoint("p", 0)["inflight"], 0);
    // Whoever comes later waits as long, and by then it would have been asked again.
    let before = only.calls();
    let answer = world.chat("i").await;
    let attempts = world.attempts(&answer).await;
    assert!(attempts > 1, "{}", answer.body);
    assert_eq!(
        (before, i64::try_from(only.calls()).unwrap()),
        (1, 1 + attempts),
        "nobody asks on behalf of somebody who has left"
    );
}

#[tokio::test]
async fn one_budget_of_attempts_holds_over_addresses_and_routes_together() {
    let world = Running::start().await;
    let [a, b, c, d] = servers().await;
    for server in [&a, &b, &c, &d] {
        server.always(Act::status(500));
    }
    let mut text = vendor("p", "strategy = \"round_robin\",", &[&a.url, &b.url])
        + &vendor("q", "", &[&c.url])
        + &vendor("r", "", &[&d.url]);
    for max in [1, 2, 3, 4] {
        text += &interface(
            &format!("max-{max}"),
            &["p", "q", "r"],
            &format!("max_attempts = {max}"),
        );
    }
    text += &interface("default", &["p", "q", "r"], "");
    world.apply(&text).await;
    for (name, attempts) in [("max-1", 1), ("max-2", 2), ("max-3", 3), ("default", 3), ("max-4", 4)] {
        let before = a.calls() + b.calls() + c.calls() + d.calls();
        let answer = world.chat(name).await;
        answer.error(502);
        let calls = a.calls() + b.calls() + c.calls() + d.calls() - before;
        assert_eq!(
            (world.attempts(&answer).await, calls),
            (attempts, usize::try_from(attempts).unwrap()),
            "{name}"
        );
    }
    assert!(
        a.calls() >= 4 && b.calls() >= 3,
        "addresses of one vendor before the next route"
    );
}

#[tokio::test]
async fn one_deadline_holds_over_all_attempts() {
    let world = Running::start().await;
    let hanging = servers::<3>().await;
    for server in &hanging {
        server.always(Act::well(false).after(Duration::from_secs(30)));
    }
    let urls: Vec<_> = hanging.iter().map(|server| server.url.as_str()).collect();
    let times = "timeouts_ms = { connect = 1000, first_byte = 400, idle = 400, total = 600 }\nmax_attempts = 10";
    world
        .apply(&(vendor("p", "", &urls) + &interface("i", &["p"], times)))
        .await;
    let began = Instant::now();
    let answer = world.chat("i").await;
    assert_eq!(answer.error(504)["code"], "upstream_timeout");
    assert!(began.elapsed() >= Duration::from_millis(550) && began.elapsed() < Duration::from_millis(1500));
    assert_eq!(world.attempts(&answer).await, 2, "the third would have no time");
    world
        .until("the calls ended at the vendor", async || {
            hanging.iter().map(Scripted::given_up).sum::<usize>() == 2
        })
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_tried_once_and_held_against_nobody() {
    let world = Running::start().await;
    let [a, b] = servers().await;
    let pool = "breaker = { consecutive_failures = 1 },";
    world
        .apply(&(vendor("p", pool, &[&a.url, &b.url]) + &interface("i", &["p"], "")))
        .await;
    for status in [400, 401, 403, 404, 409, 413, 422] {
        for server in [&a, &b] {
            server.always(Act::status(status));
        }
        let answer = world.chat("i").await;
        assert_eq!(world.attempts(&answer).await, 1, "{status}");
    }
    for server in [&a, &b] {
        server.always(Act::status(500).with("x-should-retry", "false"));
    }
    assert_eq!(world.attempts(&world.chat("i").await).await, 1, "the vendor said so");
    for server in [&a, &b] {
        server.always(Act::status(409).with("x-should-retry", "true"));
    }
    let open = (0..2).filter(|at| world.endpoint("p", *at)["breaker"] == "open");
    assert_eq!(open.count(), 1, "only the 500 counted");
}

#[tokio::test]
async fn how_streams_end_counts_and_callers_who_leave_do_not() {
    let world = Running::start().await;
    let [only] = servers().await;
    let pool = "breaker = { consecutive_failures = 3, open_ms = 60000 },";
    world
        .apply(&(vendor("p", pool, &[&only.url]) + &interface("i", &["p"], "")))
        .await;
    only.always(Act::events(&[CHUNK]).ending(End::Stall));
    let mut body = chat("i");
    body["stream"] = true.into();
    for _ in 0..4 {
        let request = world.request("/v1/chat/completions", &world.token(), &body);
        let mut response = request.send().await.unwrap();
        response.chunk().await.unwrap().unwrap();
        assert_eq!(
            world.endpoint("p", 0)["inflight"],
            1,
            "a stream under way is a call under way"
        );
        drop(response);
        world
            .until("the call has ended", async || world.endpoint("p", 0)["inflight"] == 0)
            .await;
    }
    assert_eq!(world.endpoint("p", 0)["breaker"], "closed");
    only.always(Act::events(&[CHUNK]).ending(End::Cut));
    for _ in 0..3 {
        let answer = world.stream("i").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            world.attempts(&answer).await,
            1,
            "nothing is repeated after the first content"
        );
    }
    assert_eq!(world.endpoint("p", 0)["breaker"], "open");
}

#[tokio::test]
async fn a_stream_falls_back_only_before_its_first_content() {
    let world = Running::start().await;
    let [first, second] = servers().await;
    world
        .apply(&(vendor("p", "", &[&first.url]) + &vendor("q", "", &[&second.url]) + &interface("i", &["p", "q"], "")))
        .await;
    // A frame that only opens the answer is held back: whoever answers in the end opens it.
    let opening = "data: {\"id\":\"lost\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
    first.next([Act::events(&[": ping\n\n"]).ending(End::Cut)]);
    let answer = world.stream("i").await;
    assert_eq!(
        (answer.status, world.attempts(&answer).await),
        (200, 2),
        "{}",
        answer.body
    );
    assert!(answer.body.starts_with(CHUNK));
    first.next([Act::events(&[opening, CHUNK]).ending(End::Cut)]);
    let answer = world.stream("i").await;
    assert_eq!(world.attempts(&answer).await, 1);
    assert!(
        answer.body.starts_with(opening) && answer.body.contains("upstream_unreachable"),
        "what was held comes first"
    );
}

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
    for at in 0..12 {
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

#[tokio::test]
async fn a_second_address_is_asked_when_the_first_takes_long() {
    let world = Running::start().await;
    let [slow, quick] = servers().await;
    slow.always(Act::well(false).after(Duration::from_secs(20)));
    let more = "hedge_after_ms = 150";
    world
        .apply(
            &(vendor("p", "", &[&slow.url])
                + &vendor("q", "", &[&quick.url])
                + &interface("i", &["p", "q"], more)
                + &interface(
                    "once",
                    &["p", "q"],
                    "hedge_after_ms = 150\nmax_attempts = 1\ntimeouts_ms = { first_byte = 400 }",
                )),
        )
        .await;
    let began = Instant::now();
    let answer = world.chat("i").await;
    assert_eq!((answer.status, world.attempts(&answer).await), (200, 2));
    assert!(began.elapsed() < Duration::from_secs(5));
    world.until("the slow call ended", async || slow.given_up() == 1).await;
    assert_eq!(world.endpoint("p", 0)["breaker"], "closed", "losing is no failure");
    let answer = world.chat("once").await;
    answer.error(504);
    assert_eq!(world.attempts(&answer).await, 1, "a second call is an attempt, too");
    // When the first fails meanwhile, the second still answers.
    slow.always(Act::status(500).after(Duration::from_millis(300)));
    quick.next([Act::well(false).after(Duration::from_millis(400))]);
    let answer = world.chat("i").await;
    assert_eq!((answer.status, world.attempts(&answer).await), (200, 2));
    quick.next([Act::status(500).after(Duration::from_millis(300))]);
    slow.always(Act::well(false).after(Duration::from_millis(300)));
    let answer = world.chat("i").await;
    assert_eq!((answer.status, world.attempts(&answer).await), (200, 2));
}

/// What a caller does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Plain,
    Stream,
    Leave,
}

impl Running {
    /// Sends a call and answers its request id, unless the caller left before it had one.
    async fn behave(&self, manner: Manner, patience: Duration) -> Option<String> {
        let mut body = chat("i");
        body["stream"] = (manner != Manner::Plain).into();
        let mut request = self.request("/v1/chat/completions", &self.token(), &body);
        if manner == Manner::Leave {
            request = request.timeout(patience);
        }
        let response = request.send().await.ok()?;
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        // Whatever comes of it.
        let _ = response.bytes().await;
        Some(id)
    }
}

#[tokio::test]
async fn whatever_vendors_and_callers_do_each_request_ends_once_within_its_budget() {
    let world = Running::start().await;
    let all = servers::<3>().await;
    let (two, one) = all.split_at(2);
    let urls: Vec<_> = two.iter().map(|server| server.url.as_str()).collect();
    let pool = "breaker = { consecutive_failures = 3, open_ms = 20, max_open_ms = 50 },";
    let times = "timeouts_ms = { connect = 1000, first_byte = 150, idle = 150, total = 2000 }";
    world
        .apply(&(vendor("p", pool, &urls) + &vendor("q", pool, &[&one[0].url]) + &interface("i", &["p", "q"], times)))
        .await;
    let mut dice = resource_gateway::domain::balance::Dice::new(4);
    let mut acts = |number: usize| -> Vec<Act> {
        let act = |roll: u64| match roll {
            0 => Act::status(500),
            1 => Act::status(429),
            2 => Act::status(429).with("retry-after-ms", "30"),
            3 => Act::status(503).with("retry-after-ms", "30"),
            4 => Act::status(400),
            5 => Act::events(&[CHUNK]).ending(End::Cut),
            6 => Act::events(&[]).ending(End::Stall),
            7 => Act::well(false).after(Duration::from_millis(400)),
            8 | 9 => Act::well(true),
            _ => Act::well(false),
        };
        (0..number).map(|_| act(dice.below(12))).collect()
    };
    let total = || all.iter().map(Scripted::calls).sum::<usize>();
    for manners in [
        &[Manner::Plain, Manner::Stream][..],
        &[Manner::Plain, Manner::Stream, Manner::Leave],
    ] {
        for server in &all {
            server.next(acts(150));
        }
        let before = (total(), world.all_attempts().await);
        let mut answered = Vec::new();
        for _ in 0..6 {
            let calls = (0..30_u64).map(|at| {
                let manner = manners[usize::try_from(at).unwrap() % manners.len()];
                world.behave(manner, Duration::from_millis(10 + at * 10))
            });
            answered.extend(join_all(calls).await.into_iter().flatten());
        }
        for id in &answered {
            world.usage(id).await;
        }
        for (vendor, at) in [("p", 0), ("p", 1), ("q", 0)] {
            world
                .until("nothing is left under way", async || {
                    world.endpoint(vendor, at)["inflight"] == 0
                })
                .await;
        }
        let attempts = world.all_attempts().await - before.1;
        let calls = total() - before.0;
        // No call without an attempt. An attempt that is given up at once may not have reached the vendor.
        assert!(
            calls <= attempts && calls * 4 > attempts * 3,
            "{calls} calls, {attempts} attempts"
        );
        assert!(answered.len() == 180 || manners.contains(&Manner::Leave));
    }
    for server in &all {
        server.forget();
    }
    world
        .until("all is well again", async || world.chat("i").await.status == 200)
        .await;
}

impl Running {
    async fn all_attempts(&self) -> usize {
        self.gateway.journal.finish(Duration::from_secs(5)).await;
        let rows = self.usage_rows("").await;
        assert!(rows.iter().all(|row| (1..=3).contains(&row.attempts)), "{rows:?}");
        rows.iter().map(|row| usize::try_from(row.attempts).unwrap()).sum()
    }
}

#[tokio::test]
async fn what_happens_to_addresses_is_counted() {
    let metrics = service_kit::telemetry::start_metrics().unwrap();
    let world = Running::start().await;
    let [sick, sound] = servers().await;
    let pool = "strategy = \"round_robin\", breaker = { consecutive_failures = 1, open_ms = 50, max_open_ms = 50 },";
    world
        .apply(
            &(vendor("p", pool, &[&sick.url, &sound.url])
                + &vendor("q", pool, &[&sick.url])
                + &interface("i", &["p"], "")
                + &interface("alone", &["q"], "")),
        )
        .await;
    sick.always(Act::status(500));
    while world.endpoint("p", 0)["breaker"] != "open" {
        world.chat("i").await.ok();
    }
    world.chat("alone").await.error(502);
    world.chat("alone").await.error(502);
    sick.well();
    tokio::time::sleep(Duration::from_millis(60)).await;
    while world.endpoint("p", 0)["breaker"] != "closed" {
        world.chat("i").await.ok();
    }
    let text = metrics.render();
    for line in [
        "gateway_breaker_transitions_total{to=\"open\"}",
        "gateway_breaker_transitions_total{to=\"half_open\"}",
        "gateway_breaker_transitions_total{to=\"closed\"}",
        "gateway_retries_total{at=\"address\"}",
        "gateway_last_resort_picks_total",
    ] {
        let counted = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse::<u64>().ok());
        assert!(counted.is_some_and(|count| count > 0), "{line} in {text}");
    }
    assert!(!text.contains("127.0.0.1"), "addresses are no labels");
}

#[tokio::test]
async fn settings_of_pools_and_attempts_are_checked_all_at_once() {
    let world = Running::start().await;
    let text = r#"
        [[vendor]]
        name = "v"
        strategy = "openai"
        [vendor.pool]
        strategy = "random"
        hash_key = "user"
        discovery = "etcd"
        slow_start_ms = 3600001
        breaker = { failure_ratio = 1.5, consecutive_failures = -1, window_ms = 10, minimum_calls = 0, open_ms = 500, max_open_ms = 400, shape = 1 }
        health = { path = "health", interval_ms = 50, timeout_ms = 0, expect_status = 99 }
        [[vendor]]
        name = "w"
        strategy = "openai"
        base_url = "http://a.test/v1"
        pool = { hash_key = "header:Cookie", discovery = "dns", addresses = [{ url = "http://b.test" }, { url = "http://b.test/v1/" }] }
        [[vendor]]
        name = "x"
        strategy = "sandbox"
        pool = { discovery = "dns", health = { path = "/" } }
        [[interface]]
        name = "i"
        capability = "chat"
        routes = [{ vendor = "v" }]
        max_attempts = 11
        sticky = { by = "moon", for = "ever" }
        hedge_after_ms = 0
    "#;
    let apply = world.gateway.foundation.apply().unwrap();
    let refused = apply.apply(text, std::path::Path::new(".")).await.unwrap_err();
    let refused = refused.to_string();
    for path in [
        "vendor[0].pool.hash_key",
        "vendor[0].pool.discovery",
        "vendor[0].pool.slow_start_ms",
        "vendor[0].pool.breaker.failure_ratio",
        "vendor[0].pool.breaker.consecutive_failures",
        "vendor[0].pool.breaker.window_ms",
        "vendor[0].pool.breaker.minimum_calls",
        "vendor[0].pool.breaker.max_open_ms",
        "vendor[0].pool.breaker.shape",
        "vendor[0].pool.health.path",
        "vendor[0].pool.health.interval_ms",
        "vendor[0].pool.health.timeout_ms",
        "vendor[0].pool.health.expect_status",
        "vendor[1].pool.hash_key",
        "vendor[1].pool.addresses[1]",
        "vendor[2].pool.discovery",
        "vendor[2].pool.health",
        "interface[0].max_attempts",
        "interface[0].sticky.by",
        "interface[0].sticky.for",
        "interface[0].hedge_after_ms",
    ] {
        assert!(refused.contains(&format!("  {path}: ")), "{path} in {refused}");
    }
}
