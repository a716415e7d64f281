//! Every fault that vendors are known for, plain and streamed: what the caller is told, how often the vendors were asked, what it
//! does to the address's breaker, and what is accounted for.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    running::Running,
    scripted::{Act, End, Scripted, start_resetting},
    stub_vendor::{CHUNK, DONE, FINISH, USAGE},
};

/// `{"id":"x","choices":[]}`, compressed although nobody asked for that.
const GZIP: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 76, 81, 178, 82, 170, 80, 210, 81, 74, 206, 200, 207, 76, 78, 45,
    86, 178, 138, 142, 173, 5, 0, 138, 185, 184, 103, 23, 0, 0, 0,
];

struct Case {
    name: &'static str,
    stream: bool,
    act: Act,
    /// Status and code of the first route's fault, when it is all there is; for a stream that began, the code in its error event.
    status: u16,
    code: &'static str,
    /// Whether another route is tried.
    retried: bool,
    /// Whether it counts against the address.
    counted: bool,
    state: &'static str,
}

fn failing(name: &'static str, act: Act, status: u16, code: &'static str) -> Case {
    Case {
        name,
        stream: false,
        act,
        status,
        code,
        retried: true,
        counted: true,
        state: "upstream_error",
    }
}

impl Case {
    fn streamed(self) -> Self {
        Self { stream: true, ..self }
    }

    /// It begins well, so that nothing can be repeated.
    fn begun(self) -> Self {
        Self {
            retried: false,
            state: "incomplete",
            ..self.streamed()
        }
    }

    fn final_word(self) -> Self {
        Self {
            retried: false,
            counted: false,
            ..self
        }
    }
}

fn html(status: u16) -> Act {
    Act::body(
        status,
        "text/html",
        "<html><body>proxy error at secret-host-7</body></html>",
    )
}

const UNREACHABLE: &str = "upstream_unreachable";
const INVALID: &str = "upstream_invalid_reply";
const IN_BAND: &str = "data: {\"error\":{\"message\":\"no at secret-host-7\",\"type\":\"server_error\"}}\n\n";

/// Answers with a status of failure, and errors under a status of success.
fn refusals() -> Vec<Case> {
    vec![
        failing("429 without Retry-After", Act::status(429), 429, "rate_limit_exceeded"),
        Case {
            // Heeded, and no failure: see the tests of resilience.
            counted: false,
            ..failing(
                "429 with Retry-After",
                Act::status(429).with("retry-after", "30"),
                429,
                "rate_limit_exceeded",
            )
        },
        failing("529", Act::status(529), 503, "upstream_overloaded"),
        failing("529 streamed", Act::status(529), 503, "upstream_overloaded").streamed(),
        failing("500 in HTML", html(500), 502, "upstream_error"),
        failing("502 in HTML, streamed", html(502), 502, "upstream_error").streamed(),
        failing("200 in HTML", html(200), 502, INVALID),
        failing("200 in HTML, streamed", html(200), 502, INVALID).streamed(),
        failing(
            "gzip",
            Act::body(200, "application/json", GZIP).with("content-encoding", "gzip"),
            502,
            INVALID,
        ),
        failing(
            "gzip streamed",
            Act::body(200, "text/event-stream", GZIP).with("content-encoding", "gzip"),
            502,
            UNREACHABLE,
        )
        .streamed(),
        failing(
            "200 with an error inside",
            Act::body(200, "application/json", &IN_BAND.as_bytes()["data: ".len()..]),
            502,
            "upstream_error",
        ),
        failing("a refused request", Act::status(422), 422, "").final_word(),
        failing("a refused key", Act::status(401), 502, "upstream_refused").final_word(),
        failing("an empty account", Act::status(402), 429, "insufficient_quota").final_word(),
    ]
}

