//! Transcriptions: forms that come in, and what of them goes on.

use serde_json::json;

use crate::{
    payloads::logged,
    recorder::{VERBOSE, interface, world},
    running::{Answer, Running},
};

/// A form of fields and one file, in the order given.
pub(crate) fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if *name == "file" {
            "; filename=\"a.wav\"\r\nContent-Type: audio/wav"
        } else {
            ""
        };
        let head = format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(&[head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
    }
    body.extend_from_slice(b"--XyZ--\r\n");
    body
}

pub(crate) async fn send(world: &Running, path: &str, body: Vec<u8>) -> Answer {
    send_as(world, path, Some("multipart/form-data; boundary=XyZ"), body).await
}

async fn send_as(world: &Running, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Answer {
    let mut request = world
        .http
        .post(format!("{}{path}", world.url))
        .bearer_auth(world.token())
        .body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    Answer::read(request.send().await.unwrap()).await
}

const PATH: &str = "/v1/audio/transcriptions";

#[tokio::test]
async fn a_recording_goes_on_with_the_vendors_model_and_comes_back_as_text() {
    let (world, vendor) = world(&interface("stt", "transcription", "recorder", "")).await;
    for (path, format, content_type, reply) in [
        (PATH, "verbose_json", "application/json", VERBOSE),
        (
            "/ai/invoke/stt",
            "text",
            "text/plain; charset=utf-8",
            "Clear. Mumble.\n",
        ),
    ] {
        let body = form(&[
            ("response_format", format),
            ("file", "RIFF\r\n\r\n--"),
            ("language", "en"),
            ("model", "stt"),
        ]);
        let answer = send(&world, path, body).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, reply),
            "bytes that nobody held to anything"
        );
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("x-sandbox"), "", "the vendor is none, whatever it says");
        let seen = vendor.take();
        assert_eq!(seen.path, PATH);
        let seen = seen.form();
        let fields: Vec<_> = seen
            .parts()
            .iter()
            .map(|part| (&*part.name, String::from_utf8_lossy(&part.value).into_owned()))
            .collect();
        let expected = [
            ("response_format", format),
            ("file", "RIFF\r\n\r\n--"),
            ("language", "en"),
            ("model", "up"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name, value.to_owned())));
    }
    let body = form(&[("model", "stt"), ("file", "RIFF")]);
    let answer = send(&world, PATH, body).await;
    assert_eq!(answer.ok()["text"], "Clear. Mumble.");
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.input, usage.output, usage.estimated), (20, 4, false));
}

#[tokio::test]
async fn of_recordings_and_of_speech_a_log_keeps_what_they_are() {
    let log = "log = { payload = true }";
    let document = [
        interface("stt", "transcription", "recorder", log),
        interface("tts", "speech", "recorder", log),
    ]
    .concat();
    let (world, _) = world(&document).await;
    let body = form(&[("model", "stt"), ("language", "en"), ("file", "RIFF")]);
    let heard = send(&world, PATH, body).await;
    let payload = logged(&world, heard.request_id()).await;
    assert_eq!(
        payload["request"],
        "model: stt\nlanguage: en\nfile: [a.wav audio/wav 4 bytes]\n"
    );
    assert_eq!(payload["reply"], heard.body);
    let body = json!({"model": "tts", "input": "hello", "voice": "v"});
    let spoken = world.post("/v1/audio/speech", &world.token(), &body).await;
    let payload = logged(&world, spoken.request_id()).await;
    assert_eq!(payload["reply"], "[audio/mpeg 9 bytes]");
}

#[tokio::test]
async fn forms_that_cannot_be_trusted_are_refused_before_a_vendor_hears_of_them() {
    let (world, vendor) = world(&interface("stt", "transcription", "recorder", "")).await;
    let good = form(&[("model", "stt"), ("file", "RIFF")]);
    for (content_type, body, status) in [
        (
            Some("application/json"),
            json!({"model": "stt"}).to_string().into_bytes(),
            415,
        ),
        (Some("multipart/form-data"), good.clone(), 415),
        (Some("multipart/form-data; boundary=XyZ; boundary=b"), good.clone(), 415),
        (Some("multipart/mixed; boundary=XyZ"), good.clone(), 415),
        (None, good.clone(), 415),
        (Some("multipart/form-data; boundary=other"), good.clone(), 400),
        (Some("multipart/form-data; boundary=XyZ"), Vec::new(), 400),
        (
            Some("multipart/form-data; boundary=XyZ"),
            good[..good.len() - 6].to_vec(),
            400,
        ),
        (
            Some("multipart/form-data; boundary=XyZ"),
            form(&[("model", "stt")]),
            400,
        ),
        (Some("multipart/form-data; boundary=XyZ"), form(&[("file", "x")]), 400),
        (
            Some("multipart/form-data; boundary=XyZ"),
            form(&[("model", "stt"), ("model", "other"), ("file", "x")]),
            400,
        ),
        (
            Some("multipart/form-data; boundary=XyZ"),
            form(&[
                ("model", "stt"),
                (
                    "file",
                    "x\n--XyZ\nContent-Disposition: form-data; name=\"temperature\"\n\n1",
                ),
            ]),
            400,
        ),
        (
            Some("multipart/form-data; boundary=XyZ"),
            form(&[("model", "no-such"), ("file", "x")]),
            404,
        ),
    ] {
        let answer = send_as(&world, PATH, content_type, body).await;
        answer.error(status);
    }
    // The other way round: a form where JSON is due.
    let answer = send(&world, "/v1/chat/completions", good).await;
    answer.error(415);
    assert!(vendor.is_untouched());
}
