//! Documents of clients: fetched when needed, kept for a while, never asked for more often than that.

use std::{sync::Arc, time::Duration};

use auth_server::{
    application::client_documents::{ClientDocuments, DocumentError},
    ports::outbound::{OutboundError, Purpose, Refusal},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use service_kit::Timestamp;
use test_kit::FixedClock;

use crate::app::{Hosts, NOW, reply};

const KEYS: &str = "https://client.example/jwks.json";
const CLIENT: &str = "https://mcp.example/client.json";

fn first_kid(keys: &Value) -> Value {
    keys.pointer("/keys/0/kid").cloned().unwrap_or_default()
}

struct World {
    hosts: Arc<Hosts>,
    clock: Arc<FixedClock>,
    documents: ClientDocuments,
}

impl World {
    fn new() -> Self {
        let hosts = Arc::new(Hosts::default());
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let documents = ClientDocuments::new(hosts.clone(), clock.clone());
        Self {
            hosts,
            clock,
            documents,
        }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn put_key(&self, kid: &str) {
        self.hosts.put_json(KEYS, &json!({"keys": [{"kid": kid}]}));
    }

    async fn kid(&self) -> Result<Value, DocumentError> {
        self.documents.jwks.load(KEYS).await.map(|keys| first_kid(&keys))
    }

    async fn kid_anew(&self) -> Result<Value, DocumentError> {
        self.documents.jwks.refetch(KEYS).await.map(|keys| first_kid(&keys))
    }

    fn times(&self) -> usize {
        self.hosts.times(KEYS)
    }
}

#[tokio::test]
async fn keys_are_asked_for_once_and_again_when_their_time_is_over() {
    let world = World::new();
    world.put_key("a");
    assert_eq!(world.kid().await, Ok(json!("a")));
    world.put_key("b");
    world.advance(299);
    assert_eq!(world.kid().await, Ok(json!("a")));
    assert_eq!(world.times(), 1);
    world.advance(1);
    assert_eq!(world.kid().await, Ok(json!("b")));
    assert_eq!(world.times(), 2);
    assert_eq!(world.hosts.asked()[0].purpose, Purpose::JwksUri);
}

#[tokio::test]
async fn what_the_host_says_of_their_time_holds_within_bounds() {
    for (told, kept) in [(0, 10), (5, 10), (30, 30), (3600, 3600), (1_000_000, 3600)] {
        let world = World::new();
        world.hosts.put_json_for(KEYS, &json!({"keys": []}), told);
        world.kid().await.unwrap();
        world.advance(kept - 1);
        world.kid().await.unwrap();
        assert_eq!(world.times(), 1, "max-age={told}");
        world.advance(1);
        world.kid().await.unwrap();
        assert_eq!(world.times(), 2, "max-age={told}");
    }
}

#[tokio::test]
async fn callers_who_want_the_same_document_share_one_request() {
    let world = World::new();
    world.put_key("a");
    let found = join_all((0..50).map(|_| world.kid())).await;
    assert!(found.iter().all(|kid| *kid == Ok(json!("a"))), "{found:?}");
    assert_eq!(world.times(), 1);
    world.advance(20);
    join_all((0..50).map(|_| world.kid_anew())).await;
    assert_eq!(world.times(), 2);
    // Those of a document that cannot be had, too.
    let failed = join_all((0..50).map(|_| world.documents.jwks.load("https://gone.example/"))).await;
    assert!(failed.iter().all(Result::is_err));
    assert_eq!(world.hosts.times("https://gone.example/"), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_take_the_document_from_the_others() {
    let world = World::new();
    world.put_key("a");
    {
        let mut left = Box::pin(world.kid());
        // It has asked, and is dropped before the reply.
        assert!(futures_util::poll!(&mut left).is_pending());
        assert_eq!(world.times(), 1);
    }
    assert_eq!(world.kid().await, Ok(json!("a")));
    assert_eq!(world.times(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_unknown_ones_do_not_make_a_flood() {
    let world = World::new();
    world.put_key("a");
    world.kid().await.unwrap();
    // Just fetched: whoever misses a key in it would not find it in another one.
    assert_eq!(world.kid_anew().await, Ok(json!("a")));
    assert_eq!(world.times(), 1);
    world.advance(2);
    world.put_key("b");
    assert_eq!(world.kid_anew().await, Ok(json!("b")));
    assert_eq!(world.kid().await, Ok(json!("b")));
    for _ in 0..9 {
        world.advance(1);
        world.kid_anew().await.unwrap();
    }
    assert_eq!(world.times(), 2);
    world.put_key("c");
    world.advance(1);
    assert_eq!(world.kid_anew().await, Ok(json!("c")));
    assert_eq!(world.times(), 3);
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment() {
    let world = World::new();
    let unreachable = Err(DocumentError::Unavailable(OutboundError::Unreachable));
    assert_eq!(world.kid().await, unreachable);
    world.put_key("a");
    world.advance(4);
    assert_eq!(world.kid().await, unreachable);
    assert_eq!(
        world.kid_anew().await,
        Ok(json!("a")),
        "a refetch may ask after a second"
    );
    assert_eq!(world.times(), 2);
    world.hosts.fail(KEYS, OutboundError::Busy);
    let world = World::new();
    world.hosts.fail(KEYS, OutboundError::Busy);
    assert!(world.kid().await.is_err());
    world.put_key("a");
    assert_eq!(
        world.kid().await,
        Ok(json!("a")),
        "our own crowd is not the host's failure"
    );
}

#[tokio::test]
async fn known_keys_outlast_a_host_that_is_out_of_order_but_not_for_long() {
    let world = World::new();
    world.put_key("a");
    world.kid().await.unwrap();
    world.hosts.put(KEYS, reply(503, "text/html", "<h1>maintenance</h1>"));
    world.advance(300);
    assert_eq!(world.kid().await, Ok(json!("a")));
    assert_eq!(world.kid().await, Ok(json!("a")));
    assert_eq!(world.times(), 2, "it is asked again after the pause of a failure");
    world.advance(5);
    assert_eq!(world.kid().await, Ok(json!("a")));
    assert_eq!(world.times(), 3);
    world.advance(594);
    assert_eq!(world.kid().await, Ok(json!("a")));
    world.advance(1);
    assert_eq!(world.kid().await, Err(DocumentError::Status(503)));
}

#[tokio::test]
async fn a_failed_refetch_leaves_the_document_at_hand() {
    let world = World::new();
    world.put_key("a");
    world.kid().await.unwrap();
    world.advance(60);
    world.hosts.fail(KEYS, OutboundError::Timeout);
    assert_eq!(world.kid_anew().await, Ok(json!("a")));
    world.advance(200);
    assert_eq!(world.kid().await, Ok(json!("a")));
    assert_eq!(world.times(), 2, "it is as fresh as it was");
}

#[tokio::test]
async fn keys_that_were_taken_away_are_gone() {
    for gone in [reply(404, "text/plain", ""), reply(200, "application/json", "{}")] {
        let world = World::new();
        world.put_key("a");
        world.kid().await.unwrap();
        world.hosts.put(KEYS, gone.clone());
        world.advance(60);
        assert!(world.kid_anew().await.is_err(), "{gone:?}");
        assert!(world.kid().await.is_err(), "{gone:?}");
    }
}

#[tokio::test]
async fn what_is_not_a_key_set_is_none() {
    for (body, good) in [
        (r#"{"keys": []}"#, true),
        (r#"{"keys": {}}"#, false),
        (r#"{"key": []}"#, false),
        ("[]", false),
        ("", false),
        ("\u{fffd}", false),
        (r#"{"keys": []} {"keys": []}"#, false),
        (&"[".repeat(10_000), false),
    ] {
        let world = World::new();
        world.hosts.put(KEYS, reply(200, "text/plain", body));
        let wanted = match good {
            true => Ok(Value::Null),
            false => Err(DocumentError::Malformed("a JWK Set")),
        };
        assert_eq!(world.kid().await, wanted, "{body}");
    }
}

#[tokio::test]
async fn a_clients_description_is_json_and_says_so() {
    for (content_type, good) in [
        ("application/json", true),
        ("application/client-metadata+json", true),
        ("text/html", false),
        ("text/json", false),
        ("image/svg+json", false),
    ] {
        let world = World::new();
        world
            .hosts
            .put(CLIENT, reply(200, content_type, r#"{"client_id": "x"}"#));
        let found = world.documents.metadata.load(CLIENT).await;
        match good {
            true => assert_eq!(found.unwrap()["client_id"], "x"),
            false => assert_eq!(found.unwrap_err(), DocumentError::MediaType, "{content_type}"),
        }
    }
    let world = World::new();
    world.hosts.put_json(CLIENT, &json!(["not", "an", "object"]));
    let found = world.documents.metadata.load(CLIENT).await;
    assert_eq!(
        found.unwrap_err(),
        DocumentError::Malformed("a JSON object, each name once")
    );
}

#[tokio::test]
async fn a_description_that_cannot_be_had_any_more_is_not_honoured() {
    let world = World::new();
    world.hosts.put_json_for(CLIENT, &json!({}), 60);
    world.documents.metadata.load(CLIENT).await.unwrap();
    world.hosts.fail(CLIENT, OutboundError::Refused(Refusal::NotPublic));
    world.advance(60);
    let found = world.documents.metadata.load(CLIENT).await;
    assert_eq!(found.unwrap_err(), OutboundError::Refused(Refusal::NotPublic).into());
}

#[tokio::test]
async fn a_request_object_is_asked_for_each_time_and_without_its_fragment() {
    let world = World::new();
    let url = "https://client.example/request.jwt";
    world.hosts.put(url, reply(200, "application/jwt", "a.b.c\n"));
    for _ in 0..2 {
        let found = world
            .documents
            .request_object(&format!("{url}#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO"))
            .await;
        assert_eq!(found.as_deref(), Ok("a.b.c"));
    }
    assert_eq!(world.hosts.times(url), 2);
    for body in ["", " \n ", "a.b.c d", "a.b.\u{e9}"] {
        world.hosts.put(url, reply(200, "application/jwt", body));
        let found = world.documents.request_object(url).await;
        assert_eq!(found, Err(DocumentError::Malformed("a JWT")), "{body:?}");
        world.advance(5);
    }
    world.hosts.put(url, reply(404, "application/jwt", "a.b.c"));
    assert_eq!(
        world.documents.request_object(url).await,
        Err(DocumentError::Status(404))
    );
}

#[tokio::test]
async fn where_there_was_no_request_object_nobody_asks_for_a_moment() {
    let world = World::new();
    let (url, other) = ("https://client.example/request.jwt", "https://client.example/other.jwt");
    let ask = async |url: &str| world.documents.request_object(url).await;
    let unreachable = Err(DocumentError::Unavailable(OutboundError::Unreachable));
    assert_eq!(ask(url).await, unreachable);
    world.hosts.put(url, reply(200, "application/jwt", "a.b.c"));
    world.hosts.put(other, reply(200, "application/jwt", "a.b.c"));
    world.advance(4);
    assert_eq!(ask(&format!("{url}#v2")).await, unreachable);
    assert_eq!(world.hosts.times(url), 1);
    assert!(ask(other).await.is_ok(), "another address is another matter");
    world.advance(1);
    assert!(ask(url).await.is_ok());
    // Our own crowd is not the host's failure.
    world.hosts.fail(url, OutboundError::Busy);
    assert!(ask(url).await.is_err());
    world.hosts.put(url, reply(200, "application/jwt", "a.b.c"));
    assert!(ask(url).await.is_ok());
}

#[tokio::test]
async fn a_sector_is_a_list_of_uris() {
    let world = World::new();
    let url = "https://sector.example/uris.json";
    world
        .hosts
        .put_json(url, &json!(["https://a.example/cb", "https://b.example/cb"]));
    let found = world.documents.sector(url).await.unwrap();
    assert_eq!(found, ["https://a.example/cb", "https://b.example/cb"]);
    let many: Vec<String> = (0..1001).map(|n| format!("https://a.example/{n}")).collect();
    for body in [
        json!({}),
        json!("https://a.example/cb"),
        json!([1]),
        json!([["x"]]),
        json!(many),
    ] {
        world.hosts.put_json(url, &body);
        let found = world.documents.sector(url).await;
        assert_eq!(found, Err(DocumentError::Malformed("a JSON array of URIs")), "{body}");
    }
}
