//! PAX records: `length key=value\n`.

use std::collections::BTreeMap;

use super::ArchiveError;

/// Records by key; of equal keys the last one counts.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Records in the order they stand in, as some keys repeat by design.
pub(super) type RecordList = Vec<(Vec<u8>, Vec<u8>)>;

fn malformed(reason: &'static str) -> ArchiveError {
    ArchiveError::MalformedPax { reason }
}

/// Returns the records that `bytes` hold.
pub(super) fn parse(mut bytes: &[u8]) -> Result<RecordList, ArchiveError> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, rest) = parse_record(bytes)?;
        records.push(record);
        bytes = rest;
    }
    Ok(records)
}

type Record = (Vec<u8>, Vec<u8>);

fn parse_record(bytes: &[u8]) -> Result<(Record, &[u8]), ArchiveError> {
    let space = bytes.iter().take(21).position(|byte| *byte == b' ');
    let digits = &bytes[..space.ok_or_else(|| malformed("record without a length"))?];
    let length = usize::try_from(decimal(digits)?).map_err(|_| malformed("length too large"))?;
    if length <= digits.len() + 1 || length > bytes.len() {
        return Err(malformed("record length out of range"));
    }
    let (record, rest) = bytes.split_at(length);
    let Some((b'\n', record)) = record[digits.len() + 1..].split_last() else {
        return Err(malformed("record does not end in a newline"));
    };
    let equals = record.iter().position(|byte| *byte == b'=');
    let (key, value) = record.split_at(equals.ok_or_else(|| malformed("record without `=`"))?);
    let value = &value[1..];
    if key.is_empty() || key.contains(&0) {
        return Err(malformed("record with a bad key"));
    }
    Ok(((key.to_vec(), value.to_vec()), rest))
}

/// Returns the number that `digits` are, digits only.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, ArchiveError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed("number with other bytes than digits"));
    }
    let text = std::str::from_utf8(digits).map_err(|_| malformed("number is not text"))?;
    text.parse().map_err(|_| malformed("number too large"))
}

/// Returns the whole seconds of a time, rounded down, clamped to the years 1 to 9999.
pub(super) fn seconds(text: &[u8]) -> Result<i64, ArchiveError> {
    let (negative, unsigned) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = unsigned.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or(b"0"),
    );
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !digits(whole) || !(digits(fraction) || fraction.is_empty()) {
        return Err(malformed("time is not a number"));
    }
    let whole = decimal(whole)
        .ok()
        .and_then(|whole| i64::try_from(whole).ok())
        .unwrap_or(i64::MAX);
    let below = i64::from(fraction.iter().any(|digit| *digit != b'0'));
    Ok(clamped_seconds(if negative {
        -whole - below
    } else {
        whole
    }))
}

/// Returns `seconds` within the years 1 to 9999.
pub(super) fn clamped_seconds(seconds: i64) -> i64 {
    seconds.clamp(-62_135_596_800, 253_402_300_799)
}

/// Appends one record.
pub(super) fn write_record(output: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits.
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    output.extend_from_slice(length.to_string().as_bytes());
    output.push(b' ');
    output.extend_from_slice(key);
    output.push(b'=');
    output.extend_from_slice(value);
    output.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written() {
        let mut bytes = Vec::new();
        for length in [0, 1, 80, 90, 91, 92, 93, 94, 985, 990, 9990, 70_000] {
            bytes.clear();
            let value = vec![b'\n'; length];
            write_record(&mut bytes, b"SCHILY.xattr.user.a", &value);
            let records = parse(&bytes).unwrap();
            assert_eq!(
                records,
                [(b"SCHILY.xattr.user.a".to_vec(), value)],
                "{length}"
            );
        }
    }

    #[test]
    fn malformed_records_are_typed_errors() {
        let cases: [&[u8]; 9] = [
            b"0 a=b\n",
            b"99 a=b\n",
            b"6 ab\n",
            b"x a=b\n",
            b"6 a=b",
            b"6 a=bX",
            b"-6 a=b\n",
            b"5 =b\n",
            b"999999999999999999999 a=b\n",
        ];
        for bytes in cases {
            let error = parse(bytes).unwrap_err();
            assert!(
                matches!(error, ArchiveError::MalformedPax { .. }),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn times_are_rounded_down_and_clamped() {
        let cases: [(&[u8], i64); 6] = [
            (b"12.9", 12),
            (b"-0.5", -1),
            (b"-7", -7),
            (b"3.", 3),
            (b"9999999999999999999999999999999999999999", 253_402_300_799),
            (b"-99999999999999999999", -62_135_596_800),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text).unwrap(), expected);
        }
        for text in ["1e400", "", "-", ".5", "nan"] {
            assert!(seconds(text.as_bytes()).is_err(), "{text}");
        }
    }
}
