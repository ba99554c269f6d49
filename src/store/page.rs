//! How many keys to read at a time, so that an answer is neither large nor one of very many.

use super::KeyValue;

/// How many keys are read before anything is known of their values.
const FIRST: usize = 8;

/// How many times the size of the last page the next one may have.
const GROWTH: usize = 4;

/// How many bytes a page should have, well below what a message may.
const BYTES: usize = 2 * 1024 * 1024;

/// The size of the pages in which keys are read: it follows what their values are like.
#[derive(Debug)]
pub struct PageSize {
    keys: usize,
    most: usize,
}

// === impl PageSize ===

impl PageSize {
    /// Begins small; no page will have more than `most` keys.
    pub fn new(most: usize) -> Self {
        Self {
            keys: most.clamp(1, FIRST),
            most: most.max(1),
        }
    }

    /// How many keys the next page may have.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Makes the next page as large as fits if its values are like those of this one.
    pub fn learn(&mut self, page: &[KeyValue]) {
        let bytes = page.iter().map(|kv| kv.key.len() + kv.value.len());
        let bytes: usize = bytes.sum();
        if let Some(average) = bytes.checked_div(page.len()) {
            let fitting = BYTES / average.max(1);
            let most = self.most.min(self.keys.saturating_mul(GROWTH));
            self.keys = fitting.clamp(1, most);
        }
    }

    /// Makes the page that was refused, or did not come in time, smaller; false if it cannot be.
    pub fn shrink(&mut self) -> bool {
        let shrinks = self.keys > 1;
        self.keys = (self.keys / 4).max(1);
        shrinks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: usize, value: usize) -> Vec<KeyValue> {
        let kv = |number| KeyValue {
            key: format!("p/{number:05}").into(),
            value: vec![0; value].into(),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
            lease: 0,
        };
        (0..keys).map(kv).collect()
    }

    #[test]
    fn pages_of_small_values_grow_to_a_limit_and_those_of_large_ones_shrink() {
        let mut size = PageSize::new(600);
        let mut keys = Vec::new();
        for _ in 0..5 {
            size.learn(&page(size.keys(), 10));
            keys.push(size.keys());
        }
        assert_eq!(keys, [32, 128, 512, 600, 600]);
        size.learn(&page(10, 200 * 1024));
        assert_eq!(size.keys(), 10);
        size.learn(&page(10, 5 * 1024 * 1024));
        assert_eq!(size.keys(), 1);
        size.learn(&[]);
        assert_eq!(size.keys(), 1);
    }

    #[test]
    fn a_page_of_one_key_cannot_be_parted() {
        let mut size = PageSize::new(usize::MAX);
        assert!(size.shrink() && size.shrink());
        assert_eq!(size.keys(), 1);
        assert!(!size.shrink());
        assert_eq!(PageSize::new(0).keys(), 1);
    }
}
