//! Requests signed by access keys: who gets in, and what no signature covers up.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use oauth_wire::Revoked;
use resource_gateway::domain::{
    access_key::KeySettings,
    ids::{AccessKeyId, Subject},
    signature::hex,
    vendor::Switch,
};
use serde_json::json;
use service_kit::{Clock as _, SystemClock, Timestamp};
use sha2::{Digest as _, Sha256};
use test_kit::FixedClock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    running::{Answer, Running, chat},
    signed_calls::{CHAT, Draft, Holder, is_refused, operator, settings},
    stub_issuer::{StubIssuer, now},
};

#[tokio::test]
async fn a_signed_call_is_answered_and_accounted_for_as_its_clients() {
    let world = Running::start().await;
    let holder = world
        .issue(KeySettings {
            sub: Some(Subject::new("alice")),
            ..settings()
        })
        .await;
    let answer = world.signed_chat(&holder, "echo").await;
    answer.ok();
    assert_eq!(world.usage(answer.request_id()).await.state, "completed");
    let mut streamed = chat("echo");
    streamed["stream"] = true.into();
    let answer = world.send_signed(&holder, &world.draft_of(&streamed)).await;
    assert!(
        answer.status == 200 && answer.body.ends_with("data: [DONE]\n\n"),
        "{}",
        answer.body
    );
    let draft = Draft::new("GET", format!("{}/v1/models", world.url), Vec::new());
    let models = world.send_signed(&holder, &draft).await.ok();
    assert!(models["data"].as_array().unwrap().len() > 5);
    // The same over HTTP/2, where the host has another name.
    let two = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let draft = world.draft("echo");
    let mut request = two.post(&draft.url).body(draft.body.clone());
    for (name, value) in draft.headers(&holder).iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    let reply = request.send().await.unwrap();
    assert_eq!(reply.version(), reqwest::Version::HTTP_2);
    Answer::read(reply).await.ok();
}

type Change = fn(&mut Draft, &mut BTreeMap<String, String>, &Holder);

fn put(headers: &mut BTreeMap<String, String>, name: &str, value: impl Into<String>) {
    headers.insert(name.to_owned(), value.into());
}

/// What happens to a request after it was signed, and the status and code of the answer.
const CHANGES: [(&str, u16, &str, Change); 15] = [
    ("path", 401, "invalid_signature", |draft, _, _| {
        draft.url = draft.url.replace(CHAT, "/v1/embeddings");
    }),
    ("alias", 401, "invalid_signature", |draft, _, _| {
        draft.url = draft.url.replace(CHAT, "/ai/invoke/chat_completion");
    }),
    ("query", 401, "invalid_signature", |draft, _, _| draft.url += "?a=1"),
    ("body", 401, "body_digest_mismatch", |draft, _, _| draft.body.push(b' ')),
    ("no body", 401, "body_digest_mismatch", |draft, _, _| draft.body.clear()),
    ("digest", 401, "invalid_signature", |draft, headers, _| {
        draft.body.push(b' ');
        put(headers, "x-hexgate-content-sha256", hex(&Sha256::digest(&draft.body)));
    }),
    ("host", 401, "invalid_signature", |_, headers, _| {
        put(headers, "host", "other.test");
    }),
    ("signed header", 401, "invalid_signature", |_, headers, _| {
        put(headers, "content-type", "application/x+json");
    }),
    ("nonce", 401, "invalid_signature", |_, headers, _| {
        put(headers, "x-hexgate-nonce", "0123456789abcdef");
    }),
    ("date", 401, "invalid_signature", |draft, headers, _| {
        let date = Timestamp::from_seconds(draft.date - 1);
        put(headers, "x-hexgate-date", date.to_rfc3339());
    }),
    ("expiry", 401, "invalid_signature", |_, headers, _| {
        let value = headers["authorization"].replace("Expires=300", "Expires=299");
        put(headers, "authorization", value);
    }),
    ("key", 401, "invalid_signature", |_, headers, other| {
        let value = headers["authorization"].clone();
        let (before, after) = value.split_once("Credential=").unwrap();
        let (_, after) = after.split_once(',').unwrap();
        put(
            headers,
            "authorization",
            format!("{before}Credential={},{after}", other.id),
        );
    }),
    ("signature", 401, "invalid_signature", |_, headers, _| {
        let mut value = headers["authorization"].clone();
        let last = value.pop().unwrap();
        value.push(if last == '0' { '1' } else { '0' });
        put(headers, "authorization", value);
    }),
    (
        "unsigned header of ours",
        400,
        "malformed_signature",
        |_, headers, _| {
            put(headers, "x-hexgate-extra", "1");
        },
    ),
    ("missing header", 400, "malformed_signature", |_, headers, _| {
        headers.remove("x-hexgate-nonce");
    }),
];

