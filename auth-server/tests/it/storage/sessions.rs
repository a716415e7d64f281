use std::sync::Arc;

use auth_server::domain::ids::{ClientId, SessionId, UserId};
use auth_server::domain::session::{Consent, Session};
use auth_server::domain::user::UserStatus;
use auth_server::ports::store::StoreError;
use service_kit::Timestamp;

use super::{MICRO, NOON, World, minutes, names, on_every_engine, race, session, user};

on_every_engine!(
    a_live_session_reads_back_as_it_was_saved,
    a_session_lives_until_its_edge,
    a_session_of_somebody_inactive_is_not_live,
    a_session_ends_once,
    sessions_of_a_person_come_latest_first,
    every_session_ends_but_the_one_to_keep,
    a_renewed_session_has_a_new_sign_in,
    the_later_visit_stays,
    a_consent_is_replaced_found_and_forgotten,
    a_browser_session_is_created_once,
    a_browser_session_is_replaced_and_expires,
);

async fn sign_up(world: &World, subs: &[&str]) {
    let mut tx = world.begin().await;
    for sub in subs {
        tx.upsert_user(&user(sub, sub), NOON).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn live(world: &World, sid: &str, at: Timestamp) -> Option<Session> {
    world.store.find_live_session(&SessionId::new(sid), at).await.unwrap()
}

async fn a_live_session_reads_back_as_it_was_saved(world: World) {
    sign_up(&world, &["alice"]).await;
    world.store.insert_session(&session("s1", "alice")).await.unwrap();
    assert_eq!(live(&world, "s1", NOON).await, Some(session("s1", "alice")));
    assert_eq!(live(&world, "none", NOON).await, None);
    let again = world.store.insert_session(&session("s1", "alice")).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}

async fn a_session_lives_until_its_edge(world: World) {
    sign_up(&world, &["alice"]).await;
    world.store.insert_session(&session("s1", "alice")).await.unwrap();
    let end = NOON + minutes(60);
    assert!(live(&world, "s1", end - MICRO).await.is_some());
    assert!(live(&world, "s1", end).await.is_none());
    assert_eq!(
        world.store.live_sessions_of(&UserId::new("alice"), end).await.unwrap(),
        []
    );
}

async fn a_session_of_somebody_inactive_is_not_live(world: World) {
    sign_up(&world, &["alice"]).await;
    world.store.insert_session(&session("s1", "alice")).await.unwrap();
    world.store.insert_session(&session("s2", "nobody")).await.unwrap();
    assert!(live(&world, "s2", NOON).await.is_none());
    for (status, lives) in [
        (UserStatus::Locked, false),
        (UserStatus::Active, true),
        (UserStatus::Deleted, false),
    ] {
        let mut tx = world.begin().await;
        assert!(tx.set_user_status(&UserId::new("alice"), status, NOON).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(live(&world, "s1", NOON).await.is_some(), lives, "{status:?}");
        assert_eq!(
            world
                .store
                .live_sessions_of(&UserId::new("alice"), NOON)
                .await
                .unwrap()
                .len(),
            usize::from(lives)
        );
    }
}

async fn a_session_ends_once(world: World) {
    sign_up(&world, &["alice"]).await;
    world.store.insert_session(&session("s1", "alice")).await.unwrap();
    let winners = race(|| {
        let store = Arc::clone(&world.store);
        async move {
            let mut tx = store.begin().await.unwrap();
            let won = tx.end_session(&SessionId::new("s1"), NOON).await.unwrap();
            tx.commit().await.unwrap();
            won
        }
    });
    assert_eq!(winners.await, 1);
    assert!(live(&world, "s1", NOON).await.is_none());
    let mut tx = world.begin().await;
    assert!(!tx.end_session(&SessionId::new("none"), NOON).await.unwrap());
}

async fn sessions_of_a_person_come_latest_first(world: World) {
    sign_up(&world, &["alice", "bob"]).await;
    for n in 0..105_u64 {
        let mut session = session(&format!("s{n:03}"), "alice");
        session.auth_time = NOON + minutes(n);
        session.expires_at = NOON + minutes(1000);
        world.store.insert_session(&session).await.unwrap();
    }
    world.store.insert_session(&session("other", "bob")).await.unwrap();
    let found = world.store.live_sessions_of(&UserId::new("alice"), NOON).await.unwrap();
    let sids: Vec<_> = found.iter().map(|session| session.sid.as_str().to_owned()).collect();
    let expected: Vec<_> = (5..105).rev().map(|n| format!("s{n:03}")).collect();
    assert_eq!(sids, expected);
}

async fn every_session_ends_but_the_one_to_keep(world: World) {
    sign_up(&world, &["alice", "bob"]).await;
    for sid in ["s1", "s2", "s3"] {
        world.store.insert_session(&session(sid, "alice")).await.unwrap();
    }
    let mut expired = session("s4", "alice");
    expired.expires_at = NOON;
    world.store.insert_session(&expired).await.unwrap();
    world.store.insert_session(&session("s5", "bob")).await.unwrap();
    let alice = UserId::new("alice");
    let mut tx = world.begin().await;
    let ended = tx
        .end_sessions_of(&alice, Some(&SessionId::new("s2")), NOON)
        .await
        .unwrap();
    assert_eq!(names(ended), names(["s1", "s3"].map(SessionId::new)));
    assert_eq!(
        tx.end_sessions_of(&alice, None, NOON).await.unwrap(),
        [SessionId::new("s2")]
    );
    assert_eq!(tx.end_sessions_of(&alice, None, NOON).await.unwrap(), []);
    tx.commit().await.unwrap();
    assert!(live(&world, "s5", NOON).await.is_some());
}

async fn a_renewed_session_has_a_new_sign_in(world: World) {
    sign_up(&world, &["alice"]).await;
    world.store.insert_session(&session("s1", "alice")).await.unwrap();
    let (sid, at, end) = (SessionId::new("s1"), NOON + minutes(5), NOON + minutes(120));
    assert!(world.store.renew_session(&sid, at, end).await.unwrap());
    let renewed = Session {
        auth_time: at,
        last_seen_at: at,
        expires_at: end,
        ..session("s1", "alice")
    };
    assert_eq!(live(&world, "s1", end - MICRO).await, Some(renewed));
    assert!(
        !world
            .store
            .renew_session(&SessionId::new("none"), at, end)
            .await
            .unwrap()
    );
    // Neither an expired session nor an ended one comes back to life.
    assert!(!world.store.renew_session(&sid, end, end + minutes(9)).await.unwrap());
    let mut tx = world.begin().await;
    tx.end_session(&sid, at).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!world.store.renew_session(&sid, at, end).await.unwrap());
    assert!(live(&world, "s1", at).await.is_none());
}

async fn the_later_visit_stays(world: World) {
    sign_up(&world, &["alice"]).await;
    world.store.insert_session(&session("s1", "alice")).await.unwrap();
    for minute in [3, 1] {
        world
            .store
            .touch_session(&SessionId::new("s1"), NOON + minutes(minute))
            .await
            .unwrap();
        assert_eq!(live(&world, "s1", NOON).await.unwrap().last_seen_at, NOON + minutes(3));
    }
    world.store.touch_session(&SessionId::new("none"), NOON).await.unwrap();
}

async fn a_consent_is_replaced_found_and_forgotten(world: World) {
    let (alice, web) = (UserId::new("alice"), ClientId::new("web"));
    let consent = |client: &str, scope: &str, at: Timestamp| Consent {
        user: UserId::new("alice"),
        client: ClientId::new(client),
        scope: scope.parse().unwrap(),
        granted_at: at,
    };
    assert_eq!(world.store.find_consent(&alice, &web).await.unwrap(), None);
    world.store.save_consent(&consent("web", "openid", NOON)).await.unwrap();
    world.store.save_consent(&consent("spa", "openid", NOON)).await.unwrap();
    let wider = consent("web", "openid profile", NOON + MICRO);
    world.store.save_consent(&wider).await.unwrap();
    assert_eq!(
        world.store.find_consent(&alice, &web).await.unwrap(),
        Some(wider.clone())
    );
    let all = world.store.consents_of(&alice).await.unwrap();
    assert_eq!(all, [consent("spa", "openid", NOON), wider]);
    assert_eq!(world.store.consents_of(&UserId::new("bob")).await.unwrap(), []);
    let mut tx = world.begin().await;
    assert!(tx.delete_consent(&alice, &web).await.unwrap());
    assert!(!tx.delete_consent(&alice, &web).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(world.store.find_consent(&alice, &web).await.unwrap(), None);
}

async fn a_browser_session_is_created_once(world: World) {
    let winners = race(|| {
        let store = Arc::clone(&world.store);
        async move {
            store
                .create_browser_session("k", "first", NOON + minutes(1))
                .await
                .unwrap()
        }
    });
    assert_eq!(winners.await, 1);
    assert!(
        !world
            .store
            .create_browser_session("k", "second", NOON + minutes(1))
            .await
            .unwrap()
    );
    assert_eq!(
        world.store.load_browser_session("k", NOON).await.unwrap().as_deref(),
        Some("first")
    );
}

async fn a_browser_session_is_replaced_and_expires(world: World) {
    let end = NOON + minutes(1);
    world.store.save_browser_session("k", "{\"a\":1}", NOON).await.unwrap();
    world.store.save_browser_session("k", "{\"a\":2}", end).await.unwrap();
    let found = world.store.load_browser_session("k", end - MICRO).await.unwrap();
    assert_eq!(found.as_deref(), Some("{\"a\":2}"));
    assert_eq!(world.store.load_browser_session("k", end).await.unwrap(), None);
    world.store.delete_browser_session("k").await.unwrap();
    world.store.delete_browser_session("k").await.unwrap();
    assert_eq!(world.store.load_browser_session("k", NOON).await.unwrap(), None);
}
