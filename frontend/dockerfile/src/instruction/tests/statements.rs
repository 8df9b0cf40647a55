//! Where instructions stand.

use super::*;

#[test]
fn statement_keeps_its_lines_and_source() {
    let text = "# a\nFROM a\n\n  run b \\\n  # no\n  c <<D\nd\nD\n\nUSER e";
    let (dockerfile, findings) = parse(&source(text));
    assert_eq!(findings, Diagnostics::default());
    let statement = &dockerfile.statements[1];
    assert_eq!(statement.keyword.text, "run");
    assert_eq!(statement.lines, 4..=8);
    assert_eq!(&*statement.original, "run b \\\n  # no\n  c <<D\nd\nD");
    assert_eq!(&*statement.text, "run b   c <<D");
    assert_eq!(dockerfile.statements[2].lines, 10..=10);
    let comments: Vec<_> = dockerfile
        .comments
        .iter()
        .map(|comment| (comment.line, &*comment.text))
        .collect();
    assert_eq!(comments, [(1, "a"), (5, "no")]);
}

#[test]
fn word_after_a_continuation_knows_its_place() {
    let source = source("FROM a\nCOPY one \\\n# x\n  two \\\n  three\n");
    let (dockerfile, _) = parse(&source);
    let Instruction::Copy(copy) = &dockerfile.statements[1].instruction else {
        panic!()
    };
    let CopySource::Path(second) = &copy.sources[1] else {
        panic!()
    };
    assert_eq!(source.slice(second.span), "two");
    assert_eq!(source.slice(copy.destination.span), "three");
    assert_eq!(source.position(copy.destination.span.start).line, 5);
}

fn byte_findings(bytes: &[u8]) -> Vec<(Severity, String, usize)> {
    let source = SourceFile::from_bytes("Dockerfile", bytes);
    let (_, Diagnostics(findings)) = parse(&source);
    let shown = findings.into_iter().map(|finding| {
        let start = finding.labels[0].span.start;
        (finding.severity, finding.message, source.line(start))
    });
    shown.collect()
}

#[test]
fn bytes_that_are_not_utf8_are_errors_except_in_comments() {
    let message = "the file is not UTF-8 here".to_owned();
    assert_eq!(
        byte_findings(b"FROM a\n# \xe9\nUSER \xe9\nUSER \xe9"),
        [(Severity::Error, message.clone(), 3)]
    );
    assert_eq!(
        byte_findings(b"FROM a\nRUN a \\\n# \xe9\n b\n# \xe9"),
        [(Severity::Warning, message.clone(), 3)]
    );
    assert_eq!(
        byte_findings(b"FROM a\nCOPY <<A /a\n\xe9\nA\n"),
        [(Severity::Error, message, 3)]
    );
}

#[test]
fn file_in_utf16_is_one_error() {
    let mut bytes = vec![0xff, 0xfe];
    bytes.extend("FROM a\nRUN b\n".encode_utf16().flat_map(u16::to_le_bytes));
    let message = "the file is UTF-16".to_owned();
    assert_eq!(byte_findings(&bytes), [(Severity::Error, message, 1)]);
}

#[test]
fn nul_byte_is_an_error_except_in_comments() {
    let message = "a Dockerfile has no NUL bytes".to_owned();
    assert_eq!(
        byte_findings(b"FROM a\n# \0\nRUN b\0\n"),
        [(Severity::Error, message, 3)]
    );
    assert_eq!(byte_findings(b"FROM a\n# \0\n"), []);
}

#[test]
fn carriage_return_alone_is_warned_about() {
    let message = "a carriage return alone does not end a line".to_owned();
    assert_eq!(
        byte_findings(b"FROM a\r\nRUN b \\\r\n c\rd\r\n"),
        [(Severity::Warning, message, 3)]
    );
    assert_eq!(byte_findings(b"FROM a\r\nRUN <<A\r\nb\rc\r\nA\r\n"), []);
}

#[test]
fn line_has_a_limit() {
    let line = |bytes: usize| format!("FROM a\nRUN {}\n", "x".repeat(bytes - 4));
    assert_eq!(findings(&line(65_535)), [""; 0]);
    let help = "break it with `\\`, or put the text in a file and copy that";
    assert_eq!(
        findings(&line(65_536)),
        [format!(
            "error 2:1 the line has 65536 bytes, more than 65535; {help}"
        )]
    );
    let body = format!("FROM a\nRUN <<A\n{}\nA\n", "x".repeat(1 << 20));
    assert_eq!(
        findings(&body),
        [format!(
            "error 3:1 the line has 1048576 bytes, more than 65535; {help}"
        )]
    );
}

#[test]
fn json_for_another_frontend_is_one_error() {
    let text = "{\n \"syntax\": \"a/b:1\",\n \"x\": 1}\n";
    let message = "the file is JSON for the frontend `a/b:1`, not a Dockerfile";
    assert_eq!(findings(text), [format!("error 2:12 {message}")]);
}

#[test]
fn pieces_follow_each_other() {
    use crate::syntax::PieceKind::*;
    let source = source("# a\r\n\n  FROM a\n RUN b \\ \n\n # c\n  d <<-E\n\tx\n\tE\nUSER y");
    let (dockerfile, _) = parse(&source);
    let read: Vec<_> = dockerfile
        .pieces
        .iter()
        .map(|piece| (piece.kind, source.slice(piece.span())))
        .collect();
    let expected = [
        (Comment, "# a"),
        (LineEnd, "\r\n"),
        (LineEnd, "\n"),
        (Space, "  "),
        (Instruction, "FROM a"),
        (LineEnd, "\n"),
        (Space, " "),
        (Instruction, "RUN b "),
        (Continuation, "\\ "),
        (LineEnd, "\n"),
        (LineEnd, "\n"),
        (Space, " "),
        (Comment, "# c"),
        (LineEnd, "\n"),
        (Instruction, "  d <<-E"),
        (LineEnd, "\n"),
        (HeredocBody, "\tx\n"),
        (HeredocEnd, "\tE"),
        (LineEnd, "\n"),
        (Instruction, "USER y"),
    ];
    assert_eq!(read, expected);
}
