//! In which form a store keeps its layers, which is decided when it is made.
//!
//! Where overlayfs takes changes to the store's file system, layers have its form and are mounted.
//! Elsewhere (a container's own file system is an overlay, and carries no other) layers have a
//! form of their own, and steps run in copies of them. The store says so by a feature; whether
//! the layers of a store can be used depends on that and on the rights of this process.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kiln_layer::tree::WhiteoutFormat;
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use crate::random;

/// Features of stores whose layers are not mounted.
pub(crate) const FEATURES: [&str; 2] = [CONTAINED, CONTAINED_USER];
const CONTAINED: &str = "contained-layers";
const CONTAINED_USER: &str = "contained-user-layers";

/// What this process may do, as far as the form of layers goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// Root, who mounts and makes devices.
    Mounting,
    /// Root of a container, who makes devices and mounts nothing.
    Confined,
    /// Root of a user namespace, who makes no devices.
    Namespaced,
}

/// Returns the form of a store with `feature`; none if this process cannot use it.
pub(crate) fn of_feature(feature: Option<&str>) -> Option<WhiteoutFormat> {
    of_feature_by(rights(), feature)
}

fn of_feature_by(rights: Rights, feature: Option<&str>) -> Option<WhiteoutFormat> {
    match (feature, rights) {
        (None, Rights::Mounting) => Some(WhiteoutFormat::Trusted),
        (None, Rights::Namespaced) => Some(WhiteoutFormat::User),
        (Some(CONTAINED), Rights::Mounting | Rights::Confined) => Some(WhiteoutFormat::Contained),
        (Some(CONTAINED_USER), Rights::Namespaced) => Some(WhiteoutFormat::ContainedUser),
        _ => None,
    }
}

/// Returns the form of a store that is to be made in the directory `root`.
pub(crate) fn of_new(root: &Path) -> WhiteoutFormat {
    match (rights(), carries_overlays(root)) {
        (Rights::Mounting, true) => WhiteoutFormat::Trusted,
        (Rights::Mounting, false) | (Rights::Confined, _) => WhiteoutFormat::Contained,
        (Rights::Namespaced, true) => WhiteoutFormat::User,
        (Rights::Namespaced, false) => WhiteoutFormat::ContainedUser,
    }
}

/// Returns the feature that says so, if one is needed.
pub(crate) fn feature_of(format: WhiteoutFormat) -> Option<&'static str> {
    match format {
        WhiteoutFormat::Trusted | WhiteoutFormat::User => None,
        WhiteoutFormat::Contained => Some(CONTAINED),
        WhiteoutFormat::ContainedUser => Some(CONTAINED_USER),
    }
}

/// Returns where a store with `feature` was made, in words.
pub(crate) fn made(feature: Option<&str>) -> &'static str {
    match feature {
        Some(CONTAINED_USER) => "by a user, where layers cannot be mounted",
        Some(_) => "by root, where layers cannot be mounted",
        None => "where overlay mounts can be made",
    }
}

/// Returns where this process is, in words.
pub(crate) fn here() -> &'static str {
    match rights() {
        Rights::Mounting => "as root, who can mount layers",
        Rights::Confined => "in a container that may not mount",
        Rights::Namespaced => "in a user namespace",
    }
}

/// The initial user namespace maps every ID to itself.
fn rights() -> Rights {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    match is_initial {
        true if may_mount() => Rights::Mounting,
        true => Rights::Confined,
        false => Rights::Namespaced,
    }
}

/// Whether this process has `CAP_SYS_ADMIN`.
fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set & CAP_SYS_ADMIN != 0)
}

/// Whether an overlay can keep its changes in `root`: tried, where this process may try.
pub(crate) fn carries_overlays(root: &Path) -> bool {
    match try_overlay(root) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(REFUSED) => false,
        Err(_) => !is_overlay(root),
    }
}

/// `EINVAL`: what overlayfs says of a file system that it cannot use.
const REFUSED: i32 = Errno::INVAL.raw_os_error();

/// Magic number of overlayfs itself.
const OVERLAY_FILE_SYSTEM: rustix::fs::FsWord = 0x794c_7630;

/// Whether `root` lies on overlayfs, which carries no other overlay's changes.
pub fn is_overlay(root: &Path) -> bool {
    let found = rustix::fs::statfs(root);
    found.is_ok_and(|found| found.f_type == OVERLAY_FILE_SYSTEM)
}

/// Makes an overlay with its changes in `root` that is mounted nowhere.
fn try_overlay(root: &Path) -> io::Result<()> {
    let trial = Trial::begin(root)?;
    let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, name) in [
        ("lowerdir", "lower"),
        ("upperdir", "upper"),
        ("workdir", "work"),
    ] {
        let directory = trial.path.join(name);
        // By a short path without characters that have a meaning to overlayfs.
        let opened: OwnedFd = std::fs::File::open(directory)?.into();
        let path = format!(
            "/proc/self/fd/{}",
            rustix::fd::AsRawFd::as_raw_fd(&opened.as_fd())
        );
        rustix::mount::fsconfig_set_string(&overlay, key, path)?;
    }
    Ok(rustix::mount::fsconfig_create(&overlay)?)
}

/// Directories that are tried, and removed again.
struct Trial {
    path: PathBuf,
}

impl Trial {
    fn begin(root: &Path) -> io::Result<Self> {
        let name = format!("{}.{}", crate::version::FILE_NAME, random::hexadecimal(8));
        let trial = Self {
            path: root.join(name),
        };
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&trial.path)?;
        for name in ["lower", "upper", "work"] {
            builder.create(trial.path.join(name))?;
        }
        Ok(trial)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_say_who_can_use_the_layers() {
        use WhiteoutFormat::{Contained, ContainedUser, Trusted, User};
        for (feature, mounting, confined, namespaced) in [
            (None, Some(Trusted), None, Some(User)),
            (Some(CONTAINED), Some(Contained), Some(Contained), None),
            (Some(CONTAINED_USER), None, None, Some(ContainedUser)),
            (Some("packs"), None, None, None),
        ] {
            let of = |rights| of_feature_by(rights, feature);
            assert_eq!(of(Rights::Mounting), mounting, "{feature:?}");
            assert_eq!(of(Rights::Confined), confined, "{feature:?}");
            assert_eq!(of(Rights::Namespaced), namespaced, "{feature:?}");
            for format in [mounting, confined, namespaced].into_iter().flatten() {
                assert_eq!(feature_of(format), feature);
            }
        }
    }

    #[test]
    fn trial_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        carries_overlays(root.path());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
