//! DashScope's tasks: pictures by a text, and recordings that lie somewhere.

use serde_json::{Value, json};

use super::{
    Dialect as _, credentials,
    dashscope::Generation,
    jobs::{self, Jobs, Kind, Stand},
    shape::{Checked, Failure, Object, invalid, refuse},
    wire::{Request, Whole},
};

const PICTURES: &str = "/api/v1/services/aigc/text2image/image-synthesis";
const FILES: &str = "/api/v1/services/audio/asr/transcription";
const TASKS: &str = "/api/v1/tasks/";

pub(super) fn is_task(request: &Request) -> bool {
    let path = request.path.as_str();
    [PICTURES, FILES].contains(&path) || path.starts_with(TASKS) || path.starts_with(jobs::RESULTS)
}

pub(super) fn answer(jobs: &Jobs, request: &Request) -> Whole {
    let answered = match request.path.as_str() {
        path if path.starts_with(jobs::RESULTS) => jobs.result(request),
        _ => answered(jobs, request).map(|body| Whole::json(200, &body)),
    };
    answered.unwrap_or_else(|refused| Generation.failure(&refused, None))
}

fn answered(jobs: &Jobs, request: &Request) -> Checked<Value> {
    request.bearer(credentials("dashscope").key)?;
    let path = request.path.as_str();
    match (request.method.as_str(), path.strip_prefix(TASKS)) {
        ("POST", None) => begin(jobs, request),
        ("GET", Some(name)) => Ok(told(jobs, request, name)),
        ("POST", Some(name)) => match name.strip_suffix("/cancel").is_some_and(|name| jobs.cancel(name)) {
            true => Ok(json!({"request_id": "rq-mock-1"})),
            false => refuse(
                Failure::Invalid,
                "Failed to cancel the task, please confirm if the task is in PENDING status.",
            ),
        },
        _ => refuse(Failure::NotFound, "url error"),
    }
}

fn begin(jobs: &Jobs, request: &Request) -> Checked<Value> {
    if request.header("x-dashscope-async") != Some("enable") {
        return refuse(
            Failure::Forbidden,
            "current user api does not support synchronous calls.",
        );
    }
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    object.text("model")?;
    let mut input = object.object("input")?;
    let parameters = object.maybe_object("parameters")?;
    let name = if request.path == PICTURES {
        let prompt = input.text("prompt")?;
        input.maybe_text("negative_prompt")?;
        let mut count = 4;
        if let Some(mut parameters) = parameters {
            count = parameters.maybe_count("n")?.unwrap_or(count);
            size(parameters.maybe_text("size")?)?;
            parameters.maybe_integer("seed")?;
            parameters.skip(&["style", "ref_strength", "ref_mode", "prompt_extend", "watermark"]);
            parameters.close()?;
        }
        if count > 4 {
            return invalid("parameters.n", "must be between 1 and 4");
        }
        jobs.begin(Kind::Pictures, prompt, count)
    } else {
        let urls = input.texts("file_urls")?;
        let [url] = urls.as_slice() else {
            return invalid("input.file_urls", "holds one address here");
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return invalid("input.file_urls", "must be http or https");
        }
        if let Some(mut parameters) = parameters {
            parameters.texts("language_hints")?;
            parameters.flag("disfluency_removal_enabled", false)?;
            parameters.skip(&[
                "channel_id",
                "vocabulary_id",
                "special_word_filter",
                "diarization_enabled",
                "speaker_count",
                "timestamp_alignment_enabled",
            ]);
            parameters.close()?;
        }
        jobs.begin(Kind::Transcripts, url, 1)
    };
    input.close()?;
    object.close()?;
    Ok(json!({"output": {"task_status": "PENDING", "task_id": name}, "request_id": "rq-mock-1"}))
}

fn size(size: Option<&str>) -> Checked<()> {
    let Some(size) = size else { return Ok(()) };
    let side = |side: &str| side.parse::<u32>().is_ok_and(|side| (256..=2048).contains(&side));
    match size.split_once('*') {
        Some((width, height)) if side(width) && side(height) => Ok(()),
        _ => invalid("parameters.size", "must be WIDTH*HEIGHT"),
    }
}

fn told(jobs: &Jobs, request: &Request, name: &str) -> Value {
    let Some((job, stand)) = jobs.question(name) else {
        return json!({"output": {"task_id": name, "task_status": "UNKNOWN"}, "request_id": "rq-mock-1"});
    };
    let word = match &stand {
        Stand::Queued => "PENDING",
        Stand::Running => "RUNNING",
        Stand::Done => "SUCCEEDED",
        Stand::Failed(_) => "FAILED",
        Stand::Cancelled => "CANCELED",
    };
    let mut output = json!({"task_id": name, "task_status": word, "submit_time": "2026-01-02 15:09:26.001"});
    let mut body = json!({"request_id": "rq-mock-1"});
    match stand {
        Stand::Failed(code) => {
            output["code"] = code.into();
            output["message"] = "This failure was asked for".into();
        }
        Stand::Done => {
            let results = (0..job.results).map(|number| match (job.has(number), job.kind) {
                (false, _) => json!({"code": "InternalError.Timeout", "message": "An internal timeout error has occured"}),
                (true, Kind::Pictures) => {
                    json!({"url": jobs::place(request, name, number), "orig_prompt": job.wanted, "actual_prompt": format!("{}, in detail", job.wanted)})
                }
                (true, Kind::Transcripts) => {
                    json!({"file_url": job.wanted, "transcription_url": jobs::place(request, name, number), "subtask_status": "SUCCEEDED"})
                }
            });
            output["results"] = results.collect();
            let there = (0..job.results).filter(|number| job.has(*number)).count();
            body["usage"] = match job.kind {
                Kind::Pictures => json!({"image_count": there}),
                Kind::Transcripts => json!({"duration": 2}),
            };
        }
        _ => {}
    }
    body["output"] = output;
    body
}
