//! The judge, as the contract's tables say it.

use super::{
    Finding, Item, Judge, Policy, Round, Sample,
    verdict::{Evidence, Verdict},
};
use crate::{
    config::{Place, Source},
    journal::ProbePhase,
    playbook::{
        GuardKeys, OnFailure, OnInconclusive, OnUnreachable, Probe, ProbeFrom, ProbeMode, ProbeTarget, Promote,
        RollbackSpeed, Rollout, Scope, Size, Template, Trigger, TriggerAction,
    },
};
use Verdict::{Error, Healthy, NoData, Unhealthy};
use proptest::prelude::*;
use rollgate_agent::protocol::{ProbeReport, ProbeStatus};
use serde_json::{Map, json};
use std::{sync::Arc, time::Duration};

fn place() -> Place {
    let source = Source { path: "play.yml".to_owned(), text: String::new() };
    Place { source: Arc::new(source), range: 0..0 }
}

fn template(text: &str) -> Template {
    Template { value: json!(text), place: None }
}

fn probe(name: &str, target: ProbeTarget) -> Probe {
    Probe {
        name: name.to_owned(),
        place: place(),
        target,
        from: ProbeFrom::Host,
        r#loop: None,
        when: Vec::new(),
        success_when: None,
        count: 1,
        initial_delay: Duration::ZERO,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        failure_threshold: 3,
        success_threshold: 1,
        max_consecutive_errors: 4,
        min_samples: 20,
        mode: ProbeMode::Enforce,
    }
}

pub(super) fn command(name: &str) -> Probe {
    probe(name, ProbeTarget::Command(template("true")))
}

fn http(success_when: Option<&str>) -> Probe {
    let target = ProbeTarget::Http(template("http://localhost:8000/health"));
    Probe { success_when: success_when.map(template), ..probe("health", target) }
}

pub(super) fn trigger(when: &str) -> Trigger {
    Trigger {
        name: "t".to_owned(),
        place: place(),
        when: template(when),
        scope: Scope::Host,
        action: TriggerAction::AbortBatch,
        for_rounds: None,
        mode: ProbeMode::Enforce,
    }
}

pub(super) fn rollout(probes: Vec<Probe>, triggers: Vec<Trigger>) -> Rollout {
    Rollout {
        place: place(),
        batches: vec![Size::Count(2)],
        max_parallel: None,
        max_unavailable: None,
        failure_domain: None,
        ramp: false,
        rehearse: false,
        max_unhealthy_upgraded: None,
        on_unreachable: OnUnreachable::Count,
        max_fail: Size::Count(0),
        min_healthy_time: Duration::from_secs(10),
        healthy_deadline: Duration::from_secs(300),
        progress_deadline: None,
        bake_time: Duration::ZERO,
        promote: Promote::Auto,
        on_failure: OnFailure::RollbackBatch,
        on_inconclusive: OnInconclusive::Pause,
        abort_grace: Duration::from_secs(60),
        rollback_deadline: Duration::from_secs(600),
        keep_undo: Duration::from_secs(1),
        pause_timeout: Duration::from_secs(3600),
        rollback: RollbackSpeed::default(),
        guard: GuardKeys::default(),
        probes,
        triggers,
    }
}

fn judge(probes: Vec<Probe>, triggers: Vec<Trigger>) -> Judge {
    let mut judge = Judge::new(Arc::new(Policy::new(&rollout(probes, triggers)).unwrap()));
    judge.begin_batch(&["a".to_owned(), "b".to_owned()]);
    judge
}

fn report(status: ProbeStatus) -> ProbeReport {
    ProbeReport { status, elapsed_ms: 10, rc: None, http_status: None, json: None, detail: String::new() }
}

fn round_of(probe: Probe, reports: Vec<ProbeReport>) -> (Verdict, Evidence) {
    let name = probe.name.clone();
    let policy = Policy::new(&rollout(vec![probe], vec![])).unwrap();
    let items = [Item { label: None, samples: reports.into_iter().map(Sample::Report).collect() }];
    policy.probe(&name).unwrap().round(&items, &Map::new(), Duration::MAX)
}

