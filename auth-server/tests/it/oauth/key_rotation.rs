//! Rotation of signing keys by schedule and by hand, and the algorithms that are offered.

use std::collections::BTreeMap;

use auth_server::domain::signing_key::KeyStage;
use oauth_wire::SigningAlg;
use sql_test_kit::TestDatabase;
use tokio::task::JoinSet;

use crate::app::{ALICE, SERVICE, TestApp, TestClient, WEB};

const DAY: u64 = 24 * 60 * 60;

impl TestApp {
    async fn rotate_due(&self) -> Vec<SigningAlg> {
        let rotated = self.foundation().key_factory.rotate_due().await.unwrap();
        self.sync().await;
        rotated
    }

    /// How many keys there are at each stage.
    async fn stages(&self) -> BTreeMap<&'static str, usize> {
        let mut stages = BTreeMap::new();
        for key in self.foundation().key_factory.list().await.unwrap() {
            *stages.entry(key.stage.as_str()).or_default() += 1;
        }
        stages
    }

    async fn published(&self, kid: &str) -> bool {
        self.jwks().await.iter().any(|key| key["kid"] == kid)
    }
}

fn stages(current: usize, next: usize, retiring: usize) -> BTreeMap<&'static str, usize> {
    let all = [("current", current), ("next", next), ("retiring", retiring)];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn keys_are_exchanged_when_their_time_has_come_and_not_before() {
    let app = TestApp::start().await;
    let old = app.tokens(ALICE, WEB).await.id_token;
    let old_kid = app.verified(&old).await.kid;
    app.advance(90 * DAY - 1);
    assert_eq!(app.rotate_due().await, []);
    app.advance(1);
    assert_eq!(app.rotate_due().await.len(), 4);
    assert_eq!(app.rotate_due().await, [], "their time begins anew");
    assert_eq!(app.stages().await, stages(4, 4, 4));

    // New tokens are signed by another key; what the old one signed still verifies.
    let new = app.tokens(ALICE, WEB).await.id_token;
    assert_ne!(app.verified(&new).await.kid, old_kid);
    assert_eq!(app.verified(&old).await.kid, old_kid);
    app.advance(DAY - 1);
    app.sync().await;
    assert!(app.published(&old_kid).await);
    app.advance(1);
    app.sync().await;
    assert!(!app.published(&old_kid).await, "retired");
    assert_eq!(app.jwks().await.len(), 8);
    app.advance(89 * DAY - 1);
    assert_eq!(app.rotate_due().await, []);
    app.advance(1);
    assert_eq!(app.rotate_due().await.len(), 4);
}

