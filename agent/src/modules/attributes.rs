//! Owner, group and mode of files, as Ansible's parameters say them.

use crate::serve::{Control, Process};
use std::time::Duration;

/// A mode, owner or group that cannot be understood or resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// Not a mode.
    #[error("must be an octal mode in quotes such as \"0644\", or a symbolic one such as u=rw,go=r")]
    Mode,
    /// No such user or group on the host.
    #[error("there is no {kind} {name} on this host")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// `getent` could not be asked.
    #[error("cannot look up {kind} {name}: {reason}")]
    Lookup {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// What is asked of a file's owner, group and mode. None leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The owner's id.
    pub uid: Option<u32>,
    /// The group's id.
    pub gid: Option<u32>,
    /// The mode.
    pub mode: Option<ModeChange>,
}

impl Attributes {
    /// Resolves names as the host knows them (`getent`: a static program has no NSS of its own).
    ///
    /// # Errors
    /// [`AttributeError`] names what is wrong.
    pub fn resolve(
        owner: Option<&str>,
        group: Option<&str>,
        mode: Option<&str>,
        control: &Control,
    ) -> Result<Self, AttributeError> {
        Ok(Self {
            uid: owner.map(|name| lookup("user", "passwd", name, control)).transpose()?,
            gid: group.map(|name| lookup("group", "group", name, control)).transpose()?,
            mode: mode.map(ModeChange::parse).transpose()?,
        })
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn lookup(kind: &'static str, database: &str, name: &str, control: &Control) -> Result<u32, AttributeError> {
    // A number is an id, whether or not somebody has it: images and user namespaces need that.
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let failed = |reason: String| AttributeError::Lookup { kind, name: name.to_owned(), reason };
    let found = Process::new(["getent", database, name], control)
        .timeout(Duration::from_secs(30))
        .run()
        .map_err(|error| failed(error.to_string()))?;
    if !found.success() {
        return Err(AttributeError::Unknown { kind, name: name.to_owned() });
    }
    // name:password:id:…
    found
        .stdout_text()
        .lines()
        .find_map(|line| line.split(':').nth(2)?.parse().ok())
        .ok_or_else(|| failed("getent gave no id".to_owned()))
}

/// A change of mode: octal sets all twelve bits, symbolic some (chmod(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeChange {
    /// All bits.
    Set(u32),
    /// Clauses of chmod's symbolic language, in order.
    Symbolic(Vec<Clause>),
    /// Ansible's `preserve`: the mode of the source.
    Preserve,
}

/// One clause: who, then one operator with permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    who: u32,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permissions {
    /// rwx as three bits, X, setuid/setgid, sticky.
    Bits { rwx: u32, conditional_x: bool, set_id: bool, sticky: bool },
    /// The permissions of the user, group or others (`g=u`): the shift of those bits.
    Copy(u32),
}

impl ModeChange {
    /// Reads an octal or a symbolic mode.
    ///
    /// # Errors
    /// [`AttributeError::Mode`].
    pub fn parse(text: &str) -> Result<Self, AttributeError> {
        let text = text.trim();
        if text == "preserve" {
            return Ok(Self::Preserve);
        }
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(digits, 8).map_err(|_| AttributeError::Mode)?;
            return if mode <= 0o7777 { Ok(Self::Set(mode)) } else { Err(AttributeError::Mode) };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse_clause(part, &mut clauses)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The mode that a file of this mode gets. `preserve` leaves it: the caller knows the source.
    #[must_use]
    pub fn applied_to(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Set(mode) => *mode,
            Self::Preserve => mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.applied_to(mode, is_dir)),
        }
    }
}

fn parse_clause(part: &str, clauses: &mut Vec<Clause>) -> Result<(), AttributeError> {
    let end = part.find(['+', '-', '=']).ok_or(AttributeError::Mode)?;
    let (who, mut rest) = part.split_at(end);
    let who = if who.is_empty() { "a" } else { who };
    let mut mask = 0;
    for letter in who.chars() {
        mask |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return Err(AttributeError::Mode),
        };
    }
    while let Some(sign) = rest.chars().next() {
        let operator = match sign {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return Err(AttributeError::Mode),
        };
        let tail = rest.get(1..).unwrap_or_default();
        let end = tail.find(['+', '-', '=']).unwrap_or(tail.len());
        let (letters, more) = tail.split_at(end);
        clauses.push(Clause { who: mask, operator, permissions: parse_permissions(letters)? });
        rest = more;
    }
    Ok(())
}

fn parse_permissions(letters: &str) -> Result<Permissions, AttributeError> {
    match letters {
        "u" => return Ok(Permissions::Copy(6)),
        "g" => return Ok(Permissions::Copy(3)),
        "o" => return Ok(Permissions::Copy(0)),
        _ => {}
    }
    let (mut rwx, mut conditional_x, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters.chars() {
        match letter {
            'r' => rwx |= 4,
            'w' => rwx |= 2,
            'x' => rwx |= 1,
            'X' => conditional_x = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return Err(AttributeError::Mode),
        }
    }
    Ok(Permissions::Bits { rwx, conditional_x, set_id, sticky })
}

impl Clause {
    fn applied_to(&self, mode: u32, is_dir: bool) -> u32 {
        let bits = match self.permissions {
            Permissions::Copy(shift) => {
                let rwx = (mode >> shift) & 7;
                (rwx << 6) | (rwx << 3) | rwx
            }
            Permissions::Bits { rwx, conditional_x, set_id, sticky } => {
                let x = u32::from(conditional_x && (is_dir || mode & 0o111 != 0));
                let rwx = rwx | x;
                let special = if set_id { 0o6000 } else { 0 } | if sticky { 0o1000 } else { 0 };
                special | (rwx << 6) | (rwx << 3) | rwx
            }
        };
        match self.operator {
            Operator::Add => mode | (bits & self.who),
            Operator::Remove => mode & !(bits & self.who),
            Operator::Set => (mode & !self.who) | (bits & self.who),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, mode: u32, is_dir: bool) -> u32 {
        ModeChange::parse(text).unwrap().applied_to(mode, is_dir)
    }

    #[test]
    fn symbolic_modes_do_what_chmod_does() {
        assert_eq!(apply("0644", 0o777, false), 0o644);
        assert_eq!(apply("u=rw,go=r", 0o777, false), 0o644);
        assert_eq!(apply("u+x", 0o644, false), 0o744);
        assert_eq!(apply("a-w", 0o666, false), 0o444);
        assert_eq!(apply("go=", 0o666, false), 0o600);
        assert_eq!(apply("a+X", 0o644, false), 0o644);
        assert_eq!(apply("a+X", 0o644, true), 0o755);
        assert_eq!(apply("g=u", 0o740, false), 0o770);
        assert_eq!(apply("u+s,o+t", 0o755, false), 0o5755);
        assert_eq!(apply("u=rwx,g=rx,o=", 0, true), 0o750);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "888", "z+r", "u+q", "rw-r--r--", "17777"] {
            assert_eq!(ModeChange::parse(text), Err(AttributeError::Mode), "{text}");
        }
    }

    #[test]
    fn names_are_looked_up_and_numbers_taken_as_they_are() {
        let control = Control::default();
        let found = Attributes::resolve(Some("root"), Some("4242"), None, &control).unwrap();
        assert_eq!((found.uid, found.gid), (Some(0), Some(4242)));
        let missing = Attributes::resolve(Some("no-such-user-here"), None, None, &control).unwrap_err();
        assert_eq!(missing, AttributeError::Unknown { kind: "user", name: "no-such-user-here".into() });
    }
}
