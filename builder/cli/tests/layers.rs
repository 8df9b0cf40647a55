//! Images of strangers, pulled and built on by the real program: what they want of the machine
//! is refused by name or stays inside, and the store is whole after it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kiln_testdata::registry::{FakeRegistry, Layer, digest_of};
use tempfile::TempDir;

/// A registry, a store, and files that nobody may touch.
struct Place {
    directory: TempDir,
    registry: FakeRegistry,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kiln-layers-").tempdir();
        let place = Place {
            directory: directory.unwrap(),
            registry: FakeRegistry::start(),
        };
        let canary = place.canary();
        fs::create_dir_all(canary.join("dir")).unwrap();
        fs::write(canary.join("victim"), "untouched").unwrap();
        fs::write(canary.join("dir/keep"), "kept").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn canary(&self) -> PathBuf {
        self.path("canary")
    }

    /// Returns a way from any directory up to the canary.
    fn climbing(&self) -> String {
        format!(
            "{}{}",
            "../".repeat(24),
            &self.canary().to_str().unwrap()[1..]
        )
    }

    /// Returns what is known of everything in the canary.
    fn canary_state(&self) -> BTreeMap<PathBuf, (u32, u64, i64, String)> {
        let mut state = BTreeMap::new();
        let mut pending = vec![self.canary()];
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = fs::read_to_string(&path).unwrap_or_default();
            if metadata.is_dir() {
                let entries = fs::read_dir(&path).unwrap();
                pending.extend(entries.map(|entry| entry.unwrap().path()));
            }
            let known = (
                metadata.mode(),
                metadata.nlink(),
                metadata.mtime_nsec(),
                content,
            );
            state.insert(path, known);
        }
        state
    }

    fn kiln(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.env_clear().stdin(Stdio::null()).args(arguments);
        command
            .env("HOME", self.path("home"))
            .env("KILN_ROOT", self.path("store"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.output().unwrap()
    }

    /// Serves an image of `archives`, pulls it into a fresh store, asserts that canary and store
    /// are whole, and returns what pulling said when it failed.
    fn pull(&self, archives: &[Vec<u8>], options: &[&str]) -> Result<(), String> {
        let layers: Vec<_> = archives
            .iter()
            .map(|archive| Layer {
                archive: archive.clone(),
                diff_id: digest_of(archive),
            })
            .collect();
        self.registry.add_image("bad", "1", &layers);
        let _ = fs::remove_dir_all(self.path("store"));
        let before = self.canary_state();
        let name = format!("{}/bad:1", self.registry.address());
        let output = self.kiln(&[options, &["pull", &name]].concat());
        assert_eq!(self.canary_state(), before);
        let verified = self.kiln(&["store", "verify"]);
        assert!(verified.status.success(), "{verified:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        match output.status.code() {
            Some(0) => Ok(()),
            code => {
                assert_eq!(code, Some(4), "{said}");
                let images = String::from_utf8(self.kiln(&["images"]).stdout).unwrap();
                assert!(!images.contains("bad"), "{images}");
                Err(said)
            }
        }
    }

    /// Exports the files of the pulled image and returns their names with their modes.
    fn files(&self) -> BTreeMap<String, (u32, String)> {
        let context = self.path("context");
        fs::create_dir_all(&context).unwrap();
        let dockerfile = format!("FROM {}/bad:1\n", self.registry.address());
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let archive = self.path("files.tar");
        let output = format!("type=tar,dest={}", archive.display());
        let built = self.kiln(&["build", "-o", &output, context.to_str().unwrap()]);
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mode = entry.header().mode().unwrap();
            let mut content = String::new();
            let _ = std::io::Read::read_to_string(&mut entry, &mut content);
            files.insert(name.trim_matches('/').to_owned(), (mode, content));
        }
        files
    }
}

/// Returns one entry as it stands; `link` is the target of links.
fn entry(name: &str, letter: u8, link: &str, content: &[u8]) -> Vec<u8> {
    sized(name, letter, link, content.len() as u64, content)
}

