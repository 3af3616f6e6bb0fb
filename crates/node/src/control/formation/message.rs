//! What nodes without a cluster ask each other and answer.

use ringfort_types::ClusterId;

use super::super::record::{FormationRecord, NodeInfo, NodeName, TEXT_BYTES_MAX};

/// Addresses that an introduction passes on.
pub const KNOWN_MAX: usize = 64;

/// A promise to one formation. Durable before it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The cluster that is to be. Drawn by its proposer, for this one formation.
    pub cluster_id: ClusterId,
    /// Who decides it, alone.
    pub proposer: NodeName,
    /// Where the proposer is asked how it went, as host:port.
    pub peer: String,
}

/// Who speaks, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Who it is.
    pub node: NodeInfo,
    /// The formation it has granted, its own included.
    pub grant: Option<Grant>,
    /// The cluster it belongs to.
    pub cluster_id: Option<ClusterId>,
    /// Where it has met other nodes without a cluster: at most [`KNOWN_MAX`].
    pub known: Vec<String>,
}

impl Introduction {
    /// Whether its texts and lists are of a length that may be kept.
    pub(super) fn fits(&self) -> bool {
        let fits = |text: &String| !text.is_empty() && text.len() <= TEXT_BYTES_MAX;
        self.node.texts_fit()
            && self.known.len() <= KNOWN_MAX
            && self.known.iter().all(fits)
            && self.grant.as_ref().is_none_or(|grant| fits(&grant.peer))
    }
}

/// A question of one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub asker: Introduction,
    /// What.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who are you?
    Hello,
    /// Do you grant this formation? By its proposer.
    Propose(FormationRecord),
    /// This was decided.
    Formed(FormationRecord),
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answers.
    pub answerer: Introduction,
    /// What.
    pub reply: Reply,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing but who answers.
    Hello,
    /// The formation of this cluster is granted, durably.
    Granted(ClusterId),
    /// A cluster has been formed: the answerer's.
    Formed(FormationRecord),
    /// No.
    Refused(Refused),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For programs.
    pub code: RefusedCode,
    /// For people: what is wrong and what can be done.
    pub reason: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedCode {
    /// Soon: something is being made durable.
    Busy,
    /// Another formation was granted.
    Granted,
    /// The asker's node id is known with another data directory.
    OtherIncarnation,
    /// The asker has the answerer's own node id.
    DuplicateNode,
    /// The asker belongs to another cluster.
    WrongCluster,
    /// The answerer belongs to a cluster, or has met one.
    Formed,
    /// The question breaks a rule.
    Malformed,
}
