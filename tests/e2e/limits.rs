//! Limits that several gateways keep together.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::Value;
use test_kit::redis::RedisServer;

use crate::{
    gateway::chat,
    world::{Engine, Settings, World, eventually},
};

/// Between two of them ten seconds pass, so that none comes back while a round of calls is under way.
const LIMIT: usize = 6;
const CALLERS: usize = 64;

/// How many of so many calls at once ended with which status; they go to the gateways in turn.
async fn statuses(world: &World, token: &str, gateways: &[&str], count: usize) -> BTreeMap<u16, usize> {
    let calls = (0..count).map(|at| {
        let url = format!("{}/v1/chat/completions", gateways[at % gateways.len()]);
        let call = world.http().request(Method::POST, &url).bearer_auth(token);
        let mut body = chat("l-six");
        body["stream"] = Value::Bool(at % 2 == 0);
        async move {
            let response = call.json(&body).send().await.unwrap();
            let status = response.status().as_u16();
            let headers = response.headers();
            assert!(headers.contains_key("x-ratelimit-remaining-requests"));
            assert_eq!(headers.contains_key("retry-after"), status == 429);
            response.bytes().await.unwrap();
            status
        }
    });
    let mut counts = BTreeMap::new();
    for status in join_all(calls).await {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

fn exactly(passed: usize, of: usize) -> BTreeMap<u16, usize> {
    BTreeMap::from([(200, passed), (429, of - passed)])
}

/// Waits until every gateway says on `/status` that it counts together with the others, or alone.
async fn all_count(world: &World, managements: &[&str], how: &str) {
    for management in managements {
        eventually("the gateways' word on /status", Duration::from_secs(20), async || {
            let url = format!("{management}/status");
            let status = world.http().request(Method::GET, &url).send().await.ok()?;
            let status: Value = status.json().await.ok()?;
            (status["limits"]["counted"] == how).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_let_exactly_the_limit_through_and_each_its_share_without_redis() {
    let mut redis = RedisServer::start();
    let settings = Settings {
        gateway: format!(
            "redis.url = \"{}\"\nredis.timeout_ms = 1000\nlimits.local_share = 0.34\n",
            redis.url()
        ),
        ..Settings::default()
    };
    let world = World::start_with(Engine::Postgres, settings).await;
    let document = format!(
        "[[interface]]\nname = \"l-six\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"scripted\", model = \"echo\" }}]\n\
         limits = {{ requests_per_minute = {LIMIT} }}\n"
    );
    world.write("limits.toml", &document);
    world.gateway_cli(&["apply", "limits.toml"]);
    let nodes = [world.another_gateway().await, world.another_gateway().await];
    let gateways = [&*world.gateway, &*nodes[0].gateway, &*nodes[1].gateway];
    let managements = [
        &*world.gateway_status,
        &*nodes[0].gateway_status,
        &*nodes[1].gateway_status,
    ];
    let all_count = async |how: &str| all_count(&world, &managements, how).await;
    let token = world.http().client_credentials("service", "ai:chat").await.access;
    eventually("the interface is known", Duration::from_secs(10), async || {
        let url = format!("{}/v1/models/l-six", world.gateway);
        let answer = world
            .http()
            .request(Method::GET, &url)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        answer.status().is_success().then_some(())
    })
    .await;
    all_count("together").await;
    assert_eq!(
        statuses(&world, &token, &gateways, CALLERS).await,
        exactly(LIMIT, CALLERS)
    );

    redis.kill();
    all_count("alone").await;
    // A third of six each.
    for gateway in gateways {
        assert_eq!(
            statuses(&world, &token, &[gateway], 20).await,
            exactly(2, 20),
            "{gateway}"
        );
    }

    redis.restart();
    all_count("together").await;
    assert_eq!(
        statuses(&world, &token, &gateways, CALLERS).await,
        exactly(LIMIT, CALLERS)
    );
    let metrics = world
        .http()
        .request(Method::GET, &format!("{}/metrics", managements[1]));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.lines().any(|line| line == "gateway_limits_counted_together 1"),
        "{metrics}"
    );
    assert!(metrics.contains("gateway_limits_exceeded_total{measure=\"requests_per_minute\",mode=\"enforced\"}"));

    // A gateway that is killed takes nothing with it.
    nodes[1].kill();
    assert_eq!(
        statuses(&world, &token, &gateways[..2], 10).await,
        BTreeMap::from([(429, 10)])
    );
}