fn answer(status: u16, json: Option<serde_json::Value>) -> ProbeReport {
    ProbeReport { http_status: Some(status), json, ..report(ProbeStatus::Answered) }
}

#[test]
fn a_health_document_is_compared_at_200_and_503_and_anything_else_is_unhealthy() {
    let want = Some(r#"json.docker == "healthy""#);
    let verdict = |answer| round_of(http(want), vec![answer]).0;
    assert_eq!(verdict(answer(200, Some(json!({"docker": "healthy"})))), Healthy);
    assert_eq!(verdict(answer(503, Some(json!({"docker": "healthy"})))), Healthy);
    assert_eq!(verdict(answer(200, Some(json!({"docker": "down"})))), Unhealthy);
    assert_eq!(verdict(answer(200, Some(json!({"redis": "healthy"})))), Unhealthy, "the field is missing");
    assert_eq!(verdict(answer(200, None)), Unhealthy, "not JSON");
    assert_eq!(verdict(answer(404, Some(json!({"docker": "healthy"})))), Unhealthy);
    assert_eq!(verdict(report(ProbeStatus::Bad)), Unhealthy, "refused");
    assert_eq!(verdict(report(ProbeStatus::Error)), Error);
    let negative = round_of(http(Some("json.docker != 'down'")), vec![answer(200, Some(json!({})))]);
    assert_eq!((negative.0, negative.1.detail.as_str()), (Unhealthy, "json.docker is missing"));
}

#[test]
fn without_success_when_exit_0_and_2xx_are_healthy() {
    let command_verdict = |rc| {
        let status = if rc == 0 { ProbeStatus::Answered } else { ProbeStatus::Bad };
        round_of(command("c"), vec![ProbeReport { rc: Some(rc), ..report(status) }]).0
    };
    assert_eq!([0, 1, 126, 127].map(command_verdict), [Healthy, Unhealthy, Error, Error]);
    assert_eq!(round_of(http(None), vec![answer(204, None)]).0, Healthy);
    assert_eq!(round_of(http(None), vec![answer(503, None)]).0, Unhealthy);
}

#[test]
fn a_missing_image_is_an_error_of_class_environment() {
    let sample = ProbeReport { rc: Some(125), detail: "no such image".to_owned(), ..report(ProbeStatus::Environment) };
    let (verdict, evidence) = round_of(command("c"), vec![sample]);
    assert_eq!((verdict, evidence.environment), (Error, true));
    assert_eq!(evidence.detail, "exit 125: no such image");
}

#[test]
fn refused_is_pending_before_initial_delay_and_unhealthy_after_it() {
    let probe = Probe { initial_delay: Duration::from_secs(5), ..probe("p", ProbeTarget::Unix(template("/s"))) };
    let policy = Policy::new(&rollout(vec![probe], vec![])).unwrap();
    let items = [Item { label: None, samples: vec![Sample::Report(report(ProbeStatus::Bad))] }];
    let at = |s| policy.probe("p").unwrap().round(&items, &Map::new(), Duration::from_secs(s)).0;
    assert_eq!([at(0), at(4), at(5)], [NoData, NoData, Unhealthy]);
}

#[test]
fn an_empty_loop_measures_nothing() {
    let looped = Probe { r#loop: Some(template("[]")), ..command("p") };
    let policy = Policy::new(&rollout(vec![looped], vec![])).unwrap();
    let (verdict, evidence) = policy.probe("p").unwrap().round(&[], &Map::new(), Duration::MAX);
    assert_eq!((verdict, evidence.detail.as_str()), (NoData, "nothing was measured"));
}

pub(super) fn evidence(verdicts: &[Verdict]) -> Evidence {
    let healthy = verdicts.iter().filter(|v| **v == Healthy).count();
    Evidence {
        samples: u32::try_from(verdicts.len()).unwrap(),
        healthy: u32::try_from(healthy).unwrap(),
        verdicts: verdicts.to_vec(),
        ..Evidence::default()
    }
}

fn times(ms: &[u64]) -> Evidence {
    Evidence { elapsed_ms: ms.to_vec(), ..evidence(&vec![Healthy; ms.len()]) }
}

fn see(judge: &mut Judge, host: &str, phase: ProbePhase, verdict: Verdict, evidence: &Evidence) -> Vec<Finding> {
    judge.observe(Round { host, probe: "p", phase, verdict, evidence })
}

/// One round of one sample each, and how many findings each gave.
fn rounds(judge: &mut Judge, rounds: &[(&str, Verdict)]) -> Vec<usize> {
    let one = |judge: &mut Judge, host: &str, verdict| {
        see(judge, host, ProbePhase::Verify, verdict, &evidence(&[verdict])).len()
    };
    rounds.iter().map(|(host, verdict)| one(judge, host, *verdict)).collect()
}

#[test]
fn three_consecutive_failures_fire_at_the_third_and_an_error_does_not_reset_them() {
    let when = "p.consecutive_failures >= 3";
    let mut host = judge(vec![command("p")], vec![trigger(when)]);
    let seen = [
        ("a", Unhealthy),
        ("a", Healthy),
        ("a", Unhealthy),
        ("a", Unhealthy),
        ("b", Unhealthy),
        ("a", Error),
        ("a", Unhealthy),
    ];
    assert_eq!(rounds(&mut host, &seen), [0, 0, 0, 0, 0, 0, 1]);
    let mut batch = judge(vec![command("p")], vec![Trigger { scope: Scope::Batch, ..trigger(when) }]);
    assert_eq!(rounds(&mut batch, &[("a", Unhealthy), ("b", Unhealthy), ("a", Unhealthy)]), [0, 0, 1], "journal order");
    batch.begin_batch(&["c".to_owned()]);
    assert_eq!(rounds(&mut batch, &[("c", Unhealthy), ("a", Unhealthy), ("c", Unhealthy)]), [0, 0, 0], "a new batch");
}

#[test]
fn failures_are_counted_by_the_sample_also_when_a_round_ends_well() {
    let mut judge = judge(vec![Probe { count: 5, ..command("p") }], vec![trigger("p.consecutive_failures >= 3")]);
    let round = evidence(&[Healthy, Unhealthy, Unhealthy, Unhealthy, Healthy]);
    let findings = see(&mut judge, "a", ProbePhase::Verify, Unhealthy, &round);
    let [Finding::Fired(fired)] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(fired.evidence, "p.consecutive_failures = 3 >= 3");
    assert_eq!(fired.host.as_deref(), Some("a"));
}

#[test]
fn all_unhealthy_needs_every_item_failure_threshold_rounds_running() {
    let sockets = Probe { r#loop: Some(template("x")), failure_threshold: 2, ..command("p") };
    let mut judge = judge(vec![sockets], vec![trigger("p.all_unhealthy")]);
    let mut round =
        |verdict, items: &[Verdict]| see(&mut judge, "a", ProbePhase::Bake, verdict, &evidence(items)).len();
    assert_eq!(round(Unhealthy, &[Unhealthy, Unhealthy]), 0);
    assert_eq!(round(Unhealthy, &[Unhealthy, Healthy]), 0, "one is well");
    assert_eq!(round(Unhealthy, &[Unhealthy, Unhealthy]), 0);
    assert_eq!(round(Unhealthy, &[Unhealthy, Error]), 0, "an error is not a failure");
    assert_eq!(round(NoData, &[]), 0, "an empty set is not 'all failed'");
    assert_eq!(round(Unhealthy, &[Unhealthy, Unhealthy]), 1);
    assert_eq!(round(Unhealthy, &[Unhealthy, Unhealthy]), 0, "said once");
}

fn document(json: serde_json::Value) -> Evidence {
    Evidence { json: Some(json), status: Some(200), ..evidence(&[Unhealthy]) }
}

#[test]
fn a_raw_value_must_hold_for_its_rounds_and_a_missing_field_differs() {
    let down = document(json!({"docker": "down"}));
    let missing = document(json!({}));
    let fine = Evidence { json: Some(json!({"docker": "healthy"})), ..evidence(&[Healthy]) };
    let when = r#"p.json.docker != "healthy""#;
    let fire = |for_rounds| {
        let probe = Probe { name: "p".to_owned(), ..http(Some("json.docker == 'healthy'")) };
        let mut judge = judge(vec![probe], vec![Trigger { for_rounds, ..trigger(when) }]);
        let seen = [&down, &missing, &fine, &down, &down, &missing];
        seen.map(|e| {
            let verdict = if e.healthy == 1 { Healthy } else { Unhealthy };
            see(&mut judge, "a", ProbePhase::Verify, verdict, e).len()
        })
    };
    assert_eq!(fire(None), [0, 0, 0, 0, 0, 1], "failure_threshold is 3");
    assert_eq!(fire(Some(1)), [1, 0, 0, 1, 0, 0]);
    assert_eq!(fire(Some(2)), [0, 1, 0, 0, 1, 0]);
}

const SLOW: &str = "p.p95 > 30 or p.p95 > max(3 * p.baseline.p95, p.baseline.p95 + 2)";

fn slow(own: &[u64], peers: &[u64], now: &[u64]) -> bool {
    let probe = Probe { count: 20, ..command("p") };
    let mut judge = judge(vec![probe], vec![trigger(SLOW)]);
    see(&mut judge, "a", ProbePhase::Baseline, Healthy, &times(own));
    see(&mut judge, "later", ProbePhase::Baseline, Healthy, &times(peers));
    let findings = see(&mut judge, "a", ProbePhase::Verify, Healthy, &times(now));
    assert!(findings.iter().all(|finding| matches!(finding, Finding::Fired(_))), "{findings:?}");
    !findings.is_empty()
}

#[test]
fn a_slow_start_is_judged_absolutely_and_against_the_larger_baseline_with_a_floor() {
    assert!(slow(&[400; 20], &[400; 20], &[31_000; 20]), "over 30 s");
    assert!(!slow(&[40; 20], &[40; 20], &[120; 20]), "three times, but below the floor of 2 s");
    assert!(slow(&[40; 20], &[40; 20], &[2100; 20]), "over the floor");
    assert!(slow(&[1500; 20], &[1500; 20], &[4600; 20]), "over three times");
    assert!(!slow(&[1500; 20], &[4000; 20], &[4600; 20]), "hosts not yet changed got slow, too");
    let mut one_outlier = [100; 20];
    one_outlier[7] = 60_000;
    assert!(!slow(&[100; 20], &[100; 20], &one_outlier), "p95 leaves one of twenty out");
}

#[test]
fn fewer_than_min_samples_judge_only_the_absolute_bound_on_the_maximum() {
    assert!(!slow(&[40; 20], &[40; 20], &[9000; 19]), "no ratio with 19 samples");
    assert!(!slow(&[40; 19], &[], &[9000; 20]), "no ratio with a baseline of 19");
    assert!(!slow(&[], &[], &[9000; 20]), "no baseline, no ratio");
    let mut few = [100; 10];
    few[3] = 31_000;
    assert!(slow(&[], &[], &few), "the maximum of ten");
}

#[test]
fn the_evidence_of_a_simple_comparison_reads_as_one() {
    let mut judge = judge(vec![Probe { count: 20, ..command("p") }], vec![trigger("p.p95 > 30")]);
    let findings = see(&mut judge, "a", ProbePhase::Verify, Healthy, &times(&[41_200; 20]));
    let [Finding::Fired(fired)] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(fired.evidence, "p.p95 = 41.2 > 30");
}

#[test]
fn errors_are_tolerated_n_times_and_end_inconclusive_at_the_next() {
    let mut judge = judge(vec![command("p")], vec![]);
    let seen = [("a", Error), ("a", NoData), ("a", Error), ("a", Error), ("b", Error), ("a", Error), ("a", Error)];
    assert_eq!(rounds(&mut judge, &seen), [0, 0, 0, 0, 0, 1, 0]);
    assert!(!judge.healthy("a"));
}

#[test]
fn triggers_are_not_evaluated_on_error_nor_before_the_change() {
    let mut judge = judge(vec![command("p")], vec![trigger("p.consecutive_failures >= 1")]);
    assert_eq!(see(&mut judge, "a", ProbePhase::Baseline, Unhealthy, &evidence(&[Unhealthy])), []);
    assert_eq!(see(&mut judge, "a", ProbePhase::Verify, Error, &evidence(&[Error])), []);
    assert!(judge.sick_before("a"));
    let findings = see(&mut judge, "a", ProbePhase::Verify, Unhealthy, &evidence(&[Unhealthy]));
    let [Finding::Fired(fired)] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(fired.evidence.ends_with("it was unhealthy before the change, too"), "{}", fired.evidence);
}

#[test]
fn a_host_as_sick_as_before_is_not_blamed_on_its_change_until_it_has_been_healthy() {
    let batch = Trigger { scope: Scope::Batch, ..trigger("p.consecutive_failures >= 3") };
    let mut judge = judge(vec![command("p")], vec![trigger("p.consecutive_failures >= 3"), batch]);
    see(&mut judge, "a", ProbePhase::Baseline, Unhealthy, &evidence(&[Unhealthy]));
    let acted = |judge: &mut Judge, verdict| {
        let findings = see(judge, "a", ProbePhase::Verify, verdict, &evidence(&[verdict]));
        findings.iter().filter(|finding| matches!(finding, Finding::Fired(fired) if !fired.dry_run)).count()
    };
    assert_eq!([Unhealthy; 4].map(|verdict| acted(&mut judge, verdict)), [0; 4], "as before");
    assert!(judge.healthy("a") && judge.still_sick("a") && judge.sick("a").is_none());
    assert_eq!(judge.remarks("a").as_deref(), Some("as sick as before: p is unhealthy"));
    assert_eq!([Healthy, Unhealthy, Unhealthy, Unhealthy].map(|verdict| acted(&mut judge, verdict)), [0, 0, 0, 2]);
    assert!(!judge.healthy("a") && !judge.still_sick("a") && judge.sick("a").is_some());
    judge.forget("a");
    assert_eq!(judge.wanting("a"), ["p has not been asked"]);
}

#[test]
fn a_rolled_back_host_regains_what_it_had() {
    let mut judge = judge(vec![command("p")], vec![]);
    see(&mut judge, "a", ProbePhase::Baseline, Healthy, &evidence(&[Healthy]));
    see(&mut judge, "b", ProbePhase::Baseline, Unhealthy, &evidence(&[Unhealthy]));
    assert_eq!(judge.not_regained("a"), ["p was healthy and has not been asked again"]);
    see(&mut judge, "a", ProbePhase::Rollback, Unhealthy, &evidence(&[Unhealthy]));
    assert_eq!(judge.not_regained("a"), ["p was healthy and is unhealthy"]);
    see(&mut judge, "a", ProbePhase::Rollback, Healthy, &evidence(&[Healthy]));
    assert!(judge.not_regained("a").is_empty());
    assert!(judge.not_regained("b").is_empty(), "it was sick before");
}

#[test]
fn variables_of_the_host_can_be_bounds_and_a_missing_one_is_said() {
    let mut judge = judge(vec![command("p")], vec![trigger("p.consecutive_failures >= limit")]);
    let unreadable = see(&mut judge, "a", ProbePhase::Verify, Unhealthy, &evidence(&[Unhealthy]));
    assert!(matches!(unreadable.as_slice(), [Finding::Unreadable { .. }]), "{unreadable:?}");
    judge.set_variables("a", Map::from_iter([("limit".to_owned(), json!(2))]));
    assert_eq!(rounds(&mut judge, &[("a", Unhealthy)]), [1]);
}

#[test]
fn a_dry_run_probe_only_reports() {
    let dry = Probe { mode: ProbeMode::DryRun, ..command("p") };
    let mut judge = judge(vec![dry], vec![trigger("p.consecutive_failures >= 1")]);
    let findings = see(&mut judge, "a", ProbePhase::Verify, Unhealthy, &evidence(&[Unhealthy]));
    assert!(matches!(findings.as_slice(), [Finding::Fired(fired)] if fired.dry_run));
    assert!(judge.healthy("a"));
    assert_eq!(rounds(&mut judge, &[("a", Error); 9]), [0; 9]);
}

#[test]
fn mistakes_in_conditions_are_found_before_any_host_is_touched() {
    let triggers = vec![trigger("p.consecutve_failures >= 3"), trigger("q.p95 > 1"), trigger("p.p95 >")];
    let mistakes = Policy::new(&rollout(vec![command("p")], triggers)).unwrap_err().0;
    assert_eq!(mistakes.len(), 3);
    assert_eq!(mistakes[0].help.as_deref(), Some("did you mean `p.consecutive_failures`?"));
    assert_eq!(mistakes[1].help.as_deref(), Some("the play's probes are: p"));
}

#[test]
fn a_probe_that_does_not_exist_on_a_host_is_not_waited_for() {
    let mut judge = judge(vec![command("p"), command("q")], vec![]);
    judge.set_absent("a", "q");
    rounds(&mut judge, &[("a", Healthy), ("b", Healthy)]);
    assert!(judge.healthy("a"));
    assert_eq!(judge.wanting("b"), ["q has not been asked"]);
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Healthy), Just(Unhealthy), Just(NoData), Just(Error)]
}

proptest! {
    /// `consecutive_failures >= n` fires exactly when n unhealthy rounds have followed each other with no healthy one.
    #[test]
    fn failure_counters_follow_their_definition(n in 1_u32..5, verdicts in prop::collection::vec(verdict(), 0..40)) {
        let mut judge = judge(vec![command("p")], vec![trigger(&format!("p.consecutive_failures >= {n}"))]);
        let (mut count, mut fired) = (0, false);
        for verdict in verdicts {
            let findings = see(&mut judge, "a", ProbePhase::Verify, verdict, &evidence(&[verdict]));
            let now = findings.iter().any(|finding| matches!(finding, Finding::Fired(_)));
            match verdict {
                Healthy => (count, fired) = (0, false),
                Unhealthy => count += 1,
                NoData | Error => {}
            }
            let due = verdict == Unhealthy && count >= n && !fired;
            prop_assert_eq!(now, due);
            fired |= now;
        }
    }

    /// Only healthy advances: a host is healthy exactly after `success_threshold` healthy rounds and nothing else.
    #[test]
    fn only_healthy_advances(threshold in 1_u32..4, verdicts in prop::collection::vec(verdict(), 1..40)) {
        let mut judge = judge(vec![Probe { success_threshold: threshold, ..command("p") }], vec![]);
        let mut run = 0;
        for verdict in verdicts {
            see(&mut judge, "a", ProbePhase::Verify, verdict, &evidence(&[verdict]));
            run = if verdict == Healthy { run + 1 } else { 0 };
            prop_assert_eq!(judge.healthy("a"), run >= threshold);
        }
    }

    /// `max_consecutive_errors: n` is said once at the n+1th error running.
    #[test]
    fn errors_end_inconclusive_one_after_the_tolerated(n in 0_u32..5, verdicts in prop::collection::vec(verdict(), 0..40)) {
        let mut judge = judge(vec![Probe { max_consecutive_errors: n, ..command("p") }], vec![]);
        let mut run = 0;
        for verdict in verdicts {
            let findings = see(&mut judge, "a", ProbePhase::Verify, verdict, &evidence(&[verdict]));
            run = if matches!(verdict, NoData | Error) { run + 1 } else { 0 };
            prop_assert_eq!(findings.len(), usize::from(run == n + 1));
        }
    }

    /// A round is healthy only if every sample is; a sample that could not be taken never is.
    #[test]
    fn a_round_is_healthy_only_if_every_sample_is(
        statuses in prop::collection::vec(prop_oneof![
            Just(ProbeStatus::Answered), Just(ProbeStatus::Bad), Just(ProbeStatus::Error), Just(ProbeStatus::Environment),
        ], 0..10),
    ) {
        let (verdict, evidence) = round_of(command("c"), statuses.iter().map(|status| report(*status)).collect());
        let all = !statuses.is_empty() && statuses.iter().all(|status| *status == ProbeStatus::Answered);
        prop_assert_eq!(verdict == Healthy, all);
        prop_assert_eq!(evidence.verdicts.len(), statuses.len());
        prop_assert_eq!(evidence.environment, statuses.contains(&ProbeStatus::Environment));
    }
}
