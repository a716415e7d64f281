//! No policy can be got around: every door to every capability, with every credential, against every policy. A new door of
//! the router is tried by itself; a new credential belongs into [`Credential`], and all policies hold for it at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::LazyLock,
};

use oauth_wire::ai_scopes;
use reqwest::Method;
use resource_gateway::{
    adapters::http::DOORS,
    domain::{access_key::KeySettings, interface::Capability},
};
use serde_json::{Value, json};

use crate::{
    running::{Answer, Running},
    signed_calls::{Draft, Holder, settings},
    signer::{Key, Request, Stamp, sign},
};

/// What is spoken at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    OpenAi,
    /// OpenAI's newer format.
    Responses,
    /// Anthropic's.
    Messages,
    /// Anthropic's, to be told how much it is: nothing is answered, and nothing is spent.
    Count,
}

/// A way in.
#[derive(Debug, Clone)]
struct Door {
    capability: Capability,
    words: Words,
    /// `{model}` stands for the interface where it is no member of the body.
    path: String,
}

impl Door {
    fn to(&self, model: &str) -> String {
        self.path.replace("{model}", model)
    }

    /// Refused, in the words of the door.
    #[track_caller]
    fn refuses(&self, answer: &Answer, status: u16, code: &str) {
        if matches!(self.words, Words::OpenAi | Words::Responses) {
            assert_eq!(answer.error(status)["code"], code, "{self:?}");
            return;
        }
        // That format has no codes.
        let (kind, word) = match code {
            "insufficient_scope" => ("permission_error", "scope"),
            "interface_not_granted" => ("permission_error", "not granted"),
            "model_not_found" => ("not_found_error", "model"),
            "rate_limit_exceeded" => ("rate_limit_error", "Rate limit"),
            "insufficient_quota" => ("rate_limit_error", "quota"),
            other => panic!("{self:?} {other}"),
        };
        let error = answer.json()["error"].clone();
        let says = error["message"].as_str().is_some_and(|message| message.contains(word));
        assert_eq!(
            (answer.status, &error["type"], says),
            (status, &json!(kind), true),
            "{self:?}: {}",
            answer.body
        );
    }
}

const CAPABILITIES: usize = Capability::ALL.len();

/// Where chat is spoken in other formats than OpenAI's first one.
const OTHER_WORDS: [(Words, &str); 3] = [
    (Words::Messages, "/v1/messages"),
    (Words::Count, "/v1/messages/count_tokens"),
    (Words::Responses, "/v1/responses"),
];

/// Every way in to every capability: those that the router has, so that a new one is tried by itself.
fn doors() -> Vec<Door> {
    // Raw calls have one door: there is no other place for their path.
    let raw = Door {
        capability: Capability::Raw,
        words: Words::OpenAi,
        path: "/v1/raw/{model}/things".to_owned(),
    };
    let named = DOORS.map(|(capability, path)| Door {
        capability,
        words: Words::OpenAi,
        path: path.to_owned(),
    });
    let aliases = DOORS.map(|(capability, _)| Door {
        capability,
        words: Words::OpenAi,
        path: format!("/ai/invoke/{}", capability.invoke_name()),
    });
    let others = OTHER_WORDS.map(|(words, path)| Door {
        capability: Capability::Chat,
        words,
        path: path.to_owned(),
    });
    let doors: Vec<_> = named.into_iter().chain([raw]).chain(aliases).chain(others).collect();
    let capabilities: BTreeSet<_> = doors.iter().map(|door| door.capability.as_str()).collect();
    let all: BTreeSet<_> = Capability::ALL.into_iter().map(Capability::as_str).collect();
    assert_eq!(capabilities, all, "no capability without a door");
    doors
}

/// Paths behind which no vendor is called with what a caller says.
const NO_DOORS: [&str; 14] = [
    "/",
    "/.well-known/oauth-protected-resource",
    "/admin",
    "/auth/forward",
    "/v1/conversations",
    "/v1/conversations/{id}",
    "/v1/jobs",
    "/v1/jobs/webhook-secret",
    "/v1/jobs/{id}",
    "/v1/jobs/{id}/cancel",
    "/v1/jobs/{id}/result",
    "/v1/models",
    "/v1/models/{*name}",
    "/{*__private__axum_fallback}",
];

