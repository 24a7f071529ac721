//! Replaces every registered secret in outgoing text, in the forms that programs print them (S5).

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// What stands where a secret stood.
pub const REDACTED: &str = "********";

/// Shorter values are not registered: replacing `no` or `1` everywhere would make every text unreadable, and tell more
/// than it hides.
const SHORTEST: usize = 4;

/// A line of a longer secret (a private key) is registered by itself from this length on.
const SHORTEST_LINE: usize = 8;

/// The secrets of a run. Cheap to clone; all clones share them.
#[derive(Clone, Default)]
pub struct Redactor {
    shared: Arc<RwLock<Forms>>,
    key: Arc<Key>,
}

/// Forms of the secrets, those that contain others first.
#[derive(Default)]
struct Forms {
    known: BTreeSet<String>,
    longest_first: Vec<String>,
}

/// The key of this run's fingerprints. It is never written anywhere. None where the system gives no randomness.
struct Key(Option<[u8; 32]>);

impl Default for Key {
    fn default() -> Self {
        let mut key = [0; 32];
        Self(getrandom::fill(&mut key).is_ok().then_some(key))
    }
}

impl fmt::Debug for Redactor {
    /// Says how many secrets there are, never which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.shared.read().unwrap_or_else(PoisonError::into_inner).known.len();
        f.debug_struct("Redactor").field("forms", &count).finish()
    }
}

impl Redactor {
    /// A redactor that knows no secret yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a secret and the forms in which it may show up: as it is, its longer lines, base64 at any alignment,
    /// percent-encoded, quoted for a shell, and escaped for JSON. Values of fewer than four characters are ignored.
    pub fn add(&self, value: &str) {
        let mut forms = BTreeSet::new();
        collect(value, &mut forms);
        for line in value.lines().filter(|line| line.trim().len() >= SHORTEST_LINE && line.len() < value.len()) {
            collect(line.trim(), &mut forms);
        }
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        let before = shared.known.len();
        shared.known.extend(forms);
        if shared.known.len() > before {
            let mut all: Vec<String> = shared.known.iter().cloned().collect();
            all.sort_by_key(|form| std::cmp::Reverse(form.len()));
            shared.longest_first = all;
        }
    }

