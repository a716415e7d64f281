//! Whether whoever presents a bound token may use it (RFC 9449 §7, RFC 8705 §3).

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use oauth_wire::{Confirmation, Htu, TokenScheme};
use service_kit::{Clock, DpopConfig};
use sha2::{Digest, Sha256};
use token_keys::{DpopNonces, ExpectedProof, NonceVerdict, ProofError, verify_dpop_proof};

/// Proofs that are remembered at most, 100 bytes each. A flood of more within one window pushes the oldest out, and only whoever has
/// the key can make proofs: they would buy a replay of a request of their own.
const REMEMBERED_PROOFS: u64 = 200_000;

/// A token with what came along to prove that it is the presenter's.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    pub token: &'a str,
    pub scheme: TokenScheme,
    /// The `DPoP` header.
    pub proof: Option<&'a str>,
    /// `x5t#S256` of the connection's certificate.
    pub certificate: Option<&'a str>,
    pub method: &'a str,
    /// The gateway's address as callers know it, without a trailing slash.
    pub base: &'a str,
    /// The path of the request.
    pub path: &'a str,
}

/// Why the presenter may not use the token. The texts go to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PossessionFault {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("the DPoP proof was used before")]
    Replayed,
    /// RFC 9449 §9.
    #[error("the DPoP proof must hold the nonce of the DPoP-Nonce header")]
    Nonce { fresh: String },
    #[error("a DPoP proof is missing")]
    ProofMissing,
    #[error("the token is bound to a DPoP key, so the scheme is DPoP")]
    WrongScheme,
    #[error("the token is not bound to a DPoP key, so the scheme is Bearer")]
    NotBound,
    #[error("the token is bound to a client certificate, and none was shown")]
    CertificateMissing,
    #[error("the token is bound to another client certificate")]
    OtherCertificate,
    #[error("the proof cannot be checked")]
    Internal,
}

/// Checks possession; remembers the proofs that it has seen.
pub struct CheckPossession {
    config: DpopConfig,
    nonces: DpopNonces,
    seen: Cache<[u8; 32], ()>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for CheckPossession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckPossession")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl CheckPossession {
    pub fn new(config: DpopConfig, nonces: DpopNonces, clock: Arc<dyn Clock>) -> Self {
        let seen = Cache::builder()
            .max_capacity(REMEMBERED_PROOFS)
            // A proof may come as early as it may come late.
            .time_to_live(Duration::from_secs(2 * u64::from(config.window_s) + 1))
            .build();
        Self {
            config,
            nonces,
            seen,
            clock,
        }
    }

    /// Checks that the presenter holds what the token is bound to.
    ///
    /// # Errors
    /// [`PossessionFault`].
    pub fn check(&self, presented: &Presented<'_>, bound_to: Option<&Confirmation>) -> Result<(), PossessionFault> {
        match (bound_to, presented.scheme) {
            (None, TokenScheme::Bearer) => Ok(()),
            (Some(Confirmation::Jkt(jkt)), TokenScheme::Dpop) => self.check_proof(presented, jkt),
            // RFC 9449 §7.2: a bound token is no bearer token.
            (Some(Confirmation::Jkt(_)), TokenScheme::Bearer) => Err(PossessionFault::WrongScheme),
            (None | Some(Confirmation::X5tS256(_)), TokenScheme::Dpop) => Err(PossessionFault::NotBound),
            (Some(Confirmation::X5tS256(bound)), TokenScheme::Bearer) => match presented.certificate {
                Some(shown) if shown == bound => Ok(()),
                Some(_) => Err(PossessionFault::OtherCertificate),
                None => Err(PossessionFault::CertificateMissing),
            },
        }
    }

    fn check_proof(&self, presented: &Presented<'_>, jkt: &str) -> Result<(), PossessionFault> {
        let proof = presented.proof.ok_or(PossessionFault::ProofMissing)?;
        let uri = Htu::parse(&format!("{}{}", presented.base, presented.path))
            .map_err(|_| PossessionFault::Proof(ProofError::Uri))?;
        let now = self.clock.now().as_seconds();
        let proof = verify_dpop_proof(
            proof,
            &ExpectedProof {
                method: presented.method,
                uris: std::slice::from_ref(&uri),
                now,
                window_seconds: self.config.window_s,
                access_token: Some(presented.token),
                jkt: Some(jkt),
            },
        )?;
        if self.config.require_nonce {
            self.check_nonce(proof.nonce.as_deref(), now)?;
        }
        // RFC 9449 §11.1. A jti is unique for its key; the thumbprint has a fixed length, so the two cannot run into each other.
        let id: [u8; 32] = Sha256::new()
            .chain_update(jkt)
            .chain_update(&proof.jti)
            .finalize()
            .into();
        match self.seen.entry(id).or_insert(()).is_fresh() {
            true => Ok(()),
            false => Err(PossessionFault::Replayed),
        }
    }

    fn check_nonce(&self, nonce: Option<&str>, now: i64) -> Result<(), PossessionFault> {
        let verdict = match nonce {
            None => NonceVerdict::Refused,
            Some(nonce) => self.nonces.judge(nonce, now).map_err(|_| PossessionFault::Internal)?,
        };
        match verdict {
            NonceVerdict::Fresh | NonceVerdict::Ageing => Ok(()),
            NonceVerdict::Refused => Err(PossessionFault::Nonce {
                fresh: self.nonces.mint(now).map_err(|_| PossessionFault::Internal)?,
            }),
        }
    }
}
