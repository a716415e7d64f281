//! Review of texts and pictures. The vendor takes one at a time, so a list is a call for each.

use std::{borrow::Cow, time::Duration};

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    at, faults, form,
    pictures::{Picture, of_url},
    text_of,
};
use crate::{
    adapters::dialects::reading::word,
    domain::{
        answer::Answer,
        call::Call,
        fault::{Fault, FaultClass, PublicError},
    },
    ports::codec::{
        Ask, Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, Step, StreamDecoder, Target,
        TokenUsage,
    },
};

/// `text_censor` and `img_censor`. There is one model of each.
///
/// What the vendor says stands in each result beside OpenAI's members: `verdict` (`pass`, `block` or `review`) and `reasons`.
/// Categories are the vendor's numbers, type and subtype.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaiduModeration;

/// Of a text.
const MOST_BYTES: usize = 20_000;
/// Things to review in one call of the caller's.
const MOST: usize = 32;

#[derive(Deserialize)]
struct Wanted<'a> {
    #[serde(borrow)]
    input: Input<'a>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    /// A result for each.
    Texts(#[serde(borrow)] Vec<Cow<'a, str>>),
    /// One result for all together.
    Parts(#[serde(borrow)] Vec<Part<'a>>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text {
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    ImageUrl {
        #[serde(borrow)]
        image_url: Link<'a>,
    },
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// One thing to review.
enum Item<'a> {
    Text(Cow<'a, str>),
    Picture(Picture<'a>),
}

/// What is asked, thing by thing.
struct Review<'a> {
    items: Vec<Item<'a>>,
    together: bool,
    options: Map<String, Value>,
}

fn wrong(why: &str) -> PublicError {
    PublicError::invalid(Some("input"), "invalid_value", format!("The field 'input' {why}."))
}

impl<'a> Review<'a> {
    fn read(body: &'a [u8]) -> Result<Self, PublicError> {
        let known = "must be a text, a list of texts, or a list of parts that are texts and pictures";
        let mut wanted: Wanted<'a> = serde_json::from_slice(body).map_err(|_| wrong(known))?;
        wanted.options.remove("model");
        let together = matches!(wanted.input, Input::Parts(_));
        let items: Vec<_> = match wanted.input {
            Input::Text(text) => vec![Item::Text(text)],
            Input::Texts(texts) => texts.into_iter().map(Item::Text).collect(),
            Input::Parts(parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    Part::Text { text } => Ok(Item::Text(text)),
                    Part::ImageUrl { image_url } => of_url(image_url.url)
                        .map(Item::Picture)
                        .ok_or_else(|| wrong("holds a picture whose url is no http, https or data URL")),
                });
                parts.collect::<Result<_, _>>()?
            }
        };
        if items.is_empty() || items.len() > MOST {
            return Err(wrong(
                "must hold 1 to 32 texts or pictures for the provider behind this model",
            ));
        }
        let too_long = |item: &Item<'_>| matches!(item, Item::Text(text) if text.len() > MOST_BYTES);
        if items.iter().any(too_long) {
            return Err(wrong(
                "holds a text of more than the 20,000 bytes that the provider takes",
            ));
        }
        Ok(Self {
            items,
            together,
            options: wanted.options,
        })
    }

    /// The call for the thing at that place.
    fn encoded(&self, place: usize) -> Result<Option<Encoded>, PublicError> {
        let Some(item) = self.items.get(place) else {
            return Ok(None);
        };
        let (field, value, path) = match item {
            Item::Text(text) => ("text", text, TEXT),
            Item::Picture(Picture::Base64(data)) => ("image", data, PICTURE),
            Item::Picture(Picture::Url(url)) => ("imgUrl", url, PICTURE),
        };
        Ok(Some(at(form(&self.options, &[(field, value)])?, path)))
    }
}

const TEXT: &str = "/text_censor/v2/user_defined";
const PICTURE: &str = "/img_censor/v2/user_defined";

/// What has been told before the next thing is asked.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    id: String,
    verdicts: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "conclusionType")]
    conclusion_type: i64,
    #[serde(default, deserialize_with = "word")]
    conclusion: Option<String>,
    #[serde(default)]
    log_id: Value,
    #[serde(default)]
    data: Option<Vec<Objection>>,
}

