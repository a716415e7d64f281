//! Which sectors know which people by a pairwise `sub`.

use auth_server::domain::ids::UserId;
use auth_server::domain::user::UserStatus;

use tokio::task::JoinSet;

use super::{NOON, World, on_every_engine};

on_every_engine!(
    a_sector_is_noted_once_and_found_by_whoever_ends_the_persons_tokens,
    nothing_is_noted_for_somebody_who_may_not_have_tokens,
    of_a_note_and_a_lock_at_the_same_time_one_sees_the_other,
);

async fn sectors(world: &World, user: &str) -> Vec<String> {
    let mut tx = world.begin().await;
    tx.sectors_of(&UserId::new(user)).await.unwrap()
}

async fn a_sector_is_noted_once_and_found_by_whoever_ends_the_persons_tokens(world: World) {
    world.sign_up(&["alice", "bob"]).await;
    let alice = UserId::new("alice");
    for sector in ["south.example", "north.example", "south.example"] {
        assert!(world.store.note_sector(&alice, sector).await.unwrap());
    }
    assert_eq!(sectors(&world, "alice").await, ["north.example", "south.example"]);
    assert_eq!(sectors(&world, "bob").await, [""; 0]);
}

async fn nothing_is_noted_for_somebody_who_may_not_have_tokens(world: World) {
    world.sign_up(&["alice"]).await;
    let alice = UserId::new("alice");
    let mut tx = world.begin().await;
    tx.set_user_status(&alice, UserStatus::Locked, NOON).await.unwrap();
    tx.commit().await.unwrap();
    for user in [alice, UserId::new("nobody")] {
        assert!(!world.store.note_sector(&user, "north.example").await.unwrap());
        assert_eq!(sectors(&world, user.as_str()).await, [""; 0]);
    }
}

async fn of_a_note_and_a_lock_at_the_same_time_one_sees_the_other(world: World) {
    let names: Vec<String> = (0..20).map(|number| format!("u{number}")).collect();
    world
        .sign_up(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    for name in &names {
        let user = UserId::new(name.as_str());
        let (store, noting) = (world.store.clone(), user.clone());
        let mut note = JoinSet::new();
        note.spawn(async move { store.note_sector(&noting, "north.example").await.unwrap() });
        let mut tx = world.begin().await;
        tx.set_user_status(&user, UserStatus::Locked, NOON).await.unwrap();
        let seen = tx.sectors_of(&user).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(note.join_all().await, [!seen.is_empty()], "{name}");
    }
}
