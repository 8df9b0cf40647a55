//! What is checked, what comes of it, and where comments stand.

use super::*;

#[test]
fn comment_above_a_definition_describes_it_where_that_is_asked_for() {
    let good = "# check=skip=all;experimental=InvalidDefinitionDescription
# foo this is the foo
ARG foo=bar

# base this is the base image
FROM scratch AS base

# version this is the version number
ARG version=latest

# baz this is the baz
ARG foo=baz bar=qux baz=quux
#
ARG bit=bat

# comment for something else
COPY Dockerfile .
";
    expect(good, &options(), &[]);
    let bad = "# check=experimental=InvalidDefinitionDescription
# bar this is the bar
ARG foo=bar
# BasE this is the BasE image
FROM scratch AS base
# definitely a bad comment
ARG version=latest
# definitely a bad comment
ARG foo=baz bar=qux baz=quux
";
    let finding = |line: usize, keyword: &str, example: &str| {
        format!(
            "{line} InvalidDefinitionDescription: Comment for {keyword} should follow the format: `# {example} <description>`"
        )
    };
    let expected = [
        finding(3, "ARG", "foo"),
        finding(5, "FROM", "base"),
        finding(7, "ARG", "version"),
        finding(9, "ARG", "<arg_key>"),
    ];
    assert_eq!(found(bad, &options()), expected);
    let unasked = bad.replace("# check=experimental=InvalidDefinitionDescription\n", "");
    expect(&unasked, &options(), &[]);
}

#[test]
fn file_says_which_rules_are_checked_and_whether_they_fail_the_build() {
    let text = |check: &str| format!("{check}FROM scratch as base\ncopy Dockerfile .\n");
    let casing =
        |line: usize| format!("{line} FromAsCasing: 'as' and 'FROM' keywords' casing do not match");
    let violation = "2 LintViolation: lint violation found for rules: FromAsCasing".to_owned();
    let cases = [
        ("#check=skip=all\n", vec![]),
        ("#check=skip=all;error=true\n", vec![]),
        (
            "#check=skip=ConsistentInstructionCasing,FromAsCasing\n",
            vec![],
        ),
        ("#check=skip=ConsistentInstructionCasing\n", vec![casing(2)]),
        (
            "#check=skip=ConsistentInstructionCasing;error=true\n",
            vec![casing(2), violation.clone()],
        ),
    ];
    for (check, expected) in cases {
        assert_eq!(found(&text(check), &options()), expected, "{check}");
    }
    let argument = |value: &str| argument("BUILDKIT_DOCKERFILE_CHECK", value);
    assert_eq!(
        found(
            &text("#check=skip=all\n"),
            &argument("skip=ConsistentInstructionCasing;error=true")
        ),
        [casing(2), violation]
    );
    assert_eq!(
        found(&text("#check=error=true\n"), &argument("skip=all")),
        [""; 0]
    );
    assert_eq!(
        found(&text(""), &argument("nonsense")),
        ["0 InvalidDirective: build argument BUILDKIT_DOCKERFILE_CHECK: `nonsense` has no value"]
    );
}

#[test]
fn comment_above_an_instruction_skips_rules_for_it() {
    for text in [
        "FROM scratch\n# check=skip=JSONArgsRecommended\nCMD a",
        "FROM scratch\n# check=skip=JSONArgsRecommended\n# more\nENTRYPOINT a",
        "FROM scratch\n# check=skip=MaintainerDeprecated\nMAINTAINER me",
        "FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV a b",
        "FROM scratch\n# check=skip=WorkdirRelativePath\nWORKDIR app/",
        "\n# check=skip=RedundantTargetPlatform\nFROM --platform=$TARGETPLATFORM scratch",
        "FROM scratch\nCMD [\"a\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"b\"]",
    ] {
        expect(text, &options(), &[]);
    }
    let apart = "FROM scratch\n# check=skip=MaintainerDeprecated\n\nMAINTAINER me";
    let findings = found(apart, &options());
    assert!(
        findings[1].starts_with("4 MaintainerDeprecated"),
        "{findings:?}"
    );
}

#[test]
fn check_that_says_nothing_is_found() {
    let cases = [
        (
            "# check=skip=Nothing\nFROM scratch",
            "0 InvalidCheck: `Nothing` is not a rule",
        ),
        (
            "FROM scratch\n# check=skp=all\nUSER a",
            "0 InvalidCheck: unknown option `skp` in `check`",
        ),
        (
            "FROM scratch\n# check=skip=all\n\nUSER a",
            "0 InvalidCheck: `check` stands right above no instruction",
        ),
        (
            "FROM scratch\n# check=error=true\nUSER a",
            "0 InvalidCheck: above an instruction, only `skip` has a meaning",
        ),
    ];
    for (text, expected) in cases {
        expect(text, &options(), &[expected]);
    }
}

#[test]
fn own_rules_fail_no_build() {
    let text = "# syntax=example.com/own\n# check=error=true\nFROM scratch\nARG --x a\n";
    let expected = [
        "0 OtherFrontend: frontend `example.com/own` is not run: the file is read as a Dockerfile",
        "4 IgnoredFlag: ARG has no flags: `--x` is ignored",
    ];
    expect(text, &options(), &expected);
}

#[test]
fn warnings_before_an_error_are_kept() {
    let text = "FROM scratch AS BadStageName\nMAINTAINER me@example.org\nBADCMD\nMAINTAINER you\n";
    let expected = [
        "1 StageNameCasing: Stage name 'BadStageName' should be lowercase",
        "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
        "0 UnknownInstruction: unknown instruction `BADCMD`",
    ];
    expect(text, &options(), &expected);
    let found = found("FROM missing AS B\nENV a b", &options());
    let names: Vec<_> = found
        .iter()
        .map(|finding| finding.split(':').next())
        .collect();
    let expected = [
        "1 ImageNotResolved",
        "1 StageNameCasing",
        "2 LegacyKeyValueFormat",
    ];
    assert_eq!(names, expected.map(Some));
}

#[test]
fn every_rule_has_a_name_and_a_page_of_its_own() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    let mut pages: Vec<_> = RULES.iter().map(|rule| rule.page).collect();
    names.sort_unstable();
    names.dedup();
    pages.sort_unstable();
    pages.dedup();
    assert_eq!((names.len(), pages.len()), (RULES.len(), RULES.len()));
    let of_dockerfile = RULES
        .iter()
        .filter(|rule| rule.origin == Origin::Dockerfile);
    assert_eq!(of_dockerfile.count(), 22);
    assert_eq!(
        STAGE_NAME_CASING.url().as_deref(),
        Some("https://docs.docker.com/go/dockerfile/rule/stage-name-casing/")
    );
}
