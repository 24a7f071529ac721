//! Keywords that a task inherits from its play (ansible.md point 8): innermost wins, `tags` and `environment` add up.

use super::{
    program::{Inherited, Template},
    reader::{Loader, is_template},
};
use crate::config::{Entry, Kind};

impl Loader {
    /// What a map says over what is around it.
    pub(super) fn inherited(&mut self, entries: &[Entry], around: &Inherited) -> Inherited {
        let mut own = around.clone();
        for entry in entries {
            self.inherited_keyword(entry, &mut own);
        }
        own
    }

    fn inherited_keyword(&mut self, entry: &Entry, own: &mut Inherited) {
        match entry.key.as_str() {
            "become" => own.r#become.on = self.boolean(entry).or(own.r#become.on),
            "become_user" => own.r#become.user = self.text_template(entry).or(own.r#become.user.take()),
            "become_method" => self.become_method(entry),
            "remote_user" => own.remote_user = self.text_template(entry).or(own.remote_user.take()),
            "connection" => {
                let plugins = [("ssh", "ssh"), ("local", "local"), ("smart", "ssh")];
                let other = ["paramiko", "paramiko_ssh", "psrp", "winrm", "docker", "community.docker.docker"];
                own.connection = self.choice(entry, &plugins, &other).map(str::to_owned).or(own.connection.take());
            }
            "environment" => self.environment(entry, own),
            "check_mode" => own.check_mode = self.boolean(entry).or(own.check_mode),
            "diff" => own.diff = self.boolean(entry).or(own.diff),
            "no_log" => own.no_log = self.boolean(entry).unwrap_or(own.no_log),
            "ignore_errors" => own.ignore_errors = self.boolean(entry).unwrap_or(own.ignore_errors),
            "ignore_unreachable" => own.ignore_unreachable = self.boolean(entry).unwrap_or(own.ignore_unreachable),
            "run_once" => own.run_once = self.boolean(entry).unwrap_or(own.run_once),
            // 0 means no limit, as in Ansible.
            "timeout" => own.timeout = self.duration(entry).filter(|limit| !limit.is_zero()),
            "tags" => self.tags(entry, own),
            _ => {}
        }
    }

    /// Text that may hold templates.
    fn text_template(&mut self, entry: &Entry) -> Option<Template> {
        self.text(entry)?;
        Some(self.template(&entry.value))
    }

    fn become_method(&mut self, entry: &Entry) {
        let known = [("sudo", ()), ("ansible.builtin.sudo", ())];
        self.choice(entry, &known, &["su", "doas", "pbrun", "pfexec", "runas", "dzdo", "machinectl"]);
    }

    fn environment(&mut self, entry: &Entry, own: &mut Inherited) {
        let nodes = match &entry.value.kind {
            Kind::List(items) => items.as_slice(),
            _ if entry.value.is_null() => &[],
            _ => std::slice::from_ref(&entry.value),
        };
        for node in nodes {
            if node.as_map().is_some() || node.as_str().is_some_and(is_template) {
                let template = self.template(node);
                own.environment.push(template);
            } else {
                let message = format!("`environment` is a map of names and values, found {}", node.describe());
                self.error(&node.place, message, "expected `NAME: value` lines");
            }
        }
    }

    fn tags(&mut self, entry: &Entry, own: &mut Inherited) {
        for (tag, place) in self.texts(entry, true) {
            if is_template(&tag) {
                self.unbuilt(&place, "a template for `tags`", "write the tags themselves");
            } else if !own.tags.contains(&tag) {
                own.tags.push(tag);
            }
        }
    }
}
