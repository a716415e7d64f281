//! Request objects, by value, by reference and pushed (RFC 9101, OpenID Connect Core §6, FAPI 2.0 Message Signing §5.3.1).

use auth_server::ports::outbound::OutboundError;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use test_kit::{TestKey, with};

use crate::app::{
    ALICE, Answer, Ask, CHALLENGE, ISSUER, NONCE, Reply, STATE, Signatory, TestApp, TestClient, WEB, clients,
    reply as hosted,
};

const CLIENT: TestClient = TestClient {
    id: "signing",
    secret: Some("signing-secret-8d8d"),
    redirect_uri: "https://signing.example/cb",
    scope: "openid profile",
};
const OBJECT: &str = "https://signing.example/request.jwt";
const OTHER_URI: &str = "https://signing.example/other";

/// A provider, and a client of it that signs.
struct World {
    app: TestApp,
    key: TestKey,
}

impl World {
    async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// `more` overlays the registration.
    async fn with(more: Value) -> Self {
        Self::signing(SigningAlg::Es256, more).await
    }

    async fn signing(alg: SigningAlg, more: Value) -> Self {
        let key = TestKey::new(alg);
        let registration = json!({
            "client_id": CLIENT.id,
            "client_secret": CLIENT.secret,
            "redirect_uris": [CLIENT.redirect_uri, OTHER_URI],
            "scope": "openid profile ai:chat",
            "auto_approve": true,
            "request_uris": [OBJECT],
            "authorization_details_types": ["ai_call"],
            "jwks": {"keys": [key.public_with(json!({"kid": "k1", "use": "sig"}))]},
        });
        let document = clients(&[with(&registration, more)]);
        let app = TestApp::builder().document(&document).start().await;
        Self { app, key }
    }

    /// What RFC 9101 wants to have in an object, and the parameters of a usual request.
    fn claims(&self) -> Value {
        let now = self.app.now();
        json!({
            "iss": CLIENT.id, "aud": ISSUER, "iat": now, "nbf": now, "exp": now + 300, "jti": "once",
            "client_id": CLIENT.id, "response_type": "code", "redirect_uri": CLIENT.redirect_uri,
            "scope": "openid profile", "state": STATE, "nonce": NONCE,
            "code_challenge": CHALLENGE, "code_challenge_method": "S256",
        })
    }

    /// An object of the usual claims under these; null takes one away.
    fn object(&self, claims: Value) -> String {
        self.typed(json!("oauth-authz-req+jwt"), claims)
    }

    fn typed(&self, typ: Value, claims: Value) -> String {
        self.key
            .sign(json!({"kid": "k1", "typ": typ}), &with(&self.claims(), claims))
    }

    async fn push(&self, ask: &Ask) -> Reply {
        let fields = ask.fields.clone().without("client_id");
        self.app.as_client(CLIENT, "/oauth2/par", &fields).await
    }

    async fn answer(&self, ask: &Ask) -> Answer {
        self.app.browser().answer(ALICE, ask).await
    }

    /// What the ID token says that an answer leads to.
    async fn id_token(&self, answer: &Answer) -> serde_json::Map<String, Value> {
        let code = crate::app::Code {
            value: answer.params["code"].clone(),
            client: CLIENT,
            redirect_uri: answer.uri.clone(),
            has_challenge: true,
        };
        let tokens = self.app.exchange(&code).await.expect_tokens();
        self.app.claims(&tokens.id_token).await
    }

    /// What the client is told, where the error goes to it.
    async fn refused(&self, ask: &Ask, error: &str) -> Answer {
        let answer = self.app.get(&ask.path()).await.expect_error_answer(error);
        assert_eq!(answer.uri, CLIENT.redirect_uri);
        answer
    }
}

/// `client_id` and this, and nothing else.
fn only(name: &str, value: &str) -> Ask {
    let mut ask = CLIENT.ask();
    for known in ask.fields.names() {
        if known != "client_id" {
            ask = ask.without(&known);
        }
    }
    ask.with(name, value)
}

