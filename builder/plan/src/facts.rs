//! What an operation's key is made of, as people are told it.
//!
//! Two operations with different canonical bytes have different facts, or the same facts in
//! another order. Inputs are not among them.

use crate::{
    Copy, Exec, FileAction, FileOp, GitSource, GitTimes, HttpSource, ImageSource, ModeChange,
    Mount, MountKind, NetworkMode, Op, Owner, SecurityMode, Unpack, remote,
};
use kiln_oci::Digest;

/// One thing that a key is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fact {
    /// What it is: `environment variable PATH`.
    pub name: String,
    /// Its value; empty where the name says all.
    pub value: String,
}

/// Content of made files up to this many bytes is told as it is.
const TOLD_BYTES: usize = 4096;

/// Returns what the key of `op` is made of, its inputs apart.
pub fn facts(op: &Op) -> Vec<Fact> {
    let mut facts = Facts::default();
    match op {
        Op::Image(image) => facts.image(image),
        Op::Local(local) => facts.add("directory", &local.name),
        Op::Http(http) => facts.http(http),
        Op::Git(git) => facts.git(git),
        Op::Exec(exec) => facts.exec(exec),
        Op::File(file) => facts.file(file),
        Op::Merge(_) => facts.add("operation", "merge"),
    }
    facts.0
}

#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Fact {
            name: name.into(),
            value: value.into(),
        });
    }

    fn add_if(&mut self, is_set: bool, name: &str, value: &str) {
        if is_set {
            self.add(name, value);
        }
    }

    fn image(&mut self, image: &ImageSource) {
        match &image.chain_id {
            Some(chain_id) => self.add("layers", chain_id.to_string()),
            None => self.add("manifest", image.digest.to_string()),
        }
        self.add("platform", image.platform.to_string());
        if let Some(version) = &image.platform.os_version {
            self.add("version of the system", version);
        }
        let features = &image.platform.os_features;
        self.add_if(
            !features.is_empty(),
            "features of the system",
            &features.join(" "),
        );
    }

    fn http(&mut self, http: &HttpSource) {
        match &http.checksum {
            Some(checksum) => self.add("checksum", checksum.to_string()),
            None => self.add("address", remote::redacted(&http.url)),
        }
        self.add("file name", &http.filename);
        self.add("mode", format!("{:04o}", http.mode));
    }

    fn git(&mut self, git: &GitSource) {
        self.add("repository", remote::redacted(&git.remote));
        let parts = [
            ("reference", &git.reference),
            ("directory", &git.subdirectory),
            ("commit", &git.checksum),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                self.add(name, value);
            }
        }
        self.add_if(git.keep_git_directory, "--keep-git-dir", "");
        self.add_if(git.submodules, "submodules", "");
        let of_commit = git.times == GitTimes::Commit;
        self.add_if(of_commit, "times", "those of the commit");
    }

    fn exec(&mut self, exec: &Exec) {
        match exec.arguments.as_slice() {
            [shell, flag, script] if flag.starts_with('-') => {
                self.add("shell", format!("{shell} {flag}"));
                self.add("command", script);
            }
            arguments => self.add("command", format!("{arguments:?}")),
        }
        for (name, value) in &exec.environment {
            self.add(format!("environment variable {name}"), value);
        }
        self.add("working directory", &exec.working_directory);
        self.add_if(!exec.user.is_empty(), "user", &exec.user);
        exec.mounts.iter().for_each(|mount| self.mount(mount));
        let network = match exec.network {
            NetworkMode::Default => "",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
        };
        self.add_if(!network.is_empty(), "network", network);
        let is_insecure = exec.security == SecurityMode::Insecure;
        self.add_if(is_insecure, "security", "insecure");
        self.add_if(exec.root.is_none(), "root file system", "empty");
        self.add("host name", &exec.hostname);
        for (name, _address) in &exec.extra_hosts {
            self.add(format!("extra host {name}"), "");
        }
        for (name, soft, hard) in &exec.ulimits {
            self.add(format!("limit {name}"), format!("{soft}:{hard}"));
        }
        if let Some(bytes) = exec.shm_size_bytes {
            self.add("size of /dev/shm", bytes.to_string());
        }
        for device in &exec.devices {
            let value = if device.required { "required" } else { "" };
            self.add(format!("device {}", device.name), value);
        }
    }

    fn mount(&mut self, mount: &Mount) {
        let name = format!("mount {}", mount.target);
        let attributes =
            |mode: u32, uid: u32, gid: u32| format!("mode {mode:04o}, owner {uid}:{gid}");
        let value = match &mount.kind {
            MountKind::Bind { writable, .. } => match writable {
                true => "bind, writable".to_owned(),
                false => "bind".to_owned(),
            },
            MountKind::Cache {
                from,
                mode,
                uid,
                gid,
                read_only,
                ..
            } => {
                let seeded = if from.is_some() { ", seeded" } else { "" };
                let read_only = if *read_only { ", read-only" } else { "" };
                let attributes = attributes(*mode, *uid, *gid);
                format!("cache, {attributes}{seeded}{read_only}")
            }
            MountKind::Tmpfs { size_bytes } => match size_bytes {
                Some(bytes) => format!("tmpfs of {bytes} bytes"),
                None => "tmpfs".to_owned(),
            },
            MountKind::Secret {
                id,
                required,
                mode,
                uid,
                gid,
                environment,
            } => {
                let variable = environment
                    .as_ref()
                    .map_or(String::new(), |name| format!(", as the variable {name}"));
                let required = if *required { ", required" } else { "" };
                let attributes = attributes(*mode, *uid, *gid);
                format!("secret {id}, {attributes}{variable}{required}")
            }
            MountKind::Ssh {
                id,
                required,
                mode,
                uid,
                gid,
            } => {
                let required = if *required { ", required" } else { "" };
                format!("ssh {id}, {}{required}", attributes(*mode, *uid, *gid))
            }
            MountKind::File { data, mode } => format!("mode {mode:04o}: {}", told(data)),
        };
        self.add(name, value);
    }

    fn file(&mut self, file: &FileOp) {
        self.add_if(file.base.is_none(), "base", "nothing");
        for action in &file.actions {
            match action {
                FileAction::Copy(copy) => self.copy(copy),
                FileAction::MakeDirectory { path, mode, owner } => {
                    let owner = owner.as_ref().map(owner_text).unwrap_or_default();
                    self.add("directory", format!("{path}, mode {mode:04o}{owner}"));
                }
                FileAction::MakeFile {
                    path,
                    name,
                    data,
                    mode,
                    owner,
                } => {
                    let mode = mode.as_ref().map(mode_text).unwrap_or_default();
                    let owner = owner.as_ref().map(owner_text).unwrap_or_default();
                    let told = told(data);
                    self.add(
                        format!("file {name} at {path}"),
                        format!("{told}{mode}{owner}"),
                    );
                }
            }
        }
    }

    fn copy(&mut self, copy: &Copy) {
        self.add("destination", &copy.destination);
        if let Some(owner) = &copy.owner {
            self.add("--chown", written(owner));
        }
        if let Some(mode) = &copy.mode {
            self.add("--chmod", change(mode));
        }
        self.add_if(copy.parents, "--parents", "");
        self.add_if(copy.unpack == Unpack::Detect, "archives", "unpacked");
    }
}

