//! `make up` itself: the script, the file that it writes and the tour that it prints, on ports of its own.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    clients::run_with,
    oauth::{Auth, Http},
    world::{bin_dir, eventually, free_port, required_environment, root},
};

/// A running `make up`, stopped when it goes out of scope.
struct Up {
    child: Child,
}

impl Up {
    async fn start(home: &Path, ports: [u16; 4]) -> Self {
        let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
        let _ = fs::remove_file(home.join("tour"));
        // A shell cannot trap what its parent ignores, and one that runs these tests in the background ignores Ctrl-C.
        let mut child = Command::new("env")
            .arg("--default-signal=INT")
            .arg(root().join("scripts/up.sh"))
            .env("HEXGATE_HOME", home)
            .env("HEXGATE_BIN_DIR", bin_dir())
            .env("AUTH__LISTEN", address(0))
            .env("AUTH__MANAGEMENT_LISTEN", address(1))
            .env("GATEWAY__LISTEN", address(2))
            .env("GATEWAY__MANAGEMENT_LISTEN", address(3))
            .stdin(Stdio::null())
            .stdout(File::create(home.join("tour")).unwrap())
            .stderr(File::create(home.join("progress")).unwrap())
            .spawn()
            .unwrap();
        eventually("the tour", Duration::from_mins(1), async || {
            let ended = child.try_wait().unwrap();
            assert_eq!(
                ended,
                None,
                "it ended: {}",
                fs::read_to_string(home.join("progress")).unwrap()
            );
            fs::read_to_string(home.join("tour"))
                .unwrap()
                .contains("Ctrl-C")
                .then_some(())
        })
        .await;
        Self { child }
    }

    /// Sends the signal and waits for the end.
    async fn end(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        eventually("the end", Duration::from_secs(20), async || {
            self.child.try_wait().unwrap()
        })
        .await
        .code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = Command::new("kill")
                .args(["-TERM", &self.child.id().to_string()])
                .status();
            let _ = self.child.wait();
        }
    }
}

fn demo_of(home: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(home.join(".run/demo.json")).unwrap()).unwrap()
}

/// Pastes the lines of the tour that are meant for a shell into one.
fn paste_tour(home: &Path) -> String {
    let tour = fs::read_to_string(home.join("tour")).unwrap();
    let is_command = |line: &&str| ["TOKEN=", "curl "].iter().any(|start| line.starts_with(start));
    let script = tour.lines().filter(is_command).collect::<Vec<_>>().join("\n");
    // Its python3 is one that has the OpenAI SDK.
    let python = required_environment("HEXGATE_PYTHON");
    let tools = Path::new(&python).parent().unwrap().display();
    let output = Command::new("bash")
        .args(["-euc", &format!("PATH={tools}:$PATH\n{script}")])
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_the_contracts_form(demo: &Value) {
    let texts = [
        ("", "issuer gateway"),
        ("/clients/web", "client_id client_secret redirect_uri"),
        ("/clients/spa", "client_id redirect_uri"),
        ("/clients/service", "client_id client_secret"),
        ("/clients/resource_server", "client_id client_secret"),
        ("/clients/console", "client_id"),
        ("/users/admin", "username password"),
        ("/users/alice", "username password"),
        ("/interfaces", "chat embeddings"),
    ];
    for (object, names) in texts {
        for name in names.split(' ') {
            assert!(
                demo.pointer(&format!("{object}/{name}")).is_some_and(Value::is_string),
                "{object}/{name} in {demo}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn make_up_ends_in_a_system_that_stock_clients_can_use_and_finds_its_data_again() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let ports = [(); 4].map(|()| free_port());
    let up = Up::start(home, ports).await;

    let demo = demo_of(home);
    has_the_contracts_form(&demo);
    let mode = Command::new("stat")
        .args(["-c", "%a", home.join(".run/demo.json").to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&mode.stdout).trim(), "600", "it holds secrets");

    // A second one in the same place says what is wrong.
    let second = Command::new(root().join("scripts/up.sh"))
        .env("HEXGATE_HOME", home)
        .env("HEXGATE_BIN_DIR", bin_dir())
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("already running"),
        "{second:?}"
    );

    let shown = paste_tour(home);
    assert!(
        shown.contains("\"chat.completion\"") && shown.contains("data: [DONE]"),
        "{shown}"
    );
    assert!(
        !shown.trim_end().ends_with("[DONE]"),
        "the SDK's answer comes last: {shown}"
    );

    // Stock clients complete everything with the file alone.
    let file = home.join(".run/demo.json");
    let python = required_environment("HEXGATE_PYTHON");
    let scripts = [
        (python.clone(), "python/relying_party.py"),
        (python, "python/openai_sdk.py"),
        ("node".to_owned(), "node/openid_client.mjs"),
    ];
    for (program, script) in scripts {
        run_with(program, script, file.clone()).await;
    }

    // What was issued before a restart is good after it; the secrets are the same.
    let http = Http::new(demo["issuer"].as_str().unwrap().to_owned());
    let admin = demo["users"]["admin"]["password"].as_str().unwrap();
    let tokens = http.password("admin", admin).await.tokens();
    assert_eq!(
        up.end("-INT").await,
        Some(0),
        "{}",
        fs::read_to_string(home.join("progress")).unwrap()
    );
    assert!(
        ports
            .iter()
            .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_err()),
        "both have ended"
    );

    let up = Up::start(home, ports).await;
    assert_eq!(demo_of(home), demo);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
    http.token(Auth::Public("console"), &fields).await.tokens();

    let down = Command::new(root().join("scripts/down.sh"))
        .env("HEXGATE_HOME", home)
        .output()
        .unwrap();
    assert!(down.status.success(), "{down:?}");
    assert!(
        ports
            .iter()
            .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_err()),
        "make down stops both"
    );
    drop(up);
}

#[tokio::test]
async fn make_up_says_which_port_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(root().join("scripts/up.sh"))
        .env("HEXGATE_HOME", home.path())
        .env("HEXGATE_BIN_DIR", bin_dir())
        .env("AUTH__LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("AUTH__MANAGEMENT_LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("GATEWAY__LISTEN", &address)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address), "{output:?}");
}
