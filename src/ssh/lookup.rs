//! Names to addresses without NSS, which a static program must not load: numbers, /etc/hosts, then `getent`, which
//! asks DNS and whatever else the machine is set up for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// The addresses of a host, in the order to try them.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let with_port = |ips: Vec<IpAddr>| ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(with_port(vec![ip]));
    }
    let local = fs_err::tokio::read_to_string("/etc/hosts").await.unwrap_or_default();
    let found = in_hosts_file(&local, host);
    if !found.is_empty() {
        return Ok(with_port(found));
    }
    let mut getent = tokio::process::Command::new("getent");
    getent.args(["ahosts", "--", host]).stdin(std::process::Stdio::null()).kill_on_drop(true);
    match getent.output().await {
        Ok(output) => {
            let found = of_getent(&String::from_utf8_lossy(&output.stdout));
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no address is known for this name"));
            }
            Ok(with_port(found))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        }
        Err(error) => Err(error),
    }
}

fn in_hosts_file(text: &str, host: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
        })
        .collect()
}

fn of_getent(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for ip in text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_are_addresses() {
        assert_eq!(addresses("127.0.0.7", 2222).await.unwrap(), ["127.0.0.7:2222".parse().unwrap()]);
        assert_eq!(addresses("[::1]", 22).await.unwrap(), ["[::1]:22".parse().unwrap()]);
    }

    #[test]
    fn the_hosts_file_and_getent_are_read() {
        let hosts = "127.0.0.1 localhost # web9\n10.0.0.1\tweb1.example.org WEB1\n::1 localhost\n";
        assert_eq!(in_hosts_file(hosts, "web1"), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts_file(hosts, "localhost").len(), 2);
        assert!(in_hosts_file(hosts, "web9").is_empty());
        let getent = "10.0.0.2  STREAM a\n10.0.0.2  DGRAM\nfe80::1 STREAM\n";
        assert_eq!(of_getent(getent).len(), 2);
    }
}
