//! Vendors and callers that do anything at all, at random.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    resilience::{interface, servers, vendor},
    running::{Running, chat},
    scripted::{Act, End, Scripted},
    stub_vendor::CHUNK,
};

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
