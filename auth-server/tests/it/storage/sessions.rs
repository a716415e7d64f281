use std::sync::Arc;

use auth_server::domain::ids::{ClientId, SessionId, UserId};
use auth_server::domain::session::{Consent, Session};
use auth_server::domain::user::{PasswordHash, UserStatus};
use auth_server::ports::store::StoreError;
use service_kit::Timestamp;

use super::{MICRO, NOON, World, minutes, names, on_every_engine, password, race, session};

on_every_engine!(
    a_live_session_reads_back_as_it_was_saved,
    a_session_lives_until_its_edge,
    a_session_of_somebody_inactive_is_not_live,
    who_was_locked_or_changed_the_password_meanwhile_gets_no_session,
    a_lock_and_a_sign_in_at_the_same_time_leave_no_session,
    a_session_ends_once,
    sessions_of_a_person_come_latest_first,
    every_session_ends_but_the_one_to_keep,
    a_renewed_session_has_a_new_sign_in,
    the_later_visit_stays,
    a_consent_is_replaced_found_and_forgotten,
    a_browser_session_is_created_once,
    a_browser_session_is_replaced_and_expires,
);

async fn live(world: &World, sid: &str, at: Timestamp) -> Option<Session> {
    world.store.find_live_session(&SessionId::new(sid), at).await.unwrap()
}

async fn a_live_session_reads_back_as_it_was_saved(world: World) {
    world.sign_up(&["alice"]).await;
    world.open(&session("s1", "alice")).await;
    assert_eq!(live(&world, "s1", NOON).await, Some(session("s1", "alice")));
    assert_eq!(live(&world, "none", NOON).await, None);
    let again = world.store.insert_session(&session("s1", "alice"), &password()).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}

async fn a_session_lives_until_its_edge(world: World) {
    world.sign_up(&["alice"]).await;
    world.open(&session("s1", "alice")).await;
    let end = NOON + minutes(60);
    assert!(live(&world, "s1", end - MICRO).await.is_some());
    assert!(live(&world, "s1", end).await.is_none());
    assert_eq!(
        world.store.live_sessions_of(&UserId::new("alice"), end).await.unwrap(),
        []
    );
}

async fn a_session_of_somebody_inactive_is_not_live(world: World) {
    world.sign_up(&["alice"]).await;
    world.open(&session("s1", "alice")).await;
    assert!(
        !world
            .store
            .insert_session(&session("s2", "nobody"), &password())
            .await
            .unwrap()
    );
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

/// Between the comparison of a password and the session that follows lies the time that Argon2 takes.
async fn who_was_locked_or_changed_the_password_meanwhile_gets_no_session(world: World) {
    world.sign_up(&["alice"]).await;
    let (alice, old) = (UserId::new("alice"), password());
    let new = PasswordHash("$argon2id$v=19$y".into());
    let (sid, end) = (SessionId::new("s1"), NOON + minutes(90));
    world.open(&session("s1", "alice")).await;
    let mut tx = world.begin().await;
    tx.set_password(&alice, &new, NOON).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!world.store.insert_session(&session("s2", "alice"), &old).await.unwrap());
    assert!(!world.store.renew_session(&sid, &old, NOON, end).await.unwrap());
    assert!(world.store.insert_session(&session("s2", "alice"), &new).await.unwrap());
    assert!(world.store.renew_session(&sid, &new, NOON, end).await.unwrap());
    for status in [UserStatus::Locked, UserStatus::Deleted] {
        let mut tx = world.begin().await;
        tx.set_user_status(&alice, status, NOON).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!world.store.insert_session(&session("s3", "alice"), &new).await.unwrap());
        assert!(!world.store.renew_session(&sid, &new, NOON, end).await.unwrap());
    }
}

