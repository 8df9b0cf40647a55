//! Disks that are full, fail or cannot be written, and processes with few descriptors.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testdata::needs::{self, Need};

use crate::operation::Operation;
use crate::site::{Ran, Site, chosen_points, copy_store};
use crate::traced;

/// System calls by which a disk says that it is full or broken.
const WRITING: &str = "write,pwrite64,writev,openat,mkdir,mkdirat,rename,renameat,renameat2,\
    linkat,symlinkat,mknodat,fsync,fdatasync,syncfs,ftruncate,fallocate,copy_file_range,\
    fsetxattr,lsetxattr";

const FEW: usize = 5;

/// Whether a call that went wrong on purpose is one that a disk could have failed.
fn is_of_the_disk(call: &str, store: &Path) -> bool {
    let reads = call.contains("openat(") && !call.contains("O_CREAT");
    call.contains(store.to_str().unwrap()) && !reads
}

#[test]
fn disks_that_fail_at_a_write_are_told_with_the_reason_and_leave_a_whole_store() {
    if !needs::met(&[Need::Root, Need::Program("strace")]) {
        return;
    }
    let site = Site::new();
    for (error, words) in [
        ("ENOSPC", "No space left on device"),
        ("EIO", "Input/output error"),
        ("EDQUOT", "quota exceeded"),
    ] {
        for operation in [
            Operation::Pull,
            Operation::Build,
            Operation::Export,
            Operation::Tag,
        ] {
            let before = operation.prepare(&site);
            let arguments = operation.arguments(&site);
            let store = site.path("store");
            copy_store(&before, &store);
            let undisturbed = traced::run(&site, &store, &arguments, WRITING, None);
            let points = undisturbed.points(|call| is_of_the_disk(call, &store));
            undisturbed.ran.succeeded("undisturbed");
            let mut told = 0;
            let chosen = chosen_points(points.len(), FEW);
            eprintln!(
                "{operation:?}: {error} at {} of {} calls",
                chosen.len(),
                points.len()
            );
            for chosen in chosen {
                let point = &points[chosen - 1];
                copy_store(&before, &store);
                let fault = format!("error={error}");
                let fault = Some((fault.as_str(), point));
                let traced = traced::run(&site, &store, &arguments, WRITING, fault);
                let injected: Vec<_> = traced.injected().cloned().collect();
                let when = format!("{operation:?}, {error} at {point:?}: {injected:?}");
                let stderr = &traced.ran.stderr;
                let all_of_the_disk = injected.iter().all(|call| is_of_the_disk(call, &store));
                // No disk keeps a thread from waking another.
                if all_of_the_disk {
                    assert!(traced.ran.code.is_some(), "{when}: did not end");
                    assert!(!stderr.contains("panicked"), "{when}: {stderr}");
                }
                if traced.ran.code != Some(0) && all_of_the_disk {
                    assert!(stderr.contains(words), "{when}: {stderr}");
                }
                told += usize::from(traced.ran.code != Some(0) && stderr.contains(words));
                site.assert_whole(&store, &when);
                site.kiln(&store, &arguments).succeeded(&when);
            }
            assert!(told > 0, "{operation:?} never failed with {error}");
        }
    }
}

/// A file system that goes away with the value.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount<'a>(arguments: &[&str], at: &'a Path) -> Mounted<'a> {
    let mounted = Command::new("mount").args(arguments).arg(at).status();
    assert!(mounted.unwrap().success(), "mount {arguments:?}");
    Mounted(at)
}

#[test]
fn store_on_a_disk_that_is_too_small_says_so_and_is_whole() {
    if !needs::met(&[Need::Root]) {
        return;
    }
    let site = Site::new();
    let store = site.path("small");
    fs::create_dir(&store).unwrap();
    let large: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let layer = kiln_testdata::registry::Layer::of_files(&[("large", &large)]);
    site.registry.add_image("large", "1", &[layer]);
    let _mounted = mount(&["-t", "tmpfs", "-o", "size=8m", "none"], &store);
    let pull = ["pull".to_owned(), site.name("large:1")];
    let ran = site.kiln(&store, &pull);
    assert_eq!(ran.code, Some(5), "{}", ran.all());
    for part in [
        "No space left on device",
        store.to_str().unwrap(),
        "hint: free space",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.all());
    }
    // Also when there is not even room to look.
    let _ = fs::write(store.join("ballast"), vec![0; 16 << 20]);
    site.assert_whole(&store, "full");
    fs::remove_file(store.join("ballast")).unwrap();
    let base = ["pull".to_owned(), site.name("base:1")];
    site.kiln(&store, &base).succeeded("with room");
    site.assert_whole(&store, "with room");
    let resize = Command::new("mount")
        .args(["-o", "remount,size=80m"])
        .arg(&store)
        .status();
    assert!(resize.unwrap().success());
    site.kiln(&store, &pull).succeeded("with more room");
}

#[test]
fn store_that_cannot_be_written_is_read_and_refuses_what_changes_it() {
    if !needs::met(&[Need::Root]) {
        return;
    }
    let site = Site::new();
    let before = Operation::Tag.prepare(&site);
    let store = site.path("read-only");
    copy_store(&before, &store);
    let path = store.to_str().unwrap().to_owned();
    let _mounted = mount(&["--bind", &path], &store);
    let remounted = Command::new("mount")
        .args(["-o", "remount,bind,ro"])
        .arg(&store)
        .status();
    assert!(remounted.unwrap().success());
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let listed = site.kiln(&store, &words("images")).succeeded("images");
    assert!(listed.stdout.contains("app"), "{}", listed.all());
    site.kiln(&store, &words("inspect app:1"))
        .succeeded("inspect");
    site.kiln(&store, &words("store verify"))
        .succeeded("verify");
    let pulling = format!("pull {}", site.name("base:1"));
    for command in [
        "tag app:1 app:9",
        "rmi app:1",
        &pulling,
        "prune --all --force",
    ] {
        let ran = site.kiln(&store, &words(command));
        assert_ne!(ran.code, Some(0), "{command}: {}", ran.all());
        assert!(
            ran.stderr.contains("Read-only file system"),
            "{command}: {}",
            ran.all()
        );
        assert!(!ran.stderr.contains("panicked"), "{}", ran.all());
    }
}

#[test]
fn few_descriptors_are_enough_or_told() {
    let site = Site::new();
    for operation in Operation::ALL {
        let before = operation.prepare(&site);
        for limit in [12, 14, 16, 18, 20, 24, 32, 64, 128] {
            let store = site.path("store");
            copy_store(&before, &store);
            let mut command = Command::new("sh");
            site.environment(&mut command, &store);
            let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_kiln")]);
            let ran = Ran::from(command.args(operation.arguments(&site)).output().unwrap());
            let when = format!("{operation:?} with {limit} descriptors");
            assert!(!ran.stderr.contains("panicked"), "{when}: {}", ran.all());
            if ran.code != Some(0) {
                assert!(
                    ran.stderr.contains("Too many open files"),
                    "{when}: {}",
                    ran.all()
                );
            }
            site.assert_whole(&store, &when);
            site.kiln(&store, &operation.arguments(&site))
                .succeeded(&when);
        }
    }
}
