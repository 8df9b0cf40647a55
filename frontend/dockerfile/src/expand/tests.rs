use super::*;
use std::time::{Duration, Instant};

const VARIABLES: [(&str, &str); 8] = [
    ("x", "value"),
    ("empty", ""),
    ("path", "/usr/local/lib/libfoo.so.1"),
    ("words", "one two"),
    ("star", "a*b*c"),
    ("größe", "10"),
    ("y", "x"),
    ("slashes", "a/b/c"),
];

fn expanded(text: &str) -> String {
    match expand(text, '\\', Quotes::Remove, &VARIABLES[..]) {
        Ok(expansion) => expansion.text,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn words_are_expanded_as_the_table_says() {
    let table = [
        ("", ""),
        ("plain", "plain"),
        ("$x", "value"),
        ("a$x.b", "avalue.b"),
        ("${x}y", "valuey"),
        ("$größe", "10"),
        ("$unset", ""),
        ("a${unset}b", "ab"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$.", "$."),
        ("$12a", "a"),
        ("$@$*", ""),
        ("$$x", "x"),
        ("\\$x", "$x"),
        ("\\\\$x", "\\value"),
        ("a\\b", "ab"),
        ("end\\", "end"),
        ("${x:-d}", "value"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${unset-d}", "d"),
        ("${unset:-$x}", "value"),
        ("${unset:-${unset:-deep}}", "deep"),
        ("${unset:-a b}", "a b"),
        ("${unset:-\"a}b\"}", "a}b"),
        ("${unset:-a\\}b}", "a}b"),
        ("${x:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${x:?m}", "value"),
        ("${x?m}", "value"),
        ("${empty?m}", ""),
        ("${unset:?must be given}", "error: unset: must be given"),
        ("${unset?}", "error: unset: is not allowed to be unset"),
        ("${empty:?}", "error: empty: is not allowed to be empty"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn prefixes_suffixes_and_replacements_follow_the_table() {
    let table = [
        ("${path#*/}", "usr/local/lib/libfoo.so.1"),
        ("${path##*/}", "libfoo.so.1"),
        ("${path%.*}", "/usr/local/lib/libfoo.so"),
        ("${path%%.*}", "/usr/local/lib/libfoo"),
        ("${path%/*}", "/usr/local/lib"),
        ("${x#v?l}", "ue"),
        ("${x#nothing}", "value"),
        ("${x%ue}", "val"),
        ("${x#}", "value"),
        ("${star#a\\*}", "b*c"),
        ("${star%%\\**}", "a"),
        ("${x/l/L}", "vaLue"),
        ("${path/lib/LIB}", "/usr/local/LIB/libfoo.so.1"),
        ("${path//lib/LIB}", "/usr/local/LIB/LIBfoo.so.1"),
        ("${path//l*/L}", "/usr/L"),
        ("${slashes//\\//-}", "a-b-c"),
        ("${slashes/\\//\\}}", "a\\}b/c"),
        ("${slashes//\\//\\/}", "a\\/b\\/c"),
        ("${slashes/'/'/'}'}", "a}b/c"),
        ("${x//?/$y}", "xxxxx"),
        ("${x//a/}", "vlue"),
        ("${x/a/'$0$1'}", "v$0$1lue"),
        ("${x//a/'<$0$1${0}$$${1}$>$'}", "v<aa$$>$lue"),
        ("${x//a/'${0'}", "v${0lue"),
        ("${x//a/\\$1}", "v\\lue"),
        ("${x//$unset/-}", "-v-a-l-u-e-"),
        ("${x/$unset/-}", "-value"),
        ("${x//*/-}", "-"),
        ("${empty/*/-}", "-"),
        ("${empty//?/-}", ""),
        ("${slashes//?\\//-}", "--c"),
        ("${slashes//\\/*/-}", "a-"),
        ("${x/*l/-}", "-ue"),
        ("${x//nothing*/-}", "value"),
        ("${star//\"\\*\"/-}", "a-b-c"),
        ("${star#\"a\\\\*\"}", "a*b*c"),
        ("${unset/a/b}", ""),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn quotes_group_and_vanish() {
    let table = [
        ("'$x'", "$x"),
        ("'a\\b'", "a\\b"),
        ("\"$x\"", "value"),
        ("\"\\$x\"", "$x"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"a\\\\b\"", "a\\b"),
        ("\"a\\b\"", "a\\b"),
        ("\"it's\"", "it's"),
        ("a'b c'd", "ab cd"),
        ("'open", "error: missing ' at the end of the word"),
        ("\"open", "error: missing \" at the end of the word"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn malformed_substitutions_are_errors() {
    let table = [
        ("${", "error: missing } at the end of the word"),
        ("${x", "error: missing } at the end of the word"),
        ("${x:-a", "error: missing } at the end of the word"),
        ("${x/a}", "error: missing / at the end of the word"),
        ("${x/a/b", "error: missing } at the end of the word"),
        ("${}", "error: bad substitution `${}`"),
        ("${:x}", "error: bad substitution `${:`"),
        ("${{x}", "error: bad substitution `${{`"),
        (
            "${x:#a}",
            "error: unsupported modifier `:#` in the substitution of `x`",
        ),
        (
            "${x^}",
            "error: unsupported modifier `^` in the substitution of `x`",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn words_split_at_white_space_that_is_not_quoted() {
    let table: [(&str, &[&str]); 9] = [
        ("", &[]),
        ("  ", &[]),
        ("a b", &["a", "b"]),
        ("$words", &["one", "two"]),
        ("\"$words\"", &["one two"]),
        ("a$words", &["aone", "two"]),
        ("a\\ b c", &["a b", "c"]),
        ("''", &[""]),
        ("$empty", &[]),
    ];
    for (text, expected) in table {
        let words = expand(text, '\\', Quotes::Remove, &VARIABLES[..]).expect("expands");
        assert_eq!(words.words, expected, "{text}");
    }
}

#[test]
fn kept_quotes_are_ordinary_characters() {
    let text = "it's \"$x\" \\$x \\\\\n";
    let expansion = expand(text, '\\', Quotes::Keep, &VARIABLES[..]).expect("expands");
    assert_eq!(expansion.text, "it's \"value\" $x \\\n");
}

#[test]
fn backtick_can_be_the_escape() {
    let expansion = expand("c:\\a`$x", '`', Quotes::Remove, &VARIABLES[..]).expect("expands");
    assert_eq!(expansion.text, "c:\\a$x");
}

#[test]
fn unset_variables_without_default_are_reported() {
    let text = "$a ${b:-} ${c+} $x ü${d%x}";
    let expansion = expand(text, '\\', Quotes::Remove, &VARIABLES[..]).expect("expands");
    let unset: Vec<_> = expansion
        .unset
        .iter()
        .map(|unset| (unset.name.as_str(), &text[unset.range.clone()]))
        .collect();
    assert_eq!(unset, [("a", "$a"), ("d", "${d%x}")]);
    assert_eq!(expansion.used, ["a", "b", "c", "x", "d"]);
}

#[test]
fn error_knows_its_place() {
    let table = [
        ("ü'open", "'open"),
        ("a\"b$x", "\"b$x"),
        ("a${x:-b}${y", "${y"),
        ("${x:-${y:-b", "${y:-b"),
        ("a${}b", "${}"),
        ("a${x^}b", "${x^"),
        ("a${x:#b}", "${x:#"),
        ("a${unset:?b}c", "${unset:?b}"),
    ];
    for (text, expected) in table {
        let error = expand(text, '\\', Quotes::Remove, &VARIABLES[..]).expect_err(text);
        assert_eq!(&text[error.range], expected, "{text}");
    }
}

#[test]
fn backslash_escapes_in_patterns_whatever_the_escape_is() {
    let variables = [("path", "a\\b*c")];
    for (text, expected) in [
        ("${path//\\\\//}", "a/b*c"),
        ("${path%\\*c}", "a\\b"),
        ("${path%`*c}", "a\\b"),
    ] {
        let expansion = expand(text, '`', Quotes::Remove, &variables[..]).expect("expands");
        assert_eq!(expansion.text, expected, "{text}");
    }
}

#[test]
fn matching_takes_a_bounded_time() {
    let value = "a".repeat(1 << 20);
    let variables = [("v", value.as_str())];
    let half = "a".repeat(1 << 19);
    for text in [
        format!("${{v%%*{half}b}}"),
        "${v//a*b/c}".to_owned(),
        "${v#*a*a*a*a*b}".to_owned(),
        "${v//a/b}".to_owned(),
        format!("${{v//a/{half}}}"),
        "${v//$none/b}".to_owned(),
        "${none+${v//a/bb}}".repeat(4000),
        "${none:+$v}".repeat(4000),
    ] {
        let started = Instant::now();
        let _ = expand(&text, '\\', Quotes::Remove, &variables[..]);
        let elapsed = started.elapsed();
        assert!(
            elapsed < Duration::from_secs(30),
            "{elapsed:?} {:.20}",
            text
        );
    }
    let text = format!("${{v##*{half}b}}");
    let result = expand(&text, '\\', Quotes::Remove, &variables[..]);
    let kind = result.map(|_| ()).map_err(|error| error.kind);
    assert_eq!(kind, Err(ExpandErrorKind::TooComplex));
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let nested = |depth: usize| format!("{}x{}", "${a:-".repeat(depth), "}".repeat(depth));
    assert_eq!(expanded(&nested(100)), "x");
    let expected = "error: substitutions lie more than 100 deep in each other";
    assert_eq!(expanded(&nested(101)), expected);
    assert_eq!(expanded(&"${a:-".repeat(100_000)), expected);
}
