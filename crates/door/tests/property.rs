//! Whatever bytes come, every answer is well formed, nothing panics, and the door serves on.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::client::{House, request, run};
use crate::fake::Mood;

/// Pieces that lead somewhere more often than plain noise does.
fn target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/v1/kv/".to_owned()),
        Just("/v1/kv".to_owned()),
        Just("/v1/cluster/nodes/".to_owned()),
        Just("/v1/cluster/route?key=".to_owned()),
        Just("?cursor=AQAAAAAAAAAAYQ".to_owned()),
        Just("?ttl=30s".to_owned()),
        Just("&limit=5".to_owned()),
        Just("%2F".to_owned()),
        Just("/drain".to_owned()),
        "[!-~]{0,6}",
        "%[0-9a-f]{2}",
        "[?&=%+/.]{1,3}",
    ];
    vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat().trim_start_matches('/')))
}

fn header() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("If-Match".to_owned()),
        Just("If-None-Match".to_owned()),
        Just("Idempotency-Key".to_owned()),
        Just("Ringfort-Timeout-Ms".to_owned()),
        Just("Content-Type".to_owned()),
        Just("Ringfort-X".to_owned()),
        "[A-Za-z-]{1,12}".prop_filter("would frame the body", |name| {
            let name = name.to_ascii_lowercase();
            !matches!(
                name.as_str(),
                "content-length"
                    | "transfer-encoding"
                    | "connection"
                    | "expect"
                    | "host"
                    | "upgrade"
                    | "te"
            )
        }),
    ];
    let value = prop_oneof![
        "\"[0-9]{1,18}\"",
        "W/\"1\", \\*?",
        "[0-9]{1,6}",
        "application/json",
        "[ -~]{0,20}"
    ];
    (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"))
}

fn json_body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(r#"{"ops":["#.to_owned()),
        Just(r#"{"op":"put","key":"a","value":"1"}"#.to_owned()),
        Just(r#"{"op":"get","key_b64":"YQ"}"#.to_owned()),
        Just(r#"],"atomic":true}"#.to_owned()),
        Just("]}".to_owned()),
        Just(",".to_owned()),
        "[ -~]{0,8}",
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn requests_of_any_kind_get_well_formed_answers(
        method in prop_oneof![Just("GET"), Just("HEAD"), Just("PUT"), Just("DELETE"), Just("POST"), Just("OPTIONS")],
        target in target(),
        headers in vec(header(), 0..4),
        body in prop_oneof![Just(Vec::new()), vec(any::<u8>(), 0..64), json_body()],
        fragment in 1..200_usize,
    ) {
        run(async {
            let house = House::new();
            house.fake.insert(b"a", "1");
            let mut client = house.connect();
            // Over one connection: each answer is framed such that the next is found.
            for _ in 0..2 {
                for piece in request(method, &target, &headers.concat(), &body).chunks(fragment) {
                    client.send(piece).await;
                    tokio::task::yield_now().await;
                }
                let answer = client.answer_to(method).await;
                assert!(answer.status < 500, "{answer:?}");
                if answer.header("connection") == Some("close") {
                    client = house.connect();
                }
            }
            assert_eq!(house.fake.admitted.get(), 0);
        });
    }

    #[test]
    fn bytes_of_any_kind_end_in_answers_or_in_silence(
        beginning in prop_oneof![Just(Vec::new()), target().prop_map(|target| request("GET", &target, "", b""))],
        noise in vec(any::<u8>(), 0..300),
        cut in 0..64_usize,
    ) {
        run(async {
            let house = House::new();
            house.fake.set_mood(Mood::Serve);
            let mut client = house.connect();
            let bytes = [&beginning[..beginning.len().saturating_sub(cut)], &noise].concat();
            let http2 = bytes.starts_with(b"PRI");
            client.send(&bytes).await;
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
            if !http2 {
                while let Some(answer) = client.read_answer("GET").await {
                    if answer.status != 100 {
                        answer.check("GET");
                    }
                }
            }
            drop(client.stream);
            let ended = client.serving.await;
            assert!(ended.is_ok(), "no panic: {ended:?}");
            assert_eq!(house.get("/v1/kv/a").await.status, 404, "the door serves on");
        });
    }
}
