//! Sample data: each page as most people see it, its rarer states, and with values by someone who means harm.

use std::sync::Arc;

use oauth_wire::{AiCall, Cost};

use super::super::*;
use crate::adapters::http::pages::texts::{Catalogue, Lang, Texts};

/// Markup, quotes, template syntax, a change of direction, and no place to break the line.
const HOSTILE: &str = "\"><script>alert('x')</script>{{ 7*7 }}\u{202e}gnp.exe' onmouseover='alert(1)' WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW";
const NOW: i64 = 1_900_000_000;

pub(super) struct Sample {
    pub(super) name: String,
    pub(super) html: String,
}

pub(super) fn texts(lang: Lang) -> Arc<Texts> {
    Catalogue::builtin().unwrap().texts(lang)
}

pub(super) fn named(name: &str) -> String {
    all()
        .into_iter()
        .find(|sample| sample.name == name)
        .expect("a sample of that name")
        .html
}

/// Puts one page under its name and language.
type Add<'a> = dyn FnMut(&str, &dyn askama::DynTemplate) + 'a;

pub(super) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    for (lang, suffix) in Lang::ALL.into_iter().zip(["en", "zh"]) {
        let mut add = |name: &str, page: &dyn askama::DynTemplate| {
            samples.push(Sample {
                name: format!("{name}_{suffix}"),
                html: page.dyn_render().unwrap(),
            });
        };
        add_entry(lang, &mut add);
        add_exit(lang, &mut add);
        add_overview(lang, &mut add);
    }
    samples
}

fn add_entry(lang: Lang, add: &mut Add<'_>) {
    let problem = |problem| LoginPage {
        problem: Some(problem),
        ..login(lang)
    };
    add("login_app", &login(lang));
    add(
        "login_plain",
        &LoginPage {
            app: None,
            request: None,
            username: String::new(),
            ..login(lang)
        },
    );
    add("login_wrong", &problem(LoginProblem::WrongCredentials));
    add("login_throttled", &problem(LoginProblem::Throttled { seconds: 30 }));
    add("login_expired", &problem(LoginProblem::FormExpired));
    add("login_busy", &problem(LoginProblem::Busy));
    add(
        "login_again",
        &LoginPage {
            purpose: LoginPurpose::ProveAgain,
            ..login(lang)
        },
    );
    add("login_hostile", &hostile_login(lang));
    add("consent_first", &consent(lang));
    add("consent_more", &consent_for_more(lang));
    add("consent_detail", &consent_in_detail(lang));
    add(
        "consent_detail_wrong",
        &ConsentPage {
            choice_is_wrong: true,
            ..consent_in_detail(lang)
        },
    );
    add("consent_hostile", &hostile_consent(lang));
    add_device(lang, add);
    add_approve(lang, add);
    add("form_post", &form_post(lang));
    let hostile = FormPostPage {
        action: "https://photos.example/?\"><script>".to_owned(),
        fields: vec![
            ("state".to_owned(), HOSTILE.to_owned()),
            (HOSTILE.to_owned(), String::new()),
        ],
        redirect_host: HOSTILE.to_owned(),
        nonce: "\"><script>".to_owned(),
        ..form_post(lang)
    };
    add("form_post_hostile", &hostile);
}

fn add_device(lang: Lang, add: &mut Add<'_>) {
    let problem = |problem| DevicePage {
        user_code: "WDJB-MJHT".to_owned(),
        problem: Some(problem),
        ..device(lang)
    };
    add("device_code_empty", &device(lang));
    add("device_code_unknown", &problem(DeviceProblem::Unknown));
    add(
        "device_code_throttled",
        &problem(DeviceProblem::Throttled { seconds: 300 }),
    );
    add("device_code_expired", &problem(DeviceProblem::FormExpired));
    add("device_code_gone", &problem(DeviceProblem::Gone));
    let hostile = DevicePage {
        user_code: HOSTILE.to_owned(),
        ..device(lang)
    };
    add("device_code_hostile", &hostile);
    add("device_ask", &device_consent(lang));
    let hostile = DeviceConsentPage {
        app: App::new(HOSTILE),
        user: Person::new(Some(HOSTILE), HOSTILE),
        scopes: vec![ScopeLine::new(&texts(lang), HOSTILE)],
        calls: vec![CallLine::new(
            &texts(lang),
            0,
            &ai_call([HOSTILE, "\"x"], Some((HOSTILE, HOSTILE)), Some(i64::MAX)),
        )],
        user_code: HOSTILE.to_owned(),
        request: Some(HOSTILE.to_owned()),
        csrf: HOSTILE.to_owned(),
        ..device_consent(lang)
    };
    add("device_ask_hostile", &hostile);
    let detail = DeviceConsentPage {
        calls: vec![CallLine::new(
            &texts(lang),
            0,
            &ai_call(["support", "drafts"], Some(("5.00", "EUR")), Some(NOW)),
        )],
        choice_is_wrong: true,
        ..device_consent(lang)
    };
    add("device_ask_detail", &detail);
    for (name, outcome) in [
        ("device_done_allowed", DeviceOutcome::Allowed),
        ("device_done_denied", DeviceOutcome::Denied),
    ] {
        let page = page(lang);
        add(name, &DeviceDonePage { page, outcome });
    }
}

