//! What a request proves possession of, and what its tokens are bound to (RFC 9449, RFC 8705 §3).

use std::sync::Arc;

use oauth_wire::{Confirmation, Htu, TokenScheme};
use service_kit::{Clock, DpopConfig, Timestamp};
use token_keys::{DpopNonces, ExpectedProof, NonceVerdict, ProofError, verify_dpop_proof};

use crate::{
    application::{
        token_error::{ASSERTION_REPLAYED, TokenError},
        unspent::Unspent,
    },
    domain::client::Client,
    ports::store::{SingleUse, SingleUseId, SingleUseKind, StoreError},
};

/// Judges proofs of possession.
#[derive(Clone)]
pub struct SenderConstraint {
    pub nonces: DpopNonces,
    /// The addresses under which the provider is reached: the issuer, and where clients with certificates go.
    pub bases: Arc<[String]>,
    pub config: DpopConfig,
    pub single_use: Arc<dyn SingleUse>,
    pub clock: Arc<dyn Clock>,
}

/// What a request shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// The `DPoP` header.
    pub proof: Option<&'a str>,
    /// `x5t#S256` of the certificate of the connection.
    pub certificate: Option<&'a str>,
}

/// Where a request went.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub method: &'a str,
    /// The endpoint's path below the issuer.
    pub path: &'a str,
}

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("the DPoP proof was used before")]
    Replayed,
    /// RFC 7523 §3: what is to be spent together with the proof.
    #[error("{ASSERTION_REPLAYED}")]
    AssertionReplayed,
    /// RFC 9449 §8: try again with this one.
    #[error("the DPoP proof must hold the nonce of the DPoP-Nonce header")]
    Nonce { fresh: String },
    #[error("the client's tokens are bound to a DPoP key: a DPoP proof is needed")]
    ProofMissing,
    #[error("the client's tokens are bound to its certificate: a client certificate is needed")]
    CertificateMissing,
    #[error("the token is bound to a DPoP key: it goes into an Authorization header of the scheme DPoP, with a proof")]
    WrongScheme,
    #[error("the token is not bound to a key, so the scheme is Bearer")]
    NotBound,
    #[error("the token is bound to another certificate")]
    OtherCertificate,
    #[error("storage failed")]
    Store(#[from] StoreError),
    #[error("OpenSSL refused")]
    OpenSsl(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl std::fmt::Debug for SenderConstraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderConstraint")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl SenderConstraint {
    /// What the tokens that this request of a client asks for are bound to: the key of its DPoP proof, else the certificate if the
    /// client is registered for that. The proof is to be spent together with what the client has used to authenticate; a request
    /// that is sent back for a nonce spends neither, so that the client may send the same assertion again.
    ///
    /// # Errors
    /// [`SenderError`]: also when the client must bind its tokens and shows nothing to bind them to.
    pub fn of_request(
        &self,
        client: &Client,
        shown: Shown<'_>,
        place: Place<'_>,
        authentication: Vec<SingleUseId>,
    ) -> Result<(Option<Confirmation>, Unspent), SenderError> {
        if shown.proof.is_some() {
            return self.of_pushed_request(shown, place, authentication);
        }
        // RFC 9449 §5.2: without a proof the request is refused.
        if client.protocol.dpop_bound_access_tokens {
            return Err(SenderError::ProofMissing);
        }
        let bound = match client.protocol.tls_client_certificate_bound_access_tokens {
            true => Some(shown.certificate.ok_or(SenderError::CertificateMissing)?),
            false => None,
        };
        let confirmation = bound.map(|thumbprint| Confirmation::X5tS256(thumbprint.to_owned()));
        Ok((confirmation, self.unspent(authentication, None)))
    }

    /// The key to which the code of a pushed request is bound, if the client proves one (RFC 9449 §10.1). Certificates bind no codes: the
    /// code is the client's anyway. What is to be spent is as for [`SenderConstraint::of_request`].
    ///
    /// # Errors
    /// [`SenderError`].
    pub fn of_pushed_request(
        &self,
        shown: Shown<'_>,
        place: Place<'_>,
        authentication: Vec<SingleUseId>,
    ) -> Result<(Option<Confirmation>, Unspent), SenderError> {
        let Some(proof) = shown.proof else {
            return Ok((None, self.unspent(authentication, None)));
        };
        let (jkt, id) = self.prove(proof, place, None, None)?;
        Ok((Some(Confirmation::Jkt(jkt)), self.unspent(authentication, Some(id))))
    }

    /// Checks that whoever presents a token may: RFC 9449 §7 and RFC 8705 §3. A proof is spent by it.
    ///
    /// # Errors
    /// [`SenderError`].
    pub async fn of_token(
        &self,
        token: &str,
        bound_to: Option<&Confirmation>,
        scheme: TokenScheme,
        shown: Shown<'_>,
        place: Place<'_>,
    ) -> Result<(), SenderError> {
        match (bound_to, scheme) {
            (Some(Confirmation::Jkt(jkt)), TokenScheme::Dpop) => {
                let proof = shown.proof.ok_or(SenderError::ProofMissing)?;
                let (_, id) = self.prove(proof, place, Some(token), Some(jkt))?;
                self.unspent(Vec::new(), Some(id)).spend().await
            }
            // RFC 9449 §7.2: a bound token is no bearer token.
            (Some(Confirmation::Jkt(_)), TokenScheme::Bearer) => Err(SenderError::WrongScheme),
            (None | Some(Confirmation::X5tS256(_)), TokenScheme::Dpop) => Err(SenderError::NotBound),
            (Some(Confirmation::X5tS256(thumbprint)), TokenScheme::Bearer) => match shown.certificate {
                Some(shown) if shown == thumbprint => Ok(()),
                Some(_) => Err(SenderError::OtherCertificate),
                None => Err(SenderError::CertificateMissing),
            },
            (None, TokenScheme::Bearer) => Ok(()),
        }
    }

    /// A nonce for the next proof, if proofs need one or when the one at hand ages.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn fresh_nonce(&self) -> Result<String, SenderError> {
        self.nonces
            .mint(self.clock.now().as_seconds())
            .map_err(|error| SenderError::OpenSsl(error.into()))
    }

    fn unspent(&self, authentication: Vec<SingleUseId>, proof: Option<SingleUseId>) -> Unspent {
        Unspent::new(self.single_use.clone(), authentication, proof)
    }

    /// The thumbprint of the proof's key, and what the proof is to be spent as.
    fn prove(
        &self,
        proof: &str,
        place: Place<'_>,
        access_token: Option<&str>,
        jkt: Option<&str>,
    ) -> Result<(String, SingleUseId), SenderError> {
        let now = self.clock.now().as_seconds();
        let uris: Vec<Htu> = self
            .bases
            .iter()
            .filter_map(|base| Htu::parse(&format!("{base}{}", place.path)).ok())
            .collect();
        let window_seconds = self.config.window_s;
        let proof = verify_dpop_proof(
            proof,
            &ExpectedProof {
                method: place.method,
                uris: &uris,
                now,
                window_seconds,
                access_token,
                jkt,
            },
        )?;
        self.check_nonce(proof.nonce.as_deref(), now)?;
        // RFC 9449 §11.1: remembered for as long as its age lets it pass. A jti is unique for its key.
        let id = SingleUseId {
            namespace: SingleUseKind::DpopProof,
            id: format!("{} {}", proof.jkt, proof.jti),
            expires_at: Timestamp::from_seconds(proof.iat.saturating_add(i64::from(window_seconds)).saturating_add(1)),
        };
        Ok((proof.jkt, id))
    }

    fn check_nonce(&self, nonce: Option<&str>, now: i64) -> Result<(), SenderError> {
        let verdict = match nonce {
            // A nonce of another server, sent to one that wants none, does no harm.
            _ if !self.config.require_nonce => return Ok(()),
            None => NonceVerdict::Refused,
            Some(nonce) => self
                .nonces
                .judge(nonce, now)
                .map_err(|error| SenderError::OpenSsl(error.into()))?,
        };
        match verdict {
            NonceVerdict::Fresh | NonceVerdict::Ageing => Ok(()),
            NonceVerdict::Refused => Err(SenderError::Nonce {
                fresh: self.fresh_nonce()?,
            }),
        }
    }
}

impl From<SenderError> for TokenError {
    fn from(error: SenderError) -> Self {
        match error {
            SenderError::Store(error) => error.into(),
            SenderError::OpenSsl(error) => Self::Internal(error),
            SenderError::Nonce { fresh } => Self::UseDpopNonce { fresh },
            SenderError::AssertionReplayed => Self::InvalidAssertion(ASSERTION_REPLAYED),
            // RFC 8705 §3 names no error of its own.
            SenderError::CertificateMissing | SenderError::OtherCertificate => {
                Self::InvalidRequest(SenderError::CertificateMissing.to_string())
            }
            other @ (SenderError::Proof(_)
            | SenderError::Replayed
            | SenderError::ProofMissing
            | SenderError::WrongScheme
            | SenderError::NotBound) => Self::InvalidDpopProof(other.to_string()),
        }
    }
}
