//! What somebody is asked to sign in for.

use std::sync::Arc;

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::Prompt;
use serde::{Deserialize, Serialize};
use service_kit::Timestamp;

use super::{Browser, PageError, browser::Pending, flow, see_other};
use crate::{
    adapters::http::App,
    application::confirm_ciba::AskingClient,
    domain::{
        authorization::AuthorizationRequest,
        client::Client,
        decoupled::UserCode,
        ids::{ClientId, CodeDigest},
    },
};

/// Devices that one browser may be about to connect at once; the oldest is forgotten.
const MAX_DEVICES: usize = 8;
const DEVICES: &str = "devices";

/// One request that waits, under the name by which the pages know it.
#[derive(Debug)]
pub(super) enum Waiting {
    /// An application's authorization request.
    Authorization(Box<Pending>),
    /// A device, whose code somebody has typed in this browser.
    Device(PendingDevice),
    /// An application elsewhere, which has asked a person.
    Answer(Box<PendingAnswer>),
}

/// A device whose code was right.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PendingDevice {
    pub(super) id: String,
    pub(super) user_code: UserCode,
    pub(super) client: ClientId,
    kept_at: Timestamp,
}

impl Waiting {
    pub(super) async fn find(app: &App, browser: &Browser, id: Option<&str>) -> Result<Option<Self>, PageError> {
        if let Some(pending) = browser.pending(app, id).await? {
            return Ok(Some(Self::Authorization(Box::new(pending))));
        }
        if let Some(device) = PendingDevice::find(app, browser, id).await? {
            return Ok(Some(Self::Device(device)));
        }
        Ok(PendingAnswer::find(app, id)
            .await?
            .map(|answer| Self::Answer(Box::new(answer))))
    }

    pub(super) fn id(&self) -> String {
        match self {
            Self::Authorization(pending) => pending.id.clone(),
            Self::Device(device) => device.id.clone(),
            Self::Answer(answer) => answer.id(),
        }
    }

    /// The authorization request, if it is one.
    pub(super) fn request(&self) -> Option<&AuthorizationRequest> {
        match self {
            Self::Authorization(pending) => Some(&pending.request),
            Self::Device(_) | Self::Answer(_) => None,
        }
    }

    /// Whether somebody who is signed in may have to prove it once more.
    pub(super) fn wants_proof(&self) -> bool {
        match self {
            Self::Authorization(pending) => pending.request.wants(Prompt::Login) || pending.request.max_age.is_some(),
            Self::Device(_) => false,
            Self::Answer(answer) => answer.asking.client.protocol.default_max_age.is_some(),
        }
    }

    /// Whom it is for.
    pub(super) async fn client(&self, app: &App) -> Result<Option<Arc<Client>>, PageError> {
        Ok(match self {
            Self::Authorization(pending) => app.authorize.client_of(&pending.request).await?,
            Self::Device(device) => app.confirm_device.clients.find(&device.client).await?,
            Self::Answer(answer) => Some(answer.asking.client.clone()),
        })
    }

    /// Goes on after the sign-in.
    pub(super) async fn resume(&self, app: &App, browser: &Browser) -> Result<Response, PageError> {
        match self {
            Self::Authorization(pending) => flow::resume(app, browser, pending).await,
            Self::Device(device) => Ok(see_other(&device.address(app))),
            Self::Answer(answer) => Ok(see_other(&app.path(&format!("/approve?request={}", answer.id())))),
        }
    }

    /// Nobody signs in. An application that sent the browser is told; one elsewhere is not, since nobody has decided.
    pub(super) async fn cancel(&self, app: &App, browser: &Browser) -> Result<Response, PageError> {
        match self {
            Self::Authorization(pending) => {
                let step = app.authorize.deny(&pending.request).await?;
                flow::follow(app, browser, pending, step).await
            }
            Self::Device(device) => {
                device.forget(app, browser).await?;
                Ok(see_other(&app.path("/device")))
            }
            Self::Answer(_) => Ok(see_other(&app.path("/"))),
        }
    }
}

impl PendingDevice {
    /// Keeps a device while somebody signs in and decides.
    pub(super) async fn keep(
        app: &App,
        browser: &Browser,
        user_code: UserCode,
        client: ClientId,
    ) -> Result<Self, PageError> {
        let mut all = Self::all(app, browser).await?;
        let kept = Self {
            id: app.entropy.id(),
            user_code,
            client,
            kept_at: app.clock.now(),
        };
        all.push(kept.clone());
        let surplus = all.len().saturating_sub(MAX_DEVICES);
        all.drain(..surplus);
        browser.put(DEVICES, all).await?;
        Ok(kept)
    }

    pub(super) async fn find(app: &App, browser: &Browser, id: Option<&str>) -> Result<Option<Self>, PageError> {
        let Some(id) = id else { return Ok(None) };
        let all = Self::all(app, browser).await?;
        Ok(all.into_iter().find(|device| device.id == id))
    }

    pub(super) async fn forget(&self, app: &App, browser: &Browser) -> Result<(), PageError> {
        let mut all = Self::all(app, browser).await?;
        all.retain(|device| device.id != self.id);
        browser.put(DEVICES, all).await
    }

    /// Where the person decides.
    pub(super) fn address(&self, app: &App) -> String {
        app.path(&format!("/device/consent?request={}", self.id))
    }

    async fn all(app: &App, browser: &Browser) -> Result<Vec<Self>, PageError> {
        let mut all: Vec<Self> = browser.get(DEVICES).await?.unwrap_or_default();
        let now = app.clock.now();
        all.retain(|device| now.since(device.kept_at) < app.policy.device.lifetime);
        Ok(all)
    }
}

/// A request from elsewhere, under the digest of its id.
#[derive(Debug)]
pub(super) struct PendingAnswer {
    pub(super) asking: AskingClient,
}

impl PendingAnswer {
    /// The request, if it waits. Whoever knows the digest has it from a page of the person's.
    pub(super) async fn find(app: &App, id: Option<&str>) -> Result<Option<Self>, PageError> {
        let digest = id.and_then(|id| URL_SAFE_NO_PAD.decode(id).ok());
        let Some(digest) = digest.and_then(|digest| digest.try_into().ok()) else {
            return Ok(None);
        };
        let found = app.confirm_ciba.find(&CodeDigest(digest)).await?;
        Ok(found.map(|asking| Self { asking }))
    }

    pub(super) fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.asking.request.digest.0)
    }
}
