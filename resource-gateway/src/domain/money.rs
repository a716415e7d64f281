//! Money: whole billionths of a currency's unit. Nothing here is ever a floating-point number.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits behind the point.
const DIGITS: usize = 9;
/// One unit of a currency.
const ONE: i64 = 1_000_000_000;
/// Numbers that came through a binary float keep this many digits.
const FLOAT_DIGITS: usize = 15;

/// The currencies of ISO 4217 that are in use, funds and metals left out.
const CURRENCIES: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE \
    CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY \
    KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO \
    NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB \
    TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// An amount in billionths of its currency's unit. Up to some nine billion units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub i64);

/// The text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    #[error("is not a decimal number such as 0.15")]
    Malformed,
    #[error("must not be negative")]
    Negative,
    #[error("has more than 9 digits behind the point")]
    TooFine,
    #[error("is larger than 9000000000")]
    TooLarge,
    #[error("has more digits than a number of JSON or TOML keeps: write it in quotes")]
    Blurred,
}

impl Nanos {
    pub const ZERO: Self = Self(0);
    /// The largest amount that is read.
    pub const LARGEST: Self = Self(9_000_000_000 * ONE);

    /// Reads a plain decimal: digits, perhaps a point and up to nine digits.
    ///
    /// # Errors
    /// [`InvalidAmount`].
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        if text.starts_with('-') {
            return Err(InvalidAmount::Negative);
        }
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(InvalidAmount::Malformed),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(InvalidAmount::Malformed);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DIGITS {
            return Err(InvalidAmount::TooFine);
        }
        let whole = whole.trim_start_matches('0');
        if whole.len() > 10 {
            return Err(InvalidAmount::TooLarge);
        }
        let number = |text: &str| {
            text.bytes()
                .fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
        };
        let missing = u32::try_from(DIGITS - fraction.len()).unwrap_or_default();
        let amount = number(whole)
            .checked_mul(ONE)
            .and_then(|nanos| nanos.checked_add(number(fraction) * 10_i64.pow(missing)))
            .map(Self);
        amount
            .filter(|amount| *amount <= Self::LARGEST)
            .ok_or(InvalidAmount::TooLarge)
    }

    /// Reads a number of JSON or TOML as it is printed. Both went through a binary float, whose shortest text is the text that was
    /// written as long as that had at most 15 digits; a number with more is refused rather than taken for its neighbour.
    ///
    /// # Errors
    /// [`InvalidAmount`].
    pub fn from_number(number: &serde_json::Number) -> Result<Self, InvalidAmount> {
        let text = number.to_string();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            None => (text.as_str(), 0),
            Some((mantissa, exponent)) => (mantissa, exponent.parse().map_err(|_| InvalidAmount::Malformed)?),
        };
        let significant = mantissa.bytes().filter(u8::is_ascii_digit).count();
        let leading = mantissa
            .bytes()
            .take_while(|byte| matches!(byte, b'0' | b'.' | b'-'))
            .filter(u8::is_ascii_digit)
            .count();
        if number.is_f64() && significant - leading > FLOAT_DIGITS {
            return Err(InvalidAmount::Blurred);
        }
        Self::parse(&shifted(mantissa, exponent)?)
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Moves the point of a decimal.
fn shifted(mantissa: &str, exponent: i32) -> Result<String, InvalidAmount> {
    if exponent == 0 {
        return Ok(mantissa.to_owned());
    }
    // Beyond that it is too small or too large anyway.
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX).min(64);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.starts_with('-') {
        return Err(InvalidAmount::Negative);
    }
    let zeros = "0".repeat(places);
    let (digits, point) = if exponent > 0 {
        (format!("{whole}{fraction}{zeros}"), whole.len() + places)
    } else {
        (format!("{zeros}{whole}{fraction}"), whole.len())
    };
    let (whole, fraction) = digits.split_at_checked(point).ok_or(InvalidAmount::Malformed)?;
    let fraction = fraction.trim_end_matches('0');
    Ok(if fraction.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{fraction}")
    })
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let one = ONE.unsigned_abs();
        let (whole, fraction) = (self.0.unsigned_abs() / one, self.0.unsigned_abs() % one);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl FromStr for Nanos {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        Self::parse(text)
    }
}

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// The text is no currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a currency of ISO 4217, such as EUR")]
pub struct InvalidCurrency;

