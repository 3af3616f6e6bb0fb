//! `ringfort cluster` against a cluster of one node.

use ringfort_testkit::http::Request;

use crate::support::Target;

#[test]
fn a_cluster_of_one_tells_the_truth_about_itself() {
    let target = Target::with(|options| options.set("cluster.shards", "4").set("node.zone", "z1"));
    target.run(&["kv", "put", "k", "hello"]).exits(0);
    let status = target.run(&["cluster", "status"]).exits(0);
    let lines: Vec<_> = status.text().lines().collect();
    // One node cannot hold the three replicas that the default asks for.
    assert_eq!(lines[0], "degraded: 4 of 4 shards are under-replicated");
    assert!(lines[1].contains("seen from a: 4 shards, replication factor 3; 1 keys"), "{status:?}");
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(columns(lines[3])[..6], ["NODE", "STATE", "HEARD", "REPLICAS", "LEADERS", "EPOCH"]);
    let node = columns(lines[4]);
    assert_eq!(node[..5], ["a", "active", "here", "4", "4"]);
    // The epoch is the catalog's revision: as many changes as it took to write the first records.
    assert!(node[5].parse::<u64>().unwrap() > 1, "{node:?}");
    assert_eq!(node[6], "z1");
    assert_eq!(lines.iter().filter(|line| line.ends_with("under-replicated")).count(), 5);
    let document = target.run(&["cluster", "status", "-o", "json"]).exits(0).json();
    assert_eq!(document["shards"]["states"]["serving"], 4);
    assert_eq!(document["cluster_id"].as_str().unwrap().len(), 32);

    let nodes = target.run(&["cluster", "nodes"]).exits(0);
    let lines: Vec<Vec<_>> =
        nodes.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["NODE", "STATE", "CLIENT"]);
    assert_eq!((lines[1][0], lines[1][1], lines[1][4]), ("a", "active", "z1"));
    assert_eq!(
        target.run(&["cluster", "nodes", "-o", "json"]).exits(0).json()["nodes"][0]["id"],
        "a"
    );

    let shards = target.run(&["cluster", "shards", "--node", "a"]).exits(0);
    assert_eq!(shards.text().lines().count(), 5);
    assert!(shards.text().contains("c000000000000000..ffffffffffffffff"), "{}", shards.text());
    let document = target.run(&["cluster", "shards", "-o", "json"]).exits(0).json();
    assert_eq!(document["shards"].as_array().unwrap().len(), 4);
    assert!(
        target
            .run(&["cluster", "shards", "--node", "b"])
            .exits(3)
            .stderr
            .contains("the members are a")
    );

    let route = target.run(&["cluster", "route", "{tag}x", "-o", "json"]).exits(0).json();
    let other = target.run(&["cluster", "route", "{tag}y", "-o", "json"]).exits(0).json();
    assert_eq!(route["token"], other["token"]);
    assert_eq!((route["leader"].as_str(), route["state"].as_str()), (Some("a"), Some("serving")));
    assert!(
        target
            .run(&["cluster", "route", "k"])
            .exits(0)
            .text()
            .contains("leader    a at 127.0.0.1:")
    );
}

#[test]
fn changes_ask_first_and_need_a_cluster_of_several() {
    let target = Target::with(|options| options.set("cluster.shards", "1"));
    for change in ["drain", "remove"] {
        let asked = target.run(&["cluster", change, "a"]).exits(2);
        assert!(asked.stderr.contains("--yes"), "{asked:?}");
        let dry = target.run(&["cluster", change, "a", "--dry-run"]).exits(0);
        assert!(dry.stderr.contains("nothing was changed"), "{dry:?}");
        let refused = target.run(&["cluster", change, "a", "--yes"]).exits(3);
        assert!(refused.stderr.contains("only one"), "{refused:?}");
        assert!(
            target
                .run(&["cluster", change, "b", "--yes"])
                .exits(3)
                .stderr
                .contains("no node \"b\"")
        );
    }
    let init = target.run(&["cluster", "init", "--yes"]).exits(3);
    let document = target.run(&["cluster", "status", "-o", "json"]).exits(0).json();
    let id = document["cluster_id"].as_str().unwrap();
    assert!(init.stderr.contains(&format!("belongs to cluster {id} already")), "{init:?}");
    let request = Request {
        method: "POST",
        target: "/v1/cluster/init",
        headers: &[("content-type", "application/json")],
        body: b"",
    };
    let refused = target.server.client().send(&request).unwrap();
    assert_eq!(refused.status, 503);
    let said = format!("the cluster {id} is formed already");
    assert!(refused.text().contains(&said), "{}", refused.text());
    for change in [&["init"][..], &["set", "replication_factor=5"], &["recover", "--yes"]] {
        let refused = target.run(&[&["cluster"], change].concat()).exits(3);
        assert!(refused.stderr.contains("nothing was changed"), "{refused:?}");
    }
}
