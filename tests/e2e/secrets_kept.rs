//! Nothing of a credential is found anywhere but where it belongs: not in answers, logs, metrics, status, admin API, files or rows,
//! however the call went and whatever the vendor quoted.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use futures_util::future::join_all;
use memchr::memmem;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    oauth::Reply,
    vendors::{MOCK, VENDORS, vendor_row},
    world::{Engine, Settings, World, eventually, required_environment, root},
};
use e2e::mock_vendor::credentials;

/// Models whose names ask the mock vendor for something; most failures quote the credential back, in a header as well.
const MODELS: [&str; 19] = [
    "mock-model",
    "fault-quote-400",
    "fault-quote-context",
    "fault-quote-401",
    "fault-quote-403",
    "fault-quote-404",
    "fault-quote-413",
    "fault-quote-429",
    "fault-quote-quota",
    "fault-quote-filter",
    "fault-quote-500",
    "fault-quote-overloaded",
    "fault-quote-504",
    "fault-quote-in-band",
    "fault-html-500",
    "fault-html-200",
    "fault-truncated",
    "fault-malformed",
    "fault-hang-up",
];

/// Other capabilities of OpenAI's, with requests that are taken and that are not.
fn other_calls() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("embeddings", "embeddings", "/v1/embeddings", json!({"input": "one"})),
        ("embeddings", "embeddings", "/v1/embeddings", json!({"input": 7})),
        (
            "speech",
            "speech",
            "/v1/audio/speech",
            json!({"input": "hello", "voice": "alloy"}),
        ),
        ("image", "image", "/v1/images/generations", json!({"prompt": "a cat"})),
        (
            "image",
            "image",
            "/v1/images/generations",
            json!({"prompt": "a cat", "n": 99}),
        ),
        ("moderation", "moderation", "/v1/moderations", json!({"input": "hello"})),
    ]
}

/// An interface that keeps all that it may keep.
fn interface(name: &str, capability: &str, more: &str, vendor: &str, model: &str) -> String {
    format!(
        "[[interface]]\nname = \"{name}\"\ncapability = \"{capability}\"\n{more}\
         log = {{ metadata = true, payload = true, image_base64 = true }}\n\
         routes = [{{ vendor = \"{vendor}\", model = \"{model}\" }}]\n\n"
    )
}

fn document() -> String {
    let mut text = String::new();
    for vendor in &VENDORS {
        for (at, model) in MODELS.iter().enumerate() {
            let name = format!("{}-{at}", vendor.name);
            text.push_str(&vendor_row(vendor, &name));
            let more = "max_attempts = 2\njobs = { enabled = true }\nconversation = { enabled = true }\n";
            text.push_str(&interface(&name, "chat", more, &name, model));
        }
    }
    let capabilities: BTreeSet<_> = other_calls()
        .into_iter()
        .map(|(_, capability, ..)| capability)
        .collect();
    for capability in capabilities {
        text.push_str(&interface(
            &format!("s-{capability}"),
            capability,
            "",
            "openai-0",
            "mock",
        ));
    }
    text
}

/// What is looked for, under a name to tell of.
struct Secret {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn new(name: &str, text: &str) -> Self {
        assert!(text.len() >= 16, "{name} is too short to be found for sure");
        let mut forms = vec![text.as_bytes().to_vec()];
        let percent: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        forms.push(percent.to_lowercase().into_bytes());
        forms.push(percent.into_bytes());
        forms.push(text.replace('/', "\\/").into_bytes());
        let hex: String = text.bytes().fold(String::new(), |all, byte| format!("{all}{byte:02x}"));
        forms.push(hex.to_uppercase().into_bytes());
        forms.push(hex.into_bytes());
        // Within a longer text base64 begins at any of three places; what depends on the neighbours is left off.
        for before in 0..3_usize {
            let padded = ["x".repeat(before).as_bytes(), text.as_bytes()].concat();
            for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
                let start = if before == 0 { 0 } else { before + 1 };
                forms.push(encoded.as_bytes()[start..encoded.len() - 2].to_vec());
            }
        }
        Self {
            name: name.to_owned(),
            forms,
        }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| memmem::find(bytes, form).is_some())
    }
}

/// Everything that came back, and what was found in it.
struct Search {
    secrets: Vec<Secret>,
    found: Mutex<BTreeSet<String>>,
    looked_at: AtomicUsize,
}

impl Search {
    fn look(&self, place: &str, bytes: &[u8]) {
        self.looked_at.fetch_add(bytes.len(), Ordering::Relaxed);
        for secret in &self.secrets {
            if secret.is_in(bytes) {
                self.found.lock().unwrap().insert(format!("{} in {place}", secret.name));
            }
        }
    }

