use std::sync::Arc;

use auth_server::domain::decoupled::{DecoupledKind, DecoupledRequest, DecoupledState, Pace, UserCode};
use auth_server::domain::grant::GrantDetails;
use auth_server::domain::ids::{ClientId, CodeDigest, GrantId, SessionId, UserId};
use auth_server::domain::session::Consent;
use auth_server::domain::user::UserStatus;
use auth_server::ports::decoupled::Permission;
use auth_server::ports::store::StoreError;

use super::{Duration, MICRO, NOON, World, family, grant, minutes, names, on_every_engine, race, session, tenant};

on_every_engine!(
    a_request_reads_back_as_it_was_saved,
    both_codes_are_saved_once,
    a_user_code_finds_what_waits_and_nothing_else,
    a_poll_is_noted_once,
    what_is_allowed_reads_back_with_the_person_and_is_remembered,
    nobody_allows_what_they_may_not,
    a_request_is_decided_once,
    a_request_is_redeemed_once_and_never_when_expired,
    of_200_parallel_polls_one_redeems,
    of_200_parallel_transactions_that_redeem_one_wins,
    of_200_parallel_decisions_one_counts,
    who_is_locked_while_allowing_has_allowed_nothing,
    a_persons_requests_are_taken_with_their_grants,
);

fn digest(byte: u8) -> CodeDigest {
    CodeDigest([byte; 32])
}

fn user_code(byte: u8) -> UserCode {
    UserCode::from_random([byte; 8]).unwrap()
}

/// A device that waits for ten minutes from [`NOON`].
pub(super) fn device(byte: u8) -> DecoupledRequest {
    DecoupledRequest {
        digest: digest(byte),
        kind: DecoupledKind::Device,
        user_code: Some(user_code(byte)),
        client: ClientId::new("tv"),
        tenant: tenant(),
        user: None,
        scope: "openid profile".parse().unwrap(),
        details: GrantDetails {
            resources: vec!["https://api.example".into()],
            ..GrantDetails::default()
        },
        requested_at: NOON,
        expires_at: NOON + minutes(10),
        interval: Duration::from_secs(5),
        next_poll_at: NOON + MICRO,
        state: DecoupledState::Pending,
    }
}

pub(super) fn pace() -> Pace {
    Pace {
        interval: Duration::from_secs(10),
        next_poll_at: NOON + Duration::from_secs(7),
    }
}

/// Alice's yes in her session `s1`.
pub(super) fn permission(byte: u8, grant_id: &str, user: &str) -> Permission {
    let mut grant = grant(grant_id, user, "tv");
    grant.sid = None;
    Permission {
        digest: digest(byte),
        consent: Some(Consent {
            user: UserId::new(user),
            client: ClientId::new("tv"),
            scope: grant.scope.clone(),
            claims: names(["email".to_owned()]),
            granted_at: NOON,
        }),
        grant,
        sid: SessionId::new("s1"),
        at: NOON,
    }
}

async fn find(world: &World, byte: u8) -> Option<DecoupledRequest> {
    let found = world.store.find_decoupled(DecoupledKind::Device, &digest(byte)).await;
    found.unwrap()
}

/// Alice is signed in, and so many devices wait.
async fn waiting(world: &World, devices: u8) {
    world.sign_up(&["alice", "bob"]).await;
    world.open(&session("s1", "alice")).await;
    for byte in 1..=devices {
        world.store.insert_decoupled(&device(byte)).await.unwrap();
    }
}

async fn allow(world: &World, permission: &Permission) -> bool {
    world.store.allow_decoupled(permission).await.unwrap()
}

async fn a_request_reads_back_as_it_was_saved(world: World) {
    let full = device(1);
    let mut bare = device(2);
    bare.user_code = None;
    bare.user = Some(UserId::new("alice"));
    bare.details = GrantDetails::default();
    for request in [full, bare] {
        world.store.insert_decoupled(&request).await.unwrap();
        let found = world.store.find_decoupled(request.kind, &request.digest).await.unwrap();
        assert_eq!(found, Some(request));
    }
    assert_eq!(find(&world, 9).await, None);
}

async fn both_codes_are_saved_once(world: World) {
    world.store.insert_decoupled(&device(1)).await.unwrap();
    let mut again = device(2);
    again.digest = digest(1);
    let outcome = world.store.insert_decoupled(&again).await;
    assert!(matches!(outcome, Err(StoreError::Conflict(_))), "{outcome:?}");
    let mut again = device(2);
    again.user_code = Some(user_code(1));
    let outcome = world.store.insert_decoupled(&again).await;
    assert!(matches!(outcome, Err(StoreError::Conflict(_))), "{outcome:?}");
}

