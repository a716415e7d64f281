//! `doctor` finds what is wrong with an installation, and leaves it as it was.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Output,
};

use resource_gateway::adapters::sql::MIGRATIONS;
use sql_kit::{Db, Migrations, Options, Sql, args, sql};
use sql_test_kit::TestDatabase;
use test_kit::certificates::self_signed;
use token_keys::MasterKey;

use crate::place::Place;

const TABLES: Sql = sql!(
    sqlite: "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
    postgres: "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
);
const SEALED: &str = "[[vendor]]\nname = \"v\"\nstrategy = \"openai\"\nsecret_key = \"vendor-secret-0123456789\"\n";

impl Place {
    /// With a vendor whose secret is sealed.
    async fn installed(database: TestDatabase) -> Self {
        let place = Self::on(database).await;
        let foundation = place.lay().await.unwrap();
        let documents = foundation.apply().unwrap();
        documents.apply(SEALED, Path::new(".")).await.unwrap();
        foundation.close().await;
        place
    }

    /// What `doctor` says, line by line, and whether all is well.
    async fn doctor(&self) -> (bool, Vec<String>) {
        self.doctor_among(None).await
    }

    /// With the programs of another `PATH`.
    async fn doctor_among(&self, path: Option<&str>) -> (bool, Vec<String>) {
        let mut command = self.command();
        command.arg("doctor");
        if let Some(path) = path {
            command.env("PATH", path);
        }
        // Its provider lives in this process.
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let lines: Vec<String> = String::from_utf8(stdout).unwrap().lines().map(str::to_owned).collect();
        let failed = lines.iter().filter(|line| line.starts_with("FAIL  ")).count();
        let complaint = String::from_utf8(stderr).unwrap();
        let complaint_is_due = failed > 0;
        assert_eq!(
            status.code(),
            Some(i32::from(complaint_is_due)),
            "{lines:?} {complaint}"
        );
        assert_eq!(
            complaint.contains(&format!("error: {failed} checks failed")),
            complaint_is_due,
            "{complaint}"
        );
        (status.success(), lines)
    }

    /// Every file, with what stands in it.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.dir.path().to_owned()];
        open.extend(self.database.directory().map(Path::to_owned));
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    found.insert(path.clone(), Vec::new());
                    open.push(path);
                } else {
                    let content = std::fs::read(&path).unwrap();
                    found.insert(path, content);
                }
            }
        }
        found
    }

    async fn tables(&self) -> Vec<(String,)> {
        let db = Db::connect(&self.database.url, &Options::default()).await.unwrap();
        let tables = db.all(TABLES, args![]).await.unwrap();
        db.close().await;
        tables
    }
}

fn about<'a>(lines: &'a [String], what: &str) -> &'a str {
    let found = lines
        .iter()
        .find(|line| line.get(6..).is_some_and(|rest| rest.starts_with(&format!("{what}: "))));
    found.unwrap_or_else(|| panic!("nothing about {what}: {lines:?}"))
}

fn assert_fails(line: &str, why: &[&str]) {
    assert!(
        line.starts_with("FAIL  ") && why.iter().all(|part| line.contains(part)),
        "{line}"
    );
}

#[tokio::test]
async fn an_empty_place_is_as_empty_afterwards() {
    let place = Place::sqlite().await;
    let (_, lines) = place.doctor().await;
    assert_fails(about(&lines, "master key"), &["master.key", "No such file"]);
    assert_fails(about(&lines, "database"), &["test.db", "No such file"]);
    assert!(about(&lines, "usage journal").starts_with("ok    "), "{lines:?}");
    assert!(about(&lines, "provider").starts_with("ok    "), "{lines:?}");
    assert_eq!(place.files(), BTreeMap::new());
}

#[tokio::test]
async fn a_server_gets_no_table() {
    let place = Place::on(TestDatabase::postgres().await).await;
    let (_, lines) = place.doctor().await;
    assert_fails(
        about(&lines, "database"),
        &["0001_create_gateway", "resource-gateway migrate"],
    );
    assert!(place.tables().await.is_empty());
    assert_eq!(place.files(), BTreeMap::new());
}

#[tokio::test]
async fn a_sound_installation_is_left_as_it_was() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let place = Place::installed(database).await;
        let before = place.files();
        let (well, lines) = place.doctor().await;
        assert!(well, "{lines:?}");
        assert!(
            about(&lines, "stored interfaces").contains("0 interfaces and 1 vendors"),
            "{lines:?}"
        );
        assert!(place.files() == before);
    }
}

