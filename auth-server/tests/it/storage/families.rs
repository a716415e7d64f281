use std::sync::Arc;

use auth_server::domain::grant::RefreshFamily;
use auth_server::domain::ids::{ClientId, GrantId, SessionId, UserId};
use auth_server::domain::user::{PasswordHash, UserStatus};
use auth_server::ports::store::{Renewal, Store, StoreError};

use super::{MICRO, NOON, World, family, grant, minutes, names, on_every_engine, password, race};

on_every_engine!(
    a_family_reads_back_as_it_was_saved,
    a_grant_has_one_family,
    who_was_locked_or_changed_the_password_meanwhile_gets_no_family,
    a_family_moves_one_generation_at_a_time,
    a_family_that_is_over_does_not_rotate,
    of_200_parallel_rotations_one_wins,
    rotation_and_revocation_leave_a_revoked_family,
    a_family_is_revoked_once,
    a_persons_families_are_revoked_and_others_are_not,
    a_clients_families_are_revoked,
    log_out_ends_the_sessions_families_but_offline_access,
);

async fn save(world: &World, family: &RefreshFamily) {
    let mut tx = world.begin().await;
    assert!(tx.insert_family(family, None).await.unwrap());
    tx.commit().await.unwrap();
}

async fn find(store: &dyn Store, id: &str) -> RefreshFamily {
    store.find_family(&GrantId::new(id)).await.unwrap().unwrap()
}

async fn a_family_reads_back_as_it_was_saved(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    let mut bare = family(grant("g2", "alice", "web"));
    bare.grant.sid = None;
    bare.generation = 4_000_000_000;
    bare.revoked_at = Some(NOON + MICRO);
    for family in [family(grant("g1", "alice", "web")), bare] {
        save(&world, &family).await;
        assert_eq!(find(&*world.store, family.grant.grant_id.as_str()).await, family);
    }
    assert_eq!(world.store.find_family(&GrantId::new("none")).await.unwrap(), None);
}

async fn a_grant_has_one_family(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    save(&world, &family(grant("g1", "alice", "web"))).await;
    let mut tx = world.begin().await;
    let again = tx.insert_family(&family(grant("g1", "bob", "web")), None).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    // A failed statement ends its transaction on every engine.
    assert!(tx.commit().await.is_err());
    assert_eq!(find(&*world.store, "g1").await.grant.user, UserId::new("alice"));
}

async fn who_was_locked_or_changed_the_password_meanwhile_gets_no_family(world: World) {
    world.sign_up(&["alice"]).await;
    let (alice, old) = (UserId::new("alice"), password());
    let new = PasswordHash("$argon2id$v=19$y".into());
    let insert = async |id: &str, verified: Option<&PasswordHash>| {
        let mut tx = world.begin().await;
        let done = tx
            .insert_family(&family(grant(id, "alice", "web")), verified)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        done
    };
    assert!(insert("g1", Some(&old)).await);
    let mut tx = world.begin().await;
    tx.set_password(&alice, &new, NOON).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!insert("g2", Some(&old)).await);
    assert!(insert("g2", Some(&new)).await);
    assert!(insert("g3", None).await);
    let mut tx = world.begin().await;
    tx.set_user_status(&alice, UserStatus::Locked, NOON).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!insert("g4", None).await);
    assert!(!insert("g4", Some(&new)).await);
}

async fn a_family_moves_one_generation_at_a_time(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    save(&world, &family(grant("g1", "alice", "web"))).await;
    let (id, at, idle) = (GrantId::new("g1"), NOON + minutes(1), NOON + minutes(11));
    assert!(
        !world
            .store
            .renew_family(&id, Renewal::rotate(2, at, idle))
            .await
            .unwrap()
    );
    assert!(
        world
            .store
            .renew_family(&id, Renewal::rotate(1, at, idle))
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .renew_family(&id, Renewal::rotate(1, at, idle))
            .await
            .unwrap()
    );
    assert!(
        world
            .store
            .renew_family(&id, Renewal::rotate(2, at, idle))
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .renew_family(&GrantId::new("none"), Renewal::rotate(1, at, idle))
            .await
            .unwrap()
    );
    // Kept, it lives on, and is not taken for rotated.
    let (later, idle) = (at + minutes(1), idle + minutes(1));
    for generation in [2, 4] {
        let kept = Renewal::keep(generation, later, idle);
        assert!(!world.store.renew_family(&id, kept).await.unwrap());
    }
    assert!(
        world
            .store
            .renew_family(&id, Renewal::keep(3, later, idle))
            .await
            .unwrap()
    );
    let expected = RefreshFamily {
        generation: 3,
        rotated_at: at,
        idle_expires_at: idle,
        ..family(grant("g1", "alice", "web"))
    };
    assert_eq!(find(&*world.store, "g1").await, expected);
}

async fn a_family_that_is_over_does_not_rotate(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    for id in ["idle", "absolute", "revoked"] {
        save(&world, &family(grant(id, "alice", "web"))).await;
    }
    let rotate = async |id: &str, from, at, idle| {
        world
            .store
            .renew_family(&GrantId::new(id), Renewal::rotate(from, at, idle))
            .await
            .unwrap()
    };
    let later = NOON + minutes(50);
    assert!(!rotate("idle", 1, NOON + minutes(10), later).await);
    assert!(rotate("idle", 1, NOON + minutes(10) - MICRO, later).await);
    // However far the idle limit was moved, the absolute one holds.
    assert!(rotate("absolute", 1, NOON, later).await);
    assert!(!rotate("absolute", 2, NOON + minutes(30), later).await);
    assert!(rotate("absolute", 2, NOON + minutes(30) - MICRO, later).await);
    let mut tx = world.begin().await;
    assert!(tx.revoke_family(&GrantId::new("revoked"), NOON).await.unwrap());
    tx.commit().await.unwrap();
    assert!(!rotate("revoked", 1, NOON, later).await);
}

