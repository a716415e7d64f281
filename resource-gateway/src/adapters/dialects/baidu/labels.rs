//! What a picture shows.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Location, at, faults, form, no_such_model, one_picture,
    pictures::{Picture, PictureRequest},
    score_of,
};
use crate::{
    domain::{
        answer::{Answer, Label, Labels},
        call::Call,
        fault::{Fault, FaultClass},
        interface::Capability,
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// The route's model is what is looked for: anything, animals, plants, dishes, cars, or where the main thing is.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaiduLabels;

const MODELS: [(&str, &str); 6] = [
    ("advanced_general", "/v2/advanced_general"),
    ("animal", "/v1/animal"),
    ("plant", "/v1/plant"),
    ("dish", "/v2/dish"),
    ("car", "/v1/car"),
    ("object_detect", "/v1/object_detect"),
];

#[derive(Deserialize)]
struct Found {
    result: Shown,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shown {
    Things(Vec<Thing>),
    /// The main thing, whatever it is.
    Place(Location),
}

#[derive(Deserialize)]
struct Thing {
    /// Each model has its own word for it.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    keyword: Option<String>,
    #[serde(default)]
    score: Value,
    #[serde(default)]
    probability: Value,
    #[serde(default)]
    root: Option<String>,
    /// A dish's calories, a car's year, an encyclopedia's words.
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl TryFrom<Thing> for Label {
    type Error = Fault;

    fn try_from(thing: Thing) -> Result<Self, Fault> {
        let mut more = thing.more;
        if let Some(root) = thing.root.filter(|root| !root.is_empty()) {
            more.insert("category".to_owned(), root.into());
        }
        // A member of ours would stand there twice.
        more.remove("confidence");
        let name = thing.keyword.or(thing.name);
        Ok(Self {
            name: name.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?,
            confidence: score_of(&thing.score).or(score_of(&thing.probability)),
            more,
        })
    }
}

impl Codec for BaiduLabels {
    fn path(&self) -> &'static str {
        "/rest/2.0/image-classify"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let known = MODELS.iter().find(|(model, _)| *model == target.model);
        let (_, path) = known.ok_or_else(|| no_such_model(Capability::Labels))?;
        let body = call.body();
        let request = PictureRequest::read(&body)?;
        match request.image.brought(target.fetched)? {
            Picture::Base64(data) | Picture::Url(data) => Ok(at(form(&request.options, &[("image", &data)])?, path)),
        }
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Found = faults::read(&reply.body)?;
        let labels = match found.result {
            Shown::Things(things) => things.into_iter().map(Label::try_from).collect::<Result<_, _>>()?,
            Shown::Place(location) => vec![Label {
                name: "object".to_owned(),
                confidence: None,
                more: Map::from_iter([("box".to_owned(), location.to_json())]),
            }],
        };
        Ok(one_picture(Answer::Labels(Labels {
            labels,
            filtered: 0,
            more: Map::new(),
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
