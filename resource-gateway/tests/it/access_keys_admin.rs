//! `/admin/v1/access-keys`: issued once, shown without secrets, changed by whoever may.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    admin::{admin_token, get, post, problem, put, send, token, without},
    running::Running,
    signed_calls::{Holder, is_refused},
};

fn key() -> Value {
    json!({"client_id": "machine", "tenant": "t1", "sub": "alice", "scopes": ["ai:chat"], "interfaces": ["echo"],
        "ip_allow": ["127.0.0.1", "10.0.0.0/8"], "enabled": true})
}

fn holder(issued: &Value) -> Holder {
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    Holder {
        id: text("id"),
        secret: text("secret"),
    }
}

#[tokio::test]
async fn a_key_is_issued_used_changed_rotated_and_removed() {
    let world = Running::start().await;
    let issued = post(&world, "/v1/access-keys", &key()).await;
    assert_eq!(issued.status, 201, "{}", issued.body);
    assert_eq!(issued.header("cache-control"), "no-store");
    let shown = issued.json();
    for (name, value) in key().as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    let first = holder(&shown);
    let path = format!("/v1/access-keys/{}", first.id);
    assert_eq!(issued.header("location"), format!("/admin{path}"));
    world.signed_chat(&first, "echo").await.ok();

    // The secret was shown once.
    let read = get(&world, &path).await;
    assert_eq!(read.ok(), without(shown, "secret"));
    assert_eq!(read.header("etag"), issued.header("etag"));
    let listed = get(&world, "/v1/access-keys?client_id=machine").await.ok();
    assert_eq!(listed["items"], json!([read.json()]));
    assert!(!listed.to_string().contains("hgks_"));

    // What was read can be sent again; a change holds for the next call.
    let same = put(&world, &path, &read.json()).await;
    assert_eq!(same.status, 200, "{}", same.body);
    let mut off = key();
    off["enabled"] = false.into();
    put(&world, &path, &off).await.ok();
    is_refused(&world.signed_chat(&first, "echo").await, 401, "access_key_disabled");
    put(&world, &path, &key()).await.ok();
    world.signed_chat(&first, "echo").await.ok();

    let second = post(&world, &format!("{path}/rotate"), &json!({})).await.ok();
    assert!(second["previous_until"].is_string() && second["rotated_at"].is_string());
    let second = holder(&second);
    assert_ne!(second.secret, first.secret);
    world.signed_chat(&first, "echo").await.ok();
    world.signed_chat(&second, "echo").await.ok();
    let third = holder(
        &post(&world, &format!("{path}/rotate"), &json!({"overlap_s": 0}))
            .await
            .ok(),
    );
    is_refused(&world.signed_chat(&second, "echo").await, 401, "invalid_signature");
    world.signed_chat(&third, "echo").await.ok();

    let removed = send(&world, Method::DELETE, &path, &admin_token(&world), &[], None).await;
    assert_eq!(removed.status, 204);
    is_refused(&world.signed_chat(&third, "echo").await, 401, "invalid_signature");
    problem(&get(&world, &path).await, 404, "not_found");

    // Every change has left its trace, and no trace holds a secret.
    let audit = get(&world, "/v1/audit-events").await.ok();
    let events = audit["items"].as_array().unwrap();
    let ours: Vec<_> = events.iter().filter(|event| event["kind"] == "access_key").collect();
    let actions: Vec<_> = ours
        .iter()
        .rev()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "created", "replaced", "replaced", "replaced", "replaced", "replaced", "deleted"
        ]
    );
    assert!(
        ours.iter()
            .all(|event| event["name"] == json!(first.id) && event["sub"] == "root")
    );
    assert!(!audit.to_string().contains("hgks_"));
}

#[tokio::test]
async fn every_fault_of_a_key_is_named_and_nothing_is_issued() {
    let world = Running::start().await;
    for (member, value, pointer) in [
        ("client_id", json!(""), "/client_id"),
        ("client_id", json!(7), "/client_id"),
        ("scopes", json!([]), "/scopes"),
        ("scopes", json!("ai:chat"), "/scopes"),
        ("scopes", json!(["admin"]), "/scopes/0"),
        ("scopes", json!(["ai:chat", "ai:chat"]), "/scopes/1"),
        // Places are the sender's, not those of the set that is made of it.
        ("scopes", json!(["openid", "ai:chat"]), "/scopes/0"),
        ("scopes", json!([7, "ai:chat", "openid"]), "/scopes/2"),
        ("interfaces", json!(["a b"]), "/interfaces/0"),
        ("interfaces", json!(["z", "y", "a b"]), "/interfaces/2"),
        ("ip_allow", json!([7, "x"]), "/ip_allow/1"),
        ("ip_allow", json!(["10.0.0.1/8"]), "/ip_allow/0"),
        ("ip_allow", json!(["example.com"]), "/ip_allow/0"),
        ("enabled", json!("yes"), "/enabled"),
        ("secret", json!("mine"), "/secret"),
        ("id", json!("hgk_mine"), "/id"),
        ("expires_at", json!("2030-01-01"), "/expires_at"),
    ] {
        let mut form = key();
        form[member] = value.clone();
        let answer = problem(&post(&world, "/v1/access-keys", &form).await, 422, "invalid");
        let errors = answer["errors"].as_array().unwrap();
        assert!(
            errors.iter().any(|error| error["pointer"] == pointer),
            "{member} {value}: {answer}"
        );
    }
    let missing = problem(&post(&world, "/v1/access-keys", &json!({})).await, 422, "invalid");
    assert_eq!(missing["errors"].as_array().unwrap().len(), 2, "{missing}");
    assert_eq!(get(&world, "/v1/access-keys").await.ok()["items"], json!([]));

    let issued = post(&world, "/v1/access-keys", &key()).await.json();
    let path = format!("/v1/access-keys/{}", issued["id"].as_str().unwrap());
    for (member, value) in [
        ("client_id", json!("other")),
        ("tenant", json!("t2")),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("id", json!("hgk_other")),
    ] {
        let mut form = key();
        form[member] = value;
        let answer = problem(&put(&world, &path, &form).await, 422, "invalid");
        assert_eq!(answer["errors"][0]["field"], member, "{answer}");
    }
    for form in [
        json!({"overlap_s": -1}),
        json!({"overlap_s": 2_592_001}),
        json!({"overlap": 1}),
    ] {
        problem(&post(&world, &format!("{path}/rotate"), &form).await, 422, "invalid");
    }
    for (method, path) in [
        (Method::PUT, "/v1/access-keys/hgk_no"),
        (Method::POST, "/v1/access-keys/hgk_no/rotate"),
    ] {
        let form = if method == Method::PUT { key() } else { json!({}) };
        let answer = send(&world, method, path, &admin_token(&world), &[], Some(&form)).await;
        problem(&answer, 404, "not_found");
    }
}

