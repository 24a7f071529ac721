//! Which names are taken to hold secrets.

/// Endings of a parameter's or variable's name that say its value is a secret. Words are compared without case and
/// without `_` and `-`, so that `vaultRootToken` and `vault_root_token` are one.
const ENDINGS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "secret",
    "secretkey",
    "token",
    "apikey",
    "privatekey",
    "credential",
    "credentials",
    "authorization",
];

/// Names that end like a secret's and hold none: options that say how a secret is treated, and paths of files.
const HARMLESS: [&str; 3] = ["updatepassword", "generatepassword", "bypass"];

/// Whether a parameter or variable of this name is treated as a secret: its value never leaves this process except to
/// the host that needs it.
pub fn looks_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    ENDINGS.iter().any(|ending| plain.ends_with(ending)) && !HARMLESS.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in ["password", "login_password", "url-password", "ansible_ssh_pass", "apiToken", "Authorization"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["update_password", "path", "passenger", "token_path", "user", "bypass"] {
            assert!(!looks_secret(name), "{name}");
        }
    }
}
