//! What is known of etcd's versions.

use std::{fmt, str::FromStr};

/// A released version of etcd; what follows a dash does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

/// The oldest version that may be used without being told so: below it events are lost on slow
/// watches and progress reports overtake events.
pub(super) const OLDEST: Version = Version(3, 5, 13);

// === impl Version ===

impl Version {
    /// Says whether a requested progress report cannot overtake events (etcd issue 15220), and is
    /// given on quiet watches too.
    pub(super) fn has_safe_progress(self) -> bool {
        match (self.0, self.1) {
            (3, 4) => self >= Version(3, 4, 31),
            (3, 5) => self >= Version(3, 5, 13),
            _ => self >= Version(3, 6, 0),
        }
    }

    /// Says whether a renewal never succeeds for a lease that was revoked.
    pub(super) fn has_safe_renewals(self) -> bool {
        !self.is_below(Version(3, 5, 23), Version(3, 6, 5), Version(3, 7, 0))
    }

    /// What an operator should know of this version.
    pub(super) fn warnings(self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self < OLDEST {
            warnings.push(format!(
                "etcd {self} is older than {OLDEST}: it can lose events, and its reports of \
                 progress are not used"
            ));
        }
        if !self.has_safe_renewals() {
            warnings.push(format!(
                "etcd {self} can confirm the renewal of a lease that was revoked, so that each \
                 lock costs one more read before it is granted; fixed in 3.5.23 and 3.6.5"
            ));
        }
        if self.is_below(Version(3, 5, 33), Version(3, 6, 14), Version(3, 7, 1)) {
            warnings.push(format!(
                "etcd {self} has known holes in its access control; fixed in 3.5.33, 3.6.14 and \
                 3.7.1"
            ));
        }
        warnings
    }

    /// Says whether this version is older than the first good one of its line.
    fn is_below(self, line5: Version, line6: Version, line7: Version) -> bool {
        match (self.0, self.1) {
            (3, 6) => self < line6,
            (3, 7) => self < line7,
            _ => self < line5,
        }
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split(['.', '-', '+']).map(str::parse);
        let mut next = || numbers.next().ok_or(())?.map_err(|_| ());
        Ok(Self(next()?, next()?, next()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn each_line_has_its_own_first_good_version() {
        for good in ["3.4.31", "3.5.13", "3.6.0", "3.7.0-rc.1", "4.0.0"] {
            assert!(version(good).has_safe_progress(), "{good}");
        }
        for bad in ["3.3.27", "3.4.30", "3.5.12"] {
            assert!(!version(bad).has_safe_progress(), "{bad}");
        }
        for (text, warnings) in [
            ("3.4.34", 3),
            ("3.5.13", 2),
            ("3.5.23", 1),
            ("3.5.33", 0),
            ("3.6.4", 2),
            ("3.6.5", 1),
            ("3.6.16", 0),
            ("3.7.0", 1),
            ("3.7.1", 0),
            ("3.8.0", 0),
        ] {
            assert_eq!(version(text).warnings().len(), warnings, "{text}");
        }
        assert!("three".parse::<Version>().is_err());
    }
}
