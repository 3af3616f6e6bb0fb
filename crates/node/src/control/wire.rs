//! Records, formation messages and the cache file as protobuf (`cluster.proto`). What comes from outside is checked here.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use ringfort_placement::{Capacity, MemberState, ReplicationFactor, Role, Zone};
use ringfort_proto::cluster as pb;
use ringfort_proto::peer;
use ringfort_types::{
    ClusterId, Epoch, FeatureLevel, Incarnation, NodeId, NodeNumber, ReplicaId, Version,
};

use super::catalog::{
    CatalogDelta, GroupRecord, Intent, NodeRecord, RawRecord, Record, RecordKey, RecordValue,
    ReplicaRecord,
};
use super::formation::{Answer, Ask, Grant, Introduction, Question, Refused, RefusedCode, Reply};
use super::record::{FormationRecord, NodeInfo, NodeName};
use super::settings::{ClusterSettings, ReadsBy};

/// Bytes or a message that are none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is missing or malformed")]
pub struct WireError {
    /// The part at fault.
    pub field: &'static str,
}

pub(super) fn wrong(field: &'static str) -> WireError {
    WireError { field }
}

/// Either side of a formation's conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormationMessage {
    /// A question.
    Question(Question),
    /// An answer.
    Answer(Answer),
}

impl RecordValue {
    /// The value's bytes in the catalog.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = match self {
            Self::Settings(settings) => put_settings(settings).encode_to_vec(),
            Self::Counter(next) => pb::CounterRecord { next: *next }.encode_to_vec(),
            Self::Node(node) => {
                let state = put_state(node.state).into();
                pb::NodeRecord { state, ..put_node(&node.info) }.encode_to_vec()
            }
            Self::Group(group) => put_group(group).encode_to_vec(),
        };
        bytes.into()
    }

    /// The value with these bytes, under this key.
    ///
    /// # Errors
    /// They are no such value.
    pub fn decode(key: RecordKey, bytes: &[u8]) -> Result<Self, WireError> {
        Ok(match key {
            RecordKey::Settings => Self::Settings(get_settings(&decode(bytes, "settings")?)?),
            RecordKey::Counter => {
                Self::Counter(decode::<pb::CounterRecord>(bytes, "counter")?.next)
            }
            RecordKey::Node(_) => {
                let node: pb::NodeRecord = decode(bytes, "node")?;
                Self::Node(NodeRecord { state: get_state(node.state)?, info: get_node(node)? })
            }
            RecordKey::Group(_) => Self::Group(get_group(decode(bytes, "group")?)?),
        })
    }
}

impl TryFrom<RawRecord> for Record {
    type Error = WireError;

    fn try_from(raw: RawRecord) -> Result<Self, WireError> {
        let key = std::str::from_utf8(&raw.key).ok().and_then(RecordKey::parse);
        let key = key.ok_or(wrong("key"))?;
        let value = RecordValue::decode(key, &raw.value)?;
        Ok(Self { key, version: raw.version, value })
    }
}

impl From<&Record> for pb::Record {
    fn from(record: &Record) -> Self {
        let (key, value) = (record.key.to_string(), record.value.encode());
        Self { key, version: record.version.0, value }
    }
}

impl TryFrom<pb::Record> for Record {
    type Error = WireError;

    fn try_from(record: pb::Record) -> Result<Self, WireError> {
        let (key, version) = (record.key.into(), Version(record.version));
        RawRecord { key, version, value: record.value }.try_into()
    }
}

impl From<&CatalogDelta> for peer::CatalogDelta {
    fn from(delta: &CatalogDelta) -> Self {
        let records = delta.records.iter().map(pb::Record::from).collect();
        Self { since: delta.since.0, epoch: delta.epoch.0, records }
    }
}

impl TryFrom<peer::CatalogDelta> for CatalogDelta {
    type Error = WireError;

    fn try_from(delta: peer::CatalogDelta) -> Result<Self, WireError> {
        let records = delta.records.into_iter().map(Record::try_from).collect::<Result<_, _>>()?;
        Ok(Self { since: Epoch(delta.since), epoch: Epoch(delta.epoch), records })
    }
}

