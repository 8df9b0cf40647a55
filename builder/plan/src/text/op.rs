//! Operations as text: the first line says what, further ones (indented) the details.

use super::quoted;
use crate::{
    CacheSharing, Copy, Exec, FileAction, FileOp, GitSource, GitTimes, HttpSource, ModeChange,
    Mount, MountKind, NetworkMode, Op, Owner, SecurityMode, Unpack, remote,
};
use std::fmt::{self, Display, Formatter};

impl Display for Op {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Op::Image(image) => {
                write!(formatter, "image {}", image.reference)?;
                write!(formatter, " {} {}", image.digest, image.platform)?;
                match &image.chain_id {
                    Some(chain_id) => write!(formatter, " chain {chain_id}"),
                    None => Ok(()),
                }
            }
            Op::Local(local) => write!(formatter, "local {}", quoted(&local.name)),
            Op::Http(http) => write_http(formatter, http),
            Op::Git(git) => write_git(formatter, git),
            Op::Exec(exec) => write_exec(formatter, exec),
            Op::File(file) => write_file(formatter, file),
            Op::Merge(merge) => {
                formatter.write_str("merge")?;
                merge
                    .layers
                    .iter()
                    .try_for_each(|layer| write!(formatter, " {layer}"))
            }
        }
    }
}

fn write_http(formatter: &mut Formatter<'_>, http: &HttpSource) -> fmt::Result {
    write!(formatter, "http {}", remote::redacted(&http.url))?;
    write!(formatter, " as {}", quoted(&http.filename))?;
    write!(formatter, " mode {:04o}", http.mode)?;
    match &http.checksum {
        Some(checksum) => write!(formatter, " checksum {checksum}"),
        None => Ok(()),
    }
}

fn write_git(formatter: &mut Formatter<'_>, git: &GitSource) -> fmt::Result {
    write!(formatter, "git {}", remote::redacted(&git.remote))?;
    for (label, value) in [
        ("reference", &git.reference),
        ("subdirectory", &git.subdirectory),
        ("checksum", &git.checksum),
    ] {
        if let Some(value) = value {
            write!(formatter, " {label} {}", quoted(value))?;
        }
    }
    for (label, is_set) in [
        ("keep-git-directory", git.keep_git_directory),
        ("submodules", git.submodules),
        ("commit-times", git.times == GitTimes::Commit),
        ("fetch-by-commit", git.fetch_by_commit),
    ] {
        if is_set {
            write!(formatter, " {label}")?;
        }
    }
    Ok(())
}

fn write_exec(formatter: &mut Formatter<'_>, exec: &Exec) -> fmt::Result {
    match exec.root {
        Some(root) => write!(formatter, "exec on {root}")?,
        None => formatter.write_str("exec on nothing")?,
    }
    write!(formatter, "\n    run {:?}", exec.arguments)?;
    write!(formatter, "\n    in {}", quoted(&exec.working_directory))?;
    if !exec.user.is_empty() {
        write!(formatter, " as {}", quoted(&exec.user))?;
    }
    for (name, value) in &exec.environment {
        write!(formatter, "\n    env {}={}", name, quoted(value))?;
    }
    for (name, _) in &exec.proxy_environment {
        // Proxy addresses may hold passwords.
        write!(formatter, "\n    proxy {name}")?;
    }
    for mount in &exec.mounts {
        write!(formatter, "\n    ")?;
        write_mount(formatter, mount)?;
    }
    write_sandbox(formatter, exec)
}

fn write_sandbox(formatter: &mut Formatter<'_>, exec: &Exec) -> fmt::Result {
    match exec.network {
        NetworkMode::Default => {}
        NetworkMode::None => formatter.write_str("\n    network none")?,
        NetworkMode::Host => formatter.write_str("\n    network host")?,
    }
    if exec.security == SecurityMode::Insecure {
        formatter.write_str("\n    security insecure")?;
    }
    if !exec.hostname.is_empty() {
        write!(formatter, "\n    hostname {}", quoted(&exec.hostname))?;
    }
    for (name, address) in &exec.extra_hosts {
        write!(formatter, "\n    host {name} {address}")?;
    }
    for (name, soft, hard) in &exec.ulimits {
        write!(formatter, "\n    ulimit {name} {soft}:{hard}")?;
    }
    for device in &exec.devices {
        let required = if device.required { " required" } else { "" };
        write!(formatter, "\n    device {}{required}", quoted(&device.name))?;
    }
    match exec.shm_size_bytes {
        Some(bytes) => write!(formatter, "\n    shm-size {bytes}"),
        None => Ok(()),
    }
}

