//! The attempts of one request: one budget of calls and one deadline, whatever is tried.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use service_kit::{Entropy, Tasks};

use super::{
    Invocation, Invoke, InvokeError, Reply, ReplyStream,
    attempt::{Answer, Lost},
    course::{Course, Stop},
    fetching::Brought,
    no_route,
    settlement::Settlement,
};
use crate::{
    domain::{
        call::Call,
        fault::{Fault, FaultClass},
        interface::Interface,
        usage::UsageState,
    },
    ports::codec::Progress,
};

/// A caller is not kept waiting for longer before the same address is asked again: it gets the vendor's wish instead, and may
/// have something better to do.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Waits are spread over at least this time.
const LEAST_SPREAD: Duration = Duration::from_millis(50);

/// What all attempts of a request have in common.
#[derive(Clone, Copy)]
pub(super) struct Journey<'a> {
    pub(super) invocation: &'a Invocation,
    pub(super) interface: &'a Interface,
    pub(super) call: &'a Call,
    pub(super) brought: &'a Brought<'a>,
    pub(super) entropy: &'a dyn Entropy,
    /// What goes on when the request is over.
    pub(super) background: &'a Tasks,
}

impl Journey<'_> {
    /// The time, in seconds.
    pub(super) fn now(&self) -> i64 {
        (self.invocation.arrived + self.invocation.began.elapsed()).as_seconds()
    }

    fn time_left(&self) -> Duration {
        let total = self.interface.timeouts.total;
        total.saturating_sub(self.invocation.began.elapsed())
    }

    fn attempts_left(&self, settlement: &Settlement) -> bool {
        settlement.attempts() < self.interface.policy.max_attempts
    }
}

impl Invoke {
    /// Goes from stop to stop until one answers, the fault is one that nobody else would mend, or budget or time are used up.
    pub(super) async fn travel<'a>(
        &self,
        journey: Journey<'a>,
        mut course: Course<'a>,
        mut settlement: Settlement,
    ) -> Result<Reply, InvokeError> {
        let Some(mut stop) = course.first() else {
            settlement.settle(UsageState::UpstreamError);
            return Err(no_route().into());
        };
        loop {
            settlement.attempt(&stop.way.vendor.name, &stop.way.route.model);
            let Lost {
                stop: failed,
                fault,
                reached,
            } = match self.attempt_once(journey, stop, &mut course, &mut settlement).await {
                Ok((stop, answer)) => return Ok(reply(journey.invocation, stop, answer, settlement).await),
                Err(lost) => lost,
            };
            settlement.fault(&fault);
            // Whether the vendor did what it was asked for is not known, and twice may be once too often.
            let may_repeat = !reached || journey.call.is_repeatable();
            let next = match may_repeat {
                true => next(journey, failed, &fault, &mut course, &settlement).await,
                false => None,
            };
            let Some(next) = next else {
                settlement.settle(UsageState::UpstreamError);
                return Err(fault.to_public().into());
            };
            stop = next;
        }
    }

    /// One attempt, or two at once where the interface wants that and the first takes long.
    async fn attempt_once<'a>(
        &self,
        journey: Journey<'a>,
        stop: Stop<'a>,
        course: &mut Course<'a>,
        settlement: &mut Settlement,
    ) -> Result<(Stop<'a>, Answer), Lost<'a>> {
        match journey.interface.policy.hedge_after {
            // A stream's second half cannot come from somewhere else, and its first event is waited for under a clock of its own.
            Some(after)
                if !journey.call.stream && journey.call.is_repeatable() && journey.attempts_left(settlement) =>
            {
                Box::pin(Self::attempt_twice(journey, stop, after, course, settlement)).await
            }
            _ => Self::attempt(journey, stop).await,
        }
    }

    /// Sends the call a second time when `after` has passed without an answer. The first answer counts; dropping the other call
    /// ends it at its vendor.
    async fn attempt_twice<'a>(
        journey: Journey<'a>,
        stop: Stop<'a>,
        after: Duration,
        course: &mut Course<'a>,
        settlement: &mut Settlement,
    ) -> Result<(Stop<'a>, Answer), Lost<'a>> {
        let (first_way, busy) = (stop.way, stop.member.clone());
        let first = pin!(Self::attempt(journey, stop));
        let first = match select(first, pin!(tokio::time::sleep(after))).await {
            Either::Left((done, _)) => return done,
            Either::Right(((), first)) => first,
        };
        let Some(second) = course.beside(&busy) else {
            return first.await;
        };
        let second_way = second.way;
        settlement.attempt(&second_way.vendor.name, &second_way.route.model);
        let second = pin!(Self::attempt(journey, second));
        let done = match select(first, second).await {
            Either::Left((Err(lost), second)) if lost.fault.is_retryable() => {
                settlement.fault(&lost.fault);
                second.await
            }
            Either::Right((Err(lost), first)) if lost.fault.is_retryable() => {
                settlement.fault(&lost.fault);
                first.await
            }
            Either::Left((done, _)) | Either::Right((done, _)) => done,
        };
        let answered = match &done {
            Ok((stop, _)) | Err(Lost { stop, .. }) => stop.way,
        };
        if std::ptr::eq(answered.route, first_way.route) {
            settlement.answered_by(&first_way.vendor.name, &first_way.route.model);
        }
        done
    }
}

