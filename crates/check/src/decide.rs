//! Decides keys, and says what is wrong with them.

use crate::facts::{Fact, facts};
use crate::problem::Problem;
use crate::search::{Found, Misfit, search};
use crate::{Condition, Event, Operation, Options, Outcome, Report, Rule, Violation};

/// What a history without something looks like: an event without it, or no event.
type Without = fn(&Event) -> Option<Event>;

/// Decides keys together. Gives whether an order was found; what else came out is in the report.
pub(crate) fn decide(keys: &[&[Fact<'_>]], options: &Options, report: &mut Report) -> bool {
    let problem = Problem::new(keys, options);
    match search(&problem, options.steps_max, &mut report.steps) {
        Found::Order => return true,
        Found::Nothing(misfit) => {
            let rule = broken(keys, options, &mut report.steps);
            report.violations.push(violation(rule, &problem, &misfit));
        }
        Found::Undecided => {
            let names = keys.iter().filter_map(|facts| facts.first());
            report.undecided.push(names.map(|fact| fact.event.key.clone()).collect());
        }
    }
    false
}

/// The rule without which there would be an order.
fn broken(keys: &[&[Fact<'_>]], options: &Options, steps: &mut u64) -> Rule {
    if keys.len() > 1 {
        return Rule::AllOrNothing;
    }
    let timeless = Options { expiry_late_us: u64::MAX, ..*options };
    let suspects: [(Rule, Without, &Options); 3] = [
        (Rule::StaleWithinBound, without_stale_reads, options),
        (Rule::ExpiryInTime, without_times, &timeless),
        (Rule::ConditionsHold, without_conditions, options),
    ];
    let culprit = suspects.into_iter().find(|(_, without, options)| {
        let events: Vec<_> = keys[0].iter().filter_map(|fact| without(fact.event)).collect();
        let events: Vec<_> = events.iter().collect();
        // Without anything left out, it would be the same search again.
        let differs = !events.iter().copied().eq(keys[0].iter().map(|fact| fact.event));
        differs
            && facts(&events).is_ok_and(|facts| {
                let problem = Problem::new(&[&facts], options);
                matches!(search(&problem, options.steps_max, steps), Found::Order)
            })
    });
    culprit.map_or(Rule::Linearizable, |(rule, ..)| rule)
}

fn without_stale_reads(event: &Event) -> Option<Event> {
    event.staleness_us.is_none().then(|| event.clone())
}

/// Whatever may ever expire does so at any time, and is never late.
fn without_times(event: &Event) -> Option<Event> {
    let mut event = event.clone();
    if let Operation::Put { ttl_ms: Some(ttl_ms), .. } = &mut event.operation {
        *ttl_ms = 0;
    }
    Some(event)
}

fn without_conditions(event: &Event) -> Option<Event> {
    let mut event = event.clone();
    if let Operation::Put { condition, .. } | Operation::Delete { condition } = &mut event.operation
    {
        *condition = Condition::Always;
    }
    (!matches!(event.outcome, Outcome::Refused { .. })).then_some(event)
}

/// Says what does not fit, and where the search came to.
fn violation(rule: Rule, problem: &Problem<'_>, misfit: &Misfit) -> Violation {
    const EVENTS_MAX: usize = 12;
    let parts = &problem.calls[misfit.call as usize].parts;
    let mut events: Vec<_> = parts.iter().map(|part| part.event).collect();
    let (message, shown) = match &misfit.best {
        Some((keys, others)) => {
            let mut stood: Vec<_> = parts
                .iter()
                .map(|part| match keys[part.key].version {
                    0 => format!("{} was absent", part.event.key),
                    version => format!("{} stood at version {version}", part.event.key),
                })
                .collect();
            stood.dedup();
            let standing = problem.keys.iter().zip(keys);
            let standing = standing.filter_map(|(named, key)| *named.versions.get(&key.version)?);
            let others = others.iter().flat_map(|other| &problem.calls[*other as usize].parts);
            let shown: Vec<_> = standing.chain(others.map(|part| part.event)).collect();
            (format!("in the best order found, when it was due, {}", stood.join(", ")), shown)
        }
        None => {
            let around = parts.iter().flat_map(|part| {
                let version = part.event.named_version().unwrap_or(0);
                let versions = &problem.keys[part.key].versions;
                let before = versions.range(..version).next_back().into_iter();
                before.chain(versions.range(version..).take(2))
            });
            let shown = around.filter_map(|(_, writer)| *writer).collect();
            ("the versions around its own and the times leave it no moment".to_owned(), shown)
        }
    };
    for event in shown {
        if events.len() < EVENTS_MAX && !events.iter().any(|known| std::ptr::eq(*known, event)) {
            events.push(event);
        }
    }
    Violation::new(rule, format!("the first event fits nowhere: {message}"), &events)
}

impl Report {
    /// Counts what was looked at.
    pub(crate) fn count(&mut self, facts: &[Fact<'_>]) {
        for fact in facts {
            match fact.event.outcome {
                Outcome::Written { .. } => self.acknowledged += 1,
                Outcome::Unknown => {
                    self.unknown += 1;
                    self.unknown_seen += usize::from(fact.known_us.is_some());
                }
                Outcome::Absent | Outcome::Found { .. } | Outcome::Refused { .. } => {
                    self.reads += 1;
                }
                Outcome::NotApplied => {}
            }
        }
    }
}
