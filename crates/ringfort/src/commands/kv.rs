//! `ringfort kv`: keys from the command line.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bytes::Bytes;
use ringfort_client::{
    Client, DeleteOptions, Error, ListQuery, PutOptions, random_idempotency_key,
};
use ringfort_types::request::{Condition, Consistency, Item};
use ringfort_types::{Key, Version};
use serde_json::{Map, json};

use crate::arguments::{DelArguments, GetArguments, KvCommand, PutArguments, ScanArguments};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// A value from standard input is read up to here: far above what any server takes, far below what hurts.
const INPUT_BYTES_MAX: u64 = 1 << 30;
/// Keys asked for at once.
const PAGE: u64 = 1000;
/// Characters of a value that a table shows.
const SHOWN: usize = 60;

pub(crate) async fn run(command: KvCommand) -> Result<Exit, Failure> {
    match command {
        KvCommand::Put(arguments) => put(arguments).await,
        KvCommand::Get(arguments) => get(arguments).await,
        KvCommand::Del(arguments) => delete(arguments).await,
        KvCommand::Scan(arguments) => scan(arguments).await,
    }
}

fn key(text: OsString) -> Result<Key, Failure> {
    Key::new(text.into_vec()).map_err(Failure::usage)
}

/// Lets the client try again without writing twice.
fn identity() -> Result<Option<String>, Failure> {
    let key = random_idempotency_key();
    key.map(Some).ok_or_else(|| Failure::not_done("the system gives no random numbers"))
}

async fn put(arguments: PutArguments) -> Result<Exit, Failure> {
    let key = key(arguments.key)?;
    let format = arguments.connection.output;
    if arguments.ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Failure::usage("--ttl: at least 1ms"));
    }
    let client = arguments.connection.client()?;
    let value = value(arguments.value)?;
    let condition = match (arguments.if_absent, arguments.if_version) {
        (true, _) => Condition::Absent,
        (_, Some(version)) => Condition::version(Version(version)),
        _ => Condition::Always,
    };
    let options = PutOptions { ttl: arguments.ttl, condition, idempotency_key: identity()? };
    let written = client.put(&key, value, &options).await;
    let version = written.map_err(|error| Failure::of_call(&error, format))?.version;
    match format {
        Format::Table => output::say(&format!("version {version}")),
        Format::Json => output::print_json(&json!({ "version": version.0 }))?,
    }
    Ok(Exit::Done)
}

/// The value as it was given, or all of standard input for `-`.
fn value(argument: OsString) -> Result<Bytes, Failure> {
    if argument != "-" {
        return Ok(argument.into_vec().into());
    }
    let mut value = Vec::new();
    let read = std::io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut value);
    read.map_err(|error| Failure::not_done(format_args!("standard input: {error}")))?;
    if value.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::usage(
            "standard input has more than 1 GiB: no server takes such a value",
        ));
    }
    Ok(value.into())
}

async fn get(arguments: GetArguments) -> Result<Exit, Failure> {
    let key = key(arguments.key)?;
    let format = arguments.connection.output;
    let client = arguments.connection.client()?;
    let got = client.get(&key, consistency(arguments.stale)).await;
    let got = got.map_err(|error| Failure::of_call(&error, format))?;
    let Some(found) = got.found else {
        return absent(&key, format);
    };
    if format == Format::Json {
        let mut document = Map::new();
        output::put_bytes(&mut document, "key", key.as_bytes());
        output::put_bytes(&mut document, "value", &found.value);
        document.insert("version".into(), found.version.0.into());
        for (name, number) in [("ttl_ms", found.ttl_ms), ("staleness_ms", got.staleness_ms)] {
            if let Some(number) = number {
                document.insert(name.into(), number.into());
            }
        }
        output::print_json(&document.into())?;
        return Ok(Exit::Done);
    }
    output::print(&found.value)?;
    if output::is_terminal() {
        output::print(b"\n")?;
    }
    Ok(Exit::Done)
}

fn consistency(stale: bool) -> Consistency {
    if stale { Consistency::Stale } else { Consistency::Linearizable }
}

/// Says that a key is not there.
fn absent(key: &Key, format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Table => {
            output::say(&format!("ringfort: no such key: {}", output::escape(key.as_bytes())));
        }
        Format::Json => {
            output::say(&json!({ "error": "no such key", "code": "key_not_found" }).to_string());
        }
    }
    Ok(Exit::No)
}

