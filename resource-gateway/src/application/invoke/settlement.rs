//! The one owner of a request's usage record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use super::{WholeReply, passing::Head, payload_tap::PayloadTap};
use crate::{
    application::{budgets::Reservation, limits::Admission, meters::Meters, replay::Keeper},
    domain::{
        fault::Fault,
        ids::{ModelName, RawRouteName, VendorName},
        money::Nanos,
        price::Sought,
        recorded::Recorded,
        snapshot::Snapshot,
        usage::{UsageRecord, UsageState},
    },
    ports::{
        codec::{Progress, TokenUsage},
        usage::UsageSink,
    },
};

/// Sees to it that a request leaves exactly one usage record, however it ends. It travels from the use case into the body of the
/// reply; dropped on the way, it settles as "the caller has left", because nothing else drops it unsettled.
#[derive(Debug)]
pub(super) struct Settlement {
    record: UsageRecord,
    /// Tokens of the input, roughly.
    estimated_input: u64,
    progress: Progress,
    began: Instant,
    first_byte: Option<Duration>,
    settled: bool,
    /// What the request holds of its limits.
    admission: Admission,
    /// Request and answer, for interfaces that log them.
    payload: Option<Box<PayloadTap>>,
    /// Writes the answer down, if it is to be given again.
    keeper: Option<Box<Keeper>>,
    /// The money that the budgets hold back for the call.
    reservation: Option<Reservation>,
    /// Of a raw call.
    route: Option<RawRouteName>,
    books: Books,
}

/// Where a request is accounted for.
#[derive(Debug)]
pub(super) struct Books {
    /// Whose prices hold.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) sink: Arc<dyn UsageSink>,
    pub(super) meters: Arc<Meters>,
}

impl Settlement {
    pub(super) fn open(
        record: UsageRecord,
        estimated_input: u64,
        began: Instant,
        admission: Admission,
        books: Books,
    ) -> Self {
        Self {
            record,
            estimated_input,
            progress: Progress::default(),
            began,
            first_byte: None,
            settled: false,
            admission,
            payload: None,
            keeper: None,
            reservation: None,
            route: None,
            books,
        }
    }

    /// Request and answer are kept.
    pub(super) fn keep(&mut self, tap: PayloadTap) {
        self.payload = Some(Box::new(tap));
    }

    /// The call is of a route that prices know, and nothing else of it is counted.
    pub(super) fn route(&mut self, route: RawRouteName) {
        self.route = Some(route);
    }

    pub(super) fn keep_answer(&mut self, keeper: Option<Box<Keeper>>) {
        self.keeper = keeper;
    }

    /// The answer comes as a stream, perhaps under a head of the vendor's.
    pub(super) fn streams(&mut self, head: Option<&Head>) {
        self.record.stream = true;
        if let (Some(keeper), Some(head)) = (&mut self.keeper, head) {
            keeper.head(head.status, &head.content_type, &head.headers);
        }
    }

    /// A whole answer goes to the caller.
    pub(super) fn sends_whole(&mut self, reply: &WholeReply) {
        if let Some(tap) = &mut self.payload {
            tap.sends(&reply.outline());
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.whole();
            keeper.head(reply.status, &reply.content_type, &reply.headers);
            keeper.piece(&reply.body);
        }
    }

    /// The answer is one that was given before: it cost nothing, and no vendor heard of it.
    pub(super) fn replay(&mut self, answer: &Recorded) {
        match answer.pieces.as_slice() {
            [body] if !answer.stream => self.sends_whole(&WholeReply {
                status: answer.status,
                body: body.clone(),
                content_type: answer.content_type.clone(),
                headers: HeaderMap::new(),
            }),
            pieces => pieces.iter().for_each(|piece| self.sends(piece)),
        }
        self.note(Progress {
            usage: Some(TokenUsage::default()),
            ..Progress::default()
        });
        self.first_byte();
        self.settle(UsageState::Completed);
    }

    /// Bytes of the answer go to the caller.
    pub(super) fn sends(&mut self, bytes: &Bytes) {
        if let Some(tap) = &mut self.payload {
            tap.sends(bytes);
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.piece(bytes);
        }
    }

    /// Budgets hold money back for the call.
    pub(super) fn back(&mut self, reservation: Reservation) {
        let (node, charges) = reservation.charges();
        self.record.node = Some(node);
        self.record.charges = charges;
        self.reservation = Some(reservation);
    }

    /// The call was refused and the interface wants no record of that.
    pub(super) fn forget(&mut self) {
        self.settled = true;
    }

