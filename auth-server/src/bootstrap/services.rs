//! The use cases, wired.

use std::sync::Arc;

use anyhow::Context as _;
use service_kit::Tasks;
use token_keys::DpopNonces;
use url::Url;

use crate::{
    adapters::{
        http::{self, Services},
        oxide::OxideCodeRules,
    },
    application::{
        accept_assertion::AcceptAssertion,
        account::Account,
        authenticate_client::{AuthenticateClient, ClientDirectory},
        authorize::Authorize,
        ciba_pings::{CibaPings, PingSeal},
        client_credentials::ClientCredentials,
        client_keyring::ClientKeyring,
        client_logo::ClientLogos,
        client_sealer::ClientSealer,
        confirm_ciba::ConfirmCiba,
        confirm_device::ConfirmDevice,
        decide_decoupled::DecideDecoupled,
        delivery_lanes::Lanes,
        end_grant::EndGrant,
        exchange_code::ExchangeCode,
        exchange_token::ExchangeToken,
        introspect::Introspect,
        issue::TokenIssuer,
        keyring::Keyring,
        live_tokens::{LiveTokens, TokenReader},
        logout_delivery::{LogoutDeliveries, LogoutParts},
        meters::Meters,
        opaque_tokens::OpaqueTokens,
        password_grant::PasswordGrant,
        poll_events::PollEvents,
        redeem_decoupled::RedeemDecoupled,
        refresh_secret::RefreshSecrets,
        register::ClientUse,
        request_ciba::RequestCiba,
        request_device::RequestDevice,
        revoke_token::RevokeToken,
        rotate_refresh::RotateRefresh,
        sender_constraint::SenderConstraint,
        sign_in::{DeviceCookies, SignIn},
        sign_out::SignOut,
        userinfo::Userinfo,
    },
};

use super::{Ambient, Foundation};

pub(super) fn logout_deliveries(
    foundation: &Foundation,
    keyring: &Arc<Keyring>,
    clients: &ClientDirectory,
    (lanes, tasks): (&Arc<Lanes>, &Tasks),
) -> LogoutDeliveries {
    let parts = LogoutParts {
        policy: foundation.policy.clone(),
        keyring: keyring.clone(),
        subjects: foundation.subjects.clone(),
        clients: clients.clone(),
        outbound: foundation.outbound.clone(),
        lanes: lanes.clone(),
        tasks: tasks.clone(),
        clock: foundation.ambient.clock.clone(),
        entropy: foundation.ambient.entropy.clone(),
    };
    LogoutDeliveries::new(foundation.store.clone(), parts)
}

