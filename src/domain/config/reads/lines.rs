//! What differs between two texts, line by line.

use std::{collections::HashMap, fmt::Write, hash::Hash, ops::Range};

use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

/// How many lines of both sides, between the first and the last that differ, are searched for what is
/// common. What is searched takes at most some tenths of a second then, whatever it says.
const SEARCHED: usize = 20_000;
/// How many equal lines are shown around a change.
const CONTEXT: usize = 3;

/// How one sequence becomes another.
pub(super) struct Steps {
    pub(super) steps: Vec<DiffOp>,
    /// Whether what differs was too long to be searched.
    pub(super) coarse: bool,
}

/// Finds how one sequence becomes another: always the same steps for the same two, in a bounded
/// time.
pub(super) fn steps<T: Eq + Hash>(from: &[T], to: &[T]) -> Steps {
    let start = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let rest = from[start..].iter().rev().zip(to[start..].iter().rev());
    let end = rest.take_while(|(a, b)| a == b).count();
    let old = start..from.len() - end;
    let new = start..to.len() - end;
    if old.len() + new.len() > SEARCHED {
        return Steps {
            steps: replaced(from.len(), old, new),
            coarse: true,
        };
    }
    // Long ones are compared once.
    let mut numbers = HashMap::new();
    let mut number = |item| {
        let next = numbers.len();
        *numbers.entry(item).or_insert(next)
    };
    let from: Vec<usize> = from.iter().map(&mut number).collect();
    let to: Vec<usize> = to.iter().map(&mut number).collect();
    Steps {
        steps: capture_diff_slices(Algorithm::Myers, &from, &to),
        coarse: false,
    }
}

/// The lines of a text, each with its end.
pub(super) fn of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// What differs, in the unified format, and whether it was searched only coarsely.
pub(super) fn unified(names: [&str; 2], from: &str, to: &str) -> (String, bool) {
    let (old, new) = (of(from), of(to));
    let Steps { steps, coarse } = steps(&old, &new);
    let mut text = format!("--- {}\n+++ {}\n", names[0], names[1]);
    for hunk in group_diff_ops(steps, CONTEXT) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        let old_lines = first.old_range().start..last.old_range().end;
        let new_lines = first.new_range().start..last.new_range().end;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "@@ -{} +{} @@", place(old_lines), place(new_lines));
        for step in &hunk {
            match step {
                DiffOp::Equal { .. } => append(&mut text, ' ', &old[step.old_range()]),
                DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                    append(&mut text, '-', &old[step.old_range()]);
                    append(&mut text, '+', &new[step.new_range()]);
                }
            }
        }
    }
    (text, coarse)
}