#[tokio::test]
async fn of_two_writers_of_one_version_one_wins() {
    let world = Running::start().await;
    let issued = post(&world, "/v1/access-keys", &key()).await;
    let path = format!("/v1/access-keys/{}", issued.json()["id"].as_str().unwrap());
    let tag = issued.header("etag").to_owned();
    let token = admin_token(&world);
    let if_match = [("if-match", tag.as_str())];
    let (key, nothing) = (key(), json!({}));
    let rotate = format!("{path}/rotate");
    let (one, two) = tokio::join!(
        send(&world, Method::PUT, &path, &token, &if_match, Some(&key)),
        send(&world, Method::POST, &rotate, &token, &if_match, Some(&nothing)),
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let late = send(&world, Method::DELETE, &path, &token, &if_match, None).await;
    problem(&late, 412, "precondition_failed");
    let absent = [("if-none-match", "*")];
    let create = send(&world, Method::PUT, &path, &token, &absent, Some(&key)).await;
    problem(&create, 412, "precondition_failed");
    // Without a precondition all of many get through, one after the other.
    let writers = (0..4).map(|_| put(&world, &path, &key));
    let answers = futures_util::future::join_all(writers).await;
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn people_of_a_tenant_reach_the_keys_of_their_tenant_alone() {
    let world = Running::start().await;
    let (reader, writer) = (
        token(&world, "t1", &["access_key:read"]),
        token(&world, "t1", &["access_key:read", "access_key:write"]),
    );
    let stranger = token(&world, "t2", &["access_key:read", "access_key:write"]);
    let call = async |method: Method, path: &str, token: &str, body: Option<&Value>| {
        send(&world, method, path, token, &[], body).await
    };
    let form = without(key(), "tenant");
    let refused = call(Method::POST, "/v1/access-keys", &reader, Some(&form)).await;
    problem(&refused, 403, "permission_denied");
    problem(
        &call(Method::GET, "/v1/access-keys", &world.token(), None).await,
        403,
        "insufficient_scope",
    );
    let issued = call(Method::POST, "/v1/access-keys", &writer, Some(&form)).await;
    assert_eq!(
        (issued.status, &issued.json()["tenant"]),
        (201, &json!("t1")),
        "{}",
        issued.body
    );
    let path = format!("/v1/access-keys/{}", issued.json()["id"].as_str().unwrap());
    assert_eq!(call(Method::GET, &path, &reader, None).await.status, 200);
    let mut theirs = key();
    theirs["tenant"] = "t2".into();
    let answer = call(Method::POST, "/v1/access-keys", &writer, Some(&theirs)).await;
    assert_eq!(problem(&answer, 422, "invalid")["errors"][0]["field"], "tenant");
    // To others it is not there.
    for (method, path, body) in [
        (Method::GET, path.clone(), None),
        (Method::PUT, path.clone(), Some(&form)),
        (Method::DELETE, path.clone(), None),
        (
            Method::POST,
            format!("{path}/rotate"),
            Some(&Value::Object(serde_json::Map::new())),
        ),
    ] {
        problem(&call(method, &path, &stranger, body).await, 404, "not_found");
    }
    for (query, token, seen) in [
        ("", &stranger, 0),
        ("?tenant=t1", &stranger, 0),
        ("?tenant=t1", &reader, 1),
        ("?tenant=t2", &reader, 0),
        ("", &reader, 1),
        ("?client_id=other", &reader, 0),
    ] {
        let page = call(Method::GET, &format!("/v1/access-keys{query}"), token, None)
            .await
            .ok();
        assert_eq!(page["items"].as_array().unwrap().len(), seen, "{query}");
    }
    problem(
        &call(Method::GET, "/v1/access-keys?sub=x", &reader, None).await,
        400,
        "invalid_query",
    );
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let world = Running::start().await;
    for _ in 0..5 {
        assert_eq!(post(&world, "/v1/access-keys", &key()).await.status, 201);
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    for page in 0..3 {
        let answer = get(&world, &format!("/v1/access-keys?limit=2&page_token={token}"))
            .await
            .ok();
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), if page == 2 { 1 } else { 2 });
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        token = answer["next_page_token"].as_str().unwrap_or_default().to_owned();
    }
    assert!(token.is_empty());
    seen.dedup();
    assert_eq!(seen.len(), 5);
}
