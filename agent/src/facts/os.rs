//! Kernel, distribution, service and package managers, SELinux, virtualization.

use super::gather::{Facts, fact};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// os-release's ID, Ansible's `distribution` and `os_family` (ansible-core, `distribution.py`).
const DISTRIBUTIONS: &[(&str, &str, &str)] = &[
    ("almalinux", "AlmaLinux", "RedHat"),
    ("alpine", "Alpine", "Alpine"),
    ("amzn", "Amazon", "RedHat"),
    ("arch", "Archlinux", "Archlinux"),
    ("centos", "CentOS", "RedHat"),
    ("debian", "Debian", "Debian"),
    ("fedora", "Fedora", "RedHat"),
    ("gentoo", "Gentoo", "Gentoo"),
    ("kali", "Kali", "Debian"),
    ("linuxmint", "Linux Mint", "Debian"),
    ("ol", "OracleLinux", "RedHat"),
    ("opensuse-leap", "openSUSE Leap", "Suse"),
    ("opensuse-tumbleweed", "openSUSE Tumbleweed", "Suse"),
    ("raspbian", "Debian", "Debian"),
    ("rhel", "RedHat", "RedHat"),
    ("rocky", "Rocky", "RedHat"),
    ("sles", "SLES", "Suse"),
    ("ubuntu", "Ubuntu", "Debian"),
];

/// Programs by which Ansible tells package managers, the later ones winning where a family has several.
const PACKAGE_MANAGERS: &[(&str, &str)] = &[
    ("/sbin/apk", "apk"),
    ("/usr/bin/pacman", "pacman"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/yum", "yum"),
    ("/usr/bin/microdnf", "dnf"),
    ("/usr/bin/dnf-3", "dnf"),
    ("/usr/bin/dnf5", "dnf5"),
];

/// uname's facts.
pub(super) fn kernel() -> Facts {
    let uname = rustix::system::uname();
    let text = |field: &std::ffi::CStr| field.to_string_lossy().into_owned();
    vec![
        fact("system", text(uname.sysname())),
        fact("kernel", text(uname.release())),
        fact("kernel_version", text(uname.version())),
        fact("architecture", architecture(&text(uname.machine()))),
        fact("machine", text(uname.machine())),
    ]
}

/// Ansible writes `i386` for all of its kind.
fn architecture(machine: &str) -> String {
    let bytes = machine.as_bytes();
    if matches!(bytes, [b'i', b'3'..=b'6', b'8', b'6']) { "i386".to_owned() } else { machine.to_owned() }
}

/// The distribution's facts.
pub(super) fn distribution() -> Facts {
    let text = fs_err::read_to_string("/etc/os-release")
        .or_else(|_| fs_err::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let debian = fs_err::read_to_string("/etc/debian_version").unwrap_or_default();
    distribution_of(&text, &debian)
}

fn distribution_of(os_release: &str, debian_version: &str) -> Facts {
    let fields = os_release_fields(os_release);
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let id = field("ID");
    let known = DISTRIBUTIONS.iter().find(|(known, ..)| *known == id);
    // A distribution that is not known by name belongs to the family that it says it is like.
    let like =
        field("ID_LIKE").split_whitespace().find_map(|like| DISTRIBUTIONS.iter().find(|(name, ..)| *name == like));
    let name = known.map_or_else(|| field("NAME").to_owned(), |(_, name, _)| (*name).to_owned());
    let family = known.or(like).map_or_else(|| name.clone(), |(.., family)| (*family).to_owned());
    let mut version = field("VERSION_ID");
    // Debian's os-release has the major version only.
    let point = debian_version.trim();
    if id == "debian" && !version.is_empty() && point.starts_with(&format!("{version}.")) {
        version = point;
    }
    let version = if version.is_empty() { "NA" } else { version };
    let mut parts = version.splitn(3, '.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next());
    let mut facts = vec![
        fact("distribution", name),
        fact("distribution_version", version),
        fact("distribution_major_version", major),
        fact("distribution_release", release(&fields)),
        fact("distribution_file_variety", family.as_str()),
        fact("distribution_file_path", "/etc/os-release"),
        fact("distribution_file_parsed", !fields.is_empty()),
        fact("os_family", family.as_str()),
    ];
    facts.extend(minor.map(|minor| fact("distribution_minor_version", minor)));
    facts
}

fn release(fields: &BTreeMap<String, String>) -> String {
    if let Some(codename) = fields.get("VERSION_CODENAME").filter(|codename| !codename.is_empty()) {
        return codename.clone();
    }
    let inside = fields.get("VERSION").and_then(|version| version.split_once('(')?.1.split(')').next());
    inside.filter(|codename| !codename.is_empty()).unwrap_or("NA").to_owned()
}

/// os-release(5): shell assignments without substitution.
fn os_release_fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            (name.trim().to_owned(), bare.unwrap_or(value).replace("\\\"", "\"").replace("\\$", "$"))
        })
        .collect()
}