/// Where to go after a failure, perhaps after a pause.
async fn next<'a>(
    journey: Journey<'a>,
    failed: Stop<'a>,
    fault: &Fault,
    course: &mut Course<'a>,
    settlement: &Settlement,
) -> Option<Stop<'a>> {
    if !fault.is_retryable() || !journey.attempts_left(settlement) || journey.time_left().is_zero() {
        return None;
    }
    if let Some(stop) = course.next(&failed, fault) {
        return Some(stop);
    }
    let wait = course.wait(fault.hints.wait(journey.now())?)?;
    // Whoever was turned away at the same moment must not come back at the same moment.
    let spread = wait.clamp(LEAST_SPREAD, LONGEST_WAIT);
    let spread = course.dice().below(u64::try_from(spread.as_micros()).unwrap_or(0));
    let pause = wait + Duration::from_millis(2) + Duration::from_micros(spread);
    if wait > LONGEST_WAIT || pause >= journey.time_left() {
        return None;
    }
    // Nothing is held while waiting: neither a place at the address nor its probe.
    let member = failed.member.clone();
    drop(failed);
    tokio::time::sleep(pause).await;
    course.again(&member)
}

async fn reply(invocation: &Invocation, stop: Stop<'_>, answer: Answer, mut settlement: Settlement) -> Reply {
    match answer {
        Answer::Whole { reply, usage, said } => {
            settlement.note(Progress {
                usage,
                ..Progress::default()
            });
            settlement.answers(said);
            settlement.first_byte();
            settlement.sends_whole(&reply);
            // The vendor refused what was passed on: the caller gets its words, and it counts as any refusal.
            let settled = settlement.end(match reply.status.is_client_error() {
                true => {
                    settlement.fault(&Fault::of(FaultClass::of_status(reply.status.as_u16())));
                    UsageState::UpstreamError
                }
                false => UsageState::Completed,
            });
            if let Some(settled) = settled {
                settled.await;
            }
            Reply::Whole(reply)
        }
        Answer::Stream {
            upstream,
            decoder,
            first,
            head,
            notices,
        } => {
            settlement.streams(head.as_deref());
            let settled = (settlement, stop.permit);
            let vendor = Arc::clone(stop.way.vendor);
            let stream = ReplyStream::new(upstream, decoder, first, settled, vendor, invocation.error_event);
            Reply::Stream(Box::new(stream.with(head).beside(notices)))
        }
    }
}
