//! Tencent Cloud's API 3.0: one host a product, one path, the action in a header, and status 200 whatever happened.
//!
//! Members of a request that nobody here knows are the vendor's and stand at the top level of its JSON, by its own names.

mod chat;
mod embeddings;
mod faults;
mod image;
mod jobs;
mod pictures;
mod recordings;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use http::HeaderValue;
use serde::{Serialize, de::DeserializeOwned};

use self::jobs::JobState;
pub use self::{
    chat::TencentChat,
    embeddings::TencentEmbeddings,
    image::TencentImages,
    pictures::{TencentFaces, TencentLabels, TencentOcr},
    recordings::TencentTranscription,
};
use super::{pictures as picture, recordings as recording, support};
use crate::{
    domain::{
        fault::{Fault, FaultClass, PublicError},
        interface::Capability,
    },
    ports::codec::Encoded,
};

/// Faces and labels are not offered without one.
const FIRST_REGION: HeaderValue = HeaderValue::from_static("ap-guangzhou");

/// A product: its host and the version of its API that is spoken here.
#[derive(Debug, Clone, Copy)]
struct Product {
    home: &'static str,
    version: &'static str,
    wants_region: bool,
}

const HUNYUAN: Product = Product {
    home: "https://hunyuan.tencentcloudapi.com",
    version: "2023-09-01",
    wants_region: false,
};
const OCR: Product = Product {
    home: "https://ocr.tencentcloudapi.com",
    version: "2018-11-19",
    wants_region: false,
};
const ASR: Product = Product {
    home: "https://asr.tencentcloudapi.com",
    version: "2019-06-14",
    wants_region: false,
};
const FACES: Product = Product {
    home: "https://iai.tencentcloudapi.com",
    version: "2020-03-03",
    wants_region: true,
};
const LABELS: Product = Product {
    home: "https://tiia.tencentcloudapi.com",
    version: "2019-05-29",
    wants_region: true,
};

const PATH: &str = "/";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Product {
    /// A call of one of its actions. The region that a vendor's row names comes with the signature.
    fn call(self, action: &'static str, body: &impl Serialize) -> Encoded {
        // Texts, numbers and names that are text: nothing that JSON lacks.
        let body = serde_json::to_vec(body).unwrap_or_default();
        let encoded = Encoded::of(JSON, body.into())
            .with("x-tc-action", HeaderValue::from_static(action))
            .with("x-tc-version", HeaderValue::from_static(self.version));
        match self.wants_region {
            true => encoded.with("x-tc-region", FIRST_REGION),
            false => encoded,
        }
    }
}

/// What `Response` holds, unless that is an error.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    // Long answers are not read twice to see that they are none.
    if memchr::memmem::find(body, b"\"Error\"").is_some()
        && let Some(fault) = faults::in_band(body)
    {
        return Err(fault);
    }
    serde_json::from_slice::<wire::Envelope<T>>(body)
        .map(|envelope| envelope.response)
        .map_err(|_| Fault::of(FaultClass::InvalidReply))
}

/// A percentage as a share. The vendor writes 0 to 100.
fn share(percent: f64) -> f64 {
    (percent / 100.0).clamp(0.0, 1.0)
}

/// The route names a model that is none of this capability's.
fn no_such_model(capability: Capability) -> PublicError {
    let message = format!("The provider has no such model for {}.", capability.as_str());
    PublicError::invalid(Some("model"), "model_not_found", message)
}
