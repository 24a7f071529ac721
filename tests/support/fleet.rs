//! Three hosts behind one sshd, each a directory with a file `conf`, and the real program at work on them.

use crate::{
    sshd::{Options, Sshd},
    transcript::{self, Place, Said},
};
use rollgate::journal::{EventKind, HostState, Reader};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

#[path = "tree.rs"]
pub(crate) mod tree;

pub(crate) const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

pub(crate) struct Fleet {
    pub(crate) sshd: Sshd,
    pub(crate) place: Place,
}

impl Fleet {
    /// Hosts whose file says `mode=old`. A playbook knows `root`, the host's directory, and `gate`, a file that a test
    /// makes when steps that wait for it may end.
    pub(crate) fn new(playbook: &str) -> Self {
        Self::with(playbook, |_| Options::default())
    }

    /// The same behind a server of which a test wants something, once the hosts' directories are there.
    pub(crate) fn with(playbook: &str, options: impl FnOnce(&Path) -> Options) -> Self {
        let place = Place::new();
        for host in HOSTS {
            place.file(&format!("{host}/conf"), "mode=old\n");
        }
        let sshd = Sshd::start(&options(place.path()));
        let base = place.path().display().to_string();
        let mut inventory = format!(
            "[all:vars]\nansible_host=127.0.0.1\nansible_user=root\nansible_port={}\nansible_ssh_private_key_file={}\n\
             gate={base}/gate\n[fleet]\n",
            sshd.port(),
            sshd.key().display()
        );
        for host in HOSTS {
            inventory.push_str(&format!("{host} root={base}/{host} rollgate_state_dir={base}/{host}.state\n"));
        }
        place.file("hosts.ini", &inventory);
        place.file("site.yml", playbook);
        Self { sshd, place }
    }

    /// A run's arguments.
    pub(crate) fn run(&self) -> String {
        self.on_hosts("run -v -i hosts.ini site.yml")
    }

    /// Arguments of a command that speaks to hosts.
    pub(crate) fn on_hosts(&self, arguments: &str) -> String {
        format!("{arguments} --known-hosts {}", self.sshd.known_hosts().display())
    }

    pub(crate) fn rollgate(&self, arguments: &str) -> Said {
        self.place.rollgate(&self.on_hosts(arguments))
    }

    pub(crate) fn open_the_gate(&self) {
        self.place.file("gate", "");
    }

    pub(crate) fn conf(&self, host: &str) -> String {
        fs_err::read_to_string(self.place.path().join(host).join("conf")).unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        HOSTS.iter().map(|host| self.conf(host)).collect()
    }

    /// All that is below the hosts' directories.
    pub(crate) fn trees(&self) -> [tree::Tree; 3] {
        HOSTS.map(|host| tree::tree(&self.place.path().join(host)))
    }

    /// What a host's own records say of its guards.
    pub(crate) fn guards(&self, host: &str) -> Vec<serde_json::Value> {
        let txns = fs_err::read_dir(self.place.path().join(format!("{host}.state/txn"))).into_iter().flatten();
        let record = |txn: &Path| serde_json::from_slice(&fs_err::read(txn.join("guard.json")).ok()?).ok();
        txns.filter_map(|txn| record(&txn.ok()?.path())).collect()
    }

    /// Waits until a host's guards have nothing more to do; their states.
    pub(crate) fn settled(&self, host: &str) -> Vec<String> {
        loop {
            let states = self.guards(host).into_iter().map(|guard| guard["state"].as_str().unwrap().to_owned());
            let states: Vec<String> = states.collect();
            if !states.iter().any(|state| matches!(state.as_str(), "armed" | "reverting")) {
                return states;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.place.path()).env_clear();
        command.env("HOME", self.place.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("USER", "tester");
        command.env("ROLLGATE_STATE_DIR", self.place.path().join("state"));
        command.env("ROLLGATE_AGENT", transcript::agent()).stdin(Stdio::null());
        command
    }

    /// Starts the program with these arguments.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_rollgate"));
        command.args(arguments.split_whitespace());
        Running::start(&mut command)
    }

    /// Gives a host other variables: `name=value`, of which the last one said counts.
    pub(crate) fn vary(&self, host: &str, variables: &str) {
        let hosts = fs_err::read_to_string(self.place.path().join("hosts.ini")).unwrap();
        let with =
            |line: &str| if line.starts_with(host) { format!("{line} {variables}\n") } else { format!("{line}\n") };
        self.place.file("hosts.ini", &hosts.lines().map(with).collect::<String>());
    }

    /// The ids of all runs, the oldest first.
    pub(crate) fn runs(&self) -> Vec<String> {
        let runs = fs_err::read_dir(self.place.path().join("state/runs")).into_iter().flatten();
        let mut runs: Vec<String> = runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
        runs.sort();
        runs
    }

    /// The last run's journal.
    pub(crate) fn journal(&self) -> Option<PathBuf> {
        let journal = self.place.path().join("state/runs").join(self.runs().pop()?).join("journal.jsonl");
        journal.exists().then_some(journal)
    }

    /// What the last run's journal holds.
    pub(crate) fn events(&self) -> Vec<EventKind> {
        let journal = self.journal().and_then(|journal| Reader::open(&journal).ok());
        journal.into_iter().flat_map(Reader::into_events).map(|event| event.kind).collect()
    }

    /// Looks at the journal until something has happened: for runs whose output cannot be read.
    pub(crate) fn until(&self, what: &str, fits: impl Fn(&EventKind) -> bool) {
        for _ in 0..2400 {
            if self.events().iter().any(&fits) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("it never came to this: {what}\n{:#?}", self.events());
    }

    pub(crate) fn ends(&self) -> (u8, Vec<HostState>) {
        let end = self.events().into_iter().find_map(|kind| match kind {
            EventKind::RunEnded { exit_code, hosts } => Some((exit_code, hosts.iter().map(|it| it.state).collect())),
            _ => None,
        });
        end.unwrap()
    }

    /// Waits until a file is there.
    pub(crate) fn until_there(&self, file: &str) {
        let path = self.place.path().join(file);
        while !path.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// A program in the background.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
    pub(crate) said: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, said: String::new() }
    }

    /// Reads its output up to a line with this in it.
    pub(crate) fn until(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended before `{what}`:\n{}", self.said);
            self.said.push_str(&line);
            if line.contains(what) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Reads the rest and gives back the exit code.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        self.said.push_str(&rest);
        (self.child.wait().unwrap().code(), self.said)
    }
}
