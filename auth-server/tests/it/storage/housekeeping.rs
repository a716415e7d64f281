use auth_server::domain::authorization::AuthorizationRequest;
use auth_server::domain::client::SigningAlg;
use auth_server::domain::ids::{CodeDigest, GrantId, KeyId, SessionId, Username};
use auth_server::domain::signing_key::{KeyStage, SigningKey};
use auth_server::domain::throttle::{ThrottleKey, ThrottlePolicy};
use auth_server::ports::store::{RecordedRevocation, SingleUseId, SingleUseKind};
use oauth_wire::{RevocationEvent, Revoked};

use super::decoupled::device;
use super::pushed::pushed;
use super::{Duration, MICRO, NOON, World, code, family, grant, minutes, on_every_engine, session, tenant, user};

on_every_engine!(
    rows_of_every_kind_go_when_they_have_been_over_for_long_enough,
    what_ended_early_goes_early_and_what_is_alive_stays,
    one_round_deletes_no_more_than_its_limit_of_each_kind,
    a_kind_that_fails_does_not_keep_the_others_from_being_swept,
);

/// One row of every kind, each ending at [`NOON`].
async fn fill(world: &World) {
    let store = &world.store;
    world.sign_up(&["alice"]).await;
    let mut ending = code(1, grant("g1", "alice", "web"));
    ending.expires_at = NOON;
    store.insert_code(&ending).await.unwrap();
    let mut ending = pushed(1);
    ending.expires_at = NOON - AuthorizationRequest::LIFETIME;
    store.insert_pushed_request(&ending).await.unwrap();
    let mut ending = device(1);
    ending.expires_at = NOON;
    store.insert_decoupled(&ending).await.unwrap();
    let mut ending = session("s1", "alice");
    ending.expires_at = NOON;
    world.open(&ending).await;
    store.save_browser_session("b", "{}", NOON).await.unwrap();
    let key = ThrottleKey::Account(tenant(), Username::parse("alice").unwrap());
    let policy = ThrottlePolicy {
        limit: 1,
        window: minutes(1),
    };
    let id = SingleUseId {
        namespace: SingleUseKind::DpopProof,
        id: "jti".into(),
        expires_at: NOON,
    };
    assert!(store.spend(&[id]).await.unwrap());
    store.count_attempt(&key, policy, NOON - minutes(1)).await.unwrap();
    let mut tx = world.begin().await;
    let mut ending = family(grant("g1", "alice", "web"));
    ending.idle_expires_at = NOON;
    tx.insert_family(&ending, None).await.unwrap();
    let event = RevocationEvent {
        revoked: Revoked::Grant { grant: "g".into() },
        until: NOON.as_seconds(),
    };
    tx.record_revocation(&RecordedRevocation {
        id: "r".into(),
        event,
        recorded_at: NOON,
    })
    .await
    .unwrap();
    tx.insert_key(&retiring("k")).await.unwrap();
    tx.commit().await.unwrap();
}

fn retiring(kid: &str) -> SigningKey {
    SigningKey {
        kid: KeyId::new(kid),
        alg: SigningAlg::Es256,
        stage: KeyStage::Retiring,
        public_jwk: serde_json::Map::new(),
        sealed_private: vec![1],
        created_at: NOON,
        activated_at: None,
        retire_at: Some(NOON),
    }
}

async fn rows_of_every_kind_go_when_they_have_been_over_for_long_enough(world: World) {
    fill(&world).await;
    let keep = minutes(15);
    // Until the edge everything stays; past it all ten go.
    assert_eq!(world.sweep(NOON + keep, keep, 100).await, 0);
    assert_eq!(world.sweep(NOON + keep + MICRO, keep, 100).await, 10);
    assert_eq!(world.store.find_code(&CodeDigest([1; 32])).await.unwrap(), None);
    assert_eq!(world.store.find_family(&GrantId::new("g1")).await.unwrap(), None);
    assert_eq!(world.store.list_keys().await.unwrap(), []);
    assert_eq!(world.sweep(NOON + keep + MICRO, keep, 100).await, 0);
}

async fn what_ended_early_goes_early_and_what_is_alive_stays(world: World) {
    let mut tx = world.begin().await;
    tx.upsert_user(&user("alice", "alice"), NOON).await.unwrap();
    for id in ["revoked", "alive", "absolute"] {
        let mut family = family(grant(id, "alice", "web"));
        if id == "absolute" {
            family.absolute_expires_at = NOON + minutes(1);
        }
        tx.insert_family(&family, None).await.unwrap();
    }
    tx.revoke_family(&GrantId::new("revoked"), NOON).await.unwrap();
    let current = SigningKey {
        stage: KeyStage::Current,
        retire_at: None,
        ..retiring("k")
    };
    tx.insert_key(&current).await.unwrap();
    tx.commit().await.unwrap();
    for sid in ["ended", "live"] {
        world.open(&session(sid, "alice")).await;
    }
    let mut tx = world.begin().await;
    assert!(tx.end_session(&SessionId::new("ended"), NOON).await.unwrap());
    tx.commit().await.unwrap();

    let now = NOON + minutes(1) + MICRO;
    assert_eq!(world.sweep(now, Duration::ZERO, 100).await, 3);
    assert!(world.store.find_family(&GrantId::new("alive")).await.unwrap().is_some());
    assert!(
        world
            .store
            .find_family(&GrantId::new("revoked"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .store
            .find_live_session(&SessionId::new("live"), now)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(world.store.list_keys().await.unwrap(), [current]);
}

async fn one_round_deletes_no_more_than_its_limit_of_each_kind(world: World) {
    for n in 0..5 {
        world
            .store
            .save_browser_session(&format!("b{n}"), "{}", NOON)
            .await
            .unwrap();
    }
    for deleted in [2, 2, 1, 0] {
        assert_eq!(world.sweep(NOON + MICRO, Duration::ZERO, 2).await, deleted);
    }
}

async fn a_kind_that_fails_does_not_keep_the_others_from_being_swept(world: World) {
    fill(&world).await;
    let db = sql_kit::Db::connect(&world.database.url, &sql_kit::Options::default())
        .await
        .unwrap();
    db.execute(sql_kit::sql!("DROP TABLE refresh_token"), sql_kit::args![])
        .await
        .unwrap();
    db.close().await;
    let swept = world.store.delete_expired(NOON + MICRO, Duration::ZERO, 100).await;
    let failed: Vec<_> = swept
        .iter()
        .filter(|swept| swept.outcome.is_err())
        .map(|swept| swept.kind)
        .collect();
    assert_eq!(failed, ["refresh_token"]);
    assert_eq!(
        swept
            .iter()
            .filter_map(|swept| swept.outcome.as_ref().ok())
            .sum::<u64>(),
        9
    );
}
