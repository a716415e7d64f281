//! `private_key_jwt` and `client_secret_jwt` (OpenID Connect Core §9, RFC 7523, rfc7523bis, FAPI 2.0 §5.3.2.1).

use std::time::Duration;

use auth_server::{
    domain::{client::ClientStatus, ids::ClientId},
    ports::outbound::OutboundError,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use http::Method;
use oauth_wire::SigningAlg;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use test_kit::{TestKey, with};

use crate::app::{
    By, CHALLENGE, Fields, Reply, SERVICE, SPA, Signatory, TestApp, WEB, clients, fields, proof, reply, under_mac,
};

/// Where clients authenticate. Every one of them must answer every case alike.
const ENDPOINTS: [&str; 4] = ["/oauth2/token", "/oauth2/par", "/oauth2/introspect", "/oauth2/revoke"];

/// What a client sends that has authenticated.
fn wish(path: &str) -> Fields {
    match path {
        "/oauth2/token" => fields([("grant_type", "client_credentials")]),
        "/oauth2/par" => fields([
            ("response_type", "code"),
            ("redirect_uri", "https://signatory.example/cb"),
            ("scope", "ai:chat"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]),
        _ => fields([("token", "x")]),
    }
}

async fn ask(app: &TestApp, path: &str, proof: &Fields) -> Reply {
    app.call(Method::POST, path).form(&wish(path).plus(proof)).send().await
}

/// One client of every kind that signs.
struct World {
    app: TestApp,
    signatories: Vec<Signatory>,
    /// Another client of the same kind, whose assertions prove nothing for the first.
    others: Vec<Signatory>,
}

impl World {
    async fn start() -> Self {
        let signatories = vec![
            Signatory::with_key("es256", SigningAlg::Es256),
            Signatory::with_key("eddsa", SigningAlg::EdDsa),
            Signatory::with_key("ps256", SigningAlg::Ps256),
            Signatory::with_key("rs256", SigningAlg::Rs256),
            Signatory::with_secret("hs256"),
        ];
        let others = vec![
            Signatory::with_key("other-key", SigningAlg::Es256),
            Signatory {
                id: "other-secret",
                by: By::Secret("another secret that is long enough for every MAC there is, and more"),
            },
        ];
        let registrations: Vec<Value> = signatories
            .iter()
            .chain(&others)
            .map(|one| one.registration(json!({})))
            .collect();
        let app = TestApp::builder().document(&clients(&registrations)).start().await;
        Self {
            app,
            signatories,
            others,
        }
    }

    /// Sends what `make` makes of every signatory to every endpoint.
    async fn each(&self, name: &str, make: impl Fn(&Signatory) -> Fields, expected: Expected) {
        for signatory in &self.signatories {
            for path in ENDPOINTS {
                let reply = ask(&self.app, path, &make(signatory)).await;
                let case = format!("{name}: {} at {path}: {} {}", signatory.id, reply.status, reply.text());
                match expected {
                    Expected::Success => {
                        assert_eq!(reply.status, if path == "/oauth2/par" { 201 } else { 200 }, "{case}");
                    }
                    Expected::Error(status, code) => {
                        assert_eq!(reply.status, status, "{case}");
                        reply.expect_oauth_error(status, code);
                    }
                }
            }
        }
    }

    async fn each_claims(&self, claims: Value, expected: Expected) {
        let name = claims.to_string();
        let make = |signatory: &Signatory| proof(&signatory.assertion_with(&self.app, claims.clone()));
        self.each(&name, make, expected).await;
    }

    async fn each_header(&self, header: Value, expected: Expected) {
        let name = header.to_string();
        let make = |signatory: &Signatory| {
            let header = with(&signatory.header(), header.clone());
            proof(&signatory.sign(&header.to_string(), &signatory.claims(&self.app).to_string()))
        };
        self.each(&name, make, expected).await;
    }
}

#[derive(Clone, Copy)]
enum Expected {
    Success,
    Error(u16, &'static str),
}

const REFUSED: Expected = Expected::Error(401, "invalid_client");
const INVALID: Expected = Expected::Error(400, "invalid_request");

#[tokio::test]
async fn a_good_assertion_authenticates_with_and_without_client_id() {
    let world = World::start().await;
    let app = &world.app;
    let good = |signatory: &Signatory| proof(&signatory.assertion(app));
    world.each("good", good, Expected::Success).await;
    let named = |signatory: &Signatory| good(signatory).with("client_id", signatory.id);
    world.each("named", named, Expected::Success).await;
    let misnamed = |signatory: &Signatory| good(signatory).with("client_id", WEB.id);
    world.each("misnamed", misnamed, REFUSED).await;
}

#[tokio::test]
async fn an_assertion_is_for_this_issuer_alone_and_says_so_in_one_string() {
    let world = World::start().await;
    let issuer = world.app.issuer.clone();
    for aud in [
        json!([issuer]),
        json!([issuer, "https://elsewhere.example"]),
        json!(format!("{issuer}/")),
        json!(format!("{issuer}/oauth2/token")),
        json!(format!("{issuer}/oauth2/par")),
        json!(format!("{issuer}/oauth2/introspect")),
        json!(issuer.to_uppercase()),
        json!(format!(" {issuer}")),
        json!("https://elsewhere.example"),
        json!(""),
        json!([]),
        json!({"aud": issuer}),
        json!(7),
        json!(true),
        Value::Null,
    ] {
        world.each_claims(json!({"aud": aud}), REFUSED).await;
    }
}

#[tokio::test]
async fn issuer_and_subject_are_both_the_client() {
    let world = World::start().await;
    for name in ["iss", "sub"] {
        for value in [
            Value::Null,
            json!("other-key"),
            json!("other-secret"),
            json!("no-such-client"),
            json!(WEB.id),
            json!(SPA.id),
            json!(""),
            json!(1),
            json!(["es256"]),
        ] {
            world.each_claims(json!({name: value}), REFUSED).await;
        }
    }
    world
        .each_claims(json!({"iss": "other-key", "sub": "other-key"}), REFUSED)
        .await;
    world.each_claims(json!({"iss": null, "sub": null}), REFUSED).await;
}

#[tokio::test]
async fn an_assertion_has_a_short_life_and_clocks_may_be_a_little_apart() {
    let world = World::start().await;
    let now = world.app.now();
    for (claims, expected) in [
        (json!({"exp": null}), REFUSED),
        (json!({"exp": now - 300}), REFUSED),
        (json!({"exp": now - 10}), REFUSED),
        (json!({"exp": now - 9}), Expected::Success),
        (json!({"exp": now + 3610}), Expected::Success),
        (json!({"exp": now + 3611}), REFUSED),
        (json!({"exp": i64::MAX}), REFUSED),
        (json!({"exp": u64::MAX}), REFUSED),
        (json!({"exp": 1e300}), REFUSED),
        (json!({"exp": -1}), REFUSED),
        (json!({"exp": 0}), REFUSED),
        (json!({"exp": (now + 60).to_string()}), REFUSED),
        (json!({"exp": [now + 60]}), REFUSED),
        // RFC 7519 §2: a NumericDate may have a fraction.
        (json!({"exp": 1_893_456_060.5}), Expected::Success),
        (json!({"iat": null, "nbf": null}), Expected::Success),
        // FAPI 2.0 §5.3.2.1: 10 seconds ahead are accepted, more than 60 are not.
        (json!({"iat": now + 8, "nbf": now + 8}), Expected::Success),
        (json!({"iat": now + 10, "nbf": now + 10}), Expected::Success),
        (json!({"nbf": now + 61}), REFUSED),
        (json!({"iat": now + 61}), REFUSED),
        (json!({"iat": now + 61, "nbf": now + 61, "exp": now + 120}), REFUSED),
        (json!({"nbf": "now"}), REFUSED),
        (json!({"iat": {}}), REFUSED),
        (json!({"iat": -5}), REFUSED),
        (json!({"iat": now - 86_400}), Expected::Success),
    ] {
        world.each_claims(claims, expected).await;
    }
}

#[tokio::test]
async fn every_assertion_has_a_jti_of_bearable_length() {
    let world = World::start().await;
    for jti in [
        Value::Null,
        json!(""),
        json!("j".repeat(257)),
        json!(4711),
        json!(["j"]),
    ] {
        world.each_claims(json!({"jti": jti}), REFUSED).await;
    }
    let long = "j".repeat(250);
    for (at, signatory) in world.signatories.iter().enumerate() {
        let claims = json!({"jti": format!("{long}{at:06}")});
        let assertion = signatory.assertion_with(&world.app, claims);
        ask(&world.app, "/oauth2/token", &proof(&assertion))
            .await
            .expect_tokens();
    }
}

#[tokio::test]
async fn what_else_a_token_says_does_no_harm() {
    let world = World::start().await;
    let claims = json!({"client_id": WEB.id, "scope": "admin", "azp": "x", "nonce": "n", "\u{0}": "\u{202e}"});
    world.each_claims(claims, Expected::Success).await;
}

#[tokio::test]
async fn a_token_of_another_kind_is_no_assertion() {
    let world = World::start().await;
    for typ in [
        "JWT",
        "jwt",
        "client-authentication+jwt",
        "application/client-authentication+jwt",
    ] {
        world.each_header(json!({"typ": typ}), Expected::Success).await;
    }
    for typ in [
        "at+jwt",
        "dpop+jwt",
        "logout+jwt",
        "oauth-authz-req+jwt",
        "secevent+jwt",
        "",
        "x",
    ] {
        world.each_header(json!({"typ": typ}), REFUSED).await;
    }
    world.each_header(json!({"typ": 1}), REFUSED).await;
    world.each_header(json!({"crit": ["b64"], "b64": false}), REFUSED).await;
}

#[tokio::test]
async fn no_header_brings_along_an_algorithm_or_a_key() {
    let world = World::start().await;
    let app = &world.app;
    for alg in ["none", "None", "HS512", "ES384", "RS512", "PS384", "EdDSA ", "", "dir"] {
        world.each_header(json!({"alg": alg}), REFUSED).await;
    }
    world.each_header(json!({"alg": null}), REFUSED).await;
    world.each_header(json!({"alg": 256}), REFUSED).await;
    // The attacker's own key, in every place that a header has for one.
    let own = TestKey::new(SigningAlg::Es256);
    app.hosts
        .put_json("https://evil.example/jwks", &json!({"keys": [own.public()]}));
    let with_key = |signatory: &Signatory| {
        let more = json!({"kid": "k1", "jwk": own.public(), "jku": "https://evil.example/jwks"});
        proof(&own.sign(more, &signatory.claims(app)))
    };
    world.each("jwk and jku", with_key, REFUSED).await;
    assert!(app.hosts.asked().is_empty());
    let unknown_kid = |signatory: &Signatory| proof(&own.sign(json!({"kid": "k2"}), &signatory.claims(app)));
    world.each("unknown kid", unknown_kid, REFUSED).await;
    let no_kid = |signatory: &Signatory| proof(&own.sign(json!({}), &signatory.claims(app)));
    world.each("no kid", no_kid, REFUSED).await;
    let unsigned = |signatory: &Signatory| {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "none"});
        proof(&format!("{}.{}.", encode(&header), encode(&signatory.claims(app))))
    };
    world.each("unsigned", unsigned, REFUSED).await;
}

#[tokio::test]
async fn no_public_text_serves_as_a_secret() {
    let world = World::start().await;
    let app = &world.app;
    for signatory in &world.signatories {
        let mut texts = vec![Vec::new(), signatory.id.as_bytes().to_vec()];
        if let By::Key(key) = &signatory.by {
            let public = key.public();
            texts.push(public.to_string().into_bytes());
            for member in ["n", "x"] {
                let text = public.get(member).and_then(Value::as_str).unwrap_or("-");
                texts.push(text.as_bytes().to_vec());
                texts.push(URL_SAFE_NO_PAD.decode(text).unwrap_or_default());
            }
        }
        for text in texts {
            let header = json!({"alg": "HS256", "kid": "k1"}).to_string();
            let forged = under_mac(&text, &header, &signatory.claims(app).to_string());
            let reply = ask(app, "/oauth2/token", &proof(&forged)).await;
            reply.expect_oauth_error(401, "invalid_client");
        }
    }
}

#[tokio::test]
async fn one_clients_proof_is_no_proof_of_another() {
    let world = World::start().await;
    let app = &world.app;
    for other in &world.others {
        ask(app, "/oauth2/token", &proof(&other.assertion(app)))
            .await
            .expect_tokens();
        let forged = |signatory: &Signatory| {
            let claims = signatory.claims(app).to_string();
            proof(&other.sign(&other.header().to_string(), &claims))
        };
        world.each(other.id, forged, REFUSED).await;
    }
}

#[tokio::test]
async fn broken_and_oversized_tokens_are_refused_without_a_stir() {
    let world = World::start().await;
    let app = &world.app;
    let good = |signatory: &Signatory| signatory.assertion(app);
    let cut = |signatory: &Signatory| proof(good(signatory).rsplit_once('.').unwrap().0);
    world.each("without signature", cut, REFUSED).await;
    let longer = |signatory: &Signatory| proof(&format!("{}.x", good(signatory)));
    world.each("a part too many", longer, REFUSED).await;
    let padded = |signatory: &Signatory| proof(&format!("{}==", good(signatory)));
    world.each("padded", padded, REFUSED).await;
    let changed = |signatory: &Signatory| {
        let (header, rest) = good(signatory)
            .split_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let claims = with(&signatory.claims(app), json!({"jti": "changed"})).to_string();
        proof(&format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims)))
    };
    world.each("changed", changed, REFUSED).await;
    let doubled = |signatory: &Signatory| {
        let claims = signatory.claims(app).to_string();
        let claims = claims.replacen('{', "{\"aud\":\"https://elsewhere.example\",", 1);
        proof(&signatory.sign(&signatory.header().to_string(), &claims))
    };
    world.each("doubled aud", doubled, REFUSED).await;
    let oversized = |signatory: &Signatory| {
        let claims = json!({"padding": "x".repeat(16 * 1024)});
        proof(&signatory.assertion_with(app, claims))
    };
    world.each("oversized", oversized, REFUSED).await;
    for text in [
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.e30",
        "\u{202e}",
        "%00",
        "{}",
        &"x".repeat(40_000),
    ] {
        world.each(text, |_| proof(text), REFUSED).await;
    }
}

