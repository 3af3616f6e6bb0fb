//! What a node answers to others, and what it makes of their answers.

use ringfort_types::{ClusterId, Monotonic};

use super::super::record::{FormationRecord, NodeInfo};
use super::contacts::{AskId, Went};
use super::{
    Answer, Ask, Formation, FormationState, Grant, Introduction, Question, QuestionId, Refused,
    RefusedCode, Reply,
};

impl Formation {
    /// Another node asks. The answer is an effect, now or once what it says is durable.
    pub fn handle_question(&mut self, now: Monotonic, to: QuestionId, question: Question) {
        self.started(now);
        if let Some(reply) = self.consider(to, question) {
            self.answer(to, reply);
        }
        self.handle_tick(now);
    }

    /// The answer to a question; `None` where there was none, for whatever reason.
    pub fn handle_answer(&mut self, now: Monotonic, id: AskId, answer: Option<Answer>) {
        self.started(now);
        let busy = |answer: &Answer| matches!(&answer.reply, Reply::Refused(refused) if refused.code == RefusedCode::Busy);
        let went = match &answer {
            None => Went::Unreachable,
            Some(answer) if busy(answer) => Went::Busy,
            Some(_) => Went::Answered,
        };
        let address = self.close(id, went, now);
        if let (Some(address), Some(answer)) = (address, answer) {
            self.take_answer(now, id, &address, answer);
        }
        self.handle_tick(now);
    }

    /// What is said to whoever asked for what is durable now.
    pub(super) fn reply_when_durable(&self) -> Reply {
        match (&self.state.formed, &self.state.grant) {
            (Some(record), _) => Reply::Formed(record.clone()),
            (None, Some(grant)) => Reply::Granted(grant.cluster_id),
            (None, None) => Reply::Hello,
        }
    }

    /// The reply to a question; `None` where it has to wait until something is durable.
    fn consider(&mut self, to: QuestionId, question: Question) -> Option<Reply> {
        let Question { asker, ask } = question;
        if asker.node.name == *self.me() {
            return Some(Reply::Hello);
        }
        if asker.node.name.id == self.me().id {
            let finding = self.is_twice(&asker.node.peer);
            self.say(finding.clone());
            return Some(refused(RefusedCode::DuplicateNode, finding));
        }
        if !asker.fits() {
            return Some(refused(RefusedCode::Malformed, "an address or the zone is too long"));
        }
        if let Some(record) = self.state.formed.clone() {
            return Some(self.consider_with_cluster(&record, &asker));
        }
        self.contacts.meet(&asker, self.now);
        self.contacts.hurry_silent(&asker.node.peer, self.now);
        match ask {
            Ask::Hello => {
                if let Some(cluster_id) = asker.cluster_id {
                    self.meet_cluster(cluster_id, &asker.node);
                }
                Some(Reply::Hello)
            }
            Ask::Propose(record) => self.consider_proposal(to, &asker, &record),
            Ask::Formed(record) => self.consider_decision(Some(to), record, &asker.node),
        }
    }

    fn consider_with_cluster(&mut self, record: &FormationRecord, asker: &Introduction) -> Reply {
        let node = &asker.node;
        let mine = record.cluster_id;
        if let Some(other) = asker.cluster_id.filter(|other| *other != mine) {
            self.say(format!(
                "node {} at {} belongs to cluster {other}, this node to {mine}: it was refused; one of the two has the wrong cluster.seeds, or another cluster's data directory",
                node.name.id, node.peer
            ));
            let reason = format!("this node belongs to cluster {mine}, not to {other}");
            return refused(RefusedCode::WrongCluster, reason);
        }
        match record.founder(&node.name.id) {
            Some((_, known)) if known.name != node.name => {
                self.say(other_incarnation(mine, node));
                let reason = other_incarnation(mine, node);
                refused(RefusedCode::OtherIncarnation, reason)
            }
            _ => Reply::Formed(record.clone()),
        }
    }

