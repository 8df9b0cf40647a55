//! What a specification must not ask for.

use thiserror::Error;

use crate::host::Host;
use crate::rung::Rung;
use crate::spec::{Root, RunSpec, SecurityMode};

/// Why no steps can be given for a specification.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SpecError {
    /// No program.
    #[error("cannot run a command without arguments")]
    NoArguments,
    /// A zero byte, which no system call takes.
    #[error("{what} `{text}` holds a zero byte")]
    ZeroByte {
        /// What holds it.
        what: &'static str,
        /// The text, escaped.
        text: String,
    },
    /// A path that is not absolute.
    #[error("{what} `{path}` is not absolute")]
    RelativePath {
        /// What it names.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// A mount that would hide the whole root.
    #[error("cannot mount over the root with target `{target}`")]
    MountOverRoot {
        /// The target as written.
        target: String,
    },
    /// A control group name that could be a path.
    #[error("control group name `{name}` is not made of letters, digits, `_`, `.` and `-`")]
    GroupName {
        /// The name.
        name: String,
    },
    /// An unknown resource limit.
    #[error("unknown resource limit `{name}`")]
    UnknownResourceLimit {
        /// The name.
        name: String,
    },
    /// A soft limit above the hard one.
    #[error("resource limit `{name}`: soft limit {soft} is above hard limit {hard}")]
    SoftAboveHard {
        /// The name.
        name: String,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// A host name that the kernel refuses.
    #[error("host name `{hostname}` is longer than 64 bytes")]
    Hostname {
        /// The name.
        hostname: String,
    },
    /// A limit that nothing enforces here.
    #[error("cannot limit {controller}: {reason}")]
    LimitUnsupported {
        /// The controller that is needed.
        controller: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// A wall that this host does not have.
    #[error("cannot confine the command by {what}: {reason}")]
    ConfinementUnsupported {
        /// What is asked for.
        what: String,
        /// Why it cannot be had.
        reason: &'static str,
    },
    /// Emulators cannot be brought along.
    #[error("cannot bring an emulator into the sandbox: {reason}")]
    Emulator {
        /// Why.
        reason: &'static str,
    },
    /// Something that a changed root cannot give.
    #[error("cannot {what} in a changed root: it lacks {lacks}")]
    ChangedRoot {
        /// What was to be done.
        what: &'static str,
        /// What that takes.
        lacks: &'static str,
    },
    /// The root cannot be had on this rung.
    #[error("cannot take {kind} as root on the rung `{rung}`")]
    RootOfAnotherRung {
        /// What kind of root.
        kind: &'static str,
        /// The rung.
        rung: Rung,
    },
    /// No rung of isolation.
    #[error("cannot set up a sandbox here: {reason}")]
    NoIsolation {
        /// Why.
        reason: String,
    },
}

/// Names of resource limits, as Docker spells them.
pub(crate) const RESOURCE_LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn check(spec: &RunSpec, host: &Host) -> Result<(), SpecError> {
    if host.rung == Rung::Impossible {
        let missing = host.next_rung.as_ref().map(|next| next.missing.clone());
        return Err(SpecError::NoIsolation {
            reason: missing.unwrap_or_default(),
        });
    }
    check_root(spec, host)?;
    check_command(spec)?;
    check_paths(spec)?;
    check_limits(spec)?;
    super::confine::check(spec, host)?;
    check_emulators(spec, host)?;
    if spec.hostname.len() > 64 {
        return Err(SpecError::Hostname {
            hostname: spec.hostname.clone(),
        });
    }
    Ok(())
}

fn check_root(spec: &RunSpec, host: &Host) -> Result<(), SpecError> {
    let (kind, fits) = match &spec.root {
        Root::Overlay { .. } => ("an overlay", host.rung.has_namespaces()),
        // An impossible rung was refused before.
        Root::Directory { .. } => ("a plain directory", true),
    };
    match fits {
        true => Ok(()),
        false => Err(SpecError::RootOfAnotherRung {
            kind,
            rung: host.rung,
        }),
    }
}

fn check_emulators(spec: &RunSpec, host: &Host) -> Result<(), SpecError> {
    let refuse = |reason| Err(SpecError::Emulator { reason });
    match spec.security {
        _ if spec.emulators.is_empty() => Ok(()),
        _ if host.rung == Rung::Chroot => refuse("that takes namespaces"),
        SecurityMode::Insecure if host.rung == Rung::Root => {
            refuse("an insecure command has all rights of root, and is in no user namespace")
        }
        _ => Ok(()),
    }
}

fn check_command(spec: &RunSpec) -> Result<(), SpecError> {
    if spec.arguments.is_empty() {
        return Err(SpecError::NoArguments);
    }
    for text in &spec.arguments {
        refuse_zero_byte("argument", text)?;
    }
    // The text of a variable may be a secret: only its name is repeated.
    for text in &spec.environment {
        let name = text.split('=').next().unwrap_or_default();
        if text.contains('\0') {
            refuse_zero_byte("environment variable", &format!("{name}\0"))?;
        }
    }
    Ok(())
}

fn check_paths(spec: &RunSpec) -> Result<(), SpecError> {
    check_path("working directory", &spec.working_directory)?;
    for mount in &spec.mounts {
        check_path("mount target", &mount.target)?;
        if super::mounts::clean(&mount.target).is_empty() {
            return Err(SpecError::MountOverRoot {
                target: mount.target.clone(),
            });
        }
    }
    Ok(())
}

fn check_path(what: &'static str, path: &str) -> Result<(), SpecError> {
    refuse_zero_byte(what, path)?;
    if path.starts_with('/') {
        return Ok(());
    }
    Err(SpecError::RelativePath {
        what,
        path: path.to_owned(),
    })
}

fn check_limits(spec: &RunSpec) -> Result<(), SpecError> {
    for limit in &spec.resource_limits {
        if !RESOURCE_LIMITS.contains(&limit.name.as_str()) {
            return Err(SpecError::UnknownResourceLimit {
                name: limit.name.clone(),
            });
        }
        if limit.soft > limit.hard {
            return Err(SpecError::SoftAboveHard {
                name: limit.name.clone(),
                soft: limit.soft,
                hard: limit.hard,
            });
        }
    }
    Ok(())
}

fn refuse_zero_byte(what: &'static str, text: &str) -> Result<(), SpecError> {
    if !text.contains('\0') {
        return Ok(());
    }
    Err(SpecError::ZeroByte {
        what,
        text: text.escape_default().to_string(),
    })
}
