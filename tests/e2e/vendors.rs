//! Every chat vendor behind the gateway, as the official SDKs see it.
//!
//! The vendors are played by `mock_vendor`, which reads requests as strictly as they do and was written without a look at
//! the gateway. A vendor is a row here as it is one there.

use std::sync::LazyLock;

use e2e::mock_vendor::{MockVendor, credentials};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    clients::run_in,
    oauth::Reply,
    world::{Engine, Settings, World, free_port, required_environment},
};

/// One for all tests.
pub(crate) static MOCK: LazyLock<MockVendor> = LazyLock::new(MockVendor::start);

/// A vendor as its row in the gateway has it.
pub(crate) struct Vendor {
    /// By which its interfaces are told from those of others.
    pub(crate) name: &'static str,
    pub(crate) strategy: &'static str,
    /// After the address.
    base: &'static str,
    /// What else its row has.
    more: &'static str,
    /// What its format has no word for, by the names of the drivers' checks and settings.
    lacks: &'static [&'static str],
    /// Says what of the input was cached.
    cached: bool,
    /// Says when to try again.
    hints: bool,
    /// Has to be asked for several calls at once by callers of OpenAI's format, whose members it gets as they are.
    asked_for_parallel: bool,
    /// Failures that come out under another status than usual; none for those that the vendor has no word for.
    says: &'static [(&'static str, &'static [u16])],
}

impl Vendor {
    const fn new(strategy: &'static str, base: &'static str) -> Self {
        Self {
            name: strategy,
            strategy,
            base,
            more: "",
            lacks: &[],
            cached: false,
            hints: true,
            asked_for_parallel: false,
            says: &[],
        }
    }
}

/// Every chat strategy, and OpenAI's in both of its formats.
pub(crate) static VENDORS: [Vendor; 18] = [
    Vendor {
        cached: true,
        ..Vendor::new("openai", "/v1")
    },
    Vendor {
        name: "openai-responses",
        more: "options = { api = \"responses\" }\n",
        lacks: &["seed", "stop"],
        cached: true,
        ..Vendor::new("openai", "/v1")
    },
    Vendor {
        more: "options = { api_version = \"2024-10-21\" }\n",
        cached: true,
        // One status for limits and quotas.
        says: &[("quota", &[429])],
        ..Vendor::new("azure-openai", "")
    },
    Vendor {
        lacks: &["seed"],
        cached: true,
        ..Vendor::new("anthropic", "")
    },
    Vendor {
        cached: true,
        // One status for limits and quotas.
        says: &[("quota", &[429])],
        ..Vendor::new("gemini", "/v1")
    },
    Vendor {
        more: "options = { region = \"us-east-1\" }\n",
        lacks: &["seed", "choice_none", "json_schema"],
        hints: false,
        ..Vendor::new("bedrock", "")
    },
    Vendor {
        lacks: &["choice_required"],
        hints: false,
        asked_for_parallel: true,
        ..Vendor::new("dashscope", "")
    },
    Vendor::new("qianfan", "/v2"),
    Vendor {
        lacks: &["max_tokens", "choice_required", "json_schema"],
        hints: false,
        says: &[("filter", &[])],
        ..Vendor::new("tencent", "")
    },
    Vendor {
        lacks: &["choice_none", "choice_required", "choice_named"],
        ..Vendor::new("ollama", "")
    },
    Vendor {
        lacks: &["choice_named"],
        ..Vendor::new("cohere", "/v2")
    },
    Vendor {
        cached: true,
        // Where others say that time ran out it says that something failed.
        says: &[("504", &[502])],
        ..Vendor::new("zhipu", "/api/paas/v4")
    },
    Vendor {
        cached: true,
        says: &[("504", &[502])],
        ..Vendor::new("volcengine-ark", "/api/v3")
    },
    Vendor {
        cached: true,
        ..Vendor::new("deepseek", "")
    },
    Vendor {
        says: &[("504", &[502])],
        ..Vendor::new("moonshot", "/v1")
    },
    Vendor {
        says: &[("400", &[422])],
        ..Vendor::new("mistral", "/v1")
    },
    Vendor {
        hints: false,
        says: &[("404", &[400]), ("504", &[502])],
        ..Vendor::new("spark", "/v1")
    },
    Vendor {
        more: "app_id = \"mockapp1\"\noptions = { version = \"v4.0\" }\n",
        // It reads texts, never says that a limit was met, and calls one function, or none, as it likes.
        lacks: &[
            "seed",
            "stop",
            "max_tokens",
            "choice_none",
            "choice_required",
            "choice_named",
            "parallel",
            "vision",
            "json_schema",
        ],
        hints: false,
        says: &[("404", &[400]), ("504", &[502])],
        ..Vendor::new("spark-websocket", "")
    },
];

/// Faults of the mock vendor that each vendor is asked for (see `mock_vendor::faults`).
const FAULTS: [&str; 27] = [
    "400",
    "context",
    "401",
    "403",
    "404",
    "429",
    "429-retry-after-7",
    "quota",
    "filter",
    "500",
    "overloaded",
    "504",
    "html-500",
    "html-200",
    "in-band",
    "truncated",
    "cut",
    "hang-up",
    "malformed",
    "stall-before",
    "stall-after",
    "once-429-retry-after-1",
    "once-overloaded",
    "split-usage",
    "late-usage",
    "no-usage",
    "no-done",
];

/// A gateway with every vendor and a file that tells the drivers about it.
struct Stage {
    world: World,
    plan: std::path::PathBuf,
}

