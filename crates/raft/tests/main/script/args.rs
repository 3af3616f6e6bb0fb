//! Arguments of verbs, as what they mean.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use goldenscript::Command;
use ringfort_raft::Position;
use ringfort_types::{Index, ReplicaId, Term, parse_duration};

pub(super) type Failure = Box<dyn Error>;

/// The arguments of one command. What is taken is gone; what is left at the end is a mistake of the script.
pub(super) struct Args {
    words: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Args {
    pub(super) fn of(command: &Command) -> Self {
        let mut args = command.consume_args();
        let mut taken = Self { words: Vec::new(), keys: Vec::new() };
        while let Some((key, value)) = args.next_key() {
            taken.keys.push((key.to_owned(), value.to_owned()));
        }
        while let Some(word) = args.next_pos() {
            taken.words.push(word.to_owned());
        }
        taken
    }

    /// The next word.
    pub(super) fn word(&mut self) -> Option<String> {
        if self.words.is_empty() { None } else { Some(self.words.remove(0)) }
    }

    /// The next word, if it is this one.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let place = self.words.iter().position(|known| known == word);
        place.map(|place| self.words.remove(place)).is_some()
    }

    /// The next word as a replica.
    pub(super) fn id(&mut self) -> Result<ReplicaId, Failure> {
        let word = self.word().ok_or("which replica?")?;
        parse_id(&word)
    }

    /// All words that are left, as replicas.
    pub(super) fn ids(&mut self) -> Result<Vec<ReplicaId>, Failure> {
        std::mem::take(&mut self.words).iter().map(|word| parse_id(word)).collect()
    }

    /// The next word as a time, if it looks like one.
    pub(super) fn time(&mut self) -> Result<Option<Duration>, Failure> {
        let is_time = |word: &String| word.ends_with(|last: char| last.is_ascii_alphabetic());
        match self.words.first().filter(|word| is_time(word)) {
            Some(_) => Ok(Some(parse_duration(&self.words.remove(0))?)),
            None => Ok(None),
        }
    }

    /// The value of a key.
    pub(super) fn key(&mut self, key: &str) -> Option<String> {
        let place = self.keys.iter().position(|(known, _)| known == key)?;
        Some(self.keys.remove(place).1)
    }

    /// The next pair of key and value.
    pub(super) fn next_key(&mut self) -> Option<(String, String)> {
        if self.keys.is_empty() { None } else { Some(self.keys.remove(0)) }
    }

    /// The value of a key as a number of some kind.
    pub(super) fn number<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.key(key) else { return Ok(None) };
        let parsed = value.parse().map_err(|_| format!("{key}={value} is no number"))?;
        Ok(Some(parsed))
    }

    /// The value of a key as a replica.
    pub(super) fn id_of(&mut self, key: &str) -> Result<Option<ReplicaId>, Failure> {
        self.key(key).map(|value| parse_id(&value)).transpose()
    }

    /// The value of a key as a term.
    pub(super) fn term_of(&mut self, key: &str) -> Result<Option<Term>, Failure> {
        Ok(self.number(key)?.map(Term))
    }

    /// The value of a key as an index.
    pub(super) fn index_of(&mut self, key: &str) -> Result<Option<Index>, Failure> {
        Ok(self.number(key)?.map(Index))
    }

    /// The value of a key as a position, `index@term`.
    pub(super) fn position_of(&mut self, key: &str) -> Result<Option<Position>, Failure> {
        self.key(key).map(|value| parse_position(&value)).transpose()
    }

    /// The value of a key as a time.
    pub(super) fn time_of(&mut self, key: &str) -> Result<Option<Duration>, Failure> {
        Ok(self.key(key).map(|value| parse_duration(&value)).transpose()?)
    }

    /// Nothing is left that was not understood.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let keys = self.keys.into_iter().map(|(key, value)| format!("{key}={value}"));
        match self.words.into_iter().chain(keys).next() {
            Some(left) => Err(format!("not understood: {left}").into()),
            None => Ok(()),
        }
    }
}

pub(super) fn parse_id(word: &str) -> Result<ReplicaId, Failure> {
    Ok(ReplicaId(word.parse().map_err(|_| format!("{word} is no replica"))?))
}

/// `1/2/3`.
pub(super) fn parse_ids(words: &str) -> Result<Vec<ReplicaId>, Failure> {
    words.split('/').map(parse_id).collect()
}

/// `index@term`.
pub(super) fn parse_position(word: &str) -> Result<Position, Failure> {
    let (index, term) = word.split_once('@').ok_or_else(|| format!("{word} is no index@term"))?;
    Ok(Position { term: Term(term.parse()?), index: Index(index.parse()?) })
}
