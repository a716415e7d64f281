//! Integration tests of the provider: one binary, one module per subject.

mod app;
mod oauth;
mod pages;
mod storage;
