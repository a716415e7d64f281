//! The usage API: rows, sums, exports, budgets, and who may see what.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use service_kit::SystemClock;

use crate::{
    admin::{get, problem, put, send},
    running::{Answer, Running},
};

const MONEY: &str = "\
[[price]]
name = \"stub\"
vendor = \"stub\"
input_per_million = 1
output_per_million = 10
currency = \"EUR\"
[[price]]
name = \"sandbox\"
vendor = \"sandbox\"
per_call = \"0.01\"
currency = \"USD\"
[[budget]]
name = \"main-sandbox\"
tenant = \"main\"
interface = \"sandbox\"
amount = \"0.03\"
currency = \"USD\"
period = \"month\"
[[budget]]
name = \"each\"
sub = \"*\"
interface = \"echo\"
amount = 5
currency = \"EUR\"
period = \"day\"
hard = false
";

async fn start() -> Running {
    Running::start_at(Arc::new(SystemClock), MONEY, |_| {}).await
}

fn caller(running: &Running, tenant: &str, sub: &str) -> String {
    running
        .issuer
        .token(&json!({"tenant": tenant, "sub": sub, "client_id": "app"}))
}

fn reader(running: &Running, tenant: &str, permissions: &[&str]) -> String {
    running
        .issuer
        .token(&json!({"scope": "openid admin", "tenant": tenant, "permissions": permissions}))
}

async fn read(running: &Running, token: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    running.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    send(running, Method::GET, path, token, headers, None).await
}

fn members(value: &Value) -> Vec<String> {
    let mut members: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    members.sort();
    members
}

/// Two tenants, three users, four interfaces.
async fn traffic(running: &Running) {
    let (alice, bob) = (caller(running, "main", "alice"), caller(running, "main", "=bob,\"x\""));
    let carol = caller(running, "other", "carol");
    for (token, model) in [
        (&alice, "echo"),
        (&alice, "sandbox"),
        (&bob, "echo"),
        (&carol, "echo"),
        (&carol, "closed"),
    ] {
        running.chat_as(token, model).await;
    }
}

#[tokio::test]
async fn rows_have_the_members_of_the_contract_and_pages_show_each_once() {
    let running = start().await;
    traffic(&running).await;
    let all = get_usage(&running, "").await;
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    assert_eq!(all["next_page_token"], Value::Null);
    for item in items {
        assert_eq!(
            members(item),
            [
                "attempts",
                "capability",
                "client_id",
                "cost",
                "currency",
                "duration_ms",
                "estimated",
                "input_tokens",
                "interface",
                "model",
                "output_tokens",
                "request_id",
                "state",
                "stream",
                "sub",
                "tenant",
                "time",
                "vendor"
            ]
        );
    }
    let costs: Vec<_> = items
        .iter()
        .map(|item| (item["cost"].as_str(), item["currency"].as_str()))
        .collect();
    assert_eq!(
        costs,
        [
            (None, None),
            (Some("0.000231"), Some("EUR")),
            (Some("0.000231"), Some("EUR")),
            (Some("0.01"), Some("USD")),
            (Some("0.000231"), Some("EUR")),
        ]
    );
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = get_usage(&running, &query).await;
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_page_token"].as_str() else {
            break;
        };
        query = format!("?limit=2&page_token={next}");
    }
    assert_eq!(&seen, items);
}

async fn get_usage(running: &Running, query: &str) -> Value {
    running.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    get(running, &format!("/v1/usage{query}")).await.ok()
}

