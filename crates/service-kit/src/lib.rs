//! What both services start with: clock, entropy, configuration layering, telemetry, tasks and shutdown, listeners,
//! health, request id.

pub mod entropy;
pub mod time;

pub use entropy::{Entropy, SystemEntropy};
pub use time::{Clock, SystemClock, Timestamp};
