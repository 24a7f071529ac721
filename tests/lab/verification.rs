//! The runbook's verification, seen failing: something is broken on purpose after the change, the check that is there for
//! it says so, and the host is put back with its data.

use crate::{
    support::{Lab, MIGRATE, Sweep},
    sweep::{is_as_before, runbook},
};
use fs_err as fs;
use rollgate::journal::{HostState, StepStatus};

/// Cases that the default tier tries.
const SAMPLE: usize = 2;

/// The settings of a host whose data is left aside, as the lab's inventory has it.
const LEFT_ASIDE: &[&str] = &[];

/// Something that is wrong after the change.
struct Case {
    name: &'static str,
    /// The check that finds it.
    check: &'static str,
    /// What it says.
    says: &'static str,
    /// The task of the runbook before which it is broken.
    before: &'static str,
    /// Scripts, as root: what is needed before the run, what breaks it,
    needs: &'static str,
    breaks: &'static str,
    /// what its undoing does, where a rollback alone does not cure it, and what goes after the run.
    mends: &'static str,
    tidies: &'static str,
    settings: &'static [&'static str],
}

/// What has no script is broken by its settings.
const CASE: Case = Case {
    name: "",
    check: "",
    says: "",
    before: "Inspect the engine again",
    needs: "true",
    breaks: "true",
    mends: "true",
    tidies: "true",
    settings: &MIGRATE,
};

const CASES: [Case; 8] = [
    Case {
        name: "plain",
        check: "The engine runs remapped",
        says: "docker info does not say userns",
        breaks: "cp -p /etc/docker/daemon.json /root/remapped.json
                 sed -i '/\"userns-remap\"/d' /etc/docker/daemon.json && python3 -m json.tool /etc/docker/daemon.json >/dev/null
                 systemctl restart docker",
        mends: "cat /root/remapped.json >/etc/docker/daemon.json && rm /root/remapped.json && systemctl restart docker",
        tidies: "rm -r /var/lib/docker/[0-9]*.[0-9]*",
        settings: LEFT_ASIDE,
        ..CASE
    },
    Case {
        name: "gone",
        check: "What was taken along is there",
        says: "this is gone: network spare ",
        needs: "docker network create spare",
        before: "Look at what the engine holds now",
        breaks: "docker network rm spare",
        ..CASE
    },
    Case {
        name: "ended",
        check: "Containers that ran before run with their ids, and their ports are published",
        says: "/exporter ran before and is exited with exit code 137",
        breaks: "docker kill exporter",
        ..CASE
    },
    Case {
        name: "unpublished",
        check: "Containers that ran before run with their ids, and their ports are published",
        says: "/web 8081/tcp is no longer published",
        breaks: "docker network disconnect inner web",
        mends: "docker network connect inner web",
        ..CASE
    },
    Case {
        name: "owner",
        check: "Owners are as the engine would have made them",
        says: "is owned by nobody in the range",
        // Outside the range it stays whose it was, and that is root's before and after.
        breaks: "cd \"$(docker image inspect --format '{{.GraphDriver.Data.UpperDir}}' workspace-base)\" && chown 0:0 \"$(ls | head -n 1)\"",
        ..CASE
    },
    Case {
        name: "workspace",
        check: "The workspace works inside a container",
        says: "nowhere",
        settings: &["-e", r#"{"workspace_checks": ["ls /nowhere"]}"#],
        ..CASE
    },
    Case {
        name: "proxy",
        check: "Traffic passes the proxy socket from inside a container",
        says: "non-zero return code 9",
        settings: &["-e", "proxy_check='exit 9'"],
        ..CASE
    },
    Case {
        name: "pool",
        check: "The application answers and its pool is full",
        says: "this did not come true: health_document.json.container_system.warm_pool_size | default(0) >= (warm_pool_min | int)",
        settings: &["-e", "warm_pool_min=3"],
        ..CASE
    },
];

#[test]
fn each_check_of_the_verification_puts_back_a_host_on_which_it_finds_what_it_is_for() {
    let Some(lab) = Lab::with("verification", &["h1", "h2"]) else { return };
    lab.fill();
    let points = CASES.iter().map(|case| format!("{}:check", case.name)).collect();
    Sweep::new("verification", points, SAMPLE).over(&lab, |lab, point, before| {
        let case = CASES.iter().find(|case| point.starts_with(case.name)).unwrap();
        let host = lab.hosts().next().unwrap();
        let data = lab.data(host);
        lab.ssh(host, &format!("sudo sh -c '{}'", case.needs));
        let playbook = with_break(lab, case);
        let run = lab.start("run", &[&[playbook.as_str()], case.settings].concat()).end().expect_code(2);
        run.expect_states(&[(host, HostState::RolledBack)]);
        assert_eq!(run.tasks(host, StepStatus::Failed), [case.check], "{}", run.account());
        assert!(run.account().contains(case.says), "{}", run.account());
        is_as_before(lab, before);
        lab.assert_same_data(host, &data);
        lab.ssh(host, &format!("sudo sh -c '{}'", case.tidies));
    });
}

/// The runbook with a step that breaks something.
fn with_break(lab: &Lab, case: &Case) -> String {
    let path = runbook(lab, &[]);
    let text = fs::read_to_string(&path).unwrap();
    let script = |script: &str, indent: &str| {
        script.lines().map(|line| format!("{indent}{}\n", line.trim())).collect::<String>()
    };
    let task = format!("    - name: {}\n", case.before);
    let step = format!(
        "    - name: Break something\n      shell: |\n        set -e\n        {{% raw %}}\n{}        {{% endraw %}}\n      undo:\n        - name: Mend it\n          shell: |\n            {{% raw %}}\n{}            {{% endraw %}}\n",
        script(case.breaks, "        "),
        script(case.mends, "            "),
    );
    assert_eq!(text.matches(&task).count(), 1, "{}", case.before);
    fs::write(&path, text.replace(&task, &format!("{step}{task}"))).unwrap();
    path
}
