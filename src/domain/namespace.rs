//! Namespaces: what was set for one. A namespace exists without it.

use std::{collections::BTreeMap, time::SystemTime};

use crate::store::Revision;

use super::names::{Label, Namespace};

/// What was set for a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSettings {
    /// Which one.
    pub namespace: Namespace,
    /// What it is for.
    pub description: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How much may be in it.
    pub quotas: Quotas,
    /// Who wrote the settings, unverified.
    pub author: Label,
    /// When.
    pub update_time: SystemTime,
    /// The format they were written in.
    pub format: u32,
    /// The revision that created the record.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// How much may be in a namespace; `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Instances.
    pub instances: Option<u32>,
    /// Services.
    pub services: Option<u32>,
    /// Sessions that have something in it.
    pub sessions: Option<u32>,
}
