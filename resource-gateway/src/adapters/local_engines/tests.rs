//! What bounds programs, tried with programs that misbehave.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    process::{Bounds, Engine, Errand, Known, Program, Trouble, search_path},
    *,
};
use crate::ports::transport::Deadlines;

const BOUNDS: Bounds = Bounds {
    processes: 2,
    waiting: 8,
    patience: Duration::from_secs(5),
    memory: 256 * 1024 * 1024,
};

/// Where Debian's own programs lie.
fn system() -> Arc<[PathBuf]> {
    search_path(Some("/usr/bin:/bin".into()))
}

/// A directory with one program: a script.
fn stand_in(program: &str, script: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    lay(&dir.path().join(program), script, 0o755);
    dir
}

/// Writes a script by another process: a file that this one has open for writing, or that a process which it is just starting has
/// inherited so, cannot be run.
fn lay(path: &Path, script: &str, mode: u32) {
    let draft = path.with_extension("draft");
    fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
    let copied = std::process::Command::new("cp").arg(&draft).arg(path).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn script(script: &str) -> (Engine, TempDir) {
    let dir = stand_in("stand-in", script);
    let path = search_path(Some(dir.path().into()));
    (Engine::new(Program::plain("stand-in"), path, BOUNDS), dir)
}

fn errand(arguments: &[&str], within: Duration) -> Errand {
    Errand {
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        input: Bytes::from_static(b"go\n"),
        most_output: 10_000,
        until: Instant::now() + within,
    }
}

const SOON: Duration = Duration::from_secs(20);

/// A time to sleep that no other test uses, nor this one in another run on the same machine: what is asleep can be told by it, also when
/// the process that started it is gone.
fn marker(of: &str) -> String {
    let of: String = of.bytes().map(|byte| byte.to_string()).collect();
    format!("86400.{}0{of}", std::process::id())
}

/// How many living processes have this argument.
fn alive(argument: &str) -> usize {
    let commands = fs::read_dir("/proc").unwrap().flatten();
    let commands = commands.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands
        .filter(|command| command.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()))
        .count()
}