fn sized(name: &str, letter: u8, link: &str, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(tar::EntryType::new(letter));
    header.set_mode(if letter == b'5' { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(size);
    finish(header, content)
}

fn finish(mut header: tar::Header, content: &[u8]) -> Vec<u8> {
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn device(name: &str, letter: u8, numbers: (u32, u32)) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(letter));
    header.set_mode(0o666);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(0);
    header.set_device_major(numbers.0).unwrap();
    header.set_device_minor(numbers.1).unwrap();
    finish(header, b"")
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(name, b'0', "", content.as_bytes())
}

/// Returns a long name's own entry.
fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        content.push_str(&format!("{length}{rest}"));
    }
    entry("pax", b'x', "", content.as_bytes())
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

#[test]
fn layers_that_cannot_be_meant_well_are_refused_by_name() {
    let place = Place::new();
    let (canary, climbing) = (place.canary(), place.climbing());
    let absolute = canary.to_str().unwrap();
    let base = archive(&[entry("d/", b'5', "", b""), file("d/keep", "")]);
    let long_climb = archive(&[
        pax(&[("path", &format!("{climbing}/pwn"))]),
        file("safe", ""),
    ]);
    let cases: Vec<(&str, Vec<Vec<u8>>, String)> = vec![
        (
            "a name that climbs",
            vec![long_climb],
            format!("entry {:?} leaves the root", format!("{climbing}/pwn")),
        ),
        (
            "a link to a file outside",
            vec![archive(&[
                pax(&[("linkpath", &format!("{absolute}/victim"))]),
                entry("hl", b'1', "x", b""),
            ])],
            "cannot unpack entry \"hl\"".to_owned(),
        ),
        (
            "a link through a link",
            vec![archive(&[
                entry("s", b'2', absolute, b""),
                entry("hl", b'1', "s/victim", b""),
            ])],
            "cannot unpack entry \"hl\"".to_owned(),
        ),
        (
            "a root that is a link",
            vec![archive(&[entry(".", b'2', absolute, b"")])],
            "entry \"\" would replace the root directory".to_owned(),
        ),
        (
            "a whiteout of the directory above",
            vec![base.clone(), archive(&[file("d/.wh...", "")])],
            "whiteout \"d/.wh...\" does not name a file in its directory".to_owned(),
        ),
        (
            "a deletion in disguise",
            vec![base.clone(), archive(&[device("d/keep", b'3', (0, 0))])],
            "entry \"d/keep\" is a device that stands for a deletion".to_owned(),
        ),
        (
            "a device with a number that does not exist",
            vec![archive(&[device("dev", b'4', (5000, 1))])],
            "device number out of range".to_owned(),
        ),
        (
            "a PAX header without sense",
            vec![archive(&[
                entry("pax", b'x', "", b"99 path=x\n"),
                file("f", ""),
            ])],
            "malformed pax header".to_owned(),
        ),
        (
            "an archive that ends too soon",
            vec![sized("big", b'0', "", 1 << 20, &[7; 4096])],
            "unexpected end of layer in entry \"big\"".to_owned(),
        ),
        (
            "a kind of file that nobody knows",
            vec![archive(&[entry("odd", b'Z', "", b"")])],
            "\"odd\"".to_owned(),
        ),
        (
            "a sparse file that overlaps itself",
            vec![archive(&[
                pax(&[
                    ("GNU.sparse.major", "0"),
                    ("GNU.sparse.minor", "1"),
                    ("GNU.sparse.size", "100"),
                    ("GNU.sparse.map", "50,10,0,10"),
                ]),
                entry("holes", b'0', "", &[1; 20]),
            ])],
            "sparse".to_owned(),
        ),
    ];
    for (what, archives, expected) in cases {
        let said = place.pull(&archives, &[]).expect_err(what);
        assert!(
            said.contains(&expected),
            "{what}: `{expected}` is not in: {said}"
        );
    }
}

