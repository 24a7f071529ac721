//! Verdicts, and agreement with ssh-keygen.

use super::*;
use proptest::prelude::*;
use std::process::Command;

fn key(seed: u8) -> HostKey {
    let mut blob = 11u32.to_be_bytes().to_vec();
    blob.extend_from_slice(b"ssh-ed25519");
    blob.extend_from_slice(&32u32.to_be_bytes());
    blob.extend_from_slice(&[seed; 32]);
    HostKey { key_type: "ssh-ed25519".into(), blob }
}

fn other_type() -> HostKey {
    let mut blob = 7u32.to_be_bytes().to_vec();
    blob.extend_from_slice(b"ssh-rsa");
    blob.extend_from_slice(&[0, 0, 0, 1, 3, 0, 0, 0, 2, 0, 200]);
    HostKey { key_type: "ssh-rsa".into(), blob }
}

fn line(names: &str, key: &HostKey) -> String {
    format!("{names} {} {} a comment\n", key.key_type, STANDARD.encode(&key.blob))
}

fn known(text: &str) -> KnownHosts {
    KnownHosts::new(vec![Arc::new(KnownHostsFile::parse(Path::new("/kh"), text))])
}

fn at(line: usize) -> Place {
    Place { file: "/kh".into(), line }
}

#[test]
fn a_key_is_known_changed_or_unknown_and_the_line_is_the_files_own() {
    let text = format!("# a comment\n\n{}", line("web1,web2", &key(1)));
    let known = known(&text);
    assert_eq!(known.check(&HostName::new("WEB2", 22), &key(1)), Verdict::Known);
    assert_eq!(
        known.check(&HostName::new("web1", 22), &key(2)),
        Verdict::Changed { place: at(3), known: key(1) },
        "comments and empty lines count as lines"
    );
    assert_eq!(known.check(&HostName::new("web3", 22), &key(1)), Verdict::Unknown { authority: None });
}

#[test]
fn a_key_of_another_type_than_the_known_one_is_a_change() {
    let known = known(&line("web1", &other_type()));
    assert!(matches!(known.check(&HostName::new("web1", 22), &key(1)), Verdict::Changed { .. }));
    assert_eq!(known.key_types(&HostName::new("web1", 22)), ["ssh-rsa"]);
}

#[test]
fn a_change_names_the_line_of_the_same_type_if_there_is_one() {
    let known = known(&format!("{}{}", line("web1", &other_type()), line("web1", &key(1))));
    assert_eq!(known.check(&HostName::new("web1", 22), &key(2)), Verdict::Changed { place: at(2), known: key(1) });
    assert_eq!(known.key_types(&HostName::new("web1", 22)), ["ssh-rsa", "ssh-ed25519"]);
}

#[test]
fn ports_are_part_of_the_name_and_a_bare_line_serves_only_with_the_same_key() {
    let text = format!("{}{}", line("[web1]:2222", &key(1)), line("web1", &key(3)));
    let known = known(&text);
    assert_eq!(known.check(&HostName::new("web1", 2222), &key(1)), Verdict::Known);
    assert!(matches!(known.check(&HostName::new("web1", 2222), &key(3)), Verdict::Changed { .. }));
    assert_eq!(known.check(&HostName::new("web1", 2200), &key(3)), Verdict::Known);
    assert_eq!(known.check(&HostName::new("web1", 2200), &key(4)), Verdict::Unknown { authority: None });
    assert_eq!(known.check(&HostName::alias("[web1]:2222"), &key(1)), Verdict::Known);
}

#[test]
fn a_revoked_key_is_refused_wherever_else_it_is_known() {
    let text = format!("{}@revoked * {}", line("web1", &key(1)), &line("x", &key(1))[2..]);
    let known = known(&text);
    assert_eq!(known.check(&HostName::new("web1", 22), &key(1)), Verdict::Revoked(at(2)));
    assert_eq!(known.check(&HostName::new("web2", 22), &key(2)), Verdict::Unknown { authority: None });
}

#[test]
fn an_authority_is_recognised_and_is_no_host_key() {
    let text = format!("@cert-authority *.example.org {}", &line("x", &key(1))[2..]);
    let known = known(&text);
    assert_eq!(known.check(&HostName::new("a.example.org", 22), &key(1)), Verdict::Unknown { authority: Some(at(1)) });
}

