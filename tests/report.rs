//! What people see of a rollout whose second batch is put back.
#![expect(clippy::unwrap_used, reason = "a test")]

use rollgate::{
    journal::{Event, EventKind, FinalHost, HostState, ProbePhase, Recap, StepId, StepInfo, StepStatus, StopCause},
    report::{LineOptions, Lines, Paint, RunFiles, RunView, close_report},
    rollout::verdict::{Evidence, Verdict},
};
use rollgate_agent::protocol::{Diff, RevertedStep};

/// Makes events of a run that began at a round time; each comes a second after the one before.
#[derive(Default)]
struct Story(Vec<Event>);

impl Story {
    fn add(&mut self, kind: EventKind) {
        let seq = self.0.len() as u64 + 1;
        let at = jiff::Timestamp::from_second(1_800_000_000 + i64::try_from(seq).unwrap()).unwrap();
        self.0.push(Event { seq, at, elapsed_ms: seq * 1000, kind });
    }

    fn step(&mut self, host: &str, seq: u64, task: &str, status: StepStatus, diff: Vec<Diff>, message: Option<&str>) {
        let id = StepId { play: 0, host: host.into(), seq };
        let info = StepInfo {
            task: task.into(),
            module: "copy".into(),
            place: format!("site.yml:{}:5", seq + 7),
            item: None,
            attempt: 1,
            handler: task.starts_with("restart"),
            mutating: true,
            digest: String::new(),
            undo: Vec::new(),
        };
        self.add(EventKind::StepIntent { id: id.clone(), info });
        let message = message.map(str::to_owned);
        self.add(EventKind::StepResult { id, status, diff, message, warnings: vec![], took_ms: 400 });
    }

    fn host(&mut self, host: &str, state: HostState) {
        self.add(EventKind::HostChanged { play: 0, host: host.into(), state, reason: None });
    }

    fn probe(&mut self, host: &str, verdict: Verdict, detail: &str) {
        let healthy = u32::from(verdict == Verdict::Healthy);
        let evidence =
            Evidence { samples: 1, healthy, verdicts: vec![verdict], detail: detail.into(), ..Evidence::default() };
        let (host, probe) = (host.to_owned(), "health".to_owned());
        self.add(EventKind::Probed { play: 0, host, probe, phase: ProbePhase::Verify, verdict, evidence });
    }
}

fn diff() -> Vec<Diff> {
    let (before, after) = ("{}\n", "{\"userns-remap\": \"dockremap\"}\n");
    vec![Diff { object: "/etc/docker/daemon.json".into(), before: before.into(), after: after.into() }]
}

fn final_host(host: &str, state: HostState, changed: u32) -> FinalHost {
    FinalHost { host: host.into(), state, reason: None, recap: Recap { ok: 3, changed, ..Recap::default() } }
}