#[tokio::test]
async fn the_object_alone_is_a_request_by_value_by_reference_and_pushed() {
    let world = World::start().await;
    let object = world.object(json!({}));
    world
        .app
        .hosts
        .put(OBJECT, hosted(200, "application/oauth-authz-req+jwt", object.clone()));
    let pushed = world.push(&only("request", &object)).await.expect_json(201);
    let reference = pushed["request_uri"].as_str().unwrap();
    for ask in [
        only("request", &object),
        only("request_uri", OBJECT),
        only("request_uri", reference),
    ] {
        let answer = world.answer(&ask).await;
        assert_eq!(answer.uri, CLIENT.redirect_uri);
        assert_eq!(answer.params["state"], STATE);
        assert_eq!(world.id_token(&answer).await["nonce"], NONCE);
    }
}

#[tokio::test]
async fn an_object_of_rfc_9101_is_the_whole_request() {
    let world = World::start().await;
    let object = world.object(json!({"state": null, "nonce": "inside", "scope": "openid", "response_mode": null}));
    // Outside stand another nonce, a state, a scope, a response mode and a redirect URI.
    let ask = CLIENT
        .ask()
        .with("request", &object)
        .with("response_mode", "form_post")
        .with("prompt", "none")
        .with("redirect_uri", OTHER_URI);
    let answer = world.answer(&ask).await;
    assert_eq!(answer.uri, CLIENT.redirect_uri);
    assert_eq!(answer.params.get("state"), None);
    assert_eq!(world.id_token(&answer).await["nonce"], "inside");
}

#[tokio::test]
async fn beside_an_object_of_openid_connect_parameters_fill_gaps() {
    let world = World::start().await;
    for typ in [Value::Null, json!("JWT")] {
        let object = world.typed(
            typ,
            json!({
                "iss": null, "aud": null, "exp": null, "nbf": null, "iat": null, "jti": null, "client_id": null,
                "response_type": null, "code_challenge": null, "code_challenge_method": null, "state": null,
                "nonce": "inside",
            }),
        );
        let answer = world.answer(&CLIENT.ask().with("request", &object)).await;
        assert_eq!(answer.params["state"], STATE, "only outside");
        assert_eq!(world.id_token(&answer).await["nonce"], "inside", "inside and outside");
        // OpenID Connect Core §6.1: these must match.
        let ask = CLIENT.ask().with("request", &object).with("response_type", "token");
        world.refused(&ask, "unsupported_response_type").await;
    }
    let object = world.typed(json!("JWT"), json!({}));
    let ask = CLIENT.ask().with("request", &object).with("response_type", "id_token");
    world.refused(&ask, "invalid_request_object").await;
}

