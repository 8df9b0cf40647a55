//! Templates beside what Go makes of them.

use super::Template;
use serde_json::{Value, json};

fn image() -> Value {
    json!({
        "Repository": "app", "Tag": "1", "Size": 1024, "Id": "sha256:0123456789abcdef",
        "Labels": {"b": "2", "a": "1"}, "Env": ["A=1", "B=2"], "Cmd": null, "Quiet": false,
    })
}

fn apply(template: &str) -> String {
    let template = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    template
        .apply(&image())
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn values_are_printed_as_go_prints_them() {
    let table = [
        ("{{.Repository}}:{{ .Tag }}", "app:1"),
        ("{{.Labels}} {{.Env}}", "map[a:1 b:2] [A=1 B=2]"),
        (
            "{{.Cmd}} {{.Labels.c}} {{.Quiet}} {{.Size}}",
            "<no value> <no value> false 1024",
        ),
        ("{{json .Env}}{{json .Cmd}}", r#"["A=1","B=2"]null"#),
        ("{{\"a\\tb\"}}{{`c\\t`}}", "a\tbc\\t"),
        ("a {{- .Tag -}} b", "a1b"),
        ("a{{/* nothing */}}b", "ab"),
    ];
    for (template, expected) in table {
        assert_eq!(apply(template), expected, "{template}");
    }
}

#[test]
fn actions_choose_and_repeat() {
    let table = [
        ("{{if .Cmd}}x{{else if .Tag}}y{{else}}z{{end}}", "y"),
        ("{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        (
            "{{range $i, $e := .Env}}{{if $i}},{{end}}{{$e}}{{end}}",
            "A=1,B=2",
        ),
        (
            "{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}",
            "a=1;b=2;",
        ),
        ("{{range .Cmd}}x{{else}}none{{end}}", "none"),
        (
            "{{with .Labels}}{{.a}}{{$.Tag}}{{end}}{{with .Cmd}}x{{else}}y{{end}}",
            "11y",
        ),
        ("{{$x := .Tag}}{{$x}}{{$x = \"2\"}}{{$x}}", "12"),
        ("{{$l := .Labels}}{{$l.b}}{{(index $.Env 0) | len}}", "23"),
    ];
    for (template, expected) in table {
        assert_eq!(apply(template), expected, "{template}");
    }
}

#[test]
fn functions_are_gos_and_those_of_dockers_command_line() {
    let table = [
        ("{{join .Env \", \"}}", "A=1, B=2"),
        ("{{upper .Repository}}{{title \"a bc\"}}", "APPA Bc"),
        ("{{truncate .Id 9}}", "sha256:01"),
        ("{{slice .Id 7 10}}", "012"),
        ("{{index (split .Id \":\") 0}}", "sha256"),
        (
            "{{.Tag | printf \"%s-%5s|%-3s|\" .Repository \"x\"}}",
            "app-    x|1  |",
        ),
        (
            "{{if and .Tag (eq .Size 1024) (not .Quiet)}}yes{{end}}",
            "yes",
        ),
        (
            "{{or .Cmd .Tag}}{{eq .Tag \"3\" \"1\"}}{{lt 1 2}}",
            "1truetrue",
        ),
        ("{{printf \"%q %d%%\" .Tag .Size}}", "\"1\" 1024%"),
        ("{{print 1 2 \"a\" 3}}", "1 2a3"),
        ("[{{pad .Tag 1 2}}]", "[ 1  ]"),
    ];
    for (template, expected) in table {
        assert_eq!(apply(template), expected, "{template}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let table = [
        ("{{.Tag", "`{{` is not closed"),
        ("{{if .Tag}}", "`{{if}}` is not closed"),
        ("{{end}}", "closes nothing"),
        (
            "{{.Nme}}",
            "there is no field `.Nme`; there are Repository, Tag",
        ),
        (
            "{{frob .Tag}}",
            "there is no function `frob`; there are and",
        ),
        ("{{template \"a\"}}", "`template` is not supported"),
        ("{{index .Env 7}}", "no element 7 in a list of 2"),
        ("{{.Tag.X}}", "no field `.X` in a text"),
        ("{{$x}}", "no variable `$x`"),
        ("{{(.Tag}}", "`(` is not closed"),
        ("{{}}", "a value is missing"),
        ("{{.Tag .Size}}", "only functions take some"),
        ("{{len}}", "does not take 0 arguments"),
        ("{{\"a}}", "not closed"),
    ];
    for (template, expected) in table {
        let result = Template::parse(template).and_then(|parsed| parsed.apply(&image()));
        let error = result.expect_err(template).to_string();
        assert!(error.contains(expected), "{template}: {error}");
    }
    assert!(Template::parse(&"{{if 1}}".repeat(1000)).is_err());
    assert!(Template::parse(&format!("{{{{{}}}}}", "(".repeat(1000))).is_err());
}

#[test]
fn titles_pass_through_functions() {
    let titles = json!({"Tag": "TAG", "Labels": "LABELS"});
    let template = Template::parse("{{upper .Tag}}\t{{json .Labels}}{{truncate .Tag 1}}").unwrap();
    assert_eq!(template.apply_to_titles(&titles).unwrap(), "TAG\tLABELSTAG");
}
