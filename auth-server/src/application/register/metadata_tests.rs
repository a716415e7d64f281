//! Properties: nothing that strangers send can do more than be refused, and what is told back registers the same client.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::application::register::describe::describe;

fn read_from(metadata: &Map<String, Value>) -> (Client, Vec<String>) {
    let mut faults = Faults::default();
    let frame = Frame {
        client_id: ClientId::new("c"),
        tenant: TenantId::new("default"),
        speaker: Speaker::Stranger,
        default_method: ClientAuthMethod::ClientSecretBasic,
        reach: &Reach::default(),
    };
    let client = read(metadata, frame, &mut faults);
    (client, faults.into_iter().map(|fault| fault.member).collect())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Every name that is known, some in other languages, some unknown.
fn names() -> Vec<String> {
    let known = OWN_MEMBERS.iter().chain(members::<ClientProtocol>());
    let strange = [
        "client_name#de",
        "tos_uri#zh-Hans",
        "client_name#",
        "x",
        "",
        "localized",
    ];
    known.chain(&strange).map(|name| (*name).to_owned()).collect()
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "https?://[a-z0-9.@:/?#%\\[\\]-]{0,30}".prop_map(Value::from),
        prop::sample::select(vec![
            "code",
            "none",
            "RS256",
            "authorization_code",
            "native",
            "pairwise",
            "A128GCM"
        ])
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((prop::sample::select(names()), value()), 0..12)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn no_metadata_panics_and_what_is_told_back_is_the_same_client(metadata in metadata()) {
        let (client, faults) = read_from(&metadata);
        if faults.is_empty() {
            let (again, faults) = read_from(&describe(&client));
            prop_assert!(faults.is_empty(), "{faults:?}");
            prop_assert_eq!(again, client);
        }
    }

    #[test]
    fn only_an_operator_gives_rights(mut metadata in metadata()) {
        for name in ["first_party", "auto_approve", "permissions", "ai_interfaces", "tenant", "require_pkce"] {
            metadata.insert(name.to_owned(), json!(true));
        }
        let (client, _) = read_from(&metadata);
        prop_assert!(!client.first_party && !client.auto_approve && client.require_pkce);
        prop_assert!(client.permissions.is_empty() && client.secrets.is_empty());
        prop_assert_eq!(client.tenant.as_str(), "default");
    }
}

#[test]
fn an_assertion_audience_that_is_left_empty_is_the_one_that_is_left_out() {
    let audience = |metadata: Value| read_from(&object(metadata)).0.protocol.client_assertion_audience;
    let left_out = audience(json!({}));
    for empty in [json!(null), json!("")] {
        assert_eq!(audience(json!({"client_assertion_audience": empty})), left_out);
    }
}

#[test]
fn bounds_hold_at_their_edges() {
    let faults = |metadata: Value| read_from(&object(metadata)).1;
    let none: Vec<String> = Vec::new();
    let address = |length: usize| format!("https://app.example/{}", "x".repeat(length - 20));
    assert_eq!(faults(json!({"policy_uri": address(2048)})), none);
    assert_eq!(faults(json!({"policy_uri": address(2049)})), ["policy_uri"]);
    assert_eq!(faults(json!({"client_name": "☂".repeat(200)})), none);
    assert_eq!(faults(json!({"client_name": "☂".repeat(201)})), ["client_name"]);
    assert_eq!(faults(json!({"client_name#de": "☂".repeat(200)})), none);
    assert_eq!(faults(json!({"client_name#de": "☂".repeat(201)})), ["client_name#de"]);
    assert_eq!(faults(json!({"contacts": vec!["x".repeat(2048); 50]})), none);
    assert_eq!(faults(json!({"contacts": vec!["x"; 51]})), ["contacts"]);
    assert_eq!(faults(json!({"contacts": ["x".repeat(2049)]})), ["contacts"]);
    let keys = |length: usize| json!({"jwks": {"keys": [{"kid": "x".repeat(length)}]}});
    assert_eq!(faults(keys(32 * 1024 - 21)), none);
    assert_eq!(faults(keys(32 * 1024 - 20)), ["jwks"]);
    let names = |count: u8| -> Value {
        let languages = (0..count).map(|at| format!("client_name#a{}{}", at / 26, char::from(b'a' + at % 26)));
        Value::Object(languages.map(|name| (name, json!("x"))).collect())
    };
    assert_eq!(faults(names(50)), none);
    assert_eq!(faults(names(51)), ["client_name"]);
}

#[test]
fn a_document_may_link_to_plain_pages_and_a_stranger_may_not() {
    let metadata = object(json!({"client_uri": "http://intranet.example/", "tos_uri": "https://user@app.example/"}));
    assert_eq!(read_from(&metadata).1, ["client_uri", "tos_uri"]);
    let mut faults = Faults::default();
    let frame = Frame {
        client_id: ClientId::new("c"),
        tenant: TenantId::new("default"),
        speaker: Speaker::Operator,
        default_method: ClientAuthMethod::None,
        reach: &Reach::default(),
    };
    read(&metadata, frame, &mut faults);
    assert_eq!(
        faults.iter().map(|fault| fault.member.as_str()).collect::<Vec<_>>(),
        ["tos_uri"]
    );
}

#[test]
fn in_a_laboratory_browsers_may_be_sent_to_loopback() {
    let metadata = object(json!({"initiate_login_uri": "http://localhost:8080/start"}));
    assert_eq!(read_from(&metadata).1, ["initiate_login_uri"]);
    let reach = Reach {
        plain_loopback: true,
        ..Reach::default()
    };
    let mut faults = Faults::default();
    let frame = Frame {
        client_id: ClientId::new("c"),
        tenant: TenantId::new("default"),
        speaker: Speaker::Stranger,
        default_method: ClientAuthMethod::None,
        reach: &reach,
    };
    read(&metadata, frame, &mut faults);
    assert!(faults.is_empty());
}
