//! What several writers, tenants and versions of the gateway do to each other's rows.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use reqwest::Method;
use resource_gateway::{
    application::{
        administer::{Administer, By},
        change_config::ChangeConfig,
    },
    domain::{
        audit::AuditEvent,
        caller::{Caller, Expected},
        config_row::{Row, RowId, RowKind},
        ids::{RequestId, TenantId},
        snapshot::{ConfigRows, Revision},
    },
    ports::config_source::{AuditQuery, ConfigChange, ConfigSource, ConfigStore, RowVersion, StoreResult},
};
use serde_json::{Value, json};
use service_kit::SystemClock;
use sql_kit::{Sql, sql};

use crate::{
    admin::{admin_token, get, problem, put, send, token},
    running::{Running, chat},
    storage_world::{Catalog, World, no_webhooks},
};

const COPY: Sql = sql!(
    "INSERT INTO budget (name, form) SELECT 'too-' || name, replace(form, 'acme-', 'too-acme-') FROM budget WHERE name LIKE 'acme-%' \
     UNION ALL SELECT 'and-' || name, replace(form, 'acme-', 'and-acme-') FROM budget WHERE name LIKE 'acme-%'"
);
const BUMP: Sql = sql!("UPDATE config_revision SET revision = revision + 1");

/// A store in which somebody else does something as soon as a change was made.
#[derive(Debug)]
struct Raced {
    store: Arc<dyn ConfigStore>,
    other: Other,
    done: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
enum Other {
    Replaces,
    Removes,
}

struct RacedChange {
    change: Box<dyn ConfigChange>,
    store: Arc<dyn ConfigStore>,
    other: Option<Other>,
    row: Option<Row>,
}

#[async_trait]
impl ConfigSource for Raced {
    async fn current_revision(&self) -> StoreResult<Revision> {
        self.store.current_revision().await
    }

    async fn load_rows(&self) -> StoreResult<ConfigRows> {
        self.store.load_rows().await
    }
}

#[async_trait]
impl ConfigStore for Raced {
    async fn begin_change(&self) -> StoreResult<Box<dyn ConfigChange>> {
        let first = !self.done.swap(true, Ordering::Relaxed);
        Ok(Box::new(RacedChange {
            change: self.store.begin_change().await?,
            store: self.store.clone(),
            other: first.then_some(self.other),
            row: None,
        }))
    }

    async fn find_version(&self, id: &RowId) -> StoreResult<Option<RowVersion>> {
        self.store.find_version(id).await
    }

    async fn list_audit(&self, query: &AuditQuery) -> StoreResult<Vec<AuditEvent>> {
        self.store.list_audit(query).await
    }
}

#[async_trait]
impl ConfigChange for RacedChange {
    async fn load_rows(&mut self) -> StoreResult<ConfigRows> {
        self.change.load_rows().await
    }

    async fn find_version(&mut self, id: &RowId) -> StoreResult<Option<RowVersion>> {
        self.change.find_version(id).await
    }

    async fn put(&mut self, row: &Row) -> StoreResult<RowVersion> {
        self.row = Some(row.clone());
        self.change.put(row).await
    }

    async fn delete(&mut self, id: &RowId) -> StoreResult<bool> {
        self.change.delete(id).await
    }

    async fn note(&mut self, event: &AuditEvent) -> StoreResult<()> {
        self.change.note(event).await
    }

