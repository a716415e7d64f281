//! Which clients a session has reached, and deliveries that wait.

use std::time::Duration;

use auth_server::domain::ids::{ClientId, SessionId, UserId};
use auth_server::domain::logout::{GIVE_UP_AFTER, LogoutDelivery, LogoutPlan};
use auth_server::ports::logout::LogoutClaim;
use service_kit::Timestamp;

use super::{MICRO, NOON, World, client, code, grant, minutes, on_every_engine, session};

on_every_engine!(
    a_code_takes_its_client_into_the_session,
    only_clients_with_an_address_are_queued,
    a_client_leaves_all_sessions_that_were_not_ended,
    each_delivery_is_taken_once_by_all_who_look,
    a_claim_leaves_out_who_is_busy_and_takes_a_few_of_each,
    what_was_queued_anew_is_neither_finished_nor_postponed_by_the_one_before,
    participation_goes_with_the_session_and_deliveries_with_their_end,
);

/// Sessions of one person, and clients of which `silent` wants to hear nothing.
async fn prepare(world: &World, sids: &[&str]) {
    world.sign_up(&["u"]).await;
    let mut tx = world.begin().await;
    for id in ["a", "b", "silent"] {
        let mut client = client(id);
        if id == "silent" {
            client.protocol.backchannel_logout_uri = None;
            // Looks like the member's name, and is only a value.
            client.protocol.software_id = Some("\"backchannel_logout_uri\":".into());
        }
        tx.upsert_client(&client, NOON).await.unwrap();
    }
    tx.commit().await.unwrap();
    for sid in sids {
        world.open(&session(sid, "u")).await;
    }
}

async fn visit(world: &World, byte: u8, sid: &str, client: &str, at: Timestamp) {
    let mut code = code(byte, grant(&format!("g{byte}"), "u", client));
    code.grant.sid = Some(SessionId::new(sid));
    code.issued_at = at;
    world.store.insert_code(&code).await.unwrap();
}

async fn clients_of(world: &World, sid: &str) -> Vec<String> {
    let mut tx = world.begin().await;
    let clients = tx.clients_of_session(&SessionId::new(sid)).await.unwrap();
    clients.iter().map(ToString::to_string).collect()
}

async fn queue(world: &World, sid: &str, plan: LogoutPlan) -> Vec<LogoutDelivery> {
    let mut tx = world.begin().await;
    let queued = tx.queue_logouts(&SessionId::new(sid), plan).await.unwrap();
    tx.commit().await.unwrap();
    queued
}

fn claim(now: Timestamp, limit: usize, busy: &[ClientId]) -> LogoutClaim<'_> {
    LogoutClaim {
        now,
        until: now + minutes(1),
        limit,
        per_client: 2,
        busy,
    }
}

fn names(deliveries: &[LogoutDelivery]) -> Vec<String> {
    let mut names: Vec<String> = deliveries
        .iter()
        .map(|one| format!("{}/{}", one.sid, one.client))
        .collect();
    names.sort();
    names
}

async fn a_code_takes_its_client_into_the_session(world: World) {
    prepare(&world, &["s1", "s2"]).await;
    visit(&world, 1, "s1", "b", NOON).await;
    visit(&world, 2, "s1", "a", NOON + MICRO).await;
    visit(&world, 3, "s1", "b", NOON + MICRO * 2).await;
    visit(&world, 4, "s2", "a", NOON).await;
    // A session that is gone, and a grant that came out of none.
    visit(&world, 5, "gone", "a", NOON).await;
    let mut code = code(6, grant("g6", "u", "a"));
    code.grant.sid = None;
    world.store.insert_code(&code).await.unwrap();
    assert_eq!(
        clients_of(&world, "s1").await,
        ["b", "a"],
        "in the order in which they came"
    );
    assert_eq!(clients_of(&world, "s2").await, ["a"]);
    assert!(clients_of(&world, "gone").await.is_empty());
}

async fn only_clients_with_an_address_are_queued(world: World) {
    prepare(&world, &["s1"]).await;
    for (byte, id) in [(1, "a"), (2, "silent"), (3, "b"), (4, "unknown")] {
        visit(&world, byte, "s1", id, NOON).await;
    }
    let queued = queue(&world, "s1", LogoutPlan::for_anybody(NOON)).await;
    assert_eq!(names(&queued), ["s1/a", "s1/b"]);
    let expected = LogoutDelivery {
        sid: SessionId::new("s1"),
        client: ClientId::new("a"),
        user: UserId::new("u"),
        attempts: 0,
        queued_at: NOON,
        ends_at: NOON + GIVE_UP_AFTER,
    };
    assert!(queued.contains(&expected), "{queued:?}");
    assert_eq!(world.store.count_logouts().await.unwrap(), 2);
    // What its queuer keeps to itself is nobody else's until then, and counts as tried.
    let mine = LogoutPlan {
        at: NOON,
        claimed_until: Some(NOON + minutes(1)),
    };
    let queued = queue(&world, "s1", mine).await;
    assert!(queued.iter().all(|one| one.attempts == 1));
    let taken = world
        .store
        .claim_logouts(claim(NOON + minutes(1) - MICRO, 9, &[]))
        .await;
    assert_eq!(taken.unwrap(), []);
    let taken = world
        .store
        .claim_logouts(claim(NOON + minutes(1), 9, &[]))
        .await
        .unwrap();
    assert_eq!(names(&taken), ["s1/a", "s1/b"]);
    assert!(taken.iter().all(|one| one.attempts == 2));
}

