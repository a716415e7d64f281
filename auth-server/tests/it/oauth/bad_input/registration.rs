//! Registration (RFC 7591) and its management (RFC 7592): every member of the metadata with every kind of JSON, and bodies that are none.

use http::Method;
use serde_json::{Map, Value, json};
use sql_test_kit::TestDatabase;

use super::{
    Table,
    hurts::FOREIGN,
    patient,
    voices::{Expected, Voice},
};
use crate::app::{Reply, TestApp};

/// What JSON a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any text, as long as nothing in it is a control character.
    Text,
    /// One word of a list, or an address.
    Word,
    Flag,
    Number,
    /// A list of words or addresses.
    Words,
    /// A list of any texts.
    Texts,
    Object,
}

const MEMBERS: [(&str, Kind); 58] = [
    ("redirect_uris", Kind::Words),
    ("post_logout_redirect_uris", Kind::Words),
    ("grant_types", Kind::Words),
    ("response_types", Kind::Words),
    ("client_name", Kind::Text),
    ("client_name#de", Kind::Text),
    ("client_uri", Kind::Word),
    ("client_uri#zh-Hans", Kind::Word),
    ("logo_uri", Kind::Word),
    ("policy_uri", Kind::Word),
    ("tos_uri", Kind::Word),
    ("scope", Kind::Text),
    ("token_endpoint_auth_method", Kind::Word),
    ("token_endpoint_auth_signing_alg", Kind::Word),
    ("id_token_signed_response_alg", Kind::Word),
    ("id_token_encrypted_response_alg", Kind::Word),
    ("id_token_encrypted_response_enc", Kind::Word),
    ("userinfo_signed_response_alg", Kind::Word),
    ("userinfo_encrypted_response_alg", Kind::Word),
    ("userinfo_encrypted_response_enc", Kind::Word),
    ("introspection_signed_response_alg", Kind::Word),
    ("introspection_encrypted_response_alg", Kind::Word),
    ("introspection_encrypted_response_enc", Kind::Word),
    ("authorization_signed_response_alg", Kind::Word),
    ("authorization_encrypted_response_alg", Kind::Word),
    ("authorization_encrypted_response_enc", Kind::Word),
    ("access_token_signing_alg", Kind::Word),
    ("request_object_signing_alg", Kind::Word),
    ("backchannel_authentication_request_signing_alg", Kind::Word),
    ("jwks", Kind::Object),
    ("jwks_uri", Kind::Word),
    ("sector_identifier_uri", Kind::Word),
    ("subject_type", Kind::Word),
    ("application_type", Kind::Word),
    ("access_token_format", Kind::Word),
    ("client_assertion_audience", Kind::Word),
    ("security_profile", Kind::Word),
    ("default_max_age", Kind::Number),
    ("require_auth_time", Kind::Flag),
    ("default_acr_values", Kind::Texts),
    ("initiate_login_uri", Kind::Word),
    ("request_uris", Kind::Words),
    ("contacts", Kind::Texts),
    ("software_id", Kind::Text),
    ("software_version", Kind::Text),
    ("authorization_details_types", Kind::Words),
    ("require_pushed_authorization_requests", Kind::Flag),
    ("require_signed_request_object", Kind::Flag),
    ("dpop_bound_access_tokens", Kind::Flag),
    ("tls_client_certificate_bound_access_tokens", Kind::Flag),
    ("tls_client_auth_subject_dn", Kind::Word),
    ("tls_client_auth_san_dns", Kind::Word),
    ("backchannel_logout_uri", Kind::Word),
    ("backchannel_logout_session_required", Kind::Flag),
    ("frontchannel_logout_uri", Kind::Word),
    ("frontchannel_logout_session_required", Kind::Flag),
    ("backchannel_user_code_parameter", Kind::Flag),
    ("no_such_member", Kind::Text),
];

const REFUSED: &[&str] = &["invalid_client_metadata", "invalid_redirect_uri"];
const ADDRESS: &str = "https://evil.example/cb";
const INVALID: &[&str] = &["invalid_client_metadata"];