    async fn commit(self: Box<Self>) -> StoreResult<Revision> {
        let Self {
            change,
            store,
            other,
            row,
        } = *self;
        let revision = change.commit().await?;
        let mut change = store.begin_change().await?;
        match (other, row) {
            (Some(Other::Replaces), Some(Row::Vendor(mut vendor))) => {
                vendor.credential.app_id = Some("another's".to_owned());
                change.put(&Row::Vendor(vendor)).await?;
            }
            (Some(Other::Removes), Some(row)) => assert!(change.delete(&row.id()).await?),
            (_, _) => return Ok(revision),
        }
        change.commit().await?;
        Ok(revision)
    }
}

fn operator() -> Caller {
    let claims = json!({"iss": "https://op.test", "aud": "https://gw.test", "exp": 2_000_000_000, "iat": 1_900_000_000,
        "sub": "root", "client_id": "console", "jti": "1", "scope": "admin", "tenant": "default", "permissions": ["*"]});
    let expected = Expected {
        issuer: "https://op.test".into(),
        audience: "https://gw.test".into(),
        leeway: 0,
    };
    Caller::from_claims(claims.as_object().unwrap(), &expected, 1_950_000_000).unwrap()
}

#[tokio::test]
async fn a_writer_is_answered_with_what_it_wrote_whoever_comes_next() {
    for other in [Other::Replaces, Other::Removes] {
        let world = World::sqlite().await;
        let store: Arc<dyn ConfigStore> = Arc::new(Raced {
            store: Arc::new(world.config.clone()),
            other,
            done: AtomicBool::new(false),
        });
        let administer = Administer {
            config: ChangeConfig::new(store.clone(), Arc::new(Catalog), no_webhooks(), Arc::new(SystemClock)),
            store: store.clone(),
            operator: TenantId::new("default"),
        };
        let (caller, request_id) = (operator(), RequestId::new("r"));
        let by = By {
            caller: &caller,
            request_id: &request_id,
        };
        let id = RowId::new(RowKind::Vendor, "mine");
        let form = json!({"strategy": "sandbox"});
        let written = administer.put(by, &id, form.as_object().unwrap().clone(), None).await;
        let (_, shown) = written.unwrap();
        let wrote = (shown.version, shown.form.get("app_id"));
        assert_eq!(wrote, (RowVersion(1), None), "{other:?}");
        // With this version nothing of the other's is overwritten unseen.
        assert_ne!(store.find_version(&id).await.unwrap(), Some(RowVersion(1)));
    }
}

#[tokio::test]
async fn what_changes_hands_is_told_to_both() {
    let running = Running::start().await;
    let budget = |tenant: &str| json!({"tenant": tenant, "interface": "echo", "limits": {"concurrency": 5}});
    assert_eq!(put(&running, "/v1/budgets/moved", &budget("acme")).await.status, 201);
    let moved = put(&running, "/v1/budgets/moved", &budget("other")).await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    let seen = async |tenant: &str| {
        let auditor = token(&running, tenant, &["audit:read"]);
        let events = send(&running, Method::GET, "/v1/audit-events", &auditor, &[], None).await;
        let events = events.ok()["items"].as_array().unwrap().clone();
        let forms = |event: &Value| {
            let tenant = |form: &str| event[form]["tenant"].as_str().map(str::to_owned);
            (
                event["action"].as_str().unwrap().to_owned(),
                tenant("before"),
                tenant("after"),
            )
        };
        events.iter().map(forms).collect::<Vec<_>>()
    };
    let event = |action: &str, before: Option<&str>, after: Option<&str>| {
        (action.to_owned(), before.map(str::to_owned), after.map(str::to_owned))
    };
    assert_eq!(
        seen("acme").await,
        [
            event("deleted", Some("acme"), None),
            event("created", None, Some("acme"))
        ]
    );
    assert_eq!(seen("other").await, [event("created", None, Some("other"))]);
}

#[tokio::test]
async fn a_foreign_row_is_missing_whatever_is_believed_of_it() {
    let running = Running::start().await;
    let budget = json!({"tenant": "acme", "limits": {"concurrency": 5}});
    let version = put(&running, "/v1/budgets/theirs", &budget)
        .await
        .header("etag")
        .to_owned();
    let stranger = token(&running, "other", &["*"]);
    for believed in [version.as_str(), "\"999\"", "*"] {
        let headers = [("if-match", believed)];
        let answer = send(
            &running,
            Method::DELETE,
            "/v1/budgets/theirs",
            &stranger,
            &headers,
            None,
        )
        .await;
        problem(&answer, 404, "not_found");
    }
}

const NEWER_VENDOR: Sql = sql!("UPDATE vendor SET policy = '{\"from_the_future\":true}' WHERE name = 'stub'");
const NEWER_INTERFACE: Sql =
    sql!("UPDATE interface SET policy = '{\"from_the_future\":true}' WHERE name IN ('echo', 'off')");

#[tokio::test]
async fn rows_that_cannot_be_read_lock_nobody_out() {
    let running = Running::start().await;
    let (stub, echo) = (
        get(&running, "/v1/vendors/stub").await.ok(),
        get(&running, "/v1/interfaces/echo").await.ok(),
    );
    running.execute(NEWER_VENDOR).await;
    running.execute(NEWER_INTERFACE).await;

    // They are seen for what they are, and the others as ever.
    for (path, name) in [("vendors", "stub"), ("interfaces", "echo")] {
        let shown = get(&running, &format!("/v1/{path}/{name}")).await;
        assert_eq!(shown.ok(), json!({"name": name, "unreadable": true}));
        let listed = get(&running, &format!("/v1/{path}?limit=500")).await.ok();
        let listed = listed["items"].as_array().unwrap().clone();
        assert!(
            listed.contains(&shown.ok())
                && listed
                    .iter()
                    .any(|row| row.get("strategy").or(row.get("routes")).is_some())
        );
    }
    // What is none of a repair waits.
    let other = put(&running, "/v1/vendors/mine", &json!({"strategy": "sandbox"})).await;
    let found = problem(&other, 422, "invalid");
    let errors = found["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{found}");
    for error in errors {
        assert!(
            error["field"].as_str().unwrap().ends_with("(stored earlier)"),
            "{error}"
        );
        assert_eq!(error.get("pointer"), None, "nothing of the body is wrong");
    }
    // Each can be replaced or removed by itself, and must be right by itself.
    let wrong = json!({"capability": "chat", "routes": [{"vendor": "nobody"}]});
    problem(&put(&running, "/v1/interfaces/echo", &wrong).await, 422, "invalid");
    let mended = put(&running, "/v1/interfaces/echo", &echo).await;
    assert_eq!(mended.status, 200, "{}", mended.body);
    let removed = send(
        &running,
        Method::DELETE,
        "/v1/interfaces/off",
        &admin_token(&running),
        &[],
        None,
    )
    .await;
    assert_eq!(removed.status, 204, "{}", removed.body);
    let mended = put(&running, "/v1/vendors/stub", &stub).await;
    assert_eq!((mended.status, mended.json()), (200, stub), "its secret, too");
    assert_eq!(
        put(&running, "/v1/vendors/mine", &json!({"strategy": "sandbox"}))
            .await
            .status,
        201
    );
    let mut call = chat("echo");
    call["user"] = "after the repair".into();
    running.post("/v1/chat/completions", &running.token(), &call).await.ok();
    let seen = running.vendor.find_call("after the repair").unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer vendor-secret-0123456789");
    let events = get(&running, "/v1/audit-events?limit=4").await.ok();
    let actions: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["created", "replaced", "deleted", "replaced"]);
}

