//! `POST /v1/batch`.

use ringfort_types::request::Limits;
use ringfort_types::{Code, Refusal};
use serde_json::json;

use crate::client::{House, run};
use crate::fake::Mood;

#[test]
fn results_stand_in_order_with_the_fields_of_single_requests() {
    run(async {
        let house = House::new();
        let answer = house
            .post(
                "/v1/batch",
                r#"{"ops":[
                    {"op":"put","key":"a","value":"1","ttl":"30s"},
                    {"op":"get","key":"a"},
                    {"op":"put","key":"a","value":"2","if_version":16},
                    {"op":"put","key":"a","value":"2","if_version":17},
                    {"op":"delete","key":"a","if_version":18},
                    {"op":"delete","key":"a"},
                    {"op":"get","key":"a"},
                    {"op":"put","key":"a","value":"3","if_version":0}
                ]}"#,
            )
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let mut results = answer.json()["results"].clone();
        let detail = results[2].as_object_mut().unwrap().remove("detail");
        assert!(detail.unwrap().as_str().unwrap().contains("version 17"));
        assert_eq!(
            results,
            json!([
                {"status": 200, "version": 17},
                {"status": 200, "version": 17, "value": "1", "ttl_ms": 30000},
                {"status": 412, "code": "precondition_failed", "outcome": "not_applied", "current_version": 17},
                {"status": 200, "version": 18},
                {"status": 200, "deleted": true, "version": 19},
                {"status": 200, "deleted": false},
                {"status": 404, "code": "key_not_found"},
                {"status": 200, "version": 20},
            ])
        );
    });
}

#[test]
fn bytes_of_any_kind() {
    run(async {
        let house = House::new();
        let ops = r#"{"ops":[
            {"op":"put","key_b64":"AP8=","value_b64":"/w"},
            {"op":"put","key":"\u0000\"ä\ud83d\ude00","value":"\n\\"},
            {"op":"get","key_b64":"AP8"},
            {"op":"get","key":"\u0000\"ä😀"}
        ],"atomic":false}"#;
        let plain = house.post("/v1/batch", ops).await.json();
        assert_eq!(plain["results"][2]["value_b64"], "/w==");
        assert_eq!(plain["results"][3]["value"], "\n\\");
        assert_eq!(house.fake.value(b"\x00\xff").as_deref(), Some(&b"\xff"[..]));
        assert_eq!(house.fake.value("\0\"ä😀".as_bytes()).as_deref(), Some(&b"\n\\"[..]));
        let forced = house.post("/v1/batch?encoding=base64", ops).await.json();
        assert_eq!(forced["results"][3]["value_b64"], "Clw=");
        assert_eq!(forced["results"][3].get("value"), None);
    });
}

#[test]
fn an_atomic_batch_is_all_or_nothing() {
    run(async {
        let house = House::new();
        let answer = house
            .post(
                "/v1/batch",
                r#"{"atomic":true,"ops":[{"op":"put","key":"{u}a","value":"1"},{"op":"put","key":"{u}b","value":"1","if_version":5}]}"#,
            )
            .await;
        assert_eq!((answer.status, answer.code()), (412, "precondition_failed"));
        let problem = answer.json();
        assert_eq!(problem["failed_op"], 1);
        assert_eq!(problem["current_version"], 0);
        assert_eq!(problem["outcome"], "not_applied");
        assert!(house.fake.is_empty());
        for (first, second, status) in [
            ("{u}a", "{u}b", 200),
            ("a", "a", 200),
            ("a", "{a}", 200),
            ("a", "b", 400),
            ("{u}a", "{v}a", 400),
            ("{}a", "{}b", 400),
        ] {
            let ops = format!(
                r#"{{"atomic":true,"ops":[{{"op":"put","key":"{first}","value":""}},{{"op":"get","key":"{second}"}}]}}"#
            );
            let answer = house.post("/v1/batch", &ops).await;
            assert_eq!(answer.status, status, "{first} {second}");
            if status == 400 {
                assert_eq!(
                    (answer.code(), answer.outcome().as_str()),
                    ("cross_shard", "not_applied")
                );
                assert!(answer.detail().contains("ops[1]"));
            }
        }
    });
}