impl From<&FormationRecord> for pb::FormationRecord {
    fn from(record: &FormationRecord) -> Self {
        let founder = |(number, info): (NodeNumber, _)| pb::NodeRecord {
            number: number.0.into(),
            state: pb::NodeState::Active.into(),
            ..put_node(info)
        };
        Self {
            cluster_id: put_id(record.cluster_id.0),
            settings: Some(put_settings(&record.settings)),
            founders: record.numbered().map(founder).collect(),
            from_single_node: record.from_single_node,
        }
    }
}

impl TryFrom<pb::FormationRecord> for FormationRecord {
    type Error = WireError;

    fn try_from(record: pb::FormationRecord) -> Result<Self, WireError> {
        let settings = record.settings.as_ref().ok_or(wrong("settings"))?;
        let founders = record.founders.into_iter().map(get_node).collect::<Result<_, _>>()?;
        Ok(Self {
            cluster_id: ClusterId(get_id(&record.cluster_id, "cluster_id")?),
            settings: get_settings(settings)?,
            founders,
            from_single_node: record.from_single_node,
        })
    }
}

impl From<&Introduction> for pb::Introduction {
    fn from(introduction: &Introduction) -> Self {
        let grant = introduction.grant.as_ref().map(|grant| pb::Grant {
            cluster_id: put_id(grant.cluster_id.0),
            proposer: grant.proposer.id.to_string(),
            proposer_incarnation: put_id(grant.proposer.incarnation.0),
            peer_address: grant.peer.clone(),
        });
        let cluster_id = introduction.cluster_id.map(|id| put_id(id.0)).unwrap_or_default();
        let known = introduction.known.clone();
        Self { node: Some(put_node(&introduction.node)), grant, cluster_id, known }
    }
}

impl TryFrom<pb::Introduction> for Introduction {
    type Error = WireError;

    fn try_from(introduction: pb::Introduction) -> Result<Self, WireError> {
        let grant = |grant: pb::Grant| {
            Ok(Grant {
                cluster_id: ClusterId(get_id(&grant.cluster_id, "grant.cluster_id")?),
                proposer: get_name(&grant.proposer, &grant.proposer_incarnation)?,
                peer: grant.peer_address,
            })
        };
        let cluster = introduction.cluster_id;
        let cluster_id =
            (!cluster.is_empty()).then(|| get_id(&cluster, "cluster_id").map(ClusterId));
        Ok(Self {
            node: get_node(introduction.node.ok_or(wrong("node"))?)?,
            grant: introduction.grant.map(grant).transpose()?,
            cluster_id: cluster_id.transpose()?,
            known: introduction.known,
        })
    }
}

impl From<&Question> for pb::FormationMessage {
    fn from(question: &Question) -> Self {
        use pb::formation_message::What;
        let what = match &question.ask {
            Ask::Hello => What::Hello(pb::Nothing {}),
            Ask::Propose(record) => What::Propose(record.into()),
            Ask::Formed(record) => What::Decided(record.into()),
        };
        Self { from: Some((&question.asker).into()), what: Some(what) }
    }
}

impl From<&Answer> for pb::FormationMessage {
    fn from(answer: &Answer) -> Self {
        use pb::formation_message::What;
        let what = match &answer.reply {
            Reply::Hello => What::AnswerHello(pb::Nothing {}),
            Reply::Granted(cluster_id) => What::AnswerGranted(put_id(cluster_id.0)),
            Reply::Formed(record) => What::AnswerFormed(record.into()),
            Reply::Refused(Refused { code, reason }) => {
                let code = put_code(*code).into();
                What::AnswerRefused(pb::FormationRefusal { code, reason: reason.clone() })
            }
        };
        Self { from: Some((&answer.answerer).into()), what: Some(what) }
    }
}

impl TryFrom<pb::FormationMessage> for FormationMessage {
    type Error = WireError;

