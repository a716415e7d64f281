//! One contract over both engines: access keys come back as they went in, and of several changes one wins.

use std::sync::Arc;

use resource_gateway::{
    adapters::sql::SqlAccessKeys,
    domain::{
        access_key::{AccessKey, Ended, KeySettings, Secrets},
        audit::{Actor, AuditAction, AuditEvent, AuditKind, AuditPlace, Audited},
        ids::{AccessKeyId, ClientId, Subject, TenantId},
        snapshot::Revision,
        vendor::Switch,
    },
    ports::{
        access_keys::{AccessKeys as _, KeyPage, Written},
        config_source::{AuditQuery, ConfigSource as _, ConfigStore as _, StoreError},
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};
use token_keys::MasterKey;

use crate::storage_world::World;

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

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            use crate::storage_world::World;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(World::sqlite().await).await; })+
        }
        mod postgres {
            use crate::storage_world::World;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(World::postgres().await).await; })+
        }
    };
}

on_both!(
    a_key_comes_back_as_it_went_in_and_its_secrets_are_sealed,
    of_several_changes_at_one_version_one_wins,
    every_change_counts_the_revision_and_a_use_does_not,
    every_change_of_a_key_changes_its_version,
    keys_are_listed_by_page_tenant_and_client,
    revocations_end_the_keys_that_nobody_has_stood_by_since,
);

async fn a_key_comes_back_as_it_went_in_and_its_secrets_are_sealed(world: World) {
    let store = store(&world);
    store
        .insert(&key("hgk_1"), &secrets("one", Some("zero")), note())
        .await
        .unwrap();
    store
        .insert(&bare("hgk_2"), &secrets("two", None), note())
        .await
        .unwrap();
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
    assert!(
        store
            .insert(&key("hgk_1"), &secrets("again", None), note())
            .await
            .is_err()
    );
    let (sealed, previous): (Vec<u8>, Option<Vec<u8>>) = world.db.one(SEALED, args!["hgk_1"]).await.unwrap();
    assert!(!sealed.windows(3).any(|part| part == b"one"));
    assert!(!previous.unwrap().windows(4).any(|part| part == b"zero"));
    // A secret opens in its own row alone.
    world.db.execute(MOVE_SECRET, args!["hgk_1", "hgk_2"]).await.unwrap();
    let moved = store.find_with_secrets(&AccessKeyId::new("hgk_2")).await;
    assert!(matches!(moved, Err(StoreError::Corrupt { column: "secret", .. })));
    assert!(store.find(&AccessKeyId::new("hgk_2")).await.unwrap().is_some());
}

async fn of_several_changes_at_one_version_one_wins(world: World) {
    let store = store(&world);
    store
        .insert(&key("hgk_1"), &secrets("one", None), note())
        .await
        .unwrap();
    let changed = AccessKey {
        version: 2,
        ..bare("hgk_1")
    };
    let won = |writes: Vec<Result<Written, StoreError>>| {
        let done = writes.into_iter().filter(|write| matches!(write, Ok(Written::Done)));
        done.count()
    };
    let fresh = secrets("fresh", Some("one"));
    let racers = (0..8).map(|_| store.replace(&changed, Some(&fresh), 1, note()));
    assert_eq!(won(futures_util::future::join_all(racers).await), 1);
    let id = AccessKeyId::new("hgk_1");
    let (now, had) = store.find_with_secrets(&id).await.unwrap().unwrap();
    assert_eq!((now, texts(&had)), (changed.clone(), ("fresh", Some("one"))));
    // Without new secrets the old ones stay.
    let again = AccessKey {
        version: 3,
        ..key("hgk_1")
    };
    assert_eq!(store.replace(&again, None, 2, note()).await.unwrap(), Written::Done);
    assert_eq!(
        texts(&store.find_with_secrets(&id).await.unwrap().unwrap().1),
        ("fresh", Some("one"))
    );
    assert_eq!(store.delete(&id, 2, note()).await.unwrap(), Written::Conflict);
    let racers = (0..8).map(|_| store.delete(&id, 3, note()));
    assert_eq!(won(futures_util::future::join_all(racers).await), 1);
    assert!(store.find(&id).await.unwrap().is_none());
    assert_eq!(store.replace(&again, None, 3, note()).await.unwrap(), Written::Conflict);
}

async fn every_change_counts_the_revision_and_a_use_does_not(world: World) {
    let store = store(&world);
    let id = AccessKeyId::new("hgk_1");
    let revision = async || world.config.current_revision().await.unwrap().0;
    let start = revision().await;
    store
        .insert(&key("hgk_1"), &secrets("one", None), note())
        .await
        .unwrap();
    assert_eq!(revision().await, start + 1);
    let second = AccessKey {
        version: 2,
        ..key("hgk_1")
    };
    store.replace(&second, None, 1, note()).await.unwrap();
    assert_eq!(revision().await, start + 2);
    store.replace(&second, None, 1, note()).await.unwrap();
    store.delete(&id, 1, note()).await.unwrap();
    store
        .end(&Ended::Client(ClientId::new("nobody")), i64::MAX / 2_000_000)
        .await
        .unwrap();
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
    store.delete(&id, 2, note()).await.unwrap();
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
        store.insert(&key(id), &secrets("one", None), note()).await.unwrap();
    }
    assert_eq!(versions().await, [1, 1]);
    let second = AccessKey {
        version: 2,
        ..key("hgk_1")
    };
    store.replace(&second, None, 1, note()).await.unwrap();
    assert_eq!(versions().await, [2, 1]);
    let whose = Ended::Client(ClientId::new("machine"));
    assert_eq!(store.end(&whose, i64::MAX / 2_000_000).await.unwrap(), 2);
    assert_eq!(versions().await, [3, 2]);
    store.delete(&ids[0], 3, note()).await.unwrap();
    assert_eq!(versions().await, [2]);
}

async fn keys_are_listed_by_page_tenant_and_client(world: World) {
    let store = store(&world);
    for at in 0..5 {
        let id = format!("hgk_{at}");
        let key = if at % 2 == 0 { key(&id) } else { bare(&id) };
        store.insert(&key, &secrets("s", None), note()).await.unwrap();
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
        store.insert(&key, &secrets("s", None), note()).await.unwrap();
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
    assert_eq!(store.end(&client, 101).await.unwrap(), 2);
    assert_eq!(ended().await, "hgk_1 hgk_2");
    assert_eq!(store.end(&client, 101).await.unwrap(), 0);
    // A person's keys, and those of a client of that name that speaks for itself.
    assert_eq!(store.end(&Ended::Subject(Subject::new("alice")), 100).await.unwrap(), 2);
    assert_eq!(ended().await, "hgk_1 hgk_2 hgk_4 hgk_5");
    let key = store.find(&AccessKeyId::new("hgk_4")).await.unwrap().unwrap();
    assert_eq!(key.version, 2);
}