/// Answers that break, stall or make no sense before their first content.
fn early_ends() -> Vec<Case> {
    vec![
        failing(
            "an error as the first event",
            Act::events(&[IN_BAND]),
            502,
            "upstream_error",
        )
        .streamed(),
        failing(
            "cut in mid-answer",
            Act::body(200, "application/json", "{\"id\":").ending(End::Cut),
            502,
            UNREACHABLE,
        ),
        failing(
            "a malformed first chunk",
            Act::events(&["data: {\"id\":\n\n"]),
            502,
            INVALID,
        )
        .streamed(),
        failing(
            "no head in time",
            Act::well(false).after(Duration::from_secs(30)),
            504,
            "upstream_timeout",
        ),
        failing(
            "no first token in time",
            Act::events(&[]).ending(End::Stall),
            504,
            "upstream_timeout",
        )
        .streamed(),
        failing(
            "only comments",
            Act::events(&[": ping\n\n"]).ending(End::Stall),
            504,
            "upstream_timeout",
        )
        .streamed(),
        failing(
            "a line without end",
            Act::body(200, "text/event-stream", vec![b'x'; 17 << 20]),
            502,
            INVALID,
        )
        .streamed(),
    ]
}

/// Streams that begin well.
fn late_ends() -> Vec<Case> {
    vec![
        failing(
            "an error in mid-stream",
            Act::events(&[CHUNK, IN_BAND]),
            200,
            "upstream_error",
        )
        .begun(),
        failing("no finish reason", Act::events(&[CHUNK, CHUNK]), 200, UNREACHABLE).begun(),
        failing(
            "cut in mid-stream",
            Act::events(&[CHUNK]).ending(End::Cut),
            200,
            UNREACHABLE,
        )
        .begun(),
        failing(
            "a malformed chunk",
            Act::events(&[CHUNK, "data: {\"id\":\n\n"]),
            200,
            INVALID,
        )
        .begun(),
        failing(
            "a stall after the first token",
            Act::events(&[CHUNK]).ending(End::Stall),
            200,
            "upstream_timeout",
        )
        .begun(),
    ]
}

/// A world with, for each case, a vendor of its own and two interfaces: the vendor alone, and a sound one behind it.
async fn world_of(cases: &[Case]) -> (Running, Vec<Scripted>, Scripted) {
    let world = Running::start().await;
    let sound = Scripted::start().await;
    let vendor = |name: &str, url: &str| {
        format!(
            "[[vendor]]\nname = \"{name}\"\nstrategy = \"openai\"\nbase_url = \"{url}\"\nsecret_key = \"vendor-secret-0123456789\"\n\
             pool = {{ breaker = {{ consecutive_failures = 1, open_ms = 60000 }} }}\n"
        )
    };
    let (mut text, mut servers) = (vendor("sound", &sound.url), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let server = Scripted::start().await;
        server.always(case.act.clone());
        // Where no time has to run out, a busy machine gets more of it.
        let patient = case.state == "completed" || case.act.parts.iter().any(|part| part.len() > 1 << 20);
        let time = if patient { 20_000 } else { 500 };
        let times = format!("timeouts_ms = {{ connect = 1000, first_byte = {time}, idle = {time}, total = 30000 }}");
        text += &vendor(&format!("v{at}"), &server.url);
        let route = format!("{{ vendor = \"v{at}\", model = \"m\" }}");
        let interface = |name: &str, routes: &str| {
            format!("[[interface]]\nname = \"{name}-{at}\"\ncapability = \"chat\"\nroutes = [{routes}]\n{times}\n")
        };
        text += &interface("alone", &route);
        let second = "{ vendor = \"sound\", model = \"m\", priority = 1 }";
        text += &interface("both", &format!("{route}, {second}"));
        servers.push(server);
    }
    world.apply(&text).await;
    (world, servers, sound)
}

