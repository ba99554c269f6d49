//! A plan, carried out: in as few transactions as hold it.

use stanchion_client::{
    Configs, Error,
    config::Commit,
    proto::{CommitConfigsResponse, ConfigPut},
};

use super::{Kind, Step, Terms};
use crate::cli::{exit::Exit, failure::Failure};

/// The most changes that one transaction takes.
const MOST_CHANGES: usize = 100;

/// The most content that one transaction takes.
const MOST_BYTES: usize = 1024 * 1024;

/// Takes the steps, each only if its config is still as it was compared. What is deleted goes last: if
/// it breaks off between two transactions, there is too much rather than too little.
pub(super) async fn settle(
    steps: &[Step],
    configs: &Configs,
    prefix: &str,
    terms: &Terms,
) -> Result<(), Failure> {
    let (deletions, others): (Vec<_>, Vec<_>) = steps
        .iter()
        .filter(|step| !matches!(step.kind, Kind::Keep { .. }))
        .partition(|step| matches!(step.kind, Kind::Delete { .. }));
    let chunks = chunks(others.into_iter().chain(deletions));
    // What the server would refuse in the last is to be known before the first.
    if chunks.len() > 1 {
        for chunk in &chunks {
            let commit = commit(chunk, configs, prefix, terms).validate_only();
            judge(chunk, 0, commit.send().await)?;
        }
    }
    let mut done = 0;
    for chunk in &chunks {
        let commit = commit(chunk, configs, prefix, terms);
        judge(chunk, done, commit.send().await)?;
        done += chunk.len();
    }
    Ok(())
}

fn commit(chunk: &[&Step], configs: &Configs, prefix: &str, terms: &Terms) -> Commit {
    let mut commit = terms.grounds.on(configs.commit());
    for step in chunk {
        let key = format!("{prefix}{}", step.key);
        let (item, version) = match &step.kind {
            Kind::Create(item) => (item, 0),
            Kind::Update { item, version, .. } => (item, *version),
            Kind::Delete { version } => {
                commit = commit.expect(&key, *version).delete(&key);
                continue;
            }
            Kind::Keep { .. } => continue,
        };
        let put = ConfigPut {
            content: item.content.clone(),
            content_type: item.content_type.into(),
            labels: item.labels.clone(),
            description: item.description.clone(),
        };
        commit = commit.expect(&key, version).put_with(&key, put);
    }
    commit
}

/// What is wrong with an answer, if anything is.
fn judge(
    chunk: &[&Step],
    done: usize,
    answer: Result<CommitConfigsResponse, Error>,
) -> Result<(), Failure> {
    let answer = answer.map_err(|error| {
        // The server counts changes, people know keys.
        let keys: Vec<_> = error
            .violations()
            .iter()
            .filter_map(|violation| index(&violation.field))
            .filter_map(|index| Some(chunk.get(index)?.key.as_str()))
            .collect();
        let about = match keys.is_empty() {
            true => format!("after {done} changes"),
            false => format!("{}, after {done} changes", keys.join(", ")),
        };
        Failure::from(error).about(&about)
    })?;
    if answer.committed {
        return Ok(());
    }
    let changed: Vec<_> = answer
        .results
        .iter()
        .filter(|result| !result.as_expected)
        .map(|result| result.key.as_str())
        .collect();
    let changed = changed.join(", ");
    Err(Failure::new(
        Exit::Conflict,
        format!("changed meanwhile: {changed}; {done} changes were made before, compare again"),
    ))
}

/// Which change a field such as `changes[3].put.content` is of.
fn index(field: &str) -> Option<usize> {
    let (index, _) = field.strip_prefix("changes[")?.split_once(']')?;
    index.parse().ok()
}

fn chunks<'a>(steps: impl Iterator<Item = &'a Step>) -> Vec<Vec<&'a Step>> {
    let mut chunks: Vec<Vec<&Step>> = Vec::new();
    let mut bytes = 0;
    for step in steps {
        let size = match &step.kind {
            Kind::Create(item) | Kind::Update { item, .. } => item.content.len(),
            Kind::Keep { .. } | Kind::Delete { .. } => 0,
        };
        bytes += size;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < MOST_CHANGES && bytes <= MOST_BYTES => chunk.push(step),
            _ => {
                bytes = size;
                chunks.push(vec![step]);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::{super::Item, *};

    fn sizes(contents: &[usize]) -> Vec<usize> {
        let steps: Vec<_> = contents
            .iter()
            .map(|size| Step {
                key: "a".into(),
                kind: Kind::Create(Item::new("a", vec![0; *size])),
            })
            .collect();
        chunks(steps.iter()).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_transaction_has_no_more_changes_and_no_more_content_than_it_may() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 201]), [100, 100, 1]);
        assert_eq!(sizes(&[MOST_BYTES - 1, 1, 1, MOST_BYTES]), [2, 1, 1]);
        assert_eq!(sizes(&[MOST_BYTES + 1, 1]), [1, 1]);
    }

    #[test]
    fn a_fault_is_told_by_its_key() {
        assert_eq!(index("changes[12].put.content"), Some(12));
        assert_eq!(index("guard"), None);
    }
}
