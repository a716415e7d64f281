//! What both services start with: clock, entropy, configuration layering, telemetry, tasks and shutdown, listeners,
//! health, request id. No business rule lives here.

pub mod config;
mod connection;
pub mod entropy;
pub mod health;
pub mod listener;
pub mod reference;
pub mod request;
pub mod tasks;
pub mod telemetry;
pub mod time;

pub use connection::{BodyTimeout, Limits, StalledBody};
pub use entropy::{Entropy, SystemEntropy};
pub use listener::{BoundListener, ListenError, TlsConfig};
pub use request::{RequestContext, RequestContextLayer};
pub use secrecy::{ExposeSecret, SecretString};
pub use tasks::Tasks;
pub use time::{Clock, SystemClock, Timestamp};
