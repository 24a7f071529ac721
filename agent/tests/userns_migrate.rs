//! `userns_migrate` by the agent: what it says beforehand, what its transaction takes back, and what is left when the agent
//! is killed in the middle.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::data_root::{AGENT, DB, data_root, state};
    use crate::support::sandbox::agent;
    use crate::support::tree::{Disk, Listing, differences};
    use crate::support::{Channel, TXN, step, task};
    use rollgate_agent::migrate::docker::{Migration, Strategy, Wanted};
    use rollgate_agent::migrate::{IdRange, Mapping, MigrateError, Nobody, Watch};
    use rollgate_agent::protocol::{
        Answer, Call, Change, FromAgent, Mode, RevertReport, TaskReport, VerifyReport, read_frame,
    };
    use rollgate_agent::serve::Control;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};

    const INNER: &str = "231072.300000";

    type State = (Listing, BTreeMap<PathBuf, String>);

    /// A host with a data root, and an agent's state.
    struct Host {
        disk: Disk,
        seq: u64,
    }

    impl Host {
        /// None where nobody can give files away.
        fn new(files: u32) -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                eprintln!("skipped: only root gives files away");
                return None;
            }
            let host = Self { disk: Disk::new(96), seq: 0 };
            fs_err::create_dir(host.state_dir()).unwrap();
            data_root(&host.root(), files);
            for node in ["overlay2", "volumes"] {
                fs_err::remove_file(host.root().join(node).join("backingFsBlockDev")).unwrap();
            }
            Some(host)
        }

        fn root(&self) -> PathBuf {
            self.disk.path().join("docker")
        }

        fn state_dir(&self) -> PathBuf {
            self.disk.path().join("state")
        }

        fn params(&self) -> Value {
            json!({"root": self.root(), "start": 231_072, "gid_start": 300_000, "userns_host": ["agent"], "units": []})
        }

        fn state(&self) -> State {
            state(&self.root())
        }

        fn channel(&self) -> Channel {
            let mut channel = Channel::open(&self.state_dir(), "run1");
            channel.open_txn("run1", 1, Vec::new()).unwrap();
            channel
        }

        fn next(&mut self, params: Value) -> Call {
            self.seq += 1;
            let mut task = task("userns_migrate", params);
            task.step = Some(step(self.seq));
            Call::Task(task)
        }

        fn apply(&mut self) -> TaskReport {
            let (mut channel, call) = (self.channel(), self.next(self.params()));
            let Answer::Task(report) = channel.call(call).unwrap() else { panic!("no report") };
            channel.close();
            *report
        }

        fn ask(&self, call: &Call) -> Answer {
            agent(&self.state_dir(), "run1").answer(call, &Control::default(), &|_| {}).unwrap()
        }

        fn check(&self, params: Value) -> TaskReport {
            let mut task = task("userns_migrate", params);
            task.mode = Mode::Check;
            let Answer::Task(report) = self.ask(&Call::Task(task)) else { panic!("no report") };
            *report
        }

        fn revert(&self) -> RevertReport {
            let Answer::Revert(report) = self.ask(&Call::Revert { txn: TXN.to_owned() }) else { panic!("no report") };
            report
        }

        fn verify(&self) -> VerifyReport {
            let Answer::Verify(report) = self.ask(&Call::Verify { txn: TXN.to_owned() }) else { panic!("no report") };
            report
        }

        /// Lets the agent die before a change of a migration. False if it answered: there were not so many.
        fn killed_at(&self, change: u64, call: Call) -> bool {
            fs_err::write(self.state_dir().join("fault"), format!("migrate:{change}")).unwrap();
            let mut channel = self.channel();
            channel.request(call);
            while let Ok(message) = read_frame::<FromAgent>(&mut channel.from) {
                if matches!(message, FromAgent::Response { .. }) {
                    break;
                }
            }
            drop(channel.to.take());
            let died = !channel.child.wait().unwrap().success();
            let _unused = fs_err::remove_file(self.state_dir().join("fault"));
            died
        }
    }

    fn assert_same(expected: &State, found: &State) {
        let told = differences(&expected.0, &found.0);
        assert!(told.is_empty(), "{}", told.join("\n"));
        assert_eq!(expected.1, found.1);
    }

    #[test]
    fn it_says_what_it_will_do_does_it_once_and_a_rollback_takes_it_back() {
        let Some(mut host) = Host::new(100) else { return };
        let before = host.state();
        let check = host.check(host.params());
        assert_eq!((check.change, &check.failed), (Change::Changed, &None));
        let shifted = check.data["shifted"].as_u64().unwrap();
        assert!(shifted > 100 && check.diff[0].after.contains(INNER), "{check:?}");
        assert_same(&before, &host.state());

        let done = host.apply();
        assert_eq!((done.change, &done.failed), (Change::Changed, &None));
        assert_eq!(done.data["shifted"], shifted);
        assert_eq!(done.data["remapped_root"], host.root().join(INNER).display().to_string());
        let after = host.state();
        assert!(
            after.0.contains_key(&Path::new(INNER).join("overlay2")) && !after.0.contains_key(Path::new("overlay2"))
        );
        assert_eq!(host.apply().change, Change::Unchanged);
        assert_eq!(host.check(host.params()).change, Change::Unchanged);
        assert_same(&after, &host.state());

        let verified = host.verify();
        assert_eq!((verified.compared, verified.different.len()), (1, 1));
        assert_eq!(verified.different[0].found, "in the remapped root");
        let report = host.revert();
        assert_eq!((&report.failed, report.done.len()), (&None, 1));
        assert_same(&before, &host.state());
        assert!(host.verify().different.is_empty());
    }

    #[test]
    fn what_forbids_it_is_said_in_check_mode_and_nothing_is_recorded() {
        let Some(mut host) = Host::new(0) else { return };
        let mut params = host.params();
        params["userns_host"] = json!([]);
        for report in [host.check(params.clone()), {
            let (mut channel, call) = (host.channel(), host.next(params.clone()));
            let Answer::Task(report) = channel.call(call).unwrap() else { panic!("no report") };
            channel.close();
            *report
        }] {
            let told = report.failed.unwrap();
            assert!(told.contains("container agent has --pid=host"), "{told}");
            assert_eq!((report.change, report.recorded), (Change::Unchanged, false));
        }
        assert!(host.revert().no_op);
        for (key, value) in [("start", json!(65_535)), ("count", json!(0)), ("strategy", json!("teleport"))] {
            let mut params = host.params();
            params[key] = value;
            let call = crate::support::module("userns_migrate", params);
            assert!(rollgate_agent::modules::build(&call).is_err(), "{key}");
        }
    }

    /// The system calls of one migration, in their order, as strace writes them; none where it may not or is not there.
    fn recorded(host: &mut Host) -> Option<Vec<String>> {
        let (mut channel, call) = (host.channel(), host.next(host.params()));
        let account = host.disk.path().join("calls");
        let calls = "trace=write,fsync,fdatasync,syncfs,renameat,renameat2,fchownat,chmod,fchmodat,setxattr";
        let mut strace = Command::new("strace")
            .args(["-f", "-y", "-s", "300", "-e", calls, "-o"])
            .arg(&account)
            .args(["-p", &channel.child.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = BufReader::new(strace.stderr.take().unwrap()).lines();
        let attached = said.next().is_some_and(|line| line.unwrap().contains(" attached"));
        assert!(matches!(channel.call(call).unwrap(), Answer::Task(report) if report.failed.is_none()));
        channel.close();
        strace.wait().unwrap();
        attached.then(|| fs_err::read_to_string(account).unwrap().lines().map(str::to_owned).collect())
    }

    #[test]
    fn what_is_written_is_on_disk_before_it_is_built_on() {
        let Some(mut host) = Host::new(20) else { return };
        let Some(calls) = recorded(&mut host) else {
            eprintln!("skipped: no strace");
            return;
        };
        // The position of the first call from one on that has all of these in it.
        let find = |from: usize, words: &[&str]| {
            let found = calls.iter().skip(from).position(|call| words.iter().all(|word| call.contains(word)));
            from + found.unwrap_or_else(|| panic!("no {words:?} after call {from} of:\n{}", calls.join("\n")))
        };
        let last =
            |words: &[&str]| calls.iter().rposition(|call| words.iter().all(|word| call.contains(word))).unwrap();
        // What is decided, before anything else.
        let plan = find(0, &["write(", "/migration>", "into"]);
        let decided = find(plan, &["fdatasync(", "/migration>"]);
        assert!(decided < find(0, &["fchownat("]) && decided < find(0, &["renameat", "config.v2.json"]));
        // A file: its bytes, its name, its directory.
        let written = find(decided, &["write(", ".rollgate-", "State"]);
        let synced = find(written, &["sync(", ".rollgate-"]);
        let renamed = find(synced, &["renameat", "config.v2.json"]);
        find(renamed, &["fsync(", "/containers/"]);
        // What a change of owner takes away, before it is taken.
        let special = find(0, &["write(", "/shift>", "specials"]);
        let noted = find(special, &["fdatasync(", "/shift>"]);
        assert!(noted < find(0, &["chmod", "047"]) && noted < find(0, &["setxattr(", "security.capability"]));
        // Owners, before it is said that they are shifted; that, before names; names, before it is said to be done.
        let all = find(last(&["fchownat(", "AT_EMPTY_PATH"]), &["syncfs("]);
        let shifted = find(all, &["write(", "/shift>", "shifted"]);
        let said = find(shifted, &["fdatasync(", "/shift>"]);
        let renaming = find(said, &["write(", "/migration>", "renaming"]);
        let first = find(find(renaming, &["fdatasync(", "/migration>"]), &["renameat2(", "\"containers\""]);
        let settled = find(find(first, &["renameat2(", "\"volumes\""]), &["fsync(", INNER]);
        find(settled, &["write(", "/migration>", "done"]);
        assert!(find(0, &["renameat2(", "\"containers\""]) == first);
    }

    /// Counts changes.
    #[derive(Default)]
    struct Counter(AtomicU64);

    impl Watch for Counter {
        fn before_change(&self) -> Result<(), MigrateError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    /// How many changes a migration is, done once by the library and taken back.
    fn changes(host: &Host) -> u64 {
        let range = |start| IdRange::new(start, 65_536).unwrap();
        let wanted = Wanted {
            root: host.root(),
            mapping: Mapping { uid: range(231_072), gid: range(300_000) },
            strategy: Strategy::Move,
            host: ["agent".to_owned()].into(),
            leave: Default::default(),
            shift: Default::default(),
            units: Vec::new(),
        };
        let mut migration = Migration::open(&host.disk.path().join("counted")).unwrap();
        let counter = Counter::default();
        migration.into_range(&wanted, &counter).unwrap();
        migration.out_of_range(&Nobody).unwrap();
        counter.0.load(Ordering::SeqCst)
    }

    /// How many points of a migration an agent is killed at.
    fn points() -> u64 {
        if std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1") { 50 } else { 16 }
    }

    #[test]
    fn an_agent_killed_in_the_middle_is_followed_by_one_that_goes_on_or_back() {
        let Some(mut host) = Host::new(400) else { return };
        let before = host.state();
        let changes = changes(&host);
        assert_same(&before, &host.state());
        let mut inside = None;
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1 + (seed >> 33) % below
        };
        for point in 0..points() {
            let call = host.next(host.params());
            assert!(host.killed_at(random(changes), call));
            if point % 2 == 0 {
                assert_eq!(host.apply().failed, None);
                let expected = inside.get_or_insert_with(|| host.state());
                assert_same(expected, &host.state());
            }
            // And once more on the way back, unless that comes to its end.
            host.killed_at(random(changes), Call::Revert { txn: TXN.to_owned() });
            assert_eq!(host.revert().failed, None);
            assert_same(&before, &host.state());
            assert!(host.verify().different.is_empty());
            // A new transaction, as a new run would open one.
            fs_err::remove_dir_all(host.state_dir().join("txn")).unwrap();
        }
        let (found, _) = inside.unwrap();
        for id in [DB, AGENT] {
            assert!(found.contains_key(&Path::new(INNER).join("containers").join(id).join("config.v2.json")));
        }
    }
}
