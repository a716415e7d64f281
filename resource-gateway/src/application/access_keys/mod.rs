//! Access keys: who calls by a signature, and how operators look after keys.

mod administer;
mod form;
mod ids;
mod known;
mod manage;
mod trail;
mod upkeep;
mod verify;

pub use administer::AdministerKeys;
pub use form::{render_key, render_settings};
pub use ids::KeyIds;
pub use known::KnownKeys;
pub use manage::{Issued, KeyError, ManageAccessKeys, PAGE_LIMIT};
pub use upkeep::KeyUpkeep;
pub use verify::{SignatureError, Signed, VerifySignature};
