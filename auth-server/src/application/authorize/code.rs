//! The code that ends a request well.

use sha2::{Digest, Sha256};

use super::{Authorize, CodeResponse};
use crate::{
    application::issue::AMR_PASSWORD,
    domain::{
        authorization::AuthorizationRequest,
        client::Client,
        grant::{CodeGrant, Grant, GrantDetails},
        ids::{CodeDigest, GrantId},
        session::Session,
    },
    ports::store::StoreResult,
};

/// Prefix of authorization codes, for secret scanners.
const CODE_PREFIX: &str = "hgc_";

impl Authorize {
    /// The code, unless the request was a pushed one that has been answered.
    pub(super) async fn issue_code(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
        session: &Session,
    ) -> StoreResult<Option<CodeResponse>> {
        let code = format!("{CODE_PREFIX}{}", self.entropy.secret());
        let now = self.clock.now();
        let grant = Grant {
            grant_id: GrantId::new(self.entropy.id()),
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: session.user.clone(),
            sid: Some(session.sid.clone()),
            scope: request.scope.clone(),
            auth_time: session.auth_time,
            amr: vec![AMR_PASSWORD.to_owned()],
            details: GrantDetails {
                resources: request.resources.clone(),
                default_scope: request.default_scope,
                authorization_details: request.authorization_details.clone(),
                claims: request.claims.to_parameter(),
                confirmation: request.confirmation.clone(),
                ..GrantDetails::default()
            },
        };
        let row = CodeGrant {
            digest: digest(&code),
            grant,
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.challenge(),
            nonce: request.nonce.clone(),
            issued_at: now,
            expires_at: now + self.policy.lifetimes.code,
            redeemed_at: None,
        };
        if !self.save(request, &row).await? {
            return Ok(None);
        }
        Ok(Some(CodeResponse {
            client: request.client_id.clone(),
            redirect_uri: request.redirect_uri.clone(),
            response_mode: request.response_mode,
            code,
            state: request.state.clone(),
        }))
    }

    /// Saves a code. That of a pushed request stands and falls with the request, which is answered once.
    async fn save(&self, request: &AuthorizationRequest, code: &CodeGrant) -> StoreResult<bool> {
        let Some(pushed) = &request.pushed else {
            self.codes.insert_code(code).await?;
            return Ok(true);
        };
        let mut tx = self.transactions.begin().await?;
        if !tx.take_pushed_request(pushed).await? {
            return Ok(false);
        }
        tx.insert_code(code).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What the database holds instead of a code.
pub fn digest(code: &str) -> CodeDigest {
    CodeDigest(Sha256::digest(code.as_bytes()).into())
}
