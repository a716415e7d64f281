//! What a request comes to, without an answer.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::oneshot;

use super::{Invocation, Invoke, InvokeError};
use crate::{
    application::limits::Part,
    domain::fault::{ErrorKind, PublicError},
};

impl Invoke {
    /// The tokens of a request as the interface would send it, by the gateway's own vocabulary. Authorised and limited as the call itself
    /// would be, less its tokens; nobody pays for it.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub async fn count_tokens(&self, invocation: &Invocation, headers: &mut HeaderMap) -> Result<u64, InvokeError> {
        let snapshot = self.snapshots.current();
        let (interface, call) = self.resolve(invocation, &snapshot)?;
        let call = self.admit(invocation, &snapshot, (&interface, call), headers)?;
        let limited = self.limit(invocation, &snapshot, (&interface, &call), Part::Requests, headers);
        let _admission = Box::pin(limited).await?;
        let words = call.words();
        let (done, counted) = oneshot::channel();
        Arc::clone(&self.tally).count(words.bytes(), move |tokenizer| {
            let count = |text: &str| tokenizer.and_then(|tokenizer| tokenizer.count(text));
            // Whoever asked may have left.
            let _ = done.send(words.gather().count(count).tokens);
        });
        counted.await.map_err(|_| {
            let message = "The gateway cannot count now.";
            InvokeError::Error(PublicError::new(503, ErrorKind::Server, "count_unavailable", message))
        })
    }
}