#[tokio::test]
async fn filters_narrow_and_what_is_not_understood_is_refused() {
    let running = start().await;
    traffic(&running).await;
    let first = get_usage(&running, "?sub=alice&interface=echo").await["items"][0].clone();
    let (id, time) = (first["request_id"].as_str().unwrap(), first["time"].as_str().unwrap());
    for (query, wanted) in [
        ("client_id=app".to_owned(), 5),
        ("tenant=other".to_owned(), 2),
        ("sub=alice".to_owned(), 2),
        ("interface=echo".to_owned(), 3),
        ("capability=embeddings".to_owned(), 0),
        ("vendor=sandbox".to_owned(), 1),
        ("model=echo&vendor=stub".to_owned(), 3),
        ("state=upstream_error".to_owned(), 1),
        ("currency=USD".to_owned(), 1),
        ("access_key=none".to_owned(), 0),
        (format!("request_id={id}"), 1),
        (format!("from={time}"), 5),
        (format!("to={time}"), 0),
        ("from=2000-01-01&to=2000-01-02".to_owned(), 0),
        ("from=2000-01-01".to_owned(), 5),
    ] {
        let found = get_usage(&running, &format!("?{query}")).await;
        assert_eq!(found["items"].as_array().unwrap().len(), wanted, "{query}");
    }
    for query in [
        "from=yesterday",
        "user=alice",
        "limit=0",
        "limit=501",
        "format=xml",
        "sub=a&sub=b",
    ] {
        problem(
            &get(&running, &format!("/v1/usage?{query}")).await,
            400,
            "invalid_query",
        );
    }
    problem(
        &get(&running, "/v1/usage/summary?group_by=weather").await,
        400,
        "invalid_query",
    );
    for token in ["!", "eA", "MS5hLmI.x"] {
        problem(
            &get(&running, &format!("/v1/usage?page_token={token}")).await,
            400,
            "invalid_page_token",
        );
    }
}

#[tokio::test]
async fn people_of_a_tenant_see_its_rows_alone() {
    let running = start().await;
    traffic(&running).await;
    let token = reader(&running, "other", &["usage:read", "budget:read"]);
    let rows = read(&running, &token, "/v1/usage", &[]).await.ok();
    let items = rows["items"].as_array().unwrap();
    assert!(
        items.len() == 2 && items.iter().all(|item| item["tenant"] == "other"),
        "{rows}"
    );
    let asked = read(&running, &token, "/v1/usage?tenant=main", &[]).await.ok();
    assert_eq!(asked["items"], json!([]));
    let sums = read(&running, &token, "/v1/usage/summary?group_by=sub", &[]).await.ok();
    assert!(
        sums["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|sum| sum["sub"] == "carol"),
        "{sums}"
    );
    let csv = read(&running, &token, "/v1/usage?format=csv&tenant=main", &[]).await;
    assert_eq!(csv.body.lines().count(), 1, "{}", csv.body);
    problem(
        &read(&running, &token, "/v1/budgets/main-sandbox/status", &[]).await,
        404,
        "not_found",
    );
    let nobody = reader(&running, "default", &["vendor:read"]);
    for path in [
        "/v1/usage",
        "/v1/usage/summary",
        "/v1/usage?format=csv",
        "/v1/budgets/each/status",
        "/v1/usage?from=x",
    ] {
        problem(&read(&running, &nobody, path, &[]).await, 403, "permission_denied");
    }
}

#[tokio::test]
async fn sums_are_grouped_and_never_mix_currencies() {
    let running = start().await;
    traffic(&running).await;
    running.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    let sums = get(&running, "/v1/usage/summary?group_by=tenant").await.ok();
    let short: Vec<_> = sums["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sum| {
            assert!(sum.get("day").is_none() && sum.get("sub").is_none());
            (
                sum["tenant"].clone(),
                sum["currency"].clone(),
                sum["requests"].clone(),
                sum["cost"].clone(),
                sum["unpriced"].clone(),
            )
        })
        .collect();
    let line = |tenant: &str, currency: Value, requests: i64, cost: &str, unpriced: i64| {
        (json!(tenant), currency, json!(requests), json!(cost), json!(unpriced))
    };
    for wanted in [
        line("main", json!("EUR"), 2, "0.000462", 0),
        line("main", json!("USD"), 1, "0.01", 0),
        line("other", json!("EUR"), 1, "0.000231", 0),
        line("other", Value::Null, 1, "0", 1),
    ] {
        assert!(short.contains(&wanted), "{wanted:?} in {short:?}");
    }
    assert_eq!(short.len(), 4);
    let by_day = get(&running, "/v1/usage/summary").await.ok();
    let today = by_day["items"][0]["day"].as_str().unwrap();
    assert_eq!(today.len(), 10, "{today}");
    let all = "/v1/usage/summary?group_by=day,tenant,client_id,sub,access_key,interface,capability,vendor,model,state,currency";
    let page = get(&running, &format!("{all}&limit=2")).await.ok();
    let next = page["next_page_token"].as_str().unwrap();
    let rest = get(&running, &format!("{all}&limit=500&page_token={next}")).await.ok();
    assert_eq!(
        (
            page["items"].as_array().unwrap().len(),
            rest["items"].as_array().unwrap().len()
        ),
        (2, 3)
    );
}

