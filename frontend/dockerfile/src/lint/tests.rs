//! Rules on small files: what is found, and on which line.

use super::*;
use crate::compile::{
    CompileOptions, IgnoredPaths, ImageResolver, ResolveError, ResolvedBase, Scope, compile,
};
use crate::syntax::SourceFile;
use kiln_oci::{DiffId, Digest, ImageConfig, Platform, Reference};
use std::sync::Arc;

/// Has every image, with one layer; `arm-only` for one platform.
struct Images;

impl ImageResolver for Images {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let mut config = ImageConfig::new(platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::sha256(b"layer"))];
        match reference.familiar().as_str() {
            "arm-only" => config.architecture = "arm64".to_owned(),
            "triggers" => config.config.on_build = vec!["ENV password 1".to_owned()],
            "missing" => return Err("manifest unknown".into()),
            _ => {}
        }
        Ok(ResolvedBase {
            digest: Digest::sha256(b"manifest"),
            platform: config.platform(),
            config,
        })
    }
}

/// Patterns of plain paths: a path is ignored with all below it.
#[derive(Debug)]
struct Ignored(Vec<String>);

impl IgnoredPaths for Ignored {
    fn excludes(&self, path: &str) -> bool {
        self.0.iter().fold(false, |is_excluded, pattern| {
            let plain = pattern.trim_start_matches('!').replace('\\', "");
            let below = path.strip_prefix(&plain);
            let is_hit = plain.contains('*')
                || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            match is_hit {
                true => !pattern.starts_with('!'),
                false => is_excluded,
            }
        })
    }

    fn patterns(&self) -> &[String] {
        &self.0
    }
}

fn options() -> CompileOptions {
    CompileOptions {
        build_platform: Platform::new("linux", "amd64", None),
        ..CompileOptions::default()
    }
}

fn argument(name: &str, value: &str) -> CompileOptions {
    CompileOptions {
        build_args: vec![(name.to_owned(), Some(value.to_owned()))],
        ..options()
    }
}

fn ignoring(patterns: &str) -> CompileOptions {
    let patterns = patterns.lines().map(str::to_owned).collect();
    CompileOptions {
        ignored: Some(Arc::new(Ignored(patterns))),
        ..options()
    }
}

/// Returns each finding as `LINE RULE: MESSAGE`, the line being that of the instruction.
fn found(text: &str, options: &CompileOptions) -> Vec<String> {
    let source = SourceFile::new("Dockerfile", text);
    let findings = match compile(&source, options, &Images) {
        Ok(compilation) => compilation.warnings,
        Err(findings) => findings,
    };
    let dockerfile = crate::parse(&source).0;
    let shown = findings.0.iter().map(|finding| {
        let span = finding.labels.first().map(|label| label.span);
        let statement = span.and_then(|span| report::statement_at(&dockerfile, span));
        let line = statement.map_or(0, |statement| *statement.lines.start());
        format!("{line} {}: {}", finding.code, finding.message)
    });
    shown.collect()
}

fn expect(text: &str, options: &CompileOptions, expected: &[&str]) {
    assert_eq!(found(text, options), expected, "{text}");
}

#[test]
fn stage_names_are_in_lower_case_unique_and_not_reserved() {
    let options = options();
    expect(
        "FROM scratch AS BadName\nFROM scratch AS good",
        &options,
        &["1 StageNameCasing: Stage name 'BadName' should be lowercase"],
    );
    expect(
        "FROM scratch AS b\nFROM scratch AS b",
        &options,
        &["2 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique"],
    );
    expect(
        "FROM scratch AS scratch\nFROM scratch AS context",
        &options,
        &[
            "1 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
            "2 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
        ],
    );
    expect("FROM scratch\nFROM scratch AS a", &options, &[]);
}

#[test]
fn as_is_in_the_case_of_from() {
    let options = options();
    expect(
        "FROM scratch as a",
        &options,
        &["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"],
    );
    expect(
        "from scratch AS a\nfrom scratch as b",
        &options,
        &["1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"],
    );
    expect(
        "From scratch as a\nFROM scratch AS b",
        &options,
        &[
            "1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase)",
        ],
    );
}

