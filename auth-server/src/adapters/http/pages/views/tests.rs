//! Every page in every language, with friendly and with hostile values, against its snapshot and the rules for pages.

mod contrast;
mod rules;
mod samples;

use std::collections::BTreeSet;

use super::{words::DeviceKind, *};
use samples::{Sample, all};

/// The hash of the style sheet changes with every touch of it; the snapshots shall not.
fn steady(html: &str) -> String {
    let mut parts = html.split("?v=");
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        steady.push_str("?v=HASH");
        steady.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    steady
}

#[test]
fn every_page_looks_as_its_snapshot_says() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for Sample { name, html } in all() {
            insta::assert_snapshot!(name, steady(&html));
        }
    });
    let wanted: BTreeSet<String> = all()
        .into_iter()
        .map(|sample| format!("{}.snap", sample.name))
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/adapters/http/pages/views/snapshots");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, wanted, "a snapshot that no page refers to");
}

#[test]
fn every_control_that_scripts_rely_on_is_there_once() {
    let expected: &[(&str, &[&str])] = &[
        ("login", &["username", "password", "login-submit", "login-cancel"]),
        ("consent", &["consent-allow", "consent-deny"]),
        ("device_code", &["user-code", "device-submit"]),
        ("device_ask", &["device-allow", "device-deny"]),
        ("device_done", &["device-done"]),
        ("approve_ask", &["approve-allow", "approve-deny"]),
        ("approve_done", &["approve-done"]),
        ("logout_", &["logout-confirm", "logout-cancel"]),
        ("logged_out", &["logged-out"]),
        ("error", &["oauth-error"]),
    ];
    for Sample { name, html } in all() {
        for (page, ids) in expected {
            for id in *ids {
                let count = html.matches(&format!(" id=\"{id}\"")).count();
                assert_eq!(count, usize::from(name.starts_with(page)), "#{id} on {name}");
            }
        }
        for button in html.split("<button").skip(1) {
            assert!(button.split('>').next().unwrap().contains(" type=\"submit\""), "{name}");
        }
    }
}

#[test]
fn only_the_login_page_says_sign_in() {
    // Conformance scripts tell the two steps apart by this heading (and people do, too).
    for Sample { name, html } in all() {
        assert_eq!(
            html.contains("<h1>Sign in</h1>"),
            name.starts_with("login") && name.ends_with("_en"),
            "{name}"
        );
        if !name.starts_with("login") {
            assert!(!html.contains("Sign in"), "{name}");
        }
    }
}

#[test]
fn the_error_element_holds_code_and_sentence_in_english_whatever_the_language() {
    for Sample { name, html } in all()
        .into_iter()
        .filter(|sample| sample.name.starts_with("error_bad_request"))
    {
        let element = html
            .split("<div id=\"oauth-error\"")
            .nth(1)
            .unwrap()
            .split("</div>")
            .next()
            .unwrap();
        assert!(element.contains(">invalid_request</code>"), "{name}");
        assert!(
            element.contains("The redirect_uri is not registered for this client."),
            "{name}"
        );
    }
}

#[test]
fn a_logo_is_shown_only_when_there_is_one_and_never_tells_where_it_is_shown() {
    for Sample { name, html } in all() {
        for image in html.split("<img ").skip(1).map(|rest| rest.split('>').next().unwrap()) {
            let ours = image.contains("/assets/mark.svg?v=");
            assert!(
                ours || image.contains(" referrerpolicy=\"no-referrer\""),
                "{name}: {image}"
            );
        }
    }
    let bare = samples::named("login_plain_en");
    assert_eq!(bare.matches("<img ").count(), 1, "only our own mark");
}

#[test]
fn the_form_post_page_has_one_form_one_button_and_one_script() {
    let html = samples::named("form_post_en");
    assert_eq!(html.matches("<form ").count(), 1);
    assert_eq!(html.matches("<button ").count(), 1);
    assert_eq!(html.matches("<script nonce=\"c2FtcGxlLW5vbmNl\">").count(), 1);
    assert!(!html.contains(" target="));
    assert!(html.contains("<form method=\"post\" action=\"https://photos.example/cb?tenant=a&#38;b=c\">"));
}

#[test]
fn addresses_that_could_run_here_become_no_links() {
    for bad in [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "ftp://a/b",
        "//a/b",
        "a",
        "",
        "https://",
    ] {
        let app = App::new("x")
            .logo(Some(bad.to_owned()))
            .website(Some(bad))
            .policy(Some(bad))
            .terms(Some(bad));
        assert!(app.logo.is_none() && !app.has_links(), "{bad}");
        assert!(BackLink::new("x", bad).is_none(), "{bad}");
    }
    assert!(App::new("x").policy(Some("http://127.0.0.1:8080/policy")).has_links());
}

