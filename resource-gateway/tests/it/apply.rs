//! Documents: whole or not at all, every fault with its path, nothing twice, no secret visible.

use std::{path::Path, sync::Arc};

use resource_gateway::{
    application::{
        apply::ApplyDocument,
        change_config::{ChangeError, Changed},
    },
    domain::{
        interface::{Capability, FieldAction, Timeouts},
        snapshot::Revision,
        vendor::Switch,
    },
    ports::config_source::{ConfigSource as _, SecretSource},
};
use secrecy::{ExposeSecret, SecretString};

use crate::storage_world::World;

/// A machine without variables and files.
#[derive(Debug)]
pub(crate) struct NoSecrets;

impl SecretSource for NoSecrets {
    fn find_variable(&self, _: &str) -> Option<SecretString> {
        None
    }

    fn read_file(&self, _: &Path) -> Result<SecretString, String> {
        Err("no such file".to_owned())
    }
}

/// A machine with one variable and one file.
#[derive(Debug)]
struct SomeSecrets;

impl SecretSource for SomeSecrets {
    fn find_variable(&self, name: &str) -> Option<SecretString> {
        (name == "KEY").then(|| "from-variable".to_owned().into())
    }

    fn read_file(&self, path: &Path) -> Result<SecretString, String> {
        match path.to_str() {
            Some("/etc/docs/key.txt") => Ok("from-file".to_owned().into()),
            Some("/etc/docs/empty") => Ok(String::new().into()),
            Some("/etc/docs/lines") => Ok("a\nb".to_owned().into()),
            _ => Err("no such file".to_owned()),
        }
    }
}

async fn apply(world: &World, text: &str) -> Result<Changed, ChangeError> {
    ApplyDocument::new(world.change_config(), Arc::new(SomeSecrets))
        .apply(text, Path::new("/etc/docs"))
        .await
}

/// What changed, in words.
fn names(changed: &Changed) -> Vec<String> {
    changed.changed.iter().map(|(row, _)| row.to_string()).collect()
}

async fn faults(world: &World, text: &str) -> Vec<String> {
    match apply(world, text).await {
        Err(ChangeError::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("no faults but {other:?}"),
    }
}

const FULL: &str = r#"
[[vendor]]
name = "self-hosted"
strategy = "openai"
enabled = false
base_url = "https://llm.test/v1"
secret_key = "sk-very-secret"
pool = { strategy = "random", discovery = "static", addresses = [{ url = "http://10.0.0.1:8000", weight = 2 }, { url = "http://10.0.0.2:8000" }] }

[[vendor]]
name = "sandbox"
strategy = "sandbox"

[[interface]]
name = "chat"
capability = "chat"
enabled = true
routes = [
  { vendor = "self-hosted", model = "llama", weight = 3, priority = 0 },
  { vendor = "sandbox", priority = 1 },
]
fields = [
  { name = "/temperature", value = 0.2, allow_override = true },
  { name = "/metadata/team", value = { a = [1, "x"] }, enabled = false },
  { name = "/user", forbid = true },
]
timeouts_ms = { connect = 1000, total = 90000 }
log = { metadata = false }
"#;

#[tokio::test]
async fn every_setting_of_a_document_arrives() {
    let world = World::sqlite().await;
    let applied = apply(&world, FULL).await.unwrap();
    assert_eq!(applied.revision, Revision(1));
    assert_eq!(
        names(&applied),
        ["vendor self-hosted", "vendor sandbox", "interface chat"]
    );

    let rows = world.config.load_rows().await.unwrap();
    let [sandbox, hosted] = rows.vendors.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!((sandbox.enabled, hosted.enabled), (Switch::On, Switch::Off));
    assert_eq!(
        hosted.credential.secret_key.present().unwrap().expose_secret(),
        "sk-very-secret"
    );
    let endpoints: Vec<_> = hosted
        .endpoints()
        .iter()
        .map(|a| (a.url.as_str().to_owned(), a.weight))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("http://10.0.0.1:8000/v1".to_owned(), 2),
            ("http://10.0.0.2:8000/v1".to_owned(), 1)
        ]
    );
    let [chat] = rows.interfaces.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (chat.capability, chat.enabled, chat.log.metadata),
        (Capability::Chat, Switch::On, Switch::Off)
    );
    let routes: Vec<_> = chat
        .routes
        .iter()
        .map(|r| (r.vendor.as_str(), r.model.as_str(), r.weight, r.priority))
        .collect();
    assert_eq!(routes, [("self-hosted", "llama", 3, 0), ("sandbox", "chat", 1, 1)]);
    let actions: Vec<_> = chat.fields.iter().map(|f| &f.action).collect();
    assert_eq!(
        actions,
        [
            &FieldAction::Fill(serde_json::json!(0.2)),
            &FieldAction::Force(serde_json::json!({"a": [1, "x"]})),
            &FieldAction::Forbid
        ]
    );
    assert_eq!(chat.field_rules().count(), 2);
    assert_eq!(chat.timeouts.connect.as_millis(), 1000);
    assert_eq!(chat.timeouts.idle, Timeouts::default().idle);
}

