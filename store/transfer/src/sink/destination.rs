//! A file that appears whole or not at all, or a stream.
//!
//! Nobody waits until a file is on disk: as with other tools that write archives, the system
//! brings it there soon. The store is durable by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use kiln_disk::LayerId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::error::Result;
use kiln_disk::At;

/// Where an archive is written to.
pub enum Destination<'a> {
    /// A file. Its directory is there; what had the name is replaced.
    File(&'a Path),
    /// A stream, such as standard output.
    Stream(&'a mut (dyn Write + Send)),
}

const BUFFER_BYTES: usize = 256 << 10;

impl Destination<'_> {
    /// Writes what `produce` writes.
    pub(crate) fn write(self, produce: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<()> {
        match self {
            Destination::File(path) if is_special(path) => {
                let file = OpenOptions::new().write(true).open(path).at("open", path)?;
                Output::to_file(file).take(path, produce)
            }
            Destination::File(path) => write_file(path, produce),
            Destination::Stream(stream) => {
                let stream = BufWriter::with_capacity(BUFFER_BYTES, stream);
                Output::Stream(stream).take(Path::new("standard output"), produce)
            }
        }
    }
}

/// Takes what is written, in large pieces.
pub(crate) enum Output<'a> {
    /// To a file.
    File(BufWriter<File>),
    /// To a stream.
    Stream(BufWriter<&'a mut (dyn Write + Send)>),
}

impl Output<'_> {
    fn to_file(file: File) -> Self {
        Self::File(BufWriter::with_capacity(BUFFER_BYTES, file))
    }

    /// Writes what is left of `file`, within the kernel where it can do that; returns how much.
    pub(crate) fn copy(&mut self, file: &mut File) -> io::Result<u64> {
        match self {
            // The standard library lets the kernel copy from one file to another.
            Self::File(output) => {
                output.flush()?;
                io::copy(file, output.get_mut())
            }
            Self::Stream(output) => io::copy(file, output),
        }
    }

    fn take(
        &mut self,
        path: &Path,
        produce: impl FnOnce(&mut Output<'_>) -> Result<()>,
    ) -> Result<()> {
        produce(self)?;
        Ok(self.flush().at("write", path)?)
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(output) => output.write(bytes),
            Self::Stream(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(output) => output.flush(),
            Self::Stream(output) => output.flush(),
        }
    }
}

/// Whether `path` is a device or a pipe, which cannot be replaced: `/dev/stdout`.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn write_file(path: &Path, produce: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<()> {
    let unfinished = Unfinished::create(path)?;
    let file = unfinished.file.try_clone().at("write", path)?;
    Output::to_file(file).take(path, produce)?;
    unfinished.finish()
}

/// A file that has no name yet, or a temporary one that is removed if it is not finished.
struct Unfinished<'a> {
    file: File,
    target: &'a Path,
    temporary: PathBuf,
}

impl<'a> Unfinished<'a> {
    /// A file without a name vanishes with its writer, however that ends. File systems that
    /// have no such files get a temporary name.
    fn create(target: &'a Path) -> Result<Self> {
        let temporary = temporary_name(target);
        let directory = directory_of(target);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666)) {
            Ok(handle) => File::from(handle),
            Err(_) => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(true);
                options.open(&temporary).at("create", target)?
            }
        };
        Ok(Self {
            file,
            target,
            temporary,
        })
    }

    fn finish(self) -> Result<()> {
        if !self.temporary.exists() {
            let handle = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, handle, CWD, &self.temporary, AtFlags::SYMLINK_FOLLOW)
                .at("create", self.target)?;
        }
        Ok(std::fs::rename(&self.temporary, self.target).at("create", self.target)?)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_name(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let short: String = name.chars().take(60).collect();
    let unique = &LayerId::random().to_string()[..12];
    directory_of(target).join(format!(".{short}.{unique}.partial"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kiln-dest-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn file_is_replaced_when_whole_and_left_alone_on_failure() {
        let directory = directory("file");
        let path = directory.join("image.tar");
        std::fs::write(&path, "old").unwrap();
        let failed = Destination::File(&path).write(|output| {
            output
                .write_all(&[1; 1_000_000])
                .at("write", Path::new("x"))?;
            Err(Error::OneImageOnly {
                target: "test",
                count: 0,
            })
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");

        let write =
            |output: &mut Output<'_>| Ok(output.write_all(b"new").at("write", Path::new("x"))?);
        Destination::File(&path).write(write).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn missing_directory_is_named() {
        let path = Path::new("/nonexistent/image.tar");
        let error = Destination::File(path).write(|_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "cannot create /nonexistent/image.tar");
    }
}