async fn a_client_leaves_all_sessions_that_were_not_ended(world: World) {
    prepare(&world, &["s1", "s2", "s3"]).await;
    world.sign_up(&["other"]).await;
    world.open(&session("s4", "other")).await;
    for (byte, sid, id) in [
        (1, "s1", "a"),
        (2, "s1", "b"),
        (3, "s2", "a"),
        (4, "s3", "a"),
        (5, "s4", "a"),
    ] {
        visit(&world, byte, sid, id, NOON).await;
    }
    let mut tx = world.begin().await;
    tx.end_session(&SessionId::new("s3"), NOON).await.unwrap();
    let (user, client) = (UserId::new("u"), ClientId::new("a"));
    let left = tx
        .leave_sessions(&user, &client, LogoutPlan::for_anybody(NOON))
        .await
        .unwrap();
    let again = tx
        .leave_sessions(&user, &client, LogoutPlan::for_anybody(NOON))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!((names(&left), again), (vec!["s1/a".into(), "s2/a".into()], vec![]));
    assert_eq!(clients_of(&world, "s1").await, ["b"]);
    assert_eq!(clients_of(&world, "s4").await, ["a"], "somebody else's");
}

async fn each_delivery_is_taken_once_by_all_who_look(world: World) {
    let sids: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    prepare(&world, &sids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (number, sid) in sids.iter().enumerate() {
        visit(&world, u8::try_from(number).unwrap(), sid, "a", NOON).await;
        queue(&world, sid, LogoutPlan::for_anybody(NOON)).await;
    }
    let mut lookers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let store = world.store.clone();
        lookers.spawn(async move { store.claim_logouts(claim(NOON, 9, &[])).await.unwrap() });
    }
    let mut taken: Vec<String> = names(&lookers.join_all().await.concat());
    let all = taken.len();
    taken.dedup();
    assert_eq!(taken.len(), all, "none twice");
    assert!(all >= 2, "somebody took some");
}

async fn a_claim_leaves_out_who_is_busy_and_takes_a_few_of_each(world: World) {
    prepare(&world, &["s1", "s2", "s3", "s4"]).await;
    for (number, sid) in ["s1", "s2", "s3", "s4"].into_iter().enumerate() {
        let byte = u8::try_from(number).unwrap();
        let later = Duration::from_secs(number as u64);
        visit(&world, byte, sid, "a", NOON).await;
        if sid == "s4" {
            visit(&world, 100, sid, "b", NOON).await;
        }
        queue(&world, sid, LogoutPlan::for_anybody(NOON + later)).await;
    }
    let now = NOON + minutes(1);
    let store = &world.store;
    let busy = [ClientId::new("a")];
    assert_eq!(
        names(&store.claim_logouts(claim(now, 9, &busy)).await.unwrap()),
        ["s4/b"]
    );
    assert_eq!(names(&store.claim_logouts(claim(now, 0, &[])).await.unwrap()), [""; 0]);
    assert_eq!(names(&store.claim_logouts(claim(now, 1, &[])).await.unwrap()), ["s1/a"]);
    assert_eq!(
        names(&store.claim_logouts(claim(now, 9, &[])).await.unwrap()),
        ["s2/a", "s3/a"]
    );
    assert_eq!(names(&store.claim_logouts(claim(now, 9, &[])).await.unwrap()), ["s4/a"]);
}

async fn what_was_queued_anew_is_neither_finished_nor_postponed_by_the_one_before(world: World) {
    prepare(&world, &["s1"]).await;
    visit(&world, 1, "s1", "a", NOON).await;
    queue(&world, "s1", LogoutPlan::for_anybody(NOON)).await;
    let store = &world.store;
    let taken = store.claim_logouts(claim(NOON, 9, &[])).await.unwrap();
    let old = taken.first().unwrap();
    let anew = queue(&world, "s1", LogoutPlan::for_anybody(NOON + MICRO)).await;
    assert_eq!(anew.first().unwrap().attempts, 0);
    store.finish_logout(old).await.unwrap();
    store.postpone_logout(old, NOON + minutes(5)).await.unwrap();
    let taken = store.claim_logouts(claim(NOON + MICRO, 9, &[])).await.unwrap();
    let new = taken.first().unwrap();
    store.postpone_logout(new, NOON + minutes(5)).await.unwrap();
    assert_eq!(store.claim_logouts(claim(NOON + minutes(4), 9, &[])).await.unwrap(), []);
    store.finish_logout(new).await.unwrap();
    assert_eq!(store.count_logouts().await.unwrap(), 0);
}

async fn participation_goes_with_the_session_and_deliveries_with_their_end(world: World) {
    prepare(&world, &["s1"]).await;
    visit(&world, 1, "s1", "a", NOON).await;
    queue(&world, "s1", LogoutPlan::for_anybody(NOON)).await;
    world.sweep(NOON + minutes(61), Duration::ZERO, 100).await;
    assert!(clients_of(&world, "s1").await.is_empty());
    assert_eq!(
        world.store.count_logouts().await.unwrap(),
        1,
        "the news outlives the session"
    );
    world.sweep(NOON + GIVE_UP_AFTER + MICRO, Duration::ZERO, 100).await;
    assert_eq!(world.store.count_logouts().await.unwrap(), 0);
}
