//! Distinguished names: read from DER, written and read as RFC 4514 strings, compared by what they say.

use std::{fmt, str::FromStr};

/// A distinguished name in the order of RFC 4514: the most specific part first.
///
/// Two names are equal when they say the same, however they are written: types by name or number, values by any string type, parts of
/// one level in any order. Values are compared letter for letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Vec<Attribute>>);

/// A text or DER value that is no distinguished name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a distinguished name (RFC 4514)")]
pub struct BadName;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute {
    /// Object identifier, dotted.
    kind: String,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// A value that is no text, as it was encoded.
    Der(Vec<u8>),
}

/// Names of attribute types by their number. The first of a number is the one that is written (RFC 4514 §3 and the registry that it
/// refers to); the others are what tools print.
const TYPES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.3", "commonName"),
    ("2.5.4.7", "L"),
    ("2.5.4.7", "localityName"),
    ("2.5.4.8", "ST"),
    ("2.5.4.8", "stateOrProvinceName"),
    ("2.5.4.10", "O"),
    ("2.5.4.10", "organizationName"),
    ("2.5.4.11", "OU"),
    ("2.5.4.11", "organizationalUnitName"),
    ("2.5.4.6", "C"),
    ("2.5.4.6", "countryName"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.9", "streetAddress"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.25", "domainComponent"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.1", "userId"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.1", "email"),
    ("1.2.840.113549.1.9.1", "E"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.4", "SN"),
    ("2.5.4.4", "surname"),
    ("2.5.4.42", "givenName"),
    ("2.5.4.42", "GN"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
];

mod tag {
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const UTF8: u8 = 0x0c;
    pub(super) const NUMERIC: u8 = 0x12;
    pub(super) const PRINTABLE: u8 = 0x13;
    pub(super) const TELETEX: u8 = 0x14;
    pub(super) const IA5: u8 = 0x16;
    pub(super) const VISIBLE: u8 = 0x1a;
    pub(super) const UNIVERSAL: u8 = 0x1c;
    pub(super) const BMP: u8 = 0x1e;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
}

impl DistinguishedName {
    fn new(mut levels: Vec<Vec<Attribute>>) -> Self {
        // A level is a set (X.501 §9.3).
        for level in &mut levels {
            level.sort();
        }
        Self(levels)
    }

    /// Reads a DER `Name` (RFC 5280 §4.1.2.4).
    ///
    /// # Errors
    /// [`BadName`] when it is anything else.
    pub fn from_der(der: &[u8]) -> Result<Self, BadName> {
        let (names, []) = expect(der, tag::SEQUENCE)? else {
            return Err(BadName);
        };
        let mut levels = Vec::new();
        let mut rest = names;
        while !rest.is_empty() {
            let (mut set, after) = expect(rest, tag::SET)?;
            rest = after;
            let mut level = Vec::new();
            while !set.is_empty() {
                let (pair, after) = expect(set, tag::SEQUENCE)?;
                set = after;
                let (kind, value) = expect(pair, tag::OBJECT_IDENTIFIER)?;
                level.push(Attribute {
                    kind: dotted(kind)?,
                    value: Value::from_der(value)?,
                });
            }
            if level.is_empty() {
                return Err(BadName);
            }
            levels.push(level);
        }
        // RFC 4514 §2.1: written from the last to the first.
        levels.reverse();
        Ok(Self::new(levels))
    }

    /// Whether it names nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Splits off one DER element: its tag, its contents, what follows. Definite lengths and single-byte tags only.
fn element(der: &[u8]) -> Result<(u8, &[u8], &[u8]), BadName> {
    let (&tag, rest) = der.split_first().ok_or(BadName)?;
    if tag & 0x1f == 0x1f {
        return Err(BadName);
    }
    let (&first, rest) = rest.split_first().ok_or(BadName)?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(BadName)?;
            let length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return Err(BadName),
    };
    let (contents, rest) = rest.split_at_checked(length).ok_or(BadName)?;
    Ok((tag, contents, rest))
}

fn expect(der: &[u8], expected: u8) -> Result<(&[u8], &[u8]), BadName> {
    match element(der)? {
        (tag, contents, rest) if tag == expected => Ok((contents, rest)),
        _ => Err(BadName),
    }
}

/// An object identifier's contents in dotted form (X.690 §8.19).
fn dotted(contents: &[u8]) -> Result<String, BadName> {
    if contents.last().is_none_or(|last| last & 0x80 != 0) {
        return Err(BadName);
    }
    let (mut arcs, mut arc) = (Vec::new(), 0_u64);
    for byte in contents {
        arc = arc.checked_mul(128).ok_or(BadName)? + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                // The first two share a number.
                let first = (arc / 40).min(2);
                arcs.push(first.to_string());
                arc -= first * 40;
            }
            arcs.push(arc.to_string());
            arc = 0;
        }
    }
    Ok(arcs.join("."))
}

