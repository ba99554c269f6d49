//! Apollo's export of a namespace: a file of properties, as Java writes them.

use super::Harvest;
use crate::cli::config::item::Item;

pub(super) fn parse(export: &[u8]) -> Result<Harvest, String> {
    let text = std::str::from_utf8(export).map_err(|error| error.to_string())?;
    let mut harvest = Harvest::default();
    for line in logical_lines(text) {
        let (key, value) = split(&line);
        let item = Item::new(unescaped(key)?, unescaped(value)?);
        harvest.items.push(item);
    }
    Ok(harvest)
}

/// Lines without blanks before them and comments; one that ends in an odd number of `\` goes on in
/// the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = None;
    for natural in text.lines() {
        let natural = natural.trim_start_matches([' ', '\t', '\x0c']);
        let line = match open.take() {
            None if natural.is_empty() || natural.starts_with(['#', '!']) => continue,
            None => natural.to_owned(),
            Some(begun) => format!("{begun}{natural}"),
        };
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        match backslashes % 2 {
            1 => open = Some(line[..line.len() - 1].to_owned()),
            _ => lines.push(line),
        }
    }
    lines.extend(open);
    lines
}

/// The key ends at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else {
        return (line, "");
    };
    let blanks = [' ', '\t', '\x0c'];
    let value = line[end..].trim_start_matches(blanks);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value);
    (&line[..end], value.trim_start_matches(blanks))
}

fn unescaped(text: &str) -> Result<String, String> {
    // Java writes what is beyond the first plane as two escapes.
    let mut units = Vec::new();
    let mut chars = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let whole = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| whole);
                    units.push(unit.ok_or_else(|| format!("`\\u{digits}` is no character"))?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).map_err(|_| format!("`{text}` has half a character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let export = "# comment\n! another\n\n  a = 1\nb:2\nc 3\nd\ne=a\\\n   b\\\\\nf\\=g = x=y\n\
                      h = \\u00e4\\uD83D\\uDE00\\n\\t.\ni=one # no comment\n";
        let items = parse(export.as_bytes()).unwrap().items;
        let said: Vec<_> = items
            .iter()
            .map(|item| {
                (
                    item.key.as_str(),
                    std::str::from_utf8(&item.content).unwrap(),
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("a", "1"),
                ("b", "2"),
                ("c", "3"),
                ("d", ""),
                ("e", "ab\\"),
                ("f=g", "x=y"),
                ("h", "ä😀\n\t."),
                ("i", "one # no comment"),
            ]
        );
    }

    #[test]
    fn half_a_character_is_refused() {
        for export in ["a=\\u00", "a=\\uzzzz", "a=\\uD83D", "a=\\u+0a1"] {
            assert!(parse(export.as_bytes()).is_err(), "{export}");
        }
    }
}
