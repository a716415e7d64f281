//! Work that is begun, asked for and done after a while. How long it takes and how it ends stands in what is wanted of it, a
//! prompt or an address: `pending-N` has N questions answered by "not yet", `fails-CODE` ends in that failure, `lacks-one`
//! is done without the last of its results.

use std::sync::Mutex;

use serde_json::json;

use super::{
    shape::{Checked, Failure, refuse},
    wire::{Request, Whole},
};

#[derive(Debug, Default)]
pub(super) struct Jobs {
    begun: Mutex<Vec<Job>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pictures,
    Transcripts,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) kind: Kind,
    /// A prompt, or where a recording lies.
    pub(super) wanted: String,
    pub(super) results: u64,
    questions: usize,
    cancelled: bool,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    Queued,
    Running,
    Done,
    Failed(String),
    Cancelled,
}

/// What follows a word, as far as it is a name.
fn after<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(word)?;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .unwrap_or(rest.len());
    rest.get(..end).map(|name| name.trim_end_matches('.'))
}

impl Job {
    fn pending(&self) -> usize {
        after(&self.wanted, "pending-").map_or(0, |number| number.split('.').next().unwrap().parse().unwrap())
    }

    fn stand(&self) -> Stand {
        match (self.questions, self.pending()) {
            _ if self.cancelled => Stand::Cancelled,
            (1, pending) if pending >= 1 => Stand::Queued,
            (asked, pending) if asked <= pending => Stand::Running,
            _ => match after(&self.wanted, "fails-") {
                Some(code) => Stand::Failed(code.to_owned()),
                None => Stand::Done,
            },
        }
    }

    /// Whether this one of its results is there.
    pub(super) fn has(&self, number: u64) -> bool {
        number + 1 < self.results || !self.wanted.contains("lacks-one")
    }
}

const NAME: &str = "mock-job-";

impl Jobs {
    /// Begins one, and says its name.
    pub(super) fn begin(&self, kind: Kind, wanted: &str, results: u64) -> String {
        let mut begun = self.begun.lock().unwrap();
        begun.push(Job {
            kind,
            wanted: wanted.to_owned(),
            results,
            questions: 0,
            cancelled: false,
        });
        format!("{NAME}{}", begun.len())
    }

    fn change<T>(&self, name: &str, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let place = name.strip_prefix(NAME)?.parse::<usize>().ok()?.checked_sub(1)?;
        self.begun.lock().unwrap().get_mut(place).map(change)
    }

    /// How it stands, now that it is asked for once more; `None` if there is no such job.
    pub(super) fn question(&self, name: &str) -> Option<(Job, Stand)> {
        self.change(name, |job| {
            job.questions += 1;
            (job.clone(), job.stand())
        })
    }

    /// Ends one that nobody works at yet.
    pub(super) fn cancel(&self, name: &str) -> bool {
        let cancel = |job: &mut Job| {
            job.cancelled = job.questions <= 1 && job.pending() > 0;
            job.cancelled
        };
        self.change(name, cancel).unwrap_or(false)
    }

    /// A result where its vendor put it. An address like that is a credential, and no other goes with it.
    pub(super) fn result(&self, request: &Request) -> Checked<Whole> {
        if request.header("authorization").is_some() {
            return refuse(Failure::Invalid, "Only one credential is taken: the address is one");
        }
        let mut parts = request.path.trim_start_matches(RESULTS).split('/');
        let (name, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(job) = self.change(name, |job| job.clone()) else {
            return refuse(Failure::NotFound, "The specified key does not exist");
        };
        if job.kind == Kind::Pictures {
            return Ok(Whole {
                status: 200,
                headers: vec![("content-type", "image/png".to_owned())],
                body: [b"\x89PNG\r\n\x1a\n", format!("{number} of {}", job.wanted).as_bytes()].concat(),
            });
        }
        let heard = format!("Good morning from {}.", job.wanted);
        let sentences = json!([
            {"begin_time": 100, "end_time": 900, "text": heard, "sentence_id": 1,
                "words": [{"begin_time": 100, "end_time": 400, "text": "Good", "punctuation": ""}]},
            {"begin_time": 900, "end_time": 2000, "text": "How are you?", "sentence_id": 2, "words": []},
        ]);
        let transcript = json!({"channel_id": 0, "content_duration_in_milliseconds": 1900,
            "text": format!("{heard} How are you?"), "sentences": sentences});
        let properties = json!({"audio_format": "pcm_s16le", "channels": [0], "original_sampling_rate": 16000, "original_duration_in_milliseconds": 2000});
        Ok(Whole::json(
            200,
            &json!({"file_url": job.wanted, "properties": properties, "transcripts": [transcript]}),
        ))
    }
}

/// Below this lies what jobs came to.
pub(super) const RESULTS: &str = "/results/";

/// Where a result lies, on the port that was asked.
pub(super) fn place(request: &Request, name: &str, number: u64) -> String {
    let host = request.header("host").unwrap_or_default();
    format!("http://{host}{RESULTS}{name}/{number}?signature=mock")
}
