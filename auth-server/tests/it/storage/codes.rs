use std::sync::Arc;

use auth_server::domain::decoupled::DecoupledKind;
use auth_server::domain::ids::{ClientId, CodeDigest, GrantId, PushedDigest, UserId};
use auth_server::ports::store::StoreError;

use super::{
    MICRO, NOON, World, code,
    decoupled::{ciba, device},
    grant, minutes, names, on_every_engine,
    pushed::pushed,
    race,
};

on_every_engine!(
    a_code_reads_back_as_it_was_saved,
    a_digest_is_saved_once,
    a_code_is_redeemed_once_and_never_when_expired,
    a_redemption_in_a_transaction_counts_from_its_commit,
    of_200_parallel_redemptions_one_wins,
    of_200_parallel_transactions_that_redeem_one_wins,
    a_persons_codes_are_taken_with_their_grants,
    whatever_waits_for_a_client_is_taken_and_nothing_else,
    nothing_of_a_client_is_left_by_redemptions_under_way,
);

async fn a_code_reads_back_as_it_was_saved(world: World) {
    let full = code(1, grant("g1", "alice", "web"));
    let mut bare = code(2, grant("g2", "alice", "web"));
    bare.grant.sid = None;
    bare.grant.amr = vec![];
    bare.code_challenge = None;
    bare.nonce = None;
    bare.redeemed_at = Some(NOON + MICRO);
    for code in [full, bare] {
        world.store.insert_code(&code).await.unwrap();
        assert_eq!(world.store.find_code(&code.digest).await.unwrap(), Some(code));
    }
    assert_eq!(world.store.find_code(&CodeDigest([9; 32])).await.unwrap(), None);
}

async fn a_digest_is_saved_once(world: World) {
    world
        .store
        .insert_code(&code(1, grant("g1", "alice", "web")))
        .await
        .unwrap();
    let again = world.store.insert_code(&code(1, grant("g2", "bob", "spa"))).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    let kept = world.store.find_code(&CodeDigest([1; 32])).await.unwrap().unwrap();
    assert_eq!(kept.grant.grant_id, GrantId::new("g1"));
}

async fn a_code_is_redeemed_once_and_never_when_expired(world: World) {
    let (first, second) = (
        code(1, grant("g1", "alice", "web")),
        code(2, grant("g2", "alice", "web")),
    );
    let end = first.expires_at;
    world.store.insert_code(&first).await.unwrap();
    world.store.insert_code(&second).await.unwrap();
    // RFC 6749 §4.1.2: the edge itself is too late.
    assert!(!world.store.redeem_code(&second.digest, end).await.unwrap());
    assert!(world.store.redeem_code(&second.digest, end - MICRO).await.unwrap());
    assert!(!world.store.redeem_code(&second.digest, NOON).await.unwrap());
    assert!(world.store.redeem_code(&first.digest, NOON).await.unwrap());
    assert!(!world.store.redeem_code(&CodeDigest([9; 32]), NOON).await.unwrap());
    let redeemed = world.store.find_code(&second.digest).await.unwrap().unwrap();
    assert_eq!(redeemed.redeemed_at, Some(end - MICRO));
}

async fn a_redemption_in_a_transaction_counts_from_its_commit(world: World) {
    let code = code(1, grant("g1", "alice", "web"));
    world.store.insert_code(&code).await.unwrap();
    let mut abandoned = world.begin().await;
    assert!(abandoned.redeem_code(&code.digest, NOON).await.unwrap());
    drop(abandoned);
    assert_eq!(
        world.store.find_code(&code.digest).await.unwrap().unwrap().redeemed_at,
        None
    );
    let mut tx = world.begin().await;
    assert!(tx.redeem_code(&code.digest, NOON).await.unwrap());
    assert!(!tx.redeem_code(&code.digest, NOON).await.unwrap());
    tx.commit().await.unwrap();
    assert!(!world.store.redeem_code(&code.digest, NOON).await.unwrap());
}

async fn of_200_parallel_redemptions_one_wins(world: World) {
    let code = code(1, grant("g1", "alice", "web"));
    world.store.insert_code(&code).await.unwrap();
    let winners = race(|| {
        let store = Arc::clone(&world.store);
        async move { store.redeem_code(&CodeDigest([1; 32]), NOON).await.unwrap() }
    });
    assert_eq!(winners.await, 1);
}

/// As the token endpoint does it: the winner's family is saved with the redemption, the losers leave nothing.
async fn of_200_parallel_transactions_that_redeem_one_wins(world: World) {
    world.sign_up(&["alice"]).await;
    let code = code(1, grant("g1", "alice", "web"));
    world.store.insert_code(&code).await.unwrap();
    let winners = race(|| {
        let store = Arc::clone(&world.store);
        async move {
            let mut tx = store.begin().await.unwrap();
            if !tx.redeem_code(&CodeDigest([1; 32]), NOON).await.unwrap() {
                return false;
            }
            tx.insert_family(&super::family(grant("g1", "alice", "web")), None)
                .await
                .unwrap();
            tx.commit().await.unwrap();
            true
        }
    });
    assert_eq!(winners.await, 1);
    assert!(world.store.find_family(&GrantId::new("g1")).await.unwrap().is_some());
}