#[tokio::test]
async fn a_signature_covers_all_of_a_request() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    let other = world.issue(settings()).await;
    for (what, status, code, change) in CHANGES {
        let mut draft = world.draft("echo");
        let mut headers = draft.headers(&holder);
        change(&mut draft, &mut headers, &other);
        let answer = world.send(&draft, &headers).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        is_refused(&answer, status, code);
        assert!(!answer.body.contains(&holder.secret), "{what}");
    }
    // Nothing of that has spent a nonce or harmed the key, and headers that are not signed may come and go.
    let draft = world.draft("echo");
    let mut headers = draft.headers(&holder);
    put(&mut headers, "x-added-by-a-proxy", "1");
    world.send(&draft, &headers).await.ok();
    // A signature is no token, and does not stand beside one.
    let twice = world
        .http
        .post(format!("{}{CHAT}", world.url))
        .bearer_auth(world.token())
        .header("authorization", headers["authorization"].clone())
        .json(&chat("echo"));
    Answer::read(twice.send().await.unwrap()).await.error(400);
}

/// Sends a request line that no client library would, with headers that were signed for it.
async fn raw(world: &Running, holder: &Holder, path: &str, signed_path: &str) -> String {
    let draft = Draft::new("GET", format!("{}{signed_path}", world.url), Vec::new());
    let headers = draft.headers(holder);
    let mut text = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in &headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(world.url.trim_start_matches("http://"))
        .await
        .unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_path_is_what_was_signed_whatever_a_normaliser_makes_of_it() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    let good = raw(&world, &holder, "/v1/models/echo", "/v1/models/echo").await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    let spelt = raw(&world, &holder, "/v1/models/%65ch%6F", "/v1/models/echo").await;
    assert!(spelt.starts_with("HTTP/1.1 200"), "{spelt}");
    for path in [
        "/v1/models/../models/echo",
        "/v1/models/./echo",
        "/v1/models/%2e%2E/models/echo",
        "/v1/models//echo",
        "/v1/models/x%2Fecho",
        "/v1/models/x%5cecho",
        "/v1/models/echo%00",
    ] {
        let answer = raw(&world, &holder, path, "/v1/models/echo").await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("malformed_signature"),
            "{path}: {answer}"
        );
    }
    let twice = raw(&world, &holder, "/v1/models/%2565cho", "/v1/models/echo").await;
    assert!(twice.starts_with("HTTP/1.1 401"), "{twice}");
    let queries = raw(&world, &holder, "/v1/models?a=1&a=2", "/v1/models?a=2&a=1").await;
    assert!(queries.starts_with("HTTP/1.1 401"), "{queries}");
}

