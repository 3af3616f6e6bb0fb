//! What commands print: tables for people, JSON for programs, bytes as they are.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comfy_table::{ContentArrangement, Table, presets};

/// Narrower terminals get lines as they are: some say 0, and words cut into letters help nobody.
const COLUMNS_MIN: u16 = 40;

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Writes to standard output. Unlike `println!`, a reader that went away is an error to handle, not a panic.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes a line to standard output.
pub(crate) fn print_line(line: &str) -> io::Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Writes a JSON document on one line.
pub(crate) fn print_json(document: &serde_json::Value) -> io::Result<()> {
    print_line(&document.to_string())
}

/// Says something to a person, on standard error. Nobody listening is no failure of the command.
pub(crate) fn say(text: &str) {
    io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap_or_default();
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table with a head and without borders, as wide as a terminal permits; never wrapped where there is none.
pub(crate) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = unbroken_table(head);
    if table.width().is_some_and(|columns| columns >= COLUMNS_MIN) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// A table with a head and without borders, however narrow the terminal is.
pub(crate) fn unbroken_table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A table without the blanks that fill its last column, its last line ended.
pub(crate) fn table_text(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Prints a table.
pub(crate) fn print_table(table: Table) -> io::Result<()> {
    print(table_text(table).as_bytes())
}

/// Bytes as text that a terminal or a line of a file can carry: control characters, backslashes and what is not UTF-8
/// are escaped as in C.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                '\\' => text.push_str("\\\\"),
                other if other.is_control() => text.extend(other.escape_unicode()),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Puts bytes into a JSON object under `name` where they are UTF-8, else under `name_b64`.
pub(crate) fn put_bytes(
    object: &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
    bytes: &[u8],
) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => object.insert(format!("{name}_b64"), STANDARD.encode(bytes).into()),
    };
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size to read, with one digit after the point.
pub(crate) fn human_size(bytes: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if bytes < unit * 1024 || name == "TiB" {
            if unit == 1 {
                return format!("{bytes} B");
            }
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1024;
    }
    unreachable!("the last unit takes any size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_stays_on_its_line() {
        assert_eq!(escape("a\tb\nü\\\u{1b}".as_bytes()), "a\\tb\\nü\\\\\\u{1b}");
        assert_eq!(escape(&[b'a', 0xff, 0]), "a\\xff\\u{0}");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(human_size(1023), "1023 B");
        assert_eq!(human_size(1536), "1.5 KiB");
        assert_eq!(human_size(u64::MAX), "16777215.9 TiB");
    }
}
