use super::*;
use crate::*;

fn exec(change: impl FnOnce(&mut Exec)) -> Op {
    let mut exec = Exec {
        root: Some(VertexId::from_index(0)),
        arguments: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        environment: vec![("PATH".into(), "/bin".into())],
        proxy_environment: Vec::new(),
        working_directory: "/".into(),
        user: String::new(),
        mounts: Vec::new(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        hostname: "builder".into(),
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        devices: Vec::new(),
        platform: None,
    };
    change(&mut exec);
    Op::Exec(exec)
}

fn copy(change: impl FnOnce(&mut Copy)) -> Op {
    let mut copy = Copy {
        from: VertexId::from_index(1),
        sources: vec!["src/main.c".into()],
        destination: "/app/".into(),
        owner: None,
        mode: None,
        exclude: Vec::new(),
        parents: false,
        unpack: Unpack::Never,
    };
    change(&mut copy);
    Op::File(FileOp {
        base: Some(VertexId::from_index(0)),
        actions: vec![FileAction::Copy(copy)],
    })
}

fn image(digest: &[u8], chain: Option<&[u8]>) -> Op {
    Op::Image(ImageSource {
        reference: "debian:12".parse().expect("a reference"),
        digest: Digest::sha256(digest),
        platform: "linux/amd64".parse().expect("a platform"),
        chain_id: chain.map(|bytes| kiln_oci::ChainId(Digest::sha256(bytes))),
    })
}

fn result(name: &str) -> InputKey {
    InputKey::Result(CacheKey::from_digest(Digest::sha256(name.as_bytes())))
}

fn content(name: &str) -> InputKey {
    InputKey::Content(Digest::sha256(name.as_bytes()))
}

#[test]
fn keys_are_pinned_for_the_version() {
    let copy = copy(|_| ());
    let keys = [
        definition_key(&image(b"manifest", Some(b"chain")), &[]),
        definition_key(&exec(|_| ()), &[result("root")]),
        definition_key(&copy, &[result("base"), result("source")]),
        content_key(&copy, &[result("base"), content("files")]),
    ];
    let expected = [
        "sha256:f04371ea02935bbb6ecb6da0505dc98173d14a834e179933651f6a354758302e",
        "sha256:b4995ef5781bf2c0209c747f3e7a08b7878a5314164aa848516aa71dc522b99e",
        "sha256:4a429123480398ceb46637cec06a2fbc3fb2fd6b4ebd2581c7aabe2d7f56e550",
        "sha256:a8834f10d91d2fee914325fbda41445838a98c91bc9ae58607b085acf5114636",
    ];
    assert_eq!(KEY_VERSION, 2);
    assert_eq!(keys.map(|key| key.to_string()), expected);
}

#[test]
fn retagged_image_with_the_same_layers_has_the_same_key() {
    let first = definition_key(&image(b"one", Some(b"chain")), &[]);
    assert_eq!(definition_key(&image(b"two", Some(b"chain")), &[]), first);
    assert_ne!(definition_key(&image(b"one", Some(b"other")), &[]), first);
}

#[test]
fn image_without_layers_is_keyed_by_its_digest() {
    let first = definition_key(&image(b"one", None), &[]);
    assert_ne!(definition_key(&image(b"two", None), &[]), first);
}

#[test]
fn exec_key_leaves_out_addresses_proxies_and_places() {
    let with = |address: &str, proxy: &str| {
        exec(|exec| {
            exec.extra_hosts = vec![("mirror".into(), address.into())];
            exec.proxy_environment = vec![("http_proxy".into(), proxy.into())];
        })
    };
    let key = |op: &Op| definition_key(op, &[result("root")]);
    assert_eq!(key(&with("10.0.0.1", "a")), key(&with("10.0.0.2", "b")));
    assert_ne!(key(&with("10.0.0.1", "a")), key(&exec(|_| ())));
}

#[test]
fn exec_key_has_all_that_the_command_sees() {
    let changes: [fn(&mut Exec); 9] = [
        |exec| exec.arguments.push("x".into()),
        |exec| exec.environment.push(("A".into(), String::new())),
        |exec| exec.working_directory = "/x".into(),
        |exec| exec.user = "1".into(),
        |exec| exec.network = NetworkMode::None,
        |exec| exec.security = SecurityMode::Insecure,
        |exec| exec.ulimits = vec![("nofile".into(), 1, 1)],
        |exec| exec.shm_size_bytes = Some(1),
        |exec| {
            let (name, required) = ("vendor/class=a".into(), true);
            exec.devices = vec![Device { name, required }];
        },
    ];
    let told: std::collections::HashSet<_> = changes.map(|change| facts(&exec(change))).into();
    assert_eq!(told.len(), 9, "each is told too");
    let mut keys: Vec<_> = changes
        .into_iter()
        .map(|change| definition_key(&exec(change), &[result("root")]))
        .collect();
    keys.push(definition_key(&exec(|_| ()), &[result("root")]));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 10);
}

#[test]
fn chosen_cache_directory_name_is_not_in_the_key() {
    let with = |id: &str| {
        let op = exec(|exec| {
            let kind = MountKind::Cache {
                id: id.into(),
                sharing: CacheSharing::Shared,
                from: None,
                source: String::new(),
                mode: 0o755,
                uid: 0,
                gid: 0,
                read_only: false,
            };
            let target = "/cache".into();
            exec.mounts.push(Mount { target, kind });
        });
        definition_key(&op, &[result("root")])
    };
    assert_eq!(with("one"), with("two"));
    assert_eq!(with("one"), with("/cache"));
}