fn add_approve(lang: Lang, add: &mut Add<'_>) {
    add("approve_ask", &approve(lang));
    let calls = [ai_call(["support", "drafts"], Some(("5.00", "EUR")), Some(NOW))];
    let detail = ApprovePage {
        message: None,
        calls: vec![CallLine::new(&texts(lang), 0, &calls[0])],
        choice_is_wrong: true,
        ..approve(lang)
    };
    add("approve_ask_detail", &detail);
    let hostile = ApprovePage {
        app: hostile_app(),
        user: Person::new(Some(HOSTILE), HOSTILE),
        message: Some(HOSTILE.to_owned()),
        scopes: vec![ScopeLine::new(&texts(lang), HOSTILE)],
        request: Some(HOSTILE.to_owned()),
        csrf: HOSTILE.to_owned(),
        ..approve(lang)
    };
    add("approve_ask_hostile", &hostile);
    for (name, outcome) in [
        ("approve_done_allowed", ApproveOutcome::Allowed),
        ("approve_done_denied", ApproveOutcome::Denied),
    ] {
        let page = page(lang);
        add(name, &ApproveDonePage { page, outcome });
    }
}

fn approve(lang: Lang) -> ApprovePage {
    let page = page(lang);
    ApprovePage {
        app: photos(),
        user: alice(),
        message: Some("Counter 3, 12.50 EUR".to_owned()),
        requested: Moment::ago(&page.t, NOW - 70, NOW),
        scopes: scopes(&page.t, "openid profile ai:chat"),
        calls: Vec::new(),
        choice_is_wrong: false,
        request: Some("sample-request".to_owned()),
        csrf: "sample-csrf".to_owned(),
        page,
    }
}

fn device(lang: Lang) -> DevicePage {
    DevicePage {
        page: page(lang),
        user_code: String::new(),
        problem: None,
        csrf: "sample-csrf".to_owned(),
    }
}

fn device_consent(lang: Lang) -> DeviceConsentPage {
    DeviceConsentPage {
        page: page(lang),
        app: photos(),
        user: alice(),
        scopes: ["openid", "profile", "ai:chat"]
            .map(|scope| ScopeLine::new(&texts(lang), scope))
            .into(),
        calls: Vec::new(),
        choice_is_wrong: false,
        user_code: "WDJB-MJHT".to_owned(),
        request: Some("sample-request".to_owned()),
        csrf: "sample-csrf".to_owned(),
    }
}

