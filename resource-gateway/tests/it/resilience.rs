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
pub(crate) fn vendor(name: &str, pool: &str, urls: &[&str]) -> String {
    let addresses: Vec<_> = urls.iter().map(|url| format!("{{ url = \"{url}\" }}")).collect();
    weighted(name, pool, &addresses.join(", "))
}

pub(crate) fn weighted(name: &str, pool: &str, addresses: &str) -> String {
    format!("[[vendor]]\nname = \"{name}\"\nstrategy = \"openai\"\npool = {{ {pool} addresses = [{addresses}] }}\n")
}

/// An interface with a route to each vendor, in this order.
pub(crate) fn interface(name: &str, vendors: &[&str], more: &str) -> String {
    let routes: Vec<_> = vendors
        .iter()
        .enumerate()
        .map(|(at, vendor)| format!("{{ vendor = \"{vendor}\", model = \"m\", priority = {at} }}"))
        .collect();
    let routes = routes.join(", ");
    format!("[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{routes}]\n{more}\n")
}

pub(crate) async fn servers<const N: usize>() -> [Scripted; N] {
    let started = join_all((0..N).map(|_| Scripted::start())).await;
    started.try_into().ok().unwrap()
}

impl Running {
    /// What `/status` says of a vendor's only, or first, address.
    pub(crate) fn endpoint(&self, vendor: &str, at: usize) -> Value {
        let status = self.gateway.status();
        let vendors = status["vendors"].as_array().unwrap().iter();
        // Before anybody asked, nothing is known of it.
        let mut named = vendors.filter(|known| known["vendor"] == vendor);
        named
            .next()
            .map(|known| known["endpoints"][at].clone())
            .unwrap_or_default()
    }

    pub(crate) async fn attempts(&self, answer: &Answer) -> i64 {
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
        assert!(began.elapsed() < Duration::from_secs(6), "nobody waited for it");
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_the_gateway_waits_ends_the_request() {
    let world = Running::start().await;
    let [only] = servers().await;
    world
        .apply(&(vendor("p", "", &[&only.url]) + &interface("i", &["p"], "")))
        .await;
    only.always(Act::status(503).with("retry-after-ms", "2000"));
    let request = world.request("/v1/chat/completions", &world.token(), &chat("i"));
    assert!(request.timeout(Duration::from_secs(1)).send().await.is_err());
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
    let times = "timeouts_ms = { connect = 1000, first_byte = 1300, idle = 1300, total = 2000 }\nmax_attempts = 10";
    world
        .apply(&(vendor("p", "", &urls) + &interface("i", &["p"], times)))
        .await;
    let began = Instant::now();
    let answer = world.chat("i").await;
    assert_eq!(answer.error(504)["code"], "upstream_timeout");
    assert!(began.elapsed() >= Duration::from_millis(1950) && began.elapsed() < Duration::from_secs(10));
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
    assert!(began.elapsed() < Duration::from_secs(15));
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

#[tokio::test]
async fn what_happens_to_addresses_is_counted() {
    let metrics = service_kit::telemetry::start_metrics().unwrap();
    let world = Running::start().await;
    let [sick, sound] = servers().await;
    let pool = "strategy = \"round_robin\", breaker = { consecutive_failures = 1, open_ms = 50, max_open_ms = 50 },";
    let patient = "breaker = { consecutive_failures = 1, open_ms = 60000 },";
    world
        .apply(
            &(vendor("p", pool, &[&sick.url, &sound.url])
                + &vendor("q", patient, &[&sick.url])
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
