//! Overlay mounts over any number of layers.

mod classic;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kiln_runspec::{MountAttributes, OverlayMount, OverlayScratch};
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use super::perform::Context;
use super::{failed, mount, resolve, users};
use crate::error::StepFailure;

/// Mounts an overlay and returns a mount of `subpath` in it, attached nowhere.
pub(super) fn mount_below(
    overlay: &OverlayMount,
    subpath: &str,
    attributes: MountAttributes,
    context: &mut Context,
) -> io::Result<OwnedFd> {
    context.files += 1;
    let number = context.files;
    // Without an upper directory the kernel asks for two lower ones.
    let base = mount::scratch_directory(&format!("base-{number}"), context)?;
    let union = overlay_over(overlay, base, attributes, context)
        .map_err(|failure| io::Error::from_raw_os_error(failure.errno))?;
    if subpath.is_empty() {
        return Ok(union);
    }
    let place = mount::scratch_directory(&format!("union-{number}"), context)?;
    mount::attach(&union, place.as_fd())?;
    let inside = resolve::open_inside(union.as_fd(), subpath)?;
    mount::bind(inside.as_fd(), attributes)
}

pub(super) fn overlay_over(
    overlay: &OverlayMount,
    base: OwnedFd,
    attributes: MountAttributes,
    context: &mut Context,
) -> Result<OwnedFd, StepFailure> {
    if overlay.lowers.is_empty() && overlay.scratch.is_none() {
        return mount::bind(base.as_fd(), attributes).map_err(failed("mount an empty directory"));
    }
    // The kernel wants the top one first.
    let mut lowers = Vec::with_capacity(overlay.lowers.len() + 1);
    for path in overlay.lowers.iter().rev() {
        lowers.push(open_layer(path, context)?);
    }
    lowers.push(base);
    let scratch = match &overlay.scratch {
        Some(scratch) => Some(open_scratch(scratch, context)?),
        None => None,
    };
    let user_xattrs = overlay.user_xattrs;
    let mounted = match mount_overlay(&lowers, scratch.as_ref(), user_xattrs, attributes) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let scratch = scratch.as_ref();
            context.scratch().and_then(|beside| {
                classic::mount_overlay(&lowers, scratch, user_xattrs, attributes, beside)
            })
        }
        mounted => mounted,
    };
    mounted.map_err(failed(format!(
        "mount an overlay of {} layers",
        lowers.len() - 1
    )))
}

/// Opened directories that take the changes of an overlay.
struct Scratch {
    upper: OwnedFd,
    work: OwnedFd,
}

/// Layers may not speak overlayfs: no renamed directories, no data elsewhere.
const MARKS: [(&str, &str); 3] = [
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("index", "off"),
];

fn open_layer(path: &Path, context: &mut Context) -> Result<OwnedFd, StepFailure> {
    let opened = context.open_host(path);
    let layer = opened.map_err(failed(format!("open layer {}", path.display())))?;
    let action = format!("map the owners of layer {} to own users", path.display());
    users::mapped(layer, context).map_err(failed(action))
}

/// Both must lie in one mount: what is mapped is the directory that they share.
fn open_scratch(scratch: &OverlayScratch, context: &mut Context) -> Result<Scratch, StepFailure> {
    if !users::maps_files(context) {
        return Ok(Scratch {
            upper: open_layer(&scratch.upper, context)?,
            work: open_layer(&scratch.work, context)?,
        });
    }
    let action = format!("open layer {}", scratch.upper.display());
    let shared = (scratch.upper.parent(), scratch.work.parent());
    let names = (scratch.upper.file_name(), scratch.work.file_name());
    let opened = match (shared, names) {
        ((Some(parent), Some(other)), (Some(upper), Some(work))) if parent == other => {
            let parent = context.open_host(parent);
            let parent = parent.and_then(|parent| users::mapped(parent, context));
            parent.and_then(|parent| {
                Ok(Scratch {
                    upper: mount::open_entry_of(parent.as_fd(), upper)?,
                    work: mount::open_entry_of(parent.as_fd(), work)?,
                })
            })
        }
        _ => Err(Errno::XDEV.into()),
    };
    opened.map_err(failed(action))
}

/// Errors: `EOPNOTSUPP` when the kernel takes no layers one by one (before 6.7).
fn mount_overlay(
    lowers: &[OwnedFd],
    scratch: Option<&Scratch>,
    user_xattrs: bool,
    attributes: MountAttributes,
) -> io::Result<OwnedFd> {
    let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers {
        set_directory(overlay.as_fd(), "lowerdir+", lower).map_err(|error| match error {
            Errno::INVAL => Errno::OPNOTSUPP,
            error => error,
        })?;
    }
    if let Some(Scratch { upper, work }) = scratch {
        set_directory(overlay.as_fd(), "upperdir", upper)?;
        set_directory(overlay.as_fd(), "workdir", work)?;
        // What is kept is hashed and synced later by those who keep it.
        rustix::mount::fsconfig_set_flag(&overlay, "volatile")?;
    }
    for (key, value) in MARKS {
        rustix::mount::fsconfig_set_string(&overlay, key, value)?;
    }
    if user_xattrs {
        rustix::mount::fsconfig_set_flag(&overlay, "userxattr")?;
    }
    mount::create(overlay.as_fd(), attributes)
}

/// By handle where the kernel takes one (6.13), else by a path that is always short.
fn set_directory(
    overlay: BorrowedFd<'_>,
    key: &str,
    directory: &OwnedFd,
) -> rustix::io::Result<()> {
    match rustix::mount::fsconfig_set_fd(overlay, key, directory) {
        Err(Errno::INVAL | Errno::BADF) => {
            let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
            rustix::mount::fsconfig_set_string(overlay, key, path)
        }
        result => result,
    }
}
