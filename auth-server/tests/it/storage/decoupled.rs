use std::sync::Arc;

use auth_server::domain::ciba::{BindingMessage, OpenLimits, Ping};
use auth_server::domain::decoupled::{DecoupledKind, DecoupledRequest, DecoupledState, Pace, SealedPing, UserCode};
use auth_server::domain::grant::GrantDetails;
use auth_server::domain::ids::{ClientId, CodeDigest, GrantId, SessionId, UserId};
use auth_server::domain::session::Consent;
use auth_server::domain::user::UserStatus;
use auth_server::ports::decoupled::{Asking, Denial, Permission, PingClaim};
use auth_server::ports::store::StoreError;
use service_kit::Timestamp;

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
    a_request_to_a_person_reads_back_and_is_found_as_theirs,
    no_more_wait_for_a_person_than_may,
    of_200_parallel_requests_to_a_person_as_many_get_through_as_may_wait,
    who_is_locked_is_asked_nothing,
    kinds_do_not_meet,
    news_is_due_when_somebody_has_decided_and_the_claim_is_over,
    news_that_is_told_or_too_late_is_none,
    a_claim_of_news_leaves_out_who_is_busy_and_takes_a_few_of_each,
    each_news_is_taken_once_by_all_who_look,
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
        message: None,
        ping: None,
        requested_at: NOON,
        expires_at: NOON + minutes(10),
        interval: Duration::from_secs(5),
        next_poll_at: NOON + MICRO,
        state: DecoupledState::Pending,
    }
}