fn append(text: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// Lines as the head of a hunk has them: the first one and how many; of none the one before.
fn place(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

/// All that is not common at the beginning and the end.
fn replaced(length: usize, old: Range<usize>, new: Range<usize>) -> Vec<DiffOp> {
    let equal = |old_index, new_index, len| DiffOp::Equal {
        old_index,
        new_index,
        len,
    };
    let (old_index, new_index) = (old.start, new.start);
    let (old_len, new_len) = (old.len(), new.len());
    let middle = match (old_len, new_len) {
        (_, 0) => DiffOp::Delete {
            old_index,
            old_len,
            new_index,
        },
        (0, _) => DiffOp::Insert {
            old_index,
            new_index,
            new_len,
        },
        _ => DiffOp::Replace {
            old_index,
            old_len,
            new_index,
            new_len,
        },
    };
    let steps = [
        equal(0, 0, old.start),
        middle,
        equal(old.end, new.end, length - old.end),
    ];
    let empty = |step: &DiffOp| matches!(step, DiffOp::Equal { len: 0, .. });
    steps.into_iter().filter(|step| !empty(step)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn diff(from: &str, to: &str) -> String {
        let (text, coarse) = unified(["a", "b"], from, to);
        assert!(!coarse);
        text.strip_prefix("--- a\n+++ b\n").unwrap().to_owned()
    }

    /// Carries the steps out.
    fn carried_out<'a>(steps: &[DiffOp], from: &[&'a str], to: &[&'a str]) -> Vec<&'a str> {
        let mut at = (0, 0);
        let parts = steps.iter().flat_map(|step| {
            assert_eq!((step.old_range().start, step.new_range().start), at);
            at = (step.old_range().end, step.new_range().end);
            match step {
                DiffOp::Equal { .. } => &from[step.old_range()],
                _ => &to[step.new_range()],
            }
        });
        let made = parts.copied().collect();
        assert_eq!(at, (from.len(), to.len()));
        made
    }

    #[test]
    fn changes_are_shown_with_the_lines_around_them() {
        assert_eq!(
            diff("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nfive\n6\n"),
            "@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n+five\n 6\n"
        );
        let from: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let to = from.replacen("2\n", "", 1).replace("19\n", "19\n19a\n");
        assert_eq!(
            diff(&from, &to),
            "@@ -1,5 +1,4 @@\n 1\n-2\n 3\n 4\n 5\n@@ -17,4 +16,5 @@\n 17\n 18\n 19\n+19a\n 20\n"
        );
    }

    #[test]
    fn a_text_that_begins_or_ends_is_shown_whole() {
        assert_eq!(diff("", "1\n2\n"), "@@ -0,0 +1,2 @@\n+1\n+2\n");
        assert_eq!(diff("1\n", ""), "@@ -1 +0,0 @@\n-1\n");
        assert_eq!(diff("", ""), "");
        assert_eq!(diff("1\n", "1\n"), "");
    }

    #[test]
    fn a_missing_end_of_line_is_told() {
        assert_eq!(
            diff("1", "1\n"),
            "@@ -1 +1 @@\n-1\n\\ No newline at end of file\n+1\n"
        );
        assert_eq!(diff("é\r\n", "é\n"), "@@ -1 +1 @@\n-é\r\n+é\n");
    }

    #[test]
    fn what_is_too_long_to_be_searched_is_replaced_between_what_is_equal() {
        let lines = |name: &str| (0..SEARCHED).map(|n| format!("{name}{n}\n")).collect();
        let (from, to): (String, String) = (lines("a"), lines("b"));
        let (from, to) = (format!("0\n{from}1\n2\n"), format!("0\n{to}1\n2\n"));
        let (text, coarse) = unified(["a", "b"], &from, &to);
        assert!(coarse);
        assert!(
            text.contains("@@ -1,20003 +1,20003 @@\n 0\n-a0\n"),
            "{text}"
        );
        assert!(text.ends_with("+b19999\n 1\n 2\n"));
        let (old, new) = (of(&from), of(&to));
        assert_eq!(carried_out(&steps(&old, &new).steps, &old, &new), new);
        let (old, new) = (of(&from), of("0\n2\n"));
        let Steps { steps, coarse } = steps(&old, &new);
        assert!(coarse);
        assert_eq!(carried_out(&steps, &old, &new), new);
    }

    #[test]
    fn whatever_is_compared_takes_a_bounded_time() {
        // Lines that are alike are the worst: a generator that always says the same.
        let mut seed = 7u64;
        let mut random = |count: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ["a\n", "b\n", "c\n", "d\n", "\n"][(seed >> 33) as usize % count as usize]
        };
        for alike in [1, 2, 3, 5] {
            let mut lines = |length| (0..length).map(|_| random(alike)).collect::<Vec<_>>();
            let half = SEARCHED / 2 - 2;
            for lengths in [(half, half), (half / 8, half)] {
                let mut from = lines(lengths.0);
                let mut to = lines(lengths.1);
                // So that neither the beginning nor the end is equal.
                from.insert(0, "from\n");
                from.push("from\n");
                to.insert(0, "to\n");
                to.push("to\n");
                let begun = Instant::now();
                let found = steps(&from, &to);
                let took = begun.elapsed();
                assert!(took < Duration::from_secs(20), "{alike}: {took:?}");
                assert!(!found.coarse);
                assert_eq!(carried_out(&found.steps, &from, &to), to);
            }
        }
    }
}