#[test]
fn layers_that_reach_for_the_machine_end_inside() {
    let place = Place::new();
    let canary = place.canary().to_str().unwrap().to_owned();
    let inside = canary[1..].to_owned();
    let archives = [
        archive(&[
            entry("lnk", b'2', &canary, b""),
            file("lnk/pwn", "1"),
            entry("f", b'2', &format!("{canary}/victim"), b""),
            file("f", "mine"),
            entry("dd", b'2', &format!("{canary}/dir"), b""),
            entry("dd/", b'5', "", b""),
            file("/absolute", "2"),
        ]),
        archive(&[
            file("lnk/later", "3"),
            file("lnk/.wh.victim", ""),
            file("dd/.wh..wh..opq", ""),
        ]),
    ];
    place.pull(&archives, &[]).unwrap();
    let files = place.files();
    let content = |name: &str| files.get(name).map(|(_, content)| content.as_str());
    assert_eq!(content(&format!("{inside}/pwn")), Some("1"), "{files:?}");
    assert_eq!(content(&format!("{inside}/later")), Some("3"), "{files:?}");
    assert_eq!(
        (content("f"), content("absolute")),
        (Some("mine"), Some("2"))
    );
    assert_eq!(place.kiln(&["store", "verify"]).status.code(), Some(0));
}

