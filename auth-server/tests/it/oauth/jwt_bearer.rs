//! Assertions as grants (RFC 7521 §4.1, RFC 7523 §2.1).

use std::sync::atomic::{AtomicU64, Ordering};

use auth_server::{
    config::{AssertionIssuerConfig, NamedBy},
    domain::{client::ClientStatus, user::UserStatus},
    ports::outbound::OutboundError,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use test_kit::{TestKey, with};

use super::register;
use crate::app::{
    ALICE, BOB, Builder, Fields, GATEWAY, ISSUER, OTHER_ALICE, Reply, SERVICE, Signatory, TestApp, TestClient, WEB,
    fields, proof, reply, under_mac,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CORP: &str = "https://idp.corp.example";
const KEYS: &str = "https://idp.corp.example/keys";

const fn client(id: &'static str) -> TestClient {
    TestClient {
        id,
        secret: Some("assertion-secret-6c6c"),
        redirect_uri: "",
        scope: "openid",
    }
}

/// The operator's own, and listed with the issuer.
const AGENT: TestClient = client("agent");
/// Listed, but its people are asked for consent.
const ASKING: TestClient = client("asking");
/// The operator's own, and not listed.
const UNLISTED: TestClient = client("unlisted");
/// Listed, of the other tenant.
const ABROAD: TestClient = client("abroad");
/// Listed, with subjects of its own.
const PAIRWISE: TestClient = client("pairwise");

fn registration(client: TestClient, more: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{}\"\nclient_secret = \"{}\"\ngrant_types = [\"{GRANT}\"]\nresponse_types = []\n\
         scope = \"openid profile offline_access ai:chat ai:embeddings\"\n{more}\n",
        client.id,
        client.secret.unwrap()
    )
}

fn document() -> String {
    [
        registration(AGENT, "auto_approve = true"),
        registration(ASKING, ""),
        registration(UNLISTED, "auto_approve = true"),
        registration(ABROAD, "auto_approve = true\ntenant = \"other\""),
        registration(
            PAIRWISE,
            "auto_approve = true\nsubject_type = \"pairwise\"\nredirect_uris = [\"https://pairwise.example/cb\"]",
        ),
    ]
    .concat()
}

/// An issuer with its key, and the provider that listens to it.
struct World {
    app: TestApp,
    key: TestKey,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl World {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut AssertionIssuerConfig)) -> Self {
        let key = TestKey::new(SigningAlg::Es256);
        let app = builder(&key, change).document(&document()).start().await;
        Self { app, key }
    }

    fn claims(&self) -> Value {
        let now = self.app.now();
        let jti = format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        json!({"iss": CORP, "sub": ALICE.name, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 60})
    }

    /// An assertion with other claims; null takes one away.
    fn signed(&self, claims: Value) -> String {
        self.typed("JWT", claims)
    }

    fn typed(&self, typ: &str, claims: Value) -> String {
        let header = json!({"kid": "k1", "typ": typ});
        self.key.sign(header, &with(&self.claims(), claims))
    }

    async fn present(&self, claims: Value) -> Reply {
        self.app.token(AGENT, &form(&self.signed(claims))).await
    }

    async fn refused(&self, assertion: &str, what: &str) -> String {
        let reply = self.app.token(AGENT, &form(assertion)).await;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        reply.expect_oauth_error(400, "invalid_grant")
    }
}

fn builder(key: &TestKey, change: impl FnOnce(&mut AssertionIssuerConfig)) -> Builder {
    let keys = json!({"keys": [key.public_with(json!({"kid": "k1"}))]});
    let mut issuer = AssertionIssuerConfig {
        issuer: CORP.into(),
        jwks: keys.as_object().cloned(),
        clients: [AGENT, ASKING, ABROAD, PAIRWISE].map(|one| one.id.to_owned()).into(),
        scopes: ["openid", "profile", "offline_access", "ai:chat"]
            .map(str::to_owned)
            .into(),
        ..AssertionIssuerConfig::default()
    };
    change(&mut issuer);
    TestApp::builder().config(|config| config.assertion_issuers = vec![issuer])
}

fn form(assertion: &str) -> Fields {
    fields([("grant_type", GRANT), ("assertion", assertion)])
}

/// For the test of the metadata.
pub(super) async fn works() {
    World::start().await.present(json!({})).await.expect_tokens();
}

