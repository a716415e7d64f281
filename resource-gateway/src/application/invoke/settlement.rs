//! The one owner of a request's usage record.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::oneshot;

use super::{
    Audience, WholeReply,
    passing::Head,
    payload_tap::PayloadTap,
    uncounted::{Asked, Uncounted},
};
use crate::{
    application::{budgets::Reservation, limits::Admission, meters::Meters, replay::Keeper, tally::Tally},
    domain::{
        call::Words,
        fault::Fault,
        ids::{ModelName, RawRouteName, VendorName},
        money::Nanos,
        price::Sought,
        recorded::Recorded,
        said::Said,
        snapshot::Snapshot,
        usage::{UsageRecord, UsageState},
    },
    ports::{
        codec::{Progress, TokenUsage},
        tokenizer::Tokenizer,
        usage::UsageSink,
    },
};

/// Sees to it that a request leaves exactly one usage record, however it ends. It travels from the use case into the body of the
/// reply; dropped on the way, it settles as "the caller has left", because nothing else drops it unsettled.
#[derive(Debug)]
pub(super) struct Settlement {
    record: UsageRecord,
    /// What is counted if the vendor does not.
    uncounted: Uncounted,
    progress: Progress,
    began: Instant,
    first_byte: Option<Duration>,
    /// How long the call took, once it is over.
    took: Option<Duration>,
    settled: bool,
    /// How the call ended, where its tokens are still to be counted.
    ended: Option<UsageState>,
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
#[derive(Debug, Clone)]
pub(super) struct Books {
    /// Whose prices hold.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) sink: Arc<dyn UsageSink>,
    pub(super) meters: Arc<Meters>,
    pub(super) tally: Arc<Tally>,
    pub(super) audience: Audience,
}

impl Settlement {
    pub(super) fn open(record: UsageRecord, began: Instant, admission: Admission, books: Books) -> Self {
        Self {
            record,
            uncounted: Uncounted::default(),
            progress: Progress::default(),
            began,
            first_byte: None,
            took: None,
            settled: false,
            ended: None,
            admission,
            payload: None,
            keeper: None,
            reservation: None,
            route: None,
            books,
        }
    }

    /// What is asked, to be counted if the vendor does not.
    pub(super) fn asks(&mut self, words: Words) {
        self.uncounted.asked = Asked::Words(words);
    }

    /// What was answered, to be counted if the vendor does not.
    pub(super) fn answers(&mut self, said: Said) {
        self.uncounted.said = said;
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
        // It goes on for a while: nothing large is held on to for so long.
        self.uncounted.lighten();
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
            vendor.error.code = fault.words.code.as_deref(),
            vendor.error.kind = fault.words.kind(),
            vendor.request.id = fault.words.request_id(),
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

    /// Writes the record; or has it written, when the tokens have to be counted first. The last byte of the reply is released after
    /// that: whoever can wait does.
    #[must_use]
    pub(super) fn end(&mut self, state: UsageState) -> Option<Settled> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        self.took = Some(self.began.elapsed());
        self.record.state = state;
        if !self.is_uncounted(state) {
            self.take_vendors_count();
            self.close(state);
            return None;
        }
        let (done, settled) = oneshot::channel();
        let mut later = self.take_over(state);
        let tally = Arc::clone(&self.books.tally);
        tally.count(later.uncounted.bytes(), move |tokenizer| {
            later.count(tokenizer, state);
            drop(done);
        });
        Some(Settled(settled))
    }

    /// The same for whoever waits for nothing.
    pub(super) fn settle(&mut self, state: UsageState) {
        let _ = self.end(state);
    }

    /// All that is left to do, for somebody else to do it.
    fn take_over(&mut self, state: UsageState) -> Self {
        Self {
            record: self.record.clone(),
            uncounted: std::mem::take(&mut self.uncounted),
            progress: self.progress,
            began: self.began,
            first_byte: self.first_byte,
            took: self.took,
            settled: false,
            ended: Some(state),
            admission: std::mem::replace(&mut self.admission, Admission::unlimited()),
            payload: self.payload.take(),
            keeper: self.keeper.take(),
            reservation: self.reservation.take(),
            route: self.route.clone(),
            books: self.books.clone(),
        }
    }

