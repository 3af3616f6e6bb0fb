//! What passes between this node and the others. A link goes to one node for one channel; what comes in is counted over
//! all nodes, since a connection that is accepted says who it is only once it has been heard.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use ringfort_node::control::ClusterMap;
use ringfort_types::NodeNumber;

use super::{Encoded, counter, gauge};
use crate::peers::{AcceptStats, Channel, LinkStats};

/// What one thread's links and accepted connections have done.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerStats {
    pub(crate) links: Vec<(NodeNumber, Channel, LinkStats)>,
    pub(crate) accepted: AcceptStats,
}

/// Everything about other nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    /// The links of all threads, one for each node and channel.
    pub(crate) links: Vec<PeerMetrics>,
    pub(crate) accepted: AcceptedMetrics,
}

/// The links of all threads to one node for one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerMetrics {
    /// The node's id.
    pub(crate) node: String,
    /// `consensus`, `requests`, `snapshots` or `formation`.
    pub(crate) channel: &'static str,
    /// Links that are connected.
    pub(crate) up: u64,
    pub(crate) frames_sent: u64,
    /// Of those frames, lengths included.
    pub(crate) bytes_sent: u64,
    /// Writes that carried those frames.
    pub(crate) writes: u64,
    /// Connections made, the first one included.
    pub(crate) connects: u64,
    /// Dials that failed, refusals included.
    pub(crate) dials_failed: u64,
    /// Dials that the other side refused: another cluster, an unknown or wiped node, a newer protocol.
    pub(crate) refused: u64,
    /// Frames not taken because the queue was full or the node unreachable.
    pub(crate) unsent: u64,
    /// Frames dropped from the queue as a link broke.
    pub(crate) lost: u64,
    pub(crate) queued_frames: u64,
    pub(crate) queued_bytes: u64,
}

/// The connections that other nodes made, over all threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AcceptedMetrics {
    /// Connections that carry frames now.
    pub(crate) connections: u64,
    pub(crate) frames_received: u64,
    /// Of those frames, lengths included.
    pub(crate) bytes_received: u64,
    /// Handshakes that failed: refused, malformed, too slow.
    pub(crate) handshakes_failed: u64,
    /// Connections closed because of what they carried.
    pub(crate) malformed: u64,
}

type Of = fn(&PeerMetrics) -> u64;

const COUNTERS: [(&str, &str, Of); 8] = [
    ("ringfort_peer_frames_sent", "Frames sent", |link| link.frames_sent),
    ("ringfort_peer_sent_bytes", "Bytes of frames sent", |link| link.bytes_sent),
    ("ringfort_peer_writes", "Writes that carried frames", |link| link.writes),
    ("ringfort_peer_connects", "Connections made", |link| link.connects),
    ("ringfort_peer_dials_failed", "Dials that failed", |link| link.dials_failed),
    ("ringfort_peer_dials_refused", "Dials that the other node refused", |link| link.refused),
    ("ringfort_peer_frames_unsent", "Frames not taken: queue full or node unreachable", |link| {
        link.unsent
    }),
    ("ringfort_peer_frames_lost", "Frames dropped from a queue as a link broke", |link| link.lost),
];

const GAUGES: [(&str, &str, Of); 3] = [
    ("ringfort_peer_links_up", "Links that are connected", |link| link.up),
    ("ringfort_peer_queue_frames", "Frames that wait to be sent", |link| link.queued_frames),
    ("ringfort_peer_queue_bytes", "Bytes of frames that wait to be sent", |link| link.queued_bytes),
];

impl Peers {
    /// Adds one thread's.
    pub(super) fn add(&mut self, map: &ClusterMap, stats: &PeerStats) {
        for (number, channel, link) in &stats.links {
            // A node that has left the map has no name any more, and its links are about to go.
            let Some(member) = map.member(*number) else { continue };
            self.link_mut(member.info.name.id.as_str(), channel.as_str()).add(link);
        }
        let (accepted, more) = (&mut self.accepted, &stats.accepted);
        accepted.connections += more.connections as u64;
        accepted.frames_received += more.frames;
        accepted.bytes_received += more.bytes;
        accepted.handshakes_failed += more.handshakes_failed;
        accepted.malformed += more.malformed;
    }