/// Whichever comes first: either the sign-in finds the account locked, or the lock finds the session and ends it.
async fn a_lock_and_a_sign_in_at_the_same_time_leave_no_session(world: World) {
    for round in 0..20 {
        let sub = format!("user{round}");
        world.sign_up(&[&sub]).await;
        let start = Arc::new(tokio::sync::Barrier::new(5));
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..4 {
            let (store, start, sub) = (Arc::clone(&world.store), Arc::clone(&start), sub.clone());
            callers.spawn(async move {
                start.wait().await;
                let session = session(&format!("{sub}-{n}"), &sub);
                store.insert_session(&session, &password()).await.unwrap();
                let mut tx = store.begin().await.unwrap();
                let family = super::family(super::grant(&format!("{sub}-{n}"), &sub, "web"));
                if tx.insert_family(&family, Some(&password())).await.unwrap() {
                    tx.commit().await.unwrap();
                }
            });
        }
        let (store, owner) = (Arc::clone(&world.store), UserId::new(sub.clone()));
        callers.spawn(async move {
            start.wait().await;
            let mut tx = store.begin().await.unwrap();
            tx.set_user_status(&owner, UserStatus::Locked, NOON).await.unwrap();
            tx.end_sessions_of(&owner, None, NOON).await.unwrap();
            tx.revoke_families_of_user(&owner, None, NOON).await.unwrap();
            tx.commit().await.unwrap();
        });
        callers.join_all().await;
        let owner = UserId::new(sub.clone());
        let mut tx = world.begin().await;
        tx.set_user_status(&owner, UserStatus::Active, NOON).await.unwrap();
        assert_eq!(tx.revoke_families_of_user(&owner, None, NOON).await.unwrap(), []);
        tx.commit().await.unwrap();
        assert_eq!(world.store.live_sessions_of(&owner, NOON).await.unwrap(), []);
    }
}

async fn a_session_ends_once(world: World) {
    world.sign_up(&["alice"]).await;
    world.open(&session("s1", "alice")).await;
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
    world.sign_up(&["alice", "bob"]).await;
    for n in 0..105_u64 {
        let mut session = session(&format!("s{n:03}"), "alice");
        session.auth_time = NOON + minutes(n);
        session.expires_at = NOON + minutes(1000);
        world.open(&session).await;
    }
    world.open(&session("other", "bob")).await;
    let found = world.store.live_sessions_of(&UserId::new("alice"), NOON).await.unwrap();
    let sids: Vec<_> = found.iter().map(|session| session.sid.as_str().to_owned()).collect();
    let expected: Vec<_> = (5..105).rev().map(|n| format!("s{n:03}")).collect();
    assert_eq!(sids, expected);
}

async fn every_session_ends_but_the_one_to_keep(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    for sid in ["s1", "s2", "s3"] {
        world.open(&session(sid, "alice")).await;
    }
    let mut expired = session("s4", "alice");
    expired.expires_at = NOON;
    world.open(&expired).await;
    world.open(&session("s5", "bob")).await;
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
    world.sign_up(&["alice"]).await;
    world.open(&session("s1", "alice")).await;
    let (sid, at, end) = (SessionId::new("s1"), NOON + minutes(5), NOON + minutes(120));
    assert!(world.store.renew_session(&sid, &password(), at, end).await.unwrap());
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
            .renew_session(&SessionId::new("none"), &password(), at, end)
            .await
            .unwrap()
    );
    // Neither an expired session nor an ended one comes back to life.
    assert!(
        !world
            .store
            .renew_session(&sid, &password(), end, end + minutes(9))
            .await
            .unwrap()
    );
    let mut tx = world.begin().await;
    tx.end_session(&sid, at).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!world.store.renew_session(&sid, &password(), at, end).await.unwrap());
    assert!(live(&world, "s1", at).await.is_none());
}

async fn the_later_visit_stays(world: World) {
    world.sign_up(&["alice"]).await;
    world.open(&session("s1", "alice")).await;
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
        claims: scope.split(' ').map(|word| format!("{word}_claim")).collect(),
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
