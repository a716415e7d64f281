//! A gateway that serves on a free port, with a stub provider and a stub vendor around it.

use std::{path::Path, sync::Arc, time::Duration};

use resource_gateway::{
    bootstrap::{Ambient, Gateway},
    config::Config,
};
use serde_json::{Value, json};
use service_kit::{BoundListener, Clock, Tasks, TlsConfig};
use sql_kit::{Db, Options, Sql, args, sql};
use tempfile::TempDir;

use crate::{
    stub_issuer::{AUDIENCE, StubIssuer},
    stub_vendor::StubVendor,
};

pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) issuer: StubIssuer,
    pub(crate) vendor: StubVendor,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) http: reqwest::Client,
    pub(crate) database: String,
    pub(crate) config: Config,
    tasks: Tasks,
    records: Tasks,
    _dir: Option<TempDir>,
}

/// Upstream models that fail, each an interface of its own.
pub(crate) const MODELS: &[&str] = &[
    "echo",
    "status-400",
    "status-401",
    "status-404",
    "status-422",
    "status-429",
    "status-500",
    "status-503",
    "status-504",
    "html-200",
    "html-500",
    "cut",
    "truncated",
    "no-done",
    "malformed",
    "in-band",
    "in-band-first",
    "json-error",
    "no-usage",
];

