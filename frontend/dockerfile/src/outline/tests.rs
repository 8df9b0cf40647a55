//! Outlines of small files.

use super::*;
use crate::compile::{CompileOptions, ImageResolver, ResolveError, ResolvedBase, outline};
use kiln_oci::{DiffId, Digest, ImageConfig, Platform, Reference};

struct Images;

impl ImageResolver for Images {
    fn resolve(
        &self,
        _reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let mut config = ImageConfig::new(platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::sha256(b"layer"))];
        Ok(ResolvedBase {
            digest: Digest::sha256(b"manifest"),
            platform: platform.clone(),
            config,
        })
    }
}

fn outline_of(text: &str, target: &str, build_args: &[(&str, &str)]) -> Outline {
    let given = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
    let options = CompileOptions {
        target: Some(target.to_owned()),
        build_args: build_args.iter().map(given).collect(),
        ..CompileOptions::default()
    };
    outline(&SourceFile::new("Dockerfile", text), &options, &Images).expect("an outline")
}

const ARGUMENTS: &str = "ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx=\"usy${inherited}\"

FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a

# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
";

#[test]
fn outline_has_the_arguments_that_the_target_uses() {
    let outline = outline_of(ARGUMENTS, "target", &[("BAR", "678")]);
    assert_eq!(outline.name.as_deref(), Some("target"));
    assert_eq!(outline.description.as_deref(), Some("defines build target"));
    let arguments: Vec<_> = outline
        .arguments
        .iter()
        .map(|argument| {
            let description = argument.description.as_deref();
            let line = *argument.lines.start();
            (
                argument.name.as_str(),
                argument.value.as_deref(),
                description,
                line,
            )
        })
        .collect();
    let expected = [
        ("inherited", Some("box"), None, 1),
        ("sfx", Some("usybox"), Some("is a suffix"), 5),
        ("FOO", Some("123"), None, 9),
        ("BAR", Some("678"), Some("is a number"), 11),
        ("ABC", Some("a"), None, 19),
    ];
    assert_eq!(arguments, expected);
}

#[test]
fn argument_that_a_stage_takes_over_is_that_before_the_stages() {
    let text = "# A is one\nARG A=1\nARG B=2\nFROM scratch AS s\nARG A\nARG C\n";
    let outline = outline_of(text, "s", &[]);
    let arguments: Vec<_> = outline
        .arguments
        .iter()
        .map(|argument| (argument.name.as_str(), *argument.lines.start()))
        .collect();
    assert_eq!(arguments, [("A", 2), ("C", 6)]);
    assert_eq!(outline.arguments[0].description.as_deref(), Some("is one"));
    assert_eq!(outline.arguments[1].value, None);
}

#[test]
fn default_that_uses_an_older_value_of_itself_uses_what_that_uses() {
    let text = "ARG B=1\nARG C=2\nARG A=$C\nARG A=$B\nARG A=$A$A\nFROM image$A AS s\n";
    let outline = outline_of(text, "s", &[]);
    let arguments = outline.arguments.iter();
    let arguments: Vec<_> = arguments
        .map(|argument| (argument.name.as_str(), argument.value.as_deref()))
        .collect();
    assert_eq!(arguments, [("B", Some("1")), ("A", Some("11"))]);
}

#[test]
fn last_of_several_declarations_counts() {
    let text = "
ARG FOO=123
ARG ABC=abc
ARG DEF=def
ARG FOO=${FOO}${ABC}
ARG BAR=${FOO}456
ARG FOO=${FOO}456${BAR}
FROM scratch
ARG FOO
ARG INFOO=123
ARG INBAR=${INFOO}456
ARG INFOO=${INFOO}456${INBAR}
";
    let outline = outline_of(text, "0", &[]);
    let arguments = outline.arguments.iter();
    let arguments: Vec<_> = arguments
        .map(|argument| (argument.name.as_str(), argument.value.as_deref()))
        .collect();
    let expected = [
        ("ABC", Some("abc")),
        ("BAR", Some("123abc456")),
        ("FOO", Some("123abc456123abc456")),
        ("INBAR", Some("123456")),
        ("INFOO", Some("123456123456")),
    ];
    assert_eq!(arguments, expected);
}

#[test]
fn outline_has_the_secrets_and_agents_of_needed_stages() {
    let text = "
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true

FROM alpine AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true

FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} true

FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true

FROM second
";
    let outline = outline_of(text, "target", &[("BAR", "678")]);
    let mount = |id: &str, required: bool, line: usize| OutlineMount {
        id: id.to_owned(),
        required,
        lines: line..=line,
    };
    let secrets = [mount("passwd", true, 3), mount("second678", false, 10)];
    assert_eq!(outline.secrets, secrets);
    let agents = [mount("default", false, 3), mount("ssh3", true, 14)];
    assert_eq!(outline.agents, agents);
}

#[test]
fn targets_are_listed_as_they_are_written() {
    let text = "
# build defines stage for compiling the binary
FROM alpine AS build
RUN true

FROM --platform=$BUILDPLATFORM busybox as Second
RUN false

FROM alpine
RUN false

# binary returns the compiled binary
FROM second AS binary
";
    let listed = targets(&SourceFile::new("Dockerfile", text)).expect("targets");
    let shown: Vec<_> = listed
        .iter()
        .map(|target| {
            let name = target.name.as_deref();
            let description = target.description.as_deref();
            let line = *target.lines.start();
            (
                name,
                description,
                target.base.as_str(),
                line,
                target.is_default,
            )
        })
        .collect();
    let expected = [
        (
            Some("build"),
            Some("defines stage for compiling the binary"),
            "alpine",
            3,
            false,
        ),
        (Some("second"), None, "busybox", 6, false),
        (None, None, "alpine", 9, false),
        (
            Some("binary"),
            Some("returns the compiled binary"),
            "second",
            13,
            true,
        ),
    ];
    assert_eq!(shown, expected);
    assert_eq!(listed[1].platform.as_deref(), Some("$BUILDPLATFORM"));
}
