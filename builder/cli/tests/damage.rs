//! A store whose files were damaged: whatever a command then says is right, or an error that says
//! what to do; nothing panics, no wrong image comes out, and verification finds what is damaged
//! and mends it.
//!
//! A few bytes of each file of a small store are turned over, one place at a time.
//! `KILN_DAMAGE=thorough` does so with all files, and in more places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

const DOCKERFILE: &str = "FROM 127.0.0.1:1/base\nCOPY data /data\nCOPY more /more\n";

/// How many files of each folder are damaged, unless all are.
const FILES_OF_A_KIND: usize = 3;
/// The number of the command that writes files of layers as they are.
const EXPORT: usize = 5;
const BUILD: [&str; 5] = ["build", "-q", "-t", "app", "."];

struct Place {
    directory: TempDir,
    /// What commands say with a store that is whole.
    expected: Vec<String>,
}

/// What a run of kiln said.
struct Said {
    code: i32,
    output: String,
    messages: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kiln-damage-").tempdir();
        let mut place = Place {
            directory: directory.unwrap(),
            expected: Vec::new(),
        };
        let context = place.path("context");
        fs::create_dir(&context).unwrap();
        fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
        fs::write(context.join("data"), "data ".repeat(2000)).unwrap();
        fs::write(context.join("more"), "more").unwrap();
        fs::write(context.join("base"), "FROM scratch\nCOPY more /base\n").unwrap();
        let whole = place.path("whole");
        let base = ["build", "-q", "-f", "base", "-t", "127.0.0.1:1/base", "."];
        place.run(&whole, &base).succeeded();
        let archive = place.path("base.tar");
        let archive = archive.to_str().unwrap();
        // The base is loaded, so that there are layers that were unpacked.
        place
            .run(&whole, &["save", "-o", archive, "127.0.0.1:1/base"])
            .succeeded();
        place.run(&whole, &["rmi", "127.0.0.1:1/base"]).succeeded();
        place
            .run(&whole, &["prune", "--all", "--force"])
            .succeeded();
        place.run(&whole, &["load", "-i", archive]).succeeded();
        for _ in 0..2 {
            place.expected = place
                .commands(&whole)
                .map(|said| said.succeeded().output)
                .collect();
        }
        place.run(&whole, &["store", "verify"]).succeeded();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, store: &Path, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(arguments).current_dir(self.path("context"));
        command
            .env("KILN_ROOT", store)
            .env("HOME", self.directory.path());
        command
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            output: text(&output.stdout),
            messages: text(&output.stderr),
        };
        let told = format!("{}{}", said.output, said.messages);
        assert!(!told.contains("panicked") && said.code >= 0, "{told}");
        said
    }

    /// What is asked of a store, one after the other.
    fn commands<'p>(&'p self, store: &'p Path) -> impl Iterator<Item = Said> + 'p {
        let beside = |name| store.with_extension(name);
        let (image, archive) = (beside("image"), beside("files"));
        let save = move || {
            let _ = fs::remove_file(&image);
            let mut said = self.run(store, &["save", "-o", image.to_str().unwrap(), "app"]);
            if said.code == 0 {
                said.output = digest_of(&image);
            }
            said
        };
        let files = move || {
            let mut said = self.run(store, &["export", "-o", archive.to_str().unwrap(), "app"]);
            if said.code == 0 {
                said.output = digest_of(&archive);
            }
            said
        };
        let run = move |arguments: &'static [&'static str]| move || self.run(store, arguments);
        let asked: [Box<dyn Fn() -> Said + 'p>; 7] = [
            Box::new(run(&BUILD)),
            Box::new(run(&["images", "-q", "--no-trunc"])),
            Box::new(run(&["inspect", "-f", "{{.Id}} {{.RootFS.Layers}}", "app"])),
            Box::new(run(&["history", "-q", "--no-trunc", "app"])),
            Box::new(save),
            Box::new(files),
            Box::new(run(&BUILD)),
        ];
        asked.into_iter().map(|ask| ask())
    }

    /// Returns a copy of the whole store, in the place of the one that this thread had.
    fn copy(&self) -> PathBuf {
        let copy = self.path(&format!("copy-{:?}", std::thread::current().id()));
        let _ = fs::remove_dir_all(&copy);
        let mut command = Command::new("cp");
        let copied = command
            .arg("-a")
            .arg(self.path("whole"))
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        copy
    }

    /// Returns the files of the store, by their paths in it.
    fn files(&self) -> BTreeSet<PathBuf> {
        let whole = self.path("whole");
        let (mut files, mut pending) = (BTreeSet::new(), vec![whole.clone()]);
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
                let found = fs::symlink_metadata(entry.path()).unwrap();
                match found.is_dir() {
                    true => pending.push(entry.path()),
                    false if found.is_file() && found.len() > 0 => {
                        files.insert(entry.path().strip_prefix(&whole).unwrap().to_owned());
                    }
                    false => {}
                }
            }
        }
        files
    }

    /// Tries each case, on all processors; returns what is wrong.
    fn try_all(&self, cases: &[(&PathBuf, Damage)]) -> Vec<String> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut wrong = Vec::new();
            while let Some((file, damage)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.try_damage(file, *damage, &mut wrong);
            }
            wrong
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| worker.join().unwrap());
            joined.flatten().collect()
        })
    }

    /// Damages one file of a copy, asks all that can be asked, and adds what is wrong to `wrong`.
    fn try_damage(&self, file: &Path, damage: Damage, wrong: &mut Vec<String>) {
        let what = format!("{damage:?} {}", file.display());
        let store = self.damaged(file, damage);
        for (number, (said, expected)) in self.commands(&store).zip(&self.expected).enumerate() {
            // Files of layers are compared when their archive is made, not when they are read.
            let is_unseen = file.starts_with("layers") && number == EXPORT;
            let fault = said.fault(Some(expected).filter(|_| !is_unseen));
            wrong.extend(fault.map(|fault| format!("{what}, command {number}: {fault}")));
        }
        let store = self.damaged(file, damage);
        let verified = self.run(&store, &["store", "verify"]);
        let fault = verified.fault(None);
        wrong.extend(fault.map(|fault| format!("{what}, verify: {fault}")));
        if is_needed(file)
            && !is_lost(file, damage)
            && (verified.code == 0 || !verified.names(file))
        {
            wrong.push(format!("{what} is not found: {}", verified.told()));
        }
        if file == Path::new("kiln-store.json") {
            return;
        }
        for arguments in [&["store", "verify", "--repair"][..], &["store", "verify"]] {
            let said = self.run(&store, arguments);
            if said.code != 0 {
                wrong.push(format!("{what}, {arguments:?}: {}", said.told()));
            }
        }
        let fault = self.run(&store, &BUILD).fault(self.expected.first());
        wrong.extend(fault.map(|fault| format!("{what}, after the repair: {fault}")));
    }

    fn damaged(&self, file: &Path, damage: Damage) -> PathBuf {
        let store = self.copy();
        damage.do_to(&store.join(file));
        store
    }
}

