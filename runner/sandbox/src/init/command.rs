//! The last step: finding the program and becoming it.

use std::ffi::CString;
use std::io;

use kiln_runspec::defaults;

use crate::protocol::Report;
use crate::syscall;

/// Executes the command; returns why that failed.
pub(super) fn execute(arguments: &[String], environment: &[String]) -> Report {
    let program = arguments.first().cloned().unwrap_or_default();
    let error = match try_execute(&program, arguments, environment) {
        Ok(error) | Err(error) => error,
    };
    Report::ExecFailed {
        program,
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
    }
}

fn try_execute(
    program: &str,
    arguments: &[String],
    environment: &[String],
) -> io::Result<io::Error> {
    syscall::close_descriptors_on_exec()?;
    let arguments = strings(arguments)?;
    let search = environment
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(defaults::PATH)
        .to_owned();
    let environment = strings(environment)?;
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in candidates(program, &search) {
        let error = syscall::execute(&CString::new(candidate)?, &arguments, &environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            // Another directory may hold one that can be executed.
            Some(libc::EACCES) => last = error,
            _ => return Ok(error),
        }
    }
    Ok(last)
}

/// Returns where `program` may lie, in order.
pub(super) fn candidates(program: &str, search: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    if program.is_empty() {
        return Vec::new();
    }
    search
        .split(':')
        .map(|directory| match directory {
            "" => format!("./{program}"),
            directory => format!("{directory}/{program}"),
        })
        .collect()
}

fn strings(texts: &[String]) -> io::Result<Vec<CString>> {
    let strings = texts.iter().map(|text| CString::new(text.as_str()));
    Ok(strings.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_without_slash_are_looked_for_in_order() {
        let table: [(&str, &[&str]); 4] = [
            ("sh", &["/a/sh", "./sh", "/b/sh"]),
            ("/bin/sh", &["/bin/sh"]),
            ("./sh", &["./sh"]),
            ("", &[]),
        ];
        for (program, expected) in table {
            assert_eq!(candidates(program, "/a::/b"), expected, "{program}");
        }
    }
}
