//! Two file trees, side by side.

use std::cmp::Ordering;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_disk::{At, LayerOrigin, Store};
use kiln_layer::tree::{Entry, FileKind, Follow, Metadata, Tree, Xattr};

use super::{AspectDifference, FileChange, FileDifference, StackLayer};
use crate::error::Result;
use crate::layers;

const BUFFER_BYTES: usize = 256 << 10;

/// Returns the files in which the stacks differ, in the order of their paths.
pub(super) fn compare(
    (first_store, first): (&Store, &[StackLayer]),
    (second_store, second): (&Store, &[StackLayer]),
) -> Result<Vec<FileDifference>> {
    let mut comparison = Comparison {
        first: Side::open(first_store, first)?,
        second: Side::open(second_store, second)?,
        found: Vec::new(),
    };
    comparison.root()?;
    Ok(comparison.found)
}

/// One of the trees.
struct Side {
    tree: Tree,
    /// The layers whose archives have no later times than that, top first: directory and time.
    clamped: Vec<(PathBuf, Option<i64>)>,
}

impl Side {
    fn open(store: &Store, stack: &[StackLayer]) -> Result<Self> {
        let mut paths = Vec::with_capacity(stack.len());
        let mut clamped = Vec::with_capacity(stack.len());
        for one in stack {
            let facts = layers::facts_of(store, &one.layer, &one.diff_id)?;
            let clamp = facts.and_then(|facts| match facts.origin {
                LayerOrigin::Captured {
                    clamp_mtime_seconds,
                } => clamp_mtime_seconds,
                LayerOrigin::Unpacked { .. } => None,
            });
            for path in store.layers().directories(&one.layer) {
                clamped.push((path.clone(), clamp));
                paths.push(path);
            }
        }
        clamped.reverse();
        Ok(Side {
            tree: Tree::open(&paths, store.whiteout_format())?,
            clamped,
        })
    }

    /// Returns the time that the layer's archive has for the file.
    fn modified(&self, path: &Path, metadata: &Metadata) -> i64 {
        let seconds = metadata.modified.seconds;
        if self.clamped.iter().all(|(_, clamp)| clamp.is_none()) {
            return seconds;
        }
        // The file is that of the uppermost layer that has this very inode.
        let is_here = |(layer, _): &&(PathBuf, Option<i64>)| {
            let found = std::fs::symlink_metadata(layer.join(path));
            found.is_ok_and(|found| (found.ino(), found.dev()) == (metadata.inode, metadata.device))
        };
        let layer = self.clamped.iter().find(is_here);
        let clamp = layer.and_then(|(_, clamp)| *clamp);
        clamp.map_or(seconds, |clamp| clamp.min(seconds))
    }
}

/// A comparison on its way.
struct Comparison {
    first: Side,
    second: Side,
    found: Vec<FileDifference>,
}

impl Comparison {
    fn root(&mut self) -> Result<()> {
        let [first, second] =
            [&self.first, &self.second].map(|side| side.tree.lookup("", Follow::ParentsOnly));
        if let (Some(first), Some(second)) = (first?, second?) {
            self.pair(Path::new(""), &first.metadata, &second.metadata)?;
        }
        Ok(())
    }

    /// Compares what lies in a directory of both.
    fn directory(&mut self, path: &Path) -> Result<()> {
        let mut first = entries(&self.first.tree, path)?.into_iter().peekable();
        let mut second = entries(&self.second.tree, path)?.into_iter().peekable();
        loop {
            let order = match (first.peek(), second.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.name.as_bytes().cmp(other.name.as_bytes()),
            };
            let one = first.next_if(|_| order != Ordering::Greater);
            let other = second.next_if(|_| order != Ordering::Less);
            match (one, other) {
                (Some(one), Some(other)) => {
                    self.pair(&path.join(&one.name), &one.metadata, &other.metadata)?;
                }
                (Some(one), None) => self.alone(Which::First, &path.join(&one.name), &one)?,
                (None, Some(other)) => {
                    self.alone(Which::Second, &path.join(&other.name), &other)?
                }
                (None, None) => return Ok(()),
            }
        }
    }