#[tokio::test]
async fn the_parameters_of_an_assertion_belong_together_and_are_one_method() {
    let world = World::start().await;
    let app = &world.app;
    let good = |signatory: &Signatory| proof(&signatory.assertion(app));
    for kind in ["urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "jwt", "x"] {
        let other = |signatory: &Signatory| good(signatory).with("client_assertion_type", kind);
        world.each(kind, other, REFUSED).await;
    }
    world
        .each("no type", |one| good(one).without("client_assertion_type"), INVALID)
        .await;
    world
        .each("no assertion", |one| good(one).without("client_assertion"), INVALID)
        .await;
    world
        .each("nothing", |one| fields([("client_id", one.id)]), REFUSED)
        .await;
    world.each("no name", |_| Fields::default(), REFUSED).await;
    let twice = |one: &Signatory| good(one).and("client_assertion", "x");
    world.each("two assertions", twice, INVALID).await;
    let secret = |one: &Signatory| good(one).with("client_secret", "x");
    world.each("and a secret", secret, INVALID).await;
    for signatory in &world.signatories {
        for path in ENDPOINTS {
            let call = app.call(Method::POST, path).basic(signatory.id, "x");
            let reply = call.form(&wish(path).plus(&good(signatory))).send().await;
            reply.expect_oauth_error(400, "invalid_request");
        }
    }
}

