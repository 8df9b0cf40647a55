//! COPY and ADD: files from the context, from other results, from elsewhere.

use super::config::owner;
use super::remote;
use super::state::StageState;
use super::{Lowered, Lowering, code, history, path, words};
use crate::diagnostic::Diagnostic;
use crate::instruction::{Add, Copy, CopySource, Statement};
use crate::lint;
use crate::syntax::{Heredoc, Span, Word};
use kiln_plan::remote::{Remote, redacted};
use kiln_plan::{self as plan, FileAction, FileOp, Merge, ModeChange, Op, Owner, Unpack, VertexId};

/// What COPY and ADD have in common, expanded.
struct Transfer<'a> {
    keyword: &'static str,
    owner: Option<Owner>,
    mode: Option<ModeChange>,
    is_link: bool,
    parents: bool,
    exclude: Vec<String>,
    unpack: Unpack,
    paths: Vec<(String, Span)>,
    heredocs: Vec<&'a Heredoc>,
    /// Absolute, with a trailing `/` where a directory is meant.
    destination: String,
    /// What the history says.
    created_by: String,
}

/// The words of a COPY or ADD.
struct Words<'a> {
    keyword: &'static str,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    parents: bool,
    excludes: &'a [Word],
    sources: &'a [CopySource],
    destination: &'a Word,
}

/// What is fetched how, for ADD.
pub(super) struct Fetching {
    pub checksum: Option<(String, Span)>,
    pub unpack: Option<bool>,
    pub keep_git_dir: Option<bool>,
}

