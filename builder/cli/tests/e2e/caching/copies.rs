//! Changes of what a Dockerfile says of copies.

use super::{Case, check};

const NOTHING: &[&str] = &[];
const DIRECTORY: &str = "FROM scratch\nCOPY dir /d/\n";
const ONE: &str = "FROM scratch\nCOPY a.txt /d/\n";
const STAGES: &str =
    "FROM scratch AS files\nCOPY dir /in/\nFROM scratch\nCOPY --from=files /in/x.txt /x\n";

#[test]
fn copies_hit_wherever_the_same_files_come_from() {
    let cases: &[Case] = &[
        (
            "renamed source directory",
            DIRECTORY,
            |p| {
                p.rename("dir", "lib");
                p.replace("dir", "lib");
            },
            NOTHING,
        ),
        (
            "file moved with its name",
            "FROM scratch\nCOPY dir/x.txt /d/\n",
            |p| {
                p.rename("dir/x.txt", "deep/er/x.txt");
                p.replace("dir/x.txt", "deep/er/x.txt");
            },
            NOTHING,
        ),
        (
            "pattern in place of a name",
            ONE,
            |p| p.replace("a.txt", "a*.txt"),
            NOTHING,
        ),
        (
            "name with a dot",
            ONE,
            |p| p.replace("a.txt", "./a.txt"),
            NOTHING,
        ),
        (
            "exclusion of what is not there",
            DIRECTORY,
            |p| {
                p.replace("COPY dir", "COPY --exclude=*.none dir");
            },
            NOTHING,
        ),
        (
            "comments and white space",
            DIRECTORY,
            |p| {
                p.replace("COPY dir /d/", "# files\n\n  COPY   dir    /d/");
            },
            NOTHING,
        ),
        (
            "keyword in lower case",
            DIRECTORY,
            |p| p.replace("COPY", "copy"),
            NOTHING,
        ),
        (
            "variable with the same value",
            ONE,
            |p| {
                p.replace("COPY a.txt /d/", "ARG TO=/d/\nCOPY a.txt $TO");
            },
            NOTHING,
        ),
        (
            "label before the copy",
            "FROM scratch\nLABEL a=1\nCOPY dir /d/\n",
            |p| {
                p.replace("a=1", "a=2");
            },
            NOTHING,
        ),
        (
            "environment before the copy",
            "FROM scratch\nENV A=1\nCOPY dir /d/\n",
            |p| {
                p.replace("A=1", "A=2");
            },
            NOTHING,
        ),
        (
            "argument that the copy does not use",
            "FROM scratch\nARG A=1\nCOPY dir /d/\n",
            |p| {
                p.argue("--build-arg=A=2");
            },
            NOTHING,
        ),
        (
            "command of the image",
            "FROM scratch\nCOPY dir /d/\nCMD [\"a\"]\n",
            |p| {
                p.replace("\"a\"", "\"b\"");
            },
            NOTHING,
        ),
        (
            "another name of the stage",
            STAGES,
            |p| p.replace("files", "other"),
            NOTHING,
        ),
        (
            "stage that is not needed",
            "FROM scratch AS no\nCOPY a.txt /\nFROM scratch\nCOPY dir /d/\n",
            |p| p.write("a.txt", "new"),
            NOTHING,
        ),
        (
            "unread file of another stage",
            STAGES,
            |p| p.write("dir/y.md", "new"),
            &["COPY dir"],
        ),
        (
            "context in another place",
            DIRECTORY,
            |p| {
                let moved = p.directory.with_file_name("moved");
                std::fs::rename(&p.directory, &moved).expect("the new place");
                p.directory = moved;
            },
            NOTHING,
        ),
        (
            "Dockerfile of another name",
            ONE,
            |p| {
                std::fs::write(p.path("Other"), &p.dockerfile).expect("the Dockerfile");
                let path = p.path("Other").display().to_string();
                p.arguments = vec![format!("--file={path}")];
            },
            NOTHING,
        ),
        (
            "independent layer over another base",
            "FROM scratch\nCOPY a.txt /a\nCOPY --link dir /d/\n",
            |p| p.write("a.txt", "new"),
            &["COPY a.txt", "(link)"],
        ),
        (
            "--no-cache does not copy again",
            DIRECTORY,
            |p| p.argue("--no-cache"),
            NOTHING,
        ),
        (
            "here-document with the same text",
            "FROM scratch\nCOPY <<EOF /f\none\nEOF\n",
            |p| {
                p.replace("<<EOF", "<<'EOF'");
            },
            NOTHING,
        ),
    ];
    check(cases, &[]);
}

#[test]
fn copies_miss_when_the_result_differs() {
    let all: &[&str] = &["COPY"];
    let cases: &[Case] = &[
        ("destination", DIRECTORY, |p| p.replace("/d/", "/e/"), all),
        (
            "directory or file",
            "FROM scratch\nCOPY a.txt /d\n",
            |p| p.replace("/d", "/d/"),
            all,
        ),
        (
            "name in the destination",
            ONE,
            |p| {
                p.rename("a.txt", "b.txt");
                p.replace("a.txt", "b.txt");
            },
            all,
        ),
        (
            "--chmod",
            "FROM scratch\nCOPY --chmod=600 a.txt /d/\n",
            |p| p.replace("600", "640"),
            all,
        ),
        (
            "--chown",
            "FROM scratch\nCOPY --chown=1 a.txt /d/\n",
            |p| p.replace("=1", "=2"),
            all,
        ),
        (
            "group of --chown",
            "FROM scratch\nCOPY --chown=1:1 a.txt /d/\n",
            |p| p.replace("1:1", "1:2"),
            all,
        ),
        (
            "--parents",
            "FROM scratch\nCOPY dir/x.txt /d/\n",
            |p| p.replace("COPY", "COPY --parents"),
            all,
        ),
        (
            "exclusion of a file",
            DIRECTORY,
            |p| p.replace("COPY", "COPY --exclude=*.md"),
            all,
        ),
        (
            "pattern that matches more",
            "FROM scratch\nCOPY dir/x* /d/\n",
            |p| p.replace("x*", "*"),
            all,
        ),
        (
            "ADD in place of COPY",
            ONE,
            |p| p.replace("COPY", "ADD"),
            &["ADD"],
        ),
        (
            "text of a here-document",
            "FROM scratch\nCOPY <<EOF /f\none\nEOF\n",
            |p| p.replace("one", "two"),
            all,
        ),
        (
            "order of two copies",
            "FROM scratch\nCOPY a.txt /f\nCOPY tool.sh /f\n",
            |p| {
                p.dockerfile = "FROM scratch\nCOPY tool.sh /f\nCOPY a.txt /f\n".to_owned();
            },
            all,
        ),
        (
            "copy above a changed one",
            "FROM scratch\nCOPY a.txt /a\nCOPY dir /d/\n",
            |p| p.write("a.txt", "new"),
            all,
        ),
        (
            "only the copies after a changed one",
            "FROM scratch\nCOPY dir /d/\nCOPY a.txt /a\n",
            |p| p.write("a.txt", "new"),
            &["COPY a.txt"],
        ),
        (
            "read file of another stage",
            STAGES,
            |p| p.write("dir/x.txt", "new"),
            all,
        ),
        (
            "working directory",
            "FROM scratch\nCOPY a.txt /a\nWORKDIR /w\n",
            |p| p.replace("/w", "/v"),
            &["WORKDIR"],
        ),
    ];
    check(cases, &[]);
}
