//! The list of all rules.

use super::Rule;

/// Returns the rule `name`, if there is one; upper and lower case differ.
pub fn rule_named(name: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.name == name)
}

macro_rules! rules {
    ($($constant:ident = $rule:expr;)*) => {
        $(pub(crate) const $constant: Rule = $rule;)*

        /// All rules: the language's, then Kiln's own.
        pub const RULES: &[&Rule] = &[$(&$constant),*];
    };
}

rules! {
    STAGE_NAME_CASING = Rule::of_dockerfile(
        "StageNameCasing",
        "stage-name-casing",
        "Stage names should be lowercase",
    );
    FROM_AS_CASING = Rule::of_dockerfile(
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    );
    NO_EMPTY_CONTINUATION = Rule::of_dockerfile(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    );
    CONSISTENT_INSTRUCTION_CASING = Rule::of_dockerfile(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    );
    DUPLICATE_STAGE_NAME = Rule::of_dockerfile(
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    );
    RESERVED_STAGE_NAME = Rule::of_dockerfile(
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    );
    JSON_ARGS_RECOMMENDED = Rule::of_dockerfile(
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    );
    MAINTAINER_DEPRECATED = Rule::of_dockerfile(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    );
    UNDEFINED_ARG_IN_FROM = Rule::of_dockerfile(
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    );
    WORKDIR_RELATIVE_PATH = Rule::of_dockerfile(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    );
    UNDEFINED_VAR = Rule::of_dockerfile(
        "UndefinedVar",
        "undefined-var",
        "Variables should be defined before their use",
    );
    MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule::of_dockerfile(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    );
    LEGACY_KEY_VALUE_FORMAT = Rule::of_dockerfile(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    );
    INVALID_BASE_IMAGE_PLATFORM = Rule::of_dockerfile(
        "InvalidBaseImagePlatform",
        "invalid-base-image-platform",
        "Base image platform does not match expected target platform",
    );
    REDUNDANT_TARGET_PLATFORM = Rule::of_dockerfile(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    );
    SECRETS_USED_IN_ARG_OR_ENV = Rule::of_dockerfile(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    );
    INVALID_DEFAULT_ARG_IN_FROM = Rule::of_dockerfile(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    );
    FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule::of_dockerfile(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    );
    COPY_IGNORED_FILE = Rule::of_dockerfile(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    );
    INVALID_DEFINITION_DESCRIPTION = Rule::of_dockerfile(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    )
    .experimental();
    EXPOSE_PROTO_CASING = Rule::of_dockerfile(
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    );
    EXPOSE_INVALID_FORMAT = Rule::of_dockerfile(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    );
    UNUSED_BUILD_ARG = Rule::of_kiln(
        "UnusedBuildArg",
        "unused-build-arg",
        "A build argument that is given should be declared by an ARG",
    );
    UNUSED_BUILD_CONTEXT = Rule::of_kiln(
        "UnusedBuildContext",
        "unused-build-context",
        "A named context that is given should be named by the Dockerfile",
    );
    UNKNOWN_PLATFORM = Rule::of_kiln(
        "UnknownPlatform",
        "unknown-platform",
        "A platform should be one that images are made for",
    );
    IGNORED_FLAG = Rule::of_kiln(
        "IgnoredFlag",
        "ignored-flag",
        "Instructions without flags should not be given any",
    );
    INVALID_UTF8 = Rule::of_kiln(
        "InvalidUtf8",
        "invalid-utf8",
        "A Dockerfile should be UTF-8",
    );
    OTHER_FRONTEND = Rule::of_kiln(
        "OtherFrontend",
        "other-frontend",
        "The syntax directive should name an official Dockerfile frontend",
    );
    INVALID_CHECK = Rule::of_kiln(
        "InvalidCheck",
        "invalid-check",
        "A check comment should be well formed and name rules that exist",
    );
    IGNORED_BUILD_ARG = Rule::of_kiln(
        "IgnoredBuildArg",
        "ignored-build-arg",
        "A build argument for the builder should be one that has an effect",
    );
    UNKNOWN_DIRECTIVE = Rule::of_kiln(
        "UnknownDirective",
        "unknown-directive",
        "A comment that looks like a directive should be one",
    );
    CARRIAGE_RETURN = Rule::of_kiln(
        "CarriageReturn",
        "carriage-return",
        "Lines should end with a line feed",
    );
    INVALID_JSON_FORM = Rule::of_kiln(
        "InvalidJsonForm",
        "invalid-json-form",
        "What looks like the JSON form should be JSON",
    );
    LATE_FLAG = Rule::of_kiln(
        "LateFlag",
        "late-flag",
        "Flags should stand before the arguments",
    );
    AMBIGUOUS_DESTINATION = Rule::of_kiln(
        "AmbiguousDestination",
        "ambiguous-destination",
        "The destination of several sources should end with a slash",
    );
}
