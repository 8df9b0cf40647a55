//! How commands fail: messages with causes, hints, and exit codes by class.
//!
//! | code | meaning |
//! |---|---|
//! | 1 | a step of the build failed, or a check found something |
//! | 2 | the command line is wrong |
//! | 3 | the Dockerfile is wrong |
//! | 4 | an image or a registry cannot be used |
//! | 5 | the store or a file cannot be used |
//! | 130, 143 | interrupted by SIGINT, SIGTERM |

mod hints;

use anstyle::{AnsiColor, Style};
use kiln_engine::sandbox::user_namespace::EnterError;
use kiln_engine::{BuildError, StepError};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

/// What kind of failure it is: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Step,
    Check,
    Usage,
    Dockerfile,
    Image,
    Store,
    Interrupted,
    /// A command that the user asked for ended with this exit code.
    Command(u8),
}

impl Class {
    fn exit_code(self) -> u8 {
        match self {
            Class::Step | Class::Check => 1,
            Class::Usage => 2,
            Class::Dockerfile => 3,
            Class::Image => 4,
            Class::Store => 5,
            Class::Interrupted => crate::interrupt::exit_code(),
            Class::Command(code) => code,
        }
    }
}

/// Why a command failed, ready to be shown.
#[derive(Debug)]
pub struct Failure {
    class: Class,
    /// Shown before the message as it is: source lines with marks.
    excerpt: Option<String>,
    messages: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// Returns a failure of `class` that says `message`.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Failure {
            class,
            excerpt: None,
            messages: vec![message.into()],
            hint: None,
        }
    }

    /// Returns the failure of a build that somebody ended.
    pub fn cancelled() -> Self {
        Failure::new(Class::Interrupted, "the build was cancelled")
    }

    /// Returns a failure for a wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Class::Usage, message)
    }

    /// Returns a failure whose text is complete already: diagnostics of a Dockerfile.
    pub fn rendered(class: Class, text: String) -> Self {
        Failure {
            class,
            excerpt: Some(text),
            messages: Vec::new(),
            hint: None,
        }
    }

    /// Returns a failure that has been told already: only its exit code is left.
    pub fn silent(class: Class) -> Self {
        Failure::rendered(class, String::new())
    }

    /// Returns a failure that says `message` and what caused it.
    pub fn caused(class: Class, message: impl Into<String>, cause: &dyn Error) -> Self {
        let mut failure = Failure::new(class, message);
        failure.messages.extend(chain(cause));
        failure
    }

    /// Returns a failure that says what `error` and its causes say.
    pub fn from_error(class: Class, error: &dyn Error) -> Self {
        Failure {
            class,
            excerpt: None,
            messages: chain(error),
            hint: None,
        }
    }

    /// The same, as the cause of what `message` says.
    pub fn within(mut self, message: impl Into<String>) -> Self {
        self.messages.insert(0, message.into());
        self
    }

    /// The same, with source lines shown before it.
    pub fn with_excerpt(mut self, excerpt: String) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    /// The same, with what to do next.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns what it says as an error without causes.
    pub fn into_error(self) -> Box<dyn Error + Send + Sync> {
        self.messages.join(": ").into()
    }

    /// Returns what failed and why, in one line.
    pub fn line(&self) -> String {
        self.messages.join(": ")
    }

    /// Whether a full disk caused it.
    pub fn is_for_want_of_space(&self) -> bool {
        let is_said = |words: &str| self.messages.iter().any(|message| message.contains(words));
        is_said("No space left on device") || is_said("Disk quota exceeded") || is_said(FULL)
    }

    /// Whether it is about files, but none below `root`: `cannot write /elsewhere`.
    pub fn is_about_files_outside(&self, root: &Path) -> bool {
        let messages = self.messages.iter();
        let actions = messages.filter(|message| message.starts_with("cannot "));
        let objects = actions.filter_map(|message| message.split(' ').next_back());
        let mut paths = objects.filter(|path| path.starts_with('/')).peekable();
        paths.peek().is_some() && !paths.any(|path| Path::new(path).starts_with(root))
    }

    /// Shows the failure on standard error and returns the exit code.
    pub fn report(&self) -> ExitCode {
        crate::output::write_message(&self.text());
        ExitCode::from(self.class.exit_code())
    }

    fn text(&self) -> String {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let cyan = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
        let mut text = self.excerpt.clone().unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for (number, message) in self.messages.iter().enumerate() {
            match number {
                0 => text.push_str(&format!("{red}error{red:#}: {message}\n")),
                _ => text.push_str(&format!("  caused by: {message}\n")),
            }
        }
        if let Some(hint) = self
            .hint
            .as_deref()
            .or_else(|| hints::guess(&self.messages))
        {
            text.push_str(&format!("  {cyan}hint{cyan:#}: {hint}\n"));
        }
        text
    }
}

