//! The segments of one slot on disk.
//!
//! Guarantee: a folder has one process that writes to it; a segment is found again only as far as it was written whole, and
//! nobody but the relay's own user reads it: values lie in it as they are.
//!
//! A segment is a file of [blocks](crate::sources::wal::spill::block): first what it is of, then the relations that its session
//! had described before, then what was read. It ends between two transactions, and is of use without the ones before.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pipeline::{End, Error, Kind};
use crate::postgres::lsn::EndLsn;
use crate::sources::wal::spill::block;

/// The form of a segment that this version writes.
const VERSION: u32 = 1;
const SEGMENT: &str = "spill";
const LOCK: &str = "lock";
const NOTED: &str = "noted.json";

/// What a segment is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    version: u32,
    pub(super) slot: String,
    /// The cluster.
    pub(super) system_id: u64,
    pub(super) timeline: u32,
    /// What the ordinals of its transactions count, as [`fingerprint`](crate::sources::wal::fingerprint) tells.
    pub(super) publications: u64,
    /// Whether logical messages were asked for.
    pub(super) messages: bool,
    /// The number of the session's first segment.
    pub(super) session: u64,
}

impl Origin {
    /// What was read of `slot`.
    pub(super) fn new(slot: &str, system_id: u64, timeline: u32, publications: u64, messages: bool) -> Self {
        Self { version: VERSION, slot: slot.to_owned(), system_id, timeline, publications, messages, session: 0 }
    }

    /// The same, of the session that begins with segment `number`.
    pub(super) fn of_session(self, number: u64) -> Self {
        Self { session: number, ..self }
    }

    /// Whether both were read of the same history in the same way, so that one may follow the other.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        *self == Self { session: self.session, ..other.clone() }
    }
}

/// A segment, as far as it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    /// Where it begins in the log: all that ended before is in the ones before.
    pub(super) start: EndLsn,
    /// All that ended before this is in it, or in the ones before.
    pub(super) end: EndLsn,
    /// Where the relations lie in the file that its session had described before.
    pub(super) relations_at: u64,
    /// Where what was read begins.
    pub(super) read_at: u64,
    /// Up to where it is whole.
    pub(super) whole: u64,
    /// What the file takes.
    pub(super) bytes: u64,
}

/// What the relay must know of the slot where nothing that was delivered can be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Noted {
    /// The epoch in which the slot was read last.
    pub(super) epoch: u16,
    /// Whether logical messages were asked for.
    pub(super) messages: bool,
}