    fn consider_proposal(
        &mut self,
        to: QuestionId,
        asker: &Introduction,
        record: &FormationRecord,
    ) -> Option<Reply> {
        if let Err(error) = record.check() {
            return Some(refused(RefusedCode::Malformed, error.to_string()));
        }
        let proposer = &asker.node.name;
        if record.number_of(self.me()).is_none() || record.number_of(proposer).is_none() {
            let reason = "the record does not name proposer and founder as they are";
            return Some(refused(RefusedCode::Malformed, reason));
        }
        if self.persisting.is_some() {
            return Some(refused(RefusedCode::Busy, "a state is being made durable"));
        }
        if let Some(cluster) = &self.met_cluster {
            return Some(refused(RefusedCode::Formed, cluster.clone()));
        }
        let cluster_id = record.cluster_id;
        match &self.state.grant {
            Some(grant) if grant.cluster_id == cluster_id && grant.proposer == *proposer => {
                return Some(Reply::Granted(cluster_id));
            }
            Some(grant) if self.is_mine(grant) && proposer.id < self.me().id => {}
            Some(grant) => return Some(refused(RefusedCode::Granted, already_granted(grant))),
            None => {}
        }
        let (proposer, peer) = (proposer.clone(), asker.node.peer.clone());
        let grant = Some(Grant { cluster_id, proposer, peer });
        self.persist(FormationState { grant, formed: None }, Some(to));
        None
    }

    /// A cluster was formed, as `teller` says.
    fn consider_decision(
        &mut self,
        to: Option<QuestionId>,
        record: FormationRecord,
        teller: &NodeInfo,
    ) -> Option<Reply> {
        if let Err(error) = record.check() {
            return Some(refused(RefusedCode::Malformed, error.to_string()));
        }
        if record.number_of(self.me()).is_none() {
            self.meet_cluster_without_me(&record, teller);
            return Some(Reply::Hello);
        }
        if self.persisting.is_some() {
            return Some(refused(RefusedCode::Busy, "a state is being made durable"));
        }
        let grant = self.state.grant.clone();
        if let Some(grant) = grant.as_ref().filter(|grant| grant.cluster_id != record.cluster_id) {
            let finding = format!(
                "cluster {} at {} names this node, which has promised itself to cluster {}: identity.json is an old copy, or this is a bug; nothing was changed",
                record.cluster_id, teller.peer, grant.cluster_id
            );
            self.say(finding.clone());
            return Some(refused(RefusedCode::Granted, finding));
        }
        self.met_cluster = None;
        self.persist(FormationState { grant, formed: Some(record) }, to);
        None
    }

    fn take_answer(&mut self, now: Monotonic, id: AskId, address: &str, answer: Answer) {
        let Answer { answerer, reply } = answer;
        let name = &answerer.node.name;
        if *name == *self.me() {
            self.contacts.name(address, name);
            return;
        }
        if name.id == self.me().id {
            self.say(self.is_twice(address));
            return;
        }
        if !answerer.fits() {
            return;
        }
        self.contacts.name(address, name);
        if let Some(record) = self.state.formed.clone() {
            self.note_who_knows(&record, &answerer);
            return;
        }
        self.contacts.meet(&answerer, now);
        match reply {
            Reply::Hello => {}
            Reply::Granted(cluster_id) => {
                if self.own().is_some_and(|own| own.cluster_id == cluster_id) {
                    self.granted.insert(name.clone());
                }
            }
            Reply::Formed(record) => {
                self.consider_decision(None, record, &answerer.node);
            }
            Reply::Refused(refused) => self.take_refusal(&answerer, &refused),
        }
        self.release(id, &answerer);
    }

    fn take_refusal(&mut self, by: &Introduction, refused: &Refused) {
        if refused.code == RefusedCode::Busy {
            return;
        }
        self.contacts.refuse(&by.node.name, self.now);
        let (id, peer) = (&by.node.name.id, &by.node.peer);
        let said = format!("node {id} at {peer} refuses: {}", refused.reason);
        match refused.code {
            RefusedCode::OtherIncarnation | RefusedCode::Formed => self.meet_cluster_as(said),
            RefusedCode::Granted => {
                // Whoever holds that grant may give way, or this node to it.
                let holder = by.grant.as_ref().filter(|_| self.own().is_some());
                if let Some(peer) = holder.map(|grant| grant.peer.clone()) {
                    self.contacts.add(&peer, self.now);
                }
            }
            _ => self.say(said),
        }
    }