impl Value {
    /// Exactly one element.
    fn from_der(der: &[u8]) -> Result<Self, BadName> {
        let (tag, contents, []) = element(der)? else {
            return Err(BadName);
        };
        let text = match tag {
            tag::UTF8 => std::str::from_utf8(contents).ok().map(str::to_owned),
            tag::NUMERIC | tag::PRINTABLE | tag::IA5 | tag::VISIBLE | tag::TELETEX if contents.is_ascii() => {
                std::str::from_utf8(contents).ok().map(str::to_owned)
            }
            tag::BMP => utf16(contents),
            tag::UNIVERSAL => utf32(contents),
            _ => None,
        };
        Ok(text.map_or_else(|| Self::Der(der.to_owned()), Self::Text))
    }
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
}

fn utf32(bytes: &[u8]) -> Option<String> {
    let (quads, rest) = bytes.as_chunks::<4>();
    let characters = quads.iter().map(|quad| char::from_u32(u32::from_be_bytes(*quad)));
    rest.is_empty().then(|| characters.collect()).flatten()
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, level) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            for (at, attribute) in level.iter().enumerate() {
                f.write_str(if at == 0 { "" } else { "+" })?;
                attribute.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = TYPES.iter().find(|(number, _)| *number == self.kind);
        write!(f, "{}=", known.map_or(self.kind.as_str(), |(_, name)| name))?;
        match (&self.value, known) {
            (Value::Text(text), Some(_)) => escape(text, f),
            // RFC 4514 §2.4: a type without a name has its value in hexadecimal.
            (Value::Text(text), None) => hexadecimal(&utf8_string(text), f),
            (Value::Der(der), _) => hexadecimal(der, f),
        }
    }
}

fn hexadecimal(der: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("#")?;
    der.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The DER encoding of a `UTF8String`.
fn utf8_string(text: &str) -> Vec<u8> {
    let length = text.len().to_be_bytes();
    let digits = length.iter().skip_while(|digit| **digit == 0).copied();
    let mut der = vec![tag::UTF8];
    match u8::try_from(text.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let digits: Vec<u8> = digits.collect();
            der.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
            der.extend(digits);
        }
    }
    der.extend(text.as_bytes());
    der
}

/// RFC 4514 §2.4. Control characters are escaped as well, so that the string may stand in a log.
fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{character}")?,
            '#' if at == 0 => f.write_str("\\#")?,
            ' ' if at == 0 || at == last => f.write_str("\\ ")?,
            _ if character.is_control() => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    write!(f, "\\{byte:02x}")?;
                }
            }
            _ => write!(f, "{character}")?,
        }
    }
    Ok(())
}

impl FromStr for DistinguishedName {
    type Err = BadName;

    /// Reads RFC 4514 strings, with spaces around separators as RFC 2253 had them. A name with nothing in it is none.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut levels = vec![Vec::new()];
        let mut rest = text;
        loop {
            let (attribute, separator, after) = attribute(rest)?;
            if let Some(level) = levels.last_mut() {
                level.push(attribute);
            }
            match separator {
                None => return Ok(Self::new(levels)),
                Some(',') => levels.push(Vec::new()),
                Some(_) => {}
            }
            rest = after;
        }
    }
}

