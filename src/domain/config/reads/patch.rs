//! What makes one JSON value of another, by RFC 6902.

use serde_json::{Value, json};
use similar::DiffOp;

use super::lines::{self, Steps};

/// How many bytes a patch may have beyond those of the value that it makes.
const SPARE: usize = 4096;
/// About how many bytes one step of a patch has, apart from its path and its value.
const STEP: usize = 40;

/// A patch.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Patch {
    /// The patch, as JSON.
    pub(super) text: String,
    /// Whether something was replaced that might have been changed in smaller steps.
    pub(super) coarse: bool,
}

/// A patch in the making. Steps apply one after the other, so that places in an array are those after
/// the steps before.
struct Making {
    steps: Vec<Value>,
    /// The path of what is compared.
    path: String,
    /// How many bytes there may be more.
    room: usize,
    coarse: bool,
}

/// The patch is longer than what it describes.
struct TooLong;

/// Makes the patch: no longer than about twice the value that it makes.
pub(super) fn patch(from: &Value, to: &Value) -> Patch {
    let mut making = Making {
        steps: Vec::new(),
        path: String::new(),
        room: to.to_string().len() + SPARE,
        coarse: false,
    };
    let (steps, coarse) = match making.compare(from, to) {
        Ok(()) => (Value::Array(making.steps), making.coarse),
        Err(TooLong) => (json!([{"op": "replace", "path": "", "value": to}]), true),
    };
    Patch {
        text: steps.to_string(),
        coarse,
    }
}

// === impl Making ===

impl Making {
    fn compare(&mut self, from: &Value, to: &Value) -> Result<(), TooLong> {
        match (from, to) {
            _ if from == to => Ok(()),
            (Value::Object(from), Value::Object(to)) => {
                for (key, value) in from {
                    match to.get(key) {
                        Some(now) => self.at(key, |this| this.compare(value, now))?,
                        None => self.at(key, |this| this.step("remove", None))?,
                    }
                }
                for (key, value) in to.iter().filter(|(key, _)| !from.contains_key(*key)) {
                    self.at(key, |this| this.step("add", Some(value)))?;
                }
                Ok(())
            }
            (Value::Array(from), Value::Array(to)) => self.compare_arrays(from, to),
            _ => self.step("replace", Some(to)),
        }
    }

    fn compare_arrays(&mut self, from: &[Value], to: &[Value]) -> Result<(), TooLong> {
        let Steps { steps, coarse } = lines::steps(from, to);
        self.coarse |= coarse;
        for step in steps
            .iter()
            .filter(|step| !matches!(step, DiffOp::Equal { .. }))
        {
            let (old, new) = (&from[step.old_range()], &to[step.new_range()]);
            let mut place = step.new_range().start;
            for (old, new) in old.iter().zip(new) {
                self.at_place(place, |this| this.compare(old, new))?;
                place += 1;
            }
            for _ in new.len()..old.len() {
                self.at_place(place, |this| this.step("remove", None))?;
            }
            for value in &new[old.len().min(new.len())..] {
                self.at_place(place, |this| this.step("add", Some(value)))?;
                place += 1;
            }
        }
        Ok(())
    }

    fn step(&mut self, operation: &str, value: Option<&Value>) -> Result<(), TooLong> {
        let length = STEP + self.path.len();
        self.room = self.room.checked_sub(length).ok_or(TooLong)?;
        let mut step = json!({"op": operation, "path": self.path});
        if let Some(value) = value {
            step["value"] = value.clone();
        }
        self.steps.push(step);
        Ok(())
    }

    fn at_place<T>(&mut self, place: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        self.at(&place.to_string(), act)
    }

    /// Goes one step deeper, and comes back.
    fn at<T>(&mut self, key: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let here = self.path.len();
        self.path.push('/');
        for character in key.chars() {
            match character {
                '~' => self.path.push_str("~0"),
                '/' => self.path.push_str("~1"),
                other => self.path.push(other),
            }
        }
        let done = act(self);
        self.path.truncate(here);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps, after an implementation of others has applied them.
    fn steps(from: Value, to: Value) -> Value {
        let Patch { text, .. } = patch(&from, &to);
        let steps: json_patch::Patch = serde_json::from_str(&text).unwrap();
        let mut applied = from;
        json_patch::patch(&mut applied, &steps).unwrap();
        assert_eq!(applied, to);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_what_differs_is_changed() {
        assert_eq!(steps(json!({"a": [1]}), json!({"a": [1]})), json!([]));
        assert_eq!(
            steps(
                json!({"db": {"host": "a", "port": 1}, "x/y~z": 1}),
                json!({"db": {"host": "b", "port": 1, "tls": true}}),
            ),
            json!([
                {"op": "replace", "path": "/db/host", "value": "b"},
                {"op": "add", "path": "/db/tls", "value": true},
                {"op": "remove", "path": "/x~1y~0z"},
            ])
        );
        assert_eq!(
            steps(json!(1), json!([1])),
            json!([{"op": "replace", "path": "", "value": [1]}])
        );
        // What a program may read otherwise is another value.
        assert_ne!(steps(json!(1), json!(1.0)), json!([]));
    }

    #[test]
    fn elements_of_arrays_are_added_removed_and_changed_in_their_place() {
        assert_eq!(
            steps(json!([1, 2, 3]), json!([0, 1, 2, 3])),
            json!([{"op": "add", "path": "/0", "value": 0}])
        );
        assert_eq!(
            steps(json!([1, 2, 3, 4]), json!([1, 4])),
            json!([{"op": "remove", "path": "/1"}, {"op": "remove", "path": "/1"}])
        );
        assert_eq!(
            steps(json!([{"a": 1, "b": 1}, 2]), json!([{"a": 2, "b": 1}, 2])),
            json!([{"op": "replace", "path": "/0/a", "value": 2}])
        );
    }

    #[test]
    fn whatever_they_are_the_patch_makes_one_of_the_other() {
        let mut seed = 1u64;
        let mut random = |count: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % count
        };
        fn value(random: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
            match random(3 + 2 * depth.min(1)) {
                0 => random(3).into(),
                1 => Value::Null,
                2 => ["", "/", "~"][random(3) as usize].into(),
                3 => (0..random(6)).map(|_| value(random, depth - 1)).collect(),
                _ => (0..random(4))
                    .map(|_| {
                        (
                            ["a", "b/~", ""][random(3) as usize],
                            value(random, depth - 1),
                        )
                    })
                    .collect(),
            }
        }
        for _ in 0..2000 {
            let from = value(&mut random, 4);
            steps(from, value(&mut random, 4));
        }
    }

    #[test]
    fn a_patch_is_not_much_longer_than_what_it_makes() {
        let from: Value = (0..5000).map(|_| json!(1)).collect();
        let to: Value = (0..5000).map(|_| json!(2)).collect();
        let made = patch(&from, &to);
        assert!(made.coarse);
        assert!(made.text.len() < 2 * to.to_string().len() + SPARE);
        steps(from, to);
    }
}