#[test]
fn instructions_are_in_the_case_of_most() {
    let options = options();
    let finding = |line: usize, word: &str, casing: &str| {
        format!(
            "{line} ConsistentInstructionCasing: Command '{word}' should match the case of the command majority ({casing})"
        )
    };
    let cases = [
        (
            "FROM scratch\ncopy a /\nCOPY b /",
            vec![finding(2, "copy", "uppercase")],
        ),
        (
            "from scratch\nCOPY a /\ncopy b /",
            vec![finding(2, "COPY", "lowercase")],
        ),
        (
            "from scratch\nCOPY a /\nCOPY b /",
            vec![finding(1, "from", "uppercase")],
        ),
        (
            "frOM scratch as a\nfrom scratch as b",
            vec![finding(1, "frOM", "lowercase")],
        ),
        ("arg a=1\nFROM scratch\nCOPY b /", vec![]),
        ("from scratch\ncopy a /", vec![]),
    ];
    for (text, expected) in cases {
        assert_eq!(found(text, &options), expected, "{text}");
    }
}

#[test]
fn empty_line_in_a_continuation_is_found() {
    expect(
        "FROM scratch\nCOPY a \\\n\n/\nCOPY b \\\n# comment\n/",
        &options(),
        &["2 NoEmptyContinuation: Empty continuation line"],
    );
}