#[tokio::test]
async fn who_signed_and_for_whom_must_be_right() {
    let world = World::start().await;
    let now = world.app.now();
    for (claims, names) in [
        (json!({"iss": WEB.id}), "iss"),
        (json!({"iss": null}), "iss"),
        (json!({"iss": [CLIENT.id]}), "iss"),
        (json!({"aud": "https://elsewhere.example"}), "aud"),
        (json!({"aud": format!("{ISSUER}/")}), "aud"),
        (json!({"aud": []}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"client_id": WEB.id}), "client_id"),
        (json!({"client_id": null}), "client_id"),
        (json!({"sub": CLIENT.id}), "sub"),
        (json!({"exp": now}), "exp"),
        (json!({"exp": "soon"}), "exp"),
        (json!({"nbf": now + 61}), "nbf"),
        (json!({"iat": now + 61}), "iat"),
        (json!({"request": "x.y.z"}), "request"),
        (json!({"request_uri": OBJECT}), "request_uri"),
        (
            json!({"request_uri": "urn:ietf:params:oauth:request_uri:x"}),
            "request_uri",
        ),
        (json!({"state": 7}), "wrong type"),
        (json!({"scope": ["openid"]}), "wrong type"),
        (json!({"max_age": {}}), "wrong type"),
        (json!({"claims": 7}), "wrong type"),
        (json!({"resource": [7]}), "wrong type"),
        (json!({"nonce": "a\u{0}b"}), "NUL"),
    ] {
        let object = world.object(claims.clone());
        let ask = CLIENT.ask().with("request", &object);
        let answer = world.refused(&ask, "invalid_request_object").await;
        let description = &answer.params["error_description"];
        assert!(description.contains(names), "{claims}: {description}");
        assert_eq!(
            answer.params["state"], STATE,
            "the one outside: none inside is believed"
        );
        let told = world.push(&ask).await.expect_oauth_error(400, "invalid_request_object");
        assert!(told.contains(names), "{claims}: {told}");
    }
    for claims in [
        json!({"aud": [ISSUER, "https://elsewhere.example"]}),
        json!({"nbf": now + 8}),
        json!({"nbf": now + 60, "iat": now + 60}),
        json!({"exp": now + 1, "nbf": now - 3600, "iat": now - 3600}),
        json!({"iat": null, "jti": null, "exp": null, "nbf": null}),
        json!({"unheard_of": {"x": [1]}, "amr": 7}),
    ] {
        let object = world.object(claims);
        world.push(&only("request", &object)).await.expect_json(201);
    }
}

