//! What is kept of a directory that was walked: few bytes for each file, since a context may have
//! a million of them, and all are held until the build has used them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Content, Result, Stamp};
use crate::tree::{Entry, FileKind, Metadata, Timestamp, Xattr};

/// A directory that was walked: what it shows, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    names: Vec<u8>,
    entries: Vec<ScannedEntry>,
    /// What the files have, most of them the same, and mostly as in other directories.
    traits: SharedTraits,
    /// What few directories have.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug, Default)]
struct Rare {
    /// What the directories among the entries show, by their places, in that order.
    inside: Vec<(u32, Arc<Scanned>)>,
    xattrs: Vec<Xattr>,
}

/// What a walked directory shows under one name.
#[derive(Clone, Debug)]
struct ScannedEntry {
    size: u64,
    inode: u64,
    modified_seconds: i64,
    changed_seconds: i64,
    modified_nanoseconds: u32,
    changed_nanoseconds: u32,
    name_start: u32,
    name_length: u16,
    /// Permissions (12 bits), kind, and whether it is seen.
    marks: u16,
    traits: u32,
    /// The digest of its content, once it is known. Directories have none.
    content: OnceLock<Content>,
}

impl ScannedEntry {
    /// Returns one without a name, of which no content is known.
    fn of(metadata: &Metadata, traits: u32) -> Self {
        ScannedEntry {
            size: metadata.size,
            inode: metadata.inode,
            modified_seconds: metadata.modified.seconds,
            changed_seconds: metadata.changed.seconds,
            modified_nanoseconds: metadata.modified.nanoseconds,
            changed_nanoseconds: metadata.changed.nanoseconds,
            name_start: 0,
            name_length: 0,
            marks: marks(metadata),
            traits,
            content: OnceLock::new(),
        }
    }
}

/// What files of one directory mostly have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    uid: u32,
    gid: u32,
    links: u64,
    device: u64,
    special_device: (u32, u32),
}

/// What files of several directories have.
pub(super) type SharedTraits = Arc<Vec<Traits>>;

/// A list of more is not added to for another directory.
const MOST_SHARED_TRAITS: usize = 16;
/// Of so many kinds of traits that were seen last it is noticed that they come again.
const TRAITS_LOOKED_AT: usize = 8;
const MODE_BITS: u16 = 0o7777;
const KIND_SHIFT: u32 = 12;
/// Set for what is seen only if something in it is.
const BY_CONTENT: u16 = 1 << 15;
const KINDS: [FileKind; 7] = [
    FileKind::Regular,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::Fifo,
    FileKind::CharacterDevice,
    FileKind::BlockDevice,
    FileKind::Socket,
];

/// Whether something is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    Shown,
    /// An ignored directory: seen if something in it is not ignored.
    ByContent,
}

/// A file in a walked directory.
#[derive(Clone, Copy)]
pub(crate) struct ScannedFile<'a> {
    directory: &'a Scanned,
    entry: &'a ScannedEntry,
    place: usize,
}

impl<'a> ScannedFile<'a> {
    /// Returns its name.
    pub fn name(&self) -> &'a OsStr {
        OsStr::from_bytes(self.directory.name_of(self.entry))
    }

    /// Returns what was seen of it.
    pub fn metadata(&self) -> Metadata {
        let entry = self.entry;
        let traits = self.directory.traits[entry.traits as usize];
        Metadata {
            kind: self.kind(),
            mode: u32::from(entry.marks & MODE_BITS),
            uid: traits.uid,
            gid: traits.gid,
            size: entry.size,
            modified: Timestamp {
                seconds: entry.modified_seconds,
                nanoseconds: entry.modified_nanoseconds,
            },
            changed: self.changed(),
            links: traits.links,
            inode: entry.inode,
            device: traits.device,
            special_device: traits.special_device,
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> FileKind {
        KINDS[usize::from((self.entry.marks & !BY_CONTENT) >> KIND_SHIFT)]
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == FileKind::Directory
    }

    /// Returns when it was changed last.
    pub fn changed(&self) -> Timestamp {
        Timestamp {
            seconds: self.entry.changed_seconds,
            nanoseconds: self.entry.changed_nanoseconds,
        }
    }

    /// Returns by what it is known to be unchanged.
    pub fn stamp(&self) -> Stamp {
        Stamp::of(&self.metadata())
    }

    /// Returns the digest of what it holds, once it is known.
    pub fn content(&self) -> Option<&'a Content> {
        self.entry.content.get()
    }

    /// Takes note of the digest of what it holds. What is known already is the same.
    pub fn learn(&self, content: Content) {
        let _ = self.entry.content.set(content);
    }

    /// Returns what it shows, if it is a directory that was walked.
    pub fn inside(&self) -> Option<&'a Arc<Scanned>> {
        let inside = self.directory.all_inside();
        let found = inside.binary_search_by_key(&self.place, |(place, _)| *place as usize);
        found.ok().map(|found| &inside[found].1)
    }

    /// Returns which file of its directory it is.
    pub fn place(&self) -> usize {
        self.place
    }
}