fn add_exit(lang: Lang, add: &mut Add<'_>) {
    for (name, kind, code, sentence) in ERRORS {
        add(name, &error(lang, kind, code, sentence));
    }
    let hostile = error(lang, ErrorKind::BadRequest, HOSTILE, HOSTILE);
    add(
        "error_hostile",
        &ErrorPage {
            request_id: HOSTILE.to_owned(),
            ..hostile
        },
    );
    add("logout_plain", &logout(lang));
    add(
        "logout_asked",
        &LogoutPage {
            app_name: Some(photos().name),
            ..logout(lang)
        },
    );
    let hostile = LogoutPage {
        user: Some(Person::new(Some(HOSTILE), HOSTILE)),
        app_name: Some(HOSTILE.to_owned()),
        request: Some(HOSTILE.to_owned()),
        ..logout(lang)
    };
    add("logout_hostile", &hostile);
    add(
        "logged_out_plain",
        &LoggedOutPage {
            page: page(lang),
            back: None,
            frames: vec![],
            onwards: None,
        },
    );
    let back = BackLink::new("Photo Print", "https://photos.example/bye?a=1&b=\"2\"");
    let ended = |back, frames: &[&str], onwards| LoggedOutPage {
        page: page(lang),
        back,
        frames: frames.iter().map(|frame| (*frame).to_owned()).collect(),
        onwards,
    };
    add("logged_out_back", &ended(back, &[], None));
    let frames = [
        "https://photos.example/out",
        "https://mail.example/out?iss=https%3A%2F%2Fop.example&sid=s1",
    ];
    add("logged_out_frames", &ended(None, &frames, None));
    let onwards = |name, href: &str| Some(Onwards::new(name, href.to_owned(), "n0nce".into()));
    let next = onwards("Photo Print", "https://photos.example/bye?state=a%26b");
    add("logged_out_onwards", &ended(None, &frames, next));
    let next = onwards(HOSTILE, "https://photos.example/\"><script>alert(1)</script>");
    add(
        "logged_out_hostile",
        &ended(None, &["https://x.example/\"><script>alert(1)</script>"], next),
    );
}

fn add_overview(lang: Lang, add: &mut Add<'_>) {
    add("account_full", &account(lang));
    add("account_empty", &empty_account(lang));
    add("account_hostile", &hostile_account(lang));
    let t = texts(lang);
    let asking = AskingApp {
        app: photos(),
        message: Some("Counter 3, 12.50 EUR".to_owned()),
        requested: Moment::ago(&t, NOW - 70, NOW),
        request: "sample-request".to_owned(),
    };
    let hostile = AskingApp {
        app: hostile_app(),
        message: Some(HOSTILE.to_owned()),
        request: HOSTILE.to_owned(),
        ..asking.clone()
    };
    let mute = AskingApp {
        message: None,
        ..asking.clone()
    };
    let asked = AccountPage {
        asking: vec![asking, mute, hostile],
        flash: Some(Flash::RequestGone),
        ..empty_account(lang)
    };
    add("account_asked", &asked);
    add("home_stranger", &home(lang));
    add(
        "home_known",
        &HomePage {
            user: Some(alice()),
            ..home(lang)
        },
    );
    let hostile = HomePage {
        user: Some(Person::new(Some(HOSTILE), HOSTILE)),
        issuer: HOSTILE.to_owned(),
        page: Page {
            base: "/auth\"><script>".to_owned(),
            ..page(lang)
        },
    };
    add("home_hostile", &hostile);
}

const ERRORS: [(&str, ErrorKind, &str, &str); 6] = [
    (
        "error_bad_request",
        ErrorKind::BadRequest,
        "invalid_request",
        "The redirect_uri is not registered for this client.",
    ),
    (
        "error_not_found",
        ErrorKind::NotFound,
        "not_found",
        "There is no page at this address.",
    ),
    (
        "error_method",
        ErrorKind::MethodNotAllowed,
        "method_not_allowed",
        "This address does not answer DELETE.",
    ),
    (
        "error_too_many",
        ErrorKind::TooManyRequests,
        "temporarily_unavailable",
        "Too many requests.",
    ),
    (
        "error_internal",
        ErrorKind::Internal,
        "server_error",
        "The request could not be processed.",
    ),
    (
        "error_unavailable",
        ErrorKind::Unavailable,
        "temporarily_unavailable",
        "The service is not available.",
    ),
];

fn page(lang: Lang) -> Page {
    Page::new(&Catalogue::builtin().unwrap(), lang, "")
}

fn alice() -> Person {
    Person::new(Some("Alice Liddell"), "alice")
}

fn photos() -> App {
    App::new("Photo Print")
        .logo(Some("/client-logo/photos".to_owned()))
        .website(Some("https://photos.example"))
        .policy(Some("https://photos.example/privacy"))
        .terms(Some("https://photos.example/terms?lang=en&v=2"))
}

fn hostile_app() -> App {
    App::new(HOSTILE)
        .logo(Some("/client-logo/\"onerror=\"alert(1)".to_owned()))
        .website(Some("javascript:alert(1)"))
        .policy(Some("https://evil.example/'><script>alert(1)</script>"))
        .terms(Some("data:text/html,<script>alert(1)</script>"))
}

