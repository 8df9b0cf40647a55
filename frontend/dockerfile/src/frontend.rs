//! Whether a Dockerfile asks for a frontend other than this one.

use crate::compile::CompileOptions;
use crate::diagnostic::{Code, Diagnostic, quoted};
use crate::instruction::Dockerfile;
use kiln_oci::Reference;

/// The build argument that goes before the directive.
const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Warns if a frontend is asked for whose language may be another one.
///
/// The build argument `BUILDKIT_SYNTAX` goes before the directive `# syntax=`. Of both the
/// first word is the frontend's name.
pub(crate) fn check_frontend(
    dockerfile: &Dockerfile,
    options: &CompileOptions,
) -> Option<Diagnostic> {
    let directive = dockerfile.directives.syntax.as_ref();
    let (value, span) = match (given(options), directive) {
        (Some(value), _) => (value, None),
        (None, directive) => (directive?.text.as_str(), Some(directive?.span)),
    };
    let name = value.split_whitespace().next()?;
    if is_ours(name) {
        return None;
    }
    let name = quoted(name);
    let message = match span {
        Some(_) => format!("frontend {name} is not run: the file is read as a Dockerfile"),
        None => {
            format!("frontend {name} of `{ARGUMENT}` is not run: the file is read as a Dockerfile")
        }
    };
    let mut finding = Diagnostic::warning(Code::OTHER_FRONTEND, span.unwrap_or_default(), message);
    if span.is_none() {
        finding.labels.clear();
    }
    Some(finding.with_help("`docker/dockerfile` of any version is built in"))
}

fn given(options: &CompileOptions) -> Option<&str> {
    let given = options
        .build_args
        .iter()
        .rfind(|(name, _)| name == ARGUMENT);
    let (_, value) = given?;
    value.as_deref().filter(|value| !value.trim().is_empty())
}

/// Says whether `name` is a frontend for the language that is read here.
fn is_ours(name: &str) -> bool {
    let is_official = |reference: Reference| {
        let repository = reference.repository();
        reference.registry() == "docker.io"
            && matches!(
                repository,
                "docker/dockerfile" | "docker/dockerfile-upstream"
            )
    };
    name == "dockerfile.v0" || name.parse().is_ok_and(is_official)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruction::parse;
    use crate::syntax::SourceFile;

    fn warning(directive: &str, argument: Option<&str>) -> Option<String> {
        let text = format!("{directive}\nFROM scratch\n");
        let (dockerfile, _) = parse(&SourceFile::new("Dockerfile", text));
        let options = CompileOptions {
            build_args: vec![(ARGUMENT.to_owned(), argument.map(str::to_owned))],
            ..CompileOptions::default()
        };
        check_frontend(&dockerfile, &options).map(|finding| finding.message)
    }

    #[test]
    fn official_frontends_are_built_in() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let names = [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1.4.0",
            "index.docker.io/docker/dockerfile",
            "docker/dockerfile-upstream:master-labs",
            "dockerfile.v0",
            "docker/dockerfile:1 with words",
            &format!("docker/dockerfile:1@sha256:{digest}"),
        ];
        for name in names {
            assert_eq!(warning(&format!("# syntax={name}"), None), None, "{name}");
            assert_eq!(warning("# syntax=other", Some(name)), None, "{name}");
        }
    }

    #[test]
    fn any_other_frontend_is_named() {
        let tail = "is not run: the file is read as a Dockerfile";
        for name in [
            "other/frontend:1",
            "reg.example/docker/dockerfile",
            "docker/dockerfile:",
            "X",
        ] {
            let expected = Some(format!("frontend `{name}` {tail}"));
            assert_eq!(
                warning(&format!("# syntax={name} x"), None),
                expected,
                "{name}"
            );
        }
        let expected = Some(format!("frontend `a/b` of `BUILDKIT_SYNTAX` {tail}"));
        assert_eq!(
            warning("# syntax=docker/dockerfile:1", Some("a/b")),
            expected
        );
        assert_eq!(warning("", Some("")), None);
        assert_eq!(warning("", None), None);
    }
}
