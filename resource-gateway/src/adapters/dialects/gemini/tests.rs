mod answers;
mod requests;
mod streams;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        recut::{asked, body, cut_short, decoded, encoded, fixture, however_cut, json_of, read},
        testing::{self, received},
        translated::Chat,
    },
    domain::{
        call::Call,
        chat::{ChatEvent, Finish, FinishReason, named_call},
        fault::FaultClass,
        interface::Capability,
        vendor::Vendor,
    },
    ports::codec::{Codec as _, Fetched},
};

fn written(body: &Value) -> Value {
    json_of(&encoded(&Gemini, body, &Vendor::named("v", "gemini")).unwrap())
}
