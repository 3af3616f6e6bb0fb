//! Listings over the shards of several workers.

use anyhow::{Context, Result, ensure};
use ringfort_testkit::ServerOptions;

#[test]
fn pages_over_two_workers_are_whole_and_in_order() -> Result<()> {
    let server = ServerOptions::new().set("server.workers", "2").start()?;
    let mut client = server.client();
    // Neighbouring shards belong to different workers: eight tags reach both, but for one chance in more than a hundred.
    let mut expected = Vec::new();
    for tag in 0..8 {
        for number in 0..30 {
            let key = format!("{{t{tag}}}/{number:02}");
            ensure!(client.put(&format!("%7Bt{tag}%7D/{number:02}"), b"v")?.status == 200);
            expected.push(key);
        }
    }
    let mut page_of = |query: &str| -> Result<(Vec<String>, Option<String>, Option<String>)> {
        let response = client.get(&format!("/v1/kv?{query}"))?;
        ensure!(response.status == 200, "{query}: {} {}", response.status, response.text());
        let bound = response.header("ringfort-staleness-ms").map(ToOwned::to_owned);
        let page = response.json();
        let items = page["items"].as_array().context("no items")?;
        let keys = items.iter().filter_map(|item| Some(item["key"].as_str()?.to_owned()));
        Ok((keys.collect(), page["next_cursor"].as_str().map(ToOwned::to_owned), bound))
    };
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let (keys, next, bound) = page_of(&format!("limit=7{cursor}"))?;
        ensure!(bound.is_none(), "a linearizable page carries no bound");
        seen.extend(keys);
        let Some(next) = next else { break };
        cursor = format!("&cursor={next}");
    }
    ensure!(seen == expected, "{seen:?}");
    // The keys of one tag live on one shard, whichever worker has it; a stale page says how old it may be.
    for tag in 0..8 {
        let (keys, next, bound) =
            page_of(&format!("prefix=%7Bt{tag}%7D&limit=100&consistency=stale"))?;
        ensure!(keys == expected[tag * 30..][..30] && next.is_none(), "{tag}: {keys:?}");
        let bound: u64 = bound.context("no bound")?.parse()?;
        ensure!(bound < 5000, "{bound} ms");
    }
    Ok(())
}
