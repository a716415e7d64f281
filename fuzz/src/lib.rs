//! Every parser that reads bytes of strangers, as a function of bytes: none may panic, and what was read must read the same again.

mod gateway;
mod parsers;

pub use gateway::*;
pub use parsers::*;
