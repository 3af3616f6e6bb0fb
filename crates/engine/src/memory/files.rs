//! Names of snapshot files.
//!
//! ```text
//!  snap-00000007-000000000000002a.snap     group 7, generation 42: whole and synced
//!  snap-00000007-000000000000002a.tmp      being written, or left over
//! ```

use ringfort_env::FileName;
use ringfort_types::GroupId;

use crate::store::Generation;

/// What a file of the data directory is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SnapshotFile {
    /// A generation that was whole when it got its name.
    Whole(GroupId, Generation),
    /// One that was being written.
    Unfinished,
}

/// The file of a generation.
pub(super) fn whole(group: GroupId, generation: Generation) -> FileName {
    FileName::new(&format!("snap-{:08x}-{:016x}.snap", group.0, generation.0))
}

/// The file it is written to first.
pub(super) fn unfinished(group: GroupId, generation: Generation) -> FileName {
    FileName::new(&format!("snap-{:08x}-{:016x}.tmp", group.0, generation.0))
}

/// What a name means; `None` where the file is not the engine's. Only names exactly as they are made here are.
pub(super) fn parse(name: &FileName) -> Option<SnapshotFile> {
    let (stem, extension) = name.as_str().strip_prefix("snap-")?.split_once('.')?;
    let (group, generation) = stem.split_once('-')?;
    let group = GroupId(u32::from_str_radix(group, 16).ok()?);
    let generation = Generation(u64::from_str_radix(generation, 16).ok()?);
    match extension {
        "snap" if *name == whole(group, generation) => Some(SnapshotFile::Whole(group, generation)),
        "tmp" if *name == unfinished(group, generation) => Some(SnapshotFile::Unfinished),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_snapshots() {
        let (group, generation) = (GroupId(7), Generation(42));
        let name = whole(group, generation);
        assert_eq!(name.as_str(), "snap-00000007-000000000000002a.snap");
        assert_eq!(parse(&name), Some(SnapshotFile::Whole(group, generation)));
        let name = unfinished(group, generation);
        assert_eq!(parse(&name), Some(SnapshotFile::Unfinished));
        for other in [
            "snap-7-2a.snap",
            "snap-00000007-000000000000002A.snap",
            "snap-00000007-+00000000000002a.snap",
            "snap-00000007-000000000000002a.snap.bak",
            "snap-00000007.snap",
            "log-0000000000000001.seg",
            "snap-",
        ] {
            assert_eq!(parse(&FileName::new(other)), None, "{other}");
        }
    }
}
