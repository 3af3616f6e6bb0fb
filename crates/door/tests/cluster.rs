//! `/v1/cluster…`.

use ringfort_types::request::{NodeView, ReplicaView};
use ringfort_types::{
    Code, Epoch, Key, NamespaceId, NodeId, Refusal, ReplicaId, Term, shard_of_token,
};
use serde_json::json;

use crate::client::{House, run};
use crate::fake::{Mood, SHARDS};

#[test]
fn the_cluster_and_its_parts() {
    run(async {
        let house = House::new();
        let cluster = house.get("/v1/cluster").await.json();
        assert_eq!(cluster["cluster_id"], "00000000000000000000000000000abc");
        assert_eq!(cluster["epoch"], 3);
        assert_eq!(cluster["replication_factor"], 3);
        assert_eq!(cluster["answered_by"], "a");
        assert_eq!(cluster["warnings"].as_array().unwrap().len(), 1);
        let nodes = house.get("/v1/cluster/nodes").await.json();
        assert_eq!(
            nodes,
            json!({"epoch": 3, "nodes": [{
                "id": "a", "state": "active", "client": "127.0.0.1:7400", "peer": "127.0.0.1:7401",
                "zone": "rack-1", "capacity": 1.0, "version": "0.1.0",
                "replicas": 4, "leaders": 4,
            }]})
        );
        assert_eq!(cluster["nodes"], nodes["nodes"]);
        let shards = house.get("/v1/cluster/shards").await.json();
        assert_eq!(cluster["shards"], shards["shards"]);
        assert_eq!(shards["shards"].as_array().unwrap().len(), SHARDS as usize);
        assert_eq!(
            shards["shards"][1],
            json!({
                "shard": 1, "first_token": "4000000000000000", "last_token": "7fffffffffffffff",
                "state": "serving", "leader": "a", "replicas": [{"id": 1, "node": "a", "role": "leader"}],
                "under_replicated": true, "keys": 0, "bytes": 0,
            })
        );
        assert_eq!(house.get("/v1/cluster/shards?node=a").await.json(), shards);
    });
}

