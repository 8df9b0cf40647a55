//! What is found, and where.

use super::*;

/// Returns the findings in a stage, columns counted in `line`.
fn line_findings(line: &str) -> Vec<String> {
    findings(&format!("FROM a\n{line}"))
}

#[test]
fn each_mistake_is_found_at_its_place() {
    let cases = [
        (
            "FORM b",
            "error 2:1 unknown instruction `FORM`; did you mean `FROM`?",
        ),
        ("echo b", "error 2:1 unknown instruction `echo`"),
        (
            "COPY --form=b c d",
            "error 2:6 unknown flag `--form` for COPY; did you mean `--from`?",
        ),
        (
            "USER --x=1 b",
            "error 2:6 unknown flag `--x` for USER; USER has no flags",
        ),
        (
            "COPY --link --link b c",
            "error 2:13 flag `--link` stands twice",
        ),
        (
            "COPY --link=yes b c",
            "error 2:13 flag `--link` is true or false, not `yes`",
        ),
        (
            "COPY --from b c",
            "error 2:6 flag `--from` needs a value; write it as `--from=VALUE`",
        ),
        (
            "COPY b",
            "error 2:1 COPY needs at least a source and a destination",
        ),
        (
            "COPY",
            "error 2:1 COPY needs at least a source and a destination",
        ),
        (
            "COPY [\"b\"]",
            "error 2:1 COPY needs at least a source and a destination",
        ),
        (
            "COPY b <<C\nC",
            "error 2:8 the destination of COPY can't be a heredoc",
        ),
        (
            "COPY <<C b\nd",
            "error 2:6 heredoc `C` is not closed; put `C` alone on the line after its body",
        ),
        (
            "RUN [\"b\", 1]",
            "error 2:11 a JSON array of arguments holds strings only; put the value in double quotes",
        ),
        ("RUN", "error 2:1 RUN needs a command"),
        ("RUN []", "error 2:1 RUN needs a command"),
        (
            "RUN --network=nne b",
            "error 2:15 `nne` is no value of `--network`; did you mean `none`?",
        ),
        (
            "RUN --security=x b",
            "error 2:16 `x` is no value of `--security`; it is one of sandbox, insecure",
        ),
        (
            "RUN --mount=tpye=bind b",
            "error 2:13 unknown mount option `tpye`; did you mean `type`?",
        ),
        (
            "RUN --mount=type=bind,target b",
            "error 2:23 mount option `target` needs a value",
        ),
        ("RUN --mount= b", "error 2:13 a mount needs options"),
        ("FROM", "error 2:1 FROM needs an image"),
        (
            "FROM b c",
            "error 2:8 FROM takes an image and at most a stage name; write it as `FROM IMAGE AS NAME`",
        ),
        (
            "FROM b AS 1c",
            "error 2:11 invalid stage name `1c`; a name starts with a letter and has letters, digits, `-`, `_` and `.`",
        ),
        (
            "ENV b",
            "error 2:5 ENV needs a value for `b`; write it as `ENV KEY=VALUE`",
        ),
        (
            "ENV b=c d",
            "error 2:9 `d` has no `=`; put a value with white space in double quotes",
        ),
        ("LABEL =c", "error 2:7 a key of LABEL can't be empty"),
        ("ENV", "error 2:1 ENV needs a key and a value"),
        ("ARG", "error 2:1 ARG needs a name"),
        ("ARG =b", "error 2:5 a build argument's name can't be empty"),
        (
            "SHELL b",
            "error 2:7 SHELL needs the JSON form; write it as `SHELL [\"/bin/sh\", \"-c\"]`",
        ),
        ("SHELL []", "error 2:1 SHELL needs a program"),
        ("EXPOSE", "error 2:1 EXPOSE needs a port"),
        ("VOLUME [\"\"]", "error 2:9 a volume's path can't be empty"),
        ("WORKDIR", "error 2:1 WORKDIR needs a path"),
        ("HEALTHCHECK", "error 2:1 HEALTHCHECK needs `CMD` or `NONE`"),
        (
            "HEALTHCHECK NONE b",
            "error 2:18 HEALTHCHECK NONE takes no arguments",
        ),
        ("HEALTHCHECK CMD", "error 2:1 HEALTHCHECK needs a command"),
        (
            "HEALTHCHECK b",
            "error 2:13 unknown kind `b` of HEALTHCHECK; write `HEALTHCHECK CMD COMMAND` or `HEALTHCHECK NONE`",
        ),
        (
            "HEALTHCHECK --interval=1us CMD b",
            "error 2:24 `1us` is no duration for `--interval`; write it as `30s`, `1m30s`, `500ms`; the least is 1ms",
        ),
        (
            "HEALTHCHECK --retries=-1 CMD b",
            "error 2:23 `-1` is no number of retries",
        ),
        ("ONBUILD", "error 2:1 ONBUILD needs an instruction"),
        (
            "ONBUILD ONBUILD RUN b",
            "error 2:9 ONBUILD can't be a trigger of ONBUILD",
        ),
        (
            "ONBUILD FROM b",
            "error 2:9 FROM can't be a trigger of ONBUILD",
        ),
        (
            "ONBUILD COPY b",
            "error 2:9 COPY needs at least a source and a destination",
        ),
        (
            "ONBUILD COPYY b c",
            "error 2:9 unknown instruction `COPYY`; did you mean `COPY`?",
        ),
        (
            "ARG --b c",
            "warning 2:5 ARG has no flags: `--b` is ignored",
        ),
        (
            "STOPSIGNAL --b 9",
            "warning 2:12 STOPSIGNAL has no flags: `--b` is ignored",
        ),
        (
            "RUN b \\\n\n c",
            "warning 3:1 Empty continuation line; remove the empty line, or put a `#` on it",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(line_findings(line), [expected], "{line}");
    }
}

#[test]
fn file_needs_a_stage() {
    let help = "; start a stage with `FROM IMAGE`";
    assert_eq!(
        findings(""),
        [format!("error 1:1 the Dockerfile is empty{help}")]
    );
    assert_eq!(
        findings("\n\n"),
        [format!("error 1:1 the Dockerfile is empty{help}")]
    );
    assert_eq!(
        findings("# a\n"),
        [format!("error 1:4 the Dockerfile has no stage{help}")]
    );
    assert_eq!(
        findings("ARG a\n"),
        [format!("error 1:6 the Dockerfile has no stage{help}")]
    );
    let expected =
        "error 2:1 RUN stands before the first FROM; only ARG may stand before a stage starts";
    assert_eq!(findings("ARG a\nRUN b\nRUN c\nFROM d"), [expected]);
}

#[test]
fn all_errors_of_a_file_are_found_in_its_order() {
    let text = "FROM a AS 1\nRUN b \\\n\n c\nCOPY --form=x --lnk d\nUSERR e\n";
    let expected = [
        "error 1:11 invalid stage name `1`",
        "warning 3:1 Empty continuation",
        "error 5:1 COPY needs",
        "error 5:6 unknown flag `--form`",
        "error 5:15 unknown flag `--lnk`",
        "error 6:1 unknown instruction `USERR`",
    ];
    let findings = findings(text);
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.starts_with(expected), "{finding}");
    }
}

#[test]
fn misspelled_instruction_takes_its_heredoc_along() {
    let findings = findings("FROM a\nRUNN <<EOF\necho b\nEOF\nUSER c");
    assert_eq!(
        findings,
        ["error 2:1 unknown instruction `RUNN`; did you mean `RUN`?"]
    );
}

#[test]
fn trigger_of_an_image_is_one_instruction() {
    let message = |text: &str| {
        let Diagnostics(findings) = parse_trigger(text, Default::default()).expect_err(text);
        findings[0].message.clone()
    };
    assert_eq!(message("FROM a"), "FROM can't be a trigger of ONBUILD");
    assert_eq!(message(""), "a trigger is one instruction");
    assert_eq!(message("RUN a\nRUN b"), "a trigger is one instruction");
    assert_eq!(
        message("COPY a"),
        "COPY needs at least a source and a destination"
    );
    assert!(parse_trigger("run a", Default::default()).is_ok());
}
