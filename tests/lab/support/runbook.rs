//! The shipped runbook with shorter waits: its tasks, handlers, probes and triggers as shipped.

use super::Lab;
use fs_err as fs;
use std::path::{Path, PathBuf};

impl Lab {
    /// The runbook as shipped.
    pub(crate) fn shipped(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/userns-remap.yml")
    }

    /// The runbook with some lines of its `rollout:` stanza set otherwise: `("batches", "[2, 1]")`. A key that the
    /// shipped file lacks is added. Waits are short in any case.
    pub(crate) fn runbook(&self, settings: &[(&str, &str)]) -> PathBuf {
        let mut text = fs::read_to_string(self.shipped()).unwrap();
        let short = [("min_healthy_time", "2s"), ("bake_time", "2s")];
        for (key, value) in short.iter().chain(settings) {
            text = with_setting(&text, key, value);
        }
        let directory = self.scratch().join("playbooks");
        fs::create_dir_all(&directory).unwrap();
        let templates = self.scratch().join("templates");
        if !templates.exists() {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
            fs_err::os::unix::fs::symlink(shipped, templates).unwrap();
        }
        let path = directory.join("userns-remap.yml");
        fs::write(&path, text).unwrap();
        path
    }
}

/// The stanza's keys stand alone at four spaces.
fn with_setting(text: &str, key: &str, value: &str) -> String {
    let start = format!("    {key}: ");
    let line = format!("{start}{value}");
    let mut found = 0;
    let mut lines: Vec<&str> = text
        .lines()
        .map(|old| {
            if old.starts_with(&start) {
                found += 1;
                &line
            } else {
                old
            }
        })
        .collect();
    assert!(found <= 1, "{key} stands {found} times in the runbook");
    if found == 0 {
        let stanza = lines.iter().position(|line| *line == "  rollout:").unwrap();
        lines.insert(stanza + 1, &line);
    }
    lines.join("\n") + "\n"
}
