//! An OAuth client in as little code as will do, with answers that can be asserted on.

use std::{collections::BTreeMap, path::Path, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::{
    Method, RequestBuilder,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    browser::Browser,
    world::{PASSWORD, SECRET, World},
};

/// `length` random characters of the base64url alphabet.
pub(crate) fn random_text(length: usize) -> String {
    let bytes: Vec<u8> = (0..length).map(|_| rand::random()).collect();
    URL_SAFE_NO_PAD.encode(bytes)[..length].to_owned()
}

/// Plain HTTP that follows nothing and uses no proxy.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    issuer: String,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            body: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A 200 answer of JSON.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{} {:?}", self.body, self.headers);
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }

    /// A token answer: RFC 6749 §5.1.
    #[track_caller]
    pub(crate) fn tokens(&self) -> Tokens {
        let json = self.ok();
        assert!(
            self.header(CACHE_CONTROL.as_str()).contains("no-store"),
            "{:?}",
            self.headers
        );
        assert_eq!(json["token_type"], "Bearer");
        assert!(json["expires_in"].is_u64());
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Tokens {
            access: text("access_token").unwrap(),
            refresh: text("refresh_token"),
            id: text("id_token"),
            json,
        }
    }

    /// RFC 6749 §5.2: the error object of the token endpoint and its relatives.
    #[track_caller]
    pub(crate) fn oauth_error(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.json()["error"].as_str()),
            (status, Some(code)),
            "{}",
            self.body
        );
        assert!(
            self.header(CACHE_CONTROL.as_str()).contains("no-store"),
            "{:?}",
            self.headers
        );
        let description = self.json()["error_description"].as_str().unwrap_or_default().to_owned();
        // RFC 6749 Appendix A.8
        assert!(
            description
                .bytes()
                .all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
            "{description:?}"
        );
        if status == 401 {
            assert!(
                self.headers.contains_key(WWW_AUTHENTICATE),
                "RFC 9110 §15.5.2 wants a challenge"
            );
        }
    }

    /// RFC 6750 §3: a refused bearer token.
    #[track_caller]
    pub(crate) fn bearer_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        let challenge = self.header(WWW_AUTHENTICATE.as_str());
        assert!(
            challenge.starts_with("Bearer") && challenge.contains(&format!("error=\"{code}\"")),
            "{challenge}"
        );
    }
}

/// What a token endpoint gave.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) json: Value,
}

impl Tokens {
    pub(crate) fn refresh(&self) -> &str {
        self.refresh.as_deref().expect("a refresh token was issued")
    }

    pub(crate) fn access_claims(&self) -> Value {
        claims(&self.access)
    }

    pub(crate) fn id_claims(&self) -> Value {
        claims(self.id.as_deref().expect("an ID token was issued"))
    }
}

fn part(token: &str, index: usize) -> Value {
    let part = token
        .split('.')
        .nth(index)
        .unwrap_or_else(|| panic!("not a JWT: {token}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) fn header(token: &str) -> Value {
    part(token, 0)
}

pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// A token of these parts without a signature of worth.
pub(crate) fn unsigned(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(header),
        part(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// How a token request authenticates.
#[derive(Debug, Clone)]
pub(crate) enum Auth<'a> {
    Basic(&'a str, &'a str),
    Post(&'a str, &'a str),
    Public(&'a str),
    Nothing,
}

impl Http {
    pub(crate) fn new(issuer: String) -> Self {
        Self::trusting(issuer, None)
    }

    /// Trusts one certificate only, if one is given.
    pub(crate) fn trusting(issuer: String, certificate: Option<&Path>) -> Self {
        Self::showing(issuer, certificate, None)
    }

    /// As [`Http::trusting`], with a certificate of its own and its key (PEM) in the TLS handshake.
    pub(crate) fn showing(issuer: String, certificate: Option<&Path>, own: Option<(&[u8], &[u8])>) -> Self {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_mins(1));
        if let Some(path) = certificate {
            let pem = std::fs::read(path).unwrap();
            builder = builder.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        }
        if let Some((certificate, key)) = own {
            builder = builder.identity(reqwest::Identity::from_pkcs8_pem(certificate, key).unwrap());
        }
        Self {
            client: builder.build().unwrap(),
            issuer,
        }
    }

    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let url = if url.starts_with('/') {
            format!("{}{url}", self.issuer)
        } else {
            url.to_owned()
        };
        self.client.request(method, url)
    }

    pub(crate) async fn get(&self, url: &str) -> Reply {
        Reply::read(self.request(Method::GET, url).send().await.unwrap()).await
    }

    pub(crate) async fn bearer_get(&self, url: &str, token: &str) -> Reply {
        Reply::read(self.request(Method::GET, url).bearer_auth(token).send().await.unwrap()).await
    }

    /// A form to one of the OAuth endpoints.
    pub(crate) async fn post(&self, path: &str, auth: Auth<'_>, fields: &[(&str, &str)]) -> Reply {
        let mut fields = fields.to_vec();
        let mut request = self.request(Method::POST, path);
        match auth {
            Auth::Basic(id, secret) => request = request.header("authorization", basic(id, secret)),
            Auth::Post(id, secret) => fields.extend([("client_id", id), ("client_secret", secret)]),
            Auth::Public(id) => fields.push(("client_id", id)),
            Auth::Nothing => {}
        }
        Reply::read(request.form(&fields).send().await.unwrap()).await
    }

    pub(crate) async fn token(&self, auth: Auth<'_>, fields: &[(&str, &str)]) -> Reply {
        self.post("/oauth2/token", auth, fields).await
    }

    pub(crate) async fn client_credentials(&self, client: &str, scope: &str) -> Tokens {
        self.token(
            Auth::Basic(client, SECRET),
            &[("grant_type", "client_credentials"), ("scope", scope)],
        )
        .await
        .tokens()
    }

    pub(crate) async fn password(&self, username: &str, password: &str) -> Reply {
        let fields = [
            ("grant_type", "password"),
            ("username", username),
            ("password", password),
            ("scope", "openid profile offline_access admin"),
        ];
        self.token(Auth::Public("console"), &fields).await
    }

    /// A console's token for the gateway's admin API.
    pub(crate) async fn operator(&self, gateway: &str) -> String {
        let fields = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", PASSWORD),
            ("scope", "openid admin"),
            ("resource", gateway),
        ];
        self.token(Auth::Public("console"), &fields).await.tokens().access
    }

    /// RFC 7662 by the demo's resource server.
    pub(crate) async fn introspect(&self, token: &str) -> Value {
        self.post(
            "/oauth2/introspect",
            Auth::Basic("resource_server", SECRET),
            &[("token", token)],
        )
        .await
        .ok()
    }

    pub(crate) async fn userinfo(&self, token: &str) -> Reply {
        self.bearer_get("/userinfo", token).await
    }

    /// A raw body, for what a form builder would not write.
    pub(crate) async fn post_raw(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::read(request.body(body.to_owned()).send().await.unwrap()).await
    }
}

/// An application that uses the authorization code flow.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) http: Http,
    pub(crate) client_id: &'static str,
    pub(crate) secret: Option<&'static str>,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
}

