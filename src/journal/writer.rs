//! Write-ahead: events become lines on disk before anything is done on their strength (rollout.md 2.7).
//!
//! One thread writes. It takes every line that has arrived, writes them together, syncs once, and then says up to which
//! event the journal is on disk. On a full disk it frees the reserve, so that an abort and the rollback that follows can
//! still be written, and says so.

use super::{
    Event, JournalError, Reader,
    line::{self, Tip},
    run_dir::{RESERVE, RunDir, create_private, sync_dir},
};
use crate::crash;
use fs_err as fs;
use std::{
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long lines that nobody waits for may stay unsynced.
const LAZY_SYNC: Duration = Duration::from_millis(20);

/// What the writer says after each write.
#[derive(Debug)]
pub enum Ack {
    /// Every event up to this one is written; on disk, if it was submitted with `sync`.
    Written {
        /// The event's position.
        through: u64,
        /// The disk is full and the reserve is in use: only what ends the run may be written from here on.
        reserve_used: bool,
    },
    /// Nothing more can be written; the writer has ended.
    Failed {
        /// The system's error.
        error: String,
    },
}

struct Job {
    event: Arc<Event>,
    sync: bool,
}

/// The append-only journal of a run.
#[derive(Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: std::thread::JoinHandle<()>,
}

/// The answers of a writer, in the order of its events. The channel is unbounded: at most one answer an event.
pub type Acks = UnboundedReceiver<Ack>;

impl Writer {
    /// Begins the journal of a new run: file 0600, reserve allocated, both known to the directory on disk.
    ///
    /// # Errors
    /// System errors, no room for the reserve among them.
    pub fn create(run: &RunDir) -> Result<(Self, Acks), JournalError> {
        let file = create_private(&run.journal())?;
        let mut reserve = create_private(&run.reserve())?;
        // Written, not only allocated: a file system that compresses or allocates late would give nothing back.
        let filler: Vec<u8> = (0..RESERVE).map(|at| (at.wrapping_mul(167) ^ (at >> 8)) as u8).collect();
        reserve.write_all(&filler)?;
        reserve.sync_all()?;
        file.sync_all()?;
        sync_dir(run.path())?;
        Self::start(Log { file, tip: Tip::start(), length: 0, reserve: Some(run.reserve()), unsynced: false })
    }

    /// Goes on with the journal of an earlier run after its last sound line; the torn tail is cut.
    ///
    /// # Errors
    /// Those of [`Reader::open`] and system errors.
    pub fn resume(run: &RunDir) -> Result<(Self, Acks), JournalError> {
        let read = Reader::open(&run.journal())?;
        let mut file = fs::OpenOptions::new().read(true).write(true).open(run.journal())?;
        file.file().set_len(read.sound_bytes())?;
        file.seek(SeekFrom::Start(read.sound_bytes()))?;
        file.sync_all()?;
        let reserve = Some(run.reserve()).filter(|path| path.exists());
        Self::start(Log { file, tip: read.tip(), length: read.sound_bytes(), reserve, unsynced: false })
    }

    fn start(mut log: Log) -> Result<(Self, Acks), JournalError> {
        let (jobs, inbox) = mpsc::channel();
        let (acks, answers) = unbounded_channel();
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || log.serve(&inbox, &acks))?;
        Ok((Self { jobs, thread }, answers))
    }

    /// Hands over the next event; the answer comes through [`Acks`]. With `sync`, it comes when the event is on disk.
    ///
    /// # Errors
    /// [`JournalError::Closed`] after a failure.
    pub fn submit(&self, event: Arc<Event>, sync: bool) -> Result<(), JournalError> {
        self.jobs.send(Job { event, sync }).map_err(|_| JournalError::Closed)
    }

    /// Writes what has arrived, syncs it, and ends.
    pub async fn close(self) {
        let Self { jobs, thread } = self;
        drop(jobs);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        debug_assert!(joined.is_ok_and(|thread| thread.is_ok()), "the journal's thread does not panic");
    }
}

struct Log {
    file: fs::File,
    tip: Tip,
    length: u64,
    reserve: Option<PathBuf>,
    unsynced: bool,
}