#[test]
fn what_layers_say_of_overlays_devices_and_set_id_bits_harms_nobody() {
    let place = Place::new();
    let mut set_id = tar::Header::new_ustar();
    set_id.as_old_mut().name[..4].copy_from_slice(b"suid");
    set_id.set_mode(0o6755);
    for set in [tar::Header::set_uid, tar::Header::set_gid] {
        set(&mut set_id, 0);
    }
    set_id.set_mtime(1);
    set_id.set_size(0);
    let secret = archive(&[
        entry("pub/", b'5', "", b""),
        file("pub/a", ""),
        entry("priv/", b'5', "", b""),
        file("priv/hidden", ""),
        finish(set_id, b""),
    ]);
    let redirect = archive(&[
        pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", "/priv"),
            ("SCHILY.xattr.trusted.overlay.opaque", "y"),
            ("SCHILY.xattr.user.overlay.redirect", "/priv"),
            ("SCHILY.xattr.user.overlay.opaque", "y"),
            ("SCHILY.xattr.user.kiln.file", "7:7"),
        ]),
        entry("pub/", b'5', "", b""),
        device("disk", b'4', (8, 0)),
        device("null", b'3', (1, 3)),
    ]);
    place.pull(&[secret, redirect], &[]).unwrap();
    let files = place.files();
    let names: Vec<_> = files
        .keys()
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(
        names,
        [
            "disk",
            "null",
            "priv",
            "priv/hidden",
            "pub",
            "pub/a",
            "suid"
        ]
    );
    assert_eq!(files["suid"].0 & 0o7777, 0o6755);
    // Nobody else reaches the program that would run as its owner.
    let mode = fs::metadata(place.path("store"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn names_of_any_bytes_are_kept_and_never_reach_the_terminal() {
    let place = Place::new();
    let names = ["new\nline", "\u{1b}[2J", "-rf", " a b "];
    let parts: Vec<_> = names.iter().map(|name| file(name, "x")).collect();
    place.pull(&[archive(&parts)], &[]).unwrap();
    let files = place.files();
    for name in names {
        assert!(files.contains_key(name), "{name:?} in {files:?}");
    }
    let said = place
        .pull(&[archive(&[file("\u{1b}[2J/../..", "")])], &[])
        .unwrap_err();
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn forged_layer_is_refused_and_poisons_no_other_image() {
    let place = Place::new();
    let good = archive(&[file("data", "good")]);
    let evil = archive(&[file("data", "evil")]);
    let forged = Layer {
        archive: evil,
        diff_id: digest_of(&good),
    };
    place.registry.add_image("evil", "1", &[forged]);
    let name = format!("{}/evil:1", place.registry.address());
    let said = place.kiln(&["pull", &name]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let expected = format!("its configuration says {}", digest_of(&good));
    assert!(
        said.contains("has diff id sha256:") && said.contains(&expected),
        "{said}"
    );
    let honest = Layer {
        diff_id: digest_of(&good),
        archive: good,
    };
    place.registry.add_image("bad", "1", &[honest]);
    assert_eq!(place.files()["data"].1, "good");
}

#[test]
fn limits_of_the_configuration_end_a_pull() {
    let place = Place::new();
    let configuration = place.path("config.toml");
    let options = ["--config", configuration.to_str().unwrap()];
    let many: Vec<_> = (0..20).map(|n| file(&format!("f{n}"), "12345")).collect();
    let layer = archive(&many);
    let deep = archive(&[file("a/b/c/d", "")]);
    for (setting, archives, expected) in [
        (
            "layer-entries = 19",
            vec![layer.clone()],
            "archive has more than 19 entries",
        ),
        (
            "layer-size = \"99\"",
            vec![layer.clone()],
            "content of the archive exceeds 99 bytes",
        ),
        (
            "path-length = 6",
            vec![deep.clone()],
            "has 7 bytes; at most 6 are allowed",
        ),
        (
            "path-depth = 3",
            vec![deep.clone()],
            "leads through more than 3 directories",
        ),
        (
            "image-entries = 38",
            vec![layer.clone(), archive(&many[1..])],
            "more than 38 entries",
        ),
        (
            "image-size = \"150\"",
            vec![layer.clone(), archive(&many[1..])],
            "more than 150 bytes",
        ),
    ] {
        fs::write(&configuration, "").unwrap();
        if !setting.starts_with("image") {
            place.pull(&archives, &options).unwrap();
        }
        fs::write(&configuration, format!("[limits]\n{setting}\n")).unwrap();
        let said = place.pull(&archives, &options).expect_err(setting);
        assert!(said.contains(expected), "{setting}: {said}");
        assert!(
            said.contains("hint: ") && said.contains("[limits]"),
            "{setting}: {said}"
        );
    }
}

#[test]
fn memory_stays_small_whatever_a_layer_becomes() {
    let place = Place::new();
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let size = 300_u64 << 20;
    let header = sized("zeros", b'0', "", size, b"");
    std::io::Write::write_all(&mut compressed, &header).unwrap();
    for _ in 0..300 {
        std::io::Write::write_all(&mut compressed, &vec![0; 1 << 20]).unwrap();
    }
    std::io::Write::write_all(&mut compressed, &[0; 1024]).unwrap();
    let blob = compressed.finish().unwrap();
    serve_gzip(&place, &blob, size);
    let name = format!("{}/bad:1", place.registry.address());
    let script = "ulimit -v 1000000; exec \"$0\" pull \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_kiln"), &name]);
    command
        .env("KILN_ROOT", place.path("store"))
        .env("HOME", place.path("home"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // What is zeros takes no room.
    let used = Command::new("du")
        .arg("-sk")
        .arg(place.path("store"))
        .output()
        .unwrap();
    let used = String::from_utf8(used.stdout).unwrap();
    let kilobytes: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes < 4096, "{used}");
}

/// Serves an image of one compressed layer whose archive has a file of `size` zeros.
fn serve_gzip(place: &Place, blob: &[u8], size: u64) {
    let mut decoder = flate2::read::GzDecoder::new(blob);
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut archive).unwrap();
    assert!(archive.len() as u64 > size);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        digest_of(&archive)
    );
    let (layer, config_digest) = (
        place.registry.add_blob("bad", blob),
        place.registry.add_blob("bad", config.as_bytes()),
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer}","size":{}}}]}}"#,
        config.len(),
        blob.len()
    );
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    place
        .registry
        .add_manifest("bad", "1", media_type, manifest.as_bytes());
}

/// What people see of the path of a store.
#[test]
fn layers_of_an_image_that_was_refused_can_go() {
    let place = Place::new();
    let good = archive(&[file("data", "good")]);
    let bad = archive(&[file("../x", "")]);
    place.pull(&[good, bad], &[]).unwrap_err();
    let pruned = place.kiln(&["prune", "--all", "--force"]);
    assert!(pruned.status.success());
    let left = |folder: &str| {
        fs::read_dir(place.path("store").join(folder))
            .unwrap()
            .count()
    };
    assert_eq!(
        (left("layers"), left("blobs/sha256"), left("active")),
        (0, 0, 0)
    );
    assert!(Path::new(&place.path("store")).exists());
}
