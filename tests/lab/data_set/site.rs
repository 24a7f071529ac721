//! The host with the data set, and what is done to it.

use super::compare::{Facts, facts};
use crate::support::{Lab, Outcome};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the subordinate range begins.
pub(super) const START: &str = "231072";

/// Where the tools lie on the host.
pub(super) const TOOLS: &str = "/var/tmp/data-set";

/// Where a disk's image is on a host: not on an overlay.
const DISK_PLACE: &str = "/var/lib/docker";

/// The image.
const DISK: &str = "/var/lib/docker/disk";

/// What is not shifted.
const KINDS: &str = "--host privileged --host hostnet --host sock --left hostonly";

/// A host whose engine holds the data set, and nothing else runs containers.
pub(super) struct Site<'a> {
    lab: &'a Lab,
    host: &'a str,
    root: String,
}

impl<'a> Site<'a> {
    /// Fills the engine of a host, with so many small files among the rest.
    pub(super) fn filled(lab: &'a Lab, host: &'a str, files: u32) -> Self {
        let site = Self { lab, host, root: "/var/lib/docker".to_owned() };
        site.clear();
        site.root_shell(&format!("{TOOLS}/fill --files {files}"));
        site
    }

    /// As [`Site::filled`], but the data root is on a file system whose files can share bytes.
    pub(super) fn filled_on_xfs(lab: &'a Lab, host: &'a str, files: u32) -> Self {
        let site = Self { lab, host, root: "/srv/xfs/docker".to_owned() };
        site.clear();
        site.put_disk();
        // Device nodes for the host's own use: it has no udev.
        site.root_shell(&format!(
            "systemctl stop docker.socket docker.service; mknod /dev/loop-control c 10 237; \
             for n in $(seq 0 63); do mknod /dev/loop$n b 7 $n; done; mkdir /srv/xfs; mount -o loop {DISK} /srv/xfs && \
             sed -i '0,/{{/s#{{#{{ \"data-root\": \"/srv/xfs/docker\",#' /etc/docker/daemon.json && \
             systemctl start docker.service && docker load -qi /var/lib/workspace/images/workspace-base.tar"
        ));
        site.root_shell(&format!("{TOOLS}/fill --files {files}"));
        site
    }

    /// Makes the disk here, where the tools for it are.
    fn put_disk(&self) {
        let image = self.lab.scratch().join("disk");
        fs::File::create(&image).unwrap().set_len(4 << 30).unwrap();
        let made = Command::new("mkfs.xfs").arg("-q").arg(&image).status();
        assert!(made.is_ok_and(|made| made.success()), "mkfs.xfs (package xfsprogs) makes no file system");
        let mut tar = Command::new("tar");
        tar.args(["-cSf", "-", "-C"]).arg(self.lab.scratch()).arg("disk").stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let unpack = format!("sudo tar -xSf - -C {DISK_PLACE}");
        let status = self.lab.ssh_command(self.host, &unpack).stdin(tar.stdout.take().unwrap()).status().unwrap();
        assert!(status.success() && tar.wait().unwrap().success());
    }

    fn clear(&self) {
        self.put_tools();
        self.root_shell("systemctl stop workspace-app; docker ps -aq | xargs -r docker rm -f >/dev/null");
    }

    fn put_tools(&self) {
        for name in ["fill", "manifest", "view", "recipe"] {
            let command = format!("sudo sh -c 'mkdir -p {TOOLS}; cat >{TOOLS}/{name}; chmod 755 {TOOLS}/{name}'");
            let file = fs::File::open(tools().join(name)).unwrap().into_file();
            let status = self.lab.ssh_command(self.host, &command).stdin(Stdio::from(file)).status().unwrap();
            assert!(status.success(), "{name}");
        }
    }

    /// The data root without a remap.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// Runs commands as root; the last must succeed.
    pub(super) fn root_shell(&self, script: &str) -> String {
        let quoted = script.replace('\'', r"'\''");
        self.lab.ssh(self.host, &format!("sudo sh -c '{quoted}'"))
    }

    /// What the engine knows and its containers see, once those that should run do.
    pub(super) fn view(&self) -> Facts {
        facts(&self.root_shell(&format!("{TOOLS}/view")))
    }

    /// The same, where some cannot run.
    pub(super) fn view_broken(&self) -> Facts {
        facts(&self.root_shell(&format!("{TOOLS}/view --broken")))
    }

    /// What `daemon.json` is with the remap.
    fn settings(&self) -> String {
        let settings = self.root_shell("cat /etc/docker/daemon.json");
        settings.replacen('{', "{\n    \"userns-remap\": \"dockremap\",", 1)
    }

    /// Turns the remap on, for the engine's next start.
    pub(super) fn name_user_in_settings(&self) {
        let settings = self.settings();
        self.root_shell(&format!("cat >/etc/docker/daemon.json <<'TEXT'\n{settings}\nTEXT"));
    }

    /// Stops the engine, migrates its data, and starts it remapped.
    pub(super) fn migrate(&self, strategy: &str) -> Outcome {
        let variables = serde_json::json!({
            "root": self.root, "start": START, "strategy": strategy, "tools": TOOLS, "daemon_json": self.settings(),
        });
        let play = tools().join("play.yml");
        let arguments = [play.to_str().unwrap(), "-e", &variables.to_string()];
        self.lab.start("run", &arguments).end().expect_code(0)
    }

    /// Rolls it back.
    pub(super) fn roll_back(&self, run: &Outcome) {
        self.lab.start("rollback", &[run.run_id()]).end().expect_code(0);
    }

    /// The remapped root holds, inode by inode, what the table of ownership makes of what there was before.
    pub(super) fn expect_migrated(&self, strategy: &str) {
        let options = if strategy == "move" { "" } else { "--copy --kept" };
        self.expect_inodes(&format!("into {} {TOOLS}/before {TOOLS}/after {START} {KINDS} {options}", self.root));
    }

    /// What has come back is, inode by inode, what was in the remapped root in the end.
    pub(super) fn expect_taken_back(&self) {
        self.expect_inodes(&format!("into {} {TOOLS}/back {TOOLS}/late {START} {KINDS} --used", self.root));
    }

    /// Every inode is as it was before, but for those that were written to.
    pub(super) fn expect_as_before(&self, meanwhile: &[&str], strategy: &str) {
        let copies = if strategy == "move" { "" } else { "--copy" };
        let patterns: String = meanwhile.iter().map(|pattern| format!(" --meanwhile \"{pattern}\"")).collect();
        self.expect_inodes(&format!("same {} {TOOLS}/before {TOOLS}/back {copies}{patterns}", self.root));
    }

    fn expect_inodes(&self, comparison: &str) {
        let told = self.root_shell(&format!(
            "{TOOLS}/manifest {comparison} >{TOOLS}/told; wc -l <{TOOLS}/told; tail -n 40 {TOOLS}/told"
        ));
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "1", "{comparison}:\n{told}");
        let compared: u64 = lines[1].strip_prefix("compared ").unwrap().parse().unwrap();
        assert!(compared > 200_000, "{told}");
    }
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/data-set")
}
