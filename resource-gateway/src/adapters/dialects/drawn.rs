//! Pictures that a vendor has drawn and put somewhere. Callers get the places, or the pictures themselves if they want those.

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    domain::{
        answer::Answer,
        call::Call,
        fault::{Fault, FaultClass},
    },
    ports::codec::{Ask, Decoded, Outcome, Received, Step, TokenUsage},
};

/// A picture.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Drawn {
    pub(super) url: String,
    /// What the vendor made of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revised_prompt: Option<String>,
}

impl Drawn {
    /// `None`: there is none. An empty prompt is none, either.
    pub(super) fn at(url: Option<String>, prompt: Option<String>) -> Option<Self> {
        Some(Self {
            url: url.filter(|url| !url.is_empty())?,
            revised_prompt: prompt.filter(|prompt| !prompt.is_empty()),
        })
    }
}

/// What is kept until the pictures are there; never the pictures.
#[derive(Serialize, Deserialize)]
struct State {
    job_status: String,
    drawn: Vec<Drawn>,
    counted: Option<u64>,
}

/// What a caller says about what it gets.
#[derive(Deserialize)]
struct Wish {
    #[serde(default)]
    n: Value,
    #[serde(default)]
    response_format: Value,
}

/// Whether the caller wants the pictures themselves, which have to be fetched.
pub(super) fn are_wanted(format: Option<&str>) -> bool {
    format == Some("b64_json")
}

/// The answer, or the way to the pictures for callers who want those. No more of them are fetched than were asked for; where the caller
/// said nothing, than the vendor draws at the `most`. `counted` is what the vendor says that it drew.
///
/// # Errors
/// It drew nothing.
pub(super) fn handed_out(
    call: &Call,
    mut drawn: Vec<Drawn>,
    most: usize,
    counted: Option<u64>,
    at: i64,
) -> Result<Outcome, Fault> {
    if drawn.is_empty() {
        return Err(Fault::of(FaultClass::InvalidReply));
    }
    let wish = serde_json::from_slice::<Wish>(&call.body()).ok();
    let Some(wish) = wish.filter(|wish| are_wanted(wish.response_format.as_str())) else {
        return finished(&drawn, counted, at);
    };
    let asked = wish.n.as_u64().and_then(|n| usize::try_from(n).ok());
    drawn.truncate(asked.unwrap_or(most).max(1));
    let urls = drawn.iter().map(|picture| picture.url.clone()).collect();
    let job_status = "done".to_owned();
    Ok(Outcome::Next(Box::new(Step {
        ask: Ask::Urls(urls),
        after: std::time::Duration::ZERO,
        state: json!(State {
            job_status,
            drawn,
            counted
        }),
        cancel: None,
    })))
}

/// The answer with the pictures that were fetched; `None` if that is not what has come.
pub(super) fn brought(reply: &Received<'_>) -> Option<Result<Outcome, Fault>> {
    if reply.found.is_empty() {
        return None;
    }
    let state = State::deserialize(reply.state).ok();
    let state = state.filter(|state| state.drawn.len() == reply.found.len());
    let Some(State { drawn, counted, .. }) = state else {
        return Some(Err(Fault::of(FaultClass::InvalidReply)));
    };
    let pictures = drawn.into_iter().zip(reply.found);
    let pictures: Vec<_> = pictures
        .map(|(picture, found)| Picture {
            b64_json: Base64(&found.body),
            revised_prompt: picture.revised_prompt,
        })
        .collect();
    Some(finished(&pictures, counted, reply.at.as_seconds()))
}

#[derive(Serialize)]
struct Picture<'a> {
    b64_json: Base64<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revised_prompt: Option<String>,
}

/// Bytes that become text where they are written, and nowhere before.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

#[derive(Serialize)]
struct Body<'a, T> {
    created: i64,
    data: &'a [T],
}

fn finished<T: Serialize>(data: &[T], counted: Option<u64>, created: i64) -> Result<Outcome, Fault> {
    let body = serde_json::to_vec(&Body { created, data });
    let body = body.map_err(|_| Fault::of(FaultClass::InvalidReply))?;
    Ok(Decoded {
        usage: Some(TokenUsage {
            images: counted.unwrap_or(data.len() as u64),
            ..TokenUsage::default()
        }),
        ..Decoded::of(Answer::json(body.into()))
    }
    .into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::{
        adapters::dialects::testing::{decoded, received},
        domain::interface::Capability,
        ports::fetcher::Found,
    };

    fn call(more: &Value) -> Call {
        let mut body = json!({"model": "m", "prompt": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        Call::read(Capability::Image, body.to_string().into(), None).unwrap()
    }

    fn drawn(many: usize) -> Vec<Drawn> {
        let picture = |at| Drawn::at(Some(format!("https://a.test/{at}")), Some(format!("p{at}")));
        (0..many).filter_map(picture).collect()
    }

    fn urls(outcome: Outcome) -> (Vec<String>, Value) {
        match outcome {
            Outcome::Next(step) => match step.ask {
                Ask::Urls(urls) => (urls, step.state),
                other => panic!("{other:?}"),
            },
            Outcome::Answer(answer) => panic!("{answer:?}"),
        }
    }

    #[test]
    fn no_more_pictures_are_fetched_than_were_asked_for() {
        for (n, wanted) in [(json!(2), 2), (json!(1), 1), (json!(10), 10), (json!(null), 4)] {
            let call = call(&json!({"n": n, "response_format": "b64_json"}));
            let (urls, _) = urls(handed_out(&call, drawn(1000), 4, None, 1).unwrap());
            assert_eq!(urls.len(), wanted, "{n}");
            assert_eq!(urls[0], "https://a.test/0");
        }
        // Places cost nothing to hand out.
        let places = decoded(handed_out(&call(&json!({"n": 1})), drawn(3), 4, Some(3), 1).unwrap());
        assert_eq!(places.usage.map(|usage| usage.images), Some(3));
        let body: Value = serde_json::from_slice(&places.answer.into_body().0).unwrap();
        assert_eq!(body["data"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn pictures_stand_in_the_answer_and_never_in_what_is_kept() {
        let call = call(&json!({"n": 2, "response_format": "b64_json"}));
        let (_, state) = urls(handed_out(&call, drawn(2), 4, Some(2), 1).unwrap());
        let found = ["one", "three"].map(|body| Found {
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        });
        let headers = HeaderMap::new();
        let reply = Received {
            state: &state,
            found: &found,
            ..received(&headers, "")
        };
        let answer = decoded(brought(&reply).unwrap().unwrap());
        assert_eq!(answer.usage.map(|usage| usage.images), Some(2));
        assert_eq!(
            answer.answer.into_body().0,
            r#"{"created":1,"data":[{"b64_json":"b25l","revised_prompt":"p0"},{"b64_json":"dGhyZWU=","revised_prompt":"p1"}]}"#
        );
        let fewer = Received {
            found: &found[..1],
            ..reply.clone()
        };
        assert!(brought(&fewer).unwrap().is_err());
        assert!(brought(&received(&headers, "")).is_none());
    }
}
