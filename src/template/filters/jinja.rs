//! Filters and functions of Jinja that the engine lacks, or has with another meaning than Python's.

use super::arguments::{Arguments, Given, entries, list, string, wrong};
use crate::template::python::describe;
use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Kwargs, ValueKind, from_args},
};
use sha2::{Digest, Sha256};

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("indent", indent);
    environment.add_filter("center", center);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |value: &Value| Ok::<_, Error>(string(value)?.split_whitespace().count()));
    environment.add_filter("filesizeformat", file_size);
    environment.add_filter("random", random);
    environment.add_filter("shuffle", shuffle);
    environment.add_function("dict", dict);
}

/// Python's `int`: what is no number becomes the default.
fn int(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["default", "base"])?;
    let default = arguments.value("default").cloned().unwrap_or_else(|| Value::from(0));
    let base = arguments.count("base")?.unwrap_or(10);
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool => Ok(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Ok(value.clone()),
        ValueKind::Number => Ok(whole(f64::try_from(value.clone())?).unwrap_or(default)),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            let radix = u32::try_from(base).ok().filter(|radix| (2..=36).contains(radix));
            let radix = radix.ok_or_else(|| wrong(format!("{base} is no base; bases are 2 to 36")))?;
            let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
            let digits = match radix {
                16 => digits.trim_start_matches("0x").trim_start_matches("0X"),
                8 => digits.trim_start_matches("0o").trim_start_matches("0O"),
                2 => digits.trim_start_matches("0b").trim_start_matches("0B"),
                _ => digits,
            };
            let parsed = i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().map(Value::from);
            Ok(parsed.or_else(|| text.parse().ok().and_then(whole)).unwrap_or(default))
        }
        _ => Ok(default),
    }
}

/// The whole part of a number, if 64 bits hold it.
fn whole(number: f64) -> Option<Value> {
    let cut = number.trunc();
    (cut.abs() < 9.2e18).then(|| Value::from(cut as i64))
}

fn float(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["default"])?;
    let default = arguments.value("default").cloned().unwrap_or_else(|| Value::from(0.0));
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool => Ok(Value::from(f64::from(u8::from(value.is_true())))),
        ValueKind::Number => Ok(Value::from(f64::try_from(value.clone())?)),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            Ok(text.parse::<f64>().map_or(default, Value::from))
        }
        _ => Ok(default),
    }
}

fn indent(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(arguments, &["width", "first", "blank"])?;
    let lead = match arguments.value("width") {
        None => "    ".to_owned(),
        Some(width) => match (width.as_str(), width.as_usize()) {
            (Some(lead), _) => lead.to_owned(),
            (None, Some(count)) if count <= 1 << 12 => " ".repeat(count),
            _ => return Err(wrong(format!("`width` must be a number or a text, not {}", describe(width)))),
        },
    };
    let text = string(value)?;
    let blank = arguments.flag("blank");
    let mut out = String::new();
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let wanted = if at == 0 { arguments.flag("first") } else { blank || !line.is_empty() };
        if wanted {
            out.push_str(&lead);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn center(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(arguments, &["width"])?;
    let width = arguments.count("width")?.unwrap_or(80).min(1 << 16);
    let text = string(value)?;
    let missing = width.saturating_sub(text.chars().count());
    // CPython puts the odd one left where the width is odd.
    let left = missing / 2 + (missing & width & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left)))
}

fn truncate(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(arguments, &["length", "killwords", "end", "leeway"])?;
    let length = arguments.count("length")?.unwrap_or(255);
    let end = arguments.text("end")?.unwrap_or_else(|| "...".to_owned());
    let leeway = arguments.count("leeway")?.unwrap_or(5);
    let text = string(value)?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept =
        if arguments.flag("killwords") { &cut } else { cut.rsplit_once(' ').map_or(cut.as_str(), |(kept, _)| kept) };
    Ok(format!("{kept}{end}"))
}

fn file_size(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(arguments, &["binary"])?;
    let size: f64 = string(value)?.trim().parse().map_err(|_| wrong(format!("`{value}` is no number of bytes")))?;
    let (base, units) = if arguments.flag("binary") {
        (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
    };
    if size == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if size < base {
        return Ok(format!("{} Bytes", size.trunc()));
    }
    let mut shown = size / base;
    let mut unit = units.iter();
    let mut name = unit.next();
    while shown >= base
        && let Some(next) = unit.next()
    {
        shown /= base;
        name = Some(next);
    }
    Ok(format!("{shown:.1} {}", name.copied().unwrap_or_default()))
}

/// A number below `bound`: always the same for one seed, else from the system. Python's generator gives other numbers.
fn pick(bound: u64, seed: Option<&str>, turn: usize) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    match seed {
        Some(seed) => {
            let digest = Sha256::digest(format!("{turn}:{seed}"));
            for (slot, byte) in bytes.iter_mut().zip(digest) {
                *slot = byte;
            }
        }
        None => getrandom::fill(&mut bytes).map_err(|error| wrong(format!("no random numbers: {error}")))?,
    }
    u64::from_le_bytes(bytes).checked_rem(bound).ok_or_else(|| wrong("there is nothing to choose from"))
}

fn random(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["start", "step", "seed"])?;
    let seed = arguments.text("seed")?;
    if value.is_integer() {
        let start = arguments.count("start")?.unwrap_or(0);
        let step = arguments.count("step")?.filter(|step| *step > 0).unwrap_or(1);
        let end = value.as_usize().ok_or_else(|| wrong("`random` needs a number from 1"))?;
        let count = end.saturating_sub(start).div_ceil(step);
        let at = pick(count as u64, seed.as_deref(), 0)?;
        return Ok(Value::from(start as u64 + at * step as u64));
    }
    let items = list("random", value)?;
    let at = pick(items.len() as u64, seed.as_deref(), 0)?;
    Ok(items.into_iter().nth(usize::try_from(at).unwrap_or_default()).unwrap_or_default())
}

fn shuffle(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["seed"])?;
    let seed = arguments.text("seed")?;
    let mut items = list("shuffle", value)?;
    for at in (1..items.len()).rev() {
        let other = pick(at as u64 + 1, seed.as_deref(), at)?;
        items.swap(at, usize::try_from(other).unwrap_or_default());
    }
    Ok(Value::from(items))
}

/// Python's `dict`: from a mapping or from pairs, and from named values.
fn dict(arguments: Given) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (given, named): (&[Value], Kwargs) = from_args(&arguments)?;
    let mut pairs = Vec::new();
    match given {
        [] => {}
        [map] if map.kind() == ValueKind::Map => pairs = entries("dict", map)?,
        [items] => {
            for pair in list("dict", items)? {
                let pair = list("dict", &pair)?;
                let [key, value] = pair.as_slice() else { return Err(wrong("`dict` needs pairs")) };
                pairs.push((key.clone(), value.clone()));
            }
        }
        _ => return Err(Error::from(ErrorKind::TooManyArguments)),
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.peek(name)?));
    }
    Ok(Value::from_pairs(pairs))
}