#[tokio::test]
async fn an_assertion_works_once_wherever_it_is_sent() {
    let world = World::start().await;
    let app = &world.app;
    for signatory in &world.signatories {
        let used = proof(&signatory.assertion(app));
        ask(app, "/oauth2/introspect", &used).await.expect_status(200);
        for path in ENDPOINTS {
            let told = ask(app, path, &used).await.expect_oauth_error(401, "invalid_client");
            assert!(told.contains("jti"), "{told}");
        }
    }
    // The same jti of another client is another.
    for signatory in &world.signatories {
        let shared = signatory.assertion_with(app, json!({"jti": "shared"}));
        ask(app, "/oauth2/token", &proof(&shared)).await.expect_tokens();
    }
}

#[tokio::test]
async fn of_many_senders_of_one_assertion_one_is_served() {
    let world = World::start().await;
    let other = world.app.another_node().await;
    for signatory in &world.signatories {
        let assertion = proof(&signatory.assertion(&world.app));
        let nodes = [&world.app, &other].into_iter().cycle().take(20);
        let replies = join_all(nodes.map(|node| ask(node, "/oauth2/token", &assertion))).await;
        let served = replies.iter().filter(|reply| reply.status == 200).count();
        let refused = replies.iter().filter(|reply| reply.status == 401).count();
        assert_eq!((served, refused), (1, 19), "{}", signatory.id);
    }
}

