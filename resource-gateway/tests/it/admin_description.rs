//! The description of the admin API knows every member that a row can have, at every depth.

use serde_json::{Value, json};

use crate::{
    admin::{get, put},
    running::Running,
};

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
