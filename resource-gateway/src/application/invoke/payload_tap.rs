//! Keeps what goes to and fro, for interfaces that log payloads.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::{call::Call, interface::Interface, usage::UsageRecord},
    ports::payload_log::{Payload, PayloadLog},
};

/// A request with as much of its answer as has gone out.
#[derive(Debug)]
pub(super) struct PayloadTap {
    request: Bytes,
    reply: Vec<Bytes>,
    room: usize,
    reply_bytes: u64,
    keep_base64: bool,
    log: Arc<dyn PayloadLog>,
}

impl PayloadTap {
    /// A tap for calls whose interface wants one.
    pub(super) fn of(interface: &Interface, call: &Call, log: &Arc<dyn PayloadLog>) -> Option<Self> {
        interface.log.payload.is_on().then(|| Self {
            request: call.outline(),
            reply: Vec::new(),
            room: log.reply_bytes(),
            reply_bytes: 0,
            keep_base64: interface.log.image_base64.is_on(),
            log: Arc::clone(log),
        })
    }

    pub(super) fn sends(&mut self, bytes: &Bytes) {
        self.reply_bytes += bytes.len() as u64;
        let taken = bytes.len().min(self.room);
        if taken > 0 {
            self.room -= taken;
            self.reply.push(bytes.slice(..taken));
        }
    }

    pub(super) fn offer(self, record: &UsageRecord) {
        self.log.offer(Payload {
            request_id: record.request_id.clone(),
            time: record.time,
            tenant: record.tenant.clone(),
            client_id: record.client_id.clone(),
            sub: record.sub.clone(),
            interface: record.interface.clone(),
            state: record.state,
            request: self.request,
            reply: self.reply,
            reply_bytes: self.reply_bytes,
            keep_base64: self.keep_base64,
        });
    }
}