impl Lowering<'_> {
    /// Lowers a COPY.
    pub(super) fn copy(
        &mut self,
        state: &mut StageState,
        statement: &Statement,
        copy: &Copy,
    ) -> Lowered<()> {
        let words = Words {
            keyword: "COPY",
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            parents: copy.parents,
            excludes: &copy.excludes,
            sources: &copy.sources,
            destination: &copy.destination,
        };
        let transfer = self.transfer(state, &words, copy.link, Unpack::Never)?;
        for (path, span) in &transfer.paths {
            if !matches!(remote::classify(path, *span), Ok(None)) {
                let message = format!("COPY cannot fetch `{}`", redacted(path));
                let error = Diagnostic::error(code::INVALID_COPY, *span, message);
                return Err(error.with_help("use ADD for what is not in the build context"));
            }
        }
        let mut actions = Vec::new();
        if !transfer.paths.is_empty() {
            let from = match &copy.from {
                Some(from) => self.copy_source(state, from, statement)?,
                None => {
                    self.check_ignored(state, words.keyword, &transfer.paths);
                    self.context()
                }
            };
            let paths = transfer.paths.iter().map(|(path, _)| path.as_str());
            actions.push(transfer.action(from, paths));
        }
        self.finish(state, statement, &transfer, actions)
    }

    /// Checks that `paths` of the build context are not kept out of it.
    fn check_ignored(
        &mut self,
        state: &StageState,
        keyword: &'static str,
        paths: &[(String, Span)],
    ) {
        let Some(ignored) = &self.request.options.ignored else {
            return;
        };
        let is_local = |path: &str, span| matches!(remote::classify(path, span), Ok(None));
        for (path, span) in paths {
            if !state.is_in_trigger && is_local(path, *span) {
                let ignored = ignored.as_ref();
                lint::copy_ignored_file::check(keyword, path, *span, ignored, self.lint);
            }
        }
    }

    /// Lowers an ADD.
    pub(super) fn add(
        &mut self,
        state: &mut StageState,
        statement: &Statement,
        add: &Add,
    ) -> Lowered<()> {
        let words = Words {
            keyword: "ADD",
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            parents: false,
            excludes: &add.excludes,
            sources: &add.sources,
            destination: &add.destination,
        };
        let unpack = match add.unpack {
            None | Some(true) => Unpack::Detect,
            Some(false) => Unpack::Never,
        };
        let transfer = self.transfer(state, &words, add.link, unpack)?;
        let checksum = match &add.checksum {
            Some(word) => Some((self.expanded(state, word)?, word.span)),
            None => None,
        };
        let fetching = Fetching {
            checksum,
            unpack: add.unpack,
            keep_git_dir: add.keep_git_dir,
        };
        self.check_ignored(state, words.keyword, &transfer.paths);
        let actions = self.add_actions(statement, &transfer, &fetching)?;
        self.finish(state, statement, &transfer, actions)
    }

    /// Expands what COPY and ADD have in common.
    fn transfer<'w>(
        &mut self,
        state: &StageState,
        words: &Words<'w>,
        is_link: bool,
        unpack: Unpack,
    ) -> Lowered<Transfer<'w>> {
        let mut created_by = words.keyword.to_owned();
        if words.parents {
            created_by.push_str(" --parents");
        }
        let owner = match words.chown {
            Some(word) => {
                let text = self.expanded(state, word)?;
                created_by = format!("{created_by} --chown={text}");
                owner(&text)
            }
            None => None,
        };
        let mode = match words.chmod {
            Some(word) => {
                let text = self.expanded(state, word)?;
                created_by = format!("{created_by} --chmod={text}");
                Some(mode_change(&text, word.span)?)
            }
            None => None,
        };
        let mut paths = Vec::new();
        let mut heredocs = Vec::new();
        for source in words.sources {
            match source {
                CopySource::Path(word) => paths.push((self.expanded(state, word)?, word.span)),
                CopySource::Heredoc(heredoc) => heredocs.push(heredoc),
            }
        }
        for (path, _) in &paths {
            created_by = format!("{created_by} {}", redacted(path));
        }
        for heredoc in &heredocs {
            created_by = format!("{created_by} <<{}", heredoc.name);
        }
        let written = self.expanded(state, words.destination)?;
        let created_by = format!("{created_by} {written}");
        let destination = path::join_destination(state.working_directory(), &written);
        if paths.len() + heredocs.len() > 1 && !destination.ends_with('/') {
            let message = format!(
                "{} of several sources to a name without `/`: unless it is a directory, the last wins",
                words.keyword
            );
            let span = words.destination.span;
            let code = lint::AMBIGUOUS_DESTINATION.code();
            let warning = Diagnostic::warning(code, span, message);
            self.lint
                .add(warning.with_help("end the destination with `/`"));
        }
        Ok(Transfer {
            keyword: words.keyword,
            owner,
            mode,
            is_link,
            parents: words.parents,
            exclude: words
                .excludes
                .iter()
                .map(|word| word.text.clone())
                .collect(),
            unpack,
            paths,
            heredocs,
            destination,
            created_by,
        })
    }

    fn copy_source(
        &mut self,
        state: &StageState,
        from: &Word,
        statement: &Statement,
    ) -> Lowered<VertexId> {
        self.refuse_variables(from)?;
        let source = match from.text.as_str() {
            "scratch" => None,
            _ => self.named_source(state, from, statement)?,
        };
        Ok(source.unwrap_or_else(|| self.nothing()))
    }

    /// Returns the actions of an ADD: neighbours in the context are one action.
    fn add_actions(
        &mut self,
        statement: &Statement,
        transfer: &Transfer<'_>,
        fetching: &Fetching,
    ) -> Lowered<Vec<FileAction>> {
        let mut actions = Vec::new();
        let mut local: Vec<&str> = Vec::new();
        self.warn_of_kept_git_directory(transfer, fetching);
        if let Some((_, span)) = &fetching.checksum
            && (transfer.paths.len() != 1 || !transfer.heredocs.is_empty())
        {
            let message = "--checksum needs exactly one source";
            return Err(Diagnostic::error(code::INVALID_COPY, *span, message));
        }
        for (path, span) in &transfer.paths {
            let fetched = match remote::classify(path, *span)? {
                None => {
                    refuse_for_local(fetching)?;
                    local.push(path);
                    continue;
                }
                Some(Remote::Http { url }) => {
                    remote::http(url, &transfer.destination, fetching, *span)?
                }
                Some(Remote::Git(git)) => remote::git(git, fetching, *span)?,
            };
            self.flush_local(transfer, &mut local, &mut actions);
            let metadata = self.source_metadata(redacted(path).into_owned(), statement);
            let from = self.plan.add(fetched.op, metadata);
            actions.push(FileAction::Copy(plan::Copy {
                sources: vec![fetched.selected],
                unpack: fetched.unpack,
                ..transfer.copy(from)
            }));
        }
        self.flush_local(transfer, &mut local, &mut actions);
        Ok(actions)
    }

    /// `--keep-git-dir` does nothing where no source is a repository.
    fn warn_of_kept_git_directory(&mut self, transfer: &Transfer<'_>, fetching: &Fetching) {
        let is_git = |(path, _): &(String, Span)| {
            matches!(Remote::parse(path), Some(Ok(Remote::Git(_)) | Err(_)))
        };
        if fetching.keep_git_dir == Some(true)
            && !transfer.paths.iter().any(is_git)
            && let Some((path, span)) = transfer.paths.first()
        {
            let path = redacted(path);
            let message = format!("--keep-git-dir does nothing: `{path}` is no git repository");
            self.lint.report(&lint::IGNORED_FLAG, *span, message);
        }
    }

    fn flush_local(
        &mut self,
        transfer: &Transfer<'_>,
        local: &mut Vec<&str>,
        actions: &mut Vec<FileAction>,
    ) {
        if !local.is_empty() {
            let context = self.context();
            actions.push(transfer.action(context, local.drain(..)));
        }
    }

    /// Adds the operation that does `actions` and writes the here-documents.
    fn finish(
        &mut self,
        state: &mut StageState,
        statement: &Statement,
        transfer: &Transfer<'_>,
        mut actions: Vec<FileAction>,
    ) -> Lowered<()> {
        for heredoc in &transfer.heredocs {
            actions.push(self.file(state, transfer, heredoc)?);
        }
        let metadata = self.metadata(state, statement, None);
        // New permissions are those of what is there: that cannot be told without a base.
        let is_link = transfer.is_link && transfer.mode.is_none();
        let base = state.result.filter(|_| !is_link);
        let file = Op::File(FileOp { base, actions });
        let copied = self.plan.add(file, metadata.clone());
        state.result = Some(match state.result.filter(|_| is_link) {
            None => copied,
            Some(below) => {
                let name = format!("{} (link)", metadata.name);
                let layers = vec![below, copied];
                let metadata = plan::VertexMetadata { name, ..metadata };
                self.plan.add(Op::Merge(Merge { layers }), metadata)
            }
        });
        state.record(history::built_layer(&transfer.created_by));
        Ok(())
    }

    fn file(
        &mut self,
        state: &StageState,
        transfer: &Transfer<'_>,
        heredoc: &Heredoc,
    ) -> Lowered<FileAction> {
        let body = match heredoc.expand {
            false => heredoc.body().into_owned(),
            true => {
                let expansion = words::expansion_of_body(heredoc, state)?;
                if !state.is_in_trigger && state.knows_variables() {
                    words::check_unset_of_body(heredoc, &expansion, state, self.lint);
                }
                expansion.text
            }
        };
        Ok(FileAction::MakeFile {
            path: transfer.destination.clone(),
            name: heredoc.name.clone(),
            data: body.into_bytes(),
            mode: transfer.mode.clone(),
            owner: transfer.owner.clone(),
        })
    }
}

