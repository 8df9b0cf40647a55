//! Overlay mounts as kernels before 6.7 know them: one text of options names all layers.
//!
//! The text may be as long as a page, so layers go by the numbers of their descriptors,
//! relative to `/proc/self/fd`: the five hundred that the kernel takes fit.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use kiln_runspec::MountAttributes;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::{MARKS, Scratch, mount};

/// Name of the directory that is mounted on for a moment.
const PLACE: &str = "classic";

/// Mounts an overlay on a directory in `beside`, takes it away from there, and returns it,
/// attached nowhere.
///
/// `lowers` begins with the top layer. Moves this process to `/`.
pub(super) fn mount_overlay(
    lowers: &[OwnedFd],
    scratch: Option<&Scratch>,
    user_xattrs: bool,
    attributes: MountAttributes,
    beside: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(beside, PLACE, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => {}
        made => made?,
    }
    rustix::process::chdir("/proc/self/fd")?;
    let mounted = mount_here(lowers, scratch, user_xattrs, attributes, beside);
    rustix::process::chdir("/")?;
    mounted
}

fn mount_here(
    lowers: &[OwnedFd],
    scratch: Option<&Scratch>,
    user_xattrs: bool,
    attributes: MountAttributes,
    beside: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let target = format!("{}/{PLACE}", beside.as_raw_fd());
    let options = std::ffi::CString::new(options(lowers, scratch, user_xattrs))?;
    let flags = MountFlags::empty();
    rustix::mount::mount("overlay", &*target, "overlay", flags, options.as_c_str())?;
    let root = mount::open_entry(beside, PLACE);
    let taken = root.and_then(|root| mount::bind(root.as_fd(), attributes));
    let gone = rustix::mount::unmount(&*target, UnmountFlags::DETACH);
    let taken = taken?;
    gone?;
    Ok(taken)
}

fn options(lowers: &[OwnedFd], scratch: Option<&Scratch>, user_xattrs: bool) -> String {
    let numbers: Vec<String> = lowers
        .iter()
        .map(|lower| lower.as_raw_fd().to_string())
        .collect();
    let mut options = format!("lowerdir={}", numbers.join(":"));
    if let Some(Scratch { upper, work }) = scratch {
        let (upper, work) = (upper.as_raw_fd(), work.as_raw_fd());
        options += &format!(",upperdir={upper},workdir={work},volatile");
    }
    for (key, value) in MARKS {
        options += &format!(",{key}={value}");
    }
    if user_xattrs {
        options += ",userxattr";
    }
    options
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::syscall;
    use rustix::fs::FileType;

    fn opened(path: &Path) -> OwnedFd {
        fs::create_dir_all(path).expect("a directory");
        fs::File::open(path).expect("the directory").into()
    }

    /// Five hundred layers, each with a file of its own and one that all have.
    fn mount_many(directory: &Path) -> OwnedFd {
        let lowers: Vec<OwnedFd> = (0..499)
            .map(|number| {
                let path = directory.join(number.to_string());
                let handle = opened(&path);
                fs::write(path.join(format!("file-{number}")), "own").expect("a file");
                fs::write(path.join("all"), number.to_string()).expect("a file");
                handle
            })
            .collect();
        let scratch = Scratch {
            upper: opened(&directory.join("upper")),
            work: opened(&directory.join("work")),
        };
        let beside = opened(directory);
        let attributes = MountAttributes::PLAIN;
        let mount = mount_overlay(&lowers, Some(&scratch), false, attributes, beside.as_fd());
        let mount = mount.expect("an overlay");
        let entries = fs::read_dir(directory.join(PLACE)).expect("the place");
        assert_eq!(entries.count(), 0, "nothing stays mounted there");
        let kept = mount::open_entry(mount.as_fd(), "file-7").expect("a file by handle");
        assert_eq!(
            mount::kind_of(kept.as_fd()).expect("kind"),
            FileType::RegularFile
        );
        let union = opened(&directory.join("union"));
        mount::attach(&mount, union.as_fd()).expect("an attached overlay");
        mount
    }

    #[test]
    fn hundreds_of_layers_fit_into_one_page_of_options() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: only root mounts");
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_owned();
        // A thread of its own: its mounts and its directory are its own then.
        let test = std::thread::spawn(move || {
            syscall::unshare(libc::CLONE_NEWNS | libc::CLONE_FS).expect("a mount namespace");
            let private = rustix::mount::MountPropagationFlags::PRIVATE
                | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).expect("private mounts");
            let _mount = mount_many(&path);
            let place = path.join("union");
            assert_eq!(fs::read_to_string(place.join("all")).expect("a file"), "0");
            assert_eq!(fs::read_dir(&place).expect("the union").count(), 500);
            fs::write(place.join("new"), "new").expect("a new file");
            let kept = fs::read_to_string(path.join("upper/new")).expect("the upper file");
            assert_eq!(kept, "new");
        });
        test.join().expect("the test");
    }
}
