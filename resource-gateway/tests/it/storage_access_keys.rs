//! One contract over both engines: access keys come back as they went in, and changes come one after the other.

use std::sync::Arc;

use resource_gateway::{
    adapters::sql::SqlAccessKeys,
    application::access_keys::KeyUpkeep,
    domain::{
        access_key::{AccessKey, Ended, KeySettings, Secrets},
        audit::{Actor, AuditAction, AuditEvent, AuditKind, AuditPlace, Audited},
        ids::{AccessKeyId, ClientId, Subject, TenantId},
        snapshot::Revision,
        vendor::Switch,
    },
    ports::{
        access_keys::{AccessKeys as _, KeyChange, KeyPage},
        config_source::{AuditQuery, ConfigSource as _, ConfigStore as _, StoreError, StoreResult},
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::{SystemClock, Timestamp};
use sql_kit::{Sql, args, sql};
use token_keys::MasterKey;

use crate::{storage::on_both, storage_world::World};

const SEALED: Sql = sql!("SELECT secret, previous_secret FROM access_key WHERE id = ?");
const MOVE_SECRET: Sql =
    sql!("UPDATE access_key SET secret = (SELECT secret FROM access_key WHERE id = ?) WHERE id = ?");

fn store(world: &World) -> SqlAccessKeys {
    let keys = tempfile::tempdir().unwrap();
    SqlAccessKeys::new(
        world.db.clone(),
        Arc::new(MasterKey::load_or_create(keys.path()).unwrap()),
    )
}

fn key(id: &str) -> AccessKey {
    AccessKey {
        id: AccessKeyId::new(id),
        settings: KeySettings {
            client_id: ClientId::new("machine"),
            tenant: Some(TenantId::new("t1")),
            sub: Some(Subject::new("日本 '\"\\")),
            scopes: ["ai:chat".to_owned(), "ai:ocr:receipts".to_owned()].into(),
            interfaces: Some(["a".to_owned(), "b".to_owned()].into()),
            ip_allow: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            enabled: Switch::On,
        },
        created_at: Timestamp::from_micros(1_900_000_000_000_001),
        rotated_at: Some(Timestamp::from_micros(1_900_000_000_000_002)),
        changed_at: Timestamp::from_micros(1_900_000_000_000_003),
        last_used_at: None,
        previous_until: Some(Timestamp::from_micros(1_900_000_000_000_004)),
        version: 1,
    }
}

fn bare(id: &str) -> AccessKey {
    let full = key(id);
    AccessKey {
        settings: KeySettings {
            client_id: ClientId::new("other"),
            tenant: None,
            sub: None,
            interfaces: None,
            ip_allow: Vec::new(),
            enabled: Switch::Off,
            ..full.settings
        },
        rotated_at: None,
        previous_until: None,
        ..full
    }
}

fn secrets(current: &str, previous: Option<&str>) -> Secrets {
    Secrets {
        current: current.to_owned().into(),
        previous: previous.map(|text| text.to_owned().into()),
    }
}

fn texts(secrets: &Secrets) -> (&str, Option<&str>) {
    let previous = secrets.previous.as_ref();
    (
        secrets.current.expose_secret(),
        previous.map(SecretString::expose_secret),
    )
}

fn note() -> AuditEvent {
    AuditEvent {
        place: AuditPlace {
            revision: Revision(0),
            position: 0,
        },
        time: Timestamp::from_micros(7),
        actor: Actor::command_line(),
        action: AuditAction::Replaced,
        row: Audited {
            kind: AuditKind::AccessKey,
            name: "hgk_1".to_owned(),
        },
        row_tenant: Some(TenantId::new("t1")),
        before: None,
        after: None,
        secret_changed: true,
    }
}

fn upkeep(store: &SqlAccessKeys) -> KeyUpkeep {
    KeyUpkeep::new(Arc::new(store.clone()), Arc::new(SystemClock))
}

/// A change that does one thing and tells of it.
async fn change(
    store: &SqlAccessKeys,
    work: impl AsyncFnOnce(&mut dyn KeyChange) -> StoreResult<()>,
) -> StoreResult<()> {
    let mut change = store.begin_change().await?;
    work(change.as_mut()).await?;
    change.note(note()).await?;
    change.commit().await
}

async fn insert(store: &SqlAccessKeys, key: &AccessKey, secrets: &Secrets) -> StoreResult<()> {
    change(store, async |change| change.insert(key, secrets).await).await
}

async fn replace(store: &SqlAccessKeys, key: &AccessKey, secrets: Option<&Secrets>) -> StoreResult<()> {
    change(store, async |change| change.replace(key, secrets).await).await
}

async fn delete(store: &SqlAccessKeys, id: &AccessKeyId) -> StoreResult<()> {
    change(store, async |change| change.delete(id).await).await
}

on_both!(
    a_key_comes_back_as_it_went_in_and_its_secrets_are_sealed,
    changes_at_once_come_one_after_the_other,
    every_change_counts_the_revision_and_a_use_does_not,
    every_change_of_a_key_changes_its_version,
    keys_are_listed_by_page_tenant_and_client,
    revocations_end_the_keys_that_nobody_has_stood_by_since,
);

async fn a_key_comes_back_as_it_went_in_and_its_secrets_are_sealed(world: World) {
    let store = store(&world);
    insert(&store, &key("hgk_1"), &secrets("one", Some("zero")))
        .await
        .unwrap();
    insert(&store, &bare("hgk_2"), &secrets("two", None)).await.unwrap();
    let (full, had) = store
        .find_with_secrets(&AccessKeyId::new("hgk_1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((full, texts(&had)), (key("hgk_1"), ("one", Some("zero"))));
    let (empty, had) = store
        .find_with_secrets(&AccessKeyId::new("hgk_2"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((empty, texts(&had)), (bare("hgk_2"), ("two", None)));
    assert!(
        store
            .find_with_secrets(&AccessKeyId::new("hgk_3"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(insert(&store, &key("hgk_1"), &secrets("again", None)).await.is_err());
    let (sealed, previous): (Vec<u8>, Option<Vec<u8>>) = world.db.one(SEALED, args!["hgk_1"]).await.unwrap();
    assert!(!sealed.windows(3).any(|part| part == b"one"));
    assert!(!previous.unwrap().windows(4).any(|part| part == b"zero"));
    // A secret opens in its own row alone.
    world.db.execute(MOVE_SECRET, args!["hgk_1", "hgk_2"]).await.unwrap();
    let moved = store.find_with_secrets(&AccessKeyId::new("hgk_2")).await;
    assert!(matches!(moved, Err(StoreError::Corrupt { column: "secret", .. })));
    assert!(store.find(&AccessKeyId::new("hgk_2")).await.unwrap().is_some());
}

async fn changes_at_once_come_one_after_the_other(world: World) {
    let store = store(&world);
    insert(&store, &key("hgk_1"), &secrets("one", None)).await.unwrap();
    let id = AccessKeyId::new("hgk_1");
    // Each sees what the one before it wrote.
    let racers = (0..8).map(|_| {
        change(&store, async |change| {
            let key = change.find(&id).await?.unwrap();
            let version = key.version + 1;
            let current = secrets(&format!("secret {version}"), None);
            change.replace(&AccessKey { version, ..key }, Some(&current)).await
        })
    });
    for raced in futures_util::future::join_all(racers).await {
        raced.unwrap();
    }
    let (now, had) = store.find_with_secrets(&id).await.unwrap().unwrap();
    assert_eq!((now.version, texts(&had)), (9, ("secret 9", None)));
    // Without new secrets the old ones stay.
    replace(&store, &bare("hgk_1"), None).await.unwrap();
    let (now, had) = store.find_with_secrets(&id).await.unwrap().unwrap();
    assert_eq!((now, texts(&had)), (bare("hgk_1"), ("secret 9", None)));
    // What was not committed never was.
    let mut dropped = store.begin_change().await.unwrap();
    dropped.delete(&id).await.unwrap();
    assert!(dropped.find(&id).await.unwrap().is_none());
    drop(dropped);
    assert!(store.find(&id).await.unwrap().is_some());
    delete(&store, &id).await.unwrap();
    assert!(store.find(&id).await.unwrap().is_none());
}

async fn every_change_counts_the_revision_and_a_use_does_not(world: World) {
    let store = store(&world);
    let id = AccessKeyId::new("hgk_1");
    let revision = async || world.config.current_revision().await.unwrap().0;
    let start = revision().await;
    insert(&store, &key("hgk_1"), &secrets("one", None)).await.unwrap();
    assert_eq!(revision().await, start + 1);
    let second = AccessKey {
        version: 2,
        ..key("hgk_1")
    };
    replace(&store, &second, None).await.unwrap();
    assert_eq!(revision().await, start + 2);
    let nobody = Ended::Client(ClientId::new("nobody"));
    assert_eq!(upkeep(&store).end(&nobody, i64::MAX / 2_000_000).await.unwrap(), 0);
    let at = |micros| (id.clone(), Timestamp::from_micros(micros));
    store
        .note_uses(&[at(7), (AccessKeyId::new("hgk_0"), Timestamp::from_micros(1))])
        .await
        .unwrap();
    store.note_uses(&[at(5)]).await.unwrap();
    let used = store.find(&id).await.unwrap().unwrap();
    assert_eq!((used.last_used_at, used.version), (Some(Timestamp::from_micros(7)), 2));
    // What changed nothing has not been counted.
    assert_eq!(revision().await, start + 2);
    delete(&store, &id).await.unwrap();
    assert_eq!(revision().await, start + 3);
    // Each has left an audit row at its revision.
    let query = AuditQuery {
        before: None,
        row_tenant: Some(TenantId::new("t1")),
        limit: 9,
    };
    let events = world.config.list_audit(&query).await.unwrap();
    let places: Vec<i64> = events.iter().map(|event| event.place.revision.0).collect();
    assert_eq!(places, [start + 3, start + 2, start + 1]);
    assert!(events.iter().all(|event| event.row == note().row));
}

async fn every_change_of_a_key_changes_its_version(world: World) {
    let store = store(&world);
    let ids = ["hgk_1", "hgk_2", "hgk_3"].map(AccessKeyId::new);
    let versions = async || {
        let mut versions = store.versions(&ids).await.unwrap();
        versions.sort();
        versions.into_iter().map(|(_, version)| version).collect::<Vec<_>>()
    };
    assert!(versions().await.is_empty());
    for id in ["hgk_1", "hgk_2"] {
        insert(&store, &key(id), &secrets("one", None)).await.unwrap();
    }
    assert_eq!(versions().await, [1, 1]);
    let second = AccessKey {
        version: 2,
        ..key("hgk_1")
    };
    replace(&store, &second, None).await.unwrap();
    assert_eq!(versions().await, [2, 1]);
    let whose = Ended::Client(ClientId::new("machine"));
    assert_eq!(upkeep(&store).end(&whose, i64::MAX / 2_000_000).await.unwrap(), 2);
    assert_eq!(versions().await, [3, 2]);
    delete(&store, &ids[0]).await.unwrap();
    assert_eq!(versions().await, [2]);
}

async fn keys_are_listed_by_page_tenant_and_client(world: World) {
    let store = store(&world);
    for at in 0..5 {
        let id = format!("hgk_{at}");
        let key = if at % 2 == 0 { key(&id) } else { bare(&id) };
        insert(&store, &key, &secrets("s", None)).await.unwrap();
    }
    let list = async |tenant: Option<&str>, client: Option<&str>, after: Option<&str>, limit| {
        let page = KeyPage {
            tenant: tenant.map(TenantId::new),
            client_id: client.map(ClientId::new),
            after: after.map(AccessKeyId::new),
            limit,
        };
        let keys = store.list(&page).await.unwrap();
        keys.iter().map(|key| key.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(None, None, None, 3).await, "hgk_0 hgk_1 hgk_2");
    assert_eq!(list(None, None, Some("hgk_2"), 3).await, "hgk_3 hgk_4");
    assert_eq!(list(Some("t1"), None, None, 9).await, "hgk_0 hgk_2 hgk_4");
    assert_eq!(list(Some("t2"), None, None, 9).await, "");
    assert_eq!(list(None, Some("other"), None, 9).await, "hgk_1 hgk_3");
    assert_eq!(list(Some("t1"), Some("other"), None, 9).await, "");
}

async fn revocations_end_the_keys_that_nobody_has_stood_by_since(world: World) {
    let store = store(&world);
    let changed = |id: &str, client: &str, sub: Option<&str>, second: i64| {
        let full = key(id);
        AccessKey {
            settings: KeySettings {
                client_id: ClientId::new(client),
                sub: sub.map(Subject::new),
                ..full.settings
            },
            changed_at: Timestamp::from_micros(second * 1_000_000 + 999_999),
            ..full
        }
    };
    for key in [
        changed("hgk_1", "machine", None, 100),
        changed("hgk_2", "machine", Some("alice"), 101),
        changed("hgk_3", "machine", None, 102),
        changed("hgk_4", "other", Some("alice"), 100),
        changed("hgk_5", "alice", None, 100),
        changed("hgk_6", "other", None, 100),
    ] {
        insert(&store, &key, &secrets("s", None)).await.unwrap();
    }
    let ended = async || {
        let page = KeyPage {
            tenant: None,
            client_id: None,
            after: None,
            limit: 10,
        };
        let keys = store.list(&page).await.unwrap();
        let off = keys.iter().filter(|key| !key.settings.enabled.is_on());
        off.map(|key| key.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let client = Ended::Client(ClientId::new("machine"));
    assert_eq!(upkeep(&store).end(&client, 101).await.unwrap(), 2);
    assert_eq!(ended().await, "hgk_1 hgk_2");
    assert_eq!(upkeep(&store).end(&client, 101).await.unwrap(), 0);
    // A person's keys, and those of a client of that name that speaks for itself.
    let alice = Ended::Subject(Subject::new("alice"));
    assert_eq!(upkeep(&store).end(&alice, 100).await.unwrap(), 2);
    assert_eq!(ended().await, "hgk_1 hgk_2 hgk_4 hgk_5");
    let key = store.find(&AccessKeyId::new("hgk_4")).await.unwrap().unwrap();
    assert_eq!(key.version, 2);
    // Each leaves an audit row, which says what became of it and names nobody.
    let query = AuditQuery {
        before: None,
        row_tenant: Some(TenantId::new("t1")),
        limit: 4,
    };
    let events = world.config.list_audit(&query).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| event.row.name.as_str()).collect();
    assert_eq!(told, ["hgk_5", "hgk_4", "hgk_2", "hgk_1"]);
    for event in &events {
        let enabled = |form: &Option<serde_json::Map<_, _>>| form.as_ref().unwrap()["enabled"].clone();
        assert_eq!(
            (enabled(&event.before), enabled(&event.after)),
            (true.into(), false.into())
        );
        assert_eq!(
            (&event.action, &event.actor),
            (&AuditAction::Replaced, &Actor::provider())
        );
        assert!(!event.secret_changed);
    }
}