    /// The configuration that the request began with.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.books.snapshot
    }

    /// Another call is sent to a vendor.
    pub(super) fn attempt(&mut self, vendor: &VendorName, model: &ModelName) {
        self.record.vendor = Some(vendor.clone());
        self.record.model = Some(model.clone());
        self.record.attempts += 1;
        self.progress = Progress::default();
    }

    /// Of two calls under way at once it was this one that counts.
    pub(super) fn answered_by(&mut self, vendor: &VendorName, model: &ModelName) {
        self.record.vendor = Some(vendor.clone());
        self.record.model = Some(model.clone());
    }

    /// Calls that were sent to vendors so far.
    pub(super) fn attempts(&self) -> u32 {
        self.record.attempts
    }

    /// What the vendor has told so far.
    pub(super) fn note(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// An attempt failed: counted, and told to operators. Callers get less, see `Fault::to_public`.
    pub(super) fn fault(&self, fault: &Fault) {
        self.books.meters.vendor_failed(fault.class);
        let record = &self.record;
        tracing::warn!(
            request.id = %record.request_id,
            interface.name = %record.interface,
            vendor.name = record.vendor.as_ref().map(VendorName::as_str),
            vendor.status = fault.status,
            fault.class = fault.class.label(),
            attempt = record.attempts,
            "a vendor failed"
        );
    }

    /// The first byte of the answer goes to the caller.
    pub(super) fn first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.began.elapsed());
    }

    pub(super) fn has_first_byte(&self) -> bool {
        self.first_byte.is_some()
    }

    /// Writes the record. Called before the last byte of the reply is released.
    pub(super) fn settle(&mut self, state: UsageState) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let duration = self.began.elapsed();
        self.record.state = state;
        self.count_tokens(state);
        self.reckon();
        self.record.duration_ms = millis(duration);
        self.record.first_byte_ms = self.first_byte.map(millis);
        match state {
            UsageState::Rejected => self.admission.give_back(),
            // What a vendor counted of a failed call was spent; what nobody counted was not.
            _ => self
                .admission
                .settle(self.record.input_tokens.saturating_add(self.record.output_tokens)),
        }
        self.books.meters.call_ended(&self.record, duration, self.first_byte);
        // The last bytes of a stream are let through after this; the tap is asked for them before.
        if let Some(tap) = self.payload.take() {
            tap.offer(&self.record);
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.end(state, self.began + duration);
        }
        let leaves_row = state != UsageState::Rejected || self.books.meters.refused_rows.admit(&self.record);
        if leaves_row && let Err(error) = self.books.sink.record(&self.record) {
            // The sink keeps it in memory and tries again; nobody else can do more.
            tracing::error!(request.id = %self.record.request_id, %error, "a usage record is not safe yet");
        }
        // After the record, so that what was spent is never seen as free.
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(Nanos(self.record.cost.unwrap_or(0)));
        }
    }

    /// What the call costs, by the price that held when it arrived.
    fn reckon(&mut self) {
        let (Some(vendor), Some(model)) = (&self.record.vendor, &self.record.model) else {
            return;
        };
        let sought = Sought {
            interface: self.record.interface.as_str(),
            route: self.route.as_ref().map(RawRouteName::as_str),
            vendor: vendor.as_str(),
            model: model.as_str(),
        };
        let price = self.books.snapshot.prices().find(sought, self.record.time);
        self.record.reckon(price.map(Arc::as_ref));
    }

    fn count_tokens(&mut self, state: UsageState) {
        if self.route.is_some() {
            return;
        }
        // The vendor's count goes before ours. It is taken even from a call that failed: what was counted was spent.
        if let Some(usage) = self.progress.usage {
            self.record.input_tokens = usage.input;
            self.record.output_tokens = usage.output;
            self.record.cached_input_tokens = usage.cached_input;
            self.record.reasoning_tokens = usage.reasoning;
            self.record.images = usage.images;
            self.record.audio_ms = usage.audio_ms;
            self.record.characters = usage.characters;
            return;
        }
        let (input, output) = match state {
            // What the caller got, and what it took to make it.
            UsageState::Completed | UsageState::Incomplete | UsageState::ClientGoneAfterFirstByte => {
                (self.estimated_input, self.progress.weight.tokens())
            }
            // The vendor had begun to read the prompt when the caller left; nothing was delivered.
            UsageState::ClientGoneBeforeFirstByte if self.record.attempts > 0 => (self.estimated_input, 0),
            UsageState::ClientGoneBeforeFirstByte | UsageState::UpstreamError | UsageState::Rejected => return,
        };
        self.record.input_tokens = input;
        self.record.output_tokens = output;
        self.record.estimated = true;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.settle(match self.first_byte {
            None => UsageState::ClientGoneBeforeFirstByte,
            Some(_) => UsageState::ClientGoneAfterFirstByte,
        });
    }
}
