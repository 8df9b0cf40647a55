//! The canonical bytes of each operation.

use super::bytes::Encoder;
use crate::{
    Copy, Exec, FileAction, FileOp, GitSource, GitTimes, HttpSource, ImageSource, ModeChange,
    Mount, MountKind, NetworkMode, Op, Owner, SecurityMode, Unpack, remote,
};

/// Writes all of `op` that may change its result, save what stands for its inputs.
pub(super) fn encode(op: &Op, encoder: &mut Encoder) {
    match op {
        Op::Image(image) => encode_image(image, encoder),
        Op::Local(local) => {
            encoder.tag("local");
            encoder.text(&local.name);
        }
        Op::Http(http) => encode_http(http, encoder),
        Op::Git(git) => encode_git(git, encoder),
        Op::Exec(exec) => encode_exec(exec, encoder),
        Op::File(file) => encode_file(file, encoder),
        Op::Merge(_) => encoder.tag("merge"),
    }
}

/// An image is its stack of layers: a re-tagged or recompressed one is the same.
fn encode_image(image: &ImageSource, encoder: &mut Encoder) {
    encoder.tag("image");
    match &image.chain_id {
        Some(chain_id) => encoder.text(&format!("chain {chain_id}")),
        None => encoder.text(&format!("manifest {}", image.digest)),
    }
    let platform = &image.platform;
    encoder.text(&platform.os);
    encoder.text(&platform.architecture);
    encoder.optional(platform.variant.as_deref(), Encoder::text);
    encoder.optional(platform.os_version.as_deref(), Encoder::text);
    encoder.texts(&platform.os_features);
}

fn encode_http(http: &HttpSource, encoder: &mut Encoder) {
    encoder.tag("http");
    match &http.checksum {
        Some(checksum) => encoder.text(&format!("checksum {checksum}")),
        None => encoder.text(&format!("url {}", remote::anonymous(&http.url))),
    }
    encoder.text(&http.filename);
    encoder.number(u64::from(http.mode));
}

/// A checkout is its commit, wherever that came from; a `.git` that stays knows the remote and
/// the reference.
fn encode_git(git: &GitSource, encoder: &mut Encoder) {
    encoder.tag("git");
    let commit = git.commit();
    encoder.optional(commit, Encoder::text);
    if commit.is_none() || git.keep_git_directory {
        encoder.text(&remote::anonymous(&git.remote));
        encoder.optional(git.reference.as_deref(), Encoder::text);
    }
    encoder.optional(git.subdirectory.as_deref(), Encoder::text);
    encoder.flag(git.keep_git_directory);
    encoder.flag(git.submodules);
    encoder.tag(match git.times {
        GitTimes::Checkout => "checkout times",
        GitTimes::Commit => "commit times",
    });
}

fn encode_exec(exec: &Exec, encoder: &mut Encoder) {
    encoder.tag("exec");
    encoder.flag(exec.root.is_some());
    encoder.texts(&exec.arguments);
    encoder.list(&exec.environment, |encoder, (name, value)| {
        encoder.text(name);
        encoder.text(value);
    });
    encoder.text(&exec.working_directory);
    encoder.text(&exec.user);
    encoder.list(&exec.mounts, encode_mount);
    encoder.tag(match exec.network {
        NetworkMode::Default => "network default",
        NetworkMode::None => "network none",
        NetworkMode::Host => "network host",
    });
    encoder.tag(match exec.security {
        SecurityMode::Sandbox => "sandbox",
        SecurityMode::Insecure => "insecure",
    });
    encoder.text(&exec.hostname);
    encoder.list(&exec.extra_hosts, |encoder, (name, _address)| {
        encoder.text(name);
    });
    encoder.list(&exec.ulimits, |encoder, (name, soft, hard)| {
        encoder.text(name);
        encoder.number(*soft);
        encoder.number(*hard);
    });
    encoder.optional(exec.shm_size_bytes, Encoder::number);
    // Nothing where there are none: keys are older than devices.
    if !exec.devices.is_empty() {
        encoder.tag("devices");
        encoder.list(&exec.devices, |encoder, device| {
            encoder.text(&device.name);
            encoder.flag(device.required);
        });
    }
}