    /// Registers every string, and every number, within a value.
    pub fn add_value(&self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(entries) => entries.values().for_each(|entry| self.add_value(entry)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Whether any secret is known: where none is, nothing needs to be searched.
    pub fn is_empty(&self) -> bool {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).known.is_empty()
    }

    /// The text with every secret replaced by [`REDACTED`].
    pub fn redact(&self, text: &str) -> String {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let mut clean = text.to_owned();
        for form in &shared.longest_first {
            if clean.contains(form.as_str()) {
                clean = clean.replace(form.as_str(), REDACTED);
            }
        }
        clean
    }

    /// Replaces secrets in every string within a value, keys included.
    pub fn redact_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(entries) => {
                let old = std::mem::take(entries);
                for (key, mut entry) in old {
                    self.redact_value(&mut entry);
                    entries.insert(self.redact(&key), entry);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A keyed digest that tells within this run whether two secrets are the same, and nothing else about them. Without
    /// a key it tells nothing: [`REDACTED`].
    pub fn fingerprint(&self, value: &str) -> String {
        let Some(key) = &self.key.0 else { return REDACTED.to_owned() };
        // An HMAC takes a key of any length, so that there is always one.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return REDACTED.to_owned() };
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Adds a value's forms.
fn collect(value: &str, forms: &mut BTreeSet<String>) {
    if value.chars().count() < SHORTEST {
        return;
    }
    let mut add = |form: String| {
        if form.len() >= SHORTEST {
            forms.insert(form);
        }
    };
    add(value.to_owned());
    // `echo SECRET` and a file's final line are read without the newline that the variable may end in.
    add(value.trim().to_owned());
    for text in [value, value.trim_end()] {
        for form in base64_forms(text.as_bytes()) {
            add(form);
        }
    }
    add(percent_encoded(value, false));
    add(percent_encoded(value, true));
    add(value.replace('\'', r"'\''"));
    add(value.replace('\'', "'\"'\"'"));
    if let Ok(quoted) = shlex::try_quote(value) {
        add(quoted.into_owned());
    }
    let json = Value::String(value.to_owned()).to_string();
    add(json.trim_matches('"').to_owned());
    add(json_ascii(value));
}

/// The part of its base64 text that depends on the value alone, for each of the three positions that it can have in a
/// longer encoded text (`user:SECRET`), in both alphabets.
fn base64_forms(value: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for lead in 0..3 {
        let mut padded = vec![0; lead];
        padded.extend_from_slice(value);
        // Characters whose six bits hold a bit of the lead are not the value's.
        let skip = (lead * 8).div_ceil(6);
        let keep = padded.len() * 8 / 6;
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            if let Some(own) = encoded.get(skip..keep)
                && own.len() >= 6
            {
                forms.push(own.to_owned());
            }
        }
    }
    forms
}

/// The value as in a URL: everything but unreserved characters (RFC 3986) as `%XX`; `form` writes a space as `+`.
fn percent_encoded(value: &str, form: bool) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' if form => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The value escaped for JSON with every character outside ASCII as `\uXXXX`, as Python writes it.
fn json_ascii(value: &str) -> String {
    let mut out = String::new();
    for c in Value::String(value.to_owned()).to_string().trim_matches('"').chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_replaced() {
        let redactor = Redactor::new();
        let secret = "s3cr=t/ü 'x\"";
        redactor.add(secret);
        let forms = [
            secret.to_owned(),
            percent_encoded(secret, false),
            percent_encoded(secret, true),
            serde_json::to_string(secret).expect("a string"),
            json_ascii(secret),
            shlex::try_quote(secret).expect("no NUL").into_owned(),
        ];
        for form in forms {
            let clean = redactor.redact(&format!("before {form} after"));
            assert!(clean.contains(REDACTED) && !clean.contains("s3cr"), "{form} became {clean}");
        }
        for lead in ["", "u", "us", "user:"] {
            let encoded = STANDARD.encode(format!("{lead}{secret}"));
            let clean = redactor.redact(&encoded);
            assert!(clean.contains(REDACTED), "{encoded} became {clean}");
        }
    }

    #[test]
    fn lines_of_a_key_are_secrets_too() {
        let redactor = Redactor::new();
        redactor.add("-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----\n");
        assert_eq!(redactor.redact("line: AAAABBBBCCCC"), format!("line: {REDACTED}"));
    }

    #[test]
    fn short_values_are_left_alone() {
        let redactor = Redactor::new();
        redactor.add("no");
        assert!(redactor.is_empty());
        assert_eq!(redactor.redact("no news"), "no news");
    }

    #[test]
    fn values_keep_their_shape() {
        let redactor = Redactor::new();
        redactor.add_value(&serde_json::json!({"a": ["hunter22"], "pin": 48151}));
        let mut value = serde_json::json!({"cmd": ["login", "hunter22"], "n": 1, "hunter22": "pin 48151"});
        redactor.redact_value(&mut value);
        assert_eq!(value, serde_json::json!({"cmd": ["login", REDACTED], "n": 1, REDACTED: format!("pin {REDACTED}")}));
    }

    #[test]
    fn fingerprints_belong_to_one_run() {
        let (one, other) = (Redactor::new(), Redactor::new());
        assert_eq!(one.fingerprint("x"), one.clone().fingerprint("x"));
        assert_ne!(one.fingerprint("x"), one.fingerprint("y"));
        assert_ne!(one.fingerprint("x"), other.fingerprint("x"));
    }

    proptest! {
        #[test]
        fn no_secret_survives(secret in "[ -~]{4,30}", before in "[ -~]{0,10}", after in "[ -~]{0,10}") {
            let redactor = Redactor::new();
            redactor.add(&secret);
            // A secret made of asterisks alone cannot be told from its replacement.
            prop_assume!(!REDACTED.contains(secret.trim()) && !secret.contains(REDACTED));
            let clean = redactor.redact(&format!("{before}{secret}{after}"));
            prop_assert!(!clean.replace(REDACTED, "\n").contains(&secret));
        }

        #[test]
        fn texts_without_secrets_are_untouched(text in "[a-z ]{0,60}") {
            let redactor = Redactor::new();
            redactor.add("S3CRET-VALUE");
            prop_assert_eq!(redactor.redact(&text), text);
        }
    }
}