async fn a_user_code_finds_what_waits_and_nothing_else(world: World) {
    waiting(&world, 2).await;
    let find = async |byte, at| world.store.find_by_user_code(&user_code(byte), at).await.unwrap();
    let end = device(1).expires_at;
    assert_eq!(find(1, end - MICRO).await, Some(device(1)));
    assert_eq!(find(1, end).await, None);
    assert_eq!(find(3, NOON).await, None);
    assert!(world.store.deny_decoupled(&digest(1), NOON).await.unwrap());
    assert_eq!(find(1, NOON).await, None);
    assert!(allow(&world, &permission(2, "g", "alice")).await);
    assert_eq!(find(2, NOON).await, None);
}

async fn a_poll_is_noted_once(world: World) {
    waiting(&world, 1).await;
    let seen = device(1).next_poll_at;
    assert!(world.store.note_poll(&digest(1), seen, pace()).await.unwrap());
    assert!(!world.store.note_poll(&digest(1), seen, pace()).await.unwrap());
    let noted = find(&world, 1).await.unwrap();
    assert_eq!(
        (noted.interval, noted.next_poll_at),
        (pace().interval, pace().next_poll_at)
    );
    let won = race(|| {
        let store = Arc::clone(&world.store);
        let next = Pace {
            next_poll_at: pace().next_poll_at + MICRO,
            ..pace()
        };
        async move {
            let seen = pace().next_poll_at;
            store.note_poll(&digest(1), seen, next).await.unwrap()
        }
    });
    assert_eq!(won.await, 1);
}

async fn what_is_allowed_reads_back_with_the_person_and_is_remembered(world: World) {
    waiting(&world, 2).await;
    let permission = permission(1, "g", "alice");
    assert!(allow(&world, &permission).await);
    let found = find(&world, 1).await.unwrap();
    assert_eq!(found.user, Some(UserId::new("alice")));
    assert_eq!(found.state, DecoupledState::Allowed(Box::new(permission.grant)));
    let consent = world
        .store
        .find_consent(&UserId::new("alice"), &ClientId::new("tv"))
        .await;
    assert_eq!(consent.unwrap(), permission.consent);
    assert_eq!(find(&world, 2).await, Some(device(2)));
}

async fn nobody_allows_what_they_may_not(world: World) {
    waiting(&world, 2).await;
    let refused = async |change: fn(&mut Permission)| {
        let mut permission = permission(1, "g", "alice");
        change(&mut permission);
        assert!(!allow(&world, &permission).await);
    };
    refused(|permission| permission.digest = digest(9)).await;
    refused(|permission| permission.at = NOON + minutes(10)).await;
    refused(|permission| permission.sid = SessionId::new("s2")).await;
    // Alice's session is not Bob's, and who does not exist has none.
    refused(|permission| permission.grant.user = UserId::new("bob")).await;
    refused(|permission| permission.grant.user = UserId::new("nobody")).await;
    let mut of_bob = device(3);
    of_bob.user = Some(UserId::new("bob"));
    world.store.insert_decoupled(&of_bob).await.unwrap();
    refused(|permission| permission.digest = digest(3)).await;
    let consent = world
        .store
        .find_consent(&UserId::new("alice"), &ClientId::new("tv"))
        .await;
    assert_eq!(consent.unwrap(), None);
    let mut tx = world.begin().await;
    tx.end_session(&SessionId::new("s1"), NOON).await.unwrap();
    tx.commit().await.unwrap();
    refused(|_| ()).await;
    world.open(&session("s3", "alice")).await;
    let mut tx = world.begin().await;
    let alice = UserId::new("alice");
    tx.set_user_status(&alice, UserStatus::Locked, NOON).await.unwrap();
    tx.commit().await.unwrap();
    refused(|permission| permission.sid = SessionId::new("s3")).await;
    assert_eq!(find(&world, 1).await, Some(device(1)));
}

async fn a_request_is_decided_once(world: World) {
    waiting(&world, 3).await;
    assert!(world.store.deny_decoupled(&digest(1), NOON).await.unwrap());
    assert!(!world.store.deny_decoupled(&digest(1), NOON).await.unwrap());
    assert!(!allow(&world, &permission(1, "g1", "alice")).await);
    assert!(allow(&world, &permission(2, "g2", "alice")).await);
    assert!(!allow(&world, &permission(2, "g3", "alice")).await);
    assert!(!world.store.deny_decoupled(&digest(2), NOON).await.unwrap());
    assert!(
        !world
            .store
            .deny_decoupled(&digest(3), NOON + minutes(10))
            .await
            .unwrap()
    );
}

async fn a_request_is_redeemed_once_and_never_when_expired(world: World) {
    waiting(&world, 2).await;
    let redeem = async |byte, at| world.store.redeem_decoupled(&digest(byte), at).await.unwrap();
    assert!(!redeem(1, NOON).await, "nobody has allowed it");
    for byte in [1, 2] {
        assert!(allow(&world, &permission(byte, &format!("g{byte}"), "alice")).await);
    }
    let end = device(1).expires_at;
    assert!(!redeem(1, end).await);
    assert!(redeem(1, end - MICRO).await);
    assert!(!redeem(1, NOON).await);
    assert_eq!(find(&world, 1).await.unwrap().state, DecoupledState::Redeemed);
    let mut tx = world.begin().await;
    assert!(tx.redeem_decoupled(&digest(2), NOON).await.unwrap());
    drop(tx);
    assert!(redeem(2, NOON).await, "a transaction that was given up redeems nothing");
}

