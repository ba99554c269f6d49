//! What operators decided about an instance, told.

use serde_json::{Value, json};
use stanchion_client::proto::{InstanceDecision, InstanceOverlay};

use super::{Outcome, connection::Connection, exit::Exit, output};

/// Tells what is decided now; people are told what was `done`.
pub(super) fn tell(
    connection: &Connection,
    decision: Option<&InstanceDecision>,
    done: &str,
) -> Outcome {
    if connection.is_json() {
        output::json(&json!({"decision": decision.map(to_json)}))?;
    } else {
        output::line(done)?;
    }
    Ok(Exit::Ok)
}

fn to_json(decision: &InstanceDecision) -> Value {
    let state = decision.operator_state();
    json!({
        "operator_state": output::lower(state.as_str_name(), "OPERATOR_STATE_"),
        "author": decision.author,
        "comment": decision.comment,
        "update_time": output::time(decision.update_time),
        "overlay": decision.overlay.as_ref().map(overlay),
        "revision": decision.revision,
    })
}

fn overlay(overlay: &InstanceOverlay) -> Value {
    json!({
        "weight": overlay.weight,
        "metadata": overlay.metadata,
        "hidden_metadata": overlay.hidden_metadata,
        "author": overlay.author,
        "comment": overlay.comment,
        "update_time": output::time(overlay.update_time),
    })
}
