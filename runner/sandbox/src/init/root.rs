//! The root of a command: an overlay of layers, or a directory as it is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kiln_runspec::{MountAttributes, RootMount, Stub};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::perform::Context;
use super::resolve::{self, Missing, Resolved};
use super::{failed, mount, overlay, users};
use crate::error::StepFailure;

/// Mounts the root with its mount points.
pub(super) fn mount_root(
    root: &RootMount,
    attributes: MountAttributes,
    stubs: &[Stub],
    context: &mut Context,
) -> Result<(), StepFailure> {
    let root = detached(root, attributes, stubs, context)?;
    attach_root(root, context).map_err(failed("attach the root"))
}

/// Attaches the root that lies at the end of what was prepared.
pub(super) fn attach_prepared_root(context: &mut Context) -> io::Result<()> {
    let root = context.prepared.pop().ok_or(Errno::BADF)?;
    attach_root(root, context)
}

/// Makes a mount of the root, attached nowhere.
pub(super) fn detached(
    root: &RootMount,
    attributes: MountAttributes,
    stubs: &[Stub],
    context: &mut Context,
) -> Result<OwnedFd, StepFailure> {
    match root {
        RootMount::Overlay(overlay) => {
            let base = stub_layer(stubs, context).map_err(failed("make mount points"))?;
            overlay::overlay_over(overlay, base, attributes, context)
        }
        RootMount::Directory(path) => {
            let action = format!("mount the root {}", path.display());
            let mounted = bind(path, attributes, context).map_err(failed(action))?;
            for made in
                make_stubs(stubs, mounted.as_fd(), context).map_err(failed("make mount points"))?
            {
                context.stubs.extend(made.created);
            }
            Ok(mounted)
        }
    }
}

fn bind(path: &Path, attributes: MountAttributes, context: &mut Context) -> io::Result<OwnedFd> {
    let directory = context.open_host(path)?;
    let mounted = mount::bind(directory.as_fd(), attributes)?;
    users::map(mounted.as_fd(), context)?;
    Ok(mounted)
}

fn attach_root(root: OwnedFd, context: &mut Context) -> io::Result<()> {
    let place = mount::scratch_directory("root", context)?;
    mount::attach(&root, place.as_fd())?;
    context.root = Some(root);
    Ok(())
}

/// Makes the layer below all others: it shows through where the image has nothing.
fn stub_layer(stubs: &[Stub], context: &Context) -> io::Result<OwnedFd> {
    let base = mount::scratch_directory("base", context)?;
    make_stubs(stubs, base.as_fd(), context)?;
    Ok(base)
}

/// Makes mount points in `root` where they are missing.
fn make_stubs(
    stubs: &[Stub],
    root: BorrowedFd<'_>,
    context: &Context,
) -> io::Result<Vec<Resolved>> {
    let mut all = Vec::new();
    for stub in stubs {
        let (path, missing) = kind(stub, context)?;
        // Mounts may lie below each other; the target is looked up again in the union.
        let made = match resolve::resolve(root, path, missing) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => continue,
            made => made?,
        };
        if matches!(stub, Stub::OpenDirectory(_)) && !made.created.is_empty() {
            mount::set_mode(made.handle.as_fd(), ".", 0o1777)?;
        }
        all.push(made);
    }
    Ok(all)
}

fn kind<'s>(stub: &'s Stub, context: &Context) -> io::Result<(&'s str, Missing)> {
    Ok(match stub {
        Stub::Directory(path) | Stub::OpenDirectory(path) => (path, Missing::MakeDirectory),
        Stub::File(path) => (path, Missing::MakeFile),
        Stub::Like {
            path,
            source,
            subpath,
        } => {
            let source = mount::open_source(source, subpath, context)?;
            match mount::kind_of(source.as_fd())? {
                FileType::Directory => (path, Missing::MakeDirectory),
                _ => (path, Missing::MakeFile),
            }
        }
    })
}
