//! The internet as the provider sees it in a test: hosts that answer what they were told to, without sockets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use auth_server::ports::outbound::{Outbound, OutboundError, OutboundReply, OutboundRequest};
use serde_json::Value;

/// Hosts by URL; all others cannot be reached.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    replies: Mutex<HashMap<String, Result<OutboundReply, OutboundError>>>,
    asked: Mutex<Vec<Arc<OutboundRequest>>>,
}

/// A reply that says nothing of how long it may be kept.
pub(crate) fn reply(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> OutboundReply {
    OutboundReply {
        status,
        content_type: Some(content_type.to_owned()),
        body: body.into().into(),
        keep_for: None,
    }
}

impl Hosts {
    /// From now on that URL answers so.
    pub(crate) fn put(&self, url: &str, reply: OutboundReply) {
        self.set(url, Ok(reply));
    }

    pub(crate) fn put_json(&self, url: &str, body: &Value) {
        self.put(url, reply(200, "application/json", body.to_string()));
    }

    /// As [`Hosts::put_json`], with a `max-age`.
    pub(crate) fn put_json_for(&self, url: &str, body: &Value, seconds: u64) {
        let keep_for = Some(Duration::from_secs(seconds));
        let reply = reply(200, "application/json", body.to_string());
        self.put(url, OutboundReply { keep_for, ..reply });
    }

    pub(crate) fn fail(&self, url: &str, error: OutboundError) {
        self.set(url, Err(error));
    }

    fn set(&self, url: &str, outcome: Result<OutboundReply, OutboundError>) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.insert(url.to_owned(), outcome);
    }

    /// Everything that was asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Arc<OutboundRequest>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often that URL was asked.
    pub(crate) fn times(&self, url: &str) -> usize {
        self.asked().iter().filter(|asked| asked.url == url).count()
    }
}

#[async_trait]
impl Outbound for Hosts {
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundReply, OutboundError> {
        let request = Arc::new(request);
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        // Others get to run meanwhile, as with a real host.
        tokio::task::yield_now().await;
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies
            .get(&request.url)
            .cloned()
            .unwrap_or(Err(OutboundError::Unreachable))
    }
}