    fn look_into(&self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.look_into(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.look(&path.display().to_string(), &bytes);
            }
        }
    }

    async fn send(&self, place: &str, request: RequestBuilder) -> Reply {
        let response = request.timeout(Duration::from_secs(20)).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A stream that is cut ends in an error; what came before it counts.
        let mut body = Vec::new();
        let mut response = response;
        while let Ok(Some(part)) = response.chunk().await {
            body.extend_from_slice(&part);
        }
        self.look(&format!("the headers of {place}"), format!("{headers:?}").as_bytes());
        for value in headers.values() {
            self.look(&format!("the headers of {place}"), value.as_bytes());
        }
        self.look(&format!("the body of {place} ({status})"), &body);
        Reply {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }
}

/// Every kind of call to a vendor, as a caller with a token makes it.
async fn make_calls(world: &World, search: &Search, token: &str, strategy: &str) {
    let http = world.http();
    let post = |path: &str| http.request(Method::POST, &format!("{}{path}", world.gateway));
    for (at, model) in MODELS.iter().enumerate() {
        let name = format!("{strategy}-{at}");
        for stream in [false, true] {
            let body = json!({"model": name, "stream": stream, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]});
            let place = format!("{strategy} {model} stream={stream}");
            let chat = post("/v1/chat/completions").bearer_auth(token).json(&body);
            search.send(&place, chat).await;
            let messages = post("/v1/messages").header("x-api-key", token).json(&body);
            search.send(&format!("{place} as messages"), messages).await;
        }
    }
    // Later, and failing with a quotation.
    let body = json!({"model": format!("{strategy}-1"), "messages": [{"role": "user", "content": "later"}]});
    let later = post("/v1/chat/completions").bearer_auth(token).json(&body);
    let job = search.send("a job", later.header("prefer", "respond-async")).await;
    let url = format!("{}{}", world.gateway, job.header("location"));
    eventually("the job's end", Duration::from_secs(20), async || {
        let asked = http.request(Method::GET, &url).bearer_auth(token);
        let told = search.send("a job's result", asked).await.json();
        (told["status"] == "failed").then_some(())
    })
    .await;
    let spoken = json!({"model": format!("{strategy}-0"), "conversation_id": "new", "messages": [{"role": "user", "content": "hello"}]});
    let spoken = post("/v1/chat/completions").bearer_auth(token).json(&spoken);
    assert_eq!(search.send("a conversation", spoken).await.status, 200);
}

/// The vendors' keys, the tokens, and a secret that signs.
fn secrets(tokens: &[(&str, &str)], signing: &str) -> Vec<Secret> {
    let mut secrets: Vec<_> = VENDORS
        .iter()
        .map(|vendor| Secret::new(vendor.name, credentials(vendor.strategy).key))
        .collect();
    for (name, token) in tokens {
        secrets.push(Secret::new(name, token));
        // Without it nobody can use the rest.
        let (_, signature) = token.rsplit_once('.').unwrap();
        secrets.push(Secret::new(&format!("{name}'s signature"), signature));
    }
    secrets.push(Secret::new("the access key's secret", signing));
    secrets
}

/// What operators are shown, and what monitoring reads.
async fn look_as_operators_do(world: &World, search: &Search, operator: &str) {
    let http = world.http();
    for path in [
        "vendors",
        "interfaces",
        "usage",
        "payloads",
        "access-keys",
        "audit-events",
    ] {
        let url = format!("{}/admin/v1/{path}", world.gateway);
        let request = http.request(Method::GET, &url).bearer_auth(operator);
        search.send(&format!("admin {path}"), request).await;
    }
    for base in [&world.gateway_status, &world.auth_status] {
        for path in ["/metrics", "/status", "/readyz"] {
            let request = http.request(Method::GET, &format!("{base}{path}"));
            search.send(path, request).await;
        }
    }
}

