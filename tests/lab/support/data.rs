//! Hosts that hold data: what fills them, and what of it must be the same after a migration, and after its way back.

use super::{Lab, assert_as_before};
use fs_err as fs;
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
};

/// What makes the runbook take this data along. `exporter` runs on the host's network.
pub(crate) const MIGRATE: [&str; 4] = ["-e", "existing_data=migrate", "-e", r#"{"userns_host": ["exporter"]}"#];

/// A host's data at a time.
#[derive(Debug)]
pub(crate) struct Data {
    /// A line for each inode below the engine's root, with the ids that containers see.
    inodes: String,
    /// Images, containers, volumes, networks, and who the engine is.
    engine: String,
    /// The last number that the ledger has acknowledged.
    acknowledged: u64,
}

impl Lab {
    /// Gives every host data, and containers that use it.
    pub(crate) fn fill(&self) {
        self.at_once(|host| {
            let ledger = "sudo sh -c 'mkdir -p -m 755 /srv/ledger && cat >/srv/ledger/ledger.py'";
            self.fed(host, ledger, "ledger.py");
            self.fed(host, "sudo sh -s", "fill");
            self.wait_healthy(host);
        });
    }

    /// The data of a host.
    pub(crate) fn data(&self, host: &str) -> Data {
        let root = self.ssh(host, "sudo docker info --format '{{.DockerRootDir}}'");
        let start = remapped_start(root.trim()).unwrap_or_default();
        let manifest = format!("sudo python3 - {} {start}", root.trim());
        Data {
            inodes: self.fed(host, &manifest, "manifest.py"),
            engine: self.fed(host, "sudo sh -s", "engine"),
            acknowledged: self.ledger(host),
        }
    }

    /// The data of all hosts of this test.
    pub(crate) fn all_data(&self) -> Vec<Data> {
        self.at_once(|host| self.data(host))
    }

    /// Fails unless a host's data is what it was, and nothing that was acknowledged is lost. The ledger goes on.
    pub(crate) fn assert_same_data(&self, host: &str, before: &Data) {
        let after = self.data(host);
        assert_as_before(host, &before.engine, &after.engine);
        assert_as_before(host, &before.inodes, &after.inodes);
        assert!(after.acknowledged >= before.acknowledged, "{host}: the ledger has become shorter");
        self.assert_ledger_goes_on(host, after.acknowledged);
        let page = self.ssh(host, "curl --silent --fail --max-time 5 http://127.0.0.1:8081/index.html");
        assert_eq!(page, "root\n", "{host}: the published port");
    }

    /// The uid map of every running container, by name.
    pub(crate) fn uid_maps(&self, host: &str) -> BTreeMap<String, String> {
        let names = "sudo docker ps --quiet | xargs sudo docker inspect --format '{{.Name}} {{.State.Pid}}'";
        let maps = format!("{names} | while read -r name pid; do echo $name $(cat /proc/$pid/uid_map); done");
        let maps = self.ssh(host, &maps);
        let words = maps.lines().map(|line| line.trim_start_matches('/').split_once(' ').unwrap());
        words.map(|(name, map)| (name.to_owned(), map.to_owned())).collect()
    }

    /// The last number that has been acknowledged. Every one has its row, and there is no gap.
    fn ledger(&self, host: &str) -> u64 {
        let numbers = |text: &str| -> Vec<u64> { text.lines().map(|line| line.parse().unwrap()).collect() };
        // Before the rows, which only become more.
        let acknowledged = numbers(&self.ssh(host, "cat /srv/ledger/acknowledged"));
        let rows = "sudo cat $(sudo docker volume inspect --format '{{.Mountpoint}}' ledger)/rows";
        let rows = numbers(&self.ssh(host, rows));
        let last = u64::try_from(rows.len()).unwrap();
        assert!(rows.iter().copied().eq(1..=last), "{host}: rows are missing between the first and {last}");
        for number in &acknowledged {
            assert!(*number <= last, "{host}: row {number} was acknowledged, and the last one is {last}");
        }
        acknowledged.last().copied().unwrap_or_default()
    }

    /// How many rows were written while a host was remapped, and then no longer.
    pub(crate) fn written_meanwhile(&self, host: &str) -> u64 {
        let starts = self.ssh(host, "cat /srv/ledger/starts");
        let words = starts.lines().map(|line| line.split_once(' ').unwrap());
        let starts: Vec<(u32, u64)> = words.map(|(id, row)| (id.parse().unwrap(), row.parse().unwrap())).collect();
        let ends = starts.iter().zip(starts.iter().skip(1));
        ends.filter(|((id, _), (next, _))| *id > 0 && *next == 0).map(|((_, row), (_, next))| next - row).sum()
    }

    fn assert_ledger_goes_on(&self, host: &str, seen: u64) {
        let more =
            format!("timeout 60 sh -c 'until [ \"$(tail -n 1 /srv/ledger/acknowledged)\" -gt {seen} ]; do :; done'");
        assert!(self.try_ssh(host, &more).status.success(), "{host}: the ledger does not go on after {seen}");
    }

    /// Does one thing on every host, at once.
    pub(crate) fn at_once<T: Send>(&self, work: impl Fn(&str) -> T + Sync) -> Vec<T> {
        let work = &work;
        std::thread::scope(|scope| {
            let begun: Vec<_> = self.hosts().map(|host| scope.spawn(move || work(host))).collect();
            begun.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Runs a command on a host that reads one of the files of `tests/lab/migrate`.
    fn fed(&self, host: &str, command: &str, file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/migrate").join(file);
        let stdin = Stdio::from(fs::File::open(path).unwrap().into_file());
        let Output { status, stdout, stderr } = self.ssh_command(host, command).stdin(stdin).output().unwrap();
        assert!(status.success(), "{host}: {command} <{file}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }
}

/// The first id of a remapped root.
fn remapped_start(root: &str) -> Option<u32> {
    root.rsplit('/').next()?.split_once('.')?.0.parse().ok()
}
