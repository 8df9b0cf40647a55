//! `WWW-Authenticate`: what a registry wants to see.
//! Specification: RFC 9110 section 11; Docker's "Token Authentication Specification".

/// One demand of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password.
    Basic,
    /// A token.
    Bearer {
        /// The address of the token server.
        realm: String,
        /// What it calls the registry.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Returns the best of the challenges in the `headers` of one answer: a token before a
    /// password.
    pub fn best_of<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let challenges: Vec<_> = headers.flat_map(Self::parse).collect();
        let bearer = challenges
            .iter()
            .find(|challenge| **challenge != Self::Basic);
        bearer.or(challenges.first()).cloned()
    }

    /// Returns the challenges in one header that a registry can mean, in order.
    pub fn parse(text: &str) -> Vec<Self> {
        let schemes = schemes(text).into_iter();
        schemes.filter_map(Self::of_scheme).collect()
    }

    fn of_scheme(scheme: Scheme) -> Option<Self> {
        if scheme.name.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.name.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let get = |name: &str| {
            let mut parameters = scheme.parameters.iter();
            let found = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        Some(Self::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        })
    }
}

/// A scheme with its parameters, as they stand there.
#[derive(Debug)]
struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

/// Returns what the header `text` names: a word that no `=` follows begins a scheme.
fn schemes(text: &str) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    let mut rest = text.trim_start_matches(is_separator);
    while !rest.is_empty() {
        let end = rest.find(|character| is_separator(character) || character == '=');
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) => {
                let (value, after) = value_of(value);
                if let Some(scheme) = schemes.last_mut() {
                    scheme.parameters.push((word.to_owned(), value));
                }
                after
            }
            None => {
                schemes.push(Scheme {
                    name: word.to_owned(),
                    parameters: Vec::new(),
                });
                after
            }
        };
        rest = rest.trim_start_matches(is_separator);
    }
    schemes
}

fn is_separator(character: char) -> bool {
    matches!(character, ' ' | '\t' | ',')
}

/// Returns the value that `text` begins with, quoted or not, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    match text.strip_prefix('"') {
        Some(quoted) => quoted_value(quoted),
        None => {
            let end = text.find(is_separator).unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    }
}

/// Returns the value up to the next `"`, with `\` escapes, and what follows it.
fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return (value, &text[position + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn bearer_parameters_are_read_quoted_or_not() {
        let text = r#"bearer realm="https://a.example/t?x=1,2",service=reg, scope="repository:a/b:pull,push""#;
        let scope = Some("repository:a/b:pull,push");
        let expected = bearer("https://a.example/t?x=1,2", Some("reg"), scope);
        assert_eq!(Challenge::parse(text), [expected]);
    }

    #[test]
    fn one_header_may_hold_several() {
        let text = r#"Negotiate abc==, Basic realm="x, y" ,Bearer realm = https://a/t"#;
        let expected = [Challenge::Basic, bearer("https://a/t", None, None)];
        assert_eq!(Challenge::parse(text), expected);
        let best = Challenge::best_of(["Basic", text].into_iter());
        assert_eq!(best, Some(expected[1].clone()));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for text in [
            "",
            " , ",
            "=",
            "realm=x",
            "Digest x=1",
            "Bearer",
            "Bearer service=x",
            "Bearer realm=\"\"",
        ] {
            assert_eq!(Challenge::parse(text), [], "{text}");
        }
        assert_eq!(Challenge::parse("Basic realm=\"x"), [Challenge::Basic]);
    }
}