/// A token of nobody's.
const INVENTED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJlLW9mLW5vYm9keS1hdC1hbGw";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credential_of_a_full_run_is_found_in_answers_logs_files_or_rows() {
    let settings = Settings {
        gateway: "log.filter = \"debug\"\n".to_owned(),
        auth: "log.filter = \"debug\"\n".to_owned(),
        ..Settings::default()
    };
    let world = World::start_with(Engine::Sqlite, settings).await;
    world.write("with-keys.toml", &document());
    world.gateway_cli(&["apply", "with-keys.toml"]);
    // What the operator wrote is the operator's to keep.
    fs::remove_file(world.dir.join("with-keys.toml")).unwrap();
    let http = world.http();
    let token = http.client_credentials("service", "ai:chat ai:embeddings").await.access;
    let media = http
        .client_credentials("service", "ai:speech ai:image ai:moderation")
        .await
        .access;
    let operator = http.operator(&world.gateway).await;
    let form = json!({"client_id": "service", "scopes": ["ai:chat"]});
    let keys = http.request(Method::POST, &format!("{}/admin/v1/access-keys", world.gateway));
    let issued = Reply::read(keys.bearer_auth(&operator).json(&form).send().await.unwrap()).await;
    let issued = issued.json();
    let (id, signing) = (issued["id"].as_str().unwrap(), issued["secret"].as_str().unwrap());
    let tokens = [
        ("the caller's token", token.as_str()),
        ("another token", &media),
        ("the operator's token", &operator),
        ("an invented token", INVENTED),
    ];
    let search = Search {
        secrets: secrets(&tokens, signing),
        found: Mutex::default(),
        looked_at: AtomicUsize::default(),
    };
    join_all(
        VENDORS
            .iter()
            .map(|vendor| make_calls(&world, &search, &token, vendor.name)),
    )
    .await;
    make_calls_of_others(&world, &search, &media).await;
    signed_call(&world, &search, id, signing);
    look_as_operators_do(&world, &search, &operator).await;
    let kept = "SELECT CAST(count(*) AS TEXT) FROM call_payload";
    eventually("payloads are kept", Duration::from_secs(20), async || {
        let rows: usize = world.gateway_texts(kept).await[0].parse().unwrap();
        (rows > VENDORS.len() * MODELS.len()).then_some(())
    })
    .await;
    world.stop_gateway().await;
    world.stop_auth().await;
    for (table, row) in rows(&world).await {
        search.look(&format!("a row of {table}"), row.as_bytes());
    }
    search.look_into(&world.dir);
    let looked_at = search.looked_at.into_inner();
    assert!(looked_at > 1_000_000, "{looked_at} bytes were looked at");
    let told = MOCK
        .calls("")
        .iter()
        .any(|call| format!("{:?}", call.headers).contains(&token));
    assert!(!told, "the caller's token went to a vendor");
    let found: Vec<_> = search.found.into_inner().unwrap().into_iter().collect();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// Other capabilities, and callers whom nobody knows.
async fn make_calls_of_others(world: &World, search: &Search, token: &str) {
    let http = world.http();
    let post = |path: &str| http.request(Method::POST, &format!("{}{path}", world.gateway));
    for (interface, _, path, mut body) in other_calls() {
        body["model"] = format!("s-{interface}").into();
        search.send(path, post(path).bearer_auth(token).json(&body)).await;
    }
    let body = json!({"model": "openai-0", "messages": [{"role": "user", "content": "Hello"}]});
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/ai/invoke/chat_completion",
        "/nowhere",
    ] {
        for request in [
            post(path).bearer_auth(INVENTED),
            post(path).header("x-api-key", INVENTED),
            post(path).header("authorization", format!("DPoP {INVENTED}")),
            post(&format!("{path}?access_token={INVENTED}")),
        ] {
            search.send(&format!("{path} of nobody"), request.json(&body)).await;
        }
        // The right token for something else.
        search.send(path, post(path).bearer_auth(token).json(&body)).await;
    }
    search
        .send(
            "a body that is no JSON",
            post("/v1/chat/completions").bearer_auth(token).body(token.to_owned()),
        )
        .await;
}

/// A call signed by an access key, by the script of the documentation.
fn signed_call(world: &World, search: &Search, id: &str, secret: &str) {
    let body = json!({"model": "openai-0", "messages": [{"role": "user", "content": "signed"}]});
    let body = world.write("signed.json", &body.to_string());
    for secret in [secret, "hgks_wrong-wrong-wrong"] {
        let output = Command::new(required_environment("HEXGATE_PYTHON"))
            .arg(root().join("docs/signers/hexgate_signer.py"))
            .args(["POST", &format!("{}/v1/chat/completions", world.gateway)])
            .arg(&body)
            .env("HEXGATE_ACCESS_KEY", id)
            .env("HEXGATE_SECRET", secret)
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(
            String::from_utf8_lossy(&said).contains("Understood"),
            secret != "hgks_wrong-wrong-wrong",
            "{}",
            String::from_utf8_lossy(&said)
        );
        search.look("the answer to a signed call", &said);
    }
}

/// Every row of the gateway's database as SQL would write it, binary columns in hex.
async fn rows(world: &World) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for table in world
        .gateway_texts("SELECT name FROM sqlite_master WHERE type = 'table'")
        .await
    {
        let columns = world
            .gateway_texts(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .await;
        let quoted: Vec<_> = columns.iter().map(|name| format!("quote(\"{name}\")")).collect();
        let sql = format!("SELECT {} FROM \"{table}\"", quoted.join(" || ',' || "));
        for row in world.gateway_texts(&sql).await {
            all.push((table.clone(), row));
        }
    }
    assert!(all.len() > 100, "{} rows", all.len());
    all
}
