//! To whom a key's request goes, by a copy of the cluster's map. `ringfort_route` decides.
//!
//! The copy is asked for again and again (docs/rfd/0005): under the tag of the one that is there, so that as long as nothing has
//! changed the answer is 304 and nothing else. A tag is kept only while what is believed is what the map said: after a failure the
//! next one is fetched whole, and from the next in turn. Once in a minute somebody else is asked anyway: a node that is cut off
//! from the others may be reached by clients, and its map is then the old one for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use ringfort_route::{Routes, Safety, Target as RouteTarget, Want};
use ringfort_types::{
    Code, Epoch, Key, Monotonic, NamespaceId, NodeNumber, ReplicaId, ShardId, Term, shard_of_token,
};
use tokio::time::Instant;

use crate::call::{self, Bounds, Call};
use crate::cluster::{Cluster, ReplicaStatus};
use crate::error::Failure;
use crate::pool::Pool;
use crate::wire;

/// A copy this old is fetched again: leadership moves without a word to clients.
const FRESH: Duration = Duration::from_secs(5);
/// After a failure the copy is fetched again, but not more often than this.
const REFRESH_MIN: Duration = Duration::from_millis(200);
/// So often the same node is asked, while it answers.
const SAME_SOURCE_MAX: u32 = 12;
/// Longest time for a fetch: whoever waits for it has a request to send.
const FETCH_MAX: Duration = Duration::from_secs(1);

/// The map as all calls of a client see it.
pub(crate) struct Routing {
    origin: Instant,
    state: Mutex<State>,
}

struct State {
    routes: Routes,
    /// How many there are; 0 without a map.
    shards: u32,
    nodes: BTreeMap<NodeNumber, Arc<Pool>>,
    /// When the map is fetched next. While one call does that, the others go by what there is.
    due: Instant,
    fetched: Instant,
    /// The tag of the map that is believed.
    tag: Option<HeaderValue>,
    /// Who answered last. Others see other things: their maps would have other tags.
    source: Option<Arc<Pool>>,
    /// How often it was asked.
    asked: u32,
    /// Whom the next fetch asks where nobody has answered, in turn.
    turn: usize,
}

/// How a fetch ended.
enum Fetched {
    /// A map, and its tag, if it has one.
    Map(Cluster, Option<HeaderValue>),
    /// It is the one that is there.
    Unchanged,
    Failed,
}

/// The way of one call: the shard of its key.
pub(crate) struct Way<'a> {
    routing: &'a Routing,
    key: &'a Key,
}

/// A node that a call goes to, and the replica that is believed to lead there.
pub(crate) struct Target {
    pub(crate) pool: Arc<Pool>,
    shard: ShardId,
    replica: ReplicaId,
}

impl Routing {
    pub(crate) fn new() -> Self {
        // The seed only spreads pauses: any number will do where the system gives none.
        let routes = Routes::new(None, getrandom::u64().unwrap_or_default());
        let now = Instant::now();
        let state = State {
            routes,
            shards: 0,
            nodes: BTreeMap::new(),
            due: now,
            fetched: now,
            tag: None,
            source: None,
            asked: 0,
            turn: 0,
        };
        Self { origin: now, state: Mutex::new(state) }
    }

    pub(crate) fn way<'a>(&'a self, key: &'a Key) -> Way<'a> {
        Way { routing: self, key }
    }

