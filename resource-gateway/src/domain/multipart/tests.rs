use super::*;
use proptest::prelude::*;

const B: &str = "xYzZy";

fn parse(body: &str) -> Result<Form, FormError> {
    let boundary = Boundary::of_content_type(&format!("multipart/form-data; boundary={B}")).unwrap();
    Form::parse(&Bytes::copy_from_slice(body.as_bytes()), &boundary)
}

fn part(disposition: &str, value: &str) -> String {
    format!("--{B}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
}

fn whole(parts: &[String]) -> String {
    format!("{}--{B}--\r\n", parts.concat())
}

#[test]
fn fields_come_in_any_order_and_the_file_is_not_copied() {
    let file = format!(
        "--{B}\r\ncontent-type: audio/wav; x=1\r\nX-Other: 1\r\nCONTENT-DISPOSITION: form-data; filename=\"C:\\dir\\a \u{e9}.wav\"; name=\"file\"\r\n\r\nRIFF\r\n--x\r\n\r\n"
    );
    let body = Bytes::from(whole(&[
        part("name=temperature", "0.5"),
        file,
        part("name=\"model\"", "stt"),
    ]));
    let boundary = Boundary::of_content_type("Multipart/Form-Data; charset=utf-8; boundary=\"xYzZy\"").unwrap();
    let form = Form::parse(&body, &boundary).unwrap();
    assert_eq!(form.get("temperature").unwrap().unwrap().text(), "0.5");
    let file = form.get("file").unwrap().unwrap();
    assert_eq!(&file.value[..], b"RIFF\r\n--x\r\n");
    assert!(
        body.as_ptr_range().contains(&file.value.as_ptr()),
        "a slice of the body"
    );
    assert_eq!(&*file.file.as_ref().unwrap().name, "a _.wav");
    assert_eq!(&*file.file.as_ref().unwrap().content_type, "audio/wav");
    let rendered = Bytes::from(form.render().concat());
    let text = String::from_utf8_lossy(&rendered).into_owned();
    assert!(
        !text.contains("X-Other")
            && text.contains("form-data; name=\"file\"; filename=\"a _.wav\"\r\nContent-Type: audio/wav\r\n")
    );
    let again = Form::parse(&rendered, &boundary).unwrap();
    assert_eq!(again.get("model").unwrap().unwrap().text(), "stt");
    assert_eq!(again.get("file").unwrap().unwrap().value, file.value);
}

#[test]
fn a_form_that_two_readers_might_read_differently_is_refused() {
    let good = whole(&[part("name=\"a\"", "1")]);
    assert!(parse(&good).is_ok());
    assert!(parse(good.trim_end()).is_ok(), "the last line's end may be missing");
    let header =
        |line: &str| format!("--{B}\r\nContent-Disposition: form-data; name=\"a\"\r\n{line}\r\n\r\n1\r\n--{B}--\r\n");
    for bad in [
        String::new(),
        "a=1".to_owned(),
        format!("preamble\r\n{good}"),
        format!("\r\n{good}"),
        format!("{good}epilogue"),
        format!("{good}{good}"),
        good.replace("--xYzZy--\r\n", ""),
        good.replace("--xYzZy--\r\n", "--xYzZy"),
        good.replace("\r\n", "\n"),
        // The boundary inside a value: behind a bare line feed, at its beginning, in the middle of a line, with a tail.
        whole(&[part(
            "name=\"a\"",
            "x\n--xYzZy\nContent-Disposition: form-data; name=\"b\"\n\n2",
        )]),
        whole(&[part("name=\"a\"", "--xYzZy")]),
        whole(&[part("name=\"a\"", "x --xYzZy y")]),
        whole(&[part("name=\"a\"", "x\r\n--xYzZyTail\r\n")]),
        good.replacen("--xYzZy\r\n", "--xYzZy \r\n", 1),
        format!("--{B}\r\n\r\n1\r\n--{B}--\r\n"),
        format!("--{B}\r\nContent-Type: text/plain\r\n\r\n1\r\n--{B}--\r\n"),
        part("name=\"a\"", "1").replace("form-data", "attachment") + "--xYzZy--\r\n",
        whole(&[part("x=\"a\"", "1")]),
        // Names.
        whole(&[part("name=\"a\"", "1"), part("name=\"a\"", "2")]),
        whole(&[part("name=\"a\"", "1"), part("name=\"A\"", "2")]),
        whole(&[part("name=\"a_b\"", "1"), part("name=\"aB\"", "2")]),
        whole(&[part("name=\"a\"", "1"), part("name=\"a[]\"", "2")]),
        whole(&[part("name=\"a\"; name=\"b\"", "1")]),
        whole(&[part("name=\"a\"; NAME=\"b\"", "1")]),
        whole(&[part("name*=utf-8''b", "1")]),
        whole(&[part("name=\"\"", "1")]),
        whole(&[part("name=\"a\\\"b\"", "1")]),
        whole(&[part("name=\"a%22b\"", "1")]),
        whole(&[part("name=\"t\u{e9}\"", "1")]),
        whole(&[part("name=\"a", "1")]),
        whole(&[part("name=\"a\" x", "1")]),
        whole(&[part("name=\"_charset_\"", "utf-16")]),
        whole(&[part("name=\"a[0]\"", "1")]),
        // Headers.
        header("Content-Transfer-Encoding: base64"),
        header("Content-Type: text/plain; charset=utf-16"),
        header("Content-Type: application/json"),
        header("Content-Type: text/plain\r\nContent-Type: text/plain"),
        header("Content-Disposition: form-data; name=\"b\""),
        header(" ; name=\"b\""),
        header("X: a\rContent-Disposition: form-data; name=\"b\""),
        header("no colon"),
        header(&format!("X: {}", "a".repeat(5000))),
        whole(&vec![part("name=\"a[]\"", "1"); 65]),
        whole(&[part("name=\"a\"", &"1".repeat(300_000))]),
    ] {
        assert!(parse(&bad).is_err(), "{}", bad.get(..200).unwrap_or(&bad));
    }
    let mut bytes = whole(&[part("name=\"a\"", "?")]).into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=xYzZy").unwrap();
    assert!(Form::parse(&Bytes::from(bytes), &boundary).is_err(), "a field is UTF-8");
    for good in [
        "Content-Type: text/plain; charset=UTF-8",
        "Content-Transfer-Encoding: 8bit",
        "Content-Length: 1",
    ] {
        assert!(parse(&header(good)).is_ok(), "{good}");
    }
}

#[test]
fn a_content_type_announces_a_form_with_one_boundary() {
    for (value, good) in [
        ("multipart/form-data; boundary=a", true),
        ("multipart/form-data;boundary=\"a:b\"", true),
        ("multipart/form-data", false),
        ("multipart/form-data;", false),
        ("multipart/form-data; boundary=", false),
        ("multipart/form-data; boundary=a; boundary=b", false),
        ("multipart/form-data; boundary=a; Boundary=b", false),
        ("multipart/form-data; boundary=\"a b\"", false),
        ("multipart/form-data; boundary=\"a\\\"b\"", false),
        ("multipart/mixed; boundary=a", false),
        ("application/json; boundary=a", false),
    ] {
        assert_eq!(Boundary::of_content_type(value).is_some(), good, "{value}");
    }
    assert!(Boundary::of_content_type(&format!("multipart/form-data; boundary={}", "a".repeat(70))).is_some());
    assert!(Boundary::of_content_type(&format!("multipart/form-data; boundary={}", "a".repeat(71))).is_none());
}

#[test]
fn a_field_is_set_where_it_stood_and_never_cut_in_two() {
    let mut form = parse(&whole(&[
        part("name=\"a\"", "1"),
        part("name=\"l[]\"", "1"),
        part("name=\"b\"", "2"),
        part("name=\"l[]\"", "3"),
    ]))
    .unwrap();
    form.set("l[]", vec!["x".into(), "y".into()]).unwrap();
    form.set("c", vec!["z".into()]).unwrap();
    assert!(form.remove("a").unwrap() && !form.remove("a").unwrap());
    let seen: Vec<_> = form
        .parts()
        .iter()
        .map(|part| (&*part.name, part.text().to_owned()))
        .collect();
    assert_eq!(
        seen,
        [
            ("l[]", "x".to_owned()),
            ("l[]", "y".into()),
            ("b", "2".into()),
            ("c", "z".into())
        ]
    );
    assert!(form.set("C", vec!["1".into()]).is_err());
    assert!(form.set("prompt", vec![format!("a\r\n--{B}--")]).is_err());
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_again_as_it_was(
        fields in proptest::collection::btree_map("[a-c]{1,3}", "\\PC{0,20}", 0..6),
        file in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let boundary = Boundary::of_content_type("multipart/form-data; boundary=0aB-1").unwrap();
        let mut form = Form::empty(boundary.clone());
        for (name, value) in &fields {
            form.set(name, vec![value.clone()]).unwrap();
        }
        let named = File { name: "x.wav".into(), content_type: "audio/wav".into() };
        form.parts.push(Part { name: "file".into(), file: Some(named.clone()), value: file.clone().into() });
        let again = Form::parse(&form.render().concat().into(), &boundary).unwrap();
        prop_assert_eq!(again.parts().len(), fields.len() + 1);
        for (name, value) in &fields {
            prop_assert_eq!(again.get(name).unwrap().unwrap().text(), value);
        }
        let read = again.get("file").unwrap().unwrap();
        prop_assert_eq!((read.file.as_ref(), &read.value[..]), (Some(&named), &file[..]));
    }

    #[test]
    fn no_body_panics(body in proptest::collection::vec(prop_oneof![Just(b"--b".to_vec()), Just(b"\r\n".to_vec()), Just(b"Content-Disposition: form-data; name=\"a\"".to_vec()), proptest::collection::vec(any::<u8>(), 0..4)], 0..12)) {
        let boundary = Boundary::of_content_type("multipart/form-data; boundary=b").unwrap();
        let _ = Form::parse(&body.concat().into(), &boundary);
    }
}