fn scopes(texts: &Texts, list: &str) -> Vec<ScopeLine> {
    list.split(' ').map(|scope| ScopeLine::new(texts, scope)).collect()
}

pub(super) fn login(lang: Lang) -> LoginPage {
    LoginPage {
        page: page(lang),
        app: Some(photos()),
        purpose: LoginPurpose::SignIn,
        username: "alice".to_owned(),
        problem: None,
        request: Some("req-7Zk2".to_owned()),
        csrf: "sample-csrf".to_owned(),
    }
}

fn hostile_login(lang: Lang) -> LoginPage {
    LoginPage {
        app: Some(hostile_app()),
        username: HOSTILE.to_owned(),
        problem: Some(LoginProblem::WrongCredentials),
        request: Some(HOSTILE.to_owned()),
        csrf: HOSTILE.to_owned(),
        ..login(lang)
    }
}

fn consent(lang: Lang) -> ConsentPage {
    let page = page(lang);
    ConsentPage {
        app: photos(),
        user: alice(),
        scopes: scopes(
            &page.t,
            "openid profile email offline_access ai:chat ai:embeddings:docs-search",
        )
        .into_iter()
        .map(ScopeLine::marked_new)
        .collect(),
        calls: Vec::new(),
        choice_is_wrong: false,
        redirect_host: "photos.example".to_owned(),
        identified_by: None,
        unproven: false,
        request: Some("req-7Zk2".to_owned()),
        csrf: "sample-csrf".to_owned(),
        page,
    }
}

fn consent_for_more(lang: Lang) -> ConsentPage {
    let page = page(lang);
    let mut lines = scopes(&page.t, "ai:image ai:dream read:photos");
    lines = lines.into_iter().map(ScopeLine::marked_new).collect();
    lines.extend(scopes(&page.t, "openid phone address admin"));
    lines.extend(ScopeLine::of_claims(
        &page.t,
        ["birthdate", "email", "name"].into_iter(),
    ));
    ConsentPage {
        scopes: lines,
        app: App::new("记事本 Notes"),
        user: Person::new(None, "bob@example.com"),
        identified_by: Some("https://notes.example/client.json".to_owned()),
        unproven: true,
        page,
        ..consent(lang)
    }
}

fn ai_call<const N: usize>(interfaces: [&str; N], cost: Option<(&str, &str)>, expires_at: Option<i64>) -> AiCall {
    AiCall {
        interfaces: interfaces.map(str::to_owned).into(),
        max_cost: cost.map(|(amount, currency)| Cost {
            amount: amount.to_owned(),
            currency: currency.to_owned(),
        }),
        expires_at,
    }
}

/// AI calls in detail, some within limits.
fn consent_in_detail(lang: Lang) -> ConsentPage {
    let page = page(lang);
    let calls = [
        ai_call(["chat", "docs-search"], Some(("5.00", "EUR")), Some(NOW + 86_400)),
        ai_call(["drafts"], None, None),
    ];
    let calls = calls.iter().enumerate();
    ConsentPage {
        scopes: scopes(&page.t, "openid ai:chat ai:embeddings"),
        calls: calls
            .map(|(number, call)| CallLine::new(&page.t, number, call))
            .collect(),
        page,
        ..consent(lang)
    }
}

fn hostile_consent(lang: Lang) -> ConsentPage {
    let page = page(lang);
    ConsentPage {
        app: hostile_app(),
        user: Person::new(Some(HOSTILE), HOSTILE),
        scopes: [HOSTILE, "ai:<b>x</b>:\"y\"", "ai:chat:<img src=x onerror=alert(1)>"]
            .map(|scope| ScopeLine::new(&page.t, scope).marked_new())
            .to_vec(),
        calls: vec![CallLine::new(
            &page.t,
            0,
            &ai_call([HOSTILE, "\"x"], Some((HOSTILE, HOSTILE)), Some(i64::MAX)),
        )],
        choice_is_wrong: false,
        redirect_host: HOSTILE.to_owned(),
        identified_by: Some(HOSTILE.to_owned()),
        unproven: true,
        request: Some(HOSTILE.to_owned()),
        csrf: HOSTILE.to_owned(),
        page,
    }
}

fn error(lang: Lang, kind: ErrorKind, code: &'static str, sentence: &str) -> ErrorPage {
    ErrorPage {
        page: page(lang),
        kind,
        code,
        sentence: sentence.to_owned(),
        request_id: "0193a6f2-7c1e-7b54-9d60-2f4b8f3f9a11".to_owned(),
    }
}

