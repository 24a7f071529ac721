//! The plan of a rollout, as text and as a ticket, from what check mode said.
#![expect(clippy::unwrap_used, reason = "a test")]

use rollgate::{
    config::Source,
    journal::{Event, EventKind, FinalHost, HostState, Recap, StepId, StepInfo, StepStatus},
    plan,
    playbook::{self, Playbook},
    report::{Paint, RunView},
    rollout::{DomainOf, Resolved},
};
use rollgate_agent::protocol::Diff;
use std::{path::Path, sync::Arc};

const PLAYBOOK: &str = "\
- name: Move the motd
  hosts: all
  rollout:
    batches: [1, 2]
    max_fail: 0
    min_healthy_time: 10s
    bake_time: 30s
    probes:
      - name: login
        command: 'true'
        count: 20
    triggers:
      - name: logins fail
        when: login.consecutive_failures >= 3
  tasks:
    - name: Write motd
      copy: { dest: /etc/motd, content: hello }
    - name: Warm the cache
      command: warm-cache
      undo:
        - name: Drop the cache
          command: drop-cache
    - name: Count | it
      command: 'count-it'
      accept_irreversible: true
";

fn program() -> Playbook {
    let source = Source { path: "motd.yml".into(), text: PLAYBOOK.into() };
    playbook::load_source(Path::new("motd.yml"), &Arc::new(source)).map_err(|problems| problems.render(false)).unwrap()
}

fn planned(quiet: &[&str]) -> plan::Plan {
    let program = program();
    let play = &program.plays[0];
    let hosts: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let resolved = Resolved::new(play, &hosts, &DomainOf::new(), 256);
    let mut kinds = vec![EventKind::PlayStarted {
        play: 0,
        name: play.name.clone(),
        batches: resolved.batches,
        rollout: true,
        resolved: resolved.sentences,
    }];
    for host in &hosts {
        for (seq, task) in play.sections[1].iter().enumerate() {
            let id = StepId { play: 0, host: host.clone(), seq: seq as u64 + 1 };
            let info = StepInfo {
                task: task.name.clone(),
                module: if seq == 0 { "copy" } else { "command" }.into(),
                place: task.place.to_string(),
                item: None,
                attempt: 1,
                handler: false,
                mutating: true,
                digest: String::new(),
                undo: Vec::new(),
            };
            kinds.push(EventKind::StepIntent { id: id.clone(), info });
            let (status, diff) = match (quiet.contains(&host.as_str()), seq) {
                (true, _) => (StepStatus::Ok, vec![]),
                (false, 0) => {
                    let (object, before, after) = ("/etc/motd".into(), "hi\n".into(), "hello".into());
                    (StepStatus::Changed, vec![Diff { object, before, after }])
                }
                (false, _) => (StepStatus::Unknown, vec![]),
            };
            kinds.push(EventKind::StepResult { id, status, diff, message: None, warnings: vec![], took_ms: 1 });
        }
    }
    let finals = hosts.iter().map(|host| FinalHost {
        host: host.clone(),
        state: HostState::Changed,
        reason: None,
        recap: Recap::default(),
    });
    kinds.push(EventKind::RunEnded { exit_code: 0, hosts: finals.collect() });
    let number = |(kind, seq)| Event { seq, at: jiff::Timestamp::UNIX_EPOCH, elapsed_ms: seq, kind };
    let events: Vec<Event> = kinds.into_iter().zip(1..).map(number).collect();
    let input = plan::Input { kind: "playbook".into(), path: "motd.yml".into(), sha256: "ab".repeat(32) };
    plan::build(&RunView::of(&events), &program, vec![input], &"cd".repeat(32), 256, &|_, _| DomainOf::new())
}

#[test]
fn the_plan_as_text() {
    let plan = planned(&["c"]);
    insta::assert_snapshot!(plan::text(&plan, "DIGEST", Paint::PLAIN));
}

#[test]
fn the_plan_as_a_ticket() {
    let plan = planned(&["c"]);
    let ticket = plan::ticket(&plan, "DIGEST");
    let summary = ticket.split("## Summary").nth(1).and_then(|rest| rest.lines().nth(2)).unwrap();
    assert!(summary.chars().count() <= 160, "{summary}");
    insta::assert_snapshot!(ticket);
}

#[test]
fn a_plan_without_changes_says_so() {
    let plan = planned(&["a", "b", "c"]);
    assert!(!plan.changes());
    assert!(plan::text(&plan, "DIGEST", Paint::PLAIN).contains("No change on 3 hosts."));
}

#[test]
fn the_digest_is_of_everything_that_matters_and_of_nothing_else() {
    let digest = |plan: &plan::Plan| plan::digest(plan).unwrap();
    assert_eq!(digest(&planned(&[])), digest(&planned(&[])), "the same plan has the same digest");
    assert_ne!(digest(&planned(&[])), digest(&planned(&["c"])), "other changes");
    let mut other = planned(&[]);
    other.agent_sha256 = "ef".repeat(32);
    assert_ne!(digest(&planned(&[])), digest(&other), "another agent");
    let mut other = planned(&[]);
    other.inputs[0].sha256 = "00".repeat(32);
    assert_ne!(digest(&planned(&[])), digest(&other), "another playbook");
}

#[test]
fn what_debug_says_is_told_once_for_the_hosts_it_is_said_of() {
    let mut plan = planned(&[]);
    let said = |text: &str| plan::Said { task: "Find | things".into(), item: None, text: text.into() };
    for (host, text) in plan.plays[0].hosts.iter_mut().zip(["A  B\n`x`", "A  B\n`x`", "\u{1b}[31mother"]) {
        host.said.push(said(text));
    }
    let text = plan::text(&plan, "d", Paint::PLAIN);
    assert!(text.contains("a, b: Find | things\n    A  B\n    `x`\n"), "{text}");
    assert!(!text.contains('\u{1b}') && text.matches("FOUND").count() == 1);
    let ticket = plan::ticket(&plan, "d");
    let found = "\n## What was found on the hosts\n\n**a, b**: Find \\| things\n\n```text\nA  B\n`x`\n```\n";
    assert!(ticket.contains(found), "{ticket}");
    assert!(!planned(&[]).said().iter().any(|_| true) && !plan::ticket(&planned(&[]), "d").contains("What was found"));
}
