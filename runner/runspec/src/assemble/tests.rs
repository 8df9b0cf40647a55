//! The order of steps, compared as lists.

use super::*;
use crate::host::{ControlGroups, OwnedNetworks, ProcessorArchitecture};
use crate::spec::{IoKind, IoLimit, Limits, MountKind, MountSpec, ResourceLimit};
use crate::step::{DeviceSource, MountAttributes, MountSource, Target};
use crate::{Confinement, RunGroup, Rung, SecretData, SecurityModules};

fn root_host() -> Host {
    let controllers = ["memory", "pids", "devices"];
    Host {
        rung: Rung::Root,
        next_rung: None,
        control_groups: ControlGroups::PerController {
            controllers: controllers
                .map(|name| (name.to_owned(), PathBuf::from(format!("/cg/{name}"))))
                .into(),
        },
        is_limited: false,
        device_programs: false,
        control_group_prefix: "kiln-7".into(),
        capabilities: u64::MAX >> 23,
        owned_networks: OwnedNetworks::All,
        last_capability: 40,
        terminal_group_mapped: true,
        filters_system_calls: true,
        security_modules: SecurityModules::default(),
        architecture: ProcessorArchitecture::X86_64,
        kernel_release: "6.12".into(),
    }
}

fn rootless_host() -> Host {
    Host {
        rung: Rung::Ranges,
        control_groups: ControlGroups::Unavailable {
            reason: "not writable".into(),
        },
        owned_networks: OwnedNetworks::Made,
        terminal_group_mapped: false,
        ..root_host()
    }
}

fn spec() -> RunSpec {
    RunSpec {
        root: Root::Overlay {
            lowers: vec!["/l/1".into(), "/l/2".into()],
            upper: "/a/upper".into(),
            work: "/a/work".into(),
            user_xattrs: false,
        },
        arguments: vec!["/bin/sh".into()],
        environment: vec!["A=b".into()],
        working_directory: "/src".into(),
        user: ResolvedUser::default(),
        hostname: "host".into(),
        hosts: String::new(),
        resolv_conf: String::new(),
        mounts: Vec::new(),
        network: NetworkSpec::None,
        security: SecurityMode::Sandbox,
        limits: Limits::default(),
        resource_limits: Vec::new(),
        shm_size_bytes: None,
        cgroup_name: "step".into(),
        confinement: Confinement::default(),
        emulators: Vec::new(),
    }
}

/// First words of each step: `Mount /proc`, `Mask`, `PivotRoot`.
fn words(spec: &RunSpec, host: &Host) -> Vec<String> {
    let steps = steps(spec, host).expect("steps");
    let word = |step: &SetupStep| match step {
        SetupStep::Mount { target, .. } => format!("Mount {}", target.path()),
        other => {
            let text = format!("{other:?}");
            let end = text.find([' ', '{']).unwrap_or(text.len());
            text[..end].to_owned()
        }
    };
    let mut words: Vec<String> = steps.iter().map(word).collect();
    words.dedup();
    words
}

fn position(words: &[String], word: &str) -> usize {
    let found = words.iter().position(|one| one == word);
    found.unwrap_or_else(|| panic!("{word} is not in {words:?}"))
}

#[test]
fn steps_come_in_the_order_that_carries_the_safety() {
    let expected = [
        "Unshare",
        "ForkInit",
        "Unshare",
        "UnshareControlGroups",
        "IsolateMounts",
        "BringLoopbackUp",
        "OpenNetwork",
        "SetHostname",
        "MountScratch",
        "MountRoot",
        "Mount /proc",
        "Mount /dev",
        "Mount /dev/pts",
        "Mount /dev/shm",
        "Mount /dev/mqueue",
        "Mount /sys",
        "Mount /etc/hosts",
        "Mount /etc/resolv.conf",
        "MakeReadOnly",
        "Mask",
        "PivotRoot",
        "EnterWorkingDirectory",
        "ForkCommand",
        "StartSession",
        "OwnOutput",
        "FilterSystemCalls",
        "LimitCapabilities",
        "BecomeUser",
        "SetCapabilities",
        "CheckWorkingDirectory",
        "Exec",
    ];
    assert_eq!(words(&spec(), &root_host()), expected);
}

#[test]
fn control_groups_are_entered_before_their_namespace_is_made() {
    let mut spec = spec();
    spec.limits.memory_bytes = Some(1 << 20);
    let words = words(&spec, &root_host());
    let joined = position(&words, "JoinControlGroups");
    assert!(position(&words, "ForkInit") < joined);
    assert!(joined < position(&words, "UnshareControlGroups"));
}

