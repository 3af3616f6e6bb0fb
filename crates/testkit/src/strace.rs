//! Traces of `strace -f -y -s <n> -o <file>`, and the one question asked of them: does an answer ever leave before the
//! sync that covers the write it acknowledges?
//!
//! ```text
//!   recvfrom(9<socket>, "PUT … value …")                     the request
//!   pwrite64(7<log>, "… value …") = n                        the write that holds its value
//!   fdatasync(7<log> …                    … ) = 0            begun after that write returned
//!   sendto(9<socket>, "HTTP/1.1 200 …")                      the next answer on that connection: begun after the sync returned
//! ```
//!
//! strace prints events in the order in which it saw them: a call's first line when it was entered (unless it ended before
//! anything else happened), its `resumed` line when it returned. Line numbers are therefore times.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

/// What strace is told, before `-o FILE` and the command: enough of each string that no value is cut off, descriptors with
/// what they stand for.
pub const ARGUMENTS: [&str; 7] = [
    "-f",
    "-y",
    "-ttt",
    "-s",
    "1000000",
    "-e",
    "trace=pwrite64,pwritev,write,writev,fdatasync,fsync,read,readv,recvfrom,recvmsg,sendto,sendmsg,mkdir,mkdirat",
];

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Everything between its parentheses.
    pub arguments: String,
    /// What it returned; `None` where it did not, or something that is no number.
    pub result: Option<i64>,
    /// Line on which it was entered, from 1.
    pub entered: usize,
    /// Line on which it returned; `None` where the trace ends first.
    pub returned: Option<usize>,
}

impl Call {
    /// The descriptor with what it stands for, as in `7</data/log-1>`.
    fn descriptor(&self) -> &str {
        let end = self.arguments.find(", ").unwrap_or(self.arguments.len());
        &self.arguments[..end]
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    fn is_on_socket(&self) -> bool {
        let descriptor = self.descriptor();
        descriptor.contains("<socket:") || descriptor.contains("<TCP")
    }

    fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// Reads a trace.
///
/// # Errors
/// A line is none of strace's, or a call is resumed that was not begun.
pub fn parse(trace: &str) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    // Calls that were entered and have not returned, by thread.
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (index, line) in trace.lines().enumerate() {
        let number = index + 1;
        let parsed = parse_line(line, number, &mut calls, &mut open);
        parsed.with_context(|| {
            let shown: String = line.chars().take(200).collect();
            format!("trace, line {number}: {shown}")
        })?;
    }
    Ok(calls)
}

fn parse_line<'a>(
    line: &'a str,
    number: usize,
    calls: &mut Vec<Call>,
    open: &mut HashMap<&'a str, usize>,
) -> Result<()> {
    let (thread, rest) = line.split_once(' ').context("no thread id")?;
    let (_time, rest) = rest.trim_start().split_once(' ').context("no time")?;
    if rest.starts_with("---") || rest.starts_with("+++") {
        return Ok(());
    }
    if let Some(resumed) = rest.strip_prefix("<... ") {
        let (_name, rest) = resumed.split_once(" resumed>").context("no name")?;
        let index = open.remove(thread).context("resumed without having begun")?;
        let call = &mut calls[index];
        let (arguments, result) = split_result(rest)?;
        call.arguments.push_str(arguments);
        call.result = result;
        call.returned = Some(number);
        return Ok(());
    }
    let (name, rest) = rest.split_once('(').context("no call")?;
    let mut call = Call {
        name: name.to_owned(),
        arguments: String::new(),
        result: None,
        entered: number,
        returned: None,
    };
    if let Some(arguments) = rest.strip_suffix(" <unfinished ...>") {
        arguments.clone_into(&mut call.arguments);
        open.insert(thread, calls.len());
    } else {
        let (arguments, result) = split_result(rest)?;
        arguments.clone_into(&mut call.arguments);
        call.result = result;
        call.returned = Some(number);
    }
    calls.push(call);
    Ok(())
}