#[test]
fn lines_that_are_no_entries_are_passed_over() {
    let text = format!(
        "web1\nweb1 ssh-ed25519\nweb1 ssh-ed25519 %%%\n@what web1 {}web1 ssh-rsa {}\n|2|a|b {}",
        &line("x", &key(1))[2..],
        STANDARD.encode(&key(1).blob),
        &line("x", &key(1))[2..],
    );
    assert_eq!(known(&text).check(&HostName::new("web1", 22), &key(1)), Verdict::Unknown { authority: None });
}

#[test]
fn an_appended_key_is_known_and_the_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ssh/known_hosts");
    append(&path, &HostName::new("web1", 2222), &key(1)).unwrap();
    let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    fs_err::write(&path, fs_err::read_to_string(&path).unwrap().trim_end()).unwrap();
    append(&path, &HostName::new("web2", 22), &key(2)).unwrap();
    let known = KnownHosts::new(vec![Arc::new(KnownHostsFile::read(&path).unwrap())]);
    assert_eq!(known.check(&HostName::new("web1", 2222), &key(1)), Verdict::Known);
    assert_eq!(known.check(&HostName::new("web2", 22), &key(2)), Verdict::Known);
}

#[test]
fn the_fingerprint_is_that_of_ssh_keygen() {
    let Some(keygen) = keygen() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pub");
    fs_err::write(&path, &line("", &key(7))[1..]).unwrap();
    let out = Command::new(keygen).arg("-lf").arg(&path).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains(&key(7).fingerprint()), "{out:?}");
}

/// ssh-keygen, or a loud skip.
fn keygen() -> Option<&'static str> {
    let there = Command::new("ssh-keygen").arg("-?").output().is_ok();
    if !there {
        eprintln!("SKIPPED: ssh-keygen is not installed; agreement with it is not tested");
    }
    there.then_some("ssh-keygen")
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c]{1,2}[0-9]?",
        1 => "10\\.0\\.0\\.[1-3]",
        1 => "[a-b]\\.example\\.org",
    ]
}

fn names() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        4 => name(),
        1 => name().prop_map(|name| format!("[{name}]:2222")),
        1 => "[a-c*?]{1,3}",
        1 => name().prop_map(|name| format!("!{name}")),
        1 => Just("*.example.org".to_owned()),
    ];
    prop::collection::vec(one, 1..4).prop_map(|names| names.join(","))
}

fn file() -> impl Strategy<Value = String> {
    let entry = (prop_oneof![8 => Just(""), 1 => Just("@revoked "), 1 => Just("@cert-authority ")], names(), 1u8..4)
        .prop_map(|(marker, names, seed)| format!("{marker}{}", line(&names, &key(seed))));
    let noise = prop_oneof![Just("# a comment\n".to_owned()), Just("\n".to_owned()), Just("  \t\n".to_owned())];
    prop::collection::vec(prop_oneof![6 => entry, 1 => noise], 1..8).prop_map(|lines| lines.concat())
}

/// The line numbers `ssh-keygen -F` finds.
fn found_by_keygen(path: &Path, host: &str) -> Vec<usize> {
    let out = Command::new("ssh-keygen").arg("-F").arg(host).arg("-f").arg(path).output().unwrap();
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("# Host ")?.split(" line ").nth(1)?.split(' ').next()?.parse().ok())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Names match as ssh-keygen -F says, before and after -H has hashed them.
    #[test]
    fn names_match_as_for_ssh_keygen(text in file(), host in name(), ported in any::<bool>()) {
        if keygen().is_none() {
            return Ok(());
        }
        let host = HostName::new(&host, if ported { 2222 } else { 22 });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        fs_err::write(&path, &text).unwrap();
        for hashed in [false, true] {
            if hashed {
                let out = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&path).output().unwrap();
                prop_assume!(out.status.success());
            }
            let known = KnownHosts::new(vec![Arc::new(KnownHostsFile::read(&path).unwrap())]);
            let ours: Vec<usize> = known.matching(&host.text()).map(|(_, entry)| entry.line).collect();
            prop_assert_eq!(ours, found_by_keygen(&path, &host.text()), "hashed: {}", hashed);
        }
    }
}
