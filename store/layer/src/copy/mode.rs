//! Permission changes as chmod(1) understands them.

use std::str::FromStr;

/// New permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// Exactly these bits, at most `0o7777`.
    Octal(u32),
    /// Changes to the bits a file has: `u=rwX,go=rX`, applied with umask 0.
    Symbolic(Vec<Clause>),
}

/// One operation of a symbolic change: `go-w`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Bits that may change: those of the classes named, all when none is.
    classes: Classes,
    operator: Operator,
    permissions: Vec<Permission>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Classes {
    user: bool,
    group: bool,
    other: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permission {
    Read,
    Write,
    Execute,
    /// `X`: execute for directories, and for files that someone may execute already.
    Search,
    SetId,
    Sticky,
    /// The bits of a class: `g=u`.
    Copied(Class),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    User,
    Group,
    Other,
}

/// A mode that is neither octal (at most `7777`) nor symbolic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid mode `{0}`: expected octal digits up to 7777, or changes such as `u=rwX,go=rX`")]
pub struct InvalidMode(pub String);

impl FromStr for ModeChange {
    type Err = InvalidMode;

    fn from_str(written: &str) -> Result<Self, InvalidMode> {
        let invalid = || InvalidMode(written.to_owned());
        if written.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u32::from_str_radix(written, 8).map_err(|_| invalid())?;
            return if bits <= 0o7777 {
                Ok(Self::Octal(bits))
            } else {
                Err(invalid())
            };
        }
        let mut clauses = Vec::new();
        for part in written.split(',') {
            parse_clauses(part, &mut clauses).ok_or_else(invalid)?;
        }
        Ok(Self::Symbolic(clauses))
    }
}

fn parse_clauses(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let mut classes = Classes::default();
    let mut characters = part.chars().peekable();
    while let Some(class) = characters.next_if(|character| "ugoa".contains(*character)) {
        classes.user |= matches!(class, 'u' | 'a');
        classes.group |= matches!(class, 'g' | 'a');
        classes.other |= matches!(class, 'o' | 'a');
    }
    if classes == Classes::default() {
        classes = Classes {
            user: true,
            group: true,
            other: true,
        };
    }
    characters.peek()?;
    while let Some(operator) = characters.next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let mut permissions = Vec::new();
        while let Some(permission) = characters.next_if(|character| !"+-=".contains(*character)) {
            permissions.push(parse_permission(permission)?);
        }
        clauses.push(Clause {
            classes,
            operator,
            permissions,
        });
    }
    Some(())
}

fn parse_permission(character: char) -> Option<Permission> {
    Some(match character {
        'r' => Permission::Read,
        'w' => Permission::Write,
        'x' => Permission::Execute,
        'X' => Permission::Search,
        's' => Permission::SetId,
        't' => Permission::Sticky,
        'u' => Permission::Copied(Class::User),
        'g' => Permission::Copied(Class::Group),
        'o' => Permission::Copied(Class::Other),
        _ => return None,
    })
}

impl ModeChange {
    /// Returns the permission bits of a file that has `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode, |mode, clause| clause.apply(mode, is_directory)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bit = |permission: &Permission| self.bits(*permission, mode, is_directory);
        let bits = self
            .permissions
            .iter()
            .map(bit)
            .fold(0, |all, bits| all | bits);
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !self.settable(is_directory)) | bits,
        }
    }

    /// Bits of the classes of this clause among `all`, given for user, group and other.
    fn select(&self, user: u32, group: u32, other: u32) -> u32 {
        let chosen = |chosen, bits| if chosen { bits } else { 0 };
        chosen(self.classes.user, user)
            | chosen(self.classes.group, group)
            | chosen(self.classes.other, other)
    }

    /// What `=` clears. A directory keeps its set-ID bits, as with chmod(1).
    fn settable(&self, is_directory: bool) -> u32 {
        let special = if is_directory { 0 } else { 0o7000 };
        self.select(
            0o0700 | (special & 0o4000),
            0o0070 | (special & 0o2000),
            0o0007,
        ) | (special & 0o1000 & self.select(0, 0, 0o1000))
    }

    fn bits(&self, permission: Permission, mode: u32, is_directory: bool) -> u32 {
        match permission {
            Permission::Read => self.select(0o400, 0o040, 0o004),
            Permission::Write => self.select(0o200, 0o020, 0o002),
            Permission::Execute => self.select(0o100, 0o010, 0o001),
            Permission::Search if is_directory || mode & 0o111 != 0 => {
                self.select(0o100, 0o010, 0o001)
            }
            Permission::Search => 0,
            Permission::SetId => self.select(0o4000, 0o2000, 0),
            Permission::Sticky => self.select(0, 0, 0o1000),
            Permission::Copied(class) => {
                let bits = match class {
                    Class::User => mode >> 6,
                    Class::Group => mode >> 3,
                    Class::Other => mode,
                } & 0o7;
                self.select(bits << 6, bits << 3, bits)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_with_chmod() {
        let cases = [
            ("755", 0o644, false, 0o755),
            ("0644", 0o755, true, 0o644),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("u+s", 0o755, false, 0o4755),
            ("g+s,o+t", 0o755, true, 0o3755),
            ("=", 0o777, false, 0),
            ("g=u", 0o640, false, 0o660),
            ("u=r+w-r", 0o777, false, 0o277),
            ("a=rx", 0o4755, false, 0o555),
        ];
        for (written, mode, is_directory, expected) in cases {
            let change: ModeChange = written.parse().unwrap();
            let changed = change.apply(mode, is_directory);
            assert_eq!(changed, expected, "{written} on {mode:o}: {changed:o}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for written in [
            "", "888", "17777", "u", "u=q", "rwx", "u=r,", "-1x", "0x1ff",
        ] {
            assert_eq!(
                written.parse::<ModeChange>(),
                Err(InvalidMode(written.to_owned()))
            );
        }
    }
}
