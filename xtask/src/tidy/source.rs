//! A look at Rust source that knows what is code and what is not, without a parser.

/// The source with every comment and the inside of every literal replaced by blanks; lines and columns stay.
///
/// ```text
/// let a = "fn {"; // }        becomes
/// let a = "    ";
/// ```
pub(super) fn blank_out(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'r' | b'b' | b'c' if !follows_word(bytes, at) => prefixed_literal_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
            out.extend(bytes[at..end].iter().map(blank));
            at = end;
        }
    }
    // Only ASCII was replaced by ASCII, or whole literals and comments by blanks.
    String::from_utf8_lossy(&out).into_owned()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at..].iter().position(|byte| *byte == b'\n');
    rest.map_or(bytes.len(), |offset| at + offset)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'…'`; returns `start` if it is none.
fn prefixed_literal_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut raw = false;
    while matches!(bytes.get(at), Some(b'r' | b'b' | b'c')) && at - start < 2 {
        raw |= bytes[at] == b'r';
        at += 1;
    }
    if !raw {
        return match bytes.get(at) {
            Some(b'"') => string_end(bytes, at),
            Some(b'\'') if bytes[start] == b'b' => char_end(bytes, at),
            _ => start,
        };
    }
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return start;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let body = at + hashes + 1;
    let found = bytes[body..].windows(closing.len()).position(|window| window == closing);
    found.map_or(bytes.len(), |offset| body + offset + closing.len())
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a character literal; a lifetime is none.
fn char_end(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        let rest = bytes[start + 3..].iter().position(|byte| *byte == b'\'');
        return rest.map_or(start, |offset| start + 3 + offset + 1);
    }
    // A character of up to four bytes, then the quote.
    let text = String::from_utf8_lossy(&bytes[start + 1..bytes.len().min(start + 5)]).into_owned();
    let Some(character) = text.chars().next() else {
        return start;
    };
    let close = start + 1 + character.len_utf8();
    if character != '\'' && bytes.get(close) == Some(&b'\'') { close + 1 } else { start }
}

/// A function in blanked-out source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// From 1.
    pub(super) first_line: usize,
    pub(super) lines: usize,
}

/// Every function with a body, nested ones too.
pub(super) fn functions(blanked: &str) -> Vec<Function> {
    let bytes = blanked.as_bytes();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(offset) = blanked[from..].find("fn ") {
        let at = from + offset;
        from = at + 3;
        if follows_word(bytes, at) {
            continue;
        }
        let name: String = blanked[from..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let Some(open) = body_start(bytes, from) else {
            continue;
        };
        let close = matching_brace(bytes, open);
        let lines_before = |end: usize| bytes[..end].iter().filter(|b| **b == b'\n').count();
        if !name.is_empty() {
            let first_line = lines_before(at) + 1;
            let lines = lines_before(close) + 2 - first_line;
            found.push(Function { name, first_line, lines });
        }
    }
    found
}

/// The brace that opens the body; `None` for a declaration or a function type.
fn body_start(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' | b';' | b'}' if depth == 0 => return None,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn matching_brace(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    bytes.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_becomes_blank() {
        for (source, code) in [
            ("a // fn b\nc", "a        \nc"),
            ("a /* /* } */ { */ b", "a                 b"),
            (r#"x("a\"}", b)"#, "x(      , b)"),
            ("r#\"a\"}\"# + b\"}\" + br\"}\"", "         +      +       "),
            ("'{' + '\\'' + b'}' + 'é'", "    +      +      +     "),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("for r in b {}", "for r in b {}"),
        ] {
            let blanked = blank_out(source);
            assert_eq!(blanked.trim_end(), code.trim_end(), "{source}");
        }
    }

    #[test]
    fn functions_are_measured() {
        let source = "trait T { fn declared(&self) -> [u8; 4]; }\n\
            fn outer(f: fn(u8) -> u8) -> Vec<u8>\n{\n    fn inner() {}\n}\n\
            const fn tiny<const N: usize>() {}\nlet not_fn = 1;\n";
        let found: Vec<(String, usize, usize)> = functions(&blank_out(source))
            .into_iter()
            .map(|function| (function.name, function.first_line, function.lines))
            .collect();
        let expected = [("outer", 2, 4), ("inner", 4, 1), ("tiny", 6, 1)];
        let expected = expected.map(|(name, first, lines)| (name.to_owned(), first, lines));
        assert_eq!(found, expected);
    }
}