    fn close(&mut self, state: UsageState) {
        let duration = self.took.unwrap_or_default();
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
            keeper.end(state);
        }
        let leaves_row = state != UsageState::Rejected || self.books.meters.refused_rows.admit(&self.record);
        // The sink tells of what it loses; nobody else can do more.
        if leaves_row && self.books.sink.take(&self.record).is_ok() && !self.is_flushed_by_reply(state) {
            self.books.sink.flush();
        }
        // After the record, so that what was spent is never seen as free.
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(Nanos(self.record.cost.unwrap_or(0)));
        }
    }

    /// Whether something is still written to the caller, which flushes the records before.
    fn is_flushed_by_reply(&self, state: UsageState) -> bool {
        let is_gone = matches!(
            state,
            UsageState::ClientGoneBeforeFirstByte | UsageState::ClientGoneAfterFirstByte
        );
        self.books.audience == Audience::Connection && !is_gone
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

    /// The vendor's count goes before ours. It is taken even from a call that failed: what was counted was spent.
    fn take_vendors_count(&mut self) {
        let Some(usage) = self.progress.usage.filter(|_| self.route.is_none()) else {
            return;
        };
        self.record.input_tokens = usage.input;
        self.record.output_tokens = usage.output;
        self.record.cached_input_tokens = usage.cached_input;
        self.record.reasoning_tokens = usage.reasoning;
        self.record.images = usage.images;
        self.record.audio_ms = usage.audio_ms;
        self.record.characters = usage.characters;
    }

    /// Whether a vendor worked and did not say how much.
    fn is_uncounted(&self, state: UsageState) -> bool {
        if self.route.is_some() {
            return false;
        }
        match (state, self.progress.usage) {
            (UsageState::UpstreamError | UsageState::Rejected, _)
            | (UsageState::ClientGoneBeforeFirstByte, Some(_)) => false,
            // The vendor had begun to read the prompt when the caller left; nothing was delivered.
            (UsageState::ClientGoneBeforeFirstByte, None) => self.record.attempts > 0,
            // It had counted the input, and was to count the output at the end; some never do.
            (UsageState::Completed | UsageState::Incomplete | UsageState::ClientGoneAfterFirstByte, Some(usage)) => {
                usage.output == 0 && !self.uncounted.said.is_empty()
            }
            (UsageState::Completed | UsageState::Incomplete | UsageState::ClientGoneAfterFirstByte, None) => true,
        }
    }

    /// Counts what the vendor did not count, and settles.
    fn count(&mut self, tokenizer: Option<&dyn Tokenizer>, state: UsageState) {
        let count = |text: &str| tokenizer.and_then(|tokenizer| tokenizer.count(text));
        self.take_vendors_count();
        if self.progress.usage.is_none() {
            let asked = self.uncounted.count_asked(count);
            self.record.input_tokens = asked.tokens;
            self.record.images = asked.images;
            self.record.characters = asked.characters;
        }
        if state != UsageState::ClientGoneBeforeFirstByte {
            let said = self.uncounted.said.count(count);
            self.record.output_tokens = said.tokens;
            self.record.reasoning_tokens = (said.reasoning > 0).then_some(said.reasoning);
        }
        self.record.estimated = true;
        // Not before: a text that breaks the tokenizer is weighed when this is dropped.
        self.settled = true;
        self.close(state);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        match (self.ended, self.first_byte) {
            // It was to be counted, and nobody did.
            (Some(state), _) => self.count(None, state),
            (None, None) => self.settle(UsageState::ClientGoneBeforeFirstByte),
            (None, Some(_)) => self.settle(UsageState::ClientGoneAfterFirstByte),
        }
    }
}

/// Ends when a record is written that had to be counted first.
#[derive(Debug)]
pub(super) struct Settled(oneshot::Receiver<()>);

impl Future for Settled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing is sent: the sender is dropped behind the record.
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