fn story() -> Vec<Event> {
    let mut story = Story::default();
    let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    story.add(EventKind::RunStarted {
        run: "20270115T080000Z-abcdef".into(),
        command: "run".into(),
        version: "0.1.0".into(),
        playbook: "site.yml".into(),
        inventory: hosts(&["hosts.yml"]),
        check: false,
        user: "ops".into(),
        agent_sha256: "0".repeat(64),
    });
    story.add(EventKind::PlayStarted {
        play: 0,
        name: "Enable userns-remap".into(),
        batches: vec![hosts(&["a"]), hosts(&["b", "c"]), hosts(&["d"])],
        rollout: true,
        resolved: hosts(&["3 batches of 4 hosts: 1, 2, 1.", "max_fail 0: stops at the 1st failed host of 4."]),
    });
    story.add(EventKind::BatchStarted { play: 0, batch: 0, hosts: hosts(&["a"]) });
    story.host("a", HostState::Running);
    story.step("a", 1, "Look around", StepStatus::Ok, vec![], None);
    story.step("a", 2, "Render daemon.json", StepStatus::Changed, diff(), None);
    story.step("a", 3, "restart docker", StepStatus::Changed, vec![], None);
    story.host("a", HostState::Verifying);
    story.probe("a", Verdict::Healthy, "");
    story.host("a", HostState::Healthy);
    story.add(EventKind::BakeStarted { play: 0, batch: 0, bake_ms: 120_000 });
    story.host("a", HostState::Changed);
    story.add(EventKind::BatchEnded { play: 0, batch: 0, outcome: "promoted".into() });
    story.add(EventKind::BatchStarted { play: 0, batch: 1, hosts: hosts(&["b", "c"]) });
    story.host("b", HostState::Running);
    story.step("b", 1, "Render daemon.json", StepStatus::Changed, diff(), None);
    story.host("b", HostState::Verifying);
    story.probe("b", Verdict::Unhealthy, "json.docker = \"\u{1b}[31mdown\"");
    story.add(EventKind::TriggerFired {
        play: 0,
        trigger: "Docker reports unhealthy".into(),
        host: Some("b".into()),
        when: "health.json.docker != \"healthy\"".into(),
        evidence: "health.json.docker = \"down\" != \"healthy\", 3 rounds running".into(),
        action: "abort_batch".into(),
        dry_run: false,
    });
    story.add(EventKind::Aborted {
        cause: StopCause::Trigger { trigger: "Docker reports unhealthy".into(), host: Some("b".into()) },
        evidence: "health.json.docker = \"down\" != \"healthy\", 3 rounds running".into(),
        then: "rollback_batch".into(),
    });
    story.host("b", HostState::RollingBack);
    story.add(EventKind::RollbackIntent { play: 0, host: "b".into(), txn: "7".repeat(32), attempt: 1 });
    let what = "restore /etc/docker/daemon.json".to_owned();
    let step = RevertedStep { seq: Some(1), what, changed: true, failed: None };
    story.add(EventKind::RollbackStep { host: "b".into(), step });
    story.add(EventKind::RollbackResult {
        play: 0,
        host: "b".into(),
        compared: 3,
        different: vec![],
        failed: None,
        no_op: false,
        took_ms: 2100,
    });
    story.host("b", HostState::RolledBack);
    story.host("c", HostState::NeverStarted);
    story.add(EventKind::BatchEnded { play: 0, batch: 1, outcome: "aborted".into() });
    story.add(EventKind::PlayEnded { play: 0 });
    story.add(EventKind::RunEnded {
        exit_code: 2,
        hosts: vec![
            final_host("a", HostState::Changed, 2),
            final_host("b", HostState::RolledBack, 1),
            final_host("c", HostState::NeverStarted, 0),
            final_host("d", HostState::NeverStarted, 0),
        ],
    });
    story.0
}

fn lines(verbosity: u8, diff: bool) -> String {
    let state = "/state/runs/20270115T080000Z-abcdef";
    let files =
        RunFiles { journal: format!("{state}/journal.jsonl").into(), report: format!("{state}/report.html").into() };
    let mut lines = Lines::new(LineOptions { verbosity, diff, paint: Paint::PLAIN, files: Some(files) });
    story().iter().map(|event| lines.event(event)).collect()
}

#[test]
fn plain_output_of_a_batch_put_back() {
    insta::assert_snapshot!(lines(0, false));
}

#[test]
fn verbose_output_with_differences() {
    insta::assert_snapshot!(lines(1, true));
}

#[test]
fn the_close_report_of_a_batch_put_back() {
    insta::assert_snapshot!(close_report(&RunView::of(&story())));
}

#[test]
fn a_host_that_stays_unknown_says_what_to_do() {
    let mut events = story();
    let last = events.len() - 1;
    events[last].kind = EventKind::RunEnded {
        exit_code: 3,
        hosts: vec![FinalHost { reason: Some("unreachable".into()), ..final_host("b", HostState::Unknown, 1) }],
    };
    let view = RunView::of(&events);
    insta::assert_snapshot!(rollgate::report::account(&view, None, Paint::PLAIN));
}
