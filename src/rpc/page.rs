//! Page tokens: the last key of a page, bound to the list it belongs to. They never expire.

use bytes::Bytes;
use tonic::Status;

use crate::{
    domain::{
        state::{StateProjection, View},
        watch::{Projection, Selection, Token},
    },
    rpc::status,
};

/// Roughly how many bytes of items a page has at most, however many it may have: far below the
/// largest answer.
pub const MAX_BYTES: usize = 1024 * 1024;

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
    let (items, last) = take(view, selection, after.as_ref(), size);
    Ok((items, last.map_or(String::new(), |key| token(&key, digest))))
}

/// At most `size` items after a key, and the last key if more follow.
fn take<S: Selection<StateProjection>>(
    view: &View,
    selection: &S,
    after: Option<&Bytes>,
    size: usize,
) -> (Vec<S::Item>, Option<Bytes>) {
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut last = None;
    for (key, item) in selection.list(&view.state, after) {
        let Some(selected) = selection.select(&item) else {
            continue;
        };
        if items.len() == size || bytes > MAX_BYTES {
            return (items, last);
        }
        bytes += StateProjection::weight(&item);
        items.push(selected);
        last = Some(key);
    }
    (items, None)
}

/// A page of a list that a watch can continue from.
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The token of the next page; empty after the last one.
    pub next: String,
    /// On the last page the resume token with which a watch of the same selection misses nothing
    /// that any of the pages did not show; empty before.
    pub resume: Bytes,
}

/// Like [`of`], for lists that a watch can continue from: the page token also carries at which
/// revision the first page was taken.
pub fn resumable<S: Selection<StateProjection>>(
    view: &View,
    selection: &S,
    page_token: &str,
    size: usize,
) -> Result<Page<S::Item>, Status> {
    // A token of the plain kind is none of ours.
    let digest = selection.digest().rotate_left(1);
    let (first, after) = match after(page_token, digest)? {
        None => {
            let first = Token {
                epoch: view.state.epoch.id,
                digest: selection.digest(),
                revision: view.revision,
            };
            (first, None)
        }
        Some(bytes) => {
            let split = bytes.split_at_checked(Token::LENGTH);
            let token = split.and_then(|(token, _)| Token::decode(token));
            let Some(mut first) = token.filter(|token| token.digest == selection.digest()) else {
                return Err(foreign());
            };
            // Another replica, a little behind the one before, shows an older state. Of another
            // epoch the old token tells that all pages before are void.
            if first.epoch == view.state.epoch.id {
                first.revision = first.revision.min(view.revision);
            }
            (first, Some(bytes.slice(Token::LENGTH..)))
        }
    };
    let (items, last) = take(view, selection, after.as_ref(), size);
    let (next, resume) = match last {
        Some(last) => {
            let position = [first.encode().as_slice(), &last].concat();
            (token(&position, digest), Bytes::new())
        }
        None => (String::new(), first.encode().into()),
    };
    Ok(Page {
        items,
        next,
        resume,
    })
}

/// Reads what [`hex`] wrote, and nothing else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?))
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

    #[test]
    fn only_lower_case_hexadecimal_digits_are_read() {
        assert_eq!(unhex(&hex(&[0, 0x0f, 0xa9])), Some(vec![0, 0x0f, 0xa9]));
        for bad in ["+f", "-0", "0F", " 1", "f", "0g"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
