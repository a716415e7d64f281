//! A provider with a client of every kind that signs, and one token of every kind that there is.

use std::sync::atomic::{AtomicU64, Ordering};

use auth_server::config::AssertionIssuerConfig;
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use test_kit::TestKey;

use super::readers::{
    Assertion, Grant, OwnToken, Place, Proof, Reader as _, RequestObject, Signer, parts_of, provider,
};
use crate::app::{
    ALICE, Builder, CHALLENGE, DESK, ISSUER, NONCE, OWN, STATE, Signatory, TestApp, TestClient, Tokens, WEB, asking,
    clients, fields, refresh_form,
};

/// A client that signs everything by one key: assertions, request objects, proofs.
pub(super) const KEYED: TestClient = TestClient {
    id: "keyed",
    secret: None,
    redirect_uri: "https://signatory.example/cb",
    scope: "ai:chat",
};
/// One that gets everything signed.
const SIGNED: TestClient = TestClient {
    id: "signed",
    secret: Some("signed-secret-4a4a"),
    redirect_uri: "https://signed.example/cb",
    scope: "openid",
};
pub(super) const EXCHANGER: TestClient = TestClient {
    id: "front",
    secret: Some("front-secret-4d4d"),
    redirect_uri: "https://front.example/cb",
    scope: "openid",
};
/// One to whom a listed issuer speaks of people.
pub(super) const AGENT: TestClient = TestClient {
    id: "agent",
    secret: Some("agent-secret-5b5b"),
    redirect_uri: "",
    scope: "openid",
};
const CORP: &str = "https://idp.corp.example";
const MAC: &str = "mac";
const MAC_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef-mac";

const DOCUMENT: &str = r#"
[[client]]
client_id = "signed"
client_secret = "signed-secret-4a4a"
redirect_uris = ["https://signed.example/cb"]
scope = "openid"
auto_approve = true
permissions = ["token:introspect"]
authorization_signed_response_alg = "ES256"
userinfo_signed_response_alg = "ES256"
introspection_signed_response_alg = "ES256"

[[client]]
client_id = "front"
client_secret = "front-secret-4d4d"
redirect_uris = ["https://front.example/cb"]
grant_types = ["urn:ietf:params:oauth:grant-type:token-exchange", "authorization_code"]
scope = "openid profile email"

[[client]]
client_id = "agent"
client_secret = "agent-secret-5b5b"
grant_types = ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
response_types = []
scope = "openid"
auto_approve = true
"#;

static NEXT: AtomicU64 = AtomicU64::new(0);

