//! Speech, by eSpeak NG.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::{
    Answer, Bounds, Refusal, Stopped, compute,
    fields::Fields,
    process::{Engine, Errand, Known, Program, Trouble},
    voices::{Voices, is_name, is_openais},
    wave::{Sound, Unheard},
};

pub(super) const PROGRAM: Program = Program {
    // As Debian builds it, it looks for a sound server before it does anything, and may even start one: in the home of whoever runs the
    // gateway, whatever the environment says. There is none at this place.
    environment: &[("PULSE_SERVER", "unix:/dev/null/none")],
    // What it would share with the server is a file in memory of this size.
    most_file: 64 * 1024 * 1024,
    ..Program::plain("espeak-ng")
};
const NAME: &str = "eSpeak NG";

/// OpenAI's limit.
const MAX_CHARS: usize = 4096;
/// The engine's own, at speed 1.
const WORDS_A_MINUTE: f64 = 175.0;
/// OpenAI's go from 0.25; below this the engine becomes no slower.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.5..=4.0;
/// OpenAI's `pcm` has so many samples a second, whatever the engine's own rate.
const PCM_RATE: u32 = 24_000;
/// Signs and numbers are spoken as many words, so that a short text can last for long.
const MAX_SECONDS: u32 = 1200;
const MAX_OUTPUT: usize = 44 + MAX_SECONDS as usize * 22_050 * 2;
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Speech {
    engine: Engine,
    voices: Known<Voices>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Wav,
    Pcm,
}

/// A request that the engine can be given.
struct Request {
    model: String,
    /// `None`: the model's own.
    voice: Option<String>,
    words_a_minute: u32,
    format: Format,
    text: Bytes,
}

impl Speech {
    pub(super) fn new(path: Arc<[PathBuf]>, bounds: Bounds) -> Self {
        Self {
            engine: Engine::new(PROGRAM, path, bounds),
            voices: Known::default(),
        }
    }

    pub(super) async fn describe(&self) -> Result<String, Trouble> {
        let until = Instant::now() + LOOK;
        let version = self.ask("--version", until).await?;
        // The place of its data follows.
        let version = version.split("  ").next().unwrap_or(NAME).trim().to_owned();
        let voices = Voices::read(&self.ask("--voices", until).await?);
        let languages = voices.languages();
        let place = self.engine.find()?;
        Ok(format!(
            "{version} at {}, {} voices, among them {}",
            place.display(),
            languages.len(),
            ["en-us", "en-gb", "cmn", "yue"]
                .into_iter()
                .filter(|name| languages.contains(name))
                .collect::<Vec<_>>()
                .join(", ")
        ))
    }

    async fn ask(&self, what: &str, until: Instant) -> Result<String, Trouble> {
        let errand = Errand {
            arguments: vec![what.to_owned()],
            input: Bytes::new(),
            most_output: 256 * 1024,
            until,
        };
        let said = self.engine.run(errand).await?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    pub(super) async fn answer(&self, body: Bytes, until: Instant) -> Result<Answer, Stopped> {
        let request = read(&body)?;
        let names = [Some(request.model.as_str()), request.voice.as_deref()];
        let has = |voices: &Voices| names.into_iter().flatten().all(|name| voices.find(name).is_some());
        let look = async { Ok(Voices::read(&self.ask("--voices", until).await?)) };
        let voices = self.voices.with(has, look).await?;
        let own = voices.find(&request.model);
        let own = own.ok_or_else(|| {
            Refusal::no_model(format!(
                "A model of {NAME} is one of its voices, such as en-us or cmn; this one is not installed."
            ))
        })?;
        let voice = match &request.voice {
            None => own,
            Some(name) => voices.find(name).ok_or_else(no_voice)?,
        };
        let speed = request.words_a_minute.to_string();
        let errand = Errand {
            // `-b 1`: the text is UTF-8.
            arguments: ["--stdin", "--stdout", "-b", "1", "-v", voice, "-s", &speed]
                .map(str::to_owned)
                .into(),
            input: request.text,
            most_output: MAX_OUTPUT,
            until,
        };
        let wav = self.engine.run(errand).await.map_err(|trouble| match trouble {
            Trouble::TooMuch => too_long().into(),
            Trouble::Failed => Stopped::from(unspoken()),
            Trouble::Missing(_) | Trouble::Busy | Trouble::TimedOut => trouble.into(),
        })?;
        compute(move || write(&wav, request.format)).await
    }
}

fn no_voice() -> Refusal {
    let why = "The voice must be one of this engine's, such as en-us, en-gb or zh; OpenAI's names stand for the voice of the route.";
    Refusal::invalid("voice", why)
}

fn unspoken() -> Refusal {
    Refusal::unprocessable("input", "The text could not be spoken.")
}

fn too_long() -> Refusal {
    Refusal::unprocessable("input", "It would take longer than twenty minutes to speak the text.")
}

fn read(body: &[u8]) -> Result<Request, Refusal> {
    let known = ["model", "input", "voice", "response_format", "speed", "stream_format"];
    let fields = Fields::read(body, NAME, &known)?;
    let voice = match fields.get::<Value>("voice", "must be a string")? {
        None => None,
        Some(Value::String(name)) if is_openais(&name) => None,
        Some(Value::String(name)) if is_name(&name) => Some(name),
        Some(_) => return Err(no_voice()),
    };
    let format = match fields.get::<String>("response_format", "must be a string")?.as_deref() {
        None | Some("wav") => Format::Wav,
        Some("pcm") => Format::Pcm,
        Some(_) => {
            let why = "This engine makes wav, which it does without a word, and pcm.";
            return Err(Refusal::invalid("response_format", why));
        }
    };
    let speed = fields.get::<f64>("speed", "must be a number")?.unwrap_or(1.0);
    if !SPEEDS.contains(&speed) {
        let why = format!(
            "The speed of this engine can be from {} to {}.",
            SPEEDS.start(),
            SPEEDS.end()
        );
        return Err(Refusal::invalid("speed", why));
    }
    let input = fields.text("input")?;
    if input.chars().count() > MAX_CHARS {
        return Err(Refusal::invalid(
            "input",
            format!("The text can have {MAX_CHARS} characters at most."),
        ));
    }
    let text = plain(&input);
    if text.trim().is_empty() {
        return Err(Refusal::invalid("input", "There is nothing in the text to be spoken."));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 88 to 700")]
    let words_a_minute = (WORDS_A_MINUTE * speed).round() as u32;
    Ok(Request {
        model: fields.text("model")?,
        voice,
        words_a_minute,
        format,
        text: text.into(),
    })
}

/// The text without what the engine would take for orders: control characters begin commands, which can name files with sounds, and
/// double brackets phonemes.
fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    text.replace("[[", "[ [").replace("[[", "[ [")
}

fn write(wav: &[u8], format: Format) -> Result<Answer, Refusal> {
    let sound = Sound::read(wav, MAX_SECONDS).map_err(|why| match why {
        Unheard::TooLong => too_long(),
        Unheard::Empty | Unheard::NotWave | Unheard::Encoding | Unheard::Rate => unspoken(),
    })?;
    let (content_type, body) = match format {
        Format::Wav => ("audio/wav", sound.to_wav()),
        Format::Pcm => ("audio/pcm", sound.at_rate(PCM_RATE).to_pcm()),
    };
    Ok(Answer {
        content_type,
        body: body.into(),
    })
}
