//! A logical line as an instruction reads it: keyword, flags, arguments, heredocs.

use std::ops::Range;

use crate::diagnostic::{Code, Diagnostic, quoted, with_suggestion};
use crate::syntax::{
    Escape, Flag, Fragment, Heredoc, JsonForm, Word, cut_flags, json_form, malformed_json,
};

/// A line, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Head<'a> {
    /// The first word.
    pub(super) keyword: Fragment<'a>,
    /// The flags after it.
    pub(super) flags: Vec<Flag<'a>>,
    /// What follows the flags.
    pub(super) arguments: Fragment<'a>,
}

impl<'a> Head<'a> {
    pub(super) fn of(line: Fragment<'a>) -> Self {
        let (keyword, rest) = line.trim().cut_word();
        let (flags, arguments) = cut_flags(rest);
        Self {
            keyword,
            flags,
            arguments,
        }
    }
}

/// A heredoc and where in the arguments it is announced.
#[derive(Debug, Clone)]
pub(super) struct PlacedHeredoc {
    pub(super) range: Range<usize>,
    pub(super) heredoc: Heredoc,
}

/// What an instruction is made from.
#[derive(Debug)]
pub(super) struct Line<'a, 'f> {
    /// The instruction's name in upper case, for messages.
    pub(super) name: &'static str,
    pub(super) keyword: Fragment<'a>,
    pub(super) flags: Vec<Flag<'a>>,
    pub(super) arguments: Fragment<'a>,
    pub(super) heredocs: Vec<PlacedHeredoc>,
    pub(super) escape: Escape,
    /// Where findings go that don't end the parse of the line.
    pub(super) findings: &'f mut Vec<Diagnostic>,
}

/// The most findings about the flags of one line; each takes time to word.
const MOST_FINDINGS: usize = 20;

