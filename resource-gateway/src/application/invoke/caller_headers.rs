//! The headers of a caller's request.

use std::fmt;

use http::HeaderMap;

/// Headers as they came. They hold the caller's token, so they do not show.
#[derive(Default)]
pub struct CallerHeaders(pub HeaderMap);

impl fmt::Debug for CallerHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
