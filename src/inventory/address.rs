//! Host names with ports: `web1:2222`, `[2001:db8::1]:22`, `web[1:3]:2222`.

use super::range::expand;
use std::net::Ipv6Addr;

/// The hosts that one entry names, and their port.
///
/// # Errors
/// What is wrong with the entry.
pub(super) fn parse(entry: &str) -> Result<(Vec<String>, Option<u16>), String> {
    if entry.is_empty() {
        return Err("a host needs a name".to_owned());
    }
    if entry == "---" {
        return Err("`---` begins a YAML file, and this is read as INI; give the file the ending .yml".to_owned());
    }
    let (name, port) = split(entry)?;
    Ok((expand(name)?, port))
}

fn split(entry: &str) -> Result<(&str, Option<u16>), String> {
    let number = |digits: &str| {
        digits
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .map(Some)
            .ok_or_else(|| format!("`{digits}` is no port; ports are 1 to 65535"))
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some((inner, port)) = entry.strip_prefix('[').and_then(|rest| rest.rsplit_once("]:"))
        && digits(port)
    {
        return Ok((inner, number(port)?));
    }
    if entry.parse::<Ipv6Addr>().is_ok() {
        return Ok((entry, None));
    }
    match outside_brackets(entry).as_slice() {
        [] => Ok((entry, None)),
        [at] => {
            let (name, port) = (entry.get(..*at).unwrap_or_default(), entry.get(at + 1..).unwrap_or_default());
            if digits(port) { Ok((name, number(port)?)) } else { Err(format!("`{port}` in `{entry}` is no port")) }
        }
        _ => Err(format!("`{entry}` is neither a host, host:port nor an IPv6 address")),
    }
}

/// Colons outside brackets.
fn outside_brackets(entry: &str) -> Vec<usize> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, c) in entry.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => found.push(at),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (entry, hosts, port) in [
            ("web1", vec!["web1"], None),
            ("web1:2222", vec!["web1"], Some(2222)),
            ("web[1:2]:22", vec!["web1", "web2"], Some(22)),
            ("[2001:db8::1]:22", vec!["2001:db8::1"], Some(22)),
            ("2001:db8::1", vec!["2001:db8::1"], None),
            ("10.0.0.1:22", vec!["10.0.0.1"], Some(22)),
        ] {
            assert_eq!(
                parse(entry).expect("a host"),
                (hosts.into_iter().map(str::to_owned).collect(), port),
                "{entry}"
            );
        }
        for entry in ["", "web1:", "web1:ssh", "a:b:c", "web:99999", "web:0", "---"] {
            assert!(parse(entry).is_err(), "{entry}");
        }
    }
}