    fn now(&self) -> Monotonic {
        Monotonic(0) + self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Beliefs, each changed whole: a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this call is to fetch the map; whom it asks, and the tag of the map that is there.
    fn begin_fetch(&self, pools: &[Arc<Pool>]) -> Option<(Arc<Pool>, Option<HeaderValue>)> {
        let (now, mut state) = (Instant::now(), self.lock());
        if now < state.due {
            return None;
        }
        // So long nobody else does.
        state.due = now + FETCH_MAX;
        let tag = state.tag.clone();
        // It is the source again once it has answered: a fetch may be given up with the call that made it.
        if let Some(source) = state.source.take()
            && state.asked < SAME_SOURCE_MAX
        {
            state.asked += 1;
            return Some((source, tag));
        }
        state.asked = 1;
        state.turn = state.turn.wrapping_add(1);
        let known: Vec<_> = state.nodes.values().chain(pools).collect();
        Some((Arc::clone(known[state.turn % known.len()]), tag))
    }

    fn end_fetch(&self, fetched: Fetched, source: Arc<Pool>, pools: &[Arc<Pool>]) {
        let (now, mut state) = (Instant::now(), self.lock());
        state.fetched = now;
        let source = match fetched {
            Fetched::Map(cluster, tag) => {
                state.take(&cluster, pools);
                state.tag = tag;
                Some(source)
            }
            // Something failed meanwhile: what is believed is not the map any more.
            Fetched::Unchanged if state.tag.is_none() => None,
            Fetched::Unchanged => Some(source),
            Fetched::Failed => None,
        };
        state.due = now + if source.is_some() { FRESH } else { REFRESH_MIN };
        state.source = source;
    }
}

impl State {
    fn take(&mut self, cluster: &Cluster, pools: &[Arc<Pool>]) {
        let sound = |replica: &ReplicaStatus| {
            let votes = !matches!(replica.role.as_str(), "learner" | "quarantined" | "closed");
            (ReplicaId(replica.id), votes)
        };
        let placed = cluster.shards.iter().map(|shard| &shard.replicas[..]);
        self.routes.handle_replicas(Epoch(cluster.epoch), placed, sound);
        self.shards = u32::try_from(cluster.shards.len()).unwrap_or(0);
        let mut numbers = BTreeMap::new();
        for shard in &cluster.shards {
            for replica in &shard.replicas {
                numbers.insert(replica.node.as_str(), ReplicaId(replica.id).node());
            }
            let leads = |replica: &&ReplicaStatus| shard.leader.as_ref() == Some(&replica.node);
            if let Some(leader) = shard.replicas.iter().find(leads) {
                // Without a term it is good where nobody is believed to lead.
                let (shard_id, term) = (ShardId(shard.shard), Term(shard.term.unwrap_or(0)));
                self.routes.handle_leader(shard_id, ReplicaId(leader.id), term);
            }
        }
        let mut nodes = BTreeMap::new();
        for node in &cluster.nodes {
            let (Some(number), Ok(endpoint)) = (numbers.get(&*node.id), node.client.parse()) else {
                continue;
            };
            // Connections are kept, and shared with those of the endpoints.
            let known = self.nodes.get(number).into_iter().chain(pools);
            let pool = known.into_iter().find(|pool| *pool.endpoint() == endpoint).cloned();
            if let Some(pool) = pool.or_else(|| Pool::new(endpoint).ok().map(Arc::new)) {
                nodes.insert(*number, pool);
            }
        }
        self.nodes = nodes;
    }
}

async fn fetch(pool: &Pool, bounds: Bounds, tag: Option<HeaderValue>, until: Instant) -> Fetched {
    let mut call = Call::new(Method::GET, "/v1/cluster/map".into(), Safety::Read);
    let is_tagged = tag.is_some();
    if let Some(tag) = tag {
        call = call.header(IF_NONE_MATCH, tag);
    }
    match call::attempt(pool, bounds, &call, until).await {
        Ok(answer) if answer.status.is_success() => match wire::json(&answer.body) {
            Ok(cluster) => Fetched::Map(cluster, answer.headers.get(ETAG).cloned()),
            Err(_) => Fetched::Failed,
        },
        Ok(answer) if answer.status == StatusCode::NOT_MODIFIED && is_tagged => Fetched::Unchanged,
        Ok(_) | Err(_) => Fetched::Failed,
    }
}

impl Way<'_> {
    /// Fetches the map, if it is due and no other call does. Without an answer the call goes by what there is.
    pub(crate) async fn refresh(&self, pools: &[Arc<Pool>], bounds: Bounds, deadline: Instant) {
        let Some((pool, tag)) = self.routing.begin_fetch(pools) else { return };
        let until = deadline.min(Instant::now() + FETCH_MAX);
        let fetch = fetch(&pool, bounds, tag, until);
        let fetched = tokio::time::timeout_at(until, fetch).await.unwrap_or(Fetched::Failed);
        self.routing.end_fetch(fetched, pool, pools);
    }

    /// Where the call goes now; `None` without a map: then any endpoint will do.
    pub(crate) fn target(&self) -> Option<Target> {
        let (now, mut state) = (self.routing.now(), self.routing.lock());
        if state.shards == 0 {
            return None;
        }
        let shard = shard_of_token(self.key.token(NamespaceId::default()), state.shards);
        // Whoever is asked forwards: where no leader is known any replica will do, without a pause.
        match state.routes.target(now, shard, Want::Any) {
            RouteTarget::Replica(replica) => {
                let pool = state.nodes.get(&replica.node()).cloned()?;
                Some(Target { pool, shard, replica })
            }
            RouteTarget::Wait(_) => None,
        }
    }

    /// The node answered.
    pub(crate) fn handle_answer(&self, target: &Target) {
        self.routing.lock().routes.handle_reachable(target.replica.node());
    }

    /// The node did not answer, or refused.
    pub(crate) fn handle_failure(&self, target: &Target, failure: &Failure) {
        let (now, mut state) = (self.routing.now(), self.routing.lock());
        let node = target.replica.node();
        match failure {
            Failure::NotSent(_) | Failure::Lost(_) | Failure::TimedOut { sent: false, .. } => {
                state.routes.handle_unreachable(now, node);
            }
            Failure::TimedOut { sent: true, .. } => state.routes.handle_timeout(now, node),
            Failure::Refused(rejection) => {
                state.routes.handle_reachable(node);
                // Everything else says something of the request, not of who leads.
                if rejection.refusal.code != Code::Unavailable {
                    return;
                }
            }
            Failure::Malformed(_) | Failure::Invalid(_) => return,
        }
        state.routes.handle_not_leader(target.shard, target.replica, None);
        (state.tag, state.source) = (None, None);
        state.due = state.due.min(state.fetched + REFRESH_MIN);
    }
}
