//! What is asked of a user, against what it is: the one command that makes the difference, with fixed words.

use crate::accounts::{Group, User};
use crate::modules::ParamError;
use crate::modules::group::is_account_name;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    pub(super) name: String,
    state: Option<String>,
    uid: Option<u32>,
    #[serde(default)]
    non_unique: bool,
    group: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    pub(super) append: bool,
    comment: Option<String>,
    pub(super) home: Option<String>,
    shell: Option<String>,
    create_home: Option<bool>,
    #[serde(default)]
    pub(super) move_home: bool,
    #[serde(default)]
    pub(super) system: bool,
    #[serde(default)]
    pub(super) remove: bool,
    #[serde(default)]
    pub(super) force: bool,
    pub(super) password: Option<String>,
    update_password: Option<String>,
}

/// What the host has now.
#[derive(Debug, Clone, Default)]
pub(super) struct Now {
    /// The user, if there is one.
    pub(super) user: Option<User>,
    /// All groups.
    pub(super) groups: Vec<Group>,
    /// The password's hash, where it could be read.
    pub(super) hash: Option<String>,
    /// It is check mode: a group that is missing may be the work of a task that was not run.
    pub(super) foreseen: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Program and its options; the name comes last.
    pub(super) command: Option<(&'static str, Vec<String>)>,
    /// The password's hash is to be set.
    pub(super) password: bool,
    /// Before and after, by field.
    pub(super) fields: Vec<(&'static str, String, String)>,
}

impl Plan {
    pub(super) fn changes(&self) -> bool {
        self.command.is_some() || self.password
    }
}

impl Params {
    pub(super) fn absent(&self) -> bool {
        self.state.as_deref() == Some("absent")
    }

    pub(super) fn creates_home(&self) -> bool {
        self.create_home.unwrap_or(true)
    }

    /// Refuses what a tool or a file would read as something else.
    pub(super) fn validate(&mut self) -> Result<(), ParamError> {
        let wrong = |param, what| Err(ParamError::new("user", param, what));
        // Ansible takes an empty string for "in no other group".
        if let Some(groups) = &mut self.groups {
            groups.retain(|group| !group.is_empty());
        }
        if !is_account_name(&self.name) {
            return wrong("name", "must be a user's name");
        }
        let groups = self.groups.iter().flatten().chain(&self.group);
        if groups.into_iter().any(|group| !is_account_name(group)) {
            return wrong("groups", "must be groups' names");
        }
        for (param, value) in
            [("comment", &self.comment), ("home", &self.home), ("shell", &self.shell), ("password", &self.password)]
        {
            if value.as_deref().is_some_and(|value| value.contains([':', '\n', '\0'])) {
                return wrong(param, "must hold neither a colon nor a line break");
            }
        }
        if self.non_unique && self.uid.is_none() {
            return wrong("non_unique", "needs `uid` as well");
        }
        if self.append && self.groups.is_none() {
            return wrong("append", "needs `groups` as well");
        }
        if self.move_home && self.home.is_none() {
            return wrong("move_home", "needs `home` as well");
        }
        Ok(())
    }

    /// The difference, or a sentence why there can be none.
    pub(super) fn plan(&self, now: &Now) -> Result<Plan, String> {
        match (&now.user, self.absent()) {
            (None, true) => Ok(Plan::default()),
            (Some(_), true) => Ok(self.deletion()),
            (None, false) => self.creation(now),
            (Some(user), false) => self.modification(user, now),
        }
    }

    fn deletion(&self) -> Plan {
        let mut options = Vec::new();
        if self.force {
            options.push("-f".to_owned());
        }
        if self.remove {
            options.push("-r".to_owned());
        }
        let fields = vec![("user", "present".to_owned(), "absent".to_owned())];
        Plan { command: Some(("userdel", options)), fields, ..Plan::default() }
    }

    fn creation(&self, now: &Now) -> Result<Plan, String> {
        let mut options = Options::default();
        let mut fields = vec![("user", "absent".to_owned(), "present".to_owned())];
        if let Some(uid) = self.uid {
            options.pair("-u", &uid.to_string());
            options.flag_if(self.non_unique, "-o");
            fields.push(("uid", String::new(), uid.to_string()));
        }
        if let Some(group) = &self.group {
            self.find_group(now, group)?;
            options.pair("-g", group);
            fields.push(("group", String::new(), group.clone()));
        } else if now.groups.iter().any(|group| group.name == self.name) {
            // Without this useradd wants to make a group that is there already.
            options.flag_if(true, "-N");
        }
        if let Some(groups) = self.groups.as_ref().filter(|groups| !groups.is_empty()) {
            for group in groups {
                self.find_group(now, group)?;
            }
            options.pair("-G", &groups.join(","));
            fields.push(("groups", String::new(), groups.join(",")));
        }
        for (option, name, value) in self.texts() {
            if let Some(value) = value {
                options.pair(option, value);
                fields.push((name, String::new(), value.clone()));
            }
        }
        options.flag_if(self.creates_home(), "-m");
        options.flag_if(!self.creates_home(), "-M");
        options.flag_if(self.system, "-r");
        Ok(Plan { command: Some(("useradd", options.0)), password: self.password.is_some(), fields })
    }

    fn modification(&self, user: &User, now: &Now) -> Result<Plan, String> {
        let mut options = Options::default();
        let mut fields = Vec::new();
        if let Some(uid) = self.uid.filter(|uid| *uid != user.uid) {
            options.pair("-u", &uid.to_string());
            options.flag_if(self.non_unique, "-o");
            fields.push(("uid", user.uid.to_string(), uid.to_string()));
        }
        if let Some(name) = &self.group {
            let gid = self.find_group(now, name)?.map(|group| group.gid);
            if gid != Some(user.gid) {
                options.pair("-g", name);
                fields.push(("group", user.gid.to_string(), gid.map_or_else(|| name.clone(), |gid| gid.to_string())));
            }
        }
        if let Some((before, after)) = self.membership(user, now)? {
            options.pair("-G", &after);
            fields.push(("groups", before, after));
        }
        let texts = [&user.comment, &user.home, &user.shell];
        for ((option, name, wanted), current) in self.texts().into_iter().zip(texts) {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != current) {
                options.pair(option, wanted);
                options.flag_if(option == "-d" && self.move_home, "-m");
                fields.push((name, current.clone(), wanted.clone()));
            }
        }
        let on_create = self.update_password.as_deref() == Some("on_create");
        let password = !on_create && self.password.is_some() && self.password != now.hash;
        let command = (!options.0.is_empty()).then_some(("usermod", options.0));
        Ok(Plan { command, password, fields })
    }

    /// Supplementary groups before and after, if they are to change.
    fn membership(&self, user: &User, now: &Now) -> Result<Option<(String, String)>, String> {
        let Some(wanted) = &self.groups else { return Ok(None) };
        for group in wanted {
            self.find_group(now, group)?;
        }
        let current: BTreeSet<&str> = now
            .groups
            .iter()
            .filter(|group| group.members.contains(&self.name) && group.gid != user.gid)
            .map(|group| group.name.as_str())
            .collect();
        let primary = now.groups.iter().find(|group| group.gid == user.gid).map(|group| group.name.as_str());
        let mut target: BTreeSet<&str> =
            wanted.iter().map(String::as_str).filter(|name| Some(*name) != primary).collect();
        if self.append {
            target.extend(&current);
        }
        let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(",");
        Ok((current != target).then(|| (list(&current), list(&target))))
    }

    /// The group by name or id; none for one that check mode lets be.
    fn find_group<'a>(&self, now: &'a Now, name: &str) -> Result<Option<&'a Group>, String> {
        let by_name = now.groups.iter().find(|group| group.name == name);
        let found = by_name.or_else(|| now.groups.iter().find(|group| group.gid.to_string() == name));
        if found.is_none() && !now.foreseen {
            return Err(format!("Group {name} does not exist"));
        }
        Ok(found)
    }

    fn texts(&self) -> [(&'static str, &'static str, Option<&String>); 3] {
        [
            ("-c", "comment", self.comment.as_ref()),
            ("-d", "home", self.home.as_ref()),
            ("-s", "shell", self.shell.as_ref()),
        ]
    }
}

