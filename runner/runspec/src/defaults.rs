//! What Docker and BuildKit give a build step unless told otherwise.

/// Host name of a step.
pub const HOSTNAME: &str = "buildkitsandbox";

/// `PATH` of a step whose image sets none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Size of `/dev/shm`, in bytes.
pub const SHM_SIZE_BYTES: u64 = 64 << 20;

/// Size limit of `/dev`, in bytes.
pub const DEV_SIZE_BYTES: u64 = 64 << 20;

/// Group that owns terminals on every common distribution.
pub const TERMINAL_GROUP: u32 = 5;

/// Capability numbers that a step has, from `linux/capability.h`.
pub const CAPABILITIES: [u32; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];

/// Returns [`CAPABILITIES`] as a bit set.
pub fn capability_set() -> u64 {
    CAPABILITIES.iter().fold(0, |set, number| set | 1 << number)
}

/// Paths that are hidden because they tell about the host or reach into it; `*` stands for the
/// rest of a name.
pub const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/system/cpu/cpu*/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that can be read and not written.
pub const READ_ONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
