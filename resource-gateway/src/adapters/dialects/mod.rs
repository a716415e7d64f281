//! Wire formats of vendors: pure codecs, one folder each.

pub mod anthropic;
pub mod baidu;
pub mod bedrock;
mod call_ids;
pub mod cohere;
mod collected;
pub mod dashscope;
mod drawn;
mod error_object;
mod events;
pub mod gemini;
#[cfg(test)]
mod golden;
pub mod normalised;
pub mod ollama;
pub mod openai;
mod passing;
mod pictures;
pub mod raw;
mod reading;
mod recordings;
#[cfg(test)]
mod recut;
pub mod responses;
#[cfg(test)]
mod rough;
#[cfg(test)]
mod ruled;
pub mod spark;
mod spark_codes;
mod support;
/// What a new dialect begins as; `examples/new-vendor` lays it under another name.
#[cfg(test)]
pub mod template;
pub mod tencent;
#[cfg(test)]
mod testing;
pub mod translated;
mod vectors;
mod voices;
mod writing;
