//! The guarded client over real sockets: hostile names, hostile hosts.

mod guards;
mod host;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth_server::{
    adapters::outbound::{Crowd, GuardSettings, GuardedOutbound},
    bootstrap::{Ambient, examine},
    config::Config,
    ports::outbound::{Outbound as _, OutboundBody, OutboundError, OutboundReply, OutboundRequest, Purpose, Refusal},
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::app::TestApp;
use guards::{CLIENT, NOBODY, NOT_PUBLIC, Names, SHORT, Stuck, client, impatient, settings, start_error, with_roots};
use host::{Authority, Host, Says, reply};

async fn get(client: &GuardedOutbound, url: &str) -> Result<OutboundReply, OutboundError> {
    client.fetch(OutboundRequest::get(Purpose::JwksUri, url)).await
}

/// What comes of a host that says this.
async fn told(says: Says) -> Result<OutboundReply, OutboundError> {
    let host = Host::plain(says).await;
    get(client(), &format!("http://{}/", host.address)).await
}

// Addresses.

#[tokio::test]
async fn the_provider_does_not_reach_into_its_own_network() {
    let app = TestApp::builder().real_outbound().start().await;
    let host = Host::plain(reply("200 OK", "", "[]")).await;
    let outbound = &app.foundation().outbound;
    for name in ["127.0.0.1", "localhost", "[::1]"] {
        let url = format!("https://{name}:{}/", host.port());
        let found = outbound.fetch(OutboundRequest::get(Purpose::JwksUri, url)).await;
        assert_eq!(found, NOT_PUBLIC, "{name}");
    }
    assert_eq!(host.connections(), 0);
}

#[tokio::test]
async fn the_operator_may_allow_a_host() {
    let host = Host::plain(reply("200 OK", "", "[]")).await;
    let allowed = format!("localhost:{}", host.port());
    let app = TestApp::builder()
        .config(|config| config.outbound.allow_hosts = vec![allowed.clone()])
        .real_outbound()
        .start()
        .await;
    let outbound = &app.foundation().outbound;
    let found = outbound
        .fetch(OutboundRequest::get(Purpose::JwksUri, format!("http://{allowed}/")))
        .await;
    assert_eq!(found.unwrap().body, "[]");
    let url = format!("https://127.0.0.1:{}/", host.port());
    let found = outbound.fetch(OutboundRequest::get(Purpose::JwksUri, url)).await;
    assert_eq!(found, NOT_PUBLIC, "another name of the same host is not allowed");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed() {
    let host = Host::plain(Says::Nothing).await;
    for inside in [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.100.100.200",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
    ] {
        let client = GuardedOutbound::new(GuardSettings {
            lookup: Names::of(&[("client.example", &[&[inside]])]),
            ..settings(&[])
        });
        let found = get(&client, &format!("https://client.example:{}/", host.port())).await;
        assert_eq!(found, NOT_PUBLIC, "{inside}");
    }
    assert_eq!(host.connections(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let host = Host::plain(Says::Nothing).await;
    let names = Names::of(&[("rebind.example", &[&[NOBODY], &["127.0.0.1"], &["127.0.0.1", NOBODY]])]);
    let client = GuardedOutbound::new(GuardSettings {
        lookup: names.clone(),
        fetch_deadline: Duration::from_secs(1),
        ..settings(&[])
    });
    let url = format!("https://rebind.example:{}/", host.port());
    // What was checked is what is connected to: the second answer is never asked for.
    let nobody = |found| matches!(found, Err(OutboundError::Unreachable | OutboundError::Timeout));
    assert!(nobody(get(&client, &url).await));
    assert_eq!(names.asked(), 1);
    // The next request looks anew, and so does the one after it.
    assert_eq!(get(&client, &url).await, NOT_PUBLIC);
    assert!(
        nobody(get(&client, &url).await),
        "the private address is dropped from the answer"
    );
    assert_eq!(names.asked(), 3);
    assert_eq!(host.connections(), 0);
}

#[tokio::test]
async fn what_is_not_a_usual_https_url_is_not_even_looked_up() {
    let names = Names::of(&[]);
    let client = GuardedOutbound::new(GuardSettings {
        lookup: names.clone(),
        ..settings(&[])
    });
    for (url, refusal) in [
        ("http://client.example/", Refusal::NotHttps),
        ("https://user@client.example/", Refusal::UserInfo),
        ("https://client.example/#x", Refusal::Fragment),
        ("https://2130706433/", Refusal::OddHost),
        ("https://[::ffff:7f00:1]/", Refusal::NotPublic),
        ("ftp://client.example/", Refusal::NotHttps),
    ] {
        assert_eq!(get(&client, url).await, Err(OutboundError::Refused(refusal)), "{url}");
    }
    assert_eq!(names.asked(), 0);
    assert_eq!(
        get(&client, "https://client.example/").await,
        Err(OutboundError::Unreachable)
    );
    assert_eq!(names.asked(), 1);
}

#[tokio::test]
async fn nobody_is_followed_anywhere() {
    let inside = Host::plain(reply("200 OK", "", "secret")).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
        "300 Choices",
        "304 Same",
    ] {
        let location = format!("location: http://{}/\r\n", inside.address);
        let host = Host::plain(reply(status, &location, "")).await;
        let found = get(client(), &format!("http://{}/", host.address)).await;
        assert_eq!(found, Err(OutboundError::Refused(Refusal::Redirect)), "{status}");
        assert_eq!(host.asked().len(), 1, "{status}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_dead_address_leaves_time_for_the_next() {
    let host = Host::plain(reply("200 OK", "", "[]")).await;
    // Its queue is full, so that whoever comes next is not even turned away.
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind(format!("127.0.0.2:{}", host.port()).parse().unwrap())
        .unwrap();
    let dead = dead.listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(waiting) = timeout(SHORT, TcpStream::connect(dead.local_addr().unwrap())).await {
        queue.push(waiting.unwrap());
    }
    let client = |addresses: &[&str]| {
        GuardedOutbound::new(GuardSettings {
            lookup: Names::of(&[("two.example", &[addresses])]),
            fetch_deadline: Duration::from_secs(4),
            ..settings(&["two.example"])
        })
    };
    let url = format!("http://two.example:{}/", host.port());
    assert_eq!(get(&client(&["127.0.0.2"]), &url).await, Err(OutboundError::Timeout));
    assert_eq!(
        get(&client(&["127.0.0.2", "127.0.0.1"]), &url).await.unwrap().body,
        "[]"
    );
}

#[tokio::test]
async fn a_name_with_a_thousand_addresses_is_not_tried_at_all_of_them() {
    let host = Host::plain(reply("200 OK", "", "[]")).await;
    let closed: Vec<String> = (2..10).map(|last| format!("127.0.0.{last}")).collect();
    let mut addresses: Vec<&str> = closed.iter().map(String::as_str).collect();
    addresses.push("127.0.0.1");
    let found = async |addresses: &[&str]| {
        let client = GuardedOutbound::new(GuardSettings {
            lookup: Names::of(&[("many.example", &[addresses])]),
            ..settings(&["many.example"])
        });
        get(&client, &format!("http://many.example:{}/", host.port())).await
    };
    assert_eq!(found(&addresses).await, Err(OutboundError::Unreachable));
    assert_eq!(found(&addresses[1..]).await.unwrap().body, "[]");
}

/// Runs the test of an allowed host again, in a process whose environment names a proxy at which nobody listens.
#[test]
fn proxies_of_the_environment_are_not_used() {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "outbound::what_is_sent_is_what_is_needed_and_no_more"]);
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        again.env(name, "http://127.0.0.1:1");
    }
    let told = again.env("no_proxy", "").env("NO_PROXY", "").output().unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && text.contains("1 passed"), "{text}");
}

// TLS.

async fn get_tls(client: &GuardedOutbound, host: &Host) -> Result<OutboundReply, OutboundError> {
    get(client, &format!("https://{CLIENT}:{}/", host.port())).await
}

#[tokio::test]
async fn a_certificate_of_an_authority_of_the_operators_is_accepted() {
    let (ours, another) = (Authority::new(), Authority::named("Another authority"));
    let host = Host::tls(ours.identity(CLIENT), reply("200 OK", "", "[]")).await;
    for pem in [ours.pem(), [another.pem(), ours.pem()].concat()] {
        let found = get_tls(&with_roots(&pem, &host), &host).await;
        assert_eq!(found.unwrap().body, "[]");
    }
}

#[tokio::test]
async fn no_other_certificate_is() {
    let ours = Authority::new();
    let good = || reply("200 OK", "", "[]");
    for (what, identity) in [
        ("a stranger's", Authority::new().identity(CLIENT)),
        ("for another name", ours.identity("other.example")),
        ("for a name below", ours.identity("sub.client.example")),
        ("for all names above", ours.identity("*.example.com")),
        ("over since yesterday", ours.identity_until(CLIENT, -1)),
    ] {
        let host = Host::tls(identity, good()).await;
        let found = get_tls(&with_roots(&ours.pem(), &host), &host).await;
        assert_eq!(found, Err(OutboundError::Tls), "{what}");
        assert!(
            host.asked().is_empty(),
            "{what}: nothing was said before the certificate was seen"
        );
    }
    // Being allowed does not mean being believed.
    let host = Host::tls(ours.identity(CLIENT), good()).await;
    let client = GuardedOutbound::new(settings(&[CLIENT]));
    assert_eq!(get_tls(&client, &host).await, Err(OutboundError::Tls));
    let plain = Host::plain(good()).await;
    assert_eq!(get_tls(&client, &plain).await, Err(OutboundError::Tls));
}

#[tokio::test]
async fn authorities_that_cannot_be_read_keep_the_provider_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let key = openssl::pkey::PKey::generate_ed25519().unwrap();
    let mut broken = Authority::new().pem();
    broken.splice(60..64, *b"!!!!");
    for (name, content) in [
        ("empty.pem", Vec::new()),
        ("text.pem", b"this is not PEM".to_vec()),
        ("key.pem", key.private_key_to_pem_pkcs8().unwrap()),
        ("broken.pem", broken),
        ("missing.pem", Vec::new()),
    ] {
        let path = directory.path().join(name);
        if name != "missing.pem" {
            std::fs::write(&path, content).unwrap();
        }
        let told = start_error(&path, directory.path()).await;
        assert!(told.starts_with("outbound.extra_ca: ") && told.contains(name), "{told}");
    }
}