#[tokio::test]
async fn a_signed_request_is_served_once() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    let draft = world.draft("echo");
    let headers = draft.headers(&holder);
    let answers = (0..16).map(|_| world.send(&draft, &headers));
    let answers = futures_util::future::join_all(answers).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        is_refused(answer, 401, "nonce_replayed");
    }
    // The nonce is the key's for good, also in another request, and another key's own.
    let mut again = world.draft("echo");
    again.nonce.clone_from(&draft.nonce);
    again.date -= 3;
    is_refused(&world.send_signed(&holder, &again).await, 401, "nonce_replayed");
    let other = world.issue(settings()).await;
    world.send_signed(&other, &again).await.ok();
}

#[tokio::test]
async fn a_request_of_another_time_is_told_the_servers() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    for (date, expires, good) in [
        (now() - 290, 300, true),
        (now() + 290, 300, true),
        (now() - 310, 300, false),
        (now() + 310, 300, false),
        (now() - 30, 20, false),
        (0, 300, false),
    ] {
        let draft = Draft {
            date,
            expires,
            ..world.draft("echo")
        };
        let answer = world.send_signed(&holder, &draft).await;
        if good {
            answer.ok();
            continue;
        }
        is_refused(&answer, 401, "request_time_skewed");
        // Whoever signs by the time that it was told gets in.
        let mut headers = draft.headers(&holder);
        let mended = Draft {
            date: now(),
            expires: 300,
            ..world.draft("echo")
        };
        headers.clear();
        let told = answer.header("x-hexgate-date");
        let own = Timestamp::from_seconds(now()).to_rfc3339();
        assert_eq!((told.len(), &told[..10]), (20, &own[..10]), "{told}");
        world.send_signed(&holder, &mended).await.ok();
    }
}

#[tokio::test]
async fn scopes_interfaces_and_addresses_of_a_key_are_obeyed() {
    let world = Running::start().await;
    let narrow = world
        .issue(KeySettings {
            scopes: ["ai:chat".to_owned()].into(),
            interfaces: Some(["echo".to_owned(), "embed".to_owned()].into()),
            ip_allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..settings()
        })
        .await;
    world.signed_chat(&narrow, "echo").await.ok();
    assert_eq!(
        world.signed_chat(&narrow, "sandbox").await.error(403)["code"],
        "interface_not_granted"
    );
    let embed = Draft {
        url: format!("{}/v1/embeddings", world.url),
        ..world.draft_of(&json!({"model": "embed", "input": "x"}))
    };
    assert_eq!(
        world.send_signed(&narrow, &embed).await.error(403)["code"],
        "insufficient_scope"
    );
    let elsewhere = world
        .issue(KeySettings {
            ip_allow: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            ..settings()
        })
        .await;
    is_refused(&world.signed_chat(&elsewhere, "echo").await, 403, "address_not_allowed");
    let single = world
        .issue(KeySettings {
            scopes: ["ai:chat:echo".to_owned()].into(),
            ..settings()
        })
        .await;
    world.signed_chat(&single, "echo").await.ok();
    world.signed_chat(&single, "sandbox").await.error(403);
}

