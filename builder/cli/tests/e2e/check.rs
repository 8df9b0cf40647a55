//! Questions about a Dockerfile: `kiln check`, `kiln build --check` and `--call`.

use crate::harness::{Kiln, Ran};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The exit code when a check found something.
const FOUND: i32 = 1;
/// The exit code of a Dockerfile that cannot be built.
const DOCKERFILE: i32 = 3;

const ODD: &str = "FROM scratch as Base\nCOPY secret.pem /\nCMD serve\n";

fn kiln(kiln: &Kiln, arguments: &[&str], path: &Path) -> Ran {
    let mut command = kiln.command();
    command.args(arguments).arg(path);
    Ran::from(command)
}

/// A context with [`ODD`] and an ignore file that keeps the copied file out.
fn odd(kiln: &Kiln) -> std::path::PathBuf {
    let context = kiln.context(ODD);
    fs::write(context.join(".dockerignore"), "*.pem\n").expect("the ignore file");
    fs::write(context.join("secret.pem"), "x").expect("the file");
    context
}

fn rules(answer: &Value) -> Vec<&str> {
    let warnings = answer["warnings"].as_array().expect("warnings");
    let names = warnings.iter().map(|warning| warning["ruleName"].as_str());
    names.map(|name| name.expect("a name")).collect()
}

const RULES: [&str; 4] = [
    "FromAsCasing",
    "StageNameCasing",
    "CopyIgnoredFile",
    "JSONArgsRecommended",
];

#[test]
fn check_lists_warnings_and_builds_nothing() {
    let store = Kiln::new();
    let context = odd(&store);
    for arguments in [&["build", "--check"][..], &["build", "--call=check"]] {
        let ran = kiln(&store, arguments, &context);
        assert_eq!(ran.code, Some(FOUND), "{}", ran.description());
        let start = "Check complete, 4 warnings have been found!\n\nWARNING: FromAsCasing - ";
        assert!(ran.stdout.starts_with(start), "{}", ran.description());
        assert!(
            ran.stdout.contains("   2 | >>> COPY secret.pem /"),
            "{}",
            ran.stdout
        );
    }
    let images = kiln(&store, &["images"], Path::new("--quiet"));
    assert_eq!(images.succeeded().stdout, "");
}

#[test]
fn check_answers_in_json() {
    let store = Kiln::new();
    let context = odd(&store);
    let ran = kiln(&store, &["build", "--call", "check,format=json"], &context);
    assert_eq!(ran.code, Some(FOUND), "{}", ran.description());
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(rules(&answer), RULES);
    assert_eq!(answer["sources"][0]["language"], "Dockerfile");
    let ignored = &["build", "--call", "check,format=json,ignorestatus"];
    kiln(&store, ignored, &context).succeeded();
}

#[test]
fn check_without_findings_succeeds() {
    let store = Kiln::new();
    let ran = kiln(
        &store,
        &["build", "--check"],
        &store.context("FROM scratch\n"),
    );
    assert_eq!(
        ran.succeeded().stdout,
        "Check complete, no warnings found.\n"
    );
}

#[test]
fn check_keeps_warnings_found_before_an_error() {
    let store = Kiln::new();
    let context = store.context("FROM scratch AS Up\nBADCMD\n");
    let ran = kiln(&store, &["build", "--call=check,format=json"], &context);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(rules(&answer), ["StageNameCasing"]);
    let line = &answer["buildError"]["location"]["ranges"][0]["start"]["line"];
    assert_eq!(line, 2);
    ran.failed_saying(FOUND, &["Dockerfile:2:1", "BADCMD"]);
}

#[test]
fn outline_and_targets_are_answered() {
    let store = Kiln::new();
    let context = store.context(
        "# RELEASE is a release\nARG RELEASE=1\nFROM scratch AS base\n\n\
         # final is shipped\nFROM base AS final\nARG RELEASE\n",
    );
    let ran = kiln(&store, &["build", "--call=targets"], &context);
    let table = "TARGET          DESCRIPTION\nbase            \nfinal (default) is shipped\n";
    assert_eq!(ran.succeeded().stdout, table);
    let arguments = ["build", "--call=outline,format=json"];
    let ran = kiln(&store, &arguments, &context).succeeded();
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(answer["name"], "final");
    let argument = &answer["args"][0];
    let shown = json!([argument["name"], argument["value"], argument["description"]]);
    assert_eq!(shown, json!(["RELEASE", "1", "is a release"]));
}

#[test]
fn findings_are_printed_for_people_and_programs() {
    let store = Kiln::new();
    let context = odd(&store);
    let text = kiln(&store, &["check"], &context);
    assert_eq!(text.code, Some(FOUND), "{}", text.description());
    assert!(text.stdout.contains("Dockerfile:2:6"), "{}", text.stdout);
    let json = kiln(&store, &["check", "--format=json"], &context).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let names = |findings: &Value, key: &str| {
        let findings = findings.as_array().expect("findings").clone();
        let names = findings
            .iter()
            .map(|finding| finding[key].as_str().map(str::to_owned));
        names.map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    assert_eq!(names(&json["findings"], "rule"), RULES);
    let sarif = kiln(&store, &["check", "--format=sarif"], &context).stdout;
    let sarif: Value = serde_json::from_str(&sarif).expect("JSON");
    assert_eq!(names(&sarif["runs"][0]["results"], "ruleId"), RULES);
    let github = kiln(&store, &["check", "--format=github"], &context).stdout;
    assert_eq!(github.lines().count(), RULES.len(), "{github}");
    assert!(
        github
            .lines()
            .all(|line| line.starts_with("::warning file=")),
        "{github}"
    );
}

#[test]
fn dockerfile_itself_can_be_named() {
    let store = Kiln::new();
    let context = odd(&store);
    let ran = kiln(&store, &["check"], &context.join("Dockerfile"));
    assert!(
        ran.stdout.contains("CopyIgnoredFile"),
        "{}",
        ran.description()
    );
    let broken = context.join("Broken");
    fs::write(&broken, "FROM scratch\nRUNN x\n").expect("a Dockerfile");
    let ran = kiln(&store, &["check"], &broken);
    assert_eq!(ran.code, Some(DOCKERFILE), "{}", ran.description());
    assert!(ran.stdout.contains("Broken:2:1"), "{}", ran.description());
}

#[test]
fn rules_fail_a_build_whose_dockerfile_asks_for_it() {
    let store = Kiln::new();
    let text = "FROM scratch as base\nCOPY <<A /a\nA\n";
    let context = store.context(&format!("# check=error=true\n{text}"));
    let build = &["build", "--progress=plain"];
    let said = [
        "FromAsCasing",
        "lint violation found for rules: FromAsCasing",
    ];
    kiln(&store, build, &context).failed_saying(DOCKERFILE, &said);
    let context = store.context(text);
    let ran = kiln(&store, build, &context).succeeded();
    let listed = " 1 warning found (`kiln check` shows the lines):\n - FromAsCasing: \
                  'as' and 'FROM' keywords' casing do not match (line 1)\n";
    assert!(ran.stderr.contains(listed), "{}", ran.description());
}

#[test]
fn check_offline_asks_no_registry() {
    let store = Kiln::new();
    let context = store.context("FROM registry.invalid/base AS Base\nENV a b\n");
    let ran = kiln(&store, &["check", "--offline", "--format=github"], &context);
    let titles: Vec<_> = (ran.stdout.lines())
        .filter_map(|line| line.split("title=").nth(1)?.split(':').next())
        .collect();
    assert_eq!(titles, ["StageNameCasing", "LegacyKeyValueFormat"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(FOUND), ""));
}
