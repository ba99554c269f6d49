//! Java properties: any lines will do, but not any escape.

use super::Fault;

/// Refuses what `java.util.Properties` refuses: a `\u` without four hexadecimal digits.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        let escape = at + found;
        // Whatever is escaped has been looked at with that.
        at = escape + 2;
        if bytes.get(escape + 1) != Some(&b'u') || is_comment(text, escape) {
            continue;
        }
        let digits = bytes.get(escape + 2..escape + 6);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(Fault::at(
                text,
                escape,
                "`\\u` is not followed by four hexadecimal digits",
            ));
        }
    }
    Ok(())
}

fn is_comment(text: &str, offset: usize) -> bool {
    let before = &text[..offset];
    let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
    line.trim_start().starts_with(['#', '!'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bad_escape_is_a_fault() {
        for good in [
            "",
            "a",
            "a=1\r\n# \\u is fine here\n! \\uz here too\nb : \\u00e9\\t\\\\u",
            "path=C:\\\\users",
            "a=\\",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["a=\\u12", "a=\\u12g4", "\\u", "a=\\\\\\u1"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
