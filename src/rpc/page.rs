//! Page tokens: the last key of a page, bound to the list it belongs to. They never expire.

use bytes::Bytes;
use tonic::Status;

use crate::{
    domain::{
        state::{StateProjection, View},
        watch::Selection,
    },
    rpc::status,
};

/// Reads a page token of the list with this digest; no token is the first page.
pub fn after(token: &str, digest: u64) -> Result<Option<Bytes>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = unhex(token).ok_or_else(foreign)?;
    match bytes.split_first_chunk::<8>() {
        Some((bound, key)) if u64::from_be_bytes(*bound) == digest => {
            Ok(Some(Bytes::copy_from_slice(key)))
        }
        _ => Err(foreign()),
    }
}

/// The status of a call with a page token that is none of this list.
pub fn foreign() -> Status {
    status::invalid(vec![(
        "page_token".into(),
        "was not made by this list".into(),
    )])
}

/// Writes the token of the page after `key`.
pub fn token(key: &[u8], digest: u64) -> String {
    hex(&[&digest.to_be_bytes(), key].concat())
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// One page of what `selection` selects: the items, and the token of the next page (empty after
/// the last one).
pub fn of<S: Selection<StateProjection>>(
    view: &View,
    selection: &S,
    page_token: &str,
    size: usize,
) -> Result<(Vec<S::Item>, String), Status> {
    let digest = selection.digest();
    let after = after(page_token, digest)?;
    let mut items = Vec::new();
    let mut last = None;
    for (key, item) in selection.list(&view.state, after.as_ref()) {
        let Some(item) = selection.select(&item) else {
            continue;
        };
        if items.len() == size {
            let next = last.map_or(String::new(), |key: Bytes| token(&key, digest));
            return Ok((items, next));
        }
        items.push(item);
        last = Some(key);
    }
    Ok((items, String::new()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_good_for_its_own_list_alone() {
        let text = token(b"default/web/1", 7);
        assert_eq!(after(&text, 7).unwrap().unwrap().as_ref(), b"default/web/1");
        assert!(after(&text, 8).is_err());
        assert!(after("zz", 7).is_err());
        assert!(after("é", 7).is_err());
        assert_eq!(after("", 7).unwrap(), None);
    }
}
