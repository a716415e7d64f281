use auth_server::ports::store::{SingleUseId, SingleUseKind, StoreError};

use super::{NOON, World, minutes, on_every_engine, race};

on_every_engine!(
    an_id_is_spent_once,
    ids_of_different_kinds_never_meet,
    several_ids_are_spent_together_or_not_at_all,
    of_200_parallel_callers_one_spends_an_id,
    more_than_eight_ids_at_once_are_refused,
    ids_are_spent_with_their_transaction,
);

fn id(namespace: SingleUseKind, id: &str) -> SingleUseId {
    SingleUseId {
        namespace,
        id: id.into(),
        expires_at: NOON + minutes(1),
    }
}

async fn an_id_is_spent_once(world: World) {
    let one = [id(SingleUseKind::ClientAssertion, "web a")];
    assert!(world.store.spend(&one).await.unwrap());
    assert!(!world.store.spend(&one).await.unwrap());
    assert!(world.store.spend(&[]).await.unwrap());
}

async fn ids_of_different_kinds_never_meet(world: World) {
    for kind in [
        SingleUseKind::ClientAssertion,
        SingleUseKind::GrantAssertion,
        SingleUseKind::DpopProof,
    ] {
        assert!(world.store.spend(&[id(kind, "a")]).await.unwrap(), "{kind:?}");
    }
}

async fn several_ids_are_spent_together_or_not_at_all(world: World) {
    let (a, b, c) = (
        id(SingleUseKind::ClientAssertion, "a"),
        id(SingleUseKind::DpopProof, "b"),
        id(SingleUseKind::DpopProof, "c"),
    );
    assert!(world.store.spend(&[a.clone(), b.clone()]).await.unwrap());
    assert!(!world.store.spend(&[c.clone(), b]).await.unwrap());
    // c was not noted with the refused one.
    assert!(world.store.spend(std::slice::from_ref(&c)).await.unwrap());
    assert!(!world.store.spend(&[a, c]).await.unwrap());
}

async fn of_200_parallel_callers_one_spends_an_id(world: World) {
    let won = race(|| {
        let store = world.store.clone();
        async move { store.spend(&[id(SingleUseKind::DpopProof, "a")]).await.unwrap() }
    })
    .await;
    assert_eq!(won, 1);
}

async fn more_than_eight_ids_at_once_are_refused(world: World) {
    let ids: Vec<SingleUseId> = (0..9).map(|n| id(SingleUseKind::DpopProof, &n.to_string())).collect();
    assert!(world.store.spend(ids.split_last().unwrap().1).await.unwrap());
    assert!(matches!(world.store.spend(&ids).await, Err(StoreError::Failed(_))));
}

async fn ids_are_spent_with_their_transaction(world: World) {
    let (a, b) = (
        id(SingleUseKind::ClientAssertion, "a"),
        id(SingleUseKind::DpopProof, "b"),
    );
    let mut dropped = world.store.begin().await.unwrap();
    assert!(dropped.spend(&[a.clone(), b.clone()]).await.unwrap());
    drop(dropped);
    let mut kept = world.store.begin().await.unwrap();
    assert!(kept.spend(&[]).await.unwrap());
    assert!(kept.spend(std::slice::from_ref(&a)).await.unwrap());
    kept.commit().await.unwrap();
    let mut late = world.store.begin().await.unwrap();
    assert!(!late.spend(&[b.clone(), a]).await.unwrap());
    assert!(late.commit().await.is_err(), "it is lost");
    assert!(world.store.spend(&[b]).await.unwrap());
}
