//! The rules as data.

/// Where the pages of the rules are, in this repository.
const PAGES: &str = "docs/checks/";

/// When a rule speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Always, unless `skip` names it.
    Standard,
    /// Where `experimental` names it, or is `all`.
    Experimental,
    /// Our own. A warning only where `experimental` names it, or `fleet`; without that `--check`
    /// shows it as advice, which changes no exit code.
    Fleet,
    /// Our own, and not even advice unless it is named: it would speak of almost every file.
    OnDemand,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it demands.
    pub description: &'static str,
    /// When it speaks.
    pub level: Level,
}

impl Rule {
    const fn new(level: Level, name: &'static str, description: &'static str) -> Self {
        Self { name, description, level }
    }

    /// The page about it, a path in this repository.
    pub fn page(&self) -> String {
        format!("{PAGES}{}.md", self.name)
    }

    /// Whether it is one of ours, not of BuildKit.
    pub fn is_ours(&self) -> bool {
        matches!(self.level, Level::Fleet | Level::OnDemand)
    }
}

/// The rule of that name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

macro_rules! rules {
    ($($constant:ident $level:ident $name:literal $description:literal)*) => {
        $(pub(crate) const $constant: Rule = Rule::new(Level::$level, $name, $description);)*

        /// All rules: BuildKit's in its order, then ours.
        pub const RULES: &[Rule] = &[$($constant),*];
    };
}

rules! {
    STAGE_NAME_CASING Standard "StageNameCasing"
        "Stage names should be lowercase"
    FROM_AS_CASING Standard "FromAsCasing"
        "The 'as' keyword should match the case of the 'from' keyword"
    NO_EMPTY_CONTINUATION Standard "NoEmptyContinuation"
        "Empty continuation lines will become errors in a future release"
    CONSISTENT_INSTRUCTION_CASING Standard "ConsistentInstructionCasing"
        "All commands within the Dockerfile should use the same casing (either upper or lower)"
    DUPLICATE_STAGE_NAME Standard "DuplicateStageName"
        "Stage names should be unique"
    RESERVED_STAGE_NAME Standard "ReservedStageName"
        "Reserved words should not be used as stage names"
    JSON_ARGS_RECOMMENDED Standard "JSONArgsRecommended"
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"
    MAINTAINER_DEPRECATED Standard "MaintainerDeprecated"
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
    UNDEFINED_ARG_IN_FROM Standard "UndefinedArgInFrom"
        "FROM command must use declared ARGs"
    WORKDIR_RELATIVE_PATH Standard "WorkdirRelativePath"
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes"
    UNDEFINED_VAR Standard "UndefinedVar"
        "Variables should be defined before their use"
    MULTIPLE_INSTRUCTIONS_DISALLOWED Standard "MultipleInstructionsDisallowed"
        "Multiple instructions of the same type should not be used in the same stage"
    LEGACY_KEY_VALUE_FORMAT Standard "LegacyKeyValueFormat"
        "Legacy key/value format with whitespace separator should not be used"
    INVALID_BASE_IMAGE_PLATFORM Standard "InvalidBaseImagePlatform"
        "Base image platform does not match expected target platform"
    REDUNDANT_TARGET_PLATFORM Standard "RedundantTargetPlatform"
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
    SECRETS_USED_IN_ARG_OR_ENV Standard "SecretsUsedInArgOrEnv"
        "Sensitive data should not be used in the ARG or ENV commands"
    INVALID_DEFAULT_ARG_IN_FROM Standard "InvalidDefaultArgInFrom"
        "Default value for global ARG results in an empty or invalid base image name"
    FROM_PLATFORM_FLAG_CONST_DISALLOWED Standard "FromPlatformFlagConstDisallowed"
        "FROM --platform flag should not use a constant value"
    COPY_IGNORED_FILE Experimental "CopyIgnoredFile"
        "Attempting to Copy file that is excluded by .dockerignore"
    INVALID_DEFINITION_DESCRIPTION Experimental "InvalidDefinitionDescription"
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."
    EXPOSE_PROTO_CASING Standard "ExposeProtoCasing"
        "Protocol in EXPOSE instruction should be lowercase"
    EXPOSE_INVALID_FORMAT Standard "ExposeInvalidFormat"
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"
    ADD_WITHOUT_CHECKSUM Fleet "AddWithoutChecksum"
        "What ADD downloads should be pinned with --checksum"
    GIT_CLONE_IN_RUN Fleet "GitCloneInRun"
        "ADD of a git URL should be used instead of git clone in RUN"
    UNPINNED_BASE OnDemand "UnpinnedBase"
        "Base images should be pinned by digest"
    DELETE_IN_LATER_LAYER Fleet "DeleteInLaterLayer"
        "Files should be deleted in the layer that makes them"
    BUILD_PACKAGE_IN_FINAL_STAGE Fleet "BuildPackageInFinalStage"
        "Compilers, headers and build tools should not be installed in the final stage"
}