fn documents(vendor: &StubVendor) -> String {
    let mut text = format!(
        "[[vendor]]\nname = \"stub\"\nstrategy = \"openai\"\nbase_url = \"{}\"\nsecret_key = \"vendor-secret-0123456789\"\n\
         [[vendor]]\nname = \"closed\"\nstrategy = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
         [[vendor]]\nname = \"sandbox\"\nstrategy = \"sandbox\"\n",
        vendor.url
    );
    let mut interface = |name: &str, vendor: &str, model: &str, more: &str| {
        let entry = format!(
            "[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"{vendor}\", model = \"{model}\" }}]\n{more}\n"
        );
        text.push_str(&entry);
    };
    for model in MODELS {
        interface(model, "stub", model, "");
    }
    let short = "timeouts_ms = { connect = 5000, first_byte = 1000, idle = 500, total = 2000 }";
    for name in ["hang", "stall", "slow"] {
        interface(name, "stub", name, short);
    }
    interface("patient", "stub", "hang", "");
    interface("endless", "stub", "slow", "");
    interface("closed", "closed", "echo", "");
    interface("off", "stub", "echo", "enabled = false");
    interface("sandbox", "sandbox", "sandbox-1", "");
    interface("silent", "stub", "echo", "log = { metadata = false }");
    interface(
        "ruled",
        "stub",
        "echo",
        "fields = [{ name = \"/temperature\", value = 0.5, allow_override = true }, { name = \"/metadata/team\", value = \"x\" }, \
         { name = \"/logit_bias\", forbid = true }]",
    );
    text.push_str(
        "[[interface]]\nname = \"fallback\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"status-500\", priority = 1 }, \
         { vendor = \"stub\", model = \"echo\", priority = 2 }]\n\
         [[interface]]\nname = \"hang-then-late\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"hang\", priority = 1 }, \
         { vendor = \"stub\", model = \"late\", priority = 2 }]\n\
         timeouts_ms = { connect = 1000, first_byte = 400, idle = 1000, total = 5000 }\n\
         [[interface]]\nname = \"embed\"\ncapability = \"embeddings\"\nroutes = [{ vendor = \"stub\", model = \"embed\" }]\n\
         [[interface]]\nname = \"sandbox-embed\"\ncapability = \"embeddings\"\nroutes = [{ vendor = \"sandbox\", model = \"e\" }]\n",
    );
    text
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(StubIssuer::start().await, |_| {}).await
    }

    pub(crate) async fn start_with(issuer: StubIssuer, change: impl FnOnce(&mut Config)) -> Self {
        let running = Self::start_unready(issuer, change).await;
        running
            .until("the gateway is ready", async || running.gateway.ready().is_ok())
            .await;
        running
    }

    /// With a clock of its own, and further entries of the document.
    pub(crate) async fn start_at(clock: Arc<dyn Clock>, more: &str, change: impl FnOnce(&mut Config)) -> Self {
        let ambient = Ambient {
            clock,
            ..Ambient::default()
        };
        Self::start_among(ambient, more, change).await
    }

    /// With time, randomness and programs of its own.
    pub(crate) async fn start_among(ambient: Ambient, more: &str, change: impl FnOnce(&mut Config)) -> Self {
        let running = Self::start_in(ambient, StubIssuer::start().await, more, change).await;
        running
            .until("the gateway is ready", async || running.gateway.ready().is_ok())
            .await;
        running
    }

    pub(crate) async fn start_unready(issuer: StubIssuer, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(Ambient::default(), issuer, "", change).await
    }

    async fn start_in(ambient: Ambient, issuer: StubIssuer, more: &str, change: impl FnOnce(&mut Config)) -> Self {
        let vendor = StubVendor::start().await;
        let dir = TempDir::new().unwrap();
        let mut config = Config::default();
        config.auth.issuer.clone_from(&issuer.url);
        config.auth.audience = AUDIENCE.into();
        config.database.url = format!("sqlite://{}", dir.path().join("gateway.db").display());
        config.keys.dir = dir.path().join("keys");
        config.usage.journal_dir = Some(dir.path().join("usage"));
        change(&mut config);
        let gateway = Gateway::build(&config, ambient).await.unwrap();
        gateway
            .foundation
            .apply()
            .unwrap()
            .apply(&(documents(&vendor) + more), Path::new("."))
            .await
            .unwrap();
        gateway.snapshots.refresh().await;
        Self::serve(gateway, (issuer, vendor), config, Some(dir)).await
    }

    /// Another node on the same database.
    pub(crate) async fn another(&self) -> Self {
        self.another_with(&self.config).await
    }

    pub(crate) async fn another_with(&self, config: &Config) -> Self {
        let gateway = Gateway::build(config, Ambient::default()).await.unwrap();
        let around = (self.issuer.clone(), self.vendor.clone());
        let running = Self::serve(gateway, around, config.clone(), None).await;
        running
            .until("the other gateway is ready", async || running.gateway.ready().is_ok())
            .await;
        running
    }

    async fn serve(
        gateway: Gateway,
        (issuer, vendor): (StubIssuer, StubVendor),
        config: Config,
        dir: Option<TempDir>,
    ) -> Self {
        let database = config.database.url.clone();
        let gateway = Arc::new(gateway);
        let (tasks, records) = (Tasks::default(), Tasks::default());
        gateway.start(&tasks, &records);
        let listener = BoundListener::bind(([127, 0, 0, 1], 0).into(), &TlsConfig::default())
            .await
            .unwrap()
            .with_peer_rules(Arc::new(config.peer_rules()));
        let url = format!("http://{}", listener.address());
        gateway.serve_on(listener, &tasks, Duration::from_secs(1));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            url,
            issuer,
            vendor,
            gateway,
            http,
            database,
            config,
            tasks,
            records,
            _dir: dir,
        }
    }

    /// Applies a document and has it obeyed.
    pub(crate) async fn apply(&self, text: &str) {
        let apply = self.gateway.foundation.apply().unwrap();
        apply.apply(text, Path::new(".")).await.unwrap();
        self.gateway.snapshots.refresh().await;
    }

    pub(crate) async fn until(&self, what: &str, mut probe: impl AsyncFnMut() -> bool) {
        for _ in 0..1000 {
            if probe().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within five seconds: {what}");
    }

    /// A token that permits everything.
    pub(crate) fn token(&self) -> String {
        self.issuer.token(&json!({}))
    }

    pub(crate) fn request(&self, path: &str, token: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.url))
            .bearer_auth(token)
            .json(body)
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        Answer::read(self.request(path, token, body).send().await.unwrap()).await
    }

    pub(crate) async fn chat_as(&self, token: &str, model: &str) -> Answer {
        self.post("/v1/chat/completions", token, &chat(model)).await
    }

    pub(crate) async fn chat(&self, model: &str) -> Answer {
        self.chat_as(&self.token(), model).await
    }

    pub(crate) async fn stream(&self, model: &str) -> Answer {
        let mut body = chat(model);
        body["stream"] = true.into();
        self.post("/v1/chat/completions", &self.token(), &body).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        Answer::read(
            self.http
                .get(format!("{}{path}", self.url))
                .bearer_auth(token)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// The usage record of a request, once the database has it.
    pub(crate) async fn usage(&self, request_id: &str) -> Usage {
        self.gateway.journal.finish(Duration::from_secs(5)).await;
        let rows = self.usage_rows(request_id).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.into_iter().next().unwrap()
    }

    /// Changes rows behind the gateway's back.
    pub(crate) async fn execute(&self, sql: Sql) {
        let db = Db::connect(&self.database, &Options::default()).await.unwrap();
        db.execute(sql, args![]).await.unwrap();
        db.close().await;
    }

    pub(crate) async fn usage_rows(&self, request_id: &str) -> Vec<Usage> {
        const ROWS: Sql = sql!(
            "SELECT state, input_tokens, output_tokens, estimated, attempts, stream, request_id FROM usage_record WHERE request_id = ? OR ? = ''"
        );
        let db = Db::connect(&self.database, &Options::default()).await.unwrap();
        let rows: Vec<(String, i64, i64, bool, i64, bool, String)> = db
            .all(ROWS, args![request_id.to_owned(), request_id.to_owned()])
            .await
            .unwrap();
        db.close().await;
        rows.into_iter()
            .map(|(state, input, output, estimated, attempts, stream, _)| Usage {
                state,
                input,
                output,
                estimated,
                attempts,
                stream,
            })
            .collect()
    }

    /// The only usage record that there is, once there is one.
    pub(crate) async fn only_usage(&self) -> Usage {
        for _ in 0..1000 {
            self.gateway.journal.finish(Duration::from_secs(5)).await;
            if let [usage] = self.usage_rows("").await.as_slice() {
                return usage.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no usage record");
    }

    pub(crate) async fn stop(&self) {
        self.tasks.drain(Duration::from_secs(3)).await;
        self.records.drain(Duration::from_secs(3)).await;
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) state: String,
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) estimated: bool,
    pub(crate) attempts: i64,
    pub(crate) stream: bool,
}

pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello, world"}]})
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            body: response.text().await.unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.header("x-request-id")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The error object, which has all that SDKs look for and nothing of the vendor's inside.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        assert!(!self.request_id().is_empty());
        let error = self.json()["error"].clone();
        assert!(
            error["message"].is_string() && error["type"].is_string(),
            "{}",
            self.body
        );
        assert!(
            error.get("param").is_some() && error.get("code").is_some(),
            "{}",
            self.body
        );
        error
    }
}
