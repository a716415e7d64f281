//! The voices that eSpeak NG has, by language.

/// OpenAI's. There is nothing like them here: they stand for the route's own voice.
const OPENAI: [&str; 13] = [
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
];

#[derive(Debug, Default)]
pub(super) struct Voices(Vec<Voice>);

#[derive(Debug)]
struct Voice {
    language: String,
    /// What else it may be called for, with a number that is lower for better ones.
    others: Vec<(String, u32)>,
}

/// Whether a name may be one of a voice: letters, digits and hyphens.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (2..=32).contains(&name.len()) && name.chars().all(legal) && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

pub(super) fn is_openais(name: &str) -> bool {
    OPENAI.contains(&name)
}

impl Voices {
    /// Reads `--voices`: priority, language, age and gender, name, file, and other languages as `(zh 5)`, with spaces between.
    pub(super) fn read(said: &str) -> Self {
        let voice = |line: &str| {
            let mut columns = line.split_whitespace().skip(1);
            let (language, file) = (columns.next()?, columns.nth(2)?);
            // Those of MBROLA are other programs' business.
            if !is_name(language) || file.starts_with("mb/") {
                return None;
            }
            let rest: Vec<_> = columns.collect();
            let rest = rest.join(" ");
            let others = rest.split(['(', ')']).filter_map(|other| {
                let (name, priority) = other.trim().split_once(' ')?;
                Some((name.to_owned(), priority.parse().ok()?))
            });
            Some(Voice {
                language: language.to_owned(),
                others: others.filter(|(name, _)| is_name(name)).collect(),
            })
        };
        Self(said.lines().skip(1).filter_map(voice).collect())
    }

    /// The voice's name as the engine knows it: none of the caller's words goes on its command line.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let exact = self.0.iter().find(|voice| voice.language.eq_ignore_ascii_case(name));
        let by_others = || {
            let others = self.0.iter().flat_map(|voice| {
                let others = voice
                    .others
                    .iter()
                    .filter(|(other, _)| other.eq_ignore_ascii_case(name));
                others.map(move |(_, priority)| (*priority, voice))
            });
            others.min_by_key(|(priority, _)| *priority).map(|(_, voice)| voice)
        };
        exact.or_else(by_others).map(|voice| voice.language.as_str())
    }

    pub(super) fn languages(&self) -> Vec<&str> {
        let mut languages: Vec<_> = self.0.iter().map(|voice| voice.language.as_str()).collect();
        languages.dedup();
        languages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  af              --/M      Afrikaans          gmw/af               
 5  cmn             --/M      Chinese_(Mandarin,_latin_as_English) sit/cmn              (zh-cmn 5)(zh 5)
 2  en-gb           --/M      English_(Great_Britain) gmw/en               (en 2)
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 5  en-us           --/M      en-us-mbrola       mb/mb-us1            (en 1)
 5  yue             --/M      Chinese_(Cantonese) sit/yue              (zh-yue 5)(zh 8)
";

    #[test]
    fn a_voice_is_found_by_its_language_and_by_others_that_it_speaks() {
        let voices = Voices::read(SAID);
        assert_eq!(voices.languages(), ["af", "cmn", "en-gb", "en-us", "yue"]);
        for (asked, found) in [
            ("en-us", Some("en-us")),
            ("EN-US", Some("en-us")),
            ("en", Some("en-gb")),
            ("zh", Some("cmn")),
            ("zh-yue", Some("yue")),
            ("de", None),
            ("gmw/af", None),
            ("Afrikaans", None),
            ("", None),
        ] {
            assert_eq!(voices.find(asked), found, "{asked}");
        }
        assert!(is_name("en-gb-x-rp") && !is_name("-v") && !is_name("a") && !is_name("en us") && !is_name("en;ls"));
    }
}