pub(super) fn ciba_pings(
    foundation: &Foundation,
    clients: &ClientDirectory,
    (lanes, tasks): (&Arc<Lanes>, &Tasks),
) -> anyhow::Result<CibaPings> {
    Ok(CibaPings {
        queue: foundation.store.clone(),
        clients: clients.clone(),
        seal: PingSeal::new(foundation.master.sealing("ciba-ping")?),
        outbound: foundation.outbound.clone(),
        lanes: lanes.clone(),
        tasks: tasks.clone(),
        clock: foundation.ambient.clock.clone(),
        entropy: foundation.ambient.entropy.clone(),
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "one literal per use case; cut in pieces, the wiring would only be harder to see"
)]
pub(super) fn services(
    foundation: &Foundation,
    keyring: &Arc<Keyring>,
    clients: &ClientDirectory,
    (logouts, pings): (&LogoutDeliveries, &CibaPings),
    tasks: &Tasks,
) -> anyhow::Result<Services> {
    let Foundation {
        store,
        policy,
        hasher,
        secrets,
        revocations,
        documents,
        subjects,
        ambient,
        master,
        ..
    } = foundation;
    let Ambient { clock, entropy, .. } = ambient;
    let client_keyring = ClientKeyring::new(documents.clone());
    let sealer = ClientSealer {
        keyring: keyring.clone(),
        client_keys: client_keyring.clone(),
    };
    let refresh = RefreshSecrets::new(master.derive("refresh-token")?);
    let opaque = OpaqueTokens::new(master.sealing("opaque-access-token")?, &policy.issuer);
    let issuer = TokenIssuer {
        policy: policy.clone(),
        keyring: keyring.clone(),
        sealer: sealer.clone(),
        opaque: opaque.clone(),
        subjects: subjects.clone(),
        users: store.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let tokens = LiveTokens::new(
        policy.clone(),
        TokenReader {
            keyring: keyring.clone(),
            opaque,
            subjects: subjects.clone(),
        },
        clients.clone(),
        revocations.clone(),
        clock.clone(),
    );
    let sender_constraint = SenderConstraint {
        nonces: DpopNonces::new(master.derive("dpop-nonce")?, policy.dpop.nonce_lifetime()),
        bases: std::iter::once(policy.issuer.clone())
            .chain(policy.mtls_base_url.clone())
            .collect(),
        config: policy.dpop,
        single_use: store.clone(),
        clock: clock.clone(),
    };
    let end_grant = EndGrant {
        transactions: store.clone(),
        revocations: revocations.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
    };
    let sign_out = SignOut {
        policy: policy.clone(),
        clients: clients.clone(),
        keyring: keyring.clone(),
        transactions: store.clone(),
        revocations: revocations.clone(),
        deliveries: logouts.clone(),
        clock: clock.clone(),
    };
    let sign_in = SignIn {
        policy: policy.clone(),
        users: store.clone(),
        sessions: store.clone(),
        throttle: store.clone(),
        hasher: hasher.clone(),
        devices: DeviceCookies::new(master.derive("device-cookie")?),
        sign_out: sign_out.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let decide_decoupled = DecideDecoupled {
        requests: store.clone(),
        consents: store.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let url = Url::parse(&policy.issuer).context("issuer")?;
    Ok(Services {
        authenticate_client: AuthenticateClient::new(
            clients.clone(),
            secrets.clone(),
            client_keyring.clone(),
            store.clone(),
            policy.clone(),
            clock.clone(),
        ),
        single_use: store.clone(),
        meters: Meters::new(),
        authorize: Authorize {
            policy: policy.clone(),
            clients: clients.clone(),
            codes: store.clone(),
            pushed: store.clone(),
            transactions: store.clone(),
            consents: store.clone(),
            keyring: keyring.clone(),
            sealer: sealer.clone(),
            documents: documents.clone(),
            client_keys: client_keyring.clone(),
            subjects: subjects.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        sender_constraint: sender_constraint.clone(),
        exchange_code: ExchangeCode {
            policy: policy.clone(),
            codes: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            transactions: store.clone(),
            rules: Arc::new(OxideCodeRules),
            issuer: issuer.clone(),
            refresh: refresh.clone(),
            end_grant: end_grant.clone(),
            clock: clock.clone(),
        },
        exchange_token: ExchangeToken {
            policy: policy.clone(),
            tokens: tokens.clone(),
            users: store.clone(),
            subjects: subjects.clone(),
            issuer: issuer.clone(),
            clock: clock.clone(),
        },
        rotate_refresh: RotateRefresh {
            policy: policy.clone(),
            families: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            transactions: store.clone(),
            end_grant: end_grant.clone(),
            issuer: issuer.clone(),
            refresh: refresh.clone(),
            clock: clock.clone(),
        },
        client_credentials: ClientCredentials { issuer: issuer.clone() },
        accept_assertion: AcceptAssertion {
            policy: policy.clone(),
            keyring: client_keyring.clone(),
            users: store.clone(),
            single_use: store.clone(),
            own: ClientCredentials { issuer: issuer.clone() },
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        password_grant: PasswordGrant {
            policy: policy.clone(),
            sign_in: sign_in.clone(),
            transactions: store.clone(),
            issuer: issuer.clone(),
            refresh: refresh.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        request_device: RequestDevice {
            policy: policy.clone(),
            requests: store.clone(),
            throttle: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        confirm_device: ConfirmDevice {
            policy: policy.clone(),
            clients: clients.clone(),
            requests: store.clone(),
            decide: decide_decoupled.clone(),
            throttle: store.clone(),
            clock: clock.clone(),
        },
        request_ciba: RequestCiba {
            policy: policy.clone(),
            requests: store.clone(),
            users: store.clone(),
            keyring: keyring.clone(),
            subjects: subjects.clone(),
            seal: pings.seal.clone(),
            throttle: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        confirm_ciba: ConfirmCiba {
            clients: clients.clone(),
            requests: store.clone(),
            decide: decide_decoupled,
            pings: pings.clone(),
            clock: clock.clone(),
        },
        redeem_decoupled: RedeemDecoupled {
            policy: policy.clone(),
            requests: store.clone(),
            users: store.clone(),
            transactions: store.clone(),
            issuer,
            refresh: refresh.clone(),
            clock: clock.clone(),
        },
        introspect: Introspect {
            policy: policy.clone(),
            tokens: tokens.clone(),
            clients: clients.clone(),
            subjects: subjects.clone(),
            families: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            refresh: refresh.clone(),
            sealer: sealer.clone(),
            clock: clock.clone(),
        },
        revoke_token: RevokeToken {
            tokens: tokens.clone(),
            families: store.clone(),
            transactions: store.clone(),
            refresh,
            revocations: revocations.clone(),
            end_grant,
            clock: clock.clone(),
        },
        userinfo: Userinfo {
            policy: policy.clone(),
            tokens,
            users: store.clone(),
            sealer,
            sender_constraint,
        },
        poll_events: PollEvents::new(
            policy.clone(),
            keyring.clone(),
            revocations.clone(),
            clock.clone(),
            tasks.clone(),
        ),
        register: foundation.register()?,
        client_use: ClientUse::new(store.clone(), clock.clone()),
        client_logos: ClientLogos::new(clients.clone(), foundation.outbound.clone(), clock.clone()),
        account: Account {
            users: store.clone(),
            sessions: store.clone(),
            consents: store.clone(),
            clients: clients.clone(),
            transactions: store.clone(),
            revocations: revocations.clone(),
            sign_out: sign_out.clone(),
            clock: clock.clone(),
        },
        sign_in,
        sign_out,
        keyring: keyring.clone(),
        sessions: store.clone(),
        browser_sessions: store.clone(),
        catalogue: http::catalogue()?,
        metadata: http::metadata(policy)?,
        events_credential: master.service_credential("events-poll")?,
        base_path: url.path().trim_end_matches('/').to_owned(),
        secure: url.scheme() == "https",
        policy: policy.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
}
