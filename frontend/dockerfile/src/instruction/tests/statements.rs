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
    assert_eq!(statement.original, "run b \\\n  # no\n  c <<D\nd\nD");
    assert_eq!(statement.text, "run b   c <<D");
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

#[test]
fn bytes_that_are_not_utf8_are_warned_about() {
    let source = SourceFile::from_bytes("Dockerfile", b"FROM a\n# \xe9\nUSER \xe9");
    let (dockerfile, Diagnostics(findings)) = parse(&source);
    assert_eq!(dockerfile.statements[1].text, "USER \u{fffd}");
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Warning);
    assert_eq!(source.position(findings[0].labels[0].span.start).line, 2);
}
