//! Jobs at vendors that nobody waits for any more: the caller has left, or its time is over. They are ended there, so that nobody pays
//! for what nobody gets.

use std::time::Duration;

use secrecy::SecretString;
use service_kit::Tasks;

use super::attempt::Errand;
use crate::ports::{codec::Encoded, transport::Deadlines};

/// For the whole of it: a vendor that does not listen is not told twice.
const DEADLINE: Duration = Duration::from_secs(5);

/// A job that runs. Dropped before it has ended, it is ended at the vendor, in the background: whoever drops it has no time left.
pub(super) struct Running<'e> {
    errand: &'e Errand<'e>,
    token: Option<SecretString>,
    cancel: Option<Encoded>,
}

impl<'e> Running<'e> {
    pub(super) fn new(errand: &'e Errand<'e>, token: Option<&SecretString>) -> Self {
        Self {
            errand,
            token: token.cloned(),
            cancel: None,
        }
    }

    /// From now on this proves who ends it: the first may be dead by now.
    pub(super) fn signed_by(&mut self, token: Option<&SecretString>) {
        self.token = token.cloned();
    }

    /// From now on this ends it; `None`: there is nothing to end.
    pub(super) fn ends_by(&mut self, cancel: Option<Encoded>) {
        self.cancel = cancel;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(cancel) = self.cancel.take() else { return };
        // When the whole process ends, nothing is left that could tell anybody.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let errand = self.errand;
        let Some(request) = errand.signed(cancel, self.token.as_ref()) else {
            return;
        };
        let request = request.within(Deadlines {
            connect: DEADLINE,
            head: DEADLINE,
        });
        let transport = errand.transport();
        let tasks: &Tasks = errand.journey.background;
        tasks.spawn(async move {
            // Whether it listened makes no difference to anybody here.
            let sent = tokio::time::timeout(DEADLINE, transport.send(request)).await;
            tracing::debug!(
                told = matches!(sent, Ok(Ok(_))),
                "a job that nobody waits for was ended"
            );
        });
    }
}
