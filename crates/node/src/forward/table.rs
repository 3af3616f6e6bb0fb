//! Requests by the id of their attempt. An id is found without a search and without memory of its own: its low bits are
//! its place, and the counter passes over places that are taken.

use ringfort_types::Monotonic;

/// Bits of an id that count; the worker stands above them.
const COUNTER_BITS: u32 = 48;
const PLACES_MIN: usize = 64;

/// The requests under way, at most as many as the forwarder admits.
#[derive(Debug)]
pub(super) struct Table<T> {
    worker: u64,
    counter: u64,
    /// A power of two, at least twice as many as are taken.
    places: Vec<Option<(u64, T)>>,
    taken: usize,
}

impl<T> Table<T> {
    /// An empty table. The first id is drawn from the seed, so that answers to requests of an earlier start find nothing.
    pub(super) fn new(worker: u16, seed: u64) -> Self {
        Self {
            worker: u64::from(worker) << COUNTER_BITS,
            // The lower half of what there is: no start counts to the end of the upper one.
            counter: seed >> (64 - COUNTER_BITS + 1),
            places: std::iter::repeat_with(|| None).take(PLACES_MIN).collect(),
            taken: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// Takes a request under an id that was never used before.
    pub(super) fn insert(&mut self, request: T) -> u64 {
        if self.taken * 2 >= self.places.len() {
            self.grow();
        }
        loop {
            self.counter = (self.counter + 1) & ((1 << COUNTER_BITS) - 1);
            let id = self.worker | self.counter;
            let place = self.place(id);
            if self.places[place].is_none() {
                self.places[place] = Some((id, request));
                self.taken += 1;
                return id;
            }
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&T> {
        let (there, request) = self.places[self.place(id)].as_ref()?;
        (*there == id).then_some(request)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let place = self.place(id);
        let (there, request) = self.places[place].as_mut()?;
        (*there == id).then_some(request)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let place = self.place(id);
        let (_, request) = self.places[place].take_if(|(there, _)| *there == id)?;
        self.taken -= 1;
        Some(request)
    }

    /// The ids of some requests, in the order of their places.
    pub(super) fn ids(&self, mut wanted: impl FnMut(&T) -> bool) -> Vec<u64> {
        let taken = self.places.iter().flatten();
        taken.filter(|(_, request)| wanted(request)).map(|(id, _)| *id).collect()
    }

    fn place(&self, id: u64) -> usize {
        // Below the number of places, whatever is cut off above.
        usize::try_from(id & (self.places.len() as u64 - 1)).unwrap_or_default()
    }

    /// Ids that had places of their own have them among twice as many, too.
    fn grow(&mut self) {
        let more = std::iter::repeat_with(|| None).take(self.places.len() * 2).collect();
        for taken in std::mem::replace(&mut self.places, more).into_iter().flatten() {
            let place = self.place(taken.0);
            self.places[place] = Some(taken);
        }
    }
}

/// When something is to be done about which request. Entries of requests that have moved on are passed over.
#[derive(Debug, Default)]
pub(super) struct Timers(std::collections::BinaryHeap<std::cmp::Reverse<(Monotonic, u64)>>);

impl Timers {
    /// Sets a timer. `valid` says whether one that was set before still is one, and `live` how many requests there are.
    pub(super) fn set(
        &mut self,
        due: Monotonic,
        id: u64,
        live: usize,
        valid: impl Fn(Monotonic, u64) -> bool,
    ) {
        if self.0.len() >= 4 * live + PLACES_MIN {
            self.0.retain(|std::cmp::Reverse((due, id))| valid(*due, *id));
        }
        self.0.push(std::cmp::Reverse((due, id)));
    }

    /// The first timer that is valid.
    pub(super) fn first(
        &mut self,
        valid: impl Fn(Monotonic, u64) -> bool,
    ) -> Option<(Monotonic, u64)> {
        loop {
            let std::cmp::Reverse((due, id)) = *self.0.peek()?;
            if valid(due, id) {
                return Some((due, id));
            }
            self.0.pop();
        }
    }
}