pub(super) fn denial(byte: u8, at: Timestamp) -> Denial {
    Denial {
        digest: digest(byte),
        at,
        ping_due_at: at + minutes(1),
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
        ping_due_at: NOON + minutes(1),
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
    assert!(world.store.deny_decoupled(&denial(1, NOON)).await.unwrap());
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
    assert!(world.store.deny_decoupled(&denial(1, NOON)).await.unwrap());
    assert!(!world.store.deny_decoupled(&denial(1, NOON)).await.unwrap());
    assert!(!allow(&world, &permission(1, "g1", "alice")).await);
    assert!(allow(&world, &permission(2, "g2", "alice")).await);
    assert!(!allow(&world, &permission(2, "g3", "alice")).await);
    assert!(!world.store.deny_decoupled(&denial(2, NOON)).await.unwrap());
    assert!(
        !world
            .store
            .deny_decoupled(&denial(3, NOON + minutes(10)))
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
                false => store.deny_decoupled(&denial(1, NOON)).await.unwrap(),
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

const LIMITS: OpenLimits = OpenLimits {
    per_client: 2,
    in_all: 3,
};

/// An application that asks Alice.
pub(super) fn ciba(byte: u8, client: &str) -> DecoupledRequest {
    DecoupledRequest {
        kind: DecoupledKind::Ciba,
        user_code: None,
        client: ClientId::new(client),
        user: Some(UserId::new("alice")),
        message: BindingMessage::parse("Pay 12.50 é"),
        ping: Some(SealedPing(vec![0, 255, byte])),
        ..device(byte)
    }
}

async fn insert(world: &World, request: &DecoupledRequest) -> Asking {
    world.store.insert_asking(request, LIMITS).await.unwrap()
}

async fn digests_for(world: &World, user: &str, at: Timestamp) -> Vec<u8> {
    let waiting = world
        .store
        .waiting_for(DecoupledKind::Ciba, &UserId::new(user), at)
        .await;
    waiting.unwrap().iter().map(|request| request.digest.0[0]).collect()
}

async fn a_request_to_a_person_reads_back_and_is_found_as_theirs(world: World) {
    waiting(&world, 1).await;
    let mut later = ciba(3, "desk");
    later.requested_at = NOON + MICRO;
    later.message = None;
    later.ping = None;
    for request in [&ciba(2, "bank"), &later] {
        assert_eq!(insert(&world, request).await, Asking::Saved);
        let found = world.store.find_decoupled(DecoupledKind::Ciba, &request.digest).await;
        assert_eq!(found.unwrap().as_ref(), Some(request));
    }
    assert_eq!(digests_for(&world, "alice", NOON).await, [3, 2], "the latest first");
    assert_eq!(digests_for(&world, "bob", NOON).await, [0; 0]);
    assert!(world.store.deny_decoupled(&denial(3, NOON)).await.unwrap());
    let end = ciba(2, "bank").expires_at;
    assert_eq!(digests_for(&world, "alice", end - MICRO).await, [2]);
    assert_eq!(digests_for(&world, "alice", end).await, [0; 0]);
}

async fn no_more_wait_for_a_person_than_may(world: World) {
    waiting(&world, 3).await;
    assert_eq!(insert(&world, &ciba(11, "bank")).await, Asking::Saved);
    let mut sooner = ciba(12, "bank");
    sooner.expires_at = NOON + minutes(3);
    assert_eq!(insert(&world, &sooner).await, Asking::Saved);
    let until = sooner.expires_at;
    assert_eq!(insert(&world, &ciba(13, "bank")).await, Asking::TooMany { until });
    let mut soonest = ciba(14, "desk");
    soonest.expires_at = NOON + minutes(2);
    assert_eq!(insert(&world, &soonest).await, Asking::Saved);
    // Of the client's own the first to expire, and of all when it is all of them that are too many.
    assert_eq!(insert(&world, &ciba(15, "bank")).await, Asking::TooMany { until });
    let until = soonest.expires_at;
    assert_eq!(insert(&world, &ciba(16, "desk")).await, Asking::TooMany { until });
    let mut of_bob = ciba(17, "bank");
    of_bob.user = Some(UserId::new("bob"));
    assert_eq!(insert(&world, &of_bob).await, Asking::Saved);
    // What was decided or has expired waits no longer.
    assert!(world.store.deny_decoupled(&denial(11, NOON)).await.unwrap());
    assert_eq!(insert(&world, &ciba(18, "bank")).await, Asking::Saved);
    let mut late = ciba(19, "desk");
    late.requested_at = soonest.expires_at;
    assert_eq!(insert(&world, &late).await, Asking::Saved);
}

async fn of_200_parallel_requests_to_a_person_as_many_get_through_as_may_wait(world: World) {
    use std::sync::atomic::{AtomicU8, Ordering};
    waiting(&world, 0).await;
    let next = Arc::new(AtomicU8::new(0));
    let saved = race(|| {
        let (store, next) = (Arc::clone(&world.store), Arc::clone(&next));
        async move {
            let request = ciba(next.fetch_add(1, Ordering::Relaxed), "bank");
            store.insert_asking(&request, LIMITS).await.unwrap() == Asking::Saved
        }
    });
    assert_eq!(saved.await, 2);
    assert_eq!(digests_for(&world, "alice", NOON).await.len(), 2);
}

async fn who_is_locked_is_asked_nothing(world: World) {
    waiting(&world, 0).await;
    let alice = UserId::new("alice");
    let mut tx = world.begin().await;
    tx.set_user_status(&alice, UserStatus::Locked, NOON).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(insert(&world, &ciba(1, "bank")).await, Asking::Inactive);
    let mut of_nobody = ciba(1, "bank");
    of_nobody.user = Some(UserId::new("nobody"));
    assert_eq!(insert(&world, &of_nobody).await, Asking::Inactive);
    assert_eq!(digests_for(&world, "alice", NOON).await, [0; 0]);
}

async fn kinds_do_not_meet(world: World) {
    waiting(&world, 1).await;
    assert_eq!(insert(&world, &ciba(2, "bank")).await, Asking::Saved);
    let find = async |kind, byte| world.store.find_decoupled(kind, &digest(byte)).await.unwrap();
    assert_eq!(find(DecoupledKind::Ciba, 1).await, None);
    assert_eq!(find(DecoupledKind::Device, 2).await, None);
    let mut known = device(3);
    known.user = Some(UserId::new("alice"));
    world.store.insert_decoupled(&known).await.unwrap();
    assert_eq!(digests_for(&world, "alice", NOON).await, [2]);
}

fn claim(now: Timestamp, limit: usize, busy: &[ClientId]) -> PingClaim<'_> {
    PingClaim {
        now,
        until: now + minutes(1),
        limit,
        per_client: 2,
        busy,
    }
}

async fn claimed(world: &World, now: Timestamp, limit: usize, busy: &[ClientId]) -> Vec<Ping> {
    let mut pings = world.store.claim_pings(claim(now, limit, busy)).await.unwrap();
    pings.sort_by_key(|ping| ping.digest.0);
    pings
}

fn told(pings: &[Ping]) -> Vec<u8> {
    pings.iter().map(|ping| ping.digest.0[0]).collect()
}

/// Alice is asked so often by each, one a second later than the other, and denies it all.
async fn denied(world: &World, requests: &[(u8, &str)]) {
    waiting(world, 0).await;
    for (number, (byte, client)) in requests.iter().enumerate() {
        let limits = OpenLimits {
            per_client: 100,
            in_all: 100,
        };
        let request = ciba(*byte, client);
        assert_eq!(
            world.store.insert_asking(&request, limits).await.unwrap(),
            Asking::Saved
        );
        let later = Duration::from_secs(number as u64);
        assert!(world.store.deny_decoupled(&denial(*byte, NOON + later)).await.unwrap());
    }
}

async fn news_is_due_when_somebody_has_decided_and_the_claim_is_over(world: World) {
    waiting(&world, 1).await;
    for byte in 2..=3 {
        assert_eq!(insert(&world, &ciba(byte, "bank")).await, Asking::Saved);
    }
    let mut quiet = ciba(4, "desk");
    quiet.ping = None;
    assert_eq!(insert(&world, &quiet).await, Asking::Saved);
    let late = NOON + minutes(2);
    assert_eq!(claimed(&world, late, 9, &[]).await, [], "nobody has decided");
    let mut yes = permission(2, "g2", "alice");
    yes.grant.client = ClientId::new("bank");
    assert!(allow(&world, &yes).await);
    for byte in [3, 4] {
        assert!(world.store.deny_decoupled(&denial(byte, NOON)).await.unwrap());
    }
    assert!(world.store.deny_decoupled(&denial(1, NOON)).await.unwrap());
    assert_eq!(world.store.count_pings(NOON).await.unwrap(), 2);
    assert_eq!(
        claimed(&world, NOON + minutes(1) - MICRO, 9, &[]).await,
        [],
        "whoever decided tells"
    );
    let pings = claimed(&world, NOON + minutes(1), 9, &[]).await;
    let request = ciba(2, "bank");
    let expected = Ping {
        digest: request.digest,
        client: request.client,
        sealed: request.ping.unwrap(),
        attempts: 2,
        ends_at: request.expires_at,
    };
    assert_eq!((told(&pings), pings.first()), (vec![2, 3], Some(&expected)));
    assert_eq!(claimed(&world, late - MICRO, 9, &[]).await, []);
    world.store.postpone_ping(&digest(2), NOON + minutes(5)).await.unwrap();
    assert_eq!(told(&claimed(&world, late, 9, &[]).await), [3]);
    let again = claimed(&world, NOON + minutes(5), 9, &[]).await;
    assert_eq!(again.iter().map(|ping| ping.attempts).collect::<Vec<_>>(), [3, 4]);
}

async fn news_that_is_told_or_too_late_is_none(world: World) {
    waiting(&world, 0).await;
    for byte in 1..=2 {
        assert_eq!(insert(&world, &ciba(byte, "bank")).await, Asking::Saved);
    }
    assert_eq!(insert(&world, &ciba(3, "desk")).await, Asking::Saved);
    for byte in [1, 3] {
        assert!(world.store.deny_decoupled(&denial(byte, NOON)).await.unwrap());
    }
    let mut yes = permission(2, "g2", "alice");
    yes.grant.client = ClientId::new("bank");
    assert!(allow(&world, &yes).await);
    let late = NOON + minutes(2);
    assert_eq!(world.store.count_pings(NOON).await.unwrap(), 3);
    world.store.finish_ping(&digest(1)).await.unwrap();
    world.store.postpone_ping(&digest(1), NOON).await.unwrap();
    let found = world
        .store
        .find_decoupled(DecoupledKind::Ciba, &digest(1))
        .await
        .unwrap();
    assert_eq!(found.unwrap().ping, None, "what it was told with is gone");
    // The client was faster.
    assert!(world.store.redeem_decoupled(&digest(2), NOON).await.unwrap());
    let found = world
        .store
        .find_decoupled(DecoupledKind::Ciba, &digest(2))
        .await
        .unwrap();
    assert_eq!(found.unwrap().ping, None);
    let end = ciba(3, "desk").expires_at;
    assert_eq!(claimed(&world, end, 9, &[]).await, []);
    assert_eq!(world.store.count_pings(end).await.unwrap(), 0);
    assert_eq!(told(&claimed(&world, late, 9, &[]).await), [3]);
    // Nor is there any of somebody who was kicked.
    let mut tx = world.begin().await;
    tx.take_codes_of(&UserId::new("alice"), None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.count_pings(NOON).await.unwrap(), 0);
}

async fn a_claim_of_news_leaves_out_who_is_busy_and_takes_a_few_of_each(world: World) {
    denied(&world, &[(1, "bank"), (2, "bank"), (3, "bank"), (4, "desk")]).await;
    let now = NOON + minutes(5);
    assert_eq!(told(&claimed(&world, now, 9, &[ClientId::new("bank")]).await), [4]);
    assert_eq!(told(&claimed(&world, now, 0, &[]).await), [0; 0]);
    assert_eq!(told(&claimed(&world, now, 1, &[]).await), [1]);
    assert_eq!(told(&claimed(&world, now, 9, &[]).await), [2, 3]);
    assert_eq!(told(&claimed(&world, now, 9, &[]).await), [0; 0]);
}

async fn each_news_is_taken_once_by_all_who_look(world: World) {
    let requests: Vec<(u8, &str)> = (0..20).map(|byte| (byte, "bank")).collect();
    denied(&world, &requests).await;
    let mut lookers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let store = world.store.clone();
        lookers.spawn(async move { store.claim_pings(claim(NOON + minutes(5), 9, &[])).await.unwrap() });
    }
    let mut taken = told(&lookers.join_all().await.concat());
    let all = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), all, "none twice");
    assert!(all >= 2, "somebody took some");
}
