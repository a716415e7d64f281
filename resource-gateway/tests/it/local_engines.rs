//! The engines of this machine, through the gateway: pictures become text, text becomes sound, and sound becomes text again.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::bootstrap::Ambient;
use serde_json::{Value, json};

use crate::{
    forms,
    running::{Answer, Running},
};

const ENGLISH: &[u8] = include_bytes!("pictures/english.png");
const CHINESE: &[u8] = include_bytes!("pictures/chinese.png");
const SMUDGED: &[u8] = include_bytes!("pictures/smudged.png");

/// Sentences that the recogniser, which was made of people's voices, understands of a synthesiser that speaks slowly.
const SENTENCES: [&str; 2] = [
    "i would like to buy a ticket to new york",
    "i would like to go to new york",
];

const INTERFACES: [(&str, &str, &str, &str); 9] = [
    ("eng", "ocr", "eng", ""),
    ("chi", "ocr", "chi_sim", ""),
    ("both", "ocr", "eng+chi_sim", ""),
    ("sure", "ocr", "eng", "min_confidence = 0.9"),
    ("klingon", "ocr", "tlh", ""),
    ("say", "speech", "en-us", ""),
    ("say-quenya-x", "speech", "qya-x", ""),
    ("hear", "transcription", "en-us", ""),
    ("hear-french", "transcription", "fr-fr", ""),
];

fn document() -> String {
    let interface = |(name, capability, model, more)| {
        format!(
            "[[interface]]\nname = \"{name}\"\ncapability = \"{capability}\"\nroutes = [{{ vendor = \"here\", model = \"{model}\" }}]\n{more}\n"
        )
    };
    let vendor = "[[vendor]]\nname = \"here\"\nstrategy = \"local\"\n";
    vendor.to_owned() + &INTERFACES.map(interface).concat()
}

async fn world() -> Running {
    let world = Running::start().await;
    world.apply(&document()).await;
    world
}

async fn read(world: &Running, model: &str, picture: &[u8]) -> Answer {
    let body = json!({"model": model, "image": {"base64": STANDARD.encode(picture)}});
    world.post("/v1/ocr", &world.token(), &body).await
}

async fn say(world: &Running, body: Value) -> (u16, String, Vec<u8>) {
    let mut body = body;
    if body.get("model").is_none() {
        body["model"] = "say".into();
    }
    let response = world
        .request("/v1/audio/speech", &world.token(), &body)
        .send()
        .await
        .unwrap();
    let (status, kind) = (response.status().as_u16(), response.headers()["content-type"].clone());
    (
        status,
        kind.to_str().unwrap().to_owned(),
        response.bytes().await.unwrap().to_vec(),
    )
}

async fn refused(world: &Running, path: &str, body: Value, status: u16) -> Value {
    world.post(path, &world.token(), &body).await.error(status)
}

async fn hear(world: &Running, file: &[u8], fields: &[(&str, &str)]) -> Answer {
    let mut form = forms::form(fields);
    form.truncate(form.len() - "--XyZ--\r\n".len());
    form.extend_from_slice(b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
    form.extend_from_slice(file);
    form.extend_from_slice(b"\r\n--XyZ--\r\n");
    forms::send(world, "/v1/audio/transcriptions", form).await
}

/// The seconds of a file of 16-bit samples, by its own head.
fn seconds(wav: &[u8]) -> f64 {
    let number = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().unwrap());
    assert_eq!(
        (&wav[..4], &wav[8..12], &wav[36..40]),
        (&b"RIFF"[..], &b"WAVE"[..], &b"data"[..])
    );
    assert_eq!(
        number(40) as usize,
        wav.len() - 44,
        "the length is the real one, not a pipe's"
    );
    f64::from(number(40)) / 2.0 / f64::from(number(24))
}

