//! Who `USER` and `--chown` mean: names and numbers against an image's account files.
//!
//! A number is never looked up as a name, whatever the files say: an entry named `4294967296`
//! or `0x0` must not turn one user into another.

use crate::tree::{Tree, TreeError};

/// More than any account file has that is not an attack.
const FILE_LIMIT_BYTES: u64 = 10 * 1024 * 1024;
/// The largest number that a process can run as with all tools: 2³¹ − 1.
const MAX_ID: u32 = i32::MAX as u32;
/// The largest number that a file can belong to: one more means "no change" to the kernel.
const MAX_OWNER: u32 = u32::MAX - 1;

/// Why a user or a group can't be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("user `{0}` is not in /etc/passwd of the image")]
    UnknownUser(String),
    /// There is no such group.
    #[error("group `{0}` is not in /etc/group of the image")]
    UnknownGroup(String),
    /// The number is too large.
    #[error("`{written}` is not a valid user or group number: the largest is {largest}")]
    OutOfRange {
        /// As written.
        written: String,
        /// What is allowed here.
        largest: u32,
    },
    /// The account files can't be read.
    #[error("cannot read the accounts of the image")]
    Read(#[from] TreeError),
}

/// The account files of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Content of `/etc/passwd`; empty when there is none.
    pub passwd: Vec<u8>,
    /// Content of `/etc/group`; empty when there is none.
    pub group: Vec<u8>,
}

/// A user as a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// Home directory; `/` for a user without an entry.
    pub home: String,
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

/// A user or group as written.
enum Written<'a> {
    Number(u32),
    Name(&'a str),
}

impl Accounts {
    /// Reads the account files of a root file system.
    pub fn read(root: &Tree) -> Result<Self, UserError> {
        let read = |path| root.read_small(path, FILE_LIMIT_BYTES);
        Ok(Self {
            passwd: read("/etc/passwd")?.unwrap_or_default(),
            group: read("/etc/group")?.unwrap_or_default(),
        })
    }

    /// Resolves what `USER` says: `user`, `user:group`, each a name or a number.
    ///
    /// Without a group: the user's primary group (0 for a number without an entry) and the
    /// groups that list the user. With one: that group alone. Nothing means user 0.
    pub fn resolve_user(&self, written: &str) -> Result<ResolvedUser, UserError> {
        let (user, group) = match written.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (written, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let (uid, entry) = self.user(user, MAX_ID)?;
        let home = entry.as_ref().map_or(&b"/"[..], |entry| entry.home);
        let home = String::from_utf8_lossy(home).into_owned();
        if let Some(group) = group.filter(|group| !group.is_empty()) {
            let gid = self.group(group, MAX_ID)?;
            return Ok(ResolvedUser {
                uid,
                gid,
                groups: vec![gid],
                home,
            });
        }
        let gid = entry.as_ref().map_or(0, |entry| entry.gid);
        let mut groups = vec![gid];
        if let Some(entry) = &entry {
            groups.extend(self.groups_of(entry.name));
        }
        let mut seen = std::collections::HashSet::new();
        groups.retain(|gid| seen.insert(*gid));
        Ok(ResolvedUser {
            uid,
            gid,
            groups,
            home,
        })
    }

    /// Resolves what `--chown` says to user and group.
    ///
    /// Without a group: the same number as a numeric user, the primary group of a named one.
    pub fn resolve_owner(&self, user: &str, group: Option<&str>) -> Result<(u32, u32), UserError> {
        let user = if user.is_empty() { "0" } else { user };
        let (uid, entry) = self.user(user, MAX_OWNER)?;
        let is_name = matches!(parse(user, MAX_OWNER)?, Written::Name(_));
        let gid = match (group.filter(|group| !group.is_empty()), entry) {
            (Some(group), _) => self.group(group, MAX_OWNER)?,
            (None, Some(entry)) if is_name => entry.gid,
            (None, _) => uid,
        };
        Ok((uid, gid))
    }

    fn user(
        &self,
        written: &str,
        largest: u32,
    ) -> Result<(u32, Option<PasswdEntry<'_>>), UserError> {
        match parse(written, largest)? {
            Written::Number(uid) => Ok((uid, self.users().find(|entry| entry.uid == uid))),
            Written::Name(name) => {
                let found = self.users().find(|entry| entry.name == name.as_bytes());
                let entry = found.ok_or_else(|| UserError::UnknownUser(name.to_owned()))?;
                Ok((entry.uid, Some(entry)))
            }
        }
    }

    fn group(&self, written: &str, largest: u32) -> Result<u32, UserError> {
        match parse(written, largest)? {
            Written::Number(gid) => Ok(gid),
            Written::Name(name) => {
                let found = self.groups().find(|entry| entry.name == name.as_bytes());
                let entry = found.ok_or_else(|| UserError::UnknownGroup(name.to_owned()))?;
                Ok(entry.gid)
            }
        }
    }

    fn groups_of<'a>(&'a self, user: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        let lists = move |entry: &GroupEntry<'_>| {
            entry
                .members
                .split(|byte| *byte == b',')
                .any(|member| member.trim_ascii() == user)
        };
        self.groups().filter(lists).map(|entry| entry.gid)
    }

    /// Entries of the form `name:password:uid:gid:comment:home:shell`; others are passed over.
    fn users(&self) -> impl Iterator<Item = PasswdEntry<'_>> {
        lines(&self.passwd).filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = number(fields.nth(1)?, MAX_ID)?;
            let gid = number(fields.next()?, MAX_ID)?;
            let home = fields
                .nth(1)
                .filter(|home| !home.is_empty())
                .unwrap_or(b"/");
            Some(PasswdEntry {
                name,
                uid,
                gid,
                home,
            })
        })
    }

    /// Entries of the form `name:password:gid:member,member`; others are passed over.
    fn groups(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        lines(&self.group).filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let gid = number(fields.nth(1)?, MAX_ID)?;
            let members = fields.next().unwrap_or_default();
            Some(GroupEntry { name, gid, members })
        })
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

