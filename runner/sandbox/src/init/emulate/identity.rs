//! Who a process is, where the kernel lets it be nobody but root. Pure.
//!
//! The rules are the kernel's, for processes whose rights depend on their user alone.

use std::collections::HashMap;

/// An id in its four roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    /// For access to files.
    pub files: u32,
}

impl Ids {
    pub fn all(id: u32) -> Self {
        Ids {
            real: id,
            effective: id,
            saved: id,
            files: id,
        }
    }

    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// As `setuid` does it.
    fn set(self, id: u32, privileged: bool) -> Option<Self> {
        match privileged {
            true => Some(Ids::all(id)),
            false => [self.real, self.saved].contains(&id).then_some(Ids {
                effective: id,
                files: id,
                ..self
            }),
        }
    }

    /// As `setreuid` does it.
    fn set_two(self, real: u32, effective: u32, privileged: bool) -> Option<Self> {
        let real_allowed = is_kept(real) || [self.real, self.effective].contains(&real);
        let effective_allowed = is_kept(effective) || self.has(effective);
        if !(privileged || real_allowed && effective_allowed) {
            return None;
        }
        let new_real = or(real, self.real);
        let new_effective = or(effective, self.effective);
        let saves = !is_kept(real) || !is_kept(effective) && new_effective != self.real;
        Some(Ids {
            real: new_real,
            effective: new_effective,
            saved: if saves { new_effective } else { self.saved },
            files: new_effective,
        })
    }

    /// As `setresuid` does it.
    fn set_three(self, wanted: [u32; 3], privileged: bool) -> Option<Self> {
        let allowed = |id: &u32| privileged || is_kept(*id) || self.has(*id);
        let [real, effective, saved] = wanted;
        wanted.iter().all(allowed).then(|| {
            let effective = or(effective, self.effective);
            Ids {
                real: or(real, self.real),
                effective,
                saved: or(saved, self.saved),
                files: effective,
            }
        })
    }

    /// As `setfsuid` does it: what is refused changes nothing.
    fn set_files(self, id: u32, privileged: bool) -> Self {
        match privileged || self.has(id) || self.files == id {
            true if !is_kept(id) => Ids { files: id, ..self },
            _ => self,
        }
    }
}

/// The number that leaves an id as it is.
const KEEP: u32 = u32::MAX;

pub(super) fn is_kept(id: u32) -> bool {
    id == KEEP
}

fn or(id: u32, kept: u32) -> u32 {
    if is_kept(id) { kept } else { id }
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub user: Ids,
    pub group: Ids,
    pub groups: Vec<u32>,
    /// Whether the rights of root are kept by a user who was root, until a program is executed.
    pub keeps_rights: bool,
}

/// A change of who a process is. [`u32::MAX`] leaves an id as it is, where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    User(u32),
    Group(u32),
    Users([u32; 2]),
    Groups([u32; 2]),
    AllUsers([u32; 3]),
    AllGroups([u32; 3]),
    UserForFiles(u32),
    GroupForFiles(u32),
    Supplementary(Vec<u32>),
    KeepRights(bool),
    /// A program is executed: of this user, of this group, if its bits say so.
    Program(Option<u32>, Option<u32>),
}

impl Identity {
    /// Returns who a process becomes; nothing if it may not.
    pub fn changed(&self, change: Change) -> Option<Self> {
        let privileged = self.is_privileged();
        let users = |user| Identity {
            user,
            ..self.clone()
        };
        let groups = |group| Identity {
            group,
            ..self.clone()
        };
        match change {
            Change::User(id) => self.user.set(id, privileged).map(users),
            Change::Group(id) => self.group.set(id, privileged).map(groups),
            Change::Users([real, effective]) => {
                self.user.set_two(real, effective, privileged).map(users)
            }
            Change::Groups([real, effective]) => {
                self.group.set_two(real, effective, privileged).map(groups)
            }
            Change::AllUsers(wanted) => self.user.set_three(wanted, privileged).map(users),
            Change::AllGroups(wanted) => self.group.set_three(wanted, privileged).map(groups),
            Change::UserForFiles(id) => Some(users(self.user.set_files(id, privileged))),
            Change::GroupForFiles(id) => Some(groups(self.group.set_files(id, privileged))),
            Change::Supplementary(list) => privileged.then(|| Identity {
                groups: list,
                ..self.clone()
            }),
            Change::KeepRights(keeps_rights) => Some(Identity {
                keeps_rights: keeps_rights && privileged,
                ..self.clone()
            }),
            Change::Program(user, group) => Some(self.executing(user, group)),
        }
    }

    fn executing(&self, user: Option<u32>, group: Option<u32>) -> Self {
        let become_one = |ids: Ids, owner: Option<u32>| {
            let effective = owner.unwrap_or(ids.effective);
            Ids {
                effective,
                saved: effective,
                files: effective,
                ..ids
            }
        };
        Identity {
            user: become_one(self.user, user),
            group: become_one(self.group, group),
            groups: self.groups.clone(),
            keeps_rights: false,
        }
    }

