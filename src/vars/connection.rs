//! Connection variables: how a host is reached and whom its tasks run as, from inventory, play and command line.

use super::scope::Scope;
use crate::{
    config::Diagnostic,
    host::{Connection, Target},
    inventory::split_words,
    playbook::Template,
    template::{Rendered, to_text},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the command line and the play say; a host's variables win over them (Ansible).
#[derive(Debug, Clone, Default)]
pub struct ConnectionDefaults {
    /// `-u`, or the play's `remote_user`.
    pub user: Option<String>,
    /// `--private-key`.
    pub private_key: Option<String>,
    /// `--connection`, or the play's `connection`.
    pub connection: Option<String>,
    /// `--ssh-common-args`.
    pub ssh_common_args: Option<String>,
    /// Where agents keep their state on every host, unless a host's `rollgate_state_dir` says otherwise.
    pub state_dir: Option<String>,
}

/// What a host's variables say about `become`; they win over keywords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BecomeVariables {
    /// `ansible_become`.
    pub on: Option<bool>,
    /// `ansible_become_user`.
    pub user: Option<String>,
}

/// Names of the local machine: reached without SSH where the inventory does not have them.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where a host is and how to get in.
///
/// # Errors
/// A connection variable that cannot be used, and where it was written.
pub fn target(scope: &Scope, defaults: &ConnectionDefaults) -> Result<Target, Diagnostic> {
    let name = scope.host();
    let variables = Variables(scope);
    for unsupported in ["ansible_password", "ansible_ssh_pass", "ansible_ssh_password"] {
        if variables.value(unsupported)?.is_some() {
            let help = "Use a key, from a file or from ssh-agent.";
            return Err(variables.wrong(unsupported, "logging in with a password is not built yet".to_owned(), help));
        }
    }
    let key = variables.first(&["ansible_ssh_private_key_file", "ansible_private_key_file"])?;
    Ok(Target {
        name: name.to_owned(),
        address: variables.first(&["ansible_host", "ansible_ssh_host"])?.unwrap_or_else(|| name.to_owned()),
        port: variables.port()?,
        user: variables.first(&["ansible_user", "ansible_ssh_user"])?.or_else(|| defaults.user.clone()),
        identity_files: key
            .or_else(|| defaults.private_key.clone())
            .map(|path| expand_home(&path))
            .into_iter()
            .collect(),
        ssh_options: variables.ssh_options(defaults)?,
        connection: variables.connection(defaults, scope.known())?,
        state_dir: variables.text("rollgate_state_dir")?.or_else(|| defaults.state_dir.clone()),
    })
}

/// What a host's variables say about `become`.
///
/// # Errors
/// A variable that cannot be used, and where it was written.
pub fn become_variables(scope: &Scope) -> Result<BecomeVariables, Diagnostic> {
    let variables = Variables(scope);
    for password in ["ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"] {
        if variables.value(password)?.is_some() {
            let help = "Let sudo run without asking (NOPASSWD) for this user.";
            return Err(variables.wrong(password, "a password for sudo is not built yet".to_owned(), help));
        }
    }
    if let Some(method) = variables.text("ansible_become_method")?
        && method != "sudo"
        && method != "ansible.builtin.sudo"
    {
        let message = format!("`become` by `{method}` is not supported");
        return Err(variables.wrong("ansible_become_method", message, "Only sudo is."));
    }
    Ok(BecomeVariables {
        on: variables.flag("ansible_become")?,
        user: variables.first(&["ansible_become_user", "ansible_sudo_user"])?,
    })
}

fn expand_home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

/// Reads variables of a scope by name.
struct Variables<'a>(&'a Scope);

