//! What both services start with: clock, entropy, configuration layering, telemetry, tasks and shutdown, listeners,
//! health, request id. No business rule lives here.

pub mod config;
mod connection;
mod dpop;
pub mod entropy;
pub mod health;
pub mod listener;
mod memory;
mod neighbours;
pub mod peer;
mod public_address;
mod reach;
pub mod reference;
pub mod request;
pub mod tasks;
pub mod telemetry;
pub mod time;
mod tls;
mod turn;

pub use connection::{BodyTimeout, ConnectionsConfig, Limits, StalledBody};
pub use dpop::DpopConfig;
pub use entropy::{Entropy, SystemEntropy};
pub use listener::{BoundListener, ListenError};
pub use memory::use_small_pages;
pub use peer::{Authorities, Network, PeerAddress, PeerCertificate, PeerRules, ProxyConfig, ThroughProxy};
pub use public_address::is_public;
pub use reach::Reach;
pub use request::{RequestContext, RequestContextLayer};
pub use secrecy::{ExposeSecret, SecretString};
pub use tasks::Tasks;
pub use time::{Clock, SystemClock, Timestamp};
pub use tls::{ClientCertificates, TlsConfig};
pub use turn::Turn;
