//! Against a map from index to what stands there: terms, homes and the counts of the chain always agree with it.

use std::collections::BTreeMap;

use ringfort_sim::Random;
use ringfort_types::Applied;

use super::*;

#[derive(Default)]
struct Naive {
    entries: BTreeMap<Index, (Term, SegmentId)>,
}

impl Naive {
    fn agree(&self, live: &LiveEntries, chain: &Chain, segments: &[SegmentId]) {
        for (index, (term, segment)) in &self.entries {
            assert_eq!(live.term_at(*index), Some(*term), "{index}");
            assert!(live.stands_in(*index, *term, *segment), "{index}");
        }
        let count: u64 = live.homes().map(Home::entries).sum();
        assert_eq!(count, self.entries.len() as u64);
        for id in segments {
            let there = self.entries.values().filter(|(_, segment)| segment == id).count() as u64;
            let counted = chain.get(*id);
            assert_eq!(counted.live_entries, there, "{id:?}");
            assert!(there > 0 || counted.live_bytes == 0, "{id:?}: bytes of no entry");
        }
    }
}

#[test]
fn accounts_are_kept_whatever_happens() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let segments: Vec<SegmentId> = (1..=4).map(SegmentId).collect();
        let mut chain = Chain::default();
        for id in &segments {
            chain.push(*id, 1 << 20, 0);
        }
        let mut naive = Naive::default();
        let mut live = LiveEntries::empty(Index(0));
        let mut base = Base::default();
        let mut term = Term(1);
        for _ in 0..200 {
            let segment = segments[random.index(segments.len())];
            match random.below(12) {
                0 => {
                    term = Term(term.0 + 1);
                    let back = random.below(live.last().0 - base.applied.index.0 + 1);
                    let index = Index(live.last().0 + 1 - back);
                    naive.entries.retain(|at, _| *at < index);
                    naive.entries.insert(index, (term, segment));
                    live.append(&mut chain, (index, term), segment, 50 + random.below(50));
                }
                1 => {
                    let ahead = random.below(live.last().0 - base.applied.index.0 + 2);
                    let index = Index(base.applied.index.0 + ahead);
                    let known = naive.entries.get(&index).map_or(term, |(term, _)| *term);
                    let to = if ahead == 0 { base.applied.term } else { known };
                    let applied = Applied { index, term: to };
                    let new = Base { applied, generation: 0 };
                    live.rebase(&mut chain, &base, &new);
                    naive.entries.retain(|at, _| *at > index);
                    base = new;
                }
                2..=5 if !naive.entries.is_empty() => {
                    let at = random.index(naive.entries.len());
                    let (index, entry) = naive.entries.iter_mut().nth(at).unwrap();
                    entry.1 = segment;
                    live.move_home(&mut chain, *index, segment, 50 + random.below(50));
                }
                _ => {
                    let index = live.last().next();
                    naive.entries.insert(index, (term, segment));
                    live.append(&mut chain, (index, term), segment, 50 + random.below(50));
                }
            }
            naive.agree(&live, &chain, &segments);
        }
        live.clear(&mut chain);
        Naive::default().agree(&live, &chain, &segments);
    }
}