#[derive(Deserialize)]
struct Objection {
    #[serde(default, rename = "type")]
    kind: i64,
    #[serde(default, rename = "subType")]
    sub_type: i64,
    #[serde(default, deserialize_with = "word")]
    msg: Option<String>,
    #[serde(default)]
    probability: Option<f64>,
    #[serde(default)]
    hits: Option<Vec<Hit>>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    probability: Option<f64>,
}

/// From the mildest to the strictest.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    #[default]
    Pass,
    Review,
    Block,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Verdict {
    verdict: Word,
    reasons: Vec<Reason>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Reason {
    r#type: i64,
    sub_type: i64,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    words: Vec<String>,
}

impl From<Objection> for Reason {
    fn from(objection: Objection) -> Self {
        let hits = objection.hits.unwrap_or_default();
        // Each hit has its own; the surest speaks for all.
        let surest = hits.iter().filter_map(|hit| hit.probability).reduce(f64::max);
        Self {
            r#type: objection.kind,
            sub_type: objection.sub_type,
            message: objection.msg.unwrap_or_default(),
            confidence: objection.probability.or(surest).map(|score| score.clamp(0.0, 1.0)),
            words: hits.into_iter().flat_map(|hit| hit.words).collect(),
        }
    }
}

impl Found {
    fn verdict(self) -> Result<Verdict, Fault> {
        let verdict = match self.conclusion_type {
            1 => Word::Pass,
            2 => Word::Block,
            3 => Word::Review,
            // The review itself failed.
            4 => {
                return Err(faults::told(
                    FaultClass::ServerError,
                    None,
                    self.conclusion.as_deref().unwrap_or_default(),
                )
                .of_ended_work());
            }
            _ => return Err(Fault::of(FaultClass::InvalidReply)),
        };
        let reasons = self.data.unwrap_or_default().into_iter().map(Reason::from);
        Ok(Verdict {
            verdict,
            reasons: reasons.collect(),
        })
    }
}

impl Verdict {
    fn and(mut self, other: Self) -> Self {
        self.verdict = self.verdict.max(other.verdict);
        self.reasons.extend(other.reasons);
        self
    }

    fn to_json(&self) -> Value {
        let (mut categories, mut scores) = (Map::new(), Map::new());
        for reason in &self.reasons {
            let name = format!("{}/{}", reason.r#type, reason.sub_type);
            let score = reason.confidence.unwrap_or(1.0);
            let known = scores.get(&name).and_then(Value::as_f64).unwrap_or(0.0);
            scores.insert(name.clone(), score.max(known).into());
            categories.insert(name, true.into());
        }
        json!({"flagged": self.verdict != Word::Pass, "categories": categories, "category_scores": scores,
            "verdict": self.verdict, "reasons": self.reasons})
    }
}

impl Codec for BaiduModeration {
    fn path(&self) -> &'static str {
        "/rest/2.0/solution/v1"
    }

    fn encode(&self, call: &Call, _: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let first = Review::read(&body)?.encoded(0)?;
        Ok(first.ok_or_else(|| wrong("is empty"))?)
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Found = faults::read(&reply.body)?;
        let mut state = State::deserialize(reply.state).unwrap_or_default();
        if state.id.is_empty() {
            state.id = text_of(&found.log_id);
        }
        state.verdicts.push(found.verdict()?);
        let body = call.body();
        let review = Review::read(&body).map_err(Fault::unsupported)?;
        let next = review.encoded(state.verdicts.len()).map_err(Fault::unsupported)?;
        if let Some(next) = next {
            return Ok(Outcome::Next(Box::new(Step {
                ask: Ask::Vendor(next),
                after: Duration::ZERO,
                state: json!(state),
                cancel: None,
            })));
        }
        let pictures = review.items.iter().filter(|item| matches!(item, Item::Picture(_)));
        let pictures = pictures.count() as u64;
        let results: Vec<_> = match review.together {
            true => {
                let all = state.verdicts.into_iter().fold(Verdict::default(), Verdict::and);
                vec![all.to_json()]
            }
            false => state.verdicts.iter().map(Verdict::to_json).collect(),
        };
        let answer = json!({"id": format!("modr-{}", state.id), "model": reply.model, "results": results});
        Ok(Decoded {
            usage: (pictures > 0).then(|| TokenUsage {
                images: pictures,
                ..TokenUsage::default()
            }),
            ..Decoded::of(Answer::json(answer.to_string().into()))
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