#[tokio::test]
async fn each_fault_has_its_status_its_attempts_its_effect_and_its_record() {
    let cases: Vec<Case> = [refusals(), early_ends(), late_ends()].into_iter().flatten().collect();
    let (world, servers, _) = world_of(&cases).await;
    for (at, case) in cases.iter().enumerate() {
        let name = case.name;
        let ask = async |interface: String| {
            if case.stream {
                world.stream(&interface).await
            } else {
                world.chat(&interface).await
            }
        };
        let began = Instant::now();
        let both = ask(format!("both-{at}")).await;
        let usage = world.usage(both.request_id()).await;
        if case.retried {
            assert_eq!(
                (both.status, usage.state.as_str(), usage.attempts),
                (200, "completed", 2),
                "{name}: {}",
                both.body
            );
        } else {
            assert_eq!((usage.state.as_str(), usage.attempts), (case.state, 1), "{name}");
        }
        let breaker = endpoint_of(&world, at)["breaker"].clone();
        assert_eq!(breaker, if case.counted { "open" } else { "closed" }, "{name}");
        let alone = ask(format!("alone-{at}")).await;
        let told = match case.state {
            "incomplete" => {
                assert_eq!(alone.status, 200, "{name}");
                let last = alone.body.trim_end().rsplit("data: ").next().unwrap();
                serde_json::from_str::<serde_json::Value>(last).unwrap()["error"].clone()
            }
            _ => alone.error(case.status),
        };
        assert_eq!(told["code"].as_str().unwrap_or_default(), case.code, "{name}");
        let secrets = ["secret-host-7", "vendor-secret", "127.0.0.1", "<html"];
        let tells = secrets.iter().any(|secret| alone.body.contains(secret));
        assert_eq!(
            tells,
            case.status == 422,
            "only what the caller did wrong comes in the vendor's words: {name}"
        );
        let usage = world.usage(alone.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), (case.state, 1), "{name}");
        assert_eq!(usage.output > 0, case.state == "incomplete", "{name}");
        assert_eq!(servers[at].calls(), 2, "{name}");
        assert!(began.elapsed() < Duration::from_secs(20), "{name}");
    }
}

fn endpoint_of(world: &Running, at: usize) -> serde_json::Value {
    let status = world.gateway.status();
    let vendors = status["vendors"].as_array().unwrap();
    let vendor = vendors.iter().find(|vendor| vendor["vendor"] == format!("v{at}"));
    vendor.unwrap()["endpoints"][0].clone()
}

fn sound(name: &'static str, act: Act) -> Case {
    Case {
        retried: false,
        counted: false,
        state: "completed",
        ..failing(name, act, 200, "").streamed()
    }
}

#[tokio::test]
async fn streams_that_come_in_odd_pieces_are_whole_answers() {
    let whole = [CHUNK, CHUNK, FINISH, USAGE, DONE].concat();
    let chinese = whole.replace("four", "\u{56db}\u{1f600}");
    let bytes =
        |text: &str, size: usize| -> Vec<Bytes> { text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect() };
    let in_parts = |parts: Vec<Bytes>, pause: u64| Act {
        parts,
        pause: Duration::from_millis(pause),
        ..Act::events(&[])
    };
    let big = whole.replacen("four", &"f".repeat(2 << 20), 1);
    let cases = [
        sound("a slow trickle", in_parts(bytes(&whole, 20), 10)),
        sound("UTF-8 split over chunks", in_parts(bytes(&chinese, 1), 1)),
        sound("CRLF", in_parts(bytes(&whole.replace('\n', "\r\n"), 7), 1)),
        sound("a giant line", in_parts(bytes(&big, 1 << 16), 0)),
        sound("no [DONE]", Act::events(&[CHUNK, FINISH, USAGE])),
        sound(
            "usage in a last chunk without choices",
            Act::events(&[CHUNK, CHUNK, FINISH, USAGE, DONE]),
        ),
        sound(
            "usage in parts",
            Act::events(&[
                "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"four\"}}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":0}}\n\n",
                FINISH,
                "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":22}}\n\n",
                DONE,
            ]),
        ),
        sound("no usage", Act::events(&[CHUNK, FINISH, DONE])),
    ];
    let (world, _, _) = world_of(&cases).await;
    for (at, case) in cases.iter().enumerate() {
        let name = case.name;
        let answer = world.stream(&format!("both-{at}")).await;
        assert_eq!(answer.status, 200, "{name}");
        assert!(
            answer.body.trim_end().ends_with("[DONE]"),
            "{name}: {}",
            &answer.body[..200.min(answer.body.len())]
        );
        if name.starts_with("UTF-8") {
            assert_eq!(answer.body.matches("\u{56db}\u{1f600}").count(), 2, "{name}");
        }
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), ("completed", 1), "{name}");
        if name == "no usage" {
            assert!(usage.estimated && usage.output > 0, "{usage:?}");
        } else {
            assert_eq!((usage.input, usage.output, usage.estimated), (11, 22, false), "{name}");
        }
        assert_eq!(endpoint_of(&world, at)["breaker"], "closed", "{name}");
    }
}

