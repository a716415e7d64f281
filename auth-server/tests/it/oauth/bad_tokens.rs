//! Every signed token that the provider reads, hurt in every way: the algorithm, the key, each claim, the kind, the form. SECURITY.md
//! section 2, "JWT algorithm confusion", at every place and not at one.
//!
//! A reader says which claims it looks at; hurts in those are refused, hurts in others do no harm. What deviates from this rule stands in the
//! reader's list of harmless hurts with its reason, and has to be harmless.

mod hurts;
mod readers;
mod world;

use sql_test_kit::TestDatabase;

use self::{
    hurts::{FORGER, hurts},
    readers::{Place, Reader},
    world::World,
};
use super::bad_input::{Table, patient};

/// Whether a reader takes a token that is hurt so.
fn is_harmless(reader: &impl Reader, name: &str) -> bool {
    const TIMES_AND_NAMES: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
    let claim = name.split(' ').next().unwrap_or_default();
    let is_unread = TIMES_AND_NAMES.contains(&claim) && !reader.reads().contains(&claim);
    is_unread || reader.harmless().iter().any(|(_, names)| names.contains(&name))
}

async fn walk(reader: &impl Reader, strangers: &[(&str, String)], table: &mut Table) {
    let row = reader.name();
    let mut seen = Vec::new();
    for (name, token) in hurts(reader) {
        let is_good = is_harmless(reader, &name);
        if let Some(reply) = reader.present(&token).await {
            table.note(row, "hurt", &name, reader.judge(&reply, is_good));
        }
        seen.push(name);
    }
    for (name, token) in strangers.iter().filter(|(name, _)| !reader.kinds().contains(name)) {
        if let Some(reply) = reader.present(token).await {
            table.note(row, "other kind", name, reader.judge(&reply, false));
        }
    }
    let (header, claims) = reader.good();
    let good = reader.signer().sign(header.to_string(), claims.to_string());
    for (time, is_good) in [("first", true), ("second", !reader.is_single_use())] {
        let reply = reader.present(&good).await.unwrap();
        table.note(row, "not hurt", time, reader.judge(&reply, is_good));
    }
    // An exception that nothing needs would hide a fault to come.
    for name in reader.harmless().iter().flat_map(|(_, names)| names.iter()) {
        let is_known = seen.iter().any(|known| known == name);
        let outcome = match is_known {
            true => Ok(()),
            false => Err("there is no such hurt".to_owned()),
        };
        table.note(row, "harmless", name, outcome);
    }
}

async fn walk_every_reader(world: &World) {
    let mut table = Table::open();
    let strangers = world.strangers().await;
    walk(&world.assertion(), &strangers, &mut table).await;
    walk(&world.assertion_by_secret(), &strangers, &mut table).await;
    walk(&world.grant_of_issuer(), &strangers, &mut table).await;
    walk(&world.grant_of_client(), &strangers, &mut table).await;
    walk(&world.proof_at_token(), &strangers, &mut table).await;
    walk(&world.proof_at_userinfo(), &strangers, &mut table).await;
    walk(&world.request_object(), &strangers, &mut table).await;
    for place in [
        Place::HintAtAuthorize,
        Place::HintAtLogout,
        Place::Userinfo,
        Place::Introspection,
        Place::Exchange,
    ] {
        walk(&world.own_token(place).await, &strangers, &mut table).await;
    }
    table.note(
        "all",
        "keys",
        "fetched from where a token says",
        match world.app.hosts.times(FORGER) {
            0 => Ok(()),
            times => Err(format!("{times} times")),
        },
    );
    table.expect_none();
}

#[tokio::test]
async fn no_token_that_is_hurt_is_believed_anywhere_on_sqlite() {
    walk_every_reader(&World::start(patient()).await).await;
}

#[tokio::test]
async fn no_token_that_is_hurt_is_believed_anywhere_on_postgres() {
    let database = TestDatabase::postgres().await;
    walk_every_reader(&World::start(patient().database(&database.url)).await).await;
}
