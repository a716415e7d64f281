//! Answers that take several calls: a job that is asked whether it is done, a result that lies somewhere else.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    abandoned::Running,
    attempt::{Errand, MAX_REPLY_BYTES, no_result, read_fault},
    paced::Paced,
};
use crate::{
    domain::fault::{Fault, FaultClass},
    ports::codec::{Ask, Decoded, Encoded, Outcome, Received, Step},
};

/// Follows a codec from step to step, to its answer or to the end of the call's time.
pub(super) async fn follow(
    errand: &Errand<'_>,
    mut step: Step,
    token: Option<&SecretString>,
) -> Result<Decoded, Fault> {
    let mut running = Running::new(errand, token);
    let mut bought = token.cloned();
    loop {
        running.ends_by(step.cancel.take());
        let due = Instant::now() + step.after;
        if due >= errand.deadline {
            return Err(Fault::of(FaultClass::Timeout));
        }
        tokio::time::sleep_until(due).await;
        let (headers, body, results) = match step.ask {
            Ask::Vendor(encoded) => {
                let (headers, body) = ask(errand, encoded, &mut bought).await?;
                (headers, body, None)
            }
            Ask::Url(url) => {
                let mut results = errand.journey.brought.results(&[url], errand.deadline).await?;
                let found = results.found.pop();
                let found = found.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
                (found.headers, found.body, Some(results))
            }
            Ask::Urls(urls) => {
                let results = errand.journey.brought.results(&urls, errand.deadline).await?;
                (HeaderMap::new(), Bytes::new(), Some(results))
            }
        };
        let received = Received {
            found: results.as_ref().map_or(&[], |results| &results.found),
            ..errand.received(&headers, body, &step.state)
        };
        // It has ended, or will tell by which request it can be ended now.
        running.ends_by(None);
        step = match errand.codec().decode(errand.journey.call, received) {
            Ok(Outcome::Answer(decoded)) => return Ok(*decoded),
            Ok(Outcome::Next(next)) => *next,
            Err(fault) => return no_result(fault, errand.journey.call),
        };
    }
}

/// A question that fails for a moment is asked again so often: what it asks for was begun, will be paid for, and would be begun
/// once more otherwise.
const QUESTIONS: u32 = 4;
/// Before the second time; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

async fn ask(
    errand: &Errand<'_>,
    question: Encoded,
    token: &mut Option<SecretString>,
) -> Result<(HeaderMap, Bytes), Fault> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..QUESTIONS {
        let fault = match ask_once(errand, question.clone(), token.as_ref()).await {
            Ok(told) => return Ok(told),
            Err(fault) => fault,
        };
        match (fault.class, &*token) {
            // It ended while the work went on.
            (FaultClass::Authentication, Some(dead)) => {
                let vendor = errand.stop.way.vendor;
                vendor.tokens.forget(dead);
                *token = vendor.token(errand.at()).await?;
            }
            _ if fault.is_retryable() => {
                let due = Instant::now() + fault.hints.wait(errand.journey.now()).unwrap_or(pause);
                if due >= errand.deadline {
                    return Err(fault);
                }
                tokio::time::sleep_until(due).await;
                pause *= 2;
            }
            _ => return Err(fault),
        }
    }
    ask_once(errand, question, token.as_ref()).await
}

async fn ask_once(
    errand: &Errand<'_>,
    question: Encoded,
    token: Option<&SecretString>,
) -> Result<(HeaderMap, Bytes), Fault> {
    let reply = errand.post(question, token, &mut true).await?;
    if !reply.status.is_success() {
        return Err(read_fault(errand.codec(), reply).await);
    }
    let body = Paced::new(reply.body, errand.journey.interface.timeouts.idle, errand.deadline);
    Ok((reply.headers, body.collect(MAX_REPLY_BYTES).await?))
}