#[tokio::test]
async fn the_doctor_says_what_may_be_asked_and_finds_authorities_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let mut config = Config::default();
    config.database.url = "sqlite::memory:".into();
    config.keys.dir = directory.path().to_owned();
    config.outbound.allow_hosts = vec!["Client.Internal:8443".into()];
    config.outbound.extra_ca = Some(path.clone());
    let told = async || {
        let told = examine(&config, &Ambient::default()).await;
        let found = told.into_iter().find(|(what, _)| *what == "outbound requests");
        found.unwrap().1.map_err(|error| format!("{error:#}"))
    };
    let missing = told().await.unwrap_err();
    assert!(
        missing.starts_with("outbound.extra_ca: ") && missing.contains("ca.pem"),
        "{missing}"
    );
    std::fs::write(&path, Authority::new().pem()).unwrap();
    let good = told().await.unwrap();
    assert_eq!(
        good,
        "https at public addresses, anything at client.internal:8443, the system's certificate authorities and 1 more"
    );
}

// Replies.

#[tokio::test]
async fn what_is_sent_is_what_is_needed_and_no_more() {
    let says = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n";
    let host = Host::plain(Says::BytesThenNothing(says.to_vec())).await;
    let url = format!("http://{}/path?query=1", host.address);
    let client = client();
    for _ in 0..2 {
        let request = OutboundRequest::get(Purpose::JwksUri, &url).accepting("application/json");
        assert_eq!(client.fetch(request).await.unwrap().status, 200);
    }
    let wanted = format!(
        "GET /path?query=1 HTTP/1.1\r\naccept: application/json\r\nuser-agent: Hexgate/{}\r\nhost: {}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        host.address,
    );
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // The second time, too: no cookie came back, and the first connection was not used again.
    assert_eq!(
        host.asked().iter().map(|asked| sorted(asked)).collect::<Vec<_>>(),
        [sorted(&wanted), sorted(&wanted)]
    );
    assert_eq!(host.connections(), 2);
}

