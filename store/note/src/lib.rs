//! What a process in a user namespace may not give to a file, noted beside it. Pure.
//!
//! There the kernel makes no devices, and no owners that the namespace does not map. In layers of
//! users a file says in an extended attribute whose it is, and a regular file that stands for a
//! device what it stands for. The store writes and reads these notes, and so does a sandbox with one
//! id, which tells its steps what is noted. This is the one place that knows their form:
//!
//! | file | attribute | value |
//! |---|---|---|
//! | regular file, directory | `user.kiln.file` | `1000:42`, and of a device `0:6 b 8:0` |
//! | link, pipe, socket | `security.capability` | capabilities of no meaning: the ids and a mark |
//!
//! The kernel lets only the first two carry attributes of users. What is never executed may have
//! capabilities, which mean nothing there, follow the file wherever it is moved, and are copied with
//! it by overlayfs.

/// A device that an empty file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Whether it is a block device; else it is a character device.
    pub is_block: bool,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// What is noted beside a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The user whose it is.
    pub uid: u32,
    /// The group whose it is.
    pub gid: u32,
    /// The device that a regular file stands for.
    pub device: Option<Device>,
}

/// How a file carries its note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A regular file or a directory.
    File,
    /// A symbolic link, a named pipe or a socket. Notes of devices lose the device.
    Other,
}

/// The name of the attribute of regular files and directories.
pub const FILE_ATTRIBUTE: &str = "user.kiln.file";

/// The name of the attribute of all others; on regular files it has its own meaning.
pub const OTHER_ATTRIBUTE: &str = "security.capability";

/// As many bytes as a note may have, and more.
pub const VALUE_BYTES_MAXIMUM: usize = 64;

/// `VFS_CAP_REVISION_2` and `_3`, as the kernel tells them. The latter adds whose namespace it is.
const REVISIONS: [(u32, usize); 2] = [(0x0200_0000, 20), (0x0300_0000, 24)];

/// Says that capabilities are a note. The kernel keeps bits that name no capability.
const MARK: [u8; 8] = *b"kilnnote";

impl Carrier {
    /// Returns the name of the attribute that holds the note.
    pub fn attribute(self) -> &'static str {
        match self {
            Carrier::File => FILE_ATTRIBUTE,
            Carrier::Other => OTHER_ATTRIBUTE,
        }
    }

    /// Returns the attribute's value for a note.
    pub fn value(self, note: Note) -> Vec<u8> {
        match self {
            Carrier::File => text(note).into_bytes(),
            Carrier::Other => {
                let words = [REVISIONS[0].0, note.uid, note.gid].map(u32::to_le_bytes);
                [words.as_flattened(), MARK.as_slice()].concat()
            }
        }
    }

    /// Returns what a value of the attribute notes; nothing if it is no note.
    pub fn note(self, value: &[u8]) -> Option<Note> {
        match self {
            Carrier::File => parse(std::str::from_utf8(value).ok()?),
            Carrier::Other => of_capabilities(value),
        }
    }
}

fn text(note: Note) -> String {
    let Note { uid, gid, device } = note;
    match device {
        None => format!("{uid}:{gid}"),
        Some(Device {
            is_block,
            major,
            minor,
        }) => {
            let letter = if is_block { 'b' } else { 'c' };
            format!("{uid}:{gid} {letter} {major}:{minor}")
        }
    }
}

fn parse(text: &str) -> Option<Note> {
    let pair = |text: &str| {
        let (first, second) = text.split_once(':')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    };
    let mut words = text.split(' ');
    let (uid, gid) = pair(words.next()?)?;
    let device = match (words.next(), words.next()) {
        (None, _) => None,
        (Some(letter @ ("b" | "c")), Some(numbers)) => {
            let (major, minor) = pair(numbers)?;
            Some(Device {
                is_block: letter == "b",
                major,
                minor,
            })
        }
        _ => return None,
    };
    Some(Note { uid, gid, device })
}

fn of_capabilities(value: &[u8]) -> Option<Note> {
    let (words, _) = value.as_chunks::<4>();
    let word = |number: usize| words.get(number).map(|word| u32::from_le_bytes(*word));
    let is_known = REVISIONS.contains(&(word(0)?, value.len()));
    let is_marked = value.get(12..20) == Some(&MARK);
    let (uid, gid) = (word(1)?, word(2)?);
    (is_known && is_marked).then_some(Note {
        uid,
        gid,
        device: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(device: Option<bool>) -> Note {
        let device = device.map(|is_block| Device {
            is_block,
            major: 8,
            minor: 17,
        });
        Note {
            uid: 1000,
            gid: 4_294_967_294,
            device,
        }
    }

    #[test]
    fn texts_are_read_as_they_were_written() {
        let table = [
            ("1000:4294967294", None),
            ("1000:4294967294 b 8:17", Some(true)),
            ("1000:4294967294 c 8:17", Some(false)),
        ];
        for (text, device) in table {
            let note = note(device);
            assert_eq!(Carrier::File.value(note), text.as_bytes());
            assert_eq!(Carrier::File.note(text.as_bytes()), Some(note), "{text}");
        }
        let others = ["", "1", "1:2 d 1:2", "1:2 b", "1:2 b 3", "a:b", "1:-2"];
        for text in others {
            assert_eq!(Carrier::File.note(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Carrier::File.note(b"\xff"), None);
    }

    #[test]
    fn capabilities_are_read_as_they_were_written_and_as_other_namespaces_see_them() {
        let value = Carrier::Other.value(note(None));
        assert_eq!(value, b"\0\0\0\x02\xe8\x03\0\0\xfe\xff\xff\xffkilnnote");
        assert_eq!(Carrier::Other.note(&value), Some(note(None)));
        let mut third = [value.as_slice(), &[0; 4]].concat();
        third[3] = 3;
        assert_eq!(Carrier::Other.note(&third), Some(note(None)));
    }

    #[test]
    fn capabilities_that_are_some_are_no_note() {
        let real = [2, 0x2000, 0, 0, 0].map(u32::to_le_bytes);
        let value = Carrier::Other.value(note(None));
        for other in [real.as_flattened(), &value[..19], &value[1..], b""] {
            assert_eq!(Carrier::Other.note(other), None, "{other:?}");
        }
    }
}
