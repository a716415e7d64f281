//! The pages in a real browser.

use crate::{
    clients::run,
    world::{Engine, World},
};

#[tokio::test]
async fn chromium_signs_in_consents_cancels_and_signs_out_with_and_without_scripts() {
    let world = World::start(Engine::Sqlite).await;
    run("node".into(), "node/pages.mjs", &world).await;
}
