//! Answers that take several calls: a job that is asked whether it is done, a result that lies somewhere else.

use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    abandoned::Running,
    attempt::{Errand, MAX_REPLY_BYTES, no_result, read_fault},
    paced::Paced,
};
use crate::{
    domain::fault::{Fault, FaultClass},
    ports::{
        codec::{Ask, Decoded, Outcome, Step},
        fetcher::FetchFault,
    },
};

/// Follows a codec from step to step, to its answer or to the end of the call's time.
pub(super) async fn follow(
    errand: &Errand<'_>,
    mut step: Step,
    token: Option<&SecretString>,
) -> Result<Decoded, Fault> {
    let timeouts = errand.journey.interface.timeouts;
    let mut running = Running::new(errand, token);
    loop {
        running.ends_by(step.cancel.take());
        let due = Instant::now() + step.after;
        if due >= errand.deadline {
            return Err(Fault::of(FaultClass::Timeout));
        }
        tokio::time::sleep_until(due).await;
        let (headers, body) = match step.ask {
            Ask::Vendor(encoded) => {
                let reply = errand.post(encoded, token, &mut true).await?;
                if !reply.status.is_success() {
                    return Err(read_fault(errand.codec(), reply).await);
                }
                let body = Paced::new(reply.body, timeouts.idle, errand.deadline);
                (reply.headers, body.collect(MAX_REPLY_BYTES).await?)
            }
            Ask::Url(url) => {
                let left = errand.deadline.saturating_duration_since(Instant::now());
                let found = errand.journey.fetcher.fetch(&url, MAX_REPLY_BYTES, left).await;
                let found = found.map_err(|fault| match fault {
                    FetchFault::Late => Fault::of(FaultClass::Timeout),
                    FetchFault::Failed => Fault::of(FaultClass::Transport),
                    FetchFault::Refused | FetchFault::TooLarge => Fault::of(FaultClass::InvalidReply),
                })?;
                (found.headers, found.body)
            }
        };
        let received = errand.received(&headers, body, &step.state);
        // It has ended, or will tell by which request it can be ended now.
        running.ends_by(None);
        step = match errand.codec().decode(errand.journey.call, received) {
            Ok(Outcome::Answer(decoded)) => return Ok(*decoded),
            Ok(Outcome::Next(next)) => *next,
            Err(fault) => return no_result(fault, errand.journey.call),
        };
    }
}
