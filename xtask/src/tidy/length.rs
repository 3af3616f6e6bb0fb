//! Files and functions that have grown too long.
//!
//! The style asks for less (a file of one idea, often up to 400 lines; a function of one screen, 70 lines, which clippy
//! warns of); these are the bounds that nothing written by hand may pass.

use super::source::{blank_out, functions};
use super::{Finding, TextFile, is_test_file};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;

pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    if is_test_file(&file.path) || is_generated(&file.path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines; at most {FILE_LINES_MAX}: it holds more than one idea");
        findings.push(Finding::new(&file.path, 0, what));
    }
    for function in functions(&blank_out(&file.text)) {
        if function.lines > FUNCTION_LINES_MAX {
            let what = format!(
                "fn {} has {} lines; at most {FUNCTION_LINES_MAX}",
                function.name, function.lines
            );
            findings.push(Finding::new(&file.path, function.first_line, what));
        }
    }
    findings
}

/// Whether a command wrote the file: its schema is what somebody reads.
fn is_generated(path: &str) -> bool {
    path.split('/').any(|part| part == "generated")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: String) -> TextFile {
        TextFile { path: path.to_owned(), text }
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let long = "// line\n".repeat(601);
        assert_eq!(check(&file("crates/x/src/a.rs", long.clone())).len(), 1);
        assert!(check(&file("crates/x/tests/a.rs", long.clone())).is_empty());
        assert!(check(&file("crates/x/src/generated/a.rs", long)).is_empty());
        let body = "    let a = \"}\";\n".repeat(99);
        let function = format!("\nfn long() {{\n{body}}}\n");
        let found = check(&file("crates/x/src/a.rs", function));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(found[0].what.contains("fn long has 101 lines"), "{found:?}");
    }
}
