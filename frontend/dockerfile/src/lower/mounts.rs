//! RUN --mount: options to mounts.

use super::arguments::{given, parse_flag};
use super::state::StageState;
use super::{Lowered, Lowering, code, path};
use crate::diagnostic::{Diagnostic, with_suggestion};
use crate::instruction::{self, MountKey, Statement};
use crate::syntax::{Span, Word};
use kiln_plan::{CacheSharing, FileOp, Mount, MountKind, Op, VertexId, VertexMetadata};

/// The types that a mount can have.
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// The options of one mount, values expanded.
struct Options {
    values: Vec<(MountKey, Option<String>, Span)>,
    from: Option<Word>,
    span: Span,
}

impl Options {
    fn text(&self, key: MountKey) -> Option<&str> {
        let found = self.values.iter().rfind(|(known, _, _)| *known == key);
        found.and_then(|(_, value, _)| value.as_deref())
    }

    fn has(&self, key: MountKey) -> bool {
        self.values.iter().any(|(known, _, _)| *known == key)
    }

    fn span_of(&self, key: MountKey) -> Span {
        let found = self.values.iter().rfind(|(known, _, _)| *known == key);
        found.map_or(self.span, |(_, _, span)| *span)
    }

    fn error(&self, key: MountKey, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code::INVALID_MOUNT, self.span_of(key), message)
    }

    /// Returns whether `key` is given and not `false`.
    fn flag(&self, key: MountKey) -> Lowered<Option<bool>> {
        if !self.has(key) {
            return Ok(None);
        }
        match self.text(key) {
            None => Ok(Some(true)),
            Some(text) => parse_flag(text)
                .map(Some)
                .ok_or_else(|| self.error(key, format!("`{text}` is neither true nor false"))),
        }
    }

    fn number(&self, key: MountKey, default: u32) -> Lowered<u32> {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|_| self.error(key, format!("`{text}` is no number of a user or group")))
    }

    fn mode(&self, default: u32) -> Lowered<u32> {
        let Some(text) = self.text(MountKey::Mode) else {
            return Ok(default);
        };
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| {
            let message = format!("`{text}` is no octal mode up to 7777");
            self.error(MountKey::Mode, message)
        })
    }

    /// Refuses options that have no meaning for the type `kind`.
    fn allow(&self, kind: &str, allowed: &[MountKey]) -> Lowered<()> {
        // Whether it may be written to is said, and true, of any mount.
        let common = [
            MountKey::Type,
            MountKey::Target,
            MountKey::ReadOnly,
            MountKey::ReadWrite,
        ];
        for (key, _, span) in &self.values {
            if !common.contains(key) && !allowed.contains(key) {
                let message = format!("a mount of type {kind} has no such option");
                return Err(Diagnostic::error(code::INVALID_MOUNT, *span, message));
            }
        }
        Ok(())
    }
}