#[tokio::test]
async fn a_jti_is_remembered_for_as_long_as_its_assertion_lives() {
    let world = World::start().await;
    let app = &world.app;
    let signatory = &world.signatories[0];
    let assertion = proof(&signatory.assertion_with(app, json!({"exp": app.now() + 3600})));
    ask(app, "/oauth2/token", &assertion).await.expect_tokens();
    for step in [1, 600, 1800, 1199] {
        app.advance(step);
        let reply = ask(app, "/oauth2/token", &assertion).await;
        reply.expect_oauth_error(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_client_uses_the_method_that_it_is_registered_for() {
    let world = World::start().await;
    let app = &world.app;
    for signatory in &world.signatories {
        let secret = match &signatory.by {
            By::Key(_) => "x",
            By::Secret(secret) => secret,
        };
        let basic = app.call(Method::POST, "/oauth2/token").basic(signatory.id, secret);
        let reply = basic.form(&wish("/oauth2/token")).send().await;
        reply.expect_oauth_error(401, "invalid_client");
        let form = fields([("client_id", signatory.id), ("client_secret", secret)]);
        ask(app, "/oauth2/token", &form)
            .await
            .expect_oauth_error(401, "invalid_client");
    }
    // And who is registered for a secret or for nothing cannot sign with it.
    for (id, secret) in [(SERVICE.id, SERVICE.secret.unwrap()), (SPA.id, "x")] {
        let signatory = Signatory {
            id,
            by: By::Secret(secret),
        };
        let reply = ask(app, "/oauth2/token", &proof(&signatory.assertion(app))).await;
        reply.expect_oauth_error(401, "invalid_client");
    }
}

#[tokio::test]
async fn the_registered_algorithm_is_the_only_one() {
    let pinned = Signatory::with_key("pinned", SigningAlg::Ps256);
    let mac = Signatory::with_secret("mac");
    let registrations = [
        pinned.registration(json!({"token_endpoint_auth_signing_alg": "PS256"})),
        mac.registration(json!({"token_endpoint_auth_signing_alg": "HS512"})),
    ];
    let app = TestApp::builder().document(&clients(&registrations)).start().await;
    ask(&app, "/oauth2/token", &proof(&pinned.assertion(&app)))
        .await
        .expect_tokens();
    let By::Key(key) = &pinned.by else { return };
    for alg in [SigningAlg::Rs256, SigningAlg::Ps384, SigningAlg::Rs512] {
        let other = key.by(alg).sign(json!({"kid": "k1"}), &pinned.claims(&app));
        let reply = ask(&app, "/oauth2/token", &proof(&other)).await;
        reply.expect_oauth_error(401, "invalid_client");
    }
    // Registered for HS512, signed by HS256.
    let reply = ask(&app, "/oauth2/token", &proof(&mac.assertion(&app))).await;
    reply.expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn a_fapi_client_signs_with_fapi_algorithms_unless_it_says_otherwise_and_it_cannot() {
    let key = TestKey::new(SigningAlg::Rs256);
    let by = |alg| Signatory {
        id: "fapi",
        by: By::Key(key.by(alg)),
    };
    for more in [
        json!({"security_profile": "fapi2"}),
        json!({"dpop_bound_access_tokens": true}),
        json!({"tls_client_certificate_bound_access_tokens": true}),
    ] {
        let app = TestApp::start().await;
        app.apply(&clients(&[by(SigningAlg::Ps256).registration(more.clone())]))
            .await;
        let wrong = proof(&by(SigningAlg::Rs256).assertion(&app));
        ask(&app, "/oauth2/introspect", &wrong)
            .await
            .expect_oauth_error(401, "invalid_client");
        let right = proof(&by(SigningAlg::Ps256).assertion(&app));
        ask(&app, "/oauth2/introspect", &right).await.expect_status(200);
        let said = with(&more, json!({"token_endpoint_auth_signing_alg": "RS256"}));
        let document = clients(&[by(SigningAlg::Ps256).registration(said)]);
        assert!(app.try_apply(&document).await.is_err(), "{more}");
    }
}

#[tokio::test]
async fn a_client_that_knows_no_better_may_name_an_endpoint_if_it_is_registered_so() {
    let lenient = Signatory::with_key("lenient", SigningAlg::Es256);
    let registration = lenient.registration(json!({"client_assertion_audience": "token_endpoint"}));
    let app = TestApp::builder().document(&clients(&[registration])).start().await;
    let issuer = app.issuer.clone();
    for path in ENDPOINTS {
        for (aud, is_good) in [
            (json!(issuer), true),
            (json!(format!("{issuer}/oauth2/token")), true),
            (json!([format!("{issuer}/oauth2/token")]), false),
            (json!(format!("{issuer}/oauth2/token/")), false),
            (json!(format!("{issuer}/oauth2/par")), true),
            (json!(format!("{issuer}/oauth2/introspect")), true),
            (json!(format!("{issuer}/oauth2/revoke")), true),
            (json!(format!("{issuer}/oauth2/device_authorization")), true),
            (json!(format!("{issuer}/oauth2/backchannel_authentication")), true),
            (json!(format!("{issuer}/oauth2/authorize")), false),
            (json!(format!("{issuer}/userinfo")), false),
            (json!(format!("{issuer}x/oauth2/token")), false),
            (json!("https://elsewhere.example/oauth2/token"), false),
        ] {
            let reply = ask(&app, path, &proof(&lenient.assertion_with(&app, json!({"aud": aud})))).await;
            assert_eq!(reply.status != 401, is_good, "{aud} at {path}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn keys_behind_a_uri_are_fetched_kept_and_fetched_again_for_a_new_kid() {
    const URL: &str = "https://client.example/jwks.json";
    let remote = Signatory::with_key("remote", SigningAlg::Es256);
    let registration = remote.registration(json!({"jwks": null, "jwks_uri": URL}));
    let app = TestApp::builder().document(&clients(&[registration])).start().await;
    let publish = |key: &TestKey, kid: &str| {
        let set = json!({"keys": [key.public_with(json!({"kid": kid}))]});
        app.hosts.put(
            "https://client.example/jwks.json",
            reply(200, "application/json", set.to_string()),
        );
    };
    let By::Key(first) = &remote.by else { return };
    // Out of reach: nobody can tell who it is, and that is no fault of the client's.
    for path in ENDPOINTS {
        let away = ask(&app, path, &proof(&remote.assertion(&app))).await;
        assert_eq!(away.header("retry-after"), Some("1"), "{path}");
        away.expect_oauth_error(503, "temporarily_unavailable");
    }
    assert_eq!(app.hosts.times(URL), 1);
    app.advance(10);
    publish(first, "k1");
    for _ in 0..3 {
        ask(&app, "/oauth2/token", &proof(&remote.assertion(&app)))
            .await
            .expect_tokens();
    }
    assert_eq!(app.hosts.times(URL), 2);
    // The client rotates its key, a minute passes, and it signs with the new one.
    let second = TestKey::new(SigningAlg::Es256);
    publish(&second, "k2");
    app.advance(60);
    let by_second = || proof(&second.sign(json!({"kid": "k2"}), &remote.claims(&app)));
    ask(&app, "/oauth2/token", &by_second()).await.expect_tokens();
    assert_eq!(app.hosts.times(URL), 3);
    let gone = ask(&app, "/oauth2/token", &proof(&remote.assertion(&app))).await;
    gone.expect_oauth_error(401, "invalid_client");
    // Strangers with invented kids do not make us ask.
    for at in 0..20 {
        let forged = first.sign(json!({"kid": format!("x{at}")}), &remote.claims(&app));
        let reply = ask(&app, "/oauth2/token", &proof(&forged)).await;
        reply.expect_oauth_error(401, "invalid_client");
    }
    assert_eq!(app.hosts.times(URL), 3);
    ask(&app, "/oauth2/token", &by_second()).await.expect_tokens();
}

#[tokio::test]
async fn keys_that_cannot_be_had_just_now_are_told_apart_from_those_that_are_wrong() {
    const URL: &str = "https://client.example/jwks.json";
    let remote = Signatory::with_key("remote", SigningAlg::Es256);
    let registration = remote.registration(json!({"jwks": null, "jwks_uri": URL}));
    let app = TestApp::builder().document(&clients(&[registration])).start().await;
    let By::Key(key) = &remote.by else { return };
    // As many as would keep out whoever guesses a secret.
    for error in [OutboundError::Busy, OutboundError::Timeout, OutboundError::Tls] {
        app.hosts.fail(URL, error);
        app.advance(5);
        for _ in 0..20 {
            let away = ask(&app, "/oauth2/token", &proof(&remote.assertion(&app))).await;
            away.expect_oauth_error(503, "temporarily_unavailable");
        }
    }
    app.hosts.put(URL, reply(503, "text/html", "maintenance"));
    app.advance(5);
    let away = ask(&app, "/oauth2/token", &proof(&remote.assertion(&app))).await;
    away.expect_oauth_error(503, "temporarily_unavailable");
    // These will be no better in a moment.
    for lasting in [
        reply(404, "text/plain", "gone"),
        reply(200, "application/json", "{}"),
        reply(200, "text/html", "<h1>keys</h1>"),
    ] {
        app.hosts.put(URL, lasting);
        app.advance(5);
        let refused = ask(&app, "/oauth2/token", &proof(&remote.assertion(&app))).await;
        refused.expect_oauth_error(401, "invalid_client");
    }
    app.hosts
        .put_json(URL, &json!({"keys": [key.public_with(json!({"kid": "k1"}))]}));
    app.advance(5);
    ask(&app, "/oauth2/token", &proof(&remote.assertion(&app)))
        .await
        .expect_tokens();
}

#[tokio::test]
async fn a_disabled_client_and_an_unknown_one_prove_nothing() {
    let world = World::start().await;
    let app = &world.app;
    for signatory in &world.signatories {
        let operate = app.foundation().operate();
        let id = ClientId::new(signatory.id);
        operate.set_client_status(&id, ClientStatus::Disabled).await.unwrap();
    }
    app.sync().await;
    world.each("disabled", |one| proof(&one.assertion(app)), REFUSED).await;
}

#[tokio::test]
async fn a_secret_used_as_a_key_is_rotated_like_any_other() {
    let signatory = Signatory::with_secret("mac");
    let app = TestApp::builder()
        .document(&clients(&[signatory.registration(json!({}))]))
        .start()
        .await;
    let operate = app.foundation().operate();
    let overlap = Duration::from_secs(3600);
    let fresh = operate.rotate_secret(&ClientId::new("mac"), overlap).await.unwrap();
    app.sync().await;
    let by_fresh = || {
        let (header, claims) = (signatory.header().to_string(), signatory.claims(&app).to_string());
        proof(&under_mac(fresh.expose_secret().as_bytes(), &header, &claims))
    };
    ask(&app, "/oauth2/token", &by_fresh()).await.expect_tokens();
    ask(&app, "/oauth2/token", &proof(&signatory.assertion(&app)))
        .await
        .expect_tokens();
    app.advance(3600);
    let old = ask(&app, "/oauth2/token", &proof(&signatory.assertion(&app))).await;
    old.expect_oauth_error(401, "invalid_client");
    ask(&app, "/oauth2/token", &by_fresh()).await.expect_tokens();
}

#[tokio::test]
async fn who_tries_secrets_by_assertions_is_throttled_and_who_forges_signatures_need_not_be() {
    let (mac, keyed) = (
        Signatory::with_secret("mac"),
        Signatory::with_key("keyed", SigningAlg::Es256),
    );
    let registrations = [mac.registration(json!({})), keyed.registration(json!({}))];
    let app = TestApp::builder()
        .document(&clients(&registrations))
        .config(|config| config.client_auth.max_failures = 3)
        .start()
        .await;
    for at in 0..4 {
        let guess = under_mac(
            format!("guess number {at}").as_bytes(),
            &mac.header().to_string(),
            &mac.claims(&app).to_string(),
        );
        let reply = ask(&app, "/oauth2/token", &proof(&guess)).await;
        match at {
            3 => reply.expect_oauth_error(429, "slow_down"),
            _ => reply.expect_oauth_error(401, "invalid_client"),
        };
    }
    let other = TestKey::new(SigningAlg::Es256);
    for _ in 0..10 {
        let forged = other.sign(json!({"kid": "k1"}), &keyed.claims(&app));
        let reply = ask(&app, "/oauth2/token", &proof(&forged)).await;
        reply.expect_oauth_error(401, "invalid_client");
    }
    ask(&app, "/oauth2/token", &proof(&keyed.assertion(&app)))
        .await
        .expect_tokens();
}

/// A DPoP proof for the token endpoint; null in `more` takes a claim away.
fn dpop_proof(app: &TestApp, key: &TestKey, more: Value) -> String {
    let claims = json!({
        "htm": "POST", "htu": format!("{}/oauth2/token", app.issuer), "iat": app.now(), "jti": "proof-1",
    });
    key.sign(json!({"typ": "dpop+jwt", "jwk": key.public()}), &with(&claims, more))
}

#[tokio::test]
async fn an_assertion_and_a_dpop_proof_are_spent_together_and_each_alone() {
    let world = World::start().await;
    let app = &world.app;
    let key = TestKey::new(SigningAlg::Es256);
    for signatory in &world.signatories {
        let send = async |assertion: &str, dpop: &str| {
            let form = wish("/oauth2/token").plus(&proof(assertion));
            let call = app.call(Method::POST, "/oauth2/token").header("dpop", dpop);
            call.form(&form).send().await
        };
        let jti = |at: u32| json!({"jti": format!("{}-{at}", signatory.id)});
        let (first, second) = (signatory.assertion(app), signatory.assertion(app));
        let (one, two) = (dpop_proof(app, &key, jti(1)), dpop_proof(app, &key, jti(2)));
        send(&first, &one).await.expect_status(200);
        let told = send(&first, &two).await.expect_oauth_error(401, "invalid_client");
        assert!(told.contains("jti"), "{told}");
        send(&second, &one).await.expect_oauth_error(400, "invalid_dpop_proof");
        send(&first, &one).await.expect_oauth_error(401, "invalid_client");
        // What was refused together is refused: the fresh half of such a pair may be used up, never used twice.
        let replies = join_all((0..8).map(|_| async { send(&signatory.assertion(app), &two).await.status })).await;
        assert_eq!(
            replies.iter().filter(|status| **status == 200).count(),
            1,
            "{replies:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_proof_uses_up_the_assertion_beside_it() {
    let bound = Signatory::with_key("bound", SigningAlg::Es256);
    let registration = bound.registration(json!({"dpop_bound_access_tokens": true}));
    let app = TestApp::builder().document(&clients(&[registration])).start().await;
    let key = TestKey::new(SigningAlg::Es256);
    let proof_for = |path: &str| {
        let htu = format!("{}{path}", app.issuer);
        key.proof(&json!({"jti": path, "htm": "POST", "htu": htu, "iat": app.now()}))
    };
    let assertion = bound.assertion(&app);
    let send = async |dpop: &str| {
        let form = wish("/oauth2/token").plus(&proof(&assertion));
        let call = app.call(Method::POST, "/oauth2/token").header("dpop", dpop);
        call.form(&form).send().await
    };
    send(&proof_for("/userinfo"))
        .await
        .expect_oauth_error(400, "invalid_dpop_proof");
    send(&proof_for("/oauth2/token"))
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn who_is_sent_back_for_a_nonce_may_send_the_same_assertion_again() {
    let signatory = Signatory::with_key("es256", SigningAlg::Es256);
    let app = TestApp::builder()
        .document(&clients(&[signatory.registration(json!({}))]))
        .config(|config| config.dpop.require_nonce = true)
        .start()
        .await;
    let key = TestKey::new(SigningAlg::Es256);
    let form = wish("/oauth2/token").plus(&proof(&signatory.assertion(&app)));
    let send = async |claims: Value| {
        let call = app.call(Method::POST, "/oauth2/token");
        let call = call.header("dpop", &dpop_proof(&app, &key, claims));
        call.form(&form).send().await
    };
    let asked = send(json!({})).await;
    let nonce = asked.header("dpop-nonce").unwrap().to_owned();
    asked.expect_oauth_error(400, "use_dpop_nonce");
    send(json!({"nonce": nonce})).await.expect_status(200);
    let again = send(json!({"nonce": nonce, "jti": "proof-2"})).await;
    again.expect_oauth_error(401, "invalid_client");
}
