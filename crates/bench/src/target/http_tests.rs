//! Answers whole, in pieces, and broken.

use super::*;
use crate::workload::{Random, key_of};

fn values() -> Values {
    Values::new(20, &mut Random::new(1))
}

fn codec() -> HttpCodec {
    HttpCodec::new(&Endpoint {
        authority: "127.0.0.1:7400".to_owned(),
        address: ([127, 0, 0, 1], 7400).into(),
    })
}

fn decode(kind: Kind, input: &[u8]) -> Result<Option<Decoded>, Failure> {
    let values = values();
    let key = key_of(1);
    let expected = Expected { kind, key: &key, values: &values, allow_absent: false };
    codec().decode(&expected, input)
}

fn code(kind: Kind, input: &[u8]) -> String {
    match decode(kind, input) {
        Ok(Some(decoded)) => match decoded.verdict {
            Ok(()) => "good".to_owned(),
            Err(failure) => failure.code.into_owned(),
        },
        Ok(None) => "incomplete".to_owned(),
        Err(failure) => failure.code.into_owned(),
    }
}

#[test]
fn a_put_is_a_head_and_the_value() {
    let arguments = crate::command::tests::arguments(&["--keys", "1", "--workload", "load"]);
    let mut operations = crate::workload::Operations::new(&arguments);
    let operation = operations.next().unwrap();
    let mut out = Vec::new();
    codec().encode(&operation, &values(), &mut out);
    let head = "PUT /v1/kv/0000000000000000 HTTP/1.1\r\nHost: 127.0.0.1:7400\r\nContent-Length: 20\r\n\r\n";
    assert!(out.starts_with(head.as_bytes()));
    assert_eq!(out.len(), head.len() + 20);
}

#[test]
fn an_answer_may_come_in_pieces() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\netag: \"17\"\r\n\r\n{\"version\":9}";
    for cut in 0..answer.len() {
        assert_eq!(decode(Kind::Put, &answer[..cut]), Ok(None), "{cut} bytes");
    }
    let decoded = decode(Kind::Put, answer).unwrap().unwrap();
    assert_eq!(decoded.consumed, answer.len());
    assert_eq!(decoded.verdict, Ok(()));
    assert!(!decoded.closes);
}

#[test]
fn answers_are_judged() {
    let put = |body: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        code(Kind::Put, answer.as_bytes())
    };
    assert_eq!(put("{\"version\":17}"), "good");
    for body in ["", "{}", "{\"version\":0}", "{\"version\":}", "{\"version\":1x}"] {
        assert_eq!(put(body), "bad_answer", "{body}");
    }
    let get = |status: &str, headers: &str, body: &str| {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        code(Kind::Get, answer.as_bytes())
    };
    assert_eq!(get("200 OK", "", "0000000000000001abcd"), "good");
    assert_eq!(get("200 OK", "", "0000000000000002abcd"), "value_mismatch");
    assert_eq!(get("200 OK", "", "0000000000000001"), "value_mismatch");
    let absent = "Ringfort-Code: key_not_found\r\n";
    assert_eq!(get("404 Not Found", absent, "{}"), "key_not_found");
    let overloaded = "ringfort-code: overloaded\r\n";
    assert_eq!(get("429 Too Many Requests", overloaded, "{}"), "overloaded");
    assert_eq!(get("502 Bad Gateway", "", ""), "http_502");
}

#[test]
fn what_is_no_answer_is_refused() {
    assert_eq!(code(Kind::Put, b"+OK\r\n"), "protocol");
    assert_eq!(code(Kind::Put, b"HTTP/1.1 200 OK\r\n\r\n"), "protocol");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(code(Kind::Put, chunked), "protocol");
    for length in ["-1", "x", "99999999999999999999", "18446744073709551615"] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(code(Kind::Put, answer.as_bytes()), "protocol", "{length}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(code(Kind::Put, endless.as_bytes()), "protocol");
}