#[tokio::test]
async fn the_word_of_a_listed_issuer_gets_a_token_for_the_person_and_no_more() {
    let world = World::start().await;
    let reply = world.present(json!({})).await;
    let body = reply.clone().expect_json(200);
    assert_eq!(body["scope"], "ai:chat openid profile");
    assert_eq!((body.get("refresh_token"), body.get("id_token")), (None, None));
    let tokens = reply.expect_tokens();
    let claims = world.app.claims(&tokens.access_token).await;
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&ALICE.sub.into(), &AGENT.id.into())
    );
    // Nothing is known of how the person signed in, so nothing is told that could open a door.
    assert_eq!(
        (&claims["acr"], claims.get("amr"), claims.get("sid")),
        (&"0".into(), None, None)
    );
    assert_eq!(world.app.userinfo(&tokens).await.expect_json(200)["sub"], ALICE.sub);
    assert!(world.app.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn people_are_known_by_user_name_or_by_sub_as_the_operator_says() {
    let world = World::start().await;
    for (sub, wanted) in [
        ("ALICE", Some(ALICE.sub)),
        (ALICE.sub, None),
        ("alice@example.org", None),
    ] {
        let reply = world.present(json!({"sub": sub})).await;
        match wanted {
            Some(wanted) => assert_eq!(
                world.app.claims(&reply.expect_tokens().access_token).await["sub"],
                wanted
            ),
            None => drop(reply.expect_oauth_error(400, "invalid_grant")),
        }
    }
    let world = World::with(|issuer| issuer.names = NamedBy::Sub).await;
    world.present(json!({"sub": ALICE.sub})).await.expect_tokens();
    world
        .present(json!({"sub": ALICE.name}))
        .await
        .expect_oauth_error(400, "invalid_grant");
    // Nor by a sub is anybody reached who belongs to another tenant.
    world
        .present(json!({"sub": OTHER_ALICE.sub}))
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn the_clients_tenant_decides_who_is_meant() {
    let world = World::start().await;
    let here = world.present(json!({})).await.expect_tokens();
    let abroad = world
        .app
        .token(ABROAD, &form(&world.signed(json!({}))))
        .await
        .expect_tokens();
    assert_eq!(world.app.claims(&here.access_token).await["sub"], ALICE.sub);
    assert_eq!(world.app.claims(&abroad.access_token).await["sub"], OTHER_ALICE.sub);
    world
        .app
        .token(ABROAD, &form(&world.signed(json!({"sub": BOB.name}))))
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn only_clients_that_the_operator_answers_for_are_served() {
    let world = World::start().await;
    let assertion = world.signed(json!({}));
    for (client, error) in [
        (WEB, "unauthorized_client"),
        (ASKING, "unauthorized_client"),
        (UNLISTED, "invalid_grant"),
    ] {
        world
            .app
            .token(client, &form(&assertion))
            .await
            .expect_oauth_error(400, error);
    }
    // Without a client nobody is served, and it may not be a public one.
    let anonymous = world
        .app
        .call(Method::POST, "/oauth2/token")
        .form(&form(&assertion))
        .send()
        .await;
    anonymous.expect_oauth_error(401, "invalid_client");
    let public = format!(
        "[[client]]\nclient_id = \"p\"\ntoken_endpoint_auth_method = \"none\"\ngrant_types = [\"{GRANT}\"]\nresponse_types = []\n"
    );
    world.app.try_apply(&public).await.unwrap_err();
    world.app.token(AGENT, &form(&assertion)).await.expect_tokens();
}

#[tokio::test]
async fn strangers_register_for_it_only_where_allowed_and_nobody_vouches_for_people_to_them() {
    let metadata = json!({
        "redirect_uris": ["https://app.example/cb"], "grant_types": ["authorization_code", GRANT], "scope": "openid",
    });
    let app = register::open().start().await;
    register::register(&app, &metadata)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
    let key = TestKey::new(SigningAlg::Es256);
    let app = builder(&key, |_| {})
        .config(|config| config.registration.grant_types.push(GRANT.into()))
        .document(&document())
        .start()
        .await;
    let world = World { app, key };
    let client = register::test_client(&register::registered(&world.app, &metadata).await);
    let assertion = world.signed(json!({}));
    world
        .app
        .token(client, &form(&assertion))
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn every_claim_that_is_not_right_is_invalid_grant_and_spends_nothing() {
    let world = World::start().await;
    let now = world.app.now();
    let jti = "the-only-one";
    for (claims, why) in [
        (json!({"iss": null}), "iss is missing"),
        (json!({"iss": "https://other.example"}), "nobody whose word"),
        (json!({"iss": format!("{CORP}/")}), "nobody whose word"),
        (json!({"iss": [CORP]}), "iss is missing"),
        (json!({"sub": null}), "sub is missing"),
        (json!({"sub": 7}), "sub is missing"),
        (json!({"sub": "nobody"}), "nobody who may sign in"),
        (json!({"sub": ""}), "nobody who may sign in"),
        (json!({"aud": null}), "aud must be"),
        (json!({"aud": "https://other.example"}), "aud must be"),
        (json!({"aud": format!("{ISSUER}/")}), "aud must be"),
        (json!({"aud": format!("{ISSUER}/oauth2/token")}), "aud must be"),
        (json!({"aud": [ISSUER, "https://other.example"]}), "aud must be"),
        (json!({"aud": []}), "aud must be"),
        (json!({"exp": null}), "exp is missing"),
        (json!({"exp": "soon"}), "seconds since the epoch"),
        (json!({"exp": now - 10}), "expired"),
        (json!({"exp": now + 311}), "too far ahead"),
        (json!({"iat": now + 61}), "not valid yet"),
        (json!({"nbf": now + 61}), "not valid yet"),
        (json!({"nbf": "now"}), "seconds since the epoch"),
        (json!({"jti": null}), "jti"),
        (json!({"jti": ""}), "jti"),
        (json!({"jti": "x".repeat(257)}), "jti"),
        (json!({"client_id": ASKING.id}), "client_id"),
        (json!({"act": {"sub": "robot"}}), "act"),
        (json!({"cnf": {"jkt": "x"}}), "bound"),
        (json!({"cnf": {"kid": "x"}}), "cnf"),
        (json!({"nonce": "n"}), "an ID token"),
        (json!({"at_hash": "h"}), "an ID token"),
        (json!({"events": {}}), "security event"),
        (json!({"auth_time": "today"}), "auth_time"),
        (json!({"scope": ["openid"]}), "cannot be read"),
        (json!({"resource": 1}), "cannot be read"),
        (json!({"authorization_details": "all"}), "cannot be read"),
    ] {
        let what = claims.to_string();
        let claims = with(&with(&world.claims(), json!({"jti": jti})), claims);
        let assertion = world.key.sign(json!({"kid": "k1"}), &claims);
        let told = world.refused(&assertion, &what).await;
        assert!(told.contains(why), "{what}: {told}");
    }
    for (what, more) in [
        ("no iat", json!({"iat": null})),
        ("an audience as a list of one", json!({"aud": [ISSUER]})),
        ("its own client", json!({"client_id": AGENT.id})),
        (
            "at the edge",
            json!({"exp": now + 310, "iat": now + 60, "nbf": now + 60}),
        ),
        ("just gone", json!({"exp": now - 9})),
    ] {
        let reply = world.present(more).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
    }
    world.present(json!({"jti": jti})).await.expect_tokens();
}

#[tokio::test]
async fn no_claim_of_any_kind_is_too_much() {
    let world = World::start().await;
    let names = [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "nbf",
        "jti",
        "client_id",
        "act",
        "cnf",
        "scope",
        "resource",
        "auth_time",
        "authorization_details",
        "nonce",
        "events",
    ];
    let long = "ü".repeat(3000);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!(" \u{0}\u{202e}"),
        json!(long),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"a": {"b": [1, null]}}),
        json!([null, 1, "x"]),
    ];
    for name in names {
        for value in &values {
            let mut claims = world.claims();
            claims[name] = value.clone();
            let assertion = world.key.sign(json!({"kid": "k1"}), &claims);
            let reply = world.app.token(AGENT, &form(&assertion)).await;
            assert!(matches!(reply.status, 200 | 400), "{name}: {value}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn only_a_key_and_an_algorithm_of_the_issuer_count() {
    let world = World::with(|issuer| issuer.algorithms = vec!["ES256".into()]).await;
    let claims = world.claims();
    let text = claims.to_string();
    let good = world.key.sign(json!({"kid": "k1"}), &claims);
    let other = TestKey::new(SigningAlg::Es256);
    let rsa = TestKey::new(SigningAlg::Rs256);
    let public = world.key.public().to_string();
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(&text)
    );
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let changed = with(&claims, json!({"sub": BOB.name})).to_string();
    let tampered = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(changed));
    for (what, assertion) in [
        ("another key", other.sign(json!({"kid": "k1"}), &claims)),
        ("another key without a name", other.sign(json!({}), &claims)),
        ("an unknown kid", other.sign(json!({"kid": "k9"}), &claims)),
        ("another algorithm", rsa.sign(json!({"kid": "k1"}), &claims)),
        (
            "a key that it brings along",
            other.sign(json!({"jwk": other.public()}), &claims),
        ),
        (
            "a key that it points to",
            other.sign(json!({"jku": "https://evil.example/jwks"}), &claims),
        ),
        (
            "a MAC with what everybody knows",
            under_mac(public.as_bytes(), r#"{"alg":"HS256"}"#, &text),
        ),
        ("no signature", unsigned),
        ("other claims", tampered),
        ("nonsense", "nonsense".into()),
        ("dots", "..".into()),
        ("an array", world.key.sign_text(r#"{"alg":"ES256"}"#, "[]")),
        (
            "twice a claim",
            world
                .key
                .sign_text(r#"{"alg":"ES256"}"#, &text.replacen('{', "{\"sub\":\"x\",", 1)),
        ),
        (
            "a critical header",
            world.key.sign(json!({"crit": ["x"], "x": 1}), &claims),
        ),
    ] {
        world.refused(&assertion, what).await;
    }
    world.app.token(AGENT, &form(&good)).await.expect_tokens();
    assert!(
        world.app.hosts.asked().is_empty(),
        "nobody is asked for keys that are listed"
    );
}

#[tokio::test]
async fn no_other_kind_of_token_is_an_assertion() {
    let world = World::start().await;
    for typ in [
        "at+jwt",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "client-authentication+jwt",
        "oauth-authz-req+jwt",
        "",
    ] {
        world.refused(&world.typed(typ, json!({})), typ).await;
    }
    for typ in ["jwt", "application/jwt"] {
        let reply = world.app.token(AGENT, &form(&world.typed(typ, json!({})))).await;
        assert_eq!(reply.status, 200, "{typ}: {}", reply.text());
    }
    // Nor is any token of ours, whoever it is for.
    let tokens = world.app.tokens(ALICE, WEB).await;
    let machine = world.app.client_credentials(SERVICE).await.expect_tokens().access_token;
    let made_up = world
        .app
        .sign_as_provider("JWT", &with(&world.claims(), json!({"iss": ISSUER})))
        .await;
    let stolen_name = world.app.sign_as_provider("JWT", &world.claims()).await;
    for (what, token) in [
        ("an access token", &tokens.access_token),
        ("an ID token", &tokens.id_token),
        ("a refresh token", &tokens.refresh_token),
        ("a machine's token", &machine),
        ("whatever we sign", &made_up),
        ("what we sign in another's name", &stolen_name),
    ] {
        world.refused(token, what).await;
    }
}

#[tokio::test]
async fn an_identity_assertion_names_the_client_that_it_is_for() {
    let world = World::start().await;
    let typ = "oauth-id-jag+jwt";
    world.refused(&world.typed(typ, json!({})), "no client").await;
    world
        .refused(&world.typed(typ, json!({"client_id": ASKING.id})), "another client")
        .await;
    let assertion = world.typed(
        typ,
        json!({"client_id": AGENT.id, "scope": "ai:chat", "resource": GATEWAY}),
    );
    let tokens = world.app.token(AGENT, &form(&assertion)).await.expect_tokens();
    let claims = world.app.claims(&tokens.access_token).await;
    assert_eq!((&claims["scope"], &claims["aud"]), (&"ai:chat".into(), &GATEWAY.into()));
}

#[tokio::test]
async fn an_assertion_works_once() {
    let world = World::start().await;
    let form = form(&world.signed(json!({})));
    let sent = join_all((0..20).map(|_| world.app.token(AGENT, &form))).await;
    let (good, bad): (Vec<_>, Vec<_>) = sent.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((good.len(), bad.len()), (1, 19));
    for reply in bad {
        let told = reply.expect_oauth_error(400, "invalid_grant");
        assert!(told.contains("used before"), "{told}");
    }
    // Until it has expired, and then it is too old.
    for wait in [30, 39] {
        world.app.advance(wait);
        let told = world
            .app
            .token(AGENT, &form)
            .await
            .expect_oauth_error(400, "invalid_grant");
        assert!(told.contains("used before"), "{told}");
    }
    world.app.advance(1);
    let told = world
        .app
        .token(AGENT, &form)
        .await
        .expect_oauth_error(400, "invalid_grant");
    assert!(told.contains("expired"), "{told}");
}

#[tokio::test]
async fn a_request_that_is_refused_for_something_else_leaves_the_assertion_good() {
    let world = World::start().await;
    let form = form(&world.signed(json!({})));
    for (name, value, error) in [
        ("scope", "admin", "invalid_scope"),
        ("resource", "https://elsewhere.example", "invalid_target"),
        ("authorization_details", "[]", "invalid_authorization_details"),
    ] {
        world
            .app
            .token(AGENT, &form.clone().with(name, value))
            .await
            .expect_oauth_error(400, error);
    }
    world.app.token(AGENT, &form).await.expect_tokens();
}

#[tokio::test]
async fn the_scope_is_within_the_clients_the_issuers_and_the_assertions() {
    let world = World::start().await;
    for (limit, asked, wanted) in [
        (None, Some("ai:chat"), Ok(("ai:chat", None))),
        // Not the issuer's, not the client's, and nothing that could be refreshed.
        (None, Some("ai:embeddings"), Err(())),
        (None, Some("email"), Err(())),
        (None, Some("openid offline_access"), Err(())),
        (Some("ai:chat email"), None, Ok(("ai:chat", Some("ai:chat")))),
        (Some("ai:chat email"), Some("openid"), Err(())),
        (Some("ai:chat email"), Some("ai:chat"), Ok(("ai:chat", None))),
        (Some("email"), None, Err(())),
        (Some(""), None, Err(())),
    ] {
        let assertion = world.signed(limit.map_or(json!({}), |limit| json!({"scope": limit})));
        let request = asked
            .iter()
            .fold(form(&assertion), |form, asked| form.with("scope", asked));
        let reply = world.app.token(AGENT, &request).await;
        match wanted {
            Ok((scope, told)) => {
                let tokens = reply.expect_tokens();
                assert_eq!(world.app.claims(&tokens.access_token).await["scope"], scope);
                assert_eq!(tokens.scope.as_deref(), told, "{limit:?} {asked:?}");
            }
            Err(()) => drop(reply.expect_oauth_error(400, "invalid_scope")),
        }
    }
}

#[tokio::test]
async fn resources_and_details_are_those_of_the_assertion_or_a_part() {
    let world = World::start().await;
    let ask = |interfaces: &[&str]| json!([{"type": "ai_call", "interfaces": interfaces}]);
    let assertion = || {
        world.signed(
            json!({"scope": "ai:chat", "resource": [GATEWAY], "authorization_details": ask(&["drafts", "support"])}),
        )
    };
    let tokens = world.app.token(AGENT, &form(&assertion())).await.expect_tokens();
    let claims = world.app.claims(&tokens.access_token).await;
    assert_eq!(
        (
            &claims["aud"],
            claims["authorization_details"].to_string().contains("drafts")
        ),
        (&GATEWAY.into(), true)
    );
    let less = form(&assertion()).with("authorization_details", &ask(&["support"]).to_string());
    let tokens = world.app.token(AGENT, &less).await.expect_tokens();
    let claims = world.app.claims(&tokens.access_token).await;
    assert!(!claims["authorization_details"].to_string().contains("drafts"));
    for (name, value, error) in [
        ("resource", ISSUER, "invalid_target"),
        (
            "authorization_details",
            &*ask(&["chat"]).to_string(),
            "invalid_authorization_details",
        ),
    ] {
        world
            .app
            .token(AGENT, &form(&assertion()).with(name, value))
            .await
            .expect_oauth_error(400, error);
    }
    world
        .present(json!({"resource": "https://elsewhere.example"}))
        .await
        .expect_oauth_error(400, "invalid_target");
}

#[tokio::test]
async fn a_bound_assertion_is_presented_by_its_holder_and_any_token_may_be_bound() {
    let world = World::start().await;
    let (key, other) = (TestKey::new(SigningAlg::Es256), TestKey::new(SigningAlg::Es256));
    let proving = async |assertion: &str, key: &TestKey, jti: &str| {
        let proof = key.proof(
            &json!({"jti": jti, "htm": "POST", "htu": format!("{ISSUER}/oauth2/token"), "iat": world.app.now()}),
        );
        let call = world.app.call(Method::POST, "/oauth2/token").header("dpop", &proof);
        call.basic(AGENT.id, AGENT.secret.unwrap())
            .form(&form(assertion))
            .send()
            .await
    };
    let bound = world.signed(json!({"cnf": {"jkt": key.thumbprint()}}));
    world.refused(&bound, "no proof").await;
    proving(&bound, &other, "a")
        .await
        .expect_oauth_error(400, "invalid_grant");
    for assertion in [&bound, &world.signed(json!({}))] {
        let jti = format!("jti of {}", assertion.len());
        let reply = proving(assertion, &key, &jti).await.expect_json(200);
        assert_eq!(reply["token_type"], "DPoP");
        let claims = world.app.claims(reply["access_token"].as_str().unwrap()).await;
        assert_eq!(claims["cnf"]["jkt"], key.thumbprint());
    }
}

#[tokio::test]
async fn nobody_who_may_not_sign_in_is_vouched_for_and_all_are_told_alike() {
    let world = World::start().await;
    let alice = world.present(json!({})).await.expect_tokens();
    let unknown = world.refused(&world.signed(json!({"sub": "nobody"})), "unknown").await;
    world.app.set_user_status(ALICE, UserStatus::Locked).await;
    world.app.set_user_status(BOB, UserStatus::Deleted).await;
    for who in [ALICE, BOB] {
        assert_eq!(
            world.refused(&world.signed(json!({"sub": who.name})), who.name).await,
            unknown
        );
    }
    assert!(
        !world.app.is_active(&alice.access_token).await,
        "what there was has ended"
    );
}

#[tokio::test]
async fn what_came_of_an_assertion_ends_with_the_client_or_at_its_wish() {
    let world = World::start().await;
    let one = world.present(json!({})).await.expect_tokens().access_token;
    let two = world.present(json!({})).await.expect_tokens().access_token;
    world.app.revoke(AGENT, &one).await.expect_status(200);
    assert!(!world.app.is_active(&one).await && world.app.is_active(&two).await);
    world.app.set_client_status(AGENT, ClientStatus::Disabled).await;
    assert!(!world.app.is_active(&two).await);
    world.present(json!({})).await.expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn a_pairwise_client_gets_its_own_name_for_the_person() {
    let world = World::start().await;
    let reply = world.app.token(PAIRWISE, &form(&world.signed(json!({})))).await;
    let shown = world.app.claims(&reply.expect_tokens().access_token).await["sub"].clone();
    assert_ne!(shown, ALICE.sub);
    // By which the issuer does not know anybody.
    world
        .refused(&world.signed(json!({"sub": shown})), "the name of another sector")
        .await;
}

#[tokio::test]
async fn keys_behind_a_uri_are_fetched_kept_and_fetched_again_for_a_new_kid() {
    let world = World::with(|issuer| {
        issuer.jwks = None;
        issuer.jwks_uri = Some(KEYS.into());
    })
    .await;
    let publish = |key: &TestKey, kid: &str| {
        let set = json!({"keys": [key.public_with(json!({"kid": kid}))]});
        world
            .app
            .hosts
            .put(KEYS, reply(200, "application/json", set.to_string()));
    };
    // Out of order for now: to try again is worth it, and the assertion stays good.
    world.app.hosts.fail(KEYS, OutboundError::Timeout);
    let assertion = world.signed(json!({}));
    let away = world.app.token(AGENT, &form(&assertion)).await;
    assert!(away.header("retry-after").is_some());
    away.expect_oauth_error(503, "temporarily_unavailable");
    world.app.advance(10);
    publish(&world.key, "k1");
    world.app.token(AGENT, &form(&assertion)).await.expect_tokens();
    world.present(json!({})).await.expect_tokens();
    assert_eq!(world.app.hosts.times(KEYS), 2);
    let second = TestKey::new(SigningAlg::Es256);
    publish(&second, "k2");
    world.app.advance(60);
    let by_second = second.sign(json!({"kid": "k2"}), &world.claims());
    world.app.token(AGENT, &form(&by_second)).await.expect_tokens();
    assert_eq!(world.app.hosts.times(KEYS), 3);
    world
        .refused(&world.signed(json!({})), "the key that was taken back")
        .await;
    // A host that says no has no keys.
    world.app.advance(3600);
    world.app.hosts.put(KEYS, reply(404, "text/plain", ""));
    world.refused(&by_second, "no keys").await;
}

#[tokio::test]
async fn a_client_with_keys_may_speak_of_itself_and_of_nobody_else() {
    let by_key = Signatory::with_key("by-key", SigningAlg::Ps256);
    let grants = json!({"grant_types": [GRANT], "response_types": [], "redirect_uris": []});
    let key = TestKey::new(SigningAlg::EdDsa);
    let by_secret = json!({"client_id": "by-secret", "client_secret": "by-secret-3e3e", "grant_types": [GRANT], "response_types": [],
        "scope": "ai:chat ai:embeddings", "jwks": {"keys": [key.public()]}});
    let keyless = registration(UNLISTED, "auto_approve = true");
    let document = crate::app::clients(&[by_key.registration(grants), by_secret]);
    let app = TestApp::builder().document(&document).document(&keyless).start().await;
    let claims = |id: &str, more: Value| {
        let jti = format!("own-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let now = app.now();
        with(
            &json!({"iss": id, "sub": id, "aud": ISSUER, "jti": jti, "exp": now + 60}),
            more,
        )
    };
    let ask = async |form: Fields| {
        let call = app
            .call(Method::POST, "/oauth2/token")
            .basic("by-secret", "by-secret-3e3e");
        call.form(&form).send().await
    };
    let signed = |more: Value| form(&key.sign(json!({}), &claims("by-secret", more)));
    let tokens = ask(signed(json!({}))).await.expect_tokens();
    let told = app.claims(&tokens.access_token).await;
    assert_eq!(
        (&told["sub"], &told["scope"]),
        (&"by-secret".into(), &"ai:chat ai:embeddings".into())
    );
    assert_eq!(
        (told.get("auth_time"), told.get("acr")),
        (None, None),
        "a machine has not signed in"
    );
    let tokens = ask(signed(json!({"scope": "ai:chat"}))).await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["scope"], "ai:chat");
    ask(signed(json!({"scope": "ai:chat"})).with("scope", "ai:embeddings"))
        .await
        .expect_oauth_error(400, "invalid_scope");
    // Nothing is not everything.
    for (claims, error) in [
        (json!({"scope": ""}), "invalid_scope"),
        (json!({"scope": " "}), "invalid_scope"),
        (json!({"resource": []}), "invalid_grant"),
    ] {
        ask(signed(claims)).await.expect_oauth_error(400, error);
    }
    ask(signed(json!({})).with("scope", "openid"))
        .await
        .expect_oauth_error(400, "invalid_scope");
    for (what, claims) in [
        ("a person", json!({"sub": ALICE.name})),
        ("another client", json!({"sub": SERVICE.id})),
        ("in another's name", json!({"iss": SERVICE.id, "sub": SERVICE.id})),
        ("too long", json!({"exp": app.now() + 4000})),
    ] {
        let reply = ask(signed(claims)).await;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        reply.expect_oauth_error(400, "invalid_grant");
    }
    // Who has registered no keys cannot have signed anything.
    let forged = key.sign(json!({}), &claims(UNLISTED.id, json!({})));
    app.token(UNLISTED, &form(&forged))
        .await
        .expect_oauth_error(400, "invalid_grant");
    // One assertion does not authenticate the client and speak for it, in whatever order.
    let post = async |form: Fields| app.call(Method::POST, "/oauth2/token").form(&form).send().await;
    let once = by_key.assertion(&app);
    post(form(&once).plus(&proof(&once)))
        .await
        .expect_oauth_error(400, "invalid_grant");
    let grant = by_key.assertion(&app);
    post(form(&grant).plus(&proof(&by_key.assertion(&app))))
        .await
        .expect_tokens();
    post(form(&by_key.assertion(&app)).plus(&proof(&grant)))
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn what_is_missing_or_sent_twice_is_an_invalid_request() {
    let world = World::start().await;
    let good = form(&world.signed(json!({})));
    for form in [
        good.clone().without("assertion"),
        good.clone().with("assertion", ""),
        good.clone().and("assertion", "x"),
    ] {
        world
            .app
            .token(AGENT, &form)
            .await
            .expect_oauth_error(400, "invalid_request");
    }
    world.app.token(AGENT, &good).await.expect_tokens();
}

#[tokio::test]
async fn nobody_is_vouched_for_while_storage_is_away() {
    let world = World::start().await;
    world.present(json!({})).await.expect_tokens();
    world.app.foundation().store.close().await;
    world
        .present(json!({}))
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
}