#[test]
fn what_is_malformed_is_named() {
    const ONE: &str = r#"{"op":"get","key":"a"}"#;
    let many = format!("{{\"ops\":[{}]}}", vec![ONE; 1001].join(","));
    let deep = format!("{{\"ops\":{}", "[".repeat(100_000));
    let cases: &[(&str, &str)] = &[
        ("", "EOF"),
        ("[]", "expected an object"),
        (r#"[[{"op":"get","key":"a"}],false]"#, "expected an object"),
        (r#"{"ops":[["get","a",null,null,null,null,null]]}"#, "expected an object"),
        (r#"{"ops":[["get"]]}"#, "expected an object"),
        ("{}", "ops"),
        ("{\"ops\":null}", "list"),
        ("{\"ops\":[]}", "no operations"),
        ("{\"ops\":[1]}", "body"),
        (&many, "1000"),
        (&deep, "body"),
        ("{\"ops\":[],\"ops\":[]}", "duplicate field `ops`"),
        (r#"{"ops":[{"op":"get","key":"a"}],"atomic":null}"#, "null"),
        (r#"{"ops":[{"op":"get","key":"a"}],"atomic":"yes"}"#, "yes"),
        (r#"{"ops":[{"op":"get","key":"a"}],"Atomic":true}"#, "Atomic"),
        (r#"{"ops":[{"op":"get","key":"a"}]} x"#, "trailing"),
        (r#"{"ops":[{"op":"patch","key":"a"}]}"#, "patch"),
        (r#"{"ops":[{"key":"a"}]}"#, "op"),
        (r#"{"ops":[{"op":"get"}]}"#, "ops[0]: it names no key"),
        (r#"{"ops":[{"op":"get","key":null}]}"#, "null"),
        (r#"{"ops":[{"op":"get","key":""}]}"#, "ops[0]: the key is empty"),
        (r#"{"ops":[{"op":"get","key":"a","key_b64":"YQ=="}]}"#, "exclude"),
        (r#"{"ops":[{"op":"get","key_b64":"a*"}]}"#, "key_b64 is not Base64"),
        (r#"{"ops":[{"op":"get","key":"\ud800"}]}"#, "hex escape"),
        (r#"{"ops":[{"op":"get","key":"a","value":"1"}]}"#, "value has no meaning"),
        (r#"{"ops":[{"op":"get","key":"a","if_version":1}]}"#, "if_version has no meaning"),
        (r#"{"ops":[{"op":"delete","key":"a","ttl":"1s"}]}"#, "ttl has no meaning"),
        (r#"{"ops":[{"op":"put","key":"a"}]}"#, "needs a value"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","value_b64":"MQ=="}]}"#, "exclude"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","ttl":"1w"}]}"#, "ops[0]: ttl"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","ttl":"0s"}]}"#, "ttl"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","ttl":null}]}"#, "null"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","if_version":null}]}"#, "null"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","if_version":-1}]}"#, "-1"),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","if_version":1.5}]}"#, "1.5"),
        (
            r#"{"ops":[{"op":"put","key":"a","value":"1","if_version":9007199254740992}]}"#,
            "if_version",
        ),
        (r#"{"ops":[{"op":"put","key":"a","value":"1","if_match":"17"}]}"#, "if_match"),
        (r#"{"ops":[{"op":"get","key":"a"},{"op":"put","key":"a","value":1}]}"#, "string"),
        ("{\"ops\":[{\"op\":\"get\",\"key\":\"\u{1}\"}]}", "control character"),
    ];
    run(async {
        let house = House::new();
        for (body, detail) in cases {
            let shown = &body[..body.len().min(100)];
            let answer = house.post("/v1/batch", body).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_argument"), "{shown}");
            assert_eq!(answer.outcome(), "not_applied");
            assert!(answer.detail().contains(detail), "{shown}: {}", answer.detail());
        }
        let json = "Content-Type: application/json; charset=utf-8\r\n";
        let answer = house.ask("POST", "/v1/batch", json, b"{\"ops\":\"\xff\"}").await;
        assert_eq!(answer.status, 400);
        assert!(house.fake.last_context.borrow().is_none(), "nothing reached the backend");
    });
}

#[test]
fn a_member_of_another_type_is_named() {
    let put = |members: &str| format!(r#"{{"op":"put","key":"a","value":"1",{members}}}"#);
    let cases: &[(&str, &str)] = &[
        (r#"{"op":{"put":null},"key":"a","value":"1"}"#, "ops[1].op is one of"),
        (r#"{"op":{"get":null},"key":"a"}"#, "ops[1].op is one of"),
        (r#"{"op":["get"],"key":"a"}"#, "ops[1].op is one of"),
        (r#"{"op":0,"key":"a"}"#, "ops[1].op is one of"),
        (r#"{"op":"Get","key":"a"}"#, "ops[1].op is one of"),
        (r#"{"op":"get ","key":"a"}"#, "ops[1].op is one of"),
        (r#"{"op":null,"key":"a"}"#, "ops[1].op is one of"),
        (r#"{"key":"a"}"#, "ops[1].op is missing"),
        (r#"{"op":"get","op":"put","key":"a"}"#, "ops[1]: duplicate field `op`"),
        (r#"{"op":"get","key":"a","k\u0065y":"b"}"#, "ops[1]: duplicate field `key`"),
        (r#"{"op":"get","key":["a"]}"#, "ops[1].key is a string"),
        (r#"{"op":"get","key":17}"#, "ops[1].key is a string"),
        (r#"{"op":"get","key_b64":{"a":1}}"#, "ops[1].key_b64 is a string"),
        (&put(r#""value_b64":true"#), "ops[1].value_b64 is a string"),
        (&put(r#""ttl":30"#), "ops[1].ttl is a string"),
        (&put(r#""ttl":{"secs":30,"nanos":0}"#), "ops[1].ttl is a string"),
        (&put(r#""ttl":" 30s""#), "ops[1]: ttl"),
        (&put(r#""ttl":"+30s""#), "ops[1]: ttl"),
        (&put(r#""ttl":"30S""#), "ops[1]: ttl"),
        (&put(r#""ttl":"1.5s""#), "ops[1]: ttl"),
        (&put(r#""if_version":"17""#), "ops[1].if_version is a whole number"),
        (&put(r#""if_version":17.0"#), "ops[1].if_version is a whole number"),
        (&put(r#""if_version":1e1"#), "ops[1].if_version is a whole number"),
        (&put(r#""if_version":-0"#), "ops[1].if_version is a whole number"),
        (&put(r#""if_version":true"#), "ops[1].if_version is a whole number"),
        (&put(r#""if_version":18446744073709551616"#), "ops[1].if_version is a whole number"),
        (&put(r#""if_version":017"#), "ops[1]: "),
        (&put(r#""if_version":NaN"#), "ops[1]: "),
        (&put(r#""if_version":1,"if_version":1"#), "ops[1]: duplicate field `if_version`"),
        (&put(r#""ttl":"1s","#), "ops[1]: "),
    ];
    run(async {
        let house = House::new();
        for (operation, detail) in cases {
            let body = format!(r#"{{"ops":[{{"op":"get","key":"a"}},{operation}]}}"#);
            let answer = house.post("/v1/batch", &body).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_argument"), "{operation}");
            assert!(answer.detail().contains(detail), "{operation}: {}", answer.detail());
        }
        for atomic in ["1", "\"true\"", "[true]", "{\"true\":null}", "null"] {
            let body = format!(r#"{{"ops":[{{"op":"get","key":"a"}}],"atomic":{atomic}}}"#);
            let answer = house.post("/v1/batch", &body).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_argument"), "{atomic}");
            assert!(answer.detail().contains("atomic is true or false"), "{}", answer.detail());
        }
        assert!(house.fake.last_context.borrow().is_none(), "nothing reached the backend");
    });
}

#[test]
fn keys_and_values_over_the_limit() {
    run(async {
        let house = House::new();
        house.fake.limits.set(Limits { value_bytes_max: 10, request_bytes_max: 10_000 });
        for (key, value) in [(1, 11), (4097, 1)] {
            let ops = format!(
                r#"{{"ops":[{{"op":"get","key":"a"}},{{"op":"put","key":"{}","value":"{}"}}]}}"#,
                "k".repeat(key),
                "v".repeat(value)
            );
            let answer = house.post("/v1/batch", &ops).await;
            assert_eq!((answer.status, answer.code()), (413, "too_large"));
            assert_eq!(answer.outcome(), "not_applied");
            assert!(answer.detail().starts_with("ops[1]: "), "{}", answer.detail());
        }
    });
}

#[test]
fn a_repeated_batch_says_so_for_each_operation() {
    run(async {
        let house = House::new();
        let headers = "Content-Type: application/json\r\nIdempotency-Key: b-1\r\n";
        let ops = br#"{"ops":[{"op":"put","key":"a","value":"1"},{"op":"put","key":"b","value":"1","if_version":9}]}"#;
        let first = house.ask("POST", "/v1/batch", headers, ops).await;
        assert_eq!(first.header("ringfort-replayed"), None);
        let again = house.ask("POST", "/v1/batch", headers, ops).await;
        assert_eq!(again.header("ringfort-replayed"), Some("true"));
        let results = again.json()["results"].clone();
        assert_eq!(results[0], json!({"status": 200, "version": 17, "replayed": true}));
        assert_eq!((&results[1]["status"], &results[1]["replayed"]), (&json!(412), &json!(true)));
    });
}

#[test]
fn a_batch_that_failed_as_a_whole() {
    run(async {
        let house = House::new();
        let ops = r#"{"ops":[{"op":"put","key":"a","value":"1"}]}"#;
        house.fake.set_mood(Mood::Refuse(Refusal::new(Code::Unavailable, "no leader")));
        let answer = house.post("/v1/batch", ops).await;
        assert_eq!((answer.status, answer.outcome().as_str()), (503, "unknown"));
        house.fake.set_mood(Mood::Panic);
        let answer = house.post("/v1/batch", ops).await;
        assert_eq!((answer.status, answer.outcome().as_str()), (500, "unknown"));
    });
}