    /// Tells of a file that only one of them has, and of all below.
    fn alone(&mut self, which: Which, path: &Path, entry: &Entry) -> Result<()> {
        let (kind, size) = (entry.metadata.kind.noun(), size(&entry.metadata));
        let change = match which {
            Which::First => FileChange::Removed { kind, size },
            Which::Second => FileChange::Added { kind, size },
        };
        self.found.push(FileDifference {
            path: path.to_owned(),
            change,
        });
        if !entry.metadata.is_directory() {
            return Ok(());
        }
        let tree = match which {
            Which::First => &self.first.tree,
            Which::Second => &self.second.tree,
        };
        for below in entries(tree, path)? {
            self.alone(which, &path.join(&below.name), &below)?;
        }
        Ok(())
    }

    /// Compares a file that both have, and all below.
    fn pair(&mut self, path: &Path, first: &Metadata, second: &Metadata) -> Result<()> {
        let aspects = match is_same_inode(first, second) {
            true => self
                .aspect_of_time(path, first, second)
                .into_iter()
                .collect(),
            false => self.aspects(path, first, second)?,
        };
        if !aspects.is_empty() {
            self.found.push(FileDifference {
                path: path.to_owned(),
                change: FileChange::Changed { aspects },
            });
        }
        match (first.is_directory(), second.is_directory()) {
            (true, true) => self.directory(path),
            (true, false) => self.all_below(Which::First, path),
            (false, true) => self.all_below(Which::Second, path),
            (false, false) => Ok(()),
        }
    }

    fn all_below(&mut self, which: Which, path: &Path) -> Result<()> {
        let tree = match which {
            Which::First => &self.first.tree,
            Which::Second => &self.second.tree,
        };
        for below in entries(tree, path)? {
            self.alone(which, &path.join(&below.name), &below)?;
        }
        Ok(())
    }

    fn aspects(
        &self,
        path: &Path,
        first: &Metadata,
        second: &Metadata,
    ) -> Result<Vec<AspectDifference>> {
        if first.kind != second.kind {
            let aspect = difference("type", first.kind.noun(), second.kind.noun());
            return Ok(aspect.into_iter().collect());
        }
        let mode = |metadata: &Metadata| format!("{:04o}", metadata.mode);
        let owner = |metadata: &Metadata| format!("{}:{}", metadata.uid, metadata.gid);
        let mut aspects = Vec::new();
        if first.kind != FileKind::Symlink {
            aspects.extend(difference("mode", &mode(first), &mode(second)));
        }
        aspects.extend(difference("owner", &owner(first), &owner(second)));
        aspects.extend(self.aspect_of_kind(path, first, second)?);
        aspects.extend(self.aspect_of_time(path, first, second));
        let [one, other] = [&self.first, &self.second].map(|side| side.tree.xattrs(path));
        aspects.extend(xattrs(&one?, &other?));
        Ok(aspects)
    }

    /// Returns what differs of a kind's own: content, target, numbers of a device.
    fn aspect_of_kind(
        &self,
        path: &Path,
        first: &Metadata,
        second: &Metadata,
    ) -> Result<Option<AspectDifference>> {
        Ok(match first.kind {
            FileKind::Regular if first.size != second.size => {
                let [one, other] = [first, second].map(|metadata| metadata.size.to_string());
                difference("size", &one, &other)
            }
            FileKind::Regular => {
                let at = self.first_difference(path)?;
                let place = at.map(|at| format!("from byte {at}"));
                place.and_then(|place| difference("content", "", &place))
            }
            FileKind::Symlink => {
                let [one, other] =
                    [&self.first, &self.second].map(|side| side.tree.read_link(path));
                let [one, other] = [one?, other?].map(|target| target.display().to_string());
                difference("target", &one, &other)
            }
            FileKind::CharacterDevice | FileKind::BlockDevice => {
                let [one, other] = [first, second].map(|metadata| {
                    let (major, minor) = metadata.special_device;
                    format!("{major}:{minor}")
                });
                difference("device", &one, &other)
            }
            FileKind::Directory | FileKind::Fifo | FileKind::Socket => None,
        })
    }