impl<'a> Line<'a, '_> {
    /// Finds the flags that are not among `known`, and those that stand twice unless they
    /// are among `lists`.
    pub(super) fn check_flags(&mut self, known: &[&str], lists: &[&str]) {
        let most_findings = self.findings.len() + MOST_FINDINGS;
        for index in 0..self.flags.len() {
            if self.findings.len() >= most_findings {
                break;
            }
            let flag = &self.flags[index];
            let finding = if !known.contains(&flag.name.as_str()) {
                self.unknown_flag(flag, known)
            } else if !lists.contains(&flag.name.as_str())
                && let Some(first) = self.flags[..index]
                    .iter()
                    .find(|other| other.name == flag.name)
            {
                let message = format!("flag `--{}` stands twice", flag.name);
                Diagnostic::error(Code::DUPLICATE_FLAG, flag.name_span, message)
                    .with_label(first.name_span, "first here")
            } else {
                continue;
            };
            self.findings.push(finding);
        }
    }

    /// Warns about words that would be flags among `known` if they stood before the arguments.
    pub(super) fn check_late_flags(&mut self, known: &[&str]) {
        let Some((_, rest)) = self.arguments.text().split_once(" --") else {
            return;
        };
        let start = self.arguments.text().len() - rest.len() - 2;
        for word in self
            .arguments
            .skip(start)
            .words()
            .into_iter()
            .take(MOST_FINDINGS)
        {
            let name = word.text().strip_prefix("--").unwrap_or_default();
            let name = name.split_once('=').map_or(name, |(name, _)| name);
            if known.contains(&name) {
                let message =
                    format!("`--{name}` stands after a path and is read as a path itself");
                let finding = Diagnostic::warning(Code::LATE_FLAG, word.span(), message);
                let help = format!("flags stand right after {}", self.name);
                self.findings.push(finding.with_help(help));
            }
        }
    }

    fn unknown_flag(&self, flag: &Flag<'_>, known: &[&str]) -> Diagnostic {
        let name = quoted(&format!("--{}", flag.name));
        let message = format!("unknown flag {name} for {}", self.name);
        let finding = Diagnostic::error(Code::UNKNOWN_FLAG, flag.name_span, message);
        let finding = match known {
            [] => finding.with_help(format!("{} has no flags", self.name)),
            _ => finding.with_help(format!("{} knows --{}", self.name, known.join(", --"))),
        };
        with_suggestion(finding, &flag.name, "--", known)
    }

    /// Returns those of `parts` that are right; finds what is wrong with the others.
    pub(super) fn right_ones<T>(
        &mut self,
        parts: impl Iterator<Item = Result<T, Diagnostic>>,
    ) -> Vec<T> {
        let mut right = Vec::with_capacity(parts.size_hint().0);
        let most_findings = self.findings.len() + MOST_FINDINGS;
        for part in parts {
            match part {
                Ok(part) => right.push(part),
                Err(finding) if self.findings.len() < most_findings => self.findings.push(finding),
                Err(_) => {}
            }
        }
        right
    }

    /// Warns about flags on an instruction that reads none.
    pub(super) fn ignore_flags(&mut self) {
        for flag in &self.flags {
            let name = quoted(&format!("--{}", flag.name));
            let message = format!("{} has no flags: {name} is ignored", self.name);
            let finding = Diagnostic::warning(Code::IGNORED_FLAG, flag.name_span, message);
            self.findings.push(finding);
        }
    }

    /// Returns the flags `name`, each with its value; finds those without one.
    pub(super) fn valued_flags(&mut self, name: &str) -> Vec<(Flag<'a>, Word)> {
        let mut valued = Vec::new();
        for flag in self.flags.iter().filter(|flag| flag.name == name) {
            match &flag.value {
                Some(value) => valued.push((flag.clone(), value.clone())),
                None => self.findings.push(missing_value(flag)),
            }
        }
        valued
    }

    /// Returns the values of the flags `name`.
    pub(super) fn flag_words(&mut self, name: &str) -> Vec<Word> {
        self.valued_flags(name)
            .into_iter()
            .map(|(_, value)| value)
            .collect()
    }

    /// Returns the value of the flag `name`.
    pub(super) fn flag_word(&mut self, name: &str) -> Option<Word> {
        // Most lines have no flags, and are asked for several.
        if self.flags.is_empty() {
            return None;
        }
        self.flag_words(name).into_iter().next()
    }

    /// Returns whether the flag `name` is on; `None` without it.
    pub(super) fn flag_boolean(&mut self, name: &str) -> Option<bool> {
        let flag = self.flags.iter().find(|flag| flag.name == name)?;
        let Some(value) = &flag.value else {
            return Some(true);
        };
        match value.text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let value_text = quoted(&value.text);
                let message = format!("flag `--{name}` is true or false, not {value_text}");
                let finding = Diagnostic::error(Code::INVALID_FLAG_VALUE, value.span, message);
                self.findings.push(finding);
                None
            }
        }
    }

    /// Returns the one value of the flag `name` among `choices`, by name.
    pub(super) fn flag_choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.flag_word(name)?;
        let choice = choices.iter().find(|(choice, _)| *choice == value.text);
        if choice.is_none() {
            let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
            let message = format!("{} is no value of `--{name}`", quoted(&value.text));
            let finding = Diagnostic::error(Code::INVALID_FLAG_VALUE, value.span, message)
                .with_help(format!("it is one of {}", names.join(", ")));
            self.findings
                .push(with_suggestion(finding, &value.text, "", &names));
        }
        choice.map(|(_, choice)| *choice)
    }

    /// Returns an error about the instruction as a whole: an argument is missing.
    pub(super) fn missing(&self, what: &str) -> Diagnostic {
        let message = format!("{} needs {what}", self.name);
        Diagnostic::error(Code::MISSING_ARGUMENT, self.keyword.span(), message)
    }

    /// Returns the rest of the line as one word.
    pub(super) fn rest(&self, what: &str) -> Result<Word, Diagnostic> {
        match self.arguments.is_empty() {
            true => Err(self.missing(what)),
            false => Ok(self.arguments.word()),
        }
    }

    /// Returns the words of the line.
    pub(super) fn words(&self) -> Vec<Word> {
        self.arguments
            .words()
            .into_iter()
            .map(Fragment::word)
            .collect()
    }

    /// Returns the arguments if they are in the JSON form.
    ///
    /// Errors: an array that holds something other than strings.
    pub(super) fn json(&self) -> Result<Option<Vec<Word>>, Diagnostic> {
        json_strings(self.arguments)
    }
}

/// Warns of `arguments` that look like the JSON form and are read as another one.
pub(super) fn check_json(instruction: &str, arguments: Fragment<'_>) -> Option<Diagnostic> {
    let malformed = malformed_json(arguments)?;
    if !matches!(
        instruction,
        "RUN" | "CMD" | "ENTRYPOINT" | "COPY" | "ADD" | "VOLUME"
    ) {
        return None;
    }
    let message = "this looks like the JSON form but is no JSON, and is read as other text";
    let finding = Diagnostic::warning(Code::INVALID_JSON_FORM, malformed.span, message);
    Some(match malformed.help {
        Some(help) => finding.with_help(help),
        None => finding,
    })
}

/// Returns the strings of `arguments` if they are in the JSON form.
pub(super) fn json_strings(arguments: Fragment<'_>) -> Result<Option<Vec<Word>>, Diagnostic> {
    match json_form(arguments) {
        JsonForm::Strings(words) => Ok(Some(words)),
        JsonForm::Absent => Ok(None),
        JsonForm::OtherValue(span) => {
            let message = "a JSON array of arguments holds strings only";
            let error = Diagnostic::error(Code::INVALID_JSON_FORM, span, message);
            Err(error.with_help("put the value in double quotes"))
        }
    }
}

fn missing_value(flag: &Flag<'_>) -> Diagnostic {
    let message = format!("flag `--{}` needs a value", flag.name);
    Diagnostic::error(Code::INVALID_FLAG_VALUE, flag.name_span, message)
        .with_help(format!("write it as `--{}=VALUE`", flag.name))
}
