//! Every signed token that the provider reads, hurt in every way: the algorithm, the key, each claim, the kind, the form. SECURITY.md
//! section 2, "JWT algorithm confusion", at every place and not at one.
//!
//! A reader says which claims it looks at; hurts in those are refused, hurts in others do no harm. What deviates from this rule stands in the
//! reader's list of harmless hurts with its reason, and has to be harmless.

mod hurts;
mod readers;
mod world;

use serde_json::{Value, json};
use sql_test_kit::TestDatabase;

use self::{
    hurts::{FORGER, hurts},
    readers::{Place, Reader},
    world::World,
};
use super::bad_input::{Table, patient, voices::is_sound};
use crate::app::Reply;

/// Whether a reader takes a token that is hurt so.
fn is_harmless(reader: &impl Reader, name: &str) -> bool {
    const TIMES_AND_NAMES: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
    let claim = name.split(' ').next().unwrap_or_default();
    let is_unread = TIMES_AND_NAMES.contains(&claim) && !reader.reads().contains(&claim);
    is_unread || reader.harmless().iter().any(|(_, names)| names.contains(&name))
}

async fn walk(reader: &impl Reader, strangers: &[(&str, String)], table: &mut Table) {
    let row = reader.name();
    let mut seen = Vec::new();
    for (name, token) in hurts(reader) {
        let is_good = is_harmless(reader, &name);
        if let Some(reply) = reader.present(&token).await {
            table.note(row, "hurt", &name, reader.judge(&reply, is_good));
        }
        seen.push(name);
    }
    for (name, token) in strangers.iter().filter(|(name, _)| !reader.kinds().contains(name)) {
        if let Some(reply) = reader.present(token).await {
            table.note(row, "other kind", name, reader.judge(&reply, false));
        }
    }
    let (header, claims) = reader.good();
    let good = reader.signer().sign(header.to_string(), claims.to_string());
    for (time, is_good) in [("first", true), ("second", !reader.is_single_use())] {
        let reply = reader.present(&good).await.unwrap();
        table.note(row, "not hurt", time, reader.judge(&reply, is_good));
    }
    // An exception that nothing needs would hide a fault to come.
    for name in reader.harmless().iter().flat_map(|(_, names)| names.iter()) {
        let is_known = seen.iter().any(|known| known == name);
        let outcome = match is_known {
            true => Ok(()),
            false => Err("there is no such hurt".to_owned()),
        };
        table.note(row, "harmless", name, outcome);
    }
}

async fn walk_every_reader(world: &World) {
    let mut table = Table::open();
    let strangers = world.strangers().await;
    walk(&world.assertion(), &strangers, &mut table).await;
    walk(&world.assertion_by_secret(), &strangers, &mut table).await;
    walk(&world.grant_of_issuer(), &strangers, &mut table).await;
    walk(&world.grant_of_client(), &strangers, &mut table).await;
    walk(&world.proof_at_token(), &strangers, &mut table).await;
    walk(&world.proof_at_userinfo(), &strangers, &mut table).await;
    walk(&world.request_object(), &strangers, &mut table).await;
    for place in [
        Place::HintAtAuthorize,
        Place::HintAtLogout,
        Place::HintAtBackchannel,
        Place::Userinfo,
        Place::Introspection,
        Place::Exchange,
    ] {
        walk(&world.own_token(place).await, &strangers, &mut table).await;
    }
    table.note(
        "all",
        "keys",
        "fetched from where a token says",
        match world.app.hosts.times(FORGER) {
            0 => Ok(()),
            times => Err(format!("{times} times")),
        },
    );
    table.expect_none();
}

#[tokio::test]
async fn no_token_that_is_hurt_is_believed_anywhere_on_sqlite() {
    walk_every_reader(&World::start(patient()).await).await;
}

#[tokio::test]
async fn no_token_that_is_hurt_is_believed_anywhere_on_postgres() {
    let database = TestDatabase::postgres().await;
    walk_every_reader(&World::start(patient().database(&database.url)).await).await;
}

/// Parameters inside a request object (RFC 9101 §4), with every kind of JSON: what is no parameter's type is refused, and nothing that a
/// client signs is a failure of ours.
#[tokio::test]
async fn every_parameter_inside_a_request_object_is_held_to_its_type() {
    const TEXTS: [&str; 18] = [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "response_mode",
        "prompt",
        "display",
        "ui_locales",
        "claims_locales",
        "id_token_hint",
        "login_hint",
        "acr_values",
        "code_challenge",
        "code_challenge_method",
        "dpop_jkt",
        "max_age",
    ];
    const STRUCTURES: [&str; 4] = ["claims", "authorization_details", "registration", "resource"];
    let world = World::start(patient()).await;
    let reader = world.request_object();
    let mut table = Table::open();
    for name in TEXTS.into_iter().chain(STRUCTURES) {
        for (how, value) in kinds_of_json() {
            let (header, mut claims) = reader.good();
            claims[name] = value.clone();
            let token = reader.signer().sign(header.to_string(), claims.to_string());
            let reply = reader.present(&token).await.unwrap();
            let is_other_type = match (&value, name) {
                (Value::String(text), _) => text.contains('\0'),
                (Value::Number(_), name) => name != "max_age",
                (Value::Array(_), name) => !STRUCTURES.contains(&name),
                (Value::Object(_), name) => name == "resource" || !STRUCTURES.contains(&name),
                (Value::Null | Value::Bool(_), _) => true,
            };
            let outcome = match is_other_type {
                true => reader.judge(&reply, false),
                false => is_no_failure(&reply),
            };
            table.note("request object", name, how, outcome);
        }
    }
    table.expect_none();
}

/// What else a parameter is told depends on the parameter, which is another table's.
fn is_no_failure(reply: &Reply) -> Result<(), String> {
    match reply.status < 500 && is_sound(reply).is_ok() {
        true => Ok(()),
        false => Err(format!("{} {}", reply.status, reply.text())),
    }
}

fn kinds_of_json() -> Vec<(&'static str, Value)> {
    vec![
        ("null", Value::Null),
        ("true", true.into()),
        ("a number", 5.into()),
        ("a negative number", (-5).into()),
        ("a fraction", json!(5.5)),
        ("the largest number", u64::MAX.into()),
        ("beyond every number", json!(1e300)),
        ("nothing", "".into()),
        ("a word", "no-such-thing".into()),
        ("a number as text", "5".into()),
        ("a NUL", "a\0b".into()),
        ("a new line", "a\r\nSet-Cookie: a=b".into()),
        ("a bidi override", "\u{202e}a".into()),
        ("mark-up", "\"><script>alert(1)</script>".into()),
        ("a long text", "a".repeat(8_000).into()),
        ("a list", json!(["a"])),
        ("an empty list", json!([])),
        ("a list of numbers", json!([1])),
        ("a list of a NUL", json!(["a\0b"])),
        ("a long list", json!(vec!["https://a.example"; 200])),
        ("an object", json!({"a": 1})),
        ("an empty object", json!({})),
        (
            "an object of a NUL",
            json!({"userinfo": {"a\0b": {"value": "\0"}}, "id_token": {"sub": {"value": "a\0b"}}}),
        ),
        ("a list of objects", json!([{"type": "ai_call", "interfaces": ["\0"]}])),
    ]
}
