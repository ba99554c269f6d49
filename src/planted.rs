//! Faults for tests to find. Without the feature `planted-bugs` there are none, and every question
//! for one is answered at compile time; with it, `STANCHION_PLANTED_BUG` names one that is made.

/// A fault that the server can be told to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// `resume-at-revision`: a watch resumes at the revision of its token instead of after it.
    ResumeAtRevision,
    /// `ignore-canceled`: a watch that etcd cancels is taken for one that is quiet.
    IgnoreCanceled,
    /// `ignore-compaction`: after a compaction the watch goes on at the newest revision.
    IgnoreCompaction,
    /// `ignore-epoch-change`: data loss is taken for something normal.
    IgnoreEpochChange,
    /// `unlock-without-owner-check`: whoever knows a token releases the lock.
    UnlockWithoutOwnerCheck,
}

/// The variable names a fault that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("STANCHION_PLANTED_BUG = {0:?}: there is no such bug")]
pub struct Unknown(pub String);

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::OnceLock;

    use super::{Bug, Unknown};

    const VARIABLE: &str = "STANCHION_PLANTED_BUG";

    /// What the environment says, read once.
    pub(super) fn bug() -> &'static Result<Option<Bug>, Unknown> {
        static CHOSEN: OnceLock<Result<Option<Bug>, Unknown>> = OnceLock::new();
        CHOSEN.get_or_init(|| match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(name) => parse(&name.to_string_lossy()).map(Some),
        })
    }

    fn parse(name: &str) -> Result<Bug, Unknown> {
        Ok(match name {
            "resume-at-revision" => Bug::ResumeAtRevision,
            "ignore-canceled" => Bug::IgnoreCanceled,
            "ignore-compaction" => Bug::IgnoreCompaction,
            "ignore-epoch-change" => Bug::IgnoreEpochChange,
            "unlock-without-owner-check" => Bug::UnlockWithoutOwnerCheck,
            _ => return Err(Unknown(name.to_owned())),
        })
    }
}

/// Says whether the fault is made.
#[cfg(feature = "planted-bugs")]
pub fn is(bug: Bug) -> bool {
    *chosen::bug() == Ok(Some(bug))
}

/// Says whether the fault is made: it is not.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn is(_: Bug) -> bool {
    false
}

/// Refuses a fault that does not exist. Without the feature, the variable is not looked at.
pub fn check() -> Result<(), Unknown> {
    #[cfg(feature = "planted-bugs")]
    if let Err(unknown) = chosen::bug() {
        return Err(unknown.clone());
    }
    Ok(())
}