fn logout(lang: Lang) -> LogoutPage {
    LogoutPage {
        page: page(lang),
        user: Some(alice()),
        app_name: None,
        request: None,
        csrf: "sample-csrf".to_owned(),
    }
}

fn account(lang: Lang) -> AccountPage {
    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";
    const IPHONE: &str =
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1";
    let page = page(lang);
    let t = Arc::clone(&page.t);
    let session = |id: &str, user_agent, seen, current| SessionRow {
        id: id.to_owned(),
        device: Device::from_user_agent(&t, user_agent),
        address: Some("203.0.113.7".to_owned()),
        signed_in: Moment::on(&t, NOW - 400_000),
        last_seen: Moment::ago(&t, NOW - seen, NOW),
        current,
    };
    AccountPage {
        user: alice(),
        profile: Profile {
            email: Some(Contact {
                value: "alice@example.com".to_owned(),
                verified: true,
            }),
            phone: Some(Contact {
                value: "+1 (555) 555-0100".to_owned(),
                verified: false,
            }),
        },
        asking: Vec::new(),
        sessions: vec![
            session("s-1", Some(FIREFOX), 5, true),
            session("s-2", Some(IPHONE), 7_400, false),
            SessionRow {
                address: None,
                ..session("s-3", None, 250_000, false)
            },
        ],
        apps: vec![
            ConnectedApp {
                client_id: "photos".to_owned(),
                app: photos(),
                scopes: scopes(&t, "openid profile email offline_access ai:chat"),
                granted: Moment::on(&t, NOW - 5_000_000),
            },
            ConnectedApp {
                client_id: "notes".to_owned(),
                app: App::new("记事本 Notes"),
                scopes: scopes(&t, "openid ai:embeddings:docs-search read:notes"),
                granted: Moment::on(&t, NOW - 90_000_000),
            },
        ],
        flash: Some(Flash::SessionEnded),
        csrf: "sample-csrf".to_owned(),
        page,
    }
}

fn empty_account(lang: Lang) -> AccountPage {
    let full = account(lang);
    AccountPage {
        sessions: full.sessions.iter().take(1).cloned().collect(),
        apps: Vec::new(),
        profile: Profile::default(),
        user: Person::new(None, "bob"),
        flash: Some(Flash::FormExpired),
        ..full
    }
}

fn hostile_account(lang: Lang) -> AccountPage {
    let full = account(lang);
    let t = Arc::clone(&full.page.t);
    AccountPage {
        user: Person::new(Some(HOSTILE), HOSTILE),
        profile: Profile {
            email: Some(Contact {
                value: HOSTILE.to_owned(),
                verified: false,
            }),
            phone: Some(Contact {
                value: HOSTILE.to_owned(),
                verified: true,
            }),
        },
        sessions: vec![SessionRow {
            id: HOSTILE.to_owned(),
            device: Device::from_user_agent(&t, Some(HOSTILE)),
            address: Some(HOSTILE.to_owned()),
            signed_in: Moment::on(&t, i64::MIN),
            last_seen: Moment::ago(&t, i64::MIN, NOW),
            current: false,
        }],
        apps: vec![ConnectedApp {
            client_id: HOSTILE.to_owned(),
            app: hostile_app(),
            scopes: vec![
                ScopeLine::new(&t, HOSTILE),
                ScopeLine::new(&t, "ai:chat:<img src=x onerror=alert(1)>"),
            ],
            granted: Moment::on(&t, NOW),
        }],
        flash: None,
        csrf: HOSTILE.to_owned(),
        ..full
    }
}

fn form_post(lang: Lang) -> FormPostPage {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    FormPostPage {
        page: page(lang),
        action: "https://photos.example/cb?tenant=a&b=c".to_owned(),
        fields: vec![
            field("code", "abc.def"),
            field("state", "s t&a\"te"),
            field("iss", "https://login.example"),
        ],
        redirect_host: "photos.example".to_owned(),
        nonce: "c2FtcGxlLW5vbmNl".to_owned(),
    }
}

fn home(lang: Lang) -> HomePage {
    HomePage {
        page: page(lang),
        issuer: "https://login.example".to_owned(),
        user: None,
    }
}
