//! The windows of a problem's calls, as narrow as answers and versions make them.
//!
//! ```text
//!   put a  ├───────────────┤ ok v3
//!   get         ├──────────────────┤ found v3       not before put a was sent: v3 is its version
//!   put b     ├──────────────────────────┤ ok v4    the get's window ends with that of put b
//! ```
//!
//! A window is as narrow as answers and versions make it: versions order the writes of a key, so a write takes effect no
//! earlier than an older one can, no later than a newer one must, and a read of a version falls between its write and the
//! next. Where a time to live has passed, what shows the key at that version came before.

use std::collections::BTreeMap;

use crate::problem::{Effect, Life, NEVER, Problem};

impl Problem<'_> {
    /// Narrows the windows by versions and times to live.
    pub(crate) fn narrow(&mut self) {
        for key in 0..self.keys.len() {
            let mut lives = BTreeMap::new();
            let mut writers = BTreeMap::new();
            for (index, call) in self.calls.iter().enumerate() {
                for part in call.parts.iter().filter(|part| part.key == key) {
                    if let Effect::Put(Some(version), life) = part.effect {
                        lives.insert(version, life);
                    }
                    if let Effect::Put(Some(version), _) | Effect::Delete(Some(version)) =
                        part.effect
                    {
                        writers.insert(version, index);
                    }
                }
            }
            self.narrow_by_lives(key, &lives);
            self.narrow_by_versions(key, &writers);
        }
    }

    fn narrow_by_lives(&mut self, key: usize, lives: &BTreeMap<u64, Life>) {
        for call in &mut self.calls {
            for part in call.parts.iter().filter(|part| part.key == key && part.is_timely()) {
                if let Some(life) = part.shown().and_then(|shown| lives.get(&shown)) {
                    call.to_us = call.to_us.min(life.seen_until_us);
                } else if let Effect::Put(Some(version), _) | Effect::Delete(Some(version)) =
                    part.effect
                    && part.needs_presence()
                    && let Some(before) = self.keys[key].versions.range(..version).next_back()
                    && let Some(life) = lives.get(before.0)
                {
                    call.shows_by_us = call.shows_by_us.min(life.seen_until_us);
                }
            }
        }
    }

    fn narrow_by_versions(&mut self, key: usize, writers: &BTreeMap<u64, usize>) {
        let mut from_us = 0;
        for index in writers.values() {
            from_us = from_us.max(self.calls[*index].from_us);
            self.calls[*index].from_us = from_us;
        }
        let mut to_us = NEVER;
        for index in writers.values().rev() {
            to_us = to_us.min(self.calls[*index].to_us);
            self.calls[*index].to_us = to_us;
        }
        for index in 0..self.calls.len() {
            let mut window = (self.calls[index].from_us, self.calls[index].to_us);
            for part in self.calls[index].parts.iter().filter(|part| part.key == key) {
                let Effect::See(version) = part.effect else {
                    continue;
                };
                if let Some(writer) = writers.get(&version) {
                    window.0 = window.0.max(self.calls[*writer].from_us);
                }
                if version > 0
                    && let Some((_, next)) = writers.range(version + 1..).next()
                {
                    window.1 = window.1.min(self.calls[*next].to_us);
                }
            }
            (self.calls[index].from_us, self.calls[index].to_us) = window;
        }
    }
}