    fn aspect_of_time(
        &self,
        path: &Path,
        first: &Metadata,
        second: &Metadata,
    ) -> Option<AspectDifference> {
        if path.as_os_str().is_empty() {
            // Archives say nothing of the root's time: unpacking sets it.
            return None;
        }
        let one = self.first.modified(path, first);
        let other = self.second.modified(path, second);
        difference("modified", &time(one), &time(other))
    }

    /// Returns where the content of two files of one size differs first.
    fn first_difference(&self, path: &Path) -> Result<Option<u64>> {
        let [one, other] = [&self.first, &self.second].map(|side| side.tree.open_exactly(path));
        Ok(first_difference(one?.0, other?.0).at("read", path)?)
    }
}

#[derive(Clone, Copy)]
enum Which {
    First,
    Second,
}

/// Sockets are in no archive.
fn entries(tree: &Tree, path: &Path) -> Result<Vec<Entry>> {
    let mut entries = tree.read_dir(path)?;
    entries.retain(|entry| entry.metadata.kind != FileKind::Socket);
    Ok(entries)
}

fn is_same_inode(first: &Metadata, second: &Metadata) -> bool {
    (first.device, first.inode) == (second.device, second.inode)
}

fn size(metadata: &Metadata) -> u64 {
    match metadata.kind {
        FileKind::Regular => metadata.size,
        _ => 0,
    }
}

fn time(seconds: i64) -> String {
    kiln_oci::timestamp(seconds).unwrap_or_else(|| seconds.to_string())
}

fn difference(aspect: &str, first: &str, second: &str) -> Option<AspectDifference> {
    (first != second).then(|| AspectDifference {
        aspect: aspect.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
    })
}

fn xattrs(first: &[Xattr], second: &[Xattr]) -> Vec<AspectDifference> {
    let value = |all: &[Xattr], name: &std::ffi::OsStr| {
        let found = all.iter().find(|xattr| xattr.name == name);
        found.map_or(String::new(), |xattr| hexadecimal(&xattr.value))
    };
    let added = second
        .iter()
        .filter(|one| first.iter().all(|other| other.name != one.name));
    let names = first.iter().chain(added).map(|xattr| &xattr.name);
    let aspects = names.filter_map(|name| {
        let aspect = format!("xattr {}", name.to_string_lossy());
        difference(&aspect, &value(first, name), &value(second, name))
    });
    aspects.collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("0x{}", digits.collect::<String>())
}

fn first_difference(one: impl Read, other: impl Read) -> io::Result<Option<u64>> {
    use std::io::BufRead;
    let mut one = BufReader::with_capacity(BUFFER_BYTES, one);
    let mut other = BufReader::with_capacity(BUFFER_BYTES, other);
    let mut position = 0u64;
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok((left.len() != right.len()).then_some(position));
        }
        if left[..length] != right[..length] {
            let same = left
                .iter()
                .zip(right)
                .take_while(|(one, other)| one == other);
            return Ok(Some(position + same.count() as u64));
        }
        position += length as u64;
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_differing_byte_is_found_across_buffers() {
        let same = vec![7u8; 3 * BUFFER_BYTES];
        let mut other = same.clone();
        assert_eq!(first_difference(&same[..], &other[..]).unwrap(), None);
        other[2 * BUFFER_BYTES + 5] = 8;
        let found = first_difference(&same[..], &other[..]).unwrap();
        assert_eq!(found, Some(2 * BUFFER_BYTES as u64 + 5));
        assert_eq!(first_difference(&same[..], &same[..9]).unwrap(), Some(9));
    }
}
