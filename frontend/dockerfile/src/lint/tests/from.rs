//! Rules about FROM and stages.

use super::*;

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
