use super::*;
use Certainty::{Guess, Said};
use kiln_dockerfile::SourceFile;

const BODY: &str = "FROM a
RUN <<END
set -e
mkdir -p /out
  compiel --all
cp missing /out
END
";

const LENIENT: &str = "FROM a
RUN <<END
one
false
END
";

const JOINED: &str = "FROM a
RUN --mount=type=cache,target=/c \\
    apt-get update && \\
    # a comment that says mkae
    apt-get install -y curl && \\
    mkae all && \\
    cp one /out && cp two /out
";

const MIXED: &str = "FROM a
RUN python3 <<ONE && mkae all
import sys
sys.exit(boom)
ONE
";

const SCRIPT: &str = "FROM a
RUN <<END
#!/usr/bin/env python3
import os
os.chdir('/nowhere')
END
";

/// (Dockerfile, exit code, output) to (line, word, certainty).
type Row<'a> = (
    &'a str,
    i32,
    &'a str,
    Option<(usize, Option<&'a str>, Certainty)>,
);

fn found(dockerfile: &str, code: i32, output: &str) -> Option<(usize, Option<String>, Certainty)> {
    let script = Script::at(&SourceFile::new("Dockerfile", dockerfile), 2).unwrap();
    let output: Vec<String> = output.lines().map(str::to_owned).collect();
    let ending = Ending {
        program: "/bin/sh",
        options: &["-c".to_owned()],
        code,
        output: &output,
    };
    let place = find(&script, ending)?;
    let line = dockerfile.lines().nth(place.line - 1).unwrap();
    let word = place.word.map(|range| line[range].to_owned());
    Some((place.line, word, place.certainty))
}

#[test]
fn places_follow_the_table() {
    let table: [Row; 23] = [
        // Lines of a here-document that is the script.
        (
            BODY,
            127,
            "/bin/sh: 3: compiel: not found",
            Some((5, Some("compiel"), Said)),
        ),
        (
            BODY,
            127,
            "/bin/sh: line 3: compiel: not found",
            Some((5, Some("compiel"), Said)),
        ),
        (
            BODY,
            2,
            "/bin/sh: 3: Syntax error: \"done\" unexpected",
            Some((5, None, Said)),
        ),
        (
            BODY,
            127,
            "/bin/sh: compiel: not found",
            Some((5, Some("compiel"), Said)),
        ),
        // The script went on after that one.
        (
            BODY,
            1,
            "/bin/sh: 3: compiel: not found",
            Some((5, Some("compiel"), Guess)),
        ),
        (
            BODY,
            1,
            "cp: cannot stat 'missing': No such file or directory",
            Some((6, Some("cp"), Guess)),
        ),
        (
            BODY,
            1,
            "/bin/sh: 3: compiel: not found\ncp: cannot stat 'missing'",
            Some((6, Some("cp"), Guess)),
        ),
        (
            BODY,
            1,
            "+ mkdir -p /out\n+ cp missing /out",
            Some((6, Some("cp"), Guess)),
        ),
        (BODY, 1, "nothing to go by", None),
        // A line beyond the script says nothing.
        (BODY, 127, "/bin/sh: 99: other: not found", None),
        // Nothing ends it early, so it is the last command that failed.
        (
            LENIENT,
            1,
            "nothing to go by",
            Some((4, Some("false"), Guess)),
        ),
        // All is line 1: the word tells.
        (
            JOINED,
            127,
            "/bin/sh: 1: mkae: not found",
            Some((6, Some("mkae"), Said)),
        ),
        (
            JOINED,
            100,
            "E: Unable to locate package curl",
            Some((5, Some("apt-get"), Guess)),
        ),
        (JOINED, 100, "E: Something else", None),
        (
            JOINED,
            1,
            "cp: cannot stat 'two'",
            Some((7, Some("cp"), Guess)),
        ),
        (
            JOINED,
            1,
            "+ apt-get update\n+ apt-get install -y curl",
            Some((5, Some("apt-get"), Guess)),
        ),
        (
            "FROM a\nRUN set -u && \\\n  echo $X\n",
            2,
            "/bin/sh: 1: X: parameter not set",
            Some((3, Some("$X"), Said)),
        ),
        // The outer shell counts the line before the body, the inner program the body.
        (
            MIXED,
            127,
            "/bin/sh: 1: mkae: not found",
            Some((2, Some("mkae"), Said)),
        ),
        (
            MIXED,
            1,
            "Traceback (most recent call last):\n  File \"<stdin>\", line 2, in <module>\nNameError: x",
            Some((4, None, Said)),
        ),
        (
            MIXED,
            127,
            "bash: line 2: boom: command not found",
            Some((4, Some("boom"), Said)),
        ),
        // A script of another interpreter, and one whose interpreter is missing.
        (
            SCRIPT,
            1,
            "  File \"/dev/pipes/END\", line 3, in <module>\nFileNotFoundError: x",
            Some((5, None, Said)),
        ),
        (
            SCRIPT,
            127,
            "/bin/sh: 1: /dev/pipes/END: not found",
            Some((3, None, Said)),
        ),
        (
            "FROM a\nRUN [\"x\", \"y\"]\n",
            1,
            "x: 3: y: not found",
            None,
        ),
    ];
    for (dockerfile, code, output, expected) in table {
        let expected =
            expected.map(|(line, word, certainty)| (line, word.map(str::to_owned), certainty));
        assert_eq!(
            found(dockerfile, code, output),
            expected,
            "{output}\n{dockerfile}"
        );
    }
}

#[test]
fn program_of_a_json_form_is_its_first_like_word() {
    let text = "FROM a\nRUN [\"/usr/bin/mkae\", \\\n  \"all\"]\n";
    let script = Script::at(&SourceFile::new("Dockerfile", text), 2).unwrap();
    let place = of_program(&script, "/usr/bin/mkae").unwrap();
    assert_eq!((place.line, place.word), (2, Some(6..19)));
    assert_eq!(of_program(&script, "other"), None);
}
