//! Contexts: where the files come from that a Dockerfile copies.
//!
//! The build context has no name; others are named by the user and take the place of what the
//! Dockerfile calls by that name: a stage, an image after FROM, or what `--from` asks for.

use kiln_oci::{Platform, Reference};
use kiln_plan::{
    Copy, FileAction, FileOp, GitSource, HttpSource, LocalSource, Op, PlanBuilder, Unpack,
    VertexId, VertexMetadata,
};

/// Names that stand for something else already.
const RESERVED_NAMES: [&str; 3] = ["context", "dockerfile", "scratch"];

/// The contexts of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildContexts {
    /// What COPY and ADD read unless told otherwise.
    pub main: Context,
    /// The others.
    pub named: Vec<NamedContext>,
}

/// Where the files of a context are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Where they come from.
    pub source: ContextSource,
    /// The time that stands for all of its times, in seconds since 1970, where it has one: that
    /// of a commit, of a download, of the newest file of an archive. `SOURCE_DATE_EPOCH=context`
    pub modified_seconds: Option<i64>,
}

/// A kind of context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of this machine, by the name that the executor knows it by.
    Local(String),
    /// A checkout.
    Git(GitSource),
    /// An archive fetched by HTTP: its content.
    Archive(HttpSource),
    /// A file fetched by HTTP that is no archive: the file alone.
    File(HttpSource),
    /// An image, with its configuration where a stage starts from it.
    Image(Reference),
    /// No files at all: `docker-image://scratch`.
    Nothing,
}

/// A context with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedContext {
    name: String,
    platform: Option<Platform>,
    /// What the user wrote for it: for messages.
    pub display: String,
    /// Its files.
    pub context: Context,
}

/// A name that no context can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextNameError {
    /// The name has a meaning of its own.
    #[error("the name `{0}` is reserved")]
    Reserved(String),
    /// It names neither a stage nor an image.
    #[error("`{0}` is not the name of a stage or of an image")]
    Invalid(String),
    /// What follows `::` is no platform.
    #[error("`{0}` is no platform")]
    Platform(String),
}

impl From<ContextSource> for Context {
    fn from(source: ContextSource) -> Self {
        Context {
            source,
            modified_seconds: None,
        }
    }
}

impl Default for BuildContexts {
    /// The executor's directory `context`, and no named contexts.
    fn default() -> Self {
        BuildContexts {
            main: ContextSource::Local("context".to_owned()).into(),
            named: Vec::new(),
        }
    }
}

impl ContextSource {
    /// Adds what makes the files of the context to `plan` and returns it; nothing for an image,
    /// which must be resolved first, and for a context without files.
    ///
    /// The same source in another plan is the same step.
    pub fn add_to(&self, plan: &mut PlanBuilder, metadata: &VertexMetadata) -> Option<VertexId> {
        let op = match self {
            ContextSource::Local(name) => Op::Local(LocalSource { name: name.clone() }),
            ContextSource::Git(git) => Op::Git(git.clone()),
            ContextSource::File(http) => Op::Http(http.clone()),
            ContextSource::Archive(http) => {
                let from = plan.add(Op::Http(http.clone()), metadata.clone());
                let metadata = VertexMetadata {
                    name: format!("{} (unpack)", metadata.name),
                    ..metadata.clone()
                };
                let unpacked = everything(from, &http.filename, Unpack::Detect);
                return Some(plan.add(unpacked, metadata));
            }
            ContextSource::Image(_) | ContextSource::Nothing => return None,
        };
        Some(plan.add(op, metadata.clone()))
    }
}

/// Returns the operation that copies the file or directory `source` of `from` to the root.
pub(crate) fn everything(from: VertexId, source: &str, unpack: Unpack) -> Op {
    let copy = Copy {
        from,
        sources: vec![source.to_owned()],
        destination: "/".to_owned(),
        owner: None,
        mode: None,
        exclude: Vec::new(),
        parents: false,
        unpack,
    };
    Op::File(FileOp {
        base: None,
        actions: vec![FileAction::Copy(copy)],
    })
}

