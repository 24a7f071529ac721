//! What a plain scalar means, as PyYAML resolves it (YAML 1.1): `yes` is true, `0644` is 420, `1e5` is a string.

use serde_json::{Number, Value};

/// Resolves a plain (unquoted) scalar. None: a number that no JSON number can hold.
pub(super) fn resolve(text: &str) -> Option<Value> {
    if let "" | "~" | "null" | "Null" | "NULL" = text {
        return Some(Value::Null);
    }
    if let Some(flag) = boolean(text) {
        return Some(Value::Bool(flag));
    }
    if is_int(text) {
        return int(text);
    }
    if is_float(text) {
        return float(text);
    }
    Some(Value::String(text.to_owned()))
}

/// YAML 1.1 booleans, in the three spellings that PyYAML takes.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Text without one leading sign.
fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// Whether all characters are digits of `radix` or underscores, and there is at least one.
fn digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '_' || c.is_digit(radix))
}

/// Base-60 parts after the first, such as `:30:05`.
fn sexagesimal(parts: &str) -> bool {
    parts.split(':').all(|part| match part.as_bytes() {
        [d] => d.is_ascii_digit(),
        [t, d] => (b'0'..=b'5').contains(t) && d.is_ascii_digit(),
        _ => false,
    })
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_int(text: &str) -> bool {
    let body = unsigned(text);
    if let Some(binary) = body.strip_prefix("0b") {
        return digits(binary, 2);
    }
    if let Some(hex) = body.strip_prefix("0x") {
        return digits(hex, 16);
    }
    if body == "0" || (body.starts_with('0') && digits(&body[1..], 8)) {
        return true;
    }
    if !starts_with_digit(body) || body.starts_with('0') {
        return false;
    }
    match body.split_once(':') {
        Some((first, rest)) => digits(first, 10) && sexagesimal(rest),
        None => digits(body, 10),
    }
}

fn int(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let negative = plain.starts_with('-');
    let body = unsigned(&plain);
    let magnitude = if let Some(binary) = body.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()?
    } else if let Some(hex) = body.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()?
    } else if body.contains(':') {
        body.split(':').try_fold(0_i128, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))?
    } else if body.starts_with('0') {
        i128::from_str_radix(body, 8).ok()?
    } else {
        body.parse().ok()?
    };
    let number = if negative { magnitude.checked_neg()? } else { magnitude };
    Number::from_i128(number).map(Value::Number)
}

/// An exponent as PyYAML wants it: `e`, a sign, digits; or nothing.
fn exponent(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    text.strip_prefix(['e', 'E'])
        .and_then(|rest| rest.strip_prefix(['-', '+']))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn is_float(text: &str) -> bool {
    let body = unsigned(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = body.split_once('.') else { return false };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(rest.len());
    let (fraction, tail) = rest.split_at(end);
    if whole.is_empty() {
        return body.len() == text.len() && starts_with_digit(fraction) && exponent(tail);
    }
    if !starts_with_digit(whole) {
        return false;
    }
    match whole.split_once(':') {
        Some((first, parts)) => digits(first, 10) && sexagesimal(parts) && tail.is_empty(),
        None => digits(whole, 10) && exponent(tail),
    }
}

fn float(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let number = if plain.contains(':') {
        let sum =
            unsigned(&plain).split(':').try_fold(0.0_f64, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?;
        if plain.starts_with('-') { -sum } else { sum }
    } else {
        plain.parse().ok()?
    };
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The right-hand sides are what PyYAML's safe loader returns.
    #[test]
    fn plain_scalars_mean_what_they_mean_to_pyyaml() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!("y")),
            ("yEs", json!("yEs")),
            ("0644", json!(420)),
            ("0o644", json!("0o644")),
            ("644", json!(644)),
            ("08", json!("08")),
            ("1_000", json!(1000)),
            ("-12", json!(-12)),
            ("+12", json!(12)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("12:30:45", json!(45045)),
            ("12:70", json!("12:70")),
            ("22:22", json!(1342)),
            ("1e5", json!("1e5")),
            ("1.5e+3", json!(1500.0)),
            ("1.5e3", json!("1.5e3")),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-.5", json!("-.5")),
            ("1:30.5", json!(90.5)),
            ("20.10.9", json!("20.10.9")),
            ("2026-12-20", json!("2026-12-20")),
            ("~", json!(null)),
            ("", json!(null)),
            ("-", json!("-")),
            (".", json!(".")),
            ("é", json!("é")),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(resolve(text), Some(expected), "{text}");
        }
        assert_eq!(resolve(".inf"), None);
        assert_eq!(resolve("184467440737095516150"), None);
    }
}
