//! Client libraries that nobody here wrote. The scripts know nothing but a file like `.run/demo.json`.

use std::{path::PathBuf, process::Command};

use openidconnect::{
    AccessTokenHash, AuthenticationFlow, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, RedirectUrl, Scope,
    TokenResponse as _,
    core::{CoreClient, CoreGenderClaim, CoreProviderMetadata, CoreResponseType, CoreUserInfoClaims},
};

use crate::{
    browser::Browser,
    oauth::answer_of,
    world::{Engine, SECRET, World, required_environment, root},
};

/// Runs a script with the path of a `demo.json`; its output is shown when it fails.
pub(crate) async fn run_with(program: String, script: &str, demo: PathBuf) {
    run_in(program, script, demo, &[]).await;
}

/// As [`run_with`], with more in its environment.
pub(crate) async fn run_in(program: String, script: &str, demo: PathBuf, environment: &[(&'static str, String)]) {
    let environment = environment.to_vec();
    let path = root().join("tests").join(script);
    // On a thread that may wait, so that the test's runtime goes on.
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(&program);
        if program == "node" {
            command.arg("--test-reporter=spec");
        }
        command
            .arg(&path)
            .env("HEXGATE_DEMO", demo)
            .envs(environment)
            .env("HEXGATE_CHROMIUM", required_environment("HEXGATE_CHROMIUM"))
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("no_proxy", "127.0.0.1,localhost")
            .current_dir(path.parent().unwrap())
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{script} failed:\n{text}");
}

pub(crate) async fn run(program: String, script: &str, world: &World) {
    run_with(program, script, world.dir.join("demo.json")).await;
}

#[tokio::test]
async fn openid_client_of_npm_completes_every_flow() {
    run(
        "node".into(),
        "node/openid_client.mjs",
        World::shared(Engine::Sqlite).await,
    )
    .await;
}

#[tokio::test]
async fn authlib_of_pypi_completes_every_flow() {
    run(
        required_environment("HEXGATE_PYTHON"),
        "python/relying_party.py",
        World::shared(Engine::Sqlite).await,
    )
    .await;
}

#[tokio::test]
async fn the_official_openai_sdk_works_unmodified() {
    run(
        required_environment("HEXGATE_PYTHON"),
        "python/openai_sdk.py",
        World::shared(Engine::Sqlite).await,
    )
    .await;
}

/// An HTTP client in the form that the `openidconnect` crate takes.
async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let (parts, body) = request.into_parts();
    let response = http
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body)
        .send()
        .await?;
    let mut answer = http::Response::builder().status(response.status());
    *answer.headers_mut().unwrap() = response.headers().clone();
    Ok(answer.body(response.bytes().await?.to_vec()).unwrap())
}

#[tokio::test]
async fn the_openidconnect_crate_signs_a_person_in_reads_userinfo_and_refreshes() {
    let world = World::shared(Engine::Sqlite).await;
    for (client_id, secret, redirect) in [
        ("web", Some(SECRET), "http://127.0.0.1:8080/callback"),
        ("spa", None, "http://127.0.0.1:8081/callback"),
    ] {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let http = |request: HttpRequest| send(client.clone(), request);
        let metadata = CoreProviderMetadata::discover_async(IssuerUrl::new(world.issuer.clone()).unwrap(), &http)
            .await
            .unwrap();
        let app = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(client_id.into()),
            secret.map(|secret| ClientSecret::new(secret.into())),
        )
        .set_redirect_uri(RedirectUrl::new(redirect.into()).unwrap());

        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = app
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scope(Scope::new("profile".into()))
            .add_scope(Scope::new("offline_access".into()))
            .set_pkce_challenge(challenge)
            .url();
        let answer = answer_of(&Browser::new(world).go_through(url.as_str(), "alice").await);
        assert_eq!(&answer["state"], state.secret());

        let tokens = app
            .exchange_code(AuthorizationCode::new(answer["code"].clone()))
            .unwrap()
            .set_pkce_verifier(verifier)
            .request_async(&http)
            .await
            .unwrap();
        let verifier = app.id_token_verifier();
        let id_token = tokens.id_token().unwrap();
        let claims = id_token.claims(&verifier, &nonce).unwrap();
        let hash = AccessTokenHash::from_token(
            tokens.access_token(),
            id_token.signing_alg().unwrap(),
            id_token.signing_key(&verifier).unwrap(),
        )
        .unwrap();
        assert_eq!(&hash, claims.access_token_hash().unwrap());

        let about: CoreUserInfoClaims = app
            .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))
            .unwrap()
            .request_async(&http)
            .await
            .unwrap();
        assert_eq!(about.name().unwrap().get(None).unwrap().as_str(), "Alice Liddell");
        assert_eq!(about.gender(), Some(&CoreGenderClaim::new("female".into())));
        assert!(about.updated_at().is_some());

        let renewed = app
            .exchange_refresh_token(tokens.refresh_token().unwrap())
            .unwrap()
            .request_async(&http)
            .await
            .unwrap();
        assert_ne!(renewed.access_token().secret(), tokens.access_token().secret());
        let claims_again = renewed
            .id_token()
            .unwrap()
            .claims(&verifier, |_: Option<&Nonce>| Ok(()))
            .unwrap();
        assert_eq!(claims_again.subject(), claims.subject());
    }
}