#[tokio::test]
async fn every_path_of_the_router_is_a_door_that_is_tried_or_none() {
    let running = Running::start().await;
    // What the router tells of itself are its paths.
    let told = format!("{:?}", running.gateway.router);
    let paths: BTreeSet<&str> = told.split('"').filter(|text| text.starts_with('/')).collect();
    let tried: BTreeSet<&str> = DOORS
        .iter()
        .map(|(_, path)| *path)
        .chain(OTHER_WORDS.iter().map(|(_, path)| *path))
        .chain(["/ai/invoke/{capability}", "/v1/raw/{interface}/{*path}"])
        .collect();
    assert!(tried.is_subset(&paths), "{tried:?} {paths:?}");
    let others: Vec<&str> = paths
        .difference(&tried)
        .filter(|path| !path.starts_with("/admin/"))
        .copied()
        .collect();
    assert_eq!(
        others, NO_DOORS,
        "a new door belongs into the list, and anything else beside it"
    );
}

/// A request that a door takes.
#[derive(Debug, Clone)]
struct Call {
    content_type: String,
    body: Vec<u8>,
}

const BOUNDARY: &str = "a-boundary-of-the-test";

/// A whole request for a door, with more members than it needs.
fn call(door: &Door, model: &str, more: &[(&str, &str)]) -> Call {
    let capability = door.capability;
    if capability == Capability::Transcription {
        let mut body = Vec::new();
        let mut part = |disposition: &str, content: &[u8]| {
            body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").bytes());
            body.extend(content);
            body.extend(b"\r\n");
        };
        part("name=\"file\"; filename=\"a.wav\"", &silence());
        part("name=\"model\"", model.as_bytes());
        for (name, value) in more {
            part(&format!("name=\"{name}\""), value.as_bytes());
        }
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        return Call {
            content_type: format!("multipart/form-data; boundary={BOUNDARY}"),
            body,
        };
    }
    // A picture of one point.
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let mut body = match capability {
        Capability::Chat if door.words == Words::Responses => json!({"input": "Hello"}),
        Capability::Chat if door.words == Words::Messages => {
            json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16})
        }
        Capability::Chat => json!({"messages": [{"role": "user", "content": "Hello"}]}),
        Capability::Embeddings | Capability::Moderation | Capability::Raw => json!({"input": "Hello"}),
        Capability::Speech => json!({"input": "Hello", "voice": "alloy", "response_format": "wav"}),
        Capability::Image => json!({"prompt": "a gate", "response_format": "b64_json"}),
        Capability::Rerank => json!({"query": "gate", "documents": ["a gate", "a wall", "a door"]}),
        _ => json!({"image": {"base64": picture}}),
    };
    if capability != Capability::Raw {
        body["model"] = model.into();
    }
    let mut text = body.to_string();
    for (name, value) in more {
        // By hand, so that a name may come twice or be spelled with escapes.
        text.truncate(text.len() - 1);
        match (door.words, *name) {
            (_, "model") | (Words::OpenAi | Words::Responses, _) => write!(text, ",\"{name}\":\"{value}\"}}").unwrap(),
            // That format's name for `user`.
            (Words::Messages | Words::Count, _) => {
                write!(text, ",\"metadata\":{{\"{name}_id\":\"{value}\"}}}}").unwrap();
            }
        }
    }
    Call {
        content_type: "application/json".to_owned(),
        body: text.into_bytes(),
    }
}

/// A tenth of a second of nothing (8 kHz, 8 bit).
fn silence() -> Vec<u8> {
    let samples = [0x80; 800];
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36u32 + 800).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8000u32.to_le_bytes());
    wav.extend(8000u32.to_le_bytes());
    wav.extend(b"\x01\0\x08\0data");
    wav.extend(800u32.to_le_bytes());
    wav.extend(samples);
    wav
}

/// What callers prove themselves with.
#[derive(Debug, Clone)]
enum Credential {
    Token(String),
    Key(Holder),
}

/// What a caller may do.
#[derive(Debug, Clone)]
struct Rights<'a> {
    scope: &'a str,
    interfaces: Option<&'a str>,
}

/// The same rights by every kind of credential.
async fn credentials(running: &Running, rights: &Rights<'_>) -> [Credential; 2] {
    let mut claims = json!({"scope": rights.scope, "tenant": "t1", "client_id": "machine", "sub": "machine"});
    if let Some(name) = rights.interfaces {
        claims["ai_interfaces"] = json!([name]);
    }
    let key = KeySettings {
        scopes: rights.scope.split(' ').map(str::to_owned).collect(),
        interfaces: rights.interfaces.map(|name| [name.to_owned()].into()),
        ..settings()
    };
    [
        Credential::Token(running.issuer.token(&claims)),
        Credential::Key(running.issue(key).await),
    ]
}