#[tokio::test]
async fn applying_again_changes_nothing_and_a_change_counts_once() {
    let world = World::sqlite().await;
    apply(&world, FULL).await.unwrap();
    let again = apply(&world, FULL).await.unwrap();
    assert_eq!(
        (again.revision, again.changed.len(), again.unchanged),
        (Revision(1), 0, 3)
    );

    let other = FULL.replace("weight = 3", "weight = 4");
    let applied = apply(&world, &other).await.unwrap();
    assert_eq!(
        (applied.revision, names(&applied)),
        (Revision(2), vec!["interface chat".to_owned()])
    );
    // What a document does not name stays.
    let applied = apply(&world, "").await.unwrap();
    assert_eq!(applied.revision, Revision(2));
    assert_eq!(world.config.load_rows().await.unwrap().vendors.len(), 2);
}

#[tokio::test]
async fn the_demo_document_is_sound() {
    let world = World::sqlite().await;
    let demo = include_str!("../../demo/gateway.toml");
    let applied = apply(&world, demo).await.unwrap();
    let interfaces = Capability::ALL.map(|kind| format!("interface {}", kind.as_str()));
    let expected: Vec<_> = ["vendor sandbox".to_owned()].into_iter().chain(interfaces).collect();
    assert_eq!(names(&applied), expected);
    // The example in its comments, too.
    let example: String = demo
        .split("# A real vendor")
        .nth(1)
        .unwrap()
        .lines()
        .skip(2)
        .map(|line| line.strip_prefix('#').unwrap_or(line).to_owned() + "\n")
        .collect();
    let example = example.replace("OPENAI_API_KEY", "KEY");
    let applied = apply(&world, &example).await.unwrap();
    assert_eq!(names(&applied), ["vendor openai", "interface chat"]);
}

