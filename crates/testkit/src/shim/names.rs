//! The journal of names that no sync of their directory has covered, as the library writes it (`shim/names.c`).

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};

const JOURNAL: &str = "journal";

/// Forgets what an earlier process left.
pub(super) fn clear(names: &Path) -> Result<()> {
    for entry in fs::read_dir(names)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// Undoes what the journal says, last first, but for the first `keep(all)` lines.
pub(super) fn lose(names: &Path, keep: impl FnOnce(usize) -> usize) -> Result<usize> {
    let journal = match fs::read_to_string(names.join(JOURNAL)) {
        Ok(journal) => journal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    // A line that the kill cut short is one whose operation stays.
    let whole = journal.rfind('\n').map_or("", |end| &journal[..end]);
    let lines: Vec<_> = whole.lines().collect();
    let kept = keep(lines.len()).min(lines.len());
    for line in lines[kept..].iter().rev() {
        undo(line).with_context(|| format!("the journal of names: {line}"))?;
    }
    clear(names)?;
    Ok(lines.len() - kept)
}

fn undo(line: &str) -> Result<()> {
    match line.split('\t').collect::<Vec<_>>()[..] {
        ["C", path] => fs::remove_file(path)?,
        ["U", path, saved] => fs::rename(saved, path)?,
        ["R", from, to, saved] => {
            fs::rename(to, from)?;
            if saved != "-" {
                fs::rename(saved, to)?;
            }
        }
        _ => bail!("no such line"),
    }
    Ok(())
}