/// A place holder that no amount is ever in: ISO 4217's code for "no currency".
impl Default for Currency {
    fn default() -> Self {
        Self(*b"XXX")
    }
}

impl Currency {
    /// Reads three capital letters that ISO 4217 knows.
    ///
    /// # Errors
    /// [`InvalidCurrency`].
    pub fn parse(text: &str) -> Result<Self, InvalidCurrency> {
        let known = CURRENCIES.split(' ').any(|code| code == text);
        let code = text.as_bytes().try_into().map_err(|_| InvalidCurrency)?;
        if known { Ok(Self(code)) } else { Err(InvalidCurrency) }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Number, Value};

    fn number(text: &str) -> Number {
        match serde_json::from_str(text).unwrap() {
            Value::Number(number) => number,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn amounts_are_plain_decimals() {
        for (text, wanted) in [
            ("0", Ok(0)),
            ("5", Ok(5_000_000_000)),
            ("5.00", Ok(5_000_000_000)),
            ("0.000000001", Ok(1)),
            ("0.1500000000000", Ok(150_000_000)),
            ("007", Ok(7_000_000_000)),
            ("9000000000", Ok(Nanos::LARGEST.0)),
            ("9000000000.000000001", Err(InvalidAmount::TooLarge)),
            ("99999999999999999999", Err(InvalidAmount::TooLarge)),
            ("0.0000000001", Err(InvalidAmount::TooFine)),
            ("-1", Err(InvalidAmount::Negative)),
            ("", Err(InvalidAmount::Malformed)),
            (".5", Err(InvalidAmount::Malformed)),
            ("5.", Err(InvalidAmount::Malformed)),
            ("+5", Err(InvalidAmount::Malformed)),
            ("1e3", Err(InvalidAmount::Malformed)),
            ("1,5", Err(InvalidAmount::Malformed)),
            ("1.2.3", Err(InvalidAmount::Malformed)),
            ("٣", Err(InvalidAmount::Malformed)),
        ] {
            assert_eq!(Nanos::parse(text).map(|nanos| nanos.0), wanted, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_taken_as_they_were_written_or_not_at_all() {
        for (text, wanted) in [
            ("0.15", Ok(150_000_000)),
            ("2.5e-7", Ok(250)),
            ("1e-9", Ok(1)),
            ("0.1", Ok(100_000_000)),
            ("1e3", Ok(1_000_000_000_000)),
            ("3", Ok(3_000_000_000)),
            ("123456.789012345", Ok(123_456_789_012_345)),
            ("0.30000000000000004", Err(InvalidAmount::Blurred)),
            ("-0.5", Err(InvalidAmount::Negative)),
            ("-3", Err(InvalidAmount::Negative)),
            ("1e-10", Err(InvalidAmount::TooFine)),
            ("1e300", Err(InvalidAmount::TooLarge)),
        ] {
            assert_eq!(Nanos::from_number(&number(text)).map(|nanos| nanos.0), wanted, "{text}");
        }
    }

    #[test]
    fn currencies_are_those_of_the_standard() {
        for (text, good) in [
            ("EUR", true),
            ("CNY", true),
            ("eur", false),
            ("EURO", false),
            ("ABC", false),
            ("", false),
            ("EU ", false),
        ] {
            assert_eq!(Currency::parse(text).is_ok(), good, "{text:?}");
        }
        assert_eq!(Currency::parse("USD").unwrap().to_string(), "USD");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in 0..=Nanos::LARGEST.0) {
            let text = Nanos(nanos).to_string();
            prop_assert_eq!(Nanos::parse(&text), Ok(Nanos(nanos)));
        }

        #[test]
        fn numbers_of_few_digits_are_exact(units in 0_u32..1_000_000, nanos in 0_u32..1_000_000_000) {
            let text = format!("{units}.{nanos:09}");
            prop_assert_eq!(Nanos::from_number(&number(&text)), Nanos::parse(&text));
        }
    }
}