async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    STAGE
        .get_or_init(|| async {
            let world = World::start_with(Engine::Sqlite, Settings::default()).await;
            let document: String = VENDORS.iter().map(document).collect();
            world.write("vendors.toml", &document);
            world.gateway_cli(&["apply", "vendors.toml"]);
            let http = world.http();
            let token = http.client_credentials("service", "ai:chat").await.access;
            let narrow = http.client_credentials("service", "ai:embeddings").await.access;
            let plan = json!({
                "gateway": world.gateway,
                "token": token,
                "narrow_token": narrow,
                "control": format!("http://{}", MOCK.address("control")),
                "nobody": format!("http://127.0.0.1:{}/v1", free_port()),
                "interfaces": VENDORS.iter().map(plan_of).collect::<Vec<_>>(),
            });
            let plan = world.write("vendors.json", &plan.to_string());
            Stage { world, plan }
        })
        .await
}

/// A row for the mock of that vendor.
pub(crate) fn vendor_row(vendor: &Vendor, name: &str) -> String {
    let strategy = vendor.strategy;
    let account = credentials(strategy);
    let id = if account.id.is_empty() {
        String::new()
    } else {
        format!("secret_id = \"{}\"\n", account.id)
    };
    format!(
        "[[vendor]]\nname = \"{name}\"\nstrategy = \"{strategy}\"\nbase_url = \"http://{}{}\"\n{id}secret_key = \"{}\"\n{}\n",
        MOCK.address(strategy),
        vendor.base,
        account.key,
        vendor.more,
    )
}

/// An interface of the name, to a vendor row of its own: what fails closes no way that others take.
fn interface(vendor: &Vendor, name: &str, model: &str, timeouts: &str) -> String {
    format!(
        "{}[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nmax_attempts = 1\n\
         routes = [{{ vendor = \"{name}\", model = \"{model}\" }}]\n{timeouts}\n",
        vendor_row(vendor, name)
    )
}

fn document(vendor: &Vendor) -> String {
    let name = |what: &str| format!("{}-{what}", vendor.name);
    let mut text = interface(vendor, &name("chat"), "mock-model", "");
    text.push_str(&interface(vendor, &name("patient"), "fault-stall-before", ""));
    for fault in FAULTS {
        // Short where time has to run out, long where it must not.
        let timeouts = match fault {
            "stall-before" => "timeouts_ms = { connect = 1000, first_byte = 1500, idle = 1500, total = 20000 }",
            "stall-after" => "timeouts_ms = { connect = 1000, first_byte = 10000, idle = 1500, total = 20000 }",
            _ => "",
        };
        text.push_str(&interface(vendor, &name(fault), &format!("fault-{fault}"), timeouts));
    }
    text
}

/// What a driver is told about a vendor.
fn plan_of(vendor: &Vendor) -> Value {
    let name = |what: &str| format!("{}-{what}", vendor.name);
    let faults: serde_json::Map<_, _> = FAULTS
        .iter()
        .map(|fault| ((*fault).to_owned(), name(fault).into()))
        .collect();
    let says: serde_json::Map<_, _> = vendor
        .says
        .iter()
        .map(|(fault, status)| ((*fault).to_owned(), json!(status)))
        .collect();
    json!({
        "vendor": vendor.name,
        "name": name("chat"),
        "patient": name("patient"),
        "lacks": vendor.lacks,
        "cached": vendor.cached,
        "hints": vendor.hints,
        "faults": faults,
        "says": says,
        "parallel": if vendor.asked_for_parallel { json!({"parallel_tool_calls": true}) } else { json!({}) },
    })
}

async fn drive(program: String, script: &str) {
    let stage = stage().await;
    let environment = [("HEXGATE_VENDORS", stage.plan.to_str().unwrap().to_owned())];
    run_in(program, script, stage.world.dir.join("demo.json"), &environment).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openais_python_sdk_talks_to_every_chat_vendor() {
    drive(required_environment("HEXGATE_PYTHON"), "python/vendors_openai.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openais_javascript_sdk_talks_to_every_chat_vendor() {
    drive("node".into(), "node/vendors_openai.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropics_python_sdk_talks_to_every_chat_vendor() {
    drive(required_environment("HEXGATE_PYTHON"), "python/vendors_anthropic.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropics_javascript_sdk_talks_to_every_chat_vendor() {
    drive("node".into(), "node/vendors_anthropic.mjs").await;
}

/// Nothing but the handshake tells the vendor who it is that asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_was_not_signed_with_its_vendors_key_is_not_opened() {
    let world = World::start_with(Engine::Sqlite, Settings::default()).await;
    let row = VENDORS.iter().find(|row| row.name == "spark-websocket").unwrap();
    let key = credentials(row.strategy).key;
    let mut document = String::new();
    for (name, wrong, right) in [
        ("keyless", key, "spark-secret-of-another"),
        ("homeless", "v4.0", "v9.9"),
    ] {
        let sound = interface(row, name, "mock-model", "");
        document.push_str(&sound.replace(wrong, right));
    }
    world.write("sockets.toml", &document);
    world.gateway_cli(&["apply", "sockets.toml"]);
    let http = world.http();
    let token = http.client_credentials("service", "ai:chat").await.access;
    for (name, status, code) in [("keyless", 502, "upstream_refused"), ("homeless", 404, "not_found")] {
        let body = json!({"model": name, "messages": [{"role": "user", "content": format!("a {name} call")}]});
        let url = format!("{}/v1/chat/completions", world.gateway);
        let request = http.request(Method::POST, &url).bearer_auth(&token).json(&body);
        let reply = Reply::read(request.send().await.unwrap()).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (status, &json!(code)),
            "{}",
            reply.body
        );
        assert!(
            MOCK.calls(&format!("a {name} call")).is_empty(),
            "it was told before it had let us in"
        );
    }
}