pub(super) fn next_jti() -> String {
    format!("once-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(super) struct World {
    pub(super) app: TestApp,
    key: TestKey,
    /// Of [`OWN`], which anybody's session may be asked for.
    own: Tokens,
    web: Tokens,
    /// Of a client that asks elsewhere.
    desk: Tokens,
    /// Bound to the key.
    bound: String,
}

impl World {
    pub(super) async fn start(builder: Builder) -> Self {
        let (keyed, mac) = (
            Signatory::with_key(KEYED.id, SigningAlg::Es256),
            Signatory::with_secret(MAC),
        );
        let crate::app::By::Key(key) = &keyed.by else {
            unreachable!("it was made with one")
        };
        let key = TestKey::from_private(SigningAlg::Es256, Value::Object(key.private()).to_string().as_bytes());
        let open = json!({"require_pkce": false});
        let grants = json!([
            "client_credentials",
            "authorization_code",
            "urn:ietf:params:oauth:grant-type:jwt-bearer"
        ]);
        let granted = json!({"require_pkce": false, "grant_types": grants});
        let registrations = [keyed.registration(granted), mac.registration(open)];
        let keys = json!({"keys": [key.public_with(json!({"kid": "k1"}))]});
        let issuer = AssertionIssuerConfig {
            issuer: CORP.into(),
            jwks: keys.as_object().cloned(),
            clients: vec![AGENT.id.into()],
            scopes: vec!["openid".into()],
            ..AssertionIssuerConfig::default()
        };
        let app = builder
            .config(|config| config.assertion_issuers = vec![issuer])
            .document(&clients(&registrations))
            .document(DOCUMENT)
            .start()
            .await;
        let own = app.tokens(ALICE, OWN).await;
        let web = app.tokens(ALICE, WEB).await;
        let code = app.consented_code(ALICE, OWN).await;
        let asked = app.asked(DESK, &asking(DESK, ALICE)).await;
        app.answer_request(ALICE, "approve-allow").await;
        let desk = app.ask_after(DESK, &asked).await.expect_tokens();
        let mut world = Self {
            desk,
            app,
            key,
            own,
            web,
            bound: String::new(),
        };
        let proof = world.proof(None);
        let (header, claims) = proof.good();
        let proof = proof.signer().sign(header.to_string(), claims.to_string());
        let call = world.app.call(Method::POST, "/oauth2/token").header("dpop", &proof);
        let reply = call.basic(OWN.id, OWN.secret.unwrap()).form(&code.form()).send().await;
        reply.expect_json(200)["access_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut world.bound);
        world
    }

    fn own_key(&self) -> Signer {
        let jwk = Value::Object(self.key.private()).to_string();
        Signer::Key(Box::new(TestKey::from_private(SigningAlg::Es256, jwk.as_bytes())))
    }

    pub(super) fn assertion(&self) -> Assertion<'_> {
        Assertion {
            world: self,
            client: KEYED.id,
            signer: self.own_key(),
        }
    }

    pub(super) fn grant_of_issuer(&self) -> Grant<'_> {
        Grant {
            world: self,
            issuer: CORP,
            signer: self.own_key(),
        }
    }

    pub(super) fn grant_of_client(&self) -> Grant<'_> {
        Grant {
            world: self,
            issuer: KEYED.id,
            signer: self.own_key(),
        }
    }

    pub(super) fn assertion_by_secret(&self) -> Assertion<'_> {
        Assertion {
            world: self,
            client: MAC,
            signer: Signer::Mac(MAC_SECRET),
        }
    }

    fn proof(&self, token: Option<String>) -> Proof<'_> {
        Proof {
            world: self,
            signer: self.own_key(),
            token,
        }
    }

    pub(super) fn proof_at_token(&self) -> Proof<'_> {
        self.proof(None)
    }

    pub(super) fn proof_at_userinfo(&self) -> Proof<'_> {
        self.proof(Some(self.bound.clone()))
    }

    pub(super) fn request_object(&self) -> RequestObject<'_> {
        RequestObject {
            world: self,
            signer: self.own_key(),
        }
    }

    pub(super) fn request_claims(&self) -> Value {
        let now = self.app.now();
        json!({
            "iss": KEYED.id, "aud": ISSUER, "iat": now, "nbf": now, "exp": now + 300, "jti": next_jti(),
            "client_id": KEYED.id, "response_type": "code", "redirect_uri": KEYED.redirect_uri, "scope": KEYED.scope,
            "state": STATE, "nonce": NONCE, "code_challenge": CHALLENGE, "code_challenge_method": "S256",
        })
    }

    pub(super) async fn own_token(&self, place: Place) -> OwnToken<'_> {
        let token = match place {
            // The one that the hint's address is registered for.
            Place::HintAtLogout => &self.web.id_token,
            Place::HintAtAuthorize => &self.own.id_token,
            Place::HintAtBackchannel => &self.desk.id_token,
            Place::Userinfo | Place::Introspection | Place::Exchange => &self.own.access_token,
        };
        let (header, claims) = parts_of(token);
        OwnToken {
            world: self,
            place,
            signer: provider(&self.app, &header).await,
            header,
            claims,
        }
    }

    /// One genuine token of every kind, by its name.
    pub(super) async fn strangers(&self) -> Vec<(&'static str, String)> {
        let app = &self.app;
        let signed = |reader: &dyn Fn() -> (Value, Value), signer: &Signer| {
            let (header, claims) = reader();
            signer.sign(header.to_string(), claims.to_string())
        };
        let (assertion, by_secret, object) = (self.assertion(), self.assertion_by_secret(), self.request_object());
        let grant = self.grant_of_issuer();
        let (at_token, at_userinfo) = (self.proof_at_token(), self.proof_at_userinfo());
        let code = app.consented_code(ALICE, SIGNED).await;
        let tokens = app.exchange(&code).await.expect_tokens();
        let mut browser = app.signed_in(ALICE).await;
        let jarm = browser
            .get(&SIGNED.ask().with("response_mode", "jwt").path())
            .await
            .expect_redirect();
        let (_, query) = jarm.split_once("response=").unwrap();
        let introspected = app
            .call(Method::POST, "/oauth2/introspect")
            .basic(SIGNED.id, SIGNED.secret.unwrap())
            .header("accept", "application/token-introspection+jwt")
            .form(&fields([("token", &self.own.access_token)]));
        let logout = json!({
            "iss": ISSUER, "sub": ALICE.sub, "aud": WEB.id, "iat": app.now(), "exp": app.now() + 120, "jti": next_jti(),
            "sid": "sid", "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        let refreshed = app.refresh(WEB, &self.web.refresh_token).await;
        let refresh_token = match refreshed.status {
            200 => refreshed.expect_tokens().refresh_token,
            _ => refresh_form("x").get("refresh_token").unwrap().to_owned(),
        };
        vec![
            ("access token", self.own.access_token.clone()),
            ("bound access token", self.bound.clone()),
            ("ID token", self.own.id_token.clone()),
            ("refresh token", refresh_token),
            ("code", app.consented_code(ALICE, OWN).await.value),
            ("signed authorization response", query.to_owned()),
            ("signed userinfo", app.userinfo(&tokens).await.expect_status(200).text()),
            (
                "signed introspection",
                introspected.send().await.expect_status(200).text(),
            ),
            ("logout token", app.sign_as_provider("logout+jwt", &logout).await),
            ("security event", self.security_event().await),
            ("assertion", signed(&|| assertion.good(), assertion.signer())),
            ("grant of an issuer", signed(&|| grant.good(), grant.signer())),
            (
                "assertion by a secret",
                signed(&|| by_secret.good(), by_secret.signer()),
            ),
            ("request object", signed(&|| object.good(), object.signer())),
            (
                "proof for the token endpoint",
                signed(&|| at_token.good(), at_token.signer()),
            ),
            (
                "proof for userinfo",
                signed(&|| at_userinfo.good(), at_userinfo.signer()),
            ),
        ]
    }

    /// What gateways are told of a revocation.
    async fn security_event(&self) -> String {
        let app = &self.app;
        let spent = app.tokens(ALICE, OWN).await;
        app.revoke(OWN, &spent.access_token).await.expect_status(200);
        let call = app
            .call(Method::POST, "/events/poll?stream=a")
            .bearer(&TestApp::events_credential());
        let told = call
            .json(&json!({"returnImmediately": true}))
            .send()
            .await
            .expect_json(200);
        let sets = told["sets"].as_object().unwrap();
        sets.values().next().unwrap().as_str().unwrap().to_owned()
    }
}
