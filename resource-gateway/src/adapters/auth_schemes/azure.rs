//! Azure's two ways: a key of the resource, or a token of its directory.

use super::{Bearer, named_header::NamedHeader};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Signer},
};

/// The option that says what `secret_key` is: a key, or [`ENTRA`].
pub const AUTH: &str = "auth";
/// A token of Microsoft Entra, which whoever configures the vendor renews.
pub const ENTRA: &str = "entra";

/// `api-key: KEY`, or with the option `auth = "entra"` `Authorization: Bearer TOKEN`.
#[derive(Debug, Clone, Copy)]
pub struct Azure;

impl AuthScheme for Azure {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        match vendor.options.get(AUTH).map(String::as_str) {
            None => NamedHeader::API_KEY.signer(vendor),
            Some(ENTRA) => Bearer.signer(vendor),
            Some(_) => Err(format!("its option {AUTH} must be {ENTRA}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{outgoing, vendor};
    use service_kit::Timestamp;

    #[test]
    fn a_key_and_a_token_stand_in_headers_of_their_own() {
        let mut row = vendor("", "sk-12345678");
        row.credential.secret_id = None;
        for (option, name, value) in [
            (None, "api-key", "sk-12345678"),
            (Some(ENTRA), "authorization", "Bearer sk-12345678"),
        ] {
            row.options
                .extend(option.map(|option| (AUTH.to_owned(), option.to_owned())));
            let mut request = outgoing("POST", "https://a.test/x", &[], "");
            let signer = Azure.signer(&row).unwrap();
            signer.sign(&mut request, Timestamp::from_seconds(0), None);
            assert_eq!(request.headers[name], value);
            assert_eq!(request.headers.len(), 1);
        }
        row.options.insert(AUTH.to_owned(), "other".to_owned());
        assert!(Azure.signer(&row).is_err());
    }
}
