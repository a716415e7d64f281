//! What tests sign requests with, and how they send them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use resource_gateway::{
    application::access_keys::Issued,
    domain::{
        access_key::KeySettings,
        audit::Actor,
        ids::{ClientId, TenantId},
        vendor::Switch,
    },
};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use service_kit::Timestamp;

use crate::{
    running::{Answer, Running, chat},
    signer::{Key, Request, Stamp, sign},
    stub_issuer::now,
};

pub(crate) const CHAT: &str = "/v1/chat/completions";

pub(crate) fn settings() -> KeySettings {
    KeySettings {
        client_id: ClientId::new("machine"),
        tenant: Some(TenantId::new("t1")),
        sub: None,
        scopes: ["ai:chat".to_owned(), "ai:embeddings".to_owned()].into(),
        interfaces: None,
        ip_allow: Vec::new(),
        enabled: Switch::On,
    }
}

pub(crate) fn operator() -> Actor {
    Actor::command_line()
}

/// A key as its holder has it.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl From<&Issued> for Holder {
    fn from(issued: &Issued) -> Self {
        Self {
            id: issued.key.id.to_string(),
            secret: issued.secret.expose_secret().to_owned(),
        }
    }
}

/// A request before it is signed.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) body: Vec<u8>,
    pub(crate) date: i64,
    pub(crate) expires: u32,
    pub(crate) nonce: String,
}

impl Draft {
    pub(crate) fn new(method: &'static str, url: String, body: Vec<u8>) -> Self {
        static NONCES: AtomicU64 = AtomicU64::new(0);
        Self {
            method,
            url,
            body,
            date: now(),
            expires: 300,
            nonce: format!("test-nonce-{:016}", NONCES.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub(crate) fn headers(&self, holder: &Holder) -> BTreeMap<String, String> {
        let key = Key {
            id: &holder.id,
            secret: &holder.secret,
        };
        let date = Timestamp::from_seconds(self.date).to_rfc3339();
        let stamp = Stamp {
            date: &date,
            nonce: &self.nonce,
            expires: self.expires,
        };
        let request = Request {
            method: self.method,
            url: &self.url,
            body: &self.body,
            headers: &[("content-type", "application/json")],
        };
        sign(&key, &request, &stamp).unwrap().headers
    }
}

impl Running {
    pub(crate) async fn issue(&self, settings: KeySettings) -> Holder {
        let keys = self.gateway.foundation.access_keys().unwrap();
        Holder::from(&keys.issue(settings, &operator()).await.unwrap())
    }

    pub(crate) fn draft(&self, model: &str) -> Draft {
        self.draft_of(&chat(model))
    }

    pub(crate) fn draft_of(&self, body: &Value) -> Draft {
        Draft::new("POST", format!("{}{CHAT}", self.url), body.to_string().into_bytes())
    }

    /// Sends a request with these headers, whatever they were made for.
    pub(crate) async fn send(&self, draft: &Draft, headers: &BTreeMap<String, String>) -> Answer {
        let method = reqwest::Method::from_bytes(draft.method.as_bytes()).unwrap();
        let mut request = self.http.request(method, &draft.url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if !draft.body.is_empty() {
            request = request.body(draft.body.clone());
        }
        Answer::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn send_signed(&self, holder: &Holder, draft: &Draft) -> Answer {
        self.send(draft, &draft.headers(holder)).await
    }

    pub(crate) async fn signed_chat(&self, holder: &Holder, model: &str) -> Answer {
        self.send_signed(holder, &self.draft(model)).await
    }
}

/// A signature was refused with this code, and the answer says which scheme would do.
#[track_caller]
pub(crate) fn is_refused(answer: &Answer, status: u16, code: &str) {
    let error = answer.error(status);
    assert_eq!(error["code"], code, "{}", answer.body);
    if status == 400 || status == 401 {
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.starts_with(&format!("HEXGATE-HMAC-SHA256 error=\"{code}\"")),
            "{challenge}"
        );
    }
}