#[test]
fn copied_directory_part_matters_to_the_definition_only() {
    let moved = copy(|copy| copy.sources = vec!["lib/main.c".into()]);
    let keys = |op: &Op| {
        let inputs = [result("base"), result("source")];
        let contents = [result("base"), content("files")];
        (definition_key(op, &inputs), content_key(op, &contents))
    };
    let (definition, content) = keys(&copy(|_| ()));
    let (moved_definition, moved_content) = keys(&moved);
    assert_ne!(moved_definition, definition);
    assert_eq!(moved_content, content);
    let patterned = copy(|copy| copy.sources = vec!["src/*.c".into()]);
    assert_eq!(keys(&patterned).1, content, "the digest has the names");
}

#[test]
fn kept_parents_matter() {
    let inputs = [result("base"), content("files")];
    let with = |parents: bool| copy(|copy| copy.parents = parents);
    assert_ne!(
        content_key(&with(true), &inputs),
        content_key(&with(false), &inputs)
    );
}

#[test]
fn exclusions_matter_to_the_definition_only() {
    let excluding = copy(|copy| copy.exclude = vec!["*.md".into()]);
    let inputs = [result("base"), result("source")];
    let contents = [result("base"), content("files")];
    let plain = copy(|_| ());
    assert_ne!(
        definition_key(&excluding, &inputs),
        definition_key(&plain, &inputs)
    );
    assert_eq!(
        content_key(&excluding, &contents),
        content_key(&plain, &contents)
    );
}

#[test]
fn order_of_merged_layers_matters() {
    let merge = Op::Merge(Merge {
        layers: vec![VertexId::from_index(0), VertexId::from_index(1)],
    });
    assert_ne!(
        definition_key(&merge, &[result("a"), result("b")]),
        definition_key(&merge, &[result("b"), result("a")])
    );
}

#[test]
fn vertex_ids_are_not_in_the_key() {
    let elsewhere = exec(|exec| exec.root = Some(VertexId::from_index(7)));
    assert_eq!(canonical_bytes(&elsewhere), canonical_bytes(&exec(|_| ())));
}

#[test]
fn copy_key_has_all_that_shows_in_the_result() {
    let owner = |user: &str, group: Option<&str>| {
        Some(Owner {
            user: user.into(),
            group: group.map(str::to_owned),
        })
    };
    type Change = Box<dyn Fn(&mut Copy)>;
    let changes: [Change; 7] = [
        Box::new(|_| ()),
        Box::new(|copy| copy.destination = "/app".into()),
        Box::new(move |copy| copy.owner = owner("1", None)),
        Box::new(move |copy| copy.owner = owner("1", Some("1"))),
        Box::new(|copy| copy.mode = Some(ModeChange::Octal(0o644))),
        Box::new(|copy| copy.mode = Some(ModeChange::Symbolic("0644".into()))),
        Box::new(|copy| copy.unpack = Unpack::Detect),
    ];
    let inputs = [result("base"), content("files")];
    let mut keys: Vec<_> = changes
        .iter()
        .map(|change| content_key(&copy(change), &inputs))
        .collect();
    let told: std::collections::HashSet<_> =
        changes.iter().map(|change| facts(&copy(change))).collect();
    assert_eq!(told.len(), changes.len(), "each is told too");
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn values_never_run_into_each_other() {
    let with = |arguments: &[&str]| {
        exec(|exec| exec.arguments = arguments.iter().map(|text| (*text).into()).collect())
    };
    let pairs = [
        (with(&["ab", "c"]), with(&["a", "bc"])),
        (with(&["a", ""]), with(&["a"])),
        (with(&["a\0b"]), with(&["a", "b"])),
    ];
    for (left, right) in pairs {
        assert_ne!(canonical_bytes(&left), canonical_bytes(&right));
    }
}

fn git(change: impl FnOnce(&mut GitSource)) -> CacheKey {
    let mut git = GitSource {
        remote: "https://example.com/a.git".into(),
        checksum: Some("0123456789abcdef0123456789abcdef01234567".into()),
        ..GitSource::default()
    };
    change(&mut git);
    definition_key(&Op::Git(git), &[])
}

#[test]
fn checkout_is_keyed_by_its_commit_wherever_it_came_from() {
    let key = git(|_| ());
    assert_eq!(git(|git| git.remote = "git@example.com:a".into()), key);
    assert_eq!(git(|git| git.reference = Some("main".into())), key);
    assert_eq!(git(|git| git.fetch_by_commit = true), key);
    let changes: [fn(&mut GitSource); 5] = [
        |git| git.checksum = Some("f".repeat(40)),
        |git| git.subdirectory = Some("a".into()),
        |git| git.keep_git_directory = true,
        |git| git.submodules = false,
        |git| git.times = GitTimes::Commit,
    ];
    for change in changes {
        assert_ne!(git(change), key);
    }
}

#[test]
fn kept_git_directory_knows_where_it_came_from_but_not_who_asked() {
    let kept = |remote: &str| {
        git(|git| {
            git.keep_git_directory = true;
            git.remote = remote.into();
        })
    };
    let key = kept("https://example.com/a.git");
    assert_eq!(kept("https://user:token@example.com/a.git"), key);
    assert_ne!(kept("https://example.com/b.git"), key);
}
