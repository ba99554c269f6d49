//! A failed run in writing: what a watcher saw and what is wrong with it, as lines of JSON.

use std::{
    fs,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Value, json};

use super::observation::{Body, Delta, Event, Message, Observation, What};

// === impl Observation ===

impl Observation {
    /// Writes it to `target/faults/RUN/NAME.jsonl`, with times since `origin`, and says where.
    pub fn keep(
        &self,
        run: &str,
        name: &str,
        origin: Instant,
        violations: &[impl ToString],
    ) -> io::Result<PathBuf> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/faults")
            .join(run);
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{name}.jsonl"));
        let mut file = BufWriter::new(fs::File::create(&path)?);
        for (number, entry) in self.entries.iter().enumerate() {
            let milliseconds = entry.at.saturating_duration_since(origin).as_secs_f64() * 1e3;
            let mut line = written(&entry.what);
            line["entry"] = json!(number);
            line["milliseconds"] = json!(milliseconds);
            writeln!(file, "{line}")?;
        }
        for violation in violations {
            writeln!(file, "{}", json!({ "violation": violation.to_string() }))?;
        }
        file.flush()?;
        Ok(path)
    }
}

fn written(what: &What) -> Value {
    match what {
        What::Opened { replica, after } => json!({
            "opened": replica,
            "after": after,
        }),
        What::Ended { code, why } => json!({ "ended": format!("{code:?}"), "why": why }),
        What::Told(Message {
            epoch,
            replica,
            resumable,
            body,
        }) => {
            let mut line = match body {
                Body::Snapshot(items) => json!({ "snapshot": items }),
                Body::SnapshotEnd(revision) => json!({ "snapshot_end": revision }),
                Body::Delta(delta) => delta_written(delta),
                Body::Bookmark { revision, last } => json!({ "bookmark": revision, "last": last }),
                Body::Reset(reason) => json!({ "reset": reason.as_str_name() }),
            };
            line["epoch"] = json!(epoch);
            line["replica"] = json!(replica);
            line["resumable"] = json!(resumable);
            line
        }
    }
}

fn delta_written(delta: &Delta) -> Value {
    let event = |event: &Event| {
        json!({
            "type": event.kind.as_str_name(),
            "path": event.path,
            "look": event.look,
            "cause": event.cause.as_str_name(),
        })
    };
    json!({
        "delta": delta.revision,
        "prev_revision": delta.prev_revision,
        "conflated": delta.conflated,
        "last_part": delta.last_part,
        "events": delta.events.iter().map(event).collect::<Vec<_>>(),
    })
}