fn written(owner: &Owner) -> String {
    match &owner.group {
        Some(group) => format!("{}:{group}", owner.user),
        None => owner.user.clone(),
    }
}

fn owner_text(owner: &Owner) -> String {
    format!(", owner {}", written(owner))
}

fn change(mode: &ModeChange) -> String {
    match mode {
        ModeChange::Octal(bits) => format!("{bits:04o}"),
        ModeChange::Symbolic(change) => format!("`{change}`"),
    }
}

fn mode_text(mode: &ModeChange) -> String {
    format!(", mode {}", change(mode))
}

fn told(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if text.len() <= TOLD_BYTES => format!("{text:?}"),
        _ => format!("{} bytes, {}", data.len(), Digest::sha256(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VertexId;

    fn fact(name: &str, value: &str) -> Fact {
        Fact {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn command_is_told_as_it_was_written() {
        let exec = Exec {
            root: Some(VertexId::from_index(0)),
            arguments: vec!["/bin/sh".into(), "-c".into(), "make all".into()],
            environment: vec![("CC".into(), "gcc -O2".into())],
            proxy_environment: vec![("http_proxy".into(), "secret".into())],
            working_directory: "/src".into(),
            user: String::new(),
            mounts: Vec::new(),
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            hostname: "builder".into(),
            extra_hosts: vec![("db".into(), "10.0.0.2".into())],
            ulimits: Vec::new(),
            shm_size_bytes: None,
            devices: Vec::new(),
            platform: None,
        };
        let expected = [
            fact("shell", "/bin/sh -c"),
            fact("command", "make all"),
            fact("environment variable CC", "gcc -O2"),
            fact("working directory", "/src"),
            fact("host name", "builder"),
            fact("extra host db", ""),
        ];
        assert_eq!(facts(&Op::Exec(exec)), expected);
    }

    #[test]
    fn options_of_a_copy_are_told_with_their_flags() {
        let copy = Copy {
            from: VertexId::from_index(0),
            sources: vec!["a".into()],
            destination: "/b".into(),
            owner: Some(Owner {
                user: "web".into(),
                group: Some("www".into()),
            }),
            mode: Some(ModeChange::Octal(0o640)),
            exclude: Vec::new(),
            parents: true,
            unpack: Unpack::Never,
        };
        let op = Op::File(FileOp {
            base: None,
            actions: vec![FileAction::Copy(copy)],
        });
        let expected = [
            fact("base", "nothing"),
            fact("destination", "/b"),
            fact("--chown", "web:www"),
            fact("--chmod", "0640"),
            fact("--parents", ""),
        ];
        assert_eq!(facts(&op), expected);
    }
}
