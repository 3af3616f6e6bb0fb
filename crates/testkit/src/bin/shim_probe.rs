//! Does to files what it is told, one command a line, and prints what came of it: what the shim's own tests are run on.
//!
//! It reaches files as the server does, through the standard library, and keeps each file open from its first use to
//! `close`. Commands: `write FILE OFFSET TEXT`, `fill FILE BYTES`, `append FILE TEXT`, `read FILE OFFSET LENGTH`,
//! `cursor FILE TEXT` (write and read back through the file's own position), `sync FILE`, `clone FILE NEW`, `len FILE LENGTH`,
//! `size FILE`, `rename FILE NEW`, `remove FILE`, `copy FILE NEW`, `close FILE`, `syncdir`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

fn open<'a>(files: &'a mut BTreeMap<String, File>, name: &str) -> io::Result<&'a mut File> {
    if !files.contains_key(name) {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(name)?;
        files.insert(name.to_owned(), file);
    }
    files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn execute(files: &mut BTreeMap<String, File>, words: &[&str]) -> io::Result<String> {
    match *words {
        ["write", name, offset, text] => {
            open(files, name)?.write_all_at(text.as_bytes(), number(offset)?)?;
        }
        ["fill", name, len] => {
            let zeros = vec![0; number(len)?];
            open(files, name)?.write_all_at(&zeros, 0)?;
        }
        ["append", name, text] => {
            let mut file = File::options().create(true).append(true).open(name)?;
            file.write_all(text.as_bytes())?;
        }
        ["cursor", name, text] => {
            let file = open(files, name)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())?;
            let position = file.stream_position()?;
            file.seek(SeekFrom::Start(0))?;
            let mut back = vec![0; text.len()];
            file.read_exact(&mut back)?;
            return Ok(format!("{position} {}", String::from_utf8_lossy(&back)));
        }
        ["read", name, offset, len] => {
            let mut bytes = vec![0; number(len)?];
            let got = open(files, name)?.read_at(&mut bytes, number(offset)?)?;
            return Ok(bytes[..got].escape_ascii().to_string());
        }
        ["sync", name] => open(files, name)?.sync_data()?,
        ["clone", name, new] => {
            let clone = open(files, name)?.try_clone()?;
            files.insert(new.to_owned(), clone);
        }
        ["len", name, len] => open(files, name)?.set_len(number(len)?)?,
        ["size", name] => return Ok(fs::metadata(name)?.len().to_string()),
        ["rename", name, new] => fs::rename(name, new)?,
        ["remove", name] => fs::remove_file(name)?,
        ["copy", name, new] => {
            fs::copy(name, new)?;
        }
        ["close", name] => {
            files.remove(name);
        }
        ["syncdir"] => File::open(".")?.sync_all()?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok("ok".to_owned())
}

fn main() -> io::Result<()> {
    let mut files = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let answer = execute(&mut files, &words).unwrap_or_else(|error| format!("error: {error}"));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
