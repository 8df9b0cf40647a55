//! Overlay mounts over any number of layers.

mod classic;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

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
    let count = overlay.lowers.len();
    if count > MOST_LAYERS {
        let action = format!("stack {count} layers, of which the kernel takes {MOST_LAYERS}");
        return Err(failed(action)(Errno::TOOBIG.into()));
    }
    let action = || failed(format!("mount an overlay of {count} layers"));
    let user_xattrs = overlay.user_xattrs;
    // Those that are merged are closed before the others are opened: so many may be too many.
    let merged = count.saturating_sub(MOST_LOWERS - 1);
    let (lowest, others) = overlay.lowers.split_at(merged);
    let bottom = match lowest {
        [] => base,
        lowest => {
            let lowers = open_layers(lowest, base, context)?;
            merge(&lowers, user_xattrs, context).map_err(action())?
        }
    };
    let lowers = open_layers(others, bottom, context)?;
    let scratch = match &overlay.scratch {
        Some(scratch) => Some(open_scratch(scratch, context)?),
        None => None,
    };
    let mounted = mount_any(&lowers, scratch.as_ref(), user_xattrs, attributes, context);
    mounted.map_err(action())
}

/// Directories that the kernel takes for one overlay. Source: Linux, fs/overlayfs/params.h,
/// OVL_MAX_STACK.
const MOST_LOWERS: usize = 500;
/// Layers that fit: an overlay of as many as it takes, below which lies another one. The lowest
/// of all directories is the one of mount points.
const MOST_LAYERS: usize = MOST_LOWERS - 1 + MOST_LOWERS - 1;

/// Opens `layers`, of which the lowest comes first; returns them as the kernel wants them, the
/// top one first, with `bottom` below them.
fn open_layers(
    layers: &[PathBuf],
    bottom: OwnedFd,
    context: &mut Context,
) -> Result<Vec<OwnedFd>, StepFailure> {
    let mut lowers = Vec::with_capacity(layers.len() + 1);
    for path in layers.iter().rev() {
        lowers.push(open_layer(path, context)?);
    }
    lowers.push(bottom);
    Ok(lowers)
}

/// Returns a directory that shows what `lowers` do.
fn merge(lowers: &[OwnedFd], user_xattrs: bool, context: &mut Context) -> io::Result<OwnedFd> {
    let attributes = MountAttributes::PLAIN;
    let merged = mount_any(lowers, None, user_xattrs, attributes, context)?;
    context.files += 1;
    // An overlay takes no directory of a mount that is attached nowhere.
    let name = format!("merged-{}", context.files);
    let place = mount::scratch_directory(&name, context)?;
    mount::attach(&merged, place.as_fd())?;
    Ok(merged)
}

/// Mounts an overlay in the way that this kernel knows.
fn mount_any(
    lowers: &[OwnedFd],
    scratch: Option<&Scratch>,
    user_xattrs: bool,
    attributes: MountAttributes,
    context: &Context,
) -> io::Result<OwnedFd> {
    match mount_overlay(lowers, scratch, user_xattrs, attributes) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let beside = context.scratch()?;
            classic::mount_overlay(lowers, scratch, user_xattrs, attributes, beside)
        }
        mounted => mounted,
    }
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
