//! An installation in a directory of its own, for the program as it is shipped.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use resource_gateway::{
    bootstrap::{Ambient, Foundation},
    config::Config,
};
use serde_json::Value;
use sql_test_kit::TestDatabase;
use tempfile::TempDir;

use crate::stub_issuer::{AUDIENCE, StubIssuer};

pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) issuer: StubIssuer,
    pub(crate) database: TestDatabase,
}

/// A gateway that serves until it is dropped.
pub(crate) struct Serving {
    pub(crate) url: String,
    pub(crate) management: String,
    process: Child,
}

impl Place {
    pub(crate) async fn on(database: TestDatabase) -> Self {
        let (dir, issuer) = (TempDir::new().unwrap(), StubIssuer::start().await);
        let mut config = Config::default();
        config.auth.issuer.clone_from(&issuer.url);
        config.auth.audience = AUDIENCE.into();
        config.database.url.clone_from(&database.url);
        config.keys.dir = dir.path().join("keys");
        config.usage.journal_dir = Some(dir.path().join("usage"));
        Self {
            dir,
            config,
            issuer,
            database,
        }
    }

    pub(crate) async fn sqlite() -> Self {
        Self::on(TestDatabase::sqlite()).await
    }

    pub(crate) async fn lay(&self) -> anyhow::Result<Foundation> {
        Foundation::lay(&self.config, Ambient::default()).await
    }

    /// The program, told of this place.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resource-gateway"));
        command
            .current_dir(self.dir.path())
            .env("GATEWAY__AUTH__ISSUER", &self.issuer.url)
            .env("GATEWAY__AUTH__AUDIENCE", AUDIENCE)
            .env("GATEWAY__DATABASE__URL", &self.config.database.url)
            .env("GATEWAY__KEYS__DIR", &self.config.keys.dir)
            .env(
                "GATEWAY__USAGE__JOURNAL_DIR",
                self.config.usage.journal_dir(&self.config.database),
            );
        if let Some(path) = &self.config.outbound.extra_ca {
            command.env("GATEWAY__OUTBOUND__EXTRA_CA", path);
        }
        command
    }

    pub(crate) async fn serve(&self) -> Serving {
        let ready = self.dir.path().join("ready.json");
        let mut command = self.command();
        command
            .args(["serve", "--ready-file"])
            .arg(&ready)
            .env("GATEWAY__LISTEN", "127.0.0.1:0")
            .env("GATEWAY__MANAGEMENT_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut serving = Serving {
            process: command.spawn().unwrap(),
            url: String::new(),
            management: String::new(),
        };
        for _ in 0..1000 {
            let told = std::fs::read(&ready).unwrap_or_default();
            if let Ok(addresses) = serde_json::from_slice::<Value>(&told) {
                let url = |name: &str| format!("http://{}", addresses[name].as_str().unwrap());
                (serving.url, serving.management) = (url("listen"), url("management"));
                return serving;
            }
            assert_eq!(serving.process.try_wait().unwrap(), None);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the gateway does not get ready");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
