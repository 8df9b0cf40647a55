//! The second half: what differs is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::comparer::Gone;
use crate::copy::comparison::Found;
use crate::copy::making::{Making, Task};
use crate::copy::output::{Drain, Output};
use crate::copy::walk::Listed;
use crate::copy::{CopyError, Result};
use crate::tree::{Attributes, FileKind, Metadata, Tree, Xattr};

/// What writes.
pub(super) struct Writer<'a> {
    pub target: &'a mut Tree,
    pub making: &'a Making<'a>,
    pub destination: &'a Path,
}

impl Writer<'_> {
    /// Makes what is `different`, in its order.
    pub fn write(&mut self, different: &[Found]) -> Result<()> {
        for (directory, place) in different {
            self.make_way(directory)?;
            let file = directory.file(*place);
            let (name, metadata) = (file.name(), file.metadata());
            let from = directory.path.join(name);
            let to = self.destination.join(&directory.below).join(name);
            match metadata.kind {
                FileKind::Directory => self.make_directory(directory, *place)?,
                FileKind::Symlink => self.make_link(&from, &metadata, &to)?,
                _ => self.copy_file(from, &metadata, &to)?,
            }
        }
        Ok(())
    }

    /// Hides what is `gone`.
    pub fn hide(&mut self, gone: &[Gone]) -> Result<()> {
        for (directory, name) in gone {
            self.make_way(directory)?;
            let path = self.destination.join(&directory.below).join(name);
            self.target.whiteout(path).map_err(CopyError::Target)?;
        }
        Ok(())
    }

    /// Makes the directory, and those above it up to the destination.
    fn make_way(&mut self, directory: &Arc<Listed>) -> Result<()> {
        let mut missing = Vec::new();
        let mut below = directory;
        while let Some((above, place)) = &below.above {
            if self
                .target
                .is_in_upper(&self.destination.join(&below.below))
            {
                break;
            }
            missing.push((above, *place));
            below = above;
        }
        let mut from_above = missing.into_iter().rev();
        from_above.try_for_each(|(above, place)| self.make_directory(above, place))
    }

    fn make_directory(&mut self, above: &Listed, place: usize) -> Result<()> {
        let file = above.file(place);
        let name = file.name();
        let to = self.destination.join(&above.below).join(name);
        if self.target.is_in_upper(&to) {
            return Ok(());
        }
        let xattrs = match file.inside() {
            Some(inside) => inside.xattrs().to_vec(),
            None => self.xattrs(&above.path.join(name))?,
        };
        let attributes = Attributes {
            xattrs,
            ..self.making.attributes(&file.metadata())
        };
        let made = self.target.make_directory(&to, &attributes);
        made.map_err(CopyError::Target)
    }

    fn make_link(&mut self, from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
        let says = self.making.source.tree().read_link(from);
        let attributes = Attributes {
            xattrs: self.xattrs(from)?,
            ..self.making.attributes(metadata)
        };
        let made = self
            .target
            .symlink(to, says.map_err(CopyError::Source)?, &attributes);
        made.map_err(CopyError::Target)?;
        self.making.source.check_unchanged(from, metadata)
    }

    fn copy_file(&mut self, from: PathBuf, metadata: &Metadata, to: &Path) -> Result<()> {
        let attributes = self.making.attributes(metadata);
        let copy = self.target.create_file(to, &attributes);
        let task = Task {
            from,
            seen: *metadata,
            copy: copy.map_err(CopyError::Target)?,
        };
        let mut output = Output {
            chunk: Vec::new(),
            drain: Drain::Nowhere,
        };
        self.making.fill(task, &mut output)
    }

    fn xattrs(&self, from: &Path) -> Result<Vec<Xattr>> {
        let xattrs = self.making.source.tree().xattrs(from);
        xattrs.map_err(CopyError::Source)
    }
}
