//! Costs of a process, from Linux's `/proc/PID`.

use std::fs;

use anyhow::Context;

use super::Cost;

/// Reads a process.
///
/// # Errors
/// There is none, or it belongs to somebody else.
pub(super) fn sample(pid: u32) -> anyhow::Result<Cost> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path} of the server"))
    };
    let (user, system) = cpu_ticks(&read("stat")?).context("/proc/PID/stat has another format")?;
    let us_per_tick = 1e6 / rustix::param::clock_ticks_per_second() as f64;
    let (voluntary, involuntary) = context_switches(pid)?;
    Ok(Cost {
        cpu_user_us: Some(user * us_per_tick),
        cpu_system_us: Some(system * us_per_tick),
        cpu_us: Some((user + system) * us_per_tick),
        switches: Some(voluntary + involuntary),
        involuntary_switches: Some(involuntary),
        syncs: None,
        peer_frames: None,
        peer_bytes: None,
        // Needs more rights than the rest: unknown where they are missing.
        written_bytes: read("io").ok().and_then(|text| field(&text, "write_bytes:")),
        resident_bytes: field(&read("status")?, "VmRSS:").map(|kib| kib * 1024.0),
    })
}

/// CPU time of this process so far, in microseconds.
pub(crate) fn own_cpu_us() -> Option<f64> {
    sample(std::process::id()).ok()?.cpu_us
}

/// User and system time in ticks. The name of the process, in parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> Option<(f64, f64)> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    // The first field here is number 3 of proc(5); utime is 14, stime 15.
    let mut fields = after_name.split(' ').skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some((user, system))
}

/// Voluntary and involuntary switches over all threads that live.
fn context_switches(pid: u32) -> anyhow::Result<(f64, f64)> {
    let mut sums = (0.0, 0.0);
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot list {tasks}"))? {
        // A thread may end between the listing and the reading.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        sums.0 += field(&status, "voluntary_ctxt_switches:").unwrap_or(0.0);
        sums.1 += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0.0);
    }
    Ok(sums)
}

/// The number that follows a name at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_anything() {
        let stat = "12 (a) b) (c) S 1 12 12 0 -1 4194560 10 0 0 0 250 75 0 0 20 0 4 0 100";
        assert_eq!(cpu_ticks(stat), Some((250.0, 75.0)));
        assert_eq!(cpu_ticks("12 (a"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let cost = sample(std::process::id()).unwrap();
        assert!(cost.cpu_us.is_some());
        assert!(cost.resident_bytes.unwrap() > 100_000.0);
        assert!(sample(u32::MAX).is_err());
    }
}