impl Variables<'_> {
    /// A variable's value, rendered; none: not set, or null.
    fn value(&self, name: &str) -> Result<Option<Value>, Diagnostic> {
        let Some(origin) = self.0.origin(name) else { return Ok(None) };
        let template = Template { value: Value::String(format!("{{{{ {name} }}}}")), place: origin.place };
        match self.0.render_optional(&template)? {
            Rendered::Known(value) => Ok(value.filter(|value| !value.is_null())),
            Rendered::Unknown { because } => Err(self.wrong(
                name,
                format!("`{name}` is not known yet: {because}"),
                "Connecting needs a known value.",
            )),
        }
    }

    fn wrong(&self, name: &str, message: String, help: &str) -> Diagnostic {
        let host = self.0.host();
        Diagnostic {
            message: format!("host {host}: {message}"),
            place: self.0.origin(name).and_then(|origin| origin.place),
            label: format!("the value of `{name}`"),
            help: Some(help.to_owned()),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Array(_) | Value::Object(_)) => {
                Err(self.wrong(name, format!("`{name}` must be a text"), "Write one value."))
            }
            Some(value) => Ok(Some(to_text(&value)).filter(|text| !text.is_empty())),
        }
    }

    fn first(&self, names: &[&str]) -> Result<Option<String>, Diagnostic> {
        for name in names {
            if let Some(text) = self.text(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A boolean, written as one or in Ansible's words.
    fn flag(&self, name: &str) -> Result<Option<bool>, Diagnostic> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "y" | "t" => Ok(Some(true)),
            "false" | "no" | "off" | "0" | "n" | "f" => Ok(Some(false)),
            _ => Err(self.wrong(name, format!("`{text}` is neither yes nor no"), "Write true or false.")),
        }
    }

    fn port(&self) -> Result<Option<u16>, Diagnostic> {
        for name in ["ansible_port", "ansible_ssh_port"] {
            if let Some(text) = self.text(name)? {
                return match text.parse::<u16>() {
                    Ok(port) if port > 0 => Ok(Some(port)),
                    _ => Err(self.wrong(name, format!("`{text}` is no port"), "Ports are 1 to 65535.")),
                };
            }
        }
        Ok(None)
    }

    fn connection(&self, defaults: &ConnectionDefaults, known: bool) -> Result<Connection, Diagnostic> {
        let said = self.text("ansible_connection")?;
        let implicit = (!known && LOCAL.contains(&self.0.host())).then(|| "local".to_owned());
        match said.or(implicit).or_else(|| defaults.connection.clone()).as_deref() {
            None | Some("ssh" | "smart" | "ansible.builtin.ssh" | "paramiko" | "paramiko_ssh") => Ok(Connection::Ssh),
            Some("local" | "ansible.builtin.local") => Ok(Connection::Local),
            Some(other) => {
                let message = format!("the connection `{other}` is not supported");
                Err(self.wrong("ansible_connection", message, "There are ssh and local."))
            }
        }
    }

    /// The options in `ansible_ssh_common_args` and `ansible_ssh_extra_args`. As in OpenSSH the first of a name wins.
    fn ssh_options(&self, defaults: &ConnectionDefaults) -> Result<BTreeMap<String, String>, Diagnostic> {
        let mut options = BTreeMap::new();
        for name in ["ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"] {
            let own = self.text(name)?;
            let text = match (own, name) {
                (None, "ansible_ssh_common_args") => defaults.ssh_common_args.clone(),
                (own, _) => own,
            };
            let Some(text) = text else { continue };
            let parsed = ssh_options(&text).map_err(|message| {
                self.wrong(name, message, "Options are read as `-o Name=value`, `-J host`, `-i file` or `-p port`.")
            })?;
            for (key, value) in parsed {
                options.entry(key).or_insert(value);
            }
        }
        if self.flag("ansible_host_key_checking")? == Some(false) {
            options.entry("stricthostkeychecking".to_owned()).or_insert_with(|| "no".to_owned());
        }
        if let Some(seconds) = self.first(&["ansible_ssh_timeout", "ansible_timeout"])? {
            options.entry("connecttimeout".to_owned()).or_insert(seconds);
        }
        Ok(options)
    }
}

/// Options of `ssh` with an argument, by the ssh_config name that means the same.
const WITH_ARGUMENT: [(char, &str); 4] = [('J', "proxyjump"), ('i', "identityfile"), ('l', "user"), ('p', "port")];

/// Options of `ssh` that change nothing here.
const HARMLESS: &str = "ACKTXYaknqtvx46";

/// Reads arguments of `ssh` as options of ssh_config, names in lower case.
fn ssh_options(arguments: &str) -> Result<Vec<(String, String)>, String> {
    let words = split_words(arguments, false)?;
    let mut words = words.into_iter().map(|word| word.text);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            return Err(format!("`{word}` is no option of ssh"));
        };
        let letter = flags.chars().next().unwrap_or_default();
        let attached = flags.get(letter.len_utf8()..).unwrap_or_default();
        let mut argument = || {
            if attached.is_empty() {
                words.next().ok_or_else(|| format!("`{word}` needs an argument"))
            } else {
                Ok(attached.to_owned())
            }
        };
        if letter == 'o' {
            let option = argument()?;
            let split = option.split_once('=').or_else(|| option.trim().split_once(char::is_whitespace));
            let (key, value) = split.ok_or_else(|| format!("`-o {option}` must be Name=value"))?;
            options.push((key.trim().to_lowercase(), value.trim().trim_matches('"').to_owned()));
        } else if let Some((_, name)) = WITH_ARGUMENT.iter().find(|(known, _)| *known == letter) {
            let value = argument()?;
            options.push(((*name).to_owned(), value));
        } else if !flags.chars().all(|flag| HARMLESS.contains(flag)) {
            return Err(format!("the ssh option `{word}` is not supported"));
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_ssh_become_options() {
        let options =
            ssh_options("-C -o ControlMaster=auto -oProxyJump=bastion -o 'UserKnownHostsFile /a b' -p 22 -vv");
        assert_eq!(
            options.expect("options"),
            [
                ("controlmaster".to_owned(), "auto".to_owned()),
                ("proxyjump".to_owned(), "bastion".to_owned()),
                ("userknownhostsfile".to_owned(), "/a b".to_owned()),
                ("port".to_owned(), "22".to_owned()),
            ]
        );
        for wrong in ["-o", "-o Name", "host", "-W x:1", "-J"] {
            assert!(ssh_options(wrong).is_err(), "{wrong}");
        }
    }
}
