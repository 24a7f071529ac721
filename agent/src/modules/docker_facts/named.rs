//! Files of the host that name the engine's data: log shippers, log rotation, backups, timers. After a migration such a path
//! is one directory deeper, and what reads it finds nothing without saying so.

use crate::files::open_dir;
use crate::migrate::docker::MOVED;
use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, openat};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where such things are configured, and how many directories deep.
const PLACES: &[(&str, u32)] = &[
    ("/etc", 0),
    ("/etc/alloy", 2),
    ("/etc/bacula", 2),
    ("/etc/borgmatic", 2),
    ("/etc/borgmatic.d", 1),
    ("/etc/cron.d", 1),
    ("/etc/cron.daily", 1),
    ("/etc/cron.hourly", 1),
    ("/etc/cron.monthly", 1),
    ("/etc/cron.weekly", 1),
    ("/etc/datadog-agent", 3),
    ("/etc/elastic-agent", 2),
    ("/etc/filebeat", 2),
    ("/etc/fluent", 2),
    ("/etc/fluent-bit", 2),
    ("/etc/grafana-agent", 1),
    ("/etc/logrotate.d", 1),
    ("/etc/logstash", 2),
    ("/etc/loki", 1),
    ("/etc/metricbeat", 2),
    ("/etc/otelcol", 1),
    ("/etc/otelcol-contrib", 1),
    ("/etc/promtail", 1),
    ("/etc/restic", 2),
    ("/etc/rsyslog.d", 1),
    ("/etc/syslog-ng", 2),
    ("/etc/systemd/system", 2),
    ("/etc/td-agent", 2),
    ("/etc/telegraf", 2),
    ("/etc/vector", 2),
    ("/etc/zabbix", 2),
    ("/var/ossec/etc", 1),
    ("/var/spool/cron", 2),
];

/// Files of /etc itself that are read.
const OF_ETC: &[&str] =
    &["anacrontab", "crontab", "logrotate.conf", "promtail.yml", "rsnapshot.conf", "rsyncd.conf", "rsyslog.conf"];

/// How many files are read.
const FILES: usize = 2000;

/// How much of each.
const BYTES: u64 = 256 << 10;

/// How many findings are told.
const FOUND: usize = 64;

/// A line that names a path of the engine's data. Its text is not told: such files hold passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The file.
    pub(super) file: PathBuf,
    /// Its line, from 1.
    pub(super) line: usize,
    /// The path, as far as the directory of the data root.
    pub(super) path: String,
}

impl Named {
    /// The facts of it.
    pub(super) fn to_json(&self) -> Value {
        json!({"file": self.file, "line": self.line, "path": self.path})
    }
}

/// Looks through the places below `top`, which is `/`, for paths below any of the roots.
pub(super) fn look(top: &Path, roots: &[&Path]) -> Vec<Named> {
    let mut search = Search { wanted: wanted(roots), left: FILES, found: Vec::new() };
    for (place, depth) in PLACES {
        let path = top.join(place.trim_start_matches('/'));
        // Nothing that another user could have linked elsewhere is opened (S2).
        if let Ok(dir) = open_dir(&path) {
            search.directory(&dir, &path, *depth);
        }
    }
    search.found
}

fn wanted(roots: &[&Path]) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for root in roots {
        wanted.extend(MOVED.iter().map(|name| root.join(name).display().to_string()));
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

struct Search {
    wanted: Vec<String>,
    left: usize,
    found: Vec<Named>,
}

impl Search {
    /// Reads the files in a directory; `depth` 0 only those of [`OF_ETC`].
    fn directory(&mut self, dir: &OwnedFd, path: &Path, depth: u32) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(listed) = openat(dir, ".", flags | OFlags::DIRECTORY, Mode::empty()) else { return };
        let Ok(entries) = Dir::read_from(&listed) else { return };
        let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned());
        let mut names: Vec<_> = names.filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect();
        names.sort_unstable();
        for name in names {
            let text = name.to_string_lossy();
            if depth == 0 && !OF_ETC.contains(&&*text) {
                continue;
            }
            // A device or a fifo is not opened by a look at what it is.
            let Ok(stat) = rustix::fs::statat(&listed, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if !(kind == FileType::RegularFile || kind == FileType::Directory && depth > 1) {
                continue;
            }
            if self.left == 0 || self.found.len() >= FOUND {
                return;
            }
            let Ok(opened) = openat(listed.as_fd(), &name, flags, Mode::empty()) else { continue };
            let inner = path.join(&*text);
            if kind == FileType::Directory {
                self.directory(&opened, &inner, depth - 1);
            } else {
                self.left -= 1;
                self.file(opened, &inner);
            }
        }
    }

    fn file(&mut self, opened: OwnedFd, path: &Path) {
        if !fstat(&opened).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            return;
        }
        let mut bytes = Vec::new();
        if File::from(opened).take(BYTES).read_to_end(&mut bytes).is_err() {
            return;
        }
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let line_text = line.trim_start();
            if line_text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(named) = self.wanted.iter().find(|wanted| names(line_text, wanted))
                && self.found.len() < FOUND
            {
                self.found.push(Named { file: path.to_owned(), line: index + 1, path: named.clone() });
            }
        }
    }
}

