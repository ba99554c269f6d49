//! `audit verify`: whether the record is whole.

use clap::Args;
use serde_json::json;
use stanchion_client::proto::{AuditFault, AuditPosition};

use crate::cli::{Outcome, connection::Connection, exit::Exit, output};

/// Verify that nobody altered, removed or inserted an entry of the audit
///
/// Prints where the chain ends. Note that somewhere else, and pass it as --noted the next time: then
/// a chain that was computed anew as a whole, or whose end was cut off, is found, too. Exits with 8 if
/// something is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion audit verify\n  stanchion audit verify --noted 1204:9f86d0…"
)]
pub(crate) struct Verify {
    /// Where the chain ended before, as NUMBER:HASH
    #[arg(long, value_parser = position, value_name = "PLACE")]
    noted: Option<AuditPosition>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Verify ===

impl Verify {
    pub(super) async fn run(self) -> Outcome {
        let audit = self.connection.client()?.audit();
        let found = audit.verify(self.noted).await?;
        let tip = found.tip.unwrap_or_default();
        let exit = match &found.fault {
            None => Exit::Ok,
            Some(_) => Exit::Tampered,
        };
        if self.connection.is_json() {
            let fault = found.fault.as_ref().map(|fault| {
                json!({
                    "kind": kind(fault),
                    "number": fault.number,
                    "revision": fault.revision,
                    "key": fault.key,
                    "description": fault.description,
                })
            });
            output::json(&json!({
                "ok": found.fault.is_none(),
                "fault": fault,
                "first_number": found.first_number,
                "tip": { "number": tip.number, "hash": tip.hash },
                "unsealed_count": found.unsealed_count,
            }))?;
            return Ok(exit);
        }
        match &found.fault {
            None => {
                let AuditPosition { number, hash } = &tip;
                let (first, unsealed) = (found.first_number, found.unsealed_count);
                output::line(&format!(
                    "whole: entries {first} to {number}, and {unsealed} not sealed yet"
                ))?;
                output::line(&format!("{number}:{hash}"))?;
            }
            Some(fault) => {
                let place = match fault.number {
                    0 => format!("revision {}", fault.revision),
                    number => format!("entry {number}, revision {}", fault.revision),
                };
                let (kind, key, description) = (kind(fault), &fault.key, &fault.description);
                output::line(&format!("{kind}: {place}, key {key:?}: {description}"))?;
            }
        }
        Ok(exit)
    }
}

fn kind(fault: &AuditFault) -> String {
    output::lower(fault.kind().as_str_name(), "AUDIT_FAULT_KIND_")
}

fn position(text: &str) -> Result<AuditPosition, String> {
    let place = text.trim().split_once(':').and_then(|(number, hash)| {
        Some(AuditPosition {
            number: number.parse().ok()?,
            hash: hash.into(),
        })
    });
    place.ok_or_else(|| "is not like NUMBER:HASH".into())
}