#[test]
fn parents_are_mounted_before_what_lies_below() {
    let mut spec = spec();
    let tmpfs = MountKind::Tmpfs { size_bytes: None };
    for target in ["/a/b/c", "/z", "//a/./b/"] {
        spec.mounts.push(MountSpec {
            target: target.into(),
            kind: tmpfs.clone(),
        });
    }
    let words = words(&spec, &root_host());
    assert!(position(&words, "Mount //a/./b/") < position(&words, "Mount /a/b/c"));
    assert!(position(&words, "Mount /a/b/c") < position(&words, "MakeReadOnly"));
}

#[test]
fn other_users_keep_no_effective_capabilities() {
    let mut spec = spec();
    spec.user = ResolvedUser {
        uid: 5,
        gid: 6,
        groups: vec![8, 6],
    };
    let steps = steps(&spec, &root_host()).expect("steps");
    assert!(steps.contains(&SetupStep::SetCapabilities { effective: 0 }));
    let bounding = defaults::capability_set();
    assert_eq!(bounding, 0xa804_25fb);
    assert!(steps.contains(&SetupStep::LimitCapabilities { bounding }));
    assert!(steps.contains(&SetupStep::BecomeUser {
        uid: 5,
        gid: 6,
        groups: vec![6, 8],
    }));
}

#[test]
fn rootless_hands_devices_on_and_refuses_all_others() {
    let mut spec = spec();
    spec.network = NetworkSpec::Host;
    let steps = steps(&spec, &rootless_host()).expect("steps");
    let find = |path: &str| {
        let mounts = steps.iter().find_map(|step| match step {
            SetupStep::Mount {
                target,
                source,
                attributes,
            } if target.path() == path => Some((source.clone(), *attributes)),
            _ => None,
        });
        mounts.unwrap_or_else(|| panic!("{path} is not mounted"))
    };
    let (dev, attributes) = find("/dev");
    let nodes = DeviceSource::Host;
    assert_eq!(dev, MountSource::Devices { nodes });
    assert!(attributes.no_devices);
    assert_eq!(find("/dev/pts").0, MountSource::Terminals { group: None });
    assert_eq!(
        find("/sys"),
        (MountSource::HostSys, MountAttributes::READ_ONLY_DATA)
    );
    let root = steps.iter().find_map(|step| match step {
        SetupStep::MountRoot { attributes, .. } => Some(*attributes),
        _ => None,
    });
    assert!(root.is_some_and(|attributes| attributes.no_devices));
}

#[test]
fn kernel_mounts_never_follow_links_of_the_image() {
    for step in steps(&spec(), &root_host()).expect("steps") {
        if let SetupStep::Mount { target, source, .. } = step {
            let is_file = matches!(source, MountSource::File { .. });
            assert_eq!(matches!(target, Target::Resolved(_)), is_file, "{target:?}");
        }
    }
}

#[test]
fn insecure_runs_have_neither_filter_nor_masks_nor_device_group() {
    let mut spec = spec();
    spec.security = SecurityMode::Insecure;
    let words = words(&spec, &root_host());
    for absent in ["FilterSystemCalls", "Mask", "MakeReadOnly"] {
        assert!(!words.iter().any(|word| word == absent), "{absent}");
    }
    let steps = steps(&spec, &root_host()).expect("steps");
    assert!(steps.contains(&SetupStep::JoinControlGroups {
        directories: vec!["/cg/devices".into()],
    }));
}

#[test]
fn runs_with_devices_open_those_and_leave_the_group_in_which_few_open() {
    let mut spec = spec();
    spec.mounts.push(MountSpec {
        target: "/dev/gpu".to_owned(),
        kind: MountKind::Device {
            source: "/dev/host-gpu".into(),
        },
    });
    let steps = steps(&spec, &root_host()).expect("steps");
    assert!(steps.contains(&SetupStep::JoinControlGroups {
        directories: vec!["/cg/devices".into()],
    }));
    let mut opens = Vec::new();
    for step in &steps {
        match step {
            SetupStep::MountRoot { attributes, .. } => assert!(attributes.no_devices),
            SetupStep::Mount {
                target,
                source: MountSource::Bind { .. },
                attributes,
            } if !attributes.no_devices => opens.push(target.path().to_owned()),
            SetupStep::Mount {
                source: MountSource::Devices { nodes },
                attributes,
                ..
            } => assert!(*nodes == DeviceSource::Host && attributes.no_devices),
            _ => {}
        }
    }
    assert_eq!(opens, ["/dev/gpu"]);
}