impl NamedContext {
    /// Returns the context that `name` names: `name`, or `name::platform` where it is only for
    /// builds for that platform.
    ///
    /// `display` is what the user wrote for it.
    pub fn new(name: &str, display: &str, context: Context) -> Result<Self, ContextNameError> {
        let (name, platform) = match name.split_once("::") {
            Some((name, platform)) => (name, Some(parse_platform(platform)?)),
            None => (name, None),
        };
        if RESERVED_NAMES.contains(&name.to_lowercase().as_str()) {
            return Err(ContextNameError::Reserved(name.to_owned()));
        }
        let normal = normal_name(name);
        Ok(NamedContext {
            name: normal.ok_or_else(|| ContextNameError::Invalid(name.to_owned()))?,
            platform,
            display: display.to_owned(),
            context,
        })
    }

    /// Returns the name as images are named: without what goes without saying.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the platform that the context is for, when it is not for all.
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }
}

fn parse_platform(text: &str) -> Result<Platform, ContextNameError> {
    let platform: Result<Platform, _> = text.parse();
    platform
        .map(|platform| platform.normalized())
        .map_err(|_| ContextNameError::Platform(text.to_owned()))
}

/// Returns `name` as images are named in short; stages are named in lower case.
fn normal_name(name: &str) -> Option<String> {
    let reference: Result<Reference, _> = name.parse();
    let reference = reference.or_else(|_| name.to_lowercase().parse());
    reference
        .ok()
        .map(|reference: Reference| reference.familiar())
}

impl BuildContexts {
    /// Returns the number of the context called `name`: one for `platform` before one for all.
    pub(crate) fn find(&self, name: &str, platform: &Platform) -> Option<usize> {
        if self.named.is_empty() {
            return None;
        }
        let name = normal_name(name)?;
        let platform = platform.clone().normalized();
        let of = |wanted: Option<&Platform>| {
            let is_it =
                |named: &NamedContext| named.name == name && named.platform.as_ref() == wanted;
            // The last one given counts.
            self.named.iter().rposition(is_it)
        };
        of(Some(&platform)).or_else(|| of(None))
    }

    /// Returns whether some context, for whatever platform, has the normal form of `name`.
    pub(crate) fn all_named<'a>(&'a self, name: &str) -> impl Iterator<Item = usize> + use<'a> {
        let name = normal_name(name);
        let named = self.named.iter().enumerate();
        named
            .filter(move |(_, named)| Some(&named.name) == name.as_ref())
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> NamedContext {
        let context = ContextSource::Local(name.to_owned()).into();
        NamedContext::new(name, name, context).unwrap()
    }

    fn contexts(names: &[&str]) -> BuildContexts {
        BuildContexts {
            named: names.iter().map(|name| named(name)).collect(),
            ..BuildContexts::default()
        }
    }

    #[test]
    fn names_are_those_of_images_in_any_spelling() {
        let contexts = contexts(&["docker.io/library/alpine:latest", "app"]);
        let host = Platform::new("linux", "amd64", None);
        for (name, expected) in [
            ("alpine", Some(0)),
            ("library/alpine", Some(0)),
            ("alpine:latest", Some(0)),
            ("alpine:3", None),
            ("App", Some(1)),
            ("other", None),
            ("not a name", None),
        ] {
            assert_eq!(contexts.find(name, &host), expected, "{name}");
        }
    }

    #[test]
    fn context_for_the_platform_comes_before_one_for_all() {
        let contexts = contexts(&["base", "base::linux/arm64", "only::linux/arm64/v8"]);
        let amd64 = Platform::new("linux", "amd64", None);
        let arm64 = Platform::new("linux", "arm64", None);
        assert_eq!(contexts.find("base", &amd64), Some(0));
        assert_eq!(contexts.find("base", &arm64), Some(1));
        assert_eq!(contexts.find("only", &arm64), Some(2));
        assert_eq!(contexts.find("only", &amd64), None);
    }

    #[test]
    fn reserved_and_malformed_names_are_refused() {
        let context = || Context::from(ContextSource::Local(String::new()));
        for name in [
            "context",
            "Dockerfile",
            "scratch",
            "",
            "a b",
            "a::b/c/d/e/f",
        ] {
            assert!(NamedContext::new(name, "", context()).is_err(), "{name}");
        }
    }
}