/// An authorization request that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) verifier: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
}

/// A code with what it takes to redeem it.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) code: String,
    pub(crate) verifier: String,
    pub(crate) nonce: String,
}

impl App {
    pub(crate) fn confidential(world: &World, client_id: &'static str, redirect_uri: &str, scope: &str) -> Self {
        Self {
            http: world.http(),
            client_id,
            secret: Some(SECRET),
            redirect_uri: redirect_uri.into(),
            scope: scope.into(),
        }
    }

    pub(crate) fn public(world: &World, client_id: &'static str, redirect_uri: &str, scope: &str) -> Self {
        Self {
            secret: None,
            ..Self::confidential(world, client_id, redirect_uri, scope)
        }
    }

    pub(crate) fn scope(mut self, scope: &str) -> Self {
        scope.clone_into(&mut self.scope);
        self
    }

    pub(crate) fn auth(&self) -> Auth<'_> {
        match self.secret {
            Some(secret) => Auth::Basic(self.client_id, secret),
            None => Auth::Public(self.client_id),
        }
    }

    /// The authorization URL, with `changes` made to its parameters (an empty value removes one).
    pub(crate) fn ask(&self, changes: &[(&str, &str)]) -> Asked {
        let (verifier, state, nonce) = (random_text(64), random_text(16), random_text(16));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut parameters: Vec<(&str, &str)> = vec![
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.scope),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in changes {
            parameters.retain(|(found, _)| found != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        let url = Url::parse_with_params(&format!("{}/oauth2/authorize", self.http.issuer), &parameters).unwrap();
        Asked {
            url: url.into(),
            verifier,
            state,
            nonce,
        }
    }

    /// Sends the person through sign-in and consent; answers the code.
    pub(crate) async fn code_from(&self, browser: &Browser, username: &str) -> Granted {
        let asked = self.ask(&[]);
        let back = browser.go_through(&asked.url, username).await;
        let answer = answer_of(&back);
        assert_eq!(answer.get("state"), Some(&asked.state));
        assert_eq!(answer.get("iss"), Some(&self.http.issuer), "RFC 9207");
        Granted {
            code: answer.get("code").unwrap_or_else(|| panic!("no code: {back}")).clone(),
            verifier: asked.verifier,
            nonce: asked.nonce,
        }
    }

    pub(crate) async fn redeem(&self, granted: &Granted) -> Reply {
        self.redeem_with(granted, &[]).await
    }

    /// Redeems with `changes` made to the form (an empty value removes a field).
    pub(crate) async fn redeem_with(&self, granted: &Granted, changes: &[(&str, &str)]) -> Reply {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", granted.code.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", granted.verifier.as_str()),
        ];
        for (name, value) in changes {
            fields.retain(|(found, _)| found != name);
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        self.http.token(self.auth(), &fields).await
    }

    /// The whole flow in a browser of its own.
    pub(crate) async fn tokens_of(&self, world: &World, username: &str) -> Tokens {
        self.tokens_from(&Browser::new(world), username).await
    }

    pub(crate) async fn tokens_from(&self, browser: &Browser, username: &str) -> Tokens {
        let granted = self.code_from(browser, username).await;
        self.redeem(&granted).await.tokens()
    }

    pub(crate) async fn refresh(&self, token: &str) -> Reply {
        self.http
            .token(
                self.auth(),
                &[("grant_type", "refresh_token"), ("refresh_token", token)],
            )
            .await
    }

    pub(crate) async fn revoke(&self, token: &str) -> Reply {
        self.http.post("/oauth2/revoke", self.auth(), &[("token", token)]).await
    }
}

/// The query parameters of a redirect, each of which may be there once.
#[track_caller]
pub(crate) fn answer_of(url: &Url) -> BTreeMap<String, String> {
    let mut answer = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        assert!(
            answer.insert(name.into_owned(), value.into_owned()).is_none(),
            "twice in {url}"
        );
    }
    assert_eq!(url.fragment(), None);
    answer
}

/// A console session of `username` by the password grant.
pub(crate) async fn console_tokens(world: &World, username: &str) -> Tokens {
    world.http().password(username, PASSWORD).await.tokens()
}
