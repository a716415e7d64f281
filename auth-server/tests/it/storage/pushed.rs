use std::collections::BTreeSet;

use auth_server::domain::authorization::{AuthorizationRequest, PushedRequest};
use auth_server::domain::claims_request::ClaimNames;
use auth_server::domain::ids::{ClientId, CodeDigest, PushedDigest, UserId};
use auth_server::ports::store::StoreError;
use oauth_wire::{AuthorizationDetails, Confirmation, Prompt, ResponseMode};

use super::{NOON, World, code, grant, minutes, on_every_engine, race};

on_every_engine!(
    a_pushed_request_reads_back_as_it_was_saved,
    a_reference_is_saved_once,
    a_request_is_taken_once_and_is_gone,
    a_taking_in_a_transaction_counts_from_its_commit,
    of_200_parallel_takers_one_wins,
    of_200_parallel_transactions_that_answer_one_wins,
);

const DETAILS: &str = r#"[{"type": "ai_call", "interfaces": ["chat"], "max_cost": {"amount": "5.00", "currency": "EUR"}, "expires_at": 9}]"#;

pub(super) fn pushed(byte: u8) -> PushedRequest {
    PushedRequest {
        digest: PushedDigest([byte; 32]),
        request: AuthorizationRequest {
            client_id: ClientId::new("web"),
            redirect_uri: "https://web.example/cb".into(),
            response_mode: ResponseMode::FormPost,
            scope: "openid profile".parse().unwrap(),
            default_scope: false,
            state: Some("\u{202e}日本".into()),
            nonce: Some("n".into()),
            code_challenge: Some("c".into()),
            prompt: BTreeSet::from([Prompt::Login, Prompt::Consent]),
            max_age: Some(0),
            resources: vec!["https://api.example".into()],
            authorization_details: AuthorizationDetails::parse(DETAILS).unwrap(),
            details_agreed: false,
            login_hint: Some("alice".into()),
            ui_locales: Some("zh".into()),
            hinted_user: Some(UserId::new("u")),
            named_users: Some(BTreeSet::from([UserId::new("u")])),
            claims: ClaimNames {
                userinfo: BTreeSet::from(["name".to_owned()]),
                id_token: BTreeSet::new(),
            },
            received_at: NOON,
            confirmation: Some(Confirmation::Jkt("k".into())),
            pushed: None,
        },
        expires_at: NOON + minutes(1),
    }
}

async fn a_pushed_request_reads_back_as_it_was_saved(world: World) {
    let one = pushed(1);
    world.store.insert_pushed_request(&one).await.unwrap();
    let found = world.store.find_pushed_request(&one.digest).await.unwrap();
    assert_eq!(found, Some(one));
    let unknown = world.store.find_pushed_request(&PushedDigest([9; 32])).await.unwrap();
    assert_eq!(unknown, None);
}

async fn a_reference_is_saved_once(world: World) {
    world.store.insert_pushed_request(&pushed(1)).await.unwrap();
    let again = world.store.insert_pushed_request(&pushed(1)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}

async fn a_request_is_taken_once_and_is_gone(world: World) {
    let digest = pushed(1).digest;
    world.store.insert_pushed_request(&pushed(1)).await.unwrap();
    world.store.insert_pushed_request(&pushed(2)).await.unwrap();
    assert!(world.store.take_pushed_request(&digest).await.unwrap());
    assert!(!world.store.take_pushed_request(&digest).await.unwrap());
    assert_eq!(world.store.find_pushed_request(&digest).await.unwrap(), None);
    assert!(world.store.take_pushed_request(&pushed(2).digest).await.unwrap());
}

async fn a_taking_in_a_transaction_counts_from_its_commit(world: World) {
    let digest = pushed(1).digest;
    world.store.insert_pushed_request(&pushed(1)).await.unwrap();
    let mut tx = world.begin().await;
    assert!(tx.take_pushed_request(&digest).await.unwrap());
    tx.insert_code(&code(1, grant("g", "alice", "web"))).await.unwrap();
    drop(tx);
    assert!(world.store.find_pushed_request(&digest).await.unwrap().is_some());
    assert!(world.store.find_code(&CodeDigest([1; 32])).await.unwrap().is_none());
    let mut tx = world.begin().await;
    assert!(tx.take_pushed_request(&digest).await.unwrap());
    assert!(!tx.take_pushed_request(&digest).await.unwrap());
    tx.insert_code(&code(1, grant("g", "alice", "web"))).await.unwrap();
    tx.commit().await.unwrap();
    assert!(world.store.find_pushed_request(&digest).await.unwrap().is_none());
    assert!(world.store.find_code(&CodeDigest([1; 32])).await.unwrap().is_some());
}

async fn of_200_parallel_takers_one_wins(world: World) {
    world.store.insert_pushed_request(&pushed(1)).await.unwrap();
    let won = race(|| {
        let store = world.store.clone();
        async move { store.take_pushed_request(&pushed(1).digest).await.unwrap() }
    })
    .await;
    assert_eq!(won, 1);
}

async fn of_200_parallel_transactions_that_answer_one_wins(world: World) {
    world.store.insert_pushed_request(&pushed(1)).await.unwrap();
    let won = race(|| {
        let store = world.store.clone();
        async move {
            let mut tx = store.begin().await.unwrap();
            let won = tx.take_pushed_request(&pushed(1).digest).await.unwrap();
            if won {
                tx.insert_code(&code(1, grant("g", "alice", "web"))).await.unwrap();
                tx.commit().await.unwrap();
            }
            won
        }
    })
    .await;
    assert_eq!(won, 1);
}
