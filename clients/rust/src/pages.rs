//! Lists, read to their end.

use crate::error::Result;

/// The largest page a list may ask for.
pub(crate) const PAGE: i32 = 1000;

/// Reads all pages of a list. `read` reads the page that a token is for, the first for an empty
/// one, and answers what is in it and the token of the next.
pub(crate) async fn all<T, Reading>(read: impl Fn(String) -> Reading) -> Result<Vec<T>>
where
    Reading: Future<Output = Result<(Vec<T>, String)>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = read(token).await?;
        all.extend(page);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// Reads a list until it has `limit` items or ends. `read` reads the page of at most so many that a
/// token is for.
pub(crate) async fn at_most<T, Reading>(
    limit: usize,
    read: impl Fn(i32, String) -> Reading,
) -> Result<Vec<T>>
where
    Reading: Future<Output = Result<(Vec<T>, String)>>,
{
    let mut items = Vec::new();
    let mut token = String::new();
    while items.len() < limit {
        let wanted = limit - items.len();
        let size = i32::try_from(wanted).unwrap_or(PAGE).min(PAGE);
        let (page, next) = read(size, token).await?;
        items.extend(page.into_iter().take(wanted));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn pages_are_read_until_none_follows() {
        let asked = RefCell::new(Vec::new());
        let read = |token: String| {
            let next = if token.is_empty() { "2" } else { "" };
            asked.borrow_mut().push(token.clone());
            async move { Ok((vec![token], next.to_owned())) }
        };
        assert_eq!(all(read).await.unwrap(), ["", "2"]);
        assert_eq!(*asked.borrow(), ["", "2"]);
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_wanted() {
        // A server that answers more than it was asked for, without an end.
        let asked = RefCell::new(Vec::new());
        let read = |size: i32, token: String| {
            asked.borrow_mut().push(size);
            async move { Ok((vec![token; 3], "more".to_owned())) }
        };
        let items = at_most(4, read).await.unwrap();
        assert_eq!(items, ["", "", "", "more"]);
        assert_eq!(*asked.borrow(), [4, 1]);
    }
}
