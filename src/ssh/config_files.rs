//! Whether ssh configuration files say anything that matters to us, so that `ssh -G` need not be asked for every host.
//!
//! Wrong in one direction only: what is not understood counts as saying something.

use std::path::{Path, PathBuf};

/// Keywords of ssh_config(5) that change nothing that rollgate does itself. Distributions ship some of them.
const HARMLESS: [&str; 24] = [
    "addkeystoagent",
    "addressfamily",
    "batchmode",
    "checkhostip",
    "ciphers",
    "compression",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "hashknownhosts",
    "host",
    "loglevel",
    "sendenv",
    "serveralivecountmax",
    "serveraliveinterval",
    "setenv",
    "stricthostkeychecking",
    "tcpkeepalive",
    "visualhostkey",
];

/// OpenSSH's own limit on nested includes.
const DEPTH: usize = 16;

/// Whether one of the files has a keyword that matters.
pub(crate) fn say_something(files: &[&Path], home: &Path) -> bool {
    files.iter().any(|file| says_something(file, home, 0))
}

fn says_something(file: &Path, home: &Path, depth: usize) -> bool {
    let text = match fs_err::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).any(|line| {
        let (keyword, rest) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        let keyword = keyword.to_ascii_lowercase();
        match keyword.as_str() {
            "include" => rest.split_whitespace().any(|pattern| match included(pattern, file, home) {
                Some(files) if depth < DEPTH => files.iter().any(|file| says_something(file, home, depth + 1)),
                _ => true,
            }),
            keyword => !HARMLESS.contains(&keyword),
        }
    })
}

/// The files of an `Include`, where it is a plain path or `DIRECTORY/*.SUFFIX`; none for any other pattern.
fn included(pattern: &str, file: &Path, home: &Path) -> Option<Vec<PathBuf>> {
    let pattern = pattern.trim_matches('"');
    let path = match (pattern.strip_prefix("~/"), file.parent()) {
        (Some(rest), _) => home.join(rest),
        (None, Some(directory)) => directory.join(pattern),
        (None, None) => return None,
    };
    let text = path.to_str()?;
    let special = |text: &str| text.contains(['*', '?', '[', '%', '$']);
    if !special(text) {
        return Some(vec![path]);
    }
    let (directory, suffix) = text.rsplit_once("/*")?;
    if special(directory) || special(suffix) || suffix.contains('/') {
        return None;
    }
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Vec::new()),
        Err(_) => return None,
    };
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    Some(paths.ok()?.into_iter().filter(|path| path.to_string_lossy().ends_with(suffix)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(files: &[(&str, &str)]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        say_something(&[&directory.path().join("config")], directory.path())
    }

    #[test]
    fn what_distributions_ship_says_nothing() {
        let debian = "# comment\nInclude config.d/*.conf\n\nHost *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n    \
                      GSSAPIAuthentication yes\n";
        assert!(!says(&[("config", debian)]));
        assert!(!says(&[("config", debian), ("config.d/20.conf", "Host x\nServerAliveInterval=5\n")]));
        assert!(!says(&[]), "no file at all");
    }

    #[test]
    fn what_matters_counts_wherever_it_stands() {
        assert!(says(&[("config", "Host web1\n\tHostName 10.0.0.1\n")]));
        assert!(says(&[("config", "port=2222\n")]));
        assert!(says(&[("config", "Include ~/more\n"), ("more", "User deploy\n")]));
        assert!(says(&[("config", "Include config.d/*.conf\n"), ("config.d/1.conf", "ProxyJump b\n")]));
        assert!(says(&[("config", "Include ?x\n")]), "a pattern that is not understood");
        assert!(says(&[("config", "Include config\n")]), "an endless include");
        assert!(says(&[("config", "NewKeyword yes\n")]));
    }
}
