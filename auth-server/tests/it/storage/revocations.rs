use std::sync::Arc;
use std::time::Duration;

use auth_server::application::policy::Lifetimes;
use auth_server::application::revocations::RevocationLog;
use auth_server::ports::store::{RecordedRevocation, RevocationCursor, StoreError};
use oauth_wire::{RevocationEvent, Revoked, TokenFacts};
use service_kit::Timestamp;
use test_kit::{FixedClock, SeededEntropy};

use super::{MICRO, NOON, World, minutes, on_every_engine};

on_every_engine!(
    revocations_read_back_as_recorded_oldest_first,
    a_revocation_is_read_until_it_no_longer_matters,
    what_was_revoked_before_is_not_recorded_again,
    a_reader_goes_on_where_it_stopped,
    no_recorders_clock_hides_a_revocation,
    a_database_that_was_put_back_is_read_anew,
);

const START: RevocationCursor = RevocationCursor(0);

fn recorded(id: &str, revoked: Revoked, at: Timestamp) -> RecordedRevocation {
    RecordedRevocation {
        id: id.into(),
        event: RevocationEvent {
            revoked,
            until: NOON.as_seconds() + 600,
        },
        recorded_at: at,
    }
}

fn grant(id: &str) -> Revoked {
    Revoked::Grant { grant: id.into() }
}

async fn record(world: &World, revocation: &RecordedRevocation) -> Result<bool, StoreError> {
    let mut tx = world.begin().await;
    let is_new = tx.record_revocation(revocation).await?;
    tx.commit().await?;
    Ok(is_new)
}

async fn ids(world: &World, from: RevocationCursor) -> (Vec<String>, RevocationCursor) {
    let page = world.store.read_revocations(from, NOON).await.unwrap();
    (page.revocations.into_iter().map(|one| one.id).collect(), page.next)
}

async fn revocations_read_back_as_recorded_oldest_first(world: World) {
    let kinds = [
        Revoked::Token { jti: "g.t".into() },
        Revoked::Grant { grant: "g".into() },
        Revoked::Session { sid: "s".into() },
        Revoked::Subject {
            sub: "u".into(),
            before: 7,
        },
        Revoked::Client {
            client_id: "c".into(),
            before: 8,
        },
    ];
    // In the order of their commits, whatever their clocks say.
    let all: Vec<_> = (0..)
        .zip(kinds)
        .map(|(n, kind)| recorded(&format!("r{n}"), kind, NOON - minutes(n)))
        .collect();
    for revocation in &all {
        assert!(record(&world, revocation).await.unwrap());
    }
    let page = world.store.read_revocations(START, NOON).await.unwrap();
    assert_eq!(page.revocations, all);
}

async fn a_revocation_is_read_until_it_no_longer_matters(world: World) {
    let one = recorded("r", grant("g"), NOON);
    record(&world, &one).await.unwrap();
    let end = Timestamp::from_seconds(one.event.until);
    for (after, found) in [(NOON, true), (end - MICRO, true), (end, false)] {
        let page = world.store.read_revocations(START, after).await.unwrap();
        assert_eq!(!page.revocations.is_empty(), found, "{after}");
    }
}