async fn until(what: &str, probe: impl Fn() -> bool) {
    for _ in 0..1000 {
        if probe() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within five seconds: {what}");
}

#[tokio::test]
async fn what_goes_in_comes_out_however_long_it_is() {
    let engine = Engine::new(Program::plain("cat"), system(), BOUNDS);
    let input = Bytes::from(vec![b'x'; 3_000_000]);
    let all = Errand {
        input: input.clone(),
        most_output: 3_000_000,
        ..errand(&[], SOON)
    };
    assert_eq!(engine.run(all).await.unwrap(), input);
    let less = Errand {
        input,
        most_output: 2_999_999,
        ..errand(&[], SOON)
    };
    assert_eq!(engine.run(less).await, Err(Trouble::TooMuch));
}

#[tokio::test]
async fn a_program_that_hangs_is_gone_when_its_time_is_over() {
    let engine = Engine::new(Program::plain("sleep"), system(), BOUNDS);
    let marker = marker("hang");
    let run = engine.run(errand(&[&marker], Duration::from_millis(1500)));
    let seen = async {
        until("it runs", || alive(&marker) == 1).await;
    };
    let (outcome, ()) = tokio::join!(run, seen);
    assert_eq!(outcome, Err(Trouble::TimedOut));
    // Whoever is told so can rely on it.
    assert_eq!(alive(&marker), 0);
}

#[tokio::test]
async fn what_a_program_started_goes_with_it() {
    let marker = marker("grandchild");
    let (engine, _dir) = script(&format!("sleep {marker} & sleep {marker} & wait"));
    let run = engine.run(errand(&[], Duration::from_secs(2)));
    let seen = until("both run", || alive(&marker) == 2);
    let (outcome, ()) = tokio::join!(run, seen);
    assert_eq!(outcome, Err(Trouble::TimedOut));
    until("both are gone", || alive(&marker) == 0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_program_along_and_frees_its_place() {
    let one = Bounds { processes: 1, ..BOUNDS };
    let engine = Engine::new(Program::plain("sleep"), system(), one);
    let marker = marker("leaves");
    tokio::select! {
        _ = engine.run(errand(&[&marker], Duration::from_hours(1))) => panic!("it sleeps for a day"),
        () = until("it runs", || alive(&marker) == 1) => {}
    }
    until("it is gone", || alive(&marker) == 0).await;
    assert_eq!(engine.run(errand(&["0"], SOON)).await, Ok(Vec::new()));
}

#[tokio::test]
async fn of_twenty_calls_never_more_run_than_may() {
    let three = Bounds {
        processes: 3,
        waiting: 20,
        ..BOUNDS
    };
    let marker = &format!("0.0500{}", std::process::id());
    let engine = Engine::new(Program::plain("sleep"), system(), three);
    let calls = futures_util::future::join_all((0..20).map(|_| engine.run(errand(&[marker], SOON))));
    let mut calls = std::pin::pin!(calls);
    let mut most = 0;
    let outcomes = loop {
        tokio::select! {
            outcomes = &mut calls => break outcomes,
            () = tokio::time::sleep(Duration::from_millis(1)) => most = most.max(alive(marker)),
        }
    };
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test]
async fn who_finds_no_place_or_no_turn_is_told_so() {
    let tight = Bounds {
        processes: 1,
        waiting: 1,
        patience: Duration::from_millis(800),
        ..BOUNDS
    };
    let engine = Engine::new(Program::plain("sleep"), system(), tight);
    let began = Instant::now();
    let (long, waits, turned_away) = tokio::join!(
        engine.run(errand(&["2"], SOON)),
        engine.run(errand(&["0"], SOON)),
        async {
            let outcome = engine.run(errand(&["0"], SOON)).await;
            (outcome, began.elapsed())
        },
    );
    assert_eq!((long, waits), (Ok(Vec::new()), Err(Trouble::Busy)));
    let (outcome, took) = turned_away;
    assert_eq!(outcome, Err(Trouble::Busy));
    assert!(took < Duration::from_millis(700), "{took:?}");
}

#[tokio::test]
async fn memory_has_an_end() {
    // Without an end of line it keeps everything.
    let engine = Engine::new(Program::plain("tail"), system(), BOUNDS);
    let began = Instant::now();
    assert_eq!(engine.run(errand(&["/dev/zero"], SOON)).await, Err(Trouble::Failed));
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn caps_stand_before_the_first_byte_is_read_and_nothing_of_ours_is_in_the_environment() {
    let (engine, dir) = script("read line; cat /proc/self/limits; ulimit -n; env; echo $line >\"$1\"; echo not here");
    let file = dir.path().join("file");
    let outcome = engine.run(errand(&[file.to_str().unwrap()], SOON)).await;
    // It ended where it wrote a file.
    assert_eq!(outcome, Err(Trouble::Failed));
    assert_eq!(fs::read(&file).unwrap(), b"");
    let (engine, _dir) = script("read line; cat /proc/self/limits; env");
    let said = engine.run(errand(&[], SOON)).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    let limit = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap();
        let columns: Vec<_> = line.trim_start_matches(name).split_whitespace().take(2).collect();
        columns.join(" ")
    };
    assert_eq!(limit("Max address space"), "268435456 268435456");
    assert_eq!(limit("Max file size"), "0 0");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max open files"), "64 64");
    // A little more than the call's own time, for the case that nobody is left to end it.
    let cpu: u64 = limit("Max cpu time").split(' ').next().unwrap().parse().unwrap();
    assert!((20..=22).contains(&cpu), "{cpu}");
    assert!(
        said.contains("LC_ALL=C.UTF-8") && !said.contains("CARGO") && !said.contains("HOME="),
        "{said}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_found_once_it_is() {
    let dir = TempDir::new().unwrap();
    let path = search_path(Some(dir.path().into()));
    let engine = Engine::new(Program::plain("late"), path, BOUNDS);
    assert_eq!(engine.run(errand(&[], SOON)).await, Err(Trouble::Missing("late")));
    // A file that may not be run is none.
    lay(&dir.path().join("late"), "", 0o644);
    assert_eq!(engine.run(errand(&[], SOON)).await, Err(Trouble::Missing("late")));
    fs::set_permissions(dir.path().join("late"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(engine.run(errand(&[], SOON)).await, Ok(Vec::new()));
    // What the path says of here is not believed.
    assert!(search_path(Some("bin::./x:../y".into())).is_empty());
    assert!(search_path(None).is_empty());
}

#[tokio::test]
async fn what_an_engine_says_of_itself_is_asked_for_once() {
    let known = Known::default();
    let has = |known: &u32| *known == 7;
    assert_eq!(known.with(has, async { Err(Trouble::Busy) }).await, Err(Trouble::Busy));
    assert_eq!(*known.with(has, async { Ok(7) }).await.unwrap(), 7);
    assert_eq!(*known.with(has, async { Ok(8) }).await.unwrap(), 7);
    // What is not in it may be new, but not every time that somebody asks.
    assert_eq!(*known.with(|known| *known == 8, async { Ok(8) }).await.unwrap(), 7);
}

#[tokio::test]
async fn who_looks_for_what_is_known_waits_for_nobody_who_asks() {
    let known = Known::default();
    known.with(|_| true, async { Ok(7) }).await.unwrap();
    // As if it had been asked long ago.
    known.forget_when().await;
    let asking = known.with(|known| *known == 8, std::future::pending());
    let looking = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        *known
            .with(|known| *known == 7, async { Err(Trouble::Failed) })
            .await
            .unwrap()
    };
    tokio::select! {
        biased;
        _ = asking => panic!("it is asked for ever"),
        found = looking => assert_eq!(found, 7),
    }
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_not_asked_again_at_once() {
    let known = Known::default();
    known.with(|_| true, async { Ok(7) }).await.unwrap();
    known.forget_when().await;
    let other = |known: &u32| *known == 8;
    assert_eq!(
        known.with(other, async { Err(Trouble::Busy) }).await,
        Err(Trouble::Busy)
    );
    let asked = async { panic!("it was asked just now") };
    assert_eq!(known.with(other, asked).await, Err(Trouble::Busy));
    assert_eq!(*known.with(|known| *known == 7, async { Ok(9) }).await.unwrap(), 7);
}

#[tokio::test]
async fn nothing_large_is_read_without_a_place() {
    let none = Bounds {
        processes: 0,
        waiting: 0,
        ..BOUNDS
    };
    for (program, path, body) in [
        (transcription::PROGRAM.name, "/audio/transcriptions", "no form"),
        (
            ocr::PROGRAM.name,
            "/ocr",
            r#"{"model":"eng","image":{"base64":"no picture"}}"#,
        ),
    ] {
        let dir = stand_in(program, "exit 1");
        let (status, _, error) = error(dir.path(), none, request(path, body, SOON)).await;
        assert_eq!((status, &error["code"]), (503, &"overloaded".into()), "{path}");
    }
}

fn request(path: &str, body: impl Into<Bytes>, within: Duration) -> UpstreamRequest {
    UpstreamRequest {
        method: Method::POST,
        uri: format!("http://local.invalid{path}").parse().unwrap(),
        headers: HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            HeaderValue::from_static("multipart/form-data; boundary=B"),
        )]),
        body: vec![body.into()],
        dialogue: None,
        deadlines: Deadlines {
            connect: within,
            head: within,
        },
    }
}

/// Status, `Retry-After` and `x-should-retry`, error object.
async fn error(dir: &Path, bounds: Bounds, request: UpstreamRequest) -> (u16, String, Value) {
    let engines = LocalEngines::new(Some(dir.into()), bounds);
    let reply = engines.send(request).await.unwrap();
    let header = |name: &str| {
        let value = reply.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    let hints = header("retry-after") + &header("x-should-retry");
    let status = reply.status.as_u16();
    let body = http_body_util::BodyExt::collect(reply.body).await.unwrap().to_bytes();
    let error: Value = serde_json::from_slice(&body).unwrap();
    (status, hints, error["error"].clone())
}

const SPEECH: &str = r#"{"model":"en-us","input":"hello"}"#;
/// Answers questions about itself as eSpeak NG does.
const VOICES: &str = "[ \"$1\" = --voices ] && { echo Pty; echo ' 2 en-us --/M English gmw/en-US'; exit; }\n";

#[tokio::test]
async fn each_trouble_has_an_answer_of_its_own_and_nothing_of_what_the_program_said() {
    let never = Duration::from_millis(400);
    for (script, within, status, hints, code) in [
        ("sleep 60", never, 504, "false", "timeout"),
        ("echo secret path >&2; exit 3", SOON, 422, "", "unprocessable"),
        ("echo no sound", SOON, 422, "", "unprocessable"),
        ("kill -9 $$", SOON, 422, "", "unprocessable"),
        ("cat /dev/zero", SOON, 422, "", "unprocessable"),
    ] {
        let dir = stand_in(speech::PROGRAM.name, &format!("{VOICES}{script}"));
        let (got, said, error) = error(dir.path(), BOUNDS, request("/audio/speech", SPEECH, within)).await;
        assert_eq!((got, said.as_str()), (status, hints), "{script}: {error}");
        assert_eq!(error["code"], code, "{script}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let none = Bounds {
        processes: 0,
        waiting: 0,
        ..BOUNDS
    };
    let dir = stand_in(speech::PROGRAM.name, VOICES);
    let (status, hints, error) = error(dir.path(), none, request("/audio/speech", SPEECH, SOON)).await;
    assert_eq!(
        (status, hints.as_str(), &error["code"]),
        (503, "1", &"overloaded".into())
    );
}

#[tokio::test]
async fn an_engine_that_is_missing_is_named() {
    let dir = TempDir::new().unwrap();
    let engines = LocalEngines::new(Some(dir.path().into()), BOUNDS);
    let picture = r#"{"model":"eng","image":{"base64":"R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="}}"#;
    let sound = [
        b"--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nen-us\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n".as_slice(),
        &wave::Sound { rate: 8000, samples: vec![0; 80] }.to_wav(),
        b"\r\n--B--\r\n",
    ]
    .concat();
    for (path, body, program) in [
        ("/ocr", Bytes::from_static(picture.as_bytes()), ocr::PROGRAM.name),
        (
            "/audio/speech",
            Bytes::from_static(SPEECH.as_bytes()),
            speech::PROGRAM.name,
        ),
        ("/audio/transcriptions", sound.into(), transcription::PROGRAM.name),
    ] {
        let error = engines.send(request(path, body, SOON)).await.unwrap_err();
        assert_eq!(error, TransportError::NotInstalled(program));
    }
    let found = engines.look().await;
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|engine| engine.state.is_none()), "{found:?}");
}
