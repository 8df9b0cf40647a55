use super::*;

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
        ("${slashes/\\//\\}}", "a}b/c"),
        ("${x//?/$y}", "xxxxx"),
        ("${x//a/}", "vlue"),
        ("${x//a/\\$1}", "v$1lue"),
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
    let text = "$a ${b:-} ${c+} $x";
    let expansion = expand(text, '\\', Quotes::Remove, &VARIABLES[..]).expect("expands");
    assert_eq!(expansion.unset, ["a"]);
    assert_eq!(expansion.used, ["a", "b", "c", "x"]);
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let text = "${a:-".repeat(100_000);
    assert!(expanded(&text).starts_with("error: bad substitution"));
}
