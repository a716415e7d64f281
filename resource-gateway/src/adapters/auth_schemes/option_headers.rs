//! Headers that say on whose account a call is, taken from the vendor's options.

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use service_kit::Timestamp;

use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Exchange, Outgoing, Signer},
};

/// Another scheme, and a header for each option that is set: the option's name and the header's.
#[derive(Debug, Clone, Copy)]
pub struct OptionHeaders<S>(pub S, pub &'static [(&'static str, &'static str)]);

#[derive(Debug)]
struct WithHeaders {
    inner: Box<dyn Signer>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl<S: AuthScheme> AuthScheme for OptionHeaders<S> {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let inner = self.0.signer(vendor)?;
        let mut headers = Vec::new();
        for (option, header) in self.1 {
            let Some(value) = vendor.options.get(*option) else {
                continue;
            };
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("its option {option} holds characters that a header cannot carry"))?;
            headers.push((HeaderName::from_static(header), value));
        }
        Ok(match headers.is_empty() {
            true => inner,
            false => Box::new(WithHeaders { inner, headers }),
        })
    }
}

impl Signer for WithHeaders {
    fn sign(&self, request: &mut Outgoing, at: Timestamp, token: Option<&SecretString>) {
        // Before the signature, which may cover them.
        for (name, value) in &self.headers {
            request.headers.insert(name.clone(), value.clone());
        }
        self.inner.sign(request, at, token);
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.inner.is_shown_in(text)
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        self.inner.exchange()
    }
}
