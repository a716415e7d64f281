//! Hunyuan's pictures: a job is handed in by one action and asked for by another.

use serde_json::{Value, json};

use super::{
    jobs::{self, Jobs, Kind, Stand},
    shape::{Checked, Object, invalid},
    tencent::{self, door},
    wire::{Request, Whole},
};

const SUBMIT: &str = "SubmitHunyuanImageJob";
const QUERY: &str = "QueryHunyuanImageJob";

pub(super) fn is_job(request: &Request) -> bool {
    request.path.starts_with(jobs::RESULTS) || matches!(request.header("x-tc-action"), Some(SUBMIT | QUERY))
}

pub(super) fn answer(jobs: &Jobs, request: &Request) -> Whole {
    if request.path.starts_with(jobs::RESULTS) {
        // Another server's, which knows nothing of actions.
        return jobs
            .result(request)
            .unwrap_or_else(|refused| Whole::json(403, &json!({"message": refused.said})));
    }
    tencent::told(answered(jobs, request))
}

fn answered(jobs: &Jobs, request: &Request) -> Checked<Value> {
    door(request, "hunyuan", "2023-09-01")?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    if request.header("x-tc-action") == Some(QUERY) {
        let name = object.text("JobId")?;
        object.close()?;
        return match jobs.question(name) {
            Some((job, stand)) => Ok(stands(request, name, &job, &stand)),
            None => invalid("JobId", "is no job's"),
        };
    }
    let prompt = object.text("Prompt")?;
    let count = object.maybe_count("Num")?.unwrap_or(1);
    if count > 4 {
        return invalid("Num", "must be between 1 and 4");
    }
    let sizes = [
        "768:768",
        "768:1024",
        "1024:768",
        "1024:1024",
        "720:1280",
        "1280:720",
        "768:1280",
        "1280:768",
    ];
    object.one_of("Resolution", &sizes)?;
    object.maybe_text("NegativePrompt")?;
    object.skip(&[
        "Style",
        "Clarity",
        "ContentImage",
        "Revise",
        "Seed",
        "LogoAdd",
        "LogoParam",
    ]);
    object.close()?;
    Ok(json!({"JobId": jobs.begin(Kind::Pictures, prompt, count)}))
}

fn stands(request: &Request, name: &str, job: &jobs::Job, stand: &Stand) -> Value {
    let (code, said) = match stand {
        Stand::Queued => ("1", "等待中"),
        Stand::Running => ("2", "运行中"),
        Stand::Failed(_) | Stand::Cancelled => ("4", "处理失败"),
        Stand::Done => ("5", "处理完成"),
    };
    let mut told = json!({"JobStatusCode": code, "JobStatusMsg": said, "JobErrorCode": "", "JobErrorMsg": "",
        "ResultImage": [], "ResultDetails": [], "RevisedPrompt": []});
    if let Stand::Failed(code) = stand {
        told["JobErrorCode"] = code.as_str().into();
        told["JobErrorMsg"] = "This failure was asked for".into();
    }
    if *stand == Stand::Done {
        let all = 0..job.results;
        told["ResultImage"] = all
            .clone()
            .map(|number| {
                if job.has(number) {
                    jobs::place(request, name, number)
                } else {
                    String::new()
                }
            })
            .collect();
        told["ResultDetails"] = all
            .clone()
            .map(|number| if job.has(number) { "Success" } else { "Failed" })
            .collect();
        told["RevisedPrompt"] = all.map(|_| format!("{}, in detail", job.wanted)).collect();
    }
    told
}
