//! TLS of the public listeners, and what they know of their peers, against real sockets and OpenSSL's own client.
#![expect(
    clippy::unwrap_used,
    reason = "the lints spare test functions, but not what they share"
)]

mod crowd;
mod hostile;
mod peers;
mod profile;
mod world;
