//! Many points of one kind, each tried on a host of its own: a seeded sample by default, all with `ROLLGATE_FULL=1`.

use super::Lab;
use fs_err as fs;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What the sample is drawn with.
const SEED: &str = "20261121";

/// The points still to be tried, and the file of those that were found good.
pub(crate) struct Sweep {
    points: Vec<String>,
    progress: Option<PathBuf>,
}

impl Sweep {
    /// A sweep over `points`, each `...:MODE`. In full it goes on where an earlier one of the same program ended.
    pub(crate) fn new(name: &str, points: Vec<String>, sample: usize) -> Self {
        if std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1") {
            let progress = progress(name);
            let done = fs::read_to_string(&progress).unwrap_or_default();
            let done: BTreeSet<&str> = done.lines().collect();
            let total = points.len();
            let points: Vec<String> = points.into_iter().filter(|point| !done.contains(point.as_str())).collect();
            eprintln!("{name}: {} of {total} points are left", points.len());
            return Self { points, progress: Some(progress) };
        }
        Self { points: sampled(points, sample), progress: None }
    }

    /// Tries every point on one of the hosts, which it must leave as it was. All that went wrong is told in the end.
    pub(crate) fn over(self, lab: &Lab, check: impl Fn(&Lab, &str, &str) + Sync) {
        let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let written = Mutex::new(());
        std::thread::scope(|scope| {
            for host in lab.hosts() {
                let (this, next, broken, written, check) = (&self, &next, &broken, &written, &check);
                let part = lab.only(host);
                scope.spawn(move || {
                    let mut before = part.state(host);
                    while let Some(point) = this.points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match catch_unwind(AssertUnwindSafe(|| check(&part, point, &before))) {
                            Ok(()) => {
                                let _one = written.lock().unwrap();
                                this.good(point);
                            }
                            Err(why) => {
                                broken.lock().unwrap().push(format!("{point} on {host}: {}", said(why.as_ref())));
                                part.reset();
                                before = part.state(host);
                            }
                        }
                    }
                });
            }
        });
        let broken = broken.into_inner().unwrap();
        eprintln!("tried {} points", self.points.len());
        assert!(broken.is_empty(), "{} of {} points:\n{}", broken.len(), self.points.len(), broken.join("\n\n"));
    }

    fn good(&self, point: &str) {
        let Some(progress) = &self.progress else { return };
        let mut file = fs::OpenOptions::new().create(true).append(true).open(progress).unwrap();
        writeln!(file, "{point}").unwrap();
    }
}

/// Points in an order of chance, but each mode in its turn.
fn sampled(mut points: Vec<String>, sample: usize) -> Vec<String> {
    points.sort_by_cached_key(|point| Sha256::digest(format!("{SEED} {point}")));
    let mode = |point: &String| point.rsplit(':').next().unwrap_or_default().to_owned();
    let modes: BTreeSet<String> = points.iter().map(mode).collect();
    let mut chosen = Vec::new();
    for wanted in modes.iter().cycle().take(sample) {
        if let Some(at) = points.iter().position(|point| mode(point) == *wanted) {
            chosen.push(points.remove(at));
        }
    }
    chosen
}

/// The file for this program: what an older one did says nothing of this one.
fn progress(name: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache =
        std::env::var_os("ROLLGATE_CACHE_DIR").map_or_else(|| manifest.join("target/rollgate-cache"), PathBuf::from);
    let directory = cache.join("sweeps");
    fs::create_dir_all(&directory).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_rollgate"));
    let mut digest = Sha256::new();
    for part in [program, &program.with_file_name("rollgate-agent"), &manifest.join("playbooks/userns-remap.yml")] {
        digest.update(fs::read(part).unwrap());
    }
    let digest: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    directory.join(format!("{name}-{digest}.txt"))
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