#[tokio::test]
async fn a_key_signs_only_after_it_has_been_published_for_long_enough() {
    let app = TestApp::start().await;
    app.advance(90 * DAY - 100);
    // One algorithm's next key is lost and made anew, too late.
    let factory = &app.foundation().key_factory;
    let keys = factory.list().await.unwrap();
    let lost = keys
        .iter()
        .find(|key| key.alg == SigningAlg::Es256 && key.stage == KeyStage::Next)
        .unwrap();
    let mut tx = factory.transactions.begin().await.unwrap();
    let at = factory.clock.now();
    assert!(
        tx.move_key(&lost.kid, KeyStage::Next, KeyStage::Retiring, at)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    factory.ensure().await.unwrap();
    app.advance(100);
    let rotated = app.rotate_due().await;
    assert_eq!(rotated, [SigningAlg::Ps256, SigningAlg::EdDsa, SigningAlg::Rs256]);
    app.advance(DAY - 101);
    assert_eq!(app.rotate_due().await, []);
    app.advance(1);
    assert_eq!(app.rotate_due().await, [SigningAlg::Es256]);
    // By hand it goes at once.
    app.rotate_keys().await;
    assert_eq!(app.rotate_due().await, []);
}

#[tokio::test]
async fn without_a_schedule_keys_are_rotated_by_hand_alone() {
    let app = TestApp::builder()
        .config(|config| config.keys.rotate_every_s = 0)
        .start()
        .await;
    app.advance(3650 * DAY);
    assert_eq!(app.rotate_due().await, []);
    app.rotate_keys().await;
    assert_eq!(app.stages().await, stages(4, 4, 4));
}

async fn of_several_nodes_one_wins(database: TestDatabase) {
    let app = TestApp::builder().database(&database.url).start().await;
    let nodes = [
        app.another_node().await,
        app.another_node().await,
        app.another_node().await,
    ];
    app.advance(90 * DAY);
    let factories = nodes.each_ref().map(|node| node.foundation().key_factory.clone());
    let mut racers = JoinSet::new();
    for factory in factories {
        racers.spawn(async move { factory.rotate_due().await.unwrap().len() });
    }
    let mut rotated = racers.join_all().await;
    rotated.sort_unstable();
    assert_eq!(rotated, [0, 0, 4]);
    assert_eq!(app.stages().await, stages(4, 4, 4));
    for node in &nodes {
        node.sync().await;
    }
    let token = nodes[0].client_credentials(SERVICE).await.expect_tokens().access_token;
    assert!(nodes[1].is_active(&token).await);
    assert_eq!(nodes[1].jwks().await, nodes[2].jwks().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_nodes_one_wins_on_sqlite() {
    Box::pin(of_several_nodes_one_wins(TestDatabase::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_nodes_one_wins_on_postgres() {
    Box::pin(of_several_nodes_one_wins(TestDatabase::postgres().await)).await;
}

#[tokio::test]
async fn a_rotation_publishes_a_key_that_nobody_has_seen_and_keeps_the_old_ones() {
    let app = TestApp::start().await;
    let before = app.jwks().await;
    app.rotate_keys().await;
    let after = app.jwks().await;
    assert!(before.iter().all(|key| after.contains(key)));
    assert_eq!(after.len(), before.len() + 4);
}

#[tokio::test]
async fn algorithms_are_offered_and_published_in_the_order_of_the_configuration() {
    let algorithms = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        TestApp::builder().config(|config| config.keys.algorithms = names)
    };
    for order in [
        ["RS256", "EdDSA", "ES256", "PS256"],
        ["PS256", "ES256", "EdDSA", "RS256"],
    ] {
        let app = algorithms(&order).start().await;
        let metadata = app.metadata().await;
        assert_eq!(
            metadata["id_token_signing_alg_values_supported"],
            serde_json::json!(order)
        );
        let mut published: Vec<String> = app
            .jwks()
            .await
            .iter()
            .map(|key| key["alg"].as_str().unwrap().to_owned())
            .collect();
        published.dedup();
        assert_eq!(published, order);
        // Wherever RS256 stands, it is what clients get that do not choose (OpenID Connect Registration §2).
        let id_token = app.tokens(ALICE, WEB).await.id_token;
        assert_eq!(app.verified(&id_token).await.alg, SigningAlg::Rs256);
    }
}

/// Applications that want one algorithm each, for all that is signed for them.
const CHOOSY: [(SigningAlg, TestClient); 4] = [
    (SigningAlg::Rs256, choosy("choosy-RS256")),
    (SigningAlg::Ps256, choosy("choosy-PS256")),
    (SigningAlg::Es256, choosy("choosy-ES256")),
    (SigningAlg::EdDsa, choosy("choosy-EdDSA")),
];

const fn choosy(id: &'static str) -> TestClient {
    TestClient {
        id,
        secret: None,
        redirect_uri: "https://choosy.example/cb",
        scope: "openid",
    }
}

fn document(alg: SigningAlg) -> String {
    format!(
        "[[client]]\nclient_id = \"choosy-{0}\"\ntoken_endpoint_auth_method = \"none\"\nauto_approve = true\n\
         redirect_uris = [\"https://choosy.example/cb\"]\nscope = \"openid\"\nid_token_signed_response_alg = \"{0}\"\n\
         access_token_signing_alg = \"{0}\"\n",
        alg.as_str()
    )
}

#[tokio::test]
async fn every_advertised_algorithm_signs_for_clients_that_choose_it() {
    let app = TestApp::start().await;
    let advertised = app.metadata().await["id_token_signing_alg_values_supported"].clone();
    assert_eq!(advertised.as_array().unwrap().len(), CHOOSY.len());
    for (alg, client) in CHOOSY {
        assert!(advertised.as_array().unwrap().contains(&alg.as_str().into()));
        app.apply(&document(alg)).await;
        let tokens = app.tokens(ALICE, client).await;
        for token in [&tokens.id_token, &tokens.access_token] {
            assert_eq!(app.verified(token).await.alg, alg);
        }
        let hash = token_keys::left_half_hash(alg, &tokens.access_token);
        assert_eq!(app.claims(&tokens.id_token).await["at_hash"], hash);
        app.userinfo(&tokens).await.expect_status(200);
    }
    let refused = app
        .try_apply(&document(SigningAlg::Rs512))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("must be ES256, PS256, EdDSA or RS256"), "{refused}");
}

#[tokio::test]
async fn an_algorithm_that_is_given_up_signs_no_more_and_its_keys_retire() {
    let builder = TestApp::builder().config(|config| config.keys.algorithms = vec!["ES256".into(), "RS256".into()]);
    let app = builder.start().await;
    app.foundation().key_factory.ensure().await.unwrap();
    app.sync().await;
    assert_eq!(app.stages().await, stages(2, 2, 4));
    assert_eq!(app.jwks().await.len(), 8, "what was signed can still be verified");
    let refused = app
        .try_apply(&document(SigningAlg::EdDsa))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("must be ES256 or RS256"), "{refused}");
    app.advance(DAY);
    app.sync().await;
    assert_eq!(app.jwks().await.len(), 4);
    app.tokens(ALICE, WEB).await;
}
