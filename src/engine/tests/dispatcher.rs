//! The linearising point by itself, over a real journal.

use crate::{
    clock::Clock,
    engine::{
        Signal,
        dispatcher::{Desk, Dispatcher, Parts, Permission, Permit},
        stop::{Level, StopRequest},
    },
    journal::{Ack, Acks, Event, EventKind, Reader, RunDir, StopCause, Writer},
    playbook::OnFailure,
    report::Sink,
    secrets::Redactor,
};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

struct Record(Arc<Mutex<Vec<Event>>>);

impl Sink for Record {
    fn event(&mut self, event: &Event) {
        self.0.lock().expect("lock").push(event.clone());
    }
}

struct Bench {
    desk: Desk,
    signals: mpsc::Sender<Signal>,
    seen: Arc<Mutex<Vec<Event>>>,
    run: RunDir,
    _state: tempfile::TempDir,
}

fn bench() -> Bench {
    let state = tempfile::tempdir().expect("a directory");
    let run = RunDir::create(state.path(), "r1").expect("made");
    let journal = Writer::create(&run).expect("begins");
    bench_with(state, run, journal)
}

fn bench_with(state: tempfile::TempDir, run: RunDir, journal: (Writer, Acks)) -> Bench {
    let (signals, receiver) = mpsc::channel(4);
    let seen = Arc::default();
    let redactor = Redactor::new();
    redactor.add("hunter22");
    let desk = Dispatcher::start(Parts {
        undoes: false,
        clock: Clock::system(),
        redactor,
        sinks: vec![Box::new(Record(Arc::clone(&seen)))],
        journal: Some(journal),
        signals: receiver,
    });
    Bench { desk, signals, seen, run, _state: state }
}

fn note(message: &str) -> EventKind {
    EventKind::Warning { host: None, message: message.to_owned() }
}

fn on_disk(bench: &Bench) -> Vec<Event> {
    Reader::open(&bench.run.journal()).expect("sound").into_events()
}

#[tokio::test]
async fn a_permit_is_given_only_after_its_intent_is_on_disk() {
    let bench = bench();
    for number in 0..20 {
        bench.desk.emit(note("between"));
        let text = format!("intent {number}");
        assert_eq!(bench.desk.ask(Permission::Step, note(&text)).await, Permit::Granted);
        assert!(on_disk(&bench).iter().any(|event| event.kind == note(&text)));
    }
    bench.desk.close().await;
    assert_eq!(*bench.seen.lock().expect("lock"), on_disk(&bench), "sinks see what the journal holds");
}

#[tokio::test]
async fn after_an_abort_only_rollbacks_are_permitted_and_the_first_cause_stays() {
    let bench = bench();
    let abort = |trigger: &str| StopRequest::Abort {
        cause: StopCause::Trigger { trigger: trigger.to_owned(), host: None },
        evidence: String::new(),
        then: None,
    };
    bench.desk.policy(OnFailure::RollbackBatch);
    bench.desk.stop(abort("first"));
    bench.desk.stop(abort("second"));
    assert_eq!(bench.desk.ask(Permission::Start, note("start")).await, Permit::Denied);
    assert_eq!(bench.desk.ask(Permission::Step, note("step")).await, Permit::Denied);
    assert_eq!(bench.desk.ask(Permission::Rollback, note("undo")).await, Permit::Granted);
    bench.desk.close().await;
    let events = on_disk(&bench);
    assert_eq!(events.len(), 2, "{events:?}");
    let EventKind::Aborted { cause, then, .. } = &events[0].kind else { panic!("{events:?}") };
    assert_eq!(cause, &StopCause::Trigger { trigger: "first".to_owned(), host: None });
    assert_eq!(then, "rollback_batch");
}

#[tokio::test]
async fn three_signals_pause_abort_and_kill() {
    let bench = bench();
    for level in [Level::Pause, Level::Abort, Level::Kill] {
        bench.signals.send(Signal::Interrupt).await.expect("sent");
        bench.desk.until(level).await;
        assert_eq!(bench.desk.stopped().level, level);
    }
    assert_eq!(bench.desk.ask(Permission::Rollback, note("undo")).await, Permit::Denied);
    bench.desk.go_on().await;
    bench.desk.close().await;
    assert_eq!(bench.desk.stopped().level, Level::Kill, "an operator's stop is not taken back");
}

#[tokio::test]
async fn without_a_journal_nothing_is_granted() {
    let bench = bench();
    assert_eq!(bench.desk.ask(Permission::Step, note("one")).await, Permit::Granted);
    let state = tempfile::tempdir().expect("a directory");
    let run = RunDir::create(state.path(), "r2").expect("made");
    let dead = {
        let (writer, _) = Writer::create(&run).expect("begins");
        let (sender, acks) = mpsc::unbounded_channel();
        sender.send(Ack::Failed { error: "Input/output error".to_owned() }).expect("sent");
        (writer, acks)
    };
    let bench = bench_with(state, run, dead);
    bench.desk.until(Level::Abort).await;
    for permission in [Permission::Start, Permission::Step, Permission::Rollback] {
        assert_eq!(bench.desk.ask(permission, note("more")).await, Permit::Denied);
    }
    bench.desk.close().await;
    let seen = bench.seen.lock().expect("lock");
    assert!(matches!(&seen[0].kind, EventKind::Aborted { cause: StopCause::Journal { .. }, .. }), "{seen:?}");
}

#[tokio::test]
async fn a_full_disk_aborts_and_what_is_left_of_it_is_for_the_rollback() {
    let state = tempfile::tempdir().expect("a directory");
    let run = RunDir::create(state.path(), "r1").expect("made");
    let (writer, mut real) = Writer::create(&run).expect("begins");
    let (sender, acks) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut reserve_used = true;
        while let Some(ack) = real.recv().await {
            let ack = match ack {
                Ack::Written { through, .. } => Ack::Written { through, reserve_used },
                other => other,
            };
            reserve_used = false;
            if sender.send(ack).is_err() {
                return;
            }
        }
    });
    let bench = bench_with(state, run, (writer, acks));
    bench.desk.emit(note("the disk was full here"));
    bench.desk.until(Level::Abort).await;
    assert_eq!(bench.desk.ask(Permission::Step, note("step")).await, Permit::Denied);
    assert_eq!(bench.desk.ask(Permission::Rollback, note("undo")).await, Permit::Granted);
    bench.desk.close().await;
    let events = on_disk(&bench);
    assert!(matches!(&events[1].kind, EventKind::Aborted { cause: StopCause::Journal { .. }, .. }), "{events:?}");
}

#[tokio::test]
async fn no_secret_reaches_journal_or_sinks() {
    let bench = bench();
    bench.desk.emit(note("password is hunter22."));
    bench.desk.close().await;
    let text = fs_err::read_to_string(bench.run.journal()).expect("read");
    assert!(!text.contains("hunter22") && text.contains("password is"), "{text}");
}