#[tokio::test]
async fn the_migrations_that_a_database_lacks_are_named_and_not_made_up_for() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let place = Place::on(database).await;
        let (lacking, there) = MIGRATIONS
            .steps
            .split_last_chunk()
            .map(|(there, lacking): (_, &[_; 2])| (lacking, there))
            .unwrap();
        let db = Db::connect(&place.database.url, &Options::default()).await.unwrap();
        db.migrate(&Migrations {
            steps: there,
            ..MIGRATIONS
        })
        .await
        .unwrap();
        db.close().await;
        MasterKey::load_or_create(&place.config.keys.dir).unwrap();
        let (files, tables) = (place.files(), place.tables().await);
        let (_, lines) = place.doctor().await;
        let names = lacking.each_ref().map(|step| step.name);
        assert_fails(
            about(&lines, "database"),
            &[names[0], names[1], "resource-gateway migrate"],
        );
        assert!(
            !about(&lines, "database").contains(there.last().unwrap().name),
            "{lines:?}"
        );
        assert_eq!(place.tables().await, tables);
        assert!(place.files() == files);
    }
}

#[tokio::test]
async fn no_master_key_is_made_for_a_database_that_holds_what_another_one_sealed() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let place = Place::installed(database).await;
        std::fs::remove_dir_all(&place.config.keys.dir).unwrap();
        let (_, lines) = place.doctor().await;
        assert_fails(about(&lines, "master key"), &["master.key", "sealed"]);
        let refused = format!("{:#}", place.lay().await.unwrap_err());
        assert!(
            refused.contains("master.key") && refused.contains("sealed"),
            "{refused}"
        );
        assert!(!place.config.keys.dir.exists());
        // With another one nothing opens.
        MasterKey::load_or_create(&place.config.keys.dir).unwrap();
        let (_, lines) = place.doctor().await;
        assert_fails(about(&lines, "stored interfaces"), &["secret_key"]);
        // One that others may read is as good as none.
        let key = place.config.keys.dir.join("master.key");
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let (_, lines) = place.doctor().await;
        assert_fails(about(&lines, "master key"), &["0600"]);
    }
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_named_and_nobody_serves_without_them() {
    let mut place = Place::sqlite().await;
    let path = place.dir.path().join("ca.pem");
    let good = self_signed("authority.test").pem();
    let cut = good.get(..good.len() / 2).unwrap().to_owned();
    place.config.outbound.extra_ca = Some(path.clone());
    for content in [None, Some(""), Some("-----BEGIN X-----\n"), Some(&cut)] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let (_, lines) = place.doctor().await;
        assert_fails(about(&lines, "outbound requests"), &["outbound.extra_ca: ", "ca.pem"]);
        let refused = format!("{:#}", place.lay().await.unwrap_err());
        assert!(
            refused.starts_with("outbound.extra_ca: ") && refused.contains("ca.pem"),
            "{refused}"
        );
    }
    std::fs::write(&path, &good).unwrap();
    place.lay().await.unwrap().close().await;
    let (well, lines) = place.doctor().await;
    assert!(
        well && about(&lines, "outbound requests").contains("those of outbound.extra_ca"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_and_a_provider_that_is_away_are_found() {
    let mut place = Place::installed(TestDatabase::sqlite()).await;
    let file = place.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    place.config.usage.journal_dir = Some(file.join("usage"));
    place.issuer.url = "http://127.0.0.1:1".into();
    let (_, lines) = place.doctor().await;
    assert_fails(about(&lines, "usage journal"), &["file"]);
    assert_fails(about(&lines, "provider"), &["127.0.0.1:1"]);
}

#[tokio::test]
async fn local_engines_are_told_with_what_they_can_do_and_nobody_has_to_have_them() {
    let place = Place::installed(TestDatabase::sqlite()).await;
    let (well, lines) = place.doctor().await;
    assert!(well, "{lines:?}");
    for (engine, words) in [
        ("ocr", ["tesseract ", "/tesseract, languages chi_sim, eng"]),
        (
            "speech",
            ["eSpeak NG text-to-speech: ", "among them en-us, en-gb, cmn, yue"],
        ),
        ("transcription", ["PocketSphinx at ", "models en-us"]),
    ] {
        let line = about(&lines, &format!("local engine for {engine}"));
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    let (well, lines) = place.doctor_among(Some("/nowhere")).await;
    assert!(well, "{lines:?}");
    for (engine, program) in [
        ("ocr", "tesseract"),
        ("speech", "espeak-ng"),
        ("transcription", "pocketsphinx_continuous"),
    ] {
        let line = about(&lines, &format!("local engine for {engine}"));
        assert!(line.contains(&format!("no {program} that works")), "{line}");
    }
}
