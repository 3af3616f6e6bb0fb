//! `GET /v1/kv`.

use serde_json::json;

use crate::client::{House, run};

#[test]
fn a_listing_in_byte_order() {
    run(async {
        let house = House::new();
        house.put("/v1/kv/b?ttl=30s", b"2").await;
        house.put("/v1/kv/a", b"1").await;
        house.put("/v1/kv/%ff", b"\xfe").await;
        let answer = house.get("/v1/kv").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.text(),
            concat!(
                r#"{"items":[{"key":"a","value":"1","version":18},"#,
                r#"{"key":"b","value":"2","version":17,"ttl_ms":30000},"#,
                r#"{"key_b64":"/w==","value_b64":"/g==","version":19}],"next_cursor":null}"#
            )
        );
        let keys = house.get("/v1/kv?keys_only=true&end=b").await.json();
        assert_eq!(keys, json!({"items": [{"key": "a", "version": 18}], "next_cursor": null}));
        let forced = house.get("/v1/kv?encoding=base64&prefix=a&keys_only=false").await.json();
        assert_eq!(
            forced["items"],
            json!([{"key_b64": "YQ==", "value_b64": "MQ==", "version": 18}])
        );
        let none = house.get("/v1/kv?prefix=zz&start=&end=").await;
        assert_eq!(none.text(), r#"{"items":[],"next_cursor":null}"#);
        let stale = house.get("/v1/kv?consistency=stale").await;
        assert_eq!(stale.header("ringfort-staleness-ms"), Some("8"));
        assert_eq!(answer.header("ringfort-staleness-ms"), None);
        let head = house.ask("HEAD", "/v1/kv", "", b"").await;
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()));
    });
}

#[test]
fn cursors_lead_to_the_end_and_fit_their_parameters_only() {
    run(async {
        let house = House::new();
        for number in 0..25 {
            house.fake.insert(format!("k{number:02}").as_bytes(), "v");
        }
        house.fake.insert(b"other", "v");
        let mut keys = Vec::new();
        let mut cursor = String::new();
        let mut pages = 0;
        loop {
            let page = house.get(&format!("/v1/kv?limit=10&prefix=k{cursor}")).await.json();
            pages += 1;
            for item in page["items"].as_array().unwrap() {
                keys.push(item["key"].as_str().unwrap().to_owned());
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(next.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
            cursor = format!("&cursor={next}");
        }
        let expected: Vec<_> = (0..25).map(|number| format!("k{number:02}")).collect();
        assert_eq!((keys, pages), (expected, 3));

        // Another door, as after a restart, takes it; with other parameters nobody does.
        let again = House::new();
        assert_eq!(again.get(&format!("/v1/kv?limit=10&prefix=k{cursor}")).await.status, 200);
        for other in [
            "limit=11&prefix=k",
            "limit=10",
            "limit=10&prefix=k&keys_only=true",
            "limit=10&prefix=k&start=k",
        ] {
            let answer = again.get(&format!("/v1/kv?{other}{cursor}")).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_argument"), "{other}");
            assert!(answer.detail().contains("cursor"));
        }
        // The default is a parameter like any other, said or unsaid.
        for number in 0..200 {
            again.fake.insert(format!("{number:03}").as_bytes(), "v");
        }
        let page = again.get("/v1/kv").await.json();
        let next = page["next_cursor"].as_str().unwrap();
        let page = again.get(&format!("/v1/kv?limit=100&cursor={next}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 100);
    });
}
