//! Users and groups as the host's name services give them. A static program has no NSS of its own, so `getent` is asked.

use crate::modules::{Context, ModuleError};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a name service may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `getent`'s exit code for a name that is not there.
const NOT_FOUND: i32 = 2;

/// An entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group's id.
    pub gid: u32,
    /// The comment (GECOS) field.
    pub comment: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// An entry of the group database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of members for whom it is a supplementary group.
    pub members: Vec<String>,
}

/// The users in text of passwd(5)'s form; lines of another form are passed over.
pub fn parse_users(text: &str) -> Vec<User> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else { return None };
            Some(User {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                comment: (*comment).to_owned(),
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
            })
        })
        .collect()
}

/// The groups in text of group(5)'s form; lines of another form are passed over.
pub fn parse_groups(text: &str) -> Vec<Group> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields.as_slice() else { return None };
            let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Some(Group { name: (*name).to_owned(), gid: gid.parse().ok()?, members })
        })
        .collect()
}

/// Looks a user up by name. A name of digits is never taken for a uid.
///
/// # Errors
/// Where `getent` cannot be asked or the name service fails.
pub fn user(cx: &Context, name: &str) -> Result<Option<User>, ModuleError> {
    Ok(entry(cx, "passwd", name)?.and_then(|text| parse_users(&text).into_iter().find(|user| user.name == name)))
}

/// Looks a group up by name. A name of digits is never taken for a gid.
///
/// # Errors
/// As [`user`].
pub fn group(cx: &Context, name: &str) -> Result<Option<Group>, ModuleError> {
    Ok(entry(cx, "group", name)?.and_then(|text| parse_groups(&text).into_iter().find(|group| group.name == name)))
}

/// Looks a user up by uid.
///
/// # Errors
/// As [`user`].
pub fn user_by_id(cx: &Context, uid: u32) -> Result<Option<User>, ModuleError> {
    let is_it = |text: &String| parse_users(text).iter().any(|user| user.uid == uid);
    let found = match local("passwd").filter(is_it) {
        Some(text) => Some(text),
        None => entry(cx, "passwd", &uid.to_string())?,
    };
    Ok(found.and_then(|text| parse_users(&text).into_iter().find(|user| user.uid == uid)))
}

/// Looks a group up by gid.
///
/// # Errors
/// As [`user`].
pub fn group_by_id(cx: &Context, gid: u32) -> Result<Option<Group>, ModuleError> {
    let is_it = |text: &String| parse_groups(text).iter().any(|group| group.gid == gid);
    let found = match local("group").filter(is_it) {
        Some(text) => Some(text),
        None => entry(cx, "group", &gid.to_string())?,
    };
    Ok(found.and_then(|text| parse_groups(&text).into_iter().find(|group| group.gid == gid)))
}

/// All groups that the host lists.
///
/// # Errors
/// As [`user`].
pub fn groups(cx: &Context) -> Result<Vec<Group>, ModuleError> {
    Ok(parse_groups(&database(cx, "group")?))
}

/// Every uid and gid that the host's users and groups have. A directory service that does not list its users is not
/// seen whole; the local files always are.
///
/// # Errors
/// As [`user`].
pub fn ids(cx: &Context) -> Result<BTreeSet<u32>, ModuleError> {
    let users = parse_users(&database(cx, "passwd")?);
    let groups = parse_groups(&database(cx, "group")?);
    Ok(users.iter().flat_map(|user| [user.uid, user.gid]).chain(groups.iter().map(|group| group.gid)).collect())
}

/// The local file of a database, where the host's name services ask it before all others (nsswitch.conf(5)): what it has
/// needs no process.
fn local(database: &str) -> Option<String> {
    let switch = fs_err::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    if files_first(&switch, database) { fs_err::read_to_string(format!("/etc/{database}")).ok() } else { None }
}

/// A database that is not named there is asked of the files.
fn files_first(switch: &str, database: &str) -> bool {
    let services = switch.lines().find_map(|line| line.trim().strip_prefix(database)?.trim().strip_prefix(':'));
    services.is_none_or(|services| services.split_whitespace().next() == Some("files"))
}

fn entry(cx: &Context, database: &str, key: &str) -> Result<Option<String>, ModuleError> {
    let finished = cx.process(["getent", "--", database, key]).timeout(TIMEOUT).run()?;
    match finished.rc {
        0 => Ok(Some(finished.stdout_text())),
        NOT_FOUND => Ok(None),
        rc => Err(ModuleError::failed(format!(
            "`getent {database} {key}` exited with {rc}: {}",
            finished.stderr_text().trim()
        ))),
    }
}

fn database(cx: &Context, name: &str) -> Result<String, ModuleError> {
    let finished = cx.process(["getent", name]).timeout(TIMEOUT).run()?;
    if finished.success() && finished.lost == 0 {
        return Ok(finished.stdout_text());
    }
    Err(ModuleError::failed(format!(
        "`getent {name}` exited with {} after {} bytes: {}",
        finished.rc,
        finished.stdout.len(),
        finished.stderr_text().trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_file_counts_where_it_is_asked_first() {
        let switch = "# passwd: sss\npasswd:         files systemd\ngroup: sss files\npasswd_compat: nis\n";
        assert!(files_first(switch, "passwd") && !files_first(switch, "group") && files_first(switch, "shadow"));
        assert!(files_first("", "passwd"));
    }

    #[test]
    fn entries_are_read_and_others_passed_over() {
        let users = parse_users("root:x:0:0:root:/root:/bin/bash\n+::::::\nbad:x:1\nx:*:-1:0:::\n");
        assert_eq!(users.len(), 1);
        assert_eq!((users[0].name.as_str(), users[0].shell.as_str()), ("root", "/bin/bash"));
        let groups = parse_groups("adm:x:4:syslog,ann\nempty:x:5:\nbad\n");
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (groups[0].members.as_slice(), groups[1].members.len()),
            (["syslog".to_owned(), "ann".to_owned()].as_slice(), 0)
        );
    }
}