async fn of_200_parallel_polls_one_redeems(world: World) {
    waiting(&world, 1).await;
    assert!(allow(&world, &permission(1, "g", "alice")).await);
    let won = race(|| {
        let store = Arc::clone(&world.store);
        async move { store.redeem_decoupled(&digest(1), NOON).await.unwrap() }
    });
    assert_eq!(won.await, 1);
}

/// As the token endpoint does it: the winner's family is saved with the redemption, the losers leave nothing.
async fn of_200_parallel_transactions_that_redeem_one_wins(world: World) {
    waiting(&world, 1).await;
    assert!(allow(&world, &permission(1, "g", "alice")).await);
    let won = race(|| {
        let store = Arc::clone(&world.store);
        async move {
            let mut tx = store.begin().await.unwrap();
            match tx.insert_family(&family(grant("g", "alice", "tv")), None).await {
                Err(StoreError::Conflict(_)) => return false,
                inserted => assert!(inserted.unwrap()),
            }
            let won = tx.redeem_decoupled(&digest(1), NOON).await.unwrap();
            if won {
                tx.commit().await.unwrap();
            }
            won
        }
    });
    assert_eq!(won.await, 1);
    assert!(world.store.find_family(&GrantId::new("g")).await.unwrap().is_some());
}

async fn of_200_parallel_decisions_one_counts(world: World) {
    waiting(&world, 1).await;
    let won = race(|| {
        let store = Arc::clone(&world.store);
        async move {
            // Half of them say no.
            match every_second() {
                true => store.allow_decoupled(&permission(1, "g", "alice")).await.unwrap(),
                false => store.deny_decoupled(&digest(1), NOON).await.unwrap(),
            }
        }
    });
    assert_eq!(won.await, 1);
}

/// `true` for every second caller.
fn every_second() -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};
    static BIT: AtomicBool = AtomicBool::new(false);
    BIT.fetch_xor(true, Ordering::Relaxed)
}

/// Whichever comes first, nothing that Alice allowed is left when she has been locked.
async fn who_is_locked_while_allowing_has_allowed_nothing(world: World) {
    waiting(&world, 20).await;
    let alice = UserId::new("alice");
    let locker = {
        let (store, alice) = (Arc::clone(&world.store), alice.clone());
        async move {
            let mut tx = store.begin().await.unwrap();
            tx.set_user_status(&alice, UserStatus::Locked, NOON).await.unwrap();
            tx.end_sessions_of(&alice, None, NOON).await.unwrap();
            tx.take_codes_of(&alice, None).await.unwrap();
            tx.commit().await.unwrap();
        }
    };
    let mut at_work = tokio::task::JoinSet::new();
    for byte in 1..=20 {
        let store = Arc::clone(&world.store);
        at_work.spawn(async move {
            let id = format!("g{byte}");
            store.allow_decoupled(&permission(byte, &id, "alice")).await.unwrap();
        });
    }
    at_work.spawn(locker);
    at_work.join_all().await;
    for byte in 1..=20 {
        let state = find(&world, byte).await.map(|found| found.state);
        assert!(matches!(state, None | Some(DecoupledState::Pending)), "{state:?}");
    }
}

async fn a_persons_requests_are_taken_with_their_grants(world: World) {
    waiting(&world, 4).await;
    for byte in 1..=2 {
        assert!(allow(&world, &permission(byte, &format!("g{byte}"), "alice")).await);
    }
    assert!(world.store.redeem_decoupled(&digest(2), NOON).await.unwrap());
    let mut of_bob = device(5);
    of_bob.user = Some(UserId::new("bob"));
    world.store.insert_decoupled(&of_bob).await.unwrap();
    let (alice, tv) = (UserId::new("alice"), ClientId::new("tv"));
    let mut tx = world.begin().await;
    assert_eq!(tx.take_codes_of(&alice, Some(&ClientId::new("web"))).await.unwrap(), []);
    let taken = tx.take_codes_of(&alice, Some(&tv)).await.unwrap();
    assert_eq!(names(taken), names([GrantId::new("g1"), GrantId::new("g2")]));
    // One that nobody has decided on has no grant.
    assert_eq!(tx.take_codes_of(&UserId::new("bob"), None).await.unwrap(), []);
    tx.commit().await.unwrap();
    for (byte, left) in [(1, false), (2, false), (3, true), (4, true), (5, false)] {
        assert_eq!(find(&world, byte).await.is_some(), left, "{byte}");
    }
}
