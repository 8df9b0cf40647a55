//! What shells and interpreters say of where a script failed.

use super::script::base_name;

/// A complaint of a shell or an interpreter.
#[derive(Debug, PartialEq)]
pub struct Complaint<'a> {
    /// Who complains: what stands first.
    pub teller: &'a str,
    /// The line of the script, as the teller counts.
    pub line: Option<usize>,
    /// The word that it complains of.
    pub word: Option<&'a str>,
    pub kind: Kind,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    NotExecutable,
    /// Of the script itself, or of a redirection.
    Script,
    Other,
    /// An exception that nobody caught.
    Exception,
}

impl Kind {
    /// Returns whether a script that was ended by this has the exit code `code`.
    pub fn explains(self, code: i32) -> bool {
        match self {
            Kind::NotFound => code == 127,
            Kind::NotExecutable => code == 126,
            Kind::Script => code == 2 || code == 1,
            Kind::Exception => code == 1 || code == 255,
            Kind::Other => false,
        }
    }
}

/// Returns what `output`, a line of a command's output, complains of.
///
/// `shell` is the program that was run: its complaints begin with its name.
pub fn complaint<'a>(output: &'a str, shell: &str) -> Option<Complaint<'a>> {
    of_interpreter(output).or_else(|| of_shell(output, shell))
}

/// `File "<stdin>", line 3` of Python, `at /dev/pipes/END line 3.` of Perl.
fn of_interpreter(output: &str) -> Option<Complaint<'_>> {
    let exception = |teller, line| Complaint {
        teller,
        line: Some(line),
        word: None,
        kind: Kind::Exception,
    };
    if let Some(rest) = output.trim_start().strip_prefix("File \"") {
        let (file, rest) = rest.split_once("\", line ")?;
        return is_script(file).then(|| exception(file, leading_number(rest).unwrap_or(1)));
    }
    let at = output
        .find("/dev/pipes/")
        .or_else(|| output.find(" at - line ").map(|at| at + 4))?;
    let (file, rest) = output[at..].split_once(" line ")?;
    let line = leading_number(rest)?;
    (!file.contains(' ')).then(|| exception(file, line))
}

fn is_script(file: &str) -> bool {
    file.starts_with("/dev/pipes/") || matches!(file, "<stdin>" | "-")
}

const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"];

