//! Here documents: `<<NAME`, `<<-NAME`, `<<"NAME"`.

use std::borrow::Cow;
use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use super::Span;

/// A here document of a RUN, COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, without quotes.
    pub name: String,
    /// The digits before `<<`, or nothing.
    pub file_descriptor: String,
    /// Whether variables in the body are expanded: no part of the delimiter is quoted.
    pub expand: bool,
    /// Whether leading tabs are dropped: `<<-`.
    pub strip_tabs: bool,
    /// The body as written, every line with its line end, terminator excluded.
    pub content: String,
    /// The word `<<NAME`.
    pub span: Span,
    /// The body.
    pub content_span: Span,
}

impl Heredoc {
    /// Returns the body, leading tabs dropped where the heredoc asks for it.
    pub fn body(&self) -> Cow<'_, str> {
        if !self.strip_tabs {
            return Cow::Borrowed(&self.content);
        }
        let lines = self.content.split_inclusive('\n');
        Cow::Owned(lines.map(|line| line.trim_start_matches('\t')).collect())
    }

    /// Returns where `range` of the body stands.
    pub fn place(&self, range: &Range<usize>) -> Span {
        let start = self.source_of(range.start);
        match range.is_empty() {
            true => Span::new(start, start),
            false => {
                let end = self.source_of(range.end - 1) + 1;
                Span::new(start, end.min(self.content_span.end))
            }
        }
    }

    fn source_of(&self, offset: usize) -> usize {
        if !self.strip_tabs {
            return self.content_span.start + offset;
        }
        let (mut left, mut at) = (offset, self.content_span.start);
        for line in self.content.split_inclusive('\n') {
            let kept = line.trim_start_matches('\t').len();
            if left < kept {
                return at + (line.len() - kept) + left;
            }
            left -= kept;
            at += line.len();
        }
        at
    }

    /// Returns body and terminator as they follow the line that announces the heredoc.
    pub fn to_source(&self) -> String {
        format!("{}{}", self.content, self.name)
    }
}

/// A heredoc that a line announces; its body follows the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Where in the line the word `<<NAME` stands.
    pub(crate) range: Range<usize>,
    pub(crate) name: String,
    pub(crate) file_descriptor: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
}

/// Where a delimiter ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimiter {
    /// At white space.
    Word,
    /// At an operator of the shell, too: `<<EOF|sort`.
    Shell,
}

/// Returns the heredocs that `line` announces, in order.
///
/// The escape is `\` whatever the file says. A line that ends within quotes announces
/// nothing: it is not what it seems to be. A `<<` inside `((…))` shifts bits.
pub(crate) fn announced_heredocs(line: &str, delimiter: Delimiter) -> Vec<Announced> {
    let mut scan = Scan {
        line,
        characters: line.char_indices().peekable(),
        delimiter,
    };
    scan.all().unwrap_or_default()
}

struct Scan<'a> {
    line: &'a str,
    characters: Peekable<CharIndices<'a>>,
    delimiter: Delimiter,
}

impl Scan<'_> {
    /// Returns `None` if a quote is not closed.
    fn all(&mut self) -> Option<Vec<Announced>> {
        let mut found = Vec::new();
        let mut arithmetic_depth = 0_usize;
        loop {
            while self
                .characters
                .next_if(|(_, character)| character.is_whitespace())
                .is_some()
            {}
            let Some((start, _)) = self.characters.peek().copied() else {
                return Some(found);
            };
            if arithmetic_depth == 0
                && let Some(heredoc) = self.heredoc(start)?
            {
                found.push(heredoc);
                continue;
            }
            let end = self.word(|_| false)?.end;
            if self.delimiter == Delimiter::Shell {
                let word = &self.line[start..end];
                let opened = usize::from(word.starts_with("((")) + word.matches("$((").count();
                arithmetic_depth += opened;
                arithmetic_depth = arithmetic_depth.saturating_sub(word.matches("))").count());
            }
        }
    }

    /// Returns the heredoc that starts at `start`, a word's start; else takes nothing.
    fn heredoc(&mut self, start: usize) -> Option<Option<Announced>> {
        let text = &self.line[start..];
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Some(after) = text[digits..].strip_prefix("<<") else {
            return Some(None);
        };
        let strip_tabs = after.starts_with('-');
        let after = after.strip_prefix('-').unwrap_or(after).trim_start();
        if after.is_empty() || after.starts_with('<') {
            return Some(None);
        }
        let mut ahead = Scan {
            line: self.line,
            characters: self.characters.clone(),
            delimiter: self.delimiter,
        };
        ahead.skip_to(self.line.len() - after.len());
        let is_operator = self.delimiter == Delimiter::Shell;
        let word =
            ahead.word(|c| is_operator && matches!(c, '|' | '&' | ';' | '<' | '>' | '(' | ')'))?;
        if word.text.is_empty() && !word.is_quoted || word.text.contains('<') {
            return Some(None);
        }
        self.skip_to(word.end);
        Some(Some(Announced {
            range: start..word.end,
            name: word.text,
            file_descriptor: text[..digits].to_owned(),
            expand: !word.is_quoted,
            strip_tabs,
        }))
    }

    fn skip_to(&mut self, offset: usize) {
        while self.characters.next_if(|(at, _)| *at < offset).is_some() {}
    }

    /// Takes a word up to white space or a character that `ends` it, outside of quotes and
    /// of `${…}`. Returns `None` if a quote is not closed.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> Option<DelimiterWord> {
        let mut word = DelimiterWord {
            text: String::new(),
            is_quoted: false,
            end: self.line.len(),
        };
        let mut quote = None;
        let mut braces = 0_usize;
        while let Some((at, character)) = self.characters.peek().copied() {
            let is_outside = quote.is_none() && braces == 0;
            if is_outside && (character.is_whitespace() || ends(character)) {
                word.end = at;
                return Some(word);
            }
            self.characters.next();
            match (quote, character) {
                (None | Some('"'), '\\') => word.text.extend(self.escaped(quote)),
                (Some(open), _) if open == character => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.is_quoted = true;
                }
                _ => {
                    let opens = character == '{' && word.text.ends_with('$');
                    braces += usize::from(opens);
                    braces -= usize::from(character == '}' && braces > 0);
                    word.text.push(character);
                }
            }
        }
        quote.is_none().then_some(word)
    }

    fn escaped(&mut self, quote: Option<char>) -> impl Iterator<Item = char> + use<> {
        let next = self.characters.next().map(|(_, character)| character);
        // Between double quotes the escape stays before what needs none.
        let is_kept = quote.is_some() && !matches!(next, Some('"' | '$' | '\\'));
        is_kept.then_some('\\').into_iter().chain(next)
    }
}

