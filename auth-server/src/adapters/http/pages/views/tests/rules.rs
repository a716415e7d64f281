//! What holds for every page whatever the values: nothing from outside becomes markup, nothing runs but what carries the
//! nonce, every label has its input.

use std::collections::BTreeSet;

use super::samples::{Sample, all};

/// One start tag, read as a browser reads it.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// All start tags. Our templates quote every value with `"` and escaping leaves no `<`, `>` or `"` inside one, so a value
/// that broke out would show up here as a tag or an attribute of its own.
fn tags(html: &str) -> Vec<Tag> {
    html.split('<')
        .skip(1)
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        .map(tag)
        .collect()
}

fn tag(rest: &str) -> Tag {
    let inside = rest.split('>').next().unwrap();
    let (name, mut rest) = inside
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((inside, ""));
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest == "/" {
            return Tag {
                name: name.trim_end_matches('/').to_owned(),
                attributes,
            };
        }
        let end = rest
            .find(|c: char| c == '=' || c.is_ascii_whitespace())
            .unwrap_or(rest.len());
        let (attribute, after) = rest.split_at(end);
        let (value, after) = if let Some(quoted) = after.strip_prefix("=\"") {
            quoted.split_once('"').expect("a closed value")
        } else {
            assert!(!after.starts_with('='), "unquoted value in <{inside}>");
            ("", after)
        };
        attributes.push((attribute.to_owned(), value.to_owned()));
        rest = after;
    }
}

#[test]
fn ids_are_unique_and_references_point_at_them() {
    for Sample { name, html } in all() {
        let tags = tags(&html);
        let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.get("id")).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "{name}: {ids:?}");
        for reference in ["for", "aria-describedby", "aria-labelledby"] {
            for target in tags.iter().filter_map(|tag| tag.get(reference)) {
                assert!(unique.contains(target), "{name}: {reference}={target}");
            }
        }
    }
}

#[test]
fn nothing_runs_without_the_nonce_and_nothing_is_styled_in_line() {
    for Sample { name, html } in all() {
        for tag in tags(&html) {
            for (attribute, value) in &tag.attributes {
                assert!(!attribute.starts_with("on"), "{name}: {tag:?}");
                assert_ne!(attribute, "style", "{name}: {tag:?}");
                assert_ne!(attribute, "srcdoc", "{name}: {tag:?}");
                assert!(
                    !value.trim_start().to_ascii_lowercase().starts_with("javascript:"),
                    "{name}: {tag:?}"
                );
            }
            match tag.name.as_str() {
                "script" => assert!(has_script(&name) && tag.get("nonce").is_some(), "{name}: {tag:?}"),
                // A frame of somebody else's must not lead the page that it is in elsewhere.
                "iframe" => assert_eq!(
                    tag.get("sandbox").filter(|_| name.starts_with("logged_out")),
                    Some("allow-scripts allow-same-origin"),
                    "{name}: {tag:?}"
                ),
                "style" | "object" | "embed" | "base" | "b" => panic!("{name}: {tag:?}"),
                _ => {}
            }
        }
        assert_eq!(
            html.matches("<script").count(),
            usize::from(has_script(&name)),
            "{name}"
        );
    }
}

/// The pages that lead on by themselves.
fn has_script(name: &str) -> bool {
    ["form_post", "logged_out_onwards", "logged_out_hostile"]
        .iter()
        .any(|page| name.starts_with(page))
}

#[test]
fn hostile_values_leave_the_structure_of_a_page_as_it_is() {
    let known: BTreeSet<String> = all()
        .iter()
        .filter(|sample| !sample.name.contains("hostile"))
        .flat_map(|sample| tags(&sample.html))
        .flat_map(|tag| {
            tag.attributes
                .into_iter()
                .map(move |(attribute, _)| format!("{} {attribute}", tag.name))
        })
        .collect();
    for Sample { name, html } in all().into_iter().filter(|sample| sample.name.contains("hostile")) {
        for tag in tags(&html) {
            for (attribute, _) in &tag.attributes {
                assert!(known.contains(&format!("{} {attribute}", tag.name)), "{name}: {tag:?}");
            }
        }
    }
}

#[test]
fn no_value_turns_the_text_around_it() {
    for Sample { name, html } in all() {
        // Hidden inputs and the username give back what came, byte for byte; what is read is what follows a `>`.
        for text in html.split('>').skip(1).map(|rest| rest.split('<').next().unwrap()) {
            assert!(!text.contains('\u{202e}'), "{name}: {text}");
        }
    }
}

#[test]
fn every_post_form_but_the_one_to_another_site_carries_the_csrf_token() {
    for Sample { name, html } in all() {
        for form in html
            .split("<form ")
            .skip(1)
            .map(|rest| rest.split("</form>").next().unwrap())
        {
            assert!(form.starts_with("method=\"post\""), "{name}");
            let tokens = form.matches("<input type=\"hidden\" name=\"csrf\" value=\"").count();
            assert_eq!(tokens, usize::from(!name.starts_with("form_post")), "{name}");
        }
    }
}

#[test]
fn every_page_says_its_language_and_hides_from_search_engines() {
    for Sample { name, html } in all() {
        let lang = if name.ends_with("_zh") { "zh-Hans" } else { "en" };
        assert!(
            html.starts_with(&format!("<!doctype html>\n<html lang=\"{lang}\" dir=\"ltr\">")),
            "{name}"
        );
        assert!(
            html.contains("<meta name=\"robots\" content=\"noindex, nofollow\">"),
            "{name}"
        );
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        assert_eq!(html.matches("<main").count(), 1, "{name}");
    }
}

#[test]
fn every_visible_input_has_a_label_and_says_what_fills_it() {
    for Sample { name, html } in all() {
        let tags = tags(&html);
        for input in tags
            .iter()
            .filter(|tag| tag.name == "input" && tag.get("type") != Some("hidden"))
        {
            let id = input.get("id").expect("an id");
            assert!(
                tags.iter().any(|tag| tag.name == "label" && tag.get("for") == Some(id)),
                "{name}: {id}"
            );
            assert!(
                matches!(input.get("autocomplete"), Some("username" | "current-password" | "off")),
                "{name}: {id}"
            );
        }
        assert!(
            tags.iter()
                .filter(|tag| tag.name == "img")
                .all(|tag| tag.get("alt").is_some()),
            "{name}"
        );
        assert!(
            tags.iter().filter(|tag| tag.get("autofocus").is_some()).count() <= 1,
            "{name}"
        );
    }
}

#[test]
fn links_that_leave_tell_nothing_and_get_no_handle() {
    for Sample { name, html } in all() {
        for link in tags(&html)
            .iter()
            .filter(|tag| tag.name == "a" && tag.get("target").is_some())
        {
            assert_eq!(link.get("rel"), Some("noopener noreferrer"), "{name}: {link:?}");
        }
    }
}