#[tokio::test]
async fn exports_are_files_that_spreadsheets_take_for_values() {
    let running = start().await;
    traffic(&running).await;
    let token = reader(&running, "default", &["usage:read"]);
    for (path, headers) in [
        ("/v1/usage?format=csv", vec![]),
        ("/v1/usage", vec![("accept", "text/csv")]),
        ("/v1/usage", vec![("accept", "text/html, text/csv;q=0.9")]),
    ] {
        let csv = read(&running, &token, path, &headers).await;
        assert_eq!(
            (csv.status, csv.header("content-type")),
            (200, "text/csv; charset=utf-8")
        );
        assert!(csv.header("content-disposition").contains("usage.csv"));
        let lines: Vec<_> = csv.body.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 6, "{}", csv.body);
        assert!(lines[0].starts_with("request_id,time,tenant,client_id,sub,interface,"));
        assert!(csv.body.contains(",\"'=bob,\"\"x\"\"\","), "{}", csv.body);
        assert!(csv.body.contains(",0.000231,EUR,"), "{}", csv.body);
    }
    let json = read(
        &running,
        &token,
        "/v1/usage",
        &[("accept", "application/json, text/csv")],
    )
    .await;
    assert_eq!(json.header("content-type"), "application/json");
    let sums = read(&running, &token, "/v1/usage/summary?group_by=vendor&format=csv", &[]).await;
    let mut lines: Vec<_> = sums.body.split_terminator("\r\n").collect();
    assert_eq!(
        lines.remove(0),
        "vendor,currency,requests,input_tokens,output_tokens,cached_input_tokens,reasoning_tokens,images,audio_ms,characters,cost,estimated,unpriced"
    );
    assert!(lines.contains(&"stub,EUR,3,33,66,0,0,0,0,0,0.000693,0,0"), "{lines:?}");
}

#[tokio::test]
async fn it_is_told_how_it_stands_with_a_budget() {
    let running = start().await;
    let empty = get(&running, "/v1/budgets/main-sandbox/status").await.ok();
    assert_eq!((&empty["spent"], &empty["remaining"]), (&json!("0"), &json!("0.03")));
    traffic(&running).await;
    running.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    let status = get(&running, "/v1/budgets/main-sandbox/status").await.ok();
    assert_eq!(
        (&status["spent"], &status["amount"], &status["currency"]),
        (&json!("0.01"), &json!("0.03"), &json!("USD"))
    );
    assert_eq!(
        (&status["period"], &status["hard"], &status["each"]),
        (&json!("month"), &json!(true), &json!([]))
    );
    assert!(status["period_start"].as_str().unwrap() < status["period_end"].as_str().unwrap());
    let page = get(&running, "/v1/budgets/each/status?limit=2").await.ok();
    assert!(page.get("spent").is_none());
    let accounts = page["accounts"].as_array().unwrap();
    let keys: Vec<_> = accounts
        .iter()
        .map(|account| account["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["each|sub==bob,\"x\"", "each|sub=alice"]);
    assert!(accounts.iter().all(|account| account["spent"] == "0.000231"), "{page}");
    let next = page["next_page_token"].as_str().unwrap();
    let rest = get(&running, &format!("/v1/budgets/each/status?page_token={next}"))
        .await
        .ok();
    assert_eq!(rest["accounts"][0]["key"], "each|sub=carol");
    problem(&get(&running, "/v1/budgets/nothing/status").await, 404, "not_found");
}

#[tokio::test]
async fn prices_and_budgets_are_written_and_read_back() {
    let running = start().await;
    let price = json!({"name": "new", "vendor": "stub", "model": "echo", "unit": "token", "input_per_million": 0.15,
        "output_per_million": "0.60", "per_call": 1e-9, "currency": "EUR", "valid_from": "2030-01-01T00:00:00+02:00"});
    assert_eq!(put(&running, "/v1/prices/new", &price).await.status, 201);
    assert_eq!(
        get(&running, "/v1/prices/new").await.ok(),
        json!({"name": "new", "vendor": "stub", "model": "echo", "unit": "token", "input_per_million": "0.15",
            "output_per_million": "0.6", "per_call": "0.000000001", "currency": "EUR", "valid_from": "2029-12-31T22:00:00Z"})
    );
    let budget = json!({"name": "b", "tenant": "main", "client_id": "app", "sub": "*", "access_key": "ak", "interface": "echo",
        "amount": 12.5, "currency": "EUR", "period": "week", "hard": false, "notify_at": [1, 0.5],
        "limits": {"requests_per_minute": 5}});
    assert_eq!(put(&running, "/v1/budgets/b", &budget).await.status, 201);
    let mut back = get(&running, "/v1/budgets/b").await.ok();
    back["limits"]
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_boolean());
    assert_eq!(
        back,
        json!({"name": "b", "tenant": "main", "client_id": "app", "sub": "*", "access_key": "ak", "interface": "echo",
            "amount": "12.5", "currency": "EUR", "period": "week", "hard": false, "notify_at": [0.5, 1.0],
            "limits": {"requests_per_minute": 5}})
    );
}