/// Fails if there is any failure: all are told, the command ends with the first.
pub fn fail_with_all(failures: impl IntoIterator<Item = Failure>) -> Result<(), Failure> {
    let mut failures = failures.into_iter();
    let first = failures.next();
    failures.for_each(|failure| _ = failure.report());
    first.map_or(Ok(()), Err)
}

/// What the engine says of a command that failed on a full disk.
const FULL: &str = "the disk of the store is full";

/// Returns an error's messages, outermost first, without those that repeat the one before.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if messages.last() != Some(&message) {
            messages.push(message);
        }
        source = cause.source();
    }
    messages
}

macro_rules! failure_from {
    ($($error:ty => $class:expr),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::from_error($class, &error)
            }
        }
    )*};
}

failure_from! {
    kiln_engine::disk::Error => Class::Store,
    kiln_engine::registry::Error => Class::Image,
    EnterError => Class::Store,
}

impl From<kiln_transfer::pull::PullError> for Failure {
    fn from(error: kiln_transfer::pull::PullError) -> Self {
        let class = match error {
            kiln_transfer::pull::PullError::Store(_) => Class::Store,
            _ if is_for_want_of_space(&error) => Class::Store,
            _ => Class::Image,
        };
        Failure::from_error(class, &error)
    }
}

impl From<kiln_transfer::Error> for Failure {
    fn from(error: kiln_transfer::Error) -> Self {
        Failure::from_error(class_of_transfer(&error), &error)
    }
}

impl From<kiln_transfer::cache_mount::Error> for Failure {
    fn from(error: kiln_transfer::cache_mount::Error) -> Self {
        use kiln_transfer::cache_mount::Error;
        let class = match error {
            Error::Store(_) | Error::Read { .. } => Class::Store,
            _ => Class::Image,
        };
        Failure::from_error(class, &error)
    }
}

/// What is wrong with files is not the image's fault.
fn class_of_transfer(error: &kiln_transfer::Error) -> Class {
    use kiln_transfer::Error;
    match error {
        Error::Store(_) | Error::Tree(_) | Error::Capture { .. } => Class::Store,
        _ => Class::Image,
    }
}

impl From<kiln_transfer::source::ImportError> for Failure {
    fn from(error: kiln_transfer::source::ImportError) -> Self {
        use kiln_transfer::source::ImportError;
        let class = match error {
            ImportError::Store(_) | ImportError::Io { .. } => Class::Store,
            _ => Class::Image,
        };
        let is_another_file = matches!(
            error,
            ImportError::Archive { .. }
                | ImportError::NotAnArchive { .. }
                | ImportError::NotALayout { .. }
        );
        let failure = Failure::from_error(class, &error);
        match is_another_file {
            true => failure.with_hint(
                "name an archive as `kiln save`, `docker save` or `skopeo copy` write it, or an \
                 OCI layout; `kiln import` takes archives of plain files",
            ),
            false => failure,
        }
    }
}

impl From<BuildError> for Failure {
    /// Failed steps are shown by the build command, which knows the Dockerfile.
    fn from(error: BuildError) -> Self {
        let class = match &error {
            BuildError::Cancelled => Class::Interrupted,
            BuildError::Steps(steps) => steps
                .first()
                .map_or(Class::Step, |(_, error)| class_of(error)),
            BuildError::Transfer(error) | BuildError::CacheLayer(error) => class_of_transfer(error),
            BuildError::CacheExport { .. } => Class::Store,
            BuildError::Output { .. } => Class::Usage,
            BuildError::Store(_) | BuildError::Sandbox(_) | BuildError::Write { .. } => {
                Class::Store
            }
        };
        Failure::from_error(class, &error)
    }
}

/// Returns the class of a failed step.
pub fn class_of(error: &StepError) -> Class {
    match error {
        StepError::Pull { .. } => Class::Image,
        StepError::Fetch(error) if error.is_of_the_store() => Class::Store,
        StepError::Store(_) => Class::Store,
        StepError::Cancelled => Class::Interrupted,
        error if is_for_want_of_space(error) => Class::Store,
        _ => Class::Step,
    }
}

fn is_for_want_of_space(error: &(dyn Error + 'static)) -> bool {
    let is_full = |error: &std::io::Error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        )
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(is_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_the_message_and_a_hint_says_what_to_do() {
        let cause = std::io::Error::other("No space left on device (os error 28)");
        let failure = Failure::caused(Class::Store, "cannot write a.tar", &cause);
        let text = anstream::adapter::strip_str(&failure.text()).to_string();
        let expected = "error: cannot write a.tar\n  \
            caused by: No space left on device (os error 28)\n  \
            hint: free space there; another store is named with --root or KILN_ROOT\n";
        assert_eq!(text, expected);
    }
}