#[test]
fn limits_become_groups_of_their_controllers() {
    let mut spec = spec();
    spec.limits.memory_bytes = Some(1000);
    spec.limits.pids = Some(5);
    let plan = group_plan(&spec, &root_host()).expect("a plan");
    let group = |controller: &'static str, name: &'static str, value: &str| RunGroup {
        directory: format!("/cg/{controller}/kiln-7-step").into(),
        controllers: vec![controller],
        filters_devices: false,
        settings: vec![(name, value.to_owned())],
    };
    let expected = vec![
        group("memory", "memory.limit_in_bytes", "1000"),
        group("pids", "pids.max", "5"),
    ];
    assert_eq!(plan.own, expected);
}

#[test]
fn unified_hierarchy_gets_one_group() {
    let mut spec = spec();
    spec.limits = Limits {
        memory_bytes: Some(1000),
        memory_and_swap_bytes: Some(1500),
        cpu_quota_microseconds: Some(50_000),
        cpu_shares: Some(1024),
        ..Limits::default()
    };
    let host = Host {
        control_groups: ControlGroups::Unified {
            directory: "/cg".into(),
            controllers: vec!["cpu".into(), "memory".into()],
        },
        ..root_host()
    };
    let plan = group_plan(&spec, &host).expect("a plan");
    let settings = vec![
        ("memory.max", "1000".to_owned()),
        ("memory.swap.max", "500".to_owned()),
        ("cpu.max", "50000 100000".to_owned()),
        ("cpu.weight", "39".to_owned()),
    ];
    assert_eq!(plan.own[0].settings, settings);
    assert_eq!(plan.own[0].directory, PathBuf::from("/cg/kiln-7-step"));
}

#[test]
fn process_and_all_that_it_runs_get_a_group_in_which_runs_are_counted() {
    let limits = Limits {
        memory_bytes: Some(1000),
        io_weight: Some(500),
        io: vec![IoLimit {
            device: (8, 16),
            kind: IoKind::WriteBytes,
            per_second: 1_048_576,
        }],
        ..Limits::default()
    };
    let legacy = |controllers: &[&str]| ControlGroups::PerController {
        controllers: controllers
            .iter()
            .map(|name| ((*name).to_owned(), PathBuf::from(format!("/cg/{name}"))))
            .collect(),
    };
    let mut host = root_host();
    host.control_groups = legacy(&["memory", "blkio"]);
    let plan = limit_plan(&limits, &host).expect("a plan");
    let found: Vec<(PathBuf, Vec<(&str, String)>)> = plan
        .own
        .into_iter()
        .map(|group| (group.directory, group.settings))
        .collect();
    let bytes = ("memory.limit_in_bytes", "1000".to_owned());
    let weight = ("blkio.bfq.weight", "500".to_owned());
    let writes = ("blkio.throttle.write_bps_device", "8:16 1048576".to_owned());
    let expected: Vec<(PathBuf, Vec<(&str, String)>)> = vec![
        ("/cg/memory/kiln-7-limits".into(), vec![bytes]),
        ("/cg/blkio/kiln-7-limits".into(), vec![weight, writes]),
    ];
    assert_eq!(found, expected);
    host.control_groups = ControlGroups::Unified {
        directory: "/cg".into(),
        controllers: vec!["io".into(), "memory".into()],
    };
    let plan = limit_plan(&limits, &host).expect("a plan");
    let settings = [
        ("memory.max", "1000".to_owned()),
        ("io.weight", "default 4950".to_owned()),
        ("io.max", "8:16 wbps=1048576".to_owned()),
    ];
    assert_eq!(plan.own[0].settings, settings);
    assert_eq!(group_plan(&spec(), &host).expect("a plan").own, []);
    host.is_limited = true;
    let counted = group_plan(&spec(), &host).expect("a plan").own;
    assert_eq!(counted[0].controllers, ["memory"]);
    assert_eq!(counted[0].settings, []);
}

#[test]
fn limits_that_nothing_enforces_are_an_error() {
    let mut spec = spec();
    spec.limits.memory_bytes = Some(1000);
    let error = steps(&spec, &rootless_host()).expect_err("no limits here");
    assert_eq!(error.to_string(), "cannot limit memory: not writable");
}

