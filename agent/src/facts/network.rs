//! Names and the default route.

use super::gather::{Facts, fact};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, UdpSocket};

/// An address that nobody has (RFC 5737), for routes without gateway.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The host's names. The full name comes from /etc/hosts alone: asking DNS could take seconds.
pub(super) fn names() -> Facts {
    let nodename = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hosts = fs_err::read_to_string("/etc/hosts").unwrap_or_default();
    let fqdn = full_name(&nodename, &hosts);
    let (hostname, _) = nodename.split_once('.').unwrap_or((&nodename, ""));
    let domain = fqdn.split_once('.').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    vec![fact("hostname", hostname), fact("nodename", nodename.as_str()), fact("fqdn", fqdn), fact("domain", domain)]
}

/// The first name with a dot on a line of /etc/hosts that names the node.
fn full_name(nodename: &str, hosts: &str) -> String {
    if nodename.contains('.') {
        return nodename.to_owned();
    }
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect::<Vec<_>>())
        .filter(|names| names.contains(&nodename))
        .find_map(|names| names.into_iter().find(|name| name.contains('.') && *name != "localhost.localdomain"))
        .unwrap_or(nodename)
        .to_owned()
}

/// The address from which the host reaches the rest, with interface and gateway; an empty map without default route.
pub(super) fn default_route() -> Facts {
    let routes = fs_err::read_to_string("/proc/net/route").unwrap_or_default();
    let mut found = Map::new();
    if let Some((interface, gateway)) = default_of(&routes) {
        // Connecting a datagram socket sends nothing; it only makes the kernel choose a source address.
        let towards = if gateway.is_unspecified() { NOWHERE } else { gateway };
        let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
            .and_then(|socket| socket.connect((towards, 9)).and_then(|()| socket.local_addr()));
        found.insert("interface".to_owned(), json!(interface));
        found.insert("alias".to_owned(), json!(interface));
        found.insert("gateway".to_owned(), json!(gateway.to_string()));
        if let Ok(address) = address {
            found.insert("address".to_owned(), json!(address.ip().to_string()));
        }
        let read = |name: &str| fs_err::read_to_string(format!("/sys/class/net/{interface}/{name}")).ok();
        if let Some(mac) = read("address") {
            found.insert("macaddress".to_owned(), json!(mac.trim()));
        }
        if let Some(mtu) = read("mtu").and_then(|mtu| mtu.trim().parse::<u64>().ok()) {
            found.insert("mtu".to_owned(), json!(mtu));
        }
    }
    vec![fact("default_ipv4", Value::Object(found))]
}

/// Interface and gateway of the default route with the lowest metric in /proc/net/route.
fn default_of(routes: &str) -> Option<(String, Ipv4Addr)> {
    let mut best: Option<(u64, String, Ipv4Addr)> = None;
    for line in routes.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", gateway, _, _, _, metric, "00000000", ..] = fields.as_slice() else { continue };
        let (Ok(gateway), Ok(metric)) = (u32::from_str_radix(gateway, 16), metric.parse()) else { continue };
        // The kernel prints the four bytes as one number of its own byte order.
        let gateway = Ipv4Addr::from(gateway.to_ne_bytes());
        if best.as_ref().is_none_or(|(lowest, ..)| metric < *lowest) {
            best = Some((metric, (*interface).to_owned(), gateway));
        }
    }
    best.map(|(_, interface, gateway)| (interface, gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_of_lowest_metric_is_taken() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let (interface, gateway) = default_of(table).unwrap();
        assert_eq!(interface, "eth0");
        assert_eq!(gateway, Ipv4Addr::from(0x0102_00C0_u32.to_ne_bytes()));
        assert_eq!(default_of("Iface\n"), None);
    }

    #[test]
    fn the_full_name_comes_from_the_hosts_file() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 web1.example.org web1 # us\n";
        assert_eq!(full_name("web1", hosts), "web1.example.org");
        assert_eq!(full_name("web2", hosts), "web2");
        assert_eq!(full_name("a.b", hosts), "a.b");
    }
}