#[test]
fn what_is_known_of_nodes_and_replicas_is_shown_and_nothing_else() {
    run(async {
        let house = House::new();
        house.fake.seen.set(|view| {
            view.quorum = Some(true);
            view.replication_factor = 2;
            let node = |id: &str, state| NodeView {
                id: NodeId::parse(id).unwrap(),
                state,
                heard_ms: Some(70),
                epoch: Some(Epoch(2)),
                ..view.nodes[0].clone()
            };
            view.nodes = vec![node("a", "active"), node("b", "suspect"), node("c", "down")];
            let replica = |id, node: &str, role| ReplicaView {
                id: ReplicaId(id),
                node: NodeId::parse(node).unwrap(),
                role,
                ..view.shards[0].replicas[0].clone()
            };
            let replicas = [
                vec![replica(1, "a", "leader"), replica(2, "b", "follower")],
                vec![replica(1, "a", "leader"), replica(3, "c", "follower")],
                vec![replica(1, "a", "leader"), replica(2, "b", "learner")],
                vec![replica(1, "a", "leader"), replica(2, "b", "quarantined")],
            ];
            for (shard, replicas) in view.shards.iter_mut().zip(replicas) {
                shard.replicas = replicas;
            }
            let shard = &mut view.shards[3];
            shard.term = Some(Term(7));
            shard.replicas[0].apply_lag = Some(0);
            shard.replicas[1].commit_lag = Some(12);
            shard.replicas[1].reason = "log-3 is damaged".to_owned();
        });
        let cluster = house.get("/v1/cluster").await.json();
        assert_eq!(cluster["quorum"], true);
        let node = &cluster["nodes"][1];
        assert_eq!((&node["heard_ms"], &node["epoch"]), (&json!(70), &json!(2)));
        let counts = |name: &str| {
            let nodes = cluster["nodes"].as_array().unwrap();
            nodes.iter().map(|node| node[name].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((counts("replicas"), counts("leaders")), (vec![4, 3, 1], vec![4, 0, 0]));
        let shards = cluster["shards"].as_array().unwrap();
        let short: Vec<_> = shards.iter().map(|shard| &shard["under_replicated"]).collect();
        assert_eq!(short, [false, true, true, true]);
        assert_eq!(shards[3]["term"], 7);
        assert_eq!(
            shards[3]["replicas"],
            json!([
                {"id": 1, "node": "a", "role": "leader", "apply_lag": 0},
                {"id": 2, "node": "b", "role": "quarantined", "reason": "log-3 is damaged",
                 "commit_lag": 12},
            ])
        );
        assert_eq!(shards[2].get("term"), None);
    });
}

#[test]
fn the_map_holds_what_a_client_routes_by() {
    run(async {
        let house = House::new();
        let map = house.get("/v1/cluster/map").await.json();
        assert_eq!(map["epoch"], 3);
        assert_eq!(map["nodes"], json!([{"id": "a", "client": "127.0.0.1:7400"}]));
        assert_eq!(map["shards"].as_array().unwrap().len(), SHARDS as usize);
        assert_eq!(
            map["shards"][1],
            json!({"shard": 1, "leader": "a", "replicas": [{"id": 1, "node": "a", "role": "leader"}]})
        );
        house.fake.seen.set(|view| view.shards[1].term = Some(Term(7)));
        assert_eq!(house.get("/v1/cluster/map").await.json()["shards"][1]["term"], 7);
    });
}

async fn tag(house: &House, target: &str) -> String {
    house.get(target).await.header("etag").unwrap().to_owned()
}

#[test]
fn a_document_that_has_not_changed_is_not_sent_again() {
    run(async {
        for target in ["/v1/cluster/map", "/v1/cluster/shards", "/v1/cluster/shards?node=a"] {
            let house = House::new();
            let tag = tag(&house, target).await;
            for (method, headers, status) in [
                ("GET", format!("If-None-Match: {tag}\r\n"), 304),
                ("HEAD", format!("If-None-Match: {tag}\r\n"), 304),
                ("GET", format!("If-None-Match: \"1\", {tag}\r\n"), 304),
                ("GET", "If-None-Match: *\r\n".to_owned(), 304),
                ("GET", "If-None-Match: \"1\"\r\n".to_owned(), 200),
                ("GET", format!("If-None-Match: W/{tag}\r\n"), 200),
                ("GET", "If-None-Match: \"strange\"\r\n".to_owned(), 200),
                ("GET", String::new(), 200),
            ] {
                let answer = house.ask(method, target, &headers, b"").await;
                assert_eq!(answer.status, status, "{method} {target} {headers}");
                assert_eq!(answer.header("etag"), Some(&*tag), "{method} {target} {headers}");
                assert_eq!(answer.text().is_empty(), status == 304);
            }
            let malformed = house.ask("GET", target, "If-None-Match: 17\r\n", b"").await;
            assert_eq!(malformed.status, 400);
            house.fake.seen.set(|view| view.epoch = Epoch(4));
            let answer = house.ask("GET", target, &format!("If-None-Match: {tag}\r\n"), b"").await;
            assert_eq!((answer.status, &answer.json()["epoch"]), (200, &json!(4)));
            assert_ne!(answer.header("etag"), Some(&*tag));
        }
    });
}

#[test]
fn a_tag_changes_with_what_the_document_says_and_the_maps_with_nothing_else() {
    run(async {
        let house = House::new();
        let (map, shards) = ("/v1/cluster/map", "/v1/cluster/shards");
        let mut before = (tag(&house, map).await, tag(&house, shards).await);
        // What clients write and how old something is: no news of the map.
        house.fake.seen.set(|view| {
            view.shards[2].keys += 1;
            view.nodes[0].heard_ms = Some(70);
            view.shards[0].replicas[0].apply_lag = Some(3);
        });
        let now = (tag(&house, map).await, tag(&house, shards).await);
        assert!(now.0 == before.0 && now.1 != before.1, "{before:?} {now:?}");
        before = now;
        let changes: [fn(&mut ringfort_types::request::ClusterView); 4] = [
            |view| view.shards[2].leader = None,
            |view| view.shards[2].term = Some(Term(8)),
            |view| view.shards[2].replicas[0].role = "learner",
            |view| view.shards[2].replicas[0].id = ReplicaId(9),
        ];
        for change in changes {
            house.fake.seen.set(change);
            let now = (tag(&house, map).await, tag(&house, shards).await);
            assert!(now.0 != before.0 && now.1 != before.1, "{before:?} {now:?}");
            before = now;
        }
        house.fake.seen.set(|view| view.nodes[0].client = "127.0.0.1:7999".to_owned());
        assert_ne!(tag(&house, map).await, before.0);
    });
}

#[test]
fn the_route_of_a_key() {
    run(async {
        let house = House::new();
        for (query, key, member) in [
            ("key=a", &b"a"[..], json!({"key": "a"})),
            ("key=a%2Fb", b"a/b", json!({"key": "a/b"})),
            ("key=%ff", b"\xff", json!({"key_b64": "/w=="})),
            ("key=a&encoding=base64", b"a", json!({"key_b64": "YQ=="})),
        ] {
            let route = house.get(&format!("/v1/cluster/route?{query}")).await.json();
            let token = Key::new(key.to_vec()).unwrap().token(NamespaceId(0));
            assert_eq!(route["token"], format!("{:016x}", token.0));
            assert_eq!(route["shard"], shard_of_token(token, SHARDS).0);
            assert_eq!((&route["leader"], &route["epoch"]), (&json!("a"), &json!(3)));
            for (name, value) in member.as_object().unwrap() {
                assert_eq!(&route[name], value);
            }
        }
    });
}

#[test]
fn nodes_are_drained_and_removed() {
    run(async {
        let house = House::new();
        let drain = house.post("/v1/cluster/nodes/node-b/drain", "").await;
        assert_eq!(
            (drain.status, drain.text()),
            (202, r#"{"watch":"/v1/cluster/shards?node=node-b"}"#)
        );
        assert_eq!(drain.header("location"), Some("/v1/cluster/shards?node=node-b"));
        assert_eq!(house.post("/v1/cluster/nodes/c/drain", " {} ").await.status, 202);
        let remove = house.ask("DELETE", "/v1/cluster/nodes/node%2Db", "", b"").await;
        assert_eq!((remove.status, remove.text()), (202, r#"{"watch":"/v1/cluster/nodes"}"#));
        assert_eq!(*house.fake.left.borrow(), ["drain node-b", "drain c", "remove node-b"]);
    });
}

#[test]
fn a_cluster_is_formed() {
    run(async {
        let house = House::new();
        for body in ["", "{}"] {
            let formed = house.post("/v1/cluster/init", body).await;
            let document = r#"{"cluster_id":"00000000000000000000000000000abc"}"#;
            assert_eq!((formed.status, formed.text()), (200, document));
        }
        for method in ["GET", "PUT"] {
            let answer = house.ask(method, "/v1/cluster/init", "", b"").await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
        }
        let detail = "the cluster 0abc is formed already";
        house.fake.set_mood(Mood::Refuse(Refusal::not_applied(Code::Unavailable, detail)));
        let refused = house.post("/v1/cluster/init", "").await;
        assert_eq!((refused.status, &*refused.detail()), (503, detail));
        assert_eq!(refused.json()["outcome"], "not_applied");
        assert_eq!(*house.fake.left.borrow(), ["init", "init"]);
    });
}

#[test]
fn the_body_of_a_change_is_nothing_or_an_empty_object() {
    run(async {
        let house = House::new();
        for body in ["[]", "null", "0", "\"\"", "{\"a\":1}", "{}{}", "{"] {
            for target in ["/v1/cluster/nodes/c/drain", "/v1/cluster/init"] {
                let answer = house.post(target, body).await;
                assert_eq!((answer.status, answer.code()), (400, "invalid_argument"), "{body}");
            }
        }
        assert!(house.fake.left.borrow().is_empty());
    });
}

#[test]
fn trying_again_is_advised_where_it_helps() {
    const OPS: &str = r#"{"ops":[{"op":"get","key":"a"}]}"#;
    run(async {
        let house = House::new();
        for (method, target, body, helps) in [
            ("GET", "/v1/kv/a", "", true),
            ("PUT", "/v1/kv/a", "1", true),
            ("DELETE", "/v1/kv/a", "", true),
            ("GET", "/v1/kv", "", true),
            ("POST", "/v1/batch", OPS, true),
            ("POST", "/v1/cluster/nodes/a/drain", "", false),
            ("DELETE", "/v1/cluster/nodes/a", "", false),
            ("POST", "/v1/cluster/init", "", false),
            ("GET", "/v1/cluster", "", false),
        ] {
            let refusal = Refusal::not_applied(Code::Unavailable, "not as things stand");
            house.fake.set_mood(Mood::Refuse(refusal));
            let json = if method == "POST" { "Content-Type: application/json\r\n" } else { "" };
            let answer = house.ask(method, target, json, body.as_bytes()).await;
            assert_eq!(answer.status, 503, "{method} {target}");
            assert_eq!(answer.header("retry-after"), helps.then_some("1"), "{method} {target}");
        }
    });
}
