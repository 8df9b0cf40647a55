//! The least that a build must do to know that nothing has changed: a stat of every file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::thread;

/// Directories that wait to be read, and how many are being read.
#[derive(Default)]
struct Waiting {
    directories: Vec<PathBuf>,
    reading: usize,
}

/// Looks at all that is below `directory`, on as many threads as there are processors.
pub fn stat_walk(directory: &Path) {
    let waiting = Mutex::new(Waiting {
        directories: vec![directory.to_owned()],
        reading: 0,
    });
    let changed = Condvar::new();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| read_all(&waiting, &changed));
        }
    });
}

fn read_all(waiting: &Mutex<Waiting>, changed: &Condvar) {
    let mut state = waiting.lock().expect("nobody panics");
    loop {
        let Some(directory) = state.directories.pop() else {
            if state.reading == 0 {
                changed.notify_all();
                return;
            }
            state = changed.wait(state).expect("nobody panics");
            continue;
        };
        state.reading += 1;
        drop(state);
        let found = read(&directory);
        state = waiting.lock().expect("nobody panics");
        state.reading -= 1;
        state.directories.extend(found);
        changed.notify_all();
    }
}

/// Looks at what is in `directory`; returns the directories.
fn read(directory: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.metadata().expect("its status").is_dir() {
            directories.push(entry.path());
        }
    }
    directories
}

/// Returns the bytes of all files below `directory`.
pub fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