/// Whether a line names a path or something below it, and not one that only begins so.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let after = line.get(at + path.len()..).and_then(|rest| rest.chars().next());
        let before = line.get(..at).and_then(|rest| rest.chars().next_back());
        !after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(top: &Path, path: &str, text: &str) {
        let path = top.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn found(top: &Path) -> Vec<(String, usize)> {
        let roots = [Path::new("/data/docker"), Path::new("/var/lib/docker")];
        let named = look(top, &roots).into_iter();
        named.map(|named| (named.file.strip_prefix(top).unwrap().display().to_string(), named.line)).collect()
    }

    #[test]
    fn shippers_rotation_backups_and_timers_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs_err::canonicalize(directory.path()).unwrap();
        write(&top, "etc/logrotate.d/docker", "# logs\n/var/lib/docker/containers/*/*.log {\n  daily\n}\n");
        write(&top, "etc/filebeat/inputs.d/x.yml", "paths:\n  - '/data/docker/containers/*/*.log'\n");
        write(&top, "etc/cron.d/backup", "0 3 * * * root tar c /var/lib/docker/volumes | ssh backup\n");
        write(&top, "etc/crontab", "1 * * * * root ls \"/var/lib/docker/swarm\"\n");
        write(&top, "etc/systemd/system/x.service.d/o.conf", "[Service]\nExecStart=/b /var/lib/docker/volumes/a\n");
        // What is no such path, or no place to look.
        write(&top, "etc/rsyslog.d/a.conf", "#/var/lib/docker/containers\n/var/lib/docker/231072.231072/containers\n");
        write(
            &top,
            "etc/vector/v.yml",
            "/var/lib/docker/containers-old\n/srv/var/lib/docker/volumes\n/var/lib/docker\n",
        );
        write(&top, "etc/hosts", "/var/lib/docker/volumes\n");
        write(&top, "etc/promtail/a/b.yml", "/var/lib/docker/containers\n");
        assert_eq!(
            found(&top),
            [
                ("etc/crontab".to_owned(), 1),
                ("etc/cron.d/backup".to_owned(), 1),
                ("etc/filebeat/inputs.d/x.yml".to_owned(), 2),
                ("etc/logrotate.d/docker".to_owned(), 2),
                ("etc/systemd/system/x.service.d/o.conf".to_owned(), 2),
            ]
        );
    }

    #[test]
    fn nothing_is_followed_and_nothing_that_waits_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs_err::canonicalize(directory.path()).unwrap();
        write(&top, "elsewhere/secret", "/var/lib/docker/volumes\n");
        fs_err::create_dir_all(top.join("etc/cron.d")).unwrap();
        symlink(top.join("elsewhere/secret"), top.join("etc/cron.d/link")).unwrap();
        symlink(top.join("elsewhere"), top.join("etc/vector")).unwrap();
        let fifo = rustix::fs::mknodat(
            rustix::fs::CWD,
            top.join("etc/cron.d/fifo").as_path(),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        );
        fifo.unwrap();
        // A link of a directory that is not root's own is refused; root's own, in root's directory, is followed.
        let seen = found(&top);
        assert!(seen.iter().all(|(file, _)| file == "etc/vector/secret"), "{seen:?}");
    }

    #[test]
    fn reading_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs_err::canonicalize(directory.path()).unwrap();
        write(&top, "etc/cron.d/many", &"/var/lib/docker/volumes\n".repeat(500));
        write(&top, "etc/cron.d/far", &format!("{}\n/var/lib/docker/volumes\n", "x".repeat(300_000)));
        let found = found(&top);
        assert_eq!(found.len(), FOUND);
        assert!(found.iter().all(|(file, _)| file == "etc/cron.d/many"));
    }
}