/// `…) = 17` and the like, split at the last `)` that a result follows.
fn split_result(text: &str) -> Result<(&str, Option<i64>)> {
    let Some(end) = text.rfind(") ") else {
        bail!("no result");
    };
    let after = text[end + 1..].trim_start();
    let result = after.strip_prefix("= ").context("no result")?;
    let word = result.split([' ', '<']).next().unwrap_or_default();
    Ok((&text[..end], word.parse().ok()))
}

/// An acknowledgement, with the lines on which its story stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The write that holds the value returned.
    pub written: usize,
    /// The sync that covers it was entered.
    pub sync_entered: usize,
    /// That sync returned.
    pub sync_returned: usize,
    /// The answer was handed to the kernel.
    pub answered: usize,
}

/// Checks the acknowledgement of one put, by its value: printable text that occurs nowhere else. Each connection of the
/// traced server had one request at a time.
///
/// # Errors
/// The trace does not show the put, or shows that its answer left before a sync that covers it had returned.
pub fn check_acknowledgement(calls: &[Call], value: &str) -> Result<Covered> {
    let holds = |call: &&Call| call.arguments.contains(value);
    let mut held = calls.iter().filter(holds);
    let request = held
        .find(|call| call.is(&["read", "readv", "recvfrom", "recvmsg"]) && call.is_on_socket())
        .context("no request with this value was read")?;
    let request_read = request.returned.context("the request was never read whole")?;
    let is_send = |call: &&Call| {
        call.is(&["write", "writev", "sendto", "sendmsg"])
            && call.entered > request_read
            && call.descriptor() == request.descriptor()
    };
    let answer = calls.iter().find(is_send).context("no answer was sent")?;
    let is_write = |call: &&Call| {
        call.is(&["pwrite64", "pwritev", "write", "writev"])
            && call.arguments.contains(value)
            && !call.is_on_socket()
            && call.succeeded()
            && call.returned.is_some_and(|returned| returned < answer.entered)
    };
    let mut writes = calls.iter().filter(is_write).peekable();
    if writes.peek().is_none() {
        bail!("the answer of line {} left before the value was written", answer.entered);
    }
    for write in writes {
        let written = write.returned.unwrap_or(usize::MAX);
        let covers = |call: &&Call| {
            call.is(&["fdatasync", "fsync"])
                && call.result == Some(0)
                && call.descriptor() == write.descriptor()
                && call.entered > written
                && call.returned.is_some_and(|returned| returned < answer.entered)
        };
        if let Some(sync) = calls.iter().find(covers) {
            return Ok(Covered {
                written,
                sync_entered: sync.entered,
                sync_returned: sync.returned.unwrap_or(usize::MAX),
                answered: answer.entered,
            });
        }
    }
    bail!(
        "the answer of line {} left before a sync that covers the value had returned",
        answer.entered
    );
}

/// Checks that every directory made below `home` was durable before the acknowledgement of a put, by its value: the
/// directory that holds its name was synced after it was made. How many there were.
///
/// # Errors
/// See [`check_acknowledgement`]; or a name was not synced by then.
pub fn check_directories(calls: &[Call], home: &str, value: &str) -> Result<usize> {
    let answered = check_acknowledgement(calls, value)?.answered;
    let mut made = 0;
    for call in calls.iter().filter(|call| call.is(&["mkdir", "mkdirat"]) && call.succeeded()) {
        let path = call.arguments.split('"').nth(1).context("no path")?;
        let Some((parent, _)) = path.rsplit_once('/').filter(|_| path.starts_with(home)) else {
            continue;
        };
        let descriptor = format!("<{parent}>");
        let made_at = call.returned.context("a directory was never made whole")?;
        let covers = |sync: &Call| {
            sync.is(&["fsync"])
                && sync.result == Some(0)
                && sync.descriptor().ends_with(&descriptor)
                && sync.entered > made_at
                && sync.returned.is_some_and(|returned| returned < answered)
        };
        if !calls.iter().any(covers) {
            bail!("the answer of line {answered} left before the name {path} was durable");
        }
        made += 1;
    }
    Ok(made)
}
