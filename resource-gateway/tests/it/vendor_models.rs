//! Administrators ask a vendor for its models.

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    admin::{get as ask, problem},
    running::Running,
};

/// Of more models than a page has.
async fn page(uri: Uri) -> Response {
    assert_eq!(uri.query(), Some("limit=1000"));
    axum::Json(json!({"data": [{"id": "claude-a"}], "has_more": true})).into_response()
}

async fn list(headers: HeaderMap) -> Response {
    if headers["authorization"] != "Bearer sk-good-0123456789" {
        let said = "no such key sk-wrong-0123456789";
        return (
            StatusCode::UNAUTHORIZED,
            axum::Json(json!({"error": {"message": said}})),
        )
            .into_response();
    }
    axum::Json(
        json!({"object": "list", "data": [{"id": "b-large", "object": "model"}, {"id": "a-small", "object": "model"}]}),
    )
    .into_response()
}

async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v1/models", get(list))
        .route("/paged/v1/models", get(page));
    #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn a_vendor_tells_its_models_to_administrators() {
    let url = start().await;
    let world = Running::start().await;
    // Nobody listens there any more.
    let left = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", left.local_addr().unwrap());
    drop(left);
    let vendor = |name: &str, strategy: &str, url: &str, more: &str| {
        format!("[[vendor]]\nname = \"{name}\"\nstrategy = \"{strategy}\"\nbase_url = \"{url}\"\n{more}\n")
    };
    world
        .apply(
            &[
                vendor("good", "openai", &url, "secret_key = \"sk-good-0123456789\""),
                vendor("wrong", "openai", &url, "secret_key = \"sk-wrong-0123456789\""),
                vendor("off", "openai", &url, "enabled = false"),
                vendor(
                    "paged",
                    "anthropic",
                    &url.replace("/v1", "/paged"),
                    "secret_key = \"k\"",
                ),
                vendor("nobody", "openai", &closed, ""),
                vendor("mute", "tencent", &url, "secret_id = \"i\"\nsecret_key = \"k\""),
            ]
            .concat(),
        )
        .await;
    let models = async |name: &str| ask(&world, &format!("/v1/vendors/{name}/models")).await;
    let told = models("good").await;
    assert_eq!(told.header("cache-control"), "no-store");
    let told: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(
        told,
        json!({"items": [{"id": "b-large"}, {"id": "a-small"}], "truncated": false})
    );

    // The longest page was asked for, and there is more behind it.
    let told: Value = serde_json::from_str(&models("paged").await.body).unwrap();
    assert_eq!(told, json!({"items": [{"id": "claude-a"}], "truncated": true}));

    let refused = models("wrong").await;
    let why = problem(&refused, 502, "vendor_failed")["detail"].to_string();
    assert!(
        why.contains("authentication: no such key") && !why.contains("sk-wrong"),
        "{why}"
    );
    problem(&models("nobody").await, 502, "vendor_failed");
    problem(&models("off").await, 409, "vendor_not_in_use");
    problem(&models("mute").await, 409, "models_not_listed");
    problem(&models("unheard-of").await, 404, "not_found");
    world.stop().await;
}
