//! What the kernel tells of processes and all that they started.

use std::fs;
use std::time::Duration;

/// The kernel counts in hundredths of a second. Source: proc_pid_stat(5).
const TICK: Duration = Duration::from_millis(10);
const PAGE_BYTES: u64 = 4096;

/// Returns `roots` and everything below them that runs now.
pub fn tree(roots: &[u32]) -> Vec<u32> {
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        found.extend(children(process));
        next += 1;
    }
    found
}

/// Each thread has children of its own.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let numbers = list
                .split_whitespace()
                .filter_map(|number| number.parse().ok());
            numbers.collect::<Vec<u32>>()
        })
        .collect()
}

/// Returns the memory that `process` holds, in bytes; nothing of one that has ended.
pub fn resident_bytes(process: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{process}/statm")).ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
}

/// Returns the processor time of `roots`, of what runs below them and of all below them that
/// has ended.
pub fn processor_time(roots: &[u32]) -> Duration {
    let ticks = tree(roots).into_iter().filter_map(ticks);
    TICK * u32::try_from(ticks.sum::<u64>()).unwrap_or(u32::MAX)
}

/// Fields 14 to 17: own time in and out of the kernel, and that of children waited for.
fn ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields = fields.split(' ').skip(11).take(4);
    Some(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn children_and_memory_of_a_shell_are_found() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat; true"]).stdin(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        while tree(&[shell.id()]).len() < 2 {
            std::thread::yield_now();
        }
        assert!(resident_bytes(shell.id()) > 0);
        drop(shell.stdin.take());
        shell.wait().expect("its end");
        assert_eq!(tree(&[shell.id()]), [shell.id()]);
        assert_eq!(resident_bytes(shell.id()), 0);
    }
}
