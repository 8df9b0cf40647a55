//! Quantities in arguments and in the configuration: sizes, shares of a disk, durations.

use crate::error::Failure;
use jiff::Timestamp;
use std::str::FromStr;
use std::time::Duration;

/// `512m`, `2g`, `1048576`: units of 1024.
pub fn bytes(text: &str) -> Result<u64, Failure> {
    let lower = text.to_lowercase();
    let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match lower[digits.len()..]
        .trim_end_matches('b')
        .trim_end_matches('i')
    {
        "" => Some(1u64),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        "t" => Some(1 << 40),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    number
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| {
            Failure::usage(format!("invalid size `{text}`")).with_hint("write it as 512m or 2g")
        })
}

/// Room on a disk: `10GB`, or a share of the disk, `20%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Bytes(u64),
    Percent(u64),
}

impl Space {
    /// Returns the room in bytes on a disk of `total_bytes`.
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            Space::Bytes(bytes) => bytes,
            Space::Percent(percent) => total_bytes / 100 * percent,
        }
    }
}

impl FromStr for Space {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid size `{text}`: write it as 512m, 2g or 20%");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100);
                percent.map(Space::Percent).ok_or_else(invalid)
            }
            None => bytes(text).map(Space::Bytes).map_err(|_| invalid()),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Space {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A size: `10GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid = || format!("invalid size `{text}`: write it as 512m or 2g");
        bytes(&text)
            .map(Bytes)
            .map_err(|_| serde::de::Error::custom(invalid()))
    }
}

/// `48h`, `1h30m`, `7d`: numbers with units.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit_length = after
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(after.len());
        let factor = match &after[..unit_length] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = &after[unit_length..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
}

/// Returns how long ago `text` is: a duration, a time (RFC 3339), or seconds since 1970.
pub fn age(text: &str, now_seconds: i64) -> Option<Duration> {
    let then = text
        .parse::<Timestamp>()
        .map(Timestamp::as_second)
        .or_else(|_| text.parse::<i64>());
    match then {
        Ok(then) => u64::try_from(now_seconds - then)
            .ok()
            .map(Duration::from_secs),
        Err(_) => duration(text),
    }
}

/// Returns the time, in seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_in_units_of_1024() {
        let table = [
            ("1024", 1024),
            ("64m", 64 << 20),
            ("2g", 2 << 30),
            ("10GB", 10 << 30),
            ("1KiB", 1024),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "m", "1x", "-1", "99999999999t"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn space_is_bytes_or_a_share_of_the_disk() {
        assert_eq!("2k".parse::<Space>().unwrap().of(10_000), 2048);
        assert_eq!("20%".parse::<Space>().unwrap().of(10_000), 2_000);
        assert!("101%".parse::<Space>().is_err() && "%".parse::<Space>().is_err());
    }

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(604_800)));
        for text in ["", "5", "h", "1y", "1h5"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(
            age("1970-01-01T00:00:10Z", 30),
            Some(Duration::from_secs(20))
        );
        assert_eq!(age("48h", 0), Some(Duration::from_secs(172_800)));
    }
}