fn number(field: &[u8], largest: u32) -> Option<u32> {
    let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(field).ok().filter(|_| digits)?;
    text.parse().ok().filter(|number| *number <= largest)
}

fn parse(written: &str, largest: u32) -> Result<Written<'_>, UserError> {
    if !written.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Written::Name(written));
    }
    number(written.as_bytes(), largest)
        .map(Written::Number)
        .ok_or_else(|| UserError::OutOfRange {
            written: written.to_owned(),
            largest,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\n# comment\n\nbroken:x\n\
                app:x:1000:1001:App,,,:/home/app:/bin/sh\nbare:x:7:8\n4294967296:x:0:0::/:\n"
                .to_vec(),
            group: b"root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nextra:x:20: app\n+\n".to_vec(),
        }
    }

    fn user(written: &str) -> (u32, u32, Vec<u32>, String) {
        let user = accounts().resolve_user(written).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        assert_eq!(user(""), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(
            user("app"),
            (1000, 1001, vec![1001, 10, 20], "/home/app".into())
        );
        assert_eq!(
            user("1000"),
            (1000, 1001, vec![1001, 10, 20], "/home/app".into())
        );
        assert_eq!(user("4321"), (4321, 0, vec![0], "/".into()));
        assert_eq!(user("bare"), (7, 8, vec![8], "/".into()));
    }

    #[test]
    fn a_given_group_replaces_all_others() {
        assert_eq!(user("app:wheel"), (1000, 10, vec![10], "/home/app".into()));
        assert_eq!(user("4321:77"), (4321, 77, vec![77], "/".into()));
        assert_eq!(user(":wheel"), (0, 10, vec![10], "/root".into()));
    }

    #[test]
    fn unknown_names_are_errors() {
        let unknown = |written| accounts().resolve_user(written).unwrap_err().to_string();
        assert_eq!(
            unknown("nobody"),
            "user `nobody` is not in /etc/passwd of the image"
        );
        assert_eq!(
            unknown("app:staff"),
            "group `staff` is not in /etc/group of the image"
        );
        assert_eq!(
            unknown("../x"),
            "user `../x` is not in /etc/passwd of the image"
        );
    }

    #[test]
    fn numbers_that_are_too_large_are_errors_and_never_names() {
        for written in [
            "4294967296",
            "2147483648",
            "99999999999999999999",
            "0:2147483648",
        ] {
            let error = accounts().resolve_user(written).unwrap_err();
            assert!(
                matches!(error, UserError::OutOfRange { .. }),
                "{written}: {error}"
            );
        }
        assert_eq!(user("2147483647").0, 2_147_483_647);
    }

    #[test]
    fn owner_without_group_is_the_same_number_or_the_primary_group() {
        let owner = |user, group| accounts().resolve_owner(user, group).unwrap();
        assert_eq!(owner("1000", None), (1000, 1000));
        assert_eq!(owner("app", None), (1000, 1001));
        assert_eq!(owner("app", Some("wheel")), (1000, 10));
        assert_eq!(owner("55", Some("66")), (55, 66));
        assert!(accounts().resolve_owner("missing", None).is_err());
    }

    #[test]
    fn files_can_belong_to_more_users_than_processes_run_as() {
        let owner = |user| accounts().resolve_owner(user, None);
        assert_eq!(owner("4294967294").unwrap().0, 4_294_967_294);
        let error = owner("4294967295").unwrap_err();
        assert!(matches!(error, UserError::OutOfRange { .. }), "{error}");
    }
}
