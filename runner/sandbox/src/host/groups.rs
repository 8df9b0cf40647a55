//! Finds where this process may make control groups.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_runspec::ControlGroups;
use rustix::fs::Access;

const CONTROLLERS: [&str; 6] = ["memory", "cpu", "cpuset", "pids", "devices", "blkio"];

pub(super) fn probe() -> ControlGroups {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mounts = parse_mounts(&read("/proc/self/mountinfo"));
    let own = read("/proc/self/cgroup");
    choose(&mounts, &own, is_writable, |directory| {
        fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default()
    })
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    is_unified: bool,
    /// The group that the mount shows as its root.
    root: String,
    mount_point: PathBuf,
    /// Options of the file system, the controllers among them.
    options: Vec<String>,
}

fn parse_mounts(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo.lines().filter_map(parse_mount).collect()
}

/// `36 35 98:0 ROOT MOUNT_POINT OPTIONS [FIELDS] - TYPE SOURCE SUPER_OPTIONS`.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    let back: Vec<&str> = back.split(' ').collect();
    let is_unified = match *back.first()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    Some(Hierarchy {
        is_unified,
        root: (*front.get(3)?).to_owned(),
        mount_point: PathBuf::from(front.get(4)?),
        options: back.get(2)?.split(',').map(str::to_owned).collect(),
    })
}

fn choose(
    mounts: &[Hierarchy],
    own: &str,
    is_writable: impl Fn(&Path) -> bool,
    available: impl Fn(&Path) -> String,
) -> ControlGroups {
    let controllers = per_controller(mounts, own, &is_writable);
    if !controllers.is_empty() {
        return ControlGroups::PerController { controllers };
    }
    let Some(unified) = mounts.iter().find(|mount| mount.is_unified) else {
        return unavailable("none is mounted");
    };
    // A group that holds processes, as the own one does, hands no controllers down; the
    // one at the top may.
    let own = directory_of(unified, own_path(own, ""));
    let directory = match own {
        _ if is_writable(&unified.mount_point) => unified.mount_point.clone(),
        Some(directory) => directory,
        None => return unavailable("this process' group is not mounted"),
    };
    if !is_writable(&directory) {
        return unavailable(&format!("{} is not writable", directory.display()));
    }
    let controllers = available(&directory);
    ControlGroups::Unified {
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        directory,
    }
}

fn per_controller(
    mounts: &[Hierarchy],
    own: &str,
    is_writable: &impl Fn(&Path) -> bool,
) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for controller in CONTROLLERS {
        let has = |mount: &&Hierarchy| {
            !mount.is_unified && mount.options.iter().any(|option| option == controller)
        };
        let directory = mounts
            .iter()
            .find(has)
            .and_then(|mount| directory_of(mount, own_path(own, controller)));
        if let Some(directory) = directory.filter(|directory| is_writable(directory)) {
            found.push((controller.to_owned(), directory));
        }
    }
    found
}

/// `4:memory:/path`, or `0::/path` of the unified hierarchy.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        names
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })
}

fn directory_of(mount: &Hierarchy, own: Option<&str>) -> Option<PathBuf> {
    let below = own?.strip_prefix(mount.root.trim_end_matches('/'))?;
    Some(mount.mount_point.join(below.trim_start_matches('/')))
}

fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, Access::WRITE_OK).is_ok()
}

fn unavailable(reason: &str) -> ControlGroups {
    ControlGroups::Unavailable {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 24 0:27 /outer /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 24 0:29 / /tmp rw - tmpfs tmpfs rw
";
    const OWN: &str = "4:memory:/a/b\n1:cpu,cpuacct:/outer/inner\n0::/user\n";

    #[test]
    fn own_group_of_each_controller_is_found_under_its_mount() {
        let found = choose(&parse_mounts(HYBRID), OWN, |_| true, |_| String::new());
        let controllers = vec![
            (
                "memory".to_owned(),
                PathBuf::from("/sys/fs/cgroup/memory/a/b"),
            ),
            ("cpu".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu/inner")),
        ];
        assert_eq!(found, ControlGroups::PerController { controllers });
    }

    #[test]
    fn unified_hierarchy_is_taken_when_no_controller_stands_alone() {
        let mounts = "32 24 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let available = |_: &Path| "cpu memory\n".to_owned();
        let unified = |directory: &str| ControlGroups::Unified {
            directory: directory.into(),
            controllers: vec!["cpu".into(), "memory".into()],
        };
        let found = choose(&parse_mounts(mounts), OWN, |_| true, available);
        assert_eq!(found, unified("/sys/fs/cgroup"));
        let delegated = |directory: &Path| directory.ends_with("user");
        let found = choose(&parse_mounts(mounts), OWN, delegated, available);
        assert_eq!(found, unified("/sys/fs/cgroup/user"));
        let refused = choose(&parse_mounts(mounts), OWN, |_| false, available);
        assert_eq!(refused, unavailable("/sys/fs/cgroup/user is not writable"));
    }
}