#[derive(Debug, Default)]
struct Options(Vec<String>);

impl Options {
    fn pair(&mut self, option: &str, value: &str) {
        self.0.extend([option.to_owned(), value.to_owned()]);
    }

    fn flag_if(&mut self, condition: bool, flag: &str) {
        if condition {
            self.0.push(flag.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn params(value: Value) -> Params {
        let mut params: Params = serde_json::from_value(value).unwrap();
        params.validate().unwrap();
        params
    }

    fn now(user: bool) -> Now {
        let group = |name: &str, gid, members: &[&str]| Group {
            name: name.to_owned(),
            gid,
            members: members.iter().map(|member| (*member).to_owned()).collect(),
        };
        let user = user.then(|| User {
            name: "svc".to_owned(),
            uid: 990,
            gid: 990,
            comment: String::new(),
            home: "/home/svc".to_owned(),
            shell: "/bin/sh".to_owned(),
        });
        Now {
            user,
            groups: vec![group("svc", 990, &[]), group("a", 1, &["svc"]), group("b", 2, &[])],
            hash: None,
            foreseen: false,
        }
    }

    fn argv(value: Value, user: bool) -> Option<String> {
        let plan = params(value).plan(&now(user)).unwrap();
        plan.command.map(|(program, options)| format!("{program} {}", options.join(" ")))
    }

    #[test]
    fn a_system_user_is_made_as_ansible_makes_it() {
        let wanted =
            json!({"name": "svc", "group": "svc", "system": true, "shell": "/usr/sbin/nologin", "create_home": false});
        assert_eq!(argv(wanted, false).unwrap(), "useradd -g svc -s /usr/sbin/nologin -M -r");
        assert_eq!(argv(json!({"name": "svc"}), false).unwrap(), "useradd -N -m", "its group is there already");
        assert_eq!(
            argv(json!({"name": "other", "uid": 5, "groups": ["a", "b"]}), false).unwrap(),
            "useradd -u 5 -G a,b -m"
        );
    }

    #[test]
    fn only_what_differs_is_changed() {
        assert_eq!(argv(json!({"name": "svc", "group": "svc", "shell": "/bin/sh", "uid": 990}), true), None);
        assert_eq!(
            argv(json!({"name": "svc", "shell": "/bin/x", "comment": "c"}), true).unwrap(),
            "usermod -c c -s /bin/x"
        );
        assert_eq!(argv(json!({"name": "svc", "home": "/h", "move_home": true}), true).unwrap(), "usermod -d /h -m");
        assert_eq!(argv(json!({"name": "svc", "group": "990"}), true), None, "a group may be given by its id");
    }

    #[test]
    fn groups_are_replaced_unless_appended() {
        assert_eq!(argv(json!({"name": "svc", "groups": ["b"]}), true).unwrap(), "usermod -G b");
        assert_eq!(argv(json!({"name": "svc", "groups": ["b"], "append": true}), true).unwrap(), "usermod -G a,b");
        assert_eq!(argv(json!({"name": "svc", "groups": ["a"], "append": true}), true), None);
        assert_eq!(argv(json!({"name": "svc", "groups": [""]}), true).unwrap(), "usermod -G ");
        let error = params(json!({"name": "svc", "groups": ["zz"]})).plan(&now(true)).unwrap_err();
        assert_eq!(error, "Group zz does not exist");
    }

    #[test]
    fn check_mode_foresees_a_group_that_another_task_makes() {
        let wanted = json!({"name": "new", "group": "zz", "groups": ["yy"]});
        assert!(params(wanted.clone()).plan(&now(false)).is_err());
        let foreseen = Now { foreseen: true, ..now(false) };
        assert!(params(wanted).plan(&foreseen).unwrap().changes());
        let existing = Now { foreseen: true, ..now(true) };
        assert!(params(json!({"name": "svc", "group": "zz"})).plan(&existing).unwrap().changes());
    }

    #[test]
    fn deletion_is_asked_for_by_name() {
        assert_eq!(argv(json!({"name": "svc", "state": "absent", "remove": true}), true).unwrap(), "userdel -r");
        assert_eq!(argv(json!({"name": "svc", "state": "absent"}), false), None);
    }

    #[test]
    fn a_password_is_set_when_it_differs_and_never_an_argument() {
        let wanted = json!({"name": "svc", "password": "$6$x"});
        let plan = params(wanted.clone()).plan(&now(true)).unwrap();
        assert_eq!((plan.command, plan.password), (None, true));
        let same = Now { hash: Some("$6$x".to_owned()), ..now(true) };
        assert!(!params(wanted).plan(&same).unwrap().changes());
        let once = params(json!({"name": "svc", "password": "$6$x", "update_password": "on_create"}));
        assert!(!once.plan(&now(true)).unwrap().changes());
    }

    #[test]
    fn fields_that_would_break_the_files_are_refused() {
        for value in [
            json!({"name": "-x"}),
            json!({"name": "a", "comment": "x:0:0"}),
            json!({"name": "a", "shell": "/bin/sh\nroot::0:0"}),
            json!({"name": "a", "groups": ["-g"]}),
            json!({"name": "a", "append": true}),
            json!({"name": "a", "non_unique": true}),
        ] {
            let mut params: Params = serde_json::from_value(value.clone()).unwrap();
            assert!(params.validate().is_err(), "{value}");
        }
    }
}