/// Which share of the words comes back, in their order.
fn share(spoken: &str, heard: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let letters = |word: &str| {
            word.chars()
                .filter(|c| c.is_alphabetic())
                .collect::<String>()
                .to_lowercase()
        };
        text.split_whitespace().map(letters).collect()
    };
    let (spoken, heard) = (words(spoken), words(heard));
    // The longest common subsequence.
    let mut lengths = vec![vec![0u32; heard.len() + 1]; spoken.len() + 1];
    for (i, one) in spoken.iter().enumerate() {
        for (j, other) in heard.iter().enumerate() {
            lengths[i + 1][j + 1] = match one == other {
                true => lengths[i][j] + 1,
                false => lengths[i][j + 1].max(lengths[i + 1][j]),
            };
        }
    }
    f64::from(lengths[spoken.len()][heard.len()]) / f64::from(u32::try_from(spoken.len()).unwrap())
}

/// A picture of one bit a pixel, all white, as a BMP.
fn blank(side: u32) -> Vec<u8> {
    let row = (side / 8).next_multiple_of(4);
    let mut file = b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0".to_vec();
    file.extend([side.to_le_bytes(), side.to_le_bytes()].concat());
    file.extend(b"\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\0");
    file.resize(62 + (row * side) as usize, 0xff);
    file
}

#[tokio::test]
async fn a_page_is_read_with_places_and_confidences() {
    let world = world().await;
    for (model, picture, lines) in [
        (
            "eng",
            ENGLISH,
            ["Invoice number 2041", "Total amount 187.50", "Thank you for your order"],
        ),
        ("chi", CHINESE, ["今天天气很好", "我们一起去公园", "请打开窗户"]),
        ("both", CHINESE, ["今天天气很好", "我们一起去公园", "请打开窗户"]),
    ] {
        let answer = read(&world, model, picture).await;
        let said = answer.ok();
        assert_eq!(said["text"], lines.join("\n"), "{said}");
        assert_eq!(said["usage"], json!({"images": 1}));
        assert!(said["id"].as_str().unwrap().starts_with("ocr-"));
        let size = [16, 20].map(|at| u64::from(u32::from_be_bytes(picture[at..at + 4].try_into().unwrap())));
        let mut below = 0;
        for (line, text) in said["lines"].as_array().unwrap().iter().zip(lines) {
            assert_eq!(line["text"], text);
            let confidence = line["confidence"].as_f64().unwrap();
            assert!((0.7..=1.0).contains(&confidence), "{line}");
            let corners: Vec<[u64; 2]> = serde_json::from_value(line["polygon"].clone()).unwrap();
            let [[left, top], [right, _], [_, bottom], _] = corners[..] else {
                panic!("{corners:?}")
            };
            assert!(
                below < top && top < bottom && bottom <= size[1] && left < right && right <= size[0],
                "{corners:?}"
            );
            below = bottom;
            let words = line["words"].as_array().unwrap();
            let scores: Vec<f64> = words.iter().map(|word| word["confidence"].as_f64().unwrap()).collect();
            let least = scores.iter().copied().fold(1.0, f64::min);
            assert!(
                least <= confidence && scores.iter().all(|score| (0.0..=1.0).contains(score)),
                "{line}"
            );
        }
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), ("completed", 1));
    }
    let url = format!("data:image/png;base64,{}", STANDARD.encode(ENGLISH));
    let body = json!({"model": "eng", "image": {"url": url}});
    let said = world.post("/ai/invoke/ocr", &world.token(), &body).await.ok();
    assert!(said["text"].as_str().unwrap().starts_with("Invoice number"));
}

#[tokio::test]
async fn a_smudged_line_falls_to_a_threshold_and_the_clear_ones_stay() {
    let world = world().await;
    let all = read(&world, "eng", SMUDGED).await.ok();
    let score = |at: usize| all["lines"][at]["confidence"].as_f64().unwrap();
    assert_eq!(all["lines"].as_array().unwrap().len(), 3, "{all}");
    assert!(score(1) < 0.9 && score(0) > 0.92 && score(2) > 0.92, "{all}");
    let held = read(&world, "sure", SMUDGED).await;
    assert_eq!(held.header("x-hexgate-filtered"), "1");
    let held = held.ok();
    assert_eq!(
        (&held["text"], &held["filtered"]),
        (&json!("A clear line of text\nAnother clear line"), &json!(1))
    );
    // The caller may be stricter, and a score that is equal is enough.
    let body = json!({"model": "eng", "min_confidence": score(1), "image": {"base64": STANDARD.encode(SMUDGED)}});
    assert_eq!(world.post("/v1/ocr", &world.token(), &body).await.ok()["filtered"], 0);
}