    fn link_mut(&mut self, node: &str, channel: &'static str) -> &mut PeerMetrics {
        let found = self.links.iter().position(|link| link.node == node && link.channel == channel);
        let at = found.unwrap_or_else(|| {
            let node = node.to_owned();
            self.links.push(PeerMetrics { node, channel, ..PeerMetrics::default() });
            self.links.len() - 1
        });
        &mut self.links[at]
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        for (name, help, of) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for link in &self.links {
                ConstCounter::new(of(link)).encode(metric.encode_family(&link.labels())?)?;
            }
        }
        for (name, help, of) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for link in &self.links {
                ConstGauge::new(of(link)).encode(metric.encode_family(&link.labels())?)?;
            }
        }
        let accepted = &self.accepted;
        let help = "Connections of other nodes that carry frames";
        gauge(encoder, "ringfort_peer_connections", help, accepted.connections)?;
        for (name, help, value) in [
            ("ringfort_peer_frames_received", "Frames received", accepted.frames_received),
            ("ringfort_peer_received_bytes", "Bytes of frames received", accepted.bytes_received),
            (
                "ringfort_peer_handshakes_failed",
                "Connections of others that were refused, malformed or too slow",
                accepted.handshakes_failed,
            ),
            (
                "ringfort_peer_connections_malformed",
                "Connections closed because of what they carried",
                accepted.malformed,
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
        Ok(())
    }
}

impl PeerMetrics {
    fn add(&mut self, link: &LinkStats) {
        self.up += u64::from(link.is_up);
        self.frames_sent += link.frames;
        self.bytes_sent += link.bytes;
        self.writes += link.writes;
        self.connects += link.connects;
        self.dials_failed += link.dials_failed;
        self.refused += link.refusals;
        self.unsent += link.unsent;
        self.lost += link.lost;
        self.queued_frames += link.queue_frames as u64;
        self.queued_bytes += link.queue_bytes as u64;
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [("peer", self.node.clone()), ("channel", self.channel.to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use ringfort_door::MetricsFormat;

    use super::*;
    use crate::metrics::{Scrape, write};

    #[test]
    fn every_link_has_its_series_under_one_name_for_each_thing() {
        let link = |node: &str, channel, first: u64| PeerMetrics {
            node: node.to_owned(),
            channel,
            up: first,
            frames_sent: first + 1,
            bytes_sent: first + 2,
            writes: first + 10,
            connects: first + 3,
            dials_failed: first + 4,
            refused: first + 5,
            unsent: first + 6,
            lost: first + 7,
            queued_frames: first + 8,
            queued_bytes: first + 9,
        };
        let accepted = AcceptedMetrics {
            connections: 1,
            frames_received: 2,
            bytes_received: 3,
            handshakes_failed: 4,
            malformed: 5,
        };
        let links = vec![link("n1", "consensus", 10), link("n2", "snapshots", 30)];
        let peers = Peers { links, accepted };
        let text = write(Scrape { peers, ..Scrape::default() }, MetricsFormat::Prometheus);
        let found: Vec<_> = text.lines().filter(|line| line.starts_with("ringfort_peer")).collect();
        let mut expected = Vec::new();
        for (name, value) in [
            ("frames_sent_total", 11),
            ("sent_bytes_total", 12),
            ("writes_total", 20),
            ("connects_total", 13),
            ("dials_failed_total", 14),
            ("dials_refused_total", 15),
            ("frames_unsent_total", 16),
            ("frames_lost_total", 17),
            ("links_up", 10),
            ("queue_frames", 18),
            ("queue_bytes", 19),
        ] {
            let line = |node, channel, value| {
                format!(r#"ringfort_peer_{name}{{peer="{node}",channel="{channel}"}} {value}"#)
            };
            expected.push(line("n1", "consensus", value));
            expected.push(line("n2", "snapshots", value + 20));
        }
        for (name, value) in [
            ("connections", 1),
            ("frames_received_total", 2),
            ("received_bytes_total", 3),
            ("handshakes_failed_total", 4),
            ("connections_malformed_total", 5),
        ] {
            expected.push(format!("ringfort_peer_{name} {value}"));
        }
        assert_eq!(found, expected);
    }
}
