//! How often a password may be guessed: one counter for every door.

use crate::app::{ALICE, BOB, Browser, CONSOLE, TestApp};

async fn guess(app: &TestApp) -> u16 {
    app.password(CONSOLE, ALICE.name, "wrong").await.status
}

async fn guess_at_the_page(browser: &mut Browser<'_>) -> u16 {
    let login = browser.get("/login").await;
    browser.sign_in_as(&login, ALICE.name, "wrong").await.status
}

#[tokio::test]
async fn the_tenth_attempt_is_looked_at_and_the_eleventh_is_not() {
    let app = TestApp::start().await;
    for _ in 0..9 {
        assert_eq!(guess(&app).await, 400);
    }
    app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
    for _ in 0..10 {
        assert_eq!(guess(&app).await, 400, "a success forgets the attempts");
    }
    let reply = app.password(CONSOLE, ALICE.name, ALICE.password).await;
    let seconds: u64 = reply
        .header("retry-after")
        .unwrap_or_default()
        .parse()
        .unwrap_or_default();
    assert!((900..=901).contains(&seconds), "until the window ends, not {seconds}");
    reply.expect_oauth_error(429, "slow_down");
}

#[tokio::test]
async fn the_page_counts_its_attempts_alike() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for _ in 0..10 {
        assert_eq!(guess_at_the_page(&mut browser).await, 400);
    }
    let login = browser.get("/login").await;
    let page = browser.sign_in(&login, ALICE).await.expect_html(429);
    assert!(page.has("id=\"login-problem\""));
}

#[tokio::test]
async fn both_doors_share_the_counter() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for _ in 0..5 {
        assert_eq!(guess(&app).await, 400);
        assert_eq!(guess_at_the_page(&mut browser).await, 400);
    }
    assert_eq!(guess(&app).await, 429);
    assert_eq!(guess_at_the_page(&mut browser).await, 429);
}

#[tokio::test]
async fn spellings_of_one_name_share_the_counter() {
    let app = TestApp::start().await;
    for (n, name) in ["alice", "ALICE", " Alice ", "aLiCe"]
        .iter()
        .cycle()
        .take(11)
        .enumerate()
    {
        let status = app.password(CONSOLE, name, "wrong").await.status;
        assert_eq!(status, if n < 10 { 400 } else { 429 }, "attempt {}", n + 1);
    }
}

#[tokio::test]
async fn an_unknown_name_is_throttled_as_a_known_one_is() {
    let app = TestApp::start().await;
    for _ in 0..10 {
        assert_eq!(app.password(CONSOLE, "nobody-of-that-name", "x").await.status, 400);
    }
    assert_eq!(app.password(CONSOLE, "nobody-of-that-name", "x").await.status, 429);
}

#[tokio::test]
async fn another_account_is_not_affected() {
    let app = TestApp::start().await;
    for _ in 0..11 {
        guess(&app).await;
    }
    app.password(CONSOLE, BOB.name, BOB.password).await.expect_tokens();
}

#[tokio::test]
async fn the_window_ends_after_its_length_and_guessing_on_does_not_prolong_it() {
    let app = TestApp::start().await;
    for _ in 0..11 {
        guess(&app).await;
    }
    app.advance(899);
    assert_eq!(guess(&app).await, 429);
    app.advance(1);
    app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
}

#[tokio::test]
async fn a_device_that_signed_in_before_keeps_its_owner_in() {
    let app = TestApp::start().await;
    let mut owner = app.signed_in(ALICE).await;
    for _ in 0..11 {
        guess(&app).await;
    }
    // A stranger's browser is throttled, the owner's is not.
    assert_eq!(guess_at_the_page(&mut app.browser()).await, 429);
    let login = owner.get("/login").await;
    owner.sign_in(&login, ALICE).await.expect_page("account");
}

#[tokio::test]
async fn a_known_device_has_a_limit_of_its_own() {
    let app = TestApp::start().await;
    let mut thief = app.signed_in(ALICE).await;
    for _ in 0..10 {
        assert_eq!(guess_at_the_page(&mut thief).await, 400);
    }
    assert_eq!(guess_at_the_page(&mut thief).await, 429);
    app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
}

#[tokio::test]
async fn a_device_cookie_for_another_account_or_a_forged_one_does_not_help() {
    let app = TestApp::start().await;
    let bobs = app.signed_in(BOB).await;
    for _ in 0..11 {
        guess(&app).await;
    }
    let mut browser = app.browser();
    browser
        .cookies
        .insert("hexgate_device".into(), bobs.cookies["hexgate_device"].clone());
    assert_eq!(guess_at_the_page(&mut browser).await, 429);
    browser
        .cookies
        .insert("hexgate_device".into(), format!("{}x", bobs.cookies["hexgate_device"]));
    assert_eq!(guess_at_the_page(&mut browser).await, 429);
}

#[tokio::test]
async fn an_exempt_name_is_never_throttled() {
    let app = TestApp::builder()
        .config(|config| config.login.throttle_exempt = vec!["Alice".into()])
        .start()
        .await;
    for _ in 0..15 {
        assert_eq!(guess(&app).await, 400);
    }
    app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
}
