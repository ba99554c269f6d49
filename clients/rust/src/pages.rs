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
}
