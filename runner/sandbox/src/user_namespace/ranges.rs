//! The ranges of ids that the administrator gave to a user.

use std::fs;

/// Ids that a user may map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// Ranges of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) users: Range,
    pub(super) groups: Range,
}

/// Returns the ranges of user `uid`, or why there are none that can be used.
pub(super) fn of(uid: u32) -> Result<Ranges, String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&passwd, uid);
    let find = |path: &str| {
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
        largest(&text, name.as_deref(), uid)
            .ok_or_else(|| format!("{path} has no range for user {uid}"))
    };
    let ranges = Ranges {
        users: find("/etc/subuid")?,
        groups: find("/etc/subgid")?,
    };
    for program in ["newuidmap", "newgidmap"] {
        if !is_in_path(program) {
            return Err(format!("{program} is not installed (package uidmap)"));
        }
    }
    Ok(ranges)
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let found = fields.get(2)?.parse() == Ok(uid);
        found.then(|| fields[0].to_owned())
    })
}

/// `NAME_OR_UID:START:COUNT` a line.
fn largest(text: &str, name: Option<&str>, uid: u32) -> Option<Range> {
    let ranges = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [owner, start, count] = fields[..] else {
            return None;
        };
        let is_ours = Some(owner) == name || owner.parse() == Ok(uid);
        let range = Range {
            start: start.parse().ok()?,
            count: count.parse().ok()?,
        };
        (is_ours && range.count > 0).then_some(range)
    });
    ranges.max_by_key(|range| range.count)
}

fn is_in_path(program: &str) -> bool {
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_range_of_the_user_is_taken() {
        let text = "other:1:99999999\nbob:100000:65536\n1000:300000:131072\nbob:5:bad\n";
        let range = largest(text, Some("bob"), 1000);
        assert_eq!(
            range,
            Some(Range {
                start: 300_000,
                count: 131_072
            })
        );
        assert_eq!(largest(text, None, 7), None);
    }

    #[test]
    fn name_is_found_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("bob"));
        assert_eq!(name_of(passwd, 1), None);
    }
}
