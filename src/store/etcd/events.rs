//! From frames to whole revisions: etcd may cut a revision in two, send again what it sent, and
//! states revisions in headers that its events have not reached.

use etcd_client::proto::PbEvent;

use super::kv::key_value;
use crate::store::{Event, Revision, WatchItem};

/// Puts the events of one watch together again, over any number of streams.
#[derive(Debug)]
pub(super) struct Assembler {
    /// Everything up to and with this revision was delivered.
    complete: Revision,
    /// A later revision of which more may come.
    partial: Option<(Revision, Vec<Event>)>,
}

/// A frame that breaks the server's own promises; the stream cannot be trusted any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disorder(pub(super) String);

// === impl Assembler ===

impl Assembler {
    /// Starts after `complete`.
    pub(super) fn new(complete: Revision) -> Self {
        Self {
            complete,
            partial: None,
        }
    }

    /// Where a stream has to start so that nothing is missed. Forgets the revision that a broken
    /// stream left unfinished.
    pub(super) fn resume(&mut self) -> Revision {
        self.partial = None;
        self.complete + 1
    }

    /// Takes the events of a frame; returns the revisions that are whole now. `last` is false when
    /// the frame ends in the middle of what was cut apart.
    pub(super) fn frame(
        &mut self,
        events: Vec<PbEvent>,
        last: bool,
    ) -> Result<Vec<WatchItem>, Disorder> {
        let mut whole = Vec::new();
        for event in events {
            let (revision, event) = convert(event)?;
            if revision <= self.complete {
                continue;
            }
            match &mut self.partial {
                Some((current, events)) if *current == revision => events.push(event),
                Some((current, _)) if *current > revision => {
                    return Err(Disorder(format!(
                        "an event of revision {revision} came after one of {current}"
                    )));
                }
                _ => {
                    whole.extend(self.finish());
                    self.partial = Some((revision, vec![event]));
                }
            }
        }
        if last {
            whole.extend(self.finish());
        }
        Ok(whole)
    }

    /// Takes the server's word that everything up to `revision` was sent on this stream.
    pub(super) fn progress(&mut self, revision: Revision) -> Option<WatchItem> {
        if self.partial.is_some() || revision < self.complete {
            return None;
        }
        self.complete = revision;
        Some(WatchItem::Progress(revision))
    }

    fn finish(&mut self) -> Option<WatchItem> {
        let (revision, events) = self.partial.take()?;
        self.complete = revision;
        Some(WatchItem::Changes { revision, events })
    }
}

fn convert(event: PbEvent) -> Result<(Revision, Event), Disorder> {
    let kind = event.r#type;
    let kv = event
        .kv
        .ok_or_else(|| Disorder("an event has no key".to_owned()))?;
    let revision = kv.mod_revision;
    let event = match kind {
        0 => Event::Put(key_value(kv)),
        1 => Event::Delete {
            key: kv.key.into(),
            revision,
        },
        _ => return Err(Disorder(format!("an event is of the unknown kind {kind}"))),
    };
    Ok((revision, event))
}

#[cfg(test)]
mod tests {
    use etcd_client::proto::PbKeyValue;

    use super::*;

    fn puts(revisions: &[Revision]) -> Vec<PbEvent> {
        let put = |revision: &Revision| PbEvent {
            r#type: 0,
            kv: Some(PbKeyValue {
                mod_revision: *revision,
                ..PbKeyValue::default()
            }),
            prev_kv: None,
        };
        revisions.iter().map(put).collect()
    }

    fn sizes(items: &[WatchItem]) -> Vec<(Revision, usize)> {
        let size = |item: &WatchItem| match item {
            WatchItem::Changes { revision, events } => (*revision, events.len()),
            other => panic!("{other:?}"),
        };
        items.iter().map(size).collect()
    }

    #[test]
    fn a_revision_is_delivered_whole_however_it_was_cut() {
        let mut assembler = Assembler::new(4);
        let first = assembler.frame(puts(&[5, 6, 6]), false).unwrap();
        assert_eq!(sizes(&first), [(5, 1)]);
        assert_eq!(assembler.frame(puts(&[6]), false).unwrap(), []);
        let last = assembler.frame(puts(&[6, 7]), true).unwrap();
        assert_eq!(sizes(&last), [(6, 4), (7, 1)]);
    }

    #[test]
    fn what_a_broken_stream_left_unfinished_is_delivered_once() {
        let mut assembler = Assembler::new(4);
        assembler.frame(puts(&[5, 6]), false).unwrap();
        assert_eq!(assembler.resume(), 6);
        let again = assembler.frame(puts(&[5, 6, 6]), true).unwrap();
        assert_eq!(sizes(&again), [(6, 2)]);
        assert_eq!(assembler.resume(), 7);
    }

    #[test]
    fn progress_counts_only_ahead_and_between_revisions() {
        let mut assembler = Assembler::new(4);
        assert_eq!(assembler.progress(3), None);
        assert_eq!(assembler.progress(9), Some(WatchItem::Progress(9)));
        assembler.frame(puts(&[10]), false).unwrap();
        assert_eq!(assembler.progress(12), None);
        assert_eq!(assembler.resume(), 10);
    }

    #[test]
    fn events_out_of_order_end_the_stream() {
        let mut assembler = Assembler::new(4);
        assert!(assembler.frame(puts(&[7, 6]), true).is_err());
        assert_eq!(assembler.resume(), 5);
    }
}
