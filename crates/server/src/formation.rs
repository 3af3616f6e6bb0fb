//! Hosts the formation of a cluster: asks, answers, and keeps on disk what must not be forgotten.
//!
//! Until the cluster is there, this is all that a node does, on a thread of its own; from then on the first worker goes on
//! answering those that come late.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ringfort_node::control::formation::{
    Answer, AskId, Formation, FormationConfig, FormationEffect, InitError, QuestionId,
};
use ringfort_node::control::{FormationMessage, FormationRecord, IdentityContent};
use ringfort_proto::cluster as wire;
use ringfort_proto::decode_message;
use ringfort_proto::peer::Refused;
use ringfort_types::{ClusterId, NodeNumber};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::clock;
use crate::disk::FileDisk;
use crate::fatal;
use crate::identity::{self, IdentityError};
use crate::peers::{
    Answered, Channel, Directory, Hello, Loss, PeerHost, PeerLinks, PeerOptions, PeerTls, Received,
};
use crate::server::{Phase, reached};

/// Longest time between two looks at what is due.
const TICK_MAX: Duration = Duration::from_millis(250);

/// An operator's wish for a cluster, and where the answer goes.
pub(crate) type Init = oneshot::Sender<Result<ClusterId, InitError>>;

/// The formation core with its shell, on one thread.
pub(crate) struct FormationHost {
    core: RefCell<Formation>,
    waiting: RefCell<BTreeMap<QuestionId, oneshot::Sender<Answer>>>,
    last_question: Cell<u64>,
    disk: RefCell<FileDisk>,
    identity: RefCell<IdentityContent>,
    changed: Notify,
    failed: RefCell<Option<IdentityError>>,
    inits: RefCell<Vec<Init>>,
}

impl FormationHost {
    pub(crate) fn new(config: FormationConfig, identity: IdentityContent, disk: FileDisk) -> Self {
        Self {
            core: RefCell::new(Formation::new(config, identity.formation.clone())),
            waiting: RefCell::default(),
            last_question: Cell::new(0),
            disk: RefCell::new(disk),
            identity: RefCell::new(identity),
            changed: Notify::new(),
            failed: RefCell::default(),
            inits: RefCell::default(),
        }
    }

    /// Asks and answers until the cluster is there; for ever if it is there already.
    async fn run(self: &Rc<Self>, links: &Rc<PeerLinks>, until_formed: bool) {
        loop {
            self.core.borrow_mut().handle_tick(clock::now());
            self.settle(links);
            let formed = self.core.borrow().formed().is_some();
            if (formed && until_formed) || self.failed.borrow().is_some() {
                return;
            }
            let due = self.core.borrow().next_tick();
            let wait = due.map_or(TICK_MAX, |due| due.since(clock::now()).min(TICK_MAX));
            // Until something came, or something is due.
            let wait = wait.max(Duration::from_millis(1));
            drop(tokio::time::timeout(wait, self.changed.notified()).await);
        }
    }

    /// Does what the core wants done.
    fn settle(self: &Rc<Self>, links: &Rc<PeerLinks>) {
        loop {
            let effect = self.core.borrow_mut().poll_effect();
            match effect {
                None => return,
                Some(FormationEffect::Ask { id, address, question }) => {
                    self.ask(
                        links,
                        id,
                        address,
                        wire::FormationMessage::from(&question).encode_to_vec(),
                    );
                }
                Some(FormationEffect::Answer { to, answer }) => {
                    if let Some(waiting) = self.waiting.borrow_mut().remove(&to) {
                        // Whoever asked may have gone.
                        drop(waiting.send(answer));
                    }
                }
                Some(FormationEffect::Persist(state)) => {
                    let mut identity = self.identity.borrow_mut();
                    identity.formation = state;
                    if let Err(error) = identity::write(&mut *self.disk.borrow_mut(), &identity) {
                        *self.failed.borrow_mut() = Some(error);
                        return;
                    }
                    self.core.borrow_mut().handle_durable(clock::now());
                }
                Some(FormationEffect::Decided(record)) => self.decided(&record),
                Some(FormationEffect::Finding(finding)) => tracing::warn!("{finding}"),
            }
        }
    }

    fn decided(&self, record: &FormationRecord) {
        for init in self.inits.borrow_mut().drain(..) {
            drop(init.send(Ok(record.cluster_id)));
        }
    }

    fn ask(self: &Rc<Self>, links: &Rc<PeerLinks>, id: AskId, address: String, question: Vec<u8>) {
        let (host, links) = (Rc::clone(self), Rc::clone(links));
        tokio::task::spawn_local(async move {
            let answered = links.ask(&address, &question).await;
            let answer = match answered {
                Ok(Answered { from, message }) => {
                    let answer = match decode(message) {
                        Some(FormationMessage::Answer(answer)) => Some(answer),
                        _ => None,
                    };
                    let (node, understood) = (from.node_id, answer.is_some());
                    tracing::trace!(address, %node, understood, "an answer");
                    answer
                }
                Err(error) => {
                    tracing::debug!(address, "no answer: {error}");
                    None
                }
            };
            fatal::guard(|| host.core.borrow_mut().handle_answer(clock::now(), id, answer));
            host.changed.notify_one();
        });
    }

