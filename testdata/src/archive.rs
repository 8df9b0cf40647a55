//! Images read back from Docker archives, layer by layer, times included.
//!
//! What `docker save` and Kiln's `type=docker` write. Layers are applied in memory: no tool is
//! started, no mount is made, and names that are not UTF-8 stay what they are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::table::{Kind, Row};

/// One path of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// What it is. A file's number of links counts its names in the image.
    pub row: Row,
    /// Time of the last change, in seconds since 1970.
    pub modified: u64,
    /// The beginning of a regular file's content, for listings.
    pub head: Vec<u8>,
    /// The first of the names that share the file.
    pub first_name: PathBuf,
}

/// Paths, relative to the root, which is the empty path, and what they are.
pub type ImageTree = BTreeMap<PathBuf, ImageFile>;

/// An image: its configuration as written, and its root file system.
#[derive(Debug)]
pub struct ArchivedImage {
    /// The configuration document.
    pub config: Value,
    /// The files.
    pub tree: ImageTree,
}

/// How much of a file's content is kept.
const HEAD_BYTES: usize = 4096;
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// Reads the only image of the Docker archive `path`. Panics when it is not one.
pub fn read_docker_archive(path: &Path) -> ArchivedImage {
    let members = read_members(path);
    let manifest: Value = parse(&members, "manifest.json");
    let text = |value: &Value| value.as_str().expect("a name in the manifest").to_owned();
    let mut files = Files::default();
    for layer in manifest[0]["Layers"].as_array().expect("layers") {
        let name = text(layer);
        files.apply(member(&members, &name));
    }
    ArchivedImage {
        config: parse(&members, &text(&manifest[0]["Config"])),
        tree: files.into_tree(),
    }
}

/// Reads the tar archive `path` as the file system it holds.
pub fn read_tar_archive(path: &Path) -> ImageTree {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files = Files::default();
    files.apply(&bytes);
    files.into_tree()
}

/// A member of the outer archive.
enum Member {
    Content(Vec<u8>),
    /// `docker save` writes a layer that is there twice as a link to the first.
    Link(String),
}

fn read_members(path: &Path) -> HashMap<String, Member> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut archive = Archive::new(file);
    let mut members = HashMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = clean(&entry.path_bytes()).to_string_lossy().into_owned();
        let member = match entry.header().entry_type() {
            EntryType::Regular => Member::Content(content_of(&mut entry)),
            EntryType::Symlink => Member::Link(linked_member(&name, &entry)),
            _ => continue,
        };
        members.insert(name, member);
    }
    members
}

fn linked_member(name: &str, entry: &Entry<'_, File>) -> String {
    let link = entry.link_name_bytes().expect("a link's target");
    let beside = Path::new(name).parent().unwrap_or(Path::new(""));
    let target = beside.join(OsStr::from_bytes(&link));
    clean(target.as_os_str().as_bytes())
        .to_string_lossy()
        .into_owned()
}

fn member<'a>(members: &'a HashMap<String, Member>, name: &str) -> &'a [u8] {
    match members.get(name) {
        Some(Member::Content(content)) => content,
        Some(Member::Link(target)) => member(members, target),
        None => panic!("the archive lacks {name}"),
    }
}

fn parse(members: &HashMap<String, Member>, name: &str) -> Value {
    serde_json::from_slice(member(members, name))
        .unwrap_or_else(|error| panic!("{name} is not JSON: {error}"))
}

fn content_of(entry: &mut impl Read) -> Vec<u8> {
    let mut content = Vec::new();
    entry.read_to_end(&mut content).expect("a whole archive");
    content
}

/// Layers applied one over the other. Names lead to numbers of files, so that hard links stay.
#[derive(Default)]
struct Files {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<ImageFile>,
}

impl Files {
    fn apply(&mut self, layer: &[u8]) {
        let before: Vec<_> = self.names.keys().cloned().collect();
        let layer = uncompressed(layer);
        let mut archive = Archive::new(&*layer);
        for entry in archive.entries().expect("a layer") {
            self.apply_entry(&mut entry.expect("an entry of a layer"), &before);
        }
    }

