//! In which pieces a file is read that may have places which cannot be read: smaller ones after a failure, so that as little
//! as possible is given up; larger ones again after a success.

/// Files are read in pieces of this size.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// The smallest piece, which is given up if it cannot be read; pieces end on multiples of it.
pub(crate) const PAGE_BYTES: usize = 4 << 10;
/// A piece that cannot be read is cut into so many.
const PARTS: usize = 4;

/// The size of the next piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    size: usize,
}

impl Pieces {
    pub(crate) fn new() -> Self {
        Self { size: PIECE_BYTES }
    }

    /// Bytes to read at `offset`, of which `want` are wanted; 0 if none are.
    pub(crate) fn next(self, offset: u64, want: usize) -> usize {
        let size = self.size as u64;
        let to_boundary = usize::try_from(size - offset % size).unwrap_or(PAGE_BYTES);
        want.min(to_boundary)
    }

    /// The piece was read.
    pub(crate) fn succeeded(&mut self) {
        self.size = (self.size * PARTS).min(PIECE_BYTES);
    }

    /// The piece could not be read. Says whether it is to be given up; if not, it is tried again in smaller ones.
    pub(crate) fn failed(&mut self) -> bool {
        let smallest = self.size <= PAGE_BYTES;
        if !smallest {
            self.size = (self.size / PARTS).max(PAGE_BYTES);
        }
        smallest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unreadable_page_costs_that_page_alone() {
        let bad = 5 * PAGE_BYTES as u64;
        let mut pieces = Pieces::new();
        let (mut at, mut given_up, mut reads) = (512, Vec::new(), 0);
        let end = 3 * PIECE_BYTES as u64;
        while at < end {
            let length = pieces.next(at, usize::try_from(end - at).unwrap());
            reads += 1;
            if (at..at + length as u64).contains(&bad) {
                if !pieces.failed() {
                    continue;
                }
                given_up.push((at, length));
            } else {
                pieces.succeeded();
            }
            at += length as u64;
        }
        assert_eq!(given_up, [(bad, PAGE_BYTES)]);
        assert!(reads < 30, "{reads}");
    }
}