/// Every kind of JSON, with a name and its text: some of it cannot be written as a [`Value`].
pub(super) fn kinds() -> Vec<(String, String)> {
    let deep = |open: &str, shut: &str, depth: usize| format!("{}{}", open.repeat(depth), shut.repeat(depth));
    let mut all: Vec<(String, String)> = [
        ("null", "null"),
        ("true", "true"),
        ("false", "false"),
        ("0", "0"),
        ("-1", "-1"),
        ("-0", "-0"),
        ("a fraction", "1.5"),
        ("the largest number", "18446744073709551615"),
        ("beyond 64 bits", "18446744073709551616"),
        ("beyond a double", "1e400"),
        ("an empty text", r#""""#),
        ("an empty list", "[]"),
        ("an empty object", "{}"),
        ("a list of null", "[null]"),
        ("a list of numbers", "[1]"),
        ("a list of empty texts", r#"["",""]"#),
        ("a list of lists", "[[[]]]"),
        ("a list of objects", "[{}]"),
        ("an object", r#"{"a":1}"#),
        ("an object in an object", r#"{"keys":{"keys":[]}}"#),
        ("keys that are none", r#"{"keys":[1,null,"a",{}]}"#),
        (
            "keys with a NUL",
            r#"{"keys":[{"kty":"EC","crv":"P-256","x":"\u0000","y":"a\u0000"}],"a\u0000":"\u0000"}"#,
        ),
        ("a NUL", r#""a\u0000b""#),
        ("a list of a NUL", r#"["a\u0000b"]"#),
        ("a lone surrogate", r#""\ud800""#),
        ("surrogates the wrong way round", r#""\udc00\ud800""#),
        ("half an escape", r#""\u00""#),
        ("an unknown escape", r#""\x41""#),
        ("a raw new line", "\"a\nb\""),
        ("a doubled member", r#"{"a":1,"a":2}"#),
        ("a doubled member, escaped", r#"{"a":1,"\u0061":2}"#),
        ("nothing", ""),
        ("NaN", "NaN"),
        ("a leading zero", "01"),
        ("a single quote", "'a'"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    all.push(("100 lists deep".into(), deep("[", "]", 100)));
    all.push(("10000 lists deep".into(), deep("[", "]", 10_000)));
    all.push((
        "5000 objects deep".into(),
        format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000)),
    ));
    all.push(("2048 bytes".into(), json!("a".repeat(2048)).to_string()));
    all.push(("2049 bytes".into(), json!("a".repeat(2049)).to_string()));
    all.push(("201 characters".into(), json!("a".repeat(201)).to_string()));
    all.push(("51 items".into(), json!(vec!["a"; 51]).to_string()));
    all.push(("a long item".into(), json!(["a".repeat(2049)]).to_string()));
    all.push((
        "a large object".into(),
        json!({"keys": [], "a": "a".repeat(33_000)}).to_string(),
    ));
    all
}

/// The same with all that texts can hold.
fn values() -> Vec<(String, String)> {
    let mut all = kinds();
    for (name, text) in FOREIGN {
        all.push((name.to_owned(), json!(text).to_string()));
        all.push((format!("a list of {name}"), json!([text]).to_string()));
        all.push((format!("{name} as a name"), json!({text: text}).to_string()));
    }
    all
}

/// The rule.
fn expected(member: &str, kind: Kind, text: &str) -> Expected {
    let Ok(value) = token_keys::strict_json::object(format!(r#"{{"a":{text}}}"#).as_bytes()) else {
        return Expected::Refused(INVALID);
    };
    let codes = match member {
        "redirect_uris" => &["invalid_redirect_uri"],
        _ => REFUSED,
    };
    let is_address = member.contains("_uri");
    let has_control = |text: &str| text.chars().any(char::is_control);
    match (&value["a"], kind) {
        _ if member == "no_such_member" => Expected::Accepted,
        // RFC 7592 §2.2: null and the empty text stand for nothing; without redirect URIs there is no code.
        (Value::Null, _) if member != "redirect_uris" => Expected::Accepted,
        (Value::String(text), _) if text.is_empty() && member != "redirect_uris" => Expected::Accepted,
        (Value::String(text), Kind::Text) if has_control(text) || text.len() > 2048 => Expected::Refused(codes),
        // Which words a client may have is the operator's; which characters they have is not.
        (Value::String(_), Kind::Text) if member == "scope" => Expected::Either(REFUSED),
        (Value::String(text), Kind::Text) if text.chars().count() > 200 => match member.starts_with("client_name") {
            true => Expected::Refused(codes),
            false => Expected::Accepted,
        },
        (Value::String(_), Kind::Text) | (Value::Bool(_), Kind::Flag) => match kind {
            Kind::Text => Expected::Accepted,
            // Some need other members beside them.
            _ => Expected::Either(REFUSED),
        },
        (Value::Number(number), Kind::Number) if number.is_u64() => Expected::Accepted,
        (Value::Array(items), Kind::Texts) => match items.iter().all(Value::is_string) {
            true if items.len() > 50 => Expected::Refused(codes),
            true if items
                .iter()
                .filter_map(Value::as_str)
                .any(|text| has_control(text) || text.len() > 2048) =>
            {
                Expected::Refused(codes)
            }
            true => Expected::Accepted,
            false => Expected::Refused(codes),
        },
        // No words are no mistake; what the client then cannot do may be one.
        (Value::Array(items), Kind::Words) if items.is_empty() => Expected::Either(REFUSED),
        (Value::Object(_), Kind::Object) => Expected::Either(REFUSED),
        // The one good value among them, where an address is wanted; what it must have in common with others is not the subject here.
        (Value::String(text), Kind::Word) if text == ADDRESS && is_address => Expected::Either(REFUSED),
        (Value::Array(items), Kind::Words) if items.iter().all(|item| item == ADDRESS) && is_address => {
            Expected::Accepted
        }
        _ => Expected::Refused(codes),
    }
}

/// Good metadata but for one member, whose JSON is given as text.
fn body(member: &str, text: &str, more: &str) -> String {
    let name = json!(member);
    match member {
        "redirect_uris" => format!("{{{more}{name}:{text}}}"),
        _ => format!(r#"{{{more}"redirect_uris":["https://app.example/cb"],{name}:{text}}}"#),
    }
}

fn judge(reply: &Reply, expected: &Expected) -> Result<(), String> {
    match reply.status {
        201 | 200 => {}
        _ => Voice::Json.judge(reply, expected, true)?,
    }
    match (reply.status, expected) {
        (200 | 201, Expected::Refused(_)) => Err(format!("accepted: {}", reply.text())),
        _ if reply.header("cache-control") != Some("no-store") => Err("may be kept".into()),
        _ => Ok(()),
    }
}

async fn walk(app: &TestApp, members: &[(&str, Kind)]) {
    let mut table = Table::open();
    let registered = app
        .call(Method::POST, "/connect/register")
        .json(&json!({"redirect_uris": ["https://app.example/cb"]}));
    let registered: Map<String, Value> = serde_json::from_value(registered.send().await.expect_json(201)).unwrap();
    let text = |name: &str| registered[name].as_str().unwrap().to_owned();
    let own = format!(r#""client_id":{},"#, json!(text("client_id")));
    for (member, kind) in members {
        for (name, value) in values() {
            let call = app.call(Method::POST, "/connect/register");
            let reply = call.raw("application/json", body(member, &value, "")).send().await;
            table.note(
                "register",
                member,
                &name,
                judge(&reply, &expected(member, *kind, &value)),
            );
        }
        for (name, value) in kinds() {
            let call = app.call(Method::PUT, &format!("/connect/register/{}", text("client_id")));
            let call = call.bearer(&text("registration_access_token"));
            let reply = call.raw("application/json", body(member, &value, &own)).send().await;
            table.note("update", member, &name, judge(&reply, &expected(member, *kind, &value)));
        }
    }
    table.expect_none();
}

#[tokio::test]
async fn every_member_with_every_kind_of_json_gets_the_error_of_rfc_7591_on_sqlite() {
    walk(&patient().start().await, &MEMBERS).await;
}

/// Whatever reaches the database as text.
#[tokio::test]
async fn every_member_that_holds_any_text_gets_the_error_of_rfc_7591_on_postgres() {
    let database = TestDatabase::postgres().await;
    let free = |kind: &Kind| matches!(kind, Kind::Text | Kind::Texts | Kind::Object);
    let members: Vec<(&str, Kind)> = MEMBERS.into_iter().filter(|(_, kind)| free(kind)).collect();
    walk(&patient().database(&database.url).start().await, &members).await;
}

#[tokio::test]
async fn a_body_that_is_no_metadata_is_refused() {
    let app = patient().start().await;
    let mut table = Table::open();
    let good = json!({"redirect_uris": ["https://app.example/cb"]}).to_string();
    let json = "application/json";
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("nothing", json, Vec::new()),
        ("a list", json, format!("[{good}]").into_bytes()),
        ("a text", json, b"\"a\"".to_vec()),
        ("null", json, b"null".to_vec()),
        ("cut short", json, good.as_bytes()[..good.len() - 1].to_vec()),
        ("two objects", json, format!("{good}{good}").into_bytes()),
        (
            "a byte order mark",
            json,
            [&b"\xef\xbb\xbf"[..], good.as_bytes()].concat(),
        ),
        ("UTF-16", json, utf16),
        ("no UTF-8", json, b"{\"client_name\":\"\xff\"}".to_vec()),
        ("a NUL after it", json, format!("{good}\0").into_bytes()),
        ("a comment", json, format!("{good}//").into_bytes()),
        ("lists without end", json, b"[".repeat(60_000)),
        ("objects without end", json, b"{\"a\":".repeat(10_000)),
        ("a form", "application/x-www-form-urlencoded", good.clone().into_bytes()),
        ("plain text", "text/plain", good.clone().into_bytes()),
        ("a JWT", "application/jwt", good.clone().into_bytes()),
    ];
    for (name, kind, body) in cases {
        let reply = app.call(Method::POST, "/connect/register").raw(kind, body).send().await;
        table.note(
            "register",
            "body",
            name,
            Voice::Json.judge(&reply, &Expected::Refused(INVALID), true),
        );
    }
    let too_large = format!(r#"{{"client_name":"{}"}}"#, "a".repeat(70_000));
    let reply = app
        .call(Method::POST, "/connect/register")
        .raw(json, too_large)
        .send()
        .await;
    let outcome = Voice::Json.judge(&reply, &Expected::Refused(&["invalid_request"]), true);
    table.note("register", "body", "too large", outcome);
    let twice = app
        .call(Method::POST, "/connect/register")
        .header("content-type", "text/plain");
    let reply = twice.raw(json, good).send().await;
    let outcome = Voice::Json.judge(&reply, &Expected::Refused(INVALID), true);
    table.note("register", "body", "two media types", outcome);
    table.expect_none();
}
