//! Transcripts, by PocketSphinx.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::{Map, json};
use tokio::time::Instant;

use super::{
    Answer, Bounds, Refusal, Stopped, compute,
    process::{Engine, Errand, Program, Trouble},
    voices::is_name,
    wave::{Sound, Unheard},
};
use crate::domain::{
    answer::{Segment, Transcript, TranscriptFormat, Word},
    multipart::{Boundary, Form},
};

pub(super) const PROGRAM: Program = Program::plain("pocketsphinx_continuous");
const NAME: &str = "PocketSphinx";

/// What its models were made of.
const RATE: u32 = 16_000;
const MAX_BYTES: usize = 128 * 1024 * 1024;
const MAX_SECONDS: u32 = 600;
const MAX_OUTPUT: usize = 4 * 1024 * 1024;
const KNOWN: [&str; 6] = [
    "file",
    "model",
    "language",
    "response_format",
    "temperature",
    GRANULARITIES,
];
const GRANULARITIES: &str = "timestamp_granularities[]";

#[derive(Debug)]
pub(super) struct Transcription {
    engine: Engine,
}

/// A request that the engine can be given.
struct Request {
    model: String,
    language: String,
    format: TranscriptFormat,
    granularities: Vec<String>,
    /// The recording's, as it came.
    seconds: f64,
    samples: Bytes,
}

/// Where a model's three parts lie.
struct Model {
    acoustic: PathBuf,
    language: PathBuf,
    dictionary: PathBuf,
}

impl Model {
    fn in_dir(dir: &Path, name: &str) -> Option<Self> {
        let model = Self {
            acoustic: dir.join(name).join(name),
            language: dir.join(name).join(format!("{name}.lm.bin")),
            dictionary: dir.join(name).join(format!("cmudict-{name}.dict")),
        };
        let whole = model.acoustic.is_dir() && model.language.is_file() && model.dictionary.is_file();
        whole.then_some(model)
    }

    fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        [
            ("-hmm", path(&self.acoustic)),
            ("-lm", path(&self.language)),
            ("-dict", path(&self.dictionary)),
            ("-infile", "/dev/stdin".to_owned()),
            ("-time", "yes".to_owned()),
            // It would write down there what it hears.
            ("-logfn", "/dev/null".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

impl Transcription {
    pub(super) fn new(path: Arc<[PathBuf]>, bounds: Bounds) -> Self {
        Self {
            engine: Engine::new(PROGRAM, path, bounds),
        }
    }

    /// It does not tell its version.
    pub(super) fn describe(&self) -> Result<String, Trouble> {
        let program = self.engine.find()?;
        let models = installed(&models_of(&program));
        Ok(match models.as_slice() {
            [] => format!("{NAME} at {}, no models", program.display()),
            models => format!("{NAME} at {}, models {}", program.display(), models.join(", ")),
        })
    }

    pub(super) async fn answer(&self, content_type: &str, body: Bytes, until: Instant) -> Result<Answer, Stopped> {
        let program = self.engine.find()?;
        let content_type = content_type.to_owned();
        // The recording is much larger when it is read, so only those read theirs whose turn it is; also if nobody waits any more.
        let turn = self.engine.turn(until).await?;
        let (request, model, turn) = compute(move || {
            let request = read(&content_type, &body)?;
            let dir = models_of(&program);
            let model = Some(&request.model).filter(|name| is_name(name));
            let model = model.and_then(|name| Model::in_dir(&dir, name)).ok_or_else(|| {
                let list = installed(&dir).join(", ");
                Refusal::no_model(format!("{NAME} has only these models here: {list}."))
            })?;
            Ok((request, model, turn))
        })
        .await?;
        let errand = Errand {
            arguments: model.arguments(),
            input: request.samples.clone(),
            most_output: MAX_OUTPUT,
            until,
        };
        let said = self
            .engine
            .run_in(turn, errand)
            .await
            .map_err(|trouble| match trouble {
                Trouble::Failed | Trouble::TooMuch => Stopped::from(Refusal::unprocessable(
                    "file",
                    "The recording could not be transcribed.",
                )),
                Trouble::Missing(_) | Trouble::Busy | Trouble::TimedOut => trouble.into(),
            })?;
        Ok(write(&request, &String::from_utf8_lossy(&said)))
    }
}

/// Beside the program, where Debian and the engine's own installation put them.
fn models_of(program: &Path) -> PathBuf {
    // `/bin` may be another name of `/usr/bin`.
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    prefix.join("share/pocketsphinx/model")
}

fn installed(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut models: Vec<_> = names
        .filter(|name| is_name(name) && Model::in_dir(dir, name).is_some())
        .collect();
    models.sort_unstable();
    models
}

fn read(content_type: &str, body: &Bytes) -> Result<Request, Refusal> {
    let odd = || Refusal::invalid("file", "The form could not be read.");
    let boundary = Boundary::of_content_type(content_type).ok_or_else(odd)?;
    let form = Form::parse(body, &boundary).map_err(|_| odd())?;
    if let Some(strange) = form.parts().iter().find(|part| !KNOWN.contains(&&*part.name)) {
        return Err(Refusal::unsupported(&strange.name, NAME));
    }
    let text = |name: &'static str| form.texts(name).next().unwrap_or_default();
    if text("temperature").parse::<f64>().unwrap_or_default() != 0.0 {
        return Err(Refusal::unsupported("temperature", NAME));
    }
    let format = Some(text("response_format")).filter(|word| !word.is_empty());
    let format = format.map_or(Some(TranscriptFormat::Json), TranscriptFormat::parse);
    let format = format.ok_or_else(|| Refusal::invalid("response_format", "There is no such format."))?;
    let (model, language) = (text("model").to_owned(), text("language").to_ascii_lowercase());
    if !speaks(&model, &language) {
        let why = format!("The model of this route hears {model} only.");
        return Err(Refusal::invalid("language", why));
    }
    let file = form.get("file").ok().flatten().ok_or_else(odd)?;
    if file.value.len() > MAX_BYTES {
        let most = MAX_BYTES / 1024 / 1024;
        return Err(Refusal::invalid(
            "file",
            format!("The recording can have {most} MiB at most."),
        ));
    }
    let sound = Sound::read(&file.value, MAX_SECONDS).map_err(|why| {
        let limit = match why {
            Unheard::TooLong => format!(" It can last {} minutes.", MAX_SECONDS / 60),
            Unheard::NotWave | Unheard::Encoding | Unheard::Rate | Unheard::Empty => String::new(),
        };
        Refusal::invalid("file", format!("{why}{limit}"))
    })?;
    Ok(Request {
        model,
        language,
        format,
        granularities: form.texts(GRANULARITIES).map(str::to_owned).collect(),
        seconds: sound.seconds(),
        samples: sound.at_rate(RATE).to_pcm().into(),
    })
}

/// Whether a model is for a language: `en-us` is for `en-us`, `en`, and what Whisper calls it.
fn speaks(model: &str, language: &str) -> bool {
    let family = model.split('-').next().unwrap_or_default();
    language.is_empty() || language == model || language == family || (family == "en" && language == "english")
}

/// A line of its output.
enum Line<'a> {
    /// What was heard between two silences, all of it.
    Heard,
    Word {
        word: &'a str,
        start: f64,
        end: f64,
        confidence: f64,
    },
}

impl<'a> Line<'a> {
    /// Words are `ticket(2) 1.210 1.670 0.145595`; no dictionary writes numbers in digits.
    fn read(line: &'a str) -> Self {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        if let [word, start, end, confidence] = columns.as_slice()
            && let (Some(start), Some(end), Some(confidence)) = (number(start), number(end), number(confidence))
        {
            return Self::Word {
                word,
                start,
                end,
                confidence,
            };
        }
        Self::Heard
    }
}

/// The word itself, without the number of its pronunciation; `None` for silence and noises.
fn spoken(word: &str) -> Option<&str> {
    let word = word.split('(').next().unwrap_or_default();
    (!word.is_empty() && !word.starts_with(['<', '[', '+'])).then_some(word)
}

fn write(request: &Request, said: &str) -> Answer {
    let mut utterances: Vec<Vec<Word>> = Vec::new();
    for line in said.lines() {
        match Line::read(line) {
            Line::Heard => utterances.push(Vec::new()),
            Line::Word {
                word,
                start,
                end,
                confidence,
            } => {
                let (Some(words), Some(word)) = (utterances.last_mut(), spoken(word)) else {
                    continue;
                };
                words.push(Word {
                    word: word.to_owned(),
                    // Sound is padded to whole frames.
                    start: start.min(request.seconds),
                    end: end.min(request.seconds),
                    // A little above one by rounding.
                    confidence: Some(confidence.clamp(0.0, 1.0)),
                    probability: None,
                    more: Map::new(),
                });
            }
        }
    }
    utterances.retain(|words| !words.is_empty());
    let segments: Vec<_> = utterances
        .iter()
        .enumerate()
        .filter_map(|(id, words)| segment(id, words))
        .collect();
    let text: String = segments.iter().map(|segment| segment.text.as_str()).collect();
    let language = Some(request.language.as_str()).filter(|language| !language.is_empty());
    let seconds = (request.seconds * 1000.0).round() / 1000.0;
    let more = json!({"task": "transcribe", "language": language.unwrap_or(&request.model), "duration": seconds});
    let transcript = Transcript {
        text: text.trim().to_owned(),
        segments: Some(segments),
        words: Some(utterances.concat()),
        // As OpenAI counts: whole seconds.
        usage: Some(json!({"type": "duration", "seconds": request.seconds.ceil()})),
        filtered: None,
        more: more.as_object().cloned().unwrap_or_default(),
    };
    let granularities: Vec<_> = request.granularities.iter().map(String::as_str).collect();
    Answer {
        content_type: request.format.content_type(),
        body: transcript
            .narrowed(&granularities, request.format)
            .render(request.format),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody says 2^52 words in ten minutes")]
fn segment(id: usize, words: &[Word]) -> Option<Segment> {
    let (first, last) = (words.first()?, words.last()?);
    let sum: f64 = words.iter().filter_map(|word| word.confidence).sum();
    // A space first, as Whisper writes them: texts are put together of these.
    let text: String = words.iter().flat_map(|word| [" ", word.word.as_str()]).collect();
    Some(Segment {
        start: first.start,
        end: last.end,
        text,
        confidence: Some((sum / words.len() as f64 * 1e6).round() / 1e6),
        avg_logprob: None,
        more: Map::from_iter([("id".to_owned(), id.into())]),
    })
}