/// The fields that are wrong.
async fn faults(running: &Running, path: &str, form: &Value) -> Vec<String> {
    let answer = put(running, path, form).await;
    let problem = problem(&answer, 422, "invalid");
    let errors = problem["errors"].as_array().unwrap().iter();
    let mut fields: Vec<_> = errors
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect();
    fields.sort();
    fields.dedup();
    fields
}

#[tokio::test]
async fn every_fault_of_a_price_is_named() {
    let running = start().await;
    let price = |change: Value| {
        let mut form = json!({"interface": "echo", "per_call": 1, "currency": "EUR"});
        form.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        form.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        form
    };
    for (change, wanted) in [
        (json!({"interface": null}), "interface"),
        (json!({"interface": "nothing"}), "interface"),
        (json!({"interface": null, "vendor": "nobody"}), "vendor"),
        (json!({"interface": null, "model": "m"}), "vendor"),
        (json!({"vendor": "stub"}), "vendor"),
        (json!({"model": "m"}), "model"),
        (json!({"per_call": null}), "unit"),
        (json!({"unit": "image"}), "unit"),
        (json!({"unit": "bucket"}), "unit"),
        (json!({"per_call": -1}), "per_call"),
        (json!({"per_call": "1,5"}), "per_call"),
        (json!({"per_call": 0.123_456_789_012_345_6}), "per_call"),
        (json!({"per_call": "0.0000000001"}), "per_call"),
        (json!({"currency": "EURO"}), "currency"),
        (json!({"currency": null}), "currency"),
        (json!({"valid_from": "soon"}), "valid_from"),
        (json!({"per_page": 1}), "per_page"),
        (json!({"interface": null, "vendor": "stub"}), "valid_from"),
    ] {
        let found = faults(&running, "/v1/prices/p", &price(change.clone())).await;
        assert_eq!(found.join(" "), wanted, "{change}");
    }
}

#[tokio::test]
async fn every_fault_of_a_budget_is_named() {
    let running = start().await;
    let budget = |change: Value| {
        let mut form = json!({"sub": "*", "interface": "echo", "amount": 1, "currency": "EUR", "period": "day"});
        form.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        form.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        form
    };
    for (change, wanted) in [
        (json!({"sub": null, "interface": null}), "currency tenant"),
        // What is not priced, or in another currency, cannot be held to a budget.
        (json!({"interface": "closed"}), "currency"),
        (json!({"interface": "sandbox"}), "currency"),
        (json!({"interface": null}), "currency"),
        (json!({"interface": "nothing"}), "interface"),
        (json!({"amount": null}), "amount"),
        (json!({"amount": "much"}), "amount"),
        (json!({"amount": 0, "hard": false}), "amount"),
        (json!({"period": "year"}), "period"),
        (json!({"period": null}), "period"),
        (json!({"hard": "yes"}), "hard"),
        (json!({"notify_at": [0]}), "notify_at"),
        (json!({"notify_at": [1.1]}), "notify_at"),
        (json!({"notify_at": 0.5}), "notify_at"),
        (json!({"amount": null, "currency": null, "period": null}), "amount"),
        (json!({"model": "m"}), "model"),
    ] {
        let found = faults(&running, "/v1/budgets/x", &budget(change.clone())).await;
        assert_eq!(found.join(" "), wanted, "{change}");
    }
    // The price that a budget of the operator's relies on stays; one of a tenant's binds nobody but that tenant.
    for (price, status) in [("stub", 409), ("sandbox", 204)] {
        let path = format!("/v1/prices/{price}");
        let token = crate::admin::admin_token(&running);
        let gone = send(&running, Method::DELETE, &path, &token, &[], None).await;
        assert_eq!(gone.status, status, "{price}: {}", gone.body);
    }
}
