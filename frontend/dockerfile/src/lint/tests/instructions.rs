//! Rules about the other instructions.

use super::*;

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