impl Transfer<'_> {
    /// Returns a copy from `from`, of nothing yet.
    fn copy(&self, from: VertexId) -> plan::Copy {
        plan::Copy {
            from,
            sources: Vec::new(),
            destination: self.destination.clone(),
            owner: self.owner.clone(),
            mode: self.mode.clone(),
            exclude: self.exclude.clone(),
            parents: self.parents,
            unpack: self.unpack,
        }
    }

    fn action<'p>(&self, from: VertexId, paths: impl Iterator<Item = &'p str>) -> FileAction {
        let clean = match self.parents {
            true => path::clean_with_pivot,
            false => path::clean_relative,
        };
        debug_assert!(self.keyword == "ADD" || self.unpack == Unpack::Never);
        FileAction::Copy(plan::Copy {
            sources: paths.map(clean).collect(),
            ..self.copy(from)
        })
    }
}

fn refuse_for_local(fetching: &Fetching) -> Lowered<()> {
    match &fetching.checksum {
        None => Ok(()),
        Some((_, span)) => {
            let message = "--checksum is only for what is fetched by HTTP or git";
            Err(Diagnostic::error(code::INVALID_COPY, *span, message))
        }
    }
}

/// Returns the permissions that `text` asks for, in octal or symbolic form.
fn mode_change(text: &str, span: Span) -> Lowered<ModeChange> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = u32::from_str_radix(text, 8).ok();
    match bits.filter(|bits| *bits <= 0o7777 && is_octal) {
        Some(bits) => Ok(ModeChange::Octal(bits)),
        None if is_symbolic_mode(text) => Ok(ModeChange::Symbolic(text.to_owned())),
        None => {
            let message = format!("`{text}` is no mode");
            let error = Diagnostic::error(code::INVALID_COPY, span, message);
            Err(error.with_help("a mode is octal up to 7777, or symbolic such as u=rwX,go=rX"))
        }
    }
}

/// Returns whether `text` is a list of `[ugoa…](+|-|=)[rwxXst…|u|g|o]`.
fn is_symbolic_mode(text: &str) -> bool {
    text.split(',').all(|clause| {
        let clause = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        clause.starts_with(['+', '-', '='])
            && clause.split(['+', '-', '=']).skip(1).all(|permissions| {
                matches!(permissions, "u" | "g" | "o")
                    || permissions.chars().all(|letter| "rwxXst".contains(letter))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        let span = Span::default();
        for (text, expected) in [
            ("644", Some(ModeChange::Octal(0o644))),
            ("0755", Some(ModeChange::Octal(0o755))),
            ("7777", Some(ModeChange::Octal(0o7777))),
            (
                "u=rwX,go=rX",
                Some(ModeChange::Symbolic("u=rwX,go=rX".into())),
            ),
            ("+x", Some(ModeChange::Symbolic("+x".into()))),
            ("g=u", Some(ModeChange::Symbolic("g=u".into()))),
            ("u+r-w", Some(ModeChange::Symbolic("u+r-w".into()))),
            ("77777", None),
            ("888", None),
            ("", None),
            ("+7", None),
            ("u", None),
            ("rwx", None),
        ] {
            assert_eq!(mode_change(text, span).ok(), expected, "{text}");
        }
    }
}