#[test]
fn contradicting_specifications_are_refused() {
    let limit = |soft, hard| ResourceLimit {
        name: "nofile".into(),
        soft,
        hard,
    };
    let root_mount = MountSpec {
        target: "/a/..".into(),
        kind: MountKind::Tmpfs { size_bytes: None },
    };
    type Change = Box<dyn Fn(&mut RunSpec)>;
    let table: [(Change, &str); 7] = [
        (Box::new(|s| s.arguments.clear()), "without arguments"),
        (Box::new(|s| s.arguments.push("a\0b".into())), "zero byte"),
        (
            Box::new(|s| s.environment.push("KEY=se\0cret".into())),
            "`KEY\\u{0}`",
        ),
        (
            Box::new(|s| s.working_directory = "src".into()),
            "not absolute",
        ),
        (
            Box::new(move |s| s.mounts.push(root_mount.clone())),
            "over the root",
        ),
        (
            Box::new(|s| s.cgroup_name = "../x".into()),
            "control group name",
        ),
        (
            Box::new(move |s| s.resource_limits.push(limit(2, 1))),
            "above hard limit",
        ),
    ];
    for (change, expected) in table {
        let mut spec = spec();
        change(&mut spec);
        let error = steps(&spec, &root_host()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("cret"), "{error}");
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut spec = spec();
    spec.mounts.push(MountSpec {
        target: "/run/secrets/x".into(),
        kind: MountKind::SecretFile {
            data: SecretData(b"hidden".to_vec()),
            mode: 0o400,
            uid: 0,
            gid: 0,
        },
    });
    let bytes = format!("{:?}", b"hidden");
    let text = format!("{spec:?} {:?}", steps(&spec, &root_host()));
    assert!(!text.contains("hidden") && !text.contains(&bytes), "{text}");
}

fn chroot_host() -> Host {
    Host {
        rung: Rung::Chroot,
        ..rootless_host()
    }
}

fn chroot_spec() -> RunSpec {
    RunSpec {
        root: Root::Directory {
            path: "/a/upper".into(),
            aside: "/a/work".into(),
        },
        network: NetworkSpec::Host,
        ..spec()
    }
}

#[test]
fn plain_directory_is_mounted_as_it_is_where_mounts_can_be_made() {
    let plain = RunSpec {
        root: chroot_spec().root,
        ..spec()
    };
    for host in [root_host(), rootless_host()] {
        assert_eq!(words(&plain, &host), words(&spec(), &host));
        let steps = steps(&plain, &host).expect("steps");
        let over = "/a/work".into();
        assert!(steps.contains(&SetupStep::MountScratch { over }));
        let roots = steps.iter().filter_map(|step| match step {
            SetupStep::MountRoot { root, .. } => Some(root.clone()),
            _ => None,
        });
        let roots: Vec<_> = roots.collect();
        assert_eq!(roots, [RootMount::Directory("/a/upper".into())]);
    }
}

#[test]
fn changed_root_takes_no_namespaces_mounts_or_filter() {
    let expected = [
        "BecomeSubreaper",
        "ForkCommand",
        "ChangeRoot",
        "EnterWorkingDirectory",
        "StartSession",
        "OwnOutput",
        "LimitCapabilities",
        "BecomeUser",
        "SetCapabilities",
        "CheckWorkingDirectory",
        "Exec",
    ];
    assert_eq!(words(&chroot_spec(), &chroot_host()), expected);
    let steps = steps(&chroot_spec(), &chroot_host()).expect("steps");
    let effective = defaults::capability_set() & !(1 << 18);
    assert!(steps.contains(&SetupStep::SetCapabilities { effective }));
}

#[test]
fn changed_root_refuses_what_it_cannot_give() {
    let tmpfs = |size_bytes| MountSpec {
        target: "/t".into(),
        kind: MountKind::Tmpfs { size_bytes },
    };
    type Change = Box<dyn Fn(&mut RunSpec)>;
    let table: [(Change, &str); 5] = [
        (
            Box::new(|s| s.network = NetworkSpec::None),
            "lacks network namespaces",
        ),
        (
            Box::new(|s| s.security = SecurityMode::Insecure),
            "cannot run an insecure command",
        ),
        (
            Box::new(|s| s.shm_size_bytes = Some(1)),
            "cannot limit /dev/shm",
        ),
        (
            Box::new(move |s| s.mounts.push(tmpfs(Some(1)))),
            "cannot limit a file system",
        ),
        (Box::new(|s| s.root = spec().root), "cannot take an overlay"),
    ];
    for (change, expected) in table {
        let mut spec = chroot_spec();
        change(&mut spec);
        let error = steps(&spec, &chroot_host())
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut spec = chroot_spec();
    spec.mounts.push(tmpfs(None));
    assert!(steps(&spec, &chroot_host()).is_ok());
}

fn with_emulator() -> RunSpec {
    let processor = crate::emulation::Processor::named("s390x").expect("a processor");
    let flags = crate::emulation::Flags {
        keep_first_argument: true,
    };
    let path = Path::new("/usr/bin/qemu-s390x-static");
    RunSpec {
        emulators: vec![crate::emulation::Registration::of(processor, path, flags)],
        ..spec()
    }
}

#[test]
fn emulators_are_registered_in_a_user_namespace_while_host_paths_are_there() {
    let words = words(&with_emulator(), &root_host());
    let registered = position(&words, "RegisterEmulators");
    assert!(position(&words, "EnterUserNamespace") < position(&words, "ForkInit"));
    // The mount namespace of the user namespace's own comes right before.
    assert!(position(&words, "SetHostname") < registered);
    assert!(registered < position(&words, "AttachRoot"));
    let steps = steps(&with_emulator(), &root_host()).expect("steps");
    let all_users = SetupStep::MakeUserNamespace {
        start: 0,
        count: u32::MAX,
    };
    assert!(steps.contains(&all_users));
}

#[test]
fn users_register_emulators_in_the_namespace_that_they_are_in() {
    let words = words(&with_emulator(), &rootless_host());
    assert!(position(&words, "RegisterEmulators") < position(&words, "PivotRoot"));
    assert!(!words.contains(&"MakeUserNamespace".to_owned()));
}

#[test]
fn emulators_are_refused_where_there_is_no_user_namespace() {
    let insecure = RunSpec {
        security: SecurityMode::Insecure,
        ..with_emulator()
    };
    let changed_root = RunSpec {
        emulators: with_emulator().emulators,
        ..chroot_spec()
    };
    for (spec, host) in [(insecure, root_host()), (changed_root, chroot_host())] {
        let error = steps(&spec, &host).expect_err("a refusal").to_string();
        assert!(error.starts_with("cannot bring an emulator"), "{error}");
    }
}

#[test]
fn users_are_pretended_where_there_is_one_id() {
    let host = Host {
        rung: Rung::SingleId,
        ..rootless_host()
    };
    let mut spec = spec();
    spec.user.uid = 1000;
    let steps = steps(&spec, &host).expect("steps");
    let user = spec.user.clone();
    assert!(steps.contains(&SetupStep::PretendUser { user }));
    let words = words(&spec, &host);
    assert!(position(&words, "PretendUser") < position(&words, "ForkCommand"));
    assert!(!words.contains(&"BecomeUser".to_owned()));
    spec.confinement.system_calls = crate::SystemCalls::Unconfined;
    position(&self::words(&spec, &host), "FilterSystemCalls");
    let unfiltered = Host {
        filters_system_calls: false,
        ..host
    };
    position(&self::words(&spec, &unfiltered), "BecomeUser");
}

#[test]
fn sys_is_fresh_where_the_network_belongs_to_the_step() {
    let (root, user) = (root_host(), rootless_host());
    let own = crate::Users::Own {
        start: 100_000,
        count: 65_536,
    };
    let shared = crate::Users::Host;
    let table = [
        (&root, shared, NetworkSpec::Host, MountSource::Sysfs),
        (&root, own, NetworkSpec::Host, MountSource::HostSys),
        (&root, own, NetworkSpec::Private, MountSource::HostSys),
        (&root, own, NetworkSpec::None, MountSource::Sysfs),
        (&user, shared, NetworkSpec::Host, MountSource::HostSys),
        (&user, shared, NetworkSpec::Private, MountSource::Sysfs),
        // Below a user namespace there is no further one.
        (&user, own, NetworkSpec::Private, MountSource::Sysfs),
    ];
    for (host, users, network, expected) in table {
        let mut spec = spec();
        (spec.confinement.users, spec.network) = (users, network);
        let steps = steps(&spec, host).expect("steps");
        let shown = steps.iter().find_map(|step| match step {
            SetupStep::Mount { target, source, .. } if target.path() == "/sys" => Some(source),
            _ => None,
        });
        assert_eq!(shown, Some(&expected), "{users:?} {:?}", spec.network);
    }
}