    fn apply_entry(&mut self, entry: &mut Entry<'_, &[u8]>, before: &[PathBuf]) {
        let path = clean(&entry.path_bytes());
        let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if name == b".wh..wh..opq" {
            let hidden = before
                .iter()
                .filter(|name| name.starts_with(&parent) && **name != parent);
            hidden.for_each(|name| _ = self.names.remove(name));
        } else if let Some(name) = name.strip_prefix(b".wh.") {
            self.remove(&parent.join(OsStr::from_bytes(name)));
        } else if entry.header().entry_type() == EntryType::Link {
            let target = entry.link_name_bytes().expect("a hard link's target");
            let file = *self
                .names
                .get(&clean(&target))
                .unwrap_or_else(|| panic!("{} links to nothing", path.display()));
            self.remove(&path);
            self.names.insert(path, file);
        } else {
            self.put(path, read_file(entry));
        }
    }

    fn put(&mut self, path: PathBuf, file: ImageFile) {
        if file.row.kind != Kind::Directory {
            self.remove(&path);
        }
        self.files.push(file);
        self.names.insert(path, self.files.len() - 1);
    }

    fn remove(&mut self, path: &Path) {
        // Paths are ordered by component: what lies below a path follows it.
        let after = self.names.range(path.to_path_buf()..);
        let below: Vec<_> = after
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(path))
            .cloned()
            .collect();
        below.iter().for_each(|name| _ = self.names.remove(name));
    }

    fn into_tree(self) -> ImageTree {
        let mut sharing: HashMap<usize, Vec<&PathBuf>> = HashMap::new();
        for (name, file) in &self.names {
            sharing.entry(*file).or_default().push(name);
        }
        let with_links = |(name, number): (&PathBuf, &usize)| {
            let mut file = self.files[*number].clone();
            let names = &sharing[number];
            file.first_name = names[0].clone();
            if let Kind::File { links, .. } = &mut file.row.kind {
                *links = names.len() as u64;
            }
            (name.clone(), file)
        };
        self.names.iter().map(with_links).collect()
    }
}

/// Returns a layer's tar archive; base images keep their compression in Kiln's archives.
fn uncompressed(layer: &[u8]) -> Cow<'_, [u8]> {
    match layer.starts_with(&[0x1f, 0x8b]) {
        true => content_of(&mut MultiGzDecoder::new(layer)).into(),
        false => layer.into(),
    }
}

fn read_file(entry: &mut Entry<'_, &[u8]>) -> ImageFile {
    let xattrs = read_xattrs(entry);
    let content = content_of(entry);
    let header = entry.header();
    let number = |value: std::io::Result<u64>| value.expect("a number in a header") as u32;
    ImageFile {
        row: Row {
            kind: read_kind(entry, &content),
            mode: header.mode().expect("a mode") & 0o7777,
            uid: number(header.uid()),
            gid: number(header.gid()),
            xattrs,
        },
        modified: header.mtime().expect("a time"),
        head: content[..content.len().min(HEAD_BYTES)].to_vec(),
        first_name: PathBuf::new(),
    }
}

fn read_kind(entry: &Entry<'_, &[u8]>, content: &[u8]) -> Kind {
    let header = entry.header();
    let device = || {
        let number = |value: std::io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
        let (major, minor) = (number(header.device_major()), number(header.device_minor()));
        rustix::fs::makedev(major, minor)
    };
    match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = entry.link_name_bytes().expect("a link's target");
            Kind::Symlink(std::ffi::OsString::from_vec(target.into_owned()).into())
        }
        EntryType::Fifo => Kind::Pipe,
        EntryType::Char => Kind::CharacterDevice(device()),
        EntryType::Block => Kind::BlockDevice(device()),
        _ => Kind::File {
            size: content.len() as u64,
            sha256: crate::table::hex(&Sha256::digest(content)),
            links: 1,
        },
    }
}

fn read_xattrs(entry: &mut Entry<'_, &[u8]>) -> BTreeMap<String, Vec<u8>> {
    let extensions = entry.pax_extensions().expect("extended headers");
    let records = extensions
        .into_iter()
        .flatten()
        .map(|record| record.expect("a record"));
    let named = records.filter_map(|record| {
        let name = record.key().ok()?.strip_prefix(XATTR_PREFIX)?;
        Some((name.to_owned(), record.value_bytes().to_vec()))
    });
    named.collect()
}

/// Returns a member's name without `.`, `..` and leading or trailing `/`.
fn clean(name: &[u8]) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    path
}
