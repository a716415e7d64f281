//! Pages for browsers: what they show, in which words, and how they look.

mod account;
mod approve;
pub(crate) mod assets;
mod browser;
pub(crate) mod client_logo;
mod consent;
mod details_form;
mod device;
mod error;
mod farewell;
pub(crate) mod flow;
mod home;
mod html;
mod login;
mod logout;
mod query;
pub(crate) mod texts;
pub(crate) mod views;
mod waiting;

use axum::{Router, routing::get};

pub(crate) use browser::{BROWSER_SESSION, Browser, SESSION_COOKIE, STRANGER_SESSION, inactivity};
pub(crate) use error::{PageError, method_not_allowed, not_found, render_errors, render_unsaved};
pub(crate) use html::see_other;

use super::App;

/// The pages' own addresses; every step has one.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/", get(home::get))
        .route("/login", get(login::get).post(login::post))
        .route("/consent", get(consent::get).post(consent::post))
        .route("/device", get(device::get).post(device::post))
        .route("/device/consent", get(device::consent).post(device::decide))
        .route("/device/done", get(device::done))
        .route("/device/qr", get(device::qr))
        .route("/approve", get(approve::get).post(approve::post))
        .route("/approve/done", get(approve::done))
        .route("/logout", get(logout::get).post(logout::post))
        .route("/logged-out", get(farewell::get))
        .route("/account", get(account::get).post(account::post))
        .route("/account/", get(account::get).post(account::post))
        .route("/error", get(error::page))
        .route("/connect/logout", get(logout::end_session).post(logout::end_session))
}