impl Scanned {
    /// Returns a directory in which nothing was seen yet. `names` are those of all that is in it;
    /// `count` of them are expected to be seen.
    pub(super) fn with_names(names: Vec<u8>, count: usize) -> Self {
        Scanned {
            names,
            entries: Vec::with_capacity(count),
            traits: SharedTraits::default(),
            rare: None,
        }
    }

    /// Returns what a directory shows that was listed by other means, of which no content is known.
    pub fn of(entries: &[Entry], xattrs: Vec<Xattr>) -> Self {
        let length = entries.iter().map(|entry| entry.name.len()).sum();
        let mut scanned = Scanned::with_names(Vec::with_capacity(length), entries.len());
        scanned.set_xattrs(xattrs);
        for entry in entries {
            let name = entry.name.as_bytes();
            let start = scanned.names.len() as u32;
            scanned.names.extend_from_slice(name);
            scanned.add(
                (start, name.len() as u16),
                &entry.metadata,
                Visibility::Shown,
            );
        }
        scanned
    }

    /// Adds what is seen under a name, which comes after those of all that was added.
    pub(super) fn add(
        &mut self,
        (name_start, name_length): (u32, u16),
        metadata: &Metadata,
        visibility: Visibility,
    ) {
        let hidden = match visibility {
            Visibility::Shown => 0,
            Visibility::ByContent => BY_CONTENT,
        };
        let entry = ScannedEntry {
            name_start,
            name_length,
            marks: marks(metadata) | hidden,
            ..ScannedEntry::of(metadata, self.traits_of(metadata))
        };
        self.entries.push(entry);
    }

    /// Replaces what was seen of the file at `place`.
    pub(super) fn replace(&mut self, place: usize, metadata: &Metadata) {
        let traits = self.traits_of(metadata);
        let is_same = self
            .get(place)
            .is_some_and(|file| file.stamp() == Stamp::of(metadata));
        let Some(entry) = self.entries.get_mut(place) else {
            return;
        };
        *entry = ScannedEntry {
            name_start: entry.name_start,
            name_length: entry.name_length,
            marks: marks(metadata) | (entry.marks & BY_CONTENT),
            content: match is_same {
                true => std::mem::take(&mut entry.content),
                false => OnceLock::new(),
            },
            ..ScannedEntry::of(metadata, traits)
        };
    }

    fn traits_of(&mut self, metadata: &Metadata) -> u32 {
        let traits = Traits {
            uid: metadata.uid,
            gid: metadata.gid,
            links: metadata.links,
            device: metadata.device,
            special_device: metadata.special_device,
        };
        let from = self.traits.len().saturating_sub(TRAITS_LOOKED_AT);
        let known = self.traits[from..]
            .iter()
            .rposition(|known| *known == traits);
        let place = known.map_or(self.traits.len(), |known| from + known);
        if place == self.traits.len() {
            Arc::make_mut(&mut self.traits).push(traits);
        }
        place as u32
    }

    /// Lets the files, of which none was added yet, share what those of another directory have.
    pub(super) fn share_traits(&mut self, of_another: &SharedTraits) {
        if of_another.len() <= MOST_SHARED_TRAITS {
            self.traits = of_another.clone();
        }
    }

    /// Returns what the files have, to be shared by those of another directory.
    pub(super) fn traits(&self) -> &SharedTraits {
        &self.traits
    }

    /// Takes note of what the directory at `place` shows. [`Scanned::settle`] must follow.
    pub(super) fn enter(&mut self, place: u32, inside: Arc<Scanned>) {
        self.rare
            .get_or_insert_default()
            .inside
            .push((place, inside));
    }

