//! The stable names of what can be wrong when instructions are lowered.

use crate::diagnostic::Code;

pub(super) const NO_STAGES: Code = Code("NoStages");
pub(super) const UNKNOWN_TARGET: Code = Code("UnknownTarget");
pub(super) const UNKNOWN_STAGE: Code = Code("UnknownStage");
pub(super) const STAGE_CYCLE: Code = Code("StageCycle");
pub(super) const UNEXPECTED_FROM: Code = Code("UnexpectedFrom");
pub(super) const BEFORE_FROM: Code = Code("InstructionBeforeFrom");
pub(super) const INVALID_IMAGE: Code = Code("InvalidImageName");
pub(super) const IMAGE_NOT_FOUND: Code = Code("ImageNotResolved");
pub(super) const INVALID_PLATFORM: Code = Code("InvalidPlatform");
pub(super) const NOT_ALLOWED: Code = Code("NotAllowed");
pub(super) const EXPANSION: Code = Code("Expansion");
pub(crate) const INVALID_VALUE: Code = Code("InvalidValue");
pub(super) const INVALID_MOUNT: Code = Code("InvalidMount");
pub(super) const INVALID_COPY: Code = Code("InvalidCopy");
pub(super) const UNSUPPORTED: Code = Code("Unsupported");
pub(super) const INVALID_TRIGGER: Code = Code("InvalidTrigger");
pub(super) const LATER_STAGE: Code = Code("LaterStage");
