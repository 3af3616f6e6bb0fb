//! The settings that result from all layers, and who said each.

use std::collections::BTreeMap;

use super::check;
use super::layers::{Assignment, Sources};
use super::origin::{Origin, Problems};
use super::settings::Settings;
use super::table::{self, SETTINGS};

/// What counts, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) settings: Settings,
    /// By key; a key that is missing has its default.
    origins: BTreeMap<&'static str, Origin>,
}

impl Effective {
    /// Reads all layers.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let assignments = sources.assignments(&mut problems);
        let mut effective = Self { settings: Settings::default(), origins: BTreeMap::new() };
        for assignment in assignments {
            effective.assign(assignment, &mut problems);
        }
        check::check(&effective, &mut problems);
        problems.or(effective)
    }

    fn assign(&mut self, assignment: Assignment, problems: &mut Problems) {
        let Assignment { key, value, origin } = assignment;
        let Some(setting) = table::find(&key) else {
            let what = match nearest(&key) {
                Some(near) => format!("is no setting; did you mean {near}?"),
                None => "is no setting".into(),
            };
            return problems.add(origin, key, what);
        };
        match (setting.set)(&mut self.settings, &value) {
            Ok(()) => {
                self.origins.insert(setting.key, origin);
            }
            Err(what) => problems.add(origin, key, what),
        }
    }

    /// Who said the value of a key.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Every setting with its value and origin, by section.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, serde_json::Value, Origin)> {
        SETTINGS.iter().map(|setting| {
            let value = (setting.show)(&self.settings);
            (setting.key, value, self.origin(setting.key))
        })
    }
}

/// The known key that a mistyped one probably means: at most a third of it is different.
fn nearest(key: &str) -> Option<&'static str> {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let distance = |known: &str| {
        let (known_section, known_name) = known.split_once('.').unwrap_or(("", known));
        // The right name in a wrong section is the commonest slip of all.
        if known_name == name && !name.is_empty() {
            return usize::from(known_section != section);
        }
        edits(key, known)
    };
    let best = SETTINGS.iter().map(|setting| (distance(setting.key), setting.key)).min()?;
    (best.0 <= key.chars().count() / 3).then_some(best.1)
}

/// Levenshtein's distance, row by row.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