fn write_mount(formatter: &mut Formatter<'_>, mount: &Mount) -> fmt::Result {
    write!(formatter, "mount {} ", quoted(&mount.target))?;
    match &mount.kind {
        MountKind::Bind {
            from,
            source,
            writable,
        } => {
            let access = if *writable { " writable" } else { "" };
            write!(formatter, "bind {from}:{}{access}", quoted(source))
        }
        MountKind::Cache { .. } => write_cache_mount(formatter, &mount.kind),
        MountKind::Tmpfs { size_bytes } => match size_bytes {
            Some(bytes) => write!(formatter, "tmpfs {bytes}"),
            None => formatter.write_str("tmpfs"),
        },
        MountKind::Secret {
            id,
            required,
            mode,
            uid,
            gid,
            environment,
        } => {
            write!(formatter, "secret {}", quoted(id))?;
            write!(formatter, " mode {mode:04o} owner {uid}:{gid}")?;
            if let Some(name) = environment {
                write!(formatter, " env {name}")?;
            }
            formatter.write_str(if *required { " required" } else { "" })
        }
        MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } => {
            write!(formatter, "ssh {}", quoted(id))?;
            write!(formatter, " mode {mode:04o} owner {uid}:{gid}")?;
            formatter.write_str(if *required { " required" } else { "" })
        }
        MountKind::File { data, mode } => {
            let text = quoted(&String::from_utf8_lossy(data));
            write!(formatter, "file mode {mode:04o} {text}")
        }
    }
}

fn write_cache_mount(formatter: &mut Formatter<'_>, kind: &MountKind) -> fmt::Result {
    let MountKind::Cache {
        id,
        sharing,
        from,
        source,
        mode,
        uid,
        gid,
        read_only,
    } = kind
    else {
        return Ok(());
    };
    let sharing = match sharing {
        CacheSharing::Shared => "shared",
        CacheSharing::Private => "private",
        CacheSharing::Locked => "locked",
    };
    write!(formatter, "cache {} {sharing}", quoted(id))?;
    write!(formatter, " mode {mode:04o} owner {uid}:{gid}")?;
    if let Some(from) = from {
        write!(formatter, " from {from}:{}", quoted(source))?;
    }
    formatter.write_str(if *read_only { " read-only" } else { "" })
}

fn write_file(formatter: &mut Formatter<'_>, file: &FileOp) -> fmt::Result {
    match file.base {
        Some(base) => write!(formatter, "file on {base}")?,
        None => formatter.write_str("file on nothing")?,
    }
    for action in &file.actions {
        formatter.write_str("\n    ")?;
        match action {
            FileAction::Copy(copy) => write_copy(formatter, copy)?,
            FileAction::MakeDirectory { path, mode, owner } => {
                write!(formatter, "mkdir {} mode {mode:04o}", quoted(path))?;
                write_owner(formatter, owner.as_ref())?;
            }
            FileAction::MakeFile {
                path,
                name,
                data,
                mode,
                owner,
            } => {
                write!(formatter, "mkfile {} {}", quoted(path), quoted(name))?;
                write_mode(formatter, mode.as_ref())?;
                write_owner(formatter, owner.as_ref())?;
                let text = quoted(&String::from_utf8_lossy(data));
                write!(formatter, " content {text}")?;
            }
        }
    }
    Ok(())
}

fn write_copy(formatter: &mut Formatter<'_>, copy: &Copy) -> fmt::Result {
    write!(formatter, "copy {}:{:?}", copy.from, copy.sources)?;
    write!(formatter, " to {}", quoted(&copy.destination))?;
    write_mode(formatter, copy.mode.as_ref())?;
    write_owner(formatter, copy.owner.as_ref())?;
    if !copy.exclude.is_empty() {
        write!(formatter, " exclude {:?}", copy.exclude)?;
    }
    if copy.parents {
        formatter.write_str(" parents")?;
    }
    match copy.unpack {
        Unpack::Never => Ok(()),
        Unpack::Detect => formatter.write_str(" unpack"),
    }
}

fn write_mode(formatter: &mut Formatter<'_>, mode: Option<&ModeChange>) -> fmt::Result {
    match mode {
        Some(ModeChange::Octal(bits)) => write!(formatter, " mode {bits:04o}"),
        Some(ModeChange::Symbolic(change)) => write!(formatter, " mode {change}"),
        None => Ok(()),
    }
}

fn write_owner(formatter: &mut Formatter<'_>, owner: Option<&Owner>) -> fmt::Result {
    let Some(owner) = owner else { return Ok(()) };
    write!(formatter, " owner {}", quoted(&owner.user))?;
    match &owner.group {
        Some(group) => write!(formatter, ":{}", quoted(group)),
        None => Ok(()),
    }
}