    fn try_from(message: pb::FormationMessage) -> Result<Self, WireError> {
        use pb::formation_message::What;
        let from: Introduction = message.from.ok_or(wrong("from"))?.try_into()?;
        let question = |asker, ask| Self::Question(Question { asker, ask });
        let answer = |answerer, reply| Self::Answer(Answer { answerer, reply });
        Ok(match message.what.ok_or(wrong("what"))? {
            What::Hello(_) => question(from, Ask::Hello),
            What::Propose(record) => question(from, Ask::Propose(record.try_into()?)),
            What::Decided(record) => question(from, Ask::Formed(record.try_into()?)),
            What::AnswerHello(_) => answer(from, Reply::Hello),
            What::AnswerGranted(id) => {
                answer(from, Reply::Granted(ClusterId(get_id(&id, "answer_granted")?)))
            }
            What::AnswerFormed(record) => answer(from, Reply::Formed(record.try_into()?)),
            What::AnswerRefused(pb::FormationRefusal { code, reason }) => {
                let code = get_code(code)?;
                answer(from, Reply::Refused(Refused { code, reason }))
            }
        })
    }
}

fn decode<M: prost::Message + Default>(bytes: &[u8], field: &'static str) -> Result<M, WireError> {
    M::decode(bytes).map_err(|_| wrong(field))
}