#[tokio::test]
async fn what_is_no_picture_or_too_large_a_one_is_refused_before_it_is_unpacked() {
    let world = world().await;
    let mut bomb = ENGLISH.to_vec();
    bomb[16..24].copy_from_slice(b"\0\0\xff\xff\0\0\xff\xff");
    for (picture, why) in [
        (bomb.as_slice(), "million pixels"),
        (&blank(6400), "million pixels"),
        // Tesseract would take this for a list of pictures to read.
        (b"/etc/hostname\n/etc/passwd\n", "must be a PNG"),
        (b"RIFF\0\0\0\0WAVEfmt ", "must be a PNG"),
        (b"\x89PNG\r\n\x1a\n", "must be a PNG"),
    ] {
        let error = read(&world, "eng", picture).await.error(400);
        assert_eq!(error["param"], "image.base64");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    // The head is good, and the rest is not.
    for picture in [&ENGLISH[..100], &[&ENGLISH[..60], &[0xaa; 500]].concat()] {
        let answer = read(&world, "eng", picture).await;
        let error = answer.error(422);
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!("image"), &json!("unprocessable"))
        );
        let usage = world.usage(answer.request_id()).await;
        assert_eq!(
            (usage.state.as_str(), usage.attempts),
            ("upstream_error", 1),
            "nobody tries that again"
        );
    }
    for (image, param) in [
        (json!({"url": "https://example.test/a.png"}), "image.url"),
        (json!({"url": "file:///etc/passwd"}), "image.url"),
        (json!({"url": "data:image/png,x"}), "image.url"),
        (json!({"file_id": "file-1"}), "image.file_id"),
        (json!({"base64": "%%%"}), "image.base64"),
        (json!({"base64": "aGVsbG8=", "detail": "high"}), "image"),
    ] {
        let error = refused(&world, "/v1/ocr", json!({"model": "eng", "image": image}), 400).await;
        assert_eq!(error["param"], param, "{error}");
    }
    let body = json!({"model": "eng", "image": {"base64": "aGVsbG8="}, "prompt": "read it"});
    let error = refused(&world, "/v1/ocr", body, 400).await;
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("prompt"), &json!("unsupported_parameter"))
    );
    let error = read(&world, "klingon", ENGLISH).await.error(404);
    assert_eq!(error["code"], "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("chi_sim, eng"), "{error}");
}

#[tokio::test]
async fn a_huge_picture_that_is_allowed_fits_into_the_memory_that_is_given() {
    let world = world().await;
    let said = read(&world, "eng", &blank(6304)).await.ok();
    assert_eq!((&said["text"], &said["lines"]), (&json!(""), &json!([])));
}

#[tokio::test]
async fn what_was_said_is_heard() {
    let world = world().await;
    for sentence in SENTENCES {
        let (status, kind, wav) = say(&world, json!({"input": sentence, "voice": "alloy", "speed": 0.8})).await;
        assert_eq!(
            (status, kind.as_str()),
            (200, "audio/wav"),
            "who names no format gets what there is"
        );
        let answer = hear(&world, &wav, &[("model", "hear")]).await;
        let heard = answer.ok();
        let text = heard["text"].as_str().unwrap();
        assert!(share(sentence, text) >= 0.6, "{sentence} was heard as: {text}");
        assert_eq!(
            heard["usage"],
            json!({"type": "duration", "seconds": seconds(&wav).ceil()})
        );
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.estimated), ("completed", false));
    }
}

