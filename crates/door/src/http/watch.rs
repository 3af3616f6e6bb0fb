//! The watch over slow clients, as a policy without a clock: it looks at a connection once per tick and says what to do.
//!
//! ```text
//!                       requests open ──► keep (each has its own deadline)
//!   nothing moved       head begun ─────► abort      a head that takes a whole tick
//!   for a whole tick ─► write blocked ──► abort      an answer that nobody takes
//!                       else ───────────► keep, for `idle_ticks_max` such ticks, then close
//! ```
//!
//! A tick costs one timer per connection and tick, nothing per request. The price is that a bound is kept to one tick
//! only: what is to last at most one tick may last almost two.

use super::link::Link;

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Keep,
    /// Close it, after what is under way.
    Close,
    /// Drop it.
    Abort,
}

/// What was seen at the last tick.
#[derive(Debug)]
pub(crate) struct Watch {
    idle_ticks_max: u64,
    idle_ticks: u64,
    requests: u64,
    written: u64,
    head_begun: bool,
}

impl Watch {
    /// Begins with a new connection.
    pub(crate) fn new(idle_ticks_max: u64) -> Self {
        Self {
            idle_ticks_max,
            idle_ticks: 0,
            requests: 0,
            written: 0,
            // A client that says nothing at all after connecting is as slow as one that stops in a head.
            head_begun: true,
        }
    }

    /// Looks at the connection; called once per tick.
    pub(crate) fn tick(&mut self, link: &Link) -> Verdict {
        let moved = self.requests != link.requests.get() || self.written != link.written.get();
        let head_begun_before = self.head_begun;
        self.requests = link.requests.get();
        self.written = link.written.get();
        self.head_begun = link.requests.get() == 0 || link.head_begun.get();
        if moved || link.open_requests.get() > 0 {
            self.idle_ticks = 0;
            return Verdict::Keep;
        }
        // Over HTTP/2 bytes come without requests as well: pings, settings, windows.
        let slow_head = self.head_begun && head_begun_before && !link.is_http2.get();
        if slow_head || link.write_blocked.get() {
            return Verdict::Abort;
        }
        self.idle_ticks += 1;
        if self.idle_ticks < self.idle_ticks_max { Verdict::Keep } else { Verdict::Close }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(link: &Link) {
        link.note_read(b"GET");
        drop(link.open_request());
    }

    #[test]
    fn silence_after_connecting_ends_the_connection() {
        let link = Link::default();
        assert_eq!(Watch::new(3).tick(&link), Verdict::Abort);
    }

    #[test]
    fn a_head_may_not_take_a_whole_tick() {
        let (link, mut watch) = (Link::default(), Watch::new(3));
        request(&link);
        assert_eq!(watch.tick(&link), Verdict::Keep);
        assert_eq!(watch.tick(&link), Verdict::Keep);
        link.note_read(b"G");
        assert_eq!(watch.tick(&link), Verdict::Keep, "it may have begun just now");
        link.note_read(b"E");
        assert_eq!(watch.tick(&link), Verdict::Abort);
    }

    #[test]
    fn an_answer_may_be_slow_but_must_move() {
        let (link, mut watch) = (Link::default(), Watch::new(3));
        request(&link);
        for _ in 0..10 {
            link.written.set(link.written.get() + 1);
            link.write_blocked.set(true);
            assert_eq!(watch.tick(&link), Verdict::Keep);
        }
        assert_eq!(watch.tick(&link), Verdict::Abort);
    }

    #[test]
    fn an_open_request_is_waited_for() {
        let (link, mut watch) = (Link::default(), Watch::new(1));
        let open = link.open_request();
        link.note_read(b"body");
        for _ in 0..10 {
            assert_eq!(watch.tick(&link), Verdict::Keep);
        }
        drop(open);
        link.head_begun.set(false);
        assert_eq!(watch.tick(&link), Verdict::Close);
    }

    #[test]
    fn an_idle_connection_closes_in_the_end() {
        for http2 in [false, true] {
            let (link, mut watch) = (Link::default(), Watch::new(3));
            request(&link);
            link.is_http2.set(http2);
            assert_eq!(watch.tick(&link), Verdict::Keep);
            if http2 {
                link.note_read(b"ping");
            }
            assert_eq!(watch.tick(&link), Verdict::Keep);
            assert_eq!(watch.tick(&link), Verdict::Keep);
            assert_eq!(watch.tick(&link), Verdict::Close);
        }
    }
}