pub(super) fn put_id(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

pub(super) fn get_id(bytes: &[u8], field: &'static str) -> Result<u128, WireError> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| wrong(field))
}

fn put_settings(settings: &ClusterSettings) -> pb::Settings {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let reads = match settings.reads {
        ReadsBy::Lease => pb::Reads::Lease,
        ReadsBy::ReadIndex => pb::Reads::ReadIndex,
    };
    pb::Settings {
        shards: settings.shards,
        replication_factor: u32::try_from(settings.replication_factor.get()).unwrap_or(u32::MAX),
        heartbeat_us: micros(settings.heartbeat),
        election_timeout_us: micros(settings.election_timeout),
        reads: reads.into(),
        feature_level: settings.feature_level.0.into(),
    }
}

/// One that does not fit is none that is known here, which is said where levels are checked.
pub(super) fn get_level(settings: &pb::Settings) -> FeatureLevel {
    FeatureLevel(u8::try_from(settings.feature_level).unwrap_or(u8::MAX))
}

fn get_settings(settings: &pb::Settings) -> Result<ClusterSettings, WireError> {
    let factor = u8::try_from(settings.replication_factor).ok();
    let factor = factor.and_then(|factor| ReplicationFactor::new(factor).ok());
    let reads = match pb::Reads::try_from(settings.reads) {
        Ok(pb::Reads::Lease) => ReadsBy::Lease,
        Ok(pb::Reads::ReadIndex) => ReadsBy::ReadIndex,
        _ => return Err(wrong("settings.reads")),
    };
    Ok(ClusterSettings {
        shards: settings.shards,
        replication_factor: factor.ok_or(wrong("settings.replication_factor"))?,
        heartbeat: Duration::from_micros(settings.heartbeat_us),
        election_timeout: Duration::from_micros(settings.election_timeout_us),
        reads,
        feature_level: get_level(settings),
    })
}

/// Number and state are added where they are known.
fn put_node(info: &NodeInfo) -> pb::NodeRecord {
    pb::NodeRecord {
        node_id: info.name.id.to_string(),
        incarnation: put_id(info.name.incarnation.0),
        peer_address: info.peer.clone(),
        client_address: info.client.clone(),
        zone: info.zone.0.to_string(),
        capacity_hundredths: info.capacity.hundredths(),
        ..pb::NodeRecord::default()
    }
}

fn get_node(node: pb::NodeRecord) -> Result<NodeInfo, WireError> {
    let capacity = Capacity::from_hundredths(node.capacity_hundredths);
    let info = NodeInfo {
        name: get_name(&node.node_id, &node.incarnation)?,
        peer: node.peer_address,
        client: node.client_address,
        zone: Zone(node.zone.into()),
        capacity: capacity.map_err(|_| wrong("node.capacity_hundredths"))?,
    };
    if info.texts_fit() { Ok(info) } else { Err(wrong("node.peer_address")) }
}

fn get_name(id: &str, incarnation: &[u8]) -> Result<NodeName, WireError> {
    let id = NodeId::parse(id).map_err(|_| wrong("node_id"))?;
    Ok(NodeName { id, incarnation: Incarnation(get_id(incarnation, "incarnation")?) })
}

fn put_state(state: MemberState) -> pb::NodeState {
    match state {
        MemberState::Active => pb::NodeState::Active,
        MemberState::Down => pb::NodeState::Down,
        MemberState::Draining => pb::NodeState::Draining,
    }
}

fn get_state(state: i32) -> Result<MemberState, WireError> {
    Ok(match pb::NodeState::try_from(state) {
        Ok(pb::NodeState::Active) => MemberState::Active,
        Ok(pb::NodeState::Down) => MemberState::Down,
        Ok(pb::NodeState::Draining) => MemberState::Draining,
        _ => return Err(wrong("node.state")),
    })
}

fn put_group(group: &GroupRecord) -> pb::GroupRecord {
    let replica = |record: &ReplicaRecord| {
        let (role, replaces) = match record.role {
            Role::Voter => (pb::ReplicaRole::Voter, None),
            Role::Learner { replaces } => (pb::ReplicaRole::Learner, replaces),
        };
        pb::ReplicaRecord {
            id: record.id.0,
            role: role.into(),
            replaces: replaces.unwrap_or_default().0,
            quarantined: record.quarantined,
        }
    };
    let intent = |intent: Intent| pb::Intent {
        id: intent.id.0,
        replaces: intent.replaces.unwrap_or_default().0,
    };
    pb::GroupRecord {
        replicas: group.replicas.iter().map(replica).collect(),
        wish: group.wish.iter().map(|number| number.0.into()).collect(),
        highest: group.highest.0,
        intent: group.intent.map(intent),
    }
}

fn get_group(group: pb::GroupRecord) -> Result<GroupRecord, WireError> {
    let named = |id: u64| Some(ReplicaId(id)).filter(|id| *id != ReplicaId(0));
    let replica = |record: pb::ReplicaRecord| {
        let role = match pb::ReplicaRole::try_from(record.role) {
            Ok(pb::ReplicaRole::Voter) => Role::Voter,
            Ok(pb::ReplicaRole::Learner) => Role::Learner { replaces: named(record.replaces) },
            _ => return Err(wrong("group.replicas.role")),
        };
        let id = named(record.id).ok_or(wrong("group.replicas.id"))?;
        Ok(ReplicaRecord { id, role, quarantined: record.quarantined })
    };
    let number = |number: u32| u16::try_from(number).map(NodeNumber).map_err(|_| wrong("wish"));
    let intent = |intent: pb::Intent| {
        let id = named(intent.id).ok_or(wrong("group.intent.id"))?;
        Ok(Intent { id, replaces: named(intent.replaces) })
    };
    Ok(GroupRecord {
        replicas: group.replicas.into_iter().map(replica).collect::<Result<_, _>>()?,
        wish: group.wish.into_iter().map(number).collect::<Result<_, _>>()?,
        highest: ReplicaId(group.highest),
        intent: group.intent.map(intent).transpose()?,
    })
}

fn put_code(code: RefusedCode) -> pb::FormationRefusalCode {
    match code {
        RefusedCode::Busy => pb::FormationRefusalCode::Busy,
        RefusedCode::Granted => pb::FormationRefusalCode::Granted,
        RefusedCode::OtherIncarnation => pb::FormationRefusalCode::OtherIncarnation,
        RefusedCode::DuplicateNode => pb::FormationRefusalCode::DuplicateNode,
        RefusedCode::WrongCluster => pb::FormationRefusalCode::WrongCluster,
        RefusedCode::Formed => pb::FormationRefusalCode::Formed,
        RefusedCode::Malformed => pb::FormationRefusalCode::Malformed,
    }
}

fn get_code(code: i32) -> Result<RefusedCode, WireError> {
    Ok(match pb::FormationRefusalCode::try_from(code) {
        Ok(pb::FormationRefusalCode::Busy) => RefusedCode::Busy,
        Ok(pb::FormationRefusalCode::Granted) => RefusedCode::Granted,
        Ok(pb::FormationRefusalCode::OtherIncarnation) => RefusedCode::OtherIncarnation,
        Ok(pb::FormationRefusalCode::DuplicateNode) => RefusedCode::DuplicateNode,
        Ok(pb::FormationRefusalCode::WrongCluster) => RefusedCode::WrongCluster,
        Ok(pb::FormationRefusalCode::Formed) => RefusedCode::Formed,
        Ok(pb::FormationRefusalCode::Malformed) => RefusedCode::Malformed,
        _ => return Err(wrong("answer_refused.code")),
    })
}
