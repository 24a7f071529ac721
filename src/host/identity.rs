//! Who runs the controller: name and home directory, without NSS (a static program must not load it).

use std::{path::PathBuf, sync::OnceLock};

struct Account {
    name: String,
    home: PathBuf,
}

/// The account of our effective user, from /etc/passwd, else from `getent` (LDAP and the like). Asked once.
fn account() -> Option<&'static Account> {
    static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
    ACCOUNT
        .get_or_init(|| {
            let uid = rustix::process::geteuid().as_raw().to_string();
            let local = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
            find(&local, &uid).or_else(|| {
                let out = std::process::Command::new("getent").args(["passwd", &uid]).output().ok()?;
                find(&String::from_utf8_lossy(&out.stdout), &uid)
            })
        })
        .as_ref()
}

fn find(passwd: &str, uid: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let home = (fields.nth(1)? == uid).then(|| fields.nth(2)).flatten()?;
        Some(Account { name: name.to_owned(), home: home.into() })
    })
}

/// The name of the user who runs the controller.
pub(crate) fn user() -> Option<String> {
    account().map(|account| account.name.clone())
}

/// The home directory: `$HOME`, else the account's.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .or_else(|| account().map(|account| account.home.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nops:x:1000:1000:,,,:/home/ops:/bin/bash\n";
        let account = find(passwd, "1000").unwrap();
        assert_eq!((account.name.as_str(), account.home.to_str()), ("ops", Some("/home/ops")));
        assert!(find(passwd, "100").is_none());
    }
}