async fn delete(arguments: DelArguments) -> Result<Exit, Failure> {
    let key = key(arguments.key)?;
    let format = arguments.connection.output;
    let client = arguments.connection.client()?;
    let condition = arguments.if_version.map(|version| Condition::version(Version(version)));
    let options =
        DeleteOptions { condition: condition.unwrap_or_default(), idempotency_key: identity()? };
    let deleted = client.delete(&key, &options).await;
    let version = deleted.map_err(|error| Failure::of_call(&error, format))?.version;
    match (version, format) {
        (None, Format::Table) => return absent(&key, format),
        (Some(version), Format::Table) => output::say(&format!("deleted, version {version}")),
        (None, Format::Json) => output::print_json(&json!({ "deleted": false }))?,
        (Some(version), Format::Json) => {
            output::print_json(&json!({ "deleted": true, "version": version.0 }))?;
        }
    }
    Ok(if version.is_some() { Exit::Done } else { Exit::No })
}

async fn scan(arguments: ScanArguments) -> Result<Exit, Failure> {
    let client = arguments.connection.client()?;
    let format = arguments.connection.output;
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut query = ListQuery {
        prefix: bytes(&arguments.prefix),
        start: bytes(&arguments.start),
        end: arguments.end.as_ref().map(bytes),
        limit: usize::try_from(left.min(PAGE)).ok(),
        keys_only: arguments.keys_only,
        ..ListQuery::default()
    };
    let mut printer = ItemPrinter::new(format, arguments.keys_only);
    loop {
        let page = next_page(&client, &query).await;
        let page = page.map_err(|error| Failure::of_call(&error, format))?;
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(page.items.len());
        left -= take as u64;
        let more = page.next_cursor.filter(|_| left > 0);
        printer.page(&page.items[..take], more.is_none())?;
        match more {
            Some(cursor) => query.cursor = Some(cursor),
            None => return Ok(Exit::Done),
        }
    }
}

async fn next_page(client: &Client, query: &ListQuery) -> Result<ringfort_client::ListPage, Error> {
    client.list(query).await
}

fn bytes(text: &OsString) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Prints items as they come: a table per page on a terminal, else a line per item.
struct ItemPrinter {
    format: Format,
    keys_only: bool,
    terminal: bool,
    printed: bool,
}

impl ItemPrinter {
    fn new(format: Format, keys_only: bool) -> Self {
        Self { format, keys_only, terminal: output::is_terminal(), printed: false }
    }

    fn page(&mut self, items: &[Item], last: bool) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.lines(items, Self::document)?,
            Format::Table if self.terminal => {
                if items.is_empty() && last && !self.printed {
                    output::say("no keys");
                } else {
                    output::print_table(self.table(items))?;
                }
            }
            Format::Table => self.lines(items, Self::line)?,
        }
        self.printed = true;
        Ok(())
    }

    fn lines(&self, items: &[Item], line: fn(&Self, &Item) -> String) -> std::io::Result<()> {
        let text: String = items.iter().map(|item| line(self, item) + "\n").collect();
        output::print(text.as_bytes())
    }

    fn document(&self, item: &Item) -> String {
        let mut document = Map::new();
        output::put_bytes(&mut document, "key", item.key.as_bytes());
        if !self.keys_only {
            output::put_bytes(&mut document, "value", &item.value);
        }
        document.insert("version".into(), item.version.0.into());
        if let Some(ttl_ms) = item.ttl_ms {
            document.insert("ttl_ms".into(), ttl_ms.into());
        }
        serde_json::Value::Object(document).to_string()
    }

    fn line(&self, item: &Item) -> String {
        let key = output::escape(item.key.as_bytes());
        if self.keys_only { key } else { format!("{key}\t{}", output::escape(&item.value)) }
    }

    fn table(&self, items: &[Item]) -> comfy_table::Table {
        let mut table =
            output::table(["KEY", "VERSION", "TTL", if self.keys_only { "" } else { "VALUE" }]);
        for item in items {
            let ttl = item.ttl_ms.map_or("-".into(), human_ttl);
            let value = if self.keys_only { String::new() } else { shortened(&item.value) };
            table.add_row([
                output::escape(item.key.as_bytes()),
                item.version.to_string(),
                ttl,
                value,
            ]);
        }
        table
    }
}

/// What is left to live, in seconds from a second on.
fn human_ttl(ms: u64) -> String {
    if ms < 1000 { format!("{ms}ms") } else { format!("{}s", ms / 1000) }
}

/// The beginning of a value, and how much there is of it.
fn shortened(value: &[u8]) -> String {
    // Four bytes for a character at most; what is cut in the middle of one is escaped.
    let text = output::escape(&value[..value.len().min(4 * SHOWN)]);
    if text.chars().count() <= SHOWN && value.len() <= 4 * SHOWN {
        return text;
    }
    let begin: String = text.chars().take(SHOWN).collect();
    format!("{begin}… ({})", output::human_size(value.len() as u64))
}