async fn send(running: &Running, credential: &Credential, path: &str, call: &Call, more: &[(&str, &str)]) -> Answer {
    let url = format!("{}{path}", running.url);
    let mut headers: BTreeMap<String, String> = match credential {
        Credential::Token(token) => BTreeMap::from([
            ("authorization".to_owned(), format!("Bearer {token}")),
            ("content-type".to_owned(), call.content_type.clone()),
        ]),
        Credential::Key(holder) => {
            // For its nonce and its date.
            let draft = Draft::new("POST", url.clone(), Vec::new());
            let key = Key {
                id: &holder.id,
                secret: &holder.secret,
            };
            let stamp = Stamp {
                date: &service_kit::Timestamp::from_seconds(draft.date).to_rfc3339(),
                nonce: &draft.nonce,
                expires: draft.expires,
            };
            let request = Request {
                method: "POST",
                url: &url,
                body: &call.body,
                headers: &[("content-type", &call.content_type)],
            };
            sign(&key, &request, &stamp).unwrap().headers
        }
    };
    headers.insert("content-type".to_owned(), call.content_type.clone());
    headers.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let mut request = running.http.post(&url).body(call.body.clone());
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    // Speech is no text.
    let body = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
    Answer { status, headers, body }
}

/// An interface of the sandbox for each capability, named after it and the policy.
async fn lay(running: &Running, policy: &str, settings: &str) {
    let mut text = String::new();
    for capability in Capability::ALL {
        let word = capability.as_str();
        let settings = with_paths(capability, settings);
        writeln!(
            text,
            "[[interface]]\nname = \"{policy}-{word}\"\ncapability = \"{word}\"\nroutes = [{{ vendor = \"sandbox\", model = \"s\" }}]\n{settings}"
        )
        .unwrap();
    }
    running.apply(&text).await;
}

fn with_paths(capability: Capability, settings: &str) -> String {
    let paths = "raw = { allow = [{ name = \"make\", methods = [\"POST\"], path = \"/things\" }] }\n";
    match capability {
        Capability::Raw => format!("{paths}{settings}"),
        _ => settings.to_owned(),
    }
}

fn model(policy: &str, door: &Door) -> String {
    format!("{policy}-{}", door.capability.as_str())
}

static ALL: LazyLock<Rights<'static>> = LazyLock::new(|| Rights {
    scope: ai_scopes().collect::<Vec<_>>().join(" ").leak(),
    interfaces: None,
});

/// Nothing was sent to a vendor, whatever was tried.
async fn nothing_was_spent(running: &Running) {
    running.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    for row in running.usage_rows("").await {
        assert_eq!((row.state.as_str(), row.attempts), ("rejected", 0), "{row:?}");
    }
}

