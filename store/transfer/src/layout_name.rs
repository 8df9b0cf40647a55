//! Images of an OCI layout by name, as people write them: `DIRECTORY[:NAME][@DIGEST]`.

use std::fmt;
use std::path::{Path, PathBuf};

use kiln_oci::{Digest, DigestError};

/// How an image of a layout is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayoutName {
    /// Its tag, or a whole image name.
    pub name: Option<String>,
    /// Its digest: that of a manifest or of an index.
    pub digest: Option<Digest>,
}

impl fmt::Display for LayoutName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.digest) {
            (_, Some(digest)) => write!(formatter, "{digest}"),
            (Some(name), None) => write!(formatter, "`{name}`"),
            (None, None) => formatter.write_str("that is the only one, or called `latest`"),
        }
    }
}

/// Returns the directory and the image that `text` means.
///
/// Directories and names may both hold colons. The longest directory that `is_there` says to
/// exist counts; else the name begins at the first colon, as with other tools. Errors: what
/// follows the `@` is no digest.
pub fn parse_layout_name(
    text: &str,
    is_there: impl Fn(&Path) -> bool,
) -> Result<(PathBuf, LayoutName), DigestError> {
    let (rest, digest) = match text.rsplit_once('@') {
        // An `@` in the path is one.
        Some((rest, digest)) if !digest.contains('/') && !is_there(Path::new(text)) => {
            (rest, Some(digest.parse()?))
        }
        _ => (text, None),
    };
    let (path, name) = split(rest, is_there);
    let name = name.map(str::to_owned);
    Ok((path.into(), LayoutName { name, digest }))
}

fn split(text: &str, is_there: impl Fn(&Path) -> bool) -> (&str, Option<&str>) {
    let parts = |at: usize| (&text[..at], Some(&text[at + 1..]));
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('/');
    let colons = text.match_indices(':').map(|(at, _)| at);
    let mut colons = colons.filter(|at| is_name(&text[at + 1..]));
    if is_there(Path::new(text)) {
        return (text, None);
    }
    let first = colons.clone().next();
    let existing = colons.rfind(|at| is_there(Path::new(&text[..*at])));
    existing.or(first).map_or((text, None), parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_named_by_path_name_and_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let there = ["/a:b/dir", "/a:b", "me@work"];
        let table = [
            ("dir".to_owned(), "dir", None, None),
            ("./dir:1".to_owned(), "./dir", Some("1"), None),
            ("/a:b/dir".to_owned(), "/a:b/dir", None, None),
            ("/a:b/dir:1".to_owned(), "/a:b/dir", Some("1"), None),
            ("/a:b:c/d".to_owned(), "/a:b", Some("c/d"), None),
            ("/x:y/dir".to_owned(), "/x", Some("y/dir"), None),
            ("/x:/dir".to_owned(), "/x:/dir", None, None),
            ("dir:".to_owned(), "dir:", None, None),
            (
                "/d:docker.io/library/x:1".to_owned(),
                "/d",
                Some("docker.io/library/x:1"),
                None,
            ),
            ("me@work".to_owned(), "me@work", None, None),
            ("/me@work/dir:1".to_owned(), "/me@work/dir", Some("1"), None),
            (format!("dir@{digest}"), "dir", None, Some(&digest)),
            (format!("dir:1@{digest}"), "dir", Some("1"), Some(&digest)),
            (format!("me@work@{digest}"), "me@work", None, Some(&digest)),
        ];
        for (text, path, name, digest) in table {
            let is_there = |path: &Path| there.iter().any(|there| path == Path::new(there));
            let (found, image) = parse_layout_name(&text, is_there).unwrap();
            assert_eq!(found, PathBuf::from(path), "{text}");
            assert_eq!(image.name.as_deref(), name, "{text}");
            let found = image.digest.map(|digest| digest.to_string());
            assert_eq!(found.as_ref(), digest, "{text}");
        }
        assert!(parse_layout_name("dir@sha256:short", |_| false).is_err());
    }
}