/// The folder of a slot.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder of `slot` below `root`, whether it is there or not.
    pub(super) fn of(root: &Path, slot: &str) -> Self {
        Self { path: root.join(slot) }
    }

    /// The folder of `slot` below `root`, made if it is not there, readable for nobody else.
    pub(super) fn make(root: &Path, slot: &str) -> Result<Self, Error> {
        let folder = Self::of(root, slot);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder.path);
        let made = made.and_then(|()| fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o700)));
        let probe = folder.path.join("probe");
        let made = made.and_then(|()| folder.write_whole(&probe, b"")).and_then(|()| fs::remove_file(&probe));
        made.map_err(|error| {
            let context = format!("nothing can be written to the folder {:?} of [guard] spill_dir", folder.path);
            Error::new(End::Source, Kind::Setup, context).because(error).with_help(
                "Give the relay's user a folder of its own, on a disk with room for [guard] spill_bytes_max.",
            )
        })?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder for this process, for as long as the file is open; `None` if another one has it.
    pub(super) fn lock(&self) -> Result<Option<File>, Error> {
        let path = self.path.join(LOCK);
        let failed = |error: io::Error| self.failed("cannot be locked", error);
        let file = open_new(OpenOptions::new().create(true).truncate(false), &path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Whether there is anything in it that was read.
    pub(super) fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.numbers()?.is_empty())
    }

    fn numbers(&self) -> Result<Vec<u64>, Error> {
        let failed = |error: io::Error| self.failed("cannot be listed", error);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = PathBuf::from(entry.map_err(failed)?.file_name());
            let number = path.file_stem().and_then(|stem| u64::from_str_radix(stem.to_str()?, 16).ok());
            if path.extension().is_some_and(|extension| extension == SEGMENT) {
                numbers.extend(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The segments that are whole, one following the other, all of them on the disk; and the file that breaks off what can be
    /// read, if one that others follow does.
    pub(super) fn segments(&self) -> Result<(Vec<Segment>, Option<PathBuf>), Error> {
        let mut segments: Vec<Segment> = Vec::new();
        let numbers = self.numbers()?;
        let last = numbers.last().copied();
        for number in numbers {
            let path = self.segment(number);
            let unreadable = |error| self.failed("cannot be read", error);
            let found = examine(number, &path, None).map_err(unreadable)?;
            // What was cut off of the one before may have come back with a loss of power: it is in this one.
            if let (Some(segment), Some(before)) = (&found, segments.last_mut())
                && before.end > segment.start
            {
                *before = examine(before.number, &before.path, Some(segment.start))
                    .map_err(unreadable)?
                    .unwrap_or(before.clone());
            }
            let follows = |segment: &Segment| segments.last().is_none_or(|before| before.end == segment.start);
            match found {
                Some(segment) if follows(&segment) => segments.push(segment),
                // It was being made when the process ended: nothing of it was confirmed. Were it otherwise, the slot would say so.
                None if Some(number) == last => {
                    let torn = path.with_extension("torn");
                    fs::rename(&path, torn).map_err(|error| self.failed("cannot be written to", error))?;
                }
                _ => return Ok((segments, Some(path))),
            }
        }
        self.flush().map_err(|error| self.failed("cannot be made durable", error))?;
        Ok((segments, None))
    }

    /// Begins a segment; what is in it is durable only once [`Folder::flush`] and the file's own sync have returned.
    pub(super) fn begin(
        &self,
        number: u64,
        origin: &Origin,
        start: EndLsn,
        relations: &[u8],
    ) -> io::Result<(File, Segment)> {
        let path = self.segment(number);
        // One that could not be read is not there for the relay: see `segments`.
        let mut file = open_new(OpenOptions::new().create(true).truncate(true), &path)?;
        let relations_at = block::write(&mut file, &serde_json::to_vec(origin)?, start)?;
        let read_at = relations_at + block::write(&mut file, relations, start)?;
        let origin = origin.clone();
        let segment =
            Segment { number, path, origin, start, end: start, relations_at, read_at, whole: read_at, bytes: read_at };
        Ok((file, segment))
    }

    /// Makes durable which files there are.
    pub(super) fn flush(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// What was noted of the slot.
    pub(super) fn noted(&self) -> Noted {
        let read = fs::read(self.path.join(NOTED));
        read.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Notes it, durably.
    pub(super) fn note(&self, noted: Noted) -> io::Result<()> {
        if self.noted() == noted {
            return Ok(());
        }
        let (next, path) = (self.path.join("noted.next"), self.path.join(NOTED));
        self.write_whole(&next, &serde_json::to_vec(&noted)?)?;
        fs::rename(next, path)?;
        self.flush()
    }

    fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(path.starts_with(&self.path), "it is a file of this folder");
        let mut file = open_new(OpenOptions::new().create(true).truncate(true), path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.{SEGMENT}"))
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        let context = format!("the folder {:?}, to which a slot is spilled, {what}", self.path);
        Error::new(End::Source, Kind::Unavailable, context).because(error)
    }
}

fn open_new(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.read(true).write(true).mode(0o600).open(path)
}

/// How far a file is a segment, looking no further than `until`; `None` if it is none. It is on the disk then.
fn examine(number: u64, path: &Path, until: Option<EndLsn>) -> io::Result<Option<Segment>> {
    let file = File::open(path)?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 18, &file);
    let Some((head, origin)) = block::read(&mut reader, bytes)? else { return Ok(None) };
    let Ok(origin) = serde_json::from_slice::<Origin>(&origin) else { return Ok(None) };
    if origin.version != VERSION {
        let text = format!("{path:?} has version {}; this relay reads version {VERSION}", origin.version);
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let relations_at = head.block_bytes();
    let Some((relations, _)) = block::read(&mut reader, bytes - relations_at)? else { return Ok(None) };
    let read_at = relations_at + relations.block_bytes();
    let (start, mut at) = (head.reach, read_at);
    let mut segment = Segment {
        number,
        path: path.to_owned(),
        origin,
        start,
        end: start,
        relations_at,
        read_at,
        whole: read_at,
        bytes,
    };
    while let Some((head, _)) = block::read(&mut reader, bytes - at)? {
        at += head.block_bytes();
        if until.is_some_and(|until| head.reach > until) {
            break;
        }
        if head.reach > segment.end {
            (segment.end, segment.whole) = (head.reach, at);
        }
    }
    Ok(Some(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder below the system's temporary one; removed when dropped.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> (Self, Folder) {
            let root = std::env::temp_dir().join(format!("postrider-spill-{name}-{}", std::process::id()));
            let folder = Folder::make(&root, "orders").expect("it can be made");
            (Self(root), folder)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn origin() -> Origin {
        Origin::new("orders", 7, 1, 11, false)
    }

    /// A segment with two transactions, which reach 0x20 and 0x30 beyond `start`, and the begin of a third.
    fn written(folder: &Folder, number: u64, start: u64) -> Vec<u8> {
        let (mut file, segment) = folder.begin(number, &origin(), EndLsn::new(start), b"relations").expect("it begins");
        for reach in [start + 0x20, 0, start + 0x30, 0] {
            block::write(&mut file, b"messages", EndLsn::new(reach)).expect("it is written");
        }
        fs::read(segment.path).expect("it can be read")
    }

    fn found(folder: &Folder) -> (Vec<(u64, u64)>, bool) {
        let (segments, broken) = folder.segments().expect("it can be read");
        let ends = segments.iter().map(|segment| (segment.start.as_u64(), segment.end.as_u64()));
        (ends.collect(), broken.is_some())
    }

    #[test]
    fn segments_are_found_as_far_as_they_are_whole() {
        let (_place, folder) = Place::new("whole");
        assert!(folder.is_empty().unwrap());
        written(&folder, 3, 0x100);
        written(&folder, 4, 0x130);
        let (segments, broken) = folder.segments().unwrap();
        assert_eq!((found(&folder).0, broken), (vec![(0x100, 0x130), (0x130, 0x160)], None));
        let [first, _] = segments.as_slice() else { panic!("{segments:?}") };
        assert_eq!((first.number, &first.origin, first.bytes - first.whole), (3, &origin(), 28));
        assert!(first.relations_at < first.read_at && first.read_at < first.whole);
    }

    #[test]
    fn what_is_cut_off_anywhere_reaches_less_and_never_more() {
        let (_place, folder) = Place::new("torn");
        let (bytes, path) = (written(&folder, 0, 0x100), folder.segment(0));
        let whole = folder.segments().unwrap().0[0].clone();
        let second = whole.read_at + 28;
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let at = length as u64;
            let wanted = match at {
                _ if at < whole.read_at => vec![],
                _ if at < second => vec![(0x100, 0x100)],
                _ if at < whole.whole => vec![(0x100, 0x120)],
                _ => vec![(0x100, 0x130)],
            };
            assert_eq!(found(&folder), (wanted, false), "{length}");
        }
    }

    #[test]
    fn a_bit_that_was_changed_anywhere_is_found() {
        let (_place, folder) = Place::new("flipped");
        let (bytes, path) = (written(&folder, 0, 0x100), folder.segment(0));
        let whole = folder.segments().unwrap().0[0].whole;
        for at in 0..bytes.len() {
            for other in [false, true] {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                fs::write(&path, &changed).unwrap();
                let next = folder.segment(1);
                if other {
                    written(&folder, 1, 0x130);
                } else {
                    drop(fs::remove_file(&next));
                }
                let (ends, broken) = found(&folder);
                let reached = ends.last().map_or(0x100, |(_, end)| *end);
                let harmless = at as u64 >= whole;
                let wanted = if harmless { 0x130 } else { reached.min(0x120) };
                assert_eq!(reached, if other && harmless { 0x160 } else { wanted }, "byte {at}");
                assert_eq!(broken, other && !harmless, "byte {at}");
            }
        }
    }

    #[test]
    fn what_came_back_behind_an_end_is_left_to_the_next_segment() {
        let (_place, folder) = Place::new("back");
        written(&folder, 0, 0x100);
        written(&folder, 1, 0x120);
        assert_eq!(found(&folder), (vec![(0x100, 0x120), (0x120, 0x150)], false));
        written(&folder, 2, 0x145);
        assert_eq!(found(&folder), (vec![(0x100, 0x120), (0x120, 0x140)], true), "it begins within a transaction");
    }

    #[test]
    fn a_folder_has_one_process_and_nobody_else_reads_it() {
        let (_place, folder) = Place::new("locked");
        let lock = folder.lock().unwrap();
        assert!(lock.is_some() && folder.lock().unwrap().is_none());
        drop(lock);
        assert!(folder.lock().unwrap().is_some());
        written(&folder, 0, 0x100);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.segment(0))), (0o700, 0o600));
        let error = Folder::make(Path::new("/proc"), "orders").expect_err("no such folder can be made");
        assert_eq!(error.kind(), Kind::Setup);
        assert!(error.to_string().contains("spill_dir"), "{error}");
    }

    #[test]
    fn what_is_noted_is_known_again() {
        let (_place, folder) = Place::new("noted");
        assert_eq!(folder.noted(), Noted::default());
        let noted = Noted { epoch: 3, messages: true };
        folder.note(noted).unwrap();
        assert_eq!(folder.noted(), noted);
    }
}
