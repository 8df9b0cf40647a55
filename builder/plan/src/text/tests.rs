use crate::*;

#[test]
fn plan_is_written_block_by_block() {
    let mut builder = PlanBuilder::new();
    let context = LocalSource {
        name: "context".into(),
    };
    let local = builder.add(Op::Local(context), metadata("load the context"));
    let copy = Copy {
        from: local,
        sources: vec![".".into()],
        destination: "/app/".into(),
        owner: Some(Owner {
            user: "1000".into(),
            group: None,
        }),
        mode: Some(ModeChange::Octal(0o644)),
        exclude: vec!["*.log".into()],
        parents: false,
        unpack: Unpack::Detect,
    };
    let file = FileOp {
        base: None,
        actions: vec![FileAction::Copy(copy)],
    };
    let metadata = VertexMetadata {
        ignore_cache: true,
        location: Some(SourceLocation {
            file: "Dockerfile".into(),
            first_line: 2,
            last_line: 3,
        }),
        ..metadata("[1/1] ADD . /app/")
    };
    builder.add(Op::File(file), metadata);
    let expected = r#"%0 local "context"
    name "load the context"
%1 file on nothing
    copy %0:["."] to "/app/" mode 0644 owner "1000" exclude ["*.log"] unpack
    name "[1/1] ADD . /app/" at Dockerfile:2-3 no-cache
"#;
    assert_eq!(builder.finish().to_string(), expected);
}

#[test]
fn equal_operations_are_one_vertex() {
    let mut builder = PlanBuilder::new();
    let local = |name: &str| Op::Local(LocalSource { name: name.into() });
    let first = builder.add(local("a"), metadata("first"));
    let other = builder.add(local("b"), metadata("other"));
    let again = builder.add(local("a"), metadata("again"));
    assert_eq!(again, first);
    assert_ne!(other, first);
    let plan = builder.finish();
    assert_eq!(plan.len(), 2);
    assert_eq!(plan.vertex(first).metadata.name, "first");
}

fn metadata(name: &str) -> VertexMetadata {
    VertexMetadata {
        name: name.into(),
        ..VertexMetadata::default()
    }
}