async fn a_persons_codes_are_taken_with_their_grants(world: World) {
    for (byte, id, user, client) in [
        (1, "g1", "alice", "web"),
        (2, "g2", "alice", "spa"),
        (3, "g3", "alice", "web"),
        (4, "g4", "bob", "web"),
    ] {
        world
            .store
            .insert_code(&code(byte, grant(id, user, client)))
            .await
            .unwrap();
    }
    assert!(
        world
            .store
            .redeem_code(&CodeDigest([3; 32]), NOON + minutes(0))
            .await
            .unwrap()
    );
    let alice = UserId::new("alice");
    let mut tx = world.begin().await;
    // Redeemed ones too: what they were turned into has to be revoked.
    let of_web = tx.take_codes_of(&alice, Some(&ClientId::new("web"))).await.unwrap();
    assert_eq!(names(of_web), names([GrantId::new("g1"), GrantId::new("g3")]));
    assert_eq!(tx.take_codes_of(&alice, None).await.unwrap(), [GrantId::new("g2")]);
    assert_eq!(tx.take_codes_of(&alice, None).await.unwrap(), []);
    tx.commit().await.unwrap();
    assert_eq!(world.store.find_code(&CodeDigest([1; 32])).await.unwrap(), None);
    assert!(world.store.find_code(&CodeDigest([4; 32])).await.unwrap().is_some());
}

async fn whatever_waits_for_a_client_is_taken_and_nothing_else(world: World) {
    world.sign_up(&["alice"]).await;
    let store = &world.store;
    for (byte, client) in [(1, "web"), (2, "spa"), (3, "web")] {
        let (mut tv, mut asked, mut request) = (device(byte), ciba(byte + 10, client), pushed(byte));
        tv.client = ClientId::new(client);
        asked.user = None;
        request.request.client_id = ClientId::new(client);
        store
            .insert_code(&code(byte, grant(&format!("g{byte}"), "alice", client)))
            .await
            .unwrap();
        store.insert_decoupled(&tv).await.unwrap();
        store.insert_decoupled(&asked).await.unwrap();
        store.insert_pushed_request(&request).await.unwrap();
    }
    // Redeemed ones are of no more use to it.
    assert!(store.redeem_code(&CodeDigest([3; 32]), NOON).await.unwrap());
    let mut tx = world.begin().await;
    assert_eq!(tx.take_requests_of_client(&ClientId::new("web")).await.unwrap(), 8);
    assert_eq!(tx.take_requests_of_client(&ClientId::new("web")).await.unwrap(), 0);
    assert_eq!(tx.take_requests_of_client(&ClientId::new("none")).await.unwrap(), 0);
    tx.commit().await.unwrap();
    for (byte, left) in [(1, false), (2, true), (3, false)] {
        let digest = CodeDigest([byte; 32]);
        let asked = CodeDigest([byte + 10; 32]);
        let found = [
            store.find_code(&digest).await.unwrap().is_some(),
            store
                .find_decoupled(DecoupledKind::Device, &digest)
                .await
                .unwrap()
                .is_some(),
            store
                .find_decoupled(DecoupledKind::Ciba, &asked)
                .await
                .unwrap()
                .is_some(),
            store
                .find_pushed_request(&PushedDigest([byte; 32]))
                .await
                .unwrap()
                .is_some(),
        ];
        assert_eq!(found, [left; 4], "{byte}");
    }
}

/// Whichever comes first: the code is gone before it is redeemed, or what it was redeemed for ends as well.
async fn nothing_of_a_client_is_left_by_redemptions_under_way(world: World) {
    world.sign_up(&["alice"]).await;
    let id = |byte: u8| format!("g{byte}");
    for byte in 1..=20 {
        let code = code(byte, grant(&id(byte), "alice", "web"));
        world.store.insert_code(&code).await.unwrap();
    }
    let mut at_work = tokio::task::JoinSet::new();
    for byte in 1..=20 {
        let store = Arc::clone(&world.store);
        at_work.spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let family = super::family(grant(&id(byte), "alice", "web"));
            assert!(tx.insert_family(&family, None).await.unwrap());
            if tx.redeem_code(&CodeDigest([byte; 32]), NOON).await.unwrap() {
                tx.commit().await.unwrap();
            }
        });
    }
    let store = Arc::clone(&world.store);
    at_work.spawn(async move {
        let web = ClientId::new("web");
        let mut tx = store.begin().await.unwrap();
        tx.revoke_families_of_client(&web, NOON).await.unwrap();
        tx.take_requests_of_client(&web).await.unwrap();
        tx.revoke_families_of_client(&web, NOON).await.unwrap();
        tx.commit().await.unwrap();
    });
    at_work.join_all().await;
    for byte in 1..=20 {
        assert_eq!(world.store.find_code(&CodeDigest([byte; 32])).await.unwrap(), None);
        let family = world.store.find_family(&GrantId::new(id(byte))).await.unwrap();
        assert!(family.is_none_or(|family| family.revoked_at.is_some()), "{byte}");
    }
}