#[tokio::test]
async fn a_reset_connection_is_tried_elsewhere() {
    let world = Running::start().await;
    let (resetting, sound) = (start_resetting().await, Scripted::start().await);
    world
        .apply(&format!(
            "[[vendor]]\nname = \"p\"\nstrategy = \"openai\"\npool = {{ strategy = \"round_robin\", breaker = {{ consecutive_failures = 1 }}, \
             addresses = [{{ url = \"{resetting}\" }}, {{ url = \"{}\" }}] }}\n\
             [[vendor]]\nname = \"v0\"\nstrategy = \"openai\"\nbase_url = \"{resetting}\"\n\
             [[interface]]\nname = \"i\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"p\", model = \"m\" }}]\n\
             [[interface]]\nname = \"alone\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"v0\", model = \"m\" }}]\n",
            sound.url
        ))
        .await;
    let mut attempts = 0;
    for _ in 0..4 {
        for answer in [world.chat("i").await, world.stream("i").await] {
            assert_eq!(answer.status, 200, "{}", answer.body);
            attempts += world.usage(answer.request_id()).await.attempts;
        }
    }
    assert_eq!(attempts, 9, "one reset, and then the address was left alone");
    let alone = world.chat("alone").await;
    assert_eq!(alone.error(502)["code"], "upstream_unreachable");
    assert_eq!(world.usage(alone.request_id()).await.state, "upstream_error");
}

#[tokio::test]
async fn an_account_that_is_slow_does_not_slow_another_at_the_same_address() {
    let world = Running::start().await;
    let server = Scripted::start().await;
    let vendor = |name: &str| {
        format!(
            "[[vendor]]\nname = \"{name}\"\nstrategy = \"openai\"\nbase_url = \"{}\"\nsecret_key = \"key-of-{name}\"\n\
             pool = {{ breaker = {{ consecutive_failures = 1, open_ms = 60000 }} }}\n\
             [[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"{name}\", model = \"m\" }}]\n\
             timeouts_ms = {{ connect = 1000, first_byte = 1500, idle = 1500, total = 4000 }}\n",
            server.url
        )
    };
    world.apply(&(vendor("v0") + &vendor("v1"))).await;
    server.next([Act::well(false).after(Duration::from_secs(30))]);
    let slow = world.chat("v0").await;
    assert_eq!(slow.error(504)["code"], "upstream_timeout");
    let quick = world.chat("v1").await;
    assert_eq!(quick.status, 200);
    assert_eq!(endpoint_of(&world, 0)["breaker"], "open");
    assert_eq!(endpoint_of(&world, 1)["breaker"], "closed");
    assert!(endpoint_of(&world, 0)["ewma_ms"].as_f64() > endpoint_of(&world, 1)["ewma_ms"].as_f64());
}
