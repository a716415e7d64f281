//! What the handlers share. One pointer: state is cloned for every request, and a handler asks it for one use case.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;
use service_kit::{Clock, Entropy};

use super::pages::texts::Catalogue;
use crate::{
    application::{
        accept_assertion::AcceptAssertion,
        account::Account,
        authenticate_client::AuthenticateClient,
        authorize::Authorize,
        client_credentials::ClientCredentials,
        client_logo::ClientLogos,
        confirm_ciba::ConfirmCiba,
        confirm_device::ConfirmDevice,
        exchange_code::ExchangeCode,
        exchange_token::ExchangeToken,
        introspect::Introspect,
        keyring::Keyring,
        meters::Meters,
        password_grant::PasswordGrant,
        policy::Policy,
        poll_events::PollEvents,
        redeem_decoupled::RedeemDecoupled,
        register::{ClientUse, Register},
        request_ciba::RequestCiba,
        request_device::RequestDevice,
        revoke_token::RevokeToken,
        rotate_refresh::RotateRefresh,
        sender_constraint::SenderConstraint,
        sign_in::SignIn,
        sign_out::SignOut,
        userinfo::Userinfo,
    },
    ports::store::{BrowserSessions, Sessions, SingleUse},
};

pub(crate) type App = Arc<Services>;

pub(crate) struct Services {
    pub(crate) policy: Arc<Policy>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) authenticate_client: AuthenticateClient,
    /// For what a request shows once: its client's assertion, its proof of possession.
    pub(crate) single_use: Arc<dyn SingleUse>,
    pub(crate) meters: Meters,
    pub(crate) authorize: Authorize,
    pub(crate) sender_constraint: SenderConstraint,
    pub(crate) exchange_code: ExchangeCode,
    pub(crate) exchange_token: ExchangeToken,
    pub(crate) accept_assertion: AcceptAssertion,
    pub(crate) rotate_refresh: RotateRefresh,
    pub(crate) client_credentials: ClientCredentials,
    pub(crate) password_grant: PasswordGrant,
    pub(crate) request_device: RequestDevice,
    pub(crate) confirm_device: ConfirmDevice,
    pub(crate) request_ciba: RequestCiba,
    pub(crate) confirm_ciba: ConfirmCiba,
    pub(crate) redeem_decoupled: RedeemDecoupled,
    pub(crate) introspect: Introspect,
    pub(crate) revoke_token: RevokeToken,
    pub(crate) userinfo: Userinfo,
    pub(crate) poll_events: PollEvents,
    pub(crate) register: Register,
    pub(crate) client_use: ClientUse,
    pub(crate) client_logos: ClientLogos,
    pub(crate) sign_in: SignIn,
    pub(crate) sign_out: SignOut,
    pub(crate) account: Account,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) browser_sessions: Arc<dyn BrowserSessions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) catalogue: Catalogue,
    /// The metadata document: it cannot change while the process runs.
    pub(crate) metadata: Bytes,
    /// By which the gateways of this installation fetch security events.
    pub(crate) events_credential: SecretString,
    /// The issuer's path without a trailing slash, mostly empty.
    pub(crate) base_path: String,
    /// Whether the issuer is https: cookies are `Secure` and `__Host-` then.
    pub(crate) secure: bool,
}

impl Services {
    /// A cookie's name: with the `__Host-` prefix on https, which pins it to this very host.
    pub(crate) fn cookie_name(&self, name: &str) -> String {
        format!("{}{name}", if self.secure { "__Host-" } else { "" })
    }

    /// A path of ours as browsers see it.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base_path)
    }
}
