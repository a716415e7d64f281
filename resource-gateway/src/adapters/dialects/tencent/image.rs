//! Hunyuan's pictures: a job is handed in, and asked for until it is done.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{HUNYUAN, JobState, PATH, faults, read, support};
use crate::{
    adapters::dialects::drawn::{self, Drawn},
    domain::{
        call::Call,
        fault::{Fault, FaultClass, PublicError},
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// `SubmitHunyuanImageJob`, then `QueryHunyuanImageJob`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentImages;

#[derive(Deserialize)]
struct Wanted {
    prompt: String,
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    response_format: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Of one job, where nobody says how many there shall be.
const MOST_PICTURES: usize = 4;

/// OpenAI's words that the vendor has none for.
const UNKNOWN_THERE: [&str; 9] = [
    "background",
    "moderation",
    "output_compression",
    "output_format",
    "partial_images",
    "quality",
    "stream",
    "style",
    "user",
];

fn parse(call: &Call) -> Result<Wanted, PublicError> {
    serde_json::from_slice(&call.body()).map_err(|_| wrong("size", "could not be read"))
}

fn wrong(field: &str, why: &str) -> PublicError {
    PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}."))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    #[serde(default)]
    job_id: Option<String>,
    /// A number as text.
    #[serde(default)]
    job_status_code: Option<String>,
    #[serde(default)]
    job_error_code: Option<String>,
    #[serde(default)]
    job_error_msg: Option<String>,
    #[serde(default)]
    result_image: Option<Vec<String>>,
    #[serde(default)]
    revised_prompt: Option<Vec<String>>,
}

impl Codec for TencentImages {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(HUNYUAN.home)
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = parse(call)?;
        let mut dropped = Vec::new();
        wanted.rest.remove("model");
        for field in UNKNOWN_THERE {
            let asked = wanted.rest.remove(field);
            if asked.is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false))) {
                support::cannot(field, target.when_unsupported, &mut dropped)?;
            }
        }
        match wanted.response_format.as_deref() {
            None | Some("url" | "b64_json") => {}
            Some(_) => return Err(wrong("response_format", "must be url or b64_json").into()),
        }
        if wanted.n.is_none() && wanted.rest.contains_key("Num") {
            // Limits and prices go by OpenAI's word.
            return Err(support::unsupported("Num").into());
        }
        let mut set = |name: &str, value: Value| drop(wanted.rest.insert(name.to_owned(), value));
        set("Prompt", wanted.prompt.into());
        if let Some(n) = wanted.n {
            set("Num", n.into());
        }
        match wanted.size.as_deref() {
            None | Some("auto") => {}
            Some(size) => {
                let sides = size.split_once('x');
                let is_number = |side: &str| side.parse::<u32>().is_ok_and(|side| side > 0);
                let (width, height) = sides
                    .filter(|(width, height)| is_number(width) && is_number(height))
                    .ok_or_else(|| wrong("size", "must be a width and a height, like 1024x1024"))?;
                set("Resolution", format!("{width}:{height}").into());
            }
        }
        let fetched = drawn::are_wanted(wanted.response_format.as_deref());
        let encoded = HUNYUAN
            .call("SubmitHunyuanImageJob", &wanted.rest)
            .ending_elsewhere(fetched);
        Ok(Encoded { dropped, ..encoded })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        if let Some(answer) = drawn::brought(&reply) {
            return answer;
        }
        let state = JobState::read(reply.state);
        let job: Told = read(&reply.body)?;
        let (Some(id), None) = (&job.job_id, &job.job_status_code) else {
            return queried(call, job, state, reply.at.as_seconds());
        };
        Ok(state.begun(id.as_str().into()).asked_by(question))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

fn question(state: &JobState) -> Encoded {
    HUNYUAN.call("QueryHunyuanImageJob", &json!({"JobId": state.job_id}))
}

fn queried(call: &Call, job: Told, state: JobState, at: i64) -> Result<Outcome, Fault> {
    match job.job_status_code.as_deref() {
        Some("1") if state.is_known() => return Ok(state.with_status("queued").asked_by(question)),
        Some("2") if state.is_known() => return Ok(state.with_status("running").asked_by(question)),
        Some("4") => {
            let message = job.job_error_msg.unwrap_or_default();
            return Err(match job.job_error_code.as_deref() {
                None | Some("") => faults::told(FaultClass::ServerError, None, &message),
                Some(code) => faults::named(code, &message),
            }
            .of_ended_work());
        }
        Some("5") => {}
        _ => return Err(Fault::of(FaultClass::InvalidReply)),
    }
    let mut prompts = job.revised_prompt.unwrap_or_default().into_iter();
    let urls = job.result_image.unwrap_or_default().into_iter();
    let drawn = urls.filter_map(|url| Drawn::at(Some(url), prompts.next()));
    drawn::handed_out(call, drawn.collect(), MOST_PICTURES, None, at)
}