    fn all_inside(&self) -> &[(u32, Arc<Scanned>)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.inside)
    }

    /// Returns its extended attributes.
    pub fn xattrs(&self) -> &[Xattr] {
        self.rare.as_ref().map_or(&[], |rare| &rare.xattrs)
    }

    pub(super) fn set_xattrs(&mut self, xattrs: Vec<Xattr>) {
        if !xattrs.is_empty() {
            self.rare.get_or_insert_default().xattrs = xattrs;
        }
    }

    /// Ends the making: ignored directories in which nothing is to be seen are removed.
    pub(super) fn settle(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.inside.sort_unstable_by_key(|(place, _)| *place);
            rare.inside.shrink_to_fit();
        }
        let is_undecided = |entry: &ScannedEntry| entry.marks & BY_CONTENT != 0;
        if !self.entries.iter().any(is_undecided) {
            return;
        }
        let shown = self.filtered(|file| {
            let has_content = || file.inside().is_some_and(|inside| !inside.is_empty());
            Ok(!is_undecided(file.entry) || !file.is_directory() || has_content())
        });
        if let Ok(shown) = shown {
            *self = shown;
        }
    }

    /// Returns the same with only those entries that `shows` lets through.
    pub fn filtered(&self, mut shows: impl FnMut(ScannedFile<'_>) -> Result<bool>) -> Result<Self> {
        let (mut entries, mut inside) = (Vec::new(), Vec::new());
        for file in self.files() {
            if !shows(file)? {
                continue;
            }
            if let Some(found) = file.inside() {
                inside.push((entries.len() as u32, found.clone()));
            }
            entries.push(file.entry.clone());
        }
        let mut scanned = Scanned {
            names: self.names.clone(),
            entries,
            traits: self.traits.clone(),
            rare: None,
        };
        scanned.set_xattrs(self.xattrs().to_vec());
        for (place, inside) in inside {
            scanned.enter(place, inside);
        }
        Ok(scanned)
    }

    /// Whether nothing is seen in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many files are seen in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns all files, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = ScannedFile<'_>> {
        let files = self.entries.iter().enumerate();
        files.map(|(place, entry)| ScannedFile {
            directory: self,
            entry,
            place,
        })
    }

    /// Returns the file at `place`, which is less than [`Scanned::len`].
    pub fn file(&self, place: usize) -> ScannedFile<'_> {
        ScannedFile {
            directory: self,
            entry: &self.entries[place],
            place,
        }
    }

    /// Returns the file at `place`, if there are as many.
    pub fn get(&self, place: usize) -> Option<ScannedFile<'_>> {
        let entry = self.entries.get(place)?;
        Some(ScannedFile {
            directory: self,
            entry,
            place,
        })
    }

    /// Returns the file called `name`.
    pub fn find(&self, name: &[u8]) -> Option<ScannedFile<'_>> {
        let compare = |entry: &ScannedEntry| self.name_of(entry).cmp(name);
        let place = self.entries.binary_search_by(compare).ok()?;
        self.get(place)
    }

    /// Returns the walked directory at `path` from here on.
    pub(super) fn descend(self: &Arc<Self>, path: &Path) -> Option<Arc<Scanned>> {
        let mut at = self;
        for name in path.iter() {
            at = at.find(name.as_bytes())?.inside()?;
        }
        Some(at.clone())
    }

    fn name_of(&self, entry: &ScannedEntry) -> &[u8] {
        let start = entry.name_start as usize;
        &self.names[start..start + usize::from(entry.name_length)]
    }
}

fn marks(metadata: &Metadata) -> u16 {
    let kind = KINDS.iter().position(|kind| *kind == metadata.kind);
    (metadata.mode as u16 & MODE_BITS) | (kind.unwrap_or(0) as u16) << KIND_SHIFT
}

/// A tree may be deeper than the stack: what a directory shows is dropped here, not inside of it.
impl Drop for Scanned {
    fn drop(&mut self) {
        let take = |rare: &mut Option<Box<Rare>>| rare.take().map(|rare| rare.inside);
        let mut dropped = take(&mut self.rare).unwrap_or_default();
        while let Some((_, inside)) = dropped.pop() {
            if let Some(mut inside) = Arc::into_inner(inside) {
                dropped.extend(take(&mut inside.rare).into_iter().flatten());
            }
        }
    }
}

#[cfg(test)]
mod tests;