    /// Answers a question of another node.
    pub(crate) async fn answer(&self, question: Bytes) -> Option<Bytes> {
        let Some(FormationMessage::Question(question)) = decode(question) else {
            return None;
        };
        let id = QuestionId(self.last_question.get() + 1);
        self.last_question.set(id.0);
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, sender);
        self.core.borrow_mut().handle_question(clock::now(), id, question);
        self.changed.notify_one();
        let answer = receiver.await.ok()?;
        Some(wire::FormationMessage::from(&answer).encode_to_vec().into())
    }

    fn init(&self, init: Init) {
        let begun = self.core.borrow_mut().handle_init(clock::now());
        match begun {
            Ok(()) => {
                let mut inits = self.inits.borrow_mut();
                // Whoever stopped waiting asks again, or not.
                inits.retain(|init| !init.is_closed());
                inits.push(init);
            }
            Err(error) => drop(init.send(Err(error))),
        }
        self.changed.notify_one();
    }

    /// Goes on answering, for ever, as a worker's task.
    pub(crate) async fn serve(self: Rc<Self>, links: Rc<PeerLinks>) {
        self.run(&links, false).await;
        if let Some(error) = self.failed.take() {
            tracing::error!("the identity cannot be written: {error}");
        }
    }
}

fn decode(message: Bytes) -> Option<FormationMessage> {
    decode_message::<wire::FormationMessage>(message).ok()?.try_into().ok()
}

/// What a node without a cluster answers to other nodes: questions, and nothing else.
struct Unformed(Rc<FormationHost>);

impl PeerHost for Unformed {
    fn admit(&self, _: &Hello) -> Result<(), Refused> {
        Ok(())
    }

    fn handle_frame(&self, _: Received) {}

    fn handle_up(&self, _: NodeNumber, _: Channel) {}

    fn handle_down(&self, _: NodeNumber, _: Channel, _: Loss) {}

    fn handle_duplicate(&self, _: &Refused) {}

    fn answer(&self, _: &Hello, question: Bytes) -> Pin<Box<dyn Future<Output = Option<Bytes>>>> {
        let host = Rc::clone(&self.0);
        Box::pin(async move { host.answer(question).await })
    }
}

/// Everything that forming takes.
pub(crate) struct Forming {
    pub(crate) config: FormationConfig,
    pub(crate) identity: IdentityContent,
    pub(crate) disk: FileDisk,
    pub(crate) directory: Directory,
    pub(crate) tls: Option<Arc<PeerTls>>,
    pub(crate) socket: std::net::TcpListener,
    pub(crate) inits: mpsc::Receiver<Init>,
    pub(crate) phases: watch::Receiver<Phase>,
}

impl Forming {
    /// Forms the cluster, or finds it formed. Blocks until then; `None` if the start was given up.
    ///
    /// # Errors
    /// The identity cannot be written, or the operating system refused something.
    pub(crate) fn run(self) -> Result<Option<IdentityContent>, FormingError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, self.form())
    }

    async fn form(self) -> Result<Option<IdentityContent>, FormingError> {
        let Self { config, identity, disk, directory, tls, socket, mut inits, phases } = self;
        let host = Rc::new(FormationHost::new(config, identity, disk));
        let peer_host = Rc::new(Unformed(Rc::clone(&host)));
        let options = PeerOptions::default();
        let links = Rc::new(PeerLinks::new(Arc::new(directory), tls, peer_host, options));
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async move { drop(stopped.await) };
        let serving = tokio::task::spawn_local(links.serve(socket, until));
        let for_init = Rc::clone(&host);
        let init = tokio::task::spawn_local(async move {
            while let Some(init) = inits.recv().await {
                for_init.init(init);
            }
        });
        tokio::select! {
            () = host.run(&links, true) => {}
            () = reached(phases, Phase::Stopping) => {}
        }
        init.abort();
        drop(stop);
        // Those under way are answered: the decision is told as it is made.
        drop(tokio::time::timeout(Duration::from_secs(1), serving).await);
        if let Some(error) = host.failed.take() {
            return Err(error.into());
        }
        let formed = host.core.borrow().formed().is_some();
        Ok(formed.then(|| host.identity.borrow().clone()))
    }
}

/// Why no cluster was formed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormingError {
    /// What was granted or decided cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The operating system.
    #[error(transparent)]
    System(#[from] std::io::Error),
}
