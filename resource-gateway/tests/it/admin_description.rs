//! The description of the admin API says what is, all of it and nothing else; and what it says of permissions is asked for.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use resource_gateway::adapters::http::admin_routes;
use serde_json::{Map, Value, json};

use crate::{
    admin::{get, post, problem, put, send, token},
    running::{Answer, Running},
};

/// An operation as it is described.
#[derive(Debug)]
struct Operation {
    method: Method,
    path: String,
    permission: String,
    /// Statuses that it may answer with.
    answers: BTreeSet<String>,
    has_body: bool,
}

async fn document(running: &Running) -> Value {
    let url = format!("{}/admin/openapi.json", running.url);
    running.http.get(url).send().await.unwrap().json().await.unwrap()
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let description = operation["description"].as_str().unwrap();
            let permission = description.strip_prefix("Needs the permission `").unwrap();
            found.push(Operation {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                path: path.clone(),
                permission: permission.split('`').next().unwrap().to_owned(),
                answers: operation["responses"].as_object().unwrap().keys().cloned().collect(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    found
}

impl Operation {
    /// Asks for something that is not there, with a body that says nothing.
    async fn ask(&self, running: &Running, token: Option<&str>) -> Answer {
        let path = self.path.replace("{name}", "nothing").replace("{id}", "hgk_nothing");
        let mut request = running
            .http
            .request(self.method.clone(), format!("{}{path}", running.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if self.has_body {
            request = request.json(&json!({}));
        }
        Answer::read(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn every_route_is_described_and_no_other() {
    let running = Running::start().await;
    let document = document(&running).await;
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<(String, String)> = operations(&document)
        .iter()
        .map(|operation| (operation.method.to_string(), operation.path.clone()))
        .collect();
    let routes: BTreeSet<_> = admin_routes()
        .into_iter()
        .filter(|(_, path)| path.starts_with("/admin/v1/"))
        .collect();
    assert_eq!(described, routes);
    let admin = token(&running, "default", &["*"]);
    for operation in operations(&document) {
        let answer = operation.ask(&running, Some(&admin)).await;
        assert!(
            !answer.body.contains("There is nothing at"),
            "{operation:?}: {}",
            answer.body
        );
        let status = answer.status.to_string();
        assert!(
            operation.answers.contains(&status),
            "{operation:?} answers {status}: {}",
            answer.body
        );
    }
    let page = running.http.get(format!("{}/admin", running.url)).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("/admin/v1/vendors/{name}") && page.contains("secret_key_set"));
}

#[tokio::test]
async fn every_operation_asks_for_its_permission_in_the_operators_tenant() {
    let running = Running::start().await;
    let operations = operations(&document(&running).await);
    let all: BTreeSet<&str> = operations
        .iter()
        .map(|operation| operation.permission.as_str())
        .collect();
    for operation in &operations {
        let none = operation.ask(&running, None).await;
        problem(&none, 401, "missing_token");
        assert!(
            none.header("www-authenticate").contains("resource_metadata"),
            "{none:?}"
        );
        problem(&operation.ask(&running, Some("garbage")).await, 401, "invalid_token");
        let unscoped = json!({"scope": "openid ai:chat", "tenant": "default", "permissions": ["*"]});
        let unscoped = running.issuer.token(&unscoped);
        problem(
            &operation.ask(&running, Some(&unscoped)).await,
            403,
            "insufficient_scope",
        );
        let others: Vec<&str> = all
            .iter()
            .copied()
            .filter(|code| *code != operation.permission)
            .collect();
        let others = token(&running, "default", &others);
        problem(&operation.ask(&running, Some(&others)).await, 403, "permission_denied");
        let nowhere = json!({"scope": "admin", "permissions": ["*"], "tenant": null});
        let nowhere = running.issuer.token(&nowhere);
        problem(&operation.ask(&running, Some(&nowhere)).await, 403, "permission_denied");
        let permitted = token(&running, "default", &[operation.permission.as_str()]);
        let permitted = operation.ask(&running, Some(&permitted)).await;
        assert!(
            ![401, 403].contains(&permitted.status),
            "{operation:?}: {}",
            permitted.body
        );

        // People of another tenant reach what is their tenant's, which is nothing here.
        let foreign = operation.ask(&running, Some(&token(&running, "acme", &["*"]))).await;
        match foreign.status {
            200 => assert_eq!(foreign.json()["items"], json!([]), "{operation:?}"),
            403 => drop(problem(&foreign, 403, "permission_denied")),
            404 => drop(problem(&foreign, 404, "not_found")),
            422 => assert!(
                [
                    "/admin/v1/budgets/{name}",
                    "/admin/v1/access-keys",
                    "/admin/v1/access-keys/{id}/rotate"
                ]
                .contains(&operation.path.as_str()),
                "{operation:?}"
            ),
            status => panic!("{operation:?} answers {status}: {}", foreign.body),
        }
        let is_installations =
            ["vendor:write", "interface:write", "price:write"].contains(&operation.permission.as_str());
        if operation.method == Method::PUT && is_installations {
            problem(&foreign, 403, "permission_denied");
        }
    }
}

/// The schema behind a reference.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn properties(schema: &Value) -> &Map<String, Value> {
    schema["properties"].as_object().unwrap()
}

/// A form with an unknown member in every table that the schema has, and which members it says there are, by place.
fn probe(document: &Value, schema: &Value, place: &str, described: &mut BTreeMap<String, BTreeSet<String>>) -> Value {
    let members = properties(schema);
    described.insert(place.to_owned(), members.keys().cloned().collect());
    let mut form = Map::from_iter([("?".to_owned(), json!(1))]);
    for (name, member) in members {
        let member = resolve(document, member);
        let place = format!("{place}/{name}");
        match member["type"].as_str() {
            // Its members are anybody's.
            Some("object") if member["additionalProperties"].is_object() => {}
            Some("object") => {
                form.insert(name.clone(), probe(document, member, &place, described));
            }
            Some("array") => {
                let items = resolve(document, &member["items"]);
                if items["type"] == "object" {
                    let item = probe(document, items, &format!("{place}/0"), described);
                    form.insert(name.clone(), json!([item]));
                }
            }
            _ => {}
        }
    }
    Value::Object(form)
}

#[tokio::test]
async fn every_member_that_is_read_is_described_and_no_other() {
    let running = Running::start().await;
    let document = document(&running).await;
    let key = json!({"client_id": "c", "scopes": ["ai:chat"]});
    let key = post(&running, "/v1/access-keys", &key).await.json();
    let key = format!("/v1/access-keys/{}", key["id"].as_str().unwrap());
    for (path, schema) in [
        ("/v1/vendors/x", "Vendor"),
        ("/v1/interfaces/x", "Interface"),
        ("/v1/prices/x", "Price"),
        ("/v1/budgets/x", "Budget"),
        (key.as_str(), "AccessKey"),
    ] {
        let mut described = BTreeMap::new();
        let form = probe(
            &document,
            &document["components"]["schemas"][schema],
            "",
            &mut described,
        );
        // Shown in the place of a row that cannot be read, and never read.
        described.get_mut("").unwrap().remove("unreadable");
        let answer = problem(&put(&running, path, &form).await, 422, "invalid");
        let mut read = BTreeMap::new();
        for error in answer["errors"].as_array().unwrap() {
            let (place, detail) = (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap());
            if let (Some(table), Some(known)) =
                (place.strip_suffix("/?"), detail.strip_prefix("unknown key; known are "))
            {
                let known = known.split(", ").map(str::to_owned);
                // These are for documents; over HTTP they are refused.
                let known = known.filter(|name| !["secret_key_env", "secret_key_file"].contains(&name.as_str()));
                read.insert(table.to_owned(), known.collect::<BTreeSet<_>>());
            }
        }
        assert_eq!(read, described, "{schema}");
    }
}

const SHOWN: &str = "\
[[interface]]
name = \"logged\"
capability = \"chat\"
routes = [{ vendor = \"sandbox\", model = \"m\" }]
log = { payload = true }
[[price]]
name = \"p\"
interface = \"logged\"
per_call = \"0.01\"
currency = \"EUR\"
[[budget]]
name = \"b\"
interface = \"logged\"
amount = 5
currency = \"EUR\"
period = \"day\"
limits = { concurrency = 5 }
";

#[tokio::test]
async fn every_member_that_is_shown_is_described() {
    let running = Running::start().await;
    running.apply(SHOWN).await;
    let called = running.chat("logged").await;
    called.ok();
    running.usage(called.request_id()).await;
    let key = json!({"client_id": "c", "sub": "s", "tenant": "t", "scopes": ["ai:chat"], "interfaces": ["echo"],
        "ip_allow": ["10.0.0.0/8"]});
    let issued = post(&running, "/v1/access-keys", &key).await.json();
    let rotated = post(
        &running,
        &format!("/v1/access-keys/{}/rotate", issued["id"].as_str().unwrap()),
        &json!({}),
    )
    .await;
    let document = document(&running).await;
    let described = |schema: &str| -> BTreeSet<String> {
        properties(&document["components"]["schemas"][schema])
            .keys()
            .cloned()
            .collect()
    };
    let shown = |form: &Value| -> BTreeSet<String> { form.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        shown(&rotated.ok()),
        &described("IssuedAccessKey") - &["last_used_at".to_owned()].into()
    );
    running
        .until("the payload is stored", async || {
            get(&running, "/v1/payloads").await.ok()["items"] != json!([])
        })
        .await;
    for (path, schema) in [
        ("/v1/vendors", "Vendor"),
        ("/v1/interfaces", "Interface"),
        ("/v1/prices", "Price"),
        ("/v1/budgets", "Budget"),
        ("/v1/access-keys", "AccessKey"),
        ("/v1/audit-events", "AuditEvent"),
        ("/v1/payloads", "Payload"),
        ("/v1/usage", "Usage"),
        (
            "/v1/usage/summary?group_by=day,tenant,client_id,sub,access_key,interface,capability,vendor,model,state",
            "UsageSum",
        ),
    ] {
        let page = get(&running, path).await.ok();
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty(), "{path}");
        for item in items {
            let more: Vec<_> = shown(item).difference(&described(schema)).cloned().collect();
            assert_eq!(more, Vec::<String>::new(), "{schema} lacks these");
            // These have all of their members always.
            if ["AuditEvent", "Payload", "Usage", "UsageSum"].contains(&schema) {
                assert_eq!(shown(item), described(schema));
            }
        }
    }
    let status = send(
        &running,
        Method::GET,
        "/v1/budgets/b/status",
        &token(&running, "default", &["*"]),
        &[],
        None,
    )
    .await;
    assert_eq!(shown(&status.ok()), described("BudgetStatus"));
}

/// Notes each member of the value that the schema does not describe.
fn compare(document: &Value, schema: &Value, value: &Value, path: &str, missing: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return compare(document, target.unwrap(), value, path, missing);
    }
    match value {
        Value::Object(members) => {
            let Some(described) = schema["properties"].as_object() else {
                return missing.push(format!("{path}: no members are described"));
            };
            for (name, member) in members {
                let path = format!("{path}.{name}");
                match described.get(name) {
                    Some(schema) => compare(document, schema, member, &path, missing),
                    None => missing.push(path),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                compare(document, &schema["items"], item, &format!("{path}[]"), missing);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_member_of_every_row_is_described() {
    let running = Running::start().await;
    let vendor = json!({"strategy": "openai", "base_url": "http://127.0.0.1:1/v1", "secret_key": "a-secret", "enabled": true,
        "pool": {"strategy": "consistent_hash", "hash_key": "header:x-team", "addresses": [{"url": "http://127.0.0.1:1/v1", "weight": 2}],
            "discovery": "dns", "slow_start_ms": 1, "breaker": {"consecutive_failures": 1, "failure_ratio": 0.1, "window_ms": 100,
            "minimum_calls": 1, "open_ms": 1, "max_open_ms": 2}, "health": {"path": "/", "interval_ms": 100_000, "timeout_ms": 1,
            "expect_status": 204}}});
    let limits = json!({"requests_per_second": 1, "requests_per_minute": 2, "tokens_per_minute": 3, "concurrency": 4, "shadow": true});
    let chat = json!({"capability": "chat", "enabled": true, "routes": [{"vendor": "full", "model": "m", "weight": 1, "priority": 1}],
        "fields": [{"name": "/user", "forbid": true, "enabled": false}, {"name": "/a", "value": 1, "allow_override": true}],
        "timeouts_ms": {"connect": 1, "first_byte": 2, "idle": 3, "total": 4},
        "log": {"metadata": false, "payload": true, "image_base64": true}, "max_attempts": 2, "limits": limits, "sticky": {"by": "user"},
        "hedge_after_ms": 5, "jobs": {"enabled": false, "retention_hours": 1, "max_waiting_per_client": 1}, "cache_ttl_s": 1,
        "conversation": {"enabled": true, "max_messages": 1, "max_context_tokens": 1, "retention_days": 1}});
    let ocr = json!({"capability": "ocr", "routes": [{"vendor": "sandbox"}], "min_confidence": 0.5});
    let raw = json!({"capability": "raw", "routes": [{"vendor": "full"}], "raw": {"headers": ["x-tag"], "response_headers": ["x-tag"],
        "allow": [{"name": "one", "methods": ["GET"], "path": "/a/*"}]}});
    let price = json!({"interface": "raw-one", "route": "one", "unit": "call", "per_call": "1", "currency": "EUR", "valid_from": "2030-01-01"});
    let budget = json!({"tenant": "*", "client_id": "*", "sub": "*", "access_key": "*", "interface": "ocr-one", "limits": limits});
    let mut missing = Vec::new();
    let document = running.http.get(format!("{}/admin/openapi.json", running.url));
    let document: Value = document.send().await.unwrap().json().await.unwrap();
    for (path, schema, body) in [
        ("vendors/full", "Vendor", vendor),
        ("interfaces/chat-one", "Interface", chat),
        ("interfaces/ocr-one", "Interface", ocr),
        ("interfaces/raw-one", "Interface", raw),
        ("prices/price-one", "Price", price),
        ("budgets/budget-one", "Budget", budget),
    ] {
        let written = put(&running, &format!("/v1/{path}"), &body).await;
        assert_eq!(written.status / 100, 2, "{path}: {}", written.body);
        let shown = get(&running, &format!("/v1/{path}")).await.ok();
        let schema = &document["components"]["schemas"][schema];
        compare(&document, schema, &body, path, &mut missing);
        compare(&document, schema, &shown, path, &mut missing);
    }
    assert_eq!(missing, Vec::<String>::new());
}