#[tokio::test]
async fn an_address_is_the_clients_where_a_trusted_proxy_tells_it() {
    let issuer = StubIssuer::start().await;
    let world = Running::start_with(issuer, |config| {
        config.proxy.trusted = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let holder = world
        .issue(KeySettings {
            ip_allow: vec!["192.0.2.0/24".parse().unwrap()],
            ..settings()
        })
        .await;
    for (forwarded, good) in [
        ("192.0.2.7", true),
        ("192.0.3.7", false),
        ("192.0.2.7, 203.0.113.1", false),
    ] {
        let draft = world.draft("echo");
        let mut headers = draft.headers(&holder);
        headers.insert("x-forwarded-for".into(), forwarded.into());
        assert_eq!(world.send(&draft, &headers).await.status == 200, good, "{forwarded}");
    }
}

#[tokio::test]
async fn what_operators_do_to_a_key_holds_soon() {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), "", |_| {}).await;
    let holder = world.issue(settings()).await;
    let id = AccessKeyId::new(holder.id.as_str());
    let keys = world.gateway.foundation.access_keys().unwrap();
    world.signed_chat(&holder, "echo").await.ok();
    let soon = async |what: &str, status: u16, code: &str, holder: &Holder| {
        let began = std::time::Instant::now();
        loop {
            let answer = world.signed_chat(holder, "echo").await;
            if answer.status == status {
                if status != 200 {
                    is_refused(&answer, status, code);
                }
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(15), "{what}: {}", answer.body);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let off = KeySettings {
        enabled: Switch::Off,
        ..settings()
    };
    keys.replace(&id, &operator(), |_| Ok(off)).await.unwrap();
    soon("disabled", 401, "access_key_disabled", &holder).await;
    keys.replace(&id, &operator(), |_| Ok(settings())).await.unwrap();
    soon("enabled", 200, "", &holder).await;
    // Two secrets are good during a rotation …
    let issued = keys
        .rotate(&id, Duration::from_secs(3600), &operator(), |_| Ok(()))
        .await
        .unwrap();
    let fresh = Holder::from(&issued);
    soon("rotated", 200, "", &fresh).await;
    world.signed_chat(&holder, "echo").await.ok();
    // … and never three.
    let latest = keys.rotate(&id, Duration::from_secs(1), &operator(), |_| Ok(())).await;
    let latest = Holder::from(&latest.unwrap());
    soon("rotated twice", 200, "", &latest).await;
    is_refused(&world.signed_chat(&holder, "echo").await, 401, "invalid_signature");
    // The overlap ends by itself, without another change.
    clock.advance(Duration::from_millis(999));
    world.signed_chat(&fresh, "echo").await.ok();
    clock.advance(Duration::from_millis(1));
    is_refused(&world.signed_chat(&fresh, "echo").await, 401, "invalid_signature");
    world.signed_chat(&latest, "echo").await.ok();
    let last = keys.rotate(&id, Duration::ZERO, &operator(), |_| Ok(())).await;
    let last = Holder::from(&last.unwrap());
    soon("rotated at once", 401, "invalid_signature", &latest).await;
    world.signed_chat(&last, "echo").await.ok();
    keys.delete(&id, &operator(), |_| Ok(())).await.unwrap();
    soon("deleted", 401, "invalid_signature", &last).await;
}

#[tokio::test]
async fn a_refused_configuration_does_not_keep_a_key_alive() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    world.signed_chat(&holder, "echo").await.ok();
    // Rows that no gateway publishes, put there behind its back.
    world
        .execute(sql_kit::sql!("UPDATE interface SET capability = 'sorcery'"))
        .await;
    let keys = world.gateway.foundation.access_keys().unwrap();
    let id = AccessKeyId::new(holder.id.as_str());
    keys.delete(&id, &operator(), |_| Ok(())).await.unwrap();
    world
        .until("the key is gone", async || {
            world.signed_chat(&holder, "echo").await.status == 401
        })
        .await;
    world
        .until("the configuration is refused", async || {
            world.gateway.snapshots.status().refused.is_some()
        })
        .await;
}

#[tokio::test]
async fn keys_end_with_their_client_for_good() {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), "", |_| {}).await;
    let holder = world.issue(settings()).await;
    let bystander = world
        .issue(KeySettings {
            client_id: resource_gateway::domain::ids::ClientId::new("another"),
            ..settings()
        })
        .await;
    world.signed_chat(&holder, "echo").await.ok();
    world.issuer.revoke(Revoked::Client {
        client_id: "machine".into(),
        before: now(),
    });
    world
        .until("the key is refused", async || {
            world.signed_chat(&holder, "echo").await.status == 401
        })
        .await;
    let keys = world.gateway.foundation.access_keys().unwrap();
    let id = AccessKeyId::new(holder.id.as_str());
    // The feed forgets; the table does not.
    world
        .until("the row says so", async || {
            keys.load(&id).await.unwrap().settings.enabled == Switch::Off
        })
        .await;
    world.signed_chat(&bystander, "echo").await.ok();
    // An operator may stand by it again, later.
    clock.advance(Duration::from_secs(60));
    keys.replace(&id, &operator(), |_| Ok(settings())).await.unwrap();
    world
        .until("it is good again", async || {
            world.signed_chat(&holder, "echo").await.status == 200
        })
        .await;
}