#[tokio::test]
async fn a_tenants_budget_binds_the_tenant_and_not_the_operator() {
    let running = Running::start().await;
    let price = json!({"vendor": "sandbox", "per_call": "0.01", "currency": "EUR"});
    assert_eq!(put(&running, "/v1/prices/p", &price).await.status, 201);
    let tenants = token(&running, "acme", &["budget:write"]);
    let budget = |currency: &str| json!({"tenant": "acme", "interface": "sandbox", "amount": 5, "currency": currency, "period": "day"});
    let write = async |currency: &str| {
        let body = budget(currency);
        send(&running, Method::PUT, "/v1/budgets/acmes", &tenants, &[], Some(&body)).await
    };
    // Whoever writes it is told what it could not see …
    let found = problem(&write("USD").await, 422, "invalid");
    assert_eq!(found["errors"][0]["pointer"], "/currency", "{found}");
    assert_eq!(write("EUR").await.status, 201);
    let (acme, other) = (
        running.issuer.token(&json!({"tenant": "acme"})),
        running.issuer.token(&json!({"tenant": "other"})),
    );
    running.chat_as(&acme, "sandbox").await.ok();
    // … and the operator sets prices and removes interfaces without asking it.
    let dollars = json!({"vendor": "sandbox", "per_call": "0.01", "currency": "USD"});
    let changed = put(&running, "/v1/prices/p", &dollars).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let unseen = running.chat_as(&acme, "sandbox").await.error(503);
    assert_eq!(unseen["code"], "price_unavailable");
    running.chat_as(&other, "sandbox").await.ok();
    let free = json!({"capability": "chat", "routes": [{"vendor": "stub", "model": "echo"}]});
    assert_eq!(put(&running, "/v1/interfaces/unpriced", &free).await.status, 201);
    running.chat_as(&acme, "unpriced").await.ok();
    let removed = send(
        &running,
        Method::DELETE,
        "/v1/interfaces/sandbox",
        &admin_token(&running),
        &[],
        None,
    )
    .await;
    assert_eq!(removed.status, 204, "{}", removed.body);
    // A budget of the operator's is a promise that holds.
    let whole = json!({"client_id": "*", "amount": 5, "currency": "USD", "period": "day"});
    problem(&put(&running, "/v1/budgets/all", &whole).await, 422, "invalid");
}