async fn of_200_parallel_rotations_one_wins(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    save(&world, &family(grant("g1", "alice", "web"))).await;
    let winners = race(|| {
        let store = Arc::clone(&world.store);
        async move {
            store
                .renew_family(&GrantId::new("g1"), Renewal::rotate(1, NOON, NOON + minutes(10)))
                .await
                .unwrap()
        }
    });
    assert_eq!(winners.await, 1);
    assert_eq!(find(&*world.store, "g1").await.generation, 2);
}

/// Reuse is seen while the rightful owner rotates: whatever the order, the family ends.
async fn rotation_and_revocation_leave_a_revoked_family(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    save(&world, &family(grant("g1", "alice", "web"))).await;
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let winners = race(|| {
        let store = Arc::clone(&world.store);
        let revokes = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2);
        async move {
            let id = GrantId::new("g1");
            if !revokes {
                store
                    .renew_family(&id, Renewal::rotate(1, NOON, NOON + minutes(10)))
                    .await
                    .unwrap();
                return false;
            }
            let mut tx = store.begin().await.unwrap();
            let won = tx.revoke_family(&id, NOON).await.unwrap();
            tx.commit().await.unwrap();
            won
        }
    });
    assert_eq!(winners.await, 1);
    assert_eq!(find(&*world.store, "g1").await.revoked_at, Some(NOON));
    assert!(
        !world
            .store
            .renew_family(&GrantId::new("g1"), Renewal::rotate(2, NOON, NOON + minutes(10)))
            .await
            .unwrap()
    );
}

async fn a_family_is_revoked_once(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    save(&world, &family(grant("g1", "alice", "web"))).await;
    let mut tx = world.begin().await;
    assert!(tx.revoke_family(&GrantId::new("g1"), NOON).await.unwrap());
    assert!(!tx.revoke_family(&GrantId::new("g1"), NOON + MICRO).await.unwrap());
    assert!(!tx.revoke_family(&GrantId::new("none"), NOON).await.unwrap());
    tx.commit().await.unwrap();
    let revoked = find(&*world.store, "g1").await;
    assert_eq!(
        revoked,
        RefreshFamily {
            revoked_at: Some(NOON),
            ..family(grant("g1", "alice", "web"))
        }
    );
}

async fn a_persons_families_are_revoked_and_others_are_not(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    for (id, user, client) in [
        ("g1", "alice", "web"),
        ("g2", "alice", "spa"),
        ("g3", "alice", "web"),
        ("g4", "bob", "web"),
    ] {
        save(&world, &family(grant(id, user, client))).await;
    }
    let alice = UserId::new("alice");
    let mut tx = world.begin().await;
    let of_web = tx
        .revoke_families_of_user(&alice, Some(&ClientId::new("web")), NOON)
        .await
        .unwrap();
    assert_eq!(names(of_web), names([GrantId::new("g1"), GrantId::new("g3")]));
    let rest = tx.revoke_families_of_user(&alice, None, NOON).await.unwrap();
    assert_eq!(rest, [GrantId::new("g2")]);
    assert_eq!(
        tx.revoke_families_of_user(&UserId::new("nobody"), None, NOON)
            .await
            .unwrap(),
        []
    );
    tx.commit().await.unwrap();
    assert_eq!(find(&*world.store, "g3").await.revoked_at, Some(NOON));
    assert_eq!(find(&*world.store, "g4").await.revoked_at, None);
}

async fn a_clients_families_are_revoked(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    for (id, user, client) in [("g1", "alice", "web"), ("g2", "bob", "web"), ("g3", "alice", "spa")] {
        save(&world, &family(grant(id, user, client))).await;
    }
    let mut tx = world.begin().await;
    assert_eq!(
        tx.revoke_families_of_client(&ClientId::new("web"), NOON).await.unwrap(),
        2
    );
    assert_eq!(
        tx.revoke_families_of_client(&ClientId::new("web"), NOON).await.unwrap(),
        0
    );
    tx.commit().await.unwrap();
    assert_eq!(find(&*world.store, "g3").await.revoked_at, None);
}

async fn log_out_ends_the_sessions_families_but_offline_access(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    for (id, sid, scope) in [
        ("g1", Some("s1"), "openid"),
        ("g2", Some("s1"), "offline_access openid"),
        ("g3", Some("s1"), "a offline_access"),
        ("g4", Some("s1"), "offlineXaccess my_offline_access offline_access:x"),
        ("g5", Some("s2"), "openid"),
        ("g6", None, "openid"),
        ("g7", Some("s1"), ""),
    ] {
        let mut family = family(grant(id, "alice", "web"));
        family.grant.sid = sid.map(SessionId::new);
        family.grant.scope = scope.parse().unwrap();
        save(&world, &family).await;
    }
    let mut tx = world.begin().await;
    let ended = tx
        .revoke_families_of_session(&SessionId::new("s1"), NOON)
        .await
        .unwrap();
    assert_eq!(names(ended), names(["g1", "g4", "g7"].map(GrantId::new)));
    tx.commit().await.unwrap();
    for (id, revoked) in [("g1", true), ("g2", false), ("g3", false), ("g5", false), ("g6", false)] {
        assert_eq!(find(&*world.store, id).await.revoked_at.is_some(), revoked, "{id}");
    }
}
