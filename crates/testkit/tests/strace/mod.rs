//! The reader of traces on hand-made ones: an honest server, and each way of answering too early.

use ringfort_testkit::strace::{Covered, check_acknowledgement, check_directories, parse};

/// Two threads: one that serves a socket, one that writes and syncs the log while the first goes on.
const HONEST: &str = r#"11 1700000000.000001 recvfrom(9<socket:[77]>, "PUT /v1/kv/a HTTP/1.1\r\n\r\nvalue-a", 8192, 0, NULL, NULL) = 40
12 1700000000.000002 pwrite64(7</data/log-1>, "\1\0\0value-a\0", 4096, 8192 <unfinished ...>
11 1700000000.000003 recvfrom(9<socket:[77]>, 0x7f00, 8192, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
12 1700000000.000004 <... pwrite64 resumed>) = 4096
12 1700000000.000005 fdatasync(7</data/log-1> <unfinished ...>
11 1700000000.000006 sendto(10<socket:[78]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0) = 15
12 1700000000.000007 <... fdatasync resumed>) = 0
11 1700000000.000008 sendto(9<socket:[77]>, "HTTP/1.1 200 OK (x)", 15, MSG_NOSIGNAL, NULL, 0) = 15
11 1700000000.000009 --- SIGTERM {si_signo=SIGTERM} ---
12 1700000000.000010 +++ exited with 0 +++
"#;

#[track_caller]
fn check(trace: &str) -> Result<Covered, String> {
    let calls = parse(trace).unwrap();
    check_acknowledgement(&calls, "value-a").map_err(|error| error.to_string())
}

#[track_caller]
fn changed(from: &str, to: &str) -> Result<Covered, String> {
    assert!(HONEST.contains(from), "{from}");
    check(&HONEST.replace(from, to))
}

#[test]
fn an_honest_trace_passes() {
    let covered = Covered { written: 4, sync_entered: 5, sync_returned: 7, answered: 8 };
    assert_eq!(check(HONEST), Ok(covered));
}

#[test]
fn an_answer_before_the_sync_returned_is_found() {
    // The answer takes the place of another connection's, between the two halves of the sync.
    let early = changed("10<socket:[78]>", "9<socket:[77]>");
    assert!(early.unwrap_err().starts_with("the answer of line 6 left before a sync"));
}

#[test]
fn a_sync_that_began_before_the_write_returned_covers_nothing() {
    let lines: Vec<_> = HONEST.lines().collect();
    let mut order = lines.clone();
    // Another thread's sync, begun while the write was still under way.
    order[3] = lines[4];
    order[4] = lines[3];
    let trace = order.join("\n").replace("12 1700000000.000005", "13 1700000000.000005");
    let trace = trace.replace("12 1700000000.000007", "13 1700000000.000007");
    assert!(check(&trace).unwrap_err().contains("left before a sync"));
}

#[test]
fn a_failed_sync_and_one_of_another_file_cover_nothing() {
    let failed =
        changed("fdatasync resumed>) = 0", "fdatasync resumed>) = -1 EIO (Input/output error)");
    assert!(failed.unwrap_err().contains("left before a sync"));
    let other = changed("fdatasync(7</data/log-1>", "fdatasync(8</data/log-2>");
    assert!(other.unwrap_err().contains("left before a sync"));
}

#[test]
fn a_value_that_was_never_written_is_found() {
    let never = changed("\\1\\0\\0value-a\\0", "\\1\\0\\0");
    assert!(never.unwrap_err().contains("left before the value was written"));
    let failed =
        changed("pwrite64 resumed>) = 4096", "pwrite64 resumed>) = -1 EIO (Input/output error)");
    assert!(failed.unwrap_err().contains("left before the value was written"));
}

#[test]
fn a_put_that_the_trace_does_not_show_is_no_proof() {
    let unread = changed("\\r\\n\\r\\nvalue-a", "\\r\\n\\r\\n");
    assert_eq!(unread, Err("no request with this value was read".to_owned()));
    let silent = changed("9<socket:[77]>, \"HTTP/1.1 200 OK (x)\"", "3<socket:[1]>, \"x\"");
    assert_eq!(silent, Err("no answer was sent".to_owned()));
}

#[test]
fn a_value_that_looks_like_a_result_does_not_confuse() {
    let trace = r#"1 1.0 write(7</data/f>, ") = 5 x", 7) = 7"#;
    let calls = parse(trace).unwrap();
    assert_eq!(calls[0].result, Some(7));
    assert_eq!(calls[0].arguments, r#"7</data/f>, ") = 5 x", 7"#);
}

#[test]
fn what_is_no_trace_is_an_error() {
    for trace in
        ["hello", "1 1.0 nothing", "1 1.0 write(7, \"x\", 1)", "1 1.0 <... write resumed>) = 1"]
    {
        assert!(parse(trace).is_err(), "{trace}");
    }
}

#[test]
fn a_directory_whose_name_was_not_synced_before_the_answer_is_found() {
    let made = |sync: &str| {
        let start = "10 1700000000.000000 mkdir(\"/data/a\", 0777) = 0\n";
        let calls = parse(&format!("{start}{sync}{HONEST}")).unwrap();
        check_directories(&calls, "/data", "value-a").map_err(|error| error.to_string())
    };
    assert_eq!(made("10 1700000000.000000 fsync(5</data>) = 0\n"), Ok(1));
    let refused = "left before the name /data/a was durable";
    for sync in [
        "",
        "10 1700000000.000000 fsync(5</data>) = -1 EIO (Input/output error)\n",
        "10 1700000000.000000 fsync(5</data/a>) = 0\n",
    ] {
        let error = made(sync).unwrap_err();
        assert!(error.contains(refused), "{sync}: {error}");
    }
    let late = format!(
        "10 1700000000.000000 mkdir(\"/data/a\", 0777) = 0\n{HONEST}10 1700000000.000011 fsync(5</data>) = 0\n"
    );
    let late = check_directories(&parse(&late).unwrap(), "/data", "value-a").unwrap_err();
    assert!(late.to_string().contains(refused), "{late}");
    let early = format!(
        "10 1700000000.000000 fsync(5</data>) = 0\n10 1700000000.000000 mkdir(\"/data/a\", 0777) = 0\n{HONEST}"
    );
    let early = check_directories(&parse(&early).unwrap(), "/data", "value-a").unwrap_err();
    assert!(early.to_string().contains(refused), "{early}");
}
