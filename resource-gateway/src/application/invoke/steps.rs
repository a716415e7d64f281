//! Answers that take several calls: a job that is asked whether it is done, a result that lies somewhere else.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    abandoned::Running,
    attempt::{Errand, MAX_REPLY_BYTES, no_result, read_fault},
    fetching::Results,
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
        let told = match step.ask {
            Ask::Vendor(encoded) => {
                let told = ask(errand, encoded, &step.state, &mut bought).await;
                running.signed_by(bought.as_ref());
                told?
            }
            Ask::Url(url) => {
                let mut results = fetch(errand, &[url]).await?;
                let found = results.found.pop();
                let found = found.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
                decode(errand, &found.headers, found.body, &step.state)
            }
            Ask::Urls(urls) => {
                let results = fetch(errand, &urls).await?;
                let (headers, nothing) = (HeaderMap::new(), Bytes::new());
                let received = Received {
                    found: &results.found,
                    ..errand.received(&headers, nothing, &step.state)
                };
                errand.codec().decode(errand.journey.call, received)
            }
        };
        // It has ended, or will tell by which request it can be ended now.
        running.ends_by(None);
        step = match told {
            Ok(Outcome::Answer(decoded)) => return Ok(*decoded),
            Ok(Outcome::Next(next)) => *next,
            Err(fault) => return no_result(fault, errand.journey.call),
        };
    }
}

fn decode(errand: &Errand<'_>, headers: &HeaderMap, body: Bytes, state: &Value) -> Result<Outcome, Fault> {
    let received = errand.received(headers, body, state);
    errand.codec().decode(errand.journey.call, received)
}

/// A question that fails for a moment is asked again so often: what it asks for was begun, will be paid for, and would be begun
/// once more otherwise.
const QUESTIONS: u32 = 4;
/// Before the second time; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The pauses between questions.
struct Pauses {
    left: u32,
    next: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self {
            left: QUESTIONS - 1,
            next: FIRST_PAUSE,
        }
    }

    /// Waits until it can be asked again.
    ///
    /// # Errors
    /// The fault itself: it was asked often enough, or there is no time left.
    async fn after(&mut self, fault: Fault, errand: &Errand<'_>) -> Result<(), Fault> {
        let due = Instant::now() + fault.hints.wait(errand.journey.now()).unwrap_or(self.next);
        if self.left == 0 || due >= errand.deadline {
            return Err(fault);
        }
        self.left -= 1;
        self.next *= 2;
        tokio::time::sleep_until(due).await;
        Ok(())
    }
}

/// Asks the vendor, and says what its codec makes of the answer.
///
/// # Errors
/// It did not answer; the work may go on.
async fn ask(
    errand: &Errand<'_>,
    question: Encoded,
    state: &Value,
    token: &mut Option<SecretString>,
) -> Result<Result<Outcome, Fault>, Fault> {
    let mut pauses = Pauses::new();
    loop {
        let fault = match ask_once(errand, question.clone(), token.as_ref()).await {
            Ok((headers, body)) => match decode(errand, &headers, body, state) {
                Err(fault) if is_of_the_question(&fault) => fault,
                told => return Ok(told),
            },
            Err(fault) => fault,
        };
        match (fault.class, &*token) {
            // It ended while the work went on.
            (FaultClass::Authentication, Some(dead)) if pauses.left > 0 => {
                pauses.left -= 1;
                let vendor = errand.stop.way.vendor;
                vendor.tokens.forget(dead);
                *token = vendor.token(errand.at()).await?;
            }
            _ if fault.is_retryable() => pauses.after(fault, errand).await?,
            _ => return Err(fault),
        }
    }
}

/// Some vendors say with a status of success that they did not answer; what they say of the work itself is no such fault.
fn is_of_the_question(fault: &Fault) -> bool {
    let class = matches!(
        fault.class,
        FaultClass::RateLimit
            | FaultClass::Overloaded
            | FaultClass::Timeout
            | FaultClass::ServerError
            | FaultClass::Authentication
    );
    class && !fault.ended
}

/// Fetches results, again if it fails for a moment: they are as much work, and as dear, as what is asked for.
async fn fetch(errand: &Errand<'_>, urls: &[String]) -> Result<Results, Fault> {
    let mut pauses = Pauses::new();
    loop {
        match errand.journey.brought.results(urls, errand.deadline).await {
            Err(fault) if fault.class == FaultClass::Transport => pauses.after(fault, errand).await?,
            done => return done,
        }
    }
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