#[tokio::test]
async fn all_faults_are_told_at_once_each_with_its_path() {
    let world = World::sqlite().await;
    let text = r#"
        [[vendor]]
        name = "bad name"
        strategy = "sorcery"
        base_url = "ftp://x"
        colour = "red"
        [[vendor]]
        name = "hosted"
        strategy = "openai"
        pool = { addresses = [{ url = "http://a.test", weight = -1 }, { weight = 1 }], strategy = "p2c_ewma", discovery = "etcd" }
        [[vendor]]
        name = "hosted"
        strategy = "sandbox"
        secret_key = "x"
        [[interface]]
        name = "chat"
        capability = "ocr"
        routes = [{ vendor = "hosted" }]
        [[interface]]
        name = "embeddings"
        capability = "embeddings"
        routes = [{ vendor = "x", weight = "1" }, { vendor = "hosted", model = "" }]
        fields = [{ name = "temperature", value = 1 }, { name = "/model", value = "m" }, { name = "/stream", value = true }, { name = "/a" }]
        timeouts_ms = { connect = 0, read = 1 }
    "#;
    let found = faults(&world, text).await;
    let wanted = [
        "vendor[0].name: a name has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit",
        "vendor[0].base_url: must begin with http:// or https://",
        "vendor[0].colour: unknown key; known are name, strategy, enabled, base_url, app_id, secret_id, secret_key, secret_key_env, secret_key_file, options, secret_key_set, pool",
        "vendor[1].pool.addresses[0].weight: must be a whole number from 0 to 1000000",
        "vendor[1].pool.addresses[1].url: is missing",
        "vendor[1].pool.discovery: \"etcd\" is not supported by this version",
        "interface[1].routes[0].weight: must be a whole number from 0 to 1000000",
        "interface[1].routes[1].model: must not be empty",
        "interface[1].fields[0].name: is not a JSON pointer; write \"/temperature\"",
        "interface[1].fields[3].value: is missing (or forbid = true)",
        "interface[1].timeouts_ms.connect: must be a whole number from 1 to 3600000",
        "interface[1].timeouts_ms.read: unknown key; known are connect, first_byte, idle, total",
        "vendor[2].name: \"hosted\" stands at vendor[1] already",
        "vendor[0].strategy: unknown strategy \"sorcery\"; this version has openai, sandbox, signed",
        "vendor[2].secret_key: strategy \"sandbox\" has no use for it",
        "vendor[1].pool.strategy: \"p2c_ewma\" is not in this version, which has random, consistent_hash",
        "interface[0].routes[0].vendor: vendor \"hosted\" of strategy \"openai\" does not do \"ocr\"",
        "interface[1].routes[0].vendor: unknown vendor \"x\"",
        "interface[1].fields[1].name: the model is decided by the routes",
        "interface[1].fields[2].name: the caller decides whether it gets a stream; a rule may only forbid it",
    ];
    let missing: Vec<_> = wanted.iter().filter(|w| !found.contains(&(**w).to_owned())).collect();
    let surplus: Vec<_> = found.iter().filter(|f| !wanted.contains(&f.as_str())).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:#?}\nsurplus {surplus:#?}"
    );
    assert_eq!(
        world.config.current_revision().await.unwrap(),
        Revision(0),
        "nothing was written"
    );
}

#[tokio::test]
async fn settings_that_this_version_would_ignore_are_refused() {
    let world = World::sqlite().await;
    let sandbox = "[[vendor]]\nname = \"s\"\nstrategy = \"sandbox\"\n";
    let extra = in_vendor("discovery = \"etcd\"");
    let found = faults(&world, &format!("{sandbox}{extra}")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("vendor[1].pool.discovery: "), "{found:?}");
    assert!(found[0].ends_with("is not supported by this version"), "{found:?}");
}

fn in_vendor(setting: &str) -> String {
    format!("[[vendor]]\nname = \"o\"\nstrategy = \"openai\"\nbase_url = \"http://a.test\"\npool = {{ {setting} }}\n")
}

#[tokio::test]
async fn a_change_that_would_break_what_is_stored_is_refused() {
    let world = World::sqlite().await;
    apply(&world, FULL).await.unwrap();
    let text = "[[vendor]]\nname = \"sandbox\"\nstrategy = \"signed\"\napp_id = \"a\"\nsecret_id = \"b\"\nsecret_key = \"c\"\n";
    assert_eq!(
        faults(&world, text).await,
        [
            "interface \"chat\" (stored earlier).routes[1].vendor: vendor \"sandbox\" of strategy \"signed\" does not do \"chat\""
        ]
    );
}