/// Reads up to the next separator, `,` or `+`.
fn attribute(text: &str) -> Result<(Attribute, Option<char>, &str), BadName> {
    let (kind, value) = text.split_once('=').ok_or(BadName)?;
    let kind = type_number(kind.trim())?;
    let value = value.trim_start_matches(' ');
    let (value, separator, rest) = match value.strip_prefix('#') {
        Some(digits) => {
            let end = digits.find([',', '+']).unwrap_or(digits.len());
            let (digits, rest) = digits.split_at(end);
            let mut rest = rest.chars();
            let separator = rest.next();
            (
                Value::from_der(&bytes(digits.trim_end_matches(' '))?)?,
                separator,
                rest.as_str(),
            )
        }
        None => unescape(value)?,
    };
    Ok((Attribute { kind, value }, separator, rest))
}

fn type_number(name: &str) -> Result<String, BadName> {
    let number = name.strip_prefix("OID.").or(name.strip_prefix("oid.")).unwrap_or(name);
    let is_arc = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
    if number.contains('.') && number.split('.').all(is_arc) {
        return Ok(number.to_owned());
    }
    let known = TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
    known.map(|(number, _)| (*number).to_owned()).ok_or(BadName)
}

fn bytes(digits: &str) -> Result<Vec<u8>, BadName> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(BadName);
    }
    pairs
        .iter()
        .map(|[high, low]| hex_pair(*high, *low).ok_or(BadName))
        .collect()
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Reads an escaped string up to the next separator.
fn unescape(text: &str) -> Result<(Value, Option<char>, &str), BadName> {
    let mut value = Vec::new();
    // Spaces at the end count only when they are escaped.
    let mut kept = 0;
    let mut rest = text.as_bytes();
    let mut separator = None;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b',' | b'+', _) => {
                separator = Some(char::from(byte));
                break;
            }
            (
                b'\\',
                [
                    special @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\'),
                    after @ ..,
                ],
            ) => {
                value.push(*special);
                kept = value.len();
                rest = after;
            }
            (b'\\', [high, low, after @ ..]) => {
                value.push(hex_pair(*high, *low).ok_or(BadName)?);
                kept = value.len();
                rest = after;
            }
            (b'\\' | b'"' | b';' | b'<' | b'>' | 0, _) => return Err(BadName),
            _ => {
                value.push(byte);
                if byte != b' ' {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    let value = String::from_utf8(value).map_err(|_| BadName)?;
    let after = text.get(text.len() - rest.len()..).ok_or(BadName)?;
    Ok((Value::Text(value), separator, after))
}

#[cfg(test)]
mod tests {
    use openssl::{asn1::Asn1Type, nid::Nid, x509::X509NameBuilder};
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> DistinguishedName {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    fn der(entries: &[(Nid, &str, Asn1Type)]) -> Vec<u8> {
        let mut name = X509NameBuilder::new().unwrap();
        for (kind, value, encoding) in entries {
            name.append_entry_by_nid_with_type(*kind, value, *encoding).unwrap();
        }
        openssl::x509::X509NameRef::to_der(&name.build()).unwrap()
    }

    #[test]
    fn a_name_is_written_from_its_last_part_to_its_first() {
        let der = der(&[
            (Nid::COUNTRYNAME, "DE", Asn1Type::PRINTABLESTRING),
            (Nid::ORGANIZATIONNAME, "Müller, Söhne & Co.", Asn1Type::UTF8STRING),
            (Nid::COMMONNAME, " #1 <x> \u{7}", Asn1Type::UTF8STRING),
            (Nid::PKCS9_EMAILADDRESS, "a@b.example", Asn1Type::IA5STRING),
        ]);
        let name = DistinguishedName::from_der(&der).unwrap();
        let text = r"emailAddress=a@b.example,CN=\ #1 \<x\> \07,O=Müller\, Söhne & Co.,C=DE";
        assert_eq!(name.to_string(), text);
        assert_eq!(parsed(text), name);
    }

    #[test]
    fn a_text_is_the_same_in_every_string_type() {
        // Prefixed with the type number of CN, in a set in a sequence.
        let common_name = |value: &[u8]| {
            let wrap = |tag: u8, contents: &[u8]| {
                let length = u8::try_from(contents.len()).unwrap();
                [&[tag, length], contents].concat()
            };
            let pair = wrap(tag::SEQUENCE, &[&[6, 3, 0x55, 4, 3], value].concat());
            DistinguishedName::from_der(&wrap(tag::SEQUENCE, &wrap(tag::SET, &pair))).unwrap()
        };
        for value in [
            &b"\x0c\x02Ab"[..],
            b"\x13\x02Ab",
            b"\x16\x02Ab",
            b"\x14\x02Ab",
            b"\x1a\x02Ab",
            b"\x1e\x04\0A\0b",
            b"\x1c\x08\0\0\0A\0\0\0b",
        ] {
            assert_eq!(common_name(value), parsed("CN=Ab"), "{value:?}");
        }
        // Half a character, a surrogate alone, no text at all: shown as they are.
        for (value, shown) in [
            (&b"\x1e\x03\0Ab"[..], "CN=#1e03004162"),
            (b"\x1e\x02\xd8\0", "CN=#1e02d800"),
            (b"\x0c\x01\xff", "CN=#0c01ff"),
            (b"\x01\x01\xff", "CN=#0101ff"),
        ] {
            assert_eq!(common_name(value).to_string(), shown);
            assert_eq!(common_name(value), parsed(shown));
        }
    }

    #[test]
    fn one_name_may_be_written_in_many_ways() {
        let name = parsed("CN=Alice\\, A.+UID=7,OU=Payments,O=Bank,C=DE");
        for other in [
            "cn=Alice\\2c A.+uid=7,ou=Payments,o=Bank,c=DE",
            "UID=7 + CN=Alice\\, A. , OU = Payments, O=Bank , C=DE",
            "2.5.4.3=Alice\\, A.+OID.0.9.2342.19200300.100.1.1=7,organizationalUnitName=Payments,O=#130442616e6b,C=DE",
        ] {
            assert_eq!(parsed(other), name, "{other}");
        }
        for other in [
            "CN=alice\\, A.+UID=7,OU=Payments,O=Bank,C=DE",
            "CN=Alice\\, A.,UID=7,OU=Payments,O=Bank,C=DE",
            "C=DE,O=Bank,OU=Payments,CN=Alice\\, A.+UID=7",
            "CN=Alice\\, A.+UID=7,OU=Payments,O=Bank",
            "CN=Alice\\, A.\\ +UID=7,OU=Payments,O=Bank,C=DE",
        ] {
            assert_ne!(parsed(other), name, "{other}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ",",
            "CN",
            "CN=a,",
            "CN=a,,C=DE",
            "=a",
            "CN=a\\",
            "CN=a\\4",
            "CN=a\\zz",
            "CN=a;C=DE",
            "CN=\"a\"",
            "X=a",
            "CN=#13",
            "CN=#1",
            "CN=#zz",
            "CN=\\ff",
            "1..2=a",
            ".=a",
            "CN=a+",
        ] {
            assert_eq!(text.parse::<DistinguishedName>(), Err(BadName), "{text}");
        }
    }

    #[test]
    fn a_type_without_a_name_shows_its_number_and_the_encoded_value() {
        let name = parsed("1.2.3.4=#0c0161,CN=b");
        assert_eq!(name.to_string(), "1.2.3.4=#0c0161,CN=b");
        // The value is an integer.
        assert_eq!(parsed("CN=#020101").to_string(), "CN=#020101");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_for_a_value(value in "\\PC{0,40}|[ -~]{1,40}|[\u{0}-\u{20}]{1,5}") {
            prop_assume!(!value.is_empty());
            for kind in ["2.5.4.3", "1.2.3.4"] {
                let attribute = Attribute { kind: kind.into(), value: Value::Text(value.clone()) };
                let name = DistinguishedName::new(vec![vec![attribute.clone()], vec![attribute]]);
                prop_assert_eq!(name.to_string().parse::<DistinguishedName>(), Ok(name));
            }
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_panics(der in proptest::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,60}") {
            let _ = DistinguishedName::from_der(&der);
            let _ = text.parse::<DistinguishedName>();
        }
    }
}
