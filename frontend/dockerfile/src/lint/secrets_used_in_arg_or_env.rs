//! SecretsUsedInArgOrEnv: what is secret is mounted, not kept in the image.

use super::{Report, SECRETS_USED_IN_ARG_OR_ENV};
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;

/// Words of names that hold secrets.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words of names that hold something about a secret.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Checks the `key` that an `instruction`, ARG or ENV, sets.
pub(super) fn check(instruction: &str, key: &Word, report: &mut Report) {
    if has_word(&key.text, &SECRET) && !has_word(&key.text, &HARMLESS) {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {:?})",
            key.text
        );
        let finding = Diagnostic::warning(SECRETS_USED_IN_ARG_OR_ENV.code(), key.span, message);
        report.add(finding.with_help("give it to RUN with `--mount=type=secret,id=ID`"));
    }
}

/// Says whether a part of `name` between underscores is one of `words`, in any case.
fn has_word(name: &str, words: &[&str]) -> bool {
    let is_one = |part: &str| words.iter().any(|word| part.eq_ignore_ascii_case(word));
    name.split('_').any(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_between_underscores_are_compared() {
        for name in ["password", "API_KEY", "apikey", "my_Token_x", "AUTH"] {
            assert!(has_word(name, &SECRET), "{name}");
        }
        for name in ["passphrase", "monkey", "TOKENS", "", "keyring"] {
            assert!(!has_word(name, &SECRET), "{name}");
        }
    }
}