#[tokio::test]
async fn forms_and_notifications_arrive_with_their_credentials() {
    let host = Host::plain(reply("204 No Content", "", "")).await;
    let url = format!("http://{}/", host.address);
    let form = OutboundBody::Form(vec![("logout_token", "a.b+c&d".to_owned())]);
    let client = client();
    let logout = OutboundRequest::post(Purpose::BackchannelLogout, &url, form);
    assert!(client.fetch(logout).await.unwrap().is_success());
    let json = OutboundBody::Json(json!({"auth_req_id": "1"}));
    let ping = OutboundRequest::post(Purpose::CibaNotification, &url, json).with_bearer("secret".into());
    assert!(client.fetch(ping).await.unwrap().is_success());
    let [logout, ping] = host.asked().try_into().unwrap();
    assert!(logout.starts_with("POST / HTTP/1.1\r\n"), "{logout}");
    assert!(
        logout.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"),
        "{logout}"
    );
    assert!(logout.ends_with("\r\n\r\nlogout_token=a.b%2Bc%26d"), "{logout}");
    assert!(ping.contains("\r\ncontent-type: application/json\r\n"), "{ping}");
    assert!(ping.contains("\r\nauthorization: Bearer secret\r\n"), "{ping}");
    assert!(ping.ends_with("\r\n\r\n{\"auth_req_id\":\"1\"}"), "{ping}");
}