#[tokio::test]
async fn as_many_budgets_as_a_tenant_may_write_leave_room_for_the_operators() {
    let running = Running::start().await;
    let price = json!({"vendor": "sandbox", "per_call": "0.01", "currency": "EUR"});
    assert_eq!(put(&running, "/v1/prices/p", &price).await.status, 201);
    let tenants = token(&running, "acme", &["budget:write"]);
    let budget = |whose: Value, amount: &str| {
        let mut form = json!({"amount": amount, "currency": "EUR", "period": "total"});
        form.as_object_mut().unwrap().extend(whose.as_object().unwrap().clone());
        form
    };
    let write = async |name: &str, body: &Value| {
        let path = format!("/v1/budgets/{name}");
        send(&running, Method::PUT, &path, &tenants, &[], Some(body)).await
    };
    let acmes = budget(json!({"tenant": "acme", "interface": "sandbox"}), "5");
    for at in 0..32 {
        assert_eq!(write(&format!("own-{at}"), &acmes).await.status, 201);
    }
    let found = problem(&write("own-32", &acmes).await, 422, "invalid");
    assert_eq!(found["errors"][0]["pointer"], "/amount", "{found}");
    // The operator writes as many beside them: for everybody, and for the tenant.
    for at in 0..32 {
        let path = format!("/v1/budgets/all-{at}");
        let everybody = budget(json!({"interface": "sandbox"}), "0.02");
        let written = put(&running, &path, &everybody).await;
        assert_eq!(written.status, 201, "{}", written.body);
        let written = put(&running, &format!("/v1/budgets/acme-{at}"), &acmes).await;
        assert_eq!(written.status, 201, "{}", written.body);
    }
    // What there are more of now than the tenant may write, it may still change and remove.
    let less = budget(json!({"tenant": "acme", "interface": "sandbox"}), "4");
    assert_eq!(write("own-0", &less).await.status, 200);
    let remove = async |name: &str| {
        let path = format!("/v1/budgets/{name}");
        send(&running, Method::DELETE, &path, &tenants, &[], None).await.status
    };
    assert_eq!(remove("own-1").await, 204);
    problem(&write("own-1", &acmes).await, 422, "invalid");
    // Each of them counts, the operator's last one too.
    let acme = running.issuer.token(&json!({"tenant": "acme"}));
    for _ in 0..2 {
        running.chat_as(&acme, "sandbox").await.ok();
    }
    assert_eq!(
        running.chat_as(&acme, "sandbox").await.error(429)["code"],
        "insufficient_quota"
    );
    running.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    for name in ["own-0", "own-31", "all-31", "acme-31"] {
        let status = get(&running, &format!("/v1/budgets/{name}/status")).await.ok();
        assert_eq!(status["spent"], "0.02", "{name}: {status}");
    }
    // Rows that came by another way: none is passed over.
    running.execute(COPY).await;
    running.execute(BUMP).await;
    running.gateway.snapshots.refresh().await;
    assert_eq!(
        running.chat_as(&acme, "sandbox").await.error(503)["code"],
        "too_many_budgets"
    );
    running.chat("echo").await.ok();
}

