//! Integration tests of the provider: one binary, one module per subject.

mod app;
mod apply;
mod architecture;
mod faults;
mod nodes;
mod oauth;
mod operate;
mod pages;
mod storage;