/// Whether the store is less without the file: explanations and indexes are not looked at.
fn is_needed(file: &Path) -> bool {
    [
        "blobs",
        "images",
        "layers",
        "records",
        "chains",
        "compressed",
        "kiln-store.json",
    ]
    .iter()
    .any(|name| file.starts_with(name))
}

/// Whether the file is then as a power cut leaves one that is written without waiting for the
/// disk: it counts as none.
fn is_lost(file: &Path, damage: Damage) -> bool {
    let is_waited_for = ["blobs", "images", "kiln-store.json"];
    matches!(damage, Damage::Empty) && !is_waited_for.iter().any(|name| file.starts_with(name))
}

/// How a file is damaged.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// A byte, so many thousandths of the file from its beginning, is turned over.
    Flip(u64),
    /// Only the first half is there.
    Half,
    /// It is empty.
    Empty,
}

impl Damage {
    fn do_to(self, path: &Path) {
        let found = fs::metadata(path).unwrap();
        // As a disk does it: nothing of the file's times tells.
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        match self {
            Damage::Flip(thousandths) => {
                let at = (found.size() - 1) * thousandths / 1000;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 0x41], at).unwrap();
            }
            Damage::Half => file.set_len(found.size() / 2).unwrap(),
            Damage::Empty => file.set_len(0).unwrap(),
        }
        file.set_modified(found.modified().unwrap()).unwrap();
        fs::set_permissions(path, found.permissions()).unwrap();
    }
}

impl Said {
    fn told(&self) -> String {
        format!("code {}: {}{}", self.code, self.output, self.messages)
    }

    fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.told());
        self
    }

    /// Whether the damaged `file` is named; of a layer its digest is.
    fn names(&self, file: &Path) -> bool {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        file.starts_with("layers") || self.told().contains(&name)
    }

    /// Returns what is wrong with this, unless it is what was `expected`, or an error with what
    /// to do.
    fn fault(&self, expected: Option<&String>) -> Option<String> {
        let is_right = match self.code {
            0 => expected.is_none_or(|expected| self.output == *expected),
            _ => self.messages.contains("error") && self.messages.contains("hint: "),
        };
        (!is_right).then(|| self.told())
    }
}

fn digest_of(path: &Path) -> String {
    kiln_testdata::registry::digest_of(&fs::read(path).unwrap())
}

#[test]
fn damaged_files_give_what_is_right_or_an_error_and_are_mended() {
    let place = Place::new();
    let thorough = std::env::var("KILN_DAMAGE").is_ok_and(|value| value == "thorough");
    let damages = match thorough {
        true => (0..=20)
            .map(|step| Damage::Flip(step * 50))
            .chain([Damage::Half, Damage::Empty])
            .collect(),
        false => vec![Damage::Flip(300), Damage::Half],
    };
    let files = place.files();
    let mut tried: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let chosen = files.iter().filter(|file| {
        let count = tried.entry(file.iter().take(1).collect()).or_default();
        *count += 1;
        *count <= FILES_OF_A_KIND || thorough
    });
    let cases: Vec<(&PathBuf, Damage)> = chosen
        .flat_map(|file| damages.iter().map(move |damage| (file, *damage)))
        .collect();
    let wrong = place.try_all(&cases);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
