//! Java properties: any lines will do, but not any escape.

use super::Fault;

/// Refuses what `java.util.Properties` refuses: a `\u` without four hexadecimal digits.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let mut start = 0;
    let mut continued = false;
    for line in text.split_inclusive('\n') {
        // What continues the line before is none, whatever it begins with.
        let is_comment = !continued && line.trim_start().starts_with(['#', '!']);
        let goes_on = |line| {
            escapes(line).map_err(|offset| {
                let reason = "`\\u` is not followed by four hexadecimal digits";
                Fault::at(text, start + offset, reason)
            })
        };
        continued = !is_comment && goes_on(line)?;
        start += line.len();
    }
    Ok(())
}

/// Whether a line goes on in the next one. Errors: where its first bad escape is.
fn escapes(line: &str) -> Result<bool, usize> {
    let bytes = line.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        let escape = at + found;
        // Whatever is escaped has been looked at with that.
        at = escape + 2;
        match bytes.get(escape + 1..) {
            Some([b'u', ..]) => {}
            Some(b"\n" | b"\r\n") => return Ok(true),
            _ => continue,
        }
        let digits = bytes.get(escape + 2..escape + 6);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(escape);
        }
    }
    Ok(false)
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
            "a=b\\\nc\n# \\u",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["a=\\u12", "a=\\u12g4", "\\u", "a=\\\\\\u1", "a=b\\\n# \\u"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_comment_of_escapes_takes_no_longer_than_its_length() {
        let started = std::time::Instant::now();
        let line = "#".to_owned() + &"\\u".repeat(500_000);
        assert_eq!(check(&line), Ok(()));
        let line = "a=".to_owned() + &"\\u00e9".repeat(200_000) + "\\u";
        assert!(check(&line).is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
