use auth_server::ports::store::{RecordedRevocation, StoreError};
use oauth_wire::{RevocationEvent, Revoked};
use service_kit::Timestamp;

use super::{MICRO, NOON, World, minutes, on_every_engine};

on_every_engine!(
    revocations_read_back_as_recorded_oldest_first,
    a_revocation_is_read_from_its_moment_until_it_no_longer_matters,
    an_id_is_recorded_once,
);

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

async fn record(world: &World, revocation: &RecordedRevocation) -> Result<(), StoreError> {
    let mut tx = world.begin().await;
    tx.record_revocation(revocation).await?;
    tx.commit().await
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
    let all: Vec<_> = (0..)
        .zip(kinds)
        .map(|(n, kind)| recorded(&format!("r{}", 9 - n), kind, NOON + minutes(n)))
        .collect();
    for revocation in all.iter().rev() {
        record(&world, revocation).await.unwrap();
    }
    assert_eq!(world.store.revocations_since(NOON, NOON).await.unwrap(), all);
}

async fn a_revocation_is_read_from_its_moment_until_it_no_longer_matters(world: World) {
    let one = recorded("r", Revoked::Grant { grant: "g".into() }, NOON);
    record(&world, &one).await.unwrap();
    let end = Timestamp::from_seconds(one.event.until);
    for (since, now, found) in [
        (NOON, NOON, true),
        (NOON + MICRO, NOON, false),
        (NOON - MICRO, end - MICRO, true),
        (NOON, end, false),
    ] {
        let rows = world.store.revocations_since(since, now).await.unwrap();
        assert_eq!(!rows.is_empty(), found, "{since} {now}");
    }
}

async fn an_id_is_recorded_once(world: World) {
    let one = recorded("r", Revoked::Grant { grant: "g".into() }, NOON);
    record(&world, &one).await.unwrap();
    let again = record(&world, &one).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}
