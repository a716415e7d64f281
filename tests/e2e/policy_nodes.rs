//! A row that is changed on one gateway is obeyed by all of them, and what is under way ends as it began.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future::join_all};
use reqwest::Method;
use serde_json::{Value, json};
use test_kit::redis::RedisServer;

use crate::{
    gateway::chat,
    oauth::{Reply, random_text},
    upstream,
    world::{Engine, Node, Settings, World, eventually},
};

/// Changes whose way is timed, for docs/performance.md; nothing here depends on how long it takes.
const CHANGES: u32 = 20;

/// Three gateways on one database.
struct Cluster {
    world: World,
    nodes: [Node; 2],
    token: String,
    operator: String,
}

impl Cluster {
    async fn start(redis: Option<&RedisServer>) -> Self {
        let settings = Settings {
            gateway: redis.map_or_else(String::new, |redis| {
                format!("redis.url = \"{}\"\nredis.timeout_ms = 1000\n", redis.url())
            }),
            ..Settings::default()
        };
        let world = World::start_with(Engine::Postgres, settings).await;
        let nodes = [world.another_gateway().await, world.another_gateway().await];
        let token = world.http().client_credentials("service", "ai:chat").await.access;
        let operator = world.http().operator(&world.gateway).await;
        Self {
            world,
            nodes,
            token,
            operator,
        }
    }

    fn gateways(&self) -> [&str; 3] {
        [&self.world.gateway, &self.nodes[0].gateway, &self.nodes[1].gateway]
    }

    async fn put(&self, gateway: &str, name: &str, form: &Value) -> Reply {
        let url = format!("{gateway}/admin/v1/interfaces/{name}");
        let request = self.world.http().request(Method::PUT, &url).bearer_auth(&self.operator);
        Reply::read(request.json(form).send().await.unwrap()).await
    }

    async fn call(&self, gateway: &str, body: &Value) -> reqwest::Response {
        let url = format!("{gateway}/v1/chat/completions");
        let request = self.world.http().request(Method::POST, &url).bearer_auth(&self.token);
        request.json(body).send().await.unwrap()
    }

    /// Asks a gateway; the temperature that the vendor was sent, if the call reached it.
    async fn temperature(&self, gateway: &str) -> Option<f64> {
        let marker = random_text(20);
        let mut body = chat("p-one");
        body["user"] = marker.clone().into();
        let reply = Reply::read(self.call(gateway, &body).await).await;
        let call = upstream::call_of(&marker)?;
        assert_eq!(reply.status, 200, "{}", reply.body);
        call.body["temperature"].as_f64()
    }

    async fn all_send(&self, wanted: f64) {
        join_all(self.gateways().map(|gateway| async move {
            eventually("a gateway's obedience", Duration::from_secs(20), async || {
                (self.temperature(gateway).await == Some(wanted)).then_some(())
            })
            .await;
        }))
        .await;
    }

    /// The revision that each gateway says it goes by.
    async fn revisions(&self) -> Vec<Value> {
        let managements = [
            &self.world.gateway_status,
            &self.nodes[0].gateway_status,
            &self.nodes[1].gateway_status,
        ];
        join_all(managements.map(|management| async move {
            let url = format!("{management}/status");
            let status = self.world.http().request(Method::GET, &url).send().await.unwrap();
            let status: Value = status.json().await.unwrap();
            assert!(status["config"]["revision"].is_i64(), "{status}");
            status["config"].clone()
        }))
        .await
    }
}

fn form(model: &str, temperature: f64) -> Value {
    json!({"capability": "chat", "routes": [{"vendor": "scripted", "model": model}],
        "fields": [{"name": "/temperature", "value": temperature}]})
}

