//! Paths inside a root: cleaned as text, never looked up.

/// Returns `path` without empty, `.` and `..` components, absolute; above the root is the root.
pub(super) fn clean_absolute(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            _ => components.push(component),
        }
    }
    format!("/{}", components.join("/"))
}

/// Returns `path` below a root: cleaned, without leading `/`, `.` for the root itself.
pub(super) fn clean_relative(path: &str) -> String {
    match clean_absolute(path).strip_prefix('/') {
        None | Some("") => ".".to_owned(),
        Some(path) => path.to_owned(),
    }
}

/// Returns [`clean_relative`] of both sides of the first `/./`, which stays.
pub(super) fn clean_with_pivot(path: &str) -> String {
    match path.split_once("/./") {
        Some((before, after)) => {
            format!("{}/./{}", clean_relative(before), clean_relative(after))
        }
        None => clean_relative(path),
    }
}

/// Returns `path` seen from `directory`, cleaned.
pub(super) fn join(directory: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => clean_absolute(path),
        false => clean_absolute(&format!("{directory}/{path}")),
    }
}

/// Returns [`join`] with a trailing `/` where `path` names a directory by its form.
pub(super) fn join_destination(directory: &str, path: &str) -> String {
    let joined = join(directory, path);
    let is_directory = path.is_empty() || path == "." || path.ends_with('/');
    match is_directory && joined != "/" {
        true => joined + "/",
        false => joined,
    }
}

/// Returns the last component of `path`; nothing for a root.
pub(super) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_stay_below_the_root() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("/", "."),
            ("../../a", "a"),
            ("/a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
        ] {
            assert_eq!(clean_relative(path), expected, "{path}");
        }
        assert_eq!(clean_with_pivot("/a/./b/c"), "a/./b/c");
    }

    #[test]
    fn destination_keeps_what_says_that_it_is_a_directory() {
        for (path, expected) in [
            (".", "/app/"),
            ("./", "/app/"),
            ("x", "/app/x"),
            ("x/", "/app/x/"),
            ("/", "/"),
            ("/x/../y/", "/y/"),
            ("..", "/"),
        ] {
            assert_eq!(join_destination("/app", path), expected, "{path}");
        }
    }
}
