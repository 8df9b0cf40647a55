//! The ports of EXPOSE: `8080`, `53/udp`, `7000-7003`.

/// The protocols that a port can have.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Returns the ports that `text` names, each as `port/protocol`.
///
/// `address:host port:port` is accepted for the sake of old files: only the port counts.
/// Errors: what is wrong, in words.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = match text.split_once('/') {
        Some((range, protocol)) if !protocol.is_empty() => (range, protocol.to_lowercase()),
        Some((range, _)) => (range, "tcp".to_owned()),
        None => (text, "tcp".to_owned()),
    };
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return Err(format!(
            "`{protocol}` is no protocol of a port: use tcp, udp or sctp"
        ));
    }
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first, text)?, number(last, text)?);
    if first > last {
        return Err(format!("the range of ports `{text}` is upside down"));
    }
    let ports = (first..=last).map(|port| format!("{port}/{protocol}"));
    Ok(ports.collect())
}

fn number(digits: &str, text: &str) -> Result<u16, String> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if is_number => Ok(number),
        _ => Err(format!(
            "`{text}` is no port: it needs a number up to 65535"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_table() {
        let table: [(&str, Result<&[&str], &str>); 9] = [
            ("80", Ok(&["80/tcp"])),
            ("80/", Ok(&["80/tcp"])),
            ("53/UDP", Ok(&["53/udp"])),
            ("7000-7002/tcp", Ok(&["7000/tcp", "7001/tcp", "7002/tcp"])),
            ("127.0.0.1:8080:80", Ok(&["80/tcp"])),
            (
                "http",
                Err("`http` is no port: it needs a number up to 65535"),
            ),
            (
                "65536",
                Err("`65536` is no port: it needs a number up to 65535"),
            ),
            ("2-1", Err("the range of ports `2-1` is upside down")),
            (
                "1/icmp",
                Err("`icmp` is no protocol of a port: use tcp, udp or sctp"),
            ),
        ];
        for (text, expected) in table {
            let expected = expected
                .map(|ports| ports.iter().map(|port| (*port).to_owned()).collect())
                .map_err(str::to_owned);
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