#[tokio::test]
async fn nothing_that_is_asked_is_passed_over() {
    let running = Running::start().await;
    let admin = admin_token(&running);
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>| {
        send(&running, method, path, &admin, headers, body).await
    };
    let form = json!({"strategy": "sandbox"});
    for (method, path) in [
        (Method::DELETE, "/v1/vendors/stub?dry_run=1"),
        (Method::PUT, "/v1/vendors/mine?dry_run=1"),
        (Method::GET, "/v1/vendors/stub?fields=name"),
        (Method::POST, "/v1/access-keys?count=2"),
        (Method::GET, "/v1/access-keys/hgk_no?x=1"),
        (Method::PUT, "/v1/access-keys/hgk_no?x=1"),
        (Method::DELETE, "/v1/access-keys/hgk_no?x=1"),
        (Method::POST, "/v1/access-keys/hgk_no/rotate?overlap_s=0"),
        (Method::GET, "/v1/payloads?limit=51"),
        (Method::GET, "/v1/usage?format=csv&limit=7"),
        (Method::GET, "/v1/usage/summary?format=csv&limit=7"),
    ] {
        problem(&ask(method, path, &[], Some(&form)).await, 400, "invalid_query");
    }
    let key = json!({"client_id": "c", "scopes": ["ai:chat"]});
    let answer = ask(Method::POST, "/v1/access-keys", &[("if-match", "\"1\"")], Some(&key)).await;
    problem(&answer, 400, "invalid_precondition");
    let new = ask(Method::POST, "/v1/access-keys", &[("if-none-match", "*")], Some(&key)).await;
    assert_eq!(new.status, 201);
    ask(Method::GET, "/v1/payloads?limit=50", &[], None).await.ok();
    get(&running, "/v1/vendors/stub").await.ok();
}

#[tokio::test]
async fn faults_point_at_what_was_sent_and_nowhere_else() {
    let running = Running::start().await;
    let pointers = async |path: &str, form: &Value| {
        let found = problem(&put(&running, path, form).await, 422, "invalid");
        let errors = found["errors"].as_array().unwrap().clone();
        let pointer = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
        errors.iter().map(pointer).collect::<BTreeSet<_>>()
    };
    let set = |pointers: &[&str]| {
        pointers
            .iter()
            .map(|pointer| (*pointer).to_owned())
            .collect::<BTreeSet<_>>()
    };
    // Behind an address that cannot be read the others keep their places.
    let addresses = json!([{"url": "http://a.test"}, {"url": "nowhere"}, 5, {"url": "http://a.test"}]);
    let vendor = json!({"strategy": "openai", "pool": {"strategy": "random", "addresses": addresses}});
    let wanted = set(&["/pool/addresses/1/url", "/pool/addresses/2", "/pool/addresses/3"]);
    assert_eq!(pointers("/v1/vendors/mine", &vendor).await, wanted);
    // A member is one step, whatever it is called, and one that is called alike hides nothing.
    let interface = json!({"capability": "chat", "a.b[0]/~": 1, "routes_x": 1});
    let wanted = set(&["/a.b[0]~1~0", "/routes_x", "/routes"]);
    assert_eq!(pointers("/v1/interfaces/mine", &interface).await, wanted);
    // What a removal would break is not in its body, which is none.
    let refused = send(
        &running,
        Method::DELETE,
        "/v1/vendors/stub",
        &admin_token(&running),
        &[],
        None,
    )
    .await;
    let found = problem(&refused, 409, "invalid");
    for error in found["errors"].as_array().unwrap() {
        assert!(error["field"].as_str().unwrap().starts_with("interface \""), "{error}");
        assert_eq!(error.get("pointer"), None, "{error}");
    }
}
