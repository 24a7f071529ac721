//! What a run's journal says of its hosts: which transactions it opened where, and how each host was reached.

use crate::{
    host::{RunAs, Target},
    journal::{Event, EventKind},
};
use std::collections::BTreeMap;

/// A run as its journal tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedRun {
    /// Its id.
    pub run: String,
    /// Its playbook, as given.
    pub playbook: String,
    /// Its inventory sources, as given.
    pub inventory: Vec<String>,
    /// It changed nothing on purpose.
    pub check: bool,
    /// Hosts that it rolled back at once, at most; none: it had no play with `rollout:`.
    pub rollback_parallel: Option<usize>,
    /// Its hosts: the latest batch of the last play first.
    pub hosts: Vec<RecordedHost>,
}

/// A host of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedHost {
    /// The inventory's name.
    pub host: String,
    /// Play and batch in which it took part last.
    pub batch: (usize, usize),
    /// How it was reached; none: no transaction was opened, or an older version wrote the journal.
    pub target: Option<Target>,
    /// Its transactions in the order of their opening.
    pub txns: Vec<RecordedTxn>,
}

/// A transaction that was opened, or about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedTxn {
    /// Its id.
    pub id: String,
    /// Whose agent keeps it.
    pub run_as: RunAs,
    /// The run's generation on the host.
    pub generation: u64,
}

impl RecordedRun {
    /// Reads a run's events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut run = Self::default();
        let mut hosts: BTreeMap<String, RecordedHost> = BTreeMap::new();
        let mut order = Vec::new();
        for event in events {
            match &event.kind {
                EventKind::RunStarted { run: id, playbook, inventory, check, .. } => {
                    run.run.clone_from(id);
                    run.playbook.clone_from(playbook);
                    run.inventory.clone_from(inventory);
                    run.check = *check;
                }
                EventKind::PlayStarted { play, batches, .. } => {
                    for (index, batch) in batches.iter().enumerate() {
                        for host in batch {
                            let new =
                                || RecordedHost { host: host.clone(), batch: (0, 0), target: None, txns: Vec::new() };
                            if !hosts.contains_key(host) {
                                order.push(host.clone());
                            }
                            hosts.entry(host.clone()).or_insert_with(new).batch = (*play, index);
                        }
                    }
                }
                EventKind::PlayLimits { rollback_parallel, .. } => run.rollback_parallel = Some(*rollback_parallel),
                EventKind::TxnOpened { host, txn, generation, run_as, target } => {
                    let Some(known) = hosts.get_mut(host) else { continue };
                    if let Some(target) = target {
                        known.target = Some(target.as_ref().clone());
                    }
                    let run_as = run_as.clone().map_or(RunAs::Login, RunAs::Become);
                    known.txns.push(RecordedTxn { id: txn.clone(), run_as, generation: *generation });
                }
                _ => {}
            }
        }
        run.hosts = order.into_iter().filter_map(|host| hosts.remove(&host)).collect();
        run.hosts.sort_by_key(|host| std::cmp::Reverse(host.batch));
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: EventKind) -> Event {
        Event { seq, at: jiff::Timestamp::UNIX_EPOCH, elapsed_ms: seq, kind }
    }

    #[test]
    fn the_latest_batch_comes_first_and_transactions_keep_their_order() {
        let names = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let opened = |host: &str, txn: &str, run_as: Option<&str>| EventKind::TxnOpened {
            host: host.to_owned(),
            txn: txn.to_owned(),
            generation: 3,
            run_as: run_as.map(str::to_owned),
            target: Some(Box::new(Target { name: host.to_owned(), ..Target::default() })),
        };
        let kinds = [
            EventKind::PlayStarted {
                play: 0,
                name: "p".to_owned(),
                batches: vec![names(&["a"]), names(&["b", "c"])],
                rollout: true,
                resolved: Vec::new(),
            },
            EventKind::PlayLimits { play: 0, max_unavailable: 2, rollback_parallel: 2 },
            opened("a", "1", None),
            opened("b", "2", Some("root")),
            opened("b", "3", None),
        ];
        let events: Vec<Event> = kinds.into_iter().zip(1..).map(|(kind, seq)| event(seq, kind)).collect();
        let run = RecordedRun::of(&events);
        let hosts: Vec<&str> = run.hosts.iter().map(|host| host.host.as_str()).collect();
        assert_eq!(hosts, ["b", "c", "a"]);
        assert_eq!(run.rollback_parallel, Some(2));
        let of_b: Vec<(&str, &RunAs)> = run.hosts[0].txns.iter().map(|txn| (txn.id.as_str(), &txn.run_as)).collect();
        assert_eq!(of_b, [("2", &RunAs::Become("root".to_owned())), ("3", &RunAs::Login)]);
        assert!(run.hosts[1].target.is_none());
    }
}
