//! Recordings of vendors' own libraries, as signers see them.

use std::{fs, path::Path};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use secrecy::SecretString;
use serde_json::Value;

use super::canonical::{Signable, Signed};
use crate::{
    domain::vendor::{SecretKey, Vendor},
    ports::codec::Outgoing,
};

/// A vendor with an access key.
pub(super) fn vendor(id: &str, secret: &str) -> Vendor {
    let mut vendor = Vendor::named("v", "s");
    vendor.credential.secret_id = Some(id.to_owned());
    vendor.credential.secret_key = SecretKey::Present(SecretString::from(secret));
    vendor
}

/// A request that is about to be signed.
pub(super) fn outgoing(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Outgoing {
    let headers = headers.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().unwrap();
        (name, value.parse().unwrap())
    });
    Outgoing {
        method: method.parse().unwrap(),
        uri: uri.parse().unwrap(),
        headers: headers.collect::<HeaderMap>(),
        body: vec![Bytes::from(body.to_owned())],
        dialogue: None,
    }
}

/// A recording. Where a signature covers the body, its exact bytes stand in it.
pub(super) struct Recorded {
    pub(super) name: String,
    pub(super) inputs: Value,
    pub(super) signing: Value,
    pub(super) body: Bytes,
    pub(super) request: Value,
    pub(super) response: Value,
    pub(super) expect: Value,
}

/// The recordings of a vendor that have what is wanted.
pub(super) fn recorded(vendor: &str, is_wanted: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/vendors")
        .join(vendor);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let mut file: Value = serde_json::from_str(&text).unwrap();
            let request = file["request"].take();
            Recorded {
                name: path.display().to_string(),
                inputs: file["inputs"].take(),
                signing: file["signing"].take(),
                response: file["response"].take(),
                expect: file["expect"].take(),
                body: Bytes::from(request["body_text"].as_str().unwrap_or_default().to_owned()),
                request,
            }
        })
        .filter(is_wanted)
        .collect()
}

impl Recorded {
    pub(super) fn input(&self, name: &str) -> &str {
        self.inputs[name]
            .as_str()
            .unwrap_or_else(|| panic!("{}: {name}", self.name))
    }

    pub(super) fn unix(&self) -> i64 {
        self.inputs["frozen_unix"].as_i64().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.request["headers"][name].as_str()
    }

    /// The names between `before` and `after` in the recorded `Authorization`.
    pub(super) fn signed_names(&self, before: &str, after: &str) -> Vec<String> {
        let (_, rest) = self.header("authorization").unwrap().split_once(before).unwrap();
        let (names, _) = rest.split_once(after).unwrap();
        names.split(';').map(str::to_owned).collect()
    }

    pub(super) fn headers_named<'a>(&'a self, names: &'a [String]) -> Vec<(&'a str, &'a str)> {
        let value_of = |name: &'a String| (&**name, self.header(name).unwrap());
        names.iter().map(value_of).collect()
    }

    pub(super) fn all_headers(&self) -> Vec<(&str, &str)> {
        let headers = self.request["headers"].as_object().unwrap();
        headers
            .iter()
            .map(|(name, value)| (&**name, value.as_str().unwrap()))
            .collect()
    }

    pub(super) fn signable<'a>(&'a self, headers: &'a [(&'a str, &'a str)], body: &'a [Bytes]) -> Signable<'a> {
        let text = |name: &str| self.request[name].as_str();
        Signable {
            method: text("method").unwrap(),
            host: text("host").unwrap(),
            path: text("path").unwrap(),
            query: text("raw_query").unwrap_or_default(),
            headers,
            body,
        }
    }

    /// The request without its signature, with some of its headers.
    pub(super) fn outgoing(&self, names: &[&str]) -> Outgoing {
        let text = |name: &str| self.request[name].as_str().unwrap();
        let uri = format!("{}://{}{}", text("scheme"), text("host"), text("path"));
        let headers = names.iter().map(|name| (*name, self.header(name).unwrap()));
        let headers: Vec<_> = headers.collect();
        outgoing(text("method"), &uri, &headers, std::str::from_utf8(&self.body).unwrap())
    }

    /// Every step of a signature, and the header that carries it, are those of the recording.
    pub(super) fn assert_signed(&self, signed: &Signed) {
        let name = &self.name;
        assert_eq!(signed.canonical_request, self.signing["canonical_request"], "{name}");
        if let Some(wanted) = self.signing["string_to_sign"].as_str() {
            assert_eq!(signed.string_to_sign, wanted, "{name}");
        }
        assert_eq!(signed.signature, self.signing["signature"], "{name}");
        assert_eq!(Some(signed.authorization()), self.header("authorization"), "{name}");
    }
}