#[tokio::test]
async fn only_the_clients_own_keys_and_algorithms_sign() {
    let world = World::start().await;
    let claims = world.claims();
    let stranger = TestKey::new(SigningAlg::Es256);
    let typ = "oauth-authz-req+jwt";
    let good = world.object(json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let es384 = TestKey::new(SigningAlg::Es384);
    for object in [
        world.key.sign_text(r#"{"alg":"none"}"#, &claims.to_string()),
        format!("{signed}."),
        signed.to_owned(),
        format!("{good}.x"),
        "x".to_owned(),
        "..".to_owned(),
        stranger.sign(json!({"kid": "k1", "typ": typ}), &claims),
        stranger.sign(json!({"kid": "k1", "typ": typ, "jwk": stranger.public()}), &claims),
        world.key.sign(json!({"kid": "another", "typ": typ}), &claims),
        world
            .key
            .sign(json!({"kid": "k1", "typ": typ, "crit": ["exp"]}), &claims),
        es384.sign(json!({"kid": "k1", "typ": typ}), &claims),
        crate::app::under_mac(
            CLIENT.secret.unwrap().as_bytes(),
            r#"{"alg":"HS256","typ":"oauth-authz-req+jwt"}"#,
            &claims.to_string(),
        ),
        // What the client signs for other purposes, and what we sign.
        world.typed(json!("dpop+jwt"), json!({})),
        world.typed(json!("at+jwt"), json!({})),
        world.app.sign_as_provider(typ, &claims).await,
    ] {
        world
            .refused(&CLIENT.ask().with("request", &object), "invalid_request_object")
            .await;
    }
    let keyless = World::with(json!({"jwks": null, "request_uris": null})).await;
    let object = keyless.object(json!({}));
    keyless
        .refused(&CLIENT.ask().with("request", &object), "invalid_request_object")
        .await;
}

#[tokio::test]
async fn a_clients_assertion_is_no_request_object() {
    let signatory = Signatory::with_key("machine", SigningAlg::Es256);
    let app = TestApp::builder()
        .document(&clients(&[signatory.registration(json!({}))]))
        .start()
        .await;
    let ask = Ask {
        client: TestClient {
            id: "machine",
            secret: None,
            redirect_uri: "https://signatory.example/cb",
            scope: "ai:chat",
        },
        fields: crate::app::fields([
            ("client_id", "machine"),
            ("redirect_uri", "https://signatory.example/cb"),
            ("state", STATE),
            ("request", &signatory.assertion(&app)),
        ]),
    };
    app.get(&ask.path()).await.expect_error_answer("invalid_request_object");
}

#[tokio::test]
async fn the_registered_algorithm_is_the_only_one() {
    let world = World::with(json!({"request_object_signing_alg": "PS256"})).await;
    let object = world.object(json!({}));
    world
        .refused(&CLIENT.ask().with("request", &object), "invalid_request_object")
        .await;
    let rsa = World::signing(SigningAlg::Rs256, json!({"request_object_signing_alg": "RS256"})).await;
    rsa.push(&only("request", &rsa.object(json!({}))))
        .await
        .expect_json(201);
}

#[tokio::test]
async fn every_advertised_algorithm_signs_a_request_object() {
    let metadata = TestApp::start().await.metadata().await;
    let advertised = metadata["request_object_signing_alg_values_supported"].clone();
    let advertised: Vec<String> = serde_json::from_value(advertised).unwrap();
    assert!(advertised.iter().any(|alg| alg == "RS256") && !advertised.iter().any(|alg| alg == "none"));
    for alg in advertised {
        let world = World::signing(SigningAlg::from_wire(&alg).unwrap(), json!({})).await;
        let ask = only("request", &world.object(json!({})));
        assert_eq!(world.push(&ask).await.status, 201, "{alg}");
    }
}

#[tokio::test]
async fn a_reference_is_fetched_only_if_it_is_registered() {
    let world = World::with(json!({"request_uris": [OBJECT, "https://signing.example/tagged#v1"]})).await;
    let object = world.object(json!({}));
    let media_type = "application/oauth-authz-req+jwt";
    let hosts = &world.app.hosts;
    for url in [
        OBJECT,
        "https://signing.example/tagged",
        "https://elsewhere.example/request.jwt",
    ] {
        hosts.put(url, hosted(200, media_type, object.clone()));
    }
    for unregistered in [
        "https://elsewhere.example/request.jwt",
        "https://signing.example/tagged",
        "https://signing.example/tagged#v2",
        "https://signing.example/request.jwt?x=1",
        "http://signing.example/request.jwt",
        "file:///etc/passwd",
        "urn:example:x",
        "x",
    ] {
        let ask = CLIENT.ask().with("request_uri", unregistered);
        world.refused(&ask, "invalid_request_uri").await;
    }
    assert_eq!(hosts.asked().len(), 0, "strangers cannot make us ask anybody");
    // The fragment says which version is meant (OpenID Connect Core §6.2).
    for registered in [
        OBJECT,
        "https://signing.example/request.jwt#v7",
        "https://signing.example/tagged#v1",
    ] {
        world.answer(&only("request_uri", registered)).await;
    }
    // The object belongs to one request: it is not kept.
    assert_eq!(hosts.times(OBJECT), 2);
}

#[tokio::test]
async fn what_cannot_be_fetched_or_read_is_told_to_the_client() {
    let world = World::start().await;
    let ask = CLIENT.ask().with("request_uri", OBJECT);
    for error in [
        OutboundError::Unreachable,
        OutboundError::Timeout,
        OutboundError::TooLarge,
    ] {
        world.app.hosts.fail(OBJECT, error);
        world.refused(&ask, "invalid_request_uri").await;
        world.app.advance(5);
    }
    for reply in [
        hosted(404, "text/plain", "gone"),
        hosted(302, "text/plain", ""),
        hosted(200, "application/jwt", ""),
        hosted(200, "application/jwt", "two words"),
        hosted(200, "application/jwt", vec![0xff, 0xfe]),
    ] {
        world.app.hosts.put(OBJECT, reply);
        world.refused(&ask, "invalid_request_uri").await;
        world.app.advance(5);
    }
    world.app.hosts.put(OBJECT, hosted(200, "application/jwt", "x.y.z"));
    world.refused(&ask, "invalid_request_object").await;
}

#[tokio::test]
async fn links_do_not_make_us_ask_a_host_again_and_again() {
    let world = World::start().await;
    let hosts = &world.app.hosts;
    // What strangers register may be the address of somebody who knows nothing of it.
    hosts.put(OBJECT, hosted(200, "text/html", "<p>A page of somebody else's</p>"));
    for at in 0..20 {
        let ask = CLIENT.ask().with("request_uri", &format!("{OBJECT}#v{at}"));
        world.refused(&ask, "invalid_request_uri").await;
    }
    assert_eq!(hosts.times(OBJECT), 1);
    hosts.put(OBJECT, hosted(200, "application/jwt", world.object(json!({}))));
    world.app.advance(5);
    for times in 2..4 {
        world.answer(&only("request_uri", OBJECT)).await;
        assert_eq!(hosts.times(OBJECT), times, "an object belongs to one request");
    }
}

#[tokio::test]
async fn request_and_request_uri_exclude_each_other() {
    let world = World::start().await;
    let ask = CLIENT
        .ask()
        .with("request", &world.object(json!({})))
        .with("request_uri", OBJECT);
    world.refused(&ask, "invalid_request").await;
    assert_eq!(world.app.hosts.asked().len(), 0);
    // RFC 9126 §2.1: a pushed request cannot be a reference.
    world
        .push(&only("request_uri", OBJECT))
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn an_error_about_the_object_goes_nowhere_that_was_not_registered() {
    let world = World::start().await;
    let bad = "x.y.z";
    for ask in [
        only("request", bad),
        only("request", bad).with("redirect_uri", "https://evil.example/"),
    ] {
        world
            .app
            .get(&ask.path())
            .await
            .expect_error_page(400, "invalid_request_object");
    }
    // Nor does one about what is inside.
    let object = world.object(json!({"redirect_uri": "https://evil.example/"}));
    world
        .app
        .get(&CLIENT.ask().with("request", &object).path())
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn parameters_of_the_object_are_judged_as_those_beside_it() {
    let world = World::start().await;
    for (claims, error) in [
        (json!({"response_type": "token"}), "unsupported_response_type"),
        (json!({"response_type": null}), "invalid_request"),
        (json!({"scope": "openid admin"}), "invalid_scope"),
        (
            json!({"code_challenge": null, "code_challenge_method": null}),
            "invalid_request",
        ),
        (json!({"code_challenge_method": "plain"}), "invalid_request"),
        (json!({"resource": ["https://elsewhere.example"]}), "invalid_target"),
        (
            json!({"authorization_details": [{"type": "x"}]}),
            "invalid_authorization_details",
        ),
        (
            json!({"authorization_details": {"type": "ai_call"}}),
            "invalid_authorization_details",
        ),
        (json!({"claims": []}), "invalid_request"),
        (json!({"max_age": -1}), "invalid_request"),
        (json!({"prompt": "none"}), "login_required"),
        (json!({"registration": {}}), "registration_not_supported"),
    ] {
        let ask = only("request", &world.object(claims.clone()));
        let reply = world.app.get(&ask.path()).await;
        assert_eq!(reply.status, 303, "{claims}: {}", reply.text());
        let answer = reply.expect_error_answer(error);
        assert_eq!(answer.params["state"], STATE, "the one inside");
    }
    let details = json!([{"type": "ai_call", "interfaces": ["gpt"]}]);
    let claims = json!({
        "scope": "openid ai:chat", "max_age": 300, "resource": crate::app::GATEWAY,
        "claims": {"id_token": {"name": {"essential": true}}}, "authorization_details": details,
    });
    let answer = world.answer(&only("request", &world.object(claims))).await;
    let id_token = world.id_token(&answer).await;
    assert_eq!(id_token["name"], "Alice Liddell");
    assert!(id_token.contains_key("auth_time"));
}

#[tokio::test]
async fn long_values_come_back_whole() {
    let world = World::start().await;
    let long = "s".repeat(384);
    let object = world.object(json!({"state": long, "nonce": long}));
    let answer = world.answer(&only("request", &object)).await;
    assert_eq!(answer.params["state"], long);
    assert_eq!(world.id_token(&answer).await["nonce"], long);
}

#[tokio::test]
async fn a_client_that_must_sign_gets_nothing_unsigned() {
    let world = World::with(json!({"require_signed_request_object": true})).await;
    world.refused(&CLIENT.ask(), "invalid_request").await;
    world
        .push(&CLIENT.ask())
        .await
        .expect_oauth_error(400, "invalid_request");
    let now = world.app.now();
    // FAPI 2.0 Message Signing §5.3.1: it says when it was made and how long it lasts, whatever its typ.
    for claims in [
        json!({"exp": null}),
        json!({"nbf": null}),
        json!({"exp": now + 3601, "nbf": now}),
        json!({"exp": now + 10, "nbf": now - 3591}),
        json!({"aud": null}),
        json!({"iss": null}),
        json!({"client_id": null}),
    ] {
        let object = world.typed(json!("JWT"), claims);
        world
            .push(&only("request", &object))
            .await
            .expect_oauth_error(400, "invalid_request_object");
    }
    for claims in [
        json!({}),
        json!({"exp": now + 3600, "nbf": now}),
        json!({"exp": now + 10, "nbf": now - 3590}),
        json!({"nbf": now + 8}),
    ] {
        let object = world.typed(Value::Null, claims);
        let ask = only("request", &object).with("state", "outside alone");
        let pushed = world.push(&ask).await.expect_json(201);
        let reference = only("request_uri", pushed["request_uri"].as_str().unwrap());
        assert_eq!(world.answer(&reference).await.params["state"], STATE);
    }
    let object = world.object(json!({"state": null}));
    let pushed = world
        .push(&only("request", &object).with("state", "outside alone"))
        .await
        .expect_json(201);
    let reference = only("request_uri", pushed["request_uri"].as_str().unwrap());
    assert_eq!(world.answer(&reference).await.params.get("state"), None);
}

#[tokio::test]
async fn a_client_that_must_push_is_not_served_by_an_object_in_the_browser() {
    let world = World::with(json!({"require_pushed_authorization_requests": true})).await;
    let object = world.object(json!({}));
    world.refused(&only("request", &object), "invalid_request").await;
    let hosts = &world.app.hosts;
    hosts.put(OBJECT, hosted(200, "application/oauth-authz-req+jwt", object));
    let answer = world
        .refused(&CLIENT.ask().with("request_uri", OBJECT), "invalid_request")
        .await;
    assert_eq!(answer.params["state"], STATE);
    assert!(answer.params["error_description"].contains("pushed"), "{answer:?}");
    // Where to send the answer stands in the object alone.
    let reply = world.app.get(&only("request_uri", OBJECT).path()).await;
    reply.expect_error_page(400, "invalid_request");
    assert_eq!(hosts.asked().len(), 0, "what is refused anyway is not fetched");
}

#[tokio::test]
async fn a_client_that_must_sign_registers_a_key_to_check_it_with() {
    let app = TestApp::start().await;
    let document = clients(&[json!({
        "client_id": "unkeyed", "client_secret": "unkeyed-secret-1f1f", "redirect_uris": ["https://x.example/cb"],
        "scope": "openid", "require_signed_request_object": true,
    })]);
    let error = app.try_apply(&document).await.unwrap_err().to_string();
    assert!(error.contains("require_signed_request_object"), "{error}");
}

#[tokio::test]
async fn an_object_of_a_client_that_binds_its_tokens_is_the_whole_request_whatever_its_typ() {
    let world = World::with(json!({"dpop_bound_access_tokens": true})).await;
    for claims in [json!({"exp": null}), json!({"nbf": null}), json!({"aud": null})] {
        let object = world.typed(Value::Null, claims);
        world
            .push(&only("request", &object))
            .await
            .expect_oauth_error(400, "invalid_request_object");
    }
    let object = world.typed(Value::Null, json!({"state": null}));
    let answer = world.answer(&CLIENT.ask().with("request", &object)).await;
    assert_eq!(answer.params.get("state"), None);
}
