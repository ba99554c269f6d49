//! What setting something for a service or a namespace answers, and taking it back.

use serde_json::{Value, json};

use super::{Outcome, connection::Connection, exit::Exit, output};

/// The settings of `name` are as they were asked for.
pub(super) fn put(
    connection: &Connection,
    name: &str,
    settings: Option<Value>,
    unchanged: bool,
) -> Outcome {
    if connection.is_json() {
        output::json(&json!({"settings": settings, "unchanged": unchanged}))?;
    } else if unchanged {
        output::note(&format!("{name} had these settings already"))?;
    } else {
        output::line(&format!("set what is said for {name}"))?;
    }
    Ok(Exit::Ok)
}

/// The settings of `name`, which is a `kind`, are taken back, if there were any.
pub(super) fn deleted(connection: &Connection, kind: &str, name: &str, deleted: bool) -> Outcome {
    if connection.is_json() {
        output::json(&json!({kind: name, "deleted": deleted}))?;
    } else if deleted {
        output::line(&format!("took back what was set for {name}"))?;
    } else {
        output::note(&format!("nothing was set for {name}"))?;
    }
    Ok(if deleted { Exit::Ok } else { Exit::NotFound })
}