#[tokio::test]
async fn a_transcript_comes_in_every_format_with_times_and_confidences() {
    let world = world().await;
    let (_, _, wav) = say(&world, json!({"input": SENTENCES[0], "voice": "en-us", "speed": 0.8})).await;
    let granular = [
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ];
    let mut fields = vec![
        ("model", "hear"),
        ("language", "en"),
        ("response_format", "verbose_json"),
    ];
    fields.extend(granular);
    let verbose = hear(&world, &wav, &fields).await.ok();
    let duration = verbose["duration"].as_f64().unwrap();
    assert!((duration - seconds(&wav)).abs() < 0.001, "{duration}");
    let words = verbose["words"].as_array().unwrap();
    let texts: Vec<_> = words.iter().map(|word| word["word"].as_str().unwrap()).collect();
    assert_eq!(verbose["text"], texts.join(" "));
    let mut before = 0.0;
    for word in words {
        let [start, end, confidence] = ["start", "end", "confidence"].map(|name| word[name].as_f64().unwrap());
        assert!(
            before <= start && start < end && end <= duration && (0.0..=1.0).contains(&confidence),
            "{word}"
        );
        before = end;
    }
    let segment = &verbose["segments"][0];
    assert_eq!((&segment["id"], &segment["start"]), (&json!(0), &words[0]["start"]));
    for (format, kind, begins) in [
        ("text", "text/plain; charset=utf-8", texts[0]),
        ("srt", "application/x-subrip; charset=utf-8", "1\n00:00:0"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:0"),
    ] {
        let answer = hear(&world, &wav, &[("model", "hear"), ("response_format", format)]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind));
        assert!(
            answer.body.starts_with(begins) && answer.body.contains(&texts.join(" ")),
            "{}",
            answer.body
        );
    }
    let held = hear(&world, &wav, &[("model", "hear"), ("min_confidence", "1")]).await;
    assert_eq!(
        (held.ok()["text"].as_str(), held.header("x-hexgate-filtered")),
        (Some(""), "1")
    );
}