impl Lowering<'_> {
    /// Lowers the mounts of a RUN, in order.
    pub(super) fn mounts(
        &mut self,
        state: &StageState,
        statement: &Statement,
        mounts: &[instruction::Mount],
    ) -> Lowered<Vec<Mount>> {
        let mut lowered: Vec<Mount> = Vec::new();
        for mount in mounts {
            let options = self.mount_options(state, mount)?;
            let agents = lowered
                .iter()
                .filter(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
            let agents = agents.count();
            lowered.push(self.mount(state, statement, &options, agents)?);
        }
        Ok(lowered)
    }

    fn mount_options(
        &mut self,
        state: &StageState,
        mount: &instruction::Mount,
    ) -> Lowered<Options> {
        let mut values = Vec::new();
        for option in &mount.options {
            // `from` names a stage: which ones are needed must be known without variables.
            let value = match &option.value {
                Some(word) if option.key == MountKey::From => {
                    self.refuse_variables(word)?;
                    Some(word.text.clone())
                }
                Some(word) => Some(self.expanded(state, word)?),
                None => None,
            };
            values.push((option.key, value, option.span));
        }
        Ok(Options {
            values,
            from: mount
                .value(MountKey::From)
                .filter(|from| !from.text.is_empty())
                .cloned(),
            span: mount.span,
        })
    }

    /// Refuses `$` in `word`, which names a stage or an image.
    pub(super) fn refuse_variables(&self, word: &Word) -> Lowered<()> {
        if !word.text.contains('$') {
            return Ok(());
        }
        let message = "variables are not expanded in the name of a stage or image here";
        let error = Diagnostic::error(code::UNKNOWN_STAGE, word.span, message);
        Err(error.with_help("start a stage with `FROM $NAME AS name` and use its name"))
    }

    fn mount(
        &mut self,
        state: &StageState,
        statement: &Statement,
        options: &Options,
        agents: usize,
    ) -> Lowered<Mount> {
        let kind = options.text(MountKey::Type).unwrap_or("bind");
        match kind.to_lowercase().as_str() {
            "bind" => self.bind(state, statement, options),
            "cache" => self.cache(state, statement, options),
            "tmpfs" => tmpfs(state, options),
            "secret" => secret(state, options),
            "ssh" => ssh(state, options, agents),
            kind => {
                let message = format!("unknown mount type `{kind}`");
                let error = options.error(MountKey::Type, message);
                let error = error.with_help("the types are bind, cache, tmpfs, secret and ssh");
                Err(with_suggestion(error, kind, "", &TYPES))
            }
        }
    }

    fn bind(
        &mut self,
        state: &StageState,
        statement: &Statement,
        options: &Options,
    ) -> Lowered<Mount> {
        use MountKey::{From, ReadOnly, ReadWrite, Source};
        options.allow("bind", &[From, Source])?;
        let from = match &options.from {
            Some(from) => self.mount_source(state, from, statement)?,
            None => self.context(),
        };
        let writable = options.flag(ReadWrite)?;
        let read_only = options.flag(ReadOnly)?;
        let kind = MountKind::Bind {
            from,
            source: path::clean_relative(options.text(Source).unwrap_or_default()),
            writable: writable.unwrap_or(false) || read_only == Some(false),
        };
        let target = target_or_here(state, options)?;
        Ok(Mount { target, kind })
    }

    fn cache(
        &mut self,
        state: &StageState,
        statement: &Statement,
        options: &Options,
    ) -> Lowered<Mount> {
        use MountKey::{From, Gid, Id, Mode, ReadOnly, ReadWrite, Sharing, Source, Uid};
        let allowed = [From, Gid, Id, Mode, Sharing, Source, Uid];
        options.allow("cache", &allowed)?;
        let target = target_or_here(state, options)?;
        let from = match &options.from {
            Some(from) => Some(self.mount_source(state, from, statement)?),
            None => None,
        };
        let id = options.text(Id).filter(|id| !id.is_empty());
        let id = id.map_or_else(|| default_cache_id(options), str::to_owned);
        let id = match given(self.request.options, "BUILDKIT_CACHE_MOUNT_NS") {
            Some(namespace) => format!("{namespace}/{id}"),
            None => id,
        };
        let sharing = options.text(Sharing).map(str::to_lowercase);
        let sharing = match sharing.as_deref() {
            None | Some("shared") => CacheSharing::Shared,
            Some("private") => CacheSharing::Private,
            Some("locked") => CacheSharing::Locked,
            Some(text) => {
                let message = format!("`{text}` is no way to share a cache");
                let error = options.error(Sharing, message);
                return Err(error.with_help("use shared, private or locked"));
            }
        };
        let kind = MountKind::Cache {
            id,
            sharing,
            from,
            source: path::clean_relative(options.text(Source).unwrap_or_default()),
            mode: options.mode(0o755)?,
            uid: options.number(Uid, 0)?,
            gid: options.number(Gid, 0)?,
            read_only: options.flag(ReadOnly)?.unwrap_or(false)
                || options.flag(ReadWrite)? == Some(false),
        };
        Ok(Mount { target, kind })
    }

    /// Returns the result that `from=` names, an empty one for a stage without files.
    fn mount_source(
        &mut self,
        state: &StageState,
        from: &Word,
        statement: &Statement,
    ) -> Lowered<VertexId> {
        if from.text == "scratch" {
            return Ok(self.nothing());
        }
        let source = self.named_source(state, from, statement)?;
        Ok(source.unwrap_or_else(|| self.nothing()))
    }

    /// Returns a result without files.
    pub(super) fn nothing(&mut self) -> VertexId {
        let file = FileOp {
            base: None,
            actions: Vec::new(),
        };
        let metadata = VertexMetadata {
            name: "[internal] empty root".to_owned(),
            ..VertexMetadata::default()
        };
        self.plan.add(Op::File(file), metadata)
    }
}

