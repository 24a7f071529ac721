//! The plan looks, and writes nothing.

use crate::support::{Lab, assert_as_before};

#[test]
fn a_plan_writes_nothing_but_the_agent() {
    let Some(lab) = Lab::with("plan", &["h1", "h2", "h3"]) else { return };
    let before = lab.states();
    for host in lab.hosts() {
        lab.ssh(host, "touch /tmp/before-the-plan");
    }
    let runbook = lab.shipped();
    let plan = |args: &[&str]| {
        let output = lab.rollgate("plan", &[&[runbook.to_str().unwrap()], args].concat()).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
        shown
    };
    let (text, ticket) = (plan(&[]), plan(&["--format", "ticket"]));
    for shown in [&text, &ticket] {
        for part in ["h1", "h2", "h3", "\"userns-remap\": \"dockremap\"", "dockremap:165536:65536"] {
            assert!(shown.contains(part), "'{part}' is not in\n{shown}");
        }
    }
    for part in ["Backout", "Risk", "container creation keeps failing"] {
        assert!(ticket.contains(part), "'{part}' is not in\n{ticket}");
    }

    let written =
        "sudo find /etc /root /home /usr /opt /srv /var/lib/rollgate -xdev -newer /tmp/before-the-plan ! -type d";
    for ((host, before), after) in lab.hosts().zip(&before).zip(lab.states()) {
        assert_as_before(host, before, &after);
        for path in lab.ssh(host, written).lines() {
            assert!(path.contains("rollgate/agent/"), "{host}: the plan wrote {path}");
        }
    }
}
