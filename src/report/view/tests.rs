//! The law of the view: what was seen twice, or late, changes nothing.

use super::RunView;
use crate::{
    journal::{Event, EventKind, FinalHost, HostState, ProbePhase, Recap, StepId, StepInfo, StepStatus, StopCause},
    rollout::verdict::{Evidence, Verdict},
};
use proptest::prelude::*;

fn id(host: &str, seq: u64) -> StepId {
    StepId { play: 0, host: host.to_owned(), seq }
}

fn info(task: &str) -> StepInfo {
    StepInfo {
        task: task.to_owned(),
        module: "copy".to_owned(),
        place: "play.yml:3:5".to_owned(),
        item: None,
        attempt: 1,
        handler: false,
        mutating: true,
        digest: "d".to_owned(),
        undo: Vec::new(),
    }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())]
}

fn status() -> impl Strategy<Value = StepStatus> {
    prop_oneof![
        Just(StepStatus::Ok),
        Just(StepStatus::Changed),
        Just(StepStatus::Skipped),
        Just(StepStatus::Failed),
        Just(StepStatus::Ignored),
        Just(StepStatus::Unreachable),
    ]
}

fn state() -> impl Strategy<Value = HostState> {
    prop_oneof![
        Just(HostState::Running),
        Just(HostState::Verifying),
        Just(HostState::RollingBack),
        Just(HostState::RolledBack),
        Just(HostState::Unknown),
    ]
}

fn kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        host().prop_map(|host| EventKind::PlayStarted {
            play: 0,
            name: "p".to_owned(),
            batches: vec![vec![host], vec!["c".to_owned()]],
            rollout: true,
            resolved: vec![],
        }),
        (0_usize..3).prop_map(|batch| EventKind::BatchStarted { play: 0, batch, hosts: vec![] }),
        (0_usize..3).prop_map(|batch| EventKind::BatchEnded { play: 0, batch, outcome: "promoted".to_owned() }),
        (host(), state()).prop_map(|(host, state)| EventKind::HostChanged { play: 0, host, state, reason: None }),
        (host(), 1_u64..4).prop_map(|(host, seq)| EventKind::StepIntent { id: id(&host, seq), info: info("t") }),
        (host(), 1_u64..4, status()).prop_map(|(host, seq, status)| EventKind::StepResult {
            id: id(&host, seq),
            status,
            diff: vec![],
            message: Some("m".to_owned()),
            warnings: vec![],
            took_ms: 1,
        }),
        host().prop_map(|host| EventKind::Probed {
            play: 0,
            host,
            probe: "p".to_owned(),
            phase: ProbePhase::Verify,
            verdict: Verdict::Unhealthy,
            evidence: Evidence::default(),
        }),
        host().prop_map(|host| EventKind::RollbackIntent { play: 0, host, txn: "t".to_owned(), attempt: 1 }),
        Just(EventKind::Paused { cause: StopCause::Environment }),
        Just(EventKind::Resumed { cause: StopCause::Operator { uid: 0, user: None, reason: None } }),
        host().prop_map(|host| EventKind::Warning { host: Some(host), message: "w".to_owned() }),
        host().prop_map(|host| EventKind::RunEnded {
            exit_code: 2,
            hosts: vec![FinalHost { host, state: HostState::Failed, reason: None, recap: Recap::default() }],
        }),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(kind(), 0..60).prop_map(|kinds| {
        let number = |(index, kind)| {
            let seq = index as u64 + 1;
            Event { seq, at: jiff::Timestamp::UNIX_EPOCH, elapsed_ms: seq * 10, kind }
        };
        kinds.into_iter().enumerate().map(number).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_prefix_with_duplicates_gives_the_same_view(events in events(), again in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
        for upto in 0..=events.len() {
            let prefix = &events[..upto];
            let plain = RunView::of(prefix);
            let mut repeated = RunView::detailed();
            for (index, event) in prefix.iter().enumerate() {
                repeated.apply(event);
                for seen in &again {
                    repeated.apply(&events[seen.index(index + 1)]);
                }
            }
            prop_assert_eq!(&repeated, &plain);
        }
    }

    #[test]
    fn every_event_survives_the_journal_and_gives_the_same_view(events in events()) {
        let copy: Vec<Event> = events
            .iter()
            .map(|event| serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap())
            .collect();
        prop_assert_eq!(&copy, &events);
        prop_assert_eq!(RunView::of(&copy), RunView::of(&events));
    }

    #[test]
    fn at_the_end_every_host_of_the_account_is_in_the_state_it_says(events in events()) {
        let view = RunView::of(&events);
        if let Some(EventKind::RunEnded { hosts, .. }) = events.last().map(|event| &event.kind) {
            for host in hosts {
                prop_assert_eq!(view.hosts[&host.host].state, host.state);
                prop_assert!(view.hosts[&host.host].current.is_none());
            }
        }
    }
}