#[tokio::test]
async fn keys_of_a_person_end_with_the_persons_tokens() {
    let world = Running::start().await;
    let mine = world
        .issue(KeySettings {
            sub: Some(Subject::new("alice")),
            ..settings()
        })
        .await;
    let machines = world.issue(settings()).await;
    world.signed_chat(&mine, "echo").await.ok();
    world.issuer.revoke(Revoked::Subject {
        sub: "alice".into(),
        before: now(),
    });
    world
        .until("the key is refused", async || {
            world.signed_chat(&mine, "echo").await.status == 401
        })
        .await;
    world.signed_chat(&machines, "echo").await.ok();
}

#[tokio::test]
async fn before_the_provider_was_asked_for_revocations_nobody_gets_in() {
    let issuer = StubIssuer::start().await;
    issuer.hold_feed();
    let world = Running::start_unready(issuer, |_| {}).await;
    let holder = world.issue(settings()).await;
    let answer = world.signed_chat(&holder, "echo").await;
    assert_eq!(answer.error(503)["code"], "not_ready");
    assert_eq!(answer.header("retry-after"), "1");
    world.issuer.answer_polls(2);
    world
        .until("the key is good", async || {
            world.signed_chat(&holder, "echo").await.status == 200
        })
        .await;
}

#[tokio::test]
async fn while_the_database_is_away_keys_that_are_in_use_stay_good_and_it_is_nobodys_fault() {
    let world = Running::start().await;
    let (used, unused) = (world.issue(settings()).await, world.issue(settings()).await);
    world.gateway.snapshots.refresh().await;
    world.signed_chat(&used, "echo").await.ok();
    world
        .execute(sql_kit::sql!("ALTER TABLE access_key RENAME TO elsewhere"))
        .await;
    world.signed_chat(&used, "echo").await.ok();
    let answer = world.signed_chat(&unused, "echo").await;
    assert_eq!(answer.error(503)["code"], "signatures_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    // An id that was never minted needs no database to be refused.
    let made_up = Holder {
        id: format!("hgk_{}", "A".repeat(32)),
        ..used.clone()
    };
    is_refused(&world.signed_chat(&made_up, "echo").await, 401, "invalid_signature");
}

#[tokio::test]
async fn a_key_that_signs_too_much_is_slowed_down_alone() {
    let issuer = StubIssuer::start().await;
    let world = Running::start_with(issuer, |config| config.access_keys.nonce_entries = 1000).await;
    let (flood, quiet) = (world.issue(settings()).await, world.issue(settings()).await);
    let mut slowed = None;
    for _ in 0..1000 {
        let draft = Draft::new("GET", format!("{}/v1/models/echo", world.url), Vec::new());
        let answer = world.send_signed(&flood, &draft).await;
        if answer.status != 200 {
            slowed = Some(answer);
            break;
        }
    }
    let answer = slowed.unwrap();
    is_refused(&answer, 429, "rate_limit_exceeded");
    assert_eq!(answer.header("retry-after"), "15");
    world.signed_chat(&quiet, "echo").await.ok();
}

#[tokio::test]
async fn last_uses_are_written_down() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    let id = AccessKeyId::new(holder.id.as_str());
    let keys = world.gateway.foundation.access_keys().unwrap();
    assert_eq!(keys.load(&id).await.unwrap().last_used_at, None);
    world.signed_chat(&holder, "echo").await.ok();
    world.stop().await;
    let used = keys.load(&id).await.unwrap().last_used_at.unwrap();
    assert!((now() - used.as_seconds()).abs() < 10);
}
