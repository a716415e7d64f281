//! Wire formats of vendors: pure codecs, one folder each.

pub mod anthropic;
pub mod baidu;
pub mod bedrock;
mod error_object;
pub mod normalised;
pub mod openai;
mod pictures;
pub mod raw;
mod recordings;
mod support;
pub mod tencent;
#[cfg(test)]
mod testing;
pub mod translated;
mod voices;
