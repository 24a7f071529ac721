//! human_readable, human_to_bytes, log, pow, root.

use super::arguments::{Arguments, Given, string, wrong};
use minijinja::{Environment, Error, Value};

/// Units from the largest, with their powers of 1024.
const UNITS: [(char, i32); 8] = [('Y', 8), ('Z', 7), ('E', 6), ('P', 5), ('T', 4), ('G', 3), ('M', 2), ('K', 1)];

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("human_readable", human_readable);
    environment.add_filter("human_to_bytes", human_to_bytes);
    environment.add_filter("log", |x: f64, base: Option<f64>| match base {
        None => x.ln(),
        Some(10.0) => x.log10(),
        Some(base) => x.log(base),
    });
    environment.add_filter("pow", |x: f64, y: f64| x.powf(y));
    environment.add_filter("root", |x: f64, base: Option<f64>| match base {
        None | Some(2.0) => x.sqrt(),
        Some(base) => x.powf(1.0 / base),
    });
}

fn human_readable(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(arguments, &["isbits", "unit"])?;
    let size: f64 = string(value)?.trim().parse().map_err(|_| wrong(format!("`{value}` is no number of bytes")))?;
    let bits = arguments.flag("isbits");
    let base = if bits { "bits" } else { "Bytes" };
    let letter = if bits { 'b' } else { 'B' };
    let wanted = arguments.text("unit")?.and_then(|unit| unit.chars().next()).map(|unit| unit.to_ascii_uppercase());
    let fits = |power: i32, name: char| match wanted {
        None => size >= 1024_f64.powi(power),
        Some(unit) => unit == name,
    };
    Ok(match UNITS.iter().find(|(name, power)| fits(*power, *name)) {
        Some((name, power)) => format!("{:.2} {name}{letter}", size / 1024_f64.powi(*power)),
        None => format!("{size:.2} {base}"),
    })
}

fn human_to_bytes(value: &Value, arguments: Given) -> Result<i64, Error> {
    let arguments = Arguments::new(arguments, &["default_unit", "isbits"])?;
    let text = string(value)?;
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong(format!("`{text}` is no size")))?;
    let unit = match unit.trim() {
        "" => arguments.text("default_unit")?.unwrap_or_default(),
        given => given.to_owned(),
    };
    let power = match unit.chars().next().map(|c| c.to_ascii_uppercase()) {
        None | Some('B') => 0,
        Some(letter) => UNITS
            .iter()
            .find(|(name, _)| *name == letter)
            .map(|(_, power)| *power)
            .ok_or_else(|| wrong(format!("`{unit}` is no unit; there are B, K, M, G, T, P, E, Z and Y")))?,
    };
    Ok((number * 1024_f64.powi(power)).round() as i64)
}