    /// Takes the grant back, if its proposer itself says that it has given that formation up. Only an answer to a question
    /// asked after the grant was durable counts: an earlier one may be from before the proposer began.
    fn release(&mut self, id: AskId, answerer: &Introduction) {
        let grant = self.state.grant.clone().filter(|grant| !self.is_mine(grant));
        let Some(grant) = grant else { return };
        let name = &answerer.node.name;
        if name.id == grant.proposer.id && *name != grant.proposer {
            let finding = format!(
                "this node has promised itself to the formation of node {id} at {}, which comes with another data directory now: its disk was wiped, or two nodes have that id; if no node has a cluster, empty this node's data directory",
                answerer.node.peer,
                id = name.id,
            );
            self.say(finding);
        }
        let holds = answerer.grant.as_ref().map(|held| held.cluster_id) == Some(grant.cluster_id);
        let gave_up = *name == grant.proposer && !holds;
        if gave_up && id > self.asked_before_grant && self.persisting.is_none() {
            self.persist(FormationState::default(), None);
        }
    }

    /// A founder looks who stands at an address that it told.
    fn note_who_knows(&mut self, record: &FormationRecord, answerer: &Introduction) {
        let (node, mine) = (&answerer.node, record.cluster_id);
        match answerer.cluster_id {
            Some(theirs) if theirs == mine => {}
            Some(theirs) => self.say(format!(
                "node {} at {} belongs to cluster {theirs}, this node to {mine}: one of the two has the wrong cluster.seeds, or another cluster's data directory",
                node.name.id, node.peer
            )),
            None if record.number_of(&node.name).is_some() => return,
            None if record.founder(&node.name.id).is_some() => {
                self.say(other_incarnation(mine, node));
            }
            None => {}
        }
        self.told.insert(node.name.clone());
    }

    fn meet_cluster(&mut self, cluster_id: ClusterId, teller: &NodeInfo) {
        self.meet_cluster_as(format!(
            "node {} at {} belongs to cluster {cluster_id}: this node forms no other one, and waits to be told that it belongs there",
            teller.name.id, teller.peer
        ));
    }

    fn meet_cluster_without_me(&mut self, record: &FormationRecord, teller: &NodeInfo) {
        let cluster_id = record.cluster_id;
        let finding = match record.founder(&self.me().id) {
            Some(_) => other_incarnation(cluster_id, &self.config.me),
            None => format!(
                "cluster {cluster_id}, met at {}, was formed without this node: it waits to join",
                teller.peer
            ),
        };
        self.meet_cluster_as(finding);
    }

    fn meet_cluster_as(&mut self, finding: String) {
        self.say(finding.clone());
        self.met_cluster = Some(finding);
    }

    fn is_twice(&self, other: &str) -> String {
        format!(
            "node id {} is used at {} and at {other}, with different data directories: give one of them another node.id",
            self.me().id,
            self.config.me.peer
        )
    }
}

fn refused(code: RefusedCode, reason: impl Into<String>) -> Reply {
    Reply::Refused(Refused { code, reason: reason.into() })
}

fn already_granted(grant: &Grant) -> String {
    let Grant { cluster_id, proposer, peer } = grant;
    format!(
        "this node has promised itself to cluster {cluster_id}, which node {} at {peer} forms",
        proposer.id
    )
}

fn other_incarnation(cluster_id: ClusterId, node: &NodeInfo) -> String {
    format!(
        "node {id} at {peer} comes with another data directory than the one that cluster {cluster_id} knows under this id: its disk was wiped or replaced, or a second node has node.id = {id:?}; start the node with its old data directory, or give it a new node.id",
        id = node.name.id.as_str(),
        peer = node.peer
    )
}
