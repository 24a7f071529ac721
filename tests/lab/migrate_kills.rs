//! Agent, controller or host killed in the middle of a migration, or of its way back. It goes on, or back; in the end every
//! inode is what it was, and nothing that was acknowledged is lost.

use crate::{
    support::{Lab, MIGRATE, Sweep},
    sweep::{by_hand, is_as_before, runbook},
};
use rollgate::journal::EventKind;
use rollgate_agent::protocol::GuardState;
use sha2::{Digest, Sha256};

/// Points that the default tier tries, a third of them for each who is killed.
const SAMPLE: usize = 9;

/// Points for each who is killed.
const EACH: u64 = 50;

/// Short, and long enough for the steps before one is waited for.
const TIMEOUT: (&str, &str) = ("guard_timeout", "8s");

/// Where the agent looks for a fault of a migration, and what it says.
const STATE: &str = "/var/lib/rollgate";

fn arm(lab: &Lab, host: &str, fault: &str) {
    lab.ssh(host, &format!("sudo sh -c 'umask 077; mkdir -p -m 711 {STATE}; echo {fault} >{STATE}/fault'"));
}

fn disarm(lab: &Lab, host: &str) {
    lab.ssh(host, &format!("sudo rm -f {STATE}/fault {STATE}/held"));
}

