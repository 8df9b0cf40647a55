//! Docker's default profile, with what closes its known gaps.

use super::profile::{Action, Comparison, Condition, Modes, Profile, Requirement, Rule};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Flags of `clone` that make namespaces, all but the one for time.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Address families of `socket`, as first and last number. Left out: DECnet, Econet, ATM,
/// wireless and obsolete ones, and the kernel's own cryptography and virtual machines.
const SOCKET_FAMILIES: [(u64, u64); 8] = [
    (0, 11),
    (13, 18),
    (21, 22),
    (24, 24),
    (26, 33),
    (35, 36),
    (39, 39),
    (41, 45),
];

/// Returns whether commands may make sockets of an address family.
pub fn allows_socket_family(family: u64) -> bool {
    let mut families = SOCKET_FAMILIES.iter();
    families.any(|(first, last)| (*first..=*last).contains(&family))
}

/// Personalities: Linux, 32-bit Linux, both with an old version number, and the question.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Number of `socket` in the call that other socket calls hide behind.
const SOCKETCALL_SOCKET: u64 = 1;

/// Requests of `ioctl` that type into a terminal, or paste: `TIOCSTI` and `TIOCLINUX`. A terminal
/// that a step is given must not be a way to whoever sits at it.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// Capabilities, and the calls that are of use to nobody else.
const PRIVILEGED: &[(u32, &[&str])] = &[
    (2, &["open_by_handle_at"]),
    (16, &["delete_module", "init_module", "finit_module"]),
    (17, &["iopl", "ioperm"]),
    (18, &["chroot"]),
    (
        19,
        &[
            "kcmp",
            "pidfd_getfd",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
        ],
    ),
    (20, &["acct"]),
    (
        SYS_ADMIN,
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (22, &["reboot"]),
    (
        23,
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    (
        25,
        &["settimeofday", "stime", "clock_settime", "clock_settime64"],
    ),
    (26, &["vhangup"]),
    (34, &["syslog"]),
    (38, &["perf_event_open"]),
    (39, &["bpf"]),
];

const SYS_ADMIN: u32 = 21;

/// Processors, and the calls that only they have.
const SPECIAL: &[(&[&str], &[&str])] = &[
    (&["amd64", "x32"], &["arch_prctl"]),
    (&["amd64", "x32", "x86"], &["modify_ldt"]),
    (
        &["arm", "arm64"],
        &[
            "arm_fadvise64_64",
            "arm_sync_file_range",
            "sync_file_range2",
            "breakpoint",
            "cacheflush",
            "set_tls",
        ],
    ),
    (&["ppc64le"], &["sync_file_range2", "swapcontext"]),
    (&["riscv64"], &["riscv_flush_icache"]),
    (
        &["s390", "s390x"],
        &[
            "s390_pci_mmio_read",
            "s390_pci_mmio_write",
            "s390_runtime_instr",
        ],
    ),
];

/// Returns the profile of every step that is told nothing else.
pub fn default_profile() -> Profile {
    let mut rules = vec![Rule::new(Action::Allow, ALLOWED)];
    let tracing = ["process_vm_readv", "process_vm_writev", "ptrace"];
    // Before that, a tracer could get around the filter.
    let since = Requirement {
        minimum_kernel: Some((4, 8)),
        ..Requirement::default()
    };
    rules.push(Rule::new(Action::Allow, &tracing).including(since));
    rules.extend(sockets());
    rules.extend(TYPING.map(|request| {
        let is_it = Condition::low(1, Comparison::Equal(request));
        Rule::new(Action::Fail(EPERM), &["ioctl"]).when([is_it])
    }));
    rules.push(Rule::new(Action::Allow, &["ioctl"]));
    rules.extend(PERSONALITIES.map(|personality| {
        let is_it = Condition::low(0, Comparison::Equal(personality));
        Rule::new(Action::Allow, &["personality"]).when([is_it])
    }));
    rules.extend(PRIVILEGED.iter().map(|(capability, names)| {
        Rule::new(Action::Allow, names).including(Requirement::capability(*capability))
    }));
    rules.extend(SPECIAL.iter().map(|(processors, names)| {
        Rule::new(Action::Allow, names).including(Requirement::processors(processors))
    }));
    rules.extend(threads());
    Profile {
        default_action: Action::Fail(EPERM),
        rules,
        modes: Modes::All,
    }
}

/// Returns the profile of a step that may call everything.
pub fn open_profile() -> Profile {
    Profile {
        default_action: Action::Allow,
        rules: Vec::new(),
        modes: Modes::All,
    }
}

/// By the half of the argument that the kernel looks at: a family with other bits set above
/// is still that family.
fn sockets() -> Vec<Rule> {
    let families = SOCKET_FAMILIES.iter().map(|(first, last)| {
        let conditions = [
            Condition::low(0, Comparison::AtLeast(*first)),
            Condition::low(0, Comparison::AtMost(*last)),
        ];
        Rule::new(Action::Allow, &["socket"]).when(conditions)
    });
    let mut rules: Vec<Rule> = families.collect();
    // The family lies in memory there, out of a filter's sight.
    let makes_socket = Condition::low(0, Comparison::Equal(SOCKETCALL_SOCKET));
    rules.push(Rule::new(Action::Ask, &["socketcall"]).when([makes_socket]));
    rules.push(Rule::new(Action::Allow, &["socketcall"]));
    rules
}

/// New threads and processes, but no namespaces. The flags of `clone3` lie in memory; a
/// library that is told that it does not exist falls back.
fn threads() -> [Rule; 3] {
    let without = |argument| {
        let comparison = Comparison::Masked {
            mask: NAMESPACE_FLAGS,
            value: 0,
        };
        Rule::new(Action::Allow, &["clone"]).when([Condition::low(argument, comparison)])
    };
    let privileged = || Requirement::capability(SYS_ADMIN);
    let swapped = Requirement::processors(&["s390", "s390x"]);
    let elsewhere = Requirement {
        capabilities: vec![SYS_ADMIN],
        ..swapped.clone()
    };
    [
        without(0).excluding(elsewhere),
        without(1).including(swapped).excluding(privileged()),
        Rule::new(Action::Fail(ENOSYS), &["clone3"]).excluding(privileged()),
    ]
}

/// What every command may call.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "bind", "brk",
    "cachestat", "capget", "capset", "chdir", "chmod", "chown", "chown32", "clock_adjtime",
    "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
    "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range",
    "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group",
    "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark",
    "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl",
    "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr",
    "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate",
    "ftruncate64", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
    "futex_wake", "futimesat", "get_robust_list", "get_thread_area", "getcpu", "getcwd",
    "getdents", "getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid",
    "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp",
    "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid",
    "getresuid32", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt", "gettid",
    "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat", "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit",
    "ioprio_get", "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen",
    "listmount", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr",
    "lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier", "memfd_create",
    "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2",
    "mlockall", "mmap", "mmap2", "mprotect", "mq_getsetattr", "mq_notify", "mq_open",
    "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64",
    "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock",
    "munlockall", "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat",
    "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc",
    "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl", "pread64", "preadv",
    "preadv2", "prlimit64", "process_mrelease", "pselect6", "pselect6_time64", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "recv",
    "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr",
    "removexattrat", "rename", "renameat", "renameat2", "restart_syscall", "riscv_hwprobe",
    "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
    "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select",
    "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendfile",
    "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_robust_list", "set_thread_area",
    "set_tid_address", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32",
    "setgroups", "setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32",
    "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
    "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "setxattrat",
    "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4",
    "sigprocmask", "sigreturn", "socketpair", "splice", "stat", "stat64",
    "statfs", "statfs64", "statmount", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime",
    "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64",
    "timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate", "truncate64",
    "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "uretprobe", "utime", "utimensat",
    "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4", "waitid", "waitpid", "write",
    "writev",
];
