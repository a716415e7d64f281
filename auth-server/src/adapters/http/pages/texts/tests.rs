use super::*;

/// Every dotted key with its text.
fn keys(lang: Lang) -> Vec<(String, String)> {
    fn walk(path: &str, value: &toml::Value, found: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, inner) in table {
                    walk(&format!("{path}.{key}"), inner, found);
                }
            }
            toml::Value::Array(items) => {
                for (at, inner) in items.iter().enumerate() {
                    walk(&format!("{path}[{at}]"), inner, found);
                }
            }
            other => found.push((path.to_owned(), other.as_str().expect("texts are strings").to_owned())),
        }
    }
    let mut found = Vec::new();
    walk("", &toml::from_str(source(lang)).expect("valid TOML"), &mut found);
    found.sort();
    found
}

#[test]
fn every_language_has_exactly_the_keys_that_the_pages_use() {
    // `deny_unknown_fields` and the absence of defaults make a missing or left-over key an error here.
    Catalogue::builtin().expect("every file is complete");
    let names = |lang| keys(lang).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(names(Lang::En), names(Lang::Zh));
}

#[test]
fn no_text_is_empty_or_left_in_english() {
    let english = keys(Lang::En);
    for ((key, en), (_, zh)) in english.iter().zip(keys(Lang::Zh)) {
        assert_eq!(en.trim(), en, "{key}");
        assert_eq!(zh.trim(), zh, "{key}");
        assert!(
            zh.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)) || key == ".device.on",
            "{key}: {zh}"
        );
    }
}

#[test]
fn values_have_the_same_places_in_every_language() {
    let english = keys(Lang::En);
    for ((key, en), (_, zh)) in english.iter().zip(keys(Lang::Zh)) {
        for place in ["{}", "{day}", "{month}", "{year}", "{time}", "{browser}", "{system}"] {
            assert_eq!(en.matches(place).count(), zh.matches(place).count(), "{key}: {place}");
        }
    }
}

#[test]
fn texts_without_their_place_are_refused() {
    assert!(matches!(Phrase::try_from("no place".to_owned()), Err(BadText::NoPlace)));
    assert!(matches!(
        Phrase::try_from("{} and {}".to_owned()),
        Err(BadText::NoPlace)
    ));
    assert!(matches!(Phrase::try_from(" {} ".to_owned()), Err(BadText::Empty)));
    assert!(matches!(
        Text::try_from("stray {}".to_owned()),
        Err(BadText::StrayPlace)
    ));
    assert!(matches!(Text::try_from("  ".to_owned()), Err(BadText::Empty)));
}

#[test]
fn a_count_of_one_is_singular_in_english() {
    let texts = Catalogue::builtin().unwrap().texts(Lang::En);
    assert_eq!(texts.time.hours.with(1), "1 hour ago");
    assert_eq!(texts.time.hours.with(2), "2 hours ago");
}

#[test]
fn languages_are_negotiated_by_lookup() {
    let cases = [
        (None, None, Lang::En),
        (Some("zh"), None, Lang::Zh),
        (Some("zh-CN"), None, Lang::Zh),
        (Some("ZH-hans-cn"), None, Lang::Zh),
        (Some("zh-Hans-x-private"), None, Lang::Zh),
        (Some("zh-u-co-pinyin"), None, Lang::Zh),
        (Some("en-GB zh"), None, Lang::En),
        (Some("fr-CA fr zh en"), None, Lang::Zh),
        // Unknown locales are no error; the browser's wish counts then.
        (Some("fr xx-yy"), Some("zh-CN,zh;q=0.9,en;q=0.8"), Lang::Zh),
        (Some("en"), Some("zh"), Lang::En),
        (None, Some("zh-CN,zh;q=0.9,en;q=0.8"), Lang::Zh),
        (None, Some("en;q=0.5, zh;q=0.6"), Lang::Zh),
        (None, Some("zh;q=0, en;q=0.1"), Lang::En),
        (None, Some("zh;q=0"), Lang::En),
        (None, Some("*, zh;q=0.2"), Lang::Zh),
        (None, Some("fr"), Lang::En),
        // Nearly the tag is not the tag.
        (Some("zhx"), Some("english"), Lang::En),
        // Malformed items are skipped, not fatal.
        (None, Some(";;,zh;q=9,zh;x=1,zh;q=0.1234,,"), Lang::En),
        (None, Some("zh;q=1.0"), Lang::Zh),
        (Some(""), Some(""), Lang::En),
        (Some("-"), Some("-,--;q"), Lang::En),
    ];
    for (ui_locales, accept_language, expected) in cases {
        assert_eq!(
            Lang::negotiate(ui_locales, accept_language),
            expected,
            "{ui_locales:?} {accept_language:?}"
        );
    }
}
