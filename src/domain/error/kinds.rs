//! Of what kind of thing an error speaks.

/// A kind of thing that can be missing or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// An instance, `namespace/service/id`.
    Instance,
    /// A config item, `namespace/key`.
    Config,
    /// A version of a config item.
    ConfigVersion,
    /// What a config item said at a moment.
    ConfigHistory,
    /// The draft of a config item, `namespace/key`.
    ConfigDraft,
    /// A release, `namespace/name`.
    Release,
    /// A schema, `namespace/key` or `namespace/prefix*`.
    ConfigSchema,
    /// A service, `namespace/service`.
    Service,
    /// A namespace.
    Namespace,
    /// A latch, `namespace/name`.
    Latch,
}

/// What a caller can expect of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// The revision that last changed it.
    Revision,
    /// The version of a config item.
    Version,
}

// === impl Resource ===

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Instance => "instance",
            Self::Config => "config",
            Self::ConfigVersion => "config version",
            Self::ConfigHistory => "kept history of config",
            Self::ConfigDraft => "config draft",
            Self::Release => "release",
            Self::ConfigSchema => "config schema",
            Self::Service => "service",
            Self::Namespace => "namespace",
            Self::Latch => "latch",
        })
    }
}
