//! Wire formats of vendors: pure codecs, one folder each.

pub mod anthropic;
pub mod bedrock;
mod error_object;
pub mod normalised;
pub mod openai;
pub mod raw;
mod support;
#[cfg(test)]
mod testing;
pub mod translated;
mod voices;