fn migrate(lab: &Lab) -> Vec<String> {
    let runbook = runbook(lab, &[TIMEOUT]);
    let rest = ["--skip-tags", "verify"].iter().chain(&MIGRATE).map(|&word| word.to_owned());
    std::iter::once(runbook).chain(rest).collect()
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// How many changes a migration is, and its way back; and which part of an undoing the way back is.
fn counted(lab: &Lab) -> ([u64; 2], usize) {
    let lab = lab.only("h1");
    let count = || -> u64 { lab.ssh("h1", &format!("sudo cat {STATE}/changes")).trim().parse().unwrap() };
    arm(&lab, "h1", "count");
    let run = lab.start("run", &words(&migrate(&lab))).end().expect_code(0);
    let into = count();
    let undone = by_hand(&lab, run.run_id());
    let back = count();
    let parts = undone.events.iter().filter_map(|event| match &event.kind {
        EventKind::RollbackStep { step, .. } => Some(step.what.starts_with("restore data root")),
        _ => None,
    });
    let part = parts.take_while(|is_data| !is_data).count() + 1;
    lab.ssh("h1", &format!("sudo rm {STATE}/fault {STATE}/changes"));
    assert!(into > 100 && back > 100, "{into} changes, and {back} on the way back");
    ([into, back], part)
}

/// Seeded points, `WAY:CHANGE:WHO`. A third are on the way back; half are near one of the ends, where names are changed.
fn points([into, back]: [u64; 2]) -> Vec<String> {
    let mut points = Vec::new();
    for who in ["agent", "controller", "host"] {
        for index in 0..EACH {
            let digest = Sha256::digest(format!("{who} {index}"));
            let chance = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
            let (way, all) = if index % 3 == 2 { ("back", back) } else { ("into", into) };
            let number = match index % 4 {
                0 => chance % 40,
                1 => all - 1 - chance % 40,
                _ => chance % all,
            };
            points.push(format!("{way}:{}:{who}", number + 1));
        }
    }
    points
}

#[test]
fn a_migration_whose_agent_controller_or_host_is_killed_goes_on_or_back() {
    let Some(lab) = Lab::with("migrate-kills", &["h1", "h2", "h3"]) else { return };
    lab.fill();
    let (changes, part) = counted(&lab);
    an_engine_does_not_start_on_half_of_its_data(&lab.only("h1"), changes, part);
    Sweep::new("migrate-kills", points(changes), SAMPLE).over(&lab, |lab, point, before| {
        let host = lab.hosts().next().unwrap();
        let Some((way, (number, who))) = point.split_once(':').map(|(way, rest)| (way, rest.split_once(':').unwrap()))
        else {
            panic!("{point} is no point")
        };
        // After a point that went wrong the host is pristine.
        let fresh = lab.ssh(host, "sudo docker volume ls --quiet").is_empty();
        if fresh {
            lab.fill();
        }
        let state = if fresh { lab.state(host) } else { before.to_owned() };
        let data = lab.data(host);
        let run = if way == "into" {
            killed(lab, who, number, "run", &migrate(lab))
        } else {
            let run = lab.start("run", &words(&migrate(lab))).end().expect_code(0).run_id().to_owned();
            killed(lab, who, number, "rollback", std::slice::from_ref(&run));
            Some(run)
        };
        disarm(lab, host);
        let agent = lab.agent_path(host);
        for guard in lab.settled_guards(host, &agent).into_iter().filter(|guard| run.as_ref() == Some(&guard.run)) {
            let fine = [GuardState::Confirmed, GuardState::Reverted, GuardState::RevertedByGuard];
            assert!(
                fine.contains(&guard.state),
                "{point}: the guard of {host} is {:?}: {:?}",
                guard.state,
                guard.fired
            );
        }
        by_hand(lab, &run.unwrap());
        is_as_before(lab, &state);
        lab.assert_same_data(host, &data);
    });
}

/// A host loses power on the way back, and what goes on at boot fails, too.
fn an_engine_does_not_start_on_half_of_its_data(lab: &Lab, [_, back]: [u64; 2], part: usize) {
    let (state, data) = (lab.state("h1"), lab.data("h1"));
    let run = lab.start("run", &words(&migrate(lab))).end().expect_code(0).run_id().to_owned();
    arm(lab, "h1", &format!("hold:{}", back - 5));
    let undoing = lab.start("rollback", &[&run]);
    lab.ssh("h1", &format!("timeout 120 sh -c 'until test -e {STATE}/held; do sleep 0.1; done'"));
    lab.ssh("h1", &format!("sudo sh -c 'echo undo:{part}:fail-before >{STATE}/fault'"));
    lab.power_cut("h1");
    undoing.end();
    let agent = lab.agent_path("h1");
    let guard = lab.settled_guards("h1", &agent).into_iter().find(|guard| guard.run == run).unwrap();
    assert_eq!(guard.state, GuardState::RevertFailed, "{:?}", guard.fired);
    let start = "sudo sh -c 'systemctl start docker.socket docker.service 2>&1; systemctl is-active docker.socket docker.service'";
    let told = lab.ssh("h1", &format!("{start} || true"));
    assert!(
        told.contains("Assertion failed on job for docker.socket") && told.ends_with("inactive\ninactive\n"),
        "{told}"
    );
    disarm(lab, "h1");
    by_hand(lab, &run);
    is_as_before(lab, &state);
    lab.assert_same_data("h1", &data);
}

/// `rollgate COMMAND`, and what kills `who` before the change of this number. The run's id.
fn killed(lab: &Lab, who: &str, number: &str, command: &str, args: &[String]) -> Option<String> {
    let host = lab.hosts().next().unwrap();
    arm(lab, host, &format!("{}:{number}", if who == "agent" { "migrate" } else { "hold" }));
    let mut running = lab.start(command, &words(args));
    let begun = running.until("it began", |event| matches!(event, EventKind::RunStarted { .. }));
    let EventKind::RunStarted { run, .. } = begun.kind else { unreachable!() };
    if who != "agent" {
        if command == "run" {
            running.until_task(host, "take the data along");
        }
        lab.ssh(host, &format!("timeout 120 sh -c 'until test -e {STATE}/held; do sleep 0.1; done'"));
    }
    match who {
        "controller" => running.kill(),
        "host" => {
            lab.power_cut(host);
            running.end();
        }
        _ => {
            let code = running.end().code;
            assert!(
                lab.ssh(host, &format!("sudo ls {STATE}")).lines().all(|name| name != "fault"),
                "nobody was killed"
            );
            assert!([0, 2, 3].contains(&code), "exit code {code}");
        }
    }
    Some(run)
}