#[test]
fn names_cannot_turn_the_text_around_or_fill_the_screen() {
    assert_eq!(App::new("\u{202e}elgooG\u{202c}").name, "elgooG");
    assert_eq!(App::new("a\r\n\tb\u{0}\u{7}  c ").name, "a b c");
    assert_eq!(App::new("\u{200b}\u{2066}").monogram, "?");
    assert_eq!(App::new("«photo»").monogram, "P");
    assert_eq!(App::new(&"é".repeat(500)).name.chars().count(), 121);
    assert_eq!(Person::new(Some(" \u{200b} "), "alice").name, "alice");
}

#[test]
fn scopes_are_put_into_words_and_unknown_ones_are_not_guessed() {
    let texts = samples::texts(Lang::En);
    let line = |scope: &str| ScopeLine::new(&texts, scope);
    assert_eq!(line("openid").title, "Know who you are");
    assert_eq!(line("ai:chat").title, "Chat with AI models");
    assert_eq!(line("ai:chat").interface, None);
    assert_eq!(line("ai:chat:gpt-x").interface.as_deref(), Some("gpt-x"));
    assert_eq!(line("ai:chat:a:b").interface.as_deref(), Some("a:b"));
    assert_eq!(line("ai:dream").title, "Use the AI service “dream”");
    for unknown in ["read:photos", "ai:", "Openid", "ai"] {
        assert!(line(unknown).verbatim && line(unknown).title == unknown, "{unknown}");
    }
    for capability in oauth_wire::AI_CAPABILITIES {
        assert!(
            !line(&format!("ai:{capability}"))
                .title
                .contains(&format!("“{capability}”")),
            "{capability}"
        );
    }
}

#[test]
fn times_read_as_people_say_them() {
    let (en, zh) = (samples::texts(Lang::En), samples::texts(Lang::Zh));
    let at = 1_900_000_000; // 2030-03-17T17:46:40Z
    assert_eq!(Moment::on(&en, at).text, "17 Mar 2030, 17:46 UTC");
    assert_eq!(Moment::on(&zh, at).text, "2030年3月17日 17:46 UTC");
    assert_eq!(Moment::on(&en, at).iso, "2030-03-17T17:46:40Z");
    for (later, text) in [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3_599, "59 minutes ago"),
        (3_600, "1 hour ago"),
        (172_800, "2 days ago"),
        (2_592_000, "17 Mar 2030, 17:46 UTC"),
    ] {
        assert_eq!(Moment::ago(&en, at, at + later).text, text);
    }
    assert_eq!(Moment::on(&en, i64::MAX).iso, "1970-01-01T00:00:00Z");
}

#[test]
fn waits_are_told_in_seconds_then_in_minutes() {
    use askama::Template as _;
    let text = |seconds| {
        let mut page = samples::login(Lang::En);
        page.problem = Some(LoginProblem::Throttled { seconds });
        page.render().unwrap()
    };
    for (seconds, words) in [
        (0, "wait 1 second,"),
        (1, "wait 1 second,"),
        (120, "wait 120 seconds,"),
        (121, "wait 3 minutes,"),
        (3_600, "wait 60 minutes,"),
    ] {
        assert!(text(seconds).contains(words), "{seconds}");
    }
}

#[test]
fn devices_are_told_by_their_user_agent() {
    let texts = samples::texts(Lang::En);
    let cases = [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0",
            "Edge on Windows",
            DeviceKind::Desktop,
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Firefox on Linux",
            DeviceKind::Desktop,
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
            "Safari on macOS",
            DeviceKind::Desktop,
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0 Mobile/15E148 Safari/604.1",
            "Chrome on iPhone",
            DeviceKind::Mobile,
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Mobile Safari/537.36",
            "Chrome on Android",
            DeviceKind::Mobile,
        ),
        ("curl/8.5.0", "curl", DeviceKind::Unknown),
        ("<script>alert(1)</script>", "Unknown device", DeviceKind::Unknown),
        ("", "Unknown device", DeviceKind::Unknown),
    ];
    for (user_agent, name, kind) in cases {
        let device = Device::from_user_agent(&texts, Some(user_agent));
        assert_eq!((device.name.as_str(), device.kind), (name, kind));
    }
}
