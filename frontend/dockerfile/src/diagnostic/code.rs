//! The names of findings.

use std::fmt;

/// A finding's stable name: a lint's rule name, or the name of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub &'static str);

impl Code {
    /// A byte that is not UTF-8.
    pub const INVALID_UTF8: Self = Self("InvalidUtf8");
    /// A byte that no text has.
    pub const NUL_BYTE: Self = Self("NulByte");
    /// A line end that is none: a carriage return alone.
    pub const CARRIAGE_RETURN: Self = Self("CarriageReturn");
    /// A line of the file that has too many bytes.
    pub const LONG_LINE: Self = Self("LongLine");
    /// A file for another frontend.
    pub const OTHER_FRONTEND: Self = Self("OtherFrontend");
    /// A comment that looks like a directive.
    pub const UNKNOWN_DIRECTIVE: Self = Self("UnknownDirective");
    /// A directive that is malformed or stands twice.
    pub const DIRECTIVE: Self = Self("InvalidDirective");
    /// An empty line inside a continued instruction.
    pub const NO_EMPTY_CONTINUATION: Self = Self("NoEmptyContinuation");
    /// A word that is no instruction.
    pub const UNKNOWN_INSTRUCTION: Self = Self("UnknownInstruction");
    /// A flag that the instruction does not know.
    pub const UNKNOWN_FLAG: Self = Self("UnknownFlag");
    /// A flag that may stand once and stands twice.
    pub const DUPLICATE_FLAG: Self = Self("DuplicateFlag");
    /// A flag after the arguments, where it is none.
    pub const LATE_FLAG: Self = Self("LateFlag");
    /// A flag whose value is missing or no value of it.
    pub const INVALID_FLAG_VALUE: Self = Self("InvalidFlagValue");
    /// A flag of an instruction that reads none.
    pub const IGNORED_FLAG: Self = Self("IgnoredFlag");
    /// An argument too few.
    pub const MISSING_ARGUMENT: Self = Self("MissingArgument");
    /// An argument that is not what the instruction takes.
    pub const INVALID_ARGUMENT: Self = Self("InvalidArgument");
    /// A JSON array that holds something other than strings, or is needed and absent.
    pub const INVALID_JSON_FORM: Self = Self("InvalidJsonForm");
    /// A heredoc that is not closed, or stands where none may.
    pub const INVALID_HEREDOC: Self = Self("InvalidHeredoc");
    /// A mount's option.
    pub const INVALID_MOUNT: Self = Self("InvalidMount");
    /// A stage's name.
    pub const INVALID_STAGE_NAME: Self = Self("InvalidStageName");
    /// An instruction that may not be a trigger.
    pub const INVALID_TRIGGER: Self = Self("InvalidTrigger");
    /// A rule was broken whose findings are to fail the build.
    pub const LINT_VIOLATION: Self = Self("LintViolation");
    /// An instruction before the first stage, or no stage at all.
    pub const NO_STAGE: Self = Self("NoStage");
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}
