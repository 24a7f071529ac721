//! Files staged in parts, by digest; a task names them.

use crate::files::copy_digesting;
use crate::protocol::{AgentError, AgentErrorKind, BlobPart};
use crate::undo::make_private;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How long a staged file stays that nobody has staged again.
const AGE: Duration = Duration::from_secs(7 * 86400);

/// Takes one part. The last one completes the file, whose digest must be the one it was announced with.
pub(super) fn stage(state_dir: &Path, part: &BlobPart) -> Result<(), AgentError> {
    let named = part.sha256.len() == 64 && part.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let end = part.offset.checked_add(part.data.len() as u64).filter(|end| *end <= part.size);
    let (true, Some(end)) = (named, end) else {
        return Err(invalid("a part of a staged file has a bad digest or lies outside of the file"));
    };
    let directory = state_dir.join("blobs");
    let place = directory.join(&part.sha256);
    if place.exists() {
        return Ok(());
    }
    make_private(&directory).map_err(internal)?;
    // Two agents of one host may stage the same file.
    let incoming = directory.join(format!(".incoming-{}-{}", part.sha256, std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(part.offset == 0)
        .mode(0o600)
        .open(&incoming)
        .map_err(internal)?;
    if file.metadata().map_err(internal)?.len() != part.offset {
        return Err(invalid("a part of a staged file does not begin where the one before it ended"));
    }
    file.seek(SeekFrom::Start(part.offset)).and_then(|_| file.write_all(&part.data)).map_err(internal)?;
    if end < part.size {
        return Ok(());
    }
    let sha256 = file.rewind().and_then(|()| copy_digesting(&mut file, None)).map_err(internal)?.1;
    if sha256 != part.sha256 {
        let _gone = fs_err::remove_file(&incoming);
        return Err(invalid("a staged file has not the digest that it was announced with"));
    }
    file.sync_all().map_err(internal)?;
    fs_err::rename(&incoming, &place).map_err(internal)
}

/// Deletes staged files that are old.
pub(super) fn prune(state_dir: &Path) {
    let Ok(entries) = fs_err::read_dir(state_dir.join("blobs")) else { return };
    for entry in entries.filter_map(Result::ok) {
        let age = entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age > AGE) {
            let _another_agent_may_be_quicker = fs_err::remove_file(entry.path());
        }
    }
}

fn invalid(sentence: &str) -> AgentError {
    AgentError { kind: AgentErrorKind::Invalid, message: sentence.to_owned() }
}

fn internal(error: impl std::fmt::Display) -> AgentError {
    AgentError { kind: AgentErrorKind::Internal, message: format!("a file cannot be staged: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::digest;

    fn part(bytes: &[u8], sha256: &str, offset: u64, size: u64) -> BlobPart {
        BlobPart { sha256: sha256.to_owned(), offset, size, data: bytes.to_vec() }
    }

    #[test]
    fn parts_make_the_file_and_a_second_staging_is_nothing() {
        let state = tempfile::tempdir().unwrap();
        let sha256 = digest(b"abcdef");
        stage(state.path(), &part(b"abc", &sha256, 0, 6)).unwrap();
        assert!(!state.path().join("blobs").join(&sha256).exists());
        stage(state.path(), &part(b"def", &sha256, 3, 6)).unwrap();
        stage(state.path(), &part(b"abc", &sha256, 0, 6)).unwrap();
        assert_eq!(fs_err::read(state.path().join("blobs").join(&sha256)).unwrap(), b"abcdef");
        assert_eq!(fs_err::read_dir(state.path().join("blobs")).unwrap().count(), 1);
    }

    #[test]
    fn wrong_bytes_gaps_and_names_are_refused() {
        let state = tempfile::tempdir().unwrap();
        let sha256 = digest(b"abcdef");
        assert!(stage(state.path(), &part(b"abcdeX", &sha256, 0, 6)).is_err());
        assert!(stage(state.path(), &part(b"ef", &sha256, 4, 6)).is_err());
        assert!(stage(state.path(), &part(b"abcdefg", &sha256, 0, 6)).is_err());
        assert!(stage(state.path(), &part(b"x", "../../etc/passwd", 0, 1)).is_err());
        assert!(stage(state.path(), &part(b"x", &sha256, u64::MAX, 6)).is_err());
    }
}
