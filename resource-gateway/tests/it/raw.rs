//! Raw calls: what is listed is passed on as it came, under our credential, and everything else stays here.

use std::time::Duration;

use reqwest::Method;
use resource_gateway::domain::access_key::KeySettings;
use serde_json::{Value, json};
use sql_kit::{Db, Options, Sql, args, sql};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    admin,
    echo_vendor::EchoVendor,
    payloads::logged,
    running::{Answer, Running},
    signed_calls::{Draft, settings},
};

const COSTS: Sql = sql!("SELECT cost, currency, price, stream, capability FROM usage_record WHERE request_id = ?");

/// What every interface here allows.
const ALLOW: &str = "\
{ name = \"make\", methods = [\"POST\"], path = \"/things\" },
{ name = \"thing\", methods = [\"GET\", \"PUT\", \"PATCH\", \"DELETE\"], path = \"/things/*\" },
{ name = \"status\", methods = [\"GET\", \"POST\"], path = \"/status/*\" },
{ name = \"fail\", methods = [\"GET\", \"POST\"], path = \"/fail\" },
{ name = \"slow\", methods = [\"GET\", \"POST\"], path = \"/slow\" },
{ name = \"rest\", methods = [\"GET\"], path = \"/**\" },";

fn interface(name: &str, more: &str) -> String {
    format!(
        "[[interface]]\nname = \"{name}\"\ncapability = \"raw\"\nroutes = [{{ vendor = \"echo\" }}]\n\
         raw = {{ allow = [{ALLOW}], headers = [\"x-tag\", \"if-none-match\"], response_headers = [\"x-listed\", \"x-echo\", \"x-sandbox\", \"location\"] }}\n{more}\n"
    )
}

async fn world(document: &str) -> (Running, EchoVendor) {
    let (running, vendor) = (Running::start().await, EchoVendor::start().await);
    let text = format!(
        "[[vendor]]\nname = \"echo\"\nstrategy = \"openai\"\nbase_url = \"{}/base\"\nsecret_key = \"vendor-secret-0123456789\"\n{document}",
        vendor.origin
    );
    running.apply(&text).await;
    (running, vendor)
}

fn request(running: &Running, method: Method, target: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/v1/raw/{target}", running.url);
    running.http.request(method, url).bearer_auth(running.token())
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    Answer::read(request.send().await.unwrap()).await
}

async fn get(running: &Running, target: &str) -> Answer {
    send(request(running, Method::GET, target)).await
}

/// A request whose first line is what it is: clients tidy up paths.
async fn by_hand(running: &Running, method: &str, target: &str) -> (u16, String) {
    let host = running.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        running.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

type Cost = (Option<i64>, Option<String>, Option<String>, bool, String);

async fn cost(running: &Running, request_id: &str) -> Cost {
    running.gateway.journal.finish(Duration::from_secs(5)).await;
    let db = Db::connect(&running.database, &Options::default()).await.unwrap();
    let rows: Vec<Cost> = db.all(COSTS, args![request_id.to_owned()]).await.unwrap();
    db.close().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.into_iter().next().unwrap()
}

#[tokio::test]
async fn what_is_listed_is_passed_on_as_it_came() {
    let (running, vendor) = world(&interface("api", "")).await;
    let made = request(&running, Method::POST, "api/things?a=1&b=%20c&a=2")
        .header("content-type", "text/weird; x=1")
        .header("x-tag", "one")
        .body("not { json");
    let answer = send(made).await;
    assert_eq!(answer.ok()["target"], "/base/things?a=1&b=%20c&a=2");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let seen = vendor.take_one();
    assert_eq!(
        (seen.method, seen.target.as_str()),
        (Method::POST, "/base/things?a=1&b=%20c&a=2")
    );
    assert_eq!(seen.body, "not { json");
    assert_eq!(
        (&seen.headers["content-type"], &seen.headers["x-tag"]),
        (&"text/weird; x=1".parse().unwrap(), &"one".parse().unwrap())
    );
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = send(request(&running, method.clone(), "api/things/th%C3%AF.ng~1")).await;
        assert_eq!(answer.ok()["method"], method.as_str());
        let seen = vendor.take_one();
        assert_eq!(seen.target, "/base/things/th%C3%AF.ng~1");
        assert!(
            !seen.headers.contains_key("content-type"),
            "nothing has no type: {:?}",
            seen.headers
        );
    }
    let usage = running.usage(answer.request_id()).await;
    assert_eq!(
        (
            usage.state.as_str(),
            usage.attempts,
            usage.input,
            usage.output,
            usage.estimated
        ),
        ("completed", 1, 0, 0, false)
    );
    assert_eq!(
        cost(&running, answer.request_id()).await,
        (None, None, None, false, "raw".into())
    );
}

#[tokio::test]
async fn what_is_not_listed_stays_here() {
    let (running, vendor) = world(&interface("api", "")).await;
    for (method, target) in [
        (Method::DELETE, "api/things"),
        (Method::POST, "api/things/1"),
        (Method::PUT, "api/other"),
        (Method::POST, "api/Things"),
        (Method::POST, "api/things/"),
        (Method::POST, "api/%74hings"),
    ] {
        let answer = send(request(&running, method.clone(), target)).await;
        assert_eq!(answer.error(404)["code"], "route_not_offered", "{method} {target}");
        assert_eq!(running.usage(answer.request_id()).await.state, "rejected");
    }
    for method in ["HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = send(request(&running, method.clone(), "api/things/1")).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, "GET, POST, PUT, PATCH, DELETE"),
            "{method}"
        );
    }
    let body = request(&running, Method::GET, "api/things/1").body("x");
    assert_eq!(send(body).await.error(400)["code"], "unexpected_body");
    assert!(vendor.take().is_empty());
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out_of_the_list_or_to_another_host() {
    let (running, vendor) = world(&interface("api", "")).await;
    let host = vendor.origin.strip_prefix("http://").unwrap();
    for target in [
        "/v1/raw/api/../../things",
        "/v1/raw/api/things/../secret",
        "/v1/raw/api/things/..",
        "/v1/raw/api/./things/1",
        "/v1/raw/api/things/%2e%2e/secret",
        "/v1/raw/api/things/.%2E/secret",
        "/v1/raw/api/things/%252e%252e/secret",
        "/v1/raw/api//evil.test/x",
        "/v1/raw/api/things//1",
        "/v1/raw/api/things%2f1",
        "/v1/raw/api/things%2F..%2Fsecret",
        "/v1/raw/api/things\\..\\secret",
        "/v1/raw/api/things/%5c..",
        "/v1/raw/api/things/1;x=1",
        "/v1/raw/api/things/..;/secret",
        "/v1/raw/api/things/1%3bx",
        "/v1/raw/api/things/1%00",
        "/v1/raw/api/things/1%0d%0aX:1",
        "/v1/raw/api/things/1%3fx=1",
        "/v1/raw/api/things/1%23x",
        "/v1/raw/api/@evil.test/",
        "/v1/raw/api/things/%",
        "/v1/raw/api/things/%zz",
        "/v1/raw//things/1",
        "/v1/raw/api",
        "/v1/raw/api/",
        "/v1/raw/%61pi/things/1",
        "/v1/raw/../raw/api/things/1",
        "/v1/raw/api/things/1?access_token=x",
        "/v1/raw/api/things/1?a=1;API-Key=x",
        "/v1/raw/api/things/1?acc%65ss_token=x",
        "/v1/raw/api/things/1?_method=DELETE",
        "/v1/raw/api/things/1?a=%",
        "/v1/raw/api/things/1?a\\b",
    ] {
        let (status, answer) = by_hand(&running, "GET", target).await;
        // `@` is a letter like any other in a path: the host stands before it.
        if target.contains('@') {
            assert_eq!(status, 200, "{answer}");
            assert_eq!(vendor.take_one().target, "/base/@evil.test/");
            continue;
        }
        assert!(matches!(status, 400 | 404), "{target}: {answer}");
        assert!(vendor.take().is_empty(), "{target}");
    }
    for (method, target) in [
        ("GET", format!("http://{host}/v1/raw/api/things/1")),
        ("GET", "http://evil.test/v1/raw/api/things/1".to_owned()),
        ("CONNECT", host.to_owned()),
    ] {
        let (status, answer) = by_hand(&running, method, &target).await;
        assert!((400..500).contains(&status), "{target}: {answer}");
        assert!(vendor.take().is_empty(), "{target}");
    }
    // What stands behind a fragment's sign never leaves a client, and the gateway passes none of it on.
    let (status, _) = by_hand(&running, "GET", "/v1/raw/api/things/1#/../secret").await;
    if status == 200 {
        assert_eq!(vendor.take_one().target, "/base/things/1");
    }
}

#[tokio::test]
async fn the_vendor_sees_our_credential_and_none_of_the_callers() {
    let (running, vendor) = world(&interface("api", "")).await;
    let mut call = request(&running, Method::POST, "api/things").body("{}");
    for (name, value) in [
        ("cookie", "session=1"),
        ("x-api-key", "mine"),
        ("api-key", "mine"),
        ("x-goog-api-key", "mine"),
        ("proxy-authorization", "Basic x"),
        ("dpop", "proof"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-hexgate-sub", "root"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/secret"),
        ("x-unlisted", "1"),
        ("x-tag", "kept"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("user-agent", "caller/1"),
        ("origin", "https://app.test"),
    ] {
        call = call.header(name, value);
    }
    // `DPoP` belongs to another scheme of tokens.
    assert_eq!(send(call).await.status, 200);
    let seen = vendor.take_one();
    assert_eq!(seen.headers["authorization"], "Bearer vendor-secret-0123456789");
    assert_eq!(seen.headers.get_all("authorization").iter().count(), 1);
    assert!(seen.headers["user-agent"].to_str().unwrap().starts_with("hexgate/"));
    assert_eq!(seen.headers["host"], *vendor.origin.strip_prefix("http://").unwrap());
    let mut names: Vec<_> = seen.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "user-agent",
            "x-tag"
        ]
    );
    let token = running.token();
    assert!(!format!("{:?}", seen.headers).contains(&token));
}

#[tokio::test]
async fn an_answer_brings_back_what_is_listed_and_no_credential() {
    let (running, _vendor) = world(&interface("api", "")).await;
    let answer = get(&running, "api/headers").await;
    assert_eq!((answer.status, answer.header("x-listed")), (200, "yes"));
    for gone in [
        "set-cookie",
        "www-authenticate",
        "x-unlisted",
        "x-echo",
        // Nobody but the simulator is one.
        "x-sandbox",
        "access-control-allow-origin",
        "location",
    ] {
        assert!(!answer.headers.contains_key(gone), "{gone}: {:?}", answer.headers);
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    let response = request(&running, Method::GET, "api/bytes").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/png");
    assert_eq!(response.bytes().await.unwrap(), &[0x89_u8, b'P', 0xff, 0][..]);
    assert_eq!(
        get(&running, "api/untyped").await.header("content-type"),
        "application/octet-stream"
    );
    let nothing = get(&running, "api/nothing").await;
    assert_eq!(
        (nothing.status, nothing.body.as_str(), nothing.header("content-type")),
        (204, "", "")
    );
}

#[tokio::test]
async fn statuses_pass_but_for_those_that_would_speak_of_us() {
    let (running, vendor) = world(&interface("api", "max_attempts = 1")).await;
    for status in [201, 202, 206, 400, 404, 405, 409, 410, 418, 422] {
        let answer = get(&running, &format!("api/status/{status}")).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, "{\"detail\":\"said by host-7\"}")
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let state = if status < 400 { "completed" } else { "upstream_error" };
        assert_eq!(running.usage(answer.request_id()).await.state, state, "{status}");
    }
    let unchanged = send(request(&running, Method::GET, "api/status/304").header("if-none-match", "\"a\"")).await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(vendor.take().last().unwrap().headers["if-none-match"], "\"a\"");
    for (status, shown, code) in [
        (401, 502, "upstream_refused"),
        (403, 502, "upstream_refused"),
        (407, 502, "upstream_refused"),
        (402, 429, "insufficient_quota"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "upstream_error"),
        (503, 503, "upstream_overloaded"),
    ] {
        let answer = get(&running, &format!("api/status/{status}")).await;
        assert_eq!(answer.error(shown)["code"], code, "{status}");
        assert!(!answer.body.contains("host-7"), "{}", answer.body);
        assert_eq!(answer.header("retry-after"), "7");
        assert_eq!(running.usage(answer.request_id()).await.state, "upstream_error");
    }
}

#[tokio::test]
async fn nobody_is_sent_after_a_redirect() {
    let (running, vendor) = world(&interface("api", "")).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = get(&running, &format!("api/status/{status}")).await;
        assert_eq!(answer.error(502)["code"], "upstream_redirect", "{status}");
        assert!(!answer.headers.contains_key("location"));
        assert_eq!(
            vendor.take_one().target,
            format!("/base/status/{status}"),
            "asked once, and nowhere else"
        );
    }
}

#[tokio::test]
async fn only_what_may_be_done_twice_is_tried_again() {
    let (running, vendor) = world(&interface("api", "max_attempts = 3")).await;
    let post = send(request(&running, Method::POST, "api/fail").body("{}")).await;
    assert_eq!((post.status, vendor.take().len()), (502, 1));
    let two = format!(
        "[[vendor]]\nname = \"echo\"\nstrategy = \"openai\"\nsecret_key = \"vendor-secret-0123456789\"\n\
         pool = {{ strategy = \"round_robin\", addresses = [{{ url = \"{0}/base\" }}, {{ url = \"{0}/base/more\" }}] }}\n",
        vendor.origin
    );
    running.apply(&two).await;
    let get = get(&running, "api/fail").await;
    let seen = vendor.take();
    assert_eq!((get.status, seen.len() > 1), (502, true), "{seen:?}");
    assert_eq!(
        running.usage(get.request_id()).await.attempts,
        i64::try_from(seen.len()).unwrap()
    );
}

#[tokio::test]
async fn only_what_may_be_done_twice_is_hedged() {
    let hedged = "hedge_after_ms = 20\n";
    let (running, vendor) = world(&interface("api", hedged)).await;
    let two = format!(
        "[[vendor]]\nname = \"echo\"\nstrategy = \"openai\"\nsecret_key = \"vendor-secret-0123456789\"\n\
         pool = {{ strategy = \"round_robin\", addresses = [{{ url = \"{0}/base\" }}, {{ url = \"{0}/base/more\" }}] }}\n",
        vendor.origin
    );
    running.apply(&two).await;
    for (method, calls) in [(Method::POST, 1), (Method::GET, 2)] {
        let answer = send(request(&running, method.clone(), "api/slow")).await;
        assert_eq!((answer.status, vendor.take().len()), (200, calls), "{method}");
    }
}

#[tokio::test]
async fn a_vendor_that_was_not_reached_is_no_reason_to_give_up() {
    let (running, vendor) = world("").await;
    let both = "[[interface]]\nname = \"two\"\ncapability = \"raw\"\n\
        routes = [{ vendor = \"closed\", priority = 1 }, { vendor = \"echo\", priority = 2 }]\n\
        raw = { allow = [{ name = \"make\", methods = [\"POST\"], path = \"/things\" }] }\n";
    running.apply(both).await;
    let answer = send(request(&running, Method::POST, "two/things").body("{}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        (vendor.take().len(), running.usage(answer.request_id()).await.attempts),
        (1, 2)
    );
}

const PRICED: &str = "\
[[price]]
name = \"each-call\"
interface = \"api\"
per_call = \"0.001\"
currency = \"EUR\"
[[price]]
name = \"making\"
interface = \"api\"
route = \"make\"
per_call = \"0.25\"
currency = \"EUR\"
";

#[tokio::test]
async fn a_route_has_its_price_in_the_usage_row() {
    let (running, _vendor) = world(&(interface("api", "") + PRICED)).await;
    let made = send(request(&running, Method::POST, "api/things").body("{}")).await;
    let euro = Some("EUR".to_owned());
    assert_eq!(
        cost(&running, made.request_id()).await,
        (
            Some(250_000_000),
            euro.clone(),
            Some("making".into()),
            false,
            "raw".into()
        )
    );
    let read = get(&running, "api/things/1").await;
    assert_eq!(cost(&running, read.request_id()).await.0, Some(1_000_000));
    let events = get(&running, "api/events").await;
    assert_eq!(
        cost(&running, events.request_id()).await,
        (Some(1_000_000), euro, Some("each-call".into()), true, "raw".into())
    );
    for (target, status) in [("api/status/404", 404), ("api/status/500", 502)] {
        let failed = get(&running, target).await;
        assert_eq!(
            (failed.status, cost(&running, failed.request_id()).await.0),
            (status, Some(0)),
            "what failed is free"
        );
    }
}

#[tokio::test]
async fn a_budget_lets_through_what_it_pays_for() {
    let budget = "[[quota]]\nname = \"small\"\ninterface = \"api\"\namount = \"0.502\"\ncurrency = \"EUR\"\nperiod = \"total\"\n";
    let (running, vendor) = world(&(interface("api", "") + PRICED + budget)).await;
    let make = || send(request(&running, Method::POST, "api/things").body("{}"));
    let answers = futures_util::future::join_all((0..8).map(|_| make())).await;
    let through = answers.iter().filter(|answer| answer.status == 200).count();
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.error(429)["code"], "insufficient_quota");
    }
    assert_eq!((through, vendor.take().len()), (2, 2));
    // The cheaper route still has what is left.
    for wanted in [200, 200, 429] {
        assert_eq!(get(&running, "api/things/1").await.status, wanted);
    }
}

#[tokio::test]
async fn limits_scopes_grants_and_switches_hold() {
    let document = interface("api", "limits = { requests_per_minute = 2 }")
        + &interface("off", "enabled = false")
        + &interface("other", "");
    let (running, vendor) = world(&document).await;
    let as_caller = |claims: &Value, target: &str| {
        let token = running.issuer.token(claims);
        let url = format!("{}/v1/raw/{target}", running.url);
        send(running.http.get(url).bearer_auth(token))
    };
    for (claims, target, status, code) in [
        (
            json!({"scope": "ai:chat ai:embeddings"}),
            "api/things/1",
            403,
            "insufficient_scope",
        ),
        (
            json!({"scope": "ai:raw:other"}),
            "api/things/1",
            403,
            "insufficient_scope",
        ),
        (
            json!({"ai_interfaces": ["other"]}),
            "api/things/1",
            403,
            "interface_not_granted",
        ),
        (json!({}), "off/things/1", 404, "model_not_found"),
        (json!({}), "unknown/things/1", 404, "model_not_found"),
        (json!({}), "echo/things/1", 404, "model_not_found"),
    ] {
        assert_eq!(
            as_caller(&claims, target).await.error(status)["code"],
            code,
            "{claims} {target}"
        );
    }
    let nobody = send(running.http.get(format!("{}/v1/raw/api/things/1", running.url))).await;
    assert_eq!(nobody.error(401)["code"], "missing_token");
    assert!(vendor.take().is_empty());
    let narrow = json!({"scope": "ai:raw:api"});
    for wanted in [200, 200, 429] {
        let answer = as_caller(&narrow, "api/things/1").await;
        assert_eq!(answer.status, wanted);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "2");
    }
}

#[tokio::test]
async fn field_rules_hold_for_bodies_and_let_nothing_else_through() {
    let rules = "fields = [{ name = \"/user\", forbid = true }, { name = \"/max_tokens\", value = 9 }, { name = \"/model\", value = \"small\", allow_override = true }]";
    let (running, vendor) = world(&interface("api", rules)).await;
    let post = |content_type: &str, body: &str| {
        let request = request(&running, Method::POST, "api/things").header("content-type", content_type);
        send(request.body(body.to_owned()))
    };
    let shaped = post("application/json", "{\"a\":1,\"max_tokens\":5}").await;
    assert_eq!(
        (shaped.status, shaped.header("x-hexgate-forced-fields")),
        (200, "/max_tokens")
    );
    assert_eq!(
        vendor.take_one().json(),
        json!({"a": 1, "max_tokens": 9, "model": "small"})
    );
    for body in ["{\"user\":1}", "{\"\\u0075ser\":1}", "{\"User\":1}"] {
        assert_eq!(post("application/json", body).await.status, 400, "{body}");
    }
    for (content_type, body) in [
        ("text/plain", "{\"user\":1}"),
        ("application/x-www-form-urlencoded", "user=1"),
        ("application/json; charset=utf-7", "{\"a\":\"+ACI-,+ACI-user+ACI-:1\"}"),
    ] {
        assert_eq!(
            post(content_type, body).await.error(415)["code"],
            "unsupported_media_type",
            "{content_type}"
        );
    }
    for body in ["", "[{\"user\":1}]", "user=1", "{\"a\":1}{\"user\":1}"] {
        assert_eq!(
            post("application/json", body).await.error(400)["code"],
            "invalid_json",
            "{body}"
        );
    }
    let zipped = request(&running, Method::POST, "api/things")
        .header("content-encoding", "gzip")
        .body("{}");
    assert_eq!(send(zipped).await.status, 415);
    for query in ["user=x", "USER=x", "us%65r=x", "user[name]=x", "a=1;maxTokens=100"] {
        let answer = get(&running, &format!("api/things/1?{query}")).await;
        assert_eq!(answer.error(400)["code"], "unsupported_parameter", "{query}");
    }
    let with_body = send(request(&running, Method::DELETE, "api/things/1").body("user=1")).await;
    assert_eq!(with_body.error(400)["code"], "invalid_json");
    assert!(vendor.take().is_empty());
    assert_eq!(get(&running, "api/things/1?a=1").await.status, 200);
    // A body without a type is taken for what rules read.
    let untyped = send(request(&running, Method::POST, "api/things").body("{}")).await;
    assert_eq!(untyped.status, 200, "{}", untyped.body);
    assert_eq!(vendor.take()[1].headers["content-type"], "application/json");
}

#[tokio::test]
async fn events_pass_as_they_come_and_every_end_is_accounted_for() {
    let short = "timeouts_ms = { connect = 1000, first_byte = 1000, idle = 500, total = 5000 }";
    let (running, vendor) = world(&(interface("api", "") + &interface("short", short))).await;
    let whole = get(&running, "api/events").await;
    assert_eq!(whole.body, "data: 1\n\ndata: {\"x\":2}\n\n: done\n\n");
    assert_eq!(
        (whole.header("content-type"), whole.header("x-listed")),
        ("text/event-stream", "stream")
    );
    let usage = running.usage(whole.request_id()).await;
    assert_eq!((usage.state.as_str(), usage.stream), ("completed", true));
    for (target, state) in [("api/cut", "incomplete"), ("short/stall", "incomplete")] {
        let broken = get(&running, target).await;
        assert!(
            broken.body.starts_with("data: 1\n\ndata: {\"error\":"),
            "{target}: {}",
            broken.body
        );
        assert_eq!(running.usage(broken.request_id()).await.state, state, "{target}");
    }
    let mut endless = request(&running, Method::GET, "api/endless").send().await.unwrap();
    let id = endless.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(endless.chunk().await.unwrap().unwrap(), "data: more\n\n");
    drop(endless);
    running
        .until("the vendor's call is given up", async || vendor.given_up() == 1)
        .await;
    running
        .until("the call is accounted for", async || {
            !running.usage_rows(&id).await.is_empty()
        })
        .await;
    assert_eq!(running.usage(&id).await.state, "client_gone_after_first_byte");
}

#[tokio::test]
async fn who_leaves_before_the_answer_pays_for_the_call() {
    let (running, vendor) = world(&(interface("api", "") + PRICED)).await;
    let left = request(&running, Method::POST, "api/slow").timeout(Duration::from_secs(1));
    assert!(left.send().await.unwrap_err().is_timeout());
    running
        .until("the call is accounted for", async || {
            running.gateway.journal.finish(Duration::from_secs(5)).await;
            !running.usage_rows("").await.is_empty()
        })
        .await;
    let usage = running.only_usage().await;
    assert_eq!(
        (usage.state.as_str(), usage.attempts, usage.estimated),
        ("client_gone_before_first_byte", 1, false)
    );
    let db = Db::connect(&running.database, &Options::default()).await.unwrap();
    let costs: Vec<(Option<i64>,)> = db.all(sql!("SELECT cost FROM usage_record"), args![]).await.unwrap();
    db.close().await;
    assert_eq!((costs, vendor.take().len()), (vec![(Some(1_000_000),)], 1));
}

#[tokio::test]
async fn both_versions_of_http_have_the_same_door() {
    let (running, vendor) = world(&interface("api", "")).await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let of = |target: &str| {
        let url = format!("{}/v1/raw/{target}", running.url);
        send(http.get(url).bearer_auth(running.token()))
    };
    assert_eq!(of("api/things/1?a=1").await.ok()["target"], "/base/things/1?a=1");
    assert_eq!(of("api/things//1").await.error(400)["code"], "invalid_path");
    assert_eq!(vendor.take().len(), 1);
}

#[tokio::test]
async fn a_repeated_request_is_answered_once() {
    let (running, vendor) = world(&interface("api", "")).await;
    let keyed = |target: &str, body: &str| {
        let request = request(&running, Method::POST, target).header("idempotency-key", "k-1");
        send(request.body(body.to_owned()))
    };
    let first = keyed("api/status/201", "{}").await;
    let again = keyed("api/status/201", "{}").await;
    assert_eq!(
        (first.status, again.status, again.body.as_str()),
        (201, 201, first.body.as_str())
    );
    assert_eq!(
        (again.header("idempotent-replayed"), again.header("content-type")),
        ("true", "application/problem+json")
    );
    assert_eq!(vendor.take().len(), 1);
    for (target, body) in [
        ("api/status/202", "{}"),
        ("api/status/201?a=1", "{}"),
        ("api/status/201", "[]"),
    ] {
        assert_eq!(
            keyed(target, body).await.error(422)["code"],
            "idempotency_key_reused",
            "{target} {body}"
        );
    }
    assert!(vendor.take().is_empty());
}

#[tokio::test]
async fn access_keys_sign_for_method_path_query_and_body() {
    let (running, vendor) = world(&interface("api", "")).await;
    let holder = running
        .issue(KeySettings {
            scopes: ["ai:raw".to_owned()].into(),
            ..settings()
        })
        .await;
    let url = format!("{}/v1/raw/api/things/1?a=1", running.url);
    let draft = Draft::new("PUT", url.clone(), b"{\"a\":1}".to_vec());
    assert_eq!(running.send_signed(&holder, &draft).await.status, 200);
    let seen = vendor.take_one();
    assert_eq!(seen.json(), json!({"a": 1}));
    assert!(seen.headers.keys().all(|name| !name.as_str().starts_with("x-hexgate-")));
    let draft = Draft::new("PUT", url, b"{}".to_vec());
    let headers = draft.headers(&holder);
    for changed in [
        Draft {
            method: "PATCH",
            ..draft.clone()
        },
        Draft {
            url: format!("{}/v1/raw/api/things/2?a=1", running.url),
            ..draft.clone()
        },
        Draft {
            url: format!("{}/v1/raw/api/things/1?a=2", running.url),
            ..draft.clone()
        },
        Draft {
            body: b"[]".to_vec(),
            ..draft.clone()
        },
    ] {
        assert_eq!(running.send(&changed, &headers).await.status, 401, "{changed:?}");
    }
    let narrow = running.issue(settings()).await;
    let draft = Draft::new("GET", format!("{}/v1/raw/api/things/1", running.url), Vec::new());
    assert_eq!(
        running.send_signed(&narrow, &draft).await.error(403)["code"],
        "insufficient_scope"
    );
    assert!(vendor.take().is_empty());
}

#[tokio::test]
async fn there_is_one_door() {
    let (running, vendor) = world(&interface("api", "")).await;
    let answer = running
        .post("/ai/invoke/raw", &running.token(), &json!({"model": "api"}))
        .await;
    let error = answer.error(404);
    assert_eq!(error["code"], "unknown_capability");
    assert!(!error["message"].as_str().unwrap().contains("raw"), "{error}");
    assert_eq!(running.chat("api").await.error(404)["code"], "model_not_found");
    assert!(vendor.take().is_empty());
    let models = running.get("/v1/models", &running.token()).await.ok();
    let listed = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .any(|model| model["id"] == "api" && model["capability"] == "raw");
    assert!(listed, "{models}");
}

#[tokio::test]
async fn the_simulator_says_what_it_was_asked() {
    let (running, _vendor) = world("").await;
    let text = "[[interface]]\nname = \"demo\"\ncapability = \"raw\"\nroutes = [{ vendor = \"sandbox\" }]\n\
        raw = { allow = [{ name = \"any\", methods = [\"GET\", \"POST\"], path = \"/**\" }] }\n";
    running.apply(text).await;
    let post = request(&running, Method::POST, "demo/chat/completions?x=1").json(&json!({"a": 1}));
    let echo = send(post).await.ok();
    assert_eq!(
        echo,
        json!({"sandbox": true, "method": "POST", "path": "/chat/completions", "query": "x=1", "content_type": "application/json",
            "bytes": 7, "body": {"a": 1}})
    );
    let events = send(request(&running, Method::GET, "demo/a").header("accept", "text/event-stream")).await;
    assert!(
        events
            .body
            .starts_with("data: {\"sandbox\":true,\"begins\":\"/a\"}\n\n"),
        "{}",
        events.body
    );
    assert!(events.body.ends_with("data: [DONE]\n\n"), "{}", events.body);
}

#[tokio::test]
async fn requests_are_logged_where_the_operator_wants_that() {
    let (running, _vendor) = world(&interface("api", "log = { payload = true }")).await;
    let answer = send(request(&running, Method::POST, "api/things?a=1").body("{\"password\":\"x\",\"a\":\"b\"}")).await;
    let payload = logged(&running, answer.request_id()).await;
    assert_eq!(
        payload["request"],
        "POST /things?a=1\n{\"password\":\"[secret]\",\"a\":\"b\"}"
    );
    assert_eq!(payload["reply"], answer.body);
    let answer = send(request(&running, Method::POST, "api/things").body(vec![0xff, 0xfe])).await;
    let payload = logged(&running, answer.request_id()).await;
    assert_eq!(payload["request"], "POST /things\n[binary 2 bytes]");
}

#[tokio::test]
async fn what_could_not_hold_is_refused_by_name() {
    let (running, _vendor) = world("").await;
    let faults = async |text: &str| {
        let apply = running.gateway.foundation.apply().unwrap();
        let refused = apply.apply(text, std::path::Path::new(".")).await.unwrap_err();
        refused.to_string()
    };
    let raw = |more: &str| {
        format!("[[interface]]\nname = \"api\"\ncapability = \"raw\"\nroutes = [{{ vendor = \"echo\" }}]\n{more}\n")
    };
    let allowed = "raw = { allow = [{ name = \"make\", methods = [\"POST\"], path = \"/things\" }] }\n";
    for (text, wanted) in [
        (raw(""), "interface[0].raw.allow"),
        (raw("raw = { allow = [] }"), "interface[0].raw.allow"),
        (raw(&format!("{allowed}cache_ttl_s = 5")), "interface[0].cache_ttl_s"),
        (raw(&format!("{allowed}jobs = {{}}")), "interface[0].jobs"),
        (
            raw(&format!("{allowed}min_confidence = 0.5")),
            "interface[0].min_confidence",
        ),
        (
            raw(&format!("{allowed}conversation = {{ enabled = true }}")),
            "interface[0].conversation",
        ),
        (
            raw(&format!("{allowed}limits = {{ tokens_per_minute = 5 }}")),
            "interface[0].limits.tokens_per_minute",
        ),
        (
            format!(
                "[[interface]]\nname = \"c\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"echo\" }}]\n{allowed}"
            ),
            "interface[0].raw",
        ),
        (
            raw(allowed)
                + "[[price]]\nname = \"p\"\ninterface = \"api\"\nroute = \"made\"\nper_call = 1\ncurrency = \"EUR\"\n",
            "price[0].route",
        ),
        (
            raw(allowed) + "[[price]]\nname = \"p\"\ninterface = \"api\"\ninput_per_million = 1\ncurrency = \"EUR\"\n",
            "price[0].per_call",
        ),
        (
            raw(allowed)
                + "[[price]]\nname = \"p\"\nvendor = \"echo\"\nroute = \"make\"\nper_call = 1\ncurrency = \"EUR\"\n",
            "price[0].route",
        ),
        (
            raw(allowed)
                + "[[price]]\nname = \"p\"\nvendor = \"echo\"\ninput_per_million = 1\ncurrency = \"EUR\"\n\
                   [[quota]]\nname = \"q\"\ninterface = \"api\"\namount = 1\ncurrency = \"EUR\"\nperiod = \"day\"\n",
            "route \"make\"",
        ),
    ] {
        let found = faults(&text).await;
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
}

#[tokio::test]
async fn the_administrator_reads_what_was_written() {
    let (running, _vendor) = world("").await;
    let body = json!({"capability": "raw", "routes": [{"vendor": "echo"}], "raw": {
        "allow": [{"name": "thing", "methods": ["GET", "DELETE"], "path": "/things/*"}], "headers": ["x-tag"]}});
    assert_eq!(admin::put(&running, "/v1/interfaces/api", &body).await.status / 100, 2);
    let shown = admin::get(&running, "/v1/interfaces/api").await.ok();
    assert_eq!(
        shown["raw"],
        json!({"allow": body["raw"]["allow"], "headers": ["x-tag"], "response_headers": []})
    );
    let price = json!({"interface": "api", "route": "thing", "per_call": "0.5", "currency": "EUR"});
    assert_eq!(admin::put(&running, "/v1/prices/p", &price).await.status / 100, 2);
    assert_eq!(admin::get(&running, "/v1/prices/p").await.ok()["route"], "thing");
    let answer = get(&running, "api/things/1").await;
    assert_eq!(cost(&running, answer.request_id()).await.0, Some(500_000_000));
    let description = running.http.get(format!("{}/admin/openapi.json", running.url));
    let schemas = send(description).await.ok()["components"]["schemas"].clone();
    assert!(schemas["Price"]["properties"].get("route").is_some());
    let described = schemas["Interface"]["properties"]["raw"]["properties"]
        .as_object()
        .unwrap();
    assert!(
        shown["raw"]
            .as_object()
            .unwrap()
            .keys()
            .all(|member| described.contains_key(member))
    );
    // The next call obeys.
    let mut other = body.clone();
    other["raw"]["allow"][0]["methods"] = json!(["DELETE"]);
    assert_eq!(admin::put(&running, "/v1/interfaces/api", &other).await.status / 100, 2);
    running
        .until("the change is obeyed", async || {
            get(&running, "api/things/1").await.status == 404
        })
        .await;
}