#[tokio::test]
async fn a_reply_is_told_whatever_its_status() {
    let fields = "content-type: Application/JSON; charset=utf-8\r\ncache-control: max-age=60\r\n";
    for status in ["200 OK", "404 Not Found", "500 Broken"] {
        let found = told(reply(status, fields, "{}")).await.unwrap();
        assert_eq!(found.status.to_string(), status[..3]);
        assert_eq!(found.is_success(), status == "200 OK");
        assert_eq!(found.content_type.as_deref(), Some("application/json"));
        assert_eq!(found.keep_for, Some(Duration::from_secs(60)));
        assert_eq!(found.body, "{}");
    }
}

#[tokio::test]
async fn a_body_may_be_as_large_as_its_purpose_allows_and_not_a_byte_larger() {
    let client = client();
    for purpose in Purpose::ALL {
        for (extra, wanted) in [(0, Ok(purpose.max_bytes())), (1, Err(OutboundError::TooLarge))] {
            let body = "x".repeat(purpose.max_bytes() + extra);
            let chunks = format!("{:x}\r\n{}\r\n1\r\nx\r\n0\r\n\r\n", body.len() - 1, &body[1..]);
            for says in [
                reply("200 OK", "", &body),
                Says::Bytes(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}").into()),
                Says::Bytes(format!("HTTP/1.1 200 OK\r\n\r\n{body}").into()),
            ] {
                let host = Host::plain(says).await;
                let request = OutboundRequest::get(purpose, format!("http://{}/", host.address));
                let found = client.fetch(request).await.map(|reply| reply.body.len());
                assert_eq!(found, wanted, "{purpose:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let endless = Says::BytesThenDrips([head, vec![b'x'; 64_000]].concat(), Duration::ZERO);
    assert_eq!(told(endless).await, Err(OutboundError::TooLarge));
}

#[tokio::test]
async fn lengths_that_lie_deceive_nobody() {
    let says = |length: &str, body: &str| {
        told(Says::Bytes(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into(),
        ))
    };
    assert_eq!(says("2", "[]and more").await.unwrap().body, "[]");
    assert_eq!(says("100", "[]").await, Err(OutboundError::BadReply));
    assert_eq!(says("64001", "[]").await, Err(OutboundError::TooLarge));
    assert_eq!(says("18446744073709551613", "[]").await, Err(OutboundError::TooLarge));
    for length in ["-1", "x", "1, 2", "99999999999999999999999"] {
        assert_eq!(says(length, "[]").await, Err(OutboundError::BadReply), "{length}");
    }
}

#[tokio::test]
async fn what_is_not_a_reply_is_none() {
    let many = "x: y\r\n".repeat(65);
    let large = format!("x: {}\r\n", "y".repeat(33 * 1024));
    for (what, says) in [
        ("another protocol", Says::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("nothing", Says::Bytes(Vec::new())),
        ("half a head", Says::Bytes(b"HTTP/1.1 200 OK\r\ncontent-".to_vec())),
        (
            "a broken chunk",
            Says::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec()),
        ),
        (
            "half of the chunks",
            Says::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n".to_vec()),
        ),
        ("too many fields", reply("200 OK", &many, "[]")),
        ("too large a field", reply("200 OK", &large, "[]")),
        ("a packed body", reply("200 OK", "content-encoding: gzip\r\n", "[]")),
        (
            "endless fields",
            Says::BytesThenDrips(
                [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 1 << 20]].concat(),
                Duration::ZERO,
            ),
        ),
    ] {
        assert_eq!(told(says).await, Err(OutboundError::BadReply), "{what}");
    }
}

#[tokio::test]
async fn a_delivery_is_not_repeated_behind_the_callers_back() {
    let host = Host::plain(Says::Bytes(Vec::new())).await;
    let form = OutboundBody::Form(vec![("logout_token", "x".to_owned())]);
    let request = OutboundRequest::post(Purpose::BackchannelLogout, format!("http://{}/", host.address), form);
    assert_eq!(client().fetch(request).await, Err(OutboundError::BadReply));
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_nobody_allowed() {
    let port = Host::plain(Says::Nothing).await.port();
    assert_eq!(
        get(client(), &format!("http://127.0.0.1:{port}/")).await,
        Err(OutboundError::Unreachable)
    );
}

// Time and crowds.

#[tokio::test]
async fn a_slow_host_gets_no_more_than_its_time() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let client = impatient();
    for (what, says) in [
        ("silent", Says::Nothing),
        ("silent after the request", Says::BytesThenNothing(Vec::new())),
        ("silent in the head", Says::BytesThenNothing(head[..20].to_vec())),
        ("silent after the head", Says::BytesThenNothing(head.clone())),
        (
            "one byte now and then",
            Says::BytesThenDrips(head.clone(), Duration::from_millis(20)),
        ),
        (
            "one byte of the head now and then",
            Says::BytesThenDrips(head[..30].to_vec(), Duration::from_millis(20)),
        ),
    ] {
        let host = Host::plain(says).await;
        let begun = Instant::now();
        assert_eq!(
            get(&client, &format!("http://{}/", host.address)).await,
            Err(OutboundError::Timeout),
            "{what}"
        );
        assert!(begun.elapsed() >= SHORT, "{what}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_shake_hands_gets_no_more_either() {
    let host = Host::plain(Says::Nothing).await;
    let found = get(&impatient(), &format!("https://{}/", host.address)).await;
    assert_eq!(found, Err(OutboundError::Timeout));
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_holds_so_many_threads_and_no_more() {
    let stuck = Arc::new(Stuck::default());
    let client = GuardedOutbound::new(GuardSettings {
        lookup: stuck.clone(),
        fetch_deadline: SHORT,
        crowd: Crowd {
            per_lane: 1,
            ..Crowd::default()
        },
        ..settings(&["good.example", "stuck.example"])
    });
    let host = Host::plain(reply("200 OK", "", "[]")).await;
    let good = format!("http://good.example:{}/", host.port());
    let held = stuck.0.lock().await;
    let stuck_url = format!("http://stuck.example:{}/", host.port());
    assert_eq!(get(&client, &stuck_url).await, Err(OutboundError::Timeout));
    // The request was given up, its thread not yet: the lane's next one waits for it.
    assert_eq!(get(&client, &good).await, Err(OutboundError::Timeout));
    // Others do not.
    let other_lane = OutboundRequest::get(Purpose::BackchannelLogout, &good);
    assert_eq!(client.fetch(other_lane).await.unwrap().body, "[]");
    drop(held);
    for attempt in 1.. {
        match get(&client, &good).await {
            Ok(_) => break,
            Err(error) => assert!(attempt < 20, "the thread does not come back: {error}"),
        }
    }
}

#[tokio::test]
async fn a_crowd_waits_for_a_moment_and_is_sent_away() {
    let silent = Host::plain(Says::Nothing).await;
    let good = Host::plain(reply("200 OK", "", "[]")).await;
    let client = GuardedOutbound::new(GuardSettings {
        crowd: Crowd {
            per_lane: 3,
            per_host: 2,
            patience: Duration::from_millis(50),
        },
        ..settings(&["127.0.0.1", "slow.example", "slow.test"])
    });
    let good_url = format!("http://{}/", good.address);
    let slow = |name: &str| format!("http://{name}:{}/", silent.port());
    let (first, second) = (slow("slow.example"), slow("slow.test"));
    let checks = async {
        until(|| silent.connections() == 2).await;
        // The host has its two; another one of the lane is free.
        assert_eq!(get(&client, &first).await, Err(OutboundError::Busy));
        assert!(get(&client, &good_url).await.is_ok());
        let checks = async {
            until(|| silent.connections() == 3).await;
            assert_eq!(get(&client, &good_url).await, Err(OutboundError::Busy));
            // Another lane is not full.
            let logout = OutboundRequest::get(Purpose::BackchannelLogout, &good_url);
            assert!(client.fetch(logout).await.is_ok());
        };
        tokio::select! {
            early = get(&client, &second) => panic!("{early:?}"),
            () = checks => {}
        }
    };
    tokio::select! {
        early = async { tokio::join!(get(&client, &first), get(&client, &first)) } => panic!("{early:?}"),
        () = checks => {}
    }
    let again = join_all((0..2).map(|_| get(&client, &good_url))).await;
    assert!(again.iter().all(Result::is_ok), "places come back: {again:?}");
}

#[tokio::test]
async fn whatever_strangers_have_us_fetch_keys_have_places_of_their_own() {
    for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::JwksUri) {
        let silent = Host::plain(Says::Nothing).await;
        let good = Host::plain(reply("200 OK", "", "[]")).await;
        let client = GuardedOutbound::new(GuardSettings {
            crowd: Crowd {
                per_lane: 1,
                per_host: 2,
                patience: Duration::from_millis(50),
            },
            ..settings(&["127.0.0.1", "slow.example"])
        });
        let slow = format!("http://slow.example:{}/", silent.port());
        let good_url = format!("http://{}/", good.address);
        let checks = async {
            until(|| silent.connections() == 1).await;
            let further = client.fetch(OutboundRequest::get(purpose, &good_url)).await;
            assert_eq!(further, Err(OutboundError::Busy), "{purpose:?}");
            assert!(get(&client, &good_url).await.is_ok(), "{purpose:?}");
        };
        tokio::select! {
            early = client.fetch(OutboundRequest::get(purpose, &slow)) => panic!("{early:?}"),
            () = checks => {}
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