/// `sh: 3: foo: not found`, `bash: line 3: foo: command not found`, `/bin/sh: foo: not found`.
fn of_shell<'a>(output: &'a str, shell: &str) -> Option<Complaint<'a>> {
    let (teller, rest) = output.split_once(": ").or_else(|| output.split_once(':'))?;
    let (teller, rest) = match teller.rsplit_once(':') {
        // zsh:3: command not found: foo
        Some((before, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            (before, &output[before.len() + 1..])
        }
        _ => (teller, rest),
    };
    let is_shell = teller == shell || SHELLS.contains(&base_name(teller)) || is_script(teller);
    if !is_shell {
        return None;
    }
    let rest = rest.strip_prefix("-c: ").unwrap_or(rest);
    let numbered = rest.strip_prefix("line ").unwrap_or(rest);
    let (line, rest) = match numbered.split_once(": ") {
        Some((number, rest)) if leading_number(number).is_some_and(|_| is_number(number)) => {
            (leading_number(number), rest)
        }
        _ => (None, rest),
    };
    let (kind, word) = subject(rest);
    let is_complaint = line.is_some() || kind != Kind::Other;
    is_complaint.then_some(Complaint {
        teller,
        line,
        word,
        kind,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn leading_number(text: &str) -> Option<usize> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    text[..digits].parse().ok()
}

/// Returns what a shell's message is about, and the word that it names.
fn subject(message: &str) -> (Kind, Option<&str>) {
    let lower = message.to_ascii_lowercase();
    if lower.starts_with("syntax error") {
        return (Kind::Script, quoted(message));
    }
    for opening in [
        "cannot open ",
        "cannot create ",
        "can't open ",
        "can't create ",
    ] {
        if let Some(rest) = message.strip_prefix(opening) {
            let word = rest.split(':').next().map(|word| word.trim_matches('\''));
            return (Kind::Script, word);
        }
    }
    if let Some(word) = message.strip_prefix("command not found: ") {
        return (Kind::NotFound, Some(word));
    }
    let Some((word, reason)) = message.split_once(": ") else {
        return (Kind::Other, None);
    };
    let word = Some(word).filter(|word| !word.contains(' '));
    let kind = match reason {
        "not found" | "command not found" | "No such file or directory" => Kind::NotFound,
        "Permission denied" | "cannot execute: required file not found" => Kind::NotExecutable,
        "Is a directory" => Kind::NotExecutable,
        "parameter not set" | "unbound variable" | "bad substitution" => Kind::Script,
        _ => Kind::Other,
    };
    (kind, word)
}

/// Returns the first text in double quotes, or between a backtick or quote and a quote.
fn quoted(text: &str) -> Option<&str> {
    let start = text.find(['"', '`', '\''])?;
    let rest = &text[start + 1..];
    let end = rest.find(['"', '\''])?;
    Some(&rest[..end]).filter(|word| !word.is_empty())
}

/// Returns the command that `set -x` traced in a line of output.
pub fn traced(output: &str) -> Option<&str> {
    let rest = output.strip_prefix('+')?.trim_start_matches('+');
    rest.strip_prefix(' ').map(str::trim)
}

/// Programs whose messages begin with another word than their name.
const OTHER_NAMES: [(&str, &[&str]); 4] = [
    ("E", &["apt-get", "apt"]),
    ("fatal", &["git"]),
    ("npm ERR!", &["npm", "npx"]),
    ("npm error", &["npm", "npx"]),
];

/// Returns the programs, one of which wrote `output`, judging by how it begins, and what else
/// the line says.
pub fn programs(output: &str) -> Option<(Vec<&str>, &str)> {
    for (prefix, programs) in OTHER_NAMES {
        if let Some(rest) = output.strip_prefix(prefix)
            && rest.starts_with([':', ' '])
        {
            return Some((programs.to_vec(), rest));
        }
    }
    let (name, rest) = output.split_once(": ")?;
    // make[1], tar (child)
    let name = name.split(['[', ' ']).next()?;
    let is_name = !name.is_empty() && !name.contains(['"', '\'', '=', '(']);
    let is_level = matches!(
        name.to_ascii_lowercase().as_str(),
        "error" | "warning" | "warn" | "info" | "note" | "debug" | "failed" | "usage"
    );
    (is_name && !is_level).then(|| (vec![base_name(name)], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Option<(Option<usize>, Option<&'a str>, Kind)>;

    #[test]
    fn complaints_of_shells_follow_the_table() {
        let table: [(&str, Expected); 19] = [
            (
                "/bin/sh: 3: foo: not found",
                Some((Some(3), Some("foo"), Kind::NotFound)),
            ),
            (
                "sh: 1: ./x.sh: Permission denied",
                Some((Some(1), Some("./x.sh"), Kind::NotExecutable)),
            ),
            (
                "bash: line 2: foo: command not found",
                Some((Some(2), Some("foo"), Kind::NotFound)),
            ),
            (
                "/bin/sh: foo: not found",
                Some((None, Some("foo"), Kind::NotFound)),
            ),
            (
                "/bin/ash: line 4: foo: not found",
                Some((Some(4), Some("foo"), Kind::NotFound)),
            ),
            (
                "zsh:2: command not found: foo",
                Some((Some(2), Some("foo"), Kind::NotFound)),
            ),
            (
                "/dev/pipes/END: 5: foo: not found",
                Some((Some(5), Some("foo"), Kind::NotFound)),
            ),
            (
                "/bin/sh: 2: cannot open missing: No such file",
                Some((Some(2), Some("missing"), Kind::Script)),
            ),
            (
                "/bin/sh: 2: cannot create /x/y: Directory nonexistent",
                Some((Some(2), Some("/x/y"), Kind::Script)),
            ),
            (
                "/bin/sh: can't create /x/y: nonexistent directory",
                Some((None, Some("/x/y"), Kind::Script)),
            ),
            (
                "/bin/sh: 4: Syntax error: \"fi\" unexpected",
                Some((Some(4), Some("fi"), Kind::Script)),
            ),
            (
                "bash: -c: line 4: syntax error near unexpected token `fi'",
                Some((Some(4), Some("fi"), Kind::Script)),
            ),
            (
                "/bin/sh: 2: X: parameter not set",
                Some((Some(2), Some("X"), Kind::Script)),
            ),
            (
                "/bin/bash: line 3: X: unbound variable",
                Some((Some(3), Some("X"), Kind::Script)),
            ),
            (
                "  File \"<stdin>\", line 7, in <module>",
                Some((Some(7), None, Kind::Exception)),
            ),
            ("  File \"/usr/lib/python3/x.py\", line 7, in y", None),
            (
                "Died at /dev/pipes/END line 3.",
                Some((Some(3), None, Kind::Exception)),
            ),
            ("make: *** [all] Error 1", None),
            ("", None),
        ];
        for (output, expected) in table {
            let found = complaint(output, "/bin/sh");
            let found = found.map(|found| (found.line, found.word, found.kind));
            assert_eq!(found, expected, "{output}");
        }
    }

    #[test]
    fn programs_are_known_by_how_their_messages_begin() {
        for (output, expected) in [
            ("cp: cannot stat 'a': No such file", Some(vec!["cp"])),
            ("/usr/bin/ld: cannot find -lx", Some(vec!["ld"])),
            ("make[1]: *** [Makefile:3: a] Error 2", Some(vec!["make"])),
            ("tar (child): a.tgz: Cannot open", Some(vec!["tar"])),
            (
                "E: Unable to locate package x",
                Some(vec!["apt-get", "apt"]),
            ),
            ("npm ERR! code E404", Some(vec!["npm", "npx"])),
            ("fatal: not a git repository", Some(vec!["git"])),
            ("error: could not compile", None),
            ("nothing of the kind", None),
        ] {
            let found = programs(output).map(|(programs, _)| programs);
            assert_eq!(found, expected, "{output}");
        }
    }

    #[test]
    fn traces_are_the_commands_after_plus_signs() {
        assert_eq!(traced("+ cp a b"), Some("cp a b"));
        assert_eq!(traced("++ date"), Some("date"));
        assert_eq!(traced("+x"), None);
        assert_eq!(traced("a + b"), None);
    }
}
