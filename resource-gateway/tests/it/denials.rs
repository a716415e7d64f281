//! A caller that is turned away is counted, once, at whichever door.

use std::{collections::BTreeMap, path::Path};

use reqwest::Method;
use serde_json::json;

use crate::{
    place::{Place, Serving},
    running::chat,
};

const DOCUMENTS: &str = "[[vendor]]\nname = \"v\"\nstrategy = \"sandbox\"\n\
    [[interface]]\nname = \"m\"\ncapability = \"chat\"\nroutes = [{ vendor = \"v\", model = \"sandbox-1\" }]\njobs = {}\n";

/// What `/metrics` says about callers that were turned away, by reason.
async fn counted(serving: &Serving) -> BTreeMap<String, u64> {
    let url = format!("{}/metrics", serving.management);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let counts = text.lines().filter_map(|line| {
        let (reason, count) = line
            .strip_prefix("gateway_refused_callers_total{reason=\"")?
            .split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().unwrap()))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn a_denial_is_counted_once_by_its_reason_at_every_door() {
    let place = Place::sqlite().await;
    let foundation = place.lay().await.unwrap();
    let documents = foundation.apply().unwrap();
    documents.apply(DOCUMENTS, Path::new(".")).await.unwrap();
    foundation.close().await;
    let serving = place.serve().await;
    assert_eq!(counted(&serving).await, BTreeMap::new());

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut expected = BTreeMap::new();
    for (method, path, prefer, reason) in [
        (Method::GET, "/auth/forward?scope=ai:x", "", "scope"),
        (Method::GET, "/auth/forward?interface=m", "", "interface"),
        (Method::GET, "/auth/forward?interface=m", "", "interface"),
        (Method::POST, "/v1/chat/completions", "", "scope"),
        (Method::POST, "/v1/chat/completions", "", "interface"),
        (Method::POST, "/v1/chat/completions", "", "authorization_details"),
        (Method::POST, "/v1/chat/completions", "respond-async", "interface"),
        (Method::POST, "/ai/invoke/chat_completion", "", "interface"),
        (Method::GET, "/v1/raw/m/path", "", "scope"),
        (Method::GET, "/v1/conversations", "", "scope"),
        (Method::GET, "/admin/v1/vendors", "", "scope"),
        (Method::GET, "/admin/v1/vendors", "", "permission"),
    ] {
        let claims = match reason {
            "interface" => json!({"ai_interfaces": ["other"]}),
            "authorization_details" => json!({"authorization_details": [{"type": "ai_call", "interfaces": ["other"]}]}),
            "permission" => json!({"scope": "openid admin", "tenant": "default", "permissions": ["price:read"]}),
            _ => json!({"scope": "openid"}),
        };
        let request = http
            .request(method, format!("{}{path}", serving.url))
            .bearer_auth(place.issuer.token(&claims))
            .header("prefer", prefer)
            .json(&chat("m"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path} {:?}", answer.text().await);
        *expected.entry(reason.to_owned()).or_insert(0) += 1;
        assert_eq!(counted(&serving).await, expected, "{path}");
    }
}