#[test]
fn commands_are_better_in_json_form_unless_the_shell_is_chosen() {
    let options = options();
    expect(
        "FROM scratch\nCMD a\n",
        &options,
        &[
            "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ],
    );
    expect(
        "FROM scratch\nENTRYPOINT a\n",
        &options,
        &[
            "2 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
        ],
    );
    expect("FROM scratch\nSHELL [\"/sh\"]\nCMD a", &options, &[]);
    expect(
        "FROM scratch AS base\nSHELL [\"/sh\"]\nFROM base\nENTRYPOINT a",
        &options,
        &[],
    );
    expect("FROM scratch\nCMD [\"a\"]\nRUN a", &options, &[]);
}

#[test]
fn maintainer_is_deprecated() {
    expect(
        "FROM scratch\nMAINTAINER me@example.org",
        &options(),
        &["2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
    );
}

#[test]
fn from_uses_declared_arguments() {
    let options = options();
    for text in [
        "ARG base=scratch\nFROM $base",
        "ARG BUILDPLATFORM=linux/amd64\nFROM --platform=$BUILDPLATFORM scratch",
        "FROM --platform=$BUILDPLATFORM scratch",
        "ARG DEBUG\nFROM scratch${DEBUG}",
        "ARG DEBUG\nFROM scra${DEBUG:-tch}",
        "ARG DEBUG=\"\"\nFROM scratch${DEBUG-@bogus}",
    ] {
        expect(text, &options, &[]);
    }
    let found = found("FROM --platform=$BULIDPLATFORM scratch", &options);
    assert_eq!(
        found[0],
        "1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"
    );
    assert_eq!(found.len(), 2, "and the platform is none: {found:?}");
    expect(
        "ARG tag=latest\nFROM busybox:${tag}${version} AS b",
        &options,
        &["2 UndefinedArgInFrom: FROM argument 'version' is not declared"],
    );
}

#[test]
fn first_workdir_is_absolute() {
    let options = options();
    expect(
        "FROM scratch\nWORKDIR app/\nWORKDIR more",
        &options,
        &[
            "2 WorkdirRelativePath: Relative workdir \"app/\" can have unexpected results if the base image changes",
        ],
    );
    expect(
        "FROM scratch AS a\nWORKDIR /app\nFROM a AS b\nWORKDIR sub/",
        &options,
        &[],
    );
}

#[test]
fn variables_are_set_before_use() {
    let options = options();
    for text in [
        "FROM scratch\nARG foo\nCOPY Dockerfile${foo} .",
        "FROM alpine AS base\nARG foo=Dockerfile\nFROM base\nCOPY $foo .",
        "FROM alpine\nRUN echo $PATH $nothing",
        "FROM alpine\nENV A=${B:-1}",
        "FROM alpine\nCOPY <<'E' /x\n$foo\nE",
        "FROM alpine\nCOPY <<E /x\n\\$foo $PATH\nE",
    ] {
        expect(text, &options, &[]);
    }
    expect(
        "FROM alpine\nCOPY <<E /x\n$foo $foo\nE",
        &options,
        &["2 UndefinedVar: Usage of undefined variable '$foo'"],
    );
    expect(
        "FROM alpine\nCOPY $foo .\nARG foo=bar",
        &options,
        &["2 UndefinedVar: Usage of undefined variable '$foo'"],
    );
    expect(
        "FROM alpine\nARG DIR_BINARIES=b/\nARG DIR_ASSETS=a/\nARG DIR_CONFIG=c/\nCOPY $DIR_ASSET .",
        &options,
        &["5 UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)"],
    );
    expect(
        "FROM alpine\nENV PATH=$PAHT:/tmp/bin",
        &options,
        &["2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)"],
    );
}

#[test]
fn only_the_last_command_of_a_stage_counts() {
    let finding = |line: usize, name: &str| {
        format!(
            "{line} MultipleInstructionsDisallowed: Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        )
    };
    let text = "FROM scratch\nENTRYPOINT [\"a\"]\nCMD [\"a\"]\nHEALTHCHECK CMD [\"a\"]\nENTRYPOINT [\"b\"]\nCMD [\"b\"]\nHEALTHCHECK CMD [\"b\"]";
    let expected = [
        finding(2, "ENTRYPOINT"),
        finding(3, "CMD"),
        finding(4, "HEALTHCHECK"),
    ];
    assert_eq!(found(text, &options()), expected);
    expect(
        "FROM scratch AS a\nCMD [\"a\"]\nFROM a AS b\nCMD [\"b\"]",
        &options(),
        &[],
    );
}

#[test]
fn keys_and_values_have_an_equals_sign_between_them() {
    let options = options();
    let expected = [
        "2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        "3 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
    ];
    expect("FROM scratch\nENV a b\nLABEL c d", &options, &expected);
    expect("FROM scratch\nENV a=b\nLABEL c=d", &options, &[]);
}

#[test]
fn stage_that_is_not_needed_is_checked_only_with_all() {
    let text = "FROM scratch AS a\nFROM a AS b\nENV a b\nFROM a AS c";
    expect(text, &options(), &[]);
    let all = CompileOptions {
        scope: Scope::AllStages,
        ..options()
    };
    assert_eq!(found(text, &all).len(), 1);
    let text = "FROM scratch AS first\nCOPY $foo .\nFROM scratch AS second\nCOPY $bar .";
    let bar = "4 UndefinedVar: Usage of undefined variable '$bar'";
    expect(text, &options(), &[bar]);
    expect(
        text,
        &all,
        &["2 UndefinedVar: Usage of undefined variable '$foo'", bar],
    );
}

#[test]
fn base_image_of_another_platform_is_found() {
    let expected = "1 InvalidBaseImagePlatform: Base image arm-only:latest was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build";
    expect("FROM arm-only:latest", &options(), &[expected]);
}

#[test]
fn platform_flag_is_neither_redundant_nor_constant() {
    let options = options();
    for variable in ["$TARGETPLATFORM", "${TARGETPLATFORM}"] {
        let text = format!("FROM --platform={variable} scratch");
        let expected = format!(
            "1 RedundantTargetPlatform: Setting platform to predefined {variable} in FROM is redundant as this is the default behavior"
        );
        expect(&text, &options, &[&expected]);
    }
    expect(
        "FROM --platform=linux/amd64 scratch",
        &options,
        &[
            "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
        ],
    );
    expect(
        "FROM --platform=linux/amd64 scratch AS my_amd64_stage",
        &options,
        &[],
    );
    expect(
        "FROM --platform=linux/amd64 scratch AS linux",
        &options,
        &[],
    );
    expect("FROM --platform=$BUILDPLATFORM scratch", &options, &[]);
}

#[test]
fn secrets_are_neither_arguments_nor_variables() {
    let text = "FROM scratch
ARG SECRET_PASSPHRASE
ENV SUPER_Secret=foo
ENV password=bar secret=baz
ARG super_duper_secret_token=foo auth=bar
ENV apikey=bar sunflower=foo
ENV git_key=
ENV PUBLIC_KEY=
ARG public_token
ENV password_file=bar secret_File=baz
ARG AUTH_MODULE_VERSION
# check=skip=SecretsUsedInArgOrEnv // it is none
ENV password=bar
# check=skip=all // only here
ARG password
";
    let finding = |line: usize, what: &str| {
        format!(
            "{line} SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({what})"
        )
    };
    let expected = [
        finding(2, "ARG \"SECRET_PASSPHRASE\""),
        finding(3, "ENV \"SUPER_Secret\""),
        finding(4, "ENV \"password\""),
        finding(4, "ENV \"secret\""),
        finding(5, "ARG \"super_duper_secret_token\""),
        finding(5, "ARG \"auth\""),
        finding(6, "ENV \"apikey\""),
        finding(7, "ENV \"git_key\""),
    ];
    assert_eq!(found(text, &options()), expected);
    expect("FROM triggers", &options(), &[]);
}

#[test]
fn from_names_an_image_without_build_arguments() {
    let finding = |image: &str| {
        format!(
            "2 InvalidDefaultArgInFrom: Default value for ARG {image} results in empty or invalid base image name"
        )
    };
    let cases = [
        (
            "ARG VERSION\nFROM busybox:$VERSION",
            "VERSION",
            "latest",
            Some("busybox:$VERSION"),
        ),
        ("ARG IMAGE\nFROM $IMAGE", "IMAGE", "busybox", Some("$IMAGE")),
        (
            "ARG S=\"box:\"\nFROM busy${S}",
            "S",
            "box:latest",
            Some("busy${S}"),
        ),
        ("ARG V=\"latest\"\nFROM busybox:${V}", "V", "latest", None),
        ("ARG V=\"\"\nFROM busybox:stable${V}", "V", "-musl", None),
        ("ARG V\nFROM busybox:stable${V}", "V", "-musl", None),
    ];
    for (text, name, value, expected) in cases {
        let expected: Vec<_> = expected.map(finding).into_iter().collect();
        assert_eq!(found(text, &argument(name, value)), expected, "{text}");
    }
}

#[test]
fn ignored_file_is_not_copied() {
    let both = [
        "2 CopyIgnoredFile: Attempting to Copy file \"Dockerfile\" that is excluded by .dockerignore",
        "3 CopyIgnoredFile: Attempting to Add file \"Dockerfile\" that is excluded by .dockerignore",
    ];
    let text = "FROM scratch\nCOPY ./Dockerfile .\nADD Dockerfile /windy";
    expect(text, &ignoring("Dockerfile"), &both);
    expect(text, &ignoring("foobar"), &[]);
    expect(text, &ignoring("**\n!Dockerfile"), &[]);
    expect(text, &options(), &[]);
    expect(
        "FROM scratch AS base\nCOPY a /foobar\nFROM base\nCOPY --from=base /foobar /",
        &ignoring("foobar"),
        &[],
    );
    expect(
        "FROM scratch\nADD https://example.com/a /",
        &ignoring("*"),
        &[],
    );
}

#[test]
fn context_itself_is_only_missing_when_nothing_is_left_of_it() {
    let text = "FROM scratch\nCOPY . .";
    let finding =
        "2 CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore";
    expect(text, &ignoring(".*"), &[]);
    expect(text, &ignoring("*"), &[finding]);
    expect(text, &ignoring("**\n!Dockerfile"), &[]);
}

#[test]
fn exception_that_does_not_bring_the_file_back_changes_nothing() {
    let finding = "2 CopyIgnoredFile: Attempting to Copy file \"sub/a.txt\" that is excluded by .dockerignore";
    let text = "FROM scratch\nCOPY sub/a.txt /";
    for patterns in [
        "sub\n!sub/b.txt",
        "sub\n!other.txt",
        "sub\n!nope/missing.txt",
        "!sub/b.txt\nsub",
    ] {
        expect(text, &ignoring(patterns), &[finding]);
    }
    for source in ["sub", ".", "sub/a.txt", "sub/*.txt"] {
        let text = format!("FROM scratch\nCOPY {source} /");
        expect(&text, &ignoring("sub\n!sub/a.txt"), &[]);
    }
    expect(
        "FROM scratch\nCOPY su.b /",
        &ignoring("su.b\n!su\\.b/keep.txt"),
        &[],
    );
}

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
fn ports_are_in_lower_case_and_of_the_container() {
    expect(
        "FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp",
        &options(),
        &[
            "2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
            "2 ExposeProtoCasing: Defined protocol '8080/TCP' in EXPOSE instruction should be lowercase",
        ],
    );
    let finding = |port: &str| {
        format!(
            "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        )
    };
    let expected = [
        finding("127.0.0.1:80:80"),
        finding("[::1]:8080:8080"),
        finding("5000:5000"),
    ];
    let text = "FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000";
    assert_eq!(found(text, &options()), expected);
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
