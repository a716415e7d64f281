//! Single-use things used two hundred times at once: one winner, on both databases.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use crate::{
    browser::Browser,
    world::{World, on_both_engines},
};

const RACERS: usize = 200;

on_both_engines! {
    async fn of_two_hundred_redemptions_of_one_code_one_wins(world: &World) {
        let app = world.web();
        let granted = app.code_from(&Browser::new(world), "dave").await;
        let replies = join_all((0..RACERS).map(|_| app.redeem(&granted))).await;
        let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
        assert_eq!(won.len(), 1, "winners");
        for reply in &lost {
            reply.oauth_error(400, "invalid_grant");
        }
        // The losers were replays: what the winner got is over (RFC 6749 §4.1.2).
        let tokens = won[0].tokens();
        app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
        world.http().userinfo(&tokens.access).await.bearer_error(401, "invalid_token");
    }

    async fn of_two_hundred_uses_of_one_refresh_token_one_rotation_follows(world: &World) {
        let app = world.spa();
        let first = app.tokens_of(world, "dave").await;
        let replies = join_all((0..RACERS).map(|_| app.refresh(first.refresh()))).await;
        let mut successors = BTreeSet::new();
        for reply in &replies {
            if reply.status == 200 {
                successors.insert(reply.tokens().refresh().to_owned());
            } else {
                reply.oauth_error(400, "invalid_grant");
            }
        }
        // The winner, and lost-reply answers that repeat what the winner got.
        assert_eq!(successors.len(), 1, "distinct successors");
        let next = app.refresh(successors.first().unwrap()).await.tokens();
        assert!(!successors.contains(next.refresh()));
        // Two rotations later the first token is stolen goods.
        app.refresh(first.refresh()).await.oauth_error(400, "invalid_grant");
        app.refresh(next.refresh()).await.oauth_error(400, "invalid_grant");
    }
}
