//! One connection to one node for one channel, kept up.
//!
//! ```text
//!            first frame            accepted
//!               │                      │
//!               ▼                      ▼
//!            Dialling ─────────────▶  Up
//!               │ fails                │ breaks
//!               ▼                      ▼
//!            Unreachable ◀─────────────┘      dials again and again, until accepted: Up
//! ```
//!
//! Frames are taken while dialling for the first time and while up. What is not written when the link goes down is dropped.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use ringfort_proto::peer::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::boots::{self, Seated};
use super::connection::Connection;
use super::dial::{Dial, DialError};
use super::directory::Peer;
use super::hello::RefusalCode;
use super::links::{Loss, Shared, Unsent, WhyUnsent};
use super::queue::{Bounds, Overflow, Queue};
use super::standing::{Standing, Word};
use super::stats::{LinkKey, LinkStats};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialling,
    Up,
    Unreachable,
}

pub(super) struct Link {
    pub(super) key: LinkKey,
    pub(super) peer: Peer,
    state: Cell<State>,
    queue: RefCell<Queue>,
    /// Whether anything was written since the link was last down.
    has_written: Cell<bool>,
    stats: Cell<LinkStats>,
    wake: Notify,
    nudge: Notify,
    task: RefCell<Option<AbortHandle>>,
    standing: Standing,
    word: Word,
}

impl Link {
    /// Starts dialling.
    pub(super) fn start(key: LinkKey, peer: Peer, bounds: Bounds, shared: &Rc<Shared>) -> Rc<Self> {
        let link = Rc::new(Self {
            key,
            peer,
            state: Cell::new(State::Dialling),
            queue: RefCell::new(Queue::new(bounds)),
            has_written: Cell::new(false),
            stats: Cell::default(),
            wake: Notify::new(),
            nudge: Notify::new(),
            task: RefCell::default(),
            word: shared.options.standing.word(),
            standing: shared.options.standing.clone(),
        });
        let run = run(Rc::clone(&link), Rc::clone(shared));
        let task = tokio::task::spawn_local(run);
        *link.task.borrow_mut() = Some(task.abort_handle());
        link
    }

    pub(super) fn send(&self, frame: Frame) -> Result<(), Unsent> {
        let taken = match self.state.get() {
            _ if self.standing.is_doubted() => Err(WhyUnsent::Doubted),
            State::Unreachable => Err(WhyUnsent::Unreachable),
            State::Dialling | State::Up => {
                self.queue.borrow_mut().push(&frame).map_err(|overflow| match overflow {
                    Overflow::Full => WhyUnsent::Full,
                    Overflow::TooLarge => WhyUnsent::TooLarge,
                })
            }
        };
        match taken {
            Ok(()) => {
                // The writer runs once the turn that sends has ended, and takes all that the turn sent.
                self.wake.notify_one();
                Ok(())
            }
            Err(why) => {
                self.count(|stats| stats.unsent += 1);
                Err(Unsent { frame: Box::new(frame), why })
            }
        }
    }

    /// Takes a frame of another channel, if the link is up and no more bytes than this wait with it.
    pub(super) fn take_along(&self, frame: &Frame, bytes_max: usize) -> bool {
        let is_up = self.state.get() == State::Up && !self.standing.is_doubted();
        let taken = is_up && self.queue.borrow_mut().push_along(frame, bytes_max);
        if taken {
            self.wake.notify_one();
        }
        taken
    }

    /// Dials now, if it waits to dial again.
    pub(super) fn nudge(&self) {
        self.nudge.notify_waiters();
    }

    /// Ends the link for good.
    pub(super) fn close(&self, shared: &Shared) {
        self.abort();
        self.go_down(shared);
    }

    pub(super) fn stats(&self) -> LinkStats {
        let queue = self.queue.borrow();
        LinkStats {
            is_up: self.state.get() == State::Up,
            queue_frames: queue.frames(),
            queue_bytes: queue.bytes(),
            ..self.stats.get()
        }
    }

    /// Ends the link without a word to the host.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }

    fn count(&self, change: impl FnOnce(&mut LinkStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn go_up(&self, shared: &Shared) {
        self.state.set(State::Up);
        self.count(|stats| stats.connects += 1);
        if shared.options.notes.is_over(self.key.0) {
            tracing::info!(node = %self.peer.node_id, address = self.peer.address, "another node is reached again");
        }
        let (node, channel) = self.key;
        shared.tell(|host| host.handle_up(node, channel));
    }

    /// Drops what was not written, and tells the host if it has to know.
    fn go_down(&self, shared: &Shared) {
        let before = self.state.replace(State::Unreachable);
        let dropped = self.queue.borrow_mut().clear();
        self.count(|stats| stats.lost += dropped as u64);
        let loss = if self.has_written.take() { Loss::InDoubt } else { Loss::NotSent };
        if before == State::Up || dropped > 0 {
            let (node, channel) = self.key;
            shared.tell(|host| host.handle_down(node, channel, loss));
        }
    }

    async fn dial(&self, shared: &Shared) -> Result<(Connection, Seated), DialError> {
        let (node, channel) = self.key;
        let hello = shared.hello(channel, node);
        let dial = Dial {
            address: &self.peer.address,
            tls: shared.tls.as_deref(),
            hello: &hello,
            timeout: shared.options.dial_timeout,
        };
        let (connection, answer) = dial.run().await?;
        let directory = shared.directory();
        directory.recognize(&answer, node).map_err(DialError::Unexpected)?;
        let recorded = directory.peers.get(&node).map(|peer| &peer.recorded);
        let seated = if recorded == Some(&self.peer.address) {
            shared.boots.answers(node, answer.boot_id)
        } else {
            boots::seat(shared, &answer).await.map_err(DialError::Unexpected)?
        };
        Ok((connection, seated))
    }

    /// Sends until the connection ends, or may be used no longer.
    async fn serve(&self, shared: &Shared, connection: Connection, seated: &Seated) {
        self.go_up(shared);
        let end = tokio::select! {
            biased;
            () = seated.lost() => io::Error::other("another start of the node is connected"),
            () = self.standing.doubted() => io::Error::other("another node takes another start for this node"),
            end = self.pump(connection) => end,
        };
        let (node_id, channel) = (&self.peer.node_id, self.key.1.as_str());
        tracing::info!(node = %node_id, channel, "a connection to another node ended: {end}");
    }

    /// A dial brought no connection.
    fn handle_failure(&self, shared: &Shared, error: &DialError) {
        let refused = matches!(error, DialError::Refused(_));
        self.count(|stats| {
            stats.dials_failed += 1;
            stats.refusals += u64::from(refused);
        });
        self.report(shared, error);
        match error {
            DialError::Refused(refused) if refused.code == RefusalCode::DuplicateNode.as_str() => {
                if self.word.refused(Instant::now()) >= shared.options.duplicate_max {
                    shared.tell(|host| host.handle_duplicate(refused));
                }
            }
            _ => self.word.unanswered(),
        }
    }

    /// Writes what is queued, until the connection ends. Gives the reason.
    async fn pump(&self, mut connection: Connection) -> io::Error {
        let mut unexpected = [0];
        loop {
            let read = tokio::select! {
                biased;
                () = self.wake.notified() => None,
                read = connection.read(&mut unexpected) => Some(read),
            };
            match read {
                None => {}
                Some(Ok(0)) => return io::Error::other("the other side closed it"),
                Some(Ok(_)) => return io::Error::other("it carried bytes in the wrong direction"),
                Some(Err(error)) => return error,
            }
            if let Err(error) = self.write(&mut connection).await {
                return error;
            }
        }
    }

    async fn write(&self, connection: &mut Connection) -> io::Result<()> {
        loop {
            let Some(batch) = self.queue.borrow_mut().take() else {
                return Ok(());
            };
            self.has_written.set(true);
            connection.write_all(&batch.bytes).await?;
            connection.flush().await?;
            self.count(|stats| {
                stats.frames += batch.frames as u64;
                stats.bytes += batch.bytes.len() as u64;
                stats.writes += 1;
            });
            self.queue.borrow_mut().written(batch);
        }
    }

    fn report(&self, shared: &Shared, error: &DialError) {
        let Peer { node_id, address, .. } = &self.peer;
        let text = format!("{node_id} cannot be reached at {address}: {error}");
        if shared.options.notes.is_due(std::time::Instant::now(), self.key.0, &text) {
            tracing::warn!("{text}");
        } else {
            tracing::debug!("{text}");
        }
    }
}

/// Keeps a link up for as long as it is wanted.
async fn run(link: Rc<Link>, shared: Rc<Shared>) {
    let mut backoff = Backoff::new();
    loop {
        match link.dial(&shared).await {
            Ok((connection, seated)) => {
                link.word.accepted();
                let since = Instant::now();
                // While another node refuses this process, its seat is to be free.
                if !link.standing.is_doubted() {
                    link.serve(&shared, connection, &seated).await;
                }
                // One that breaks as soon as it is made is as good as none.
                if since.elapsed() >= Backoff::MAX {
                    backoff = Backoff::new();
                }
            }
            Err(error) => link.handle_failure(&shared, &error),
        }
        link.go_down(&shared);
        // Without random bytes the waits are not spread, and nothing else is lost.
        let wait = backoff.next(getrandom::u64().unwrap_or(0));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = link.nudge.notified() => {}
        }
    }
}
