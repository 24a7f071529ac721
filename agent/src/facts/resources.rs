//! Processors, memory, mounts, uptime.

use super::gather::{Facts, fact};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Processor counts, from /proc/cpuinfo.
pub(super) fn processors() -> Facts {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let (vcpus, sockets) = count_processors(&info);
    let usable = std::thread::available_parallelism().map_or(vcpus, std::num::NonZero::get);
    vec![
        fact("processor_vcpus", vcpus.max(1)),
        fact("processor_count", sockets.max(1)),
        fact("processor_nproc", usable),
    ]
}

fn count_processors(info: &str) -> (usize, usize) {
    let values = |name: &str| {
        let name = name.to_owned();
        info.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(move |(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
            .collect::<Vec<_>>()
    };
    (values("processor").len(), values("physical id").into_iter().collect::<BTreeSet<_>>().len())
}

/// Memory in MiB, and how long the host is up.
pub(super) fn memory() -> Facts {
    let info = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let mib = |name: &str| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
    };
    let mut facts: Facts = [
        ("memtotal_mb", "MemTotal"),
        ("memfree_mb", "MemFree"),
        ("memavailable_mb", "MemAvailable"),
        ("swaptotal_mb", "SwapTotal"),
        ("swapfree_mb", "SwapFree"),
    ]
    .into_iter()
    .filter_map(|(name, key)| Some(fact(name, mib(key)?)))
    .collect();
    let uptime = fs_err::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
    facts.extend(seconds.map(|seconds| fact("uptime_seconds", seconds)));
    facts
}

/// Mounts of devices: where, what and how. Sizes are left out: a hung network mount would hang whoever asks for them.
pub(super) fn mounts() -> Facts {
    let table = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
    vec![fact("mounts", mounts_of(&table))]
}

/// Ansible's choice: a device path or a network share, and no mount twice.
fn mounts_of(table: &str) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [device, place, kind, options, ..] = fields.as_slice() else { return None };
            if !(device.starts_with(['/', '\\']) || device.contains(":/")) || *kind == "none" {
                return None;
            }
            let place = unescape(place);
            seen.insert(place.clone())
                .then(|| json!({"device": unescape(device), "mount": place, "fstype": kind, "options": options}))
        })
        .collect()
}

/// Takes off the octal escapes of blanks, tabs, newlines and backslashes.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_shares_are_mounts_and_the_kernels_own_are_not() {
        let table =
            "/dev/vda / ext4 rw 0 0\nproc /proc proc rw 0 0\nnas:/x /mnt/a\\040b nfs4 rw 0 0\n/dev/vda / ext4 ro 0 0\n";
        let mounts = mounts_of(table);
        let places: Vec<_> = mounts.iter().map(|mount| mount["mount"].as_str().unwrap()).collect();
        assert_eq!(places, ["/", "/mnt/a b"]);
    }

    #[test]
    fn processors_and_sockets_are_counted() {
        let info = "processor\t: 0\nphysical id\t: 0\n\nprocessor\t: 1\nphysical id\t: 0\n";
        assert_eq!(count_processors(info), (2, 1));
    }
}
