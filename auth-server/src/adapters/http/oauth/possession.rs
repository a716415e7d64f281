//! What a request proves possession of, as it stands in its head.

use http::{Extensions, HeaderMap, HeaderName};
use service_kit::PeerCertificate;

use crate::application::{sender_constraint::Shown, token_error::TokenError};

const DPOP: HeaderName = HeaderName::from_static("dpop");
pub(super) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The DPoP proof and the client certificate of a request, neither of them checked.
#[derive(Debug)]
pub(crate) struct Possession {
    proof: Option<String>,
    certificate: Option<PeerCertificate>,
}

impl Possession {
    /// Reads a request's head.
    ///
    /// # Errors
    /// [`TokenError::InvalidDpopProof`] for more than one `DPoP` header (RFC 9449 §4.3 step 1).
    pub(crate) fn read(headers: &HeaderMap, extensions: &Extensions) -> Result<Self, TokenError> {
        let mut proofs = headers.get_all(DPOP).iter();
        let (first, second) = (proofs.next(), proofs.next());
        if second.is_some() {
            return Err(TokenError::InvalidDpopProof("two DPoP headers were sent".into()));
        }
        let proof = first
            .map(|value| value.to_str().map(str::to_owned))
            .transpose()
            .map_err(|_| TokenError::InvalidDpopProof("the DPoP header is not a JWT".into()))?;
        Ok(Self {
            proof,
            certificate: extensions.get().cloned(),
        })
    }

    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown {
            proof: self.proof.as_deref(),
            certificate: self.certificate.as_ref().map(|one| one.thumbprint.as_str()),
        }
    }
}
