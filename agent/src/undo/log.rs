//! A log such as `steps.jsonl`: one line a record, `{"v":1,"seq":n,"crc":"…","record":{…}}`; the crc (CRC-32C) is of the record's
//! bytes. Appended and synced; a torn last line is cut at opening, damage before it is refused.

use super::UndoError;
use super::record::{RECORD_VERSION, Record};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    crc: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// An open log: of one transaction, if nothing else is said.
#[derive(Debug)]
pub struct Log<R = Record> {
    path: PathBuf,
    file: File,
    next: u64,
    records: PhantomData<fn(R)>,
}

impl<R: Serialize + DeserializeOwned> Log<R> {
    /// Opens or makes the log, cuts a torn tail, and gives what it holds.
    ///
    /// # Errors
    /// [`UndoError`]; interior damage names the line.
    pub fn open(path: &Path) -> Result<(Self, Vec<R>), UndoError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(std::io::Error::from)?;
        let mut file = File::from(fd);
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let (records, good) = parse(&text).map_err(|line| {
            UndoError::Other(format!("{} is damaged at line {line}: nothing is undone from it", path.display()))
        })?;
        if good < text.len() as u64 {
            file.set_len(good)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(good))?;
        let next = records.len() as u64 + 1;
        Ok((Self { path: path.to_owned(), file, next, records: PhantomData }, records))
    }

    /// Appends records and returns when they are on disk. On failure the log is as before.
    ///
    /// # Errors
    /// [`UndoError::Io`].
    pub fn append(&mut self, records: &[R]) -> Result<(), UndoError> {
        let mut text = Vec::new();
        let mut next = self.next;
        for record in records {
            text.extend(line(next, record)?);
            next += 1;
        }
        let begin = self.file.stream_position()?;
        if let Err(error) = self.file.write_all(&text).and_then(|()| self.file.sync_data()) {
            // Half a line would make the next one unreadable.
            self.file.set_len(begin)?;
            self.file.seek(SeekFrom::Start(begin))?;
            let path = self.path.display();
            return Err(std::io::Error::new(error.kind(), format!("cannot write {path}: {error}")).into());
        }
        self.next = next;
        Ok(())
    }
}

fn line(seq: u64, record: &impl Serialize) -> Result<Vec<u8>, UndoError> {
    let damaged = |error: serde_json::Error| UndoError::Other(format!("a record cannot be written: {error}"));
    let raw = serde_json::value::to_raw_value(record).map_err(damaged)?;
    let crc = format!("{:08x}", crc32c::crc32c(raw.get().as_bytes()));
    let mut text = serde_json::to_vec(&Line { v: RECORD_VERSION, seq, crc, record: &raw }).map_err(damaged)?;
    text.push(b'\n');
    Ok(text)
}

/// The records and how many bytes they take; the number of a damaged line before the last one.
fn parse<R: DeserializeOwned>(text: &[u8]) -> Result<(Vec<R>, u64), usize> {
    let mut records = Vec::new();
    let mut good = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        let record = end.and_then(|_| read(line, records.len() as u64 + 1));
        match record {
            Some(record) => records.push(record),
            // A crash may tear the last line, never one before it.
            None if after.is_empty() => break,
            None => return Err(records.len() + 1),
        }
        good += line.len() as u64;
        rest = after;
    }
    Ok((records, good))
}

fn read<R: DeserializeOwned>(line: &[u8], seq: u64) -> Option<R> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let raw = line.record.get();
    let sound =
        line.v == RECORD_VERSION && line.seq == seq && line.crc == format!("{:08x}", crc32c::crc32c(raw.as_bytes()));
    if sound { serde_json::from_str(raw).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(step: u64) -> Record {
        Record::End { step, changed: true, failed: false }
    }

    fn written(directory: &Path) -> (PathBuf, Vec<u8>) {
        let path = directory.join("steps.jsonl");
        let (mut log, _) = Log::open(&path).unwrap();
        log.append(&[end(1), end(2)]).unwrap();
        log.append(&[end(3)]).unwrap();
        let text = fs_err::read(&path).unwrap();
        (path, text)
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = written(directory.path());
        assert_eq!(Log::<Record>::open(&path).unwrap().1, [end(1), end(2), end(3)]);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let (path, text) = written(directory.path());
        let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').map(|at| at + 1).collect();
        for cut in 0..=text.len() {
            fs_err::write(&path, &text[..cut]).unwrap();
            let (mut log, records) = Log::open(&path).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(records.len(), whole, "cut at {cut}");
            log.append(&[end(9)]).unwrap();
            assert_eq!(Log::open(&path).unwrap().1.last(), Some(&end(9)), "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (path, text) = written(directory.path());
        let first = text.iter().position(|byte| *byte == b'\n').unwrap();
        for at in 0..first {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            fs_err::write(&path, &damaged).unwrap();
            let error = Log::<Record>::open(&path).unwrap_err().to_string();
            assert!(error.contains("damaged at line 1"), "byte {at}: {error}");
        }
    }
}
