//! What each instruction is read as.

use std::time::Duration;

use super::*;

fn shell(text: &str) -> Command {
    Command::Shell {
        text: text.into(),
        heredocs: Vec::new(),
    }
}

fn exec(arguments: &[&str]) -> Command {
    Command::Exec(
        arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect(),
    )
}

#[test]
fn from_names_an_image_and_perhaps_a_stage() {
    let cases = [
        ("FROM a", "a", None, None),
        ("from a:1 as b", "a:1", Some("b"), None),
        (
            "FROM --platform=$P a AS B-1_x.y",
            "a",
            Some("B-1_x.y"),
            Some("$P"),
        ),
        ("FROM ${A:-b}", "${A:-b}", None, None),
    ];
    for (line, image, name, platform) in cases {
        let Instruction::From(from) = instruction(line) else {
            panic!("{line}")
        };
        let read = (
            from.image.text.as_str(),
            text(&from.name),
            text(&from.platform),
        );
        assert_eq!(read, (image, name, platform), "{line}");
    }
}

#[test]
fn commands_have_a_shell_form_and_a_json_form() {
    let cases = [
        ("RUN echo  a", shell("echo  a")),
        ("run echo \\\n  a # b", shell("echo   a # b")),
        (r#"RUN ["a", "b c"]"#, exec(&["a", "b c"])),
        ("RUN ['a']", shell("['a']")),
        ("RUN -- --a", shell("--a")),
        ("CMD a", shell("a")),
        ("CMD []", exec(&[])),
        (r#"ENTRYPOINT [ "a" ] "#, exec(&["a"])),
        ("ENTRYPOINT a", shell("a")),
    ];
    for (line, expected) in cases {
        let command = match instruction(line) {
            Instruction::Run(run) => run.command,
            Instruction::Cmd(cmd) => cmd.command,
            Instruction::Entrypoint(entrypoint) => entrypoint.command,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(command, expected, "{line}");
    }
}

#[test]
fn run_has_flags() {
    let line = "RUN --network=none --security=insecure --device=a --device=b --mount=type=tmpfs,target=/t x";
    let Instruction::Run(run) = instruction(line) else {
        panic!()
    };
    assert_eq!(run.network, Some(RunNetwork::None));
    assert_eq!(run.security, Some(RunSecurity::Insecure));
    assert_eq!(texts(&run.devices), ["a", "b"]);
    assert_eq!(run.mounts.len(), 1);
}

fn mount(options: &str) -> Vec<(MountKey, Option<String>)> {
    let Instruction::Run(mut run) = instruction(&format!("RUN --mount={options} x")) else {
        panic!()
    };
    let options = run.mounts.remove(0).options.into_iter();
    options
        .map(|option| (option.key, option.value.map(|value| value.text)))
        .collect()
}

#[test]
fn mount_options_are_words_still_to_be_expanded() {
    use MountKey::*;
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (
            "type=cache,target=$A",
            vec![(Type, some("cache")), (Target, some("$A"))],
        ),
        (
            "TYPE=bind,dst=/a,src=b,rw",
            vec![
                (Type, some("bind")),
                (Target, some("/a")),
                (Source, some("b")),
                (ReadWrite, None),
            ],
        ),
        (
            "type=secret,id=a,env,required",
            vec![
                (Type, some("secret")),
                (Id, some("a")),
                (Env, None),
                (Required, None),
            ],
        ),
        (
            r#"'"target=/a,b",type=bind'"#,
            vec![(Target, some("/a,b")), (Type, some("bind"))],
        ),
        (
            "readonly=true,,uid=1",
            vec![(ReadOnly, some("true")), (Uid, some("1"))],
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(mount(options), expected, "{options}");
    }
}

#[test]
fn mount_value_knows_its_place() {
    let source = source("FROM a\nRUN --mount=type=cache,\\\ntarget=/tmp x");
    let (dockerfile, _) = parse(&source);
    let Instruction::Run(run) = &dockerfile.statements[1].instruction else {
        panic!()
    };
    let target = run.mounts[0].value(MountKey::Target).expect("the option");
    assert_eq!(source.slice(target.span), "/tmp");
}

#[test]
fn copy_takes_sources_and_a_destination() {
    let cases: [(&str, &[&str], &str); 4] = [
        ("COPY a b", &["a"], "b"),
        ("COPY a \\\n b\tc/", &["a", "b"], "c/"),
        (r#"COPY ["a b", "c"]"#, &["a b"], "c"),
        (r#"COPY "a b" c"#, &["\"a", "b\""], "c"),
    ];
    for (line, sources, destination) in cases {
        let Instruction::Copy(copy) = instruction(line) else {
            panic!("{line}")
        };
        let read: Vec<_> = copy
            .sources
            .iter()
            .map(|source| match source {
                CopySource::Path(path) => path.text.as_str(),
                CopySource::Heredoc(heredoc) => heredoc.name.as_str(),
            })
            .collect();
        assert_eq!(
            (read.as_slice(), copy.destination.text.as_str()),
            (sources, destination)
        );
    }
}

#[test]
fn copy_and_add_have_flags() {
    let line =
        "COPY --from=0 --chown=a:b --chmod=755 --link --parents=false --exclude=x --exclude=y a b";
    let Instruction::Copy(copy) = instruction(line) else {
        panic!()
    };
    assert_eq!(
        (text(&copy.from), text(&copy.chown)),
        (Some("0"), Some("a:b"))
    );
    assert_eq!(
        (text(&copy.chmod), copy.link, copy.parents),
        (Some("755"), true, false)
    );
    assert_eq!(texts(&copy.excludes), ["x", "y"]);
    let line = "ADD --checksum=sha256:1 --unpack --keep-git-dir=false --exclude=x a b";
    let Instruction::Add(add) = instruction(line) else {
        panic!()
    };
    assert_eq!(text(&add.checksum), Some("sha256:1"));
    assert_eq!((add.unpack, add.keep_git_dir), (Some(true), Some(false)));
    let Instruction::Add(add) = instruction("ADD a b") else {
        panic!()
    };
    assert_eq!(
        (add.unpack, add.keep_git_dir, add.link),
        (None, None, false)
    );
}

#[test]
fn env_and_label_take_pairs_or_the_legacy_form() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let cases: [Case<'_>; 6] = [
        ("a=b", &[("a", "b")], false),
        (
            "a=b c='d e' f=\"g\\\" h\" i=",
            &[("a", "b"), ("c", "'d e'"), ("f", "\"g\\\" h\""), ("i", "")],
            false,
        ),
        ("a=b\\ c d=e", &[("a", "b\\ c"), ("d", "e")], false),
        ("a b=c  d", &[("a", "b=c  d")], true),
        ("\"a b\"=c", &[("\"a b\"", "c")], false),
        ("a=b=c", &[("a", "b=c")], false),
    ];
    for (arguments, expected, expected_legacy) in cases {
        for keyword in ["ENV", "LABEL"] {
            let (pairs, is_legacy) = match instruction(&format!("{keyword} {arguments}")) {
                Instruction::Env(env) => (env.pairs, env.is_legacy),
                Instruction::Label(label) => (label.pairs, label.is_legacy),
                other => panic!("{other:?}"),
            };
            let pairs: Vec<_> = pairs
                .iter()
                .map(|pair| (&*pair.key.text, &*pair.value.text))
                .collect();
            assert_eq!(
                (pairs.as_slice(), is_legacy),
                (expected, expected_legacy),
                "{arguments}"
            );
        }
    }
}

#[test]
fn escape_directive_governs_words() {
    let source = source("# escape=`\nFROM a\nENV a=b` c d=e\\\nENV f=g\\ h=i\n");
    let (dockerfile, findings) = parse(&source);
    assert_eq!(findings, Diagnostics::default());
    let Instruction::Env(env) = &dockerfile.statements[1].instruction else {
        panic!()
    };
    assert_eq!(env.pairs[0].value.text, "b` c");
    assert_eq!(env.pairs[1].value.text, "e\\");
    let Instruction::Env(env) = &dockerfile.statements[2].instruction else {
        panic!()
    };
    assert_eq!(env.pairs.len(), 2);
}

#[test]
fn arg_takes_names_with_or_without_a_default() {
    let Instruction::Arg(arg) = instruction("ARG a b= c=d e=\"f g\"") else {
        panic!()
    };
    let arguments: Vec<_> = arg
        .arguments
        .iter()
        .map(|argument| (&*argument.name.text, text(&argument.default)))
        .collect();
    assert_eq!(
        arguments,
        [
            ("a", None),
            ("b", Some("")),
            ("c", Some("d")),
            ("e", Some("\"f g\""))
        ]
    );
}

#[test]
fn rest_of_the_line_is_one_word() {
    let rest = |line: &str| match instruction(line) {
        Instruction::Workdir(workdir) => workdir.path.text,
        Instruction::User(user) => user.user.text,
        Instruction::Stopsignal(stopsignal) => stopsignal.signal.text,
        Instruction::Maintainer(maintainer) => maintainer.name.text,
        other => panic!("{other:?}"),
    };
    assert_eq!(rest("WORKDIR /a b "), "/a b");
    assert_eq!(rest("USER a:$b"), "a:$b");
    assert_eq!(rest("STOPSIGNAL SIGTERM"), "SIGTERM");
    assert_eq!(rest("MAINTAINER A <a@b>"), "A <a@b>");
}

#[test]
fn expose_volume_and_shell_take_lists() {
    let Instruction::Expose(expose) = instruction("EXPOSE 80 443/tcp $p") else {
        panic!()
    };
    assert_eq!(texts(&expose.ports), ["80", "443/tcp", "$p"]);
    let Instruction::Volume(volume) = instruction("VOLUME /a /b") else {
        panic!()
    };
    assert_eq!(texts(&volume.paths), ["/a", "/b"]);
    let Instruction::Volume(volume) = instruction(r#"VOLUME ["/a b"]"#) else {
        panic!()
    };
    assert_eq!(texts(&volume.paths), ["/a b"]);
    let Instruction::Shell(shell) = instruction(r#"SHELL ["a", "-c"]"#) else {
        panic!()
    };
    assert_eq!(shell.arguments, ["a", "-c"]);
}

#[test]
fn healthcheck_is_none_or_a_command() {
    assert_eq!(
        instruction("HEALTHCHECK none"),
        Instruction::Healthcheck(Healthcheck::None)
    );
    let line = "HEALTHCHECK --interval=1m30s --timeout=0 --retries=3 CMD a b";
    let Instruction::Healthcheck(Healthcheck::Probe(probe)) = instruction(line) else {
        panic!()
    };
    assert_eq!(probe.command, shell("a b"));
    assert_eq!(
        (probe.interval, probe.timeout),
        (Some(Duration::from_secs(90)), None)
    );
    assert_eq!((probe.start_period, probe.retries), (None, Some(3)));
    let line = r#"HEALTHCHECK --start-period=1s --start-interval=2s CMD ["a"]"#;
    let Instruction::Healthcheck(Healthcheck::Probe(probe)) = instruction(line) else {
        panic!()
    };
    assert_eq!(probe.command, exec(&["a"]));
    assert_eq!(probe.start_interval, Some(Duration::from_secs(2)));
}

#[test]
fn onbuild_keeps_its_trigger() {
    let Instruction::Onbuild(onbuild) = instruction("onbuild  run --network=none a") else {
        panic!()
    };
    assert_eq!(onbuild.trigger, "run --network=none a");
    assert!(matches!(*onbuild.instruction, Instruction::Run(_)));
    let line = "ONBUILD COPY <<A <<-B /d\na\nA\n\tb\n\tB\n";
    let Instruction::Onbuild(onbuild) = instruction(line) else {
        panic!()
    };
    assert_eq!(onbuild.trigger, "COPY <<A <<-B /d\na\nA\n\tb\nB");
    let again = parse_trigger(&onbuild.trigger, Default::default()).expect("a trigger");
    let (Instruction::Copy(first), Instruction::Copy(again)) =
        (*onbuild.instruction, again.instruction)
    else {
        panic!()
    };
    let bodies = |copy: &Copy| {
        let heredocs = copy.sources.iter().map(|source| match source {
            CopySource::Heredoc(heredoc) => heredoc.body().into_owned(),
            CopySource::Path(path) => panic!("{path:?}"),
        });
        heredocs.collect::<Vec<_>>()
    };
    assert_eq!(bodies(&first), ["a\n", "b\n"]);
    assert_eq!(bodies(&again), bodies(&first));
}

#[test]
fn heredoc_body_belongs_to_its_instruction() {
    let text = "RUN <<A cat <<-'B' | x\n# a\nRUN no\nA\n\tb\n\t\tc\n\tB\nRUN d";
    let instructions = instructions(text);
    assert_eq!(instructions.len(), 2);
    let Instruction::Run(run) = &instructions[0] else {
        panic!()
    };
    let Command::Shell { text, heredocs } = &run.command else {
        panic!()
    };
    assert_eq!(text, "<<A cat <<-'B' | x");
    assert_eq!(
        (heredocs[0].content.as_str(), heredocs[0].expand),
        ("# a\nRUN no\n", true)
    );
    assert_eq!(
        (&*heredocs[1].body(), heredocs[1].expand),
        ("b\nc\n", false)
    );
    assert_eq!(run.command.sole_heredoc(), None);
    let expected = "<<A cat <<-'B' | x\n# a\nRUN no\nA\n\tb\n\t\tc\nB";
    assert_eq!(run.command.shell_text().as_deref(), Some(expected));
}

#[test]
fn run_of_a_heredoc_alone_runs_its_body() {
    for announced in [
        "<<EOF",
        "<< EOF",
        "<<-'EOF'",
        "3<<EOF",
        "--network=none \\\n <<EOF",
    ] {
        let Instruction::Run(run) = instruction(&format!("RUN {announced}\necho a\nEOF")) else {
            panic!()
        };
        assert_eq!(
            run.command.shell_text().as_deref(),
            Some("echo a\n"),
            "{announced}"
        );
        assert!(run.command.sole_heredoc().is_some(), "{announced}");
    }
}

#[test]
fn copy_mixes_paths_and_heredocs() {
    let Instruction::Copy(copy) = instruction("COPY a <<B c <<'d e' /f\nb\nB\nd\nd e\n") else {
        panic!()
    };
    let kinds: Vec<_> = copy
        .sources
        .iter()
        .map(|source| match source {
            CopySource::Path(path) => path.text.clone(),
            CopySource::Heredoc(heredoc) => format!("{}: {:?}", heredoc.name, heredoc.content),
        })
        .collect();
    assert_eq!(kinds, ["a", "B: \"b\\n\"", "c", "d e: \"d\\n\""]);
    assert_eq!(copy.destination.text, "/f");
}

#[test]
fn other_instructions_and_the_json_form_have_no_heredocs() {
    let instructions = instructions("USER <<A\nRUN [\"<<A\"]\nENV a=<<A\nCMD cat <<A\n");
    assert_eq!(instructions.len(), 4);
}

#[test]
fn crlf_file_is_read_like_any_other() {
    let Instruction::Run(run) = instruction("RUN cat <<A \\\r\n x\r\na\r\nA\r\n") else {
        panic!()
    };
    let Command::Shell { text, heredocs } = run.command else {
        panic!()
    };
    assert_eq!(text, "cat <<A  x");
    assert_eq!(heredocs[0].content, "a\r\n");
}