/// Returns the identity of a cache that has no name: its target as written, so that a relative
/// one is the same cache from any working directory.
fn default_cache_id(options: &Options) -> String {
    let target = options.text(MountKey::Target).unwrap_or_default();
    match target.starts_with('/') {
        true => path::clean_absolute(target),
        false => path::clean_relative(target),
    }
}

/// Returns where to mount: the working directory when no target is given.
fn target_or_here(state: &StageState, options: &Options) -> Lowered<String> {
    absolute_target(
        state,
        options,
        options.text(MountKey::Target).unwrap_or_default(),
    )
}

fn absolute_target(state: &StageState, options: &Options, target: &str) -> Lowered<String> {
    let target = path::join(state.working_directory(), target);
    if target == "/" {
        let message = "nothing can be mounted over the root";
        return Err(options.error(MountKey::Target, message));
    }
    Ok(target)
}

fn tmpfs(state: &StageState, options: &Options) -> Lowered<Mount> {
    options.allow("tmpfs", &[MountKey::Size])?;
    let size_bytes = match options.text(MountKey::Size) {
        None => None,
        Some(text) => Some(size(text).ok_or_else(|| {
            let message = format!("`{text}` is no size");
            let error = options.error(MountKey::Size, message);
            error.with_help("a size is a number with k, m or g behind it, or of bytes")
        })?),
    };
    let target = target_or_here(state, options)?;
    let kind = MountKind::Tmpfs { size_bytes };
    Ok(Mount { target, kind })
}

fn secret(state: &StageState, options: &Options) -> Lowered<Mount> {
    use MountKey::{Env, Gid, Id, Mode, Required, Source, Target, Uid};
    options.allow("secret", &[Env, Gid, Id, Mode, Required, Source, Uid])?;
    let target = options.text(Target).filter(|target| !target.is_empty());
    if options.has(Id) && options.has(Source) {
        let message = "`source` is another name of `id`: a secret has one of them";
        return Err(options.error(Source, message));
    }
    let id = options.text(Id).or_else(|| options.text(Source));
    let id = id.or_else(|| target.map(path::base_name));
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        let message = "the secret needs an id or a target";
        return Err(options.error(Id, message));
    };
    let environment = options.has(Env).then(|| {
        let name = options.text(Env).filter(|name| !name.is_empty());
        name.unwrap_or(id).to_owned()
    });
    let target = match (target, &environment) {
        (Some(target), _) => absolute_target(state, options, target)?,
        (None, Some(_)) => String::new(),
        (None, None) => path::clean_absolute(&format!("/run/secrets/{}", path::base_name(id))),
    };
    let kind = MountKind::Secret {
        id: id.to_owned(),
        required: options.flag(Required)?.unwrap_or(false),
        mode: options.mode(0o400)?,
        uid: options.number(Uid, 0)?,
        gid: options.number(Gid, 0)?,
        environment,
    };
    Ok(Mount { target, kind })
}

fn ssh(state: &StageState, options: &Options, agents: usize) -> Lowered<Mount> {
    use MountKey::{Gid, Id, Mode, Required, Target, Uid};
    options.allow("ssh", &[Gid, Id, Mode, Required, Uid])?;
    let target = match options.text(Target).filter(|target| !target.is_empty()) {
        Some(target) => absolute_target(state, options, target)?,
        None => format!("/run/buildkit/ssh_agent.{agents}"),
    };
    let id = options.text(Id).filter(|id| !id.is_empty());
    let kind = MountKind::Ssh {
        id: id.unwrap_or("default").to_owned(),
        required: options.flag(Required)?.unwrap_or(false),
        mode: options.mode(0o600)?,
        uid: options.number(Uid, 0)?,
        gid: options.number(Gid, 0)?,
    };
    Ok(Mount { target, kind })
}

/// Returns the bytes that `text` says: `64m`, `1.5g`, `4096`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (number, unit) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 1u64 << 10),
        (at, 'm') => (&text[..at], 1 << 20),
        (at, 'g') => (&text[..at], 1 << 30),
        (at, 't') => (&text[..at], 1 << 40),
        _ => (text, 1),
    };
    let number = number.trim();
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(unit);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * unit as f64;
    (bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_with_binary_units() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("64m", Some(64 << 20)),
            ("1.5G", Some(3 << 29)),
            ("2kb", Some(2048)),
            ("1MiB", Some(1 << 20)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999g", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }
}