#[tokio::test]
async fn what_a_strategy_needs_must_be_there() {
    let world = World::sqlite().await;
    let found = faults(
        &world,
        "[[vendor]]\nname = \"t\"\nstrategy = \"signed\"\n[[vendor]]\nname = \"o\"\nstrategy = \"openai\"\n",
    )
    .await;
    assert_eq!(
        found,
        [
            "vendor[1].base_url: strategy \"openai\" needs it",
            "vendor[0].app_id: strategy \"signed\" needs it",
            "vendor[0].secret_id: strategy \"signed\" needs it",
            "vendor[0].secret_key: strategy \"signed\" needs it",
        ]
    );
}

#[tokio::test]
async fn secrets_come_from_the_document_the_environment_or_a_file_and_stay_until_replaced() {
    let world = World::sqlite().await;
    let vendor =
        |line: &str| format!("[[vendor]]\nname = \"o\"\nstrategy = \"openai\"\nbase_url = \"http://a.test\"\n{line}\n");
    for (line, stored) in [
        ("secret_key = \"from-document\"", Some("from-document")),
        ("", Some("from-document")),
        ("secret_key_env = \"KEY\"", Some("from-variable")),
        ("secret_key_file = \"key.txt\"", Some("from-file")),
        ("enabled = false", Some("from-file")),
        ("secret_key = \"\"", None),
        ("", None),
    ] {
        apply(&world, &vendor(line)).await.unwrap();
        let rows = world.config.load_rows().await.unwrap();
        let key = rows.vendors[0].credential.secret_key.present();
        assert_eq!(key.map(ExposeSecret::expose_secret), stored, "{line}");
    }
    for (line, fault) in [
        (
            "secret_key_env = \"sk-oops\"",
            "vendor[0].secret_key_env: names an environment variable that is not set",
        ),
        (
            "secret_key_file = \"sk-oops\"",
            "vendor[0].secret_key_file: names a file that cannot be read: no such file",
        ),
        (
            "secret_key_file = \"empty\"",
            "vendor[0].secret_key_file: the secret is empty",
        ),
        (
            "secret_key_file = \"lines\"",
            "vendor[0].secret_key_file: the secret holds a line break or another control character",
        ),
        ("secret_key = 7", "vendor[0].secret_key: must be text"),
        (
            "secret_key = \"a\"\nsecret_key_env = \"KEY\"",
            "vendor[0].secret_key_env: only one of secret_key, secret_key_env and secret_key_file may be given",
        ),
    ] {
        assert_eq!(faults(&world, &vendor(line)).await, [fault]);
    }
}

#[tokio::test]
async fn no_fault_shows_a_secret() {
    let world = World::sqlite().await;
    for text in [
        "[[vendor]]\nname = \"o\"\nsecret_key = \"sk-very-secret",
        "[[vendor]]\nname = \"o\"\nsecret_key = \"sk-very-secret\" trailing",
        "[[vendor]]\nsecret_key = \"sk-very-secret\"\nsecret_key = \"sk-very-secret\"",
        "[[vendor]]\nname = \"o\"\nstrategy = \"sandbox\"\nsecret_key = \"sk-very-secret\"",
        "[[vendor]]\nname = \"o\"\nstrategy = \"x\"\nsecret_key = [\"sk-very-secret\"]",
        "[[vendor]]\nname = \"o\"\nstrategy = \"openai\"\nbase_url = \"https://me:sk-very-secret@api.test\"",
        "[[vendor]]\nname = \"o\"\nstrategy = \"openai\"\nsecret_key_env = \"sk-very-secret\"",
        "[[vendor]]\nname = \"o\"\nstrategy = \"openai\"\nsecret_key_file = \"sk-very-secret\"",
    ] {
        let error = apply(&world, text).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("very"), "{shown}");
    }
}

#[tokio::test]
async fn a_syntax_error_is_placed() {
    let world = World::sqlite().await;
    let found = faults(&world, "[[vendor]]\nname = ???").await;
    assert!(found[0].starts_with("line 2, column 8: "), "{found:?}");
}