#[tokio::test]
async fn a_recording_that_cannot_be_heard_is_refused() {
    let world = world().await;
    let wav = |rate: u32, samples: usize| {
        let length = u32::try_from(samples * 2).unwrap();
        let head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0";
        let more = [
            &rate.to_le_bytes()[..],
            &(rate * 2).to_le_bytes(),
            b"\x02\0\x10\0data",
            &length.to_le_bytes(),
        ]
        .concat();
        [&head[..], &more, &vec![0; samples * 2]].concat()
    };
    for (file, why) in [
        (b"ID3 a song".to_vec(), "must be a WAV file"),
        (wav(8000, 0), "is empty"),
        (wav(4000, 100), "samples a second"),
        (wav(8000, 8000 * 600 + 1), "10 minutes"),
    ] {
        let error = hear(&world, &file, &[("model", "hear")]).await.error(400);
        assert_eq!(error["param"], "file");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    let silence = wav(8000, 8000);
    assert_eq!(hear(&world, &silence, &[("model", "hear")]).await.ok()["text"], "");
    for (field, value, code) in [
        ("language", "fr", "invalid_value"),
        ("prompt", "New York", "unsupported_parameter"),
        ("temperature", "0.5", "unsupported_parameter"),
        ("chunking_strategy", "auto", "unsupported_parameter"),
    ] {
        let error = hear(&world, &silence, &[("model", "hear"), (field, value)])
            .await
            .error(400);
        assert_eq!((&error["param"], &error["code"]), (&json!(field), &json!(code)));
    }
    let unknown = hear(&world, &silence, &[("model", "hear-french")]).await.error(404);
    assert!(unknown["message"].as_str().unwrap().contains("en-us"), "{unknown}");
}

#[tokio::test]
async fn voices_speeds_and_formats_are_what_was_asked_for() {
    let world = world().await;
    let text = "The quick brown fox jumps over the lazy dog.";
    let (_, _, plain) = say(
        &world,
        json!({"input": text, "voice": "nova", "response_format": "wav"}),
    )
    .await;
    let length = seconds(&plain);
    let (_, kind, pcm) = say(
        &world,
        json!({"input": text, "voice": "nova", "response_format": "pcm"}),
    )
    .await;
    assert_eq!(kind, "audio/pcm");
    // OpenAI's pcm: 24,000 samples of two bytes a second.
    assert!((f64::from(u32::try_from(pcm.len()).unwrap()) / 48_000.0 - length).abs() < 0.001);
    let (_, _, quick) = say(&world, json!({"input": text, "speed": 2})).await;
    assert!(
        (0.3..0.7).contains(&(seconds(&quick) / length)),
        "{} of {length}",
        seconds(&quick)
    );
    let (_, _, british) = say(&world, json!({"input": text, "voice": "en-gb"})).await;
    assert_ne!(british, plain);
    let (status, _, chinese) = say(&world, json!({"input": "今天天气很好", "voice": "zh"})).await;
    assert!(status == 200 && seconds(&chinese) > 0.8);
    // Orders to the engine are no text: both are read as what they look like, and not obeyed.
    let (_, _, spaces) = say(&world, json!({"input": "one  5P two"})).await;
    let (_, _, order) = say(&world, json!({"input": "one \u{1}5P two"})).await;
    assert_eq!(order, spaces);
    for (body, param) in [
        (json!({"input": text, "response_format": "mp3"}), "response_format"),
        (json!({"input": text, "speed": 0.3}), "speed"),
        (json!({"input": text, "voice": "tlh"}), "voice"),
        (json!({"input": text, "voice": "en-us -w /tmp/x"}), "voice"),
        (json!({"input": text, "voice": {"id": "v"}}), "voice"),
        (json!({"input": text, "instructions": "whisper"}), "instructions"),
        (json!({"input": "x".repeat(4097)}), "input"),
    ] {
        let mut body = body;
        body["model"] = "say".into();
        assert_eq!(refused(&world, "/v1/audio/speech", body, 400).await["param"], param);
    }
    let nothing = json!({"model": "say", "input": " \n\u{1} "});
    assert_eq!(
        refused(&world, "/v1/audio/speech", nothing, 400).await["param"],
        "input"
    );
    let unknown = refused(
        &world,
        "/v1/audio/speech",
        json!({"model": "say-quenya-x", "input": "x"}),
        404,
    )
    .await;
    assert_eq!(unknown["code"], "model_not_found");
}

#[tokio::test]
async fn the_longest_text_is_spoken_to_its_end() {
    let world = world().await;
    let text = "word ".repeat(819) + "w";
    assert_eq!(text.len(), 4096);
    let (status, _, wav) = say(&world, json!({"input": text, "voice": "alloy", "speed": 4})).await;
    assert_eq!(status, 200);
    assert!(seconds(&wav) > 30.0, "{}", seconds(&wav));
}

#[tokio::test]
async fn many_at_once_are_answered_or_told_to_come_back() {
    let world = world().await;
    let answers = futures_util::future::join_all((0..30).map(|_| read(&world, "chi", CHINESE))).await;
    let mut read = 0;
    for answer in answers {
        if answer.status == 200 {
            read += 1;
            assert!(answer.ok()["text"].as_str().unwrap().contains("公园"));
        } else {
            assert_eq!(answer.error(503)["code"], "upstream_overloaded");
            assert!(!answer.header("retry-after").is_empty());
        }
    }
    // How many that are in ten seconds is the machine's business.
    assert!(read >= 2, "{read}");
}

#[tokio::test]
async fn a_machine_without_engines_says_so_to_every_call() {
    let nowhere = Ambient {
        programs: None,
        ..Ambient::default()
    };
    let otherwise = "[[interface]]\nname = \"otherwise\"\ncapability = \"ocr\"\nroutes = [\
        { vendor = \"here\", model = \"eng\", priority = 1 }, { vendor = \"sandbox\", model = \"any\", priority = 2 }]\n";
    let world = Running::start_among(nowhere, &(document() + otherwise), |_| {}).await;
    let calls = [
        (read(&world, "eng", ENGLISH).await, "tesseract"),
        (
            world
                .post(
                    "/v1/audio/speech",
                    &world.token(),
                    &json!({"model": "say", "input": "x"}),
                )
                .await,
            "espeak-ng",
        ),
        (
            hear(&world, b"RIFF", &[("model", "hear")]).await,
            "pocketsphinx_continuous",
        ),
    ];
    for (answer, program) in calls {
        let error = answer.error(503);
        assert_eq!(error["code"], "engine_missing");
        assert!(error["message"].as_str().unwrap().contains(program), "{error}");
        assert_eq!(answer.header("x-should-retry"), "false");
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), ("upstream_error", 1));
    }
    // Another vendor may have what this one lacks.
    assert_eq!(read(&world, "otherwise", ENGLISH).await.ok()["sandbox"], true);
}
