use auth_server::domain::client::SigningAlg;
use auth_server::domain::ids::KeyId;
use auth_server::domain::signing_key::{KeyStage, SigningKey};
use auth_server::ports::store::StoreError;
use serde_json::json;

use super::{NOON, World, minutes, on_every_engine};

on_every_engine!(
    keys_read_back_oldest_first,
    a_stage_that_holds_one_key_holds_one_per_algorithm,
    a_key_moves_from_where_it_is,
);

fn key(kid: &str, alg: SigningAlg, stage: KeyStage, minute: u64) -> SigningKey {
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid});
    SigningKey {
        kid: KeyId::new(kid),
        alg,
        stage,
        public_jwk: jwk.as_object().unwrap().clone(),
        sealed_private: vec![0, 1, 254, 255],
        created_at: NOON + minutes(minute),
        activated_at: (stage != KeyStage::Next).then_some(NOON),
        retire_at: (stage == KeyStage::Retiring).then_some(NOON + minutes(90)),
    }
}

async fn insert(world: &World, key: &SigningKey) -> Result<(), StoreError> {
    let mut tx = world.begin().await;
    tx.insert_key(key).await?;
    tx.commit().await
}

async fn keys_read_back_oldest_first(world: World) {
    use KeyStage::{Current, Next, Retiring};
    let keys = [
        key("z", SigningAlg::Es256, Retiring, 0),
        key("y", SigningAlg::Es256, Current, 1),
        key("x", SigningAlg::Rs256, Current, 2),
        key("w", SigningAlg::Es256, Next, 3),
    ];
    for key in keys.iter().rev() {
        insert(&world, key).await.unwrap();
    }
    assert_eq!(world.store.list_keys().await.unwrap(), keys);
}

async fn a_stage_that_holds_one_key_holds_one_per_algorithm(world: World) {
    for stage in [KeyStage::Current, KeyStage::Next] {
        insert(&world, &key(stage.as_str(), SigningAlg::Es256, stage, 0))
            .await
            .unwrap();
        let second = insert(&world, &key("second", SigningAlg::Es256, stage, 1)).await;
        assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");
    }
    insert(&world, &key("rsa", SigningAlg::Rs256, KeyStage::Current, 2))
        .await
        .unwrap();
    for kid in ["r1", "r2"] {
        insert(&world, &key(kid, SigningAlg::Es256, KeyStage::Retiring, 3))
            .await
            .unwrap();
    }
    let same = insert(&world, &key("r1", SigningAlg::Es256, KeyStage::Retiring, 4)).await;
    assert!(matches!(same, Err(StoreError::Conflict(_))), "{same:?}");
}

async fn a_key_moves_from_where_it_is(world: World) {
    use KeyStage::{Current, Next, Retiring};
    insert(&world, &key("old", SigningAlg::Es256, Current, 0))
        .await
        .unwrap();
    insert(&world, &key("new", SigningAlg::Es256, Next, 1)).await.unwrap();
    let (old, new) = (KeyId::new("old"), KeyId::new("new"));
    let (start, end) = (NOON + minutes(2), NOON + minutes(5));

    let mut tx = world.begin().await;
    let taken = tx.move_key(&new, Next, Current, start).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    drop(tx);

    let mut tx = world.begin().await;
    assert!(tx.move_key(&old, Current, Retiring, end).await.unwrap());
    assert!(tx.move_key(&new, Next, Current, start).await.unwrap());
    assert!(!tx.move_key(&new, Next, Current, start).await.unwrap());
    assert!(!tx.move_key(&KeyId::new("none"), Next, Current, start).await.unwrap());
    // The stage before is free again.
    tx.insert_key(&key("next", SigningAlg::Es256, Next, 2)).await.unwrap();
    tx.commit().await.unwrap();
    let keys = world.store.list_keys().await.unwrap();
    let stages: Vec<_> = keys
        .iter()
        .map(|key| (key.kid.as_str(), key.stage, key.activated_at, key.retire_at))
        .collect();
    assert_eq!(
        stages,
        [
            ("old", Retiring, Some(NOON), Some(end)),
            ("new", Current, Some(start), None),
            ("next", Next, None, None)
        ]
    );
}