    /// Returns whether the process has the rights of root.
    pub fn is_privileged(&self) -> bool {
        self.user.effective == 0 || self.keeps_rights
    }

    /// Returns whether the process is in a group, for access to files.
    pub fn is_in(&self, group: u32) -> bool {
        self.group.files == group || self.groups.contains(&group)
    }
}

/// All identities that were taken, by number.
#[derive(Debug)]
pub(super) struct Identities {
    by_number: Vec<Identity>,
    numbers: HashMap<Identity, usize>,
}

/// More than any build needs; a step that takes more is told that there are none left.
const MOST_IDENTITIES: usize = 4096;

impl Identities {
    /// Returns the identities of a run; `first` has number 0.
    pub fn new(first: Identity) -> Self {
        Identities {
            by_number: vec![first.clone()],
            numbers: HashMap::from([(first, 0)]),
        }
    }

    /// Returns an identity; the first one for a number that was never given.
    pub fn get(&self, number: usize) -> &Identity {
        self.by_number.get(number).unwrap_or(&self.by_number[0])
    }

    /// Returns the number of an identity; nothing when there are too many.
    pub fn number(&mut self, identity: Identity) -> Option<usize> {
        if let Some(number) = self.numbers.get(&identity) {
            return Some(*number);
        }
        let number = self.by_number.len();
        if number >= MOST_IDENTITIES {
            return None;
        }
        self.by_number.push(identity.clone());
        self.numbers.insert(identity, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u32 = KEEP;

    fn ids(real: u32, effective: u32, saved: u32) -> Ids {
        Ids {
            real,
            effective,
            saved,
            files: effective,
        }
    }

    fn of(user: Ids) -> Identity {
        Identity {
            user,
            ..Identity::default()
        }
    }

    #[test]
    fn users_change_as_the_kernel_changes_them() {
        let root = ids(0, 0, 0);
        let away = ids(0, 7, 0);
        let lost = ids(7, 7, 7);
        let table = [
            (root, Change::User(7), Some(lost)),
            (away, Change::User(0), Some(root)),
            (away, Change::User(8), None),
            (lost, Change::User(0), None),
            (root, Change::Users([K, 7]), Some(ids(0, 7, 7))),
            (root, Change::Users([7, K]), Some(ids(7, 0, 0))),
            (away, Change::Users([K, 0]), Some(ids(0, 0, 0))),
            (lost, Change::Users([0, K]), None),
            (root, Change::AllUsers([7, 7, 7]), Some(lost)),
            (root, Change::AllUsers([K, 7, K]), Some(away)),
            (away, Change::AllUsers([K, 0, K]), Some(root)),
            (lost, Change::AllUsers([K, 0, K]), None),
            (lost, Change::AllUsers([K, K, K]), Some(lost)),
            (lost, Change::Program(Some(0), None), Some(ids(7, 0, 0))),
            (away, Change::Program(None, None), Some(ids(0, 7, 7))),
        ];
        for (before, change, after) in table {
            let changed = of(before).changed(change.clone());
            assert_eq!(changed.map(|one| one.user), after, "{before:?} {change:?}");
        }
    }

    #[test]
    fn only_root_changes_groups() {
        let groups = Change::Supplementary(vec![5, 6]);
        let root = Identity::default().changed(groups.clone());
        assert_eq!(root.map(|one| one.groups), Some(vec![5, 6]));
        assert_eq!(of(ids(7, 7, 7)).changed(groups), None);
        let group = of(ids(7, 7, 7)).changed(Change::Group(8));
        assert_eq!(group, None);
    }

    #[test]
    fn rights_are_kept_until_a_program_is_executed() {
        let keeping = Identity::default().changed(Change::KeepRights(true));
        let keeping = keeping
            .and_then(|one| one.changed(Change::User(7)))
            .unwrap();
        assert!(keeping.changed(Change::Group(8)).is_some());
        let executing = keeping.changed(Change::Program(None, None)).unwrap();
        assert_eq!(executing.changed(Change::Group(8)), None);
        let lost = of(ids(7, 7, 7)).changed(Change::KeepRights(true));
        assert_eq!(lost, Some(of(ids(7, 7, 7))));
    }

    #[test]
    fn user_for_files_is_refused_without_an_error() {
        let lost = of(ids(7, 7, 7));
        assert_eq!(lost.changed(Change::UserForFiles(0)), Some(lost.clone()));
        let root = Identity::default().changed(Change::UserForFiles(7));
        assert_eq!(root.map(|one| one.user.files), Some(7));
    }

    #[test]
    fn identities_have_one_number_each_and_end_somewhere() {
        let mut all = Identities::new(Identity::default());
        assert_eq!(all.number(Identity::default()), Some(0));
        for id in 1..MOST_IDENTITIES as u32 {
            assert_eq!(all.number(of(Ids::all(id))), Some(id as usize));
        }
        assert_eq!(all.number(of(Ids::all(9))), Some(9));
        assert_eq!(all.number(of(Ids::all(K - 1))), None);
        assert_eq!(all.get(9).user.real, 9);
        assert_eq!(all.get(usize::MAX), &Identity::default());
    }
}