struct DelimiterWord {
    text: String,
    is_quoted: bool,
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str, delimiter: Delimiter) -> Vec<String> {
        announced_heredocs(line, delimiter)
            .into_iter()
            .map(|heredoc| heredoc.name)
            .collect()
    }

    #[test]
    fn words_of_a_line_announce_heredocs() {
        let cases: [(&str, &[&str]); 22] = [
            ("<<EOF", &["EOF"]),
            ("<<-EOF", &["EOF"]),
            ("<< EOF", &["EOF"]),
            ("<<- EOF > x", &["EOF"]),
            ("<< -EOF", &["-EOF"]),
            ("4<<EOF", &["EOF"]),
            ("cat <<A <<B", &["A", "B"]),
            ("<<file.txt /dest", &["file.txt"]),
            ("<<'one two'", &["one two"]),
            (r"<<eo\'f", &["eo'f"]),
            (r"<<'e'o\'f", &["eo'f"]),
            ("<<$EOF", &["$EOF"]),
            ("cat <<${X:-a b}", &["${X:-a b}"]),
            ("'<<EOF'", &[]),
            ("\"<<EOF\"", &[]),
            ("<<<EOF", &[]),
            ("<EOF", &[]),
            ("<<", &[]),
            ("<<-", &[]),
            ("a<<EOF", &[]),
            ("it's <<EOF", &[]),
            ("<<'EOF", &[]),
        ];
        for (line, expected) in cases {
            for delimiter in [Delimiter::Word, Delimiter::Shell] {
                assert_eq!(names(line, delimiter), expected, "{line}");
            }
        }
    }

    #[test]
    fn shell_operator_ends_a_delimiter_in_run_alone() {
        assert_eq!(names("cat <<EOF|sort", Delimiter::Shell), ["EOF"]);
        assert_eq!(names("cat <<EOF>out", Delimiter::Shell), ["EOF"]);
        assert_eq!(names("<<a&b /dest", Delimiter::Word), ["a&b"]);
    }

    #[test]
    fn shift_in_shell_arithmetic_announces_nothing() {
        assert!(names("echo $((1 << 2)) $(( 1 <<2 ))", Delimiter::Shell).is_empty());
        assert_eq!(names("echo $((1 << 2)) <<EOF", Delimiter::Shell), ["EOF"]);
    }

    #[test]
    fn quoted_delimiter_keeps_variables() {
        let cases = [
            ("<<EOF", true),
            ("<<'EOF'", false),
            ("<<E\"O\"F", false),
            (r"<<E\'F", true),
        ];
        for (line, expand) in cases {
            assert_eq!(
                announced_heredocs(line, Delimiter::Word)[0].expand,
                expand,
                "{line}"
            );
        }
    }

    #[test]
    fn place_in_a_body_is_found_past_the_tabs_that_are_dropped() {
        let content = "\ta b\n\t\t\nc\n\t\td".to_owned();
        let heredoc = |strip_tabs| Heredoc {
            name: "A".to_owned(),
            file_descriptor: String::new(),
            expand: true,
            strip_tabs,
            content: content.clone(),
            span: Span::default(),
            content_span: Span::new(100, 100 + content.len()),
        };
        let place = |strip_tabs, text: &str| {
            let heredoc = heredoc(strip_tabs);
            let start = heredoc.body().find(text).expect("the text");
            let place = heredoc.place(&(start..start + text.len()));
            content[place.start - 100..place.end - 100].to_owned()
        };
        for text in ["a", "b", "c", "d", "b\n"] {
            assert_eq!(place(true, text), text);
            assert_eq!(place(false, text), text);
        }
        assert_eq!(place(true, "b\n\nc"), "b\n\t\t\nc");
        assert_eq!(heredoc(true).place(&(50..60)), Span::new(113, 113));
    }

    #[test]
    fn heredoc_knows_its_descriptor_and_tabs() {
        let heredoc = announced_heredocs("x 3<<-A y", Delimiter::Shell).remove(0);
        assert_eq!(
            (heredoc.file_descriptor.as_str(), heredoc.strip_tabs),
            ("3", true)
        );
        assert_eq!(heredoc.range, 2..7);
    }
}