#[tokio::test]
async fn every_door_opens_for_whoever_may_come_in() {
    let running = Running::start().await;
    lay(&running, "open", "").await;
    let credentials = credentials(&running, &ALL).await;
    for door in doors() {
        for credential in &credentials {
            let open = model("open", &door);
            let call = call(&door, &open, &[]);
            let answer = send(&running, credential, &door.to(&open), &call, &[]).await;
            assert_eq!(answer.status, 200, "{door:?} {credential:?}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn neither_scope_nor_grant_can_be_got_around() {
    let running = Running::start().await;
    lay(&running, "open", "").await;
    lay(&running, "off", "enabled = false").await;
    let granted = credentials(
        &running,
        &Rights {
            interfaces: Some("another"),
            ..ALL.clone()
        },
    )
    .await;
    let all = credentials(&running, &ALL).await;
    for door in doors() {
        let others: Vec<&str> = ALL
            .scope
            .split(' ')
            .filter(|scope| *scope != format!("ai:{}", door.capability.as_str()))
            .collect();
        let narrow = format!("{} ai:{}:another", others.join(" "), door.capability.as_str());
        let name = model("open", &door);
        let (path, open) = (door.to(&name), call(&door, &name, &[]));
        let lacking = Rights {
            scope: &others.join(" "),
            interfaces: None,
        };
        for credential in credentials(&running, &lacking).await {
            let answer = send(&running, &credential, &path, &open, &[]).await;
            door.refuses(&answer, 403, "insufficient_scope");
        }
        let elsewhere = Rights {
            scope: &narrow,
            interfaces: None,
        };
        for credential in credentials(&running, &elsewhere).await {
            let answer = send(&running, &credential, &path, &open, &[]).await;
            door.refuses(&answer, 403, "insufficient_scope");
        }
        for credential in &granted {
            let answer = send(&running, credential, &path, &open, &[]).await;
            door.refuses(&answer, 403, "interface_not_granted");
        }
        let off = model("off", &door);
        let foreign = doors()
            .into_iter()
            .find(|other| other.capability != door.capability)
            .unwrap();
        let foreign = model("open", &foreign);
        for credential in &all {
            for hidden in [&off, &foreign] {
                let call = call(&door, hidden, &[]);
                let answer = send(&running, credential, &door.to(hidden), &call, &[]).await;
                door.refuses(&answer, 404, "model_not_found");
            }
        }
    }
    nothing_was_spent(&running).await;
}

#[tokio::test]
async fn forbidden_fields_stay_out_however_they_are_written() {
    let running = Running::start().await;
    lay(&running, "strict", "fields = [{ name = \"/user\", forbid = true }]").await;
    let credentials = credentials(&running, &ALL).await;
    for door in doors() {
        let spellings: &[&str] = match door.capability {
            // Parts have no escapes.
            Capability::Transcription => &["user", "User", "USER"],
            _ => &["user", "\\u0075ser", "User", "u\\u0073er", "USER"],
        };
        for spelling in spellings {
            let strict = model("strict", &door);
            let call = call(&door, &strict, &[(spelling, "x")]);
            for credential in &credentials {
                let answer = send(&running, credential, &door.to(&strict), &call, &[]).await;
                assert_eq!(answer.status, 400, "{door:?} {spelling}: {}", answer.body);
            }
        }
        if door.capability == Capability::Raw {
            // The path names the interface, and a path cannot name two.
            continue;
        }
        // Two models in one body: whoever reads the last would be judged by the first.
        let twice = call(&door, "strict-none", &[("model", &model("strict", &door))]);
        let answer = send(&running, &credentials[0], &door.path, &twice, &[]).await;
        assert_eq!(answer.status, 400, "{door:?}: {}", answer.body);
    }
    nothing_was_spent(&running).await;
}

#[tokio::test]
async fn forced_fields_are_forced_at_every_door() {
    let running = Running::start().await;
    lay(&running, "forced", "fields = [{ name = \"/user\", value = \"ours\" }]").await;
    let credentials = credentials(&running, &ALL).await;
    for door in doors() {
        for sent in [&[][..], &[("user", "theirs")][..]] {
            let forced = model("forced", &door);
            let call = call(&door, &forced, sent);
            for credential in &credentials {
                let answer = send(&running, credential, &door.to(&forced), &call, &[]).await;
                assert_eq!(answer.status, 200, "{door:?}: {}", answer.body);
                assert_eq!(answer.header("x-hexgate-forced-fields"), "/user", "{door:?}");
            }
        }
    }
}

#[tokio::test]
async fn one_limit_holds_behind_all_doors_for_all_credentials() {
    let running = Running::start().await;
    lay(&running, "limited", "limits = { requests_per_minute = 1 }").await;
    let credentials = credentials(&running, &ALL).await;
    let mut through = BTreeMap::new();
    for door in doors() {
        for credential in &credentials {
            let name = model("limited", &door);
            let call = call(&door, &name, &[]);
            let answer = send(&running, credential, &door.to(&name), &call, &[]).await;
            match answer.status {
                200 => *through.entry(door.capability).or_insert(0) += 1,
                _ => door.refuses(&answer, 429, "rate_limit_exceeded"),
            }
        }
    }
    assert!(
        through.len() == CAPABILITIES && through.values().all(|count| *count == 1),
        "{through:?}"
    );
}

#[tokio::test]
async fn one_budget_holds_behind_all_doors_for_all_credentials() {
    let running = Running::start().await;
    let mut text = String::new();
    for door in doors().iter().take(CAPABILITIES) {
        let (word, paths) = (door.capability.as_str(), with_paths(door.capability, ""));
        write!(
            text,
            "[[interface]]\nname = \"paid-{word}\"\ncapability = \"{word}\"\nroutes = [{{ vendor = \"sandbox\", model = \"s\" }}]\n{paths}\
             [[price]]\nname = \"{word}\"\ninterface = \"paid-{word}\"\nper_call = \"1\"\ncurrency = \"USD\"\n\
             [[quota]]\nname = \"{word}\"\nclient_id = \"machine\"\ninterface = \"paid-{word}\"\namount = \"1\"\ncurrency = \"USD\"\nperiod = \"total\"\n"
        )
        .unwrap();
    }
    running.apply(&text).await;
    let credentials = credentials(&running, &ALL).await;
    let mut through = BTreeMap::new();
    for door in doors() {
        for credential in &credentials {
            let name = model("paid", &door);
            let call = call(&door, &name, &[]);
            let answer = send(&running, credential, &door.to(&name), &call, &[]).await;
            match answer.status {
                // What costs nothing is nothing to a budget.
                200 if door.words == Words::Count => {}
                200 => *through.entry(door.capability).or_insert(0) += 1,
                _ => door.refuses(&answer, 429, "insufficient_quota"),
            }
        }
    }
    assert!(
        through.len() == CAPABILITIES && through.values().all(|count| *count == 1),
        "{through:?}"
    );
}

#[tokio::test]
async fn no_caller_talks_a_threshold_down() {
    let running = Running::start().await;
    let scored = [
        Capability::Ocr,
        Capability::Labels,
        Capability::Faces,
        Capability::Rerank,
    ];
    for capability in scored {
        let word = capability.as_str();
        let text = format!(
            "[[interface]]\nname = \"sure-{word}\"\ncapability = \"{word}\"\nroutes = [{{ vendor = \"sandbox\", model = \"s\" }}]\nmin_confidence = 0.9\n"
        );
        running.apply(&text).await;
    }
    let credentials = credentials(&running, &ALL).await;
    for door in doors().into_iter().filter(|door| scored.contains(&door.capability)) {
        let mut call = call(&door, &model("sure", &door), &[]);
        let mut body: Value = serde_json::from_slice(&call.body).unwrap();
        body["min_confidence"] = json!(0.0);
        call.body = body.to_string().into_bytes();
        for credential in &credentials {
            let answer = send(&running, credential, &door.path, &call, &[]).await.ok();
            let items = ["lines", "labels", "faces", "results"]
                .iter()
                .find_map(|name| answer[*name].as_array())
                .unwrap();
            let score = |item: &Value| {
                item["confidence"]
                    .as_f64()
                    .or(item["relevance_score"].as_f64())
                    .unwrap()
            };
            assert!(items.iter().all(|item| score(item) >= 0.9), "{door:?}: {answer}");
            assert!(answer["filtered"].as_u64().unwrap() > 0, "{door:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn other_methods_and_other_spellings_of_a_path_lead_nowhere() {
    let running = Running::start().await;
    lay(&running, "open", "").await;
    let credentials = credentials(&running, &ALL).await;
    for door in doors() {
        let name = model("open", &door);
        let (path, open) = (door.to(&name), call(&door, &name, &[]));
        for method in [
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::TRACE,
        ] {
            let Credential::Token(token) = &credentials[0] else {
                unreachable!()
            };
            let request = running.http.request(method.clone(), format!("{}{path}", running.url));
            let request = request
                .bearer_auth(token)
                .header("content-type", &open.content_type)
                .body(open.body.clone());
            let status = request.send().await.unwrap().status();
            // Which methods there are is each raw interface's own business.
            let unlisted = door.capability == Capability::Raw && status == 404;
            assert!(status == 405 || unlisted, "{method} {door:?} {status}");
        }
        let upper = path.to_uppercase();
        let (head, tail) = path.rsplit_once('/').unwrap();
        for path in [
            format!("{path}/"),
            format!("/{path}"),
            format!("{head}//{tail}"),
            format!("{path};x"),
            format!("{path}%2f"),
            format!("{path}%00"),
            format!("{head}%2f{tail}"),
            format!("{path}\\"),
            upper,
        ] {
            let answer = send(&running, &credentials[0], &path, &open, &[]).await;
            assert!(
                (400..500).contains(&answer.status),
                "{path}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    nothing_was_spent(&running).await;
}

#[tokio::test]
async fn no_header_and_no_query_changes_what_a_call_is() {
    let running = Running::start().await;
    lay(&running, "open", "").await;
    lay(&running, "strict", "fields = [{ name = \"/user\", forbid = true }]").await;
    let credentials = credentials(&running, &ALL).await;
    for door in doors() {
        let (open, strict) = (model("open", &door), model("strict", &door));
        let call = call(&door, &strict, &[("user", "x")]);
        let path = door.to(&strict);
        for (name, value) in [
            ("x-http-method-override", "GET"),
            ("x-original-url", "/v1/models"),
            ("x-rewrite-url", "/v1/models"),
            ("x-forwarded-prefix", "/admin"),
            ("x-model", open.as_str()),
            ("x-hexgate-interface", open.as_str()),
            ("x-hexgate-sub", "root"),
            ("content-encoding", "identity"),
        ] {
            for credential in &credentials {
                let answer = send(&running, credential, &path, &call, &[(name, value)]).await;
                assert_eq!(answer.status, 400, "{door:?} {name}: {}", answer.body);
            }
        }
        let path = format!("{path}?model={open}");
        for credential in &credentials {
            let answer = send(&running, credential, &path, &call, &[]).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        }
    }
    nothing_was_spent(&running).await;
}
