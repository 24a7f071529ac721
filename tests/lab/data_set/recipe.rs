//! The recipe of rsync and `chown -R` on the same data: what it breaks, each with what was seen. docs/migration.md tells the
//! reader so.

use super::compare::{Facts, differing, fact};
use super::site::{START, Site, TOOLS};

/// Facts that the recipe changes, and how what is said then begins; of errors, what it says among other things.
const BROKEN: [(&str, &str); 14] = [
    ("setuid of the image", "failed, su: must be suid"),
    ("setuid of the container", "755 0:0"),
    ("capability of the image", "1000:1000"),
    ("small files", "200000 0:0"),
    ("volume of worker", ". 0:0 755 | of-1000 0:0 644"),
    ("999 reads its private directory", "failed"),
    ("1000 reads /special/listed/named", "failed"),
    ("1000 reads /special/listed/inherits/child", "failed"),
    ("allocated of sparse", "all"),
    ("error db", "FATAL: data directory has wrong ownership"),
    ("error hostnet", "failed to create shim task"),
    ("error privileged", "failed to create shim task"),
    ("error scratch", "touch: /scratch/mine: Permission denied"),
    ("socket", "failed"),
];

/// What it leaves as it should be.
const WHOLE: [&str; 8] = [
    "deleted /srv/deleted/by-image",
    "deleted /srv/deleted/by-container",
    "deleted /srv/opaque/old",
    "deleted /srv/opaque2/old",
    "images",
    "volumes",
    "network back",
    "published",
];

/// Runs the recipe, and looks at what has become of the data that containers saw as `before`.
pub(super) fn fails_where_it_is_said_to(site: &Site<'_>, before: &Facts) {
    site.root_shell(&format!(
        "echo dockremap:{START}:65536 | tee /etc/subuid >/etc/subgid; useradd -r -s /usr/sbin/nologin dockremap"
    ));
    site.name_user_in_settings();
    site.root_shell(&format!("{TOOLS}/recipe {} {START}", site.root()));
    let after = site.view_broken();
    containers_are_broken(before, &after);
    files_are_broken(site);
    the_original_is_still_needed(site);
}

fn containers_are_broken(before: &Facts, after: &Facts) {
    let all = || differing(before, after).join("\n");
    for (name, seen) in BROKEN {
        let now = fact(after, name);
        // What an engine says of a failure, each of them begins in its own way.
        let as_seen = if name.starts_with("error ") { now.contains(seen) } else { now.starts_with(seen) };
        assert!(as_seen, "{name}: {now}\n{}", all());
        assert!(before.get(name).is_none_or(|before| before != &[now]), "{name}: {now}");
    }
    for name in WHOLE {
        assert_eq!(fact(before, name), fact(after, name), "{name}\n{}", all());
    }
}

/// On the disk, where no container tells.
fn files_are_broken(site: &Site<'_>) {
    let inner = format!("{}/{START}.{START}", site.root());
    let seen = |command: &str| site.root_shell(command).trim().to_owned();
    let volume = format!("{inner}/volumes");
    // The volume that only a container with the host's user namespace uses.
    assert_eq!(seen(&format!("stat -c %u {volume}/hostonly/_data/of-1000")), START);
    // The option of a mount, which is made outside of the container.
    assert!(seen(&format!("cat {volume}/ramdisk/opts.json")).contains("uid=1000,gid=1000"));
    let attribute = |name: &str, path: &str| {
        let code = format!(
            "import os, sys; a = dict((n, os.getxattr(sys.argv[1], n).hex()) for n in os.listxattr(sys.argv[1])); print(a.get(\"{name}\"))"
        );
        seen(&format!("python3 -c '{code}' {volume}/special/_data/{path}"))
    };
    assert_eq!(attribute("security.capability", "links/capable"), "None");
    // 1000, four bytes from the least, after the owner's entry and its own tag and permissions.
    assert!(attribute("system.posix_acl_access", "listed/named").contains("02000400e8030000"));
    assert_eq!(seen(&format!("stat -c %U:%G {inner}/overlay2/*/work | sort -u")), "root:root");
}

/// What containers have written down leads to the old root: without that, engines before 26 do not start them.
fn the_original_is_still_needed(site: &Site<'_>) {
    let root = site.root();
    let script = format!(
        "systemctl stop docker.socket docker.service; mv {root}/volumes {root}/old; systemctl start docker.service; \
         docker start worker 2>&1 || true"
    );
    let told = site.root_shell(&script);
    let version = site.root_shell("docker version --format '{{.Server.Version}}'");
    let major: u32 = version.split('.').next().unwrap().parse().unwrap();
    assert_eq!(told.contains("error evaluating symlinks from mount source"), major < 26, "{version}: {told}");
}