impl Log {
    fn serve(&mut self, inbox: &mpsc::Receiver<Job>, acks: &UnboundedSender<Ack>) {
        loop {
            let first = if self.unsynced {
                match inbox.recv_timeout(LAZY_SYNC) {
                    Ok(job) => Some(job),
                    Err(mpsc::RecvTimeoutError::Timeout) => None,
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match inbox.recv() {
                    Ok(job) => Some(job),
                    Err(mpsc::RecvError) => break,
                }
            };
            let batch: Vec<Job> = first.into_iter().chain(inbox.try_iter()).collect();
            match self.commit(&batch) {
                Ok(reserve_used) => {
                    if let Some(last) = batch.last() {
                        let _ = acks.send(Ack::Written { through: last.event.seq, reserve_used });
                    }
                }
                Err(error) => {
                    let _ = acks.send(Ack::Failed { error: error.to_string() });
                    return;
                }
            }
        }
        if self.unsynced
            && let Err(error) = self.file.sync_data()
        {
            let _ = acks.send(Ack::Failed { error: error.to_string() });
        }
        // Nothing more will be written; where it cannot be removed it only takes room.
        if let Some(reserve) = self.reserve.take() {
            let _ = fs::remove_file(reserve);
        }
    }

    /// Writes a batch; true when the reserve had to be freed for it.
    fn commit(&mut self, batch: &[Job]) -> Result<bool, JournalError> {
        if let Some(last) = crash::record(batch.iter().map(|job| job.event.seq)) {
            let (bytes, _) = self.seal(batch.get(..=last).unwrap_or_default())?;
            self.put(&bytes, true)?;
            crash::now();
        }
        let (bytes, tip) = self.seal(batch)?;
        let must_sync = batch.is_empty() || batch.iter().any(|job| job.sync);
        let mut reserve_used = false;
        if let Err(error) = self.put(&bytes, must_sync) {
            let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            let Some(reserve) = self.reserve.take().filter(|_| full) else { return Err(error.into()) };
            fs::remove_file(reserve)?;
            self.put(&bytes, true)?;
            reserve_used = true;
        }
        self.tip = tip;
        self.length += bytes.len() as u64;
        Ok(reserve_used)
    }

    fn seal(&self, batch: &[Job]) -> Result<(Vec<u8>, Tip), JournalError> {
        let (mut bytes, mut tip) = (Vec::new(), self.tip.clone());
        for job in batch {
            let (line, next) = line::seal(&job.event, &tip).map_err(std::io::Error::from)?;
            bytes.extend(line);
            tip = next;
        }
        Ok((bytes, tip))
    }

    /// Writes after the last good line; what a failed attempt left behind is cut first.
    fn put(&mut self, bytes: &[u8], sync: bool) -> std::io::Result<()> {
        let written = self.file.seek(SeekFrom::Start(self.length)).and_then(|_| self.file.write_all(bytes));
        if let Err(error) = written {
            self.file.file().set_len(self.length)?;
            return Err(error);
        }
        if sync {
            self.file.sync_data()?;
        }
        self.unsynced = !sync;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::EventKind;
    use std::os::unix::fs::PermissionsExt;

    fn event(seq: u64) -> Arc<Event> {
        Arc::new(Event {
            seq,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: 0,
            kind: EventKind::Warning { host: None, message: "x".repeat(200) },
        })
    }

    async fn acked(acks: &mut Acks, wanted: u64) {
        loop {
            match acks.recv().await.expect("an answer") {
                Ack::Written { through, .. } if through >= wanted => return,
                Ack::Written { .. } => {}
                Ack::Failed { error } => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_read_back_and_a_later_writer_goes_on() {
        let state = tempfile::tempdir().expect("a directory");
        let run = RunDir::create(state.path(), "r1").expect("made");
        let (writer, mut acks) = Writer::create(&run).expect("begins");
        for seq in 1..=50 {
            writer.submit(event(seq), seq % 7 == 0).expect("submitted");
        }
        acked(&mut acks, 50).await;
        writer.close().await;
        let mode = fs::metadata(run.journal()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A crash in the middle of a line.
        fs::OpenOptions::new()
            .append(true)
            .open(run.journal())
            .expect("opens")
            .write_all(b"{\"v\":1")
            .expect("written");
        let (writer, mut acks) = Writer::resume(&run).expect("goes on");
        writer.submit(event(51), true).expect("submitted");
        acked(&mut acks, 51).await;
        writer.close().await;
        let read = Reader::open(&run.journal()).expect("sound");
        assert_eq!((read.events().count(), read.torn_bytes()), (51, 0));
    }

    /// Runs this test again within a file system of 2 MiB, in namespaces of its own.
    fn within_a_small_file_system(name: &str) -> bool {
        const WITHIN: &str = "ROLLGATE_TEST_SMALL_FILE_SYSTEM";
        if std::env::var_os(WITHIN).is_some() {
            return true;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let script = format!(
            "mount -t tmpfs -o size=2m none {0} && TMPDIR={0} exec \"$0\" --exact {name}",
            dir.path().display()
        );
        let test = std::env::current_exe().expect("this program");
        let mut command = std::process::Command::new("unshare");
        let output =
            command.args(["-rm", "sh", "-c", &script]).arg(test).env(WITHIN, "1").output().expect("unshare runs");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        false
    }

    #[tokio::test]
    async fn row_9_on_a_full_disk_the_reserve_lets_the_end_of_the_run_be_written() {
        if !within_a_small_file_system(
            "journal::writer::tests::row_9_on_a_full_disk_the_reserve_lets_the_end_of_the_run_be_written",
        ) {
            return;
        }
        let state = tempfile::tempdir().expect("a directory");
        let run = RunDir::create(state.path(), "r1").expect("made");
        let (writer, mut acks) = Writer::create(&run).expect("begins");
        let mut filler = fs::File::create(state.path().join("filler")).expect("made");
        while filler.write_all(&[0; 512]).is_ok() {}
        let mut used_at = None;
        for seq in 1..=200 {
            writer.submit(event(seq), true).expect("submitted");
            match acks.recv().await.expect("an answer") {
                Ack::Written { reserve_used: true, through } => used_at = used_at.or(Some(through)),
                Ack::Written { .. } => {}
                Ack::Failed { error } => panic!("event {seq}: {error}"),
            }
        }
        assert!(used_at.is_some(), "the disk was full");
        writer.close().await;
        assert_eq!(Reader::open(&run.journal()).expect("sound").events().count(), 200);
    }

    #[tokio::test]
    async fn a_file_that_takes_no_more_ends_the_writer_with_the_system_s_words() {
        // /dev/full refuses every write as a full disk does, and there is no reserve behind it.
        let file = fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
        let log = Log { file, tip: Tip::start(), length: 0, reserve: None, unsynced: false };
        let (writer, mut acks) = Writer::start(log).expect("starts");
        writer.submit(event(1), true).expect("submitted");
        assert!(matches!(acks.recv().await, Some(Ack::Failed { .. })));
        writer.close().await;
    }
}