/// Which programs manage services and packages.
pub(super) fn managers() -> Facts {
    let comm = fs_err::read_to_string("/proc/1/comm").unwrap_or_default();
    let comm = comm.trim();
    let openrc = Path::new("/run/openrc").exists();
    let service = match comm {
        _ if Path::new("/run/systemd/system").is_dir() => "systemd",
        "init" if openrc => "openrc",
        "init" => "sysvinit",
        "" => "service",
        other => other,
    };
    let package =
        PACKAGE_MANAGERS.iter().rev().find(|(path, _)| Path::new(path).exists()).map_or("unknown", |(_, name)| name);
    vec![fact("service_mgr", service), fact("pkg_mgr", package)]
}

/// SELinux as the kernel has it.
pub(super) fn selinux() -> Facts {
    let enforce = fs_err::read_to_string("/sys/fs/selinux/enforce");
    let facts = match enforce.as_deref().map(str::trim) {
        Ok(mode) => {
            let mode = if mode == "1" { "enforcing" } else { "permissive" };
            let version = fs_err::read_to_string("/sys/fs/selinux/policyvers").unwrap_or_default();
            let config = fs_err::read_to_string("/etc/selinux/config").unwrap_or_default();
            let kind = config.lines().find_map(|line| line.strip_prefix("SELINUXTYPE=")).unwrap_or("unknown");
            json!({"status": "enabled", "mode": mode, "policyvers": version.trim(), "type": kind.trim()})
        }
        Err(_) => json!({"status": "disabled"}),
    };
    vec![fact("selinux", facts)]
}

/// What kind of machine it is, from what is cheap to see.
pub(super) fn virtualization() -> Facts {
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default().trim().to_owned();
    let container = fs_err::read("/proc/1/environ").unwrap_or_default();
    let container = container
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"container="))
        .map(|value| String::from_utf8_lossy(value).into_owned());
    let vendor = read("/sys/class/dmi/id/sys_vendor");
    let product = read("/sys/class/dmi/id/product_name");
    let (kind, role) = if Path::new("/.dockerenv").exists() || container.as_deref() == Some("docker") {
        ("docker", "guest")
    } else if Path::new("/run/.containerenv").exists() || container.as_deref() == Some("podman") {
        ("podman", "guest")
    } else if let Some(kind) = container.as_deref().filter(|kind| !kind.is_empty()) {
        (if kind == "lxc" { "lxc" } else { "container" }, "guest")
    } else if Path::new("/proc/xen").exists() {
        ("xen", "guest")
    } else if vendor.contains("VMware") {
        ("VMware", "guest")
    } else if product.contains("VirtualBox") {
        ("virtualbox", "guest")
    } else if vendor == "QEMU"
        || product.contains("KVM")
        || ["Amazon EC2", "Google", "DigitalOcean", "Hetzner"].contains(&vendor.as_str())
    {
        ("kvm", "guest")
    } else if vendor == "Microsoft Corporation" && product == "Virtual Machine" {
        ("VirtualPC", "guest")
    } else if Path::new("/dev/kvm").exists() {
        ("kvm", "host")
    } else {
        ("NA", "NA")
    };
    vec![fact("virtualization_type", kind), fact("virtualization_role", role)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(os_release: &str, debian: &str) -> BTreeMap<String, String> {
        distribution_of(os_release, debian)
            .into_iter()
            .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect()
    }

    #[test]
    fn distributions_are_named_as_ansible_names_them() {
        let debian =
            of("ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", "12.11\n");
        assert_eq!(debian["ansible_distribution"], "Debian");
        assert_eq!(debian["ansible_distribution_version"], "12.11");
        assert_eq!(debian["ansible_distribution_major_version"], "12");
        assert_eq!(debian["ansible_distribution_minor_version"], "11");
        assert_eq!(debian["ansible_distribution_release"], "bookworm");
        let rocky = of("ID=\"rocky\"\nID_LIKE=\"rhel fedora\"\nVERSION=\"9.3 (Blue Onyx)\"\nVERSION_ID=\"9.3\"\n", "");
        assert_eq!((rocky["ansible_distribution"].as_str(), rocky["ansible_os_family"].as_str()), ("Rocky", "RedHat"));
        assert_eq!(rocky["ansible_distribution_release"], "Blue Onyx");
        let ubuntu = of("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n", "trixie/sid\n");
        assert_eq!(ubuntu["ansible_distribution_version"], "24.04");
        let odd = of("ID=pop\nNAME='Pop!_OS'\nID_LIKE=\"ubuntu debian\"\n", "");
        assert_eq!((odd["ansible_distribution"].as_str(), odd["ansible_os_family"].as_str()), ("Pop!_OS", "Debian"));
        assert_eq!(odd["ansible_distribution_version"], "NA");
    }

    #[test]
    fn architectures_of_one_kind_have_one_name() {
        assert_eq!(
            (architecture("i686"), architecture("x86_64"), architecture("aarch64")),
            ("i386".into(), "x86_64".into(), "aarch64".into())
        );
    }
}