async fn what_was_revoked_before_is_not_recorded_again(world: World) {
    let subject = |before| Revoked::Subject {
        sub: "u".into(),
        before,
    };
    assert!(record(&world, &recorded("r1", grant("g"), NOON)).await.unwrap());
    assert!(!record(&world, &recorded("r2", grant("g"), NOON + MICRO)).await.unwrap());
    assert!(record(&world, &recorded("r3", subject(1), NOON)).await.unwrap());
    assert!(!record(&world, &recorded("r4", subject(1), NOON)).await.unwrap());
    // A later cutoff ends more.
    assert!(record(&world, &recorded("r5", subject(2), NOON)).await.unwrap());
    assert_eq!(ids(&world, START).await.0, ["r1", "r3", "r5"]);
    let taken = record(&world, &recorded("r1", grant("other"), NOON)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
}

async fn a_reader_goes_on_where_it_stopped(world: World) {
    let (none, start) = ids(&world, START).await;
    assert_eq!(none, [""; 0]);
    record(&world, &recorded("r1", grant("g1"), NOON)).await.unwrap();
    let (first, next) = ids(&world, start).await;
    assert_eq!(first, ["r1"]);
    // On a shared server some other database's transaction may make it read a little again.
    let (again, next) = ids(&world, next).await;
    assert!(again.is_empty() || again == ["r1"]);
    record(&world, &recorded("r2", grant("g2"), NOON)).await.unwrap();
    let (second, last) = ids(&world, next).await;
    assert_eq!(second.last().unwrap(), "r2");
    assert!(start <= last);
    // Removal of what is over does not set the order back.
    assert_eq!(world.sweep(NOON + minutes(60), Duration::ZERO, 10).await, 2);
    assert!(ids(&world, last).await.1 >= last);
}

fn log(world: &World, clock: &Arc<FixedClock>) -> RevocationLog {
    let lifetimes = Lifetimes {
        code: minutes(1),
        pushed_request: minutes(1),
        access_token: minutes(10),
        max_access_token: minutes(60),
        id_token: minutes(10),
        refresh_idle: minutes(30),
        refresh_absolute: minutes(90),
        lost_reply_window: Duration::ZERO,
        session: minutes(60),
    };
    RevocationLog::new(
        Arc::new(world.sql.clone()),
        clock.clone(),
        Arc::new(SeededEntropy::new(1)),
        &lifetimes,
    )
}

fn covers(log: &RevocationLog, grant: &str) -> bool {
    let jti = format!("{grant}.token");
    let (sub, client_id) = ("u", "c");
    log.covers(TokenFacts {
        jti: &jti,
        sid: None,
        sub,
        client_id,
        via: &[],
        actors: &[],
        iat: NOON.as_seconds(),
    })
}

async fn no_recorders_clock_hides_a_revocation(world: World) {
    let clock = Arc::new(FixedClock::at(NOON));
    let node = log(&world, &clock);
    node.refresh().await.unwrap();
    let hour = Duration::from_secs(3600);
    for (id, at) in [
        ("fast", NOON + hour),
        ("right", NOON),
        ("slow", NOON - hour),
        ("slower", NOON - hour * 3),
    ] {
        let other = log(&world, &Arc::new(FixedClock::at(at)));
        record(
            &world,
            &RecordedRevocation {
                id: id.into(),
                ..other.revocation(grant(id))
            },
        )
        .await
        .unwrap();
        node.refresh().await.unwrap();
        assert!(covers(&node, id), "{id}");
    }
    assert_eq!(node.feed().len(), 4);
    // A slow clock's revocation matters for as long as the tokens that it ends live by ours.
    clock.advance(minutes(60));
    node.refresh().await.unwrap();
    for id in ["fast", "right", "slow", "slower"] {
        assert!(covers(&node, id), "{id}");
    }
    clock.advance(minutes(2));
    node.refresh().await.unwrap();
    assert!(!covers(&node, "right"));
}

async fn a_database_that_was_put_back_is_read_anew(world: World) {
    let clock = Arc::new(FixedClock::at(NOON));
    let node = log(&world, &clock);
    record(&world, &recorded("r1", grant("g1"), NOON)).await.unwrap();
    record(&world, &recorded("r2", grant("g2"), NOON)).await.unwrap();
    node.refresh().await.unwrap();
    let ahead = RevocationCursor(i64::MAX);
    assert_eq!(ids(&world, ahead).await.0, [""; 0]);
    assert!(ids(&world, ahead).await.1 < ahead);
    assert!(covers(&node, "g1") && covers(&node, "g2"));
}

/// Sequence numbers and times are given out before the commit; a reader that takes the latest for the last misses the others.
#[tokio::test]
async fn a_transaction_that_commits_late_is_read_all_the_same() {
    let world = World::postgres().await;
    let clock = Arc::new(FixedClock::at(NOON));
    let node = log(&world, &clock);
    node.refresh().await.unwrap();
    let mut late = world.begin().await;
    late.record_revocation(&recorded("late", grant("late"), NOON))
        .await
        .unwrap();
    for n in 0..30 {
        let id = format!("early{n}");
        record(&world, &recorded(&id, grant(&id), NOON + minutes(5)))
            .await
            .unwrap();
        node.refresh().await.unwrap();
        assert!(covers(&node, &id));
    }
    assert!(!covers(&node, "late"));
    late.commit().await.unwrap();
    node.refresh().await.unwrap();
    assert!(covers(&node, "late"));
    assert_eq!(node.feed().len(), 31);
}

#[tokio::test]
async fn what_is_announced_twice_is_told_once() {
    let world = World::sqlite().await;
    let node = log(&world, &Arc::new(FixedClock::at(NOON)));
    for _ in 0..3 {
        node.announce([node.revocation(grant("g"))]);
    }
    record(&world, &recorded("r", grant("g"), NOON)).await.unwrap();
    node.refresh().await.unwrap();
    assert_eq!(node.feed().len(), 1);
    assert!(node.knows(&grant("g")) && !node.knows(&grant("h")));
}
