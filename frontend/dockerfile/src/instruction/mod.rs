//! Lines to typed instructions, one file per instruction.
//!
//! Words stay unexpanded; what can be checked without variables is checked here.

mod add;
mod arg;
mod bodies;
mod bytes;
mod cmd;
mod command;
mod copy;
mod duration;
mod entrypoint;
mod env;
mod expose;
mod from;
mod healthcheck;
mod label;
mod line;
mod maintainer;
mod mount;
mod onbuild;
mod parse;
mod place;
mod run;
mod shell;
mod stopsignal;
mod user;
mod volume;
mod workdir;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

pub use add::Add;
pub use arg::{Arg, Argument};
pub use cmd::Cmd;
pub use command::Command;
pub use copy::{Copy, CopySource};
pub use entrypoint::Entrypoint;
pub use env::{Env, KeyValue};
pub use expose::Expose;
pub use from::FromBase;
pub use healthcheck::{Healthcheck, Probe};
pub use label::Label;
pub use maintainer::Maintainer;
pub use mount::{Mount, MountKey, MountOption};
pub use onbuild::Onbuild;
pub use parse::{parse, parse_trigger};
pub use run::{Run, RunNetwork, RunSecurity};
pub use shell::Shell;
pub use stopsignal::Stopsignal;
pub use user::User;
pub use volume::Volume;
pub use workdir::Workdir;

use line::Line;
use std::sync::Arc;

use crate::syntax::{Comment, Directives, Piece, Span, Word};

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// What the directives at its top say.
    pub directives: Directives,
    /// Its instructions, in order.
    pub statements: Vec<Statement>,
    /// Its comments, in order, those inside continued instructions too.
    pub comments: Vec<Comment>,
    /// The whole file in pieces, one after the other without a gap.
    pub pieces: Vec<Piece>,
}

/// An instruction where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub instruction: Instruction,
    /// Its first word, in the case it was written in.
    pub keyword: Word,
    /// Its bytes, heredoc bodies included, the last line end not.
    pub span: Span,
    /// The lines it takes, from 1.
    pub lines: RangeInclusive<usize>,
    /// Its bytes as written.
    pub original: Arc<str>,
    /// The instruction on one line: continuations joined, comments in it dropped, without
    /// the bodies of its heredocs.
    pub text: Arc<str>,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the instructions are named as in the language")]
pub enum Instruction {
    Add(Box<Add>),
    Arg(Arg),
    Cmd(Cmd),
    Copy(Box<Copy>),
    Entrypoint(Entrypoint),
    Env(Env),
    Expose(Expose),
    From(Box<FromBase>),
    Healthcheck(Healthcheck),
    Label(Label),
    Maintainer(Maintainer),
    Onbuild(Onbuild),
    Run(Run),
    Shell(Shell),
    Stopsignal(Stopsignal),
    User(User),
    Volume(Volume),
    Workdir(Workdir),
}
