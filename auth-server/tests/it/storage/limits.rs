use std::sync::Arc;

use auth_server::domain::ids::Username;
use auth_server::domain::throttle::{Attempt, ThrottleKey, ThrottlePolicy};

use super::{MICRO, NOON, RACERS, World, minutes, on_every_engine, race, tenant};

on_every_engine!(
    attempts_are_counted_up_to_the_limit_within_the_window,
    a_success_forgets_the_attempts_of_its_key_alone,
    parallel_guesses_do_not_slip_through,
    an_attempt_that_came_to_no_answer_is_given_back,
);

const POLICY: ThrottlePolicy = ThrottlePolicy {
    limit: 3,
    window: super::Duration::from_mins(10),
};

fn account(name: &str) -> ThrottleKey {
    ThrottleKey::Account(tenant(), Username::parse(name).unwrap())
}

async fn attempts_are_counted_up_to_the_limit_within_the_window(world: World) {
    let key = account("alice");
    let end = NOON + minutes(10);
    let count = async |at| world.store.count_attempt(&key, POLICY, at).await.unwrap();
    for minute in 0..3 {
        assert_eq!(count(NOON + minutes(minute)).await, Attempt::Allowed);
    }
    assert_eq!(count(NOON + minutes(3)).await, Attempt::Blocked(end));
    // Attempts while blocked do not move the end.
    assert_eq!(count(end - MICRO).await, Attempt::Blocked(end));
    assert_eq!(count(end).await, Attempt::Allowed);
    for _ in 0..2 {
        assert_eq!(count(end).await, Attempt::Allowed);
    }
    assert_eq!(count(end).await, Attempt::Blocked(end + minutes(10)));
}

async fn a_success_forgets_the_attempts_of_its_key_alone(world: World) {
    let device = ThrottleKey::KnownDevice(tenant(), Username::parse("alice").unwrap(), "d".into());
    let (alice, bob) = (account("alice"), account("bob"));
    for _ in 0..3 {
        for key in [&alice, &bob, &device] {
            assert_eq!(
                world.store.count_attempt(key, POLICY, NOON).await.unwrap(),
                Attempt::Allowed
            );
        }
    }
    world.store.clear_attempts(&alice).await.unwrap();
    world.store.clear_attempts(&account("nobody")).await.unwrap();
    assert_eq!(
        world.store.count_attempt(&alice, POLICY, NOON).await.unwrap(),
        Attempt::Allowed
    );
    for key in [&bob, &device] {
        let blocked = world.store.count_attempt(key, POLICY, NOON).await.unwrap();
        assert_eq!(blocked, Attempt::Blocked(NOON + minutes(10)));
    }
}

async fn an_attempt_that_came_to_no_answer_is_given_back(world: World) {
    let key = account("alice");
    let count = async || world.store.count_attempt(&key, POLICY, NOON).await.unwrap();
    for _ in 0..20 {
        assert_eq!(count().await, Attempt::Allowed);
        world.store.forgive_attempt(&key).await.unwrap();
    }
    // Never more than there were.
    world.store.forgive_attempt(&key).await.unwrap();
    world.store.forgive_attempt(&account("nobody")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(count().await, Attempt::Allowed);
    }
    assert_eq!(count().await, Attempt::Blocked(NOON + minutes(10)));
}

async fn parallel_guesses_do_not_slip_through(world: World) {
    let policy = ThrottlePolicy { limit: 7, ..POLICY };
    let allowed = race(|| {
        let store = Arc::clone(&world.store);
        async move { store.count_attempt(&account("alice"), policy, NOON).await.unwrap() == Attempt::Allowed }
    });
    assert_eq!(allowed.await, 7);
    const { assert!(RACERS > 7) };
}