fn encode_mount(encoder: &mut Encoder, mount: &Mount) {
    encoder.text(&mount.target);
    match &mount.kind {
        MountKind::Bind {
            from: _,
            source: _,
            writable,
        } => {
            encoder.tag("bind");
            encoder.flag(*writable);
        }
        MountKind::Cache { .. } => encode_cache_mount(encoder, mount),
        MountKind::Tmpfs { size_bytes } => {
            encoder.tag("tmpfs");
            encoder.optional(*size_bytes, Encoder::number);
        }
        MountKind::Secret {
            id,
            required,
            mode,
            uid,
            gid,
            environment,
        } => {
            encoder.tag("secret");
            encoder.text(id);
            encoder.flag(*required);
            encode_attributes(encoder, *mode, *uid, *gid);
            encoder.optional(environment.as_deref(), Encoder::text);
        }
        MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } => {
            encoder.tag("ssh");
            encoder.text(id);
            encoder.flag(*required);
            encode_attributes(encoder, *mode, *uid, *gid);
        }
        MountKind::File { data, mode } => {
            encoder.tag("file");
            encoder.data(data);
            encoder.number(u64::from(*mode));
        }
    }
}

/// The name of the directory, and how it is shared, do not change the result.
fn encode_cache_mount(encoder: &mut Encoder, mount: &Mount) {
    let MountKind::Cache {
        id: _,
        sharing: _,
        from,
        source: _,
        mode,
        uid,
        gid,
        read_only,
    } = &mount.kind
    else {
        return;
    };
    encoder.tag("cache");
    encoder.flag(from.is_some());
    encode_attributes(encoder, *mode, *uid, *gid);
    encoder.flag(*read_only);
}

fn encode_attributes(encoder: &mut Encoder, mode: u32, uid: u32, gid: u32) {
    encoder.number(u64::from(mode));
    encoder.number(u64::from(uid));
    encoder.number(u64::from(gid));
}

fn encode_file(file: &FileOp, encoder: &mut Encoder) {
    encoder.tag("file");
    encoder.flag(file.base.is_some());
    encoder.list(&file.actions, |encoder, action| match action {
        FileAction::Copy(copy) => encode_copy(encoder, copy),
        FileAction::MakeDirectory { path, mode, owner } => {
            encoder.tag("make directory");
            encoder.text(path);
            encoder.number(u64::from(*mode));
            encoder.optional(owner.as_ref(), encode_owner);
        }
        FileAction::MakeFile {
            path,
            name,
            data,
            mode,
            owner,
        } => {
            encoder.tag("make file");
            encoder.text(path);
            encoder.text(name);
            encoder.data(data);
            encoder.optional(mode.as_ref(), encode_mode);
            encoder.optional(owner.as_ref(), encode_owner);
        }
    });
}

/// Neither the sources nor the exclusions are here: what they select is what stands for the
/// input, either the selector or the digest of the content under the names it is copied to.
fn encode_copy(encoder: &mut Encoder, copy: &Copy) {
    encoder.tag("copy");
    encoder.text(&copy.destination);
    encoder.optional(copy.owner.as_ref(), encode_owner);
    encoder.optional(copy.mode.as_ref(), encode_mode);
    encoder.flag(copy.parents);
    encoder.tag(match copy.unpack {
        Unpack::Never => "never",
        Unpack::Detect => "detect",
    });
}

fn encode_owner(encoder: &mut Encoder, owner: &Owner) {
    encoder.text(&owner.user);
    encoder.optional(owner.group.as_deref(), Encoder::text);
}

fn encode_mode(encoder: &mut Encoder, mode: &ModeChange) {
    match mode {
        ModeChange::Octal(bits) => {
            encoder.tag("octal");
            encoder.number(u64::from(*bits));
        }
        ModeChange::Symbolic(change) => {
            encoder.tag("symbolic");
            encoder.text(change);
        }
    }
}