/// Reads a stream to its end, once it has told that it began.
async fn read_stream(response: reqwest::Response, began: tokio::sync::mpsc::Sender<()>) -> String {
    assert_eq!(response.status(), 200);
    let mut parts = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        if bytes.is_empty() {
            began.send(()).await.unwrap();
        }
        bytes.extend_from_slice(&part.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

async fn changes_reach_every_gateway(redis: Option<&RedisServer>) {
    let cluster = Cluster::start(redis).await;
    let gateways = cluster.gateways();
    assert_eq!(cluster.put(gateways[0], "p-one", &form("echo", 0.5)).await.status, 201);
    cluster.all_send(0.5).await;
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let temperature = f64::from(change) / 100.0;
        let began = Instant::now();
        let reply = cluster
            .put(gateways[change as usize % 3], "p-one", &form("echo", temperature))
            .await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        cluster.all_send(temperature).await;
        times.push(began.elapsed());
    }
    times.sort();
    let redis = if redis.is_some() { "with" } else { "without" };
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "from a change's beginning until three gateways obey, {redis} Redis: median {median:?}, longest {longest:?}"
    );

    streams_end_as_they_began(&cluster).await;
    what_is_wrong_is_named_and_not_published(&cluster).await;
}

async fn streams_end_as_they_began(cluster: &Cluster) {
    let gateways = cluster.gateways();
    cluster.put(gateways[1], "p-one", &form("paced", 0.25)).await.ok();
    cluster.all_send(0.25).await;
    let mut body = chat("p-one");
    body["stream"] = true.into();
    let (began, mut begun) = tokio::sync::mpsc::channel(9);
    let streams = join_all((0..9).map(|at| {
        let (body, began) = (&body, began.clone());
        async move { read_stream(cluster.call(gateways[at % 3], body).await, began).await }
    }));
    let change = async {
        for _ in 0..9 {
            begun.recv().await.unwrap();
        }
        // All are under way. From here on the interface is another one, and then there is none.
        cluster.put(gateways[2], "p-one", &form("echo", 0.75)).await.ok();
        cluster.all_send(0.75).await;
        let mut off = form("echo", 0.75);
        off["enabled"] = false.into();
        cluster.put(gateways[0], "p-one", &off).await.ok();
        for gateway in gateways {
            eventually("nobody takes calls for it", Duration::from_secs(20), async || {
                (cluster.call(gateway, &chat("p-one")).await.status() != 200).then_some(())
            })
            .await;
        }
        Instant::now()
    };
    let (streams, changed) = tokio::join!(
        async {
            let streams = streams.await;
            (streams, Instant::now())
        },
        change
    );
    let (streams, ended) = streams;
    assert!(changed < ended, "the streams were over before the change");
    for stream in streams {
        assert!(
            stream.contains(" 149") && stream.trim_end().ends_with("data: [DONE]"),
            "{stream}"
        );
    }
    cluster.put(gateways[1], "p-one", &form("echo", 0.5)).await.ok();
    cluster.all_send(0.5).await;
}

async fn what_is_wrong_is_named_and_not_published(cluster: &Cluster) {
    let before = cluster.revisions().await;
    let wrong = json!({"capability": "painting", "routes": [{"vendor": "nobody-knows", "model": "m"}],
        "fields": [{"name": "temperature", "value": 1}], "limits": {"requests_per_minute": 0}, "max_attempts": 99, "colour": "red"});
    for gateway in cluster.gateways() {
        let refused = cluster.put(gateway, "p-one", &wrong).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        let refused = refused.json();
        let mut named: Vec<_> = refused["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect();
        named.sort();
        named.dedup();
        for field in [
            "capability",
            "colour",
            "fields[0].name",
            "limits.requests_per_minute",
            "max_attempts",
        ] {
            assert!(named.iter().any(|name| name == field), "{field} in {named:?}");
        }
        assert!(named.iter().any(|name| name.starts_with("routes[0]")), "{named:?}");
    }
    // A further change that is right comes after: whoever had published the wrong ones would have shown it by then.
    let url = "p-witness";
    cluster.put(cluster.gateways()[0], url, &form("echo", 0.1)).await;
    for gateway in cluster.gateways() {
        eventually("the change after", Duration::from_secs(20), async || {
            (cluster.call(gateway, &chat(url)).await.status() == 200).then_some(())
        })
        .await;
    }
    let after = cluster.revisions().await;
    for (before, after) in before.iter().zip(&after) {
        let step = after["revision"].as_i64().unwrap() - before["revision"].as_i64().unwrap();
        assert_eq!(step, 1, "{before} {after}");
    }
    cluster.all_send(0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_obey_a_change_on_any_of_them() {
    changes_reach_every_gateway(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_obey_a_change_on_any_of_them_with_redis() {
    changes_reach_every_gateway(Some(&RedisServer::start())).await;
}
