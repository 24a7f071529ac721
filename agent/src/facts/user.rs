//! Who the agent runs as, and its environment.

use super::gather::{Facts, fact};
use crate::accounts::parse_users;
use crate::serve::{Control, Process};
use serde_json::{Map, Value};
use std::time::Duration;

/// Variables that may hold what nobody should see in a report are left out of `ansible_env`.
const SECRET: [&str; 6] = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTH"];

/// The effective user's entry in the user database.
pub(super) fn current(control: &Control) -> Facts {
    let uid = rustix::process::geteuid().as_raw();
    let mut facts = vec![
        fact("user_uid", uid),
        fact("effective_user_id", uid),
        fact("effective_group_id", rustix::process::getegid().as_raw()),
        fact("real_user_id", rustix::process::getuid().as_raw()),
        fact("real_group_id", rustix::process::getgid().as_raw()),
    ];
    let entry = local(uid).or_else(|| {
        let argv = ["getent".to_owned(), "passwd".to_owned(), uid.to_string()];
        let found = Process::new(argv, control).timeout(Duration::from_secs(5)).run().ok()?;
        Some(found.stdout_text())
    });
    match entry.as_deref().map(parse_users).unwrap_or_default().into_iter().find(|user| user.uid == uid) {
        Some(user) => facts.extend([
            fact("user_id", user.name),
            fact("user_gid", user.gid),
            fact("user_gecos", user.comment),
            fact("user_dir", user.home),
            fact("user_shell", user.shell),
        ]),
        None => facts.push(fact("user_id", uid.to_string())),
    }
    facts
}

/// The line of /etc/passwd: for a local user no process is needed.
fn local(uid: u32) -> Option<String> {
    let text = fs_err::read_to_string("/etc/passwd").ok()?;
    parse_users(&text).iter().any(|user| user.uid == uid).then_some(text)
}

/// The agent's environment.
pub(super) fn environment() -> Facts {
    let shown: Map<String, Value> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !is_secret(name))
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    vec![fact("env", Value::Object(shown))]
}

fn is_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    SECRET.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_user_is_known_by_name() {
        let facts: Map<String, Value> = current(&Control::default()).into_iter().collect();
        assert_eq!(facts["ansible_user_uid"], rustix::process::geteuid().as_raw());
        assert!(facts["ansible_user_id"].as_str().is_some_and(|name| !name.is_empty()));
    }

    #[test]
    fn what_may_be_secret_is_left_out_of_the_environment() {
        assert!(is_secret("DB_PASSWORD") && is_secret("github_token") && is_secret("AWS_ACCESS_KEY_ID"));
        assert!(!is_secret("PATH") && !is_secret("HOME") && !is_secret("LANG"));
    }
}
